"""Read what an evidence pack is made of: each function gives the rows of one file, page by page, in order.

All of them must run in one transaction that sees one moment (REPEATABLE READ).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from asyncpg import Record

from bels.access import acts, personal
from bels.access.acts import ActRow
from bels.access.personal import Personal, subject_of, tenure_of
from bels.access.tenures import find_tenure
from bels.access.vault import Vault
from bels.domain.events import Event
from bels.domain.periods import moscow_date
from bels.journal.codec import decode_events
from bels.journal.entry import Entry
from bels.journal.write import Db
from bels.outgoing import outbox
from bels.projections import ledger
from bels.projections.ledger import LedgerRow
from bels.reception.evidence import RECEIPTS_MAX, Evidence, photos_of

PAGE = 500
RAW_PAGE = 50
"""Messages whose words are in memory together: of the longest it is some megabytes."""

SHOWN_LENGTH_MAX = 300
"""Characters of a message's words that the timeline shows."""

TENURES_MAX = 100


@dataclass(frozen=True, slots=True)
class Chained:
    """An entry as it is stored, with its digests."""

    version: int
    topic: str
    content: bytes
    digest: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A message without its words; ``answer`` are the events that stand in no journal, ``first`` and ``last`` its entries.

    One that repeats another's reading points to its entry and has ``last < first``.
    """

    receipt: str
    channel: str
    message_id: str
    actor: str
    recorded_at: datetime
    status: str
    content: bytes
    first: int | None
    last: int | None
    answer: tuple[Event, ...]
    request_id: str

    @property
    def has_entries(self) -> bool:
        """Say whether it led to entries of its own."""
        return self.first is not None and self.last is not None and self.last >= self.first


@dataclass(frozen=True, slots=True)
class Sent:
    """A text to the household; ``text`` is None where it is masked, erased or kept no more."""

    topic: str
    kind: str
    channel: str | None
    state: str
    created_at: datetime
    sent_at: datetime | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Household:
    """A household of the account: its tenure and, unless it was erased, its personal data, empty where none were given."""

    tenure: int
    erased: bool
    personal: Personal


@dataclass(frozen=True, slots=True)
class Erasures:
    """The households of the account that were erased, by their tenures; ``since`` is when that of now moved in, where it is not the first."""

    tenures: tuple[int, ...]
    since: datetime | None
    of_now: bool
    of_former: bool

    def concern(self, at: datetime) -> bool:
        """Say whether what was said at a moment may be words of an erased household."""
        is_former = self.since is not None and at < self.since
        return self.of_former if is_former else self.of_now


async def chained(db: Db, stream: str) -> AsyncIterator[list[Chained]]:
    """Read every entry of a stream."""
    after = 0
    while rows := await db.fetch(
        """
        SELECT originator_version, topic, content, digest, state FROM journal
         WHERE originator_id = $1 AND originator_version > $2
         ORDER BY originator_version LIMIT $3
        """,
        stream,
        after,
        PAGE,
    ):
        yield [Chained(*row) for row in rows]
        after = rows[-1]["originator_version"]


async def received(db: Db, account: str, entries: Iterable[Entry]) -> list[Received]:
    """Read the messages of the account in order of ``recorded_at`` and receipt: of its entries, and those that led to none."""
    receipts = list(dict.fromkeys(entry.receipt for entry in entries))
    found: dict[str, Received] = {}
    for first in range(0, len(receipts), PAGE):
        rows = await db.fetch(
            """
            SELECT receipt, channel, message_id, actor, recorded_at, status, content, first_version AS first, last_version AS last, answer, request_id
              FROM message WHERE receipt = ANY($1::text[])
            """,
            receipts[first : first + PAGE],
        )
        found.update((row["receipt"], _received(row)) for row in rows)
    rows = await db.fetch(
        """
        SELECT receipt, channel, message_id, actor, recorded_at, status, content, first_version AS first, last_version AS last, answer, request_id
          FROM message
         WHERE account = $1 AND (last_version IS NULL OR last_version < first_version)
        """,
        account,
    )
    found.update((row["receipt"], _received(row)) for row in rows)
    return sorted(found.values(), key=lambda each: (each.recorded_at, each.receipt))


async def raw_words(db: Db, messages: Sequence[Received]) -> AsyncIterator[list[tuple[Received, str]]]:
    """Read the words of messages as they are stored, in the order of the messages."""
    for first in range(0, len(messages), RAW_PAGE):
        some = messages[first : first + RAW_PAGE]
        rows = await db.fetch(
            "SELECT receipt, raw FROM message WHERE receipt = ANY($1::text[])", [each.receipt for each in some]
        )
        words = {row["receipt"]: row["raw"] for row in rows}
        yield [(each, words[each.receipt]) for each in some]


async def sent(db: Db, vault: Vault, account: str, *, opened: bool) -> list[Sent]:
    """Read what was sent to the households of the account, as far as it is kept; the texts only where they may be ``opened``.

    :raises MasterKeyError: the master key is another one.
    :raises VaultError: a text is damaged.
    """
    rows = await db.fetch(
        """
        SELECT id, tenure, topic, kind, channel, state, created_at, sent_at FROM outbox
         WHERE account = $1 ORDER BY tenure, id
        """,
        account,
    )
    texts: dict[int, str] = {}
    for tenure in sorted({row["tenure"] for row in rows}) if opened else ():
        before: int | None = None
        while page := await outbox.page(db, vault, account, tenure, before, PAGE):
            texts.update((each.id, each.text) for each in page)
            before = page[-1].id
    return [
        Sent(
            row["topic"],
            row["kind"],
            row["channel"],
            row["state"],
            row["created_at"],
            row["sent_at"],
            texts.get(row["id"]) or None,
        )
        for row in rows
    ]


async def photos(db: Db, messages: Sequence[Received]) -> list[Evidence]:
    """Find the photos of messages, in the order of the messages."""
    receipts = [each.receipt for each in messages]
    found: list[Evidence] = []
    for first in range(0, len(receipts), RECEIPTS_MAX):
        some = receipts[first : first + RECEIPTS_MAX]
        kept = await photos_of(db, some)
        found += [photo for receipt in some for photo in kept.get(receipt, ())]
    return found


async def identity_acts(db: Db, account: str) -> list[ActRow]:
    """Read what was done to the credentials and cabinets of the account, the oldest first."""
    found: list[ActRow] = []
    while page := await acts.page(db, found[-1].act if found else None, PAGE, account=account):
        found += page
    return found[::-1]


async def households(db: Db, vault: Vault, account: str) -> list[Household]:
    """Read the personal data of the households of the account, the first one first.

    :raises VaultError: they are damaged, or a key is lost.
    :raises MasterKeyError: the master key is another one.
    """
    subjects = _subjects(account, await tenure_of(db, account))
    erased = await _erased(db, subjects)
    found = await personal.find_many(db, vault, [each for each in subjects if each not in erased])
    return [
        Household(int(subject.partition("/")[2]), subject in erased, found.get(subject, Personal()))
        for subject in subjects
    ]


async def erasures(db: Db, account: str) -> Erasures:
    """Find out which households of the account were erased."""
    now = await find_tenure(db, account)
    erased = await _erased(db, _subjects(account, now.number))
    tenures = sorted(int(subject.partition("/")[2]) for subject in erased)
    return Erasures(tuple(tenures), now.since, now.number in tenures, any(each < now.number for each in tenures))


async def movements(db: Db, account: str) -> list[LedgerRow]:
    """Read every movement of the account in the order of the journal."""
    found: list[LedgerRow] = []
    after: tuple[int, str] | None = None
    while page := await ledger.page(db, account, after, None, PAGE, False):
        found += page
        after = (page[-1].entry, page[-1].purpose)
    return found


async def seals_to_prove(db: Db, newest: int) -> list[int]:
    """List the newest seal and the last one of every month, by Moscow time."""
    rows = await db.fetch("SELECT number, sealed_at FROM seal WHERE number <= $1 ORDER BY number", newest)
    last = {f"{moscow_date(row['sealed_at']):%Y-%m}": row["number"] for row in rows}
    return sorted({*last.values(), newest})


def _subjects(account: str, tenures: int) -> list[str]:
    return [subject_of(account, number) for number in range(max(1, tenures - TENURES_MAX + 1), tenures + 1)]


async def _erased(db: Db, subjects: Sequence[str]) -> set[str]:
    rows = await db.fetch(
        "SELECT subject FROM bels_keys.data_key WHERE subject = ANY($1::text[]) AND wrapped IS NULL", list(subjects)
    )
    return {row["subject"] for row in rows}


def _received(row: Record) -> Received:
    return Received(**{**dict(row), "answer": _answer(row["answer"])})


def _answer(answer: bytes | None) -> tuple[Event, ...]:
    try:
        return decode_events(answer) if answer is not None else ()
    except (msgspec.MsgspecError, LookupError, ValueError):
        # What cannot be read is no reason to give no evidence: its bytes stand in the pack.
        return ()
