"""Do the views follow from the entries? They are told again into tables of one transaction and compared, row by row, both ways.

All of it happens under one snapshot and is taken back at the end: what stands is only read, no writer waits, and an account that
grows meanwhile is seen as it was when the check began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import msgspec

from bels.audit.findings import Finding, FindingKind
from bels.audit.replaying.anew import SLOW_WRITER
from bels.domain.money_events import RulebookPublished
from bels.domain.rulebook import Rulebook
from bels.journal.journal import RULEBOOK, read
from bels.journal.write import Db, run
from bels.projections import estimation
from bels.projections.change import Change
from bels.projections.project import VIEWS, changes_of, told, touched

ACCOUNTS_OF_SNAPSHOT = 500
"""Accounts checked under one snapshot, with one set of tables of its own: each set costs the catalogue some hundred rows."""

ACCOUNTS_TOLD_AT_ONCE = 100
"""Accounts whose entries are in memory at the same time."""

ACCOUNTS_NAMED_MAX = 100
"""Accounts of one snapshot whose differences in one table are told row by row; that there are more is said."""

ROWS_NAMED_MAX = 20
"""Rows of one account in one table that are named; how many more differ is said."""

STRANGERS_NAMED_MAX = 100

WORK_MEMORY = "64MB"
"""In which the rows of a snapshot are compared without writing them down."""

_NOT_THE_ENTRIES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    OSError,
)
"""What goes wrong without any fault of what is checked."""

TABLES = tuple(table for view in VIEWS for table in view.TABLES)

# Made where nobody else looks, under the names of the views: whatever tells a view writes there.
OWN_TABLES = f"""
SET LOCAL search_path = pg_temp, public;
SET LOCAL work_mem = '{WORK_MEMORY}';
{"".join(view.TABLE for view in VIEWS)}
"""

REMEDY = "`bels rebuild` tells the views again from the journal"


async def check_views(db: Db, accounts: Sequence[str], rulebook: Rulebook) -> list[Finding]:
    """Say where the views of accounts do not follow from their entries; nothing where they do.

    ``db`` is in no transaction. ``rulebook`` is the one in force where none was published. An account without entries must have no
    row. Safe beside a serving supplier.
    """
    found: list[Finding] = []
    numbers = sorted(set(accounts))
    for first in range(0, len(numbers), ACCOUNTS_OF_SNAPSHOT):
        checking = db.transaction(isolation="repeatable_read")
        await checking.start()
        try:
            found += await _check(db, numbers[first : first + ACCOUNTS_OF_SNAPSHOT], rulebook)
        finally:
            await checking.rollback()
    return found


async def check_strangers(db: Db) -> list[Finding]:
    """Say which accounts have rows in a view but no entry in the journal: a check of the journal's accounts never meets them."""
    found: list[Finding] = []
    for table in TABLES:
        rows = await db.fetch(
            f"""
            WITH RECURSIVE hop (account) AS (
                (SELECT account FROM {table} ORDER BY account LIMIT 1)
                UNION ALL
                SELECT (SELECT account FROM {table} WHERE account > hop.account ORDER BY account LIMIT 1)
                  FROM hop WHERE hop.account IS NOT NULL)
            SELECT account FROM hop
             WHERE account IS NOT NULL
               AND NOT EXISTS (SELECT FROM journal WHERE originator_id = hop.account OFFSET 0)
             LIMIT $1
            """,
            STRANGERS_NAMED_MAX,
        )
        text = f"view {table}: rows of an account that has no entry in the journal"
        found += [Finding(FindingKind.VIEW_DIFFERS, text, row["account"]) for row in rows]
    return found


async def _check(db: Db, numbers: Sequence[str], rulebook: Rulebook) -> list[Finding]:
    await db.execute(OWN_TABLES)
    missing = await db.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass('public.' || name) IS NULL", list(TABLES)
    )
    if missing:
        return [Finding(FindingKind.VIEW_DIFFERS, f"view {row['name']}: there is no such table") for row in missing]
    books = await _books(db, rulebook)
    found: list[Finding] = []
    for first in range(0, len(numbers), ACCOUNTS_TOLD_AT_ONCE):
        found += await _tell(db, numbers[first : first + ACCOUNTS_TOLD_AT_ONCE], books)
    untold = {finding.account for finding in found}
    compared = [number for number in numbers if number not in untold]
    for table in TABLES:
        found += await _differences(db, table, compared)
    return found


@dataclass(frozen=True, slots=True)
class _Books:
    """All rules that were ever in force, oldest first, each with the moment of its publication; the last is in force."""

    published: tuple[tuple[datetime, Rulebook], ...]

    @property
    def in_force(self) -> Rulebook:
        return self.published[-1][1]

    def behind(self, change: Change, named: str | None) -> Rulebook:
        """Give the rules that the forecast of an account was told by: those it names, if they were in force after its last entry.

        A publication tells no forecast again, only the next entry does, or a rebuild (docs/decisions/0002).
        """
        for place, (_, book) in enumerate(self.published):
            if book.version == named:
                following = [moment for moment, _ in self.published[place + 1 :]]
                last = self._told_at(change, book) if following else None
                return book if last is None or last <= following[0] + SLOW_WRITER else self.in_force
        return self.in_force

    def _told_at(self, change: Change, book: Rulebook) -> datetime | None:
        """Give the moment of the last entry that tells a forecast."""
        for entry in reversed(change.entries):
            if estimation.project([Change(change.account, (entry,))], book)[0].rows:
                return entry.recorded_at
        return None


