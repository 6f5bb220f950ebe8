"""What partners see of payments: before one, what became of it and of the reading with it, where it stands, and refunds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, cast

import strawberry

from bels.api.accounts import Account, SilentPeriod
from bels.api.context import Info
from bels.api.engine.paging import Connection
from bels.api.engine.scalars import Money
from bels.api.ledgers import OwedBill, Payment
from bels.api.messages import or_later
from bels.api.money_outcomes import PaidPart, PaymentReceived, number_of
from bels.api.outcomes import (
    CommandRefused,
    MessageParked,
    PreviewReadingResult,
    SubmitReadingResult,
    refused_command,
    submitted,
)
from bels.api.receipts import Receipt
from bels.domain import terms
from bels.domain.periods import moscow_date
from bels.domain.terms import Period
from bels.messages import Outcome, Status
from bels.payments.refunds import RefundDecision, RefundRow, RefundState
from bels.payments.status import PartnerPaymentState
from bels.payments.till import Till
from bels.reception.counter import answered, code_of
from bels.words import refusal

PartnerPaymentStates = strawberry.enum(
    PartnerPaymentState,
    name="PartnerPaymentState",
    description="Where a payment stands, for the partner that brought it.",
)
RefundStates = strawberry.enum(RefundState, name="RefundState", description="Where a request for a refund stands.")
RefundDecisions = strawberry.enum(
    RefundDecision, name="RefundDecision", description="What the office decides on a request for a refund."
)
PaidReadingState = strawberry.enum(
    Status, name="PaidReadingState", description="What became of a reading that came with a payment."
)

_DESCRIBED: tuple[Mapping[Any, str], ...] = (
    {
        PartnerPaymentState.RECEIVED: "It counts on the account it was meant for.",
        PartnerPaymentState.UNALLOCATED: "It is kept; the office finds its account or returns it.",
        PartnerPaymentState.MOVED: "It counts on another account, where it belongs.",
        PartnerPaymentState.CANCELLED: "It was taken back: as if it had not been made.",
        PartnerPaymentState.RETURNED: "The whole of it went back to the payer.",
        PartnerPaymentState.REFUSED: "It was not taken: the payer keeps the money.",
        PartnerPaymentState.PARKED: "It is kept for an operator: the code failed on it.",
    },
    {
        RefundState.REQUESTED: "It waits for a decision.",
        RefundState.DECIDED: "It is to be returned; deciding again writes the entry if it is missing.",
        RefundState.RETURNED: "It went back.",
        RefundState.REFUSED: "It does not go back; the ground says why.",
    },
    {
        RefundDecision.RETURN: "The money goes back.",
        RefundDecision.REFUSE: "The money stays.",
    },
    {
        Status.ACCEPTED: "It counts, unless a later one replaces it.",
        Status.HELD: "It does not count until it is confirmed.",
        Status.REFUSED: "It was not taken.",
        Status.PARKED: "It is kept for an operator: the code failed on it.",
    },
)

PAYMENT_TEXTS = {
    PartnerPaymentState.RECEIVED: "Платёж принят.",
    PartnerPaymentState.UNALLOCATED: "Платёж сохранён: его разнесёт или вернёт оператор.",
    PartnerPaymentState.MOVED: "Платёж перенесён на другой лицевой счёт.",
    PartnerPaymentState.CANCELLED: "Платёж отменён.",
    PartnerPaymentState.RETURNED: "Платёж возвращён.",
    PartnerPaymentState.REFUSED: "Платёж не принят.",
    PartnerPaymentState.PARKED: "Платёж сохранён и отложен для оператора.",
}

PAYMENT_ID_HINT = "Номер платежа: от 1 до 100 печатных знаков латиницы без пробелов, у каждого платежа свой"
ACCOUNT_HINT = "Проверьте номер по квитанции: 7 цифр, например 1000000"

for _table in _DESCRIBED:
    _definition: Any = cast("type[Enum]", type(next(iter(_table)))).__strawberry_definition__  # type: ignore[attr-defined]
    for _value in _definition.values:
        _value.description = _table[type(next(iter(_table)))(_value.value)]


@strawberry.type(description="A register of the meter in service, in the order of its display.")
class PayableRegister:
    """A register of the meter in service."""

    register: terms.Register = strawberry.field(description="The register.")
    place: str | None = strawberry.field(description="T1, T2 or T3; null where the display is not known.")
    capacity: int = strawberry.field(description="Its integer digits: 5, 6 or 7.")
    previous: int | None = strawberry.field(
        description="What it showed last: the least to enter. Null where no reading is taken now."
    )
    maximum: int | None = strawberry.field(description="The most that is plausible now. More is held, not refused.")


@strawberry.type(description="Which reading may be sent with a payment now.")
class PayableReading:
    """Which reading may be sent with a payment now."""

    may: bool = strawberry.field(description="A reading may be sent now.")
    refusal: terms.Reason | None = strawberry.field(description="Why not.")
    text: str | None = strawberry.field(description="The same in Russian.")
    period: Period = strawberry.field(description="The period that a reading sent now belongs to.")
    until: datetime = strawberry.field(description="Until when it still belongs to that period, exclusive.")
    limit: int | None = strawberry.field(description="The most kWh of all registers together that is plausible.")
    registers: list[PayableRegister] = strawberry.field(description="What to ask the payer for, in this order.")
    silence: SilentPeriod | None = strawberry.field(
        description="What the period will be billed without a reading; null when one counts already."
    )


@strawberry.type(description="What a payer sees before paying; nothing is stored. Sums are roubles.")
class PayableAccount:
    """What a payer sees before paying."""

    number: str = strawberry.field(description="The account.")
    masked_name: str | None = strawberry.field(description="Whose it is, masked; null where no name is kept.")
    refusal: terms.Reason | None = strawberry.field(
        description="Why a payment would not go to this account: it would be kept unallocated, or refused by the contract."
    )
    text: str | None = strawberry.field(description="The same in Russian.")
    balance: Money = strawberry.field(description="Electricity: positive is owed, negative an advance.")
    penalty: Money = strawberry.field(description="Penalties, a ledger of their own: pay them with purpose PENALTY.")
    overdue: Money = strawberry.field(description="What of the balance should have been paid before today.")
    next_due: OwedBill | None = strawberry.field(description="The bill that is to be paid next, today or later.")
    suggested: Money = strawberry.field(
        description="What to suggest: what is owed for the purpose, 0.00 where nothing."
    )
    minimum: Money | None = strawberry.field(description="The least that the contract lets pay at once.")
    maximum: Money | None = strawberry.field(description="The most.")
    amount: Money = strawberry.field(description="The amount that was asked about; else what is suggested.")
    commission: Money = strawberry.field(description="What the payer pays on top. Show it before the payment.")
    total: Money = strawberry.field(description="Both together.")
    balance_after: Money = strawberry.field(
        description="The balance after the payment, and after the closings that the reading would lead to."
    )
    penalty_after: Money = strawberry.field(description="The penalties after the payment.")
    submission: PayableReading = strawberry.field(description="Which reading may be sent with it.")
    reading: PreviewReadingResult | None = strawberry.field(
        description="What the values would cost and change; null where none were given."
    )


@strawberry.type(description="What became of a reading that came with a payment. It never stops the money.")
class PaidReading:
    """What became of a reading that came with a payment."""

    state: Status = strawberry.field(description="Where it stood when it came.")
    code: str = strawberry.field(
        description="ACCEPTED, ACCEPTED_NEXT_PERIOD, PARKED, or why it is held (HoldReason) or refused (RefusalCode)."
    )
    text: str = strawberry.field(description="The same in Russian, for the payer.")
    hint: str = strawberry.field(description="What to do next, in Russian, with an example for this very meter.")
    receipt: str = strawberry.field(
        description="Its receipt: what became of it since, and what `confirmReading` takes."
    )
    outcome: SubmitReadingResult = strawberry.field(description="The outcome, as `submitReading` tells it.")

    @classmethod
    def of(cls, till: Till, outcome: Outcome, *, replayed: bool) -> PaidReading:
        """Show an outcome; sent again it says the same."""
        first = replace(outcome, repeated=False)
        words = answered(till.counter, first, linked=True).words
        return cls(
            state=outcome.status,
            code=code_of(first),
            text=words.text,
            hint=words.hint,
            receipt=outcome.receipt,
            outcome=submitted(replace(outcome, repeated=replayed)),
        )


@strawberry.type(description="A payment that was taken, whatever became of the reading that came with it.")
class PaymentTaken(PaymentReceived):
    """A payment that was taken."""

    payment_id: str = strawberry.field(description="The partner's id of it.")
    paid_at: datetime | None = strawberry.field(description="The moment of the payer's operation.")
    commission: Money | None = strawberry.field(description="What the payer paid on top, as it was told.")
    total: Money = strawberry.field(description="What the payer paid in all.")
    reading: PaidReading | None = strawberry.field(description="The reading that came with it; null where none did.")

    # What is looked up after the payment was stored may fail for a moment: then the same is asked again, and tells it.

    @strawberry.field(description="The balance after it, of the ledger that it moved: positive is owed.")
    async def balance(self, info: Info) -> Money | None:
        """Find the balance after the entry."""
        with or_later():
            found: Money | None = await super().balance(info)
            return found

    @strawberry.field(description="The account as it stands now; null for an unallocated payment.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        with or_later():
            found: Account | None = await super().account(info)
            return found

    @strawberry.field(description="The payment, and what became of it since.")
    async def payment(self, info: Info) -> Payment | None:
        """Find the payment."""
        with or_later():
            found: Payment | None = await super().payment(info)
            return found

    @strawberry.field(description="What it pays now, oldest bill first; what is left is an advance.")
    async def allocated(self, info: Info) -> list[PaidPart]:
        """Find what the payment pays."""
        with or_later():
            found: list[PaidPart] = await super().allocated(info)
            return found


@strawberry.type(description="A request to return a payment, or a part of it.")
class RefundRequest:
    """A request to return a payment."""

    id: strawberry.ID = strawberry.field(description="Its name, for `decideRefund`.")
    state: RefundState = strawberry.field(description="Where it stands.")
    payment_id: str = strawberry.field(description="The payer's id of the payment.")
    receipt: str = strawberry.field(description="The receipt of the payment.")
    account_number: str | None = strawberry.field(description="The account it came to; null where it is unallocated.")
    amount: Money = strawberry.field(description="What is to be returned.")
    paid: Money = strawberry.field(description="The payment.")
    paid_on: date = strawberry.field(description="The Moscow day of the payer's operation.")
    deadline: date = strawberry.field(
        description="The last day by which the payer has it back: 30 days after the payment."
    )
    age_days: int = strawberry.field(description="Days since it was asked for.")
    overdue: bool = strawberry.field(description="It waits, and the deadline is past.")
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    reason: str | None = strawberry.field(description="Why, for whoever asked and whoever decides.")
    decided_at: datetime | None = strawberry.field(description="When it was decided.")
    ground: str | None = strawberry.field(description="Why it was decided so.")
    refusal: terms.Reason | None = strawberry.field(description="Why the last decision to return it could not be done.")
    refund: str | None = strawberry.field(description="The receipt of the entry by which it went back.")

    @classmethod
    def of(cls, info: Info, row: RefundRow, *, opens: bool) -> RefundRequest:
        """Show a row; the reason to who asked or decides only."""
        app = info.context.app
        today = moscow_date(app.intake.clock())
        return cls(
            id=strawberry.ID(row.request),
            state=row.state,
            payment_id=row.reference,
            receipt=row.receipt,
            account_number=number_of(row.account),
            amount=row.amount,
            paid=row.paid,
            paid_on=row.paid_on,
            deadline=row.deadline,
            age_days=(today - moscow_date(row.requested_at)).days,
            overdue=row.is_overdue(today),
            requested_at=row.requested_at,
            reason=app.door.raw_texts.opened(row.reason) if opens else None,
            decided_at=row.decided_at,
            ground=row.ground,
            refusal=terms.Reason(row.refusal) if row.refusal is not None else None,
            refund=row.refund,
        )


RefundRequests = Connection[RefundRequest]


@strawberry.type(description="A payment by its partner's id: what was answered first, and where it stands now.")
class PartnerPayment:
    """A payment by its partner's id."""

    payment_id: str = strawberry.field(description="The partner's id.")
    state: PartnerPaymentState = strawberry.field(description="Where it stands now.")
    text: str = strawberry.field(description="The same in Russian.")
    receipt: str = strawberry.field(description="The receipt of the payment.")
    recorded_at: datetime = strawberry.field(description="When bels got it.")
    account_number: str | None = strawberry.field(description="The account that the partner named; null if refused.")
    amount: Money | None = strawberry.field(description="The amount; null where it was not taken.")
    commission: Money | None = strawberry.field(description="What the payer paid on top, as it was told.")
    paid_on: date | None = strawberry.field(description="The Moscow day of the payer's operation.")
    paid_at: datetime | None = strawberry.field(description="Its moment, where it was told.")
    purpose: terms.Purpose | None = strawberry.field(description="What it pays.")
    unallocated: terms.Reason | None = strawberry.field(description="Why it could not go to its account at first.")
    refusal: CommandRefused | None = strawberry.field(description="Why it was refused; null where it was not.")
    may_cancel: bool = strawberry.field(description="`cancelPayment` may take it back: today only.")
    returned: Money = strawberry.field(description="What of it went back by requests.")
    refunds: list[RefundRequest] = strawberry.field(description="Requests to return it, at most 20.")
    reading: PaidReading | None = strawberry.field(description="What was answered to the reading with it.")
    reading_now: Receipt | None = strawberry.field(description="Where that reading stands now.")


