"""The tables of the access floor: installed by every process that starts; a change of rights is told to all of them."""

from __future__ import annotations

from bels.journal.installing import install_schemas
from bels.journal.write import Db

ACCESS_CHANGES = "bels_access"
"""The channel of PostgreSQL on which a change of somebody's rights is told: the payload is the subject (person or client)."""


async def install_access(db: Db) -> None:
    """Make the tables that are missing."""
    await install_schemas(db, "bels.access")


async def tell_change(db: Db, *subjects: str) -> None:
    """Tell every process that what these subjects may has changed; it is told when the transaction commits."""
    for subject in dict.fromkeys(subjects):
        await db.execute("SELECT pg_notify($1, $2)", ACCESS_CHANGES, subject)
