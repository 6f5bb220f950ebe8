"""The tables of the payments' rooms: installed by every process that starts, after the views."""

from __future__ import annotations

from bels.journal.installing import install_schemas
from bels.journal.write import Db

ROOMS = (
    "bels.payments",
    "bels.payments.registers",
    "bels.payments.reconciling",
    "bels.payments.cards",
    "bels.payments.webhooks",
    "bels.payments.exchange",
)
"""Each has its own ``schema.sql``, in this order."""


async def install_payments(db: Db) -> None:
    """Make the tables that are missing."""
    await install_schemas(db, *ROOMS)
