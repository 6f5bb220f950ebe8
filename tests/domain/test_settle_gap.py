"""Settlement of gaps (rules 1.4, 1.8), beyond the vectors."""

from __future__ import annotations

from bels.domain.commands import CloseAccount, InstallMeter, TakeControlReading
from tests.domain.trade import (
    IN_PERIOD,
    METER,
    NEXT_PERIOD,
    OPEN,
    ORDINARY,
    ZONE_METER,
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
    zones,
)

READ_AFTER_A_GAP = (*ORDINARY, *closings("2024-01", "2024-02"), sent("2024-03-20", 10_300))


def test_a_reading_that_waits_for_the_next_bill_is_settled_at_once_in_the_last_period_of_an_account() -> None:
    account = done(*READ_AFTER_A_GAP, CloseAccount(day("2024-03-22"), "sold"), rulebook=NEXT_PERIOD)

    closed = when(account, closing("2024-03"), NEXT_PERIOD)

    assert bill(closed) == ("METERED", total(155))
    assert put_right(closed) == [("2024-02", "SETTLEMENT", total(138), total(145))]


def test_a_reading_that_waits_leaves_its_period_estimated_but_not_missed() -> None:
    account = done(*READ_AFTER_A_GAP, closing("2024-03"), rulebook=NEXT_PERIOD)

    assert account.closed[-1].mode == "NORMATIVE"
    assert stands(done(*READ_AFTER_A_GAP, *closings("2024-03", "2024-04"), rulebook=NEXT_PERIOD)) == {
        "2024-01": total(0),
        "2024-02": total(145),
        "2024-03": total(155),
        "2024-04": total(138),
    }


def test_an_estimate_above_the_reading_gives_a_negative_period() -> None:
    account = done(*ORDINARY, *closings("2024-01", "2024-02"), sent("2024-03-20", 10_050), rulebook=IN_PERIOD)

    closed = when(account, closing("2024-03"), IN_PERIOD)

    assert bill(closed) == ("METERED", total(-88))
    assert put_right(closed) == []


def test_a_row_that_came_late_divides_a_gap_that_was_settled_within_its_period() -> None:
    given = (*ORDINARY, *closings("2024-01", "2024-02"), sent("2024-03-20", 10_300), closing("2024-03"))

    account = done(*given, sent("2024-02-20", 10_100), closing("2024-04"), rulebook=IN_PERIOD)

    assert stands(account) == {
        "2024-01": total(0),
        "2024-02": total(100),
        "2024-03": total(200),
        "2024-04": total(138),
    }


def test_an_unused_flat_gives_the_norm_back_from_half_peak() -> None:
    account = done(
        OPEN,
        InstallMeter(ZONE_METER, day("2024-01-01", 1), zones(5, 5, 5)),
        *closings("2024-01", "2024-02"),
        TakeControlReading(day("2024-03-20"), zones(5, 5, 5)),
        closing("2024-03"),
        rulebook=IN_PERIOD,
    )
    assert stands(account)["2024-02"] == total(138)
    assert account.closed[-1].stands == zones(0, -138, 0)


def test_the_same_reading_gives_the_same_bill_with_a_meter_of_any_capacity() -> None:
    for capacity in (5, 6, 7):
        meter = type(METER)("M1", capacity, METER.registers)
        near = 10**capacity - 20
        account = done(OPEN, InstallMeter(meter, day("2024-01-01", 1), total(near)), sent("2024-01-20", 11))
        assert bill(when(account, closing("2024-01"))) == ("METERED", total(31))