@strawberry.type(description="A payment that its partner took back: as if it had not been made. Its reading stays.")
class PaymentCancelled:
    """A payment that its partner took back."""

    receipt: str = strawberry.field(description="The receipt of the cancellation.")
    replayed: bool = strawberry.field(description="It had been asked before; this is its first outcome.")
    payment_id: str = strawberry.field(description="The partner's id of the payment.")
    amount: Money = strawberry.field(description="The sum.")
    cancelled_at: datetime = strawberry.field(description="When.")


@strawberry.type(description="A request for a refund that waits for a decision.")
class RefundRequested:
    """A request for a refund that was taken."""

    replayed: bool = strawberry.field(description="It had been asked before under this key.")
    request: RefundRequest = strawberry.field(description="The request.")


@strawberry.type(description="A request for a refund that was decided, and what was to be returned is returned.")
class RefundDecided:
    """A request for a refund that was decided."""

    replayed: bool = strawberry.field(description="It had been decided so before.")
    request: RefundRequest = strawberry.field(description="The request.")


@strawberry.type(description="A request for a refund that was decided otherwise before: that decision stands.")
class RefundDecidedOtherwise:
    """A request for a refund that was decided otherwise before."""

    text: str = strawberry.field(description="What that means, in Russian.")
    request: RefundRequest = strawberry.field(description="The request.")


