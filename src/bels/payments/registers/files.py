"""Files of payments as they came: stored whole and sealed before anything is acted on, and where each of them stands.

The bytes of a file are its name: the same again, under any name and by any way, is the same file (partners 4.4). A file is
RECEIVED, then TAKING or QUARANTINED, then TAKEN or REJECTED; whoever works on one holds it by a claim that runs out by itself.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from asyncpg import Record
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.domain.terms import Money, Word
from bels.journal.write import Db, Write, given, run
from bels.payments.partners import Partner
from bels.payments.registers.faults import FileFault
from bels.payments.registers.layout import Layout, layout_for, layouts_of
from bels.payments.till import Till
from bels.reception.counter import database

FILE_BYTES_MAX = 50_000_000
CHUNK_BYTES = 262_144
SPOOL_BYTES = 1_000_000
"""A file of more bytes waits on the disk for its last one, in a file without a name."""

NAME_LENGTH_MAX = 200
LEASE_S = 60
"""So long a file is left alone that a process took and died over."""

KEY = "registers"
"""The named key of the vault that seals files."""

_NONCE_BYTES = 12
_LOCK = 0x7265_6769


class Way(Word):
    """How a file came."""

    UPLOAD = "UPLOAD"
    FOLDER = "FOLDER"
    SFTP = "SFTP"
    LETTER = "LETTER"
    COMMAND = "COMMAND"


class FileState(Word):
    """Where a file stands."""

    RECEIVED = "RECEIVED"
    QUARANTINED = "QUARANTINED"
    REJECTED = "REJECTED"
    TAKING = "TAKING"
    TAKEN = "TAKEN"


class RowOutcome(Word):
    """What became of a row."""

    CREDITED = "CREDITED"
    MATCHED = "MATCHED"
    CORRECTED = "CORRECTED"
    UNALLOCATED = "UNALLOCATED"
    REFUNDED = "REFUNDED"
    REVIEW = "REVIEW"
    RESOLVING = "RESOLVING"
    DISMISSED = "DISMISSED"


TAKEN_OUTCOMES = (
    RowOutcome.CREDITED,
    RowOutcome.MATCHED,
    RowOutcome.CORRECTED,
    RowOutcome.UNALLOCATED,
    RowOutcome.REFUNDED,
)
"""The money of these rows stands in the books."""


class FileTooLargeError(ValueError):
    """A file has more bytes than a register can have; nothing of it was stored."""


@dataclass(frozen=True, slots=True)
class RegisterFile:
    """A file and where it stands; sums in roubles by its rows. ``fault`` says why it waits, or waited, in quarantine.

    ``number`` and ``day`` are the register's own; ``order_number`` and ``order_day`` those of the bank's transfer it names.
    ``is_correction``: where another file has its number, equal rows of both are the same payments.
    """

    file: int
    partner: str
    sha256: bytes
    layout: str
    name: str
    way: str
    size: int
    received_at: datetime
    received_by: str
    state: FileState
    fault: FileFault | None
    detail: str | None
    number: str | None
    day: date | None
    order_number: str | None
    order_day: date | None
    rows: int
    bad: int
    amount: Money
    fee: Money
    transfer: Money
    taken_line: int
    decided_by: str | None
    decided_at: datetime | None
    ground: str | None
    is_correction: bool
    ended_at: datetime | None


_COLUMNS = ", ".join(each.name for each in fields(RegisterFile))


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A line of a register and what became of it. Sums in roubles, None where they cannot be read; ``raw`` is sealed.

    ``given`` are the readings of a row that waits, as JSON.
    """

    file: int
    line: int
    partner: str
    kind: str
    external_id: str | None
    base: str | None
    parent: str | None
    account: str
    amount: Money | None
    fee: Money | None
    transfer: Money | None
    paid_on: date | None
    paid_at: datetime | None
    outcome: RowOutcome
    reason: str | None = None
    receipt: str | None = None
    payment_id: str | None = None
    reading: str | None = None
    raw: str | None = None
    resolved_by: str | None = None
    resolved_at: datetime | None = None
    ground: str | None = None
    given: str | None = None


_ROW_COLUMNS = ", ".join(each.name for each in fields(KeptRow))
_ROW = """
    file bigint, line int, partner text, kind text, external_id text, base text, parent text, account text, amount numeric,
    fee numeric, transfer numeric, paid_on date, paid_at timestamptz, outcome text, reason text, receipt text,
    payment_id text, reading text, raw text, resolved_by text, resolved_at timestamptz, ground text, given text"""
_KEPT = f"INSERT INTO register_row ({_ROW_COLUMNS}) SELECT {_ROW_COLUMNS} FROM {given(_ROW)} ON CONFLICT DO NOTHING"

