"""What a partner is told of what it brought: its payments and readings, and what became of them, one row an entry.

The row stands under the entry that made it news; its partner is whoever brought the payment or the reading that the entry is
about. Nothing of other senders, no name and no note of an operator is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from bels.domain.events import (
    Event,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingHeld,
    ReadingRejected,
    ReadingSuperseded,
)
from bels.domain.money_events import PaymentMovedOut, PaymentReceived, PaymentReversed, RefundMade
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, Kwh, PaymentState
from bels.journal.entry import Entry
from bels.journal.write import Write, given
from bels.projections.change import Change, json

PARTNER = "partner:"
"""The actor of whatever a partner brought begins so."""

ID_DIGITS = 32

TABLE = """
CREATE TABLE partner_event (
    account       text        NOT NULL,
    entry         bigint      NOT NULL,
    type          text        NOT NULL,
    id            text        NOT NULL,
    partner       text        NOT NULL,
    subject       text        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    data          jsonb       NOT NULL,
    PRIMARY KEY (account, entry, type)
);
CREATE INDEX partner_event_told_idx ON partner_event (partner, recorded_at);
CREATE INDEX partner_event_id_idx ON partner_event (id);
"""
NAME = "partner_events"
TABLES = ("partner_event",)

COLUMNS = """
    account text, entry bigint, type text, id text, partner text, subject text, recorded_at timestamptz, data jsonb"""

INSERT = f"INSERT INTO partner_event SELECT * FROM {given(COLUMNS)}"

LATER = "account text, entry bigint, type text, about bigint, recorded_at timestamptz, data jsonb"
"""What is news of an entry that came before: ``about`` names it."""

_ID = f"""'evt_' || left(encode(sha256(convert_to(
           {{0}}.account || '/' || {{0}}.entry || '/' || {{0}}.type, 'UTF8')), 'hex'), {ID_DIGITS})"""
"""As ``event_id`` names it: of most readings that are replaced no partner is told, and no name is needed."""

# Every row is looked up by its key, however small the table was when this was planned.
OF_READINGS = f"""
INSERT INTO partner_event
SELECT given.account, given.entry, given.type, {_ID.format("given")}, brought.partner, brought.subject, given.recorded_at,
       brought.data - array['period', 'values', 'consumption', 'receivedAt', 'reason', 'limit']
           || coalesce(given.data, '{{}}')
  FROM {given(LATER)}
 CROSS JOIN LATERAL (
       SELECT type, partner, subject, data FROM partner_event
        WHERE account = given.account AND entry = given.about
       OFFSET 0) AS brought
 WHERE brought.type IN ('reading.accepted.v1', 'reading.held.v1')
"""

MOVES_MAX = 20

# A payment that was moved here came somewhere else: the journal says where, whichever account is told first.
OF_PAYMENTS = f"""
INSERT INTO partner_event
WITH RECURSIVE way AS (
    SELECT given.account, given.entry, given.type, given.recorded_at, given.data,
           given.account AS stream, given.about, 0 AS moves
      FROM {given(LATER)}
    UNION ALL
    SELECT way.account, way.entry, way.type, way.recorded_at, way.data,
           there.event ->> 'source', (there.event ->> 'payment')::bigint, way.moves + 1
      FROM way
     CROSS JOIN LATERAL (
           SELECT topic, convert_from(state, 'UTF8')::json -> 'event' AS event FROM journal
            WHERE originator_id = way.stream AND originator_version = way.about
           OFFSET 0) AS there
     WHERE there.topic LIKE 'payment-moved-in.%' AND way.moves < {MOVES_MAX})
SELECT way.account, way.entry, way.type, {_ID.format("way")}, came.state ->> 'actor', way.stream, way.recorded_at,
       jsonb_build_object(
           'accountNumber', coalesce(nullif(came.state -> 'event' ->> 'meant_for', ''), way.stream),
           'paymentId', came.state -> 'event' ->> 'reference',
           'receipt', came.state ->> 'receipt') || coalesce(way.data, '{{}}')
  FROM way
 CROSS JOIN LATERAL (
       SELECT topic, convert_from(state, 'UTF8')::json AS state FROM journal
        WHERE originator_id = way.stream AND originator_version = way.about
       OFFSET 0) AS came
 WHERE came.topic LIKE 'payment-received.%' AND starts_with(came.state ->> 'actor', '{PARTNER}')
"""

_TOLD: frozenset[type[Event]] = frozenset(
    (
        PaymentReceived,
        PaymentReversed,
        PaymentMovedOut,
        RefundMade,
        ReadingAccepted,
        ReadingHeld,
        ReadingConfirmed,
        ReadingRejected,
        ReadingSuperseded,
    )
)


def event_id(*name: str | int) -> str:
    """Name an event for ever: the same fact has the same id, however often it is told again."""
    return f"evt_{sha256('/'.join(map(str, name)).encode()).hexdigest()[:ID_DIGITS]}"


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write what partners are told of these entries."""
    rows: list[tuple[Any, ...]] = []
    of_readings: list[tuple[Any, ...]] = []
    of_payments: list[tuple[Any, ...]] = []
    for change in changes:
        for entry in change.entries:
            if type(entry.event) not in _TOLD:
                continue
            for row, kind in _rows(change, entry):
                (rows if kind is None else of_payments if kind else of_readings).append(row)
    return [
        Write(INSERT, COLUMNS, rows),
        Write(OF_READINGS, LATER, of_readings),
        Write(OF_PAYMENTS, LATER, of_payments),
    ]


