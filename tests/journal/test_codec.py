"""A topic is a promise: what was ever written is read for ever, and written back as it was."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent

from bels.domain.account import nobody, replay
from bels.domain.commands import ReceivePayment
from bels.domain.decide import decide
from bels.domain.events import AccountOpened, Event, ReadingRefused, ResidentsChanged
from bels.domain.money_events import PaymentReceived
from bels.domain.post_movements import movements
from bels.domain.terms import AccountNumber, Channel, Locality, Period, Reason, Stove
from bels.journal import codec
from bels.journal.codec import (
    MAPPER,
    TOPICS,
    UnknownTopic,
    UnstorableText,
    check_texts,
    decode_events,
    encode_events,
    to_entry,
)
from bels.journal.entry import Entry
from tests.rules import DEFAULT_RULEBOOK

EXAMPLES: dict[str, str] = json.loads((Path(__file__).parent / "stored_examples.json").read_text("utf-8"))
"""Topic -> a state as it was once written. Lines are added, never changed: they stand for the journals of the world."""


def test_every_event_has_its_own_topic() -> None:
    assert set(TOPICS) == set(get_args(Event))
    names = [name for name, _ in TOPICS.values()]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalpha() and name.islower() for name in names)


def test_every_event_in_its_newest_shape_has_a_stored_example() -> None:
    assert {f"{name}.{version}" for name, version in TOPICS.values()} <= set(EXAMPLES)


NEWEST = [f"{name}.{version}" for name, version in TOPICS.values()]
OLDER = sorted(set(EXAMPLES) - set(NEWEST))


@pytest.mark.parametrize("topic", NEWEST)
def test_what_was_stored_is_read_and_written_back_byte_for_byte(topic: str) -> None:
    state = EXAMPLES[topic].encode()

    entry = to_entry("1000000", 12, topic, state)
    row = MAPPER.to_stored_event(entry)

    assert TOPICS[type(entry.event)] == (topic.rpartition(".")[0], int(topic.rpartition(".")[2]))
    assert row == StoredEvent("1000000", 12, topic, state)
    assert MAPPER.to_domain_event(row) == entry


def test_what_was_stored_before_there_was_money_stays_an_example() -> None:
    assert OLDER == ["payment-received.1", "period-carried-over.1", "period-closed.1", "usage-recalculated.1"]


@pytest.mark.parametrize("topic", OLDER)
def test_what_an_older_bels_stored_tells_all_it_told_and_moves_no_other_money(topic: str) -> None:
    told = json.loads(EXAMPLES[topic])["event"]
    name = topic.rpartition(".")[0]

    entry = to_entry("1000000", 12, topic, EXAMPLES[topic].encode())
    again = MAPPER.to_stored_event(entry)
    now = json.loads(again.state)["event"]

    assert again.topic == f"{name}.{TOPICS[type(entry.event)][1]}"
    assert subset(told, now) == told
    assert MAPPER.to_domain_event(again) == entry
    assert decode_events(msgspec.json.encode([[topic, told]])) == (entry.event,)
    if not isinstance(entry.event, PaymentReceived):
        assert movements(entry.event, date(2024, 7, 1)) == ()
    new = {key: now[key] for key in now.keys() - told.keys()}
    assert new in (
        {"charges": [], "charged": "0.00", "recalculated": "0.00", "due_on": None},
        {"money_before": "0.00", "money_after": "0.00", "charges": [], "rulebook": "", "ground": None},
        {"billed": None},
        {"paid_at": None, "commission": None},
    )


def subset(told: Any, now: Any) -> Any:
    """Give of ``now`` what ``told`` tells, too."""
    if isinstance(told, dict):
        return {key: subset(value, now[key]) for key, value in told.items()}
    if isinstance(told, list):
        return [subset(one, other) for one, other in zip(told, now, strict=True)]
    return now


SUMS = ["0.01", "0.10", "1.00", "10.00", "1000.00", "1245.05", "9999999.99", "10000000.00"]


@pytest.mark.parametrize("amount", SUMS)
def test_roubles_survive_the_journal_to_the_kopeck_and_with_both_digits(amount: str) -> None:
    at = datetime(2024, 5, 20, 12, tzinfo=UTC)
    given = ReceivePayment(Decimal(amount), at.date(), at, "чек")
    account = replay(nobody("1000000"), [AccountOpened(at, Period("2024-05"), Locality.URBAN, Stove.GAS, 2, 3, 1)])
    (event,) = decide(account, given, DEFAULT_RULEBOOK)

    (told,) = decode_events(encode_events([event]))
    row = MAPPER.to_stored_event(Entry(AccountNumber("1000000"), 2, at, Channel.BANK, "bank", "7H3KQ9XA", event))
    read = MAPPER.to_domain_event(row).event

    assert isinstance(event, PaymentReceived)
    assert json.loads(row.state)["event"]["amount"] == amount
    for payment in (told, read):
        assert payment == event
        assert str(payment.amount) == amount


@pytest.mark.parametrize(
    ("given", "written"), [("5", "5.00"), ("5.1", "5.10"), ("1E+3", "1000.00"), ("1.0e1", "10.00")]
)
def test_a_sum_is_written_with_both_digits_however_it_was_given(given: str, written: str) -> None:
    at = datetime(2024, 5, 20, 12, tzinfo=UTC)
    account = replay(nobody("1000000"), [AccountOpened(at, Period("2024-05"), Locality.URBAN, Stove.GAS, 2, 3, 1)])

    (event,) = decide(account, ReceivePayment(Decimal(given), at.date(), at, "чек"), DEFAULT_RULEBOOK)

    assert isinstance(event, PaymentReceived)
    assert str(event.amount) == written


@pytest.mark.parametrize("topic", EXAMPLES)
def test_a_stored_state_is_plain_json_with_its_envelope(topic: str) -> None:
    state = json.loads(EXAMPLES[topic])

    assert list(state) == ["recorded_at", "channel", "actor", "receipt", "event"]
    assert isinstance(state["event"], dict)


@pytest.mark.parametrize(
    "topic",
    ["reading-lost.1", "reading-accepted.2", "reading-accepted", "reading-accepted.x", "reading-accepted.0", ""],
)
def test_a_row_of_a_newer_program_is_never_guessed_at(topic: str) -> None:
    state = EXAMPLES["reading-accepted.1"].encode()
    answer = msgspec.json.encode([[topic, json.loads(state)["event"]]])

    with pytest.raises(UnknownTopic):
        to_entry("1000000", 12, topic, state)
    with pytest.raises(UnknownTopic):
        decode_events(answer)


def test_an_older_row_reads_in_todays_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    # As it would be after two changes: version 1 said "people", version 2 knew no owners.
    def renamed(event: dict[str, Any]) -> dict[str, Any]:
        event["permanent"] = event.pop("people")
        return event

    def with_owners(event: dict[str, Any]) -> dict[str, Any]:
        return event | {"owners": 1}

    name = "residents-changed"
    monkeypatch.setitem(codec._NEWEST, name, (ResidentsChanged, 3))
    monkeypatch.delitem(codec._DECODERS, f"{name}.1")
    monkeypatch.setitem(codec.UPCASTERS, (name, 1), renamed)
    monkeypatch.setitem(codec.UPCASTERS, (name, 2), with_owners)
    envelope = json.loads(EXAMPLES[f"{name}.1"])
    old = {"effective_on": "2024-03-15", "people": 4}

    entry = to_entry("1000000", 3, f"{name}.1", json.dumps(envelope | {"event": old}).encode())

    today = ResidentsChanged(datetime(2024, 3, 15, tzinfo=UTC).date(), 4, 1)
    assert entry.event == today
    assert entry.receipt == envelope["receipt"]
    assert decode_events(msgspec.json.encode([[f"{name}.1", old], [f"{name}.2", {**old, "permanent": 4}]])) == (
        today,
        today,
    )


def test_a_missing_upcaster_is_an_unknown_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codec._NEWEST, "residents-changed", (ResidentsChanged, 3))

    with pytest.raises(UnknownTopic):
        to_entry("1000000", 3, "residents-changed.2", EXAMPLES["residents-changed.1"].encode())


def test_an_answer_outside_the_journal_is_read_again() -> None:
    refused = ReadingRefused(
        Reason.UNKNOWN_ACCOUNT, datetime(2024, 6, 20, tzinfo=UTC), {"total": '185 "кВт·ч" \\u0000 \\ 🙂'}
    )

    assert decode_events(encode_events([refused, refused])) == (refused, refused)


@pytest.mark.parametrize("text", ["\x00", "a\x00\x00b", "\\\x00", "\ud83d", "12\udfff"])
def test_a_text_that_postgresql_cannot_read_is_found_wherever_it_stands(text: str) -> None:
    refused = ReadingRefused(Reason.BAD_VALUE, datetime(2024, 6, 20, tzinfo=UTC), {"total": text})
    named = ReadingRefused(Reason.BAD_VALUE, datetime(2024, 6, 20, tzinfo=UTC), {text: "1"})

    for value in (refused, named):
        with pytest.raises(UnstorableText):
            check_texts(value)


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "кВт·ч", "\ufffe\u2028\x01\x7f", "🙂", ""])
def test_an_odd_text_that_postgresql_can_read_is_left_alone(text: str) -> None:
    refused = ReadingRefused(Reason.BAD_VALUE, datetime(2024, 6, 20, tzinfo=UTC), {"total": text})

    check_texts(refused)

    entry = Entry(
        AccountNumber("1000000"), 1, datetime(2024, 6, 20, tzinfo=UTC), Channel.SMS, "phone:5f", "7H3KQ9XA", refused
    )
    assert MAPPER.to_domain_event(MAPPER.to_stored_event(entry)) == entry
