"""Read and append entries and messages, set by set: every statement serves a whole batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from asyncpg import Record

from bels.domain.events import Event
from bels.domain.money_events import (
    RulebookPublished,
)
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel
from bels.journal.chain import GENESIS, link
from bels.journal.codec import to_entry, to_events, to_topic_and_state
from bels.journal.entry import Entry
from bels.journal.installing import install_alone, schema_of
from bels.journal.write import Db, Write, given

RULEBOOK = "rulebook"
"""The stream of the rulebook: one in the journal, as an account has one."""

RULES_REMEMBERED_MAX = 64
"""Entries of the stream of rules that a process keeps decoded: those of some twenty years."""

_to_rules_entry = lru_cache(RULES_REMEMBERED_MAX)(to_entry)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as the journal keeps it: its receipt, its content's digest and its first outcome."""

    channel: Channel
    message_id: str
    receipt: str
    account: str
    actor: str
    content: bytes
    recorded_at: datetime
    status: str
    first_version: int | None
    last_version: int | None
    answer: bytes | None
    raw: str
    request_id: str = ""


async def install(db: Db) -> None:
    """Install or upgrade the journal's tables; safe when several processes do it at once."""

    async def make() -> None:
        await db.execute(schema_of("bels.journal"))
        await db.execute("INSERT INTO installation (sender_key) VALUES ('') ON CONFLICT DO NOTHING")

    await install_alone(db, make)


READ = """
    SELECT j.originator_id, j.originator_version, j.topic, j.state
      FROM unnest($1::text[], $2::bigint[]) AS wanted (account, version)
     CROSS JOIN LATERAL (
           SELECT originator_id, originator_version, topic, state
             FROM journal
            WHERE originator_id = wanted.account AND originator_version > wanted.version
            ORDER BY originator_version
            OFFSET 0) AS j
"""


async def read(db: Db, after: Mapping[str, int]) -> list[Entry]:
    """Read the entries of accounts after a version of each, account by account, in order."""
    rows = await db.fetch(READ, list(after.keys()), list(after.values()))
    return [to_entry(*row) for row in rows]


async def read_between(db: Db, spans: Sequence[tuple[str, int, int]]) -> list[Entry]:
    """Read the entries of accounts from a version to another, both included: (account, first, last)."""
    rows = await db.fetch(
        """
        SELECT j.originator_id, j.originator_version, j.topic, j.state
          FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted (account, first, last)
         CROSS JOIN LATERAL (
               SELECT originator_id, originator_version, topic, state
                 FROM journal
                WHERE originator_id = wanted.account AND originator_version BETWEEN wanted.first AND wanted.last
                ORDER BY originator_version
                OFFSET 0) AS j
        """,
        [account for account, _, _ in spans],
        [first for _, first, _ in spans],
        [last for _, _, last in spans],
    )
    return [to_entry(*row) for row in rows]


