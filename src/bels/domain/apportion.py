"""Share whole kWh in proportion to weights by largest remainder: the shares always add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence


def apportion(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split ``total`` kWh (0 or more) in proportion to ``weights``; ties go to the earlier place.

    :raises ValueError: a negative total, no weights, or weights that are not positive in sum.
    """
    whole = sum(weights)
    if total < 0 or whole <= 0 or min(weights) < 0:
        raise ValueError(f"cannot share {total} by {weights}")
    shares = [total * w // whole for w in weights]
    left = total - sum(shares)
    # sorted() is stable: equal remainders keep their order, so the earlier one comes first.
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total * weights[i] % whole))
    for i in by_remainder[:left]:
        shares[i] += 1
    return tuple(shares)


def half_up(numerator: int, denominator: int) -> int:
    """Divide and round half-up on the absolute value."""
    quotient = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -quotient if numerator < 0 else quotient
