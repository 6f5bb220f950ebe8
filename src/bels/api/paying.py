"""Payments of partners, with a reading, to the end: before, during, after; and the refunds that the office decides.

Nothing here decides: a payment goes through the till, a refund through ``payments/refunds.py``.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import strawberry
from graphql import GraphQLError

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.access.callers import Kind, Right
from bels.api.accounts import SilentPeriod
from bels.api.agents import agent_of
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.inputs import ACCOUNT, KEY
from bels.api.ledgers import OwedBill
from bels.api.messages import key_of, note_of, or_later
from bels.api.money_inputs import AMOUNT, GROUND
from bels.api.money_mutations import UNALLOCATED
from bels.api.money_outcomes import number_of
from bels.api.objects import After, First
from bels.api.outcomes import CommandRefused, MessageParked, parked, previewed, refused_command
from bels.api.paying_outcomes import (
    PAYMENT_TEXTS,
    CancelPaymentResult,
    DecideRefundResult,
    PaidReading,
    PartnerPayment,
    PayableAccount,
    PayableReading,
    PayableRegister,
    PaymentCancelled,
    PaymentTaken,
    PayWithReadingResult,
    RefundDecided,
    RefundDecidedOtherwise,
    RefundRequest,
    RefundRequested,
    RequestRefundResult,
    refused_payment,
    text_of,
)
from bels.api.receipts import Receipt, find_receipt
from bels.domain import terms
from bels.domain.money import ZERO, is_amount
from bels.domain.money_events import PaymentReversed
from bels.domain.periods import moscow_date
from bels.domain.receive_payment import is_commission
from bels.domain.terms import Reason
from bels.payments import find as payments
from bels.payments import refunds
from bels.payments.preview import Payable, PreviewOrder, preview
from bels.payments.quote import agreed
from bels.payments.refunds import RefundDecision, RefundOrder, RefundState
from bels.payments.status import Standing, standing
from bels.payments.till import Agent, Paid, PayOrder, cancel, find, is_payment_id, pay
from bels.projections.ledger import PaymentRow

VALUES_MAX = 10
"""Values of a reading that are looked at: three registers, and some to say that there are too many."""

PLACE_LENGTH_MAX = 20
METHOD_LENGTH_MAX = 40

PAYMENT_ID = "Your id of the payment: 1 to 100 visible ASCII characters without blanks; its name for ever."
METHOD = "How the payer pays, in the words of the contract, for example `CARD`; the commission may depend on it."


@strawberry.input(
    description='What one register shows: `{register: DAY, value: "10385"}`, or by the display, `{place: "T1", value: "10385"}`.'
)
class PaidValueInput:
    """What one register shows, as written."""

    register: terms.Register | None = strawberry.field(default=None, description="The register.")
    place: str | None = strawberry.field(
        default=None, description="Or its place: `T1` of the display, or a number from 1 in its order."
    )
    value: str = strawberry.field(description='The digits of the display, for example "10385"; a fraction is cut.')


@strawberry.input(
    description=(
        "A payment, and the reading with it, under one id of yours. Example: `{paymentId: "
        '"7781", account: "1000101", amount: "1245.05", paidAt: "2024-05-20T15:30:15+03:00", commission: "12.45", '
        'values: [{register: TOTAL, value: "10385"}]}`.'
    )
)
class PayWithReadingInput:
    """A payment, and the reading with it."""

    payment_id: strawberry.ID = strawberry.field(description=PAYMENT_ID)
    account: str = strawberry.field(description=ACCOUNT)
    amount: Money = strawberry.field(description=AMOUNT)
    paid_at: datetime = strawberry.field(
        description="The moment of the payer's operation: day and reading count by it."
    )
    purpose: terms.Purpose = strawberry.field(
        default=terms.Purpose.ENERGY, description="What it pays: ENERGY by default."
    )
    method: str | None = strawberry.field(default=None, description=METHOD)
    commission: Money | None = strawberry.field(
        default=None, description="What the payer pays on top, as it was shown; it must be what `payableAccount` tells."
    )
    values: list[PaidValueInput] | None = strawberry.field(default=None, description="The reading, at most 10 values.")
    meter: str | None = strawberry.field(default=None, description="The number of the meter, where the payer gave it.")


@strawberry.input(
    description="The cancellation of a payment by the partner that brought it, on the day on which it came."
)
class CancelPaymentInput:
    """The cancellation of a payment."""

    payment_id: strawberry.ID = strawberry.field(description=PAYMENT_ID)
    reason: str = strawberry.field(description=GROUND)


@strawberry.input(
    description="A payment to be returned, or a part of it: named by your id of it; by an operator also by its receipt."
)
class RequestRefundInput:
    """A payment to be returned."""

    payment_id: strawberry.ID | None = strawberry.field(default=None, description="The payer's id of the payment.")
    receipt: str | None = strawberry.field(default=None, description="The receipt of the payment (operator).")
    amount: Money | None = strawberry.field(default=None, description="How much; all that is left by default.")
    reason: str = strawberry.field(description="Why, in the payer's words, without phones and e-mails.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="The office's decision on a request for a refund; the request itself is the key.")
class DecideRefundInput:
    """A decision on a request for a refund."""

    request: strawberry.ID = strawberry.field(description="The request, by its id.")
    decision: RefundDecision = strawberry.field(description="What is decided.")
    ground: str = strawberry.field(description=GROUND)


@strawberry.type
class PayingQuery:
    """What may be asked to see; no type of the schema."""

    @strawberry.field(
        description=(
            "What a payer sees before paying: whose account, what is due, commission and limits, which reading may come "
            "with it and what it would cost; null where there is no such account. Nothing is stored."
        )
    )
    async def payable_account(
        self,
        info: Info,
        number: Annotated[str, strawberry.argument(description=ACCOUNT)],
        amount: Annotated[Money | None, strawberry.argument(description="Roubles; what is owed by default.")] = None,
        purpose: Annotated[
            terms.Purpose, strawberry.argument(description="What is to be paid.")
        ] = terms.Purpose.ENERGY,
        method: Annotated[str | None, strawberry.argument(description=METHOD)] = None,
        values: Annotated[
            list[PaidValueInput] | None, strawberry.argument(description="The reading that would come with it.")
        ] = None,
        meter: Annotated[str | None, strawberry.argument(description="The number of the meter.")] = None,
    ) -> PayableAccount | None:
        """Show an account before a payment."""
        if amount is not None and not is_amount(amount):
            raise BadUserInputError(f"`amount` must be {AMOUNT[0].lower()}{AMOUNT[1:]}")
        given = _given(info, values)
        if info.context.see(number) is None:
            return None
        order = PreviewOrder(number, amount, purpose, _method(method), given, meter)
        with or_later():
            found = await preview(info.context.app.till, agent_of(info), order)
            return await _payable(info, found, order) if found is not None else None

    @strawberry.field(
        description="A payment of yours by your id: what was answered, and where it stands now; null if it never came."
    )
    async def partner_payment(
        self, info: Info, payment_id: Annotated[strawberry.ID, strawberry.argument(description=PAYMENT_ID)]
    ) -> PartnerPayment | None:
        """Find a payment of the caller."""
        with or_later():
            found = await standing(info.context.app.till, agent_of(info), payment_id)
            return await _status(info, payment_id, found) if found is not None else None

    @strawberry.field(
        description="Requests for refunds by their deadline: of a partner its own, of the office all, the work list."
    )
    async def refund_requests(
        self,
        info: Info,
        state: Annotated[
            RefundState | None, strawberry.argument(description="Only these; those that wait by default.")
        ] = None,
        overdue: Annotated[
            bool, strawberry.argument(description="Only those that wait and are past their deadline.")
        ] = False,
        first: First = None,
        after: After = None,
    ) -> Connection[RefundRequest]:
        """List requests for refunds."""
        page = read_page(first=first, after=after, kinds=(date, str))
        caller = info.context.caller
        is_partner = caller.kind is Kind.PARTNER
        today = moscow_date(info.context.app.intake.clock())
        with or_later():
            async with info.context.app.pool.acquire() as db:
                rows = await refunds.requests(
                    db,
                    payer=caller.actor if is_partner else None,
                    state=state,
                    overdue_on=today if overdue else None,
                    after=page.after,  # type: ignore[arg-type]  # the cursor's kinds say so
                    limit=page.limit,
                )
        info.context.saw(number for row in rows if (number := number_of(row.account)) is not None)
        opens = is_partner or Right.OPERATOR_MONEY in caller.rights
        return connect(
            rows,
            page,
            node=lambda row: RefundRequest.of(info, row, opens=opens),
            key=lambda row: (row.deadline, row.request),
        )


@strawberry.type
class PayingMutation:
    """What may be done; no type of the schema."""

    @strawberry.mutation(
        description=(
            "Take a payment, and a reading with it, under one id: the money is taken whenever it is valid, a bad reading "
            "says how to mend it. Sent again, it gets its first answer."
        )
    )
    async def pay_with_reading(self, info: Info, input: PayWithReadingInput) -> PayWithReadingResult:
        """Take a payment and a reading."""
        given = _given(info, input.values)
        agent = agent_of(info)
        if not agent.prefixed:
            key_of(input.payment_id, "paymentId")
        method = _method(input.method)
        order = PayOrder(
            input.payment_id,
            input.account,
            input.amount,
            input.paid_at,
            input.purpose,
            commission=input.commission,
            quoted=agreed(agent.partner, input.amount, moscow_date(input.paid_at), method),
            meter=input.meter,
            method=method,
            given=given or None,
        )
        with or_later():
            paid = await pay(info.context.app.till, agent, order, request_id=info.context.request_id)
        return _taken(info, order, paid)

    @strawberry.mutation(
        description="Take a payment of yours back on the day on which it came; later, `requestRefund`. Its reading stays."
    )
    async def cancel_payment(self, info: Info, input: CancelPaymentInput) -> CancelPaymentResult:
        """Cancel a payment."""
        ground = note_of(input.reason, "reason")
        with or_later():
            outcome = await cancel(
                info.context.app.till, agent_of(info), input.payment_id, ground, request_id=info.context.request_id
            )
        named = ["input", "paymentId"]
        if outcome is None:
            return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=input.payment_id[:40], path=named)
        if not outcome.events:
            return parked(outcome)
        event: Any = outcome.events[0]
        if not isinstance(event, PaymentReversed):
            return refused_command(event.reason, "", outcome.receipt, outcome.repeated, event.detail, named)
        return PaymentCancelled(
            receipt=outcome.receipt,
            replayed=outcome.repeated,
            payment_id=event.reference,
            amount=event.amount,
            cancelled_at=event.reversed_at,
        )

    @strawberry.mutation(
        description="Ask to return a payment, or a part of it: the office decides within 30 days of the payment."
    )
    async def request_refund(self, info: Info, input: RequestRefundInput) -> RequestRefundResult:
        """Ask for a refund."""
        key = key_of(input.idempotency_key)
        reason = note_of(input.reason, "reason")
        path = ["input", "paymentId" if input.receipt is None else "receipt"]
        app, agent = info.context.app, agent_of(info)
        with or_later():
            row = await _asked_about(info, input, agent)
            if row is None:
                detail = (input.receipt or input.payment_id or "")[:40]
                return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=detail, path=path)
            order = RefundOrder(input.amount, app.door.raw_texts.sealed(reason), agent.actor, key)
            async with app.pool.acquire() as db:
                answer = await refunds.ask(db, row, order, app.intake.clock())
        if isinstance(answer, Reason):
            paths = {
                Reason.BAD_AMOUNT: ["input", "amount"],
                Reason.MESSAGE_ID_REUSED: ["input", "idempotencyKey"],
            }
            return refused_command(answer, number_of(row.account) or "", path=paths.get(answer, path))
        request, replayed = answer
        return RefundRequested(replayed=replayed, request=RefundRequest.of(info, request, opens=True))

    @strawberry.mutation(
        description="Decide a request for a refund (operator): what is to be returned is returned at once."
    )
    async def decide_refund(self, info: Info, input: DecideRefundInput) -> DecideRefundResult:
        """Decide a request for a refund."""
        ground = note_of(input.ground, "ground")
        app = info.context.app
        caller = info.context.caller_for(terms.Role.OPERATOR)
        with or_later():
            decided = await refunds.decide(
                app.till.counter,
                input.request,
                input.decision,
                ground,
                by=caller.actor,
                request_id=info.context.request_id,
            )
        row = decided.row
        if row is None:
            return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=input.request[:40], path=["input", "request"])
        number = number_of(row.account)
        if number is not None:
            info.context.see(number)
        if decided.refusal is not None:
            receipt = decided.outcome.receipt if decided.outcome is not None else None
            return refused_command(decided.refusal, number or "", receipt, path=["input", "request"])
        if decided.is_parked and decided.outcome is not None:
            return parked(decided.outcome)
        request = RefundRequest.of(info, row, opens=True)
        if decided.is_other:
            text = "Заявление уже решено иначе: решение не меняется."
            return RefundDecidedOtherwise(text=text, request=request)
        return RefundDecided(replayed=decided.replayed, request=request)


def _given(info: Info, values: list[PaidValueInput] | None) -> list[tuple[str, str]]:
    """Give the values as (place, value).

    :raises GraphQLError: the caller sends no readings.
    :raises BadUserInputError: a value names no place, or two; or there are too many.
    """
    if not values:
        return []
    if Right.PARTNER_READINGS not in info.context.caller.rights:
        raise GraphQLError(
            "This credential has no scope readings:write: pay without `values`.", extensions={"code": "FORBIDDEN"}
        )
    if len(values) > VALUES_MAX:
        raise BadUserInputError(f"`values` may have {VALUES_MAX} values; this one has {len(values)}.")
    given = []
    for value in values:
        if (value.register is None) == (value.place is None):
            raise BadUserInputError("Give `register` or `place` of a value, one of the two.")
        place = value.register.value if value.register is not None else (value.place or "")
        if len(place) > PLACE_LENGTH_MAX:
            raise BadUserInputError(f"`place` may have {PLACE_LENGTH_MAX} characters.")
        given.append((place, value.value))
    return given


def _method(method: str | None) -> str | None:
    if method is not None and len(method) > METHOD_LENGTH_MAX:
        raise BadUserInputError(f"`method` may have {METHOD_LENGTH_MAX} characters.")
    return method or None


async def _payable(info: Info, found: Payable, order: PreviewOrder) -> PayableAccount:
    app = info.context.app
    today = moscow_date(app.intake.clock())
    rulebook = app.intake.rulebook
    said = found.submission
    account = await app.intake.account(found.account)
    group = rulebook.group_of(account.locality, account.stove)
    quoted = found.quoted
    amount = quoted.amount if quoted is not None else ZERO
    return PayableAccount(
        number=found.account,
        masked_name=found.masked_name,
        refusal=found.refusal,
        text=text_of(found.refusal, found.account),
        balance=found.balance,
        penalty=found.penalty,
        overdue=found.overdue,
        next_due=OwedBill.of(found.next_due, today) if found.next_due is not None else None,
        suggested=max(found.penalty if order.purpose is terms.Purpose.PENALTY else found.balance, ZERO),
        minimum=found.minimum,
        maximum=found.maximum,
        amount=amount,
        commission=quoted.commission if quoted is not None else ZERO,
        total=quoted.total if quoted is not None else ZERO,
        balance_after=found.balance_after,
        penalty_after=found.penalty_after,
        submission=PayableReading(
            may=said.refusal is None,
            refusal=said.refusal,
            text=text_of(said.refusal, found.account),
            period=said.period,
            until=said.until,
            limit=said.limit,
            registers=[
                PayableRegister(
                    register=each.register,
                    place=each.place,
                    capacity=each.capacity,
                    previous=each.previous,
                    maximum=each.maximum,
                )
                for each in found.registers
            ],
            silence=SilentPeriod.of(said.silence, group, rulebook) if said.silence is not None else None,
        ),
        reading=previewed(found.reading, found.account) if found.reading is not None else None,
    )


def _taken(info: Info, order: PayOrder, paid: Paid) -> PaymentTaken | CommandRefused | MessageParked:
    """Show what became of a payment, and of its reading."""
    outcome = paid.payment
    if paid.is_parked:
        return parked(outcome)
    event = paid.received
    if event is None:
        refused: Any = outcome.events[0]
        return refused_payment(
            refused.reason,
            number_of(outcome.account) or "",
            outcome.receipt or None,
            replayed=outcome.repeated,
            detail=refused.detail,
            path=_path(order, refused.reason),
        )
    reading = paid.reading
    return PaymentTaken(
        receipt=outcome.receipt,
        replayed=outcome.repeated,
        account_number=number_of(outcome.account),
        amount=event.amount,
        stream=outcome.account,
        entry=outcome.version or 0,
        paid_on=event.paid_on,
        purpose=event.purpose,
        unallocated=event.unallocated,
        unallocated_text=UNALLOCATED.get(event.unallocated) if event.unallocated is not None else None,
        payment_id=event.reference,
        paid_at=event.paid_at,
        commission=event.commission,
        total=event.amount + (event.commission or ZERO),
        reading=(
            PaidReading.of(info.context.app.till, reading, replayed=outcome.repeated) if reading is not None else None
        ),
    )


def _path(order: PayOrder, reason: Reason) -> list[str] | None:
    """Say where in the input a refusal of a payment points."""
    if reason in (Reason.MESSAGE_ID_REUSED, Reason.BAD_MESSAGE_ID):
        return ["input", "paymentId"]
    if reason is Reason.BAD_DATES:
        return ["input", "paidAt"]
    is_commissions = order.commission is not None and not is_commission(order.commission)
    if reason is Reason.BAD_AMOUNT and is_commissions and is_amount(order.amount):
        return ["input", "commission"]
    return None


async def _status(info: Info, payment_id: str, found: Standing) -> PartnerPayment:
    paid = found.found.paid
    event, outcome, row = paid.received, paid.payment, found.found.row
    refusal = paid.refusal
    reading = paid.reading
    now = await find_receipt(info, reading.receipt) if reading is not None else None
    returned = [each.amount for each in found.requests if each.state is RefundState.RETURNED]
    return PartnerPayment(
        payment_id=payment_id,
        state=found.state,
        text=PAYMENT_TEXTS[found.state],
        receipt=outcome.receipt,
        recorded_at=outcome.recorded_at,
        account_number=(row.meant_for or number_of(row.account)) if row is not None else None,
        amount=event.amount if event is not None else None,
        commission=event.commission if event is not None else None,
        paid_on=event.paid_on if event is not None else None,
        paid_at=event.paid_at if event is not None else None,
        purpose=event.purpose if event is not None else None,
        unallocated=event.unallocated if event is not None else None,
        refusal=(
            refused_command(refusal.reason, number_of(outcome.account) or "", outcome.receipt, True, refusal.detail)
            if refusal is not None
            else None
        ),
        may_cancel=found.may_cancel,
        returned=sum(returned, ZERO),
        refunds=[RefundRequest.of(info, each, opens=True) for each in found.requests],
        reading=(PaidReading.of(info.context.app.till, reading, replayed=True) if reading is not None else None),
        reading_now=Receipt.of(now) if now is not None else None,
    )


async def _asked_about(info: Info, input: RequestRefundInput, agent: Agent) -> PaymentRow | None:
    """Find the payment, as it came, that a request is about.

    :raises BadUserInputError: it is named by nothing, or by two things, or by an id that several payers use.
    """
    if (input.receipt is None) == (input.payment_id is None):
        raise BadUserInputError("Give `paymentId` or `receipt`, one of the two.")
    app = info.context.app
    if input.payment_id is not None and info.context.caller.kind is Kind.PARTNER:
        found = await find(app.till, agent, input.payment_id) if is_payment_id(input.payment_id) else None
        return found.row if found is not None else None
    async with app.pool.acquire() as db:
        if input.receipt is not None:
            row = await payments.by_receipt(db, input.receipt)
        else:
            rows = await payments.by_id(db, input.payment_id or "", app.door.raw_texts.guarded, app.partners)
            if len(rows) > 1:
                raise BadUserInputError("Several payers have a payment of this `paymentId`: give its `receipt`.")
            row = rows[0] if rows else None
        if row is None or not info.context.owns(row.actor):
            return None
        return await payments.origin(db, row)
