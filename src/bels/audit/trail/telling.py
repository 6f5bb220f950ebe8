"""Tell the index of the trail what was appended: after it was, in the order of notification_id, so that writers pay nothing.

Identities are given before a transaction commits, so a lower one may become visible after a higher one. Therefore nobody reads up
to the highest that is seen. We read the last identity that was given, then wait until every transaction that then held the lock of a
writer on ``journal`` has ended, as CREATE INDEX CONCURRENTLY does: from then on each identity up to it is visible or never will be.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from bels.audit.trail.row import COLUMNS, UNREADABLE, TrailRow, row_of, unreadable
from bels.journal.codec import UnknownTopic, to_entry
from bels.journal.write import Db

PAGE = 2_000
"""Entries told in one transaction."""
PAGES_OF_A_QUESTION = 5
"""Pages that whoever asks tells first; the job does the rest."""
WAIT_OF_A_QUESTION_S = 0.25
PAGES_OF_A_JOB = 1_000
WAIT_OF_A_JOB_S = 20.0
"""How long a job waits for writers to end: a batch takes milliseconds, a closing a second."""
AGAIN_MAX = 100
"""Unreadable entries that a job tries again: a newer program may know them."""

_LOOK_AGAIN_S = 0.005
_LOCK = 0x62656C74
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_SEQUENCE = "journal_notification_id_seq"


@dataclass(frozen=True, slots=True)
class Told:
    """How far the index goes: every entry up to id ``mark``; before ``whole_at`` nothing is missing, None where it never was whole.

    ``behind`` is how many identities were given since: at most so many entries are missing.
    """

    mark: int
    whole_at: datetime | None
    behind: int


async def told_so_far(db: Db) -> Told:
    """Say how far the index goes."""
    (row,) = await db.fetch(
        "SELECT mark, whole_at, greatest(coalesce(pg_sequence_last_value($1::regclass), 0) - mark, 0) AS behind"
        "  FROM trail_told WHERE one = 1",
        _SEQUENCE,
    )
    return Told(**row)


async def catch_up(
    pool: asyncpg.Pool, pages_max: int = PAGES_OF_A_QUESTION, wait_s: float = WAIT_OF_A_QUESTION_S, page: int = PAGE
) -> Told:
    """Tell what was appended, at most so many pages of it, and say how far the index goes then.

    One process tells at a time; whoever comes meanwhile takes what is told. A writer that does not end in ``wait_s`` seconds keeps the
    index where it is.
    """
    async with pool.acquire() as db:
        settled = await _settled(db, wait_s)
        if settled is not None:
            bound, at = settled
            for _ in range(pages_max):
                if not await _tell_page(db, bound, at, page):
                    break
        return await told_so_far(db)


async def index_trail(pool: asyncpg.Pool) -> int:
    """Tell all that is missing, as a job does it every minute; count the identities that are told."""
    async with pool.acquire() as db:
        before = await told_so_far(db)
        await _tell_again(db)
    return (await catch_up(pool, PAGES_OF_A_JOB, WAIT_OF_A_JOB_S)).mark - before.mark


async def _settled(db: Db, wait_s: float) -> tuple[int, datetime] | None:
    """Give an identity up to which everything is visible or never will be, and the moment it was read; None where a writer does not end."""
    # Two statements: the writers must be looked for after the identity was read.
    ((bound, at),) = await db.fetch(
        "SELECT coalesce(pg_sequence_last_value($1::regclass), 0), clock_timestamp()", _SEQUENCE
    )
    writers = await db.fetchval(
        """
        SELECT array_agg(virtualtransaction) FROM pg_locks
         WHERE locktype = 'relation' AND relation = 'journal'::regclass AND mode = 'RowExclusiveLock' AND granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    )
    deadline = asyncio.get_running_loop().time() + wait_s
    while writers:
        writers = await db.fetchval(
            "SELECT array_agg(DISTINCT virtualtransaction) FROM pg_locks"
            " WHERE locktype = 'relation' AND virtualtransaction = ANY($1::text[])",
            writers,
        )
        if writers:
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(_LOOK_AGAIN_S)
    return bound, at


async def _tell_page(db: Db, bound: int, at: datetime, page: int) -> bool:
    """Tell one page up to an identity; False where there is nothing more to tell, or another process tells."""
    async with db.transaction():
        if not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return False
        mark = await db.fetchval("SELECT mark FROM trail_told WHERE one = 1")
        rows = await db.fetch(
            "SELECT notification_id, originator_id, originator_version, topic, state FROM journal"
            " WHERE notification_id > $1 AND notification_id <= $2 ORDER BY notification_id LIMIT $3",
            mark,
            bound,
            page,
        )
        # Whoever asks tells a page, too: others are served meanwhile.
        await db.copy_records_to_table("trail", records=await asyncio.to_thread(rows_of, rows), columns=COLUMNS)
        is_whole = len(rows) < page
        await db.execute(
            "UPDATE trail_told SET mark = greatest(mark, $1), whole_at = CASE WHEN $2 THEN greatest(whole_at, $3)"
            " ELSE whole_at END WHERE one = 1",
            bound if is_whole else rows[-1]["notification_id"],
            is_whole,
            at,
        )
    return not is_whole


def rows_of(rows: list[Any]) -> list[TrailRow]:
    """Say by what entries are found: rows of notification_id, account, version, topic and state."""
    told: list[TrailRow] = []
    last = _NEVER
    for place, account, version, topic, state in rows:
        row = _row(place, account, version, topic, state) or unreadable(account, version, place, last)
        last = row.recorded_at
        told.append(row)
    return told


def _row(place: int, account: str, version: int, topic: str, state: bytes) -> TrailRow | None:
    # One entry that was tampered with must not keep all later ones out of sight.
    try:
        return row_of(to_entry(account, version, topic, state), place)
    except (UnknownTopic, msgspec.DecodeError, UnicodeDecodeError):
        return None


async def _tell_again(db: Db) -> None:
    """Try once more what could not be read."""
    async with db.transaction():
        if not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return
        rows = await db.fetch(
            """
            SELECT j.notification_id, j.originator_id, j.originator_version, j.topic, j.state
              FROM (SELECT account, entry FROM trail WHERE kind = $1 ORDER BY recorded_at, id LIMIT $2) AS unread
             CROSS JOIN LATERAL (
                   SELECT * FROM journal
                    WHERE originator_id = unread.account AND originator_version = unread.entry
                   OFFSET 0) AS j
            """,
            UNREADABLE,
            AGAIN_MAX,
        )
        read = [row for row in (_row(*each) for each in rows) if row is not None]
        if read:
            await db.execute(
                "DELETE FROM trail USING unnest($1::text[], $2::bigint[]) AS now_read (account, entry)"
                " WHERE trail.account = now_read.account AND trail.entry = now_read.entry",
                [row.account for row in read],
                [row.entry for row in read],
            )
            await db.copy_records_to_table("trail", records=read, columns=COLUMNS)
