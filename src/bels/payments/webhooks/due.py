"""What is due: events become deliveries, deliveries are claimed in the order of their subjects, and marked by what came of them.

A delivery is claimed for ``LEASE``. Whoever dies before it is marked leaves it to be sent again, under the same event id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from asyncpg import Record

from bels.access.raw_texts import RawTexts
from bels.journal.write import Db
from bels.payments.webhooks.subscriptions import DeliveryState, WebhookState
from bels.projections.partner_events import PARTNER

LEASE = timedelta(seconds=60)
PLAN_PAGE = 1_000
"""Events of a webhook that become deliveries in one turn; the next turn goes on."""

OVERLAP = timedelta(minutes=2)
"""An event that was recorded so much earlier than the last known one may still come: its transaction took that long."""

DEEP = timedelta(days=1)
"""How far back a deep turn looks for what a shallow one may have missed: no telling anew of the views takes longer."""

WAITS_S = (5.0, 30.0, 120.0, 600.0, 3_600.0)
WAIT_S_LAST = 10_800.0
JITTER = 0.2
"""A wait is shorter by up to this part, by the event's own id: what failed together comes back apart."""

TRIED_FOR = timedelta(days=7)
SLOW_AFTER = 8
"""A webhook that failed so often in a row is asked with one event at a time, and rarely, until it answers."""

SLOW_S = 15.0
SLOW_S_MAX = 600.0
RETRY_AFTER_S_MAX = 86_400.0
NOT_TOLD_WAIT_S = 60.0
"""The view of events is being told anew: the event is there in a while."""

_LIVES = f"""NOT EXISTS (SELECT FROM client c WHERE c.client = substr(w.partner, {len(PARTNER) + 1}) AND c.revoked_at IS NOT NULL)"""
"""Nothing is told to a partner whose client was revoked."""

_PLANNING_LOCK = 0x62656C73_77656268


@dataclass(frozen=True, slots=True)
class Due:
    """A webhook for which something is due; ``keys`` are its secrets, the newest first."""

    id: str
    partner: str
    url: str
    keys: tuple[str, ...]
    failures: int

    @property
    def is_slow(self) -> bool:
        """Say whether it failed for long."""
        return self.failures >= SLOW_AFTER


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that was claimed; its attempt is counted already."""

    number: int
    event: str
    subject: str
    attempts: int
    tries: int
    since: datetime
    claimed_until: datetime


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt: a status, or the class of the fault; ``after_s`` is what the endpoint asked for."""

    claimed: Claimed
    at: datetime
    status: int | None
    error: str | None
    duration_ms: int
    after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        """Say whether the partner has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Say whether the partner wants nothing more."""
        return self.status == 410


async def plan(db: Db, now: datetime, *, deep: bool = False) -> int:
    """Make deliveries of the events that are new to a webhook; count them. One process does so at a time.

    A deep turn looks back ``DEEP``: it finds what a process with a late clock, or a long transaction, brought meanwhile.
    """
    async with db.transaction():
        if not await db.fetchval("SELECT pg_try_advisory_xact_lock($1)", _PLANNING_LOCK):
            return 0
        # The order of a stream is that of its entries, whatever the clocks of the processes that wrote them said. Deliveries are
        # looked up by their events alone: that way stays the short one, however small the table was when this was planned.
        count = await db.fetchval(
            f"""
            WITH planned AS (
                INSERT INTO webhook_delivery (webhook, event, type, subject, recorded_at, state, since, not_before)
                SELECT new.webhook, new.id, new.type, new.subject, new.recorded_at, 'PENDING', $1, $1
                  FROM (
                    SELECT w.id AS webhook, e.*,
                           max(e.recorded_at) OVER (PARTITION BY w.id, e.account ORDER BY e.entry) AS moment
                      FROM webhook w CROSS JOIN LATERAL (
                        (SELECT id, type, subject, account, entry, recorded_at FROM partner_event
                          WHERE partner = w.partner
                            AND recorded_at >= greatest(w.created_at, CASE WHEN $2 THEN $3 ELSE w.told_through - $4::interval END)
                            AND type = ANY(w.types)
                            AND w.id <> ALL (ARRAY(SELECT d.webhook FROM webhook_delivery d WHERE d.event = partner_event.id))
                          ORDER BY recorded_at, account, entry LIMIT {PLAN_PAGE})
                        UNION ALL
                        (SELECT id, type, subject, '', 0, recorded_at FROM webhook_event
                          WHERE partner = w.partner AND webhook IS NULL
                            AND recorded_at >= greatest(w.created_at, CASE WHEN $2 THEN $3 ELSE w.told_through - $4::interval END)
                            AND type = ANY(w.types)
                            AND w.id <> ALL (ARRAY(SELECT d.webhook FROM webhook_delivery d WHERE d.event = webhook_event.id))
                          ORDER BY recorded_at, id LIMIT {PLAN_PAGE})) AS e
                     WHERE w.state IN ('ACTIVE', 'PAUSED') AND {_LIVES}) AS new
                 ORDER BY new.moment, new.account, new.entry, new.id
                ON CONFLICT (webhook, event) DO NOTHING
                RETURNING webhook, recorded_at),
            through AS (
                UPDATE webhook w SET told_through = last.at
                  FROM (SELECT webhook, max(recorded_at) AS at FROM planned GROUP BY webhook) AS last
                 WHERE w.id = last.webhook AND w.told_through < last.at)
            SELECT count(*) FROM planned
            """,
            now,
            deep,
            now - DEEP,
            OVERLAP,
        )
    return int(count)


