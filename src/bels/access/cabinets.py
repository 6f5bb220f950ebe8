"""Cabinets: who belongs to which account, and the supplier's rules of coming in and being cut off.

A person has several accounts, an account several people. A consumer comes in by what stands on a fresh bill (``proofs.py``), or
at the office. On the sale of a flat everything that the old household had is cut off first, in one transaction, so that
whatever happens afterwards nobody is left inside.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime

from bels.access import acts
from bels.access.acts import Act
from bels.access.callers import Kind
from bels.access.cards import Removed, remove_cards
from bels.access.desk import Desk, tried
from bels.access.documents import IDENTITY, OWNERSHIP, Document, is_note
from bels.access.links import revoke_links
from bels.access.passwords import PasswordError, checked_password, new_password
from bels.access.people import (
    LoginError,
    LoginTaken,
    add_person,
    find_person,
    normalised_login,
)
from bels.access.proofs import BillProof, proves
from bels.access.store import tell_change
from bels.access.tenures import Tenure, find_tenure, hold_account, is_account
from bels.access.throttle import TooManyAttempts
from bels.access.words import AccessReason, Refused
from bels.domain.accept_reading import reading_period
from bels.domain.account import Link
from bels.domain.commands import UnlinkChannel
from bels.domain.events import ChannelLinked, ChannelUnlinked
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel, Period, Reason
from bels.journal.entry import Entry
from bels.journal.journal import read
from bels.journal.write import Db
from bels.messages import Message, Status

MEMBERS_MAX = 20
"""People of an account."""

ACCOUNTS_MAX = 50
"""Accounts of a person."""

ANSWER_S = 0.3
"""How long a refused proof takes at least, so that nobody can tell by the time what was wrong."""

CLOSED_GROUND = "кабинет закрыт: смена владельца"
"""What an account's journal says of a sender that goes with its household; the operator's own words stay with the act."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person that sees an account, from where on."""

    account: str
    person: str
    since: datetime
    entry: int
    period: Period


@dataclass(frozen=True, slots=True)
class Added:
    """A consumer that the office made: what it sees, and the password that it must change, told this once."""

    member: Member
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """A cabinet that was closed: the tenure that begins, and how much was cut off by this call."""

    account: str
    tenure: Tenure
    people: int
    links: int
    cards: int
    senders: int
    repeated: bool


async def register(
    desk: Desk, account: str, given: BillProof, login: str, password: str, *, address: str, request_id: str = ""
) -> str | Refused:
    """Make a consumer that sees the account, and give its name.

    Whatever a stranger could learn from is NOT_PROVEN; that a login is taken is said to whoever proved to be of the account.

    :raises Busy: too many log in at once.
    :raises TryLater: the database cannot be reached.
    """
    if not desk.own_people:
        return Refused(AccessReason.NO_PASSWORD)
    try:
        checked_password(password, normalised_login(login))
        async with tried(desk, address, ("register", account)) as attempt:
            tenure = await _proven(desk, account, given)
            if tenure is None:
                return Refused(AccessReason.NOT_PROVEN)
            hashed = await desk.passwords.hash(password, normalised_login(login))
            registered = await _register(desk, account, tenure, login, hashed, request_id)
            # Whoever asks again and again which logins are taken is slowed down like any other guesser.
            attempt.right = registered != Refused(AccessReason.LOGIN_TAKEN)
            return registered
    except LoginError as error:
        return Refused(AccessReason.BAD_LOGIN, text=str(error))
    except PasswordError as error:
        return Refused(AccessReason.BAD_PASSWORD, text=str(error))
    except TooManyAttempts as many:
        return Refused(AccessReason.TOO_MANY_ATTEMPTS, many.wait_s)


async def _register(
    desk: Desk, account: str, tenure: Tenure, login: str, hashed: str, request_id: str
) -> str | Refused:
    try:
        async with desk.pool.acquire() as db, db.transaction():
            refused = await _refuses_member(db, account, tenure)
            if refused is not None:
                return refused
            person = await add_person(db, desk.vault, Kind.CONSUMER, login=login, password_hash=hashed)
            await acts.record(db, Act.CONSUMER_REGISTERED, by=person, subject=person, request_id=request_id)
            await _join(db, account, person, tenure, desk.intake.clock(), by=person, request_id=request_id)
    except LoginTaken:
        return Refused(AccessReason.LOGIN_TAKEN)
    return person


