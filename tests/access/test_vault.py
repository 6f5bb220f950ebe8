"""The vault: a key a subject, bound to it, destroyed for ever; keys of the installation; a change of the master key."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import asyncpg
import pytest

from bels.access.master_key import FileMasterKey, MasterKeyError, Wrapped
from bels.access.store import ACCESS_CHANGES
from bels.access.vault import KEPT_S, REWRAP_PAGE, Damaged, KeyDestroyed, NoSuchKey, Vault
from bels.journal.write import Db

OLD, NEW = ("old", secrets.token_bytes(32)), ("new", secrets.token_bytes(32))


class CountingMasterKey(FileMasterKey):
    """A master key that counts how often it unwraps: many keys at once are one time."""

    times = 0

    async def unwrap_many(self, wrapped: Sequence[Wrapped]) -> list[bytes]:
        """Count, and unwrap."""
        self.times += 1
        return await super().unwrap_many(wrapped)


@pytest.fixture
async def db(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Give a connection."""
    async with pool.acquire() as acquired:
        yield acquired


@pytest.fixture
def vault(pool: asyncpg.Pool) -> Vault:
    """Give a vault over a new, empty supplier."""
    return Vault(pool, FileMasterKey([OLD]))


async def test_what_is_sealed_is_read_again_also_by_another_process(pool: asyncpg.Pool, db: Db, vault: Vault) -> None:
    sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
    assert b"plain" not in sealed
    for each in (vault, Vault(pool, FileMasterKey([OLD]))):
        assert await each.unseal(db, "1000101/1", sealed, "personal") == b"plain"


async def test_the_same_text_is_sealed_differently_each_time(db: Db, vault: Vault) -> None:
    sealed = [await vault.seal(db, "1000101/1", b"plain", "personal") for _ in range(20)]
    assert all(one != other for one, other in pairwise(sorted(sealed)))


async def test_what_was_sealed_for_one_subject_is_not_read_for_another(db: Db, vault: Vault) -> None:
    sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
    await vault.seal(db, "1000102/1", b"plain", "personal")
    with pytest.raises(Damaged):
        await vault.unseal(db, "1000102/1", sealed, "personal")
    with pytest.raises(Damaged):
        await vault.unseal(db, "1000101/1", sealed, "card")


async def test_the_key_of_one_subject_in_the_row_of_another_is_refused(
    pool: asyncpg.Pool, db: Db, vault: Vault
) -> None:
    sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
    await vault.seal(db, "1000102/1", b"plain", "personal")
    await pool.execute(
        """
        UPDATE bels_keys.data_key SET wrapped = (SELECT wrapped FROM bels_keys.data_key WHERE subject = '1000101/1')
        WHERE subject = '1000102/1'
        """
    )
    with pytest.raises(MasterKeyError, match="damaged"):
        await vault.unseal(db, "1000102/1", sealed, "personal")


async def test_bytes_that_were_changed_are_refused(db: Db, vault: Vault) -> None:
    sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
    changed = [sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :] for place in range(len(sealed))]
    for each in [*changed, b"", sealed[:-1], sealed[:20]]:
        with pytest.raises(Damaged):
            await vault.unseal(db, "1000101/1", each, "personal")


async def test_a_subject_without_a_key_is_said(db: Db, vault: Vault) -> None:
    with pytest.raises(NoSuchKey, match="1000101/1"):
        await vault.unseal(db, "1000101/1", b"\x01" + bytes(40), "personal")


async def test_a_destroyed_key_reads_nothing_and_never_comes_back(db: Db, vault: Vault) -> None:
    sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
    assert await vault.unseal(db, "1000101/1", sealed, "personal") == b"plain"
    assert await vault.destroy(db, "1000101/1")
    assert not await vault.destroy(db, "1000101/1")
    with pytest.raises(KeyDestroyed):
        await vault.unseal(db, "1000101/1", sealed, "personal")
    with pytest.raises(KeyDestroyed):
        await vault.seal(db, "1000101/1", b"plain", "personal")
    assert await vault.unseal_many(db, {"1000101/1": sealed}, "personal") == {}


