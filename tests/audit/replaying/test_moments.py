"""What was known at a moment, and what of it was true by the end of a day."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import get_args

import asyncpg
import pytest

from bels.audit.replaying.account_moment import account_moment
from bels.audit.replaying.moments import (
    BY_PERIOD,
    GOES_WITH_BEFORE,
    GOES_WITH_NEXT,
    OWN_DATES,
    History,
    Moment,
    read_history,
    replay,
    rulebook_known,
    set_aside,
)
from bels.demo.situations import SITUATIONS
from bels.domain.account import Situation
from bels.domain.account import replay as fold
from bels.domain.commands import ReceivePayment
from bels.domain.events import (
    AbsenceRegistered,
    AccountOpened,
    Event,
    MeterInstalled,
    PeriodClosed,
    PeriodMissed,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingHeld,
    ReadingSuperseded,
    ResidentsChanged,
    TemporaryResidentsRegistered,
)
from bels.domain.money_events import PaymentReceived, PaymentReversed
from bels.domain.periods import moscow_date
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    HoldReason,
    Locality,
    Mode,
    Period,
    Purpose,
    ReadingKind,
    ReadingStatus,
    Register,
    Role,
    Settlement,
    Stove,
)
from bels.intake import Intake
from bels.journal.codec import MAPPER, to_entry
from bels.journal.entry import Entry
from bels.projections import ledger
from bels.projections.audit import happened_at, tell
from bels.publishing import install_rulebook, publish_demonstration
from bels.rulebooks.shipped import PUBLISHED, shipped
from tests.audit.replaying.towns import UNTIL, live_demonstration
from tests.conftest import new_supplier
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import METER, message, moment, open_household

NOW = datetime(2024, 12, 1, tzinfo=UTC)
PAIRS_OF_AN_ACCOUNT = 8
OPENED = AccountOpened(moment(1, 1), Period("2024-01"), Locality.URBAN, Stove.GAS, 2, 3, 1)
INSTALLED = MeterInstalled(METER, moment(1, 2), Period("2024-01"), {Register.TOTAL: 0}, "акт 1")
METER_ENTRY = EntryNumber(2)


def accepted(at: datetime, value: int, base: int = 2) -> ReadingAccepted:
    """Accept a reading of January."""
    return ReadingAccepted(
        METER_ENTRY,
        Period("2024-01"),
        at,
        None,
        {Register.TOTAL: value},
        EntryNumber(base),
        {Register.TOTAL: value},
        Role.CONSUMER,
    )


def paid(on: date, amount: str) -> PaymentReceived:
    """Receive a payment two days after it was made."""
    at = datetime(on.year, on.month, on.day, 9, tzinfo=UTC) + timedelta(days=2)
    return PaymentReceived(Decimal(amount), on, at, Purpose.ENERGY, f"op {on}")


def history_of(*recorded: tuple[datetime, Event]) -> History:
    """Write entries as the journal has them."""
    rows = []
    for version, (at, event) in enumerate(recorded, 1):
        stored = MAPPER.to_stored_event(
            Entry(AccountNumber("1000101"), version, at, Channel.OFFICE, "clerk:7", "ABCDEFGH", event)
        )
        rows.append((version, stored.topic, stored.state))
    return History("1000101", rows)


def at_once(*events: Event) -> History:
    """Write entries that were all recorded on one day."""
    return history_of(*((moment(11, 1), event) for event in events))


def test_every_event_has_a_date_that_decides_or_goes_with_one_that_has() -> None:
    tables: Sequence[frozenset[type[Event]]] = (frozenset(OWN_DATES), BY_PERIOD, GOES_WITH_BEFORE, GOES_WITH_NEXT)
    assert sum(len(table) for table in tables) == len(get_args(Event))
    assert frozenset().union(*tables) == set(get_args(Event))
    for kind, name in OWN_DATES.items():
        [field] = [field for field in fields(kind) if field.name == name]
        assert field.type == ("datetime" if name.endswith("at") else "date"), kind


def test_what_was_recorded_later_was_not_known() -> None:
    history = history_of(
        (moment(1, 1), OPENED), (moment(1, 2), INSTALLED), (moment(1, 20), accepted(moment(1, 19), 10))
    )
    known = [
        replay(history, Moment(known_at=at), NOW).known for at in (moment(1, 1), moment(1, 19), moment(1, 20), NOW)
    ]
    assert known == [1, 2, 3, 3]
    assert replay(history, Moment(), NOW).last_recorded_at == moment(1, 20)
    assert replay(history, Moment(known_at=moment(1, 1, 11)), NOW).account.situation is Situation.UNKNOWN


def test_an_entry_of_a_slower_clock_was_known_after_the_one_before_it() -> None:
    # The meter was recorded by a server whose clock is an hour behind.
    history = history_of((moment(1, 1, 12), OPENED), (moment(1, 1, 11), INSTALLED))
    assert replay(history, Moment(known_at=moment(1, 1, 11)), NOW).known == 0
    assert replay(history, Moment(known_at=moment(1, 1, 12)), NOW).known == 2


def test_what_came_later_is_set_aside_and_the_numbers_stay() -> None:
    history = at_once(OPENED, INSTALLED, accepted(moment(1, 25), 90), accepted(moment(1, 20), 50))
    then = replay(history, Moment(date(2024, 1, 20)), NOW)
    assert (set(then.aside), then.last, then.known) == ({3}, 4, 4)
    assert [reading.entry for reading in then.account.readings] == [2, 4]
    assert then.account.version == 4
    assert not then.counts(3)
    assert then.counts(4)


def test_a_replacement_is_true_when_both_readings_had_come() -> None:
    # The older reading was known last: it is replaced at once, by one that was received later.
    superseded = ReadingSuperseded(EntryNumber(4), EntryNumber(3))
    history = at_once(OPENED, INSTALLED, accepted(moment(1, 25), 90), accepted(moment(1, 20), 50), superseded)
    early, late = (replay(history, Moment(date(2024, 1, day)), NOW).account for day in (20, 25))
    assert {r.entry: r.status for r in early.readings} == {2: ReadingStatus.ACCEPTED, 4: ReadingStatus.ACCEPTED}
    assert {r.entry: r.status for r in late.readings}[EntryNumber(4)] is ReadingStatus.SUPERSEDED


def test_what_a_confirmation_disproves_is_held_until_it_is_confirmed() -> None:
    held = ReadingHeld(
        METER_ENTRY,
        Period("2024-01"),
        moment(1, 20),
        None,
        {Register.TOTAL: 90},
        METER_ENTRY,
        {Register.TOTAL: 90},
        Role.CONSUMER,
        HoldReason.IMPLAUSIBLE,
    )
    confirmed = ReadingConfirmed(EntryNumber(3), Period("2024-01"), moment(2, 5), ReadingKind.SENT, (), Role.OPERATOR)
    disproved = ReadingDisproved(EntryNumber(3), METER_ENTRY)
    history = at_once(OPENED, INSTALLED, held, confirmed, disproved)
    statuses = [replay(history, Moment(date(2024, 2, day)), NOW).account.readings[-1].status for day in (4, 5)]
    assert statuses == [ReadingStatus.HELD, ReadingStatus.DISPROVED]


def test_residents_and_absences_count_from_their_own_days() -> None:
    changed = ResidentsChanged(date(2024, 3, 1), 5, 1)
    away = AbsenceRegistered(2, date(2024, 3, 10), date(2024, 3, 20))
    history = at_once(OPENED, changed, away)
    told = []
    for day in (date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 10), date(2024, 3, 15), date(2024, 3, 20)):
        residents = account_moment(replay(history, Moment(day), NOW)).residents
        told.append((residents.permanent, residents.absent))
    assert told == [(3, 0), (5, 0), (5, 0), (5, 2), (5, 0)]


def test_a_period_is_closed_from_the_day_of_its_closing_with_all_that_the_closing_said() -> None:
    closed = PeriodClosed(
        Period("2024-01"),
        moment(2, 1, 0),
        Mode.NORMATIVE,
        {Register.TOTAL: 138},
        (),
        1,
        None,
        None,
        Settlement.REDISTRIBUTE,
        (),
        (),
        deferred=False,
        rulebook="test",
        charged=Decimal("100.00"),
        due_on=date(2024, 2, 10),
    )
    history = at_once(OPENED, PeriodMissed(Period("2024-01"), 1), closed)
    before, after = (replay(history, Moment(day), NOW) for day in (date(2024, 1, 31), date(2024, 2, 1)))
    assert (set(before.aside), set(after.aside)) == ({2, 3}, set())
    assert (before.account.next_period, after.account.next_period) == ("2024-01", "2024-02")
    assert (account_moment(before).balance, account_moment(after).balance) == (Decimal(0), Decimal("100.00"))
    assert account_moment(replay(history, Moment(date(2024, 2, 10)), NOW)).overdue == 0
    assert account_moment(replay(history, Moment(date(2024, 2, 11)), NOW)).overdue == Decimal("100.00")


def test_a_payment_counts_from_the_day_on_which_it_was_made() -> None:
    history = history_of((moment(1, 1), OPENED), (moment(2, 5), paid(date(2024, 2, 3), "50.00")))
    balances = {
        (day, known): account_moment(replay(history, Moment(date(2024, 2, day), moment(2, known)), NOW)).balance
        for day in (2, 3)
        for known in (4, 5)
    }
    assert balances == {(2, 4): 0, (2, 5): 0, (3, 4): 0, (3, 5): Decimal("-50.00")}


def test_what_counts_from_a_day_is_told_on_that_day_however_late_it_was_recorded() -> None:
    on = date(2024, 2, 3)
    midnight = moment(2, 3, 0)
    assert happened_at(paid(on, "50.00")) == midnight
    assert happened_at(replace(paid(on, "50.00"), paid_at=moment(2, 3, 17))) == moment(2, 3, 17)
    assert happened_at(replace(paid(on, "50.00"), received_at=moment(2, 3, 18))) == moment(2, 3, 18)
    assert happened_at(AbsenceRegistered(2, on, date(2024, 3, 20))) == midnight
    assert happened_at(TemporaryResidentsRegistered(2, on, date(2024, 3, 20))) == midnight
    assert happened_at(ResidentsChanged(on, 5, 1)) == midnight


def test_a_payment_that_was_taken_back_before_it_was_made_stands_as_the_ledger_says() -> None:
    reversed_ = PaymentReversed(
        EntryNumber(2), Decimal("50.00"), date(2024, 2, 2), moment(2, 2), Purpose.ENERGY, "op", "ошибка банка"
    )
    history = at_once(OPENED, paid(date(2024, 2, 3), "50.00"), reversed_)
    balances = [account_moment(replay(history, Moment(date(2024, 2, day)), NOW)).balance for day in (1, 2, 3)]
    assert balances == [0, Decimal("50.00"), 0]


def test_the_states_on_the_way_are_those_of_a_replay_that_ends_there() -> None:
    days = [date(2024, 2, 1) + timedelta(days=7 * i % 60) for i in range(240)]
    events: list[Event] = [OPENED, INSTALLED, *(paid(day, f"{i}.00") for i, day in enumerate(days, 1))]
    # One is taken back before it was made, far behind it.
    first, amount = next(
        (i, e.amount) for i, e in enumerate(events, 1) if isinstance(e, PaymentReceived) and e.paid_on == days[8]
    )
    taken = PaymentReversed(
        EntryNumber(first), amount, date(2024, 2, 2), moment(2, 2), Purpose.ENERGY, "op", "ошибка банка"
    )
    history = at_once(*events[:180], taken, *events[180:])
    for at in (Moment(), Moment(date(2024, 2, 20)), Moment(date(2024, 2, 1))):
        then = replay(history, at, NOW)
        assert len(then.marks) == 2
        for entry in range(0, then.known + 1, 9):
            assert then.after(entry) == replay(History("1000101", history.rows[:entry]), at, NOW).account, entry
        assert then.after(then.known) == then.account


def test_nothing_is_known_of_an_account_without_entries() -> None:
    then = replay(History("1000101", []), Moment(date(2024, 1, 1)), NOW)
    assert (then.known, then.last, then.last_recorded_at) == (0, 0, None)
    assert then.account.situation is Situation.UNKNOWN


@pytest.fixture(scope="module")
def supplier(postgres: str, template: str) -> str:
    """Give the database of a town, empty still."""
    return new_supplier(postgres, template, "bels_test_moments")


@pytest.fixture
async def town(supplier: str) -> AsyncIterator[asyncpg.Pool]:
    """Give a town that has lived eight months; it lives once."""
    async with asyncpg.create_pool(supplier, min_size=1, max_size=4) as pool:
        if not await pool.fetchval("SELECT EXISTS (SELECT FROM journal)"):
            async for _ in live_demonstration(pool, len(SITUATIONS) + 15, 8):
                pass
        yield pool


async def accounts_of(pool: asyncpg.Pool) -> list[str]:
    """Name all streams but the rulebook's."""
    return [
        row["account"]
        for row in await pool.fetch("SELECT account FROM overview WHERE account <> 'rulebook' ORDER BY account")
    ]


