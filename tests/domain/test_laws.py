"""Laws that hold for any life of an account, whatever the household, the bank and the inspector did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bels.domain.account import Account, nobody, replay
from bels.domain.actual_readings import chain
from bels.domain.apportion import apportion
from bels.domain.close_period import close_period
from bels.domain.commands import (
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    MovePaymentOut,
    OpenAccount,
    RejectReading,
    ReversePayment,
    SubmitReading,
)
from bels.domain.decide import decide
from bels.domain.events import Event, PeriodClosed, ReadingAccepted, UsageRecalculated
from bels.domain.periods import MOSCOW, moscow_date, over_at, period_of, shift, window_of
from bels.domain.post_movements import movements
from bels.domain.rulebook import Rulebook, Settings
from bels.domain.terms import (
    Locality,
    MeterModel,
    Mode,
    Period,
    Purpose,
    ReadingStatus,
    Register,
    Role,
    Settlement,
    Stove,
)
from tests.domain.absurd import absurd_commands
from tests.domain.lives import FIRST, Life, Lived, TrueMeter, live, lives, moment, true_meters
from tests.rules import DEFAULT_RULEBOOK


def steady(examples: int) -> settings:
    """Give the settings of a law: the same examples on every run, and as many as its time allows."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


POLICIES = list(Settlement)

STRICTER = replace(
    DEFAULT_RULEBOOK,
    name="stricter",
    settings=(
        (
            date(2000, 1, 1),
            Settings(
                settlement=Settlement.IN_PERIOD,
                reading_deadline_day=20,
                max_average_periods=1,
                average_min_periods=6,
                average_window_periods=12,
                rollover_top_percent=0,
                plausible_kw=1,
                plausible_average_factor=1,
                plausible_floor_kwh=1,
                implausible_confirmed_by=Role.OPERATOR,
                interference_periods_max=1,
            ),
        ),
    ),
)


def billed(account: Account) -> dict[Register, int]:
    """Add up the kWh that now stand billed, per register, without empty ones."""
    kwh: dict[Register, int] = {}
    for closed in account.closed:
        for register, part in closed.stands.items():
            kwh[register] = kwh.get(register, 0) + part
    return {register: part for register, part in kwh.items() if part}


def read(lived: Lived, through: Period) -> dict[Register, int]:
    """Add up what the registers of all meters say was used since their initial readings, without empty ones."""
    kwh: dict[Register, int] = {}
    for meter in lived.account.meters:
        readings = chain(lived.account, meter.entry, through)
        if not readings:
            continue
        since, until = lived.shown[readings[0].entry], lived.shown[readings[-1].entry]
        for register in since:
            kwh[register] = kwh.get(register, 0) + until[register] - since[register]
    return {register: part for register, part in kwh.items() if part}


def is_settled(closed: PeriodClosed) -> bool:
    """Say whether a closing bills everything that was read: METERED, and no reading waits for the next bill."""
    return closed.mode is Mode.METERED and not closed.deferred


def is_pending(life: Life, lived: Lived) -> bool:
    """Say whether a meter hangs there of which bels does not know yet: readings go astray until then."""
    return life.replaced is not None and len(lived.account.meters) < len(life.meters)


@pytest.mark.parametrize("policy", POLICIES)
@steady(150)
@given(life=lives())
def test_kwh_are_conserved_by_every_metered_closing(policy: Settlement, life: Life) -> None:
    for lived, events in live(life, DEFAULT_RULEBOOK.with_settlement(policy)):
        closed = next((e for e in events if isinstance(e, PeriodClosed)), None)
        if closed is None or not is_settled(closed) or is_pending(life, lived) or lived.inexpressible:
            continue
        if policy is Settlement.IN_PERIOD:
            # A norm is billed as ``total`` and subtracted from zones: the law holds for the whole of the registers.
            assert sum(billed(lived.account).values()) == sum(read(lived, closed.period).values())
        else:
            assert billed(lived.account) == read(lived, closed.period)


@pytest.mark.parametrize("policy", POLICIES)
@steady(60)
@given(life=lives())
def test_replay_equals_live_and_the_chain_of_recalculations_never_breaks(policy: Settlement, life: Life) -> None:
    lived: Lived | None = None
    for now, _ in live(life, DEFAULT_RULEBOOK.with_settlement(policy)):
        lived = now
    assert lived is not None
    check_books(lived.account, lived.events)


