"""The types of payments by card as others see them: an order, its form, its receipt, a return; bound cards, autopay, differences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import strawberry

from bels.api.context import Info
from bels.api.engine.scalars import Money
from bels.api.enums import describe
from bels.domain import terms
from bels.payments.cards import autopay, bindings, booking, fiscal, orders, reconciling, refunds
from bels.payments.cards.contract import Cards
from bels.payments.cards.refusals import WORDS, CardReason

ID = "Its id."

CardRefusalCode = strawberry.enum(
    CardReason, name="CardRefusalCode", description="Why something about cards is refused."
)
CardOrderState = strawberry.enum(
    orders.OrderState, name="CardOrderState", description="Where a payment by card stands."
)
CardKind = strawberry.enum(
    orders.PaymentKind, name="CardKind", description="The kind of payment for which a card is bound."
)
FiscalState = strawberry.enum(fiscal.FiscalState, name="FiscalState", description="Where a fiscal receipt stands.")
CardRefundState = strawberry.enum(
    refunds.CardRefundState, name="CardRefundState", description="Where a return to a card stands."
)
CardDifferenceKind = strawberry.enum(
    booking.DifferenceKind, name="CardDifferenceKind", description="What MONETA says otherwise than we do."
)
AutopayState = strawberry.enum(
    autopay.AutopayState, name="AutopayState", description="Whether payments make themselves."
)
AutopayStopReason = strawberry.enum(
    autopay.StopReason, name="AutopayStopReason", description="Why an autopay has stopped."
)

_DESCRIBED: tuple[Mapping[Any, str], ...] = (
    {reason: words.text for reason, words in WORDS.items()},
    {
        orders.OrderState.CREATED: "The payer was sent to MONETA's form.",
        orders.OrderState.CHECKED: "MONETA has asked whether it may be paid.",
        orders.OrderState.AUTHORISED: "The money is held on the card, not taken.",
        orders.OrderState.PAID: "The money is in the books.",
        orders.OrderState.FAILED: "Nothing was taken.",
        orders.OrderState.EXPIRED: "The form may be paid no more.",
        orders.OrderState.REFUNDED: "The money has gone back.",
    },
    {orders.PaymentKind.UTILITIES: "Utilities (коммунальные услуги)."},
    {
        fiscal.FiscalState.REQUESTED: "MONETA has not heard yet what it must say.",
        fiscal.FiscalState.SENT: "MONETA has heard it.",
        fiscal.FiscalState.DONE: "It can be seen under its URL.",
    },
    {
        refunds.CardRefundState.REQUESTED: "MONETA has not answered yet.",
        refunds.CardRefundState.AT_PAYEE: "MONETA has taken it up.",
        refunds.CardRefundState.RETURNED: "The money has gone back, and is out of the books.",
        refunds.CardRefundState.REFUSED: "MONETA refused it; it may be asked for again.",
    },
    {
        booking.DifferenceKind.UNKNOWN_ORDER: "Money came for no order of ours; kept unallocated once it is completed.",
        booking.DifferenceKind.AMOUNT_DIFFERS: "Another sum came than was ordered; kept unallocated once completed.",
        booking.DifferenceKind.CURRENCY_DIFFERS: "Money came in another currency; not booked.",
        booking.DifferenceKind.OPERATION_DIFFERS: "An operation that is booked is told with another sum or order.",
        booking.DifferenceKind.NOT_BOOKED: "Money came, and the journal did not take it.",
        booking.DifferenceKind.PAID_TWICE: "An order was paid once more; both payments are on the account.",
        booking.DifferenceKind.NOT_AT_MONETA: "A payment is booked here, and MONETA does not list it.",
        booking.DifferenceKind.RETURN_UNKNOWN: "Money went back of a payment that is not booked here.",
        booking.DifferenceKind.RETURN_DIFFERS: "Another sum went back than was paid, or it went back twice.",
        booking.DifferenceKind.RETURN_NOT_BOOKED: "Money went back, and the books could not follow.",
        booking.DifferenceKind.RETURN_UNASKED: "A notice tells of a return that nobody asked for; not believed.",
        booking.DifferenceKind.RETURN_OVERDUE: "A return is not made, and the payer must have it soon.",
        booking.DifferenceKind.RECEIPT_DUE: "A payment is booked, and MONETA does not know what its receipt must say.",
    },
    {
        autopay.AutopayState.ACTIVE: "What is due is paid on its day.",
        autopay.AutopayState.STOPPED: "Nothing is paid any more.",
    },
    {
        autopay.StopReason.ASKED: "The consumer stopped it.",
        autopay.StopReason.REPLACED: "Another was set in its place.",
        autopay.StopReason.CEILING: "What was due was above the ceiling.",
        autopay.StopReason.BINDING_REMOVED: "The card was removed.",
        autopay.StopReason.ACCOUNT_LEFT: "The account has left the cabinet.",
        autopay.StopReason.NOBODY_TO_WARN: "There was no phone and no e-mail to warn.",
        autopay.StopReason.FAILED: "The card was declined five times.",
        autopay.StopReason.REFUSED: "A limit of payments by card was reached.",
    },
)
for _table in _DESCRIBED:
    describe(_table)


@strawberry.type(description="What is not done about cards, with the reason and how to do it right.")
class CardRefused:
    """What is not done about cards."""

    code: CardReason = strawberry.field(description="The stable code.")
    text: str = strawberry.field(description="What is wrong, in Russian.")
    hint: str = strawberry.field(description="The next step, in Russian.")
    path: list[str] | None = strawberry.field(description="The place in the input that is wrong.")
    detail: str | None = strawberry.field(description="What exactly is in the way: a limit, a commission.")


@strawberry.type(description="What a payment by card costs; it is charged as it is shown.")
class CardQuote:
    """What a payment by card costs."""

    amount: Money = strawberry.field(description="For the account.")
    commission: Money = strawberry.field(description="On top.")
    total: Money = strawberry.field(description="What the payer pays in all.")


@strawberry.type(description="A field of MONETA's form.")
class CardFormField:
    """A field of MONETA's form."""

    name: str = strawberry.field(description="Its name.")
    value: str = strawberry.field(description="Its value; show and store it nowhere.")


