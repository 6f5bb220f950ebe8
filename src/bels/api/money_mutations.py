"""What may be done with money and with the rules: each mutation is one message to intake, a move is two."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import strawberry

from bels.api import money_inputs as inputs
from bels.api.agents import agent_of
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError, clean_text
from bels.api.messages import TryLaterError, key_of, message_of, name_of, note_of, or_later, raw_of, submit
from bels.api.money_outcomes import (
    MakeRefundResult,
    MovePaymentResult,
    PaymentMoved,
    PaymentReceived,
    PaymentReversed,
    PublishRulebookResult,
    ReceivePaymentResult,
    RefundMade,
    ReversePaymentResult,
    RulebookPublished,
    number_of,
)
from bels.api.outcomes import CommandRefused, MessageParked, parked, refused_command
from bels.api.rulebooks import RulebookFaulty
from bels.domain import commands, events, money_events
from bels.domain.account import Situation
from bels.domain.commands import Command
from bels.domain.terms import AccountNumber, EntryNumber, Reason, Role
from bels.journal.journal import RULEBOOK, find_messages
from bels.messages import Message, Outcome, TryLater, digest, outcomes_of
from bels.payments import find as payments
from bels.payments import refunds
from bels.payments.quote import agreed
from bels.payments.till import PayOrder, pay
from bels.projections.ledger import PaymentRow
from bels.publishing import publication
from bels.rulebooks.reading import RulebookFileError, read_rulebook

UNALLOCATED = {
    Reason.UNKNOWN_ACCOUNT: "Лицевой счёт не найден: платёж сохранён, его разнесёт оператор.",
    Reason.ACCOUNT_CLOSED: "Лицевой счёт закрыт и ничего не должен: платёж сохранён, им займётся оператор.",
}

Paths = Mapping[Reason, list[str]]
"""Where in this input a refusal points, where other inputs have it elsewhere."""


async def _send(
    info: Info, message: Message, expected: type[Any], paths: Paths
) -> Outcome | CommandRefused | MessageParked:
    """Hand a message in; give its outcome, or what to answer where it did not lead to what was expected."""
    return _judged(await submit(info, message), expected, paths)


def _judged(outcome: Outcome, expected: type[Any], paths: Paths) -> Outcome | CommandRefused | MessageParked:
    if not outcome.events:
        return parked(outcome)
    event = outcome.events[0]
    if isinstance(event, events.CommandRefused):
        number = number_of(outcome.account) or ""
        return refused_command(
            event.reason, number, outcome.receipt or None, outcome.repeated, event.detail, paths.get(event.reason)
        )
    if not isinstance(event, expected):
        raise TypeError(type(event).__name__)
    return outcome


def _moved(outcome: Outcome) -> dict[str, Any]:
    """Give what all outcomes that moved money have in common."""
    event: Any = outcome.events[0]
    return {
        "receipt": outcome.receipt,
        "replayed": outcome.repeated,
        "account_number": number_of(outcome.account),
        "amount": event.amount,
        "stream": outcome.account,
        "entry": outcome.version or 0,
    }


def _message(info: Info, role: Role, key: str, stream: str, command: Command, content: object) -> Message:
    return message_of(info, info.context.caller_for(role), key, stream, command, raw_of(content))


@strawberry.type
class MoneyMutation:
    """What may be done with money and with the rules; no type of the schema."""

    @strawberry.mutation(
        description="Receive a payment (bank, agent). `paymentId` is its name: sent again, it gets its first answer."
    )
    async def receive_payment(self, info: Info, input: inputs.ReceivePaymentInput) -> ReceivePaymentResult:
        """Receive a payment."""
        key, agent = key_of(input.payment_id, "paymentId"), agent_of(info)
        order = PayOrder(
            key,
            input.account,
            input.amount,
            input.paid_on,
            input.purpose,
            quoted=agreed(agent.partner, input.amount, input.paid_on),
        )
        named = ["input", "paymentId"]
        paths = {
            Reason.BAD_DATES: ["input", "paidOn"],
            Reason.MESSAGE_ID_REUSED: named,
            Reason.BAD_MESSAGE_ID: named,
        }
        with or_later():
            paid = await pay(info.context.app.till, agent, order, request_id=info.context.request_id)
        outcome = _judged(paid.payment, money_events.PaymentReceived, paths)
        if not isinstance(outcome, Outcome):
            return outcome
        event: Any = outcome.events[0]
        return PaymentReceived(
            **_moved(outcome),
            paid_on=event.paid_on,
            purpose=event.purpose,
            unallocated=event.unallocated,
            unallocated_text=UNALLOCATED.get(event.unallocated),
        )

    @strawberry.mutation(description="Reverse a payment that its bank or payer took back (operator).")
    async def reverse_payment(self, info: Info, input: inputs.ReversePaymentInput) -> ReversePaymentResult:
        """Reverse a payment."""
        if (input.receipt is None) == (input.payment_id is None):
            raise BadUserInputError("Give `receipt` or `paymentId`, one of the two.")
        key = key_of(input.idempotency_key)
        field = "receipt" if input.receipt is not None else "paymentId"
        async with info.context.app.pool.acquire() as db:
            if input.receipt is not None:
                row = await payments.by_receipt(db, input.receipt)
            else:
                # A bank knows its payment by its id alone, wherever it was moved since.
                app = info.context.app
                found = await payments.by_id(db, input.payment_id or "", app.door.raw_texts.guarded, app.partners)
                if len(found) > 1:
                    raise BadUserInputError("Several payers have a payment of this `paymentId`: give its `receipt`.")
                row = await payments.where_now(db, found[0]) if found else None
        if row is None:
            detail = (input.receipt or input.payment_id or "")[:40]
            return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=detail, path=["input", field])
        async with info.context.app.pool.acquire() as db:
            came = await payments.origin(db, row)
        command = commands.ReversePayment(
            EntryNumber(row.entry), info.context.app.intake.clock(), note_of(input.ground, "ground")
        )
        message = _message(info, Role.OPERATOR, key, row.account, command, ("reversePayment", input))
        named = ["input", field]
        paths = {Reason.UNKNOWN_PAYMENT: named, Reason.PAYMENT_MOVED: named, Reason.PAYMENT_REVERSED: named}
        async with refunds.taking_back(info.context.app.till.counter, came) as is_whole:
            if not is_whole:
                # A part of it went back already, or is about to: the whole would be too much.
                return refused_command(Reason.PAYMENT_REVERSED, number_of(row.account) or "", path=["input", field])
            outcome = await _send(info, message, money_events.PaymentReversed, paths)
        if not isinstance(outcome, Outcome):
            return outcome
        event: Any = outcome.events[0]
        return PaymentReversed(
            **_moved(outcome),
            payment_id=event.reference,
        )

    @strawberry.mutation(description="Return an overpayment, or an unallocated payment (operator).")
    async def make_refund(self, info: Info, input: inputs.MakeRefundInput) -> MakeRefundResult:
        """Return an overpayment."""
        if (input.account is None) == (input.receipt is None):
            raise BadUserInputError("Give `account` or `receipt`, one of the two.")
        key = key_of(input.idempotency_key)
        stream = input.account
        if stream is None:
            async with info.context.app.pool.acquire() as db:
                row = await payments.by_receipt(db, input.receipt or "")
            if row is None:
                detail = (input.receipt or "")[:40]
                return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=detail, path=["input", "receipt"])
            stream = row.account
        command = commands.MakeRefund(input.amount, info.context.app.intake.clock(), note_of(input.ground, "ground"))
        content = ("makeRefund", input.account, input.receipt, f"{input.amount.normalize():f}", input.ground)
        message = _message(info, Role.OPERATOR, key, stream, command, content)
        outcome = await _send(info, message, money_events.RefundMade, {})
        if not isinstance(outcome, Outcome):
            return outcome
        return RefundMade(**_moved(outcome))

    @strawberry.mutation(
        description="Move a payment to the account where it belongs, or allocate an unallocated one (operator)."
    )
    async def move_payment(self, info: Info, input: inputs.MovePaymentInput) -> MovePaymentResult:
        """Move a payment."""
        key = key_of(input.idempotency_key)
        app = info.context.app
        async with app.pool.acquire() as db:
            row = await payments.by_receipt(db, input.receipt)
        if row is None:
            return refused_command(Reason.UNKNOWN_PAYMENT, "", detail=input.receipt[:40])
        try:
            target = await app.intake.account(input.to)
        except TryLater:
            raise TryLaterError from None
        if target.situation not in (Situation.OPEN, Situation.CLOSED):
            return refused_command(Reason.UNKNOWN_ACCOUNT, input.to, path=["input", "to"])
        return await _move(info, input, key, row)

    @strawberry.mutation(description="Publish rules over those in force (operator): first look at `previewRulebook`.")
    async def publish_rulebook(self, info: Info, input: inputs.PublishRulebookInput) -> PublishRulebookResult:
        """Publish rules."""
        key = key_of(input.idempotency_key)
        app = info.context.app
        caller = info.context.caller_for(Role.OPERATOR)
        reason = clean_text(input.retroactive) if input.retroactive is not None else None
        raw = raw_of(("publishRulebook", input.toml, reason))
        try:
            before = await _published_before(info, key, raw)
            if before is None:
                base = await app.intake.rules()
                book = await asyncio.to_thread(read_rulebook, input.toml, base)
                command = await publication(app.pool, app.intake, book, f"publishRulebook, {caller.actor}", reason)
                before = await submit(info, message_of(info, caller, key, RULEBOOK, command, raw))
        except RulebookFileError as error:
            return RulebookFaulty.of(error)
        except TryLater:
            raise TryLaterError from None
        paths = {Reason.PAST_CHARGED: ["input", "retroactive"]}
        outcome = _judged(before, money_events.RulebookPublished, paths)
        if not isinstance(outcome, Outcome):
            return outcome
        event: Any = outcome.events[0]
        return RulebookPublished(
            receipt=outcome.receipt,
            replayed=outcome.repeated,
            number=event.book.number,
            version=event.book.version,
            since=event.since,
            retroactive=event.retroactive,
        )


async def _move(info: Info, input: inputs.MovePaymentInput, key: str, row: PaymentRow) -> MovePaymentResult:
    """Take the payment from its account, then book it on the other: sent again after a crash between, it is booked."""
    content = ("movePayment", input)
    at = info.context.app.intake.clock()
    taking = commands.MovePaymentOut(
        EntryNumber(row.entry), AccountNumber(input.to), at, note_of(input.ground, "ground")
    )
    paths = {
        Reason.PAYMENT_MOVED: ["input", "receipt"],
        Reason.PAYMENT_REVERSED: ["input", "receipt"],
        Reason.UNKNOWN_ACCOUNT: ["input", "to"],
    }
    message = _message(info, Role.OPERATOR, f"{key}:out", row.account, taking, content)
    taken = await _send(info, message, money_events.PaymentMovedOut, paths)
    if not isinstance(taken, Outcome):
        return taken
    out: Any = taken.events[0]
    booking = commands.MovePaymentIn(
        out.amount,
        out.paid_on,
        out.moved_at,
        out.purpose,
        out.reference,
        AccountNumber(row.account),
        out.payment,
        out.ground,
    )
    message = _message(info, Role.OPERATOR, f"{key}:in", input.to, booking, content)
    booked = await _send(info, message, money_events.PaymentMovedIn, paths)
    if not isinstance(booked, Outcome):
        return booked
    return PaymentMoved(
        **_moved(booked),
        moved_from=number_of(row.account),
        paid_on=out.paid_on,
        purpose=out.purpose,
        source=row.account,
        source_entry=taken.version or 0,
    )


async def _published_before(info: Info, key: str, raw: str) -> Outcome | None:
    """Find the first outcome of the same publication: a file says something else over other rules."""
    async with info.context.app.pool.acquire() as db:
        caller = info.context.caller_for(Role.OPERATOR)
        found = await find_messages(db, [(caller.channel.value, name_of(info, caller, key))])
        return (await outcomes_of(db, found))[0] if found and found[0].content == digest(raw) else None
