"""What a household is owed to hear: which entries are news, in one row each."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from bels.domain.commands import ClosePeriod, ConfirmReading, RejectReading
from bels.domain.periods import over_at
from bels.domain.terms import EntryNumber, Period, Role
from bels.intake import Intake
from bels.journal.journal import read
from bels.journal.write import run
from bels.messages import Message
from bels.projections import notices
from bels.projections.notices import NoticeKind, find_many
from bels.projections.project import changes_of, retell
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import message, moment, open_household, reading, views

ACCOUNT = "1000001"


async def told(pool: asyncpg.Pool, intake: Intake, *messages: Message) -> list[tuple[str, str | None, Any]]:
    """Handle messages one by one; give the rows of the view."""
    for each in [*open_household(ACCOUNT), *messages]:
        await intake.submit(each)
    rows = await pool.fetch("SELECT * FROM notice WHERE account = $1 ORDER BY entry", ACCOUNT)
    return [(row["kind"], row["period"], json.loads(row["data"])) for row in rows]


def closed(period: str) -> Message:
    """Close a period."""
    return message(ACCOUNT, ClosePeriod(Period(period), over_at(Period(period))), f"close {period}")


async def test_accepted_readings_add_no_row(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading(ACCOUNT, f"r{month}", 100 * month, moment(month, 20)) for month in range(1, 6)]

    assert await told(pool, intake, *sent) == []


async def test_a_batch_without_news_costs_no_statement(pool: asyncpg.Pool, intake: Intake) -> None:
    for each in [*open_household(ACCOUNT), reading(ACCOUNT, "r", 100)]:
        await intake.submit(each)
    async with pool.acquire() as db:
        changes = changes_of(await read(db, {ACCOUNT: 0}))
        assert notices.project(changes, DEFAULT_RULEBOOK) == []
        await run(db, *notices.project(changes, DEFAULT_RULEBOOK))


async def test_a_held_reading_is_news_and_so_is_an_operators_decision_but_not_the_senders_own(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    held = [reading(ACCOUNT, "a", 90_000), reading(ACCOUNT, "b", 91_000), reading(ACCOUNT, "c", 92_000)]
    at = moment(1, 21)
    decisions = [
        message(ACCOUNT, RejectReading(EntryNumber(3), at, "нет"), "reject"),
        message(ACCOUNT, ConfirmReading(EntryNumber(4), at, Role.OPERATOR), "confirm"),
        message(ACCOUNT, ConfirmReading(EntryNumber(5), at, Role.CONSUMER), "own"),
    ]
    rows = await told(pool, intake, *held, *decisions)

    assert [(kind, data.get("reading")) for kind, _, data in rows] == [
        ("HELD", 3),
        ("HELD", 4),
        ("HELD", 5),
        ("REJECTED", 3),
        ("CONFIRMED", 4),
        ("SUPERSEDED", 4),
    ]
    async with pool.acquire() as db:
        found = await find_many(db, [(ACCOUNT, 3), (ACCOUNT, 1)])
    assert [(row.kind, row.period, row.data["reason"]) for row in found.values()] == [
        (NoticeKind.HELD, "2024-01", "IMPLAUSIBLE")
    ]


async def test_the_recalculations_of_a_closing_are_one_notice_with_kwh_and_roubles(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    sent = [
        reading(ACCOUNT, "r1", 100, moment(1, 20)),
        closed("2024-01"),
        closed("2024-02"),
        closed("2024-03"),
        reading(ACCOUNT, "r4", 700, moment(4, 20)),
        closed("2024-04"),
    ]
    rows = await told(pool, intake, *sent)

    recalculated = [(period, data["lines"]) for kind, period, data in rows if kind == "RECALCULATED"]
    assert len(recalculated) == 1
    period, lines = recalculated[0]
    assert period == "2024-04"
    assert [line["period"] for line in lines] == ["2024-02", "2024-03"]
    assert all(set(line) == {"period", "kwh_before", "kwh_after", "before", "after"} for line in lines)
    modes = [(period, data["before"], data["after"]) for kind, period, data in rows if kind == "MODE_CHANGED"]
    assert modes == [("2024-02", "METERED", "NORMATIVE"), ("2024-04", "NORMATIVE", "METERED")]


async def test_told_again_they_are_what_they_were(pool: asyncpg.Pool, intake: Intake) -> None:
    await told(pool, intake, reading(ACCOUNT, "a", 90_000), closed("2024-01"), closed("2024-02"))
    live = await views(pool, ACCOUNT)
    async with pool.acquire() as db:
        await retell(db, [ACCOUNT], DEFAULT_RULEBOOK)

    assert await views(pool, ACCOUNT) == live
    assert len(live["notice"]) >= 2
