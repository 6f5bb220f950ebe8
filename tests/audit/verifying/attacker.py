"""Somebody with a superuser's rights who changes what was written, and covers his tracks more or less well."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bels.audit.findings import FindingKind as F
from bels.audit.seals.chunks import CHUNK_BITS, Chunks, write_chunks
from bels.audit.seals.merkle import leaf_hash, root
from bels.audit.seals.reading import find_seals, heads_of
from bels.audit.seals.statement import head_leaf, key_name, signed_bytes
from bels.journal.chain import GENESIS, link
from bels.journal.write import Db
from tests.audit.verifying.town import Town, streams


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: to which account and entry, and whether only the heads that were kept outside can name them."""

    account: str
    entry: int | None
    only_by_heads: bool = False
    kinds: frozenset[F] = frozenset(F)
    messages: bool = False
    also: str = ""
    """Another account that was touched."""


@dataclass(frozen=True, slots=True)
class Target:
    """An entry that the last seal knows, and the last entry of its account that the seal knows."""

    account: str
    version: int
    sealed: int


Attack = Callable[[Db, Random, Town], Awaitable[Done]]


async def target(db: Db, chance: Random, town: Town, least: int = 1) -> Target:
    """Choose an entry that is older than the last seal; ``least`` entries of its account are."""
    known = [(account, town.heads.head_of(account)) for account in streams()]
    account, sealed = chance.choice([(a, head[0]) for a, head in known if head is not None and head[0] >= least])
    return Target(account, chance.randint(least, sealed), sealed)


