"""Webhooks of partners: where each wants to be told of what, under which secret, and what became of every delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex

from asyncpg import Record

from bels.access.raw_texts import RawTexts
from bels.domain.terms import Word
from bels.journal.write import Db
from bels.messages import digest
from bels.payments.webhooks.catalogue import PING
from bels.payments.webhooks.events import put
from bels.payments.webhooks.signing import new_secret

WEBHOOKS_MAX = 10
"""Webhooks that a partner may have."""

DESCRIPTION_LENGTH_MAX = 100
PREVIOUS_HOLDS = timedelta(hours=24)
"""How long both secrets sign after a change."""

REPLAY_EVENTS_MAX = 10_000
"""Events that one request may have told again."""

REPLAY_IDS_MAX = 100
REPLAY_BACK = timedelta(days=90)
"""How far back events are told again."""

KEPT = timedelta(days=90)
"""How long what became of a delivery is shown."""

GIVEN_UP_AFTER = timedelta(days=30)
"""A delivery that waited so long behind others, or at a paused webhook, is not tried any more."""

ATTEMPTS_SHOWN_MAX = 20
ENDED_PAGE = 10_000


class WebhookState(Word):
    """Where a webhook stands."""

    ACTIVE = "ACTIVE"
    """Events are delivered."""
    PAUSED = "PAUSED"
    """Its partner asked for a pause; events wait."""
    GONE = "GONE"
    """It answered 410: nothing new is kept for it, and nothing sent, until it is resumed."""
    DELETED = "DELETED"
    """It is no more."""


class DeliveryState(Word):
    """Where a delivery stands."""

    PENDING = "PENDING"
    """It waits for its turn, or to be tried again."""
    DELIVERED = "DELIVERED"
    """The partner answered 2xx."""
    DEAD = "DEAD"
    """It was tried for a week and is tried no more, unless it is replayed."""


class WebhookError(ValueError):
    """A webhook cannot be made so; ``code`` is LIMIT_REACHED or MESSAGE_ID_REUSED."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook: ``partner`` is its actor. ``failures`` in a row since ``failing_since``; nothing is sent before ``held_until``."""

    id: str
    partner: str
    url: str
    types: tuple[str, ...]
    description: str
    state: WebhookState
    created_at: datetime
    previous_until: datetime | None
    failures: int
    failing_since: datetime | None
    held_until: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery of an event to a webhook; ``attempts`` count from ``since``, ``tries`` all there were."""

    number: int
    webhook: str
    event: str
    type: str
    subject: str
    recorded_at: datetime
    state: DeliveryState
    not_before: datetime
    tries: int
    last_error: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: the status that came, or why none came."""

    delivery: int
    number: int
    at: datetime
    status: int | None
    error: str | None
    duration_ms: int


_WEBHOOK = (
    "id, partner, url, types, description, state, created_at, previous_until, failures, failing_since, held_until"
)
_DELIVERY = "number, webhook, event, type, subject, recorded_at, state, not_before, tries, last_error, ended_at"


async def subscribe(
    db: Db, raw_texts: RawTexts, partner: str, key: str, url: str, types: Sequence[str], description: str, now: datetime
) -> tuple[Webhook, str | None]:
    """Make a webhook and give its secret, which nobody is given again; the same ``key`` again gives the same webhook without it.

    :raises WebhookError: the partner has as many as it may, or the key came with something else.
    """
    content = digest("\n".join((url, *sorted(types), description)))
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"webhooks of {partner}")
        before = await db.fetchrow(
            f"SELECT {_WEBHOOK}, content FROM webhook WHERE partner = $1 AND key = $2", partner, key
        )
        if before is not None:
            if bytes(before["content"]) != content:
                raise WebhookError("MESSAGE_ID_REUSED")
            return _webhook(before), None
        count = await db.fetchval("SELECT count(*) FROM webhook WHERE partner = $1 AND state <> 'DELETED'", partner)
        if count >= WEBHOOKS_MAX:
            raise WebhookError("LIMIT_REACHED")
        secret = new_secret()
        row = await db.fetchrow(
            f"""
            INSERT INTO webhook (id, partner, key, content, url, types, description, state, secret, created_at, told_through)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'ACTIVE', $8, $9, $9) RETURNING {_WEBHOOK}
            """,
            f"wh_{token_hex(12)}",
            partner,
            key,
            content,
            url,
            sorted(types),
            description,
            raw_texts.sealed(secret),
            now,
        )
    return _webhook(row), secret


