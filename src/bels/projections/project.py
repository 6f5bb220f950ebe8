"""All views: installed, brought up to new entries in the append's own transaction, told again from the journal."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from types import ModuleType

from bels.domain.account import nobody, replay
from bels.domain.rulebook import Rulebook
from bels.journal.entry import Entry
from bels.journal.installing import install_alone
from bels.journal.journal import by_account, read
from bels.journal.write import Db, Write, run
from bels.projections import estimation, ledger, notices, overview, partner_events, readings, usage
from bels.projections.change import Change

VIEWS: tuple[ModuleType, ...] = (overview, estimation, readings, usage, ledger, notices, partner_events)
"""Every view: NAME, TABLE, TABLES and project(). The overview comes first: its rows are the lock of a rebuild."""


def touched(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the overview of every changed account: the lock of a rebuild, taken before any other view is told."""
    return overview.project(changes, rulebook)


def told(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Bring every other view up to these entries, in a statement that begins after ``touched`` has ended.

    A rebuild may have written the rows anew while ``touched`` waited for it: only a later statement sees them.
    """
    return [write for view in VIEWS if view is not overview for write in view.project(changes, rulebook)]


async def install_views(db: Db) -> tuple[str, ...]:
    """Create the views that are missing or defined otherwise; list those that must be told from the journal."""

    async def make() -> tuple[str, ...]:
        installed = {row["name"]: row for row in await db.fetch("SELECT name, digest, told FROM view")}
        empty = await db.fetchval("SELECT NOT EXISTS (SELECT FROM journal)")
        stale = []
        for view in VIEWS:
            digest = sha256(view.TABLE.encode()).hexdigest()
            known = installed.get(view.NAME)
            if known is None or known["digest"] != digest:
                for table in view.TABLES:
                    await db.execute(f"DROP TABLE IF EXISTS {table}")
                await db.execute(view.TABLE)
                await db.execute(
                    "INSERT INTO view (name, digest, told) VALUES ($1, $2, $3)"
                    " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, told = excluded.told",
                    view.NAME,
                    digest,
                    empty,
                )
                if not empty:
                    stale.append(view.NAME)
            elif not known["told"]:
                stale.append(view.NAME)
        return tuple(stale)

    return await install_alone(db, make)


async def views_are_told(db: Db) -> None:
    """Note that every view has been told from the whole journal."""
    await db.execute("UPDATE view SET told = true")


async def retell(db: Db, accounts: Sequence[str], rulebook: Rulebook) -> int:
    """Tell every view of some accounts again from the journal, in one transaction; count the entries read.

    Messages may be handled meanwhile: an append touches its account's row of the overview before it commits, and that row
    is locked here before the journal is read, so that what is told is never older than what was appended.
    """
    numbers = sorted(accounts)
    async with db.transaction():
        await db.execute(
            "INSERT INTO overview (account, version, recorded_at, situation, next_period, locality, stove, rooms,"
            " permanent, temporary, owners, links)"
            " SELECT account, 0, now(), 'UNKNOWN', '', '', '', 0, 0, 0, 0, '[]' FROM unnest($1::text[]) AS account"
            " ORDER BY account ON CONFLICT DO NOTHING",
            numbers,
        )
        await db.execute("SELECT FROM overview WHERE account = ANY($1::text[]) ORDER BY account FOR UPDATE", numbers)
        for view in VIEWS:
            for table in view.TABLES:
                if table != "overview":
                    await db.execute(f"DELETE FROM {table} WHERE account = ANY($1::text[])", numbers)
        entries = await read(db, dict.fromkeys(numbers, 0))
        changes = changes_of(entries)
        await run(db, *touched(changes, rulebook))
        await run(db, *told(changes, rulebook))
        # The row that was locked for an account that has no entry.
        await db.execute("DELETE FROM overview WHERE account = ANY($1::text[]) AND version = 0", numbers)
    return len(entries)


def changes_of(entries: Sequence[Entry]) -> list[Change]:
    """Fold whole journals of accounts, given account by account in order, into changes."""
    return [
        Change(replay(nobody(number), (entry.event for entry in own)), tuple(own))
        for number, own in by_account(entries).items()
    ]
