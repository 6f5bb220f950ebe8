"""Reminders and notices: which a household chose, by which channel, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Union, cast

import strawberry

from bels.access.callers import Sight
from bels.access.master_key import MasterKeyError
from bels.access.personal import PersonalDataError
from bels.access.tenures import find_tenure, is_account
from bels.access.vault import KeyDestroyed
from bels.access.words import AccessReason, Refused
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, encode_id, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.inputs import ACCOUNT
from bels.api.messages import TryLaterError
from bels.domain import terms
from bels.domain.terms import Period, Reason
from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.outgoing import choices, outbox
from bels.outgoing.addresses import masked, own_address
from bels.outgoing.choices import CHANNELS, CHOSEN, Choice, ChoiceError
from bels.outgoing.outbox import Told
from bels.projections import overview

if TYPE_CHECKING:
    from bels.api.cabinets import IdentityRefused

TYPE = "Notice"


@strawberry.enum(description="What a household may choose to hear.")
class NoticeTopic(terms.Word):
    """What a household may choose to hear."""

    REMINDERS = "REMINDERS"
    NOTICES = "NOTICES"


@strawberry.enum(description="What a text is about.")
class NoticeKind(terms.Word):
    """What a text is about."""

    WINDOW_OPENS = "WINDOW_OPENS"
    WINDOW_CLOSES = "WINDOW_CLOSES"
    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    SUPERSEDED = "SUPERSEDED"
    RECALCULATED = "RECALCULATED"
    MODE_CHANGED = "MODE_CHANGED"


NoticeState = strawberry.enum(outbox.TextState, name="NoticeState", description="Where a text stands.")

_DESCRIBED: tuple[Mapping[Any, str], ...] = (
    {
        NoticeTopic.REMINDERS: "That a reading is awaited (напоминания).",
        NoticeTopic.NOTICES: "What became of readings and bills (уведомления).",
    },
    {
        NoticeKind.WINDOW_OPENS: "Readings for a period are taken from now on.",
        NoticeKind.WINDOW_CLOSES: "Two days are left, and there is no reading yet.",
        NoticeKind.HELD: "A reading came and does not count yet.",
        NoticeKind.CONFIRMED: "An operator let a held reading count.",
        NoticeKind.REJECTED: "An operator did not let a held reading count.",
        NoticeKind.SUPERSEDED: "A reading was replaced by another sender's.",
        NoticeKind.RECALCULATED: "A closing put earlier bills right.",
        NoticeKind.MODE_CHANGED: "From a period on kWh are found in another way.",
    },
    {
        outbox.TextState.PLANNED: "It waits for its time, or to be tried again.",
        outbox.TextState.SENT: "A gateway took it.",
        outbox.TextState.DELIVERED: "It arrived.",
        outbox.TextState.FAILED: "It did not arrive, and is tried no more.",
        outbox.TextState.CANCELLED: "It was not needed any more, or nobody wants to hear it.",
    },
)


def _describe(described: Mapping[Any, str]) -> None:
    kind: type[Enum] = type(next(iter(described)))
    definition: Any = kind.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = described[kind(value.value)]


for _table in _DESCRIBED:
    _describe(_table)


@strawberry.type(description="A text that bels sent, or will send, to a household without having been asked just then.")
class Notice:
    """A text to a household."""

    id: strawberry.ID = strawberry.field(description="The id of the text.")
    topic: NoticeTopic = strawberry.field(description="What was chosen.")
    kind: NoticeKind = strawberry.field(description="What it is about.")
    channel: terms.Channel | None = strawberry.field(description="How it went; null before it has.")
    period: Period | None = strawberry.field(description="The period that it is about.")
    state: outbox.TextState = strawberry.field(description="Where it stands.")
    created_at: datetime = strawberry.field(description="When it was decided that it is owed.")
    sent_at: datetime | None = strawberry.field(description="When a gateway took it.")
    ended_at: datetime | None = strawberry.field(description="When it arrived, failed or was cancelled.")
    error: str | None = strawberry.field(description="Why it was not sent yet, or at all: a code.")
    text: str | None = strawberry.field(description="What was said, in Russian, without links; null before it was.")

    @classmethod
    def of(cls, told: Told) -> Notice:
        """Show a text."""
        return cls(
            id=encode_id(TYPE, str(told.id)),
            topic=NoticeTopic(told.topic.value),
            kind=NoticeKind(told.kind),
            channel=told.channel,
            period=Period(told.period) if told.period is not None else None,
            state=told.state,
            created_at=told.created_at,
            sent_at=told.sent_at,
            ended_at=told.ended_at,
            error=told.last_error,
            text=told.text or None,
        )


@strawberry.type(description="What a household hears by one channel.")
class NoticePreference:
    """What a household hears by one channel."""

    channel: terms.Channel = strawberry.field(description="The channel.")
    topics: list[NoticeTopic] = strawberry.field(description="What it hears there; empty after it was stopped.")
    address: str = strawberry.field(description="Where to, masked: `***4567`, `i***@example.ru`.")
    chosen_at: datetime | None = strawberry.field(description="Since when.")
    dead_at: datetime | None = strawberry.field(
        description="Since when nobody is reached there; the next channel is used. Choose it again to revive it."
    )

    @classmethod
    def of(cls, choice: Choice) -> NoticePreference:
        """Show a choice."""
        return cls(
            channel=choice.channel,
            topics=[NoticeTopic(topic.value) for topic in choice.topics],
            address=masked(choice.channel, choice.address),
            chosen_at=choice.chosen_at,
            dead_at=choice.dead_at,
        )


class Numbered(Protocol):
    """What the account has, of which ``AccountNotices`` is a part."""

    number: str


@strawberry.type
class AccountNotices:
    """What an account is told by itself; no type of the schema."""

    @strawberry.field(
        description="What the household of now was told, or will be, without having asked; the newest first."
    )
    async def notices(
        self,
        info: Info,
        first: Annotated[
            int | None, strawberry.argument(description="How many from the start: 1 to 100, 20 by default.")
        ] = None,
        after: Annotated[str | None, strawberry.argument(description="The cursor after which to start.")] = None,
    ) -> Connection[Notice]:
        """List the texts of the household of now."""
        page = read_page(first=first, after=after, kinds=(int,))
        number = cast("Numbered", self).number
        rows: list[Told] = []
        async with info.context.app.pool.acquire() as db:
            tenure = await _home(db, info, number)
            if tenure is not None:
                before = cast("int | None", page.after[0]) if page.after is not None else None
                rows = await outbox.page(db, info.context.app.door.vault, number, tenure, before, page.limit)
        return connect(rows, page, node=Notice.of, key=lambda row: (row.id,))

    @strawberry.field(description="What the household of now chose to hear, by channel; the first living one is used.")
    async def preferences(self, info: Info) -> list[NoticePreference]:
        """List what the household of now chose."""
        number = cast("Numbered", self).number
        async with info.context.app.pool.acquire() as db:
            tenure = await _home(db, info, number)
            if tenure is None:
                return []
            found = await choices.of_household(db, info.context.app.door.vault, number, tenure)
        return [NoticePreference.of(choice) for choice in found]


@strawberry.input(
    description=(
        "What a household wants to hear by a channel, in place of what it chose of it before. Example: "
        '`{account: "1000101", channel: SMS, topics: [REMINDERS]}`.'
    )
)
class ChooseNoticesInput:
    """What a household wants to hear."""

    account: str = strawberry.field(description=ACCOUNT)
    channel: terms.Channel = strawberry.field(description="SMS, EMAIL, TELEGRAM or MAX.")
    topics: list[NoticeTopic] = strawberry.field(description="What to hear there, at least one.")
    address: str | None = strawberry.field(
        default=None,
        description=(
            "A phone or an e-mail that the household gave, or a phone or chat that is linked to the account; by default the one "
            "that is known."
        ),
    )


@strawberry.input(description="What a household does not want to hear any more.")
class StopNoticesInput:
    """What a household does not want to hear any more."""

    account: str = strawberry.field(description=ACCOUNT)
    channel: terms.Channel | None = strawberry.field(default=None, description="Only there; everywhere by default.")
    topics: list[NoticeTopic] | None = strawberry.field(default=None, description="Only these; all by default.")


@strawberry.type(description="What a household hears from now on, by channel.")
class NoticesChosen:
    """What a household hears from now on."""

    account_number: str = strawberry.field(description="The account.")
    preferences: list[NoticePreference] = strawberry.field(description="What it hears, by channel.")


@strawberry.type
class NoticeMutation:
    """What a household chooses; no type of the schema."""

    @strawberry.mutation(
        description=(
            "Choose what to hear and by which channel, for one's own account (consumer) or as its household asked (operator). "
            "The same again changes nothing."
        )
    )
    async def choose_notices(
        self, info: Info, input: ChooseNoticesInput
    ) -> Annotated[
        Union[NoticesChosen, Annotated[IdentityRefused, strawberry.lazy("bels.api.cabinets")]],  # noqa: UP007
        strawberry.union("ChooseNoticesResult", description="Whether the choice is kept."),
    ]:
        """Keep a choice."""
        # The account's type is built on this module, so what shows an account comes in here.
        from bels.api.cabinets import IdentityRefused

        context, vault = info.context, info.context.app.door.vault
        if input.channel not in CHANNELS:
            raise BadUserInputError(f"`channel` must be one of {', '.join(each.name for each in CHANNELS)}.")
        if not input.topics:
            raise BadUserInputError("`topics` must name at least one; `stopNotices` ends all.")
        try:
            async with context.app.pool.acquire() as db, db.transaction():
                tenure = await _changing(db, info, input.account)
                if tenure is None:
                    return IdentityRefused.of(Refused(Reason.UNKNOWN_ACCOUNT))
                address = await own_address(db, vault, input.account, tenure, input.channel, input.address)
                if address is None:
                    return IdentityRefused.of(Refused(AccessReason.NOT_LINKED_HERE))
                topics = [choices.Topic(topic.value) for topic in input.topics]
                by, now = context.caller.subject, context.app.intake.clock()
                await choices.choose(db, vault, input.account, tenure, input.channel, address, topics, by, now)
                return await _chosen(db, info, input.account, tenure)
        except KeyDestroyed:
            return IdentityRefused.of(Refused(AccessReason.PERSONAL_DATA_ERASED))
        except (PersonalDataError, ChoiceError):
            return IdentityRefused.of(Refused(Reason.BAD_ADDRESS), {Reason.BAD_ADDRESS: ["input", "address"]})
        except (*UNAVAILABLE, MasterKeyError):
            raise TryLaterError from None

    @strawberry.mutation(description="Stop what was chosen, on one channel or on all (consumer, operator).")
    async def stop_notices(
        self, info: Info, input: StopNoticesInput
    ) -> Annotated[
        Union[NoticesChosen, Annotated[IdentityRefused, strawberry.lazy("bels.api.cabinets")]],  # noqa: UP007
        strawberry.union("StopNoticesResult", description="Whether it is stopped."),
    ]:
        """Stop what was chosen."""
        from bels.api.cabinets import IdentityRefused

        topics = CHOSEN if input.topics is None else [choices.Topic(topic.value) for topic in input.topics]
        try:
            async with info.context.app.pool.acquire() as db, db.transaction():
                tenure = await _changing(db, info, input.account)
                if tenure is None:
                    return IdentityRefused.of(Refused(Reason.UNKNOWN_ACCOUNT))
                await choices.stop(db, input.account, tenure, input.channel, topics)
                return await _chosen(db, info, input.account, tenure)
        except UNAVAILABLE:
            raise TryLaterError from None


async def _changing(db: Db, info: Info, account: str) -> int | None:
    """Give the tenure of now of an account that is open and that the caller sees, None of any other."""
    if not is_account(account) or info.context.see(account) is None:
        return None
    row = (await overview.find(db, [account])).get(account)
    return await _home(db, info, account) if row is not None and row.situation == "OPEN" else None


async def _home(db: Db, info: Info, account: str) -> int | None:
    """Give the tenure of now, None for whoever sees an account as an earlier household did."""
    tenure, sights = await find_tenure(db, account), info.context.caller.sights
    seen = sights is None or sights.get(account) == Sight(tenure.entry, tenure.period or None)
    return tenure.number if seen else None


async def _chosen(db: Db, info: Info, account: str, tenure: int) -> NoticesChosen:
    found = await choices.of_household(db, info.context.app.door.vault, account, tenure)
    return NoticesChosen(account_number=account, preferences=[NoticePreference.of(choice) for choice in found])
