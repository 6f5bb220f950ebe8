"""What an operator does to reconcile: enter and match transfers, work differences off, close days; each once under a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from bels.domain.periods import moscow_date
from bels.journal.write import Db
from bels.messages import digest
from bels.payments.partners import Partner
from bels.payments.reconciling import differences, three_ways, transfers
from bels.payments.reconciling.differences import ANSWER_DAYS_MAX, Difference, DifferenceState
from bels.payments.reconciling.due import reconcile_days
from bels.payments.reconciling.statement import PaymentOrder, read_statement
from bels.payments.reconciling.three_ways import SYSTEM, Day
from bels.payments.reconciling.transfers import Part, Recorded, Transfer, TransferError
from bels.payments.till import Till
from bels.reception.counter import database

_LOCK = 0x7265_636F


class KeyReusedError(ValueError):
    """The key names something else that the same operator asked for."""


class NotThereError(LookupError):
    """What is named is not there, or not in a state in which this can be done to it; the sentence is for the client."""


@dataclass(frozen=True, slots=True)
class By:
    """Who asks: the actor's name, its key, and what it asks for, written out."""

    actor: str
    key: str
    content: str


@dataclass(frozen=True, slots=True)
class DayClosed:
    """A day that was to be closed: whether it is, and whether it was under this key before."""

    day: Day
    closed: bool
    replayed: bool


async def enter_transfer(till: Till, order: PaymentOrder, by: By) -> tuple[Transfer, bool]:
    """Record a transfer that an operator enters, and match it where it says itself what it pays; True for a repeat.

    :raises TransferError: it cannot be kept so.
    :raises KeyReusedError: the key names another request.
    :raises TryLater: nothing was stored.
    """
    now = till.now()
    async with database(till.counter) as db:
        async with db.transaction():
            known = await _answered(db, by)
            if known is None:
                texts = till.counter.door.raw_texts
                transfer, _ = await transfers.record_transfer(db, till.partners, texts, order, by.actor, now)
                await _answer(db, by, transfer.number, now)
                known = transfer.number
                await _match(till, db, {transfer.partner}, now)
                replayed = False
            else:
                replayed = True
        return await _transfer(db, known), replayed


async def enter_statement(till: Till, raw: bytes, by: str) -> Recorded:
    """Record a bank's statement, and match what says itself what it pays; the same again changes nothing.

    :raises StatementError: it cannot be read.
    :raises TransferError: one of its documents cannot be kept.
    :raises TryLater: nothing was stored.
    """
    now, orders = till.now(), read_statement(raw)
    async with database(till.counter) as db, db.transaction():
        texts = till.counter.door.raw_texts
        recorded = await transfers.record_transfers(db, till.partners, texts, orders, by, now)
        await _match(till, db, {each.client for each in till.partners.partners} if recorded.new else set(), now)
    return recorded


async def assign_transfer(
    till: Till, number: int, partner: Partner, parts: Sequence[Part], by: By
) -> tuple[Transfer, list[Day], bool]:
    """Match a transfer to the days of a partner that it pays; give those days as they stand, and True for a repeat.

    :raises TransferError: the parts are not its sum.
    :raises KeyReusedError: the key names another request.
    :raises TryLater: nothing was stored.
    """
    now = till.now()
    async with database(till.counter) as db:
        async with db.transaction():
            replayed = await _answered(db, by) is not None
            if not replayed:
                if any(part.day > moscow_date(now) for part in parts):
                    raise TransferError("parts", "День ещё не наступил.")
                touched = await transfers.match_transfer(db, number, partner.client, parts, by.actor, now)
                await _answer(db, by, number, now)
                for client in {client for client, _ in touched}:
                    of = till.partners.of(client)
                    await reconcile_days(
                        db, till.counter.door.raw_texts, of, {day for owner, day in touched if owner == client}, now
                    )
        transfer = await _transfer(db, number)
        days = [await three_ways.day_of(db, partner.client, part.day) for part in transfer.parts]
        return transfer, [day for day in days if day is not None], replayed


