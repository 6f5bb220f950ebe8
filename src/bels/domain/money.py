"""Roubles and kopecks: exact decimals, each sum rounded once, half-up on the absolute value (rules 1)."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from bels.domain.terms import Money

ZERO = Money("0.00")
KOPECK = Money("0.01")
AMOUNT_MAX = Money("10000000.00")
"""The greatest sum of one payment or refund, in roubles: more is a slip of the pen."""


def to_kopecks(sum_of_money: Decimal) -> Money:
    """Round a sum to a kopeck, half-up on the absolute value."""
    return sum_of_money.quantize(KOPECK, ROUND_HALF_UP)


def is_sum(amount: Decimal) -> bool:
    """Say whether a sum may stand in the books, of either sign: whole kopecks, at most ``AMOUNT_MAX`` either way."""
    if not amount.is_finite() or abs(amount) > AMOUNT_MAX:
        return False
    if amount.same_quantum(KOPECK):
        return True
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -2


def is_amount(amount: Decimal) -> bool:
    """Say whether a sum may be paid or returned: above zero, whole kopecks, at most ``AMOUNT_MAX``."""
    return is_sum(amount) and amount > 0
