"""The posted ledger against a fresh replay: line by line, with the difference that must be nothing.

Three books are held beside each other. *Posted* is what the views have, told as entries came. *Replayed* is told anew from the journal's
entries. *Decided* is what the closings would post if they were decided again by the rules that were in force then (``anew.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import zip_longest

from asyncpg import Record

from bels.audit.replaying.anew import ClosingAnew, Publications, publications_of, replay_anew
from bels.audit.replaying.moments import ENTRIES_MAX, History, read_history
from bels.domain.account import nobody, replay
from bels.domain.events import Event, PeriodClosed
from bels.domain.money import ZERO
from bels.domain.periods import moscow_date
from bels.domain.post_movements import Movement, movements
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Money, MovementKind, Period, Purpose
from bels.journal.codec import to_entry
from bels.journal.entry import Entry
from bels.journal.journal import read_rules_stream
from bels.journal.write import Db


@dataclass(frozen=True, slots=True)
class BookLine:
    """A movement in the three books, in roubles; None where a book does not have it.

    ``entry`` is the entry that moved the money, or the closing that would have. ``balance`` is that of its purpose after it, as
    posted; ``balance_replayed`` the same as replayed.
    """

    entry: int
    purpose: Purpose
    kind: MovementKind
    period: Period | None
    booked_on: date
    posted: Money | None
    replayed: Money | None
    decided: Money | None
    balance: Money | None
    balance_replayed: Money | None

    @property
    def difference(self) -> Money:
        """What is posted less what the journal says: 0.00 where the views follow from it."""
        return (self.posted or ZERO) - (self.replayed or ZERO)

    @property
    def difference_decided(self) -> Money:
        """What is posted less what would be posted by the rules in force then."""
        return (self.posted or ZERO) - (self.decided or ZERO)

    @property
    def holds(self) -> bool:
        """Say whether all three books have this line with the same sum, and the balance after it is right."""
        return self.posted == self.replayed == self.decided and self.balance == self.balance_replayed


@dataclass(frozen=True, slots=True)
class BookSum:
    """The balance of a purpose in the three books, in roubles."""

    purpose: Purpose
    posted: Money
    replayed: Money
    decided: Money

    @property
    def difference(self) -> Money:
        """What is posted less what the journal says."""
        return self.posted - self.replayed

    @property
    def difference_decided(self) -> Money:
        """What is posted less what would be posted by the rules in force then."""
        return self.posted - self.decided


@dataclass(frozen=True, slots=True)
class BooksReplayed:
    """The books of an account held beside each other; ``closings`` were decided anew, ``different`` are those that come out otherwise.

    ``different`` tells for each of them what differs, in words for the developer and the auditor (English).
    """

    account: str
    entries: int
    lines: tuple[BookLine, ...]
    sums: tuple[BookSum, ...]
    closings: int
    different: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Say whether the three books agree, line by line and in their sums."""
        return (
            not self.different
            and all(line.holds for line in self.lines)
            and all(not each.difference and not each.difference_decided for each in self.sums)
        )


POSTED = """
    SELECT entry, purpose, kind, period, booked_on, amount, balance
      FROM ledger
     WHERE account = $1
     ORDER BY entry, purpose
     LIMIT $2
"""


async def replay_books(db: Db, account: str, unpublished: Rulebook) -> BooksReplayed | None:
    """Hold the posted ledger of an account against its replay; None where it has no entries.

    ``unpublished`` is the rulebook that counted while none was published.

    :raises ReplayError: it has too many entries.
    """
    hold = await read_books(db, account, unpublished)
    return await asyncio.to_thread(hold) if hold is not None else None


async def read_books(db: Db, account: str, unpublished: Rulebook) -> Callable[[], BooksReplayed] | None:
    """Read the books of an account, and give what holds them against each other; None where it has no entries.

    Deciding ten years of closings takes a tenth of a second: it is done aside from whoever serves others meanwhile.

    :raises ReplayError: it has too many entries.
    """
    # Of one moment: what is posted meanwhile would be in one book and not in the other.
    async with db.transaction(isolation="repeatable_read", readonly=True):
        history = await read_history(db, account)
        if not history.rows:
            return None
        posted = await db.fetch(POSTED, account, 2 * ENTRIES_MAX)
        stands = await db.fetchrow("SELECT balance, penalty FROM balance WHERE account = $1", account)
        publications = publications_of(await read_rules_stream(db), unpublished)
    return partial(_held, history, posted, stands, publications)


