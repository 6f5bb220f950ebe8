"""Say what a reading would mean before it is sent: kWh, roubles on the bill, and whether it would be held; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bels.domain.commands import SubmitReading
from bels.domain.events import PeriodClosed, ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.money import ZERO
from bels.domain.terms import HoldReason, Kwh, Money, Period, Reason
from bels.intake import Intake, Preview


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reading would lead to.

    ``used`` are the kWh since the reading on which it rests, None where it would be refused. ``roubles`` is what the bills to
    come have for them, with the recalculation of the months before; None also where it would be held, or has no price yet.
    """

    used: Kwh | None = None
    roubles: Money | None = None
    period: Period | None = None
    held: HoldReason | None = None
    refused: Reason | None = None

    @property
    def kwh(self) -> int | None:
        """The kWh of all registers together."""
        return sum(self.used.values()) if self.used is not None else None


async def meaning_of(intake: Intake, account: str, values: Mapping[str, str], meter: str | None = None) -> Meaning:
    """Say what a reading that is sent now would mean; only for who may speak for the account.

    :raises TryLater: the database cannot be reached.
    """
    preview = await intake.preview(account, SubmitReading(intake.clock(), values, meter=meter))
    match preview.events[0]:
        case ReadingAccepted(period=period, delta=delta, base=base):
            return Meaning(delta, _billed_after(preview, _period_of(preview, base)), period)
        case ReadingHeld(period=period, delta=delta, reason=reason):
            return Meaning(delta, None, period, held=reason)
        case ReadingRefused(reason=reason):
            return Meaning(refused=reason)
        case _:
            return Meaning()


def _period_of(preview: Preview, base: int) -> Period | None:
    return next((reading.period for reading in preview.before.readings if reading.entry == base), None)


def _billed_after(preview: Preview, base: Period | None) -> Money | None:
    # What was used up to the base is billed by it; every closing after it bills a part of what this reading shows.
    closings = [event for event in preview.closings if isinstance(event, PeriodClosed)]
    mine = [closing for closing in closings if base is None or closing.period > base]
    if preview.stopped is not None or not mine:
        return None
    return sum((closing.bill for closing in mine), ZERO)