async def test_the_balance_at_any_pair_of_moments_is_what_the_ledger_says(town: asyncpg.Pool) -> None:
    chance = Random(3)
    compared = different = 0
    for number in await accounts_of(town):
        async with town.acquire() as db:
            history = await read_history(db, number)
            for _ in range(PAIRS_OF_AN_ACCOUNT):
                known_at = UNTIL - timedelta(hours=chance.randrange(24 * 250))
                day = moscow_date(known_at) + timedelta(days=chance.randrange(-60, 8))
                then = account_moment(replay(history, Moment(day, known_at), UNTIL))
                assert (then.balance, then.penalty) == await ledger.balance_as_of(db, number, day, known_at)
                assert then.overdue == sum(bill.open for bill in then.owed if bill.due_on < day)
                compared += 1
                different += then.set_aside > 0 and then.known > then.set_aside
    assert compared > 300
    # In a good part of them something was known that was not true yet.
    assert different > 50


async def test_the_ledger_knows_what_a_replay_knows_where_the_clocks_of_servers_differ(pool: asyncpg.Pool) -> None:
    behind, ahead = moment(2, 5), moment(2, 5) + timedelta(seconds=8)
    servers = [Intake(pool, DEFAULT_RULEBOOK, lambda: ahead), Intake(pool, DEFAULT_RULEBOOK, lambda: behind)]
    await servers[1].handle(open_household("1000101"))
    for name, server in zip(("ahead", "behind"), servers, strict=True):
        payment = ReceivePayment(Decimal("50.00"), date(2024, 2, 3), behind, name)
        (taken,) = await server.handle([message("1000101", payment, name)])
        assert taken.version is not None
    async with pool.acquire() as db:
        history = await read_history(db, "1000101")
        for seconds, owed in ((-1, 0), (0, 0), (4, 0), (8, -100)):
            known_at, day = behind + timedelta(seconds=seconds), date(2024, 2, 5)
            then = account_moment(replay(history, Moment(day, known_at), NOW))
            assert then.balance == owed
            assert (then.balance, then.penalty) == await ledger.balance_as_of(db, "1000101", day, known_at)


