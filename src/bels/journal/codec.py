"""Entries as rows of the journal, in the vocabulary of the ``eventsourcing`` library: topics, ``Transcoder``, ``Mapper``.

A row is the library's ``StoredEvent``: its ``state`` is plain UTF-8 JSON, ``{"recorded_at", "channel", "actor", "receipt",
"event": {...}}``, readable with SQL; ``"behalf": {...}`` follows where an operator acted for somebody. A topic is a promise:
a class may move or be renamed, ``TOPICS`` keeps the name and the version under which its events are stored. When the shape
of an event changes, its version grows, and ``UPCASTERS`` says how an older one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from re import compile as pattern
from typing import Any, cast

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder

from bels.domain import events, money_events
from bels.domain.events import Event
from bels.domain.terms import AccountNumber, Channel
from bels.journal.entry import Behalf, Entry

TOPICS: dict[type[Event], tuple[str, int]] = {
    events.AccountOpened: ("account-opened", 1),
    events.AccountClosed: ("account-closed", 1),
    events.ResidentsChanged: ("residents-changed", 1),
    events.TemporaryResidentsRegistered: ("temporary-residents-registered", 1),
    events.AbsenceRegistered: ("absence-registered", 1),
    events.MeterInstalled: ("meter-installed", 1),
    events.MeterRestored: ("meter-restored", 1),
    events.MeterRemoved: ("meter-removed", 1),
    events.MeterFailed: ("meter-failed", 1),
    events.ReadingCarriedOver: ("reading-carried-over", 1),
    events.PeriodCarriedOver: ("period-carried-over", 2),
    money_events.BalanceCarriedOver: ("balance-carried-over", 1),
    events.ReadingAccepted: ("reading-accepted", 1),
    events.ReadingHeld: ("reading-held", 1),
    events.ReadingRefused: ("reading-refused", 1),
    events.ReadingConfirmed: ("reading-confirmed", 1),
    events.ReadingRejected: ("reading-rejected", 1),
    events.ReadingSuperseded: ("reading-superseded", 1),
    events.ReadingDisproved: ("reading-disproved", 1),
    events.ReadingDisregarded: ("reading-disregarded", 1),
    events.ControlReadingTaken: ("control-reading-taken", 1),
    events.AccessRefused: ("access-refused", 1),
    events.InterferenceFound: ("interference-found", 1),
    events.PeriodMissed: ("period-missed", 1),
    events.PeriodClosed: ("period-closed", 2),
    events.UsageRecalculated: ("usage-recalculated", 2),
    events.EstimationModeChanged: ("estimation-mode-changed", 1),
    events.InspectionDue: ("inspection-due", 1),
    events.ChannelLinked: ("channel-linked", 1),
    events.ChannelUnlinked: ("channel-unlinked", 1),
    money_events.PenaltyAccrued: ("penalty-accrued", 1),
    money_events.PaymentReceived: ("payment-received", 2),
    money_events.PaymentReversed: ("payment-reversed", 1),
    money_events.RefundMade: ("refund-made", 1),
    money_events.PaymentMovedOut: ("payment-moved-out", 1),
    money_events.PaymentMovedIn: ("payment-moved-in", 1),
    money_events.RulebookPublished: ("rulebook-published", 1),
    events.CommandRefused: ("command-refused", 1),
}
"""Every event's topic and the version of its shape. Names are for ever: a test compares them with stored examples."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _without_money(event: dict[str, Any]) -> dict[str, Any]:
    """Read an event of the time before there was money in the journal: it tells kWh, and its sums are left at nothing."""
    return event


def _without_moment(event: dict[str, Any]) -> dict[str, Any]:
    """Read a payment of the time when only its day was kept, and no commission."""
    return event


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("period-closed", 1): _without_money,
    ("usage-recalculated", 1): _without_money,
    ("period-carried-over", 1): _without_money,
    ("payment-received", 1): _without_moment,
}
"""(topic, version) -> how an event of this version reads in the next one."""


class UnknownTopic(LookupError):
    """The journal holds a topic or a version that this program does not know: it is older than the journal."""


class UnstorableText(ValueError):
    """A text holds a NUL or half of a surrogate pair: SQL could not read the journal's JSON any more."""


_encode = msgspec.json.Encoder().encode


class JsonTranscoder(Transcoder):
    """Write and read the state of entries as UTF-8 JSON: exact decimals, dates and instants as ISO 8601 text."""

    def __init__(self) -> None:
        self._encode = _encode
        self._decode = msgspec.json.Decoder().decode

    def encode(self, obj: Any) -> bytes:
        """Write an object of dataclasses, enums, numbers, dates and texts."""
        return self._encode(obj)

    def decode(self, data: bytes) -> Any:
        """Read an object as plain JSON values."""
        return self._decode(data)


def _envelope(event: type[Event]) -> Any:
    fields: list[Any] = [
        ("recorded_at", datetime),
        ("channel", Channel),
        ("actor", str),
        ("receipt", str),
        ("event", event),
        ("behalf", Behalf | None, None),
    ]
    # What nobody did for another is written as it always was, byte for byte.
    return msgspec.defstruct("Stored" + event.__name__, fields, frozen=True, omit_defaults=True, gc=False)