async def due_webhooks(db: Db, raw_texts: RawTexts, now: datetime, limit: int, but: Sequence[str] = ()) -> list[Due]:
    """List webhooks for which something is due, those that wait longest first, without those that are being served."""
    rows = await db.fetch(
        f"""
        SELECT w.id, w.partner, w.url, w.secret, w.previous, w.previous_until, w.failures
          FROM webhook w CROSS JOIN LATERAL (
            SELECT not_before FROM webhook_delivery d
             WHERE d.webhook = w.id AND d.state = 'PENDING' AND d.not_before <= $1
               AND (d.claimed_until IS NULL OR d.claimed_until <= $1)
             ORDER BY d.not_before LIMIT 1) AS first
         WHERE w.state = 'ACTIVE' AND (w.held_until IS NULL OR w.held_until <= $1) AND w.id <> ALL($3::text[]) AND {_LIVES}
         ORDER BY first.not_before LIMIT $2
        """,
        now,
        limit,
        list(but),
    )
    return [_due(row, raw_texts, now) for row in rows]


async def find_due(db: Db, raw_texts: RawTexts, webhook: str, now: datetime) -> Due | None:
    """Look at a webhook again before its next batch: None where nothing is to be sent to it now."""
    row = await db.fetchrow(
        f"""
        SELECT id, partner, url, secret, previous, previous_until, failures FROM webhook w
        WHERE id = $1 AND state = 'ACTIVE' AND (held_until IS NULL OR held_until <= $2) AND {_LIVES}
        """,
        webhook,
        now,
    )
    return _due(row, raw_texts, now) if row is not None else None


def _due(row: Record, raw_texts: RawTexts, now: datetime) -> Due:
    sealed = [row["secret"]]
    if row["previous"] is not None and row["previous_until"] > now:
        sealed.append(row["previous"])
    return Due(row["id"], row["partner"], row["url"], tuple(map(raw_texts.opened, sealed)), row["failures"])


async def claim(db: Db, webhook: str, now: datetime, at_once: int) -> list[Claimed]:
    """Claim what is due to a webhook, the first of each subject, as long as no more than ``at_once`` are under way in all."""
    rows = await db.fetch(
        """
        UPDATE webhook_delivery SET claimed_until = $3, attempts = attempts + 1, tries = tries + 1
        WHERE number IN (
            SELECT d.number FROM webhook_delivery d
             WHERE d.webhook = $1 AND d.state = 'PENDING' AND d.not_before <= $2
               AND (d.claimed_until IS NULL OR d.claimed_until <= $2)
               AND d.place = (SELECT min(first.place) FROM webhook_delivery first
                               WHERE first.webhook = $1 AND first.subject = d.subject AND first.state = 'PENDING')
             ORDER BY d.not_before, d.place
             LIMIT greatest(0, $4 - (SELECT count(*) FROM webhook_delivery
                                      WHERE webhook = $1 AND state = 'PENDING' AND claimed_until IS NOT NULL
                                        AND claimed_until > $2))
             FOR UPDATE SKIP LOCKED)
        RETURNING number, event, subject, attempts, tries, since, claimed_until
        """,
        webhook,
        now,
        now + LEASE,
        at_once,
    )
    return sorted((Claimed(**row) for row in rows), key=lambda claimed: claimed.number)


def wait_s(event: str, attempts: int) -> float:
    """Say how long to wait after so many failed attempts: the steps of ``WAITS_S``, each a little shorter by the event's id."""
    step = WAITS_S[attempts - 1] if attempts <= len(WAITS_S) else WAIT_S_LAST
    return step * (1 - JITTER * _part(f"{event} {attempts}"))


def slow_s(webhook: str, failures: int) -> float:
    """Say how long a webhook is left alone that failed so often in a row."""
    step = min(SLOW_S * 2.0 ** min(failures - SLOW_AFTER, 10), SLOW_S_MAX)
    return step * (1 - JITTER * _part(f"{webhook} {failures}"))


