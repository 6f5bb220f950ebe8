"""Readings with their status and quality: every one that came, also the refused, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.domain.events import (
    ControlReadingTaken,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    PeriodClosed,
    ReadingAccepted,
    ReadingCarriedOver,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
)
from bels.domain.rulebook import Rulebook
from bels.domain.terms import ReadingKind, ReadingStatus, Role
from bels.journal.entry import Entry
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json

TABLE = """
CREATE TABLE reading (
    account       text   NOT NULL,
    entry         bigint NOT NULL,
    meter         text,
    kind          text   NOT NULL,
    status        text   NOT NULL,
    period        text,
    received_at   timestamptz NOT NULL,
    taken_at      timestamptz,
    recorded_at   timestamptz NOT NULL,
    channel       text   NOT NULL,
    actor         text   NOT NULL,
    role          text   NOT NULL,
    receipt       text   NOT NULL,
    "values"      json   NOT NULL,
    delta         json,
    reason        text,
    "limit"       int,
    changed_by    bigint,
    counted_in    text,
    PRIMARY KEY (account, entry)
) WITH (fillfactor = 80);
-- By the reason, which never changes: an index on the status would make every superseded reading a new index entry.
CREATE INDEX reading_held_idx ON reading (received_at, account, entry)
    WHERE reason IN ('LESS_THAN_PREVIOUS', 'IMPLAUSIBLE', 'MORE_THAN_NEXT', 'UNCONFIRMED_SENDER');
"""
NAME = "reading"
TABLES = ("reading",)

COLUMNS = """
    account text, entry bigint, meter text, kind text, status text, period text, received_at timestamptz,
    taken_at timestamptz, recorded_at timestamptz, channel text, actor text, role text, receipt text, "values" json,
    delta json, reason text, "limit" int, changed_by bigint, counted_in text"""

INSERT = f"INSERT INTO reading SELECT * FROM {given(COLUMNS)}"

CHANGED = "account text, entry bigint, status text, kind text, changed_by bigint, counted_in text"

UPDATE = f"""
UPDATE reading SET
    status = coalesce(given.status, reading.status), kind = coalesce(given.kind, reading.kind),
    changed_by = coalesce(given.changed_by, reading.changed_by),
    counted_in = coalesce(given.counted_in, reading.counted_in)
  FROM {given(CHANGED)}
 WHERE reading.account = given.account AND reading.entry = given.entry
"""


@dataclass(slots=True)
class _Row:
    """A row under way: what an entry inserts, or what it changes of an older row (``inserted`` is None then)."""

    inserted: tuple[Any, ...] | None = None
    status: str | None = None
    kind: str | None = None
    changed_by: int | None = None
    counted_in: str | None = None


@dataclass(slots=True)
class _Rows:
    """All rows of a batch, each told once, whatever happened to it in between."""

    rows: dict[tuple[str, int], _Row] = field(default_factory=dict)

    def at(self, account: str, entry: int) -> _Row:
        return self.rows.setdefault((account, entry), _Row())


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the readings that entries bring, and what entries say of older ones."""
    batch = _Rows()
    for change in changes:
        for entry in change.entries:
            _tell(batch, change.account, entry)
    inserts, updates = [], []
    for (account, number), row in batch.rows.items():
        if row.inserted is None:
            updates.append((account, number, row.status, row.kind, row.changed_by, row.counted_in))
        else:
            inserts.append((*row.inserted, row.changed_by, row.counted_in))
    return [Write(INSERT, COLUMNS, inserts), Write(UPDATE, CHANGED, updates)]


def _tell(batch: _Rows, account: Account, entry: Entry) -> None:
    event = entry.event
    match event:
        case ReadingAccepted():
            _insert(batch, account, entry, event.meter, ReadingKind.SENT, ReadingStatus.ACCEPTED, event.role)
        case PeriodClosed():
            for step in event.steps:
                _change(batch, account, step.reading, counted_in=event.period)
        case ReadingSuperseded():
            _change(batch, account, event.reading, ReadingStatus.SUPERSEDED, event.by)
        case ReadingHeld():
            _insert(batch, account, entry, event.meter, ReadingKind.SENT, ReadingStatus.HELD, event.role)
        case ReadingRefused():
            _insert(batch, account, entry, None, ReadingKind.SENT, ReadingStatus.REFUSED, Role.CONSUMER)
        case ReadingConfirmed():
            _change(batch, account, event.reading, ReadingStatus.ACCEPTED, entry.version, event.kind)
        case ReadingRejected():
            _change(batch, account, event.reading, ReadingStatus.REJECTED, entry.version)
        case ReadingDisproved():
            _change(batch, account, event.reading, ReadingStatus.DISPROVED, event.by)
        case ReadingDisregarded():
            _change(batch, account, event.reading, ReadingStatus.DISREGARDED, event.by)
        case MeterInstalled() | MeterRestored():
            meter = entry.version
            _insert(batch, account, entry, meter, ReadingKind.INITIAL, ReadingStatus.ACCEPTED, Role.INSPECTOR)
        case MeterRemoved():
            # Final values of a failed meter do not count.
            failed = account.meter(event.meter).failed_in is not None
            status = ReadingStatus.DISREGARDED if failed else ReadingStatus.ACCEPTED
            _insert(batch, account, entry, event.meter, event.kind, status, Role.INSPECTOR)
        case ControlReadingTaken():
            _insert(batch, account, entry, event.meter, ReadingKind.CONTROL, ReadingStatus.ACCEPTED, Role.INSPECTOR)
        case ReadingCarriedOver():
            _insert(batch, account, entry, event.meter, ReadingKind.SENT, ReadingStatus.ACCEPTED, Role.SYSTEM)
        case _:
            pass