PayWithReadingResult = Annotated[
    PaymentTaken | CommandRefused | MessageParked,
    strawberry.union("PayWithReadingResult", description="What became of a payment with a reading."),
]
CancelPaymentResult = Annotated[
    PaymentCancelled | CommandRefused | MessageParked,
    strawberry.union("CancelPaymentResult", description="What became of a cancellation."),
]
RequestRefundResult = Annotated[
    RefundRequested | CommandRefused,
    strawberry.union("RequestRefundResult", description="What became of a request for a refund."),
]
DecideRefundResult = Annotated[
    RefundDecided | RefundDecidedOtherwise | CommandRefused | MessageParked,
    strawberry.union("DecideRefundResult", description="What became of a decision."),
]


def refused_payment(
    reason: terms.Reason,
    account: str,
    receipt: str | None,
    *,
    replayed: bool,
    detail: str | None,
    path: list[str] | None,
) -> CommandRefused:
    """Show why a payment was refused."""
    shown = refused_command(reason, account, receipt, replayed, detail, path)
    if reason is terms.Reason.BAD_MESSAGE_ID:
        shown.hint = PAYMENT_ID_HINT
    if reason in (terms.Reason.BAD_ACCOUNT, terms.Reason.UNKNOWN_ACCOUNT):
        # The usual example is that of a message with a reading.
        shown.hint = ACCOUNT_HINT
    if reason is terms.Reason.COMMISSION_CHANGED and detail is not None:
        shown.text = f"{shown.text}: теперь {detail} руб."
    return shown


def text_of(reason: terms.Reason | None, account: str) -> str | None:
    """Give the words of a reason, where there is one."""
    return refusal(reason, (), account).text if reason is not None else None
