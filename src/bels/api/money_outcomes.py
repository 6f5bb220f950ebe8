"""Outcomes of what is done with money: unions named as the events are named. Every one tells the balance after it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import strawberry

from bels.api.accounts import Account, find_account
from bels.api.context import Info
from bels.api.engine.scalars import Money
from bels.api.ledgers import Payment
from bels.api.outcomes import CommandRefused, MessageParked
from bels.api.rulebooks import Rulebook, RulebookFaulty, find_rulebook
from bels.domain import terms
from bels.domain.allocate_payment import allocate
from bels.domain.receive_payment import is_suspense
from bels.domain.terms import Period
from bels.projections import ledger


@strawberry.type(description="What a payment pays of a bill.")
class PaidPart:
    """What a payment pays of a bill."""

    period: Period = strawberry.field(description="The period of the bill.")
    amount: Money = strawberry.field(description="How much of it.")


@strawberry.type
class _Moved:
    """What all outcomes that move money have in common; no type of the schema."""

    receipt: str = strawberry.field(description="The receipt: ask for it at any time.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")
    account_number: str | None = strawberry.field(description="The account; null for an unallocated payment.")
    amount: Money = strawberry.field(description="The sum.")
    stream: strawberry.Private[str]
    entry: strawberry.Private[int]

    @strawberry.field(description="The balance after it, of the ledger that it moved: positive is owed.")
    async def balance(self, info: Info) -> Money | None:
        """Find the balance after the entry."""
        async with info.context.app.pool.acquire() as db:
            rows = await ledger.page(db, self.stream, (self.entry - 1, "~"), None, 1, False)
        return rows[0].balance if rows and rows[0].entry == self.entry else None

    @strawberry.field(description="The account as it stands now; null for an unallocated payment.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        return await find_account(info, self.account_number) if self.account_number is not None else None


@strawberry.type
class _PaymentTaken(_Moved):
    """What a payment received and a payment moved have in common; no type of the schema."""

    @strawberry.field(description="The payment, and what became of it since.")
    async def payment(self, info: Info) -> Payment | None:
        """Find the payment."""
        async with info.context.app.pool.acquire() as db:
            row = await ledger.payment_at(db, self.stream, self.entry)
        return Payment.of(row) if row is not None else None

    @strawberry.field(description="What it pays now, oldest bill first; what is left is an advance.")
    async def allocated(self, info: Info) -> list[PaidPart]:
        """Find what the payment pays."""
        account = await info.context.app.intake.account(self.stream)
        return [
            PaidPart(period=allocated.debt.period, amount=paid.amount)
            for allocated in allocate(account.ledger)
            for paid in allocated.paid
            if paid.credit == self.entry and allocated.debt.period is not None
        ]


@strawberry.type(
    description="A payment that was received: on its account, or kept unallocated until an operator finds it."
)
class PaymentReceived(_PaymentTaken):
    """A payment that was received."""

    paid_on: date = strawberry.field(description="The day from which it counts.")
    purpose: terms.Purpose = strawberry.field(description="What it pays.")
    unallocated: terms.Reason | None = strawberry.field(
        description="Why it could not go to its account; null where it did."
    )
    unallocated_text: str | None = strawberry.field(description="The same in Russian.")


@strawberry.type(description="A payment that was reversed: the account stands as if it had not been made.")
class PaymentReversed(_Moved):
    """A payment that was reversed."""

    payment_id: str = strawberry.field(description="The payer's id of the payment.")


@strawberry.type(description="An overpayment that was returned.")
class RefundMade(_Moved):
    """An overpayment that was returned."""


@strawberry.type(
    description="A payment that was moved; it counts on its new account from the day on which it was paid."
)
class PaymentMoved(_PaymentTaken):
    """A payment that was moved."""

    moved_from: str | None = strawberry.field(
        description="The account it was moved from; null where it was unallocated."
    )
    paid_on: date = strawberry.field(description="The day from which it counts.")
    purpose: terms.Purpose = strawberry.field(description="What it pays.")
    source: strawberry.Private[str]
    source_entry: strawberry.Private[int]

    @strawberry.field(description="The balance of the account it was moved from, after it.")
    async def balance_from(self, info: Info) -> Money | None:
        """Find the balance after the entry that took it."""
        async with info.context.app.pool.acquire() as db:
            rows = await ledger.page(db, self.source, (self.source_entry - 1, "~"), None, 1, False)
        return rows[0].balance if rows and rows[0].entry == self.source_entry else None


@strawberry.type(description="Rules that were published: they are in force from now on.")
class RulebookPublished:
    """Rules that were published."""

    receipt: str = strawberry.field(description="The receipt of the message.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")
    number: int = strawberry.field(description="The number of the publication.")
    version: str = strawberry.field(description="What decisions made under it name.")
    since: Period | None = strawberry.field(description="The first period whose price changes; null where none does.")
    retroactive: str | None = strawberry.field(description="The reason to change a past that has been charged.")

    @strawberry.field(description="The rules now in force.")
    async def rulebook(self, info: Info) -> Rulebook:
        """Find the rules in force."""
        return await find_rulebook(info)


ReceivePaymentResult = Annotated[
    PaymentReceived | CommandRefused | MessageParked,
    strawberry.union("ReceivePaymentResult", description="What became of a payment."),
]
ReversePaymentResult = Annotated[
    PaymentReversed | CommandRefused | MessageParked,
    strawberry.union("ReversePaymentResult", description="What became of a reversal."),
]
MakeRefundResult = Annotated[
    RefundMade | CommandRefused | MessageParked,
    strawberry.union("MakeRefundResult", description="What became of a refund."),
]
MovePaymentResult = Annotated[
    PaymentMoved | CommandRefused | MessageParked,
    strawberry.union("MovePaymentResult", description="What became of a move."),
]
PublishRulebookResult = Annotated[
    RulebookPublished | RulebookFaulty | CommandRefused | MessageParked,
    strawberry.union("PublishRulebookResult", description="What became of a publication."),
]


def number_of(stream: str) -> str | None:
    """Give the account of a stream, None for an unallocated payment's."""
    return None if is_suspense(stream) else stream
