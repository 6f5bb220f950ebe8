"""Sums as the schema shows them: lines of charges and penalties, and how each was found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.api.engine.scalars import Money
from bels.domain import explain, terms
from bels.domain import money_events as events
from bels.domain.charge_usage import Unpriced, charge_kwh, sum_of
from bels.domain.explain import Explanation as DomainExplanation
from bels.domain.forecast_estimate import Silent
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period


@strawberry.type(description="A step of an explanation: an expression of plain numbers for a pocket calculator.")
class ExplanationStep:
    """A step of an explanation."""

    text: str = strawberry.field(description="What is done, in Russian.")
    expression: str = strawberry.field(description="Plain numbers with + - * / ( ).")
    rounding: explain.Rounding = strawberry.field(description="How the result follows from the expression.")
    result: str = strawberry.field(description="The result: a decimal with a point.")
    unit: explain.Unit = strawberry.field(description="What the result counts.")
    weights: list[int] = strawberry.field(description="LARGEST_REMAINDER: what the whole is shared in proportion to.")
    place: int = strawberry.field(description="LARGEST_REMAINDER: the place of the result among the shares, from 0.")


@strawberry.type(description="What an explanation rests on: a reading, a tariff, a norm, an act.")
class ExplanationSource:
    """What an explanation rests on."""

    name: str = strawberry.field(description="What it is, in Russian.")
    value: str = strawberry.field(description="What it says.")
    document: str | None = strawberry.field(description="The document it stands in.")
    entry: int | None = strawberry.field(description="The entry of the account's journal that brought it.")


@strawberry.type(description="How a sum was found, step by step: anybody can find it again with a pocket calculator.")
class Explanation:
    """How a sum was found."""

    title: str = strawberry.field(description="What is explained, in Russian.")
    rule: str = strawberry.field(description="The act and point.")
    sources: list[ExplanationSource] = strawberry.field(description="What it rests on.")
    steps: list[ExplanationStep] = strawberry.field(description="The steps in order; the last one gives the result.")
    result: str = strawberry.field(description="The sum: a decimal with a point.")
    unit: explain.Unit = strawberry.field(description="What the result counts.")

    @classmethod
    def of(cls, told: DomainExplanation) -> Explanation:
        """Show an explanation."""
        return cls(
            title=told.title,
            rule=told.rule,
            sources=[
                ExplanationSource(name=s.name, value=s.value, document=s.document, entry=s.entry) for s in told.sources
            ],
            steps=[
                ExplanationStep(
                    text=s.text,
                    expression=s.expression,
                    rounding=s.rounding,
                    result=s.result,
                    unit=s.unit,
                    weights=list(s.weights),
                    place=s.place,
                )
                for s in told.steps
            ],
            result=told.result,
            unit=told.unit,
        )


@strawberry.type(description="A line of a charge: one register in one range, kWh times rate, rounded once to a kopeck.")
class ChargeLine:
    """A line of a charge."""

    register: terms.Register = strawberry.field(description="The register; a norm is charged as TOTAL.")
    kwh: int = strawberry.field(description="Whole kWh; 0 in a line that only adds a coefficient.")
    rate: Decimal = strawberry.field(description="Roubles a kWh, with VAT.")
    range: int = strawberry.field(description="The range of consumption, from 1.")
    tariff: str = strawberry.field(description="The row of the rulebook, for example MO/urban_gas/single/2024-07-01.")
    rule: str = strawberry.field(description="The act and point, for example PP354:app2-f1.")
    mode: terms.Mode = strawberry.field(description="How the kWh were found.")
    amount: Money = strawberry.field(description="The sum of the line.")
    coefficient: Decimal | None = strawberry.field(
        description="The increasing coefficient: the line is what it adds to the line before it."
    )
    explain: Explanation | None = strawberry.field(description="How the line was found; told on a bill.")

    @classmethod
    def of(cls, line: events.ChargeLine, told: DomainExplanation | None = None) -> ChargeLine:
        """Show a line."""
        return cls(
            register=line.register,
            kwh=line.kwh,
            rate=line.rate,
            range=line.range,
            tariff=line.tariff,
            rule=line.rule.value,
            mode=line.mode,
            amount=line.amount,
            coefficient=line.coefficient,
            explain=Explanation.of(told) if told is not None else None,
        )


def charges(lines: Sequence[events.ChargeLine]) -> list[ChargeLine]:
    """Show the lines of a charge."""
    return [ChargeLine.of(line) for line in lines]


@strawberry.type(description="A line of penalties: a sum that stayed unpaid for some days, at one rate.")
class PenaltyLine:
    """A line of penalties."""

    principal: Money = strawberry.field(description="The unpaid sum.")
    since: date = strawberry.field(description="The first day of the line.")
    until: date = strawberry.field(description="The last day of the line.")
    days: int = strawberry.field(description="Days from the first to the last, both included.")
    divisor: int = strawberry.field(description="One divisor-th of the rate a day: 300 or 130.")
    rate: Decimal = strawberry.field(description="The key rate or its cap, percent a year.")
    amount: Money = strawberry.field(description="The sum of the line.")

    @classmethod
    def of(cls, line: events.PenaltyLine) -> PenaltyLine:
        """Show a line."""
        return cls(
            principal=line.principal,
            since=line.since,
            until=line.until,
            days=line.days,
            divisor=line.divisor,
            rate=line.rate,
            amount=line.amount,
        )


@strawberry.type(description="The penalties for the bill of one period, all lines from the first overdue day on.")
class PenaltySum:
    """The penalties for the bill of one period."""

    period: Period = strawberry.field(description="The period whose bill was paid late.")
    due_on: date = strawberry.field(description="The day by which it was to be paid.")
    lines: list[PenaltyLine] = strawberry.field(description="The lines, oldest first.")
    accrued: Money = strawberry.field(description="The sum of the lines.")
    posted_before: Money = strawberry.field(description="What earlier bills posted of it.")
    amount: Money = strawberry.field(description="What is new; negative where it is put right.")
    explain: Explanation | None = strawberry.field(description="How it was found.")


def cost_of(silent: Silent, group: str, rulebook: Rulebook) -> Money | None:
    """Price what silence will be billed; None where a rate is not known."""
    priced = charge_kwh(silent.kwh, silent.mode, silent.rule, group, silent.period, rulebook)
    return None if isinstance(priced, Unpriced) else sum_of(priced)
