"""Numbers as a Russian document writes them: 1 245,05 ₽, with no-break spaces and a true minus."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from bels.domain.terms import Money
from bels.projections import words
from bels.projections.words import GROUNDS, MODES, REGISTERS, RULES

NBSP = "\u00a0"
MINUS = "\u2212"

REGISTER_NAMES: dict[str, str] = {register.value: name for register, name in REGISTERS.items()}
"""The Russian names by the texts in which the views keep them; the same of the other three."""
MODE_NAMES: dict[str, str] = {mode.value: name for mode, name in MODES.items()}
RULE_NAMES: dict[str, str] = {rule.value: name.replace(". ", f".{NBSP}") for rule, name in RULES.items()}
GROUND_NAMES: dict[str, str] = {reason.value: name for reason, name in GROUNDS.items()}


def decimal(value: Decimal) -> str:
    """Write a decimal with the digits it has: 6,73; −1 245,05."""
    sign = MINUS if value < 0 else ""
    return sign + f"{abs(value):,f}".replace(",", NBSP).replace(".", ",")


def roubles(amount: Money) -> str:
    """Write a sum for a column whose heading names the rouble: 1 245,05."""
    return decimal(amount.quantize(Decimal("0.01")))


def money(amount: Money) -> str:
    """Write a sum: 1 245,05 ₽."""
    return words.roubles(amount)


def whole(value: int) -> str:
    """Write a whole number: 3 900; −45."""
    return decimal(Decimal(value))


def kwh(value: int) -> str:
    """Write kWh: 185 кВт·ч."""
    return f"{whole(value)}{NBSP}кВт·ч"


def by_register(used: Mapping[str, int]) -> str:
    """Write kWh per register: «день 130, ночь 55»; one register alone has no name."""
    if set(used) == {"total"}:
        return whole(used["total"])
    return ", ".join(f"{REGISTER_NAMES.get(name, name)}{NBSP}{whole(n)}" for name, n in used.items()) or "0"
