"""Outcomes of mutations: unions named as the events are named. An expected refusal is data, not an error."""

from __future__ import annotations

from typing import Annotated

import strawberry

from bels.access.callers import WHOLE, Sight
from bels.api.accounts import Account, find_account
from bels.api.context import Info
from bels.api.engine.scalars import Money
from bels.api.objects import (
    AuditEntry,
    Reading,
    Recalculation,
    RegisterKwh,
    find_reading,
    kwh,
)
from bels.api.sums import ChargeLine, charges
from bels.domain import events, terms
from bels.domain.terms import Period
from bels.intake import Preview
from bels.journal.entry import Entry
from bels.messages import Outcome
from bels.projections.audit import tell
from bels.words import refusal


@strawberry.interface(
    description="An expected refusal: a stable code, the text for the person, and how to do it right."
)
class Refusal:
    """An expected refusal."""

    code: terms.Reason = strawberry.field(description="The stable code, the same on every channel.")
    text: str = strawberry.field(description="What is wrong, in Russian.")
    hint: str | None = strawberry.field(description="The correct example or the next step, in Russian.")
    path: list[str] | None = strawberry.field(description="The place in the input that is wrong.")


@strawberry.type
class _ReadingTaken:
    """What an accepted and a held reading have in common; no type of the schema."""

    receipt: str = strawberry.field(description="The receipt: ask for its state at any time.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")
    account_number: str = strawberry.field(description="The account.")
    entry: int = strawberry.field(description="The entry of the account's journal: the reading's name for ever.")

    @strawberry.field(description="The reading, and what became of it since.")
    async def reading(self, info: Info) -> Reading | None:
        """Find the reading."""
        return await find_reading(info, self.account_number, self.entry)

    @strawberry.field(description="The account as it stands now.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        return await find_account(info, self.account_number)


@strawberry.type(description="A reading that counts for its period unless a later one replaces it.")
class ReadingAccepted(_ReadingTaken):
    """A reading that counts."""

    period: Period = strawberry.field(description="The period it counts for.")
    consumption: list[RegisterKwh] = strawberry.field(description="kWh since the reading it was compared with.")
    superseded_at_once: bool = strawberry.field(description="It came late: one received after it already counts.")


@strawberry.type(description="A reading that does not count until it is confirmed.")
class ReadingHeld(_ReadingTaken):
    """A reading on hold."""

    period: Period = strawberry.field(description="The period it would count for.")
    consumption: list[RegisterKwh] = strawberry.field(description="kWh that it would mean.")
    reason: terms.HoldReason = strawberry.field(description="Why it is held.")
    text: str = strawberry.field(description="The same in Russian.")
    limit: int | None = strawberry.field(description="The plausible kWh that it exceeds.")


@strawberry.type(description="A reading that was not taken, with the reason and how to do it right.")
class ReadingRefused(Refusal):
    """A reading that was not taken."""

    receipt: str | None = strawberry.field(description="The receipt of the message; null in a preview.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")


@strawberry.type(description="A message that could not be handled: it is kept with its content for an operator.")
class MessageParked:
    """A message kept for an operator."""

    receipt: str = strawberry.field(description="Its receipt.")
    replayed: bool = strawberry.field(description="The message had come before.")
    text: str = strawberry.field(description="What that means, in Russian.")


@strawberry.type(description="A command that was refused, with the reason and how to do it right.")
class CommandRefused(Refusal):
    """A command that was refused."""

    receipt: str | None = strawberry.field(description="The receipt of the message.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")
    detail: str | None = strawberry.field(description="What exactly is in the way.")


@strawberry.type(description="A command that was carried out: everything it led to, in words.")
class CommandDone:
    """A command that was carried out."""

    receipt: str = strawberry.field(description="The receipt of the message.")
    replayed: bool = strawberry.field(description="The message had come before; this is its first outcome.")
    account_number: str = strawberry.field(description="The account.")
    entries: list[AuditEntry] = strawberry.field(
        description="The entries of the account's journal, the first names it."
    )

    @strawberry.field(description="The account as it stands now.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        return await find_account(info, self.account_number)


@strawberry.type(description="The whole effect of a reading, and nothing is stored.")
class ReadingPreview:
    """The whole effect of a reading."""

    period: Period = strawberry.field(description="The period it would count for.")
    held: terms.HoldReason | None = strawberry.field(
        description="Why it would be held; null when it would be accepted."
    )
    text: str | None = strawberry.field(description="The same in Russian.")
    limit: int | None = strawberry.field(description="The plausible kWh that it would exceed.")
    consumption: list[RegisterKwh] = strawberry.field(description="kWh since the reading it is compared with.")
    mode: terms.Mode | None = strawberry.field(description="How the period would then be billed.")
    usage: list[RegisterKwh] = strawberry.field(description="kWh that its closing would bill.")
    recalculations: list[Recalculation] = strawberry.field(
        description="The recalculations that the closing would post."
    )
    cost: list[ChargeLine] = strawberry.field(description="What its closing would charge, register by register.")
    bill: Money | None = strawberry.field(description="The bill of the period, recalculations included.")
    balance_before: Money = strawberry.field(description="What is owed now: negative is an advance.")
    balance_after: Money = strawberry.field(description="What would be owed after the closings through the period.")
    stopped: terms.Reason | None = strawberry.field(
        description="Why a closing would not go through (a rate is not known); the money is told up to there."
    )
    supersedes: list[int] = strawberry.field(description="Entries of the readings it would replace.")
    account_version: int = strawberry.field(description="The state of the account that this rests on.")


SubmitReadingResult = Annotated[
    ReadingAccepted | ReadingHeld | ReadingRefused | MessageParked,
    strawberry.union("SubmitReadingResult", description="What became of a reading."),
]
PreviewReadingResult = Annotated[
    ReadingPreview | ReadingRefused,
    strawberry.union("PreviewReadingResult", description="What would become of a reading."),
]
CommandResult = Annotated[
    CommandDone | CommandRefused | MessageParked,
    strawberry.union("CommandResult", description="What became of a command."),
]


@strawberry.type(description="The outcome of one row.")
class RowOutcome:
    """The outcome of one row."""

    index: int = strawberry.field(description="The row's place in the input, from 0.")
    outcome: SubmitReadingResult = strawberry.field(description="What became of it.")


@strawberry.type(description="The outcome of every row, in the order of the input.")
class SubmitReadingsResult:
    """The outcome of every row."""

    rows: list[RowOutcome] = strawberry.field(description="One for each row of the input.")
    accepted: int = strawberry.field(description="How many were accepted.")
    held: int = strawberry.field(description="How many are held.")
    refused: int = strawberry.field(description="How many were refused.")


HOLD_TEXTS = {
    terms.HoldReason.LESS_THAN_PREVIOUS: "Не учтено: значение меньше прежнего. Решит оператор.",
    terms.HoldReason.IMPLAUSIBLE: "Не учтено: расход очень велик. Если показание верно, подтвердите его.",
    terms.HoldReason.MORE_THAN_NEXT: "Не учтено: значение больше более позднего. Решит оператор.",
    terms.HoldReason.UNCONFIRMED_SENDER: "Не учтено: не подтверждено, что отправитель может менять показания этого счёта.",
}

PARKED = "Сообщение сохранено и отложено для оператора: обработать его автоматически не удалось."

PATHS: dict[terms.Reason, list[str]] = {
    terms.Reason.BAD_ACCOUNT: ["input", "account"],
    terms.Reason.UNKNOWN_ACCOUNT: ["input", "account"],
    terms.Reason.ACCOUNT_CLOSED: ["input", "account"],
    terms.Reason.FOREIGN_METER: ["input", "meter"],
    terms.Reason.METER_CLOSED: ["input", "meter"],
    terms.Reason.TAKEN_IN_FUTURE: ["input", "takenAt"],
    terms.Reason.BAD_VALUE: ["input", "values"],
    terms.Reason.TOO_FEW_VALUES: ["input", "values"],
    terms.Reason.TOO_MANY_VALUES: ["input", "values"],
    terms.Reason.TOO_MANY_DIGITS: ["input", "values"],
    terms.Reason.MESSAGE_ID_REUSED: ["input", "idempotencyKey"],
    terms.Reason.NOT_HELD: ["input", "receipt"],
    terms.Reason.UNKNOWN_READING: ["input", "receipt"],
    terms.Reason.VALUES_DIFFER: ["input", "values"],
    terms.Reason.MEANING_REQUIRED: ["input", "meaning"],
    terms.Reason.BAD_MEANING: ["input", "meaning"],
    terms.Reason.PERIOD_NOT_OVER: ["input", "period"],
    terms.Reason.PERIOD_ALREADY_CLOSED: ["input", "period"],
    terms.Reason.PERIOD_OUT_OF_ORDER: ["input", "period"],
    terms.Reason.BAD_AMOUNT: ["input", "amount"],
    terms.Reason.REFUND_ABOVE_CREDIT: ["input", "amount"],
    terms.Reason.AMOUNT_TOO_SMALL: ["input", "amount"],
    terms.Reason.AMOUNT_TOO_LARGE: ["input", "amount"],
    terms.Reason.COMMISSION_CHANGED: ["input", "commission"],
    terms.Reason.UNKNOWN_PAYMENT: ["input", "receipt"],
    terms.Reason.SAME_ACCOUNT: ["input", "to"],
    terms.Reason.BAD_RULEBOOK: ["input", "toml"],
    terms.Reason.NOTHING_CHANGES: ["input", "toml"],
    terms.Reason.PAST_CHARGED: ["input", "toml"],
}
"""Where in the input each refusal points; the ones not named are about the account itself."""


def submitted(outcome: Outcome) -> ReadingAccepted | ReadingHeld | ReadingRefused | MessageParked:
    """Show the outcome of a submitted reading."""
    if not outcome.events:
        return parked(outcome)
    event, entry = outcome.events[0], outcome.version or 0
    if isinstance(event, events.ReadingAccepted):
        return ReadingAccepted(
            receipt=outcome.receipt,
            replayed=outcome.repeated,
            account_number=outcome.account,
            entry=entry,
            period=event.period,
            consumption=kwh(event.delta),
            superseded_at_once=any(
                isinstance(e, events.ReadingSuperseded) and e.reading == entry for e in outcome.events
            ),
        )
    if isinstance(event, events.ReadingHeld):
        return ReadingHeld(
            receipt=outcome.receipt,
            replayed=outcome.repeated,
            account_number=outcome.account,
            entry=entry,
            period=event.period,
            consumption=kwh(event.delta),
            reason=event.reason,
            text=HOLD_TEXTS[event.reason],
            limit=event.limit,
        )
    if isinstance(event, events.ReadingRefused):
        return refused_reading(event, outcome.account, outcome.receipt, outcome.repeated)
    raise TypeError(type(event).__name__)


def row_outcome(
    outcome: Outcome | None, index: int, not_seen: str | None = None
) -> ReadingAccepted | ReadingHeld | ReadingRefused | MessageParked:
    """Show the outcome of a row; a refusal points into the row.

    It is None where the row has no name to be taken under, or where its account is ``not_seen`` by the caller.
    """
    shown: ReadingAccepted | ReadingHeld | ReadingRefused | MessageParked
    if not_seen is not None:
        shown = not_seen_reading(not_seen)
    elif outcome is None:
        words = refusal(terms.Reason.BAD_MESSAGE_ID)
        shown = ReadingRefused(
            code=terms.Reason.BAD_MESSAGE_ID,
            text=words.text,
            hint=words.hint,
            path=["input", "idempotencyKey"],
            receipt=None,
            replayed=False,
        )
    else:
        shown = submitted(outcome)
    if isinstance(shown, ReadingRefused) and shown.path is not None:
        shown.path = ["input", "rows", str(index), *shown.path[1:]]
    return shown


def refused_reading(event: events.ReadingRefused, account: str, receipt: str | None, repeated: bool) -> ReadingRefused:
    """Show why a reading was not taken."""
    words = refusal(event.reason, event.expected, account, detail=event.detail, capacity=event.capacity)
    path = PATHS.get(event.reason)
    if event.reason in (terms.Reason.BAD_VALUE, terms.Reason.TOO_MANY_DIGITS):
        names = list(event.values)
        bad = next((i for i, name in enumerate(names) if event.values[name][:40] == event.detail), None)
        path = ["input", "values", str(bad), "value"] if bad is not None else path
    hint = words.hint
    if path is not None and "values" in path and event.expected:
        hint = f"Пример: values: [{', '.join(_example(register) for register in event.expected)}]"
    return ReadingRefused(code=event.reason, text=words.text, hint=hint, path=path, receipt=receipt, replayed=repeated)


def not_seen_reading(account: str) -> ReadingRefused:
    """Refuse a reading for an account that the caller does not see, in the words for one that is not there."""
    words = refusal(terms.Reason.UNKNOWN_ACCOUNT, (), account)
    path = PATHS[terms.Reason.UNKNOWN_ACCOUNT]
    return ReadingRefused(
        code=terms.Reason.UNKNOWN_ACCOUNT, text=words.text, hint=words.hint, path=path, receipt=None, replayed=False
    )


def _example(register: terms.Register) -> str:
    return f'{{register: {register.name}, value: "12345"}}'


def refused_command(
    reason: terms.Reason,
    account: str,
    receipt: str | None = None,
    repeated: bool = False,
    detail: str | None = None,
    path: list[str] | None = None,
) -> CommandRefused:
    """Show why a command was refused; ``path`` is where its input has what others have elsewhere."""
    words = refusal(reason, (), account, detail=detail)
    return CommandRefused(
        code=reason,
        text=words.text,
        hint=words.hint,
        path=path or PATHS.get(reason),
        receipt=receipt,
        replayed=repeated,
        detail=detail,
    )


def parked(outcome: Outcome) -> MessageParked:
    """Show a message that waits for an operator."""
    return MessageParked(receipt=outcome.receipt, replayed=outcome.repeated, text=PARKED)


def previewed(preview: Preview, account: str, sight: Sight = WHOLE) -> ReadingPreview | ReadingRefused:
    """Show what a reading would lead to, without recalculations of what a household before used."""
    event = preview.events[0]
    if isinstance(event, events.ReadingRefused):
        return refused_reading(event, account, None, False)
    if not isinstance(event, events.ReadingAccepted | events.ReadingHeld):
        raise TypeError(type(event).__name__)
    closing = next(
        (e for e in preview.closings if isinstance(e, events.PeriodClosed) and e.period == event.period), None
    )
    held = event.reason if isinstance(event, events.ReadingHeld) else None
    return ReadingPreview(
        period=event.period,
        held=held,
        text=HOLD_TEXTS[held] if held is not None else None,
        limit=event.limit if isinstance(event, events.ReadingHeld) else None,
        consumption=kwh(event.delta),
        mode=closing.mode if closing is not None else None,
        usage=kwh(closing.usage) if closing is not None else [],
        recalculations=[
            Recalculation.foreseen(e)
            for e in preview.closings
            if isinstance(e, events.UsageRecalculated) and e.period >= (sight.period or "")
        ],
        cost=charges(closing.charges) if closing is not None else [],
        bill=closing.bill if closing is not None else None,
        balance_before=preview.before.ledger.balance,
        balance_after=preview.closed.ledger.balance,
        stopped=preview.stopped.reason if preview.stopped is not None else None,
        supersedes=[
            e.reading for e in preview.events if isinstance(e, events.ReadingSuperseded) and e.reading > sight.entry
        ],
        account_version=preview.before.version,
    )


def done(outcome: Outcome, channel: terms.Channel, actor: str) -> CommandDone | CommandRefused | MessageParked:
    """Show the outcome of a command that is no reading."""
    if not outcome.events:
        return parked(outcome)
    event = outcome.events[0]
    if isinstance(event, events.CommandRefused):
        return refused_command(event.reason, outcome.account, outcome.receipt, outcome.repeated, event.detail)
    first = outcome.version or 1
    number = terms.AccountNumber(outcome.account)
    entries = [
        AuditEntry.of(tell(Entry(number, first + i, outcome.recorded_at, channel, actor, outcome.receipt, e)))
        for i, e in enumerate(outcome.events)
    ]
    return CommandDone(
        receipt=outcome.receipt, replayed=outcome.repeated, account_number=outcome.account, entries=entries
    )
