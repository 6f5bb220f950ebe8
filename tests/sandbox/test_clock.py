"""The sandbox's clock: forward over what matters, and never back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bels.domain.periods import MOSCOW
from bels.payments.sandbox import Milestone, SandboxReason, SandboxRefusedError
from bels.rulebooks.shipped import DEMONSTRATION, shipped
from bels.sandbox.clock import MovableClock, check_move, first_moment, moment_of, months_over, mornings

RULES = shipped(DEMONSTRATION)


def at(text: str) -> datetime:
    """Read a moment of Moscow."""
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


def test_a_sandbox_opens_on_a_day_on_which_bills_are_due() -> None:
    assert first_moment(at("2026-05-20T12:00"), RULES) == at("2026-05-15T11:00")
    # 15 August 2026 is a Saturday.
    assert first_moment(at("2026-08-02T12:00"), RULES) == at("2026-08-17T11:00")


@pytest.mark.parametrize(
    ("milestone", "now", "then"),
    [
        (Milestone.NEXT_DAY, "2026-05-31T23:59", "2026-06-01T09:00"),
        (Milestone.DEADLINE_25, "2026-05-15T11:00", "2026-05-26T09:00"),
        (Milestone.DEADLINE_25, "2026-05-25T23:59", "2026-05-26T09:00"),
        (Milestone.DEADLINE_25, "2026-05-26T09:00", "2026-06-26T09:00"),
        (Milestone.DEADLINE_25, "2026-12-26T09:00", "2027-01-26T09:00"),
        (Milestone.CLOSING, "2026-05-15T11:00", "2026-06-01T01:00"),
        (Milestone.CLOSING, "2026-06-01T01:00", "2026-07-01T01:00"),
        (Milestone.DUE_DATE, "2026-05-15T11:00", "2026-05-16T09:00"),
        (Milestone.DUE_DATE, "2026-05-16T09:00", "2026-06-16T09:00"),
    ],
)
def test_the_clock_goes_over_the_next_milestone(milestone: Milestone, now: str, then: str) -> None:
    assert moment_of(milestone, at(now), RULES) == at(then)


def test_every_month_that_ends_on_the_way_is_closed_once() -> None:
    first, second = at("2026-05-15T11:00"), at("2026-07-01T00:30")

    assert [period for period, _ in months_over(first, second)] == ["2026-05", "2026-06"]
    assert months_over(second, second + timedelta(days=20)) == []


def test_reminders_are_planned_every_morning_on_the_way() -> None:
    found = mornings(at("2026-05-15T11:00"), at("2026-05-18T08:59"))

    assert found == [at("2026-05-16T09:00"), at("2026-05-17T09:00")]


@pytest.mark.parametrize(
    ("to", "ahead"),
    [("2026-05-15T11:00", 0), ("2026-05-14T11:00", 0), ("2027-07-15T11:00", 0), ("2026-06-15T11:00", 3640)],
)
def test_the_clock_goes_neither_back_nor_too_far(to: str, ahead: int) -> None:
    with pytest.raises(SandboxRefusedError) as refused:
        check_move(at("2026-05-15T11:00"), at(to), timedelta(days=ahead))

    assert refused.value.code is SandboxReason.BAD_TIME


def test_the_clock_goes_on_from_where_it_was_moved() -> None:
    ours = at("2026-05-20T12:00")
    clock = MovableClock(lambda: ours)

    clock.move(at("2026-06-01T01:00"))
    ours += timedelta(hours=1)
    clock.move(at("2026-05-25T00:00"))

    assert clock() == at("2026-06-01T02:00")
