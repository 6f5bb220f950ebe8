"""Decide the closings of an account anew, by rules that are handed in; what happened otherwise stands as it was recorded.

Facts (readings, meters, residents, payments, acts) are folded as they stand: they are what was known, and what people did next
followed from the answers they got. Only closings are decided again, from what was known when each was posted. With the rules
that counted then every closing must come out as it was posted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby, zip_longest
from operator import attrgetter

from bels.domain.account import Account, nobody, replay
from bels.domain.close_period import close_period
from bels.domain.commands import ClosePeriod
from bels.domain.events import CommandRefused, Event, PeriodClosed, UsageRecalculated
from bels.domain.money import ZERO
from bels.domain.money_events import PenaltyAccrued, RulebookPublished
from bels.domain.rulebook import Rulebook, publication_of
from bels.domain.terms import Mode, Money, Period
from bels.journal.entry import Entry

DIFFERENCES_TOLD_MAX = 20
"""Differences of one closing that are told one by one."""

VALUE_LENGTH_MAX = 120
"""Characters of a value that a difference tells."""

SLOW_WRITER = timedelta(minutes=10)
"""So long a process may still decide by the rules that it knew while others were being published."""

Rules = Callable[[Entry], Rulebook | None]
"""The rulebook by which a closing is decided, by the entry of its ``PeriodClosed``; None: it stands as it was posted."""


@dataclass(frozen=True, slots=True)
class Posting:
    """What a closing posts: kWh of the period and of its recalculations together, roubles of the bill, and penalties.

    ``charged`` and ``recalculated`` make up the ``bill``; ``mode`` is None where it posts nothing.
    """

    mode: Mode | None = None
    kwh: int = 0
    charged: Money = ZERO
    recalculated: Money = ZERO
    penalties: Money = ZERO

    @property
    def bill(self) -> Money:
        """The sum of the bill."""
        return self.charged + self.recalculated


@dataclass(frozen=True)
class ClosingAnew:
    """A closing as it was posted, and as it is decided anew.

    ``entry`` is that of its ``PeriodClosed``, ``rulebook`` the version by which it was decided anew, None where it was not: then
    it stands as posted. ``refusal`` is why it could not be decided anew; it stands as posted as well, so that what follows can be.
    """

    entry: Entry
    period: Period
    posted: tuple[Event, ...]
    anew: tuple[Event, ...]
    rulebook: str | None
    refusal: CommandRefused | None = None

    @property
    def is_same(self) -> bool:
        """Say whether it comes out exactly as it was posted."""
        return self.refusal is None and self.posted == self.anew

    @cached_property
    def was(self) -> Posting:
        """What was posted."""
        return posting_of(self.posted)

    @cached_property
    def would_be(self) -> Posting:
        """What would be posted."""
        return posting_of(self.anew)

    def differences(self) -> tuple[str, ...]:
        """List what differs, in words: at most ``DIFFERENCES_TOLD_MAX``; nothing where it comes out the same."""
        if self.refusal is not None:
            detail = f": {self.refusal.detail}" if self.refusal.detail else ""
            return (f"it cannot be decided anew, {self.refusal.reason.value}{detail}",)
        return tuple(_differences(self.posted, self.anew))[:DIFFERENCES_TOLD_MAX]


@dataclass(frozen=True, slots=True)
class ReplayedAnew:
    """An account at its end, with its closings decided anew, and every closing of it in order."""

    account: Account
    closings: tuple[ClosingAnew, ...]


def replay_anew(entries: Iterable[Entry], rules: Rules) -> ReplayedAnew:
    """Replay one account from its entries, in order from the first, and decide its closings anew by ``rules``.

    An entry refers to others by their numbers. So facts keep theirs, and a ``PeriodClosed`` takes that of the one it stands for:
    by it alone a closing is ever named (as a debt). What comes with it is never named, and so needs no number of its own.

    A journal that nobody has tampered with always replays; another one may raise whatever the rules run into.
    """
    account: Account | None = None
    facts: list[Event] = []
    closings: list[ClosingAnew] = []
    version = 0
    for _, same in groupby(entries, attrgetter("receipt")):
        group = list(same)
        if account is None:
            account = nobody(group[0].account)
        closing = next((entry for entry in group if isinstance(entry.event, PeriodClosed)), None)
        if group[0].version != version + 1 and facts:
            account, facts = replay(account, facts), []
        if not facts and account.version != group[0].version - 1:
            account = replace(account, version=group[0].version - 1)
        version = group[-1].version
        if closing is None:
            facts += [entry.event for entry in group]
            continue
        if facts:
            account, facts = replay(account, facts), []
        decided = _decide(account, group, closing, rules(closing))
        closings.append(decided)
        account = _fold(account, closing.version, decided.anew)
        account = account if account.version == version else replace(account, version=version)
    if account is None:
        return ReplayedAnew(nobody(""), ())
    return ReplayedAnew(replay(account, facts), tuple(closings))


def _decide(account: Account, group: Sequence[Entry], closing: Entry, book: Rulebook | None) -> ClosingAnew:
    closed = closing.event
    assert isinstance(closed, PeriodClosed)  # noqa: S101 - for the type checker
    posted = tuple(entry.event for entry in group)
    if book is None:
        return ClosingAnew(closing, closed.period, posted, posted, None)
    events = close_period(account, ClosePeriod(closed.period, closed.closed_at), book)
    if isinstance(events[0], CommandRefused):
        return ClosingAnew(closing, closed.period, posted, posted, book.version, events[0])
    if closed.due_on is None:
        events = tuple(_without_money(event) for event in events if not isinstance(event, PenaltyAccrued))
    return ClosingAnew(closing, closed.period, posted, events, book.version)


def _fold(account: Account, number: int, events: tuple[Event, ...]) -> Account:
    """Fold what a closing posts so that its ``PeriodClosed`` has a number."""
    before = next(i for i, event in enumerate(events) if isinstance(event, PeriodClosed))
    if account.version != number - 1 - before:
        account = replace(account, version=number - 1 - before)
    return replay(account, events)


def _without_money(event: Event) -> Event:
    """Leave out the money: in the time before there was any in the journal, a closing decided kWh only."""
    if isinstance(event, PeriodClosed):
        return replace(event, charges=(), charged=ZERO, recalculated=ZERO, due_on=None)
    if isinstance(event, UsageRecalculated):
        return replace(event, money_before=ZERO, money_after=ZERO, charges=(), rulebook="", ground=None)
    return event


def posting_of(events: Iterable[Event]) -> Posting:
    """Sum up what the events of one closing post."""
    mode: Mode | None = None
    kwh, charged, recalculated, penalties = 0, ZERO, ZERO, ZERO
    for event in events:
        match event:
            case PeriodClosed():
                mode, charged, recalculated = event.mode, event.charged, event.recalculated
                kwh += sum(event.usage.values())
            case UsageRecalculated():
                kwh += sum(event.after.values()) - sum(event.before.values())
            case PenaltyAccrued():
                penalties += event.amount
            case _:
                pass
    return Posting(mode, kwh, charged, recalculated, penalties)


def _differences(posted: Sequence[Event], anew: Sequence[Event]) -> Iterable[str]:
    """Say what differs between two closings: events that only one has, and the fields of those that both have."""
    for kind in dict.fromkeys(type(event) for event in (*posted, *anew)):
        pairs = zip_longest((e for e in posted if type(e) is kind), (e for e in anew if type(e) is kind))
        for was, is_now in pairs:
            named = was if was is not None else is_now
            name = kind.__name__ + (f" of {named.period}" if isinstance(named, UsageRecalculated) else "")
            if was is None or is_now is None:
                yield f"{name}: {'only anew' if was is None else 'only posted'}"
                continue
            for field in fields(kind):
                before, after = getattr(was, field.name), getattr(is_now, field.name)
                if before != after:
                    yield f"{name}.{field.name}: posted {_told(before)}, anew {_told(after)}"


def _told(value: object) -> str:
    text = str(value)
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 3] + "..."


@dataclass(frozen=True)
class Publications:
    """The rulebooks that have been published, oldest first, each with the moment of its recording.

    ``unpublished`` is what counts where nothing is published: the book that bels brings along, or one that was handed in.
    """

    recorded: tuple[tuple[datetime, Rulebook], ...]
    unpublished: Rulebook

    @property
    def newest(self) -> Rulebook:
        """The book in force."""
        return self.recorded[-1][1] if self.recorded else self.unpublished

    def numbered(self, number: int) -> Rulebook | None:
        """Give a publication by its number, None where there is none; 0 is the book that was never published."""
        return self._by_number.get(number) if number else self.unpublished

    def known_at(self, moment: datetime) -> Rulebook:
        """Give the book that was in force at a moment, as far as was known then."""
        i = bisect_right(self._moments, moment)
        return self.recorded[i - 1][1] if i else self.unpublished

    def then(self, closing: Entry) -> Rulebook:
        """Give the book by which a closing was decided: the one it names, or what was in force where that is not here.

        A process that closes while another one publishes may not have known of it yet (``SLOW_WRITER``), so the name goes before the
        moment.
        """
        named = self._named(closing)
        return self.known_at(closing.recorded_at) if named is None else named

    def _named(self, closing: Entry) -> Rulebook | None:
        assert isinstance(closing.event, PeriodClosed)  # noqa: S101 - for the type checker
        book = self.numbered(publication_of(closing.event.rulebook))
        return book if book is not None and book.version == closing.event.rulebook else None

    @cached_property
    def _by_number(self) -> dict[int, Rulebook]:
        return {book.number: book for _, book in self.recorded}

    @cached_property
    def _moments(self) -> list[datetime]:
        return [moment for moment, _ in self.recorded]


def publications_of(stream: Iterable[Entry], unpublished: Rulebook) -> Publications:
    """Take the publications out of the entries of the stream ``rulebook``."""
    published = (
        (entry.recorded_at, entry.event.book) for entry in stream if isinstance(entry.event, RulebookPublished)
    )
    return Publications(tuple(published), unpublished)