def _held(
    history: History, posted: Sequence[Record], stands: Record | None, publications: Publications
) -> BooksReplayed:
    account = history.account
    entries = [to_entry(account, *row) for row in history.rows]
    anew = replay_anew(entries, publications.then)
    decided = {closing.entry.version: closing for closing in anew.closings}
    fresh = replay(nobody(account), (entry.event for entry in entries)).ledger
    again = anew.account.ledger
    shown = (stands["balance"], stands["penalty"]) if stands is not None else (ZERO, ZERO)
    return BooksReplayed(
        account,
        len(entries),
        tuple(_lines(entries, posted, decided)),
        (
            BookSum(Purpose.ENERGY, shown[0], fresh.balance, again.balance),
            BookSum(Purpose.PENALTY, shown[1], fresh.penalty, again.penalty),
        ),
        sum(closing.rulebook is not None for closing in anew.closings),
        tuple(
            f"closing of {closing.period} at {closing.entry.version}: {told}"
            for closing in anew.closings
            for told in closing.differences()
        ),
    )


def _lines(
    entries: Sequence[Entry], posted: Sequence[Record], decided: Mapping[int, ClosingAnew]
) -> Iterator[BookLine]:
    """Join the lines of the three books by entry and purpose; movements that only a closing anew has stand at that closing."""
    views = {(row["entry"], row["purpose"]): row for row in posted}
    after = {Purpose.ENERGY: ZERO, Purpose.PENALTY: ZERO}
    anew = _decided_by_entry(decided)
    for entry, movement in _movements(entries):
        row = views.pop((entry, movement.purpose.value), None)
        after[movement.purpose] += movement.amount
        yield BookLine(
            entry,
            movement.purpose,
            movement.kind,
            movement.period,
            movement.booked_on,
            row["amount"] if row is not None else None,
            movement.amount,
            anew.pop((entry, movement.purpose), movement.amount if not _is_of_closing(movement) else None),
            row["balance"] if row is not None else None,
            after[movement.purpose],
        )
    for (entry, _), row in views.items():
        purpose, kind = Purpose(row["purpose"]), MovementKind(row["kind"])
        period = Period(row["period"]) if row["period"] is not None else None
        amount, balance = row["amount"], row["balance"]
        yield BookLine(entry, purpose, kind, period, row["booked_on"], amount, None, None, balance, None)
    for number, closing in decided.items():
        for movement in _only_decided(closing):
            kind, sum_, on = movement.kind, movement.amount, movement.booked_on
            yield BookLine(number, movement.purpose, kind, movement.period, on, None, None, sum_, None, None)


def _movements(entries: Sequence[Entry]) -> Iterator[tuple[int, Movement]]:
    closed_on: date | None = None
    for entry in entries:
        event = entry.event
        if isinstance(event, PeriodClosed):
            closed_on = moscow_date(event.closed_at)
        for movement in movements(event, closed_on):
            yield entry.version, movement


def _of_closing(events: Sequence[Event]) -> list[Movement]:
    closed = next(event for event in events if isinstance(event, PeriodClosed))
    on = moscow_date(closed.closed_at)
    return [movement for event in events for movement in movements(event, on)]


def _is_of_closing(movement: Movement) -> bool:
    return movement.kind in (MovementKind.CHARGE, MovementKind.RECALCULATION, MovementKind.PENALTY)


def _pairs(closing: ClosingAnew) -> Iterator[tuple[int | None, Movement | None]]:
    """Pair the movements of a closing decided anew with the places at which it posted those of the same kind and period."""
    first = closing.entry.version - next(i for i, e in enumerate(closing.posted) if isinstance(e, PeriodClosed))
    on = moscow_date(next(e for e in closing.posted if isinstance(e, PeriodClosed)).closed_at)
    was = [(first + i, m) for i, event in enumerate(closing.posted) for m in movements(event, on)]
    would_be = _of_closing(closing.anew)
    for name in dict.fromkeys((m.kind, m.period) for m in (*(m for _, m in was), *would_be)):
        old = [place for place, m in was if (m.kind, m.period) == name]
        new = [m for m in would_be if (m.kind, m.period) == name]
        yield from zip_longest(old, new)


def _decided_by_entry(decided: Mapping[int, ClosingAnew]) -> dict[tuple[int, Purpose], Money]:
    found: dict[tuple[int, Purpose], Money] = {}
    for closing in decided.values():
        for place, movement in _pairs(closing):
            if place is not None and movement is not None:
                found[place, movement.purpose] = movement.amount
    return found


def _only_decided(closing: ClosingAnew) -> list[Movement]:
    return [movement for place, movement in _pairs(closing) if place is None and movement is not None]
