"""Seal the journal: follow what was added since the last seal, put the heads of all streams into a tree, sign its root.

Nothing is trusted that the last seal did not know: of every stream whose head is another now, the new entries are read and their
digests worked out again from the sealed one on. A stream whose chain does not hold, that is shorter than it was, or that is gone,
is a fault: the seal names it, and its head stays the one before.
"""

from __future__ import annotations

import logging
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import asyncpg

from bels.access.vault import Vault
from bels.audit.seals.chunks import CHUNK_BITS, CHUNK_SIZE, Chunks, write_chunks
from bels.audit.seals.keys import Signer, find_signer
from bels.audit.seals.merkle import HASH_SIZE, leaf_hash, root
from bels.audit.seals.reading import Head, heads_of, latest_seal, leaves_through
from bels.audit.seals.statement import FAULTS_MAX, Seal, head_leaf, signed_bytes
from bels.audit.seals.telling import tell_partners
from bels.journal.chain import GENESIS, link
from bels.journal.journal import next_accounts, without_entries
from bels.journal.write import Db

logger = logging.getLogger(__name__)

STREAMS_PAGE = 4 * CHUNK_SIZE
"""Streams whose heads are looked at by one statement."""

ENTRIES_PAGE = 2_000
"""Entries that are in memory at once while chains are followed."""

WAIT_S = 900.0
"""How long whoever seals waits for another who does. The first seal of a journal of 20 million entries takes minutes."""

CLIENT_WAIT_S = 10.0
"""So much longer a client waits for the answer that the database waited in vain."""

Fault = tuple[str, int]
"""A stream and the first of its entries that is missing, or does not follow from what was sealed."""


class SealingError(RuntimeError):
    """The journal cannot be sealed; the sentence says why and what to do."""


class SealingUnderWayError(SealingError):
    """Somebody else has been sealing all the while."""


@dataclass(frozen=True, slots=True)
class _Grown:
    """A stream whose head is not the sealed one."""

    account: str
    head: tuple[int, bytes]
    sealed: tuple[int, bytes]


@dataclass(slots=True)
class _Heads:
    """New heads, packed: of 300,000 streams they take 15 MB."""

    digests: bytearray = field(default_factory=bytearray)
    versions: array[int] = field(default_factory=lambda: array("q"))
    accounts: list[bytes] = field(default_factory=list)
    """Pages of numbers, joined by line feeds."""

    def add(self, heads: Sequence[Head]) -> None:
        """Keep a page of heads."""
        self.accounts.append("\n".join(account for account, _, _ in heads).encode())
        for _, version, digest in heads:
            self.versions.append(version)
            self.digests += digest

    def pages(self) -> Iterator[tuple[list[str], list[int], list[bytes]]]:
        """Give them page by page as columns."""
        at = 0
        for packed in self.accounts:
            accounts = packed.decode().split("\n")
            end = at + len(accounts)
            yield (
                accounts,
                list(self.versions[at:end]),
                [bytes(self.digests[HASH_SIZE * i : HASH_SIZE * (i + 1)]) for i in range(at, end)],
            )
            at = end


async def seal_journal(pool: asyncpg.Pool, vault: Vault, now: datetime, *, wait_s: float = WAIT_S) -> Seal:
    """Seal the journal as it is now, and tell partners; one process does so at a time, and others wait ``wait_s`` for it.

    Where nothing is new it is sealed all the same: a seal also says that so far nothing changed.

    :raises SealingUnderWayError: another has been sealing for so long.
    :raises SealingError: the seals before it are not whole.
    :raises SealError: the last seal cannot be read.
    :raises MasterKeyError: the master key is another one.
    """
    # Before anything is locked: the first key of all is drawn by another connection.
    signer = await find_signer(pool, vault, now)
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read"):
        # A lock of a table is the one that may be waited for before the snapshot is taken (PostgreSQL, LOCK): whoever waited sees
        # the seal that it waited for. Nobody else writes this table but for a new key, and all may read it.
        await db.execute(f"SET LOCAL lock_timeout = {round(wait_s * 1000)}")
        try:
            await db.execute("LOCK TABLE seal_key IN SHARE ROW EXCLUSIVE MODE", timeout=wait_s + CLIENT_WAIT_S)
        except asyncpg.LockNotAvailableError:
            raise SealingUnderWayError("another process is sealing: its seal is there in a while") from None
        return await _seal(db, signer, now.astimezone(UTC))


async def _seal(db: Db, signer: Signer, now: datetime) -> Seal:
    last = await latest_seal(db)
    number = last.number + 1 if last is not None else 1
    leaves = await leaves_through(db, number)
    if len(leaves) != number - 1:
        raise SealingError(
            f"of the seals 1 to {number - 1} only {len(leaves)} are there: put those that are missing back from their published copies"
        )
    if last is not None and last.log != root(leaves[:-1]):
        raise SealingError(
            f"the seals before seal {last.number} are not those that it was made over: compare them with their published copies"
        )
    if await db.fetchval("SELECT EXISTS (SELECT FROM sealed_head WHERE seal >= $1)", number):
        # It would be signed as it stands there, unless its stream has grown: nobody has followed it.
        raise SealingError(
            f"there are sealed heads of seal {number}, which is not made yet: remove them, see bels audit verify"
        )
    new, faults = await _follow_all(db, number)
    # Only now is anything written: a server that starts meanwhile needs a lock on the table for a moment.
    await _keep(db, number, new)
    chunks, streams, entries, gone = await _tree(db, number)
    faults = sorted({*faults, *gone}, key=lambda fault: fault[0].encode())
    for account, version in faults:
        logger.error("the journal is not what was sealed: %s, from entry %d on", account, version)
    unsigned = Seal(
        number=number,
        # A clock that was put back does not put a seal before the one that it counts.
        sealed_at=now if last is None else max(now, last.sealed_at),
        accounts=streams,
        entries=entries,
        heads=chunks.root,
        log=root(leaves),
        faults=tuple(f"{account} at {version}" for account, version in faults[:FAULTS_MAX]),
        key=signer.key,
    )
    statement = signed_bytes(unsigned)
    seal = replace(unsigned, signature=signer.sign(statement))
    await db.execute(
        "INSERT INTO seal (number, sealed_at, statement, signature, chunks) VALUES ($1, $2, $3, $4, $5)",
        number,
        seal.sealed_at,
        statement,
        seal.signature,
        write_chunks(chunks),
    )
    await tell_partners(db, seal)
    logger.info("seal %d: %d streams, %d entries, %d faults", number, streams, entries, len(faults))
    return seal