def check_books(account: Account, events: list[Event]) -> None:
    """Check replay, the sums of lines, and that each recalculation starts from what stood."""
    assert replay(nobody(account.number), events) == account
    assert account.version == len(events)
    stands: dict[Period, Mapping[Register, int]] = {c.period: c.usage for c in account.closed}
    for event in events:
        if isinstance(event, PeriodClosed):
            lines: dict[Register, int] = {}
            for line in event.lines:
                lines[line.register] = lines.get(line.register, 0) + line.kwh
            assert event.usage == lines
            assert event.missed_in_a_row >= 0
        if isinstance(event, UsageRecalculated):
            assert event.before == stands[event.period]
            stands[event.period] = event.after
    assert {c.period: c.stands for c in account.closed} == stands
    assert [c.period for c in account.closed] == [
        shift(account.closed[0].period, i) for i in range(len(account.closed))
    ]


@steady(400)
@given(asked=absurd_commands())
def test_whatever_is_asked_in_whatever_order_gets_an_answer_and_the_books_stay_straight(asked: list[Command]) -> None:
    rulebook = DEFAULT_RULEBOOK
    account, told = nobody("1000000"), list[Event]()
    for wish in asked:
        command = aimed(account, wish)
        events = decide(account, command, rulebook)
        assert events
        account = replay(account, events)
        told += events
        if account.next_period and account.last_period is None:
            decide(account, ClosePeriod(account.next_period, over_at(account.next_period)), rulebook)
    check_books(account, told)
    moved = dict.fromkeys(Purpose, Decimal(0))
    closed_on = None
    for event in told:
        closed_on = moscow_date(event.closed_at) if isinstance(event, PeriodClosed) else closed_on
        for movement in movements(event, closed_on):
            moved[movement.purpose] += movement.amount
    assert moved == {Purpose.ENERGY: account.ledger.balance, Purpose.PENALTY: account.ledger.penalty}
    for command in asked:
        assert decide(account, command, STRICTER)


def aimed(account: Account, command: Command) -> Command:
    """Aim at a reading that is held, or at a payment that was made, if there is one: by chance a wish would seldom hit."""
    held = [r.entry for r in account.readings if r.status is ReadingStatus.HELD]
    if held and isinstance(command, ConfirmReading | RejectReading):
        return replace(command, reading=held[command.reading % len(held)])
    paid = [p.entry for p in account.ledger.payments]
    if paid and isinstance(command, ReversePayment | MovePaymentOut):
        return replace(command, payment=paid[command.payment % len(paid)])
    return command


@pytest.mark.parametrize("policy", POLICIES)
@steady(40)
@given(life=lives())
def test_a_stricter_rule_never_stops_an_old_account(policy: Settlement, life: Life) -> None:
    lived: Lived | None = None
    for now, _ in live(life, DEFAULT_RULEBOOK.with_settlement(policy)):
        lived = now
    assert lived is not None
    account = replay(nobody("1000000"), lived.events)

    for command in lived.commands:
        assert decide(account, command, STRICTER)
    for _ in range(3):
        account = replay(account, close_next(account, STRICTER))
    assert account.closed[-1].period == shift(FIRST, life.months + 2)


def close_next(account: Account, rulebook: Rulebook) -> tuple[Event, ...]:
    """Close the next period."""
    return close_period(account, ClosePeriod(account.next_period, over_at(account.next_period)), rulebook)


def household(meter: MeterModel, values: Mapping[Register, int]) -> Account:
    """Open an account with a meter installed on 1 January 2024."""
    account = nobody("1000000")
    opened_at = datetime(2024, 1, 1, tzinfo=MOSCOW)
    for command in (
        OpenAccount(opened_at, Locality.URBAN, Stove.GAS, 2, 3),
        InstallMeter(meter, opened_at, values),
    ):
        account = replay(account, decide(account, command, DEFAULT_RULEBOOK))
    return account


