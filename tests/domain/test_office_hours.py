"""When the office is open: the supplier's hours, its own closed day, and the calendar of the country."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.office_hours import (
    OfficeHours,
    hours_of,
    is_before_holiday,
    is_last_working_day,
    is_open,
    opens_next,
)
from bels.domain.periods import MOSCOW, moscow_date
from bels.rulebooks.shipped import PUBLISHED, shipped

BOOK = shipped(PUBLISHED)
HOURS = OfficeHours(time(8, 45), time(17, 15), frozenset(range(5)), last_working_day_closed=True)
MOMENTS = st.integers(0, 4 * 365 * 24 * 60).map(lambda minutes: at("2024-01-01T00:00") + timedelta(minutes=minutes))
DAYS = st.dates(date(2024, 1, 1), date(2027, 12, 31))


def at(text: str) -> datetime:
    """Give a Moscow moment, written ``2026-11-20T09:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


@pytest.mark.parametrize(
    ("moment", "is_it"),
    [
        ("2026-11-20T08:44", False),
        ("2026-11-20T08:45", True),
        ("2026-11-20T17:14", True),
        ("2026-11-20T17:15", False),
        ("2026-11-21T12:00", False),  # Saturday
        ("2026-11-22T12:00", False),  # Sunday
        ("2026-11-30T12:00", False),  # the last working day of November
        ("2026-11-04T12:00", False),  # a public holiday
        ("2026-11-03T16:14", True),  # the day before it is an hour shorter
        ("2026-11-03T16:15", False),
        ("2026-05-29T12:00", False),  # the 30th and 31st are a weekend, so Friday is the last working day
        ("2026-05-28T12:00", True),
    ],
)
def test_the_office_is_open_at_its_hours(moment: str, is_it: bool) -> None:
    assert is_open(HOURS, at(moment), BOOK) is is_it


def test_the_moment_may_come_from_another_time_zone() -> None:
    assert is_open(HOURS, datetime.fromisoformat("2026-11-20T05:45:00+00:00"), BOOK)
    assert not is_open(HOURS, datetime.fromisoformat("2026-11-20T08:45:00+00:00").replace(hour=14, minute=15), BOOK)


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-20T07:00", "2026-11-20T08:45"),
        ("2026-11-20T08:45", "2026-11-23T08:45"),
        ("2026-11-20T12:00", "2026-11-23T08:45"),
        ("2026-11-27T18:00", "2026-12-01T08:45"),
        ("2026-12-30T18:00", "2027-01-11T08:45"),
    ],
)
def test_the_next_opening_is_found_over_weekends_and_holidays(moment: str, opens: str) -> None:
    assert opens_next(HOURS, at(moment), BOOK) == at(opens)


def test_a_day_that_the_office_itself_has_closed_is_closed() -> None:
    inventory = replace(HOURS, closed_on=frozenset({date(2026, 11, 23)}))

    assert opens_next(inventory, at("2026-11-20T18:00"), BOOK) == at("2026-11-24T08:45")


def test_an_office_that_never_opens_is_not_waited_for() -> None:
    assert opens_next(replace(HOURS, weekdays=frozenset()), at("2026-11-20T18:00"), BOOK) is None


def test_days_before_a_holiday_are_short_and_those_before_a_moved_day_off_are_not() -> None:
    short = [
        d for i in range(365) if hours_of(HOURS, d := date(2026, 1, 1) + timedelta(i), BOOK) and is_before_holiday(d)
    ]

    # The production calendar of 2026 names also 30 April, which is the last working day of its month and closed here.
    assert short == [date(2026, 5, 8), date(2026, 6, 11), date(2026, 11, 3)]
    assert not is_before_holiday(date(2026, 3, 6))


@given(DAYS)
def test_every_month_has_one_last_working_day(day: date) -> None:
    first = day.replace(day=1)
    month = [d for i in range(31) if (d := first + timedelta(i)).month == day.month]

    last = [d for d in month if is_last_working_day(d, BOOK)]

    assert len(last) == 1
    assert all(BOOK.is_day_off(d) for d in month if d > last[0])
    assert hours_of(HOURS, last[0], BOOK) is None


@given(MOMENTS)
def test_when_it_opens_next_it_is_open_and_was_not_a_moment_before(moment: datetime) -> None:
    opens = opens_next(HOURS, moment, BOOK)

    assert opens is not None
    assert opens > moment
    assert is_open(HOURS, opens, BOOK)
    assert not is_open(HOURS, opens - timedelta(microseconds=1), BOOK)


@given(MOMENTS, st.floats(0, 1))
def test_between_now_and_the_next_opening_it_opens_at_no_other_time(moment: datetime, share: float) -> None:
    opens = opens_next(HOURS, moment, BOOK)
    assert opens is not None

    between = moment + (opens - moment) * share

    # What is open in between has been open since this very day began its hours.
    assert not is_open(HOURS, between, BOOK) or between >= opens or moscow_date(between) == moscow_date(moment)


@given(DAYS)
def test_nobody_is_received_on_a_day_off(day: date) -> None:
    if BOOK.is_day_off(day):
        assert hours_of(HOURS, day, BOOK) is None