def _insert(
    batch: _Rows,
    account: Account,
    entry: Entry,
    meter: int | None,
    kind: ReadingKind,
    status: ReadingStatus,
    role: Role,
) -> None:
    event: Any = entry.event
    at = next(
        moment
        for name in ("received_at", "taken_at", "installed_at", "restored_at", "removed_at", "at")
        if (moment := getattr(event, name, None)) is not None
    )
    taken = event.taken_at if isinstance(event, ReadingAccepted | ReadingHeld) else None
    reason = event.reason.value if isinstance(event, ReadingHeld | ReadingRefused) else None
    delta = event.delta if isinstance(event, ReadingAccepted | ReadingHeld) else getattr(event, "difference", None)
    model = next((m.model for m in account.meters if m.entry == meter), None)
    row = batch.at(account.number, entry.version)
    row.inserted = (
        account.number,
        entry.version,
        model.number if model is not None else None,
        kind.value,
        status.value,
        getattr(event, "period", None),
        at,
        taken,
        entry.recorded_at,
        entry.channel.value,
        entry.actor,
        role.value,
        entry.receipt,
        json(event.values),
        json(delta),
        reason,
        event.limit if isinstance(event, ReadingHeld) else None,
    )


def _change(
    batch: _Rows,
    account: Account,
    reading: int,
    status: ReadingStatus | None = None,
    by: int | None = None,
    kind: ReadingKind | None = None,
    counted_in: str | None = None,
) -> None:
    row = batch.at(account.number, reading)
    if row.inserted is not None:
        told = list(row.inserted)
        told[3] = kind.value if kind is not None else told[3]
        told[4] = status.value if status is not None else told[4]
        row.inserted = tuple(told)
    row.status = status.value if status is not None else row.status
    row.kind = kind.value if kind is not None else row.kind
    row.changed_by = by if by is not None else row.changed_by
    row.counted_in = counted_in if counted_in is not None else row.counted_in


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A reading: ``values`` are texts where it was refused; ``changed_by`` is the entry that last changed its status."""

    account: str
    entry: int
    meter: str | None
    kind: str
    status: str
    period: str | None
    received_at: datetime
    taken_at: datetime | None
    recorded_at: datetime
    channel: str
    actor: str
    role: str
    receipt: str
    values: dict[str, int | str]
    delta: dict[str, int] | None
    reason: str | None
    limit: int | None
    changed_by: int | None
    counted_in: str | None


_values = msgspec.json.Decoder(dict[str, int | str]).decode
_kwh = msgspec.json.Decoder(dict[str, int]).decode


async def page(
    db: Db,
    account: str,
    after: int | None,
    before: int | None,
    limit: int,
    backward: bool,
    statuses: Sequence[str] | None = None,
    period: str | None = None,
) -> list[ReadingRow]:
    """List a page of an account's readings in the order in which they were recorded."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        "SELECT * FROM reading WHERE account = $1 AND ($2::bigint IS NULL OR entry > $2)"
        " AND ($3::bigint IS NULL OR entry < $3) AND ($4::text[] IS NULL OR status = ANY($4))"
        f" AND ($5::text IS NULL OR period = $5) ORDER BY entry {order} LIMIT $6",
        account,
        after,
        before,
        list(statuses) if statuses is not None else None,
        period,
        limit,
    )
    return [_reading(row) for row in rows]


async def find(db: Db, account: str, entry: int) -> ReadingRow | None:
    """Find a reading by its entry."""
    row = await db.fetchrow("SELECT * FROM reading WHERE account = $1 AND entry = $2", account, entry)
    return _reading(row) if row is not None else None


async def of_bill(db: Db, account: str, entries: Sequence[int], period: str) -> list[ReadingRow]:
    """Find the readings on which a bill rests: those named, the initial ones of its period, and the last one before it."""
    rows = await db.fetch(
        "SELECT * FROM reading WHERE account = $1 AND entry = ANY($2::bigint[])"
        " UNION ALL SELECT * FROM (SELECT * FROM reading WHERE account = $1 AND period = $3 AND kind = 'INITIAL') AS initial"
        " UNION ALL SELECT * FROM (SELECT * FROM reading WHERE account = $1 AND period < $3 AND status = 'ACCEPTED'"
        " ORDER BY received_at DESC, entry DESC LIMIT 1) AS last",
        account,
        list(entries),
        period,
    )
    return [_reading(row) for row in rows]


async def held(db: Db, after: tuple[datetime, str, int] | None, limit: int) -> list[ReadingRow]:
    """List held readings of all accounts, oldest first: the operators' queue."""
    at, account, entry = after or (None, None, None)
    rows = await db.fetch(
        "SELECT * FROM reading WHERE status = 'HELD' AND reason IN ('LESS_THAN_PREVIOUS', 'IMPLAUSIBLE', 'MORE_THAN_NEXT', 'UNCONFIRMED_SENDER')"
        " AND ($1::timestamptz IS NULL OR (received_at, account, entry) > ($1, $2::text, $3::bigint))"
        " ORDER BY received_at, account, entry LIMIT $4",
        at,
        account,
        entry,
        limit,
    )
    return [_reading(row) for row in rows]


def _reading(row: Any) -> ReadingRow:
    values = dict(row)
    values["values"] = _values(values["values"])
    values["delta"] = _kwh(values["delta"]) if values["delta"] is not None else None
    return ReadingRow(**values)
