"""Acts on a meter (rules 1.3, 1.7), beyond the vectors."""

from __future__ import annotations

from bels.domain.commands import (
    Command,
    InstallMeter,
    RemoveMeter,
    ReplaceMeter,
    ReportMeterFailure,
    RestoreMeter,
    TakeControlReading,
)
from bels.domain.events import (
    CommandRefused,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    ReadingDisregarded,
)
from bels.domain.terms import EntryNumber, FailureCause, Meaning, Period, ReadingKind, Reason, Rule
from tests.domain.trade import (
    IN_PERIOD,
    INSTALLED,
    M1,
    METER,
    NEW_METER,
    OPEN,
    OPENED,
    ORDINARY,
    ZONE_METER,
    bill,
    closing,
    closings,
    day,
    done,
    given,
    sent,
    stands,
    total,
    when,
    zones,
)

FEBRUARY = Period("2024-02")
FAILED = ReportMeterFailure(day("2024-02-10"), FailureCause.FAILED, "act 1")


def _read_in(month: int) -> tuple[Command, ...]:
    return sent(f"2024-{month:02d}-20", 10_000 + 100 * month), closing(f"2024-{month:02d}")


READ_TO_JUNE = (*ORDINARY, *(command for month in range(1, 7) for command in _read_in(month)))


def test_a_replacement_is_the_final_values_of_the_old_meter_and_the_initial_ones_of_the_new() -> None:
    replaced = ReplaceMeter(NEW_METER, day("2024-02-10"), total(10_120), total(5), "act 2")

    assert when(given(OPENED, INSTALLED), replaced) == (
        MeterRemoved(M1, day("2024-02-10"), FEBRUARY, total(10_120), ReadingKind.FINAL, M1, total(120), (), "act 2"),
        MeterInstalled(NEW_METER, day("2024-02-10"), FEBRUARY, total(5), "act 2"),
    )


def test_a_meter_replaced_without_final_values_counts_as_failed_at_the_act() -> None:
    account = done(*ORDINARY, sent("2024-02-05", 10_050))

    assert when(account, InstallMeter(NEW_METER, day("2024-02-10"), total(0), "act 3")) == (
        MeterFailed(M1, day("2024-02-10"), FEBRUARY, FailureCause.NO_FINAL_VALUES, "act 3"),
        ReadingDisregarded(EntryNumber(3), EntryNumber(4), Rule.P59G),
        MeterInstalled(NEW_METER, day("2024-02-10"), FEBRUARY, total(0), "act 3"),
    )


def test_a_failed_meter_is_replaced_without_final_values() -> None:
    account = done(*ORDINARY, FAILED)

    assert when(account, ReplaceMeter(NEW_METER, day("2024-02-12"), None, total(7))) == (
        MeterInstalled(NEW_METER, day("2024-02-12"), FEBRUARY, total(7), ""),
    )


def test_a_failed_meter_that_was_repaired_counts_again_from_its_values_then() -> None:
    account = done(*ORDINARY, FAILED)

    assert when(account, RestoreMeter(day("2024-02-20"), total(10_300), "act 4")) == (
        MeterRestored(M1, day("2024-02-20"), FEBRUARY, total(10_300), "act 4"),
    )


def test_the_period_of_a_restoration_is_the_average_before_it_and_the_reading_after_it() -> None:
    account = done(
        *READ_TO_JUNE,
        ReportMeterFailure(day("2024-07-02"), FailureCause.FAILED),
        closing("2024-07"),
        RestoreMeter(day("2024-08-15"), total(50)),
        sent("2024-08-24", 80),
    )

    # The average (600 kWh in five periods) for 20 days (26 July to 14 August) of July's 31, and 30 by the meter.
    assert bill(when(account, closing("2024-08"))) == ("AVERAGE", total(77 + 30))


def test_a_replacement_that_became_known_late_takes_back_what_was_read_after_it() -> None:
    late = ReplaceMeter(NEW_METER, day("2024-05-10"), total(10_440), total(0))
    account = done(*READ_TO_JUNE, late, sent("2024-07-20", 180), closing("2024-07"))

    # Old meter to 10440; 180 kWh of the new one over June and July, by 30 and 31 days.
    assert stands(account) == {
        "2024-01": total(100),
        "2024-02": total(100),
        "2024-03": total(100),
        "2024-04": total(100),
        "2024-05": total(40),
        "2024-06": total(89),
        "2024-07": total(91),
    }


def test_an_installation_that_became_known_late_replaces_the_norm_and_is_not_added_to_it() -> None:
    account = done(
        OPEN,
        *closings("2024-01", "2024-02", "2024-03"),
        InstallMeter(METER, day("2024-01-10"), total(0)),
        sent("2024-04-20", 300),
        closing("2024-04"),
    )

    assert stands(account) == {
        "2024-01": total(138),
        "2024-02": total(97),
        "2024-03": total(103),
        "2024-04": total(100),
    }


def test_late_zones_take_the_norm_of_one_register_out_of_the_period_of_the_reading() -> None:
    account = done(
        OPEN,
        *closings("2024-01", "2024-02"),
        InstallMeter(ZONE_METER, day("2024-01-10"), zones(0, 0, 0)),
        TakeControlReading(day("2024-03-20"), zones(100, 100, 100)),
        closing("2024-03"),
        rulebook=IN_PERIOD,
    )

    assert sum(sum(kwh.values()) for period, kwh in stands(account).items() if period != "2024-01") == 300


def test_a_control_reading_of_the_time_before_a_failure_is_taken() -> None:
    account = done(*ORDINARY, ReportMeterFailure(day("2024-03-10"), FailureCause.LOST))

    assert not isinstance(when(account, TakeControlReading(day("2024-02-10"), total(10_050)))[0], CommandRefused)


def test_final_values_below_the_last_reading_need_a_word() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100), closing("2024-01"))

    (refused,) = when(account, RemoveMeter(day("2024-02-10"), total(10_050)))
    assert isinstance(refused, CommandRefused)
    assert refused.reason is Reason.LESS_THAN_PREVIOUS
    removed = when(account, RemoveMeter(day("2024-02-10"), total(10_050), meaning=Meaning.PREVIOUS_WRONG))[0]
    assert isinstance(removed, MeterRemoved)
    assert removed.kind is ReadingKind.CONTROL
    assert removed.difference == total(-50)


def test_a_control_reading_below_the_installation_and_then_a_failure_leave_an_estimate() -> None:
    account = done(
        *ORDINARY,
        TakeControlReading(day("2024-01-10"), total(9_900)),
        ReportMeterFailure(day("2024-01-12"), FailureCause.FAILED),
    )

    assert bill(when(account, closing("2024-01"))) == ("NORMATIVE", total(138))
    assert isinstance(when(account, RemoveMeter(day("2024-01-15"), total(9_950)))[0], MeterRemoved)
