"""Outcome notices: what happened to an account without the household's doing becomes a text, once.

The view ``notice`` says what happened; here it is said who hears of it: the household of that time, if it had chosen notices
by then, and unless one of its own senders brought it about and had the answer.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bels.journal.write import Db
from bels.outgoing.jobs import wake

NEWS_FOR = timedelta(days=3)
"""What is older is no news."""

RECENT = timedelta(hours=1)
"""How far back the planning of every minute looks; that of every hour looks back for ``NEWS_FOR``."""

LIVES = timedelta(days=7)
"""How long such a text may wait for its gateway."""

PLANNED_MAX = 10_000
"""Texts that one statement plans; the next one goes on."""


async def plan_notices(db: Db, now: datetime, since: datetime) -> int:
    """Plan a text for every notice since a moment that a household wants to hear; count those that are new.

    A reading that was replaced by the same sender's next one is a correction, and no news.
    """
    count = 0
    while True:
        tag = await db.execute(
            """
            INSERT INTO outbox (key, account, tenure, topic, kind, period, entry, state, not_before, until, created_at)
            SELECT 'notice/' || n.account || '/' || n.entry, n.account, coalesce(t.number, 1), 'NOTICES', n.kind, n.period,
                   n.entry, 'PLANNED', $1, $1::timestamptz + $3::interval, $1::timestamptz
            FROM notice n
            LEFT JOIN tenure t ON t.account = n.account
            WHERE n.recorded_at > $2 AND n.recorded_at <= $1::timestamptz AND n.entry > coalesce(t.entry, 0)
              AND EXISTS (SELECT FROM subscription s
                          WHERE s.account = n.account AND s.tenure = coalesce(t.number, 1) AND 'NOTICES' = ANY (s.topics)
                            AND s.dead_at IS NULL AND s.chosen_at <= n.recorded_at)
              AND NOT EXISTS (SELECT FROM subscription s
                              WHERE s.account = n.account AND s.tenure = coalesce(t.number, 1)
                                AND s.digest = split_part(n.actor, ':', 2))
              AND (n.kind <> 'SUPERSEDED' OR NOT EXISTS (
                      SELECT FROM reading old JOIN reading new
                        ON new.account = old.account AND new.entry = (n.data ->> 'by')::bigint AND new.actor = old.actor
                      WHERE old.account = n.account AND old.entry = (n.data ->> 'reading')::bigint))
              AND NOT EXISTS (SELECT FROM outbox o WHERE o.key = 'notice/' || n.account || '/' || n.entry)
            ORDER BY n.recorded_at LIMIT $4
            ON CONFLICT (key) DO NOTHING
            """,
            now,
            since,
            LIVES,
            PLANNED_MAX,
        )
        planned = int(tag.rpartition(" ")[2])
        count += planned
        if planned < PLANNED_MAX:
            break
    if count:
        await wake(db)
    return count
