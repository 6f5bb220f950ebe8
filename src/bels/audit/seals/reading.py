"""Read seals, and the heads that they know, from the database."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from bels.audit.seals.statement import Seal, SealError, read_seal
from bels.journal.write import Db

SEALS_PAGE_MAX = 1_000

Head = tuple[str, int, bytes]
"""A stream's number, its version, the digest of that entry."""


async def find_seal(db: Db, number: int) -> Seal | None:
    """Find a seal by its number.

    :raises SealError: what is kept is none.
    """
    row = await db.fetchrow("SELECT statement, signature FROM seal WHERE number = $1", number)
    return _seal(row) if row is not None else None


async def latest_seal(db: Db) -> Seal | None:
    """Find the newest seal.

    :raises SealError: what is kept is none.
    """
    row = await db.fetchrow("SELECT statement, signature FROM seal ORDER BY number DESC LIMIT 1")
    return _seal(row) if row is not None else None


async def seals_before(db: Db, number: int | None, limit: int) -> list[Seal]:
    """List seals, the newest first, before a number; of all where it is None.

    :raises SealError: what is kept is none.
    """
    rows = await db.fetch(
        """
        SELECT statement, signature FROM seal WHERE ($1::bigint IS NULL OR number < $1) ORDER BY number DESC LIMIT $2
        """,
        number,
        min(limit, SEALS_PAGE_MAX),
    )
    return [_seal(row) for row in rows]


async def find_seals(db: Db, numbers: Sequence[int]) -> dict[int, Seal]:
    """Find some seals by their numbers.

    :raises SealError: what is kept is none.
    """
    rows = await db.fetch("SELECT statement, signature FROM seal WHERE number = ANY($1::bigint[])", list(numbers))
    return {seal.number: seal for seal in map(_seal, rows)}


HEADS = """
    WITH RECURSIVE hop (account) AS (
        (SELECT account FROM sealed_head WHERE account >= $2 ORDER BY account LIMIT 1)
        UNION ALL
        SELECT (SELECT account FROM sealed_head WHERE account > hop.account ORDER BY account LIMIT 1)
          FROM hop
         WHERE hop.account IS NOT NULL)
    SELECT hop.account, head.version, head.digest
      FROM hop
     CROSS JOIN LATERAL (
           SELECT version, digest FROM sealed_head
            WHERE account = hop.account AND seal <= $1
            ORDER BY seal DESC LIMIT 1) AS head
     LIMIT $3
"""


async def heads_of(db: Db, seal: int, first: str, limit: int) -> list[Head]:
    """List the heads that a seal knows, from a stream on, in the order of the tree.

    It hops over the index from one stream to the next, and stops at the limit.
    """
    return [(row[0], row[1], row[2]) for row in await db.fetch(HEADS, seal, first, limit)]


LEAVES = (
    """SELECT sha256('\\x00'::bytea || statement) AS leaf FROM seal WHERE number BETWEEN 1 AND $1 ORDER BY number"""
)


async def leaves_through(db: Db, number: int) -> list[bytes]:
    """Give the leaf hashes of all seals through a number, in order; the database hashes them.

    Where a seal is missing there are fewer than ``number``.
    """
    return [row["leaf"] for row in await db.fetch(LEAVES, number)]


async def seal_state(db: Db) -> tuple[datetime | None, int]:
    """Say when the journal was sealed last, None where it never was, and how many faults that seal names.

    A seal that cannot be read is a fault.
    """
    row = await db.fetchrow("SELECT sealed_at, statement, signature FROM seal ORDER BY number DESC LIMIT 1")
    if row is None:
        return None, 0
    try:
        return row["sealed_at"], len(_seal(row).faults)
    except SealError:
        return row["sealed_at"], 1


def _seal(row: Record) -> Seal:
    try:
        said = json.loads(row["statement"]) | {"signature": b64encode(row["signature"]).decode()}
    except (ValueError, TypeError) as error:
        raise SealError(f"what is kept is no seal: {type(error).__name__}") from error
    return read_seal(json.dumps(said))
