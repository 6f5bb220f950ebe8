"""Reminders: who is told that a reading is awaited, and when. Planned for a whole town in a few statements, each text once.

When the window of a period opens, and two days before it closes, those who chose reminders and have sent nothing are planned;
whether it still holds is asked again when the text is written, because most send their reading in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import asyncpg

from bels.domain.accept_reading import reading_period
from bels.domain.periods import first_day, moscow_date, window_of
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period, Word
from bels.intake import Intake
from bels.journal.write import Db
from bels.outgoing.jobs import wake

CLOSES_DAYS_BEFORE = 2
OPENS_DAYS = 3
"""For so many days from the opening on the first reminder is still planned: a worker may have been away."""

BATCH = 10_000
"""Choices that one statement looks at."""


class ReminderKind(Word):
    """Why a household is reminded."""

    WINDOW_OPENS = "WINDOW_OPENS"
    """Readings for the period are taken from now on."""
    WINDOW_CLOSES = "WINDOW_CLOSES"
    """Two days are left."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a planning did: for which period and why, None where no reminder is due; how many were planned anew."""

    period: Period | None
    kind: ReminderKind | None
    count: int


def due(now: datetime, rulebook: Rulebook) -> tuple[Period, ReminderKind, date] | None:
    """Say which reminder is due at a moment, and the last day of its window; None between the two."""
    today, period = moscow_date(now), reading_period(now, rulebook)
    deadline_day = rulebook.settings_of(period).reading_deadline_day
    opens = moscow_date(window_of(period, deadline_day)[0])
    deadline = first_day(period).replace(day=deadline_day)
    if deadline - timedelta(days=CLOSES_DAYS_BEFORE) <= today <= deadline:
        return period, ReminderKind.WINDOW_CLOSES, deadline
    if opens <= today < opens + timedelta(days=OPENS_DAYS):
        return period, ReminderKind.WINDOW_OPENS, deadline
    return None


async def plan_reminders(pool: asyncpg.Pool, intake: Intake, now: datetime) -> Planned:
    """Plan the reminders that are due for everybody who chose them and has sent nothing; each once, however often asked.

    :raises TryLater: the database cannot be reached.
    """
    found = due(now, await intake.rules())
    if found is None:
        return Planned(None, None, 0)
    period, kind, deadline = found
    until = window_of(period, deadline.day)[1]
    count, after = 0, 0
    async with pool.acquire() as db:
        while (last := await _last_of_batch(db, after)) is not None:
            count += await _plan(db, period, kind, until, now, after, last)
            after = last
        if count:
            await wake(db)
    return Planned(period, kind, count)


async def _last_of_batch(db: Db, after: int) -> int | None:
    number: int | None = await db.fetchval(
        "SELECT max(number) FROM (SELECT number FROM subscription WHERE number > $1 ORDER BY number LIMIT $2) AS batch",
        after,
        BATCH,
    )
    return number


async def _plan(
    db: Db, period: Period, kind: ReminderKind, until: datetime, now: datetime, after: int, last: int
) -> int:
    # The estimation lists the coming periods that have no reading yet. A held reading is one that was sent: its household
    # hears of it by a notice. The key is of account, tenure, period and kind: of several channels one row is left.
    tag = await db.execute(
        """
        INSERT INTO outbox (key, account, tenure, topic, kind, period, state, not_before, until, created_at)
        SELECT 'remind/' || s.account || '/' || s.tenure || '/' || $1 || '/' || $2, s.account, s.tenure, 'REMINDERS', $2, $1,
               'PLANNED', $4, $3, $4
        FROM subscription s
        JOIN overview o ON o.account = s.account
        JOIN estimation e ON e.account = s.account
        LEFT JOIN tenure t ON t.account = s.account
        WHERE s.number > $5 AND s.number <= $6 AND 'REMINDERS' = ANY (s.topics) AND s.dead_at IS NULL
          AND s.tenure = coalesce(t.number, 1)
          AND o.situation = 'OPEN' AND o.meter IS NOT NULL AND NOT (o.meter ->> 'automatic')::boolean
          AND EXISTS (SELECT FROM json_array_elements(e.silent) AS coming (silent) WHERE coming.silent ->> 'period' = $1)
          AND NOT EXISTS (SELECT FROM reading r
                          WHERE r.account = s.account AND r.period = $1 AND r.status = 'HELD')
        ON CONFLICT (key) DO NOTHING
        """,
        period,
        kind.value,
        until,
        now,
        after,
        last,
    )
    return int(tag.rpartition(" ")[2])
