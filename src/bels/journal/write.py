"""Several set-based statements as one: a batch of messages costs a few round trips, however many tables it touches.

Rows travel as one JSON text for each statement: msgspec writes it and PostgreSQL reads it in a seventh of the time that
asyncpg needs to write the same rows as arrays (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from asyncpg import Connection
from asyncpg.pool import PoolConnectionProxy

Db = Connection | PoolConnectionProxy
"""A connection, plain or from a pool."""

SESSION = {
    "timezone": "UTC",
    "jit": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}
"""Settings of every connection that serves. All statements find their rows by a key: one that was planned while its table
was small must not read the whole of it for ever after."""

_encode = msgspec.json.Encoder().encode


async def as_it_is(_: Connection) -> None:
    """Give a connection back to its pool without a statement: the ``reset`` of every pool that serves.

    asyncpg ends an open transaction by itself. What else it would undo in a round trip of its own (settings, session locks,
    LISTEN, cursors that outlive a transaction) nothing leaves on a connection of a pool: locks are of the transaction, who
    listens has a connection of its own, and the job library resets the one on which it has listened.
    """


@dataclass(frozen=True, slots=True)
class Write:
    """A statement that reads its rows from ``given(columns)``; ``columns`` are names with types, as in a table."""

    statement: str
    columns: str
    rows: Sequence[tuple[Any, ...]]


def given(columns: str) -> str:
    """Say in SQL where a statement's rows come from: a row has these columns, in this order."""
    return f"json_to_recordset($1::json) AS given ({columns})"


async def run(db: Db, *writes: Write) -> None:
    """Run statements together, as one; those without rows are left out.

    They all see the tables as they were before: none may count on what another of them writes.

    :raises asyncpg.UniqueViolationError: another writer was first; nothing of this is written.
    """
    some = [write for write in writes if write.rows]
    if some:
        rows = [_text(write) for write in some]
        await db.execute(_together(tuple(write.statement for write in some)), *rows)


def _text(write: Write) -> str:
    row = _row(write.columns)
    return _encode([row(*values) for values in write.rows]).decode()


@lru_cache(64)
def _row(columns: str) -> Callable[..., Any]:
    names = [column.split()[0].strip('"') for column in columns.split(",")]
    return msgspec.defstruct("Row", [(name, Any) for name in names], gc=False)


@lru_cache(1024)
def _together(statements: tuple[str, ...]) -> str:
    # The last one is the main statement: one that writes nothing (a notification) would be left out as a part.
    *others, last = (statement.replace("$1", f"${i + 1}") for i, statement in enumerate(statements))
    if not others:
        return last
    return "WITH " + ",\n".join(f"write_{i} AS ({part})" for i, part in enumerate(others)) + "\n" + last
