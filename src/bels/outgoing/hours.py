"""When bels speaks first, and how often: never at night, never more than a few texts a day."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from bels.domain.periods import MOSCOW

QUIET_FROM = time(21)
QUIET_UNTIL = time(9)
"""From evening to morning, Moscow time, nobody is told what he did not ask for; answers are sent at once."""

TEXTS_A_DAY = 3
"""Texts that a household is told on a day without having asked."""


def is_quiet(at: datetime) -> bool:
    """Say whether a moment is in the quiet hours."""
    local = at.astimezone(MOSCOW).time()
    return local >= QUIET_FROM or local < QUIET_UNTIL


def today_since(at: datetime) -> datetime:
    """Give the beginning of the Moscow day of a moment."""
    return at.astimezone(MOSCOW).replace(hour=0, minute=0, second=0, microsecond=0)


def this_morning(at: datetime) -> datetime:
    """Give the end of the quiet hours of the same day."""
    return datetime.combine(at.astimezone(MOSCOW).date(), QUIET_UNTIL, MOSCOW)


def next_morning(at: datetime) -> datetime:
    """Give the end of the quiet hours of the next day."""
    day = (at.astimezone(MOSCOW) + timedelta(days=1)).date()
    return datetime.combine(day, QUIET_UNTIL, MOSCOW)