async def _books(db: Db, rulebook: Rulebook) -> _Books:
    published = [
        (entry.recorded_at, entry.event.book)
        for entry in await read(db, {RULEBOOK: 0})
        if isinstance(entry.event, RulebookPublished)
    ]
    # The book of a supplier that has published none yet: what was told before the first publication names it.
    first = [(datetime.min.replace(tzinfo=UTC), rulebook)] if not rulebook.number or not published else []
    return _Books((*first, *published))


async def _tell(db: Db, numbers: Sequence[str], books: _Books) -> list[Finding]:
    """Tell the views of some accounts; find those that cannot be told, one by one where one of them cannot."""
    attempt = db.transaction()
    await attempt.start()
    try:
        changes = changes_of(await read(db, dict.fromkeys(numbers, 0)))
        named = await db.fetch(
            "SELECT account, rulebook FROM public.estimation WHERE account = ANY($1::text[])", list(numbers)
        )
        of_account = {row["account"]: row["rulebook"] for row in named}
        groups: dict[str, tuple[Rulebook, list[Change]]] = {}
        for change in changes:
            book = books.behind(change, of_account.get(change.account.number))
            groups.setdefault(book.version, (book, []))[1].append(change)
        for book, group in groups.values():
            await run(db, *touched(group, book))
            await run(db, *told(group, book))
    except _NOT_THE_ENTRIES:
        raise
    except Exception as error:
        await attempt.rollback()
        if len(numbers) > 1:
            return [finding for number in numbers for finding in await _tell(db, [number], books)]
        text = f"the views cannot be told from the entries: {type(error).__name__}"
        return [Finding(FindingKind.VIEW_DIFFERS, text, numbers[0])]
    await attempt.commit()
    return []


async def _differences(db: Db, table: str, numbers: Sequence[str]) -> list[Finding]:
    """Compare the rows of accounts in a view as texts, so that what is equal to one scale or spacing only differs too."""
    differing = await db.fetch(
        f"""
        SELECT DISTINCT account
          FROM (SELECT account
                  FROM (SELECT 1 AS side, account, t::text AS said FROM public.{table} AS t WHERE account = ANY($1::text[])
                        UNION ALL
                        SELECT -1, account, t::text FROM pg_temp.{table} AS t WHERE account = ANY($1::text[])) AS both_sides
                 GROUP BY account, said
                HAVING sum(side) <> 0) AS differing
         ORDER BY account
         LIMIT $2
        """,
        list(numbers),
        ACCOUNTS_NAMED_MAX + 1,
    )
    if not differing:
        return []
    named = [row["account"] for row in differing][:ACCOUNTS_NAMED_MAX]
    key = [
        row["attname"]
        for row in await db.fetch(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)"
            " WHERE indrelid = $1::regclass AND indisprimary ORDER BY array_position(indkey::int2[], attnum)",
            f"pg_temp.{table}",
        )
    ]
    stands, follows = [
        _by_account(
            await db.fetch(
                f"SELECT account, to_json(t)::text AS said FROM {schema}.{table} AS t WHERE account = ANY($1::text[])",
                named,
            ),
            key,
        )
        for schema in ("public", "pg_temp")
    ]
    found = [
        finding
        for account in named
        for finding in _of_account(table, account, stands.get(account, {}), follows.get(account, {}))
    ]
    if len(differing) > ACCOUNTS_NAMED_MAX:
        text = f"view {table}: more than {ACCOUNTS_NAMED_MAX} accounts differ from {named[0]} on; {REMEDY}"
        found.append(Finding(FindingKind.VIEW_DIFFERS, text))
    return found


_Key = tuple[tuple[str, str], ...]
_Rows = dict[_Key, list[dict[str, msgspec.Raw]]]
_columns = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _by_account(rows: Iterable[asyncpg.Record], key: Sequence[str]) -> dict[str, _Rows]:
    by_account: dict[str, _Rows] = {}
    for row in rows:
        columns = _columns(row["said"])
        name = tuple((column, _text(columns[column])) for column in key if column != "account")
        by_account.setdefault(row["account"], {}).setdefault(name, []).append(columns)
    return by_account


def _text(value: msgspec.Raw) -> str:
    return bytes(value).decode().strip('"')


def _of_account(table: str, account: str, stands: _Rows, follows: _Rows) -> Iterator[Finding]:
    """Name what differs: keys and columns, never what stands in them."""
    texts = [
        (key, text)
        for key in sorted(stands.keys() | follows.keys())
        if (text := _difference(stands.get(key, []), follows.get(key, []))) is not None
    ]
    for key, text in texts[:ROWS_NAMED_MAX]:
        told_of = (*follows.get(key, ()), *stands.get(key, ()))[0]
        entry = _text(told_of["entry"]) if "entry" in told_of else None
        row = ", ".join(f"{column} {value}" for column, value in key)
        named = f"view {table}, row of {row}" if row else f"view {table}"
        yield Finding(FindingKind.VIEW_DIFFERS, f"{named}: {text}", account, int(entry) if entry is not None else None)
    if len(texts) > ROWS_NAMED_MAX:
        text = f"view {table}: {len(texts) - ROWS_NAMED_MAX} more rows differ; {REMEDY}"
        yield Finding(FindingKind.VIEW_DIFFERS, text, account)


def _difference(stands: Sequence[dict[str, msgspec.Raw]], follows: Sequence[dict[str, msgspec.Raw]]) -> str | None:
    if not stands:
        return "the row is missing, though the entries tell it"
    if not follows:
        return "there is a row that the entries do not tell"
    if len(stands) > 1:
        return f"the row stands {len(stands)} times"
    (one,), (other,) = stands, follows
    columns = [name for name in {**one, **other} if _said(one, name) != _said(other, name)]
    return f"{', '.join(columns)} do not follow from the entries" if columns else None


def _said(row: dict[str, msgspec.Raw], name: str) -> bytes | None:
    return bytes(row[name]) if name in row else None