Source = Path | AsyncIterable[bytes] | Iterable[bytes]


async def store_file(
    till: Till, partner: Partner, name: str, source: Source, way: Way, layout: str | None = None, by: str = ""
) -> tuple[RegisterFile, bool]:
    """Store a file whole, and say whether it had come before; the same bytes again change nothing.

    ``layout`` names one of the partner's registers; by default the file's name tells it. One that waits under another layout
    is judged anew under the one that is named now.

    :raises FileTooLargeError: it has more than ``FILE_BYTES_MAX``.
    :raises PartnersError: the partner's registers cannot be used.
    :raises TryLater: nothing was stored.
    """
    layouts = layouts_of(partner)
    chosen = layouts.get(layout) if layout is not None else layout_for(layouts, name)
    named = chosen.name if chosen is not None else ""
    digest, size = hashlib.sha256(), 0
    cipher = AESGCM(await till.counter.door.vault.named_key(KEY))
    with SpooledTemporaryFile(SPOOL_BYTES) as spool:
        async for piece in _pieces(source):
            size += len(piece)
            if size > FILE_BYTES_MAX:
                raise FileTooLargeError(f"a register has at most {FILE_BYTES_MAX} bytes")
            digest.update(piece)
            spool.write(piece)
        spool.seek(0)
        async with database(till.counter) as db, db.transaction():
            row = await db.fetchrow(
                f"""
                INSERT INTO register_file
                    (partner, sha256, layout, name, way, size, received_at, received_by, state)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'RECEIVED')
                ON CONFLICT (partner, sha256) DO NOTHING RETURNING {_COLUMNS}
                """,
                partner.client,
                digest.digest(),
                named,
                till.counter.door.raw_texts.guarded(name[:NAME_LENGTH_MAX].replace("\x00", "")),
                way.value,
                size,
                till.now(),
                by or partner.actor,
            )
            if row is not None:
                await _store_chunks(db, cipher, row["file"], spool)
                return _file(row), False
            return await _again(db, partner.client, digest.digest(), named), True


async def _pieces(source: Source) -> AsyncIterator[bytes]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
    else:
        for piece in source:
            yield piece


async def _store_chunks(db: Db, cipher: AESGCM, file: int, spool: IO[bytes]) -> None:
    number = 0
    while chunk := spool.read(CHUNK_BYTES):
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + cipher.encrypt(nonce, chunk, _about(file, number))
        await db.execute("INSERT INTO register_chunk (file, number, sealed) VALUES ($1, $2, $3)", file, number, sealed)
        number += 1


async def _again(db: Db, partner: str, digest: bytes, layout: str) -> RegisterFile:
    # What was sent as the wrong kind of register, and nothing was taken of, may be sent as the right one.
    row = await db.fetchrow(
        f"""
        UPDATE register_file SET layout = $3, state = 'RECEIVED', fault = NULL, detail = NULL
         WHERE partner = $1 AND sha256 = $2 AND state = 'QUARANTINED' AND taken_line = 0 AND $3 <> '' AND layout <> $3
        RETURNING {_COLUMNS}
        """,
        partner,
        digest,
        layout,
    )
    row = row or await db.fetchrow(
        f"SELECT {_COLUMNS} FROM register_file WHERE partner = $1 AND sha256 = $2", partner, digest
    )
    if row is None:
        raise LookupError("a register that is there cannot be read")
    return _file(row)


async def stored_chunks(till: Till, file: int) -> AsyncIterator[bytes]:
    """Give the bytes of a file again, piece by piece.

    :raises TryLater: the database cannot be reached.
    """
    cipher = AESGCM(await till.counter.door.vault.named_key(KEY))
    number = 0
    while True:
        async with database(till.counter) as db:
            sealed = await db.fetchval(
                "SELECT sealed FROM register_chunk WHERE file = $1 AND number = $2", file, number
            )
        if sealed is None:
            return
        yield cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _about(file, number))
        number += 1


def _about(file: int, number: int) -> bytes:
    return f"register {file}/{number}".encode()


