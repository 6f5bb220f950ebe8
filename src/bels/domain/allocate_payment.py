"""A payment pays the oldest principal first; the rest is an advance and covers the next bills on their closing (rules 1.9).

Which credit paid which debt follows from the two queues alone, debts in the order in which they arose and credits by the day of
payment. So a payment that is reversed, moved or known late puts the allocation right without a trace of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from bels.domain.ledger import Debt, Ledger
from bels.domain.money import ZERO
from bels.domain.terms import EntryNumber, Money


@dataclass(frozen=True, slots=True)
class Paid:
    """A part of a debt that a credit paid, on the day of the credit."""

    credit: EntryNumber
    on: date
    amount: Money


@dataclass(frozen=True, slots=True)
class Allocated:
    """A debt with what was paid of it; ``open`` is what is left."""

    debt: Debt
    paid: tuple[Paid, ...]
    open: Money


def open_debts(ledger: Ledger) -> tuple[tuple[Debt, Money], ...]:
    """List the debts that are not paid whole, oldest first, each with what is left of it.

    The oldest is paid first, so what the account owes is what is left of its newest debts: the paid ones are not looked at.
    """
    owed = ledger.balance
    found: list[tuple[Debt, Money]] = []
    for debt in reversed(ledger.debts):
        if owed <= 0:
            break
        found.append((debt, min(debt.amount, owed)))
        owed -= debt.amount
    return tuple(reversed(found))


def allocate(ledger: Ledger) -> tuple[Allocated, ...]:
    """Match all debts of an account with its credits, oldest first."""
    return tuple(Allocated(debt, tuple(paid), open_) for debt, paid, open_ in matched(ledger))


def matched(ledger: Ledger) -> Iterator[tuple[Debt, list[Paid], Money]]:
    """Match all debts of an account with its credits, oldest first: each debt, what was paid of it, and what is open."""
    queue = iter(ledger.credits)
    current = next(queue, None)
    left = current.amount if current is not None else ZERO
    for debt in ledger.debts:
        open_ = debt.amount
        paid: list[Paid] = []
        while open_ and current is not None:
            part = min(open_, left)
            if part:
                paid.append(Paid(current.entry, current.paid_on, part))
                open_ -= part
                left -= part
            if not left:
                current = next(queue, None)
                left = current.amount if current is not None else ZERO
        yield debt, paid, open_
