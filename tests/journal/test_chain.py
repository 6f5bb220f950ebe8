"""Every entry carries a digest over its bytes and the entry before it: also those from before there were digests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from bels.intake import Intake
from bels.journal.adopting import _finish, chain_entries, is_chained
from bels.journal.chain import GENESIS, link
from bels.journal.installing import install_alone
from bels.journal.journal import install
from bels.journal.write import Db
from tests.supplier import open_household, reading

ROWS = """
SELECT j.originator_id, j.originator_version, j.topic, j.content, j.state, j.digest, m.content AS said
  FROM journal j LEFT JOIN message m ON m.receipt = convert_from(j.state, 'UTF8')::json ->> 'receipt'
 ORDER BY 1, 2
"""


@asynccontextmanager
async def plain_server(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Let a server that is no superuser own its tables, in a transaction that is rolled back."""
    async with pool.acquire() as db:
        trying = db.transaction()
        await trying.start()
        try:
            await db.execute("CREATE ROLE plain_server")
            await db.execute("CREATE SCHEMA plain_server AUTHORIZATION plain_server")
            await db.execute("SET LOCAL ROLE plain_server; SET LOCAL search_path = plain_server")
            await install(db)
            yield db
        finally:
            await trying.rollback()


def follows(rows: Sequence[Any]) -> bool:
    """Say whether every digest follows from the one before it and from its entry."""
    before, last = GENESIS, ""
    for account, version, topic, content, state, digest, said in rows:
        before = link(before if account == last else GENESIS, account, version, topic, content, state)
        if before != digest or content != said:
            return False
        last = account
    return bool(rows)


def test_the_digest_is_what_its_format_says() -> None:
    before, content = bytes(range(32)), b"0123456789abcdef"
    numbers = bytes([0, 0, 0, 0, 0, 0, 0, 3, 0, 7, 0, 18, 0, 16])
    whole = b"bels:entry:1\n" + before + numbers + b"1000000" + b"reading-accepted.1" + content + b"{}"
    assert link(before, "1000000", 3, "reading-accepted.1", content, b"{}") == sha256(whole).digest()


async def test_every_entry_follows_from_the_one_before_it(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle([*open_household("1000000"), *open_household("1000001")])
    for n in range(3):
        await intake.submit(reading("1000000", f"sms {n}", 100 + n))
    # Another process has nothing in memory.
    async with Intake(pool, intake.rulebook, intake.clock).running() as other:
        await other.handle([reading("1000001", "sms other", 100), reading("1000000", "sms more", 105)])
    await intake.submit(reading("1000000", "sms again", 106))

    assert follows(await pool.fetch(ROWS))


async def test_a_journal_from_before_the_chain_is_given_its_digests_once(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle([*open_household("1000000"), *open_household("1000001"), reading("1000000", "sms", 100)])
    told = await pool.fetch(ROWS)
    async with pool.acquire() as db:
        await db.execute("ALTER TABLE journal DROP COLUMN digest, DROP COLUMN content")
        await install(db)
        assert not await is_chained(db)
        assert await chain_entries(db) == len(told)
        assert await is_chained(db)
        assert await chain_entries(db) == 0
        assert await db.fetch(ROWS) == told
        with pytest.raises(asyncpg.RaiseError, match="only added to"):
            await db.execute("UPDATE journal SET digest = digest")


async def test_what_an_older_server_adds_meanwhile_is_given_its_digest_too(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle([*open_household("1000000"), *open_household("1000001"), reading("1000000", "sms", 100)])
    told = await pool.fetch(ROWS)
    async with pool.acquire() as db:
        await db.execute("ALTER TABLE journal ALTER COLUMN digest DROP NOT NULL")
        async with db.transaction():
            await db.execute("SET LOCAL session_replication_role = replica")
            last = "(originator_id, originator_version) IN (SELECT originator_id, max(originator_version) FROM journal GROUP BY 1)"
            await db.execute(f"UPDATE journal SET digest = NULL, content = '' WHERE {last}")
        # The account that it wrote to was done before.
        assert await install_alone(db, partial(_finish, db)) == 2
        assert await is_chained(db)
        assert await db.fetch(ROWS) == told


async def test_a_server_that_is_no_superuser_gives_digests_though_it_may_change_nothing(pool: asyncpg.Pool) -> None:
    async with plain_server(pool) as db:
        await db.execute("ALTER TABLE journal DROP COLUMN digest, DROP COLUMN content")
        await db.execute("INSERT INTO journal VALUES ('1000000', 1, 'told.1', '{}'), ('1000000', 2, 'told.1', '{}')")
        await install(db)
        assert await chain_entries(db) == 2
        assert await is_chained(db)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("UPDATE journal SET topic = ''")


@pytest.mark.parametrize("table", ["journal", "message"])
@pytest.mark.parametrize("change", ["UPDATE {} SET actor = ''", "DELETE FROM {}", "TRUNCATE {}"])
async def test_a_server_that_owns_the_tables_has_no_right_to_change_them(
    pool: asyncpg.Pool, table: str, change: str
) -> None:
    async with plain_server(pool) as db:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(change.format(table).replace("actor", "topic" if table == "journal" else "actor"))