@strawberry.type(description="Where the payer goes on: MONETA's form, where the card is given.")
class CardForm:
    """MONETA's form."""

    url: str = strawberry.field(description="The URL; with the fields in it where it is a GET.")
    method: str = strawberry.field(description="GET or POST.")
    fields: list[CardFormField] = strawberry.field(description="The fields, for a POST.")

    @classmethod
    def of(cls, form: orders.Form) -> CardForm:
        """Show a form."""
        fields = [CardFormField(name=name, value=value) for name, value in form.fields]
        return cls(url=form.url, method=form.method, fields=fields)


@strawberry.type(description="A line of a fiscal receipt.")
class FiscalItem:
    """A line of a fiscal receipt."""

    name: str = strawberry.field(description="What it is for.")
    price: Money = strawberry.field(description="Roubles and kopecks of one.")
    quantity: str = strawberry.field(description="How many.")
    vat_tag: int = strawberry.field(description="The VAT as MONETA's register names it: 1102 is 20 %, 1113 22 %.")
    method: str = strawberry.field(description="The sign of the method of settlement.")
    subject: str = strawberry.field(description="The sign of the subject of settlement.")


@strawberry.type(description="The fiscal receipt of a payment by card (54-ФЗ).")
class CardFiscal:
    """The fiscal receipt of a payment."""

    state: fiscal.FiscalState = strawberry.field(description="Where it stands.")
    sno: int = strawberry.field(description="The sign of the tax system.")
    items: list[FiscalItem] = strawberry.field(description="Its lines; together what the payer paid.")
    sent_at: datetime | None = strawberry.field(description="When MONETA was told what it must say.")
    url: str | None = strawberry.field(description="Where it can be seen.")

    @classmethod
    def of(cls, found: fiscal.Fiscal) -> CardFiscal:
        """Show a receipt."""
        items = [
            FiscalItem(
                name=item.name,
                price=item.price,
                quantity=item.quantity,
                vat_tag=item.vatTag,
                method=item.pm,
                subject=item.po,
            )
            for item in found.items
        ]
        return cls(state=found.state, sno=found.sno, items=items, sent_at=found.sent_at, url=found.url)


