"""Supplies whose every month is remembered: the demonstration town and real households, told by a clock that moves."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import asyncpg

from bels.closing import closing
from bels.demo.household import Step, Town
from bels.demo.load import _command, _message
from bels.demo.town import days, plan
from bels.domain.account import Account
from bels.domain.commands import Command, InstallMeter, OpenAccount, SubmitReading
from bels.domain.events import Event, PeriodClosed
from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW, moscow_date, over_at, period_of, shift
from bels.domain.post_movements import movements
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, Locality, MeterModel, Money, Purpose, Register, Settlement, Stove
from bels.intake import Intake
from bels.messages import Message, Outcome
from bels.projections import overview
from bels.projections.overview import OverviewRow
from bels.publishing import install_rulebook, publish_demonstration
from bels.rulebooks.shipped import PUBLISHED, shipped
from tests.rules import DEFAULT_RULEBOOK

HOUSEHOLDS = Path(__file__).parents[4] / "shared" / "data" / "households.csv"
KEY = b"k" * 32
UNTIL = datetime(2026, 5, 20, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Truth:
    """What was true of an account at a moment, as the supplier had it then: the folded state, and what the views showed."""

    moment: datetime
    account: Account
    version: int
    recorded_at: datetime
    overview: OverviewRow | None
    estimation: dict[str, Any] | None
    balance: dict[str, Any] | None
    periods: list[tuple[Any, ...]]
    readings: list[int]
    payments: dict[int, tuple[str, Money]]
    ledger: str
    """A digest of all lines of the ledger, as ``digest_of_lines`` makes it."""


async def remember(pool: asyncpg.Pool, intake: Intake, moment: datetime) -> dict[str, Truth]:
    """Read what is true of every stream now."""

    async def by_account(query: str) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in await pool.fetch(query):
            found.setdefault(row["account"], []).append(dict(row))
        return found

    overviews = await by_account("SELECT account, version, recorded_at FROM overview WHERE account <> 'rulebook'")
    estimations = await by_account("SELECT account, mode, since, missed_in_a_row, inspection_due FROM estimation")
    balances = await by_account("SELECT account, balance, penalty, owed FROM balance")
    periods = await by_account("SELECT account, period, mode, usage, stands, money FROM usage ORDER BY account, period")
    readings = await by_account("SELECT account, entry FROM reading WHERE status = 'ACCEPTED' ORDER BY account, entry")
    payments = await by_account("SELECT account, entry, state, amount FROM payment")
    ledgers = await by_account(LINES)
    accounts = await intake.accounts(list(overviews))
    async with pool.acquire() as db:
        shown = await overview.find(db, list(overviews))
    return {
        number: Truth(
            moment,
            accounts[number],
            own[0]["version"],
            own[0]["recorded_at"],
            shown.get(number),
            estimations[number][0] if number in estimations else None,
            balances[number][0] if number in balances else None,
            [
                (p["period"], p["mode"], json.loads(p["usage"]), json.loads(p["stands"]), p["money"])
                for p in periods.get(number, [])
            ],
            [row["entry"] for row in readings.get(number, [])],
            {row["entry"]: (row["state"], row["amount"]) for row in payments.get(number, [])},
            ledgers[number][0]["lines"] if number in ledgers else digest_of_lines([]),
        )
        for number, own in overviews.items()
    }


LINES = """
    SELECT account, md5(string_agg(
           concat_ws(' ', entry, purpose, kind, period, booked_on, round(amount, 2), round(balance, 2)), E'\\n'
           ORDER BY entry, purpose)) AS lines
      FROM ledger GROUP BY account
"""
"""The lines of each ledger are too many to be kept for every month: their digest is."""


def digest_of_lines(events: Sequence[Event]) -> str:
    """Book an account's events line by line, as the ledger shows them, and make the digest of ``LINES``."""
    lines: list[str] = []
    balance = dict.fromkeys(Purpose, ZERO)
    closed_on: date | None = None
    for entry, event in enumerate(events, 1):
        if isinstance(event, PeriodClosed):
            closed_on = moscow_date(event.closed_at)
        for moved in movements(event, closed_on):
            balance[moved.purpose] += moved.amount
            period = [moved.period] if moved.period is not None else []
            sums = (f"{moved.amount:.2f}", f"{balance[moved.purpose]:.2f}")
            lines.append(" ".join((str(entry), moved.purpose, moved.kind, *period, str(moved.booked_on), *sums)))
    return md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


