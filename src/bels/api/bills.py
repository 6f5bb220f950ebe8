"""The bill of a period as the schema shows it: every part of it, each sum with how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TypeVar

import strawberry

from bels.access.callers import WHOLE, Sight
from bels.api.engine.paging import Node, encode_id
from bels.api.engine.scalars import Money
from bels.api.objects import Average, Norm, RegisterKwh, kwh
from bels.api.sums import ChargeLine, Explanation, PenaltyLine
from bels.domain import explain, terms
from bels.domain.terms import Period
from bels.projections import bills

T = TypeVar("T")


@strawberry.type(description="What one register showed at the beginning and at the end of the period.")
class BillReading:
    """What one register showed."""

    meter: str = strawberry.field(description="The meter's number.")
    register: terms.Register = strawberry.field(description="The register.")
    previous: int = strawberry.field(description="What it showed before.")
    previous_on: date = strawberry.field(description="The day of that reading.")
    current: int | None = strawberry.field(description="What it showed at the end; null where nobody sent it.")
    current_on: date | None = strawberry.field(description="The day of that reading.")
    used: int | None = strawberry.field(description="kWh between the two.")


@strawberry.type(description="A recalculation on a bill: its ground and its sum apart, as the law demands.")
class BillRecalculation:
    """A recalculation on a bill."""

    entry: int = strawberry.field(description="The entry of the account's journal.")
    period: Period = strawberry.field(description="The period it puts right.")
    reason: terms.RecalculationReason = strawberry.field(description="The ground.")
    rule: str = strawberry.field(description="The act and point, or the supplier's policy.")
    ground: str = strawberry.field(description="The ground in Russian.")
    before: list[RegisterKwh] = strawberry.field(description="kWh that stood billed before.")
    after: list[RegisterKwh] = strawberry.field(description="kWh that stand billed since.")
    money_before: Money = strawberry.field(description="What stood charged before.")
    money_after: Money = strawberry.field(description="What stands charged since.")
    difference: Money = strawberry.field(description="What it adds to the bill.")
    explain: Explanation | None = strawberry.field(description="How it was found.")


@strawberry.type(description="Money that came or went between this bill and the one before.")
class BillMovement:
    """Money that came or went."""

    entry: int = strawberry.field(description="The entry of the account's journal.")
    kind: terms.MovementKind = strawberry.field(description="What moved it.")
    booked_on: date = strawberry.field(description="The day from which it counts.")
    amount: Money = strawberry.field(description="What it adds to the balance: a payment is negative.")
    payment_id: str | None = strawberry.field(description="The payer's id of a payment.")


@strawberry.type(description="Penalties on a bill, for one bill that was paid late.")
class BillPenalty:
    """Penalties on a bill."""

    period: Period = strawberry.field(description="The period whose bill was paid late.")
    due_on: date = strawberry.field(description="The day by which it was to be paid.")
    lines: list[PenaltyLine] = strawberry.field(description="All lines from the first overdue day on.")
    amount: Money = strawberry.field(description="What of them is new.")
    explain: Explanation | None = strawberry.field(description="How it was found.")


@strawberry.type(description="A month of the picture of the year, as it stands billed now.")
class MonthUsage:
    """A month of the picture of the year."""

    period: Period = strawberry.field(description="The month.")
    mode: terms.Mode = strawberry.field(description="How it was billed.")
    usage: list[RegisterKwh] = strawberry.field(description="kWh per register.")


@strawberry.type(description="The bill (платёжный документ) of a period, without personal data.")
class Bill(Node):
    """The bill of a period."""

    account_number: str = strawberry.field(description="The account.")
    period: Period = strawberry.field(description="The period.")
    closed_at: datetime = strawberry.field(description="When the period was closed.")
    due_on: date = strawberry.field(description="The day by which it is to be paid.")
    mode: terms.Mode = strawberry.field(description="How the period was billed.")
    missed_in_a_row: int = strawberry.field(description="Its number in the row of periods without a reading.")
    locality: terms.Locality = strawberry.field(description="Town or village: decides the tariff group.")
    stove: terms.Stove = strawberry.field(description="The kind of stove: decides norm and tariff group.")
    rooms: int = strawberry.field(description="Rooms.")
    residents: int = strawberry.field(description="Residents.")
    readings: list[BillReading] = strawberry.field(description="What the registers showed.")
    ranges: list[int] = strawberry.field(description="The upper bounds of the ranges but the last, in kWh a month.")
    norm: Norm | None = strawberry.field(description="The norm it was billed by.")
    average: Average | None = strawberry.field(description="The average it was billed by.")
    charges: list[ChargeLine] = strawberry.field(description="The lines of the charge, each with how it was found.")
    recalculations: list[BillRecalculation] = strawberry.field(description="The recalculations posted with it.")
    movements: list[BillMovement] = strawberry.field(description="Payments and refunds since the bill before.")
    opening: Money = strawberry.field(description="The balance after the bill before: positive is owed.")
    charged: Money = strawberry.field(description="The sum of the charges.")
    recalculated: Money = strawberry.field(description="The sum of the recalculations.")
    bill: Money = strawberry.field(description="Charges and recalculations together.")
    closing: Money = strawberry.field(description="The balance after this bill.")
    to_pay: Money = strawberry.field(description="What is to be paid for electricity: 0.00 where an advance covers it.")
    penalties: list[BillPenalty] = strawberry.field(description="The penalties posted with it.")
    penalty_opening: Money = strawberry.field(description="Penalties owed after the bill before.")
    penalty_accrued: Money = strawberry.field(description="Penalties posted with this bill.")
    penalty_paid: Money = strawberry.field(description="Penalties paid since the bill before.")
    penalty_closing: Money = strawberry.field(description="Penalties owed after this bill.")
    year: list[MonthUsage] = strawberry.field(description="The year, month by month.")
    rulebook: str = strawberry.field(description="The version of the rules it was made under.")
    explain: Explanation | None = strawberry.field(description="How the balance after the bill was found.")
    pdf_url: str = strawberry.field(description="Where the bill is as a PDF, from the root of this server.")

    @classmethod
    def of(cls, row: bills.Bill, sight: Sight = WHOLE) -> Bill:
        """Show a bill, without what it tells of a household before."""
        if sight.period is not None:
            row = bills.seen_from(row, sight.entry, sight.period)
        told = row.explained
        return cls(
            id=encode_id("Bill", f"{row.account}/{row.period}"),
            account_number=row.account,
            period=Period(row.period),
            closed_at=row.closed_at,
            due_on=row.due_on,
            mode=terms.Mode(row.mode),
            missed_in_a_row=row.missed_in_a_row,
            locality=terms.Locality(row.locality),
            stove=terms.Stove(row.stove),
            rooms=row.rooms,
            residents=row.residents,
            readings=[
                BillReading(
                    meter=r.meter,
                    register=terms.Register(r.register),
                    previous=r.previous,
                    previous_on=r.previous_on,
                    current=r.current,
                    current_on=r.current_on,
                    used=r.used,
                )
                for r in row.readings
            ],
            ranges=list(row.ranges),
            norm=Norm.of(row.norm),
            average=Average.of(row.average),
            charges=[
                ChargeLine.of(line, how) for line, how in _with(row.charges, told.charges if told is not None else None)
            ],
            recalculations=[
                _recalculation(line, how)
                for line, how in _with(row.recalculations, told.recalculations if told is not None else None)
            ],
            movements=[
                BillMovement(
                    entry=m.entry,
                    kind=terms.MovementKind(m.kind),
                    booked_on=m.booked_on,
                    amount=m.amount,
                    payment_id=m.reference or None,
                )
                for m in row.movements
            ],
            opening=row.opening,
            charged=row.charged,
            recalculated=row.recalculated,
            bill=row.bill,
            closing=row.closing,
            to_pay=row.to_pay,
            penalties=[
                BillPenalty(
                    period=Period(p.period),
                    due_on=p.due_on,
                    lines=[PenaltyLine.of(line) for line in p.lines],
                    amount=p.amount,
                    explain=_told(how),
                )
                for p, how in _with(row.penalties, told.penalties if told is not None else None)
            ],
            penalty_opening=row.penalty_opening,
            penalty_accrued=row.penalty_accrued,
            penalty_paid=row.penalty_paid,
            penalty_closing=row.penalty_closing,
            year=[MonthUsage(period=Period(m.period), mode=terms.Mode(m.mode), usage=kwh(m.kwh)) for m in row.year],
            rulebook=row.rulebook,
            explain=_told(told.balance if told is not None else None),
            pdf_url=f"/bills/{row.account}/{row.period}.pdf",
        )


def _with(lines: Sequence[T], told: Sequence[explain.Explanation] | None) -> list[tuple[T, explain.Explanation | None]]:
    """Give each line with its explanation, where they are told."""
    return list(zip(lines, told if told is not None else [None] * len(lines), strict=True))


def _told(how: explain.Explanation | None) -> Explanation | None:
    return Explanation.of(how) if how is not None else None


def _recalculation(line: bills.BillRecalculation, how: explain.Explanation | None) -> BillRecalculation:
    return BillRecalculation(
        entry=line.entry,
        period=Period(line.period),
        reason=terms.RecalculationReason(line.reason),
        rule=line.rule,
        ground=line.ground,
        before=kwh(line.before),
        after=kwh(line.after),
        money_before=line.money_before,
        money_after=line.money_after,
        difference=line.difference,
        explain=_told(how),
    )
