"""A stranger's pocket calculator: finds every sum again from an explanation alone, knowing nothing of bels but its format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()])")


def evaluate(expression: str) -> Fraction:
    """Work an expression of plain numbers out: + - * / and parentheses, nothing else."""
    tokens = TOKEN.findall(expression)
    assert "".join(tokens) == expression.replace(" ", ""), expression
    value, rest = _sum(tokens)
    assert not rest, expression
    return value


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _product(tokens)
    while tokens and tokens[0] in "+-":
        sign, (term, rest) = tokens[0], _product(tokens[1:])
        value, tokens = (value + term if sign == "+" else value - term), rest
    return value, tokens


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _factor(tokens)
    while tokens and tokens[0] in "*/":
        sign, (factor, rest) = tokens[0], _factor(tokens[1:])
        value, tokens = (value * factor if sign == "*" else value / factor), rest
    return value, tokens


def _factor(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "-":
        value, rest = _factor(tokens[1:])
        return -value, rest
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        assert rest[0] == ")"
        return value, rest[1:]
    return Fraction(Decimal(tokens[0])), tokens[1:]


def half_up(value: Fraction, unit: Fraction) -> Fraction:
    """Round half-up on the absolute value."""
    steps = abs(value) / unit + Fraction(1, 2)
    rounded = unit * (steps.numerator // steps.denominator)
    return rounded if value >= 0 else -rounded


def largest_remainder(whole: int, weights: list[int], place: int) -> int:
    """Share a whole in proportion to weights, the units left over to the largest remainders, ties to the earlier place."""
    quotas = [Fraction(whole * weight, sum(weights)) for weight in weights]
    shares = [quota.numerator // quota.denominator for quota in quotas]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - quotas[i])
    for i in by_remainder[: whole - sum(shares)]:
        shares[i] += 1
    return shares[place]


def check(explanation: Mapping[str, Any]) -> Fraction:
    """Work every step of an explanation out and give the sum to which they lead."""
    results: list[Fraction] = []
    for step in explanation["steps"]:
        value = evaluate(step["expression"])
        match step["rounding"]:
            case "EXACT":
                found = value
            case "WHOLE_KWH":
                found = half_up(value, Fraction(1))
            case "KOPECK":
                found = half_up(value, Fraction(1, 100))
            case "LARGEST_REMAINDER":
                found = Fraction(largest_remainder(int(value), step["weights"], step["place"]))
            case _:
                raise AssertionError(step)
        assert found == Fraction(Decimal(step["result"])), (step, float(found))
        results.append(found)
    assert results[-1] == Fraction(Decimal(explanation["result"])), explanation
    return results[-1]
