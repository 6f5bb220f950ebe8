"""How each work with a partner's files stands: when it was done, what failed, when it is tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

import asyncpg

from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.messages import TryLater

AGAIN = timedelta(minutes=1)
AGAIN_MAX = timedelta(hours=1)
"""A work that fails waits a minute, then twice as long each time, up to an hour."""
ERROR_LENGTH_MAX = 300
FETCHED_KEPT = timedelta(days=90)


class Work(StrEnum):
    """What is done with a partner's files."""

    PULL = "PULL"
    """Fetch what lies on its server."""
    TAKE = "TAKE"
    """Take what lies in its folder."""
    CHARGES = "CHARGES"
    """Write what households owe."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """How a work stands: ``failures`` in a row, ``error`` the last of them, ``done`` what was done last."""

    partner: str
    work: str
    tried_at: datetime
    ok_at: datetime | None
    failures: int
    not_before: datetime | None
    error: str | None
    done: str | None


@asynccontextmanager
async def reached(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Give a connection to the database.

    :raises TryLater: it cannot be reached, or is lost meanwhile.
    """
    try:
        async with pool.acquire() as db:
            yield db
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error


async def state_of(db: Db, partner: str, work: Work) -> StateRow | None:
    """Find how a work stands, None where it was never tried."""
    row = await db.fetchrow("SELECT * FROM exchange_state WHERE partner = $1 AND work = $2", partner, work.value)
    return StateRow(**row) if row is not None else None


async def states(db: Db, partners: Sequence[str]) -> list[StateRow]:
    """List how the works of partners stand."""
    rows = await db.fetch(
        "SELECT * FROM exchange_state WHERE partner = ANY($1::text[]) ORDER BY partner, work", list(partners)
    )
    return [StateRow(**row) for row in rows]


async def may_try(db: Db, partner: str, work: Work, now: datetime) -> bool:
    """Say whether a work may be tried, or still waits after a failure."""
    state = await state_of(db, partner, work)
    return state is None or state.not_before is None or state.not_before <= now


async def did(db: Db, partner: str, work: Work, now: datetime, done: str | None = None) -> None:
    """Note that a work was done; ``done`` says what, None leaves what was said before."""
    await db.execute(
        """
        INSERT INTO exchange_state (partner, work, tried_at, ok_at, done) VALUES ($1, $2, $3, $3, $4)
        ON CONFLICT (partner, work) DO UPDATE SET tried_at = excluded.tried_at, ok_at = excluded.ok_at, failures = 0,
            not_before = NULL, error = NULL, done = coalesce(excluded.done, exchange_state.done)
        """,
        partner,
        work.value,
        now,
        done,
    )


async def failed(db: Db, partner: str, work: Work, now: datetime, error: str) -> None:
    """Note that a work failed, and when it is tried again."""
    await db.execute(
        """
        INSERT INTO exchange_state (partner, work, tried_at, failures, not_before, error)
        VALUES ($1, $2, $3::timestamptz, 1, $3::timestamptz + $5::interval, $4)
        ON CONFLICT (partner, work) DO UPDATE SET tried_at = excluded.tried_at, failures = exchange_state.failures + 1,
            not_before = excluded.tried_at + least($5::interval * 2 ^ least(exchange_state.failures, 10), $6::interval),
            error = excluded.error
        """,
        partner,
        work.value,
        now,
        error[:ERROR_LENGTH_MAX],
        AGAIN,
        AGAIN_MAX,
    )


async def was_fetched(db: Db, partner: str, name: str, size: int, changed_at: int) -> bool:
    """Say whether a file of a partner's server was taken as it lies there; ``changed_at`` is its time in seconds."""
    return bool(
        await db.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM exchange_fetched WHERE partner = $1 AND name = $2 AND size = $3 AND changed_at = $4
            )
            """,
            partner,
            _digest(name),
            size,
            changed_at,
        )
    )


async def note_fetched(db: Db, partner: str, name: str, size: int, changed_at: int, now: datetime) -> None:
    """Note that a file of a partner's server was taken; what was noted long ago is forgotten."""
    await db.execute(
        """
        INSERT INTO exchange_fetched (partner, name, size, changed_at, fetched_at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (partner, name) DO UPDATE SET
            size = excluded.size, changed_at = excluded.changed_at, fetched_at = excluded.fetched_at
        """,
        partner,
        _digest(name),
        size,
        changed_at,
        now,
    )
    await db.execute("DELETE FROM exchange_fetched WHERE partner = $1 AND fetched_at < $2", partner, now - FETCHED_KEPT)


def _digest(name: str) -> bytes:
    return sha256(name.encode("utf-8", "surrogatepass")).digest()
