"""The tables of the auditor's rooms: installed by every process that starts, after the payments."""

from __future__ import annotations

from bels.journal.installing import install_schemas
from bels.journal.write import Db

ROOMS = ("bels.audit.seals", "bels.audit.trail")
"""Each has its own ``schema.sql``, in this order."""


async def install_audit(db: Db) -> None:
    """Make the tables that are missing."""
    await install_schemas(db, *ROOMS)
