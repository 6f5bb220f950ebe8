"""What a reading would mean is what then comes of it."""

from __future__ import annotations

import pytest

from bels.domain.commands import ClosePeriod, SubmitReading
from bels.domain.events import PeriodClosed
from bels.domain.terms import HoldReason, Money, Period, Reason
from bels.reception.meaning import Meaning, meaning_of
from tests.channels.house import House
from tests.channels.household import moscow


async def meant(house: House, account: str, **values: str) -> Meaning:
    """Ask what a reading would mean."""
    return await meaning_of(house.desk.intake, account, values)


async def test_a_reading_means_its_kwh_and_what_the_bill_will_have_for_them(house: House) -> None:
    meaning = await meant(house, "1000001", total="10385")
    assert (meaning.kwh, meaning.roubles, meaning.period) == (185, Money("1245.05"), "2024-05")


@pytest.mark.parametrize(
    ("value", "held", "refused"),
    [
        ("9999", HoldReason.LESS_THAN_PREVIOUS, None),
        ("99000", HoldReason.IMPLAUSIBLE, None),
        ("x", None, Reason.BAD_VALUE),
    ],
)
async def test_what_would_be_held_or_refused_has_no_cost(
    house: House, value: str, held: HoldReason | None, refused: Reason | None
) -> None:
    meaning = await meant(house, "1000001", total=value)
    assert (meaning.held, meaning.refused, meaning.roubles) == (held, refused, None)


async def test_after_missed_months_it_is_the_bill_with_their_recalculation(house: House) -> None:
    await house.do("1000001", ClosePeriod(Period("2024-05"), moscow("2024-06-01T00:30")))
    house.at = moscow("2024-06-20T12:00")
    meaning = await meant(house, "1000001", total="10500")

    await house.do("1000001", SubmitReading(house.at, {"total": "10500"}))
    outcome = await house.do("1000001", ClosePeriod(Period("2024-06"), moscow("2024-07-01T00:30")))
    (closed,) = (event for event in outcome.events if isinstance(event, PeriodClosed))
    assert meaning.kwh == 300
    assert meaning.roubles == closed.bill
    assert closed.recalculated