async def test_another_process_forgets_a_destroyed_key_when_it_is_told_and_at_the_latest_after_a_minute(
    pool: asyncpg.Pool, db: Db, vault: Vault
) -> None:
    now = 0.0
    told, untold = (Vault(pool, FileMasterKey([OLD]), monotonic=lambda: now) for _ in range(2))
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with pool.acquire() as listening:
        await listening.add_listener(ACCESS_CHANGES, lambda *said: heard.put_nowait(said[3]))
        sealed = await vault.seal(db, "1000101/1", b"plain", "personal")
        for each in (told, untold):
            assert await each.unseal(db, "1000101/1", sealed, "personal") == b"plain"
        await vault.destroy(db, "1000101/1")
        told.forget(await asyncio.wait_for(heard.get(), 10))
        await listening.reset()
    with pytest.raises(KeyDestroyed):
        await told.unseal(db, "1000101/1", sealed, "personal")
    now = KEPT_S
    with pytest.raises(KeyDestroyed):
        await untold.unseal(db, "1000101/1", sealed, "personal")


async def test_a_destruction_waits_for_whoever_is_sealing(pool: asyncpg.Pool, db: Db, vault: Vault) -> None:
    await vault.seal(db, "1000101/1", b"plain", "personal")
    async with pool.acquire() as other:
        transaction = db.transaction()
        await transaction.start()
        await vault.seal(db, "1000101/1", b"more", "personal")
        destroying = asyncio.create_task(vault.destroy(other, "1000101/1"))
        _, waiting = await asyncio.wait([destroying], timeout=0.2)
        assert waiting
        await transaction.commit()
        assert await destroying


async def test_a_key_of_a_transaction_that_was_undone_is_not_taken_for_the_real_one(
    pool: asyncpg.Pool, db: Db, vault: Vault
) -> None:
    transaction = db.transaction()
    await transaction.start()
    undone = await vault.seal(db, "1000101/1", b"undone", "personal")
    assert await vault.unseal(db, "1000101/1", undone, "personal") == b"undone"
    await transaction.rollback()
    sealed = await Vault(pool, FileMasterKey([OLD])).seal(db, "1000101/1", b"plain", "personal")
    assert await vault.unseal(db, "1000101/1", sealed, "personal") == b"plain"
    more = await vault.seal(db, "1000101/1", b"more", "personal")
    assert await Vault(pool, FileMasterKey([OLD])).unseal(db, "1000101/1", more, "personal") == b"more"


async def test_eight_that_seal_first_at_once_make_one_key(pool: asyncpg.Pool) -> None:
    vaults = [Vault(pool, FileMasterKey([OLD])) for _ in range(8)]

    async def seal(each: Vault) -> bytes:
        async with pool.acquire() as own:
            return await each.seal(own, "1000101/1", b"plain", "personal")

    sealed = await asyncio.gather(*map(seal, vaults))
    assert await pool.fetchval("SELECT count(*) FROM bels_keys.data_key") == 1
    async with pool.acquire() as db:
        assert {await vaults[0].unseal(db, "1000101/1", each, "personal") for each in sealed} == {b"plain"}


async def test_eight_that_ask_first_for_a_named_key_get_one(pool: asyncpg.Pool) -> None:
    vaults = [Vault(pool, FileMasterKey([OLD])) for _ in range(8)]
    keys = set(await asyncio.gather(*(each.named_key("contacts") for each in vaults)))
    assert [len(each) for each in keys] == [32]