async def _follow_all(db: Db, number: int) -> tuple[_Heads, list[Fault]]:
    """Follow the streams that have grown, page by page; give their new heads and the faults."""
    new, faults = _Heads(), list[Fault]()
    last = ""
    while accounts := await next_accounts(db, last, STREAMS_PAGE):
        last = accounts[-1]
        grown = await _grown(db, number, accounts)
        if not grown:
            continue
        wrong = await _follow(db, grown)
        faults += wrong.items()
        if sound := [(each.account, *each.head) for each in grown if each.account not in wrong]:
            new.add(sound)
    return new, faults


GROWN = """
    SELECT wanted.account, head.version, head.digest, coalesce(sealed.version, 0), coalesce(sealed.digest, $3)
      FROM unnest($2::text[]) AS wanted (account)
     CROSS JOIN LATERAL (
           SELECT originator_version AS version, digest FROM journal
            WHERE originator_id = wanted.account
            ORDER BY originator_version DESC LIMIT 1) AS head
      LEFT JOIN LATERAL (
           SELECT version, digest FROM sealed_head
            WHERE account = wanted.account AND seal < $1
            ORDER BY seal DESC LIMIT 1) AS sealed ON true
     WHERE sealed.version IS DISTINCT FROM head.version OR sealed.digest IS DISTINCT FROM head.digest
"""


async def _grown(db: Db, number: int, accounts: Sequence[str]) -> list[_Grown]:
    """List those whose head is not the sealed one."""
    rows = await db.fetch(GROWN, number, accounts, GENESIS)
    return [_Grown(row[0], (row[1], row[2]), (row[3], row[4])) for row in rows]


FOLLOWED = """
    SELECT wanted.account, j.originator_version, j.topic, j.content, j.state, j.digest
      FROM unnest($1::text[], $2::bigint[]) AS wanted (account, version)
     CROSS JOIN LATERAL (
           SELECT originator_version, topic, content, state, digest
             FROM journal
            WHERE originator_id = wanted.account AND originator_version > wanted.version
            ORDER BY originator_version
            OFFSET 0) AS j
"""


async def _follow(db: Db, grown: Sequence[_Grown]) -> dict[str, int]:
    """Work out the digests of new entries from the sealed ones on; give the streams that do not hold, and from which entry on."""
    reached = {each.account: each.sealed for each in grown}
    wrong: dict[str, int] = {}
    cursor = await db.cursor(FOLLOWED, list(reached), [each.sealed[0] for each in grown])
    while rows := await cursor.fetch(ENTRIES_PAGE):
        for account, version, topic, content, state, digest in rows:
            before, said = reached[account]
            if account in wrong:
                continue
            if version != before + 1 or not _follows(digest, said, account, version, topic, content, state):
                wrong[account] = before + 1
                continue
            reached[account] = version, digest
    for each in grown:
        # What is shorter than it was sealed, or has another end, has no new entry that would show it.
        if each.account not in wrong and reached[each.account] != each.head:
            wrong[each.account] = min(each.head[0] + 1, each.sealed[0])
    return wrong


def _follows(
    digest: bytes, before: bytes, account: str, version: int, topic: str, content: bytes, state: bytes
) -> bool:
    """Say whether an entry has the digest that follows; one whose columns are none, or longer than any, has not."""
    try:
        return digest == link(before, account, version, topic, content, state)
    except (struct.error, AttributeError, TypeError):
        return False


async def _keep(db: Db, number: int, new: _Heads) -> None:
    """Write down the heads that are other ones than before."""
    for accounts, versions, digests in new.pages():
        await db.execute(
            """
            INSERT INTO sealed_head (account, seal, version, digest)
            SELECT account, $1, version, digest
              FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS new (account, version, digest)
            """,
            number,
            accounts,
            versions,
            digests,
        )


async def _tree(db: Db, number: int) -> tuple[Chunks, int, int, list[Fault]]:
    """Build the tree over the heads that this seal knows; give also its size, the sum of versions, and the streams that are gone."""
    roots, firsts, gone = list[bytes](), list[str](), list[Fault]()
    streams = entries = 0
    first = ""
    while heads := await heads_of(db, number, first, STREAMS_PAGE):
        for at in range(0, len(heads), CHUNK_SIZE):
            part = heads[at : at + CHUNK_SIZE]
            firsts.append(part[0][0])
            roots.append(root([leaf_hash(head_leaf(*head)) for head in part]))
        streams += len(heads)
        entries += sum(version for _, version, _ in heads)
        gone += [(account, 1) for account in await without_entries(db, [account for account, _, _ in heads])]
        if len(heads) < STREAMS_PAGE:
            break
        # The number that follows this one in the order of bytes.
        first = heads[-1][0] + "\x01"
    return Chunks(CHUNK_BITS, roots, firsts), streams, entries, gone
