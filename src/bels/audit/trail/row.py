"""What the index of the trail says of an entry: keys and sums by which it is searched, nothing personal and no words."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from bels.domain.events import (
    ControlReadingTaken,
    Event,
    MeterRemoved,
    PeriodCarriedOver,
    PeriodClosed,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRejected,
    ReadingSuperseded,
    UsageRecalculated,
)
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
)
from bels.domain.terms import Money
from bels.journal.entry import Entry
from bels.projections.audit import happened_at, rule_of

UNREADABLE = "Unreadable"
"""The kind of an entry that cannot be read: its bytes were changed, or a newer program wrote it."""


class TrailRow(NamedTuple):
    """A row of the index, in the order of its columns; moments are UTC, sums roubles, ``id`` is the entry's notification_id."""

    account: str
    entry: int
    id: int
    recorded_at: datetime
    happened_at: datetime
    kind: str
    channel: str
    actor: str
    rule: str | None = None
    period: str | None = None
    amount: Money | None = None
    kwh: int | None = None
    refers: int | None = None
    other: str | None = None


COLUMNS = TrailRow._fields


def row_of(entry: Entry, place: int) -> TrailRow:
    """Say by what an entry is found; ``place`` is its notification_id."""
    event = entry.event
    return TrailRow(
        entry.account,
        entry.version,
        place,
        entry.recorded_at,
        happened_at(event) or entry.recorded_at,
        type(event).__name__,
        entry.channel.value,
        entry.actor,
        rule_of(event),
        getattr(event, "period", None),
        _amount(event),
        _kwh(event),
        _refers(event),
        _other(event),
    )


def unreadable(account: str, entry: int, place: int, at: datetime) -> TrailRow:
    """Say that an entry cannot be read; ``at`` is the moment of the one written before it."""
    return TrailRow(account, entry, place, at, at, UNREADABLE, "", "")


def _amount(event: Event) -> Money | None:
    match event:
        case PeriodClosed():
            return event.bill
        case UsageRecalculated():
            return event.difference
        case PeriodCarriedOver():
            return event.billed
        case BalanceCarriedOver():
            return event.balance
        case (
            PenaltyAccrued()
            | PaymentReceived()
            | PaymentReversed()
            | RefundMade()
            | PaymentMovedOut()
            | PaymentMovedIn()
        ):
            return event.amount
        case _:
            return None


def _kwh(event: Event) -> int | None:
    match event:
        case ReadingAccepted() | ReadingHeld():
            return sum(event.delta.values())
        case ControlReadingTaken() | MeterRemoved():
            return sum(event.difference.values())
        case PeriodClosed() | PeriodCarriedOver():
            return sum(event.usage.values())
        case UsageRecalculated():
            return sum(event.after.values()) - sum(event.before.values())
        case _:
            return None


def _refers(event: Event) -> int | None:
    match event:
        case ReadingConfirmed() | ReadingRejected() | ReadingSuperseded() | ReadingDisproved() | ReadingDisregarded():
            return event.reading
        case PaymentReversed() | PaymentMovedOut():
            return event.payment
        case _:
            return None


def _other(event: Event) -> str | None:
    match event:
        case PaymentMovedOut():
            return event.to
        case PaymentMovedIn():
            return event.source
        case _:
            return None