async def test_what_has_no_date_of_its_own_goes_with_an_entry_of_the_same_message(town: asyncpg.Pool) -> None:
    followed = 0
    for number in await accounts_of(town):
        async with town.acquire() as db:
            history = await read_history(db, number)
        entries = [to_entry(number, *row) for row in history.rows]
        for i, entry in enumerate(entries):
            kind = type(entry.event)
            if kind in GOES_WITH_NEXT:
                leader = entries[i + 1]
            elif kind in GOES_WITH_BEFORE:
                leader = next(e for e in reversed(entries[:i]) if type(e.event) in OWN_DATES)
            else:
                continue
            assert leader.receipt == entry.receipt
            followed += 1
    assert followed > 50


async def test_what_the_trail_says_was_true_on_a_day_is_what_a_replay_counts_from_that_day(town: asyncpg.Pool) -> None:
    compared = 0
    for number in await accounts_of(town):
        async with town.acquire() as db:
            history = await read_history(db, number)
        for entry in (to_entry(number, *row) for row in history.rows):
            if type(entry.event) in OWN_DATES:
                own = getattr(entry.event, OWN_DATES[type(entry.event)])
                told = moscow_date(tell(entry).happened_at)
                assert told == (moscow_date(own) if isinstance(own, datetime) else own), entry
                compared += 1
    assert compared > 500


