"""A payment is dated by the payer's operation and is never dropped; it may be reversed, returned or moved, with a trace (rules 1.9)."""

from __future__ import annotations

from decimal import Decimal

from bels.domain.account import Account, Situation
from bels.domain.commands import MakeRefund, MovePaymentIn, MovePaymentOut, ReceivePayment, ReversePayment
from bels.domain.events import (
    CommandRefused,
    Event,
)
from bels.domain.ledger import Payment
from bels.domain.money import is_amount, to_kopecks
from bels.domain.money_events import (
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    RefundMade,
)
from bels.domain.periods import moscow_date
from bels.domain.terms import AccountNumber, EntryNumber, PaymentState, Purpose, Reason

PAID_YEAR_MIN = 1990
SUSPENSE_PREFIX = "suspense-"
"""Streams of unallocated payments, one for each: ``suspense-`` and a digest of the message's name."""


def is_suspense(account: str) -> bool:
    """Say whether a stream holds a payment that no account is known for."""
    return account.startswith(SUSPENSE_PREFIX)


def reason_unallocated(account: Account, purpose: Purpose) -> Reason | None:
    """Say why a payment cannot go to an account: it is not known, or it is closed and owes nothing. None where it can."""
    if account.situation is not Situation.OPEN and account.situation is not Situation.CLOSED:
        return Reason.UNKNOWN_ACCOUNT
    owed = account.ledger.penalty if purpose is Purpose.PENALTY else account.ledger.balance
    # Until its last period is closed an account has a bill to come.
    is_settled = account.last_period is not None and account.next_period > account.last_period
    return Reason.ACCOUNT_CLOSED if account.situation is Situation.CLOSED and is_settled and owed <= 0 else None


def receive_payment(account: Account, command: ReceivePayment) -> tuple[Event, ...]:
    """Receive a payment: on its account, or on a stream of its own where ``unallocated`` says why."""
    refusal: tuple[Reason, str | None] | None = None
    if not is_amount(command.amount):
        refusal = Reason.BAD_AMOUNT, str(command.amount)[:40]
    elif command.paid_on.year < PAID_YEAR_MIN or command.paid_on > moscow_date(command.received_at):
        refusal = Reason.BAD_DATES, command.paid_on.isoformat()
    elif (beyond := _beyond_terms(command)) is not None:
        refusal = beyond
    elif command.unallocated is None and (reason := reason_unallocated(account, command.purpose)) is not None:
        refusal = reason, None
    if refusal is not None:
        return (CommandRefused("ReceivePayment", refusal[0], command.received_at, refusal[1]),)
    return (
        PaymentReceived(
            to_kopecks(command.amount),
            command.paid_on,
            command.received_at,
            command.purpose,
            command.reference,
            command.meant_for,
            command.unallocated,
            command.paid_at,
            command.commission,
        ),
    )


def is_kept_unallocated(command: ReceivePayment, reason: Reason) -> bool:
    """Say whether a payment that was refused for this reason is kept on a stream of its own: where the contract says so."""
    return command.terms.keeps_unallocated and reason in (Reason.UNKNOWN_ACCOUNT, Reason.ACCOUNT_CLOSED)


def _beyond_terms(command: ReceivePayment) -> tuple[Reason, str] | None:
    terms = command.terms
    if terms.minimum is not None and command.amount < terms.minimum:
        return Reason.AMOUNT_TOO_SMALL, str(terms.minimum)
    if terms.maximum is not None and command.amount > terms.maximum:
        return Reason.AMOUNT_TOO_LARGE, str(terms.maximum)
    if command.commission is not None and not is_commission(command.commission):
        return Reason.BAD_AMOUNT, str(command.commission)[:40]
    if terms.commission is not None and command.commission is not None and command.commission != terms.commission:
        return Reason.COMMISSION_CHANGED, str(terms.commission)
    return None


def is_commission(amount: Decimal) -> bool:
    """Say whether a sum can be a commission: nothing, or an amount."""
    return amount == 0 or is_amount(amount)


def reverse_payment(account: Account, command: ReversePayment) -> tuple[Event, ...]:
    """Reverse a payment whole: the account stands as if it had not been made."""
    payment = _standing(account, command.payment)
    if isinstance(payment, Reason):
        return (CommandRefused("ReversePayment", payment, command.reversed_at, str(command.payment)),)
    if command.by_payer and payment.received_on != moscow_date(command.reversed_at):
        return (
            CommandRefused(
                "ReversePayment",
                Reason.CANCELLED_TOO_LATE,
                command.reversed_at,
                (payment.received_on or payment.paid_on).isoformat(),
            ),
        )
    return (
        PaymentReversed(
            payment.entry,
            payment.amount,
            moscow_date(command.reversed_at),
            command.reversed_at,
            payment.purpose,
            payment.reference,
            command.ground,
        ),
    )


def make_refund(account: Account, command: MakeRefund) -> tuple[Event, ...]:
    """Return an overpayment: up to what is overpaid; an unallocated payment is returned whole."""
    overpaid = account.ledger.overpaid
    refusal: tuple[Reason, str | None] | None = None
    if account.situation is Situation.UNKNOWN or account.situation is Situation.RULEBOOK:
        refusal = Reason.UNKNOWN_ACCOUNT, None
    elif not is_amount(command.amount):
        refusal = Reason.BAD_AMOUNT, str(command.amount)[:40]
    elif command.amount > overpaid:
        refusal = Reason.REFUND_ABOVE_CREDIT, str(overpaid)
    elif account.situation is Situation.SUSPENSE and command.amount != overpaid:
        refusal = Reason.BAD_AMOUNT, f"{command.amount}, {overpaid}"
    if refusal is not None:
        return (CommandRefused("MakeRefund", refusal[0], command.refunded_at, refusal[1]),)
    at = command.refunded_at
    return (RefundMade(to_kopecks(command.amount), moscow_date(at), at, command.ground),)


def move_payment_out(account: Account, command: MovePaymentOut) -> tuple[Event, ...]:
    """Take a payment from an account to which it does not belong."""
    payment = _standing(account, command.payment)
    if isinstance(payment, Reason):
        return (CommandRefused("MovePaymentOut", payment, command.moved_at, str(command.payment)),)
    if command.to == account.number:
        return (CommandRefused("MovePaymentOut", Reason.SAME_ACCOUNT, command.moved_at, command.to),)
    return (
        PaymentMovedOut(
            payment.entry,
            payment.amount,
            payment.paid_on,
            command.moved_at,
            payment.purpose,
            payment.reference,
            AccountNumber(command.to),
            command.ground,
        ),
    )


def move_payment_in(account: Account, command: MovePaymentIn) -> tuple[Event, ...]:
    """Book a payment on the account to which it belongs, also on a closed one: it was taken from another account already."""
    if account.situation is not Situation.OPEN and account.situation is not Situation.CLOSED:
        return (CommandRefused("MovePaymentIn", Reason.UNKNOWN_ACCOUNT, command.moved_at, str(account.number)),)
    return (
        PaymentMovedIn(
            command.amount,
            command.paid_on,
            command.moved_at,
            command.purpose,
            command.reference,
            command.source,
            command.payment,
            command.ground,
        ),
    )


def _standing(account: Account, entry: EntryNumber) -> Payment | Reason:
    payment = account.ledger.payment(entry)
    if payment is None:
        return Reason.UNKNOWN_PAYMENT
    if payment.state is PaymentState.MOVED:
        return Reason.PAYMENT_MOVED
    return payment if payment.state is PaymentState.RECEIVED else Reason.PAYMENT_REVERSED
