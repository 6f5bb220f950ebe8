"""Journals in memory: what was asked of accounts under the rules of the day, as entries with receipts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bels.audit.replaying.anew import Publications, publications_of
from bels.domain.account import Account, nobody, replay
from bels.domain.commands import Command, PublishRulebook
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event
from bels.domain.money_events import RulebookPublished
from bels.domain.rulebook import Rulebook
from bels.domain.terms import AccountNumber, Channel
from bels.journal.entry import Entry

FIRST_MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
ACCOUNT = "1000000"


@dataclass(slots=True)
class Journal:
    """A journal of accounts and of the rulebook; what is asked of it is recorded a second later each time."""

    rulebook: Rulebook
    unpublished: Rulebook | None = None
    moment: datetime = FIRST_MOMENT
    accounts: dict[str, Account] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    asked: int = 0

    def record(self, number: str, events: Iterable[Event]) -> None:
        """Record what a message led to."""
        events = tuple(events)
        account = self.accounts.get(number) or nobody(number)
        self.asked += 1
        self.moment += timedelta(seconds=1)
        self.entries.setdefault(number, []).extend(
            Entry(
                AccountNumber(number),
                account.version + 1 + n,
                self.moment,
                Channel.OFFICE,
                "test",
                f"R{self.asked:07d}",
                event,
            )
            for n, event in enumerate(events)
        )
        self.accounts[number] = replay(account, events)

    def ask(self, command: Command, number: str = ACCOUNT) -> tuple[Event, ...]:
        """Ask something of an account."""
        events = decide(self.accounts.get(number) or nobody(number), command, self.rulebook)
        self.record(number, events)
        return events

    def publish(self, book: Rulebook, reason: str | None = None) -> Rulebook:
        """Publish rules over those in force; every account's past counts as charged."""
        closed = [account.closed[-1].period for account in self.accounts.values() if account.closed]
        command = PublishRulebook(book, self.rulebook.number, self.moment, "test", max(closed, default=None), reason)
        if self.unpublished is None:
            self.unpublished = self.rulebook
        (event,) = decide(self.accounts.get("rulebook") or nobody("rulebook"), command, self.rulebook)
        assert not isinstance(event, CommandRefused), event
        assert isinstance(event, RulebookPublished)
        self.record("rulebook", [event])
        self.rulebook = event.book
        return self.rulebook

    @property
    def publications(self) -> Publications:
        """Give what was published."""
        return publications_of(self.entries.get("rulebook", ()), self.unpublished or self.rulebook)
