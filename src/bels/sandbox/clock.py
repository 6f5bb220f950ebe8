"""The clock of the sandbox: it goes on as ours does, so far ahead as it was moved, and is never moved back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from bels.domain.due_date import due_date
from bels.domain.periods import MOSCOW, first_day, moscow_date, over_at, period_of, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period
from bels.intake import Clock, utc_now
from bels.payments.sandbox import Milestone, SandboxReason, SandboxRefusedError

MOVE_MAX = timedelta(days=400)
"""By how much one move may go on."""

AHEAD_MAX = timedelta(days=3_650)
"""How far the sandbox's clock may run before ours: tariffs and key rates are not known for ever."""

MORNING = time(9)
OPENING = time(11)
CLOSES_AFTER = timedelta(minutes=30)
"""How long after the end of a month the sandbox closes it, as the town does."""

_LAST_DAY = 31


@dataclass(slots=True)
class MovableClock:
    """Tell the time of the sandbox: that of ``base``, and ``ahead`` on top."""

    base: Clock = utc_now
    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.base() + self.ahead

    def move(self, to: datetime) -> None:
        """Move the clock; to a moment that is over it does not move."""
        self.ahead = max(self.ahead, to - self.base())


def first_moment(now: datetime, rulebook: Rulebook) -> datetime:
    """Give the moment at which a new sandbox opens: the day on which this month's bill is due, in the morning."""
    return _at(due_date(shift(_month(now), -1), rulebook), OPENING)


def moment_of(milestone: Milestone, now: datetime, rulebook: Rulebook) -> datetime:
    """Give the first moment after a milestone that is still to come."""
    today, month = moscow_date(now), _month(now)
    match milestone:
        case Milestone.NEXT_DAY:
            return _at(today + timedelta(days=1), MORNING)
        case Milestone.DEADLINE_25:
            # Another day may be agreed for a period; the month of the next reading has the deadline that is ahead.
            period = period_of(now, rulebook.settings_of(month).reading_deadline_day)
            deadline = first_day(period).replace(day=rulebook.settings_of(period).reading_deadline_day)
            return _at(deadline + timedelta(days=1), MORNING)
        case Milestone.CLOSING:
            return over_at(month) + 2 * CLOSES_AFTER
        case Milestone.DUE_DATE:
            due = due_date(shift(month, -1), rulebook)
            if today > due:
                due = due_date(month, rulebook)
            return _at(due + timedelta(days=1), MORNING)


def check_move(now: datetime, to: datetime, ahead: timedelta) -> None:
    """Judge a move of the clock.

    :raises SandboxRefusedError: it goes back, or too far.
    """
    if to <= now:
        raise SandboxRefusedError(
            SandboxReason.BAD_TIME, "Часы песочницы идут только вперёд: назовите момент позже текущего."
        )
    if to - now > MOVE_MAX:
        raise SandboxRefusedError(
            SandboxReason.BAD_TIME, f"За один раз часы переводятся не больше чем на {MOVE_MAX.days} дней."
        )
    if ahead + (to - now) > AHEAD_MAX:
        raise SandboxRefusedError(
            SandboxReason.BAD_TIME, "Часы ушли слишком далеко: начните песочницу заново (bels serve --sandbox --fresh)."
        )


def months_over(now: datetime, to: datetime) -> list[tuple[Period, datetime]]:
    """List the months that end on the way, each with the moment at which it is closed."""
    found, month = [], _month(now)
    while (at := over_at(month) + CLOSES_AFTER) <= to:
        if at > now:
            found.append((month, at))
        month = shift(month, 1)
    return found


def mornings(now: datetime, to: datetime) -> list[datetime]:
    """List the mornings on the way: reminders are planned then."""
    days = (moscow_date(to) - moscow_date(now)).days
    found = (_at(moscow_date(now) + timedelta(days=i), MORNING) for i in range(days + 1))
    return [at for at in found if now < at <= to]


def _month(at: datetime) -> Period:
    return period_of(at, _LAST_DAY)


def _at(day: date, hour: time) -> datetime:
    return datetime.combine(day, hour, MOSCOW)