async def link_account(
    desk: Desk, person: str, account: str, given: BillProof, *, address: str, request_id: str = ""
) -> Member | Refused:
    """Let a consumer that is logged in see another account, by a bill of it.

    :raises TryLater: the database cannot be reached.
    """
    async with desk.pool.acquire() as db:
        if account in {each.account for each in await accounts_of(db, person)}:
            return Refused(AccessReason.ALREADY_MEMBER)
    try:
        # The account is guarded against many people, and all accounts against one.
        async with tried(desk, address, ("register", account), ("link", person)) as attempt:
            tenure = await _proven(desk, account, given)
            if tenure is None:
                return Refused(AccessReason.NOT_PROVEN)
            attempt.right = True
            async with desk.pool.acquire() as db, db.transaction():
                return await _refuses_member(db, account, tenure, person) or await _join(
                    db, account, person, tenure, desk.intake.clock(), by=person, request_id=request_id
                )
    except TooManyAttempts as many:
        return Refused(AccessReason.TOO_MANY_ATTEMPTS, many.wait_s)


async def admit_member(
    desk: Desk, person: str, account: str, document: Document, reason: str, *, by: str, request_id: str = ""
) -> Member | Refused:
    """Let a consumer see an account, at the office: who has no bill yet, or no meter, shows a document."""
    now = desk.intake.clock()
    noted = document.noted(IDENTITY | OWNERSHIP, moscow_date(now))
    if noted is None:
        return Refused(AccessReason.BAD_DOCUMENT)
    if not is_note(reason):
        return Refused(AccessReason.BAD_NOTE)
    async with desk.pool.acquire() as db, db.transaction():
        found = await find_person(db, person)
        if found is None or found.kind is not Kind.CONSUMER or found.revoked_at is not None:
            return Refused(AccessReason.UNKNOWN_PERSON)
        if not is_account(account) or not await _is_known(db, account):
            return Refused(Reason.UNKNOWN_ACCOUNT)
        await hold_account(db, account)
        tenure = await find_tenure(db, account)
        return await _refuses_member(db, account, tenure, person) or await _join(
            db, account, person, tenure, now, by=by, reason=reason, document=noted, request_id=request_id
        )


async def add_consumer(
    desk: Desk, account: str, login: str, document: Document, reason: str, *, by: str, request_id: str = ""
) -> Added | Refused:
    """Make a consumer that sees an account, at the office: who has just moved in has no bill, and nothing to be admitted as.

    :raises Busy: too many log in at once.
    """
    if not desk.own_people:
        return Refused(AccessReason.NO_PASSWORD)
    now = desk.intake.clock()
    noted = document.noted(IDENTITY | OWNERSHIP, moscow_date(now))
    if noted is None:
        return Refused(AccessReason.BAD_DOCUMENT)
    if not is_note(reason):
        return Refused(AccessReason.BAD_NOTE)
    try:
        normalised_login(login)
        password = new_password()
        hashed = await desk.passwords.hash(password)
        async with desk.pool.acquire() as db, db.transaction():
            if not is_account(account) or not await _is_known(db, account):
                return Refused(Reason.UNKNOWN_ACCOUNT)
            await hold_account(db, account)
            tenure = await find_tenure(db, account)
            refused = await _refuses_member(db, account, tenure)
            if refused is not None:
                return refused
            person = await add_person(
                db, desk.vault, Kind.CONSUMER, login=login, password_hash=hashed, must_change=True
            )
            await acts.record(
                db,
                Act.CONSUMER_REGISTERED,
                by=by,
                subject=person,
                reason=reason,
                document=noted,
                request_id=request_id,
            )
            member = await _join(
                db, account, person, tenure, now, by=by, reason=reason, document=noted, request_id=request_id
            )
    except LoginError as error:
        return Refused(AccessReason.BAD_LOGIN, text=str(error))
    except LoginTaken:
        return Refused(AccessReason.LOGIN_TAKEN)
    return Added(member, password)


async def unlink_account(
    desk: Desk, account: str, person: str, *, by: str, reason: str | None = None, request_id: str = ""
) -> Refused | None:
    """Cut a person off from an account: its membership, its cards for it and the links that it made. None: done."""
    now = desk.intake.clock()
    if not is_account(account):
        return Refused(AccessReason.NOT_A_MEMBER)
    async with desk.pool.acquire() as db, db.transaction():
        await hold_account(db, account)
        people = await _end_memberships(
            db, account, now, person=person, by=by, reason=reason, document=None, request_id=request_id
        )
        if not people:
            return Refused(AccessReason.NOT_A_MEMBER)
        await revoke_links(db, account, now, made_by=person)
        why = Removed.ACCOUNT_UNLINKED
        await remove_cards(db, person=person, account=account, why=why, by=by, now=now, request_id=request_id)
        await tell_change(db, person)
    return None


