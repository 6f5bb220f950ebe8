"""The calendar of billing: periods and windows in Europe/Moscow (rules 1.1)."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, timedelta
from functools import lru_cache
from re import compile as pattern
from zoneinfo import ZoneInfo

from bels.domain.terms import Period

MOSCOW = ZoneInfo("Europe/Moscow")
DEADLINE_DAY = 25
"""``reading_deadline_day``: the last day of a period's window, by default."""

_PERIOD = pattern(r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])")


def period(text: str) -> Period:
    """Read a period ``YYYY-MM``.

    :raises ValueError: the text is not a month of 1900 to 2099.
    """
    if not _PERIOD.fullmatch(text) or not text.isascii():
        raise ValueError(f"{text!r} is not a period: write YYYY-MM, for example 2024-05")
    return Period(text)


@lru_cache(4096)
def index_of(p: Period) -> int:
    """Number the periods so that differences are months."""
    return int(p[:4]) * 12 + int(p[5:]) - 1


@lru_cache(4096)
def period_at(index: int) -> Period:
    """Name the period with this number."""
    return Period(f"{index // 12:04d}-{index % 12 + 1:02d}")


def shift(p: Period, months: int) -> Period:
    """Go this many periods forward, or back when negative."""
    return period_at(index_of(p) + months)


def months_between(earlier: Period, later: Period) -> int:
    """Count the periods from ``earlier`` to ``later``: 0 when they are the same."""
    return index_of(later) - index_of(earlier)


@lru_cache(4096)
def days_in(p: Period) -> int:
    """Count the calendar days of the month."""
    return monthrange(int(p[:4]), int(p[5:]))[1]


@lru_cache(4096)
def first_day(p: Period) -> date:
    """Give the 1st, whose tariffs, settings and residents rule the period."""
    return date(int(p[:4]), int(p[5:]), 1)


@lru_cache(4096)
def after(p: Period, through: Period) -> tuple[Period, ...]:
    """List the gap: the periods after ``p`` through ``through``, in order."""
    return tuple(period_at(i) for i in range(index_of(p) + 1, index_of(through) + 1))


def moscow_date(at: datetime) -> date:
    """Give the Moscow day of an instant."""
    return at.astimezone(MOSCOW).date()


def period_of(at: datetime, deadline_day: int = DEADLINE_DAY) -> Period:
    """A fact belongs to its Moscow month up to the deadline day, afterwards to the next month (rules 1.1)."""
    local = at.astimezone(MOSCOW)
    months = local.year * 12 + local.month - 1
    return period_at(months if local.day <= deadline_day else months + 1)


def window_of(p: Period, deadline_day: int = DEADLINE_DAY) -> tuple[datetime, datetime]:
    """Give the half-open window of a period: from the day after the deadline of the month before."""
    return _day_after_deadline(shift(p, -1), deadline_day), _day_after_deadline(p, deadline_day)


def _day_after_deadline(p: Period, deadline_day: int) -> datetime:
    day = date(int(p[:4]), int(p[5:]), deadline_day) + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=MOSCOW)


def over_at(p: Period) -> datetime:
    """Give the moment from which the period may be closed: the 1st of the next month, 00:00 Moscow."""
    day = first_day(shift(p, 1))
    return datetime(day.year, day.month, day.day, tzinfo=MOSCOW)