async def mark(db: Db, due: Due, results: Sequence[Result], now: datetime) -> None:
    """Note what came of a batch: of its deliveries, its attempts and its webhook, in one transaction."""
    marks = [_marked(result, now) for result in results]
    held_until = max((at for at in (_asked(result, now) for result in results) if at is not None), default=None)
    async with db.transaction():
        # Whoever came too late, after its lease, finds that another has claimed it anew, and changes nothing.
        await db.execute(
            """
            UPDATE webhook_delivery d
               SET state = m.state, not_before = m.not_before, last_error = m.error, claimed_until = NULL,
                   ended_at = CASE WHEN m.state = 'PENDING' THEN NULL ELSE $6::timestamptz END
              FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[], $5::timestamptz[])
                   AS m (number, state, not_before, error, claimed_until)
             WHERE d.number = m.number AND d.state = 'PENDING'
               AND (d.claimed_until = m.claimed_until OR m.state = 'DELIVERED')
            """,
            [result.claimed.number for result in results],
            [state.value for state, _ in marks],
            [not_before for _, not_before in marks],
            [None if result.is_taken else _error(result) for result in results],
            [result.claimed.claimed_until for result in results],
            now,
        )
        failed = [
            (result, not_before)
            for result, (state, not_before) in zip(results, marks, strict=True)
            if state is DeliveryState.PENDING and not_before > now
        ]
        if failed:
            # What waits behind a failed one is not looked at before its time.
            await db.execute(
                """
                UPDATE webhook_delivery d SET not_before = m.not_before
                  FROM unnest($2::text[], $3::timestamptz[]) AS m (subject, not_before)
                 WHERE d.webhook = $1 AND d.subject = m.subject AND d.state = 'PENDING' AND d.not_before < m.not_before
                """,
                due.id,
                [result.claimed.subject for result, _ in failed],
                [not_before for _, not_before in failed],
            )
        await db.execute(
            """
            INSERT INTO webhook_attempt (delivery, number, at, status, error, duration_ms)
            SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::int[], $5::text[], $6::int[])
            ON CONFLICT DO NOTHING
            """,
            [result.claimed.number for result in results],
            [result.claimed.tries for result in results],
            [result.at for result in results],
            [result.status for result in results],
            [result.error for result in results],
            [result.duration_ms for result in results],
        )
        await _mark_webhook(db, due, results, held_until, now)


async def put_back(db: Db, claimed: Sequence[Claimed], now: datetime) -> None:
    """Put back what could not be sent because its event is not told just now; it counts as no attempt."""
    await db.execute(
        """
        UPDATE webhook_delivery SET claimed_until = NULL, not_before = $2, attempts = attempts - 1, tries = tries - 1
        WHERE number = ANY($1::bigint[]) AND state = 'PENDING'
        """,
        [each.number for each in claimed],
        now + timedelta(seconds=NOT_TOLD_WAIT_S),
    )


async def _mark_webhook(
    db: Db, due: Due, results: Sequence[Result], held_until: datetime | None, now: datetime
) -> None:
    if any(result.is_gone for result in results):
        await db.execute(
            "UPDATE webhook SET state = $2 WHERE id = $1 AND state = 'ACTIVE'", due.id, WebhookState.GONE.value
        )
        return
    if any(result.is_taken for result in results):
        if due.failures or held_until is not None:
            await db.execute(
                "UPDATE webhook SET failures = 0, failing_since = NULL, held_until = $2 WHERE id = $1",
                due.id,
                held_until,
            )
        if due.is_slow:
            # It is back: nothing need wait for the hour that its failures had put it off to.
            await db.execute(
                "UPDATE webhook_delivery SET not_before = $2 WHERE webhook = $1 AND state = 'PENDING' AND not_before > $2",
                due.id,
                now,
            )
        return
    failures = due.failures + len(results)
    if failures >= SLOW_AFTER:
        slow = now + timedelta(seconds=slow_s(due.id, failures))
        held_until = max(slow, held_until) if held_until is not None else slow
    await db.execute(
        """
        UPDATE webhook SET failures = $2, failing_since = coalesce(failing_since, $3), held_until = coalesce($4, held_until)
        WHERE id = $1
        """,
        due.id,
        failures,
        now,
        held_until,
    )


def _marked(result: Result, now: datetime) -> tuple[DeliveryState, datetime]:
    if result.is_taken:
        return DeliveryState.DELIVERED, now
    if result.is_gone:
        return DeliveryState.PENDING, now
    claimed = result.claimed
    after_s = max(wait_s(claimed.event, claimed.attempts), min(result.after_s or 0.0, RETRY_AFTER_S_MAX))
    again_at = now + timedelta(seconds=after_s)
    return (DeliveryState.PENDING if again_at <= claimed.since + TRIED_FOR else DeliveryState.DEAD), again_at


def _asked(result: Result, now: datetime) -> datetime | None:
    if result.after_s is None or result.is_taken:
        return None
    return now + timedelta(seconds=min(result.after_s, RETRY_AFTER_S_MAX))


def _error(result: Result) -> str:
    return result.error or f"HTTP_{result.status}"


def _part(name: str) -> float:
    """Give a part of 1 that follows from a name alone."""
    return int.from_bytes(sha256(name.encode()).digest()[:4], "big") / 2**32
