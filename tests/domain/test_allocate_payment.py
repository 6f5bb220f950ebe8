"""A payment pays the oldest principal first; the rest is an advance (rules 1.9)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.allocate_payment import allocate
from bels.domain.ledger import Credit, Debt, Ledger, bill, credit, owe, receive, take_back
from bels.domain.ledger import Payment as Paid
from bels.domain.terms import EntryNumber, PaymentState, Period, Purpose
from tests.domain.books import NOTHING
from tests.domain.test_laws import steady
from tests.domain.vectors import vectors

ON = date(2024, 6, 5)
DUE = date(2024, 6, 10)


def pay(ledger: Ledger, entry: int, amount: str, on: date = ON) -> Ledger:
    """Book a payment of electricity."""
    return receive(ledger, Paid(EntryNumber(entry), Decimal(amount), on, Purpose.ENERGY, f"чек {entry}"))


def open_parts(ledger: Ledger) -> dict[str, str]:
    """Give what is open of each bill."""
    return {a.debt.period or "": str(a.open) for a in allocate(ledger) if a.open}


@pytest.mark.parametrize("vector", vectors("allocation"), ids=lambda v: v["id"])
def test_the_vectors_payments_pay_the_oldest_first(vector: dict[str, Any]) -> None:
    ledger = Ledger()
    for entry, (period, amount) in enumerate(vector["given"]["principal"].items(), start=1):
        ledger = bill(ledger, EntryNumber(entry), Decimal(amount), Period(period), DUE, ON)
    told = []
    for entry, amount in enumerate(vector["given"]["payments"], start=10):
        ledger = pay(ledger, entry, amount)
        applied = {a.debt.period: str(p.amount) for a in allocate(ledger) for p in a.paid if p.credit == entry}
        rest = Decimal(amount) - sum(map(Decimal, applied.values()), NOTHING)
        told.append({"payment": amount, "applied": applied, "to_advance": str(rest)})

    assert told == vector["expected"]["steps"]
    assert open_parts(ledger) == vector["expected"]["open_principal"]
    assert str(ledger.overpaid) == vector["expected"]["advance"]


def test_an_advance_covers_the_next_bill_with_the_day_on_which_it_was_paid() -> None:
    ledger = bill(pay(Ledger(), 1, "300.00"), EntryNumber(2), Decimal("1000.00"), Period("2024-06"), DUE, ON)

    (allocated,) = allocate(ledger)

    assert [(p.credit, p.on, str(p.amount)) for p in allocated.paid] == [(1, ON, "300.00")]
    assert str(allocated.open) == "700.00"


def test_a_negative_bill_pays_as_a_payment_on_its_closing_date() -> None:
    ledger = owe(Ledger(), Debt(EntryNumber(1), Decimal("500.00"), Period("2024-05"), DUE))
    ledger = bill(ledger, EntryNumber(2), Decimal("-120.50"), Period("2024-06"), DUE, date(2024, 7, 1))

    assert [(p.on, str(p.amount)) for a in allocate(ledger) for p in a.paid] == [(date(2024, 7, 1), "120.50")]
    assert str(ledger.balance) == "379.50"


def test_a_payment_of_an_earlier_day_that_comes_later_is_used_first() -> None:
    ledger = owe(Ledger(), Debt(EntryNumber(1), Decimal("100.00"), Period("2024-05"), DUE))
    ledger = pay(pay(ledger, 2, "100.00", date(2024, 6, 20)), 3, "60.00", date(2024, 6, 1))

    (allocated,) = allocate(ledger)

    assert [(p.credit, str(p.amount)) for p in allocated.paid] == [(3, "60.00"), (2, "40.00")]


def test_a_bill_of_nothing_is_no_debt() -> None:
    assert bill(Ledger(), EntryNumber(1), NOTHING, Period("2024-05"), DUE, ON) == Ledger()


sums = st.integers(1, 10**6).map(lambda n: Decimal(n) / 100)


@steady(300)
@given(
    owed=st.lists(sums, max_size=8),
    paid=st.lists(st.tuples(sums, st.integers(0, 400)), max_size=8, unique_by=lambda p: p[1]),
    data=st.data(),
)
def test_the_order_in_which_payments_become_known_does_not_matter_and_taking_one_back_leaves_no_trace(
    owed: list[Decimal], paid: list[tuple[Decimal, int]], data: st.DataObject
) -> None:
    debts = Ledger()
    for n, amount in enumerate(owed, start=1):
        debts = owe(debts, Debt(EntryNumber(n), amount, Period(f"2024-{n:02d}"), DUE))
    payments = [
        Paid(EntryNumber(100 + n), amount, date.fromordinal(738_000 + on), Purpose.ENERGY, "")
        for n, (amount, on) in enumerate(paid)
    ]
    ledgers = []
    for order in (payments, data.draw(st.permutations(payments))):
        ledger = debts
        for payment in order:
            ledger = receive(ledger, payment)
        ledgers.append(ledger)

    assert allocate(ledgers[0]) == allocate(ledgers[1])
    assert ledgers[0].balance == ledgers[1].balance == sum(owed, NOTHING) - sum((a for a, _ in paid), NOTHING)
    for payment in payments:
        without = debts
        for other in payments:
            without = without if other is payment else receive(without, other)
        taken = take_back(ledgers[0], payment.entry, PaymentState.REVERSED)
        assert (allocate(taken), taken.balance, taken.credits) == (allocate(without), without.balance, without.credits)


def test_the_credits_of_an_account_stand_in_the_order_of_their_days() -> None:
    ledger = Ledger()
    for entry, on in enumerate((5, 3, 9, 3, 1), start=1):
        ledger = credit(ledger, Credit(EntryNumber(entry), Decimal("1.00"), date(2024, 6, on)))

    assert [(c.paid_on.day, c.entry) for c in ledger.credits] == [(1, 5), (3, 2), (3, 4), (5, 1), (9, 3)]
