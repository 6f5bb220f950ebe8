"""Households with months of history: readings, closings and payments, handled one after the other as they came.

A thousand households live their months through the one way in. The rows that they leave are then copied in SQL under other
numbers, month by month, so that they lie on the disk as if all households had lived side by side. Messages are not copied.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg

from bels.app import Bels, opened
from bels.closing import closing
from bels.domain.commands import Command, InstallMeter, OpenAccount, ReceivePayment, SubmitReading
from bels.domain.periods import first_day, over_at, shift
from bels.domain.terms import Channel, Locality, MeterModel, Period, Register, Stove
from bels.messages import Message, Outcome, Status
from bels.projections import ledger
from bels.publishing import publish_demonstration
from bels.settings import Settings

FIRST_ACCOUNT = 3_000_001
COMMAND_WAIT_S = 900

SENT = 0.9
"""The share of households that send a reading in a month."""

PAID = 0.85
"""The share of households with a debt that pay it in the month after its bill; who does not pays with the next one."""

LATE = 0.1
"""The share of payments that come after the day on which they were due."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What the journal holds through an entry: all readings, closings or payments of a month."""

    through: int


@dataclass(slots=True)
class Town:
    """Households under way: their registers, by account."""

    values: dict[str, int]
    chance: random.Random


async def live(url: str, accounts: int, first: Period, months: int, everybody_sends: bool = False) -> list[Phase]:
    """Let households live through some closed months and send the readings of the next one, in an empty database."""
    chance = random.Random(11)
    numbers = [str(FIRST_ACCOUNT + i) for i in range(accounts)]
    town = Town({number: 1000 + chance.randrange(5000) for number in numbers}, chance)
    phases: list[Phase] = []
    async with opened(Settings(database_url=url)) as bels:
        await publish_demonstration(bels.pool, bels.intake)

        async def take(messages: list[Message]) -> None:
            _expect(await bels.intake.handle(messages))
            async with bels.pool.acquire() as db:
                phases.append(Phase(await db.fetchval("SELECT max(notification_id) FROM journal")))

        # After the 25th: their first period is the first month.
        opened_at = _noon(first_day(first) - timedelta(days=5))
        await take([message for number in numbers for message in _opening(number, opened_at, town)])
        for month in range(months):
            period = shift(first, month)
            await take(_readings(town, period, 1.0 if everybody_sends else SENT))
            await take([closing(number, period, over_at(period), "bench") for number in numbers])
            await take(await _payments(bels, town, period))
        await take(_readings(town, shift(first, months), 1.0 if everybody_sends else SENT))
    return phases


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


def _message(channel: Channel, name: str, account: str, command: Command) -> Message:
    return Message(channel, name, "bench", account, command, name)


def _opening(number: str, at: datetime, town: Town) -> tuple[Message, Message]:
    meter = MeterModel(f"M{number}", 6, (Register.TOTAL,))
    initial = {Register.TOTAL: town.values[number]}
    return (
        _message(Channel.MIGRATION, f"open:{number}", number, OpenAccount(at, Locality.URBAN, Stove.GAS, 2, 3)),
        _message(Channel.MIGRATION, f"meter:{number}", number, InstallMeter(meter, at, initial, "bench")),
    )


def _readings(town: Town, period: Period, share: float) -> list[Message]:
    """Give the readings of a month, on its 10th to 24th."""
    messages = []
    for i, number in enumerate(town.values):
        town.values[number] += town.chance.randint(80, 300)
        if town.chance.random() < share:
            at = _noon(first_day(period) + timedelta(days=9 + i * 15 // len(town.values)))
            reading = SubmitReading(at, {Register.TOTAL: str(town.values[number])})
            messages.append(_message(Channel.SMS, f"reading:{number}:{period}", number, reading))
    return messages


async def _payments(bels: Bels, town: Town, period: Period) -> list[Message]:
    """Give the payments of what is owed after the closing of a period: on the 3rd to the 9th, late ones on the 20th to the 26th."""
    async with bels.pool.acquire() as db:
        owed = await ledger.find(db, list(town.values))
    month = first_day(shift(period, 1))
    messages = []
    for number in town.values:
        row = owed.get(number)
        if row is None or row.balance <= 0 or town.chance.random() >= PAID:
            continue
        paid_on = month + timedelta(days=town.chance.randint(2, 8) + (17 if town.chance.random() < LATE else 0))
        amount = row.balance if town.chance.random() < 0.7 else (row.balance / 100).to_integral_value() * 100 + 100
        name = f"payment:{number}:{period}"
        payment = ReceivePayment(Decimal(amount), paid_on, _noon(paid_on + timedelta(days=1)), name)
        messages.append(_message(Channel.BANK, name, number, payment))
    return messages


def _expect(outcomes: list[Outcome]) -> None:
    """Check that everything was accepted: another history would be measured otherwise.

    :raises RuntimeError: something was not.
    """
    for outcome in outcomes:
        if outcome.status is not Status.ACCEPTED:
            raise RuntimeError(f"account {outcome.account}: {outcome.status}, {outcome.events}")


# Rows of these tables are in the order in which they came; those of the others are one for each account.
_ORDERS = {
    "reading": "period, k, entry",
    "usage": "period, k",
    "recalculation": "posted_in, k",
    "ledger": "posted_in, k, entry",
    "payment": "paid_on, k",
    "balance": "k, account",
    "estimation": "k, account",
    "overview": "k, account",
}

_COPY_PHASE = """
INSERT INTO journal (originator_id, originator_version, topic, state, content, digest)
SELECT (originator_id::int + $1 * k)::text, originator_version, topic, state, content, digest
  FROM journal, generate_series(1, $2::int - 1) AS k
 WHERE notification_id > $3 AND notification_id <= $4 AND originator_id <> 'rulebook'
 ORDER BY k, notification_id"""

_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'account'"""


async def multiply(url: str, accounts: int, times: int, phases: list[Phase]) -> None:
    """Copy the rows of the households under other numbers, until there are ``times`` as many."""
    db = await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S)
    try:
        before = 0
        for phase in phases:
            await db.execute(_COPY_PHASE, accounts, times, before, phase.through)
            before = phase.through
        for table, order in _ORDERS.items():
            columns = await db.fetchval(_COLUMNS, table)
            await db.execute(
                f"INSERT INTO {table} (account, {columns})"
                f" SELECT (account::int + $1 * k)::text, {columns} FROM {table}, generate_series(1, $2::int - 1) AS k"
                f" WHERE account <> 'rulebook' ORDER BY {order}",
                accounts,
                times,
            )
        await db.execute("VACUUM ANALYZE")
        await db.execute("CHECKPOINT")
    finally:
        await db.close()


def build(url: str, accounts: int, times: int, first: Period, months: int) -> None:
    """Fill an empty database with ``accounts`` x ``times`` households of some closed months and one to close."""

    async def run() -> None:
        await multiply(url, accounts, times, await live(url, accounts, first, months))

    asyncio.run(run())
