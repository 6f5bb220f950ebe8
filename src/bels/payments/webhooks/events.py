"""Events that no account's journal has, told by other rooms in their own transaction, and every event as it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bels.journal.write import Db
from bels.payments.webhooks.catalogue import PING, EventError, checked
from bels.projections.partner_events import PARTNER, event_id

SUBJECT_LENGTH_MAX = 200

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class PartnerEvent:
    """An event as a partner is told it; ``data`` is JSON."""

    id: str
    partner: str
    type: str
    recorded_at: datetime
    data: str

    @property
    def body(self) -> bytes:
        """Write it as it is sent."""
        moment = self.recorded_at.isoformat()
        return _encode({"id": self.id, "type": self.type, "timestamp": moment, "data": msgspec.Raw(self.data.encode())})


async def tell(db: Db, client: str, kind: str, subject: str, data: Mapping[str, Any], *, now: datetime) -> str:
    """Tell a partner something, in the transaction of ``db``; give the event's id. The same ``subject`` again changes nothing.

    ``client`` is the partner's client, ``subject`` names what it is about within the type, for ever; events of one subject are
    told in order. ``kind`` is a type of the catalogue, ``data`` has the fields of its shape, in camel case, and nothing personal.

    :raises EventError: there is no such type, or its shape is another.
    """
    if kind == PING or not 0 < len(subject) <= SUBJECT_LENGTH_MAX:
        raise EventError("a subject has 1 to 200 characters, and a test is told by `ping`")
    return await put(db, f"{PARTNER}{client}", kind, subject, checked(kind, data), now)


async def put(
    db: Db, partner: str, kind: str, subject: str, data: Mapping[str, Any], now: datetime, webhook: str | None = None
) -> str:
    """Keep an event for a partner's actor; ``webhook`` is whose alone it is."""
    name = event_id("told", partner, kind, subject)
    await db.execute(
        """
        INSERT INTO webhook_event (id, partner, type, subject, recorded_at, data, webhook)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING
        """,
        name,
        partner,
        kind,
        subject,
        now,
        _encode(data).decode(),
        webhook,
    )
    return name


async def find_events(db: Db, partner: str, ids: Sequence[str]) -> dict[str, PartnerEvent]:
    """Find events of a partner's actor by their ids."""
    rows = await db.fetch(
        """
        SELECT id, partner, type, recorded_at, data FROM partner_event WHERE id = ANY($1::text[]) AND partner = $2
        UNION ALL
        SELECT id, partner, type, recorded_at, data FROM webhook_event WHERE id = ANY($1::text[]) AND partner = $2
        """,
        list(ids),
        partner,
    )
    return {row["id"]: PartnerEvent(**row) for row in rows}
