"""The tables of the access floor: installed by every process that starts; a change of rights is told to all of them."""

from __future__ import annotations

from importlib.resources import files

from bels.journal.write import Db

ACCESS_CHANGES = "bels_access"
"""The channel of PostgreSQL on which a change of somebody's rights is told: the payload is the subject (person or client)."""

_LOCK = 0x62656C73_61636365


async def install_access(db: Db) -> None:
    """Make the tables that are missing."""
    async with db.transaction():
        # CREATE IF NOT EXISTS is not safe against another process that does the same.
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await db.execute((files("bels.access") / "schema.sql").read_text("utf-8"))


async def tell_change(db: Db, *subjects: str) -> None:
    """Tell every process that what these subjects may has changed; it is told when the transaction commits."""
    for subject in dict.fromkeys(subjects):
        await db.execute("SELECT pg_notify($1, $2)", ACCESS_CHANGES, subject)
