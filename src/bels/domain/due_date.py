"""A bill is due on the 10th of the next month, from 01.03.2026 on the 15th; a day off moves it to the next working day (ЖК 155)."""

from __future__ import annotations

from datetime import date, timedelta

from bels.domain.periods import first_day, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period


def due_date(period: Period, rulebook: Rulebook) -> date:
    """Give the day by which the bill of a period is to be paid."""
    first = first_day(shift(period, 1))
    due = first.replace(day=rulebook.due_day_on(first))
    while rulebook.is_day_off(due):
        due += timedelta(days=1)
    return due
