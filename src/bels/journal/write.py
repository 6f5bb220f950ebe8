"""Several set-based statements as one: a batch of messages costs a few round trips, however many tables it touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from re import Match
from re import compile as pattern
from typing import Any

from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

Db = Connection | PoolConnectionProxy
"""A connection, plain or from a pool."""

_PLACE = pattern(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Write:
    """A statement whose parameters $1, $2, ... are the columns of rows, each an array."""

    statement: str
    rows: Sequence[tuple[Any, ...]]


async def run(db: Db, *writes: Write) -> None:
    """Run statements together, as one; those without rows are left out.

    They all see the tables as they were before: none may count on what another of them writes.

    :raises asyncpg.UniqueViolationError: another writer was first; nothing of this is written.
    """
    some = [write for write in writes if write.rows]
    if not some:
        return
    columns = [list(column) for write in some for column in zip(*write.rows, strict=True)]
    statement = _together(tuple(write.statement for write in some), tuple(len(write.rows[0]) for write in some))
    await db.execute(statement, *columns)


@lru_cache(1024)
def _together(statements: tuple[str, ...], widths: tuple[int, ...]) -> str:
    if len(statements) == 1:
        return statements[0]
    parts = []
    before = 0
    for statement, width in zip(statements, widths, strict=True):

        def moved(place: Match[str], by: int = before) -> str:
            return f"${int(place.group(1)) + by}"

        parts.append(_PLACE.sub(moved, statement))
        before += width
    # The last one is the main statement: one that writes nothing (a notification) would be left out as a part.
    *others, last = parts
    return "WITH " + ",\n".join(f"write_{i} AS ({part})" for i, part in enumerate(others)) + "\n" + last