async def members_of(db: Db, account: str) -> list[Member]:
    """List the people of an account, the first one first."""
    return await _members(db, "account", account, MEMBERS_MAX)


async def accounts_of(db: Db, person: str) -> list[Member]:
    """List the accounts of a person, the first one first."""
    return await _members(db, "person", person, ACCOUNTS_MAX)


async def close_cabinet(
    desk: Desk, account: str, document: Document, reason: str, *, by: str, actor: str, request_id: str = ""
) -> Closed | Refused:
    """Cut the household off that sold its flat: people, links, cards, and then the phones and chats that spoke for it.

    A sale is named by its document with its day: the same again finishes what is left and cuts nobody of the new household.

    :raises TryLater: the senders are not unlinked yet; everybody is cut off. Call it again.
    """
    now = desk.intake.clock()
    noted = document.noted(OWNERSHIP, moscow_date(now))
    if noted is None:
        return Refused(AccessReason.BAD_DOCUMENT)
    if not is_note(reason):
        return Refused(AccessReason.BAD_NOTE)
    if not is_account(account):
        return Refused(Reason.UNKNOWN_ACCOUNT)
    rulebook = await desk.intake.rules()
    async with desk.pool.acquire() as db, db.transaction():
        await hold_account(db, account)
        tenure = await find_tenure(db, account)
        closed = Closed(account, tenure, 0, 0, 0, 0, repeated=True)
        if not await _was_closed(db, account, noted):
            # Every append touches this row, so nothing is written to the account while its new tenure begins.
            stands = await db.fetchrow(
                "SELECT version, next_period FROM overview WHERE account = $1 FOR UPDATE", account
            )
            if stands is None:
                return Refused(Reason.UNKNOWN_ACCOUNT)
            people = await _end_memberships(
                db, account, now, person=None, by=by, reason=reason, document=noted, request_id=request_id
            )
            links = await revoke_links(db, account, now)
            why = Removed.CABINET_CLOSED
            cards = await remove_cards(db, account=account, why=why, by=by, now=now, request_id=request_id)
            period = max(reading_period(now, rulebook), Period(stands["next_period"]))
            tenure = Tenure(tenure.number + 1, now, stands["version"], period)
            await _begin(db, account, tenure)
            await acts.record(
                db,
                Act.CABINET_CLOSED,
                by=by,
                subject=account,
                account=account,
                reason=reason,
                document=noted,
                request_id=request_id,
            )
            await tell_change(db, *people)
            closed = Closed(account, tenure, len(people), links, cards, 0, repeated=False)
    return await _silence(desk, closed, actor, request_id)


async def _proven(desk: Desk, account: str, given: BillProof) -> Tenure | None:
    """Give the tenure to which somebody proved to belong; why not is told neither by the answer nor by its time."""
    loop = asyncio.get_running_loop()
    answered_at = loop.time() + ANSWER_S
    rulebook = await desk.intake.rules()
    async with desk.pool.acquire() as db:
        tenure = await find_tenure(db, account)
        if await proves(db, account, given, tenure, desk.intake.clock(), rulebook):
            return tenure
    await asyncio.sleep(answered_at - loop.time())
    return None


async def _refuses_member(db: Db, account: str, tenure: Tenure, person: str | None = None) -> Refused | None:
    """Hold the account and say why one more person cannot come in, None where it can."""
    await hold_account(db, account)
    if await find_tenure(db, account) != tenure:
        # The flat was sold in the meantime: what was proved is the old household's.
        return Refused(AccessReason.NOT_PROVEN)
    if len(await members_of(db, account)) >= MEMBERS_MAX:
        return Refused(AccessReason.LIMIT_REACHED)
    own = await accounts_of(db, person) if person is not None else []
    if account in {each.account for each in own}:
        return Refused(AccessReason.ALREADY_MEMBER)
    return Refused(AccessReason.LIMIT_REACHED) if len(own) >= ACCOUNTS_MAX else None


async def _join(
    db: Db,
    account: str,
    person: str,
    tenure: Tenure,
    now: datetime,
    *,
    by: str,
    reason: str | None = None,
    document: str | None = None,
    request_id: str,
) -> Member:
    await db.execute(
        """
        INSERT INTO membership (account, person, since, entry, period) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account, person, since) DO UPDATE SET ended_at = NULL, entry = excluded.entry, period = excluded.period
        """,
        account,
        person,
        now,
        tenure.entry,
        tenure.period,
    )
    await acts.record(
        db,
        Act.ACCOUNT_LINKED,
        by=by,
        subject=person,
        account=account,
        reason=reason,
        document=document,
        request_id=request_id,
    )
    await tell_change(db, person)
    return Member(account, person, now, tenure.entry, tenure.period)


