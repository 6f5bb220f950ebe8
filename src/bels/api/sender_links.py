"""Phones, chats and e-mails that speak for an account: linked by a one-time code."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Protocol, Union, cast

import strawberry

from bels.access.callers import WHOLE
from bels.access.tenures import is_account
from bels.access.words import Refused
from bels.api.context import Info
from bels.api.engine.paging import decode_id, encode_id
from bels.api.inputs import ACCOUNT, KEY
from bels.api.messages import TryLaterError, message_of, raw_of, submit
from bels.domain import terms
from bels.domain.commands import UnlinkChannel
from bels.domain.terms import Reason, Role
from bels.journal.faults import UNAVAILABLE
from bels.reception.codes import LinkedSender, bot_links, make_code, senders_of
from bels.reception.counter import Counter

if TYPE_CHECKING:
    from bels.api.cabinets import IdentityRefused
    from bels.api.outcomes import CommandDone, CommandRefused, MessageParked

TYPE = "Sender"
GROUND = "снято в кабинете"
"""What the journal says of a sender that its household unlinked."""

HOW = "Отправьте в чат, по SMS или письмом: КОД {code}. Код действует 15 минут, один раз; никому его не сообщайте."


@strawberry.type(description="A phone, a chat or an e-mail that speaks for the account, without its address.")
class Sender:
    """A sender that speaks for the account."""

    id: strawberry.ID = strawberry.field(description="Names it in `unlinkSender`.")
    channel: terms.Channel = strawberry.field(description="The channel.")
    linked_at: datetime = strawberry.field(description="When it was linked.")
    name: str = strawberry.field(description="Four signs that tell it apart from the others.")
    reachable: bool = strawberry.field(description="False where nobody hears us any more: the bot was blocked.")

    @classmethod
    def of(cls, account: str, sender: LinkedSender) -> Sender:
        """Show a sender."""
        return cls(
            id=encode_id(TYPE, f"{account}/{sender.entry}"),
            channel=sender.channel,
            linked_at=sender.linked_at,
            name=sender.name,
            reachable=sender.reachable,
        )


class Numbered(Protocol):
    """What the account has, of which ``AccountSenders`` is a part."""

    number: str


@strawberry.type
class AccountSenders:
    """Who speaks for an account; no type of the schema."""

    @strawberry.field(
        description="Phones, chats and e-mails that speak for the account; at most 50, as they were linked."
    )
    async def senders(self, info: Info) -> list[Sender]:
        """List the senders that were linked since the caller sees the account."""
        number = cast("Numbered", self).number
        sight = info.context.caller.sight(number) or WHOLE
        async with info.context.app.pool.acquire() as db:
            found = await senders_of(db, number, sight.entry)
        return [Sender.of(number, each) for each in found]


@strawberry.type(description="A link that opens a bot with the code.")
class BotLink:
    """A link that opens a bot with the code."""

    channel: terms.Channel = strawberry.field(description="The messenger.")
    url: str = strawberry.field(description="Opens the bot; it links the chat at once.")


@strawberry.type(description="A code that links whoever sends it; it is told this once.")
class LinkCodeMade:
    """A code that links whoever sends it."""

    account_number: str = strawberry.field(description="The account.")
    link_code: str = strawberry.field(description="Eight characters, without 0 and O, 1 and I.")
    expires_at: datetime = strawberry.field(description="Until when it can be used, once.")
    text: str = strawberry.field(description="How to use it, in Russian.")
    links: list[BotLink] = strawberry.field(description="Links that open our bots with it.")


@strawberry.input(description="Whose code is made.")
class MakeLinkCodeInput:
    """Whose code is made."""

    account: str = strawberry.field(description=ACCOUNT)


@strawberry.input(description="A sender that shall speak for the account no more.")
class UnlinkSenderInput:
    """A sender that shall speak for the account no more."""

    account: str = strawberry.field(description=ACCOUNT)
    sender: strawberry.ID = strawberry.field(description="The sender, as `Account.senders` shows it.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.type
class SenderLinkMutation:
    """What links a sender; no type of the schema."""

    @strawberry.mutation(
        description="Make a code that links a phone, a chat or an e-mail to one's account: whoever sends it is linked (consumer)."
    )
    async def make_link_code(
        self, info: Info, input: MakeLinkCodeInput
    ) -> Annotated[
        Union[LinkCodeMade, Annotated[IdentityRefused, strawberry.lazy("bels.api.cabinets")]],  # noqa: UP007
        strawberry.union("MakeLinkCodeResult", description="What became of a code."),
    ]:
        """Make a code."""
        # The account's type is built on this module, so what shows an account comes in here.
        from bels.api.cabinets import IdentityRefused

        context = info.context
        if context.see(input.account) is None:
            return IdentityRefused.of(Refused(Reason.UNKNOWN_ACCOUNT))
        try:
            made = await make_code(_counter(info), input.account, context.caller.subject, context.request_id)
            if isinstance(made, Refused):
                return IdentityRefused.of(made)
            async with context.app.pool.acquire() as db:
                links = await bot_links(db, made.code)
        except UNAVAILABLE:
            raise TryLaterError from None
        return LinkCodeMade(
            account_number=made.account,
            link_code=made.code,
            expires_at=made.expires_at,
            text=HOW.format(code=made.code),
            links=[BotLink(channel=channel, url=url) for channel, url in links.items()],
        )

    @strawberry.mutation(description="Let a phone, a chat or an e-mail speak for one's account no more (consumer).")
    async def unlink_sender(
        self, info: Info, input: UnlinkSenderInput
    ) -> Annotated[
        Union[  # noqa: UP007
            Annotated[CommandDone, strawberry.lazy("bels.api.outcomes")],
            Annotated[CommandRefused, strawberry.lazy("bels.api.outcomes")],
            Annotated[MessageParked, strawberry.lazy("bels.api.outcomes")],
        ],
        strawberry.union("UnlinkSenderResult", description="Whether the sender is unlinked."),
    ]:
        """Unlink a sender."""
        from bels.api.outcomes import done, refused_command

        context = info.context
        sight = context.see(input.account)
        account, _, entry = decode_id(input.sender, TYPE).key.partition("/")
        if sight is None or account != input.account or not is_account(account):
            return refused_command(Reason.NOT_LINKED, "", path=["input", "sender"])
        async with context.app.pool.acquire() as db:
            linked = {str(each.entry): each for each in await senders_of(db, account, sight.entry, gone=True)}
        sender = linked.get(entry)
        if sender is None:
            return refused_command(Reason.NOT_LINKED, account, path=["input", "sender"])
        caller = context.caller_for(Role.CONSUMER)
        command = UnlinkChannel(sender.channel, sender.sender, context.app.intake.clock(), GROUND)
        raw = raw_of(("unlinkSender", account, entry))
        outcome = await submit(info, message_of(info, caller, input.idempotency_key, account, command, raw))
        return done(outcome, caller.channel, caller.actor)


def _counter(info: Info) -> Counter:
    app = info.context.app
    return Counter(app.pool, app.intake, app.door)
