"""Acts of an inspector (rules 1.7), beyond the vectors."""

from __future__ import annotations

from bels.domain.commands import RecordAccessRefusal, RecordInterference, TakeControlReading
from bels.domain.events import (
    AccessRefused,
    ControlReadingTaken,
    InterferenceFound,
    ReadingDisproved,
    ReadingDisregarded,
)
from bels.domain.terms import EntryNumber, Period, Rule
from tests.domain.trade import (
    M1,
    ORDINARY,
    bill,
    closing,
    closings,
    day,
    done,
    put_right,
    sent,
    stands,
    total,
    when,
)

FEBRUARY = Period("2024-02")
JANUARY_READ = (*ORDINARY, sent("2024-01-20", 10_100), closing("2024-01"))


def test_a_control_reading_disproves_the_higher_ones_before_it() -> None:
    account = done(*JANUARY_READ)
    taken = TakeControlReading(day("2024-02-10"), total(10_060), "act 5")

    assert when(account, taken) == (
        ControlReadingTaken(
            M1, day("2024-02-10"), FEBRUARY, total(10_060), EntryNumber(3), total(-40), (), (), "act 5"
        ),
        ReadingDisproved(EntryNumber(3), EntryNumber(account.version + 1)),
    )


def test_a_late_row_between_a_disproved_reading_and_its_control_is_no_rollover() -> None:
    account = done(
        *ORDINARY,
        closing("2024-01"),
        sent("2024-02-20", 10_300),
        closing("2024-02"),
        TakeControlReading(day("2024-03-12"), total(10_150)),
        sent("2024-03-05", 10_140),
        closing("2024-03"),
    )

    assert stands(account) == {"2024-01": total(0), "2024-02": total(300), "2024-03": total(-150)}


def test_the_second_refusal_of_access_takes_away_what_was_read_in_its_period() -> None:
    account = done(*JANUARY_READ, RecordAccessRefusal(day("2024-01-28")), sent("2024-02-05", 10_150))
    reading = account.readings[-1].entry

    assert when(account, RecordAccessRefusal(day("2024-02-10"), "act 6")) == (
        AccessRefused(day("2024-02-10"), FEBRUARY, 2, "act 6"),
        ReadingDisregarded(reading, EntryNumber(account.version + 1), Rule.P60_3),
    )


def test_a_second_refusal_that_became_known_after_the_check_leaves_the_readings_after_the_check() -> None:
    account = done(
        *JANUARY_READ,
        RecordAccessRefusal(day("2024-01-28")),
        sent("2024-02-05", 10_150),
        TakeControlReading(day("2024-02-15"), total(10_180)),
        sent("2024-02-20", 10_200),
    )

    assert when(account, RecordAccessRefusal(day("2024-02-10"))) == (AccessRefused(day("2024-02-10"), FEBRUARY, 2, ""),)
    assert account.readings[-1].period == FEBRUARY


def test_a_first_refusal_that_became_known_last_makes_two() -> None:
    account = done(*JANUARY_READ, RecordAccessRefusal(day("2024-02-10")), sent("2024-02-12", 10_150))

    assert when(account, RecordAccessRefusal(day("2024-01-28")))[1:] == (
        ReadingDisregarded(account.readings[-1].entry, EntryNumber(account.version + 1), Rule.P60_3),
    )


def test_interference_puts_a_period_to_ten_norms_also_when_access_was_refused_then() -> None:
    account = done(
        *JANUARY_READ,
        RecordAccessRefusal(day("2024-02-02")),
        RecordAccessRefusal(day("2024-02-10")),
        closing("2024-02"),
        TakeControlReading(day("2024-03-05"), total(10_300)),
    )
    found = RecordInterference(day("2024-03-05", 13), (FEBRUARY,), "act 7")
    events = when(account, found)

    assert events == (InterferenceFound(day("2024-03-05", 13), Period("2024-03"), (FEBRUARY,), "act 7"),)
    closed = when(
        done(
            *JANUARY_READ,
            RecordAccessRefusal(day("2024-02-02")),
            RecordAccessRefusal(day("2024-02-10")),
            closing("2024-02"),
            TakeControlReading(day("2024-03-05"), total(10_300)),
            found,
        ),
        closing("2024-03"),
    )
    assert put_right(closed)[0] == ("2024-02", "INTERFERENCE", total(138), total(1380))


def test_what_the_consumer_proved_is_moved_also_when_the_control_reading_became_known_late() -> None:
    account = done(
        *JANUARY_READ,
        sent("2024-02-20", 10_200),
        *closings("2024-02", "2024-03"),
        TakeControlReading(day("2024-03-12"), total(10_500), proven={Period("2024-01"): total(120)}),
        sent("2024-04-20", 10_600),
    )

    closed = when(account, closing("2024-04"))

    assert bill(closed) == ("METERED", total(100))
    assert put_right(closed) == [
        ("2024-01", "CONTROL_PROVEN", total(100), total(220)),
        ("2024-03", "CONTROL", total(138), total(180)),
    ]