def _topic_of(name: str, version: int) -> str:
    return f"{name}.{version}"


_ENVELOPES: dict[type[Event], Any] = {event: _envelope(event) for event in TOPICS}
_TOPIC_TEXTS: dict[type[Event], str] = {event: _topic_of(*topic) for event, topic in TOPICS.items()}
_NEWEST: dict[str, tuple[type[Event], int]] = {name: (event, version) for event, (name, version) in TOPICS.items()}
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    _TOPIC_TEXTS[event]: msgspec.json.Decoder(envelope).decode for event, envelope in _ENVELOPES.items()
}


def decoders_of(name: str, *fields: tuple[str, Any]) -> dict[str, Callable[[bytes], Any]]:
    """Give decoders by topic that read no more of an entry than its event and some ``fields`` beside it: (name, type)."""
    return {
        _TOPIC_TEXTS[event]: msgspec.json.Decoder(
            msgspec.defstruct(name + event.__name__, [*fields, ("event", event)], gc=False)
        ).decode
        for event in TOPICS
    }


_EVENT_DECODERS = decoders_of("Event")


class EntryMapper(Mapper[str]):
    """Turn entries into rows and rows into entries; the library's words stop here."""

    def __init__(self) -> None:
        super().__init__(JsonTranscoder())

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Turn an ``Entry`` into the row of the journal that stands for it."""
        entry: Entry = domain_event
        return StoredEvent(entry.account, entry.version, *to_topic_and_state(entry))

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Turn a row of the journal into its ``Entry``.

        :raises UnknownTopic: the row is of a newer program.
        """
        return to_entry(
            cast("str", stored_event.originator_id),
            stored_event.originator_version,
            stored_event.topic,
            stored_event.state,
        )


def to_topic_and_state(entry: Entry) -> tuple[str, bytes]:
    """Write an entry as the two columns that tell it, without the library's object around them."""
    event = entry.event
    kind = type(event)
    envelope = _ENVELOPES[kind](entry.recorded_at, entry.channel, entry.actor, entry.receipt, event, entry.behalf)
    return _TOPIC_TEXTS[kind], _encode(envelope)


def to_entry(account: str, version: int, topic: str, state: bytes) -> Entry:
    """Read a row of the journal.

    :raises UnknownTopic: the row is of a newer program.
    """
    decode = _DECODERS.get(topic)
    stored = decode(state) if decode is not None else _upcast(topic, state)
    return Entry(
        AccountNumber(account),
        version,
        stored.recorded_at,
        stored.channel,
        stored.actor,
        stored.receipt,
        stored.event,
        stored.behalf,
    )


def to_events(rows: Iterable[Any]) -> Iterator[Event]:
    """Read no more than the events of rows, which have topic and state in the third and fourth place: what a fold needs,
    in two thirds of the time.

    :raises UnknownTopic: a row is of a newer program.
    """
    decoders = _EVENT_DECODERS
    for _, _, topic, state in rows:
        decode = decoders.get(topic)
        yield (decode(state) if decode is not None else _upcast(topic, state)).event


def _upcast(topic: str, state: bytes) -> Any:
    event, upcasters = _way_to_newest(topic)
    stored: dict[str, Any] = msgspec.json.decode(state)
    for upcast in upcasters:
        stored["event"] = upcast(stored["event"])
    return msgspec.convert(stored, _ENVELOPES[event])


def _way_to_newest(topic: str) -> tuple[type[Event], list[Upcaster]]:
    name, _, digits = topic.rpartition(".")
    event, newest = _NEWEST.get(name, (None, 0))
    stored = int(digits) if digits.isdecimal() else newest + 1
    upcasters = [UPCASTERS[name, version] for version in range(stored, newest) if (name, version) in UPCASTERS]
    if event is None or stored > newest or len(upcasters) < newest - stored:
        raise UnknownTopic(f"topic {topic!r} is not known to this version of bels")
    return event, upcasters


MAPPER = EntryMapper()


def encode_events(happened: Iterable[Event]) -> bytes:
    """Write events that stand in no account's journal: the answer to a message about an unknown account."""
    return msgspec.json.encode([[_TOPIC_TEXTS[type(event)], event] for event in happened])


def decode_events(state: bytes) -> tuple[Event, ...]:
    """Read what ``encode_events`` wrote.

    :raises UnknownTopic: an event is of a newer program.
    """
    happened: list[Event] = []
    for topic, value in msgspec.json.decode(state):
        event, upcasters = _way_to_newest(topic)
        newest = value
        for upcast in upcasters:
            newest = upcast(newest)
        happened.append(msgspec.convert(newest, event))
    return tuple(happened)


_NUL = pattern(rb"(?<!\\)(?:\\\\)*\\u0000")


def check_texts(value: Any) -> None:
    """Check that every text of a command can be stored as JSON that PostgreSQL reads.

    :raises UnstorableText: one holds a NUL or half of a surrogate pair.
    """
    try:
        written = msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise UnstorableText("half of a surrogate pair") from error
    if b"\\u0000" in written and _NUL.search(written):
        raise UnstorableText("a NUL")
