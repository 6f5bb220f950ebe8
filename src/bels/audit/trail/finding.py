"""Search the trail over all accounts: the index says where, the journal itself says what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Any

import asyncpg
import msgspec
from asyncpg import Record

from bels.audit.trail.row import COLUMNS, UNREADABLE, TrailRow
from bels.domain.terms import Channel, Money, Period
from bels.journal.codec import TOPICS, UnknownTopic, to_entry
from bels.journal.entry import Entry
from bels.journal.journal import find_receipt, find_requests
from bels.journal.write import Db
from bels.projections.audit import AuditRow, tell

SEARCH_WAIT_S = 10
"""How long one page may be looked for; a search that takes longer must name a time, an account or another key."""
KINDS = frozenset({*(event.__name__ for event in TOPICS), UNREADABLE})
"""All kinds there are."""

_COLUMNS = ", ".join(COLUMNS)

Place = tuple[datetime, int]
"""Where a row stands: its recorded time and its id."""


class TooWideError(Exception):
    """A search takes too long; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which entries are searched for: all that is given must hold. Moments are half-open, sums roubles and both ends included."""

    kinds: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = ()
    actor: str | None = None
    rule: str | None = None
    period: Period | None = None
    amount_min: Money | None = None
    amount_max: Money | None = None
    since: datetime | None = None
    until: datetime | None = None
    account: str | None = None
    receipt: str | None = None

    def said(self) -> list[str]:
        """Say what is searched for, as the record of reading keeps it: ``name=value``."""
        told = []
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, tuple):
                value = ",".join(_text(part) for part in value) or None
            if value is not None:
                told.append(f"{each.name}={_text(value)}")
        return told


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the index, and its entry in words; None where the journal has no such entry, or it cannot be read."""

    row: TrailRow
    told: AuditRow | None

    @property
    def place(self) -> Place:
        """Say where it stands."""
        return self.row.recorded_at, self.row.id


@dataclass(frozen=True, slots=True)
class _Span:
    account: str
    first: int
    last: int


async def find(
    db: Db,
    wanted: TrailFilter,
    after: Place | None,
    before: Place | None,
    limit: int,
    backwards: bool = False,
    upto: int | None = None,
) -> list[Found]:
    """List entries in the order of recorded time and id, or backwards; ``upto`` leaves those with a higher id out.

    :raises TooWideError: it takes too long.
    """
    span = None
    if wanted.receipt is not None:
        span = await _span_of(db, wanted.receipt)
        if span is None:
            return []
    conditions, given = _conditions(wanted, span, after, before, upto)
    order = "DESC" if backwards else "ASC"
    statement = (
        f"SELECT {_COLUMNS} FROM trail WHERE {' AND '.join(conditions)}"
        f" ORDER BY recorded_at {order}, id {order} LIMIT ${len(given) + 1}"
    )
    async with limited(db, SEARCH_WAIT_S, "name a time (since, until), an account or another key"):
        rows = [TrailRow(*row) for row in await db.fetch(statement, *given, limit)]
    return await told_of(db, rows)


async def told_of(db: Db, rows: Sequence[TrailRow]) -> list[Found]:
    """Tell rows of the index in the words of the journal."""
    entries = await db.fetch(
        """
        SELECT j.originator_id, j.originator_version, j.topic, j.state
          FROM unnest($1::text[], $2::bigint[]) AS wanted (account, entry)
         CROSS JOIN LATERAL (
               SELECT originator_id, originator_version, topic, state
                 FROM journal
                WHERE originator_id = wanted.account AND originator_version = wanted.entry
               OFFSET 0) AS j
        """,
        [row.account for row in rows],
        [row.entry for row in rows],
    )
    # A page of an export takes longer than others should wait for their turn.
    read = await asyncio.to_thread(_read, entries)
    requests = await find_requests(db, list({entry.receipt for entry in read.values()}))
    return await asyncio.to_thread(_told, rows, read, requests)


def _read(entries: Sequence[Record]) -> dict[tuple[str, int], Entry]:
    return {(row[0], row[1]): entry for row in entries if (entry := _entry(row)) is not None}


def _told(rows: Sequence[TrailRow], read: Mapping[tuple[str, int], Entry], requests: Mapping[str, str]) -> list[Found]:
    return [
        Found(row, tell(entry, requests.get(entry.receipt, "")) if entry is not None else None)
        for row in rows
        for entry in (read.get((row.account, row.entry)),)
    ]


@asynccontextmanager
async def limited(db: Db, wait_s: int, remedy: str) -> AsyncIterator[None]:
    """Read in a transaction that ends after so many seconds, planned for the very values that are given.

    ``remedy`` says what to ask instead where that is not enough.

    :raises TooWideError: it took too long.
    """
    try:
        async with db.transaction(readonly=True):
            await db.execute(
                f"SET LOCAL statement_timeout = '{wait_s}s'; SET LOCAL plan_cache_mode = force_custom_plan"
            )
            yield
    except asyncpg.QueryCanceledError:
        raise TooWideError(f"nothing was found in {wait_s} s: {remedy}") from None


def _conditions(
    wanted: TrailFilter, span: _Span | None, after: Place | None, before: Place | None, upto: int | None
) -> tuple[list[str], list[Any]]:
    conditions: list[str] = ["true"]
    given: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        places = [f"${len(given) + i + 1}" for i in range(len(values))]
        given.extend(values)
        conditions.append(condition.format(*places))

    # One value is an index's key; several are read one by one.
    if len(wanted.kinds) == 1:
        add("kind = {}", wanted.kinds[0])
    elif wanted.kinds:
        add("kind = ANY({}::text[])", list(wanted.kinds))
    if len(wanted.channels) == 1:
        add("channel = {}", wanted.channels[0].value)
    elif wanted.channels:
        add("channel = ANY({}::text[])", [channel.value for channel in wanted.channels])
    if span is not None:
        add("account = {} AND entry BETWEEN {} AND {}", span.account, span.first, span.last)
    for condition, value in (
        ("account = {}", wanted.account),
        ("actor = {}", wanted.actor),
        ("rule = {}", wanted.rule),
        ("period = {}", wanted.period),
        ("amount >= {}", wanted.amount_min),
        ("amount <= {}", wanted.amount_max),
        ("recorded_at >= {}", wanted.since),
        ("recorded_at < {}", wanted.until),
        ("id <= {}", upto),
    ):
        if value is not None:
            add(condition, value)
    if after is not None:
        add("(recorded_at, id) > ({}, {})", *after)
    if before is not None:
        add("(recorded_at, id) < ({}, {})", *before)
    return conditions, given


async def _span_of(db: Db, receipt: str) -> _Span | None:
    """Find the entries of a message: an index of receipts would say again what its row says."""
    message = await find_receipt(db, receipt)
    if message is None or message.first_version is None or message.last_version is None:
        return None
    return _Span(message.account, message.first_version, message.last_version)


def _entry(row: Record) -> Entry | None:
    try:
        return to_entry(*row)
    except (UnknownTopic, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value.value if isinstance(value, Enum) else value)
