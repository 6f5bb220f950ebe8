"""Readings accepted, held and refused (rules 1.2), beyond the vectors."""

from __future__ import annotations

import pytest

from bels.domain.commands import RecordAccessRefusal, TakeControlReading
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingRefused, ReadingSuperseded
from bels.domain.terms import EntryNumber, HoldReason, Period, ReadingStatus, Reason, Role
from tests.domain.trade import (
    INSTALLED,
    M1,
    OPENED,
    ORDINARY,
    TOTAL,
    bill,
    closing,
    day,
    done,
    given,
    put_right,
    sent,
    total,
    when,
)

FEBRUARY = Period("2024-02")


def test_a_reading_is_accepted_for_the_period_of_its_window() -> None:
    assert when(given(OPENED, INSTALLED), sent("2024-01-26", 10_100)) == (
        ReadingAccepted(M1, FEBRUARY, day("2024-01-26"), None, total(10_100), M1, total(100), Role.CONSUMER),
    )


def test_a_later_reading_of_the_window_supersedes_even_when_it_is_lower() -> None:
    account = done(*ORDINARY, sent("2024-02-10", 10_300))

    assert when(account, sent("2024-02-20", 10_100)) == (
        ReadingAccepted(M1, FEBRUARY, day("2024-02-20"), None, total(10_100), M1, total(100), Role.CONSUMER),
        ReadingSuperseded(EntryNumber(3), EntryNumber(4)),
    )


def test_a_reading_lower_than_the_last_is_held() -> None:
    assert when(given(OPENED, INSTALLED), sent("2024-02-20", 9_000)) == (
        ReadingHeld(
            M1,
            FEBRUARY,
            day("2024-02-20"),
            None,
            total(9_000),
            M1,
            total(99_000),
            Role.CONSUMER,
            HoldReason.LESS_THAN_PREVIOUS,
            None,
            total(10_000),
        ),
    )


def test_a_late_row_above_the_next_reading_is_held_and_superseded_by_it() -> None:
    account = done(*ORDINARY, sent("2024-03-20", 10_200))

    held, superseded = when(account, sent("2024-02-20", 10_300))

    assert isinstance(held, ReadingHeld)
    assert held.reason is HoldReason.MORE_THAN_NEXT
    assert superseded == ReadingSuperseded(EntryNumber(4), EntryNumber(3))


def test_a_late_row_in_the_top_of_the_range_does_not_make_the_next_reading_a_rollover() -> None:
    account = done(*ORDINARY, sent("2024-12-20", 60_000))

    held = when(account, sent("2024-10-20", 96_000))[0]

    assert isinstance(held, ReadingHeld)
    assert held.reason is HoldReason.MORE_THAN_NEXT


def test_a_late_row_before_a_rollover_is_accepted() -> None:
    account = done(*ORDINARY, sent("2024-12-20", 96_000), sent("2025-02-20", 150))

    assert isinstance(when(account, sent("2025-01-20", 99_000))[0], ReadingAccepted)


@pytest.mark.parametrize("refusals", [2, 3, 4])
def test_two_refusals_of_access_or_more_stop_readings_until_the_check(refusals: int) -> None:
    days = ("2024-02-05", "2024-03-05", "2024-05-05", "2024-06-05")[:refusals]
    account = done(*ORDINARY, *(RecordAccessRefusal(day(d)) for d in days))

    for on in ("2024-03-20", "2024-04-20", "2024-06-20"):
        (refused,) = when(account, sent(on, 10_100))
        assert isinstance(refused, ReadingRefused)
        assert refused.reason is Reason.READINGS_NOT_TAKEN
    checked = done(
        *ORDINARY, *(RecordAccessRefusal(day(d)) for d in days), TakeControlReading(day("2024-07-05"), total(10_500))
    )
    assert isinstance(when(checked, sent("2024-07-20", 10_600))[0], ReadingAccepted)
    assert isinstance(when(checked, sent("2024-02-20", 10_100))[0], ReadingAccepted)
    assert isinstance(when(checked, sent("2024-04-20", 10_100))[0], ReadingRefused)


def test_a_reading_that_a_control_disproved_is_superseded_by_a_later_one_of_its_window() -> None:
    account = done(
        *ORDINARY,
        closing("2024-01"),
        sent("2024-02-10", 10_300),
        TakeControlReading(day("2024-02-12"), total(10_100)),
        sent("2024-02-20", 10_150),
    )

    disproved = account.reading(EntryNumber(5))
    assert disproved is not None
    assert disproved.status is ReadingStatus.SUPERSEDED
    closed = when(account, closing("2024-02"))
    assert bill(closed) == ("METERED", {"total": 50})
    assert put_right(closed) == [("2024-02", "CONTROL", {TOTAL: 50}, {TOTAL: 150})]