def _flipped(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


async def _set(db: Db, it: Target, column: str, value: Any) -> None:
    done = await db.execute(
        f"UPDATE journal SET {column} = $3 WHERE originator_id = $1 AND originator_version = $2",
        it.account,
        it.version,
        value,
    )
    assert done == "UPDATE 1"


async def _row(db: Db, account: str, version: int) -> asyncpg.Record:
    row = await db.fetchrow(
        "SELECT originator_id, originator_version, topic, state, content, digest FROM journal"
        " WHERE originator_id = $1 AND originator_version = $2",
        account,
        version,
    )
    assert row is not None
    return row


async def flip_byte(db: Db, chance: Random, town: Town) -> Done:
    """Flip a bit of a stored column."""
    it = await target(db, chance, town)
    column = chance.choice(("state", "state", "content", "digest"))
    value = await db.fetchval(
        f"SELECT {column} FROM journal WHERE originator_id = $1 AND originator_version = $2", it.account, it.version
    )
    await _set(db, it, column, _flipped(value, chance))
    return Done(it.account, it.version, kinds=frozenset({F.ENTRY_CHANGED}))


async def flip_topic(db: Db, chance: Random, town: Town) -> Done:
    """Change a letter of a topic, or give the entry another one that exists."""
    it = await target(db, chance, town)
    row = await _row(db, it.account, it.version)
    at = chance.randrange(len(row["topic"]))
    letter = chance.choice([each for each in "abcxyz.-1" if each != row["topic"][at]])
    await _set(db, it, "topic", row["topic"][:at] + letter + row["topic"][at + 1 :])
    return Done(it.account, it.version, kinds=frozenset({F.ENTRY_CHANGED}))


async def flip_version(db: Db, chance: Random, town: Town) -> Done:
    """Flip a bit of a version so that it is one that nobody has, perhaps below nothing."""
    it = await target(db, chance, town)
    flipped = it.version ^ (1 << chance.randint(9, 62))
    await _set(db, it, "originator_version", chance.choice((flipped, flipped - 2**63)))
    return Done(it.account, it.version, kinds=frozenset({F.ENTRY_MISSING, F.TAIL_CUT}))


async def remove(db: Db, chance: Random, town: Town) -> Done:
    """Remove an entry, and perhaps close the gap."""
    it = await target(db, chance, town)
    await db.execute("DELETE FROM journal WHERE originator_id = $1 AND originator_version = $2", it.account, it.version)
    if chance.random() < 0.5:
        await _shift(db, it.account, it.version, -1)
    return Done(it.account, it.version)


async def _shift(db: Db, account: str, after: int, by: int) -> None:
    far = 1_000_000
    for step in (far, by - far):
        await db.execute(
            "UPDATE journal SET originator_version = originator_version + $3"
            " WHERE originator_id = $1 AND originator_version > $2",
            account,
            after,
            step,
        )


async def _insert(db: Db, *rows: Sequence[Any]) -> None:
    await db.executemany(
        "INSERT INTO journal (originator_id, originator_version, topic, state, content, digest)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        rows,
    )


async def insert(db: Db, chance: Random, town: Town) -> Done:
    """Insert an entry between others, its own digest perhaps right."""
    it = await target(db, chance, town)
    row = await _row(db, it.account, it.version)
    before = await _row(db, it.account, it.version - 1) if it.version > 1 else None
    await _shift(db, it.account, it.version - 1, 1)
    state = row["state"].replace(b"1", b"2") + b" "
    digest = chance.randbytes(32)
    if chance.random() < 0.5:
        rests_on = before["digest"] if before is not None else GENESIS
        digest = link(rests_on, it.account, it.version, row["topic"], row["content"], state)
    await _insert(db, (it.account, it.version, row["topic"], state, row["content"], digest))
    return Done(it.account, it.version)


async def swap(db: Db, chance: Random, town: Town) -> Done:
    """Swap two entries of an account with all that they have, or only what they say."""
    it = await target(db, chance, town, least=2)
    other = chance.choice([version for version in range(1, it.sealed + 1) if version != it.version])
    one, two = await _row(db, it.account, it.version), await _row(db, it.account, other)
    whole = chance.random() < 0.5
    columns = ("topic", "state", "content", "digest") if whole else ("topic", "state", "content")
    for column in columns:
        await _set(db, it, column, two[column])
        await _set(db, replace(it, version=other), column, one[column])
    return Done(it.account, min(it.version, other), kinds=frozenset({F.ENTRY_CHANGED}))


async def cut_tail(db: Db, chance: Random, town: Town) -> Done:
    """Cut the tail of an account, with what no seal knows yet."""
    it = await target(db, chance, town, least=2)
    await db.execute(
        "DELETE FROM journal WHERE originator_id = $1 AND originator_version >= $2", it.account, it.version
    )
    return Done(it.account, it.version, kinds=frozenset({F.TAIL_CUT}))


async def delete_account(db: Db, chance: Random, town: Town) -> Done:
    """Delete all entries of an account."""
    it = await target(db, chance, town)
    await db.execute("DELETE FROM journal WHERE originator_id = $1", it.account)
    return Done(it.account, it.version, kinds=frozenset({F.ACCOUNT_MISSING}))


async def move(db: Db, chance: Random, town: Town) -> Done:
    """Move an entry to the end of another account."""
    it = await target(db, chance, town)
    other = chance.choice([account for account in streams() if account != it.account])
    last = await db.fetchval("SELECT max(originator_version) FROM journal WHERE originator_id = $1", other)
    await db.execute(
        "UPDATE journal SET originator_id = $3, originator_version = $4 WHERE originator_id = $1 AND originator_version = $2",
        it.account,
        it.version,
        other,
        last + 1,
    )
    return Done(it.account, it.version, kinds=frozenset({F.ENTRY_MISSING, F.TAIL_CUT, F.ACCOUNT_MISSING}), also=other)


async def _chain_again(db: Db, account: str) -> None:
    """Give every entry of an account the digest that follows from what stands there now."""
    rows = await db.fetch(
        "SELECT originator_version, topic, content, state FROM journal WHERE originator_id = $1 ORDER BY originator_version",
        account,
    )
    before, digests = GENESIS, []
    for version, topic, content, state in rows:
        before = link(before, account, version, topic, content, state)
        digests.append((account, version, before))
    await db.executemany("UPDATE journal SET digest = $3 WHERE originator_id = $1 AND originator_version = $2", digests)


async def rewrite(db: Db, chance: Random, town: Town) -> Done:
    """Replace what an entry says, or remove it, and give all after it digests that follow."""
    it = await target(db, chance, town, least=2)
    row = await _row(db, it.account, it.version)
    if it.version < it.sealed and chance.random() < 0.3:
        await db.execute(
            "DELETE FROM journal WHERE originator_id = $1 AND originator_version = $2", it.account, it.version
        )
        await _shift(db, it.account, it.version, -1)
    else:
        await _set(
            db, it, "state", re.sub(rb"[0-9]", lambda digit: b"%d" % (9 - int(digit[0])), row["state"], count=1) + b" "
        )
    await _chain_again(db, it.account)
    return Done(it.account, it.version, kinds=frozenset({F.HISTORY_REWRITTEN, F.TAIL_CUT}))


async def rewrite_and_forge(db: Db, chance: Random, town: Town) -> Done:
    """Rewrite an entry, make the sealed heads fit, and leave the seals as they are, which nobody here could sign anew."""
    done = await rewrite(db, chance, town)
    await _forge_heads(db, done.account)
    return replace(done, only_by_heads=True)


async def forge_everything(db: Db, chance: Random, town: Town) -> Done:
    """Rewrite an entry or cut the tail, make heads, chunks and seals fit, and sign them with a key of one's own."""
    done = await chance.choice((rewrite, cut_tail))(db, chance, town)
    await _forge_heads(db, done.account)
    await _forge_seals(db)
    return replace(done, only_by_heads=True)


async def forget_last_seal(db: Db, chance: Random, town: Town) -> Done:
    """Cut a tail, and remove the last seal with all that it knew."""
    done = await cut_tail(db, chance, town)
    await _forge_heads(db, done.account)
    await db.execute("DELETE FROM sealed_head WHERE seal = $1", town.last.number)
    await db.execute("DELETE FROM seal WHERE number = $1", town.last.number)
    return replace(done, only_by_heads=True)


async def erase_account(db: Db, chance: Random, town: Town) -> Done:
    """Delete an account with its messages and all that the seals in the database know of it."""
    done = await delete_account(db, chance, town)
    await db.execute("DELETE FROM message WHERE account = $1", done.account)
    await db.execute("DELETE FROM sealed_head WHERE account = $1", done.account)
    if chance.random() < 0.5:
        await _forge_seals(db)
    return replace(done, only_by_heads=True)


async def forge_seals_only(db: Db, chance: Random, town: Town) -> Done:
    """Change an entry and sign the seals with a key of one's own, but leave the heads."""
    done = await chance.choice((flip_byte, rewrite, remove))(db, chance, town)
    await _forge_seals(db)
    return done


async def forge_time(db: Db, chance: Random, town: Town) -> Done:
    """Change an entry, and the moments at which seals were made, so that all seem to be in the wrong."""
    done = await chance.choice((flip_byte, rewrite, remove))(db, chance, town)
    await db.execute("UPDATE seal SET sealed_at = sealed_at + interval '1 year'")
    return done


async def _forge_heads(db: Db, account: str) -> None:
    """Make what the seals in the database know of an account fit the journal."""
    last = await db.fetchval("SELECT max(originator_version) FROM journal WHERE originator_id = $1", account)
    await db.execute("DELETE FROM sealed_head WHERE account = $1 AND version > $2", account, last)
    await db.execute(
        "UPDATE sealed_head h SET digest = j.digest FROM journal j"
        " WHERE h.account = $1 AND j.originator_id = h.account AND j.originator_version = h.version",
        account,
    )


async def _forge_seals(db: Db) -> None:
    """Make all seals anew over the heads that stand there, signed by a key of one's own which is put among the others."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    await db.execute("DELETE FROM seal_key")
    await db.execute("INSERT INTO seal_key VALUES ($1, $2, '', now())", key_name(public), public)
    numbers = [row["number"] for row in await db.fetch("SELECT number FROM seal ORDER BY number")]
    seals, leaves = await find_seals(db, numbers), list[bytes]()
    for number in numbers:
        heads = await heads_of(db, number, "", 1_000)
        tree = root([leaf_hash(head_leaf(*head)) for head in heads])
        forged = replace(
            seals[number],
            heads=tree,
            log=root(leaves),
            accounts=len(heads),
            entries=sum(version for _, version, _ in heads),
            key=key_name(public),
        )
        statement = signed_bytes(forged)
        leaves.append(leaf_hash(statement))
        await db.execute(
            "UPDATE seal SET statement = $2, signature = $3, chunks = $4 WHERE number = $1",
            number,
            statement,
            private.sign(statement),
            write_chunks(Chunks(CHUNK_BITS, [tree], [heads[0][0]])),
        )


async def backdate(db: Db, chance: Random, town: Town) -> Done:
    """Add an entry that says it is older than the last seal, with the digest that follows, to an account or as a new one."""
    it = await target(db, chance, town)
    row = await _row(db, it.account, it.version)
    at = town.last.sealed_at - timedelta(days=chance.randint(1, 60))
    state = re.sub(
        rb'"recorded_at":"[^"]*"', b'"recorded_at":"%s"' % at.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), row["state"]
    )
    account, version, before = "1999999", 0, GENESIS
    if chance.random() < 0.6:
        last = await db.fetchrow(
            "SELECT originator_version, digest FROM journal WHERE originator_id = $1"
            " ORDER BY originator_version DESC LIMIT 1",
            it.account,
        )
        assert last is not None
        account, version, before = it.account, *last
    digest = link(before, account, version + 1, row["topic"], row["content"], state)
    await _insert(db, (account, version + 1, row["topic"], state, row["content"], digest))
    return Done(account, version + 1, kinds=frozenset({F.ENTRY_BACKDATED}))


async def change_message(db: Db, chance: Random, town: Town) -> Done:
    """Change the words of the message that an entry was made from, perhaps with their digest, or remove the message."""
    it = await target(db, chance, town)
    receipt = await db.fetchval(
        "SELECT convert_from(state, 'UTF8')::json ->> 'receipt' FROM journal"
        " WHERE originator_id = $1 AND originator_version = $2",
        it.account,
        it.version,
    )
    change = chance.choice(
        (
            "UPDATE message SET raw = raw || ' ' WHERE receipt = $1",
            "UPDATE message SET raw = raw || ' ', content = '\\x00112233' WHERE receipt = $1",
            "UPDATE message SET account = '1000009' WHERE receipt = $1",
            "DELETE FROM message WHERE receipt = $1",
        )
    )
    first = await db.fetchval("SELECT first_version FROM message WHERE receipt = $1", receipt)
    assert await db.execute(change, receipt) in ("UPDATE 1", "DELETE 1")
    return Done(it.account, first, kinds=frozenset({F.MESSAGE_CHANGED, F.MESSAGE_MISSING}), messages=True)


ATTACKS: tuple[Attack, ...] = (
    flip_byte,
    flip_topic,
    flip_version,
    remove,
    insert,
    swap,
    cut_tail,
    delete_account,
    move,
    rewrite,
    rewrite_and_forge,
    forge_everything,
    forget_last_seal,
    erase_account,
    forge_seals_only,
    forge_time,
    backdate,
    change_message,
)


async def attack(db: Db, chance: Random, town: Town, how: Attack) -> Done:
    """Do it with a superuser's rights, which no trigger stops."""
    async with db.transaction():
        await db.execute("SET LOCAL session_replication_role = replica")
        return await how(db, chance, town)
