"""A message and what became of it: what comes to the one way in, and the answer, the same for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b

from bels.domain.commands import Command, SubmitReading
from bels.domain.events import CommandRefused, Event, ReadingRefused
from bels.domain.terms import AccountNumber, Channel, Reason, Word
from bels.journal.codec import decode_events
from bels.journal.entry import Behalf, Entry
from bels.journal.journal import Recorded, read_between
from bels.journal.write import Db


class Status(Word):
    """What became of a message. A refusal is an answer too; PARKED waits for an operator."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


class TryLater(Exception):
    """Nothing was stored: the database cannot be reached, or too much waits. Send the same message again."""


@dataclass(frozen=True, slots=True)
class Message:
    """A command as it came: on which channel, under which id, from whom, about which account, in which words.

    (channel, message_id) names the message for ever; ``raw`` is its content: the same id with another content is refused
    MESSAGE_ID_REUSED. ``command`` is a ``ReadingRefused`` where the channel could not read a command in it.
    ``request_id`` is the request that brought it, for whoever looks into the logs. ``behalf`` is for whom an operator acts,
    and by what right; it is a part of the content, so ``raw`` tells it, too.
    ``only_with`` is the id of a message of the same channel that came before it, perhaps in the same batch. Where that one was
    refused, or had another content than this one, nothing is stored of this one, and it gets that one's answer.
    """

    channel: Channel
    message_id: str
    actor: str
    account: str
    command: Command | ReadingRefused
    raw: str
    request_id: str = ""
    behalf: Behalf | None = None
    only_with: str | None = None


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


def digest(raw: str) -> bytes:
    """Digest the content of a message: what makes two messages under one id the same."""
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=16).digest()


async def repeats_of(db: Db, before: Sequence[Recorded]) -> dict[tuple[Channel, str], tuple[bytes, Outcome]]:
    """Give, by name, what came before: the digest of its content and its first outcome."""
    outcomes = await outcomes_of(db, before)
    return {(r.channel, r.message_id): (r.content, outcome) for r, outcome in zip(before, outcomes, strict=True)}


async def outcomes_of(db: Db, recorded: Sequence[Recorded]) -> list[Outcome]:
    """Give the first outcomes of messages again, from the journal."""
    # A repeat may come years later: of what its account did since, nothing is read.
    spans = [
        (r.account, r.first_version, max(r.first_version, r.last_version or 0))
        for r in recorded
        if r.first_version is not None
    ]
    entries = {(e.account, e.version): e for e in await read_between(db, spans)} if spans else {}
    outcomes = []
    for r in recorded:
        if r.first_version is not None and r.last_version == r.first_version - 1:
            outcomes.append(repeat_of(entries[AccountNumber(r.account), r.first_version]))
            continue
        if r.first_version is not None and r.last_version is not None:
            versions = range(r.first_version, r.last_version + 1)
            events = tuple(entries[AccountNumber(r.account), v].event for v in versions)
        else:
            events = decode_events(r.answer) if r.answer is not None else ()
        outcomes.append(
            Outcome(r.receipt, Status(r.status), r.account, events, r.first_version, r.recorded_at, repeated=True)
        )
    return outcomes


def repeat_of(entry: Entry) -> Outcome:
    """Answer a message that only repeats an accepted reading: with the receipt that it got, nothing new came of it."""
    return Outcome(
        entry.receipt, Status.ACCEPTED, entry.account, (entry.event,), entry.version, entry.recorded_at, repeated=True
    )


def again(message: Message, content: bytes, outcome: Outcome) -> Outcome:
    """Answer a message that came before under its name: with its first outcome, or that its content is another."""
    if content == digest(message.raw):
        return replace(outcome, repeated=True)
    if isinstance(message.command, SubmitReading | ReadingRefused):
        reused: Event = ReadingRefused(
            Reason.MESSAGE_ID_REUSED, message.command.received_at, message.command.values, detail=outcome.receipt
        )
    else:
        reused = CommandRefused(
            type(message.command).__name__, Reason.MESSAGE_ID_REUSED, outcome.recorded_at, outcome.receipt
        )
    return Outcome(outcome.receipt, Status.REFUSED, message.account, (reused,), None, outcome.recorded_at)