async def rotate(
    db: Db, raw_texts: RawTexts, partner: str, webhook: str, key: str, now: datetime
) -> tuple[Webhook, str | None] | None:
    """Give a webhook another secret: for a day both sign. None where there is no such webhook; no secret for the same ``key`` again."""
    secret = new_secret()
    async with db.transaction():
        row = await db.fetchrow(
            f"""
            UPDATE webhook SET previous = secret, previous_until = $4, secret = $5, rotation = $3
            WHERE id = $1 AND partner = $2 AND state <> 'DELETED' AND rotation IS DISTINCT FROM $3
            RETURNING {_WEBHOOK}
            """,
            webhook,
            partner,
            key,
            now + PREVIOUS_HOLDS,
            raw_texts.sealed(secret),
        )
    if row is not None:
        return _webhook(row), secret
    found = await find(db, partner, webhook)
    return (found, None) if found is not None else None


async def pause(db: Db, partner: str, webhook: str) -> Webhook | None:
    """Send nothing more to a webhook until it is resumed; None where there is none."""
    row = await db.fetchrow(
        f"""
        UPDATE webhook SET state = 'PAUSED' WHERE id = $1 AND partner = $2 AND state IN ('ACTIVE', 'PAUSED')
        RETURNING {_WEBHOOK}
        """,
        webhook,
        partner,
    )
    return _webhook(row) if row is not None else await find(db, partner, webhook)


async def resume(db: Db, partner: str, webhook: str, now: datetime) -> Webhook | None:
    """Send to a webhook again what waits for it, each with a week of its own; None where there is none."""
    async with db.transaction():
        row = await db.fetchrow(
            f"""
            UPDATE webhook SET state = 'ACTIVE', failures = 0, failing_since = NULL, held_until = NULL
            WHERE id = $1 AND partner = $2 AND state IN ('PAUSED', 'GONE') RETURNING {_WEBHOOK}
            """,
            webhook,
            partner,
        )
        if row is None:
            return await find(db, partner, webhook)
        await db.execute(
            """
            UPDATE webhook_delivery SET since = $2, not_before = $2, attempts = 0
            WHERE webhook = $1 AND state = 'PENDING'
            """,
            webhook,
            now,
        )
    return _webhook(row)


async def delete(db: Db, partner: str, webhook: str) -> bool:
    """Delete a webhook with its secrets and all that waits for it; False where there is none."""
    async with db.transaction():
        deleted = await db.fetchval(
            """
            UPDATE webhook SET state = 'DELETED', secret = '', previous = NULL, previous_until = NULL, url = '', description = ''
            WHERE id = $1 AND partner = $2 AND state <> 'DELETED' RETURNING true
            """,
            webhook,
            partner,
        )
        if deleted:
            await db.execute("DELETE FROM webhook_delivery WHERE webhook = $1 AND state = 'PENDING'", webhook)
    return bool(deleted)


async def ping(db: Db, partner: str, webhook: str, key: str, now: datetime) -> str | None:
    """Send a test to a webhook, once for a ``key``; give the event's id, None where there is no such webhook."""
    async with db.transaction():
        found = await find(db, partner, webhook)
        if found is None:
            return None
        event = await put(db, partner, PING, f"{webhook} {key}", {"webhook": webhook}, now, webhook)
        await db.execute(
            """
            INSERT INTO webhook_delivery (webhook, event, type, subject, recorded_at, state, since, not_before)
            VALUES ($1, $2, $3, $2, $4, 'PENDING', $4, $4) ON CONFLICT (webhook, event) DO NOTHING
            """,
            webhook,
            event,
            PING,
            now,
        )
    return event


async def replay(
    db: Db,
    partner: str,
    webhook: str,
    now: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    ids: Sequence[str] = (),
    types: Sequence[str] = (),
) -> int | None:
    """Tell events again under their ids, in their order: these, or all from ``since`` to before ``until``; count them.

    Those that the webhook never heard of are told too. None where there is no such webhook. What is on its way is left alone.
    """
    found = await find(db, partner, webhook)
    if found is None:
        return None
    tag = await db.execute(
        f"""
        INSERT INTO webhook_delivery (webhook, event, type, subject, recorded_at, state, since, not_before)
        SELECT $1, e.id, e.type, e.subject, e.recorded_at, 'PENDING', $3, $3 FROM (
            (SELECT id, type, subject, account, entry, recorded_at FROM partner_event
             WHERE partner = $2 AND recorded_at >= $4 AND recorded_at < $5
               AND (cardinality($6::text[]) = 0 OR id = ANY($6)) AND type = ANY($7::text[])
             ORDER BY recorded_at LIMIT {REPLAY_EVENTS_MAX})
            UNION ALL
            (SELECT id, type, subject, '', 0, recorded_at FROM webhook_event
             WHERE partner = $2 AND recorded_at >= $4 AND recorded_at < $5 AND (webhook IS NULL OR webhook = $1)
               AND (cardinality($6::text[]) = 0 OR id = ANY($6)) AND type = ANY($7::text[])
             ORDER BY recorded_at LIMIT {REPLAY_EVENTS_MAX})
        ) AS e ORDER BY e.recorded_at, e.account, e.entry LIMIT {REPLAY_EVENTS_MAX}
        ON CONFLICT (webhook, event) DO UPDATE
            SET state = 'PENDING', since = $3, not_before = $3, attempts = 0, ended_at = NULL, claimed_until = NULL,
                place = excluded.place
            WHERE webhook_delivery.state <> 'PENDING'
        """,
        webhook,
        partner,
        now,
        max(since or now - REPLAY_BACK, now - REPLAY_BACK),
        until or now + timedelta(days=1),
        list(ids),
        list(types or (found.types if not ids else (*found.types, PING))),
    )
    return int(tag.rpartition(" ")[2])


