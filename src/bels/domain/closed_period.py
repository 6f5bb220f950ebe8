"""What stands billed for a closed period, as the events of its closing and of its recalculations say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bels.domain.events import PeriodClosed, UsageRecalculated
from bels.domain.money_events import ChargeLine
from bels.domain.rulebook import publication_of
from bels.domain.terms import Kwh, Mode, Money, Period, RecalculationReason


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """What now stands billed for a closed period.

    ``estimate`` is what was billed without a reading and no reading has put right yet, None otherwise. ``estimated`` says
    that the period was closed by 1.5 of the rules; ``final`` that no reading changes it any more. ``money`` is what stands
    charged in roubles, in the lines ``charges``; None where it was billed without telling money. ``priced_by`` is the
    publication of the rulebook whose rates these are.
    """

    period: Period
    mode: Mode
    usage: Kwh
    stands: Kwh
    estimated: bool
    estimate: Kwh | None
    final: bool
    money: Money | None = None
    charges: tuple[ChargeLine, ...] = ()
    priced_by: int = 0

    @property
    def unknown(self) -> bool:
        """Say whether an earlier system billed the period and did not tell what."""
        return not self.usage


def closed_by(event: PeriodClosed) -> ClosedPeriod:
    """Say what stands billed after a closing."""
    is_metered = False
    for line in event.lines:
        if line.mode is Mode.METERED:
            is_metered = True
    return ClosedPeriod(
        event.period,
        event.mode,
        event.usage,
        event.usage,
        event.missed_in_a_row > 0,
        None if is_metered else event.usage,
        final=event.mode is Mode.NORMATIVE_INCREASED,
        money=event.charged if event.due_on is not None else None,
        charges=event.charges,
        priced_by=publication_of(event.rulebook),
    )


def recalculated_by(closed: ClosedPeriod, event: UsageRecalculated) -> ClosedPeriod:
    """Say what stands billed after a recalculation; what was put to norms for interference is final."""
    final = closed.final or event.reason is RecalculationReason.INTERFERENCE
    if not event.rulebook:
        return replace(closed, stands=event.after, final=final)
    return replace(
        closed,
        stands=event.after,
        final=final,
        money=event.money_after,
        charges=event.charges,
        priced_by=publication_of(event.rulebook),
    )
