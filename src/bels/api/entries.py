"""Many readings at once, as an operator types or pastes them, on behalf of consumers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

import strawberry

from bels.access.tenures import is_account
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.api.enums import describe
from bels.api.inputs import BEHALF, BehalfInput
from bels.api.messages import behalf_of, key_of, message_of, or_later, raw_of
from bels.api.objects import RegisterKwh, RegisterValue, kwh, shown
from bels.api.outcomes import HOLD_TEXTS, PARKED
from bels.domain import terms
from bels.domain.accept_reading import meter_at, reading_period
from bels.domain.account import Account, replay
from bels.domain.actual_readings import base_of, delta
from bels.domain.commands import SubmitReading
from bels.domain.decide import decide
from bels.domain.events import Event, ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.meter_models import display_of
from bels.domain.read_value import quoted
from bels.domain.repeat_reading import repeated_reading
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Kwh, Period, Reason, Role, Word
from bels.journal.entry import Behalf
from bels.journal.journal import find_messages
from bels.messages import Message, Outcome, Status
from bels.reception.grammar import BadAccount, Reading, Token, read_message
from bels.reception.submission import submission
from bels.reception.tables import Row, read_pasted
from bels.words import echo, refusal

ROWS_MAX = 500
LINES_MAX = 600
"""Rows, and a title and empty lines between them."""
KEY_LENGTH_MAX = 150
"""A row's message is named by the key and the number of its line."""


class EntryState(Word):
    """What became of a row, or would become of it."""

    ACCEPTED = "ACCEPTED"
    REPEATED = "REPEATED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


strawberry.enum(EntryState, description="What became of a row, or would become of it.")
describe(
    {
        EntryState.ACCEPTED: "The reading counts (принято).",
        EntryState.REPEATED: "It repeats a reading that counts (повтор).",
        EntryState.HELD: "It does not count until it is confirmed (на проверке).",
        EntryState.REFUSED: "It was not taken (не принято).",
        EntryState.PARKED: "It is kept for an operator: it could not be handled.",
    }
)