def by_account(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Part entries of accounts, each account's in their order."""
    parted: dict[str, list[Entry]] = {}
    for entry in entries:
        parted.setdefault(entry.account, []).append(entry)
    return parted


READ_EVENTS = """
    SELECT wanted.place::int, j.digest, j.topic, j.state
      FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (account, version, place)
     CROSS JOIN LATERAL (
           SELECT digest, topic, state
             FROM journal
            WHERE originator_id = wanted.account AND originator_version > wanted.version
            ORDER BY originator_version
            OFFSET 0) AS j
"""


async def read_events(db: Db, after: Mapping[str, int]) -> Iterator[tuple[str, Iterator[Event], bytes]]:
    """Read the events of accounts after a version of each, as ``read`` does: each account with its events, to be taken in turn.

    With them comes the digest of the last one, on which the next entry rests. They are decoded one by one as they are asked for:
    of a thousand accounts with years of history never all are in memory.
    """
    accounts = list(after.keys())
    rows = await db.fetch(READ_EVENTS, accounts, list(after.values()))
    each = ((place, list(own)) for place, own in groupby(rows, itemgetter(0)))
    return ((accounts[place - 1], to_events(own), own[-1]["digest"]) for place, own in each)


async def read_rulebook(db: Db, after: int) -> tuple[Rulebook | None, int]:
    """Read the last rulebook published after a version of its stream, None where there is none, and the stream's version."""
    rows = await db.fetch(
        "(SELECT originator_id, originator_version, topic, state FROM journal"
        " WHERE originator_id = $1 AND originator_version > $2 AND topic LIKE 'rulebook-published.%'"
        " ORDER BY originator_version DESC LIMIT 1)"
        " UNION ALL"
        " (SELECT originator_id, originator_version, '', ''::bytea FROM journal"
        " WHERE originator_id = $1 AND originator_version > $2 ORDER BY originator_version DESC LIMIT 1)",
        RULEBOOK,
        after,
    )
    published = [to_entry(*row).event for row in rows if row["topic"]]
    book = next((event.book for event in published if isinstance(event, RulebookPublished)), None)
    return book, max((row["originator_version"] for row in rows), default=after)


async def read_rules_stream(db: Db) -> list[Entry]:
    """Read the stream of the rules; what this process has read before, byte for byte, is not decoded again."""
    rows = await db.fetch(READ, [RULEBOOK], [0])
    return [_to_rules_entry(*row) for row in rows]


async def read_publication(db: Db, number: int) -> Rulebook | None:
    """Read a publication of the rulebook by its number, None where there is none."""
    row = await db.fetchrow(
        "SELECT originator_id, originator_version, topic, state FROM journal"
        " WHERE originator_id = $1 AND topic LIKE 'rulebook-published.%'"
        " AND convert_from(state, 'UTF8')::json -> 'event' -> 'book' ->> 'number' = $2",
        RULEBOOK,
        str(number),
    )
    event = to_entry(*row).event if row is not None else None
    return event.book if isinstance(event, RulebookPublished) else None


async def read_page(db: Db, account: str, after: int, before: int | None, limit: int, backward: bool) -> list[Entry]:
    """Read a page of one account's entries, between two versions, oldest or newest first."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        "SELECT originator_id, originator_version, topic, state FROM journal"
        " WHERE originator_id = $1 AND originator_version > $2 AND ($3::bigint IS NULL OR originator_version < $3)"
        f" ORDER BY originator_version {order} LIMIT $4",
        account,
        after,
        before,
        limit,
    )
    return [to_entry(*row) for row in rows]


_ENTRY = "originator_id text, originator_version bigint, topic text, state text, content text, digest text"

APPEND = f"""
INSERT INTO journal (originator_id, originator_version, topic, state, content, digest)
SELECT originator_id, originator_version, topic, convert_to(state, 'UTF8'), decode(content, 'hex'), decode(digest, 'hex')
  FROM {given(_ENTRY)}
"""


def appended(entries: Iterable[Entry], heads: dict[str, bytes], contents: Mapping[str, bytes]) -> Write:
    """Append entries, each at the version it names; a version that is taken is a unique violation.

    ``heads`` are the digests of the last entries of their accounts, none for a new one, and are brought up to these entries.
    ``contents`` are the digests of the messages that led to them, by receipt.
    """
    rows = []
    for entry in entries:
        topic, state = to_topic_and_state(entry)
        account, version, content = entry.account, entry.version, contents[entry.receipt]
        heads[account] = digest = link(heads.get(account, GENESIS), account, version, topic, content, state)
        rows.append((account, version, topic, state.decode(), content.hex(), digest.hex()))
    return Write(APPEND, _ENTRY, rows)


_MESSAGE_COLUMNS = "channel, message_id, receipt, account, actor, content, recorded_at, status, first_version, last_version, answer, raw, request_id"


async def find_messages(db: Db, names: Sequence[tuple[str, str]]) -> list[Recorded]:
    """Find messages that have come before, by (channel, message_id)."""
    rows = await db.fetch(
        f"SELECT {_MESSAGE_COLUMNS} FROM message"
        " JOIN unnest($1::text[], $2::text[]) AS wanted (channel, message_id) USING (channel, message_id)",
        [channel for channel, _ in names],
        [message_id for _, message_id in names],
    )
    return [_recorded(row) for row in rows]


async def find_receipt(db: Db, receipt: str) -> Recorded | None:
    """Find a message by its receipt, for ever."""
    row = await db.fetchrow(f"SELECT {_MESSAGE_COLUMNS} FROM message WHERE receipt = $1", receipt)
    return _recorded(row) if row is not None else None


async def find_requests(db: Db, receipts: Sequence[str]) -> dict[str, str]:
    """Find the requests that brought messages, by their receipts; "" where no request did."""
    rows = await db.fetch("SELECT receipt, request_id FROM message WHERE receipt = ANY($1::text[])", list(receipts))
    return {row["receipt"]: row["request_id"] for row in rows}


async def look_back(
    db: Db, name: tuple[str, str], actor: str, content: bytes, since: datetime | None
) -> tuple[bool, Recorded | None]:
    """Say whether a message has come before by its (channel, message_id), and, from ``since``, which SMS of its sender it repeats.

    A gateway brings an SMS again under a new id: it is the sender's last one, if that says the same and was taken. An earlier
    one does not count: whoever writes 6, then 7, then 6 again, means 6. A refused one is judged anew.
    """
    row = await db.fetchrow(
        f"""
        SELECT EXISTS (SELECT FROM message WHERE channel = $1 AND message_id = $2) AS came_before, last.*
        FROM (VALUES (1)) AS once LEFT JOIN LATERAL (
            SELECT {_MESSAGE_COLUMNS} FROM message WHERE channel = 'sms' AND actor = $3 AND recorded_at >= $4
            ORDER BY recorded_at DESC LIMIT 1
        ) AS last ON true
        """,
        *name,
        actor,
        since,
    )
    if row is None or row["came_before"]:
        return row is not None, None
    if row["content"] is None or bytes(row["content"]) != content or row["status"] not in ("ACCEPTED", "HELD"):
        return False, None
    return False, _recorded({name: value for name, value in row.items() if name != "came_before"})


async def find_parked(db: Db, after: tuple[datetime, str] | None, limit: int) -> list[Recorded]:
    """List parked messages, oldest first, after a moment and a receipt."""
    at, receipt = after or (None, None)
    rows = await db.fetch(
        f"SELECT {_MESSAGE_COLUMNS} FROM message WHERE status = 'PARKED'"
        " AND ($1::timestamptz IS NULL OR (recorded_at, receipt) > ($1, $2::text))"
        " ORDER BY recorded_at, receipt LIMIT $3",
        at,
        receipt,
        limit,
    )
    return [_recorded(row) for row in rows]


_MESSAGE = (
    "channel text, message_id text, receipt text, account text, actor text, content text, recorded_at timestamptz,"
    " status text, first_version bigint, last_version bigint, answer text, raw text, request_id text"
)

RECORD = f"""
INSERT INTO message ({_MESSAGE_COLUMNS})
SELECT channel, message_id, receipt, account, actor, decode(content, 'hex'), recorded_at, status, first_version,
       last_version, convert_to(answer, 'UTF8'), raw, request_id
  FROM {given(_MESSAGE)}
"""


def recorded(messages: Sequence[Recorded]) -> Write:
    """Record messages with their outcomes; a name or a receipt that is taken is a unique violation."""
    rows = [
        (
            m.channel.value,
            m.message_id,
            m.receipt,
            m.account,
            m.actor,
            m.content.hex(),
            m.recorded_at,
            m.status,
            m.first_version,
            m.last_version,
            m.answer.decode() if m.answer is not None else None,
            m.raw,
            m.request_id,
        )
        for m in messages
    ]
    return Write(RECORD, _MESSAGE, rows)


KNOWN = """
SELECT EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS named (channel, message_id)
                 JOIN message USING (channel, message_id)) AS messages,
       EXISTS (SELECT FROM unnest($3::text[], $4::bigint[]) AS wanted (account, version)
                 JOIN journal ON originator_id = wanted.account AND originator_version = wanted.version + 1) AS entries
