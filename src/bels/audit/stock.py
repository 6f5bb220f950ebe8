"""The independent reader: the journal read by the stock ``eventsourcing`` library and its PostgreSQL recorder.

The rows come by the library's own driver and statements and through our ``Mapper``; folded, they must lead to the same account,
entry for entry, as our own reader. All of it is synchronous, as the library is: it belongs into a thread.
"""

from __future__ import annotations

from asyncio import Runner
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import asyncpg
import msgspec
from eventsourcing.persistence import EventStore, Notification
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from bels.domain.account import Account, nobody, replay
from bels.journal.codec import MAPPER, UnknownTopic
from bels.journal.entry import Entry
from bels.journal.journal import next_accounts, read_between, read_page
from bels.journal.write import SESSION

JOURNAL = "journal"
"""The table that the recorder is told to read."""

PORT = 5432

ENTRIES_OF_PAGE = 1000
"""Entries of each reader that are in memory at the same time, however long a history is."""

ACCOUNTS_OF_PAGE = 1000

_UNREADABLE = (UnknownTopic, msgspec.MsgspecError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class StockRow:
    """An account as both readers found it: how many entries, whether they and what they lead to are the same, and where not first."""

    account: str
    entries: int
    same: bool
    difference: str | None = None


@dataclass(frozen=True, slots=True)
class StockOrder:
    """The whole journal in the order of the library's notifications: how many entries, all the same as ours, and where not first."""

    entries: int
    same: bool
    difference: str | None = None


def datastore_of(url: str) -> PostgresDatastore:
    """Open the library's datastore on the database of a URL, which may name the folder of a Unix socket."""
    told = conninfo_to_dict(url)
    return PostgresDatastore(
        str(told.get("dbname") or ""),
        str(told.get("host") or ""),
        str(told.get("port") or PORT),
        str(told.get("user") or ""),
        str(told.get("password") or ""),
        originator_id_type="text",
        single_row_tracking=False,
    )


def replay_stock(url: str, account: str) -> Account:
    """Fold an account from the journal as the stock library reads it; one without entries is nobody's yet."""
    with datastore_of(url) as datastore:
        return _folded(PostgresApplicationRecorder(datastore, events_table_name=JOURNAL), account)


def compare_stock(url: str, account: str) -> StockRow:
    """Read an account by both readers and compare entry by entry, and the account to which each leads."""
    with _both(url) as both:
        return both.row(account)


def stock_report(url: str, accounts: Iterable[str] | None = None) -> Iterator[StockRow]:
    """Compare accounts one by one, all of the journal where none are named; memory does not grow with either.

    What is appended meanwhile is left for the next time.
    """
    with _both(url) as both:
        for account in both.all_accounts() if accounts is None else accounts:
            yield both.row(account)


def stock_order(url: str) -> StockOrder:
    """Read the whole journal in the order of the library's notifications, and compare every entry with ours."""
    with _both(url) as both:
        return both.order()


@contextmanager
def _both(url: str) -> Iterator[_Both]:
    with datastore_of(url) as datastore, Runner() as runner:
        own = runner.run(asyncpg.connect(url, server_settings={**SESSION, "application_name": "bels audit"}))
        try:
            yield _Both(PostgresApplicationRecorder(datastore, events_table_name=JOURNAL), own, runner)
        finally:
            runner.run(own.close())


def _folded(recorder: PostgresApplicationRecorder, account: str) -> Account:
    folded, after = nobody(account), 0
    store = EventStore(MAPPER, recorder)
    while page := cast("list[Entry]", list(store.get(account, gt=after, limit=ENTRIES_OF_PAGE))):
        folded = replay(folded, (entry.event for entry in page))
        after = page[-1].version
    return folded


@dataclass(frozen=True, slots=True)
class _Both:
    """The library's reader and our own, side by side."""

    recorder: PostgresApplicationRecorder
    own: asyncpg.Connection
    runner: Runner

    def all_accounts(self) -> Iterator[str]:
        """List the accounts of the journal in order of number."""
        last = ""
        while numbers := self.runner.run(next_accounts(self.own, last, ACCOUNTS_OF_PAGE)):
            yield from numbers
            last = numbers[-1]

    def row(self, account: str) -> StockRow:
        """Compare an account up to the last entry that our own reader knows."""
        store = EventStore(MAPPER, self.recorder)
        theirs, ours, after = nobody(account), nobody(account), 0
        try:
            newest = self.runner.run(read_page(self.own, account, 0, None, 1, True))
            head = newest[0].version if newest else 0
            while after < head:
                until = min(after + ENTRIES_OF_PAGE, head)
                page = cast("list[Entry]", list(store.get(account, gt=after, lte=until)))
                own = self.runner.run(read_between(self.own, [(account, after + 1, until)]))
                if difference := _first_difference(page, own):
                    return StockRow(account, head, False, difference)
                theirs = replay(theirs, (entry.event for entry in page))
                ours = replay(ours, (entry.event for entry in own))
                after = until
        except _UNREADABLE as error:
            return StockRow(account, after, False, f"after entry {after}: {type(error).__name__}")
        same = theirs == ours
        return StockRow(account, head, same, None if same else "the same entries lead to another account")

    def order(self) -> StockOrder:
        """Compare every entry in the order in which the library would notify of it."""
        stop = self.recorder.max_notification_id() or 0
        after = entries = 0
        while page := list(
            self.recorder.select_notifications(after, ENTRIES_OF_PAGE, stop=stop, inclusive_of_start=False)
        ):
            try:
                difference = self._differs(page)
            except _UNREADABLE as error:
                difference = f"among the notifications after {after}: {type(error).__name__}"
            if difference:
                return StockOrder(entries, False, difference)
            entries += len(page)
            after = int(page[-1].id)
        return StockOrder(entries, True)

    def _differs(self, page: Sequence[Notification]) -> str | None:
        theirs = [cast("Entry", MAPPER.to_domain_event(notification)) for notification in page]
        spans = [(entry.account, entry.version, entry.version) for entry in theirs]
        ours = {(e.account, e.version): e for e in self.runner.run(read_between(self.own, spans))}
        return next(
            (
                f"{entry.account}, entry {entry.version}: the two readers tell another entry"
                for entry in theirs
                if ours.get((entry.account, entry.version)) != entry
            ),
            None,
        )


def _first_difference(theirs: Sequence[Entry], ours: Sequence[Entry]) -> str | None:
    for entry, own in zip(theirs, ours, strict=False):
        if entry != own:
            return f"entry {own.version}: the two readers tell another entry"
    if len(theirs) != len(ours):
        missing = min(len(theirs), len(ours))
        after = ours[missing - 1].version if missing else (ours or theirs)[0].version - 1
        return f"after entry {after} the stock library reads {len(theirs) - missing} more, our own reader {len(ours) - missing}"
    return None
