"""The audit trail: the journal itself, told in words when asked, so that it can never say anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from bels.domain.events import AbsenceRegistered, Event, ResidentsChanged, TemporaryResidentsRegistered
from bels.domain.money_events import BalanceCarriedOver, PaymentReceived, PenaltyAccrued
from bels.domain.periods import MOSCOW, moscow_date
from bels.journal.entry import Behalf, Entry
from bels.journal.journal import find_requests, read_page
from bels.journal.write import Db
from bels.projections.words import words

_HAPPENED_AT = (
    "paid_at",
    "received_at",
    "taken_at",
    "installed_at",
    "restored_at",
    "removed_at",
    "failed_at",
    "confirmed_at",
    "rejected_at",
    "refused_at",
    "found_at",
    "opened_at",
    "closed_at",
    "linked_at",
    "unlinked_at",
    "reversed_at",
    "refunded_at",
    "moved_at",
    "published_at",
    "at",
)

_DATED_ON: Mapping[type[Event], str] = {
    ResidentsChanged: "effective_on",
    TemporaryResidentsRegistered: "since",
    AbsenceRegistered: "left_on",
    BalanceCarriedOver: "carried_on",
    PaymentReceived: "paid_on",
    PenaltyAccrued: "accrued_on",
}
"""What counts from a day, whatever moments it names: a payment is dated by the payer's operation, not by its arrival."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry in words: when we knew (``recorded_at``), when it was true (``happened_at``), who, how, for whom, by which rule, in which request."""

    account: str
    entry: int
    kind: str
    recorded_at: datetime
    happened_at: datetime
    channel: str
    actor: str
    receipt: str
    rule: str | None
    text: str
    data: str
    request_id: str = ""
    behalf: Behalf | None = None


def tell(entry: Entry, request_id: str = "") -> AuditRow:
    """Say an entry in words a person understands; ``data`` is the event as JSON."""
    event = entry.event
    return AuditRow(
        entry.account,
        entry.version,
        type(event).__name__,
        entry.recorded_at,
        happened_at(event) or entry.recorded_at,
        entry.channel.value,
        entry.actor,
        entry.receipt,
        rule_of(event),
        words(event),
        msgspec.json.encode(event).decode(),
        request_id,
        entry.behalf,
    )


def happened_at(event: Event) -> datetime | None:
    """Give the moment at which an event was true, None where it has none of its own.

    What counts from a day has its moment of that day, where it names one, else the beginning of the day (Europe/Moscow).
    """
    moments = (getattr(event, name, None) for name in _HAPPENED_AT)
    named = [moment for moment in moments if isinstance(moment, datetime)]
    dated_on = _DATED_ON.get(type(event))
    if dated_on is None:
        return named[0] if named else None
    day: date = getattr(event, dated_on)
    begin = datetime(day.year, day.month, day.day, tzinfo=MOSCOW).astimezone(UTC)
    return next((moment for moment in named if moscow_date(moment) == day), begin)


def rule_of(event: Event) -> str | None:
    """Give the act and point on which an event rests, None where it rests on none."""
    rule: Any = getattr(event, "rule", None)
    if rule is not None:
        return str(rule.value)
    lines: Any = getattr(event, "lines", None)
    return str(lines[0].rule.value) if lines else None


async def page(
    db: Db, account: str, after: int | None, before: int | None, limit: int, backward: bool
) -> list[AuditRow]:
    """List a page of an account's entries in words, oldest or newest first."""
    entries = await read_page(db, account, after or 0, before, limit, backward)
    requests = await find_requests(db, list({entry.receipt for entry in entries}))
    return [tell(entry, requests.get(entry.receipt, "")) for entry in entries]
