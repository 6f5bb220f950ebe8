"""The life of an account: opened, carried over, its residents, closed (points 34, 56, 86; rules 1.10)."""

from __future__ import annotations

from datetime import date

from bels.domain.commands import (
    CarriedPeriod,
    CarriedReading,
    CarryOverHistory,
    ChangeResidents,
    CloseAccount,
    RegisterAbsence,
    RegisterTemporaryResidents,
    TakeControlReading,
)
from bels.domain.events import (
    AbsenceRegistered,
    AccountClosed,
    CommandRefused,
    MeterInstalled,
    PeriodCarriedOver,
    ReadingCarriedOver,
    ReadingSuperseded,
    ResidentsChanged,
    TemporaryResidentsRegistered,
)
from bels.domain.terms import EntryNumber, Mode, Period, Reason, Register
from tests.domain.trade import (
    IN_PERIOD,
    M1,
    METER,
    OPEN,
    OPENED,
    ORDINARY,
    bill,
    closing,
    closings,
    day,
    done,
    given,
    put_right,
    sent,
    stands,
    total,
    when,
)

JANUARY, FEBRUARY = Period("2024-01"), Period("2024-02")
CARRIED = CarryOverHistory(
    METER,
    (CarriedReading(day("2023-12-20"), total(9_900)), CarriedReading(day("2024-01-20"), total(10_000))),
    FEBRUARY,
    (CarriedPeriod(FEBRUARY, Mode.AVERAGE, total(110), estimated=True),),
)


def test_an_account_is_opened_once() -> None:
    assert when(given(), OPEN) == (OPENED,)


def test_an_account_opened_after_the_deadline_begins_with_the_next_period() -> None:
    account = done(type(OPEN)(day("2024-01-28"), OPEN.locality, OPEN.stove, 1, 1))

    assert account.next_period == FEBRUARY


def test_a_history_is_carried_over_with_its_readings_and_what_was_billed() -> None:
    assert when(given(OPENED), CARRIED) == (
        MeterInstalled(METER, day("2023-12-20"), Period("2023-12"), total(9_900), ""),
        ReadingCarriedOver(M1, day("2024-01-20"), JANUARY, total(10_000)),
        PeriodCarriedOver(FEBRUARY, Mode.AVERAGE, total(110), estimated=True),
    )


def test_a_carried_estimate_is_put_right_by_the_first_reading() -> None:
    account = done(OPEN, CARRIED, sent("2024-03-20", 10_300))

    assert put_right(when(account, closing("2024-03"))) == [("2024-02", "SETTLEMENT", total(110), total(145))]
    assert bill(when(account, closing("2024-03"), IN_PERIOD)) == ("METERED", total(190))


def test_a_row_of_a_period_that_an_earlier_system_billed_does_not_take_kwh_away_from_the_next() -> None:
    carried = CarryOverHistory(METER, CARRIED.readings, JANUARY)
    account = done(OPEN, carried)
    late = when(account, sent("2024-01-24", 10_040))
    assert late[1:] == (ReadingSuperseded(EntryNumber(account.version + 1), EntryNumber(3)),)

    told = done(OPEN, carried, sent("2024-01-24", 10_040), sent("2024-02-20", 10_100), closing("2024-02"))

    assert stands(told)["2024-02"] == total(100)


def test_a_control_reading_of_a_period_that_an_earlier_system_billed_is_refused() -> None:
    account = done(OPEN, CarryOverHistory(METER, CARRIED.readings, JANUARY))

    (refused,) = when(account, TakeControlReading(day("2024-01-24"), total(10_040)))

    assert isinstance(refused, CommandRefused)
    assert refused.reason is Reason.PERIOD_CLOSED


def test_a_row_before_the_last_carried_reading_bills_nothing_twice() -> None:
    carried = CarryOverHistory(
        METER,
        CARRIED.readings,
        JANUARY,
        (CarriedPeriod(Period("2023-12"), Mode.METERED, total(60), estimated=False),),
    )
    account = done(OPEN, carried, sent("2023-12-24", 9_930), sent("2024-02-20", 10_100), closing("2024-02"))

    assert stands(account) == {"2023-12": total(60), "2024-01": {}, "2024-02": total(100)}


def test_a_carried_estimate_must_be_told_in_the_registers_of_the_meter_or_as_a_norm() -> None:
    for usage in ({}, {Register.NIGHT: 5}, {Register.TOTAL: -5}):
        periods = (CarriedPeriod(FEBRUARY, Mode.AVERAGE, usage, estimated=True),)
        (refused,) = when(given(OPENED), CarryOverHistory(METER, CARRIED.readings, FEBRUARY, periods))
        assert isinstance(refused, CommandRefused)
        assert refused.reason is Reason.BAD_VALUE


def test_residents_of_the_first_day_of_a_period_decide_its_norm() -> None:
    account = done(OPEN)
    change = ChangeResidents(date(2024, 3, 1), 1, day("2024-02-10"))

    assert when(account, change) == (ResidentsChanged(date(2024, 3, 1), 1, 1),)
    assert stands(done(OPEN, change, *closings("2024-01", "2024-02", "2024-03"))) == {
        "2024-01": total(138),
        "2024-02": total(138),
        "2024-03": total(96),
    }


def test_where_nobody_is_registered_the_owners_count() -> None:
    change = ChangeResidents(date(2024, 2, 1), 0, day("2024-01-10"), owners=2)

    assert stands(done(OPEN, change, *closings("2024-01", "2024-02")))["2024-02"] == total(120)


def test_temporary_residents_without_a_meter_count_by_the_day() -> None:
    stay = RegisterTemporaryResidents(1, date(2024, 4, 11), date(2024, 4, 21), day("2024-04-10"))
    account = done(OPEN)

    assert when(account, stay) == (TemporaryResidentsRegistered(1, date(2024, 4, 11), date(2024, 4, 21)),)
    told = done(OPEN, stay, *closings("2024-01", "2024-02", "2024-03", "2024-04"))
    assert stands(told)["2024-04"] == total(138 + 15)


def test_an_absence_without_a_meter_counts_by_its_full_days() -> None:
    absence = RegisterAbsence(1, date(2024, 6, 1), date(2024, 6, 14), day("2024-05-30"))
    account = done(OPEN)

    assert when(account, absence) == (AbsenceRegistered(1, date(2024, 6, 1), date(2024, 6, 14)),)
    told = done(OPEN, absence, *closings(*(f"2024-0{month}" for month in range(1, 7))))
    assert stands(told)["2024-06"] == total(138 - 18)


def test_an_absence_with_a_meter_changes_nothing() -> None:
    absence = RegisterAbsence(3, date(2024, 2, 1), date(2024, 2, 28), day("2024-01-30"))
    account = done(*ORDINARY, absence, sent("2024-01-20", 10_000), closing("2024-01"), sent("2024-02-20", 10_090))

    assert bill(when(account, closing("2024-02"))) == ("METERED", total(90))


def test_a_closed_account_has_its_last_period_billed_and_no_other() -> None:
    account = done(*ORDINARY, sent("2024-02-20", 10_090))
    sold = CloseAccount(day("2024-02-22"), "sold")

    assert when(account, sold) == (AccountClosed(day("2024-02-22"), FEBRUARY, "sold"),)
    told = done(*ORDINARY, sent("2024-02-20", 10_090), sold, *closings("2024-01", "2024-02", "2024-03"))
    assert list(stands(told)) == ["2024-01", "2024-02"]
