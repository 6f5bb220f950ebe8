"""Types of events that partners are told, each with its version and the shape of what it says; published as JSON Schemas.

A shape only grows, by fields that may be absent. Whatever else changes is a new version, told beside the old one for at least
``KEPT_BESIDE``. ``schemas/`` has the schemas as they are published: ``python -m bels.payments.webhooks.catalogue`` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

KEPT_BESIDE = timedelta(days=184)
"""How long an old version of a type is told after its end was announced: six months."""

PING = "test.ping.v1"
"""Told on request, to one webhook; nobody subscribes to it."""

Account = Annotated[str, Meta(description="The account, as the partner named it.")]
PaymentId = Annotated[str, Meta(description="The partner's own id of the payment.")]
Receipt = Annotated[str, Meta(description="The receipt that the partner got for it.")]
Roubles = Annotated[Decimal, Meta(description="Roubles with kopecks, as a text.")]
Moment = Annotated[datetime, Meta(tz=True)]
Month = Annotated[str, Meta(description="A billing period, YYYY-MM.")]
ByRegister = Annotated[dict[str, int], Meta(description="Whole kWh by register: TOTAL, DAY, NIGHT, PEAK, HALF_PEAK.")]


class Shape(Struct, frozen=True, rename="camel"):
    """What an event says; fields in camel case."""


class PaymentReceived(Shape, frozen=True):
    """A payment was booked. `unallocated` is why no account could be found for it: it waits for an operator."""

    account_number: Account
    payment_id: PaymentId
    receipt: Receipt
    amount: Roubles
    purpose: str
    paid_on: date
    paid_at: Moment | UnsetType = UNSET
    commission: Roubles | UnsetType = UNSET
    unallocated: str | UnsetType = UNSET


class PaymentTakenBack(Shape, frozen=True):
    """A payment was taken back, the whole of it."""

    account_number: Account
    payment_id: PaymentId
    receipt: Receipt
    amount: Roubles
    reversed_on: date


class PaymentMoved(Shape, frozen=True):
    """A payment was moved to the account that it was meant for."""

    account_number: Account
    payment_id: PaymentId
    receipt: Receipt
    amount: Roubles


class PaymentReturned(Shape, frozen=True):
    """A payment that no account was found for was returned."""

    account_number: Account
    payment_id: PaymentId
    receipt: Receipt
    amount: Roubles
    returned_on: date


class RefundRequestDecided(Shape, frozen=True):
    """A request to return a payment, or a part of it, was decided."""

    request_id: str
    payment_id: PaymentId
    receipt: Receipt
    amount: Roubles
    decision: Literal["RETURNED", "REFUSED"]


class ReadingAccepted(Shape, frozen=True):
    """A reading counts for its period."""

    account_number: Account
    receipt: Receipt
    period: Month
    received_at: Moment
    values: ByRegister
    consumption: ByRegister


class ReadingHeld(Shape, frozen=True):
    """A reading does not count until it is confirmed; `limit` is the plausible kWh that it exceeds."""

    account_number: Account
    receipt: Receipt
    period: Month
    received_at: Moment
    values: ByRegister
    consumption: ByRegister
    reason: str
    limit: int | UnsetType = UNSET


class ReadingConfirmed(Shape, frozen=True):
    """A held reading counts from now on."""

    account_number: Account
    receipt: Receipt
    period: Month


class ReadingNamed(Shape, frozen=True):
    """A reading, by its receipt."""

    account_number: Account
    receipt: Receipt


class RegisterTaken(Shape, frozen=True):
    """A file of payments was taken; `outcomes` counts its rows by what became of them, `amount` is the sum of all."""

    register_id: str
    sha256: str
    rows: int
    amount: Roubles
    outcomes: dict[str, int]
    number: str | UnsetType = UNSET
    day: date | UnsetType = UNSET


class RegisterQuarantined(Shape, frozen=True):
    """A file of payments waits as a whole; nothing of it was booked."""

    register_id: str
    sha256: str
    reason: str


class ReconciliationClosed(Shape, frozen=True):
    """A day was reconciled, and every difference worked off: your registers, our books, your transfers."""

    day: date
    their_count: int
    their_sum: Roubles
    our_count: int
    our_sum: Roubles
    transfer_sum: Roubles


class JournalSealed(Shape, frozen=True):
    """The supplier's journal was sealed. Keep it: nothing sealed can be changed unnoticed by whoever has it."""

    number: Annotated[int, Meta(ge=1)]
    sealed_at: Moment
    heads: Annotated[str, Meta(description="The root over the heads of all accounts, 64 hexadecimal digits.")]
    log: Annotated[str, Meta(description="The root over the seals before this one, 64 hexadecimal digits.")]
    key: Annotated[str, Meta(description="The name of the public key, as /seals/keys.json has it.")]
    signature: Annotated[
        str, Meta(description="Ed25519 over the seal, base64; /seals/NUMBER.json has the whole of it.")
    ]


