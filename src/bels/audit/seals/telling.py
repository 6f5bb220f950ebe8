"""Tell partners of a seal: every copy outside makes it harder to change what was sealed."""

from __future__ import annotations

from base64 import b64encode

from bels.audit.seals.statement import Seal
from bels.journal.write import Db
from bels.payments.webhooks.events import tell
from bels.projections.partner_events import PARTNER

SEALED = "journal.sealed.v1"
"""The type of the event."""


async def tell_partners(db: Db, seal: Seal) -> int:
    """Tell a seal, in the transaction of ``db``, to every partner with a webhook that asks for it; count them."""
    rows = await db.fetch(
        """
        SELECT DISTINCT partner FROM webhook WHERE state IN ('ACTIVE', 'PAUSED') AND $1 = ANY(types) ORDER BY partner
        """,
        SEALED,
    )
    data = {
        "number": seal.number,
        "sealedAt": seal.sealed_at.isoformat(),
        "heads": seal.heads.hex(),
        "log": seal.log.hex(),
        "key": seal.key,
        "signature": b64encode(seal.signature).decode(),
    }
    # Partners are a few tens, each with an event of its own.
    for row in rows:
        client = row["partner"].removeprefix(PARTNER)
        await tell(db, client, SEALED, f"seal {seal.number}", data, now=seal.sealed_at)
    return len(rows)
