"""The account at a glance: life, dwelling, residents, meter, the period that is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.domain.meter_models import display_of
from bels.domain.periods import first_day
from bels.domain.rulebook import Rulebook
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json

TABLE = """
CREATE TABLE overview (
    account       text PRIMARY KEY,
    version       bigint NOT NULL,
    recorded_at   timestamptz NOT NULL,
    situation     text NOT NULL,
    opened_at     timestamptz,
    closed_at     timestamptz,
    next_period   text NOT NULL,
    last_period   text,
    locality      text NOT NULL,
    stove         text NOT NULL,
    rooms         int  NOT NULL,
    permanent     int  NOT NULL,
    temporary     int  NOT NULL,
    owners        int  NOT NULL,
    meter         json,
    links         json NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX overview_next_period_idx ON overview (next_period, account);
"""
NAME = "overview"
TABLES = ("overview",)

COLUMNS = """
    account text, version bigint, recorded_at timestamptz, situation text, opened_at timestamptz, closed_at timestamptz,
    next_period text, last_period text, locality text, stove text, rooms int, permanent int, temporary int, owners int,
    meter json, links json"""

WRITE = f"""
INSERT INTO overview SELECT * FROM {given(COLUMNS)}
ON CONFLICT (account) DO UPDATE SET
    version = excluded.version, recorded_at = excluded.recorded_at, situation = excluded.situation,
    opened_at = excluded.opened_at, closed_at = excluded.closed_at, next_period = excluded.next_period,
    last_period = excluded.last_period, locality = excluded.locality, stove = excluded.stove, rooms = excluded.rooms,
    permanent = excluded.permanent, temporary = excluded.temporary, owners = excluded.owners, meter = excluded.meter,
    links = excluded.links
"""


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the row of every changed account. The row is also what a rebuild locks, so every append touches it."""
    return [Write(WRITE, COLUMNS, [_row(change) for change in changes])]


def _row(change: Change) -> tuple[Any, ...]:
    account = change.account
    first = first_day(account.next_period) if account.next_period else None
    residents = next((r for r in reversed(account.residents) if first and r.effective_on <= first), None)
    temporary = sum(s.persons for s in account.stays if first and s.since <= first < s.until)
    return (
        account.number,
        account.version,
        change.entries[-1].recorded_at,
        account.situation.value,
        account.opened_at,
        account.closed_at,
        account.next_period,
        account.last_period,
        account.locality.value,
        account.stove.value,
        account.rooms,
        residents.permanent if residents else 0,
        temporary,
        residents.owners if residents else 0,
        _meter(account),
        json([{"channel": link.channel, "sender": link.sender} for link in account.links]),
    )


def _meter(account: Account) -> msgspec.Raw | None:
    if not account.meters or account.meters[-1].removed_at is not None:
        return None
    meter = account.meters[-1]
    return json(
        {
            "entry": meter.entry,
            "number": meter.model.number,
            "model": meter.model.model,
            "capacity": meter.model.capacity,
            "registers": meter.model.registers,
            "display": display_of(meter.model),
            "automatic": meter.model.automatic,
            "installed_at": meter.installed_at,
            "failed_at": meter.failed_at,
        }
    )


@dataclass(frozen=True, slots=True)
class MeterRow:
    """The meter now in service; ``display`` maps T1..T3 to registers."""

    entry: int
    number: str
    model: str | None
    capacity: int
    registers: tuple[str, ...]
    display: dict[str, str] | None
    automatic: bool
    installed_at: datetime
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """An account at a glance; ``version`` is the number of its last entry."""

    account: str
    version: int
    recorded_at: datetime
    situation: str
    opened_at: datetime | None
    closed_at: datetime | None
    next_period: str
    last_period: str | None
    locality: str
    stove: str
    rooms: int
    permanent: int
    temporary: int
    owners: int
    meter: MeterRow | None
    links: tuple[dict[str, str], ...]


_meter_row = msgspec.json.Decoder(MeterRow).decode
_links = msgspec.json.Decoder(tuple[dict[str, str], ...]).decode


ACCOUNTS = "situation NOT IN ('SUSPENSE', 'RULEBOOK')"
"""Streams of unallocated payments and of the rulebook have a row too, since it is their lock; but they are no accounts."""


async def find(db: Db, accounts: Sequence[str]) -> dict[str, OverviewRow]:
    """Find accounts by number."""
    rows = await db.fetch(f"SELECT * FROM overview WHERE account = ANY($1::text[]) AND {ACCOUNTS}", list(accounts))
    return {row["account"]: _overview(row) for row in rows}


async def page(
    db: Db, after: str | None, before: str | None, limit: int, backward: bool, situation: str | None
) -> list[OverviewRow]:
    """List a page of accounts in order of number."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        "SELECT * FROM overview WHERE ($1::text IS NULL OR account > $1) AND ($2::text IS NULL OR account < $2)"
        f" AND ($3::text IS NULL OR situation = $3) AND {ACCOUNTS} ORDER BY account {order} LIMIT $4",
        after,
        before,
        situation,
        limit,
    )
    return [_overview(row) for row in rows]


async def to_close(db: Db, period: str, after: str, limit: int) -> list[tuple[str, str]]:
    """List accounts, after a number, whose next period is ``period`` or earlier and still to be closed."""
    rows = await db.fetch(
        "SELECT account, next_period FROM overview WHERE account > $2 AND next_period <= $1 AND next_period <> ''"
        " AND (last_period IS NULL OR next_period <= last_period) ORDER BY account LIMIT $3",
        period,
        after,
        limit,
    )
    return [(row["account"], row["next_period"]) for row in rows]


async def count_to_close(db: Db, period: str) -> int:
    """Count the accounts that ``to_close`` lists."""
    return int(
        await db.fetchval(
            "SELECT count(*) FROM overview WHERE next_period <= $1 AND next_period <> ''"
            " AND (last_period IS NULL OR next_period <= last_period)",
            period,
        )
    )


async def count(db: Db) -> int:
    """Count the accounts."""
    return int(await db.fetchval(f"SELECT count(*) FROM overview WHERE {ACCOUNTS}"))


async def count_streams(db: Db) -> int:
    """Count accounts and the streams that are no accounts: all that a rebuild tells."""
    return int(await db.fetchval("SELECT count(*) FROM overview"))


def _overview(row: Any) -> OverviewRow:
    values = dict(row)
    values["meter"] = _meter_row(values["meter"]) if values["meter"] is not None else None
    values["links"] = _links(values["links"])
    return OverviewRow(**values)
