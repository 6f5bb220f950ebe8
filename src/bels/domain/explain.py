"""Say how a sum was found, step by step, so that anybody can find it again with a pocket calculator.

A step is an expression of plain numbers with ``+ - * / ( )``, how its result is rounded, and a Russian sentence. A share by largest
remainder is the one operation that a calculator has not: its step names the whole, the weights and the place.
"""

from __future__ import annotations

from dataclasses import dataclass

from bels.domain.terms import Word


class Rounding(Word):
    """How the result of a step follows from its expression."""

    EXACT = "EXACT"
    WHOLE_KWH = "WHOLE_KWH"
    KOPECK = "KOPECK"
    LARGEST_REMAINDER = "LARGEST_REMAINDER"


class Unit(Word):
    """What a result counts."""

    KWH = "KWH"
    ROUBLES = "ROUBLES"


@dataclass(frozen=True, slots=True)
class ExplanationStep:
    """One step: ``expression`` gives ``result``, a decimal text, after ``rounding`` (half-up on the absolute value).

    LARGEST_REMAINDER: the expression is the whole, shared in proportion to ``weights`` (whole parts first, then one unit each by
    the largest remainder, ties to the earlier place); the result is the share at ``place``, from 0.
    """

    text: str
    expression: str
    rounding: Rounding
    result: str
    unit: Unit
    weights: tuple[int, ...] = ()
    place: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """What a step rests on: a reading, a tariff, a norm, an act. ``name`` is its kind, ``value`` what it says."""

    name: str
    value: str
    document: str | None = None
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """How ``result`` was found: the rule (act and point), the sources, the steps in order; the last step gives the result."""

    title: str
    rule: str
    sources: tuple[Source, ...]
    steps: tuple[ExplanationStep, ...]
    result: str
    unit: Unit