async def work_difference(
    till: Till, number: int, state: DifferenceState, ground: str, answer_by: date | None, by: By
) -> tuple[Difference, bool]:
    """Close a difference with a ground; a bank that was asked has a day by which to answer. True for a repeat.

    :raises NotThereError: there is no such difference, or the facts have put it right.
    :raises KeyReusedError: the key names another request.
    :raises TryLater: nothing was stored.
    """
    now = till.now()
    async with database(till.counter) as db, db.transaction():
        replayed = await _answered(db, by) is not None
        if replayed:
            found = await differences.find(db, number)
        else:
            today = moscow_date(now)
            if (answer_by is not None) != (state is DifferenceState.ASKED_BANK):
                raise NotThereError("`answerBy` is given with ASKED_BANK, and with nothing else.")
            if answer_by is not None and not today <= answer_by <= today + timedelta(days=ANSWER_DAYS_MAX):
                raise NotThereError(f"`answerBy` is a day from today on, at most {ANSWER_DAYS_MAX} days away.")
            found = await differences.work(db, number, state, ground, answer_by, by.actor, now)
            await _answer(db, by, number, now)
        if found is None:
            raise NotThereError(f"There is no difference {number} to work off.")
        return found, replayed


async def close_day(till: Till, partner: Partner, day: date, ground: str, by: By) -> DayClosed:
    """Compare a day a last time and close it, where nothing of it is open or waited for.

    :raises NotThereError: the day was never compared.
    :raises KeyReusedError: the key names another request.
    :raises TryLater: nothing was stored.
    """
    now = till.now()
    async with database(till.counter) as db, db.transaction():
        replayed = await _answered(db, by) is not None
        if replayed:
            shown = await three_ways.day_of(db, partner.client, day)
            if shown is None:
                raise NotThereError("This day was never compared.")
            return DayClosed(shown, shown.is_closed, replayed)
        if day <= moscow_date(now) and await three_ways.day_of(db, partner.client, day) is not None:
            await reconcile_days(db, till.counter.door.raw_texts, partner, {day}, now)
        closed = await three_ways.close(db, partner.client, day, ground, by.actor, now)
        if closed is None:
            raise NotThereError("This day was never compared.")
        if closed[1]:
            # What was refused is not kept: the same request may be sent again when the day is worked off.
            await _answer(db, by, day.toordinal(), now)
        return DayClosed(closed[0], closed[1], replayed)


async def compare_day(till: Till, partner: Partner, day: date) -> Day:
    """Compare a day now.

    :raises NotThereError: the day has not begun.
    :raises TryLater: nothing was stored.
    """
    now = till.now()
    if day > moscow_date(now):
        raise NotThereError("`day` has not begun.")
    async with database(till.counter) as db:
        await transfers.match_by_itself(db, partner, SYSTEM, now)
        await reconcile_days(db, till.counter.door.raw_texts, partner, {day}, now)
        shown = await three_ways.day_of(db, partner.client, day)
    if shown is None:
        raise NotThereError("This day was never compared.")
    return shown


async def _match(till: Till, db: Db, clients: set[str] | set[str | None], now: datetime) -> None:
    for client in sorted(each for each in clients if each is not None):
        partner = till.partners.of(client)
        await reconcile_days(
            db, till.counter.door.raw_texts, partner, await transfers.match_by_itself(db, partner, SYSTEM, now), now
        )


async def _transfer(db: Db, number: int) -> Transfer:
    found = await transfers.find_transfer(db, number)
    if found is None:
        raise TransferError("transfer", "Такого перечисления нет.")
    return found


async def _answered(db: Db, by: By) -> int | None:
    """Find what was answered to the same request before; of two at once the second waits here."""
    await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, f"{by.actor}/{by.key}")
    row = await db.fetchrow(
        "SELECT content, answer FROM reconciling_request WHERE by = $1 AND key = $2", by.actor, by.key
    )
    if row is None:
        return None
    if bytes(row["content"]) != digest(by.content):
        raise KeyReusedError(by.key)
    answer: int = row["answer"]
    return answer


async def _answer(db: Db, by: By, answer: int, now: datetime) -> None:
    await db.execute(
        "INSERT INTO reconciling_request (by, key, content, answer, at) VALUES ($1, $2, $3, $4, $5)",
        by.actor,
        by.key,
        digest(by.content),
        answer,
        now,
    )
