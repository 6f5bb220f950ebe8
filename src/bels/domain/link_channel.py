"""A phone, a chat or an e-mail may speak for an account once it is linked, until it is unlinked."""

from __future__ import annotations

from re import compile as pattern

from bels.domain.account import Account, Link, Situation
from bels.domain.commands import LinkChannel, UnlinkChannel
from bels.domain.events import ChannelLinked, ChannelUnlinked, CommandRefused, Event
from bels.domain.terms import Channel, Reason

LINKED_CHANNELS = (
    Channel.SMS,
    Channel.VOICE,
    Channel.EMAIL,
    Channel.TELEGRAM,
    Channel.MAX,
    Channel.CABINET,
    Channel.MOBILE,
)
LINKS_MAX = 50

_DIGEST = pattern(r"[0-9a-f]{16,64}")


def link_channel(account: Account, command: LinkChannel) -> tuple[Event, ...]:
    """Link a sender to the account on a channel."""
    refusal: Reason | None = None
    if account.situation is Situation.UNKNOWN:
        refusal = Reason.UNKNOWN_ACCOUNT
    elif account.situation is Situation.CLOSED:
        refusal = Reason.ACCOUNT_CLOSED
    elif command.channel not in LINKED_CHANNELS or not _DIGEST.fullmatch(command.sender):
        refusal = Reason.BAD_ADDRESS
    elif Link(command.channel, command.sender) in account.links or len(account.links) >= LINKS_MAX:
        refusal = Reason.ALREADY_LINKED
    if refusal is not None:
        return (CommandRefused("LinkChannel", refusal, command.linked_at, command.channel),)
    return (ChannelLinked(command.channel, command.sender, command.linked_at),)


def unlink_channel(account: Account, command: UnlinkChannel) -> tuple[Event, ...]:
    """Unlink a sender: it no longer speaks for the account."""
    refusal: Reason | None = None
    if account.situation is Situation.UNKNOWN:
        refusal = Reason.UNKNOWN_ACCOUNT
    elif Link(command.channel, command.sender) not in account.links:
        refusal = Reason.NOT_LINKED
    if refusal is not None:
        return (CommandRefused("UnlinkChannel", refusal, command.unlinked_at, command.channel),)
    return (ChannelUnlinked(command.channel, command.sender, command.unlinked_at, command.ground),)
