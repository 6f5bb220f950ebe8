"""What a payer pays on top, told before the payment and charged as told (partners 11)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.terms import Money
from bels.payments.partners import Commission, Partner

_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a payment costs the payer, in roubles: the amount for the account, the commission, both."""

    amount: Money
    commission: Money

    @property
    def total(self) -> Money:
        """What the payer pays in all."""
        return self.amount + self.commission


def quote(partner: Partner, amount: Money, on: date, method: str | None = None) -> Quote:
    """Tell the commission of an amount on a day; rounded once, half-up. Without a row in force there is none."""
    row = in_force(partner, on, method)
    if row is None:
        return Quote(amount, ZERO)
    commission = max(to_kopecks(amount * row.percent / _HUNDRED), row.minimum)
    return Quote(amount, min(commission, row.maximum) if row.maximum is not None else commission)


def agreed(partner: Partner, amount: Decimal, on: date, method: str | None = None) -> Money | None:
    """Tell the commission that the contract names for an amount; None where it names none, or nothing like it may be paid."""
    if in_force(partner, on, method) is None or not is_amount(amount):
        return None
    return quote(partner, to_kopecks(amount), on, method).commission


def in_force(partner: Partner, on: date, method: str | None = None) -> Commission | None:
    """Find the row of a method in force on a day: its own before one for any method, the newest of them."""
    rows = [row for row in partner.commissions if row.since <= on and row.method in (None, method)]
    return max(rows, key=lambda row: (row.method is not None, row.since), default=None)
