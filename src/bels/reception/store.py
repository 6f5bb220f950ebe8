"""The tables of the reception: installed by every process that starts, after the views."""

from __future__ import annotations

from importlib.resources import files

from bels.journal.write import Db

_LOCK = 0x62656C73_72656365


async def install_reception(db: Db) -> None:
    """Make the tables that are missing."""
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await db.execute((files("bels.reception") / "schema.sql").read_text("utf-8"))