"""


async def is_known(db: Db, names: Sequence[tuple[str, str]], after: Mapping[str, int]) -> tuple[bool, bool]:
    """Say in one look whether any of these messages has come before, and whether any account has newer entries."""
    row = await db.fetchrow(
        KNOWN,
        [channel for channel, _ in names],
        [message_id for _, message_id in names],
        list(after.keys()),
        list(after.values()),
    )
    return (bool(row["messages"]), bool(row["entries"])) if row is not None else (True, True)


NEXT_ACCOUNTS = """
    WITH RECURSIVE number (account, place) AS (
        (SELECT originator_id, 1 FROM journal WHERE originator_id > $1 ORDER BY originator_id LIMIT 1)
        UNION ALL
        SELECT (SELECT originator_id FROM journal WHERE originator_id > number.account ORDER BY originator_id LIMIT 1),
               place + 1
          FROM number
         WHERE number.account IS NOT NULL AND place < $2)
    SELECT account FROM number WHERE account IS NOT NULL
"""


async def next_accounts(db: Db, after: str, limit: int) -> list[str]:
    """List the accounts that follow a number in the journal, hopping over their entries in the index."""
    return [row["account"] for row in await db.fetch(NEXT_ACCOUNTS, after, limit)]


async def without_entries(db: Db, accounts: Sequence[str]) -> list[str]:
    """List those of some accounts that the journal does not have."""
    rows = await db.fetch(
        """
        SELECT account FROM unnest($1::text[]) AS asked (account)
         WHERE NOT EXISTS (SELECT FROM journal WHERE originator_id = account OFFSET 0)
        """,
        accounts,
    )
    return [row["account"] for row in rows]


async def accounts(db: Db, chunk: int = 1000) -> AsyncIterator[list[str]]:
    """List all accounts of the journal in order of number, chunk by chunk."""
    last = ""
    while numbers := await next_accounts(db, last, chunk):
        yield numbers
        last = numbers[-1]


def _recorded(row: Record | dict[str, Any]) -> Recorded:
    values = dict(row)
    values["channel"] = Channel(values["channel"])
    return Recorded(**values)
