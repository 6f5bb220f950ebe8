"""The tables of the payments' rooms: installed by every process that starts, after the views."""

from __future__ import annotations

from importlib.resources import files

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

_LOCK = 0x62656C73_70617973


async def install_payments(db: Db) -> None:
    """Make the tables that are missing."""
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        for room in ROOMS:
            await db.execute((files(room) / "schema.sql").read_text("utf-8"))