def _rows(change: Change, entry: Entry) -> Iterator[tuple[tuple[Any, ...], bool | None]]:
    """Give the rows of an entry; of what came before True where it is a payment, False where it is a reading."""
    match entry.event:
        case PaymentReceived() | ReadingAccepted() | ReadingHeld():
            if entry.actor.startswith(PARTNER):
                yield _told(entry, _type(entry), entry, {**_names(entry), **_said(entry)}), None
        case ReadingConfirmed() | ReadingRejected() | ReadingSuperseded() as event:
            yield from _later(change, entry, event.reading, _said(entry), False)
        case PaymentReversed() | PaymentMovedOut() as event:
            yield from _later(change, entry, event.payment, _said(entry), True)
        case RefundMade():
            # Money that belongs to nobody is returned whole, to where it came from; an overpayment is no one payment.
            for payment in change.account.ledger.payments:
                if payment.is_stray and payment.state is PaymentState.RETURNED:
                    yield from _later(change, entry, payment.entry, _said(entry), True)
        case _:
            pass


def _later(
    change: Change, entry: Entry, about: EntryNumber, said: dict[str, Any], is_payment: bool
) -> Iterator[tuple[tuple[Any, ...], bool | None]]:
    first = change.entries[0].version
    # The entries of a change follow one another without a gap.
    brought = change.entries[about - first] if first <= about else None
    if brought is None or (is_payment and not isinstance(brought.event, PaymentReceived)):
        kind = _type(entry)
        yield (
            (
                entry.account,
                entry.version,
                kind,
                about,
                entry.recorded_at,
                json(said) if said else None,
            ),
            is_payment,
        )
    elif brought.actor.startswith(PARTNER) and isinstance(
        brought.event, PaymentReceived | ReadingAccepted | ReadingHeld
    ):
        yield _told(entry, _type(entry), brought, {**_names(brought), **said}), None


def _told(entry: Entry, kind: str, brought: Entry, data: dict[str, Any]) -> tuple[Any, ...]:
    name = event_id(entry.account, entry.version, kind)
    return (
        entry.account,
        entry.version,
        kind,
        name,
        brought.actor,
        brought.account,
        entry.recorded_at,
        json(data),
    )


def _names(brought: Entry) -> dict[str, Any]:
    """Give the names under which a partner knows what it brought."""
    if isinstance(brought.event, PaymentReceived):
        event = brought.event
        return {
            "accountNumber": event.meant_for or brought.account,
            "paymentId": event.reference,
            "receipt": brought.receipt,
        }
    return {"accountNumber": brought.account, "receipt": brought.receipt}


def _type(entry: Entry) -> str:
    """Name the kind of news and the version of its shape."""
    match entry.event:
        case PaymentReceived():
            return "payment.received.v1"
        case PaymentReversed():
            # A partner takes back its own payments only; whoever else reverses one is the office.
            return "payment.cancelled.v1" if entry.actor.startswith(PARTNER) else "payment.reversed.v1"
        case PaymentMovedOut():
            return "payment.moved.v1"
        case RefundMade():
            return "payment.returned.v1"
        case ReadingAccepted():
            return "reading.accepted.v1"
        case ReadingHeld():
            return "reading.held.v1"
        case ReadingConfirmed():
            return "reading.confirmed.v1"
        case ReadingRejected():
            return "reading.rejected.v1"
        case ReadingSuperseded():
            return "reading.superseded.v1"
        case _:
            raise ValueError(f"nobody is told of a {type(entry.event).__name__}")


def _said(entry: Entry) -> dict[str, Any]:
    """Say what is news, beside the names."""
    match entry.event:
        case PaymentReceived() as paid:
            paid_said: dict[str, Any] = {
                "amount": paid.amount,
                "purpose": paid.purpose.value,
                "paidOn": paid.paid_on,
                "paidAt": paid.paid_at,
                "commission": paid.commission,
                "unallocated": paid.unallocated.value if paid.unallocated is not None else None,
            }
            return {name: value for name, value in paid_said.items() if value is not None}
        case PaymentReversed() as taken:
            return {"amount": taken.amount, "reversedOn": taken.reversed_on}
        case PaymentMovedOut() as moved:
            return {"amount": moved.amount}
        case RefundMade() as refund:
            return {"amount": refund.amount, "returnedOn": refund.refunded_on}
        case ReadingAccepted() as reading:
            return {
                "period": reading.period,
                "receivedAt": reading.received_at,
                "values": _by_register(reading.values),
                "consumption": _by_register(reading.delta),
            }
        case ReadingHeld() as held:
            held_said: dict[str, Any] = {
                "period": held.period,
                "receivedAt": held.received_at,
                "values": _by_register(held.values),
                "consumption": _by_register(held.delta),
                "reason": held.reason.value,
                "limit": held.limit,
            }
            return {name: value for name, value in held_said.items() if value is not None}
        case ReadingConfirmed() as confirmed:
            return {"period": confirmed.period}
        case _:
            return {}


def _by_register(kwh: Kwh) -> dict[str, int]:
    return {register.name: value for register, value in kwh.items()}