async def find(db: Db, partner: str | None, webhook: str) -> Webhook | None:
    """Find a webhook; of every partner where ``partner`` is None."""
    row = await db.fetchrow(
        f"SELECT {_WEBHOOK} FROM webhook WHERE id = $1 AND ($2::text IS NULL OR partner = $2) AND state <> 'DELETED'",
        webhook,
        partner,
    )
    return _webhook(row) if row is not None else None


async def webhooks_of(db: Db, partner: str | None, after: str | None, limit: int) -> list[Webhook]:
    """List webhooks in the order of their ids; of every partner where ``partner`` is None."""
    rows = await db.fetch(
        f"""
        SELECT {_WEBHOOK} FROM webhook
        WHERE state <> 'DELETED' AND ($1::text IS NULL OR partner = $1) AND ($2::text IS NULL OR id > $2)
        ORDER BY id LIMIT $3
        """,
        partner,
        after,
        limit,
    )
    return [_webhook(row) for row in rows]


async def deliveries_of(
    db: Db, webhook: str, state: DeliveryState | None, before: int | None, limit: int
) -> list[Delivery]:
    """List deliveries to a webhook, the newest first, ``before`` a number."""
    rows = await db.fetch(
        f"""
        SELECT {_DELIVERY} FROM webhook_delivery
        WHERE webhook = $1 AND ($2::text IS NULL OR state = $2) AND ($3::bigint IS NULL OR number < $3)
        ORDER BY number DESC LIMIT $4
        """,
        webhook,
        state.value if state is not None else None,
        before,
        limit,
    )
    return [Delivery(**{**dict(row), "state": DeliveryState(row["state"])}) for row in rows]


async def attempts_of(db: Db, deliveries: Sequence[int]) -> dict[int, list[Attempt]]:
    """List the attempts of some deliveries, in their order, the last ``ATTEMPTS_SHOWN_MAX`` of each."""
    rows = await db.fetch(
        """
        SELECT a.* FROM unnest($1::bigint[]) AS wanted (delivery) CROSS JOIN LATERAL (
            SELECT delivery, number, at, status, error, duration_ms FROM webhook_attempt
            WHERE delivery = wanted.delivery ORDER BY number DESC LIMIT $2) AS a
        ORDER BY a.delivery, a.number
        """,
        list(deliveries),
        ATTEMPTS_SHOWN_MAX,
    )
    found: dict[int, list[Attempt]] = {}
    for row in rows:
        found.setdefault(row["delivery"], []).append(Attempt(**row))
    return found


async def forget_deliveries(db: Db, now: datetime) -> int:
    """Give up what waited too long, and forget a page of what ended long ago, with its attempts; count what was forgotten.

    Call it until it gives 0.
    """
    await db.execute(
        """
        UPDATE webhook_delivery SET state = 'DEAD', last_error = 'WAITED_TOO_LONG', ended_at = $2, claimed_until = NULL
        WHERE state = 'PENDING' AND since < $1
        """,
        now - GIVEN_UP_AFTER,
        now,
    )
    forgotten = await db.fetchval(
        """
        WITH gone AS (
            DELETE FROM webhook_delivery WHERE number IN (
                SELECT number FROM webhook_delivery WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)
            RETURNING number),
        tried AS (DELETE FROM webhook_attempt WHERE delivery IN (SELECT number FROM gone)),
        told AS (DELETE FROM webhook_event e WHERE e.type = $3 AND e.recorded_at < $1)
        SELECT count(*) FROM gone
        """,
        now - KEPT,
        ENDED_PAGE,
        PING,
    )
    return int(forgotten)


def _webhook(row: Record | None) -> Webhook:
    assert row is not None  # noqa: S101 - whoever inserts or found gets a row
    return Webhook(
        id=row["id"],
        partner=row["partner"],
        url=row["url"],
        types=tuple(row["types"]),
        description=row["description"],
        state=WebhookState(row["state"]),
        created_at=row["created_at"],
        previous_until=row["previous_until"],
        failures=row["failures"],
        failing_since=row["failing_since"],
        held_until=row["held_until"],
    )