async def live_demonstration(
    pool: asyncpg.Pool, accounts: int, months: int, seed: int = 7, until: datetime = UNTIL
) -> AsyncIterator[tuple[Intake, datetime]]:
    """Let the demonstration town live; give its intake and the moment after each of its months."""
    town = Town(accounts, months, seed, until)
    steps = plan(town, lambda address: f"{address!r:>032}"[-32:])
    moment = steps[0].at.astimezone(UTC)
    intake = Intake(pool, shipped(PUBLISHED), lambda: moment)
    await install_rulebook(pool, intake)
    await publish_demonstration(pool, intake)
    answered = {step.answers for step in steps}
    told: dict[str, Outcome] = {}
    month = moscow_date(steps[0].at).month
    for group in days(steps):
        if moscow_date(group[0].at).month != month:
            month = moscow_date(group[0].at).month
            yield intake, moment
        moment = min(group[-1].at.astimezone(UTC) + timedelta(seconds=2), town.until)
        await _tell(intake, group, told, answered, town)
    yield intake, moment


async def _tell(
    intake: Intake, group: list[Step], told: dict[str, Outcome], answered: set[str | None], town: Town
) -> None:
    payers = sorted({step.payer for step in group if step.sum is not None})
    accounts = await intake.accounts(payers) if payers else {}
    meant = [(step, _command(step, told, accounts)) for step in group]
    sent = [(step, command) for step, command in meant if command is not None]
    messages = [_message(step, command, None, town, KEY) for step, command in sent]
    for (step, _), outcome in zip(sent, await intake.handle(messages), strict=True):
        if step.name in answered:
            told[step.name] = outcome


ORDER = (Register.HALF_PEAK, Register.NIGHT, Register.PEAK)


async def live_households(
    pool: asyncpg.Pool, settlement: Settlement = Settlement.REDISTRIBUTE, rulebook: Rulebook = DEFAULT_RULEBOOK
) -> AsyncIterator[tuple[Intake, datetime]]:
    """Let the real households live, some of whose months are left out; give the intake and the moment after each month.

    :raises FileNotFoundError: the households are not here.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    with HOUSEHOLDS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["account"], []).append(row)
    coming: list[tuple[datetime, str, Command]] = []
    for account, own in rows.items():
        own.sort(key=lambda row: row["taken_on"])
        coming += _life(account, own)
    coming.sort(key=lambda each: (each[0], each[1]))
    moment = coming[0][0]
    intake = Intake(pool, rulebook.with_settlement(settlement), lambda: moment)
    last = period_of(max(at for at, _, _ in coming))
    period = period_of(moment)
    while period <= last:
        ends = over_at(period)
        for at, account, command in [each for each in coming if each[0] < ends]:
            moment = at
            await _send(intake, account, command, at)
        coming = [each for each in coming if each[0] >= ends]
        moment = ends + timedelta(hours=6)
        for account in sorted(rows):
            known = await intake.account(account)
            if known.next_period == period:
                await intake.handle([closing(account, period, moment, "test")])
        yield intake, moment
        period = shift(period, 1)


def _life(account: str, own: list[dict[str, str]]) -> Iterable[tuple[datetime, str, Command]]:
    at = _noon(date.fromisoformat(own[0]["taken_on"]))
    model = MeterModel(f"M{account}", 5, ORDER)
    yield at, account, OpenAccount(at, Locality.URBAN, Stove.GAS, 2, 3)
    yield at, account, InstallMeter(model, at, {r: int(own[0][r.value]) for r in ORDER}, "акт")
    # Months left out: one, then four in a row; the last two readings stay, so that what was missed is settled.
    left_out = {5, 9, 10, 11, 12} & set(range(1, len(own) - 2))
    for i, row in enumerate(own[1:], 1):
        if i not in left_out:
            at = _noon(date.fromisoformat(row["taken_on"]))
            yield at, account, SubmitReading(at, {r: row[r.value] for r in ORDER})


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=MOSCOW)


async def _send(intake: Intake, account: str, command: Command, at: datetime) -> None:
    name = f"{type(command).__name__}:{account}:{at.isoformat()}"
    await intake.handle([Message(Channel.MIGRATION, name, "test", account, command, name)])
