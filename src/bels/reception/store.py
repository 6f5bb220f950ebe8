"""The tables of the reception: installed by every process that starts, after the views."""

from __future__ import annotations

from bels.journal.installing import install_schemas
from bels.journal.write import Db


async def install_reception(db: Db) -> None:
    """Make the tables that are missing."""
    await install_schemas(db, "bels.reception")
