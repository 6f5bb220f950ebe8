"""Payments by card: what they cost, the way to MONETA's form, bound cards, autopay; returns and differences for the office."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Annotated

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.access.callers import Kind, Right
from bels.access.documents import is_note
from bels.access.vault import VaultError
from bels.api.card_types import (
    Autopay,
    AutopaySet,
    AutopayStopped,
    CardBinding,
    CardBindingRemoved,
    CardDifference,
    CardDifferenceClosed,
    CardForm,
    CardPayment,
    CardPaymentStarted,
    CardQuote,
    CardRefund,
    CardRefundRequested,
    CardRefused,
)
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import Money
from bels.api.inputs import ACCOUNT, KEY, RegisterReading
from bels.api.messages import TryLaterError, key_of, or_later
from bels.api.money_inputs import AMOUNT
from bels.api.objects import After, First
from bels.domain import terms
from bels.payments.cards import autopay, bindings, orders, reconciling, refunds
from bels.payments.cards import refusals as reasons
from bels.payments.cards.contract import Cards, cards_of
from bels.payments.cards.orders import Order, OrderRequest, Started
from bels.payments.cards.refusals import CardReason, holds_card_number
from bels.payments.partners import PartnersError

VALUES_MAX = 10
ORDER = "The payment's id, as `startCardPayment` gave it."
BINDING = "A card of `cardBindings`."

PATHS: Mapping[CardReason, list[str]] = {
    CardReason.UNKNOWN_ACCOUNT: ["input", "account"],
    CardReason.BAD_AMOUNT: ["input", "amount"],
    CardReason.AMOUNT_TOO_SMALL: ["input", "amount"],
    CardReason.AMOUNT_TOO_LARGE: ["input", "amount"],
    CardReason.COMMISSION_CHANGED: ["input", "commission"],
    CardReason.BAD_VALUE: ["input", "values"],
    CardReason.BAD_ADDRESS: ["input", "contact"],
    CardReason.MESSAGE_ID_REUSED: ["input", "idempotencyKey"],
    CardReason.CARD_LIMIT_EXCEEDED: ["input", "amount"],
    CardReason.CARD_BINDING_CONSUMER_ONLY: ["input"],
    CardReason.CARD_BINDING_FIRST_PAYMENT: ["input", "binding"],
    CardReason.CARD_BINDING_OTHER_KIND: ["input", "binding"],
    CardReason.UNKNOWN_BINDING: ["input", "binding"],
    CardReason.UNKNOWN_PAYMENT: ["input", "id"],
    CardReason.NOT_PAID: ["input", "id"],
    CardReason.REFUND_UNDER_WAY: ["input", "id"],
    CardReason.BAD_NOTE: ["input", "ground"],
    CardReason.BAD_CEILING: ["input", "ceiling"],
    CardReason.BAD_DAY: ["input", "day"],
    CardReason.NOBODY_TO_WARN: ["input", "account"],
    CardReason.UNKNOWN_AUTOPAY: ["input", "autopay"],
    CardReason.UNKNOWN_DIFFERENCE: ["input", "number"],
}
"""Where in the input each refusal points; the ones not named are about the whole."""

logger = logging.getLogger(__name__)

CardQuoteResult = Annotated[
    CardQuote | CardRefused, strawberry.union("CardQuoteResult", description="What a payment by card costs.")
]
StartCardPaymentResult = Annotated[
    CardPaymentStarted | CardRefused,
    strawberry.union("StartCardPaymentResult", description="Whether a payment by card was begun."),
]
RemoveCardBindingResult = Annotated[
    CardBindingRemoved | CardRefused,
    strawberry.union("RemoveCardBindingResult", description="Whether a card was removed."),
]
SetAutopayResult = Annotated[
    AutopaySet | CardRefused, strawberry.union("SetAutopayResult", description="Whether an account pays itself.")
]
StopAutopayResult = Annotated[
    AutopayStopped | CardRefused, strawberry.union("StopAutopayResult", description="Whether an autopay was stopped.")
]
RefundCardPaymentResult = Annotated[
    CardRefundRequested | CardRefused,
    strawberry.union("RefundCardPaymentResult", description="Whether a return was asked for."),
]
CloseCardDifferenceResult = Annotated[
    CardDifferenceClosed | CardRefused,
    strawberry.union("CloseCardDifferenceResult", description="Whether a difference was closed."),
]


@strawberry.input(
    description=(
        "A payment by card; the card itself is given to MONETA only. Example: "
        '`{account: "1000101", amount: "1245.05", commission: "12.45", idempotencyKey: "may-1"}`.'
    )
)
class StartCardPaymentInput:
    """A payment by card."""

    account: str = strawberry.field(description=ACCOUNT)
    amount: Money = strawberry.field(description=AMOUNT)
    commission: Money = strawberry.field(description="The commission that the payer was shown, as `cardQuote` told it.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    purpose: terms.Purpose = strawberry.field(
        default=terms.Purpose.ENERGY, description="What it pays: ENERGY by default."
    )
    values: list[RegisterReading] | None = strawberry.field(
        default=None, description="A reading that travels with the payment, and is submitted when it is paid."
    )
    contact: str | None = strawberry.field(
        default=None, description="An e-mail or a phone for the fiscal receipt; kept sealed."
    )
    save: bool = strawberry.field(
        default=False, description="The payer consents to have the card bound for payments of this kind (consumer)."
    )
    binding: strawberry.ID | None = strawberry.field(default=None, description=f"{BINDING} It pays (consumer).")


@strawberry.input(description="A bound card that is to be removed.")
class RemoveCardBindingInput:
    """A bound card that is to be removed."""

    binding: strawberry.ID = strawberry.field(description=BINDING)


@strawberry.input(
    description="Payments that make themselves, of what is due then; in place of what was set for the account before."
)
class SetAutopayInput:
    """Payments that make themselves."""

    account: str = strawberry.field(description=ACCOUNT)
    binding: strawberry.ID = strawberry.field(description=BINDING)
    ceiling: Money = strawberry.field(description="With the commission; above it nothing is paid, and it stops.")
    day: int | None = strawberry.field(
        default=None, description="The day of the month, 1 to 28; by default the day after there is a bill."
    )


@strawberry.input(description="An autopay that is to stop.")
class StopAutopayInput:
    """An autopay that is to stop."""

    autopay: strawberry.ID = strawberry.field(description="One of `autopays`.")


@strawberry.input(description="A wrong payment by card that is to go back whole.")
class RefundCardPaymentInput:
    """A wrong payment by card that is to go back."""

    id: strawberry.ID = strawberry.field(description=ORDER)
    operation: str | None = strawberry.field(
        default=None, description="MONETA's operation, where the order was paid more than once; by default the first."
    )
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    ground: str = strawberry.field(description="Why, in 3 to 200 characters; kept for the auditor.")


@strawberry.input(description="A difference with MONETA that was worked off.")
class CloseCardDifferenceInput:
    """A difference that was worked off."""

    number: int = strawberry.field(description="Its number.")
    ground: str = strawberry.field(description="What was done, in 3 to 200 characters; kept for the auditor.")


@strawberry.type
class CardQuery:
    """What may be asked to see; no type of the schema."""

    @strawberry.field(
        description="What a payment by card costs today, with the commission: show it before the payment."
    )
    async def card_quote(
        self, info: Info, amount: Annotated[Money, strawberry.argument(description=AMOUNT)]
    ) -> CardQuoteResult:
        """Tell what a payment costs."""
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        told = orders.quoted(cards, amount)
        if isinstance(told, reasons.CardRefused):
            return _refused(told.reason, told.detail, path=["amount"])
        return CardQuote(amount=told.amount, commission=told.commission, total=told.total)

    @strawberry.field(description="A payment by card, by its id: one's own, or any (operator of money, auditor).")
    async def card_payment(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description=ORDER)]
    ) -> CardPayment | None:
        """Find a payment by card."""
        with or_later():
            async with info.context.app.pool.acquire() as db:
                order = await orders.find_order(db, id)
        if order is None or not _may_see(info, order):
            return None
        info.context.saw([order.account])
        return CardPayment.of(order, await _cards(info))

    @strawberry.field(description="One's own payments by card, the newest first (consumer).")
    async def card_payments(self, info: Info, first: First = None, after: After = None) -> Connection[CardPayment]:
        """List payments by card."""
        page = read_page(first=first, after=after, kinds=(str,))
        before = str(page.after[0]) if page.after is not None else None
        cards = await _cards(info)
        with or_later():
            async with info.context.app.pool.acquire() as db:
                rows = await orders.orders_of(db, info.context.caller.subject, before, page.limit)
        return connect(rows, page, node=lambda row: CardPayment.of(row, cards), key=lambda row: (row.order_id,))

    @strawberry.field(description="One's own bound cards, the oldest first; at most ten (consumer).")
    async def card_bindings(self, info: Info) -> list[CardBinding]:
        """List bound cards."""
        with or_later():
            async with info.context.app.pool.acquire() as db:
                found = await bindings.bindings_of(db, info.context.caller.subject)
        return [CardBinding.of(each) for each in found]

    @strawberry.field(description="One's own autopays, the newest first, also those that have stopped (consumer).")
    async def autopays(self, info: Info) -> list[Autopay]:
        """List autopays."""
        with or_later():
            async with info.context.app.pool.acquire() as db:
                found = await autopay.autopays_of(db, info.context.caller.subject)
        return [Autopay.of(each) for each in found]

    @strawberry.field(
        description="What MONETA says otherwise than we do, in the order it was found (operator, auditor)."
    )
    async def card_differences(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        closed: Annotated[bool, strawberry.argument(description="Also those that are closed.")] = False,
    ) -> Connection[CardDifference]:
        """List differences."""
        page = read_page(first=first, after=after, kinds=(int,))
        number = page.after[0] if page.after is not None else None
        with or_later():
            async with info.context.app.pool.acquire() as db:
                rows = await reconciling.differences(
                    db, number if isinstance(number, int) else None, page.limit, closed=closed
                )
        return connect(rows, page, node=CardDifference.of, key=lambda row: (row.number,))


@strawberry.type
class CardMutation:
    """What may be done; no type of the schema."""

    @strawberry.mutation(
        description="Begin a payment by card: send the payer to the form that it answers (consumer, link for a bill)."
    )
    async def start_card_payment(self, info: Info, input: StartCardPaymentInput) -> StartCardPaymentResult:
        """Begin a payment by card."""
        context, key = info.context, key_of(input.idempotency_key)
        values = input.values or []
        registers = {value.register.value: value.value for value in values}
        if len(values) > VALUES_MAX or len(registers) != len(values):
            return _refused(CardReason.BAD_VALUE)
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        if not holds_card_number(input.account) and context.see(input.account) is None:
            return _refused(CardReason.UNKNOWN_ACCOUNT)
        is_consumer = context.caller.kind is Kind.CONSUMER
        asked = OrderRequest(
            context.caller.subject if is_consumer else f"account/{input.account}",
            key,
            input.account,
            input.amount,
            input.commission,
            terms.Purpose(input.purpose),
            context.caller.subject if is_consumer else None,
            registers or None,
            input.contact,
            input.save,
            input.binding,
        )
        try:
            with or_later():
                started = await orders.start_order(cards, asked)
                if not isinstance(started, Started):
                    return _refused(started.reason, started.detail)
                form = await _form(cards, started.order)
        except VaultError:
            raise TryLaterError from None
        return CardPaymentStarted(payment=CardPayment.of(started.order, cards), form=form, replayed=started.is_repeat)

    @strawberry.mutation(description="Remove a bound card, here and at MONETA (consumer).")
    async def remove_card_binding(self, info: Info, input: RemoveCardBindingInput) -> RemoveCardBindingResult:
        """Remove a bound card."""
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        with or_later():
            removed = await bindings.remove_binding(
                cards, info.context.caller.subject, input.binding, info.context.request_id
            )
        return CardBindingRemoved(id=input.binding) if removed else _refused(CardReason.UNKNOWN_BINDING)

    @strawberry.mutation(
        description="Let an account of one's own pay itself by a bound card; a warning comes the day before (consumer)."
    )
    async def set_autopay(self, info: Info, input: SetAutopayInput) -> SetAutopayResult:
        """Let an account pay itself."""
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        if holds_card_number(input.account) or holds_card_number(input.binding):
            return _refused(CardReason.CARD_NUMBER_GIVEN)
        if info.context.see(input.account) is None:
            return _refused(CardReason.UNKNOWN_ACCOUNT)
        with or_later():
            found = await autopay.set_autopay(
                cards, info.context.caller.subject, input.account, input.binding, input.ceiling, input.day
            )
        if isinstance(found, reasons.CardRefused):
            return _refused(found.reason, found.detail)
        return AutopaySet(autopay=Autopay.of(found))

    @strawberry.mutation(description="Stop an autopay, at any time (consumer).")
    async def stop_autopay(self, info: Info, input: StopAutopayInput) -> StopAutopayResult:
        """Stop an autopay."""
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        with or_later():
            found = await autopay.stop_autopay(cards, info.context.caller.subject, input.autopay)
        return AutopayStopped(autopay=Autopay.of(found)) if found is not None else _refused(CardReason.UNKNOWN_AUTOPAY)

    @strawberry.mutation(
        description="Ask MONETA to return a wrong payment whole; the books follow when it has (operator of money)."
    )
    async def refund_card_payment(self, info: Info, input: RefundCardPaymentInput) -> RefundCardPaymentResult:
        """Ask for a return."""
        key, cards = key_of(input.idempotency_key), await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        if not is_note(input.ground) and not holds_card_number(input.ground):
            return _refused(CardReason.BAD_NOTE)
        maker = info.context.caller_for(terms.Role.OPERATOR).actor
        with or_later():
            found = await refunds.request_refund(cards, maker, key, input.id, input.ground, input.operation)
        if isinstance(found, reasons.CardRefused):
            return _refused(found.reason, found.detail)
        return CardRefundRequested(refund=CardRefund.of(found.refund), replayed=found.is_repeat)

    @strawberry.mutation(description="Close a difference with MONETA that was worked off (operator of money).")
    async def close_card_difference(self, info: Info, input: CloseCardDifferenceInput) -> CloseCardDifferenceResult:
        """Close a difference."""
        cards = await _cards(info)
        if cards is None:
            return _refused(CardReason.CARDS_SWITCHED_OFF)
        if holds_card_number(input.ground):
            return _refused(CardReason.CARD_NUMBER_GIVEN)
        if not is_note(input.ground):
            return _refused(CardReason.BAD_NOTE)
        by = info.context.caller_for(terms.Role.OPERATOR).actor
        with or_later():
            found = await reconciling.close_difference(cards, input.number, by, input.ground.strip())
        if found is None:
            return _refused(CardReason.UNKNOWN_DIFFERENCE)
        return CardDifferenceClosed(difference=CardDifference.of(found))


async def _cards(info: Info) -> Cards | None:
    """Put payments by card together; None where there is no contract, or it cannot be used."""
    try:
        return await asyncio.to_thread(cards_of, info.context.app.till)
    except PartnersError as error:
        logger.error("payments by card are switched off: %s", error)
        return None


async def _form(cards: Cards, order: Order) -> CardForm | None:
    if not order.is_payable(cards.now()):
        return None
    form = await orders.form_of(cards, order)
    return CardForm.of(form) if not isinstance(form, reasons.CardRefused) else None


def _may_see(info: Info, order: Order) -> bool:
    caller = info.context.caller
    if caller.rights & (Right.OPERATOR_MONEY | Right.AUDITOR):
        return True
    if caller.kind is Kind.CONSUMER:
        return order.person == caller.subject
    # A link pays for its account, and sees what links have begun for it.
    return caller.kind is Kind.LINK and order.person is None and caller.sight(order.account) is not None


def _refused(reason: CardReason, detail: str | None = None, path: list[str] | None = None) -> CardRefused:
    words = reasons.WORDS[reason]
    return CardRefused(code=reason, text=words.text, hint=words.hint, path=path or PATHS.get(reason), detail=detail)