class Ping(Shape, frozen=True):
    """A test."""

    webhook: str


class EventError(ValueError):
    """An event cannot be told so; the sentence is for the developer."""


@dataclass(frozen=True, slots=True)
class EventType:
    """A type: what it is told for, in a sentence, and its shape. ``ends_on`` is from when on it is told no more."""

    name: str
    description: str
    shape: type[Shape]
    announced_on: date | None = None
    ends_on: date | None = None


TYPES: tuple[EventType, ...] = (
    EventType("payment.received.v1", "A payment of yours was booked.", PaymentReceived),
    EventType("payment.cancelled.v1", "You took a payment of yours back.", PaymentTakenBack),
    EventType("payment.reversed.v1", "The supplier took a payment of yours back.", PaymentTakenBack),
    EventType("payment.moved.v1", "A payment of yours was moved to the right account.", PaymentMoved),
    EventType("payment.returned.v1", "A payment of yours, for no known account, was returned.", PaymentReturned),
    EventType("refund_request.decided.v1", "A request to return a payment of yours was decided.", RefundRequestDecided),
    EventType("reading.accepted.v1", "A reading that you brought counts.", ReadingAccepted),
    EventType("reading.held.v1", "A reading that you brought does not count until it is confirmed.", ReadingHeld),
    EventType("reading.confirmed.v1", "A held reading that you brought counts from now on.", ReadingConfirmed),
    EventType("reading.rejected.v1", "A held reading that you brought will not count.", ReadingNamed),
    EventType("reading.superseded.v1", "A reading that you brought was replaced by a later one.", ReadingNamed),
    EventType("register.taken.v1", "A register of yours was taken.", RegisterTaken),
    EventType("register.quarantined.v1", "A register of yours waits in quarantine.", RegisterQuarantined),
    EventType("reconciliation.closed.v1", "A day of yours was reconciled.", ReconciliationClosed),
    EventType("journal.sealed.v1", "The supplier's journal was sealed.", JournalSealed),
    EventType(PING, "You asked for a test.", Ping),
)

_BY_NAME = {each.name: each for each in TYPES}


def find_type(name: str) -> EventType | None:
    """Find a type by its name."""
    return _BY_NAME.get(name)


def subscribable(today: date) -> tuple[EventType, ...]:
    """List the types that are told on a day."""
    return tuple(each for each in TYPES if each.name != PING and (each.ends_on is None or today < each.ends_on))


def checked(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Give what an event says as it is kept, where it has the shape of its type.

    :raises EventError: there is no such type, or its shape is another.
    """
    kind = find_type(name)
    if kind is None:
        raise EventError(f"there is no type {name[:100]!r}")
    try:
        shape = msgspec.convert(msgspec.to_builtins(data), kind.shape)
    except msgspec.ValidationError as error:
        raise EventError(f"{name}: {error}") from error
    kept: dict[str, Any] = msgspec.to_builtins(shape)
    unknown = set(data) - set(kept)
    if unknown:
        raise EventError(f"{name} has no field {min(unknown)!r}")
    return kept


def schema_of(kind: EventType) -> dict[str, Any]:
    """Write the JSON Schema (2020-12) of a whole event of a type."""
    (data,), shapes = msgspec.json.schema_components([kind.shape], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "description": kind.description,
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Names the event for ever; a repeat has the same."},
            "type": {"const": kind.name},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it was recorded."},
            "data": data,
        },
        "required": ["id", "type", "timestamp", "data"],
        "$defs": shapes,
    }


def schema_text(kind: EventType) -> str:
    """Write the schema of a type as it is published."""
    return msgspec.json.format(msgspec.json.encode(schema_of(kind)), indent=2).decode() + "\n"


@lru_cache(len(TYPES))
def published(name: str) -> str | None:
    """Give the published schema of a type, None where there is no such type."""
    if name not in _BY_NAME:
        return None
    return (files("bels.payments.webhooks") / "schemas" / f"{name}.json").read_text("utf-8")


def _write() -> None:
    folder = Path(__file__).parent / "schemas"
    for kind in TYPES:
        (folder / f"{kind.name}.json").write_text(schema_text(kind), "utf-8")


if __name__ == "__main__":
    _write()
