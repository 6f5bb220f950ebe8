"""Work an explanation out, step by step: a calculator that knows the format of explanations and nothing else of bels.

Everything is exact fractions; what is rounded is rounded where a step says so, half-up on the absolute value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from re import ASCII
from re import compile as pattern

from bels.domain.explain import Explanation, ExplanationStep, Rounding

EXPRESSION_LENGTH_MAX = 10_000
"""Characters of one expression: a bill has some dozens of lines, not thousands."""

DEPTH_MAX = 20
"""Parentheses and signs within one another."""

WEIGHTS_MAX = 1200
"""Periods among which kWh are shared: a hundred years."""

REMEMBERED_MAX = 4096
"""Lines that are not worked out twice: a debt is told again, line by line, on every bill until it is paid."""

_PLACES = {Rounding.WHOLE_KWH: 0, Rounding.KOPECK: 2}
_NUMBER = pattern(r"-?\d{1,30}(?:\.\d{1,10})?", ASCII)
_SYMBOL = pattern(r" *(?:(\d+(?:\.\d+)?)|([-+*/()]))", ASCII)


class CannotBeWorkedOut(ValueError):
    """An explanation does not lead to its result: a step says another number than it gives, or says nothing that can be counted."""


def work_out(explanation: Explanation) -> Decimal:
    """Work every step out, compare it with what it says, and give the sum to which the last one leads.

    :raises CannotBeWorkedOut: a step, or the whole, does not give what it says.
    """
    if not explanation.steps:
        raise CannotBeWorkedOut("there is no step")
    found = Fraction(0)
    for number, step in enumerate(explanation.steps, 1):
        try:
            found = _result(step)
            said = _plain(step.result)
        except CannotBeWorkedOut as error:
            raise CannotBeWorkedOut(f"step {number}: {error}") from error
        if found != said:
            raise CannotBeWorkedOut(f"step {number} gives {_decimal(found)}, not {step.result}")
    result = _plain(explanation.result)
    if found != result:
        raise CannotBeWorkedOut(f"the last step gives {_decimal(found)}, not {explanation.result}")
    return Decimal(explanation.result)


def evaluate(expression: str) -> Fraction:
    """Work an expression of plain numbers out: ``+ - * / ( )`` and nothing else.

    :raises CannotBeWorkedOut: it is no such expression, or divides by nothing.
    """
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise CannotBeWorkedOut(f"an expression of more than {EXPRESSION_LENGTH_MAX} characters")
    symbols = _Symbols(_symbols(expression))
    value = symbols.sum(0)
    if symbols.next is not None:
        raise CannotBeWorkedOut(f"an expression that goes on with {symbols.next!r}")
    return value


def round_half_up(value: Fraction, places: int) -> Fraction:
    """Round to decimal places, a half away from zero."""
    unit = 10**places
    whole, rest = divmod(abs(value) * unit, 1)
    rounded = Fraction(whole + (rest * 2 >= 1), unit)
    return rounded if value >= 0 else -rounded


def share(whole: int, weights: Sequence[int], place: int) -> int:
    """Give the share of a whole at a place: whole parts in proportion to the weights first, then one unit each by the largest
    remainder, ties to the earlier place.

    :raises CannotBeWorkedOut: there is nothing to share by, or no such place.
    """
    total = sum(weights)
    if not 0 <= place < len(weights) <= WEIGHTS_MAX or min(weights) < 0 or total <= 0 or whole < 0:
        raise CannotBeWorkedOut("a share without a whole, weights and a place among them")
    parts = [divmod(whole * weight, total) for weight in weights]
    left = whole - sum(part for part, _ in parts)
    # What is left over goes to those before whom fewer than that many are to be served.
    own = parts[place][1]
    served_before = sum(
        rest > own or (rest == own and earlier < place) for earlier, (_, rest) in enumerate(parts) if earlier != place
    )
    return parts[place][0] + (served_before < left)


def _result(step: ExplanationStep) -> Fraction:
    if step.rounding is not Rounding.LARGEST_REMAINDER:
        return _rounded(step.expression, step.rounding)
    whole = evaluate(step.expression)
    if whole.denominator != 1:
        raise CannotBeWorkedOut("a share of what is not whole")
    return Fraction(share(whole.numerator, step.weights, step.place))


@lru_cache(REMEMBERED_MAX)
def _rounded(expression: str, rounding: Rounding) -> Fraction:
    value = evaluate(expression)
    return value if rounding is Rounding.EXACT else round_half_up(value, _PLACES[rounding])


@lru_cache(REMEMBERED_MAX)
def _plain(text: str) -> Fraction:
    # An exponent could write a number that fills the memory.
    if _NUMBER.fullmatch(text) is None:
        raise CannotBeWorkedOut("a result that is no number")
    return Fraction(text)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _symbols(expression: str) -> list[str]:
    symbols = []
    at, end = 0, len(expression.rstrip(" "))
    while at < end:
        found = _SYMBOL.match(expression, at)
        if found is None:
            raise CannotBeWorkedOut(f"an expression with {expression[at : at + 1]!r}")
        symbols.append(found[1] or found[2])
        at = found.end()
    return symbols


@dataclass(slots=True)
class _Symbols:
    """The symbols of an expression, taken one by one."""

    symbols: list[str]
    at: int = 0

    @property
    def next(self) -> str | None:
        return self.symbols[self.at] if self.at < len(self.symbols) else None

    def take(self) -> str:
        if self.next is None:
            raise CannotBeWorkedOut("an expression that ends too early")
        self.at += 1
        return self.symbols[self.at - 1]

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.next in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            value += sign * self.product(depth)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.factor(depth)
        while self.next in ("*", "/"):
            if self.take() == "*":
                value *= self.factor(depth)
            else:
                divisor = self.factor(depth)
                if not divisor:
                    raise CannotBeWorkedOut("a division by nothing")
                value /= divisor
        return value

    def factor(self, depth: int) -> Fraction:
        if depth > DEPTH_MAX:
            raise CannotBeWorkedOut(f"an expression of more than {DEPTH_MAX} parts within one another")
        symbol = self.take()
        if symbol == "-":
            return -self.factor(depth + 1)
        if symbol == "(":
            value = self.sum(depth + 1)
            if self.take() != ")":
                raise CannotBeWorkedOut("an expression with a parenthesis that is not closed")
            return value
        if symbol[0].isdigit():
            whole, _, part = symbol.partition(".")
            return Fraction(int(whole + part), 10 ** len(part))
        raise CannotBeWorkedOut(f"an expression with {symbol!r} in place of a number")
