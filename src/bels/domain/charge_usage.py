"""The kWh of a period cost what its own tariff says: a line for each register and range, each rounded once (rules 1.6).

Ranges are marginal, for the account and the month as a whole: range 1 takes what it holds of the volume, shared by the registers in
proportion to their volumes (largest remainder), range 2 the next, the last one the rest. A rate that nobody has published stops
the closing: no other year's and no other range's is taken instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bels.domain.apportion import apportion
from bels.domain.events import (
    UsageLine,
)
from bels.domain.money import ZERO, to_kopecks
from bels.domain.money_events import (
    ChargeLine,
)
from bels.domain.rulebook import Rulebook
from bels.domain.terms import REGISTER_ORDER, Kwh, Mode, Money, Period, Reason, Register, Rule, Scheme

INCREASING_COEFFICIENT = Decimal("1.5")
"""Повышающий коэффициент after two refusals of access (60(3))."""

_SCHEMES = {
    Register.TOTAL: Scheme.SINGLE,
    Register.DAY: Scheme.TWO_ZONE,
    Register.PEAK: Scheme.THREE_ZONE,
    Register.HALF_PEAK: Scheme.THREE_ZONE,
}


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A rate that is needed is not known: NO_TARIFF (nothing of the row is), or TARIFF_INCOMPLETE; ``detail`` names it."""

    reason: Reason
    detail: str


def charge_usage(
    lines: Sequence[UsageLine], group: str, period: Period, rulebook: Rulebook
) -> tuple[ChargeLine, ...] | Unpriced:
    """Price the lines of a period's usage at the tariff in force on its 1st."""
    limits = rulebook.ranges_of(period)
    if not limits or sum(line.kwh for line in lines if line.kwh > 0) <= limits[0]:
        parts: list[tuple[tuple[int, int], ...]] = [((1, line.kwh),) for line in lines]
    else:
        parts = _split(lines, limits)
    three = any(_SCHEMES.get(line.register) is Scheme.THREE_ZONE for line in lines)
    charges: list[ChargeLine] = []
    for line, ranges in zip(lines, parts, strict=True):
        # The night is a register of both zone schemes.
        scheme = _SCHEMES.get(line.register) or (Scheme.THREE_ZONE if three else Scheme.TWO_ZONE)
        tariff = rulebook.tariff_of(group, scheme, period)
        rates = tariff.rates.get(line.register, ()) if tariff is not None else ()
        for number, kwh in ranges:
            rate = rates[number - 1] if number <= len(rates) else None
            if tariff is None or rate is None:
                missing = tariff is None or tariff.is_unknown
                version = tariff.version if tariff is not None else f"{group}/{scheme.value}"
                reason = Reason.NO_TARIFF if missing else Reason.TARIFF_INCOMPLETE
                return Unpriced(reason, f"{period}: {version} {line.register.value}, range {number}")
            amount = to_kopecks(kwh * rate)
            charges.append(ChargeLine(line.register, kwh, rate, number, tariff.version, line.rule, line.mode, amount))
            if line.mode is Mode.NORMATIVE_INCREASED:
                increase = to_kopecks(kwh * rate * INCREASING_COEFFICIENT) - amount
                charges.append(
                    ChargeLine(
                        line.register, 0, rate, number, tariff.version, line.rule, line.mode, increase,
                        INCREASING_COEFFICIENT,
                    )
                )  # fmt: skip
    return tuple(charges)


def charge_kwh(
    kwh: Kwh, mode: Mode, rule: Rule, group: str, period: Period, rulebook: Rulebook
) -> tuple[ChargeLine, ...] | Unpriced:
    """Price kWh per register that were all found in one way."""
    return charge_usage(tuple(UsageLine(r, n, mode, rule) for r, n in kwh.items()), group, period, rulebook)


def usage_of(charges: Sequence[ChargeLine]) -> tuple[UsageLine, ...]:
    """Give back the lines of usage that were charged: ranges put together, increases left out."""
    lines: dict[tuple[Register, Mode, Rule], int] = {}
    for charge in charges:
        if charge.coefficient is None:
            key = charge.register, charge.mode, charge.rule
            lines[key] = lines.get(key, 0) + charge.kwh
    return tuple(UsageLine(register, kwh, mode, rule) for (register, mode, rule), kwh in lines.items())


def sum_of(charges: Sequence[ChargeLine]) -> Money:
    """Add the amounts of charge lines."""
    return sum((charge.amount for charge in charges), ZERO)


def _split(lines: Sequence[UsageLine], limits: tuple[int, ...]) -> list[tuple[tuple[int, int], ...]]:
    """Say for each line how many of its kWh fall into which range; a negative line is whole in range 1."""
    parts: list[list[tuple[int, int]]] = [[(1, line.kwh)] if line.kwh < 0 else [] for line in lines]
    left = [max(line.kwh, 0) for line in lines]
    places: dict[Register, list[int]] = {}
    for i, line in sorted(enumerate(lines), key=lambda placed: REGISTER_ORDER.index(placed[1].register)):
        places.setdefault(line.register, []).append(i)
    before = 0
    for number, limit in enumerate((*limits, None), start=1):
        rest = sum(left)
        taken = rest if limit is None else min(limit - before, rest)
        before = limit or 0
        shares = _share(taken, left, places)
        for i, share in enumerate(shares):
            if (share or number == 1) and lines[i].kwh >= 0:
                parts[i].append((number, share))
            left[i] -= share
    return [tuple(part) for part in parts]


def _share(taken: int, left: Sequence[int], places: dict[Register, list[int]]) -> list[int]:
    """Share kWh by registers in proportion to what is left of each, and within a register by its lines."""
    shares = [0] * len(left)
    if taken:
        volumes = [sum(left[i] for i in own) for own in places.values()]
        for own, share in zip(places.values(), apportion(taken, volumes), strict=True):
            if share:
                for i, part in zip(own, apportion(share, [left[i] for i in own]), strict=True):
                    shares[i] = part
    return shares