@strawberry.type(description="A return of a payment by card.")
class CardRefund:
    """A return of a payment by card."""

    id: strawberry.ID = strawberry.field(description=ID)
    state: refunds.CardRefundState = strawberry.field(description="Where it stands.")
    amount: Money = strawberry.field(description="What goes back, with the commission.")
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    due_at: datetime = strawberry.field(description="When the payer must have it: 30 days after the payment.")
    ended_at: datetime | None = strawberry.field(description="When it was made or refused.")
    code: str | None = strawberry.field(description="What MONETA says of it: a code.")

    @classmethod
    def of(cls, found: refunds.CardRefund) -> CardRefund:
        """Show a return."""
        return cls(
            id=strawberry.ID(found.refund),
            state=found.state,
            amount=found.total,
            requested_at=found.requested_at,
            due_at=found.due_at,
            ended_at=found.ended_at,
            code=found.code,
        )


@strawberry.type(description="A payment by card: what was shown, and where it stands.")
class CardPayment:
    """A payment by card."""

    id: strawberry.ID = strawberry.field(description=ID)
    account_number: str = strawberry.field(description="The account.")
    amount: Money = strawberry.field(description="For the account.")
    commission: Money = strawberry.field(description="On top, as it was shown.")
    total: Money = strawberry.field(description="What the payer pays in all.")
    purpose: terms.Purpose = strawberry.field(description="What it pays.")
    state: orders.OrderState = strawberry.field(description="Where it stands.")
    created_at: datetime = strawberry.field(description="When it was begun.")
    expires_at: datetime = strawberry.field(description="Until when the form may be paid.")
    paid_at: datetime | None = strawberry.field(description="When it was paid.")
    receipt: str | None = strawberry.field(description="The receipt of the payment in the books.")
    operation: str | None = strawberry.field(description="MONETA's id of the payment.")
    failure: str | None = strawberry.field(description="Why nothing was taken: a code.")
    document: str | None = strawberry.field(
        description="The payer's paper (квитанция), in Russian; there as soon as it is paid."
    )
    saved: bool = strawberry.field(description="Its card was bound.")

    @classmethod
    def of(cls, order: orders.Order, cards: Cards | None) -> CardPayment:
        """Show an order."""
        return cls(
            id=strawberry.ID(order.order_id),
            account_number=order.account,
            amount=order.amount,
            commission=order.commission,
            total=order.total,
            purpose=order.purpose,
            state=order.state,
            created_at=order.created_at,
            expires_at=order.expires_at,
            paid_at=order.paid_at,
            receipt=order.receipt,
            operation=order.operation,
            failure=order.failure,
            document=fiscal.slip(cards.contract, order) if cards is not None else None,
            saved=bool(order.bound),
        )

    @strawberry.field(description="Its fiscal receipt; null before it is paid.")
    async def fiscal(self, info: Info) -> CardFiscal | None:
        """Find the receipt."""
        if self.operation is None:
            return None
        async with info.context.app.pool.acquire() as db:
            found = await fiscal.find_fiscal(db, self.operation)
        return CardFiscal.of(found) if found is not None else None

    @strawberry.field(description="Its returns, the newest first.")
    async def refunds(self, info: Info) -> list[CardRefund]:
        """List the returns."""
        async with info.context.app.pool.acquire() as db:
            found = await refunds.refunds_of(db, self.id)
        return [CardRefund.of(each) for each in found]


@strawberry.type(description="A bound card; its number is not known here.")
class CardBinding:
    """A bound card."""

    id: strawberry.ID = strawberry.field(description=ID)
    masked: str = strawberry.field(description="What of the number may be shown.")
    kind: orders.PaymentKind = strawberry.field(description="For which payments it serves.")
    account_number: str = strawberry.field(description="The account with whose payment it was bound.")
    created_at: datetime = strawberry.field(description="Since when.")

    @classmethod
    def of(cls, found: bindings.Bound) -> CardBinding:
        """Show a bound card."""
        return cls(
            id=strawberry.ID(found.binding),
            masked=found.masked,
            kind=orders.PaymentKind(found.kind),
            account_number=found.account,
            created_at=found.created_at,
        )


