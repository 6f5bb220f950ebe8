"""Cabinets: who comes in, who is cut off, and that the new household sees nothing of the old one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from bels.access import acts, links, sessions
from bels.access.acts import Act
from bels.access.cabinets import (
    ANSWER_S,
    CLOSED_GROUND,
    MEMBERS_MAX,
    Closed,
    Member,
    accounts_of,
    admit_member,
    close_cabinet,
    link_account,
    members_of,
    register,
    unlink_account,
)
from bels.access.callers import Kind
from bels.access.cards import bind_card, cards_of
from bels.access.desk import Desk
from bels.access.documents import Document, DocumentKind, is_note
from bels.access.links import Made, make_link, open_link
from bels.access.logins import Reset, SignedIn, change_password, log_in, log_out, renew, reset_password, sign_in
from bels.access.people import PersonRow, add_person, find_person
from bels.access.proofs import BillProof
from bels.access.store import ACCESS_CHANGES
from bels.access.tenures import find_tenure, hold_account
from bels.access.words import WORDS, AccessReason, Refused
from bels.domain.events import ChannelUnlinked
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, Period, Reason
from bels.journal.journal import read
from bels.messages import TryLater
from bels.projections import bills
from tests.access.household import (
    ACCOUNT,
    AWAY,
    EXTRACT,
    HOME,
    LOGIN,
    MAY,
    PASSPORT,
    PASSWORD,
    RIGHT,
    Clock,
    add_household,
    bill_june,
    consumer,
    desk_of,
    link_sender,
)

WRONG = BillProof(MAY, to_pay=Decimal("1245.06"), meter="M1")
NOT_PROVEN = Refused(AccessReason.NOT_PROVEN)
WRONG_CREDENTIALS = Refused(AccessReason.WRONG_CREDENTIALS)
CLERK = "u-clerk"
SOLD = "продажа квартиры"
SENDER = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(pool: asyncpg.Pool, tmp_path: Path, clock: Clock) -> AsyncIterator[Desk]:
    async with desk_of(pool, tmp_path, clock) as made:
        yield made


async def registered(desk: Desk, login: str = LOGIN, given: BillProof = RIGHT, address: str = HOME) -> str:
    person = await register(desk, ACCOUNT, given, login, PASSWORD, address=address, request_id="r-1")
    assert isinstance(person, str)
    return person


async def close(desk: Desk, document: Document = EXTRACT, account: str = ACCOUNT) -> Closed | Refused:
    return await close_cabinet(desk, account, document, SOLD, by=CLERK, actor="operator:u-clerk", request_id="r-9")


async def closed(desk: Desk, document: Document = EXTRACT) -> Closed:
    done = await close(desk, document)
    assert isinstance(done, Closed)
    return done


async def people(desk: Desk, account: str = ACCOUNT) -> list[str]:
    async with desk.pool.acquire() as db:
        return [member.person for member in await members_of(db, account)]


async def kinds(desk: Desk, **of: str) -> list[Act]:
    async with desk.pool.acquire() as db:
        return [act.kind for act in reversed(await acts.page(db, None, 100, **of))]


# Coming in.


async def test_who_holds_a_bill_registers_and_logs_in(desk: Desk) -> None:
    person = await registered(desk)

    found = await log_in(desk, "Ivanova@Example.ru", PASSWORD, address=AWAY)
    assert not isinstance(found, Refused)
    assert (found.person, found.kind, found.must_change) == (person, Kind.CONSUMER, False)
    async with desk.pool.acquire() as db:
        (member,) = await accounts_of(db, person)
    assert (member.account, member.entry, member.period) == (ACCOUNT, 0, "")
    assert await kinds(desk, subject=person) == [Act.CONSUMER_REGISTERED, Act.ACCOUNT_LINKED]


async def test_whatever_is_wrong_a_stranger_hears_the_same_after_the_same_time(desk: Desk, pool: asyncpg.Pool) -> None:
    await add_household(desk, "1000003")
    await pool.execute("DELETE FROM usage WHERE account = '1000003'")
    tries = {
        "another proof": (ACCOUNT, WRONG),
        "no such account": ("1000002", RIGHT),
        "no number of an account": ("١٠٠٠٠٠١", RIGHT),
        "an account without bills": ("1000003", RIGHT),
        "no bill of that period": (ACCOUNT, replace(RIGHT, period=Period("2023-01"))),
        "one thing only": (ACCOUNT, replace(RIGHT, meter=None)),
    }
    loop = asyncio.get_running_loop()
    for name, (account, given) in tries.items():
        began = loop.time()
        refused = await register(desk, account, given, LOGIN, PASSWORD, address=HOME)
        assert refused == NOT_PROVEN, name
        assert ANSWER_S <= loop.time() - began < 3 * ANSWER_S, name
    assert await pool.fetchval("SELECT count(*) FROM person") == 0


async def test_that_a_login_is_taken_is_said_to_the_household_only_and_seldom(desk: Desk) -> None:
    await consumer(desk, LOGIN)
    assert await register(desk, ACCOUNT, WRONG, LOGIN, PASSWORD, address=AWAY) == NOT_PROVEN

    heard = [await register(desk, ACCOUNT, RIGHT, LOGIN, PASSWORD, address=HOME) for _ in range(6)]
    assert heard[0] == Refused(AccessReason.LOGIN_TAKEN)
    assert isinstance(heard[-1], Refused)
    assert heard[-1].reason is AccessReason.TOO_MANY_ATTEMPTS
    assert await people(desk) == []


async def test_a_login_or_password_that_cannot_be_one_is_told_before_anything_else(
    desk: Desk, pool: asyncpg.Pool
) -> None:
    for login, password, reason in (
        ("a b", PASSWORD, AccessReason.BAD_LOGIN),
        (LOGIN, "short", AccessReason.BAD_PASSWORD),
        (LOGIN, LOGIN, AccessReason.BAD_PASSWORD),
    ):
        refused = await register(desk, ACCOUNT, WRONG, login, password, address=HOME)
        assert isinstance(refused, Refused)
        assert refused.reason is reason
        assert login not in refused.words.text + refused.words.hint
    assert await pool.fetchval("SELECT count(*) FROM attempt") == 0


async def test_guessing_is_slowed_per_account_and_the_household_still_comes_in_later(desk: Desk, clock: Clock) -> None:
    heard = [await register(desk, ACCOUNT, WRONG, LOGIN, PASSWORD, address=f"203.0.113.{i}") for i in range(6)]
    *free, last = heard
    assert free == [NOT_PROVEN] * 5 or last == NOT_PROVEN
    refused = await register(desk, ACCOUNT, RIGHT, LOGIN, PASSWORD, address=HOME)
    assert isinstance(refused, Refused)
    assert refused.reason is AccessReason.TOO_MANY_ATTEMPTS
    assert refused.wait_s is not None
    assert "Повторите через" in refused.words.hint
    clock.pass_by(seconds=refused.wait_s)
    await registered(desk)


async def test_of_many_registrations_at_once_each_login_is_one_person(desk: Desk) -> None:
    heard = await asyncio.gather(*(register(desk, ACCOUNT, RIGHT, LOGIN, PASSWORD, address=HOME) for _ in range(4)))
    assert sum(isinstance(each, str) for each in heard) == 1
    assert len(await people(desk)) == 1


async def test_an_account_has_several_people_and_a_person_several_accounts(desk: Desk, clock: Clock) -> None:
    await add_household(desk, "1000003")
    first = await registered(desk)
    clock.pass_by(minutes=1)
    second = await consumer(desk, "petrov@example.ru")

    for account in (ACCOUNT, "1000003"):
        assert isinstance(await link_account(desk, second, account, RIGHT, address=HOME), Member)
    assert await people(desk) == [first, second]
    async with desk.pool.acquire() as db:
        assert [each.account for each in await accounts_of(db, second)] == [ACCOUNT, "1000003"]
    assert await link_account(desk, second, ACCOUNT, WRONG, address=HOME) == Refused(AccessReason.ALREADY_MEMBER)


async def test_somebody_logged_in_cannot_try_account_after_account(desk: Desk) -> None:
    person = await consumer(desk)
    heard = [await link_account(desk, person, str(2_000_000 + i), RIGHT, address=f"203.0.113.{i}") for i in range(7)]
    assert NOT_PROVEN in heard
    assert isinstance(heard[-1], Refused)
    assert heard[-1].reason is AccessReason.TOO_MANY_ATTEMPTS


async def test_an_account_has_room_for_so_many_people(desk: Desk) -> None:
    await desk.pool.execute(
        """
        INSERT INTO membership (account, person, since, entry, period)
        SELECT $1, 'u-' || n, now(), 0, '' FROM generate_series(1, $2) AS n
        """,
        ACCOUNT,
        MEMBERS_MAX,
    )
    limit = Refused(AccessReason.LIMIT_REACHED)
    assert await register(desk, ACCOUNT, RIGHT, LOGIN, PASSWORD, address=HOME) == limit
    assert await link_account(desk, await consumer(desk), ACCOUNT, RIGHT, address=HOME) == limit


async def test_the_office_lets_in_whoever_has_no_bill_yet(desk: Desk) -> None:
    person = await consumer(desk)
    member = await admit_member(desk, person, ACCOUNT, PASSPORT, "новый собственник", by=CLERK, request_id="r-7")

    assert isinstance(member, Member)
    assert await people(desk) == [person]
    async with desk.pool.acquire() as db:
        (act,) = await acts.page(db, None, 10, account=ACCOUNT)
    assert (act.kind, act.by_subject, act.document) == (Act.ACCOUNT_LINKED, CLERK, "PASSPORT …4821 2019-04-02")
    for who, account, document, note, refused in (
        ("u-nobody", ACCOUNT, PASSPORT, SOLD, AccessReason.UNKNOWN_PERSON),
        (person, "1000002", PASSPORT, SOLD, Reason.UNKNOWN_ACCOUNT),
        (person, "x", PASSPORT, SOLD, Reason.UNKNOWN_ACCOUNT),
        (person, ACCOUNT, PASSPORT, SOLD, AccessReason.ALREADY_MEMBER),
        (person, ACCOUNT, replace(PASSPORT, last="45 11 482117"), SOLD, AccessReason.BAD_DOCUMENT),
        (person, ACCOUNT, PASSPORT, "звонила +7 903 123-45-67", AccessReason.BAD_NOTE),
    ):
        assert await admit_member(desk, who, account, document, note, by=CLERK) == Refused(refused)


async def test_who_is_unlinked_loses_the_account_its_links_and_is_told(desk: Desk, clock: Clock) -> None:
    person, other = await registered(desk), await registered(desk, "petrov@example.ru")
    async with desk.pool.acquire() as db:
        own = await make_link(db, desk.vault, ACCOUNT, "bill", made_by=person, now=clock())
        assert isinstance(own, Made)
    told: asyncio.Queue[object] = asyncio.Queue()
    async with desk.pool.acquire() as db:
        await db.add_listener(ACCESS_CHANGES, lambda *said: told.put_nowait(said[-1]))
        assert await unlink_account(desk, ACCOUNT, person, by=person) is None
        assert {await asyncio.wait_for(told.get(), 5) for _ in range(2)} == {person, own.link}
        await db.reset()
        assert await open_link(db, desk.vault, own.token, clock()) is None
    assert await people(desk) == [other]
    assert await unlink_account(desk, ACCOUNT, person, by=person) == Refused(AccessReason.NOT_A_MEMBER)
    assert await unlink_account(desk, "x", person, by=person) == Refused(AccessReason.NOT_A_MEMBER)
    # With a bill at hand one comes back.
    assert isinstance(await link_account(desk, person, ACCOUNT, RIGHT, address=HOME), Member)


# The sale of a flat.


async def test_the_sale_of_a_flat_cuts_the_old_household_off_from_everything(desk: Desk, clock: Clock) -> None:
    await add_household(desk, "1000003")
    person = await registered(desk)
    assert isinstance(await link_account(desk, person, "1000003", RIGHT, address=HOME), Member)
    await link_sender(desk, Channel.SMS, SENDER)
    async with desk.pool.acquire() as db:
        link = await make_link(db, desk.vault, ACCOUNT, "bill", made_by="c-mail", now=clock())
        session = await sessions.begin(db, desk.vault, person, clock())
        for account in (ACCOUNT, "1000003"):
            await bind_card(db, desk.vault, person, account, masked="****1234", token="t", now=clock())
        version = await db.fetchval("SELECT version FROM overview WHERE account = $1", ACCOUNT)
    assert isinstance(link, Made)
    told: asyncio.Queue[object] = asyncio.Queue()
    async with desk.pool.acquire() as db:
        await db.add_listener(ACCESS_CHANGES, lambda *said: told.put_nowait(said[-1]))
        done = await closed(desk)
        assert {await asyncio.wait_for(told.get(), 5) for _ in range(2)} == {person, link.link}
        await db.reset()

    assert (done.people, done.links, done.cards, done.senders, done.repeated) == (1, 1, 1, 1, False)
    assert (done.tenure.number, done.tenure.period) == (2, "2024-06")
    # The entry that unlinks the old phone is not the new household's to see.
    assert done.tenure.entry == version + 1
    assert await people(desk) == []
    assert (await desk.intake.account(ACCOUNT)).links == ()
    async with desk.pool.acquire() as db:
        assert [each.account for each in await accounts_of(db, person)] == ["1000003"]
        assert [card.account for card in await cards_of(db, person)] == ["1000003"]
        assert await open_link(db, desk.vault, link.token, clock()) is None
        assert isinstance(await sessions.renew(db, desk.vault, session.refresh_token, clock()), sessions.Renewed)
        assert await find_tenure(db, ACCOUNT) == done.tenure
        unlinked = (await read(db, {ACCOUNT: version}))[-1].event
        act, *_ = await acts.page(db, None, 100, account=ACCOUNT)
    assert isinstance(unlinked, ChannelUnlinked)
    assert (unlinked.sender, unlinked.ground) == (SENDER, CLOSED_GROUND)
    assert (act.kind, act.by_subject, act.reason, act.document, act.request_id) == (
        Act.CABINET_CLOSED,
        CLERK,
        SOLD,
        "EGRN_EXTRACT …7730 2024-06-03",
        "r-9",
    )
    assert Act.ACCOUNT_UNLINKED in await kinds(desk, subject=person)


async def test_the_old_household_does_not_come_back_with_its_bills(desk: Desk, clock: Clock) -> None:
    person = await registered(desk)
    await closed(desk)
    assert await link_account(desk, person, ACCOUNT, RIGHT, address=HOME) == NOT_PROVEN

    await bill_june(desk, clock)
    async with desk.pool.acquire() as db:
        bill = await bills.find(db, ACCOUNT, "2024-06", desk.intake.rulebook)
    assert bill is not None
    old = BillProof(Period("2024-06"), to_pay=bill.to_pay, meter="M1")
    assert await link_account(desk, person, ACCOUNT, old, address=HOME) == NOT_PROVEN
    new = await registered(desk, "new@example.ru", BillProof(Period("2024-06"), bill.to_pay, reading=10485), AWAY)
    async with desk.pool.acquire() as db:
        (member,) = await accounts_of(db, new)
        tenure = await find_tenure(db, ACCOUNT)
    assert (member.entry, member.period) == (tenure.entry, tenure.period)
    assert member.entry > 0


async def test_a_closing_that_is_repeated_cuts_nobody_of_the_new_household(desk: Desk, clock: Clock) -> None:
    await registered(desk)
    await link_sender(desk, Channel.SMS, SENDER)
    first = await closed(desk)
    new = await consumer(desk)
    assert isinstance(await admit_member(desk, new, ACCOUNT, PASSPORT, "новый собственник", by=CLERK), Member)
    clock.pass_by(hours=1)
    await link_sender(desk, Channel.SMS, SENDER)
    await link_sender(desk, Channel.TELEGRAM, "aa" * 16)

    again = await closed(desk)
    assert (again.repeated, again.people, again.senders, again.tenure) == (True, 0, 0, first.tenure)
    assert await people(desk) == [new]
    assert len((await desk.intake.account(ACCOUNT)).links) == 2
    assert (await kinds(desk, account=ACCOUNT)).count(Act.CABINET_CLOSED) == 1


async def test_another_sale_is_another_tenure(desk: Desk, clock: Clock) -> None:
    await closed(desk)
    new = await consumer(desk)
    assert isinstance(await admit_member(desk, new, ACCOUNT, PASSPORT, "новый собственник", by=CLERK), Member)
    clock.now = datetime(2024, 6, 28, 12, tzinfo=MOSCOW)

    second = await closed(desk, replace(EXTRACT, on=date(2024, 6, 27)))
    assert (second.tenure.number, second.people) == (3, 1)
    # After the last day for readings what is sent belongs to the next month.
    assert second.tenure.period == "2024-07"
    assert await people(desk) == []


async def test_a_crash_between_leaves_nobody_inside_and_the_next_call_finishes(
    desk: Desk, pool: asyncpg.Pool, clock: Clock
) -> None:
    await registered(desk)
    await link_sender(desk, Channel.SMS, SENDER)
    # Nothing can be written to the account's journal.
    await pool.execute("ALTER TABLE message RENAME TO message_away")
    with pytest.raises(TryLater):
        await close(desk)
    await pool.execute("ALTER TABLE message_away RENAME TO message")

    assert await people(desk) == []
    async with desk.pool.acquire() as db:
        assert (await find_tenure(db, ACCOUNT)).number == 2
    assert len((await desk.intake.account(ACCOUNT)).links) == 1
    done = await closed(desk)
    assert (done.repeated, done.senders, done.tenure.number) == (True, 1, 2)
    assert (await desk.intake.account(ACCOUNT)).links == ()


async def test_two_clerks_who_close_at_once_close_it_once(desk: Desk) -> None:
    await registered(desk)
    await link_sender(desk, Channel.SMS, SENDER)
    done = await asyncio.gather(*(closed(desk) for _ in range(5)))
    assert sorted(each.repeated for each in done) == [False, True, True, True, True]
    assert {each.tenure.number for each in done} == {2}
    assert (await desk.intake.account(ACCOUNT)).links == ()


async def test_nobody_comes_in_by_the_old_bill_while_the_cabinet_is_being_closed(desk: Desk) -> None:
    async with desk.pool.acquire() as db, db.transaction():
        await hold_account(db, ACCOUNT)
        coming = asyncio.create_task(register(desk, ACCOUNT, RIGHT, LOGIN, PASSWORD, address=HOME))
        # It has looked at the bill, and waits to come in.
        for _ in range(500):
            if await db.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                break
            await asyncio.sleep(0.01)
        await db.execute("INSERT INTO tenure VALUES ($1, 2, now(), 5, '2024-06')", ACCOUNT)
    assert await coming == NOT_PROVEN
    assert await people(desk) == []


async def test_a_closing_needs_a_paper_about_the_flat_and_a_reason_without_anybody_s_data(desk: Desk) -> None:
    await registered(desk)
    for document in (PASSPORT, replace(EXTRACT, last="12345"), replace(EXTRACT, on=date(2024, 6, 6))):
        assert await close(desk, document) == Refused(AccessReason.BAD_DOCUMENT)
    for note in ("", "x", "ivanova@example.ru", "8-903-123-45-67", "паспорт 4511 482117", "а" * 201):
        refused = await close_cabinet(desk, ACCOUNT, EXTRACT, note, by=CLERK, actor="operator:u-clerk")
        assert refused == Refused(AccessReason.BAD_NOTE)
    for account in ("1000002", "", "RULEBOOK"):
        assert await close(desk, account=account) == Refused(Reason.UNKNOWN_ACCOUNT)
    assert len(await people(desk)) == 1


# Passwords.


async def test_an_unknown_login_and_a_wrong_password_are_answered_alike(desk: Desk) -> None:
    await registered(desk)
    for login, password in (
        (LOGIN, "другой пароль"),
        ("nobody@example.ru", PASSWORD),
        ("", PASSWORD),
        ("a b", "x" * 500),
    ):
        assert await log_in(desk, login, password, address=AWAY) == WRONG_CREDENTIALS


async def test_guessing_a_password_is_slowed_but_never_where_one_usually_comes_in(desk: Desk) -> None:
    await registered(desk)
    assert not isinstance(await log_in(desk, LOGIN, PASSWORD, address=HOME), Refused)
    heard = await asyncio.gather(*(log_in(desk, LOGIN, f"догадка {i}", address=AWAY) for i in range(12)))
    reasons = [each.reason for each in heard if isinstance(each, Refused)]
    assert reasons.count(AccessReason.WRONG_CREDENTIALS) <= 6
    assert reasons.count(AccessReason.TOO_MANY_ATTEMPTS) >= 6
    assert isinstance(await log_in(desk, LOGIN, PASSWORD, address=AWAY), Refused)
    assert not isinstance(await log_in(desk, LOGIN, PASSWORD, address=HOME), Refused)


async def test_a_reset_takes_sessions_and_cards_and_shows_a_password_once(desk: Desk, clock: Clock) -> None:
    person = await registered(desk)
    async with desk.pool.acquire() as db:
        begun = await sessions.begin(db, desk.vault, person, clock())
        await bind_card(db, desk.vault, person, ACCOUNT, masked="****1234", token="t", now=clock())

    reset = await reset_password(desk, person, PASSPORT, "забыл пароль", by=CLERK, request_id="r-3")
    assert isinstance(reset, Reset)
    assert (reset.sessions, reset.cards) == (1, 1)
    assert await log_in(desk, LOGIN, PASSWORD, address=HOME) == WRONG_CREDENTIALS
    found = await log_in(desk, LOGIN, reset.password, address=HOME)
    assert not isinstance(found, Refused)
    assert found.must_change
    async with desk.pool.acquire() as db:
        assert await cards_of(db, person) == []
        assert await sessions.renew(db, desk.vault, begun.refresh_token, clock()) is sessions.NotRenewed.ENDED
        act, *_ = await acts.page(db, None, 100, subject=person)
    assert (act.kind, act.by_subject, act.reason, act.document, act.request_id) == (
        Act.PASSWORD_RESET,
        CLERK,
        "забыл пароль",
        "PASSPORT …4821 2019-04-02",
        "r-3",
    )
    assert await people(desk) == [person]


async def test_a_reset_ends_the_wait_that_an_attacker_has_made(desk: Desk) -> None:
    person = await registered(desk)
    for i in range(7):
        await log_in(desk, LOGIN, "догадка", address=f"203.0.113.{i}")
    reset = await reset_password(desk, person, PASSPORT, "забыл пароль", by=CLERK)
    assert isinstance(reset, Reset)
    assert not isinstance(await log_in(desk, LOGIN, reset.password, address=AWAY), Refused)


async def test_the_counter_resets_consumers_only(desk: Desk) -> None:
    person = await registered(desk)
    async with desk.pool.acquire() as db:
        chief = await add_person(db, desk.vault, Kind.ADMINISTRATOR, login="chief", password_hash="hash")
        stranger = await add_person(
            db, desk.vault, Kind.CONSUMER, login=None, password_hash=None, oidc=("https://id", "7")
        )
    for who, document, note, reason in (
        (chief, PASSPORT, SOLD, AccessReason.UNKNOWN_PERSON),
        ("u-nobody", PASSPORT, SOLD, AccessReason.UNKNOWN_PERSON),
        (stranger, PASSPORT, SOLD, AccessReason.NO_PASSWORD),
        (person, EXTRACT, SOLD, AccessReason.BAD_DOCUMENT),
        (person, PASSPORT, "89031234567", AccessReason.BAD_NOTE),
    ):
        assert await reset_password(desk, who, document, note, by=CLERK) == Refused(reason)
    assert not isinstance(await log_in(desk, LOGIN, PASSWORD, address=HOME), Refused)


async def test_a_password_is_changed_by_the_one_before_and_every_session_ends(desk: Desk, clock: Clock) -> None:
    person = await registered(desk)
    async with desk.pool.acquire() as db:
        begun = await sessions.begin(db, desk.vault, person, clock())
    new = "лодка туман очки"
    assert await change_password(desk, person, "не тот", new, address=HOME) == WRONG_CREDENTIALS
    for bad in (PASSWORD, "short", LOGIN):
        refused = await change_password(desk, person, PASSWORD, bad, address=HOME)
        assert isinstance(refused, Refused)
        assert refused.reason is AccessReason.BAD_PASSWORD
    assert await change_password(desk, "u-nobody", PASSWORD, new, address=HOME) == Refused(AccessReason.UNKNOWN_PERSON)

    assert await change_password(desk, person, PASSWORD, new, address=HOME) is None
    assert await log_in(desk, LOGIN, PASSWORD, address=HOME) == WRONG_CREDENTIALS
    assert not isinstance(await log_in(desk, LOGIN, new, address=HOME), Refused)
    async with desk.pool.acquire() as db:
        assert await sessions.renew(db, desk.vault, begun.refresh_token, clock()) is sessions.NotRenewed.ENDED
    assert (await kinds(desk, subject=person))[-1] is Act.PASSWORD_CHANGED


async def test_the_one_time_password_is_changed_at_the_first_log_in(desk: Desk) -> None:
    person = await registered(desk)
    reset = await reset_password(desk, person, PASSPORT, "забыл пароль", by=CLERK)
    assert isinstance(reset, Reset)
    assert await change_password(desk, person, reset.password, "лодка туман очки", address=HOME) is None
    async with desk.pool.acquire() as db:
        found = await find_person(db, person)
    assert found is not None
    assert not found.must_change


# What is written down.


async def test_nothing_that_was_typed_stands_in_any_table(desk: Desk, pool: asyncpg.Pool) -> None:
    person = await registered(desk)
    await link_account(desk, person, ACCOUNT, WRONG, address=HOME)
    await log_in(desk, LOGIN, "неверный пароль", address=AWAY)
    await reset_password(desk, person, PASSPORT, "забыл пароль", by=CLERK)
    await closed(desk)
    tables = await pool.fetch(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        " WHERE table_schema IN ('public', 'bels_keys') AND table_type = 'BASE TABLE'"
    )
    for table in tables:
        for row in await pool.fetch(f"SELECT t::text AS row FROM {table['name']} t"):
            for secret in (LOGIN, "ivanova", PASSWORD, HOME, AWAY, "неверный пароль"):
                assert secret not in row["row"].lower(), table["name"]
                assert secret.encode().hex() not in row["row"], table["name"]


def test_every_refusal_has_words_that_say_what_to_do() -> None:
    assert set(WORDS) == set(AccessReason)
    for words in WORDS.values():
        assert words.text.endswith(".")
        assert words.hint.endswith(".")
    assert Refused(AccessReason.TOO_MANY_ATTEMPTS, 61).words.hint.startswith("Повторите через 2 минуты")
    assert Refused(AccessReason.TOO_MANY_ATTEMPTS, 0.2).words.hint.startswith("Повторите через 1 секунду")
    assert Refused(Reason.UNKNOWN_ACCOUNT).words.text


def test_of_a_document_four_characters_are_noted() -> None:
    today = date(2024, 6, 5)
    kinds = frozenset(DocumentKind)
    assert Document(DocumentKind.PASSPORT, "82аб", date(2020, 1, 1)).noted(kinds, today) == "PASSPORT …82АБ 2020-01-01"
    for last in ("482", "48211", "48 1", "4821\n", ""):
        assert Document(DocumentKind.PASSPORT, last, date(2020, 1, 1)).noted(kinds, today) is None
    assert Document(DocumentKind.PASSPORT, "4821", date(1900, 1, 1)).noted(kinds, today) is None
    assert is_note("забыла пароль, 2-й раз за 2024 год")
    assert not is_note("строка\nещё строка")


async def test_where_a_provider_says_who_people_are_nobody_has_a_password_here(desk: Desk) -> None:
    person = await registered(desk)
    signed = await sign_in(desk, await living(desk, person))
    theirs = replace(desk, own_people=False)
    no_password = Refused(AccessReason.NO_PASSWORD)

    assert await log_in(theirs, LOGIN, PASSWORD, address=HOME) == no_password
    assert await renew(theirs, signed.refresh_token) == no_password
    assert await register(theirs, ACCOUNT, RIGHT, "petrov@example.ru", PASSWORD, address=HOME) == no_password
    # An account is linked by a bill all the same.
    assert isinstance(await link_account(theirs, await consumer(desk), ACCOUNT, RIGHT, address=HOME), Member)


async def test_a_session_goes_on_and_ends_with_an_act_that_names_it(desk: Desk) -> None:
    person = await registered(desk)
    first = await sign_in(desk, await living(desk, person))
    second = await renew(desk, first.refresh_token)
    assert isinstance(second, SignedIn)
    assert (second.session, second.person) == (first.session, person)
    assert (await desk.tokens.verify(second.access_token)).grant.session == first.session
    assert second.refresh_token not in repr(second)
    assert second.access_token not in repr(second)

    assert await log_out(desk, "u-other", first.session) == Refused(AccessReason.UNKNOWN_SESSION)
    assert await log_out(desk, person, first.session) is None
    assert await renew(desk, second.refresh_token) == Refused(AccessReason.SESSION_ENDED)
    async with desk.pool.acquire() as db:
        act, *_ = await acts.page(db, None, 100, subject=person)
    assert (act.kind, act.reason) == (Act.SESSION_REVOKED, f"LOGGED_OUT {first.session}")


async def living(desk: Desk, person: str) -> PersonRow:
    async with desk.pool.acquire() as db:
        found = await find_person(db, person)
    assert found is not None
    return found


async def test_links_are_not_touched_by_a_reset(desk: Desk, clock: Clock) -> None:
    person = await registered(desk)
    async with desk.pool.acquire() as db:
        link = await make_link(db, desk.vault, ACCOUNT, "reading", made_by="c-sms", now=clock())
        assert isinstance(link, Made)
        await reset_password(desk, person, PASSPORT, "забыл пароль", by=CLERK)
        found = await open_link(db, desk.vault, link.token, clock())
        assert found is not None
        assert await links.done(db, found.link, clock())
