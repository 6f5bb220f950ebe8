"""The office is open on its weekdays but on holidays and on the last working day of a month, an hour less before a holiday.

Days off are those of the rulebook's calendar (ТК 112 and transfers). ТК 95: the working day right before a public holiday is
an hour shorter. That the last working day of a month is closed to visitors is the supplier's own rule (rules 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.rulebook import HOLIDAYS, Rulebook

LOOK_AHEAD_DAYS_MAX = 60
"""No office is closed for longer: whoever asks later hears that nobody knows."""

SHORTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OfficeHours:
    """When the office is open, Moscow time: from ``opens`` until ``closes`` on ``weekdays`` (0 is Monday).

    ``closed_on`` are further days on which it is closed, ``last_working_day_closed`` the supplier's rule of the last one.
    """

    opens: time
    closes: time
    weekdays: frozenset[int]
    last_working_day_closed: bool = False
    closed_on: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class OpenHours:
    """When the office is open on one day: half-open, with the offset of Moscow."""

    opens_at: datetime
    closes_at: datetime


def hours_of(hours: OfficeHours, day: date, rulebook: Rulebook) -> OpenHours | None:
    """Give the hours of a day, None where the office is closed all day."""
    if day.weekday() not in hours.weekdays or day in hours.closed_on or _is_holiday(day, rulebook):
        return None
    if hours.last_working_day_closed and is_last_working_day(day, rulebook):
        return None
    opens_at = datetime.combine(day, hours.opens, MOSCOW)
    closes_at = datetime.combine(day, hours.closes, MOSCOW)
    if is_before_holiday(day):
        closes_at = max(opens_at, closes_at - SHORTER)
    return OpenHours(opens_at, closes_at)


def is_open(hours: OfficeHours, at: datetime, rulebook: Rulebook) -> bool:
    """Say whether the office is open at a moment."""
    of_day = hours_of(hours, moscow_date(at), rulebook)
    return of_day is not None and of_day.opens_at <= at < of_day.closes_at


def opens_next(hours: OfficeHours, at: datetime, rulebook: Rulebook) -> datetime | None:
    """Give the next moment after ``at`` at which the office opens, None where that is not known within sixty days."""
    today = moscow_date(at)
    for ahead in range(LOOK_AHEAD_DAYS_MAX + 1):
        of_day = hours_of(hours, today + timedelta(days=ahead), rulebook)
        if of_day is not None and of_day.opens_at > at:
            return of_day.opens_at
    return None


def is_last_working_day(day: date, rulebook: Rulebook) -> bool:
    """Say whether a day is the last one of its month that is no day off."""
    if rulebook.is_day_off(day):
        return False
    following = day + timedelta(days=1)
    while following.month == day.month:
        if not rulebook.is_day_off(following):
            return False
        following += timedelta(days=1)
    return True


def is_before_holiday(day: date) -> bool:
    """Say whether the next day is a public holiday, whatever the weekday (ТК 95); a day off that was moved there is none."""
    following = day + timedelta(days=1)
    return (following.month, following.day) in HOLIDAYS


def _is_holiday(day: date, rulebook: Rulebook) -> bool:
    # A Saturday is a day off of the country, but not of an office that opens on Saturdays.
    return (day.month, day.day) in HOLIDAYS or day in rulebook.days_off
