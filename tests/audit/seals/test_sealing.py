"""The journal is sealed: every stream by its head, what was added since the last seal followed entry by entry."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from bels.audit.seals.chunks import CHUNK_SIZE, ChunksError, read_chunks, write_chunks
from bels.audit.seals.keys import is_signed, new_key, public_keys
from bels.audit.seals.merkle import leaf_hash, root
from bels.audit.seals.reading import find_seal, heads_of, latest_seal, seal_state
from bels.audit.seals.sealing import SealingError, seal_journal
from bels.audit.seals.statement import Seal, head_leaf, signed_bytes
from bels.intake import Intake
from bels.journal.installing import schema_of
from bels.payments.webhooks.catalogue import checked
from tests.audit.seals.ground import Ground
from tests.supplier import numbers, open_household, reading

HEADS = """
SELECT DISTINCT ON (originator_id COLLATE "C") originator_id, originator_version, digest FROM journal
 ORDER BY originator_id COLLATE "C", originator_version DESC
"""
REWRITE = "UPDATE journal SET digest = $3 WHERE originator_id = $1 AND originator_version = $2"
CUT = "DELETE FROM journal WHERE originator_id = $1 AND originator_version >= $2"


async def tree(pool: asyncpg.Pool) -> bytes:
    """Find the root over all heads by reading the whole journal."""
    return root([leaf_hash(head_leaf(*row)) for row in await pool.fetch(HEADS)])


async def test_a_seal_is_over_the_heads_of_all_streams_and_is_signed(ground: Ground, intake: Intake) -> None:
    for account in numbers(1000000, 5):
        await intake.handle(open_household(account))
    await ground.add("rulebook", "nobody")
    seal = await ground.seal()

    entries = await ground.pool.fetchval("SELECT count(*) FROM journal")
    assert (seal.number, seal.accounts, seal.entries, seal.faults) == (1, 7, entries, ())
    assert seal.sealed_at == ground.at
    assert seal.heads == await tree(ground.pool)
    assert seal.log == root([])
    async with ground.pool.acquire() as db:
        assert is_signed((await public_keys(db))[seal.key], signed_bytes(seal), seal.signature)
        assert await latest_seal(db) == await find_seal(db, 1) == seal
        assert await find_seal(db, 2) is None


async def test_every_seal_counts_those_before_it_and_keeps_only_heads_that_are_new(
    ground: Ground, intake: Intake
) -> None:
    await intake.handle([*open_household("1000000"), *open_household("1000001")])
    first = await ground.seal()
    await intake.submit(reading("1000001", "sms", 100))
    second = await ground.seal()
    third = await ground.seal()

    assert second.log == root([leaf_hash(signed_bytes(first))])
    assert third.log == root([leaf_hash(signed_bytes(first)), leaf_hash(signed_bytes(second))])
    # Nothing was new: only the time is.
    assert (third.heads, third.entries) == (second.heads, second.entries) == (await tree(ground.pool), second.entries)
    assert second.heads != first.heads
    kept = await ground.pool.fetch("SELECT account, seal FROM sealed_head ORDER BY 1, 2")
    assert [tuple(row) for row in kept] == [("1000000", 1), ("1000001", 1), ("1000001", 2)]


async def test_whoever_watches_is_told_of_the_newest_seal(ground: Ground) -> None:
    async with ground.pool.acquire() as db:
        assert await seal_state(db) == (None, 0)
        await ground.add("1000000", entries=3)
        await ground.seal()
        assert await seal_state(db) == (ground.at, 0)
        await ground.tamper(CUT, "1000000", 2)
        await ground.seal()
        assert await seal_state(db) == (ground.at, 1)
        await ground.tamper("UPDATE seal SET statement = 'no seal' WHERE number = 2")
        assert await seal_state(db) == (ground.at, 1)


async def test_an_empty_journal_is_sealed_too(ground: Ground) -> None:
    seal = await ground.seal()
    assert (seal.accounts, seal.entries, seal.heads) == (0, 0, root([]))


async def test_a_town_of_several_parts_is_sealed_part_by_part(ground: Ground) -> None:
    accounts = numbers(2000000, 5 * CHUNK_SIZE + 7)
    await ground.add(*accounts)
    seal = await ground.seal()
    assert seal.heads == await tree(ground.pool)
    kept = read_chunks(await ground.pool.fetchval("SELECT chunks FROM seal"))
    assert kept.root == seal.heads
    assert list(kept.firsts) == accounts[::CHUNK_SIZE]
    # Those who move in later stand between the others, and change nothing of the seal before.
    await ground.add("1999999", *accounts[:2], "2000000a", "30")
    later = await ground.seal()
    assert later.heads == await tree(ground.pool) != seal.heads
    async with ground.pool.acquire() as db:
        heads = await heads_of(db, 1, "", len(accounts) + 1)
    assert root([leaf_hash(head_leaf(*head)) for head in heads]) == seal.heads


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ((CUT, "1000001", 3), "1000001 at 3"),
        ((CUT, "1000001", 1), "1000001 at 1"),
        ((REWRITE, "1000001", 4, b"x" * 32), "1000001 at 4"),
        (("DELETE FROM journal WHERE originator_id = $1 AND originator_version = $2", "1000001", 5), "1000001 at 5"),
        (("UPDATE journal SET state = state || $2 WHERE originator_id = $1 AND originator_version = 6", "1000001", b" "),
         "1000001 at 6"),
        (("UPDATE journal SET topic = $2 WHERE originator_id = $1 AND originator_version = 5", "1000001", "other.1"),
         "1000001 at 5"),
        (("UPDATE journal SET content = $2 WHERE originator_id = $1 AND originator_version = 6", "1000001", b"other"),
         "1000001 at 6"),
    ],
)  # fmt: skip
async def test_a_stream_that_is_not_what_was_sealed_is_named_and_keeps_its_head(
    ground: Ground, tampering: tuple[Any, ...], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ground.add(*numbers(1000000, 3), entries=4)
    before = await ground.seal()
    async with ground.pool.acquire() as db:
        sealed = await heads_of(db, before.number, "", 10)
    await ground.add("1000000")
    if "at 5" in fault or "at 6" in fault:
        await ground.add("1000001", entries=3)
    await ground.tamper(*tampering)
    with caplog.at_level(logging.ERROR, "bels.audit.seals.sealing"):
        seal = await ground.seal()

    assert seal.faults == (fault,)
    assert fault.partition(" ")[0] in caplog.text
    async with ground.pool.acquire() as db:
        heads = await heads_of(db, seal.number, "", 10)
    assert heads[0] != sealed[0]
    assert heads[1:] == sealed[1:]
    assert seal.heads == root([leaf_hash(head_leaf(*head)) for head in heads])
    # It is said again until it is put right.
    assert (await ground.seal()).faults == (fault,)


async def test_a_stream_whose_chain_never_held_is_in_no_tree(ground: Ground) -> None:
    await ground.add("1000000", "1000001", entries=3)
    await ground.tamper("UPDATE journal SET state = 'x' WHERE originator_id = '1000000' AND originator_version = 2")
    seal = await ground.seal()
    assert (seal.accounts, seal.entries, seal.faults) == (1, 3, ("1000000 at 2",))


async def test_a_long_history_is_followed_page_by_page(ground: Ground) -> None:
    await ground.add("1000000", "1000001", entries=2500)
    assert (await ground.seal()).entries == 5000
    await ground.add("1000000", entries=2100)
    assert (await ground.seal()).faults == ()


async def test_whoever_seals_at_the_same_time_waits_and_sees_the_seal_before(ground: Ground) -> None:
    await ground.add("1000000")
    seals = await asyncio.gather(*(seal_journal(ground.pool, ground.vault, ground.at) for _ in range(5)))
    assert sorted(seal.number for seal in seals) == [1, 2, 3, 4, 5]
    async with ground.pool.acquire() as db:
        last = await latest_seal(db)
    assert last is not None
    assert last.log == root([leaf_hash(signed_bytes(seal)) for seal in sorted(seals, key=_number)[:-1]])


async def test_what_comes_while_the_journal_is_sealed_is_of_the_next_seal(ground: Ground, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    await asyncio.gather(
        *(ground.seal() for _ in range(3)),
        *(intake.submit(reading("1000000", f"sms {value}", value)) for value in range(100, 110)),
    )
    seal = await ground.seal()
    assert (seal.faults, seal.heads) == ((), await tree(ground.pool))


async def test_a_clock_that_was_put_back_does_not_put_seals_out_of_order(ground: Ground) -> None:
    first = await ground.seal()
    later = await seal_journal(ground.pool, ground.vault, ground.at - timedelta(hours=1))
    assert later.sealed_at == first.sealed_at


async def test_a_new_key_signs_the_next_seal(ground: Ground) -> None:
    first = await ground.seal()
    key = await new_key(ground.pool, ground.vault, ground.at)
    second = await ground.seal()
    assert first.key != second.key == key


async def test_no_seal_is_made_over_seals_that_were_taken_away_or_changed(ground: Ground) -> None:
    for _ in range(3):
        await ground.seal()
    await ground.tamper("UPDATE seal SET statement = (SELECT statement FROM seal WHERE number = 2) WHERE number = 1")
    with pytest.raises(SealingError, match="before seal 3"):
        await ground.seal()
    await ground.tamper("DELETE FROM seal WHERE number = 1")
    with pytest.raises(SealingError, match="only 2 are there"):
        await ground.seal()


async def test_seals_and_heads_are_only_added_to(ground: Ground) -> None:
    await ground.add("1000000")
    await ground.seal()
    for table, column in (("seal", "chunks"), ("sealed_head", "version")):
        for change in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"UPDATE {table} SET {column} = {column}"):
            with pytest.raises(asyncpg.RaiseError, match="only added to"):
                await ground.pool.execute(change)


async def test_a_server_that_owns_the_tables_may_seal_but_not_change_a_seal(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        trying = db.transaction()
        await trying.start()
        try:
            await db.execute("CREATE ROLE plain_sealer")
            await db.execute("CREATE SCHEMA plain_sealer AUTHORIZATION plain_sealer")
            await db.execute("SET LOCAL ROLE plain_sealer; SET LOCAL search_path = plain_sealer, public")
            await db.execute(schema_of("bels.audit.seals"))
            await db.execute("LOCK TABLE plain_sealer.seal_key IN SHARE ROW EXCLUSIVE MODE")
            await db.execute("INSERT INTO plain_sealer.seal VALUES (1, now(), '', '', '')")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute("DELETE FROM plain_sealer.seal")
        finally:
            await trying.rollback()


async def test_partners_who_asked_for_it_are_told_of_a_seal(ground: Ground) -> None:
    await ground.pool.executemany(
        """
        INSERT INTO webhook (id, partner, key, content, url, types, description, state, secret, created_at, told_through)
        VALUES ($1, $2, $1, '', 'https://bank.example/in', $3, '', $4, '', now(), now())
        """,
        [
            ("wh_1", "partner:c-bank", ["journal.sealed.v1"], "ACTIVE"),
            ("wh_2", "partner:c-bank", ["journal.sealed.v1", "payment.received.v1"], "PAUSED"),
            ("wh_3", "partner:c-app", ["payment.received.v1"], "ACTIVE"),
            ("wh_4", "partner:c-gone", ["journal.sealed.v1"], "DELETED"),
        ],
    )
    await ground.add("1000000")
    seal = await ground.seal()
    [told] = await ground.pool.fetch("SELECT partner, type, recorded_at, data::text FROM webhook_event")
    assert (told["partner"], told["type"], told["recorded_at"]) == ("partner:c-bank", "journal.sealed.v1", ground.at)
    assert seal.heads.hex() in told["data"]
    with pytest.raises(ValueError, match=r"journal\.sealed\.v1"):
        checked("journal.sealed.v1", {"number": 0})


def test_what_is_no_part_of_a_seal_is_not_read_as_one() -> None:
    whole = write_chunks(read_chunks(b"bels:chunks:1\n\x0a" + b"r" * 32 + b"\x00\x02" + b"10"))
    assert read_chunks(whole).place_of("1") is None
    for broken in (b"", whole[:-1], whole[:20], b"x" + whole, whole[:-1] + b"\xff"):
        with pytest.raises(ChunksError):
            read_chunks(broken)


def _number(seal: Seal) -> int:
    return seal.number


async def test_a_head_that_was_put_there_before_its_seal_is_not_signed(ground: Ground) -> None:
    await ground.add("1000000", "1000001")
    await ground.seal()
    await ground.tamper("INSERT INTO sealed_head VALUES ('1000000', 2, 1, decode(repeat('ab', 32), 'hex'))")
    with pytest.raises(SealingError, match="sealed heads of seal 2, which is not made yet"):
        await ground.seal()
    await ground.tamper("DELETE FROM sealed_head WHERE seal = 2")
    assert (await ground.seal()).heads == await tree(ground.pool)


async def test_an_entry_that_nothing_can_follow_is_a_fault_and_stops_no_seal(ground: Ground) -> None:
    await ground.add("1000000", "1000001", entries=2)
    await ground.tamper(
        "UPDATE journal SET content = decode(repeat('ab', 70000), 'hex') WHERE originator_id = '1000001'"
    )
    seal = await ground.seal()
    assert (seal.accounts, seal.faults) == (1, ("1000001 at 1",))