@strawberry.input(
    description=(
        "Readings as they stand in a spreadsheet or were typed, a line each: account and values, with or without names of "
        'the columns. Example: `{idempotencyKey: "list-7", lines: ["1000101;10385", "1000102 день 210 ночь 95"]}`.'
    )
)
class EnterReadingsInput:
    """Readings as they stand in a spreadsheet or were typed."""

    idempotency_key: strawberry.ID = strawberry.field(
        description="A name for this paste, yours, at most 150 characters: the same lines under it give the same outcomes for ever."
    )
    lines: list[str] = strawberry.field(description="At most 600 lines with 500 readings, as they were pasted.")
    dry_run: bool = strawberry.field(default=False, description="Only say what would happen, and store nothing.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.type(description="A row as it was understood, and what became of it or would become of it.")
class EnteredRow:
    """A row as it was understood."""

    line: int = strawberry.field(description="Its line, from 1.")
    account_number: str = strawberry.field(description="The account it names; empty where none can be read.")
    meter: str | None = strawberry.field(description="The meter in service; null where there is none.")
    values: list[RegisterValue] = strawberry.field(description="What was understood; empty where it was not.")
    previous: list[RegisterValue] = strawberry.field(description="The reading on which it rests.")
    difference: list[RegisterKwh] = strawberry.field(description="kWh since that one; empty where it is refused.")
    period: Period | None = strawberry.field(description="The period it counts for.")
    state: EntryState = strawberry.field(description="What became of it.")
    refusal: terms.Reason | None = strawberry.field(description="Why it was refused.")
    hold: terms.HoldReason | None = strawberry.field(description="Why it is held.")
    text: str = strawberry.field(description="The same in Russian.")
    hint: str | None = strawberry.field(description="How to do it right.")
    receipt: str | None = strawberry.field(description="Its receipt; null where nothing was stored.")
    replayed: bool = strawberry.field(description="The row had come under this key before: this is its first outcome.")


@strawberry.type(description="All rows, in the order of their lines.")
class EnteredReadings:
    """All rows."""

    rows: list[EnteredRow] = strawberry.field(description="One for each line with a reading.")
    accepted: int = strawberry.field(description="How many are accepted.")
    repeated: int = strawberry.field(description="How many only repeat.")
    held: int = strawberry.field(description="How many are held.")
    refused: int = strawberry.field(description="How many are refused.")
    dry_run: bool = strawberry.field(description="Nothing was stored.")

    @classmethod
    def of(cls, rows: list[EnteredRow], *, dry_run: bool) -> EnteredReadings:
        """Show rows with their sums."""
        states = [row.state for row in rows]
        return cls(
            rows=rows,
            accepted=states.count(EntryState.ACCEPTED),
            repeated=states.count(EntryState.REPEATED),
            held=states.count(EntryState.HELD),
            refused=states.count(EntryState.REFUSED),
            dry_run=dry_run,
        )


Lines = Annotated[
    list[str], strawberry.argument(description="At most 600 lines with 500 readings, as they were pasted.")
]


@strawberry.type
class EntryQuery:
    """What may be asked of many readings; no type of the schema."""

    @strawberry.field(
        description="Say what pasted readings mean: the previous values, the differences, what would be held; nothing is stored."
    )
    async def preview_entries(self, info: Info, lines: Lines) -> EnteredReadings:
        """Preview readings."""
        return EnteredReadings.of(await _previewed(info, _read(lines)), dry_run=True)


@strawberry.type
class EntryMutation:
    """How many readings are entered; no type of the schema."""

    @strawberry.mutation(
        description="Enter up to 500 pasted readings, each with its own outcome; pasted again, nothing is taken twice."
    )
    async def enter_readings(self, info: Info, input: EnterReadingsInput) -> EnteredReadings:
        """Enter readings."""
        typed = _read(input.lines)
        if input.dry_run:
            return EnteredReadings.of(await _previewed(info, typed), dry_run=True)
        key = key_of(input.idempotency_key)
        if len(key) > KEY_LENGTH_MAX:
            raise BadUserInputError(f"`idempotencyKey` must have 1 to {KEY_LENGTH_MAX} characters here.")
        behalf = await behalf_of(info, input.behalf)
        return EnteredReadings.of(await _entered(info, typed, key, behalf), dry_run=False)


@dataclass(frozen=True, slots=True)
class Typed:
    """A row as it stands on its line: an account, what was written with it, or why it cannot be read."""

    line: int
    account: str = ""
    tokens: tuple[Token, ...] = ()
    meter: str | None = None
    taken_on: date | None = None
    unread: Reason | None = None
    detail: str | None = None


def read_lines(lines: Sequence[str]) -> list[Typed]:
    """Read pasted lines: as a table where they are one, and every other line with an account as a message is read."""
    table = read_pasted("\n".join(line.replace("\n", " ").replace("\r", " ") for line in lines))
    rows = {row.number: row for row in table} if isinstance(table, tuple) else {}
    typed: list[Typed] = []
    for number, line in enumerate(lines, 1):
        row = rows.get(number)
        if row is not None and not is_account(row.account) and isinstance(read_message(line), Reading):
            # The line has another form than the table around it.
            row = None
        if row is not None:
            typed.append(_of_row(row))
        elif any(c.isdigit() for c in line) and (one := _of_line(number, line, in_table=bool(rows))) is not None:
            typed.append(one)
    return typed


def _of_row(row: Row) -> Typed:
    if not is_account(row.account):
        digits = str(len(row.account)) if row.account.isdigit() else "letters"
        return Typed(row.number, unread=Reason.BAD_ACCOUNT, detail=digits)
    if row.bad_date is not None:
        return Typed(row.number, row.account, unread=Reason.BAD_DATES, detail=quoted(row.bad_date))
    return Typed(row.number, row.account, row.tokens(), row.meter, row.taken_on)


def _of_line(number: int, line: str, *, in_table: bool) -> Typed | None:
    match read_message(line):
        case Reading(account, tokens, meter):
            return Typed(number, account, tokens, meter)
        case _ if in_table:
            # A title above a table and a sum under it have digits, too, but no account.
            return None
        case BadAccount(digits):
            return Typed(number, unread=Reason.BAD_ACCOUNT, detail=str(digits) if digits is not None else "letters")
        case _:
            return Typed(number, unread=Reason.NOT_UNDERSTOOD)


def _read(lines: Sequence[str]) -> list[Typed]:
    if len(lines) > LINES_MAX:
        raise BadUserInputError(f"`lines` may have {LINES_MAX} lines; this one has {len(lines)}.")
    typed = read_lines(lines)
    if not 1 <= len(typed) <= ROWS_MAX:
        raise BadUserInputError(f"`lines` must have 1 to {ROWS_MAX} readings; this one has {len(typed)}.")
    return typed


def _command(typed: Typed, account: Account, at: datetime) -> SubmitReading | ReadingRefused:
    """Name the values of a row as its account's meter does, now that it is known."""
    meter = meter_at(account, at)
    registers = meter.model.registers if meter is not None else ()
    if typed.unread is not None:
        return ReadingRefused(typed.unread, at, {}, registers, detail=typed.detail)
    display = display_of(meter.model) if meter is not None else None
    return submission(typed.tokens, registers, display, at, taken_on=typed.taken_on, meter=typed.meter)


async def _accounts(info: Info, typed: Sequence[Typed]) -> dict[str, Account]:
    seen = sorted({row.account for row in typed if row.account and info.context.see(row.account) is not None})
    with or_later():
        return await info.context.app.intake.accounts(seen)


async def _entered(info: Info, typed: Sequence[Typed], key: str, behalf: Behalf | None) -> list[EnteredRow]:
    intake = info.context.app.intake
    accounts, now = await _accounts(info, typed), intake.clock()
    messages: dict[int, Message] = {}
    for row in typed:
        account = accounts.get(row.account)
        if account is not None:
            messages[row.line] = _message(info, row, key, _command(row, account, now), behalf)
    with or_later():
        async with info.context.app.pool.acquire() as db:
            names = [(message.channel.value, message.message_id) for message in messages.values()]
            before = {found.message_id: found for found in await find_messages(db, names)}
        taken = await intake.handle(list(messages.values()))
    outcomes = dict(zip(messages, taken, strict=True))
    accounts = await _accounts(info, typed)
    rows = []
    for row in typed:
        outcome = outcomes.get(row.line)
        if outcome is None:
            rows.append(_unread(row))
            continue
        shown_row = _taken(row, accounts[row.account], outcome, intake.rulebook)
        found = before.get(messages[row.line].message_id)
        if found is not None:
            shown_row.replayed = True
            repeats = found.first_version is not None and found.last_version == found.first_version - 1
        else:
            repeats = outcome.repeated
        if repeats:
            shown_row.state = EntryState.REPEATED
        rows.append(shown_row)
    return rows


def _message(
    info: Info, row: Typed, key: str, command: SubmitReading | ReadingRefused, behalf: Behalf | None
) -> Message:
    said = () if behalf is None else (behalf,)
    pieces = [(token.kind.value, token.text) for token in row.tokens]
    raw = raw_of(("enterReadings", row.account, pieces, row.meter, row.taken_on, row.unread, row.detail, *said))
    raw = info.context.app.door.raw_texts.kept(raw, *(text for _, text in pieces))
    caller = info.context.caller_for(Role.OPERATOR)
    return message_of(info, caller, f"{key}/{row.line}", row.account, command, raw, behalf=behalf)


async def _previewed(info: Info, typed: Sequence[Typed]) -> list[EnteredRow]:
    intake = info.context.app.intake
    accounts, now = await _accounts(info, typed), intake.clock()
    rows = []
    for row in typed:
        account = accounts.get(row.account)
        if account is None:
            rows.append(_unread(row))
            continue
        command = _command(row, account, now)
        if isinstance(command, ReadingRefused):
            rows.append(_row(row, account, (command,), now, intake.rulebook))
            continue
        same = repeated_reading(account, command, intake.rulebook)
        if same is not None:
            rows.append(_repeat(row, account, same, now))
            continue
        events = decide(account, command, intake.rulebook)
        rows.append(_row(row, account, events, now, intake.rulebook))
        # A row below may be about the same account: it meets what this one would have led to.
        accounts[row.account] = replay(account, events) if not isinstance(events[0], ReadingRefused) else account
    return rows


def _taken(typed: Typed, account: Account, outcome: Outcome, rulebook: Rulebook) -> EnteredRow:
    if outcome.status is Status.PARKED or not outcome.events:
        row = _blank(typed, account, EntryState.PARKED, PARKED)
    else:
        row = _row(typed, account, outcome.events, outcome.recorded_at, rulebook)
    row.receipt = outcome.receipt
    return row


def _row(typed: Typed, account: Account, events: Sequence[Event], at: datetime, rulebook: Rulebook) -> EnteredRow:
    """Show what a row led to, or would lead to, beside the reading on which it rests."""
    match events[0]:
        case ReadingAccepted() as event:
            row = _blank(typed, account, EntryState.ACCEPTED, f"Принято: {echo(event.values)}")
            _compare(row, event, _values_of(account, event.base))
        case ReadingHeld() as event:
            row = _blank(typed, account, EntryState.HELD, HOLD_TEXTS[event.reason])
            row.hold = event.reason
            _compare(row, event, event.previous or _values_of(account, event.base))
        case ReadingRefused() as event:
            words = refusal(event.reason, event.expected, typed.account, detail=event.detail, capacity=event.capacity)
            row = _blank(typed, account, EntryState.REFUSED, words.text)
            row.refusal, row.hint = event.reason, words.hint
            row.previous = shown(_base_values(account, at, rulebook))
        case event:
            raise TypeError(type(event).__name__)
    return row


def _repeat(typed: Typed, account: Account, entry: int, at: datetime) -> EnteredRow:
    reading = next(r for r in account.readings if r.entry == entry)
    row = _blank(typed, account, EntryState.REPEATED, f"Уже принято: {echo(reading.values)}")
    row.values, row.period = shown(reading.values), reading.period
    meter = meter_at(account, at)
    base = base_of(account, reading.meter, reading.period, reading.at)
    if base is not None and meter is not None:
        row.previous = shown(base.values)
        row.difference = kwh(delta(base.values, reading.values, meter.model.capacity))
    return row


def _compare(row: EnteredRow, event: ReadingAccepted | ReadingHeld, previous: Kwh) -> None:
    row.values, row.previous, row.difference = shown(event.values), shown(previous), kwh(event.delta)
    row.period = event.period


def _blank(typed: Typed, account: Account | None, state: EntryState, text: str) -> EnteredRow:
    meter = account.meters[-1] if account is not None and account.meters else None
    return EnteredRow(
        line=typed.line,
        account_number=typed.account,
        meter=meter.model.number if meter is not None and meter.removed_at is None else None,
        values=[],
        previous=[],
        difference=[],
        period=None,
        state=state,
        refusal=None,
        hold=None,
        text=text,
        hint=None,
        receipt=None,
        replayed=False,
    )


def _unread(typed: Typed) -> EnteredRow:
    """Show a row of which no account is known: the operator sees it at once, so nothing of it is kept."""
    reason = typed.unread or Reason.UNKNOWN_ACCOUNT
    words = refusal(reason, (), typed.account, detail=typed.detail)
    row = _blank(typed, None, EntryState.REFUSED, words.text)
    row.refusal, row.hint = reason, words.hint
    return row


def _values_of(account: Account, entry: int) -> Kwh:
    return next((reading.values for reading in account.readings if reading.entry == entry), {})


def _base_values(account: Account, at: datetime, rulebook: Rulebook) -> Kwh:
    meter = meter_at(account, at)
    base = base_of(account, meter.entry, reading_period(at, rulebook), at) if meter is not None else None
    return base.values if base is not None else {}
