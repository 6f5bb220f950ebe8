"""The tables of what goes out, and those of the job library: installed by every process that starts, after the views."""

from __future__ import annotations

from importlib.resources import files

from bels.journal.write import Db
from bels.outgoing.jobs import install_jobs, upgrade_jobs

_LOCK = 0x62656C73_6F757467


async def install_outgoing(db: Db) -> None:
    """Make the tables that are missing."""
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await db.execute((files("bels.outgoing") / "schema.sql").read_text("utf-8"))
        await install_jobs(db)
    await upgrade_jobs(db)
