"""The office: hours and outages, what was not understood, who waits for a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Annotated

import strawberry

from bels.access.callers import Right
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.entries import EntryQuery
from bels.api.enums import describe
from bels.api.inputs import KEY
from bels.api.messages import key_of, note_of, or_later
from bels.api.objects import After, First
from bels.api.outcomes import CommandRefused, refused_command
from bels.domain import terms
from bels.domain.terms import Reason, Role
from bels.journal.write import Db
from bels.projections import overview
from bels.reception import outages, waiting
from bels.reception.office import PhoneKind, hours_ahead, state_of, words_of
from bels.reception.outages import KeyReused, NewOutage, OutageError, OutageKind
from bels.reception.waiting import HandOverReason

NOTE_LENGTH_MIN = 3
NOTE_LENGTH_MAX = 300
NUMBER_MAX = 2**53
AT_RANGE = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC))
"""Moments for which there is a calendar to ask."""

At = Annotated[datetime | None, strawberry.argument(description="When; now where it is not given.")]
NOTE = "What was done, 3 to 300 characters, without phones and e-mails; kept for the auditor."

strawberry.enum(PhoneKind, description="What a phone of the supplier is for.")
strawberry.enum(OutageKind, description="Why there is no electricity.")
strawberry.enum(HandOverReason, description="Why a call or a chat waits for a person.")
describe(
    {
        PhoneKind.HOTLINE: "A person answers, in office hours (горячая линия).",
        PhoneKind.SMS: "Takes readings as SMS.",
        PhoneKind.VOICE_MENU: "Takes readings by keys, day and night (автоответчик).",
    }
)
describe(
    {
        OutageKind.PLANNED: "Planned works (плановые работы).",
        OutageKind.EMERGENCY: "An emergency (авария).",
    }
)
describe(
    {
        HandOverReason.ASKED: "The sender asked for a person.",
        HandOverReason.THREE_TRIES: "It could not be understood three times.",
        HandOverReason.HELD_READING: "A reading is held that only an operator may decide.",
        HandOverReason.OTHER: "Another reason.",
    }
)


@strawberry.type(description="A phone of the supplier.")
class OfficePhone:
    """A phone of the supplier."""

    kind: PhoneKind = strawberry.field(description="What it is for.")
    number: str = strawberry.field(description="As it is written for people.")


@strawberry.type(description="A day of the office.")
class OfficeDay:
    """A day of the office."""

    day: date = strawberry.field(description="The day.")
    opens_at: datetime | None = strawberry.field(description="When it opens; null where it is closed all day.")
    closes_at: datetime | None = strawberry.field(description="When it closes; an hour earlier before a holiday.")


@strawberry.type(description="The office: where it is, its phones, its hours, and whether it is open.")
class Office:
    """The office at a moment."""

    address: str = strawberry.field(description="Where it is.")
    served: str = strawberry.field(description="The towns that it serves.")
    phones: list[OfficePhone] = strawberry.field(description="Its phones.")
    is_open: bool = strawberry.field(description="Whether it is open at that moment.")
    closes_at: datetime | None = strawberry.field(description="Until when it is open; null while it is closed.")
    opens_at: datetime | None = strawberry.field(
        description="When it opens again; null while it is open, or where that is not known."
    )
    text: str = strawberry.field(description="The same in Russian.")
    days: list[OfficeDay] = strawberry.field(description="The seven days from that one on.")


@strawberry.type(description="An outage as it was announced.")
class Outage:
    """An outage as it was announced."""

    number: int = strawberry.field(description="Its number.")
    kind: OutageKind = strawberry.field(description="Why there is no electricity.")
    locality: str = strawberry.field(description="The town or village.")
    places: str = strawberry.field(description="Streets and houses, in words.")
    since: datetime = strawberry.field(description="From when on.")
    until: datetime = strawberry.field(description="Until when, as far as is known.")
    text: str = strawberry.field(description="What else is to be said; may be empty.")
    words: str = strawberry.field(description="All of it in one Russian sentence or two.")
    announced_at: datetime = strawberry.field(description="When it was announced.")

    @classmethod
    def of(cls, row: outages.Outage, now: datetime) -> Outage:
        """Show a row, in words as of a moment."""
        return cls(
            number=row.number,
            kind=row.kind,
            locality=row.locality,
            places=row.places,
            since=row.since,
            until=row.until,
            text=row.text,
            words=outages.words_of(row, now),
            announced_at=row.announced_at,
        )


@strawberry.input(
    description=(
        "An outage to be announced. It names streets and houses, never people. Example: `{idempotencyKey: "
        '"outage-7", kind: PLANNED, locality: "Балашиха", places: "ул. Гражданская, 1–9", since: '
        '"2026-11-24T09:00:00+03:00", until: "2026-11-24T17:00:00+03:00"}`.'
    )
)
class AnnounceOutageInput:
    """An outage to be announced."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    kind: OutageKind = strawberry.field(description="Why there will be no electricity.")
    locality: str = strawberry.field(description="The town or village, at most 100 characters.")
    places: str = strawberry.field(description="Streets and houses, in words, at most 2,000 characters.")
    since: datetime = strawberry.field(description="From when on.")
    until: datetime = strawberry.field(description="Until when, at most 90 days later.")
    text: str = strawberry.field(default="", description="What else is to be said, at most 1,000 characters.")


