"""What an account owes and what was paid, as its events say: debts in the order of the journal, credits by the day of payment.

Positive sums are debts of the consumer, a negative balance is an advance. Nothing here judges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import assert_never

from bels.domain.money import ZERO
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
from bels.domain.terms import EntryNumber, Money, PaymentState, Period, Purpose


@dataclass(frozen=True, slots=True)
class Debt:
    """A sum that is owed: the bill of ``period``, or a refund, which has neither period nor due date.

    ``penalty`` is what was posted for it.
    """

    entry: EntryNumber
    amount: Money
    period: Period | None = None
    due_on: date | None = None
    penalty: Money = ZERO


@dataclass(frozen=True, slots=True)
class Credit:
    """A sum that pays debts: a payment, or a negative bill on its closing date."""

    entry: EntryNumber
    amount: Money
    paid_on: date


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as it came; named by its entry, and by the payer's ``reference``. ``is_stray``: it waits on a stream of its own.

    ``received_on`` is the Moscow day on which it came, None where it was moved here.
    """

    entry: EntryNumber
    amount: Money
    paid_on: date
    purpose: Purpose
    reference: str
    state: PaymentState = PaymentState.RECEIVED
    is_stray: bool = False
    received_on: date | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The books of one account: ``balance`` is debts less credits; ``penalty`` is the balance of the penalties' own ledger."""

    balance: Money = ZERO
    penalty: Money = ZERO
    debts: tuple[Debt, ...] = ()
    credits: tuple[Credit, ...] = ()
    payments: tuple[Payment, ...] = ()

    @property
    def overpaid(self) -> Money:
        """The advance: what may be returned."""
        return max(-self.balance, ZERO)

    def payment(self, entry: EntryNumber) -> Payment | None:
        """Find a payment by its entry."""
        return next((p for p in self.payments if p.entry == entry), None)


def owe(ledger: Ledger, debt: Debt) -> Ledger:
    """Add a debt."""
    # Written out where a fold comes by for every bill and payment: dataclasses.replace takes three times as long.
    debts = (*ledger.debts, debt)
    return Ledger(ledger.balance + debt.amount, ledger.penalty, debts, ledger.credits, ledger.payments)


def bill(ledger: Ledger, entry: EntryNumber, amount: Money, period: Period, due_on: date, closed_on: date) -> Ledger:
    """Add a bill; a negative one acts as a payment on its closing date."""
    if amount > 0:
        return owe(ledger, Debt(entry, amount, period, due_on))
    return credit(ledger, Credit(entry, -amount, closed_on)) if amount < 0 else ledger


def credit(ledger: Ledger, paid: Credit) -> Ledger:
    """Add a credit in order of the day of payment, equal days in order of recording."""
    queue = _queued(ledger.credits, paid)
    return Ledger(ledger.balance - paid.amount, ledger.penalty, ledger.debts, queue, ledger.payments)


def _queued(credits_before: tuple[Credit, ...], paid: Credit) -> tuple[Credit, ...]:
    queue = (*credits_before, paid)
    if credits_before and credits_before[-1].paid_on > paid.paid_on:
        queue = tuple(sorted(queue, key=lambda c: (c.paid_on, c.entry)))
    return queue


def receive(ledger: Ledger, payment: Payment) -> Ledger:
    """Add a payment to the ledger of its purpose."""
    payments = (*ledger.payments, payment)
    if payment.purpose is Purpose.PENALTY:
        return replace(ledger, penalty=ledger.penalty - payment.amount, payments=payments)
    queue = _queued(ledger.credits, Credit(payment.entry, payment.amount, payment.paid_on))
    return Ledger(ledger.balance - payment.amount, ledger.penalty, ledger.debts, queue, payments)


def take_back(ledger: Ledger, entry: EntryNumber, state: PaymentState) -> Ledger:
    """Take a payment back, as if it had not been made; it stays on the list in its new state."""
    taken = ledger.payment(entry)
    if taken is None:
        return ledger
    payments = tuple(replace(p, state=state) if p.entry == entry else p for p in ledger.payments)
    if taken.purpose is Purpose.PENALTY:
        return replace(ledger, payments=payments, penalty=ledger.penalty + taken.amount)
    left = tuple(c for c in ledger.credits if c.entry != entry)
    return replace(ledger, payments=payments, balance=ledger.balance + taken.amount, credits=left)


Booked = (
    PaymentReceived
    | PaymentReversed
    | PaymentMovedOut
    | PaymentMovedIn
    | PenaltyAccrued
    | BalanceCarriedOver
    | RefundMade
)


def book(ledger: Ledger, entry: EntryNumber, event: Booked) -> Ledger:
    """Say what the books are after an event that moves money; bills are booked by ``bill``."""
    match event:
        case PaymentReceived():
            stray = event.unallocated is not None
            came_on = moscow_date(event.received_at)
            paid = Payment(
                entry,
                event.amount,
                event.paid_on,
                event.purpose,
                event.reference,
                is_stray=stray,
                received_on=came_on,
            )
            return receive(ledger, paid)
        case PaymentMovedIn():
            return receive(ledger, Payment(entry, event.amount, event.paid_on, event.purpose, event.reference))
        case PaymentReversed():
            return take_back(ledger, event.payment, PaymentState.REVERSED)
        case PaymentMovedOut():
            return take_back(ledger, event.payment, PaymentState.MOVED)
        case RefundMade():
            return _return(owe(ledger, Debt(entry, event.amount)))
        case PenaltyAccrued():
            posted = {s.debt: s.accrued for s in event.sums}
            debts = tuple(replace(d, penalty=posted[d.entry]) if d.entry in posted else d for d in ledger.debts)
            return replace(ledger, penalty=ledger.penalty + event.amount, debts=debts)
        case BalanceCarriedOver():
            opened = bill(ledger, entry, event.balance, event.period, event.due_on, event.carried_on)
            return replace(opened, penalty=opened.penalty + event.penalty)
        case _ as never:
            assert_never(never)


def _return(ledger: Ledger) -> Ledger:
    """A refund returns a stray payment, and always the whole of it: it can no more be moved or reversed."""
    returned = (
        replace(p, state=PaymentState.RETURNED) if p.is_stray and p.state is PaymentState.RECEIVED else p
        for p in ledger.payments
    )
    return replace(ledger, payments=tuple(returned))
