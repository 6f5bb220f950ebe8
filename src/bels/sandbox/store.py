"""The tables of the sandbox, and its mark: by it a database is known to be nobody's real one."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from bels.journal.installing import schema_of
from bels.journal.journal import RULEBOOK
from bels.journal.write import Db
from bels.projections.overview import ACCOUNTS

LOCK = 0x62656C73_73616E64
"""Held by the process that serves a sandbox: its clock is that of one process."""


class SandboxError(RuntimeError):
    """The sandbox cannot be opened; the sentence says what to do."""


async def is_sandbox(db: Db) -> bool:
    """Say whether a database is a sandbox's."""
    return bool(await db.fetchval("SELECT to_regclass('public.sandbox') IS NOT NULL"))


async def refuse_sandbox(pool: asyncpg.Pool) -> None:
    """Let no ordinary server serve a sandbox: what is invented in it must not pass for real.

    :raises SandboxError: the database is a sandbox's.
    """
    async with pool.acquire() as db:
        if await is_sandbox(db):
            raise SandboxError(
                "the database is a sandbox: serve it with --sandbox, or set BELS_DATA_DIR to another folder"
            )


async def clock_ahead(db: Db, made_at: datetime, ahead: timedelta) -> timedelta:
    """Mark an empty database as a sandbox's, ``ahead`` of our clock, or say how far ahead the one that is there runs.

    :raises SandboxError: the database has accounts that no sandbox made.
    """
    if not await is_sandbox(db):
        if await db.fetchval("SELECT EXISTS (SELECT FROM overview WHERE account <> $1)", RULEBOOK):
            raise SandboxError(
                "the database has accounts that no sandbox made: a sandbox wants a database or a BELS_DATA_DIR of its own"
            )
        async with db.transaction():
            await db.execute(schema_of("bels.sandbox"))
            await db.execute("INSERT INTO sandbox (made_at, ahead) VALUES ($1, $2)", made_at, ahead)
        return ahead
    # Written by a newer version, a table may be missing.
    await db.execute(schema_of("bels.sandbox"))
    strange: str | None = await db.fetchval(
        f"""
        SELECT account FROM overview
        WHERE left(account, 5) NOT IN (SELECT block FROM sandbox_run) AND {ACCOUNTS} LIMIT 1
        """
    )
    if strange is not None:
        raise SandboxError(f"the database has an account that the sandbox did not make, {strange}: begin with --fresh")
    found: timedelta = await db.fetchval("SELECT ahead FROM sandbox")
    return found


async def keep_ahead(db: Db, ahead: timedelta) -> None:
    """Keep how far ahead of ours the sandbox's clock runs; it never goes back."""
    await db.execute("UPDATE sandbox SET ahead = $1 WHERE ahead < $1", ahead)


async def empty(db: Db) -> None:
    """Make a sandbox's database empty.

    :raises SandboxError: it is no sandbox's, or it is served just now.
    """
    if not await is_sandbox(db):
        if await db.fetchval("SELECT to_regclass('public.journal') IS NOT NULL AND EXISTS (SELECT FROM journal)"):
            raise SandboxError("--fresh empties sandboxes alone, and the database is none")
        return
    if not await db.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        raise SandboxError("the sandbox is being served: stop it before --fresh")
    try:
        # The keys have a schema of their own.
        await db.execute("DROP SCHEMA IF EXISTS bels_keys CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await db.execute("SELECT pg_advisory_unlock($1)", LOCK)
