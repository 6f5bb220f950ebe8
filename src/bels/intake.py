"""The one way in: messages that arrive together are handled together, in one transaction, and each gets its own outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bels.domain.commands import Command
from bels.domain.events import Event, ReadingRefused
from bels.domain.terms import Channel, Word


class Status(Word):
    """What became of a message. A refusal is an answer too; PARKED waits for an operator."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


@dataclass(frozen=True, slots=True)
class Message:
    """A command as it came: on which channel, under which id, from whom, about which account, in which words.

    (channel, message_id) names the message for ever; ``raw`` is its content: the same id with another content is refused
    MESSAGE_ID_REUSED. ``command`` is a ``ReadingRefused`` where the channel could not read a command in it.
    """

    channel: Channel
    message_id: str
    actor: str
    account: str
    command: Command | ReadingRefused
    raw: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one message: a durable receipt and the events it led to, the answering one first.

    ``version`` is the entry of the first event in the account's journal, None where nothing was written there (an unknown
    account). ``repeated`` says that the message had come before: receipt and events are those of the first time.
    """

    receipt: str
    status: Status
    account: str
    events: tuple[Event, ...]
    version: int | None
    recorded_at: datetime
    repeated: bool = False
