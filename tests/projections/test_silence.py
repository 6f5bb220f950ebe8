"""What silence will be billed is what the closings then bill, to the kWh."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import settings as sampled
from hypothesis import strategies as st

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import (
    ChangeResidents,
    ClosePeriod,
    Command,
    InstallMeter,
    OpenAccount,
    ReceivePayment,
    RecordAccessRefusal,
    RegisterAbsence,
    RegisterTemporaryResidents,
    RemoveMeter,
    ReportMeterFailure,
    SubmitReading,
    TakeControlReading,
)
from bels.domain.decide import decide
from bels.domain.events import PeriodClosed
from bels.domain.forecast_estimate import PERIODS_AHEAD, Silent, forecast_estimate
from bels.domain.periods import MOSCOW, over_at, shift
from bels.domain.rulebook import Rulebook, Settings
from bels.domain.terms import FailureCause, Locality, MeterModel, Mode, Period, Register, Rule, Settlement, Stove
from bels.intake import Intake
from bels.projections import estimation, usage
from bels.projections.project import retell
from tests.domain.lives import Life, live, lives
from tests.domain.vectors import command_of, opening, settlement_of, steps, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import feed, message, moment, numbers, open_household, reading, today

BILLING = vectors("billing")


def silently(account: Account, rulebook: Rulebook) -> dict[Period, PeriodClosed]:
    """Close the coming periods without any reading, and give what they were billed."""
    billed = {}
    for _ in range(PERIODS_AHEAD):
        if not account.next_period:
            break
        closing = ClosePeriod(account.next_period, over_at(account.next_period))
        events = decide(account, closing, rulebook)
        for event in events:
            if isinstance(event, PeriodClosed):
                billed[event.period] = event
        account = replay(account, events)
    return billed


def as_silent(closed: PeriodClosed) -> Silent:
    return Silent(closed.period, closed.mode, closed.usage, closed.lines[0].rule, closed.missed_in_a_row)


def check(account: Account, rulebook: Rulebook) -> Counter[tuple[Mode, Rule]]:
    """Compare the forecast with the closings: nothing else is billed, and no estimate comes unforeseen."""
    forecast = forecast_estimate(account, rulebook)
    billed = silently(account, rulebook)
    assert forecast.silent == tuple(as_silent(billed[s.period]) for s in forecast.silent)
    acts = {m.installed_in for m in account.meters}
    unforeseen = [
        p
        for p, closed in billed.items()
        if p not in {s.period for s in forecast.silent}
        and closed.mode is not Mode.METERED
        # A reading or an act is known: NEXT_PERIOD lets it wait, and an installation ends a failed meter's period.
        and not closed.deferred
        and p not in acts
    ]
    assert unforeseen == []
    return Counter((s.mode, s.rule) for s in forecast.silent)


def test_at_every_moment_of_every_vector_silence_is_billed_as_foretold() -> None:
    foretold: Counter[tuple[Mode, Rule]] = Counter()
    for vector in BILLING:
        # Silence is told in kWh: a rate that nobody has published stops closings, so here every rate is known.
        rulebook = DEFAULT_RULEBOOK.with_settlement(settlement_of(vector))
        account = nobody(vector["given"]["account"]["number"])
        entries: dict[str, Any] = {}
        for command in opening(vector):
            account = replay(account, decide(account, command, rulebook))
        for _, kind, what in steps(vector):
            if "account" in what:
                continue
            entries |= {what["ref"]: account.version + 1} if kind == "reading" else {}
            account = replay(account, decide(account, command_of(kind, what, entries), rulebook))
            foretold += check(account, rulebook)

    assert set(foretold) == {
        (Mode.AVERAGE, Rule.P59B),
        (Mode.AVERAGE, Rule.P59G),
        (Mode.NORMATIVE, Rule.P59_2),
        (Mode.NORMATIVE, Rule.P60),
        (Mode.NORMATIVE, Rule.APP2_F4),
        (Mode.NORMATIVE_INCREASED, Rule.P60_3),
    }


@given(lives(), st.sampled_from(Settlement))
@sampled(max_examples=60)
def test_at_every_moment_of_a_life_silence_is_billed_as_foretold(life: Life, settlement: Settlement) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(settlement)
    for lived, _ in live(life, rulebook):
        check(lived.account, rulebook)


METERS = st.integers(1, 3).map(lambda n: MeterModel(f"M{n}", 5, (Register.TOTAL,)))


@st.composite
def acts(draw: st.DrawFn) -> list[Command]:
    """Draw acts of all kinds, in any order, so that many periods may be open behind them."""
    at = st.builds(
        lambda days, hours: datetime(2024, 1, 1, hours, tzinfo=MOSCOW) + timedelta(days=days),
        st.integers(0, 330),
        st.integers(0, 23),
    )
    values = st.integers(0, 3000).map(lambda v: {Register.TOTAL: v})
    day = st.dates(date(2024, 2, 1), date(2024, 12, 1))
    one = st.one_of(
        st.builds(SubmitReading, at, st.integers(0, 3000).map(lambda v: {"total": str(v)})),
        st.builds(InstallMeter, METERS, at, values),
        st.builds(RemoveMeter, at, st.one_of(st.none(), values)),
        st.builds(ReportMeterFailure, at, st.just(FailureCause.FAILED)),
        st.builds(RecordAccessRefusal, at),
        st.builds(RecordAccessRefusal, at),
        st.builds(TakeControlReading, at, values),
        st.builds(ChangeResidents, day, st.integers(0, 6), at),
        st.builds(lambda d, n, a: RegisterTemporaryResidents(2, d, d + timedelta(n), a), day, st.integers(6, 90), at),
        st.builds(lambda d, n, a: RegisterAbsence(1, d, d + timedelta(n), a), day, st.integers(7, 90), at),
        st.integers(1, 4).map(lambda n: ClosePeriod(Period(str(n)), moment(1, 1))),
    )
    return draw(st.lists(one, max_size=14))


@given(acts(), st.sampled_from(Settlement))
@sampled(max_examples=150)
def test_whatever_acts_were_drawn_up_silence_is_billed_as_foretold(drawn: list[Command], policy: Settlement) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(policy)
    account = nobody("1000000")
    opened = OpenAccount(moment(1, 1), Locality.URBAN, Stove.ELECTRIC, 1, 2)
    account = replay(account, decide(account, opened, rulebook))
    for command in drawn:
        if isinstance(command, ClosePeriod):
            for _ in range(int(command.period)):
                closing = ClosePeriod(account.next_period, over_at(account.next_period))
                account = replay(account, decide(account, closing, rulebook))
        else:
            account = replay(account, decide(account, command, rulebook))
        check(account, rulebook)


def test_settings_that_change_on_a_date_change_the_forecast_from_that_date() -> None:
    strict = Settings(max_average_periods=1, average_min_periods=2)
    early = DEFAULT_RULEBOOK.settings[0]
    rulebook = replace(DEFAULT_RULEBOOK, settings=(early, (date(2024, 6, 1), strict)))
    account = nobody("1000000")
    commands: list[Command] = [m.command for m in open_household("1000000")]  # type: ignore[misc]
    commands += [SubmitReading(moment(n, 20), {"total": str(100 * n)}) for n in (1, 2, 3, 4)]
    for command in commands:
        account = replay(account, decide(account, command, rulebook))

    check(account, rulebook)

    assert [(s.period, s.mode) for s in forecast_estimate(account, rulebook).silent] == [
        ("2024-05", Mode.AVERAGE),
        ("2024-06", Mode.NORMATIVE),
    ]


async def test_the_view_of_every_vector_foretells_what_the_closings_then_bill(pool: asyncpg.Pool) -> None:
    named = dict(zip(numbers(2_000_000, len(BILLING)), BILLING, strict=True))
    compared = 0
    for settlement in Settlement:
        rulebook = DEFAULT_RULEBOOK.with_settlement(settlement)
        mine = [(n, v) for n, v in named.items() if settlement_of(v) is settlement]
        async with Intake(pool, rulebook, today).running() as intake:
            await asyncio.gather(*(feed(intake, vector, number) for number, vector in mine))
            async with pool.acquire() as db:
                foretold = await estimation.find(db, [number for number, _ in mine])
            ids = count()
            for _ in range(PERIODS_AHEAD):
                closings = [
                    message(n, ClosePeriod(p, over_at(p)), f"{settlement} {next(ids)}")
                    for n, _ in mine
                    if (p := (await intake.account(n)).next_period)
                ]
                await intake.handle(closings)
            async with pool.acquire() as db:
                for number, row in foretold.items():
                    closed = {u.period: u for u in await usage.page(db, number, None, None, 1000, backward=False)}
                    for silent in row.silent:
                        billed = closed[silent.period]
                        assert (billed.mode, billed.usage, billed.missed) == (silent.mode, silent.kwh, silent.missed)
                        compared += 1
    assert compared > 300


async def test_the_average_of_the_view_names_the_readings_it_rests_on(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading("1000000", f"sms {n}", 110 * n, moment(n, 20)) for n in range(1, 6)]
    outcomes = await intake.handle([*open_household("1000000"), *sent])

    async with pool.acquire() as db:
        row = (await estimation.find(db, ["1000000", "7654321"]))["1000000"]

    assert row.average is not None
    assert row.average_since is not None
    assert row.average_until is not None
    assert (row.average_since.entry, row.average_since.values) == (2, {"total": 0})
    assert (row.average_until.entry, row.average_until.period) == (outcomes[-1].version, "2024-05")
    assert dict(row.average.kwh) == {Register.TOTAL: 138}
    assert row.periods_left == 3
    assert [(s.period, s.mode, s.missed) for s in row.silent] == [("2024-06", Mode.AVERAGE, 1)]


@pytest.mark.parametrize(("closed", "left"), [(0, 3), (2, 3), (5, 3), (6, 2), (7, 1), (8, 0), (9, 0)])
async def test_the_periods_left_count_down_with_silence(
    pool: asyncpg.Pool, intake: Intake, closed: int, left: int
) -> None:
    first = Period("2024-01")
    sent = [reading("1000000", f"sms {n}", 110 * n, moment(n, 20)) for n in range(1, 6)]
    closings = [ClosePeriod(p, over_at(p)) for p in (shift(first, n) for n in range(closed))]
    await intake.handle([*open_household("1000000"), *sent, *(message("1000000", c, c.period) for c in closings)])

    async with pool.acquire() as db:
        row = (await estimation.find(db, ["1000000"]))["1000000"]
    by_average = sum(s.mode is Mode.AVERAGE for s in row.silent)

    assert row.periods_left == left
    assert by_average == min(left, max(0, closed + PERIODS_AHEAD - 5))


async def test_a_reading_after_silence_gives_the_average_its_periods_back(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading("1000000", f"sms {n}", 110 * n, moment(n, 20)) for n in range(1, 6)]
    closings = [ClosePeriod(p, over_at(p)) for p in (shift(Period("2024-01"), n) for n in range(8))]
    await intake.handle([*open_household("1000000"), *sent, *(message("1000000", c, c.period) for c in closings)])

    await intake.submit(reading("1000000", "sms 9", 1000, moment(9, 20)))

    async with pool.acquire() as db:
        assert (await estimation.find(db, ["1000000"]))["1000000"].periods_left == 3


async def test_whoever_pays_changes_nothing_of_what_silence_is_billed(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading("1000000", f"sms {n}", 110 * n, moment(n, 20)) for n in range(1, 6)]
    at = moment(5, 25)
    payment = ReceivePayment(Decimal("100.00"), at.date(), at, "чек")
    await intake.handle([*open_household("1000000"), *sent])

    async with pool.acquire() as db:
        before = await estimation.find(db, ["1000000"])
        await intake.submit(message("1000000", payment, "чек"))
        after = await estimation.find(db, ["1000000"])
        await retell(db, ["1000000"], DEFAULT_RULEBOOK)
        told_again = await estimation.find(db, ["1000000"])

    assert before == after == told_again
    assert before["1000000"].silent
