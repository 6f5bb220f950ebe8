"""What waits for a person, a partner or a repaired gateway in all that banks and payment apps bring: how many, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bels.domain.periods import moscow_date
from bels.domain.terms import Word
from bels.journal.write import Db
from bels.payments.webhooks.due import SLOW_AFTER

A_DAY = timedelta(days=1)


class Waits(Word):
    """What waits."""

    REGISTERS_QUARANTINED = "registers_quarantined"
    """Files of which nothing was booked; since they came."""
    REGISTERS_UNTAKEN = "registers_untaken"
    """Files that came and are not booked to their end; since they came."""
    REGISTER_ROWS = "register_rows"
    """Rows that an operator must look at; since their file came."""
    DIFFERENCES_OPEN = "differences_open"
    """Differences that nobody has worked on; since they were found."""
    DIFFERENCES_UNANSWERED = "differences_unanswered"
    """Differences that a bank was asked about and has not answered in time; since it was asked."""
    REFUNDS = "refunds"
    """Requests to return a payment that are not decided, or not carried out; since they were made."""
    REFUNDS_OVERDUE = "refunds_overdue"
    """Those of them whose deadline is over."""
    WEBHOOKS_FAILING = "webhooks_failing"
    """Webhooks that failed again and again, and are asked with one event at a time; since they fail."""
    WEBHOOKS_GONE = "webhooks_gone"
    """Webhooks that answered 410, and are told nothing until their partner resumes them."""
    WEBHOOKS_LATE = "webhooks_late"
    """Webhooks that answer, and for which something is due; since it is. Their age is how late the worker is."""
    WEBHOOK_EVENTS_DEAD = "webhook_events_dead"
    """Events of the last day that were given up after a week."""
    CARD_ORDERS_LATE = "card_orders_late"
    """Orders by card that should have expired: the worker does not look after cards."""
    CARD_REFUNDS_LATE = "card_refunds_late"
    """Returns to a card that are over their term."""
    CARD_RECEIPTS = "card_receipts"
    """Payments by card whose receipt (54-ФЗ) MONETA has not asked for; since they were booked."""
    CARD_DIFFERENCES = "card_differences"
    """What MONETA says otherwise than we do; since it was found."""
    EXCHANGE_FAILING = "exchange_failing"
    """Works with a partner's files that fail; since they were last done, or first tried where they never were."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and since when the one waits that waits longest; None where that says nothing."""

    count: int
    since: datetime | None


async def waiting(db: Db, now: datetime) -> dict[Waits, Waiting]:
    """Count what waits; each part reads what waits alone, by an index of its own or in a table of some rows."""
    rows = await db.fetch(
        """
        SELECT 'registers_quarantined' AS what, count(*), min(received_at) AS since
          FROM register_file WHERE state = 'QUARANTINED'
        UNION ALL
        SELECT 'registers_untaken', count(*), min(received_at) FROM register_file WHERE state IN ('RECEIVED', 'TAKING')
        UNION ALL
        SELECT 'register_rows', count(*), min(f.received_at)
          FROM register_row r JOIN register_file f USING (file) WHERE r.outcome = 'REVIEW'
        UNION ALL
        SELECT 'differences_open', count(*), min(found_at) FROM difference WHERE state = 'OPEN'
        UNION ALL
        SELECT 'differences_unanswered', count(*), min(worked_at)
          FROM difference WHERE state = 'ASKED_BANK' AND answer_by < $2
        UNION ALL
        SELECT 'refunds', count(*), min(requested_at) FROM refund_request WHERE state IN ('REQUESTED', 'DECIDED')
        UNION ALL
        SELECT 'refunds_overdue', count(*), min(requested_at)
          FROM refund_request WHERE state IN ('REQUESTED', 'DECIDED') AND deadline < $2
        UNION ALL
        SELECT 'webhooks_failing', count(*), min(failing_since) FROM webhook WHERE state = 'ACTIVE' AND failures >= $3
        UNION ALL
        SELECT 'webhooks_gone', count(*), NULL FROM webhook WHERE state = 'GONE'
        UNION ALL
        SELECT 'webhooks_late', count(*), min(first.not_before)
          FROM webhook w CROSS JOIN LATERAL (
            SELECT not_before FROM webhook_delivery d
             WHERE d.webhook = w.id AND d.state = 'PENDING' AND d.not_before <= $1 ORDER BY d.not_before LIMIT 1) AS first
         WHERE w.state = 'ACTIVE' AND w.failures = 0 AND (w.held_until IS NULL OR w.held_until <= $1)
        UNION ALL
        SELECT 'webhook_events_dead', count(*), NULL FROM webhook_delivery WHERE state = 'DEAD' AND ended_at > $4
        UNION ALL
        SELECT 'card_orders_late', count(*), min(expires_at)
          FROM card_order WHERE state IN ('CREATED', 'CHECKED') AND expires_at <= $1
        UNION ALL
        SELECT 'card_refunds_late', count(*), min(due_at)
          FROM card_refund WHERE state IN ('REQUESTED', 'AT_PAYEE') AND due_at <= $1
        UNION ALL
        SELECT 'card_receipts', count(*), min(o.booked_at)
          FROM card_fiscal f LEFT JOIN card_operation o USING (operation) WHERE f.state = 'REQUESTED'
        UNION ALL
        SELECT 'card_differences', count(*), min(found_at) FROM card_difference WHERE closed_at IS NULL
        UNION ALL
        SELECT 'exchange_failing', count(*), min(coalesce(ok_at, tried_at)) FROM exchange_state WHERE failures > 0
        """,
        now,
        moscow_date(now),
        SLOW_AFTER,
        now - A_DAY,
    )
    return {Waits(row["what"]): Waiting(row["count"], row["since"]) for row in rows}
