"""Laws of money that hold whatever is paid, taken back, moved, returned or published, and in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bels.domain.account import nobody, replay
from bels.domain.allocate_payment import allocate
from bels.domain.commands import ClosePeriod, ConfirmReading, InstallMeter, OpenAccount, SubmitReading
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, PeriodClosed, ReadingHeld, UsageRecalculated
from bels.domain.money import to_kopecks
from bels.domain.money_events import PenaltyAccrued
from bels.domain.periods import MOSCOW, days_in, over_at, shift
from bels.domain.terms import (
    EntryNumber,
    LedgerName,
    Locality,
    MeterModel,
    MovementKind,
    Period,
    Purpose,
    Reason,
    RecalculationReason,
    Register,
    Role,
    Scheme,
    Stove,
)
from tests.domain.books import (
    HERE,
    NOTHING,
    NOWHERE,
    THERE,
    WISHES,
    Desk,
    Wish,
    last_day,
    penalties_posted,
    penalty_of,
    posted,
    second_opinion,
    wishes,
)
from tests.domain.lives import REGISTERS
from tests.domain.test_charge_usage import by_hand, largest_remainder
from tests.domain.test_laws import check_books, steady
from tests.rules import DEFAULT_RULEBOOK


def held(desk: Desk, numbers: Sequence[str]) -> Counter[LedgerName]:
    """Give the trial balance of accounts: what each ledger holds, debits less credits."""
    ledgers: dict[LedgerName, Decimal] = dict.fromkeys(LedgerName, NOTHING)
    for number in numbers:
        for movement in posted(desk.events[number]):
            debit, credit = movement.sides(number == NOWHERE)
            assert debit is not credit
            ledgers[debit] += abs(movement.amount)
            ledgers[credit] -= abs(movement.amount)
    return Counter(ledgers)


@steady(200)
@given(wished=wishes())
def test_debits_equal_credits_for_every_account_and_for_all_together_at_every_moment(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        desk.grant(wish)
        for number in (HERE, THERE, NOWHERE):
            ledger = desk.accounts[number].ledger
            own = held(desk, [number])
            assert sum(own.values()) == 0
            receivable = own[LedgerName.SUSPENSE if number == NOWHERE else LedgerName.RECEIVABLE]
            assert receivable == ledger.balance
            assert own[LedgerName.PENALTY_RECEIVABLE] == ledger.penalty
            assert own[LedgerName.PENALTY_INCOME] == -penalties_posted(desk.events[number])
        everybody = held(desk, [HERE, THERE, NOWHERE])
        assert sum(everybody.values()) == 0
        # A payment that was moved has arrived: nothing stays on the way.
        assert everybody[LedgerName.TRANSFERS] == 0


@steady(200)
@given(wished=wishes())
def test_movements_add_up_to_the_balance_and_debts_less_credits_are_the_balance(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        desk.grant(wish)
        for number, account in desk.accounts.items():
            ledger = account.ledger
            moved = dict.fromkeys(Purpose, NOTHING)
            for movement in posted(desk.events[number]):
                moved[movement.purpose] += movement.amount
                assert movement.amount == to_kopecks(movement.amount)
            assert moved == {Purpose.ENERGY: ledger.balance, Purpose.PENALTY: ledger.penalty}
            owed = sum((d.amount for d in ledger.debts), NOTHING)
            assert owed - sum((c.amount for c in ledger.credits), NOTHING) == ledger.balance
            assert ledger.overpaid == max(-ledger.balance, NOTHING)


@steady(200)
@given(wished=wishes())
def test_the_oldest_debt_is_paid_first_and_nothing_is_paid_twice(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        desk.grant(wish)
        for number, account in desk.accounts.items():
            ledger = account.ledger
            allocated = allocate(ledger)
            used: dict[int, Decimal] = {c.entry: NOTHING for c in ledger.credits}
            is_open = False
            for a in allocated:
                assert a.open >= 0
                assert all(p.amount > 0 for p in a.paid)
                assert a.open + sum((p.amount for p in a.paid), NOTHING) == a.debt.amount
                # No younger debt is touched while an older one is open.
                assert not (is_open and a.paid)
                is_open |= bool(a.open)
                for p in a.paid:
                    used[p.credit] += p.amount
            brought = {c.entry: c.amount for c in ledger.credits}
            left = [amount - used[entry] for entry, amount in brought.items()]
            assert all(part >= 0 for part in left)
            assert sum((a.open for a in allocated), NOTHING) - sum(left, NOTHING) == ledger.balance
            debts, advance = second_opinion(desk.events[number])
            assert [(a.debt.amount, a.open) for a in allocated] == [(d.amount, d.left) for d in debts]
            assert [[(p.on, p.amount) for p in a.paid] for a in allocated] == [d.paid for d in debts]
            assert sum(left, NOTHING) == advance


@steady(250)
@given(wished=wishes(90))
def test_after_every_closing_penalties_are_those_of_one_formula_whatever_was_posted_before(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        number, events = desk.grant(wish)
        check_penalties(desk, number, events)


def check_penalties(desk: Desk, number: str, events: tuple[Event, ...]) -> None:
    """Check what a closing posts of penalties against one formula for each debt."""
    for event in events:
        if isinstance(event, PeriodClosed):
            through = last_day(event.period)
            # The bill itself falls due later than the last day of its period.
            debts, _ = second_opinion(desk.events[number])
            expected = sum((penalty_of(d, through, desk.rulebook) for d in debts), NOTHING)
            assert penalties_posted(desk.events[number]) == expected
        if isinstance(event, PenaltyAccrued):
            assert event.amount == sum((s.accrued - s.posted_before for s in event.sums), NOTHING)
            for s in event.sums:
                assert s.accrued == sum((line.amount for line in s.lines), NOTHING)
                assert s.accrued != s.posted_before
                assert all((x.until - x.since).days + 1 == x.days > 0 for x in s.lines)


@steady(200)
@given(wished=wishes())
def test_a_bill_is_its_lines_and_a_recalculation_starts_from_what_stood(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        desk.grant(wish)
    for number in (HERE, THERE):
        account, events = desk.accounts[number], desk.events[number]
        check_books(account, events)
        check_prices(events)
        stands = {c.period: c.money for c in account.closed}
        for closed in account.closed:
            lines = [e for e in events if isinstance(e, UsageRecalculated) and e.period == closed.period]
            (bill,) = (e for e in events if isinstance(e, PeriodClosed) and e.period == closed.period)
            assert stands[closed.period] == bill.charged + sum((e.difference for e in lines), NOTHING)
            kwh: Counter[str] = Counter()
            for charge in closed.charges:
                kwh[charge.register] += charge.kwh
            assert {r: n for r, n in kwh.items() if n} == {r: n for r, n in closed.stands.items() if n}


def check_prices(events: list[Event]) -> None:
    """Check that every line is its product, every bill its lines, every recalculation begins where the last one ended."""
    stands: dict[str, Decimal] = {}
    for i, event in enumerate(events):
        if isinstance(event, PeriodClosed):
            assert event.charged == sum((c.amount for c in event.charges), NOTHING)
            own = [e for e in events[i:] if isinstance(e, UsageRecalculated) and e.posted_in == event.period]
            assert event.recalculated == sum((e.difference for e in own), NOTHING)
            assert event.bill == event.charged + event.recalculated
            stands[event.period] = event.charged
        if isinstance(event, UsageRecalculated):
            assert event.money_before == stands[event.period]
            assert event.money_after == sum((c.amount for c in event.charges), NOTHING)
            stands[event.period] = event.money_after
            if event.reason is RecalculationReason.TARIFF_CHANGED:
                assert event.before == event.after
                assert event.difference
                assert event.ground
        if isinstance(event, PeriodClosed | UsageRecalculated):
            for line in event.charges:
                if line.coefficient is None:
                    assert line.amount == to_kopecks(line.kwh * line.rate)
                else:
                    assert (line.kwh, line.coefficient) == (0, Decimal("1.5"))


@steady(150)
@given(wished=wishes())
def test_replayed_money_equals_live_money_and_a_refusal_moves_none(wished: list[Wish]) -> None:
    desk = Desk()
    kinds: set[MovementKind] = set()
    for wish in wished:
        desk.grant(wish)
    for number, events in desk.events.items():
        assert replay(nobody(number), events) == desk.accounts[number]
        for event in events:
            moved = list(posted([event]))
            kinds |= {m.kind for m in moved}
            assert not (isinstance(event, CommandRefused) and moved)


@steady(200)
@given(
    registers=st.sampled_from(REGISTERS),
    since=st.integers(0, 12),
    history=st.lists(st.integers(0, 400), min_size=0, max_size=5),
    gap=st.integers(1, 6),
    truly=st.lists(st.one_of(st.integers(0, 2000), st.integers(0, 12_000)), min_size=3, max_size=3),
)
def test_a_gap_costs_what_its_true_consumption_costs_spread_by_days_at_each_month_s_own_tariff(
    registers: tuple[Register, ...], since: int, history: list[int], gap: int, truly: list[int]
) -> None:
    model = MeterModel("M1", 6, registers)
    first = shift(Period("2024-03"), since)
    at = over_at(shift(first, -1))
    desk = Desk(DEFAULT_RULEBOOK)
    desk.accounts[HERE], desk.events[HERE] = nobody(HERE), []
    desk.ask(HERE, OpenAccount(at, Locality.URBAN, Stove.GAS, 2, 3))
    desk.ask(HERE, InstallMeter(model, at, dict.fromkeys(registers, 0)))
    shown = dict.fromkeys(registers, 0)
    period = first
    for kwh in history:
        shown = {r: n + kwh for r, n in shown.items()}
        read(desk, period, shown)
        period = close(desk, period)
    if not history:
        # The initial values are the actual reading of the month of installation.
        period = close(desk, period)
    months = [shift(period, n) for n in range(gap)]
    shown = {r: n + more for (r, n), more in zip(shown.items(), truly, strict=False)}
    for month in months:
        if month == months[-1]:
            read(desk, month, shown)
        close(desk, month)

    events = desk.events[HERE]
    bills = [e for e in events if isinstance(e, PeriodClosed) and e.period in months]
    shares = {r: largest_remainder(n, [days_in(m) for m in months]) for r, n in zip(registers, truly, strict=False)}
    expected = NOTHING
    for i, month in enumerate(months):
        limits = (3900, 6000) if month >= "2025-01" else ()
        for (register, number), kwh in by_hand({r: shares[r][i] for r in registers}, limits).items():
            scheme = {1: Scheme.SINGLE, 2: Scheme.TWO_ZONE, 3: Scheme.THREE_ZONE}[len(registers)]
            tariff = DEFAULT_RULEBOOK.tariff_of("MO/urban_gas", scheme, month)
            assert tariff is not None
            rate = tariff.rates[register][number - 1]
            assert rate is not None
            expected += to_kopecks(kwh * rate)
    assert sum((b.bill for b in bills), NOTHING) == expected
    assert [m for m in months if not desk.accounts[HERE].closed_period(m)] == []
    check_prices(events)


def read(desk: Desk, period: Period, shown: dict[Register, int]) -> None:
    """Send a true reading on the 20th; an operator confirms what is held."""
    at = datetime(int(period[:4]), int(period[5:]), 20, tzinfo=MOSCOW)
    (event, *_) = desk.ask(HERE, SubmitReading(at, {r.value: str(n) for r, n in shown.items()}))
    if isinstance(event, ReadingHeld):
        desk.ask(HERE, ConfirmReading(EntryNumber(desk.accounts[HERE].version), at, Role.OPERATOR))


def close(desk: Desk, period: Period) -> Period:
    """Close a period; give the next one."""
    (*_, closed) = (e for e in desk.ask(HERE, ClosePeriod(period, over_at(period))) if isinstance(e, PeriodClosed))
    assert closed.period == period
    return shift(period, 1)


@steady(150)
@given(wished=wishes())
def test_a_period_that_is_closed_again_is_refused_and_posts_nothing(wished: list[Wish]) -> None:
    desk = Desk()
    for wish in wished:
        desk.grant(wish)
    account = desk.accounts[HERE]
    for closed in account.closed:
        (refused,) = decide(account, ClosePeriod(closed.period, over_at(closed.period)), desk.rulebook)
        assert isinstance(refused, CommandRefused)
        assert refused.reason is Reason.PERIOD_ALREADY_CLOSED
        assert replay(account, [refused]).ledger == account.ledger


def test_sixty_long_lives_see_every_kind_of_movement_and_keep_the_laws() -> None:
    # A law that nothing reaches says nothing.
    kinds: Counter[MovementKind] = Counter()
    reasons: Counter[RecalculationReason] = Counter()
    penalties: Counter[bool] = Counter()
    for life in range(60):
        chance = Random(life)
        desk = Desk()
        for _ in range(110):
            wish = Wish(chance.choice(WISHES), chance.random() < 0.3, chance.randint(1, 28), chance.randrange(10_000))
            number, events = desk.grant(wish)
            check_penalties(desk, number, events)
        for number, told in desk.events.items():
            check_prices(told)
            moved = list(posted(told))
            ledger = desk.accounts[number].ledger
            assert sum((m.amount for m in moved if m.purpose is Purpose.ENERGY), NOTHING) == ledger.balance
            assert sum((m.amount for m in moved if m.purpose is Purpose.PENALTY), NOTHING) == ledger.penalty
            kinds.update(m.kind for m in moved)
            reasons.update(e.reason for e in told if isinstance(e, UsageRecalculated))
            penalties.update(e.amount > 0 for e in told if isinstance(e, PenaltyAccrued))

    assert set(kinds) == set(MovementKind) - {MovementKind.OPENING}
    assert {RecalculationReason.SETTLEMENT, RecalculationReason.CONTROL, RecalculationReason.TARIFF_CHANGED} <= set(
        reasons
    )
    assert penalties[True] > 50
    assert penalties[False] > 20