@strawberry.input(description="The end of an outage, or an announcement that was wrong.")
class WithdrawOutageInput:
    """The end of an outage."""

    number: int = strawberry.field(description="Its number.")
    note: str = strawberry.field(description=NOTE)


@strawberry.type(description="An outage that was announced; every channel tells it from now on.")
class OutageAnnounced:
    """An outage that was announced."""

    outage: Outage = strawberry.field(description="The outage.")
    replayed: bool = strawberry.field(description="It had been announced under this key before.")


@strawberry.type(description="An outage that nobody is told of any more.")
class OutageWithdrawn:
    """An outage that nobody is told of any more."""

    outage: Outage = strawberry.field(description="The outage.")
    withdrawn_at: datetime = strawberry.field(description="Since when.")
    replayed: bool = strawberry.field(description="It had been withdrawn before.")


AnnounceOutageResult = Annotated[
    OutageAnnounced | CommandRefused,
    strawberry.union("AnnounceOutageResult", description="Whether the outage is announced."),
]


@strawberry.type(description="A message that nobody could read; its sender was told how to write it.")
class UnreadMessage:
    """A message that nobody could read."""

    receipt: str = strawberry.field(description="Its receipt.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    received_at: datetime = strawberry.field(description="When it came.")
    raw: str = strawberry.field(description="Its words; sealed but for operators of personal data.")


@strawberry.input(description="What was done with a message that nobody could read.")
class ResolveMessageInput:
    """What was done with a message that nobody could read."""

    receipt: str = strawberry.field(description="Its receipt.")
    note: str = strawberry.field(description=NOTE)
    account: str | None = strawberry.field(default=None, description="The account it was about, where that came out.")


@strawberry.type(description="A message that is off the list, with what was done.")
class MessageResolved:
    """A message that is off the list."""

    receipt: str = strawberry.field(description="Its receipt.")
    note: str = strawberry.field(description="What was done.")
    account_number: str | None = strawberry.field(description="The account it was about, where that came out.")
    resolved_at: datetime = strawberry.field(description="When.")
    replayed: bool = strawberry.field(description="It had been resolved before; this is what was noted then.")


ResolveMessageResult = Annotated[
    MessageResolved | CommandRefused,
    strawberry.union("ResolveMessageResult", description="Whether the message is off the list."),
]


@strawberry.type(description="A call or a chat that waits for a person.")
class HandOver:
    """A call or a chat that waits for a person."""

    number: int = strawberry.field(description="Its number.")
    channel: terms.Channel = strawberry.field(description="How the talk is held.")
    talk: str = strawberry.field(description="Which talk it is on that channel; names nobody.")
    account_number: str | None = strawberry.field(description="The account it is about, where that is known.")
    reason: HandOverReason = strawberry.field(description="Why it waits.")
    at: datetime = strawberry.field(description="Since when.")
    taken_by: str | None = strawberry.field(description="The operator who has it; null while it waits.")
    taken_at: datetime | None = strawberry.field(description="Since when the operator has it.")
    done_at: datetime | None = strawberry.field(description="When it was over.")

    @classmethod
    def of(cls, row: waiting.HandOver) -> HandOver:
        """Show a row."""
        return cls(
            number=row.number,
            channel=row.channel,
            talk=row.talk,
            account_number=row.account,
            reason=row.reason,
            at=row.at,
            taken_by=row.taken_by,
            taken_at=row.taken_at,
            done_at=row.done_at,
        )


@strawberry.input(description="A call or a chat that an operator takes.")
class TakeHandOverInput:
    """A call or a chat that an operator takes."""

    number: int = strawberry.field(description="Its number.")


@strawberry.input(description="A call or a chat that is over.")
class FinishHandOverInput:
    """A call or a chat that is over."""

    number: int = strawberry.field(description="Its number.")
    note: str = strawberry.field(description=NOTE)


@strawberry.type(description="A call or a chat that is the caller's.")
class HandOverTaken:
    """A call or a chat that is the caller's."""

    hand_over: HandOver = strawberry.field(description="The talk.")


@strawberry.type(description="A call or a chat that is over, as the caller noted.")
class HandOverFinished:
    """A call or a chat that is over."""

    hand_over: HandOver = strawberry.field(description="The talk.")


@strawberry.type(description="A call or a chat that another operator has, or had.")
class HandOverWithAnother:
    """A call or a chat that another operator has."""

    hand_over: HandOver = strawberry.field(description="The talk, with who has it.")


TakeHandOverResult = Annotated[
    HandOverTaken | HandOverWithAnother,
    strawberry.union("TakeHandOverResult", description="Whose the talk is."),
]
FinishHandOverResult = Annotated[
    HandOverFinished | HandOverWithAnother,
    strawberry.union("FinishHandOverResult", description="Whether the talk is over."),
]


@strawberry.type
class OfficeQuery(EntryQuery):
    """What may be asked of the office; no type of the schema."""

    @strawberry.field(description="The office: address, phones, hours, and whether it is open; public.")
    async def office(self, info: Info, at: At = None) -> Office:
        """Tell of the office."""
        app = info.context.app
        moment, found = _moment(info, at), info.context.app.office
        state = state_of(found, moment, app.intake.rulebook)
        return Office(
            address=found.address,
            served=found.served,
            phones=[OfficePhone(kind=phone.kind, number=phone.number) for phone in found.phones],
            is_open=state.is_open,
            closes_at=state.closes_at,
            opens_at=state.opens_at,
            text=words_of(found, state),
            days=[
                OfficeDay(
                    day=day,
                    opens_at=hours.opens_at if hours is not None else None,
                    closes_at=hours.closes_at if hours is not None else None,
                )
                for day, hours in hours_ahead(found, moment, app.intake.rulebook)
            ],
        )

    @strawberry.field(description="Outages of a moment, and those that begin within three days; public.")
    async def outages(self, info: Info, at: At = None, first: First = None, after: After = None) -> Connection[Outage]:
        """List outages."""
        moment = _moment(info, at)
        page = read_page(first=first, after=after, kinds=(datetime, int))
        async with _database(info) as db:
            rows = await outages.outages_at(db, moment, page.after, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        return connect(rows, page, node=lambda row: Outage.of(row, moment), key=lambda row: (row.until, row.number))

    @strawberry.field(description="Messages that nobody could read and nobody dealt with, oldest first.")
    async def messages_not_understood(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[UnreadMessage]:
        """List messages that were not understood."""
        page = read_page(first=first, after=after, kinds=(datetime, str))
        async with _database(info) as db:
            rows = await waiting.not_understood(db, page.after, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        opens = Right.OPERATOR_PEOPLE in info.context.caller.rights
        texts = info.context.app.door.raw_texts
        return connect(
            rows,
            page,
            node=lambda row: UnreadMessage(
                receipt=row.receipt,
                channel=row.channel,
                received_at=row.recorded_at,
                raw=texts.opened(row.raw) if opens else row.raw,
            ),
            key=lambda row: (row.recorded_at, row.receipt),
        )

    @strawberry.field(description="Calls and chats that wait for a person, or are with one, oldest first.")
    async def hand_overs(self, info: Info, first: First = None, after: After = None) -> Connection[HandOver]:
        """List what was handed over."""
        page = read_page(first=first, after=after, kinds=(datetime, int))
        async with _database(info) as db:
            rows = await waiting.hand_overs(db, page.after, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        info.context.saw(row.account for row in rows if row.account is not None)
        return connect(rows, page, node=HandOver.of, key=lambda row: (row.at, row.number))


@strawberry.type
class OfficeMutation:
    """What the office does; no type of the schema."""

    @strawberry.mutation(description="Announce an outage: every channel tells it (operator).")
    async def announce_outage(self, info: Info, input: AnnounceOutageInput) -> AnnounceOutageResult:
        """Announce an outage."""
        key, now = key_of(input.idempotency_key), info.context.app.intake.clock()
        new = NewOutage(input.kind, input.locality, input.places, input.since, input.until, input.text)
        if not outages.lasts(new):
            return refused_command(Reason.BAD_DATES, "", path=["input", "until"])
        by = info.context.caller_for(Role.OPERATOR).actor
        try:
            async with _database(info) as db:
                outage, replayed = await outages.announce(db, new, by, key, now)
        except OutageError as fault:
            raise BadUserInputError(str(fault)) from None
        except KeyReused:
            return refused_command(Reason.MESSAGE_ID_REUSED, "", path=["input", "idempotencyKey"])
        return OutageAnnounced(outage=Outage.of(outage, now), replayed=replayed)

    @strawberry.mutation(description="Withdraw an outage: it is over, or was announced by mistake (operator).")
    async def withdraw_outage(self, info: Info, input: WithdrawOutageInput) -> OutageWithdrawn:
        """Withdraw an outage."""
        note, now = _note(input.note), info.context.app.intake.clock()
        by = info.context.caller_for(Role.OPERATOR).actor
        async with _database(info) as db:
            found = await outages.withdraw(db, _number(input.number), by, note, now)
        if found is None:
            raise BadUserInputError(f"There is no outage {input.number}.")
        outage, replayed = found
        return OutageWithdrawn(
            outage=Outage.of(outage, now), withdrawn_at=outage.withdrawn_at or now, replayed=replayed
        )

    @strawberry.mutation(
        description="Take a message that nobody could read off the list, with what was done (operator)."
    )
    async def resolve_message(self, info: Info, input: ResolveMessageInput) -> ResolveMessageResult:
        """Resolve a message."""
        note, now = _note(input.note), info.context.app.intake.clock()
        by = info.context.caller_for(Role.OPERATOR).actor
        receipt = input.receipt.strip().upper()
        async with _database(info) as db:
            account = input.account
            if account is not None and (
                info.context.see(account) is None or account not in await overview.find(db, [account])
            ):
                return refused_command(Reason.UNKNOWN_ACCOUNT, account)
            found = await waiting.resolve(db, receipt, note, account, by, now)
        if found is None:
            return refused_command(Reason.UNKNOWN_READING, "", detail=receipt[:40], path=["input", "receipt"])
        resolved, replayed = found
        return MessageResolved(
            receipt=resolved.receipt,
            note=resolved.note,
            account_number=resolved.account,
            resolved_at=resolved.at,
            replayed=replayed,
        )

    @strawberry.mutation(description="Take a call or a chat that waits: of two operators it is one's (operator).")
    async def take_hand_over(self, info: Info, input: TakeHandOverInput) -> TakeHandOverResult:
        """Take a talk."""
        by = info.context.caller_for(Role.OPERATOR).actor
        async with _database(info) as db:
            row = await waiting.take_hand_over(db, _number(input.number), by, info.context.app.intake.clock())
        found = _shown(info, row, input.number)
        if found.taken_by != by or found.done_at is not None:
            return HandOverWithAnother(hand_over=found)
        return HandOverTaken(hand_over=found)

    @strawberry.mutation(description="Finish a call or a chat, with what came of it (operator).")
    async def finish_hand_over(self, info: Info, input: FinishHandOverInput) -> FinishHandOverResult:
        """Finish a talk."""
        by, note = info.context.caller_for(Role.OPERATOR).actor, _note(input.note)
        async with _database(info) as db:
            row = await waiting.finish_hand_over(db, _number(input.number), by, note, info.context.app.intake.clock())
        found = _shown(info, row, input.number)
        return HandOverFinished(hand_over=found) if found.taken_by == by else HandOverWithAnother(hand_over=found)


@asynccontextmanager
async def _database(info: Info) -> AsyncIterator[Db]:
    """Give a connection.

    :raises TryLaterError: there is none now.
    """
    with or_later():
        async with info.context.app.pool.acquire() as db:
            yield db


def _moment(info: Info, at: datetime | None) -> datetime:
    moment = at or info.context.app.intake.clock()
    if not AT_RANGE[0] <= moment < AT_RANGE[1]:
        raise BadUserInputError("`at` must be a moment of 2000 to 2098.")
    return moment


def _note(text: str) -> str:
    note = note_of(text.strip(), "note")
    if not NOTE_LENGTH_MIN <= len(note) <= NOTE_LENGTH_MAX:
        raise BadUserInputError(f"`note` must have {NOTE_LENGTH_MIN} to {NOTE_LENGTH_MAX} characters.")
    return note


def _number(number: int) -> int:
    if not 0 < number < NUMBER_MAX:
        raise BadUserInputError("`number` must be a number that this API gave.")
    return number


def _shown(info: Info, row: waiting.HandOver | None, number: int) -> HandOver:
    if row is None:
        raise BadUserInputError(f"There is no talk {number}.")
    if row.account is not None:
        info.context.saw([row.account])
    return HandOver.of(row)