@strawberry.type(description="Payments that make themselves, of what is due then.")
class Autopay:
    """Payments that make themselves."""

    id: strawberry.ID = strawberry.field(description=ID)
    account_number: str = strawberry.field(description="The account.")
    binding: strawberry.ID = strawberry.field(description="The bound card that pays.")
    ceiling: Money = strawberry.field(description="With the commission; above it nothing is paid.")
    day: int | None = strawberry.field(description="The day of the month; null: the day after there is a bill.")
    state: autopay.AutopayState = strawberry.field(description="Whether it pays.")
    created_at: datetime = strawberry.field(description="Since when.")
    stopped_at: datetime | None = strawberry.field(description="When it stopped.")
    reason: autopay.StopReason | None = strawberry.field(description="Why it stopped.")

    @classmethod
    def of(cls, found: autopay.Autopay) -> Autopay:
        """Show an autopay."""
        return cls(
            id=strawberry.ID(found.autopay),
            account_number=found.account,
            binding=strawberry.ID(found.binding),
            ceiling=found.ceiling,
            day=found.day,
            state=found.state,
            created_at=found.created_at,
            stopped_at=found.stopped_at,
            reason=autopay.StopReason(found.why) if found.why is not None else None,
        )


@strawberry.type(description="What MONETA says otherwise than we do.")
class CardDifference:
    """A difference with MONETA."""

    number: int = strawberry.field(description="Its number.")
    kind: booking.DifferenceKind = strawberry.field(description="What differs.")
    operation: str = strawberry.field(description="MONETA's operation.")
    order: strawberry.ID | None = strawberry.field(description="The payment by card that it is about.")
    there: Money | None = strawberry.field(description="The sum at MONETA.")
    here: Money | None = strawberry.field(description="The sum here.")
    found_at: datetime = strawberry.field(description="When it was found.")
    closed_at: datetime | None = strawberry.field(description="When it was closed.")
    closed_by: str | None = strawberry.field(description="By whom; `bels` where the money came by itself.")
    note: str | None = strawberry.field(description="What was done.")

    @classmethod
    def of(cls, found: reconciling.Difference) -> CardDifference:
        """Show a difference."""
        return cls(
            number=found.number,
            kind=found.kind,
            operation=found.operation,
            order=strawberry.ID(found.order_id) if found.order_id is not None else None,
            there=found.there,
            here=found.here,
            found_at=found.found_at,
            closed_at=found.closed_at,
            closed_by=found.closed_by,
            note=found.note,
        )


@strawberry.type(description="A payment by card that was begun.")
class CardPaymentStarted:
    """A payment by card that was begun."""

    payment: CardPayment = strawberry.field(description="The payment.")
    form: CardForm | None = strawberry.field(description="Where the payer goes on; null where it may be paid no more.")
    replayed: bool = strawberry.field(description="It had been begun before, under the same key.")


@strawberry.type(description="A bound card that was removed; MONETA is told, until it has forgotten it.")
class CardBindingRemoved:
    """A bound card that was removed."""

    id: strawberry.ID = strawberry.field(description="Which.")


@strawberry.type(description="An account that pays itself from now on.")
class AutopaySet:
    """An account that pays itself."""

    autopay: Autopay = strawberry.field(description="How.")


@strawberry.type(description="An autopay that has stopped.")
class AutopayStopped:
    """An autopay that has stopped."""

    autopay: Autopay = strawberry.field(description="Which.")


@strawberry.type(description="A return that was asked for.")
class CardRefundRequested:
    """A return that was asked for."""

    refund: CardRefund = strawberry.field(description="The return.")
    replayed: bool = strawberry.field(description="It had been asked for before, under the same key.")


@strawberry.type(description="A difference that was closed.")
class CardDifferenceClosed:
    """A difference that was closed."""

    difference: CardDifference = strawberry.field(description="Which.")
