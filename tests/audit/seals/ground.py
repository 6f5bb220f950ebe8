"""A journal to be sealed: entries whose chains hold, added by hand, and somebody who changes them with a superuser's rights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from bels.access.master_key import FileMasterKey
from bels.access.vault import Vault
from bels.audit.seals.sealing import seal_journal
from bels.audit.seals.statement import Seal
from bels.journal.chain import GENESIS, link

MASTER = FileMasterKey([("test", b"m" * 32)])
BEGAN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    """A clock that a test moves."""

    at: datetime

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.at


@dataclass(slots=True)
class Ground:
    """A supplier's database and its vault; ``at`` is the time of the next seal."""

    pool: asyncpg.Pool
    vault: Vault
    at: datetime = BEGAN

    async def seal(self) -> Seal:
        """Seal the journal, a day after the last time."""
        self.at += timedelta(days=1)
        return await seal_journal(self.pool, self.vault, self.at)

    async def add(self, *accounts: str, entries: int = 1) -> None:
        """Add entries to streams, each with the digest that follows."""
        rows = await self.pool.fetch(
            """
            SELECT DISTINCT ON (originator_id) originator_id, originator_version, digest FROM journal
             WHERE originator_id = ANY($1::text[]) ORDER BY originator_id, originator_version DESC
            """,
            accounts,
        )
        heads: dict[str, tuple[int, bytes]] = {row[0]: (row[1], row[2]) for row in rows}
        added = []
        for account in accounts:
            version, digest = heads.get(account, (0, GENESIS))
            for _ in range(entries):
                version += 1
                state = b'{"of": "%s", "entry": %d}' % (account.encode(), version)
                digest = link(digest, account, version, "told.1", b"said", state)
                added.append((account, version, "told.1", state, b"said", digest))
        columns = ["originator_id", "originator_version", "topic", "state", "content", "digest"]
        await self.pool.copy_records_to_table("journal", records=added, columns=columns)

    async def tamper(self, statement: str, *values: object) -> None:
        """Do what no trigger and no right forbids a superuser who wants to."""
        async with self.pool.acquire() as db, db.transaction():
            await db.execute("SET LOCAL session_replication_role = replica")
            assert await db.execute(statement, *values) not in ("UPDATE 0", "DELETE 0")