async def test_a_digest_is_hmac_sha256_under_the_named_key(vault: Vault) -> None:
    key = await vault.named_key("contacts")
    assert await vault.digest("contacts", "слово") == hmac.new(key, "слово".encode(), hashlib.sha256).digest()
    assert await vault.digest("contacts", "слово") != await vault.digest("logins", "слово")
    assert len(await vault.digest("contacts", "\ud800")) == 32


async def test_a_key_that_was_there_before_is_adopted_once(pool: asyncpg.Pool, vault: Vault) -> None:
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    assert await vault.adopt("senders", first) == first
    assert await vault.adopt("senders", second) == first
    assert await Vault(pool, FileMasterKey([OLD])).adopt("senders", second) == first
    with pytest.raises(ValueError, match="32 bytes"):
        await vault.adopt("others", b"short")


async def test_without_the_right_master_key_nothing_starts(pool: asyncpg.Pool, vault: Vault) -> None:
    await vault.load("contacts", "senders")
    with pytest.raises(MasterKeyError, match="wrapped by the master key old; the file holds only new"):
        await Vault(pool, FileMasterKey([NEW])).load("contacts", "senders")


async def test_a_hundred_subjects_are_read_by_one_statement_and_one_unwrapping(
    pool: asyncpg.Pool, db: Db, vault: Vault
) -> None:
    subjects = [f"{1_000_000 + number}/1" for number in range(100)]
    sealed = {each: await vault.seal(db, each, each.encode(), "personal") for each in subjects}
    master = CountingMasterKey([OLD])
    fresh = Vault(pool, master)
    statements: list[str] = []
    with db.query_logger(lambda said: statements.append(said.query)):
        told = await fresh.unseal_many(db, sealed, "personal")
        again = await fresh.unseal_many(db, sealed, "personal")
        # The logger is told in the next turn of the loop.
        await asyncio.sleep(0)
    assert told == again == {each: each.encode() for each in subjects}
    assert (len(statements), master.times) == (1, 1)


async def test_after_rewrapping_the_old_master_key_is_needed_no_more(pool: asyncpg.Pool, db: Db, vault: Vault) -> None:
    count = REWRAP_PAGE + 3
    sealed = {f"{n}/1": await vault.seal(db, f"{n}/1", b"%d" % n, "personal") for n in range(count)}
    named = await vault.named_key("contacts")
    await vault.destroy(db, "0/1")
    both = Vault(pool, FileMasterKey([NEW, OLD]))
    assert await both.rewrap() == count - 1 + 1
    assert await both.rewrap() == 0
    assert await both.rewrap(everything=True) == count
    alone = Vault(pool, FileMasterKey([NEW]))
    assert await alone.named_key("contacts") == named
    told = await alone.unseal_many(db, sealed, "personal")
    assert told == {subject: subject.partition("/")[0].encode() for subject in sealed if subject != "0/1"}
    # Whoever had the keys at hand before still reads and seals.
    more = await both.seal(db, "1/1", b"more", "personal")
    assert await alone.unseal(db, "1/1", more, "personal") == b"more"


async def test_rewrapping_that_stopped_half_way_does_the_rest(pool: asyncpg.Pool, db: Db, vault: Vault) -> None:
    sealed = {f"{n}/1": await vault.seal(db, f"{n}/1", b"plain", "personal") for n in range(REWRAP_PAGE + 2)}
    last = max(sealed)
    good = await pool.fetchval("SELECT wrapped FROM bels_keys.data_key WHERE subject = $1", last)
    await pool.execute("UPDATE bels_keys.data_key SET wrapped = '\\x00' WHERE subject = $1", last)
    both = Vault(pool, FileMasterKey([NEW, OLD]))
    with pytest.raises(MasterKeyError, match=f"subject/{last}"):
        await both.rewrap()
    await pool.execute("UPDATE bels_keys.data_key SET wrapped = $2 WHERE subject = $1", last, good)
    assert await both.rewrap() == 2
    assert len(await Vault(pool, FileMasterKey([NEW])).unseal_many(db, sealed, "personal")) == len(sealed)
