"""Payments come, are taken back, returned and moved, each with a trace and none twice (rules 1.9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from bels.domain.account import Account, Situation, nobody, replay
from bels.domain.commands import (
    CarryOverHistory,
    CloseAccount,
    Command,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    ReceivePayment,
    ReversePayment,
)
from bels.domain.events import CommandRefused
from bels.domain.ledger import Ledger
from bels.domain.money_events import (
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    RefundMade,
    RulebookPublished,
)
from bels.domain.terms import AccountNumber, EntryNumber, PaymentState, Period, Purpose, Reason
from tests.domain.books import NOTHING
from tests.domain.trade import OPEN, ORDINARY, closing, day, done, when
from tests.rules import DEFAULT_RULEBOOK

AT = day("2024-02-10")
ON = date(2024, 2, 10)


def paying(amount: str, on: date = ON, purpose: Purpose = Purpose.ENERGY) -> ReceivePayment:
    """Pay a sum."""
    return ReceivePayment(Decimal(amount), on, AT, "чек 1", purpose)


def reversing(entry: int) -> ReversePayment:
    """Take a payment back."""
    return ReversePayment(EntryNumber(entry), day("2024-02-15"), "отказ банка")


def returning(amount: str) -> MakeRefund:
    """Return a sum."""
    return MakeRefund(Decimal(amount), day("2024-02-15"), "заявление")


def moving(entry: int, to: str = "1000001") -> MovePaymentOut:
    """Take a payment away to another account."""
    return MovePaymentOut(EntryNumber(entry), AccountNumber(to), day("2024-02-15"), "ошибка")


def unallocated(amount: str = "500.00") -> Account:
    """Give the stream of a payment for an account that nobody knows."""
    command = replace(paying(amount), meant_for="9999999", unallocated=Reason.UNKNOWN_ACCOUNT)
    account = nobody("suspense-1")
    return replay(account, when(account, command))


def reason_of(account: Account, command: Command) -> Reason:
    """Give the reason of a refusal."""
    (refused,) = when(account, command)
    assert isinstance(refused, CommandRefused)
    return refused.reason


def test_a_payment_is_booked_with_the_day_of_the_payer_and_his_reference() -> None:
    (received,) = when(done(*ORDINARY), paying("1245.05", date(2024, 2, 8)))

    assert received == PaymentReceived(Decimal("1245.05"), date(2024, 2, 8), AT, Purpose.ENERGY, "чек 1")


@pytest.mark.parametrize("amount", ["0.01", "1", "10.1", "1E+3", "10000000", "10000000.00"])
def test_any_sum_of_whole_kopecks_is_received(amount: str) -> None:
    account = done(*ORDINARY, paying(amount))

    assert account.ledger.balance == -Decimal(amount)
    assert account.ledger.balance.as_tuple().exponent == -2


def test_a_payment_of_the_same_moscow_day_is_not_of_tomorrow() -> None:
    late_evening = replace(paying("1.00"), received_at=day("2024-02-09", 23))

    assert reason_of(done(*ORDINARY), late_evening) is Reason.BAD_DATES
    assert done(*ORDINARY, replace(late_evening, received_at=day("2024-02-10", 0))).ledger.balance == -1


def test_a_reversal_leaves_the_account_as_if_the_payment_had_not_been_made() -> None:
    without = done(*ORDINARY, closing("2024-01"))
    account = done(*ORDINARY, closing("2024-01"), paying("700.00"), reversing(5))

    assert account.ledger.balance == without.ledger.balance
    assert account.ledger.credits == without.ledger.credits
    assert account.ledger.debts == without.ledger.debts
    assert [(p.entry, p.state) for p in account.ledger.payments] == [(5, PaymentState.REVERSED)]


def test_a_reversal_of_a_payment_that_was_already_spent_makes_a_debt() -> None:
    account = done(OPEN, closing("2024-01"), paying("928.74"), reversing(4))

    assert str(account.ledger.balance) == "928.74"


def test_a_penalty_s_payment_is_taken_back_from_the_penalties() -> None:
    paid = done(*ORDINARY, paying("5.00", purpose=Purpose.PENALTY))
    taken = done(*ORDINARY, paying("5.00", purpose=Purpose.PENALTY), reversing(3))

    assert (paid.ledger.balance, paid.ledger.penalty) == (NOTHING, Decimal("-5.00"))
    assert (taken.ledger.balance, taken.ledger.penalty) == (NOTHING, NOTHING)
    # Penalties overpaid are no overpayment of electricity.
    assert reason_of(paid, returning("0.01")) is Reason.REFUND_ABOVE_CREDIT


def test_a_refund_is_up_to_what_is_overpaid_whatever_it_was_paid_with() -> None:
    account = done(*ORDINARY, paying("100.00"), paying("50.50"))

    assert isinstance(when(account, returning("150.50"))[0], RefundMade)
    assert reason_of(account, returning("150.51")) is Reason.REFUND_ABOVE_CREDIT
    rest = replay(account, when(account, returning("150.00")))
    assert str(rest.ledger.overpaid) == "0.50"
    assert reason_of(rest, returning("0.51")) is Reason.REFUND_ABOVE_CREDIT


def test_what_was_refunded_is_not_there_for_the_next_bill() -> None:
    account = done(OPEN, paying("1000.00"), returning("400.00"), closing("2024-01"))

    assert str(account.ledger.balance) == "328.74"


def test_a_payment_that_is_moved_counts_there_from_its_own_day() -> None:
    here = done(*ORDINARY, paying("700.00", date(2024, 2, 3)))
    (out,) = when(here, moving(3))
    assert isinstance(out, PaymentMovedOut)
    move_in = MovePaymentIn(
        out.amount, out.paid_on, out.moved_at, out.purpose, out.reference, here.number, out.payment, out.ground
    )
    there = done(OPEN, closing("2024-01"), number="1000001")
    (moved,) = when(there, move_in)

    assert isinstance(moved, PaymentMovedIn)
    assert (moved.source, moved.payment, moved.paid_on) == ("1000000", 3, date(2024, 2, 3))
    assert replay(here, [out]).ledger.balance == 0
    after = replay(there, [moved]).ledger
    assert str(after.balance) == "228.74"
    assert [(c.paid_on, str(c.amount)) for c in after.credits] == [(date(2024, 2, 3), "700.00")]
    assert reason_of(replay(here, [out]), moving(3)) is Reason.PAYMENT_MOVED
    # From there it can go on, and be taken back there.
    assert isinstance(when(replay(there, [moved]), moving(4, "1000002"))[0], PaymentMovedOut)
    assert isinstance(when(replay(there, [moved]), reversing(4))[0], PaymentReversed)


def test_a_payment_for_nobody_stands_alone_and_is_worked_off_or_returned_whole() -> None:
    stray = unallocated()

    assert stray.situation is Situation.SUSPENSE
    assert str(stray.ledger.balance) == "-500.00"
    assert reason_of(stray, returning("499.99")) is Reason.BAD_AMOUNT
    assert reason_of(stray, returning("500.01")) is Reason.REFUND_ABOVE_CREDIT
    returned = replay(stray, when(stray, returning("500.00")))
    assert returned.ledger.balance == 0
    assert reason_of(returned, moving(1)) is Reason.PAYMENT_REVERSED
    assert reason_of(returned, reversing(1)) is Reason.PAYMENT_REVERSED
    worked_off = replay(stray, when(stray, moving(1)))
    assert worked_off.ledger.balance == 0
    assert reason_of(worked_off, returning("500.00")) is Reason.REFUND_ABOVE_CREDIT


@pytest.mark.parametrize("situation", ["unknown", "suspense", "rulebook"])
def test_a_payment_goes_to_no_stream_that_is_not_an_account(situation: str) -> None:
    published = RulebookPublished(DEFAULT_RULEBOOK, AT, "test", None, None)
    account = {
        "unknown": nobody("7654321"),
        "suspense": unallocated(),
        "rulebook": replay(nobody("rulebook"), [published]),
    }[situation]

    assert reason_of(account, paying("1.00")) is Reason.UNKNOWN_ACCOUNT
    into = MovePaymentIn(
        Decimal("1.00"), ON, AT, Purpose.ENERGY, "", AccountNumber("1000000"), EntryNumber(3), "ошибка"
    )
    assert reason_of(account, into) is Reason.UNKNOWN_ACCOUNT


def test_an_account_that_is_closed_takes_payments_of_what_it_owes() -> None:
    open_bill = done(OPEN, closing("2024-01"), CloseAccount(day("2024-02-08"), "sold"))
    owing = replay(open_bill, when(open_bill, closing("2024-02")))
    # Until its last bill has come, nothing says that it owes nothing.
    assert isinstance(when(open_bill, paying("5000.00"))[0], PaymentReceived)

    assert isinstance(when(owing, paying("1000.00"))[0], PaymentReceived)
    settled = replay(owing, when(owing, paying(str(owing.ledger.balance))))
    assert reason_of(settled, paying("0.01")) is Reason.ACCOUNT_CLOSED
    assert reason_of(settled, paying("0.01", purpose=Purpose.PENALTY)) is Reason.ACCOUNT_CLOSED
    # What was overpaid is returned also after the end.
    over = replay(owing, when(owing, paying(str(owing.ledger.balance + Decimal("71.26")))))
    assert isinstance(when(over, returning("71.26"))[0], RefundMade)


@pytest.mark.parametrize(("balance", "paid", "left"), [("-500.00", "0.01", "-500.01"), ("500.00", "500.00", "0.00")])
def test_a_balance_carried_over_is_paid_and_paid_back_as_any_other(balance: str, paid: str, left: str) -> None:
    carried = CarryOverHistory(None, (), Period("2023-12"), balance=Decimal(balance), penalty=Decimal("3.10"))
    opened = replace(OPEN, opened_at=day("2023-12-01", 0))
    account = done(opened, carried, paying(paid))

    assert str(account.ledger.balance) == left
    assert str(account.ledger.penalty) == "3.10"


def test_a_refund_of_an_ordinary_account_never_bars_the_bank_from_taking_its_payment_back() -> None:
    # The supplier has paid out what the bank then takes back: the household owes it.
    account = done(OPEN, paying("100.00"), returning("100.00"))

    assert isinstance(when(account, reversing(2))[0], PaymentReversed)
    assert str(replay(account, when(account, reversing(2))).ledger.balance) == "100.00"


def test_nothing_owed_is_nothing() -> None:
    assert Ledger().overpaid == Ledger().balance == 0
