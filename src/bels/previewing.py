"""Say what closings would post before they post it: account by account and in total, nothing stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from bels.domain.account import Account, replay
from bels.domain.commands import ClosePeriod
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, PeriodClosed
from bels.domain.money import ZERO
from bels.domain.money_events import PenaltyAccrued
from bels.domain.periods import over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import AccountNumber, Mode, Money, Period


@dataclass(frozen=True, slots=True)
class PeriodPreview:
    """What the closing of one period would post: roubles charged, recalculated, both together, and new penalties."""

    period: Period
    mode: Mode
    charged: Money
    recalculated: Money
    bill: Money
    penalties: Money
    due_on: date | None


@dataclass(frozen=True, slots=True)
class ClosingPreview:
    """What the closings of one account would post, and why the first that does not go through is refused.

    ``balance`` and ``penalty`` are what the account would owe after them.
    """

    account: AccountNumber
    closings: tuple[PeriodPreview, ...]
    refusal: CommandRefused | None
    balance: Money
    penalty: Money


@dataclass(slots=True)
class ClosingTotal:
    """What the closings of many accounts would post together; ``modes`` and ``refusals`` are counted."""

    accounts: int = 0
    periods: int = 0
    charged: Money = ZERO
    recalculated: Money = ZERO
    penalties: Money = ZERO
    modes: Counter[Mode] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def bill(self) -> Money:
        """The sum of the bills."""
        return self.charged + self.recalculated

    def count(self, preview: ClosingPreview) -> None:
        """Add what one account's closings would post."""
        self.accounts += 1
        self.periods += len(preview.closings)
        for closing in preview.closings:
            self.charged += closing.charged
            self.recalculated += closing.recalculated
            self.penalties += closing.penalties
            self.modes[closing.mode] += 1
        if preview.refusal is not None:
            self.refusals[preview.refusal.reason.value] += 1


def preview_closing(account: Account, period: Period, closed_at: datetime, rulebook: Rulebook) -> ClosingPreview:
    """Say what closing every open period of an account through ``period`` would post.

    A period that is not over is closed at its end, all others at ``closed_at``.
    """
    closings: list[PeriodPreview] = []
    refusal: CommandRefused | None = None
    last = min(period, account.last_period) if account.last_period is not None else period
    while account.next_period and account.next_period <= last:
        closing = ClosePeriod(account.next_period, max(closed_at, over_at(account.next_period)))
        events = decide(account, closing, rulebook)
        if isinstance(events[0], CommandRefused):
            refusal = events[0]
            break
        closed = next(event for event in events if isinstance(event, PeriodClosed))
        closings.append(
            PeriodPreview(
                closed.period,
                closed.mode,
                closed.charged,
                closed.recalculated,
                closed.bill,
                sum((event.amount for event in events if isinstance(event, PenaltyAccrued)), ZERO),
                closed.due_on,
            )
        )
        account = replay(account, events)
    return ClosingPreview(account.number, tuple(closings), refusal, account.ledger.balance, account.ledger.penalty)


def preview_closings(
    accounts: Iterable[Account], period: Period, closed_at: datetime, rulebook: Rulebook
) -> list[ClosingPreview]:
    """Say what closing every open period of some accounts through ``period`` would post, account by account."""
    return [preview_closing(account, period, closed_at, rulebook) for account in accounts]
