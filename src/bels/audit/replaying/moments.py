"""An account as it was at the end of a day, as bels knew it at a moment: folded anew from its entries, nothing else is looked at.

**Known** at a moment is the beginning of the journal before the first entry that was recorded later. Every entry was decided on
all entries before it, so none of them can be left out under it: where the clocks of two servers differ by a little, an entry
that says it was recorded earlier than the one before it was still known after that one.

**True** by the end of a day, of what was known, is what has a date of that day or before it (Europe/Moscow). ``OWN_DATES`` says which
date of an event decides; what has none of its own goes with the entry that brought it. What is set aside leaves a hole: entries keep
the numbers of the journal, by which readings, meters and payments are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any

from asyncpg import Record

from bels.domain.account import Account, evolve, nobody
from bels.domain.account import replay as fold
from bels.domain.events import (
    AbsenceRegistered,
    AccessRefused,
    AccountClosed,
    AccountOpened,
    ChannelLinked,
    ChannelUnlinked,
    CommandRefused,
    ControlReadingTaken,
    EstimationModeChanged,
    Event,
    InspectionDue,
    InterferenceFound,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    PeriodCarriedOver,
    PeriodClosed,
    PeriodMissed,
    ReadingAccepted,
    ReadingCarriedOver,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
    ResidentsChanged,
    TemporaryResidentsRegistered,
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
    RulebookPublished,
)
from bels.domain.periods import MOSCOW, first_day, moscow_date, shift
from bels.domain.terms import Purpose
from bels.journal.codec import decoders_of, to_entry
from bels.journal.journal import read_rules_stream
from bels.journal.write import Db

ENTRIES_MAX = 20_000
"""Entries of one account that are replayed: more than a household of a hundred years has that sends a reading every week."""

ENTRIES_READ = 2_000
"""Entries that are read at once."""

OWN_DATES: dict[type[Event], str] = {
    AccountOpened: "opened_at",
    AccountClosed: "closed_at",
    ResidentsChanged: "effective_on",
    TemporaryResidentsRegistered: "since",
    AbsenceRegistered: "left_on",
    MeterInstalled: "installed_at",
    MeterRestored: "restored_at",
    MeterRemoved: "removed_at",
    MeterFailed: "failed_at",
    ReadingCarriedOver: "at",
    BalanceCarriedOver: "carried_on",
    # A sent reading counts from when it was received: by that it belongs to its period and stands in the order of readings.
    ReadingAccepted: "received_at",
    ReadingHeld: "received_at",
    ReadingRefused: "received_at",
    ReadingConfirmed: "confirmed_at",
    ReadingRejected: "rejected_at",
    ControlReadingTaken: "taken_at",
    AccessRefused: "refused_at",
    InterferenceFound: "found_at",
    PeriodClosed: "closed_at",
    ChannelLinked: "linked_at",
    ChannelUnlinked: "unlinked_at",
    # Money counts from the day on which the ledger books it.
    PenaltyAccrued: "accrued_on",
    PaymentReceived: "paid_on",
    PaymentReversed: "reversed_on",
    RefundMade: "refunded_on",
    PaymentMovedOut: "moved_at",
    PaymentMovedIn: "moved_at",
    RulebookPublished: "published_at",
    CommandRefused: "refused_at",
}
"""The date of an event that decides by which day it was true: a day of Moscow, or an instant in it."""

BY_PERIOD: frozenset[type[Event]] = frozenset({PeriodCarriedOver})
"""What was true from the day after the end of its period: an earlier system told no moment of its closings."""

GOES_WITH_BEFORE: frozenset[type[Event]] = frozenset(
    {
        ReadingSuperseded,
        ReadingDisproved,
        ReadingDisregarded,
        UsageRecalculated,
        EstimationModeChanged,
        InspectionDue,
    }
)
"""What one decision adds to the event before it which has a date: to a reading, an act, a closing."""

GOES_WITH_NEXT: frozenset[type[Event]] = frozenset({PeriodMissed})
"""What stands before the event it belongs to: a missed period is told before its closing."""

_RESTS_ON: frozenset[type[Event]] = frozenset(
    {
        MeterRestored,
        MeterRemoved,
        MeterFailed,
        ReadingCarriedOver,
        ReadingAccepted,
        ReadingHeld,
        ControlReadingTaken,
        ReadingConfirmed,
        ReadingRejected,
        ReadingSuperseded,
        ReadingDisproved,
        ReadingDisregarded,
    }
)
"""What says nothing where the meter or the readings that it names were not there yet."""

_NAMES = ("meter", "reading", "by")
_TakenBack = PaymentReversed | PaymentMovedOut
_TAKES_BACK = (PaymentReversed, PaymentMovedOut)

ENTRIES_BETWEEN_MARKS = 100
"""Entries after which a replay keeps the state on its way: a page of steps begins near, and not at the first entry."""


class ReplayError(ValueError):
    """An account cannot be replayed; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in both times: the end of the day ``as_of`` (None: all that was known), as known at ``known_at`` (None: now)."""

    as_of: date | None = None
    known_at: datetime | None = None


class History:
    """The entries of one account as the journal has them; each is read no further than it is asked for."""

    def __init__(self, account: str, rows: Sequence[Record | tuple[int, str, bytes]]) -> None:
        self.account = account
        self.rows = rows
        self._events: list[Event] = []
        self._recorded: list[datetime] = []

    def known_by(self, known_at: datetime | None) -> int:
        """Count the entries that were known at a moment: the last version of what was known.

        :raises UnknownTopic: an entry is of a newer program.
        """
        if known_at is not None:
            for i, recorded_at in enumerate(self._recorded):
                if recorded_at > known_at:
                    return i
        events, recorded, decoders = self._events, self._recorded, _DECODERS
        for version, topic, state in self.rows[len(events) :]:
            decode = decoders.get(topic)
            stored = decode(state) if decode is not None else to_entry(self.account, version, topic, state)
            events.append(stored.event)
            recorded.append(stored.recorded_at)
            if known_at is not None and stored.recorded_at > known_at:
                return len(events) - 1
        return len(events)

    def events(self, known: int) -> list[Event]:
        """Give the events of the first entries, so many as were known."""
        return self._events[:known]

    def recorded_at(self, version: int) -> datetime:
        """Say when an entry was recorded that was known at a moment asked for."""
        return self._recorded[version - 1]


@dataclass(frozen=True, slots=True)
class Replayed:
    """An account at a moment: ``known`` entries were known, of which those ``aside`` were not true yet.

    ``day`` is the day at whose end it is looked at: that of ``as_of``, or else the Moscow day of ``known_at``. ``last`` is the last
    entry that counts, 0 where none does. ``marks`` are the states on the way, after every ``ENTRIES_BETWEEN_MARKS`` entries.
    """

    history: History
    moment: Moment
    day: date
    account: Account
    known: int
    aside: frozenset[int]
    marks: tuple[Account, ...]

    @property
    def last(self) -> int:
        """Give the last entry that counts, 0 where none does."""
        return self.account.version

    @property
    def last_recorded_at(self) -> datetime | None:
        """Say when the last entry that counts was recorded."""
        return self.history.recorded_at(self.last) if self.last else None

    def after(self, entry: int) -> Account:
        """Give the account after an entry that was known, 0: before the first one."""
        passed = entry // ENTRIES_BETWEEN_MARKS
        mark = self.marks[passed - 1] if passed else nobody(self.history.account)
        events = self.history.events(self.known)
        return _fold_on(mark, passed * ENTRIES_BETWEEN_MARKS, entry, events, self.aside)

    def counts(self, entry: int) -> bool:
        """Say whether an entry was known and true at the moment."""
        return entry <= self.known and entry not in self.aside


READ = """
    SELECT originator_version, topic, state
      FROM journal
     WHERE originator_id = $1 AND originator_version > $2
     ORDER BY originator_version
     LIMIT $3