@pytest.mark.parametrize("policy", POLICIES)
@steady(30)
@given(meter=true_meters(), days=st.lists(st.integers(1, 31), min_size=1, max_size=14))
def test_an_unchanged_reading_is_accepted_every_month_and_bills_nothing(
    policy: Settlement, meter: TrueMeter, days: list[int]
) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(policy)
    account = household(meter.model, meter.initial)
    texts = {register.value: str(value) for register, value in meter.initial.items()}
    for month, day in enumerate(days):
        accepted = decide(account, SubmitReading(moment(month, day), texts), rulebook)
        assert isinstance(accepted[0], ReadingAccepted)
        assert not any(accepted[0].delta.values())
        account = replay(account, accepted)
    for _ in days:
        account = replay(account, close_next(account, rulebook))
    settled = account.closed[-1].mode is Mode.METERED
    assert not settled or sum(billed(account).values()) == 0


@pytest.mark.parametrize("policy", POLICIES)
@steady(80)
@given(
    meter=true_meters(),
    used=st.lists(st.sampled_from((-20, 0, 30, 90, 400, 5000, 70_000)), min_size=2, max_size=4),
    data=st.data(),
)
def test_the_order_in_which_a_window_s_messages_arrive_does_not_matter(
    policy: Settlement, meter: TrueMeter, used: list[int], data: st.DataObject
) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(policy)
    account = household(meter.model, meter.initial)
    silent = data.draw(st.integers(0, 4))
    for _ in range(1 + silent):
        account = replay(account, close_next(account, rulebook))
    window = window_of(account.next_period)
    step = (window[1] - window[0]) / (len(used) + 1)
    messages = []
    for i, kwh in enumerate(used):
        values = {r.value: str((v + kwh) % meter.turn) for r, v in meter.initial.items()}
        messages.append(SubmitReading(window[0] + step * (i + 1), values))
    outcomes = []
    for arrival in permutations(messages):
        now = account
        for message in arrival:
            now = replay(now, decide(now, message, rulebook))
        statuses = {r.at: (r.status, r.hold, tuple(r.values.items())) for r in now.readings}
        closed = close_next(now, rulebook)
        bill = next(e for e in closed if isinstance(e, PeriodClosed))
        changed = [(e.period, e.before, e.after) for e in closed if isinstance(e, UsageRecalculated)]
        outcomes.append((statuses, bill.mode, bill.usage, changed))
    assert all(outcome == outcomes[0] for outcome in outcomes)
    counting = [at for at, (status, _, _) in outcomes[0][0].items() if status is ReadingStatus.ACCEPTED]
    assert len(counting) <= 2


@steady(300)
@given(
    seconds=st.integers(631_152_000, 3_786_912_000),
    microsecond=st.integers(0, 999_999),
    deadline=st.integers(20, 27),
)
def test_the_window_and_the_period_of_an_instant_agree(seconds: int, microsecond: int, deadline: int) -> None:
    at = datetime.fromtimestamp(seconds, tz=MOSCOW).replace(microsecond=microsecond)
    period = period_of(at, deadline)
    since, until = window_of(period, deadline)

    assert since <= at < until
    assert period_of(until, deadline) == shift(period, 1)
    assert period_of(until - timedelta(microseconds=1), deadline) == period
    assert period_of(since, deadline) == period


@pytest.mark.parametrize(
    ("instant", "period"),
    [
        ("2024-06-25T20:59:59.999999+00:00", "2024-06"),
        ("2024-06-25T21:00:00+00:00", "2024-07"),
        ("2024-06-25T21:30:00+00:00", "2024-07"),
        ("2024-12-25T23:59:59.999999+03:00", "2024-12"),
        ("2024-12-26T00:00:00+03:00", "2025-01"),
        ("2024-06-01T00:00:00+03:00", "2024-06"),
    ],
)
def test_the_deadline_is_midnight_of_moscow(instant: str, period: str) -> None:
    assert period_of(datetime.fromisoformat(instant)) == period


@steady(300)
@given(total=st.integers(0, 10**7), weights=st.lists(st.integers(0, 31), min_size=1, max_size=24))
def test_shares_add_up_stay_within_one_and_give_ties_to_the_earlier(total: int, weights: list[int]) -> None:
    assume(sum(weights) > 0)
    shares = apportion(total, weights)
    whole = sum(weights)

    assert sum(shares) == total
    assert all(abs(share * whole - total * weight) < whole for share, weight in zip(shares, weights, strict=True))
    for i, weight in enumerate(weights):
        assert all(shares[i] >= shares[j] for j in range(i + 1, len(weights)) if weights[j] == weight)