async def find_file(db: Db, file: int) -> RegisterFile | None:
    """Find a file by its number."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM register_file WHERE file = $1", file)
    return _file(row) if row is not None else None


async def list_files(
    db: Db, partner: str | None, day: date | None, state: FileState | None, before: int | None, limit: int
) -> list[RegisterFile]:
    """List files, the newest first: of a partner, of a register's day, in a state."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM register_file
         WHERE ($1::text IS NULL OR partner = $1) AND ($2::date IS NULL OR day = $2) AND ($3::text IS NULL OR state = $3)
           AND ($4::bigint IS NULL OR file < $4)
         ORDER BY file DESC LIMIT $5
        """,
        partner,
        day,
        state.value if state is not None else None,
        before,
        limit,
    )
    return [_file(row) for row in rows]


async def list_rows(db: Db, file: int, outcome: RowOutcome | None, after: int | None, limit: int) -> list[KeptRow]:
    """List the rows of a file in the order of its lines, of one outcome or all."""
    rows = await db.fetch(
        f"""
        SELECT {_ROW_COLUMNS} FROM register_row
         WHERE file = $1 AND ($2::text IS NULL OR outcome = $2) AND ($3::int IS NULL OR line > $3)
         ORDER BY line LIMIT $4
        """,
        file,
        outcome.value if outcome is not None else None,
        after,
        limit,
    )
    return [kept_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows of a file have an outcome, and their roubles."""

    outcome: RowOutcome
    count: int
    amount: Money


async def tally(db: Db, file: int) -> list[Tally]:
    """Count the rows of a file by outcome."""
    rows = await db.fetch(
        "SELECT outcome, count(*) AS count, coalesce(sum(amount), 0) AS amount FROM register_row WHERE file = $1"
        " GROUP BY outcome ORDER BY outcome",
        file,
    )
    return [Tally(RowOutcome(row["outcome"]), row["count"], Money(row["amount"])) for row in rows]


async def claim(till: Till, file: int) -> tuple[RegisterFile, str] | None:
    """Take a file to work on, with the word that proves it; None where nothing is to be done or another process is at it.

    Of each partner one file is worked on at a time: an equal payment in two of them meets itself.

    :raises TryLater: the database cannot be reached.
    """
    now, word = till.now(), secrets.token_hex(8)
    async with database(till.counter) as db, db.transaction():
        partner = await db.fetchval("SELECT partner FROM register_file WHERE file = $1", file)
        if partner is None:
            return None
        await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, partner)
        row = await db.fetchrow(
            f"""
            UPDATE register_file SET claim = $3, claimed_until = $4
             WHERE file = $1 AND state IN ('RECEIVED', 'TAKING') AND (claimed_until IS NULL OR claimed_until <= $5)
               AND NOT EXISTS (SELECT FROM register_file AS other WHERE other.partner = $2 AND other.file <> $1
                                  AND other.state IN ('RECEIVED', 'TAKING') AND other.claimed_until > $5)
            RETURNING {_COLUMNS}
            """,
            file,
            partner,
            word,
            now + timedelta(seconds=LEASE_S),
            now,
        )
    return (_file(row), word) if row is not None else None


async def let_go(till: Till, file: int, word: str) -> None:
    """Let another process go on with a file.

    :raises TryLater: the database cannot be reached.
    """
    async with database(till.counter) as db:
        await db.execute(
            "UPDATE register_file SET claim = NULL, claimed_until = NULL WHERE file = $1 AND claim = $2", file, word
        )


async def waiting_files(db: Db, now: datetime, limit: int) -> list[int]:
    """List files that nobody works on and that are not done, oldest first."""
    rows = await db.fetch(
        "SELECT file FROM register_file WHERE state IN ('RECEIVED', 'TAKING')"
        " AND (claimed_until IS NULL OR claimed_until <= $1) ORDER BY file LIMIT $2",
        now,
        limit,
    )
    return [row["file"] for row in rows]


async def keep_rows(till: Till, file: int, word: str, line: int, rows: Sequence[KeptRow]) -> bool:
    """Keep what became of rows, up to a line; False where another process has the file now and nothing was kept.

    :raises TryLater: nothing was kept.
    """
    now = till.now()
    async with database(till.counter) as db, db.transaction():
        held = await db.fetchval(
            "UPDATE register_file SET taken_line = $3, claimed_until = $4 WHERE file = $1 AND claim = $2 RETURNING file",
            file,
            word,
            line,
            now + timedelta(seconds=LEASE_S),
        )
        if held is None:
            return False
        await run(db, Write(_KEPT, _ROW, [_values(row) for row in rows]))
    return True


def _values(row: KeptRow) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in _ROW_NAMES)


_ROW_NAMES = tuple(each.name for each in fields(KeptRow))


def _file(row: Record) -> RegisterFile:
    return RegisterFile(
        **{
            **dict(row),
            "sha256": bytes(row["sha256"]),
            "state": FileState(row["state"]),
            "fault": FileFault(row["fault"]) if row["fault"] is not None else None,
        }
    )


def kept_row(row: Record) -> KeptRow:
    """Read a row of ``register_row``."""
    return KeptRow(**{**{name: row[name] for name in _ROW_NAMES}, "outcome": RowOutcome(row["outcome"])})


def layout_named(partner: Partner, name: str) -> Layout | None:
    """Find a register of a partner by its name.

    :raises PartnersError: the partner's registers cannot be used.
    """
    return layouts_of(partner).get(name)
