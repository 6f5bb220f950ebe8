"""The day by which a bill is to be paid (ЖК 155; rules 1.9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.due_date import due_date
from bels.domain.events import PeriodClosed
from bels.domain.periods import first_day, shift
from bels.domain.terms import Period
from tests.domain.test_laws import steady
from tests.domain.trade import ORDINARY, closing, done, when
from tests.domain.vectors import RULEBOOK, vectors


@pytest.mark.parametrize("vector", vectors("due_date"), ids=lambda v: v["id"])
def test_the_vectors_due_dates(vector: dict[str, dict[str, str]]) -> None:
    told = {period: due_date(Period(period), RULEBOOK).isoformat() for period in vector["given"]["periods"]}

    assert told == vector["expected"]


@pytest.mark.parametrize(
    ("period", "due"),
    [
        ("2023-12", "2024-01-10"),  # the holidays of January are over on the 8th
        ("2024-04", "2024-05-13"),  # the 10th is a transferred day off
        ("2024-07", "2024-08-12"),  # a Saturday
        ("2025-02", "2025-03-10"),
        ("2026-01", "2026-02-10"),  # the last bill that is due on a 10th
    ],
)
def test_a_day_off_moves_the_due_date_to_the_next_working_day(period: str, due: str) -> None:
    assert due_date(Period(period), RULEBOOK) == date.fromisoformat(due)


def test_a_transferred_day_off_moves_the_due_date_too() -> None:
    off = tuple(date(2024, 6, day) for day in (10, 11))

    # The 12th of June is a holiday for ever.
    assert due_date(Period("2024-05"), replace(RULEBOOK, days_off=off)) == date(2024, 6, 13)


@steady(200)
@given(month=st.integers(0, 300), off=st.sets(st.integers(0, 10_000), max_size=400))
def test_a_bill_is_due_on_the_first_working_day_from_the_10th_or_15th(month: int, off: set[int]) -> None:
    rules = replace(RULEBOOK, days_off=tuple(sorted(date(2010, 1, 1) + timedelta(days=n) for n in off)))
    period = shift(Period("2010-01"), month)
    day = 15 if shift(period, 1) >= "2026-03" else 10
    named = first_day(shift(period, 1)).replace(day=day)

    due = due_date(period, rules)

    assert due >= named
    assert not rules.is_day_off(due)
    assert all(rules.is_day_off(named + timedelta(days=n)) for n in range((due - named).days))


def test_a_closing_names_the_due_date_and_a_late_closing_does_not_move_it() -> None:
    account = done(*ORDINARY)
    in_time = when(account, closing("2024-01"))
    late = when(account, replace(closing("2024-01"), closed_at=closing("2024-05").closed_at))

    assert [e.due_on for e in (*in_time, *late) if isinstance(e, PeriodClosed)] == [date(2024, 2, 12)] * 2
