"""While a town lives, what is true is remembered month by month; afterwards a replay to each of these moments says the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import pytest

from bels.audit.replaying.account_moment import account_moment, overview_of
from bels.audit.replaying.moments import Moment, Replayed, read_history, replay
from bels.demo.load import ACCOUNTS, MONTHS, SEED
from bels.domain.periods import moscow_date
from bels.domain.terms import Settlement
from bels.intake import Intake
from bels.journal.write import Db
from bels.projections import ledger
from tests.audit.replaying.towns import (
    HOUSEHOLDS,
    UNTIL,
    Truth,
    digest_of_lines,
    live_demonstration,
    live_households,
    remember,
)


async def lived(pool: asyncpg.Pool, months: AsyncIterator[tuple[Intake, datetime]]) -> list[dict[str, Truth]]:
    """Let a town live and remember each of its months."""
    return [await remember(pool, intake, moment) async for intake, moment in months]


def check(replayed: Replayed, truth: Truth) -> None:
    """Compare a replay with what was true."""
    assert replayed.account == truth.account
    then = account_moment(replayed)
    assert overview_of(replayed) == truth.overview
    assert (then.last, then.last_recorded_at) == (truth.version, truth.recorded_at)
    owed = truth.balance or {"balance": 0, "penalty": 0, "owed": "[]"}
    assert (then.balance, then.penalty) == (owed["balance"], owed["penalty"])
    assert [(bill.period, f"{bill.open:f}") for bill in then.owed] == [
        (bill["period"], bill["open"]) for bill in json.loads(owed["owed"])
    ]
    assert [(p.period, p.mode, p.usage, p.stands, p.money) for p in then.periods] == truth.periods
    assert sorted(reading.entry for reading in then.readings) == truth.readings
    payments = replayed.account.ledger.payments
    assert {payment.entry: (payment.state, payment.amount) for payment in payments} == truth.payments
    assert digest_of_lines(replayed.history.events(replayed.known)) == truth.ledger
    if truth.estimation is not None:
        told = truth.estimation
        assert (then.mode, then.mode_since) == (told["mode"], told["since"])
        assert (then.missed_in_a_row, then.inspection_due) == (told["missed_in_a_row"], told["inspection_due"])


async def compare(pool: asyncpg.Pool, months: list[dict[str, Truth]], now: datetime) -> int:
    """Replay accounts to every remembered month, and count what was compared."""
    compared = 0
    async with pool.acquire() as db:
        for number in sorted(months[-1]):
            history = await read_history(db, number)
            for month in months:
                truth = month.get(number)
                if truth is None:
                    # Nothing was known of it then.
                    assert replay(history, Moment(known_at=next(iter(month.values())).moment), now).known == 0
                else:
                    check(replay(history, Moment(known_at=truth.moment), now), truth)
                    await compare_day(db, replay(history, Moment(moscow_date(truth.moment), truth.moment), now), truth)
                    compared += 1
    return compared


async def compare_day(db: Db, replayed: Replayed, truth: Truth) -> None:
    """Compare a replay to the day itself: only what was dated later was set aside; what is owed is what the ledger says."""
    day, ledger_now = replayed.day, replayed.account.ledger
    if not replayed.aside:
        assert replayed.account == truth.account
    told = await ledger.balance_as_of(db, replayed.history.account, day, truth.moment)
    assert told == (ledger_now.balance, ledger_now.penalty)


async def test_every_account_of_the_town_in_every_month_is_what_was_true_then(pool: asyncpg.Pool) -> None:
    months = await lived(pool, live_demonstration(pool, ACCOUNTS, MONTHS, SEED))
    assert len(months) == MONTHS
    assert await compare(pool, months, UNTIL) > 0.8 * ACCOUNTS * MONTHS


@pytest.mark.soak
async def test_another_town_of_three_years_is_what_was_true_in_every_month(pool: asyncpg.Pool) -> None:
    months = await lived(pool, live_demonstration(pool, 1_000, 36, 11))
    assert await compare(pool, months, UNTIL) > 25_000


@pytest.mark.parametrize(
    "settlement",
    [
        Settlement.REDISTRIBUTE,
        pytest.param(Settlement.IN_PERIOD, marks=pytest.mark.soak),
        pytest.param(Settlement.NEXT_PERIOD, marks=pytest.mark.soak),
    ],
)
async def test_real_households_in_every_month_are_what_was_true_then(
    settlement: Settlement, pool: asyncpg.Pool
) -> None:
    if not HOUSEHOLDS.exists():
        pytest.skip(f"THE REAL HOUSEHOLDS ARE NOT HERE: {HOUSEHOLDS}")
    months = await lived(pool, live_households(pool, settlement))
    last = next(iter(months[-1].values())).moment
    assert await compare(pool, months, last + timedelta(days=1)) > 90
