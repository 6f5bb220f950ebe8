"""Does the index of the trail follow from the journal: a row that was taken out of it would hide an entry from whoever searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncpg import Record

from bels.audit.findings import Finding, FindingKind
from bels.audit.trail.row import COLUMNS, UNREADABLE, TrailRow
from bels.audit.trail.telling import rows_of
from bels.journal.write import Db

ACCOUNTS_AT_ONCE = 100
"""Accounts compared in one snapshot."""

_COLUMNS = ", ".join(COLUMNS)


async def check_trail(db: Db, accounts: Sequence[str]) -> list[Finding]:
    """Say where the rows of accounts in the index are not what their entries say, as far as the index goes; nothing where they are.

    ``db`` is in no transaction. What was appended since the index was told last is not missed.
    """
    found: list[Finding] = []
    numbers = sorted(set(accounts))
    for first in range(0, len(numbers), ACCOUNTS_AT_ONCE):
        some = numbers[first : first + ACCOUNTS_AT_ONCE]
        async with db.transaction(isolation="repeatable_read", readonly=True):
            mark: int = await db.fetchval("SELECT mark FROM trail_told WHERE one = 1")
            entries = await db.fetch(
                "SELECT notification_id, originator_id, originator_version, topic, state FROM journal"
                " WHERE originator_id = ANY($1::text[]) ORDER BY originator_id, originator_version",
                some,
            )
            rows = await db.fetch(f"SELECT {_COLUMNS} FROM trail WHERE account = ANY($1::text[])", some)
        found += _differences(entries, rows, mark)
    return found


def _differences(entries: list[Record], rows: list[Record], mark: int) -> Iterator[Finding]:
    stands = {(row["account"], row["entry"]): TrailRow(*row) for row in rows}
    for follows in rows_of(entries):
        row = stands.pop((follows.account, follows.entry), None)
        if row is None:
            if follows.id <= mark:
                yield _finding("the trail does not know this entry", follows.account, follows.entry)
        # A newer program may read what could not be read when it was told, and the other way round.
        elif row != follows and UNREADABLE not in (row.kind, follows.kind):
            names = [name for name, one, other in zip(COLUMNS, row, follows, strict=True) if one != other]
            yield _finding(f"the trail says something else: {', '.join(names)}", row.account, row.entry)
    for account, entry in stands:
        yield _finding("the trail knows an entry that the journal has not", account, entry)


def _finding(text: str, account: str, entry: int) -> Finding:
    return Finding(FindingKind.VIEW_DIFFERS, f"{account} at {entry}: {text}", account, entry)
