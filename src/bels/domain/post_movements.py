"""Every event that moves money is booked on two ledgers, once on each side (двойная запись).

A movement says what it adds to the account's balance (positive: the consumer owes more), or to the balance of its penalties. Its two
ledgers follow from its kind; a negative sum changes their sides. So debits equal credits for every account at every moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from bels.domain.events import (
    Event,
    PeriodClosed,
    UsageRecalculated,
)
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
)
from bels.domain.periods import moscow_date
from bels.domain.terms import LedgerName, Money, MovementKind, Period, Purpose

_COUNTERPARTS = {
    MovementKind.OPENING: LedgerName.OPENING_BALANCE,
    MovementKind.CHARGE: LedgerName.REVENUE,
    MovementKind.RECALCULATION: LedgerName.RECALCULATED,
    MovementKind.PAYMENT: LedgerName.BANK,
    MovementKind.REVERSAL: LedgerName.BANK,
    MovementKind.REFUND: LedgerName.BANK,
    MovementKind.MOVED_OUT: LedgerName.TRANSFERS,
    MovementKind.MOVED_IN: LedgerName.TRANSFERS,
    MovementKind.PENALTY: LedgerName.PENALTY_INCOME,
}
"""The other ledger of each kind; the one is the account's own."""


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of money: ``amount`` roubles are added to the balance of ``purpose``.

    ``period`` is the period that it concerns; None for payments. ``reference`` is the payer's id.
    """

    kind: MovementKind
    purpose: Purpose
    amount: Money
    booked_on: date
    period: Period | None = None
    reference: str = ""

    def sides(self, suspense: bool) -> tuple[LedgerName, LedgerName]:
        """Give the ledger that is debited and the one that is credited with the absolute amount."""
        own = LedgerName.RECEIVABLE if self.purpose is Purpose.ENERGY else LedgerName.PENALTY_RECEIVABLE
        if suspense:
            own = LedgerName.SUSPENSE
        other = _COUNTERPARTS[self.kind]
        return (own, other) if self.amount >= 0 else (other, own)


def movements(event: Event, closed_on: date | None = None) -> tuple[Movement, ...]:
    """List what an event moves. ``closed_on`` is the day of the closing to which a recalculation belongs."""
    match event:
        case PeriodClosed():
            if event.due_on is None:
                return ()
            on = moscow_date(event.closed_at)
            return (Movement(MovementKind.CHARGE, Purpose.ENERGY, event.charged, on, event.period),)
        case UsageRecalculated():
            if closed_on is None or not event.rulebook:
                return ()
            kind = MovementKind.RECALCULATION
            return (Movement(kind, Purpose.ENERGY, event.difference, closed_on, event.period),)
        case PenaltyAccrued():
            return (Movement(MovementKind.PENALTY, Purpose.PENALTY, event.amount, event.accrued_on, event.period),)
        case PaymentReceived():
            kind = MovementKind.PAYMENT
            return (Movement(kind, event.purpose, -event.amount, event.paid_on, None, event.reference),)
        case PaymentReversed():
            kind = MovementKind.REVERSAL
            return (Movement(kind, event.purpose, event.amount, event.reversed_on, None, event.reference),)
        case RefundMade():
            return (Movement(MovementKind.REFUND, Purpose.ENERGY, event.amount, event.refunded_on),)
        case PaymentMovedOut():
            on = moscow_date(event.moved_at)
            return (Movement(MovementKind.MOVED_OUT, event.purpose, event.amount, on, None, event.reference),)
        case PaymentMovedIn():
            on = moscow_date(event.moved_at)
            return (Movement(MovementKind.MOVED_IN, event.purpose, -event.amount, on, None, event.reference),)
        case BalanceCarriedOver():
            on, period = event.carried_on, event.period
            opened = Movement(MovementKind.OPENING, Purpose.ENERGY, event.balance, on, period)
            if not event.penalty:
                return (opened,)
            return opened, Movement(MovementKind.OPENING, Purpose.PENALTY, event.penalty, on, period)
        case _:
            return ()
