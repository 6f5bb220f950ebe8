"""The books as the schema shows them: movements, balances, payments, penalties to come, the trial balance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.access.callers import Sight
from bels.api.context import Info
from bels.api.engine.paging import Node, encode_id
from bels.api.engine.scalars import Money
from bels.api.sums import Explanation, PenaltyLine, PenaltySum
from bels.domain import terms
from bels.domain.money import ZERO
from bels.domain.money_events import OverdueSum
from bels.domain.receive_payment import is_suspense
from bels.domain.terms import PaymentState, Period
from bels.payments import find as payments
from bels.projections import bills, ledger
from bels.projections.explanations import explain_balance, explain_penalty
from bels.projections.ledger import BalanceRow, LedgerRow, OwedRow, PaymentRow, TrialRow


@strawberry.type(description="A movement of money on an account, booked on two ledgers.")
class LedgerEntry:
    """A movement of money on an account."""

    entry: int = strawberry.field(description="The entry of the account's journal.")
    kind: terms.MovementKind = strawberry.field(description="What moved the money.")
    purpose: terms.Purpose = strawberry.field(description="Which of the two balances it changes.")
    period: Period | None = strawberry.field(description="The period it concerns; null for payments.")
    posted_in: Period = strawberry.field(description="The period on whose bill it stands.")
    booked_on: date = strawberry.field(description="The day from which it counts.")
    recorded_at: datetime = strawberry.field(description="When bels knew.")
    receipt: str = strawberry.field(description="The receipt of the message that led to it.")
    reference: str | None = strawberry.field(description="The payer's id of a payment.")
    amount: Money = strawberry.field(
        description="What it adds to the balance: a charge is positive, a payment negative."
    )
    balance: Money = strawberry.field(description="The balance of its purpose after it: positive is owed.")
    debit: terms.LedgerName = strawberry.field(description="The ledger that is debited with the absolute amount.")
    credit: terms.LedgerName = strawberry.field(description="The ledger that is credited with the absolute amount.")

    @classmethod
    def of(cls, row: LedgerRow) -> LedgerEntry:
        """Show a row."""
        return cls(
            entry=row.entry,
            kind=terms.MovementKind(row.kind),
            purpose=terms.Purpose(row.purpose),
            period=Period(row.period) if row.period is not None else None,
            posted_in=Period(row.posted_in),
            booked_on=row.booked_on,
            recorded_at=row.recorded_at,
            receipt=row.receipt,
            reference=row.reference or None,
            amount=row.amount,
            balance=row.balance,
            debit=terms.LedgerName(row.debit),
            credit=terms.LedgerName(row.credit),
        )


@strawberry.type(description="A bill that is not paid whole.")
class OwedBill:
    """A bill that is not paid whole."""

    period: Period = strawberry.field(description="Its period.")
    amount: Money = strawberry.field(description="The bill.")
    open: Money = strawberry.field(description="What is left to pay of it.")
    due_on: date = strawberry.field(description="The day by which it is to be paid.")
    overdue: bool = strawberry.field(description="That day is past.")

    @classmethod
    def of(cls, row: OwedRow, today: date) -> OwedBill:
        """Show a row."""
        return cls(
            period=Period(row.period), amount=row.amount, open=row.open, due_on=row.due_on, overdue=row.due_on < today
        )


@strawberry.type(description="What an account owes now. Penalties are apart: payments for electricity never pay them.")
class Balance:
    """What an account owes now."""

    balance: Money = strawberry.field(description="Electricity: positive is owed, negative an advance.")
    advance: Money = strawberry.field(description="What is overpaid: it covers the next bills.")
    overdue: Money = strawberry.field(description="What should have been paid before today.")
    penalty: Money = strawberry.field(description="Penalties posted and not paid.")
    owed: list[OwedBill] = strawberry.field(description="The bills that are not paid whole, oldest first.")
    next_due: OwedBill | None = strawberry.field(description="The bill that is to be paid next, today or later.")
    changed_at: datetime | None = strawberry.field(description="When money last moved; null where none has.")
    number: strawberry.Private[str]
    next_period: strawberry.Private[Period | None]
    sight: strawberry.Private[Sight]

    @strawberry.field(
        description="How the balance of electricity was found: from the last bill on, movement by movement."
    )
    async def explain(self, info: Info) -> Explanation:
        """Explain the balance."""
        async with info.context.app.pool.acquire() as db:
            period = await bills.last_period(db, self.number)
            since = await ledger.of_bill(db, self.number, self.next_period or "")
        moves = [m for m in since if m.purpose == terms.Purpose.ENERGY and m.entry > self.sight.entry]
        opening = moves[0].balance - moves[0].amount if moves else self.balance
        told = tuple((m.kind, m.booked_on, m.amount) for m in moves)
        closing = moves[-1].balance if moves else self.balance
        return Explanation.of(explain_balance(self.number, period, opening, told, (), (), closing))

    @classmethod
    def of(cls, row: BalanceRow | None, today: date, number: str, next_period: Period | None, sight: Sight) -> Balance:
        """Show a row; an account without a movement owes nothing. Bills that are not seen are not listed."""
        seen = [x for x in row.owed if sight.period is None or x.period >= sight.period] if row is not None else []
        owed = [OwedBill.of(x, today) for x in seen]
        return cls(
            balance=row.balance if row is not None else ZERO,
            advance=row.advance if row is not None else ZERO,
            overdue=row.overdue_on(today) if row is not None else ZERO,
            penalty=row.penalty if row is not None else ZERO,
            owed=owed,
            next_due=min((x for x in owed if not x.overdue), key=lambda x: x.due_on, default=None),
            changed_at=row.changed_at if row is not None else None,
            number=number,
            next_period=next_period,
            sight=sight,
        )


@strawberry.type(description="What an account owed at the end of a day, as it was known at a moment.")
class BalanceAsOf:
    """What an account owed at the end of a day."""

    on: date = strawberry.field(description="The day.")
    known_at: datetime | None = strawberry.field(description="The moment of knowledge; null is now.")
    balance: Money = strawberry.field(description="Electricity: positive is owed, negative an advance.")
    penalty: Money = strawberry.field(description="Penalties.")


@strawberry.type(description="A payment, where it is now, and what became of it.")
class Payment(Node):
    """A payment."""

    account_number: str | None = strawberry.field(description="The account it is on; null while it is unallocated.")
    entry: int = strawberry.field(description="The entry that brought it there.")
    receipt: str = strawberry.field(description="The receipt of the message that brought it there.")
    payment_id: str = strawberry.field(description="The payer's id of it.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    purpose: terms.Purpose = strawberry.field(description="What it pays.")
    amount: Money = strawberry.field(description="The sum.")
    paid_on: date = strawberry.field(description="The Moscow day of the payer's operation.")
    recorded_at: datetime = strawberry.field(description="When bels knew.")
    state: terms.PaymentState = strawberry.field(description="What became of it.")
    meant_for: str | None = strawberry.field(
        description="The account as the payer gave it, where it could not go there."
    )
    unallocated: terms.Reason | None = strawberry.field(description="Why it could not go there.")

    stream: strawberry.Private[str]
    source: strawberry.Private[str | None]

    @strawberry.field(
        description="The account it was moved from, where one may see it; null where it came straight or was unallocated."
    )
    def moved_from(self, info: Info) -> str | None:
        """Name the account before."""
        if self.source is None or is_suspense(self.source):
            return None
        return self.source if info.context.caller.sight(self.source) is not None else None

    @strawberry.field(
        description="The payment on the account it was moved to, where one may see it; null where it was not moved."
    )
    async def moved_to(self, info: Info) -> Payment | None:
        """Follow the payment."""
        async with info.context.app.pool.acquire() as db:
            row = await ledger.payment_at(db, self.stream, self.entry)
            there = await payments.moved_to(db, row) if row is not None and row.state == PaymentState.MOVED else None
        sight = info.context.see(there.account) if there is not None else None
        # A household does not learn of another one by whose payment came to it by mistake.
        return Payment.of(there) if there is not None and sight is not None and there.entry > sight.entry else None

    @classmethod
    def of(cls, row: PaymentRow) -> Payment:
        """Show a row."""
        return cls(
            id=encode_id("Payment", f"{row.account}/{row.entry}"),
            account_number=None if is_suspense(row.account) else row.account,
            entry=row.entry,
            receipt=row.receipt,
            payment_id=row.reference,
            channel=terms.Channel(row.channel),
            purpose=terms.Purpose(row.purpose),
            amount=row.amount,
            paid_on=row.paid_on,
            recorded_at=row.recorded_at,
            state=terms.PaymentState(row.state),
            meant_for=row.meant_for,
            unallocated=terms.Reason(row.unallocated) if row.unallocated is not None else None,
            stream=row.account,
            source=row.source,
        )


@strawberry.type(description="The penalties as they would stand on a day, if nothing is paid until then.")
class PenaltyForecast:
    """The penalties as they would stand on a day."""

    on: date = strawberry.field(description="The day, included.")
    accrued: Money = strawberry.field(description="All penalties of the bills below, from their first overdue day on.")
    posted_before: Money = strawberry.field(description="What closings posted of it already.")
    amount: Money = strawberry.field(description="What would be new.")
    sums: list[PenaltySum] = strawberry.field(description="Bill by bill, oldest first.")

    @classmethod
    def of(cls, on: date, sums: Sequence[OverdueSum]) -> PenaltyForecast:
        """Show the sums of a day."""
        accrued = sum((s.accrued for s in sums), ZERO)
        posted = sum((s.posted_before for s in sums), ZERO)
        return cls(
            on=on,
            accrued=accrued,
            posted_before=posted,
            amount=accrued - posted,
            sums=[
                PenaltySum(
                    period=s.period,
                    due_on=s.due_on,
                    lines=[PenaltyLine.of(line) for line in s.lines],
                    accrued=s.accrued,
                    posted_before=s.posted_before,
                    amount=s.accrued - s.posted_before,
                    explain=Explanation.of(explain_penalty(s)),
                )
                for s in sums
            ],
        )


@strawberry.type(description="A ledger of the trial balance: it stands on its debit or on its credit side.")
class TrialBalanceRow:
    """A ledger of the trial balance."""

    ledger: terms.LedgerName = strawberry.field(description="The ledger.")
    debit: Money = strawberry.field(description="Its debits less its credits, where that is positive.")
    credit: Money = strawberry.field(description="Its credits less its debits, where that is positive.")


@strawberry.type(description="The trial balance (оборотно-сальдовая ведомость): debits equal credits at every moment.")
class TrialBalance:
    """The trial balance."""

    on: date | None = strawberry.field(description="The day at whose end it was taken; null is now.")
    rows: list[TrialBalanceRow] = strawberry.field(description="Every ledger.")
    debit: Money = strawberry.field(description="The sum of the debit side.")
    credit: Money = strawberry.field(description="The sum of the credit side.")
    balanced: bool = strawberry.field(description="The two sums are equal.")

    @classmethod
    def of(cls, on: date | None, rows: Sequence[TrialRow]) -> TrialBalance:
        """Show the ledgers with their totals."""
        debit, credit = sum((r.debit for r in rows), ZERO), sum((r.credit for r in rows), ZERO)
        return cls(
            on=on,
            rows=[TrialBalanceRow(ledger=r.ledger, debit=r.debit, credit=r.credit) for r in rows],
            debit=debit,
            credit=credit,
            balanced=debit == credit,
        )
