"""The door of a process: the key of senders' digests, wherever it lay before."""

from __future__ import annotations

import asyncpg

from bels.access.door import sender_key
from bels.access.master_key import FileMasterKey
from bels.access.vault import Vault

MASTER = FileMasterKey([("test", b"m" * 32)])


async def test_the_key_of_senders_that_lay_in_clear_moves_into_the_vault_and_stays_the_same(pool: asyncpg.Pool) -> None:
    old = b"o" * 32
    await pool.execute("UPDATE installation SET sender_key = $1", old)

    assert await sender_key(pool, Vault(pool, MASTER)) == old
    assert await pool.fetchval("SELECT sender_key FROM installation") == b""
    assert await sender_key(pool, Vault(pool, MASTER)) == old


async def test_a_new_installation_draws_its_key_in_the_vault(pool: asyncpg.Pool) -> None:
    drawn = await sender_key(pool, Vault(pool, MASTER))

    assert len(drawn) == 32
    assert await sender_key(pool, Vault(pool, MASTER)) == drawn
    assert await pool.fetchval("SELECT sender_key FROM installation") == b""