async def _end_memberships(
    db: Db,
    account: str,
    now: datetime,
    *,
    person: str | None,
    by: str,
    reason: str | None,
    document: str | None,
    request_id: str,
) -> list[str]:
    """End the memberships of an account, of everybody or of one person, each with its act; give whose they were."""
    rows = await db.fetch(
        """
        WITH ended AS (
            UPDATE membership SET ended_at = $2
            WHERE account = $1 AND ended_at IS NULL AND ($3::text IS NULL OR person = $3)
            RETURNING person
        )
        INSERT INTO identity_act (kind, by_subject, subject, account, reason, document, request_id)
        SELECT $4, $5, person, $1, $6, $7, $8 FROM ended
        RETURNING subject
        """,
        account,
        now,
        person,
        Act.ACCOUNT_UNLINKED.value,
        by,
        reason,
        document,
        request_id,
    )
    return [row["subject"] for row in rows]


async def _members(db: Db, column: str, value: str, limit: int) -> list[Member]:
    rows = await db.fetch(
        f"""
        SELECT account, person, since, entry, period FROM membership
        WHERE {column} = $1 AND ended_at IS NULL ORDER BY since, account, person LIMIT $2
        """,
        value,
        limit,
    )
    return [Member(**{**row, "period": Period(row["period"])}) for row in rows]


async def _is_known(db: Db, account: str) -> bool:
    return bool(
        await db.fetchval(
            "SELECT EXISTS (SELECT FROM overview WHERE account = $1 AND situation IN ('OPEN', 'CLOSED'))", account
        )
    )


async def _was_closed(db: Db, account: str, document: str) -> bool:
    return bool(
        await db.fetchval(
            "SELECT EXISTS (SELECT FROM identity_act WHERE account = $1 AND kind = $2 AND document = $3)",
            account,
            Act.CABINET_CLOSED.value,
            document,
        )
    )


async def _begin(db: Db, account: str, tenure: Tenure) -> None:
    await db.execute(
        """
        INSERT INTO tenure (account, number, since, entry, period) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (account) DO UPDATE SET
            number = excluded.number, since = excluded.since, entry = excluded.entry, period = excluded.period
        """,
        account,
        tenure.number,
        tenure.since,
        tenure.entry,
        tenure.period,
    )


async def _silence(desk: Desk, closed: Closed, actor: str, request_id: str) -> Closed:
    """Unlink the senders of the old household, and begin the tenure after the entries that say so."""
    account, tenure = closed.account, closed.tenure
    stands = await desk.intake.account(account)
    own = {
        Link(entry.event.channel, entry.event.sender)
        for entry in await _entries_after(desk, account, tenure.entry)
        if isinstance(entry.event, ChannelLinked)
    }
    messages = [
        Message(
            Channel.OFFICE,
            # Named by the tenure: the call that is repeated sends the same message, and not for a sender linked anew.
            f"cabinet/{account}/{tenure.number}/{link.channel.value}/{link.sender}",
            actor,
            account,
            UnlinkChannel(link.channel, link.sender, desk.intake.clock(), CLOSED_GROUND),
            f"unlink {link.channel.value} {link.sender}",
            request_id,
        )
        for link in stands.links
        if link not in own
    ]
    outcomes = await desk.intake.handle(messages)
    # Also that somebody had spoken for the account is nothing for the new household.
    entry = tenure.entry
    for each in await _entries_after(desk, account, tenure.entry):
        if not (isinstance(each.event, ChannelUnlinked) and each.event.ground == CLOSED_GROUND):
            break
        entry = each.version
    async with desk.pool.acquire() as db:
        await db.execute(
            "UPDATE tenure SET entry = $3 WHERE account = $1 AND number = $2 AND entry < $3",
            account,
            tenure.number,
            entry,
        )
    accepted = sum(outcome.status is Status.ACCEPTED and not outcome.repeated for outcome in outcomes)
    return replace(closed, tenure=replace(tenure, entry=entry), senders=accepted)


async def _entries_after(desk: Desk, account: str, entry: int) -> list[Entry]:
    async with desk.pool.acquire() as db:
        return await read(db, {account: entry})