"""


async def count_entries(db: Db, account: str) -> int:
    """Count the entries of an account by the number of its last one.

    :raises ReplayError: there are more than may be replayed.
    """
    count: int | None = await db.fetchval(
        "SELECT max(originator_version) FROM journal WHERE originator_id = $1", account
    )
    if count is not None and count > ENTRIES_MAX:
        raise ReplayError(_too_many(account))
    return count or 0


async def read_history(db: Db, account: str) -> History:
    """Read the entries of an account, in order.

    :raises ReplayError: there are more than may be replayed.
    """
    rows: list[Record] = []
    # Page by page: taking twenty thousand rows at once would keep all others waiting.
    while len(rows) <= ENTRIES_MAX:
        page = await db.fetch(READ, account, rows[-1]["originator_version"] if rows else 0, ENTRIES_READ)
        rows += page
        if len(page) < ENTRIES_READ:
            break
    if len(rows) > ENTRIES_MAX:
        raise ReplayError(_too_many(account))
    return History(account, rows)


def _too_many(account: str) -> str:
    return f"account {account} has more than {ENTRIES_MAX:,} entries: it is not replayed whole"


def replay(history: History, moment: Moment, now: datetime) -> Replayed:
    """Fold what was known at a moment, and true by the end of its day."""
    known = history.known_by(moment.known_at)
    events = history.events(known)
    day = moment.as_of or moscow_date(moment.known_at or now)
    aside = set_aside(events, moment.as_of) if moment.as_of is not None else frozenset()
    account = nobody(history.account)
    marks: list[Account] = []
    for mark in range(ENTRIES_BETWEEN_MARKS, known + 1, ENTRIES_BETWEEN_MARKS):
        account = _fold_on(account, mark - ENTRIES_BETWEEN_MARKS, mark, events, aside)
        marks.append(account)
    account = _fold_on(account, len(marks) * ENTRIES_BETWEEN_MARKS, known, events, aside)
    return Replayed(history, moment, day, account, known, aside, tuple(marks))


async def rulebook_known(db: Db, known_at: datetime | None) -> RulebookPublished | None:
    """Find the publication of the rules that was the last one known at a moment, None where there was none."""
    found: RulebookPublished | None = None
    for entry in await read_rules_stream(db):
        if known_at is not None and entry.recorded_at > known_at:
            break
        found = entry.event if isinstance(entry.event, RulebookPublished) else found
    return found


def set_aside(events: Sequence[Event], day: date) -> frozenset[int]:
    """Name the entries, of the first ones of an account, that were not true by the end of a day."""
    # The end of the day as an instant: finding the Moscow day of every event would take longer than folding it.
    end = datetime(day.year, day.month, day.day, tzinfo=MOSCOW) + timedelta(days=1)
    later = _Later(day, end.astimezone(UTC))
    aside: set[int] = set()
    waiting: list[int] = []
    is_aside = False
    for entry, event in enumerate(events, 1):
        kind = type(event)
        decided = _DECIDED.get(kind)
        if decided is not None:
            is_aside = decided(later, event)
            if is_aside:
                aside.update(waiting)
            waiting.clear()
        elif kind in GOES_WITH_NEXT:
            waiting.append(entry)
            continue
        if is_aside or (aside and kind in _RESTS_ON and _names_one_of(event, aside)):
            aside.add(entry)
    return frozenset(aside)


def _fold_on(account: Account, begin: int, until: int, events: Sequence[Event], aside: frozenset[int]) -> Account:
    """Fold the entries after ``begin`` through ``until`` into an account, without those set aside; every entry keeps its number."""
    if not aside:
        return fold(numbered(account, begin), events[begin:until])
    done = begin
    taken: list[_TakenBack] = []
    for entry in range(begin + 1, until + 2):
        if entry <= until and entry not in aside:
            event = events[entry - 1]
            if isinstance(event, _TAKES_BACK) and event.payment in aside:
                taken.append(event)
            continue
        if entry - 1 > done:
            # An entry is numbered by the version before it.
            account = fold(numbered(account, done), events[done : entry - 1])
        done = entry
    return _without_payments(account, taken) if taken else account


def state_with(account: Account, entry: int, event: Event, aside: frozenset[int]) -> Account:
    """Fold one more entry that is not set aside into an account."""
    is_now = evolve(numbered(account, entry - 1), event)
    return _without_payments(is_now, [event]) if isinstance(event, _TAKES_BACK) and event.payment in aside else is_now


def numbered(account: Account, version: int) -> Account:
    """Give an account whose next entry has the number after ``version``."""
    return account if account.version == version else replace(account, version=version)


def _without_payments(account: Account, taken: Sequence[_TakenBack]) -> Account:
    """Book what was taken back before the day on which it was paid, as the ledger does: each movement on its own day."""
    ledger = account.ledger
    for event in taken:
        if event.purpose is Purpose.PENALTY:
            ledger = replace(ledger, penalty=ledger.penalty + event.amount)
        else:
            ledger = replace(ledger, balance=ledger.balance + event.amount)
    return replace(account, ledger=ledger)


def _names_one_of(event: Event, aside: set[int]) -> bool:
    return any(getattr(event, name, None) in aside for name in _NAMES)


@dataclass(frozen=True, slots=True)
class _Later:
    """What is later than the end of a day: ``end`` is that instant, exclusive."""

    day: date
    end: datetime


def _by_instant(name: str) -> Callable[[_Later, Any], bool]:
    find = attrgetter(name)
    return lambda later, event: bool(find(event) >= later.end)


def _by_day(name: str) -> Callable[[_Later, Any], bool]:
    find = attrgetter(name)
    return lambda later, event: bool(find(event) > later.day)


def _by_period(later: _Later, event: Any) -> bool:
    return first_day(shift(event.period, 1)) > later.day


_DECIDED: dict[type[Event], Callable[[_Later, Any], bool]] = {
    **{kind: (_by_instant if name.endswith("at") else _by_day)(name) for kind, name in OWN_DATES.items()},
    **dict.fromkeys(BY_PERIOD, _by_period),
}


_DECODERS = decoders_of("Replayed", ("recorded_at", datetime))
"""What a replay needs of an entry, in three quarters of the time that the whole of it takes."""