async def test_an_account_of_any_day_is_a_fold_of_what_counts_and_keeps_its_numbers(town: asyncpg.Pool) -> None:
    for number in (await accounts_of(town))[:20]:
        async with town.acquire() as db:
            history = await read_history(db, number)
        whole = replay(history, Moment(), UNTIL)
        assert whole.account == fold(replay(History(number, []), Moment(), UNTIL).account, history.events(whole.known))
        for back in range(0, 240, 17):
            day = moscow_date(UNTIL) - timedelta(days=back)
            then = replay(history, Moment(day), UNTIL)
            assert then.aside == set_aside(history.events(then.known), day)
            named = {r.entry for r in then.account.readings} | {m.entry for m in then.account.meters}
            assert named.isdisjoint(then.aside)
            assert {p.entry for p in then.account.ledger.payments}.isdisjoint(then.aside)


async def test_the_rules_that_were_known_are_those_published_by_then(pool: asyncpg.Pool) -> None:
    at = moment(1, 10)
    intake = Intake(pool, shipped(PUBLISHED), lambda: at)
    await install_rulebook(pool, intake)
    at = moment(2, 10)
    await publish_demonstration(pool, intake)
    async with pool.acquire() as db:
        books = [await rulebook_known(db, known) for known in (moment(1, 9), moment(1, 10), moment(2, 9), None)]
    assert [found and found.book.number for found in books] == [None, 1, 1, 2]
