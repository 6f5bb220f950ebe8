"""A small supplier for the tests of the lower floors: households, their messages, and an auditor of the books."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from bels.domain.commands import Command, InstallMeter, OpenAccount, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.periods import MOSCOW
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, EntryNumber, Locality, MeterModel, Register, Stove
from bels.intake import Intake
from bels.journal import journal
from bels.messages import Message, Outcome
from bels.projections.project import retell
from tests.domain.vectors import command_of, opening, steps

TODAY = datetime(2026, 3, 1, tzinfo=UTC)
METER = MeterModel("011070118", 5, (Register.TOTAL,))
TABLES = (
    "overview",
    "estimation",
    "reading",
    "usage",
    "recalculation",
    "ledger",
    "balance",
    "payment",
    "notice",
    "partner_event",
)


def today() -> datetime:
    """Give the day on which all tests of the lower floors happen, after everything that the vectors tell."""
    return TODAY


def moment(month: int, day: int, hour: int = 12) -> datetime:
    """Give an hour of a day of 2024."""
    return datetime(2024, month, day, hour, tzinfo=MOSCOW)


def message(account: str, command: Command | ReadingRefused, message_id: str, raw: str | None = None) -> Message:
    """Put a command into a message of the office."""
    return Message(Channel.OFFICE, message_id, "clerk:7", account, command, repr(command) if raw is None else raw)


def open_household(account: str) -> list[Message]:
    """Open an account and install its meter, at the beginning of 2024."""
    opened = OpenAccount(moment(1, 1), Locality.URBAN, Stove.GAS, 2, 3)
    installed = InstallMeter(METER, moment(1, 1), {Register.TOTAL: 0}, "акт 1")
    return [message(account, opened, f"open {account}"), message(account, installed, f"meter {account}")]


def reading(account: str, message_id: str, value: int | str, at: datetime | None = None) -> Message:
    """Send a reading as an SMS."""
    command = SubmitReading(at or moment(1, 20), {"total": str(value)})
    return Message(Channel.SMS, message_id, "phone:5f", account, command, f"{account}#{value}")


def numbers(first: int, count: int) -> list[str]:
    """Name some accounts."""
    return [str(first + i) for i in range(count)]


def messages_of(vector: dict[str, Any], account: str) -> Iterator[Message]:
    """Give a vector's messages one by one; each must be answered with ``send`` before the next is known."""
    entries: dict[str, EntryNumber] = {}
    for i, command in enumerate(opening(vector)):
        yield message(account, command, f"{vector['id']} {account} opening {i}")
    for i, (_, kind, what) in enumerate(steps(vector)):
        number = what.get("account", account)
        command = command_of(kind, what, entries)
        outcome = yield message(number, command, f"{vector['id']} {account} {i}")
        if kind == "reading" and isinstance(outcome, Outcome) and outcome.version is not None:
            entries[what["ref"]] = EntryNumber(outcome.version)


async def feed(intake: Intake, vector: dict[str, Any], account: str) -> list[Outcome]:
    """Tell a vector's life to an account, message by message."""
    outcomes: list[Outcome] = []
    telling: Any = messages_of(vector, account)
    try:
        told = next(telling)
        while True:
            outcomes.append(await intake.submit(told))
            told = telling.send(outcomes[-1])
    except StopIteration:
        return outcomes


async def audit(pool: asyncpg.Pool, acknowledged: Sequence[Outcome] = ()) -> int:
    """Check the books: every entry is of one message, every message has its entries, no gap; count the entries."""
    gaps = await pool.fetch(
        "SELECT originator_id FROM journal GROUP BY 1 HAVING min(originator_version) <> 1"
        " OR max(originator_version) <> count(*)"
    )
    assert gaps == []
    strangers = await pool.fetch(
        "SELECT j.originator_id, j.originator_version FROM journal j"
        " LEFT JOIN message m ON m.receipt = convert_from(j.state, 'UTF8')::jsonb ->> 'receipt'"
        " WHERE m.receipt IS NULL OR m.account <> j.originator_id"
        " OR j.originator_version NOT BETWEEN m.first_version AND m.last_version"
    )
    assert strangers == []
    entries: int = await pool.fetchval("SELECT count(*) FROM journal")
    assert entries == await pool.fetchval("SELECT coalesce(sum(last_version - first_version + 1), 0) FROM message")
    receipts = {row["receipt"] for row in await pool.fetch("SELECT receipt FROM message")}
    assert {outcome.receipt for outcome in acknowledged} <= receipts
    return entries


async def views(pool: asyncpg.Pool, *accounts: str) -> dict[str, list[str]]:
    """Read every row of every view, or of the views of some accounts, to compare them."""
    rows = {}
    for table in TABLES:
        found = await pool.fetch(
            f"SELECT t::text AS row FROM {table} t WHERE cardinality($1::text[]) = 0 OR account = ANY($1)"
            " ORDER BY t::text",
            list(accounts),
        )
        rows[table] = [row["row"] for row in found]
    return rows


async def check_rebuild(pool: asyncpg.Pool, rulebook: Rulebook) -> None:
    """Check that the views say what a rebuild tells under these rules."""
    before = await views(pool)
    async with pool.acquire() as db, pool.acquire() as listing:
        async for chunk in journal.accounts(listing):
            await retell(db, chunk, rulebook)
    assert await views(pool) == before


async def told_of(pool: asyncpg.Pool, account: str) -> dict[str, list[Any]]:
    """Read what the views say of an account, without its number and receipts, to compare it with another's."""
    rows = {}
    for table in TABLES:
        found = await pool.fetch(
            f"SELECT (to_jsonb(t) - 'account' - 'receipt')::text AS row FROM {table} t WHERE account = $1 ORDER BY 1",
            account,
        )
        rows[table] = [json.loads(row["row"]) for row in found]
    return rows
