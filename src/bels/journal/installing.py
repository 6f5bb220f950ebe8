"""How every room installs its tables: one process at a time, also while servers write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TypeVar

import asyncpg

from bels.journal.write import Db

ATTEMPTS = 10
"""How often tables are looked at that busy servers hold."""

_LOCK = 0x62656C73

T = TypeVar("T")


async def install_alone(db: Db, make: Callable[[], Awaitable[T]]) -> T:
    """Make tables in one transaction, under the lock of all that install: CREATE IF NOT EXISTS is not safe without.

    Even a statement that finds everything there waits for whoever writes to the table, and a server that writes may hold two in
    another order: then it looks again.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await _once(db, make)
        except asyncpg.DeadlockDetectedError:
            continue
    return await _once(db, make)


async def install_schemas(db: Db, *rooms: str) -> None:
    """Make the tables of rooms that are missing, by the ``schema.sql`` of each package, in this order."""

    async def make() -> None:
        for room in rooms:
            await db.execute(schema_of(room))

    await install_alone(db, make)


def schema_of(room: str) -> str:
    """Read the ``schema.sql`` of a package."""
    return (files(room) / "schema.sql").read_text("utf-8")


async def _once(db: Db, make: Callable[[], Awaitable[T]]) -> T:
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        return await make()
