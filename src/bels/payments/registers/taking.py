"""Take registers: judge a file whole, then post its rows in batches, each line once, whoever works on it and however often.

Every batch is one transaction of the intake, then one that keeps what became of its lines. A process that dies between the two
is repeated by whoever looks next: the messages have names for ever, so that the second time books nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from bels.domain.periods import moscow_date
from bels.journal.write import Db
from bels.messages import TryLater
from bels.payments.partners import Partner, PartnersError
from bels.payments.registers import files
from bels.payments.registers.booking import LANES, book
from bels.payments.registers.containers import plain_pieces
from bels.payments.registers.faults import PASSABLE, FileFault, Quarantined
from bels.payments.registers.files import FileState, RegisterFile, Source, Way
from bels.payments.registers.layout import Layout
from bels.payments.registers.reading import Reader
from bels.payments.registers.review import finish_resolving
from bels.payments.registers.rows import Judged
from bels.payments.till import Agent, Till
from bels.payments.webhooks.events import tell
from bels.reception.counter import database

logger = logging.getLogger(__name__)

FILES_AT_ONCE = 20
"""Files that are looked at in one go for what is left to do."""

ROWS_AT_ONCE = 250
"""Rows of one transaction. Whoever asks the same process something waits while they are decided; fewer would cost more."""

READ_AT_ONCE_BYTES = 16_384
"""So much of a file is read before others have their turn."""

LOOK_EVERY_S = 5.0
WAITS_FOR_ANOTHER = 40
WAIT_S = 0.25
"""A second file of a partner waits so many times so long for the first, before it is left to whoever looks next."""

_LOCK = 0x7265_6770


@dataclass(frozen=True, slots=True)
class FileTaken:
    """Where a file stands; ``repeated``: its bytes had come before, and this time nothing changed."""

    file: RegisterFile
    repeated: bool


async def receive_file(
    till: Till,
    partner: Partner,
    name: str,
    source: Source,
    way: Way,
    *,
    layout: str | None = None,
    by: str = "",
) -> FileTaken:
    """Store a file of a partner, judge it and take it; the same bytes again, under any name, get the same answer.

    ``layout`` names one of the partner's registers; by default the file's name tells it.

    :raises FileTooLargeError: it is larger than a register can be.
    :raises PartnersError: the partner's registers cannot be used.
    :raises TryLater: it was not stored, or not taken to its end: bring it again, or leave it to ``take_waiting``.
    """
    stored, repeated = await files.store_file(till, partner, name, source, way, layout, by)
    return FileTaken(await work_on(till, stored.file), repeated)


async def work_on(till: Till, file: int) -> RegisterFile:
    """Go on with a file until it is taken or waits for an operator; one that another process has is left to it.

    :raises TryLater: the database cannot be reached; what was kept so far stays.
    """
    for waited in range(WAITS_FOR_ANOTHER):
        claimed = await files.claim(till, file)
        if claimed is not None:
            await _work(till, *claimed)
        async with database(till.counter) as db:
            found = await files.find_file(db, file)
        if found is None:
            break
        if found.state not in (FileState.RECEIVED, FileState.TAKING) or waited + 1 == WAITS_FOR_ANOTHER:
            return found
        await asyncio.sleep(WAIT_S)
    raise LookupError(f"there is no register {file}")


async def take_waiting(till: Till) -> int:
    """Go on with files that nobody works on; how many came to their end.

    :raises TryLater: the database cannot be reached.
    """
    async with database(till.counter) as db:
        waiting = await files.waiting_files(db, till.now(), FILES_AT_ONCE)
    done = 0
    for file in waiting:
        claimed = await files.claim(till, file)
        if claimed is None:
            continue
        try:
            await _work(till, *claimed)
            done += 1
        except TryLater:
            raise
        except Exception:
            # One file that nobody can work on must not stop the others for ever.
            logger.exception("register %d could not be taken", file)
    return done


@asynccontextmanager
async def taking_registers(till: Till) -> AsyncIterator[None]:
    """Look every few seconds for files that are not done, while this is open."""
    task = asyncio.create_task(_look(till))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _look(till: Till) -> None:
    while True:
        try:
            await take_waiting(till)
            await finish_resolving(till)
        except TryLater as error:
            logger.warning("registers wait: %s", error)
        except Exception:
            logger.exception("the registers that wait could not be looked for")
        await asyncio.sleep(LOOK_EVERY_S)


async def _work(till: Till, file: RegisterFile, word: str) -> None:
    partner = till.partners.of(file.partner)
    try:
        layout = files.layout_named(partner, file.layout)
        if layout is None:
            raise Quarantined(FileFault.NO_LAYOUT, file.layout)
        judged = file
        if file.state is FileState.RECEIVED:
            judged = await _judge(till, layout, file, word)
        if judged.state is FileState.TAKING:
            await _take(till, partner, layout, judged, word)
    except Quarantined as fault:
        await _quarantine(till, file.file, word, fault, None)
    except PartnersError as error:
        logger.error("the registers of %s cannot be read: %s", partner.name, error)
        await _quarantine(till, file.file, word, Quarantined(FileFault.NO_LAYOUT, file.layout), None)
    except (TryLater, asyncio.CancelledError):
        with suppress(TryLater):
            await files.let_go(till, file.file, word)
        raise
    # Whatever else fails keeps its claim until that runs out, so that nobody tries it again and again.
    await files.let_go(till, file.file, word)


async def read_rows(till: Till, layout: Layout, reader: Reader, file: int) -> AsyncGenerator[list[Judged]]:
    """Read a stored file through a reader, piece by piece; between two pieces others have their turn.

    :raises Quarantined: the whole file waits.
    :raises TryLater: the database cannot be reached.
    """
    async with aclosing(plain_pieces(layout, files.stored_chunks(till, file))) as pieces:
        async for piece in pieces:
            for start in range(0, len(piece), READ_AT_ONCE_BYTES):
                yield reader.read(piece[start : start + READ_AT_ONCE_BYTES])
                await asyncio.sleep(0)
    yield reader.close()


def reader_of(till: Till, layout: Layout, file: RegisterFile, *, judges: bool = True) -> Reader:
    """Make the reader of a file."""
    reader = Reader(layout, moscow_date(till.now()), judges)
    reader.named_by(till.counter.door.raw_texts.opened(file.name))
    return reader


async def _judge(till: Till, layout: Layout, file: RegisterFile, word: str) -> RegisterFile:
    """Read the whole file once, nothing acted on: it is taken if its structure and its totals are right."""
    passes = file.decided_by is not None and file.fault in PASSABLE
    reader, fault = reader_of(till, layout, file, judges=not passes), None
    try:
        async with aclosing(read_rows(till, layout, reader, file.file)) as read:
            async for _ in read:
                pass
    except Quarantined as found:
        fault = found
    if fault is not None:
        return await _quarantine(till, file.file, word, fault, reader) or file
    return await _accept(till, file, word, reader)


async def _accept(till: Till, file: RegisterFile, word: str, reader: Reader) -> RegisterFile:
    """Let a file that was judged be taken, unless another has its number and its day."""
    async with database(till.counter) as db, db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, file.partner)
        is_let = file.decided_by is not None and file.fault is FileFault.NUMBER_REUSED
        other = await _same_number(db, file, reader) if not is_let else None
        state = FileState.QUARANTINED if other is not None else FileState.TAKING
        fault = Quarantined(FileFault.NUMBER_REUSED, str(other)) if other is not None else _passed(file)
        return await _judged(db, file.file, word, state, reader, fault, till.now()) or file


def _passed(file: RegisterFile) -> Quarantined | None:
    """Keep the fault that an operator let pass."""
    return Quarantined(file.fault, file.detail or "") if file.fault is not None else None


async def _same_number(db: Db, file: RegisterFile, reader: Reader) -> int | None:
    if reader.number is None:
        return None
    found: int | None = await db.fetchval(
        """
        SELECT file FROM register_file
         WHERE partner = $1 AND layout = $2 AND number = $3 AND day IS NOT DISTINCT FROM $4 AND file <> $5
           AND state IN ('TAKING', 'TAKEN')
         ORDER BY file LIMIT 1
        """,
        file.partner,
        file.layout,
        reader.number,
        reader.only_day,
        file.file,
    )
    return found


async def _quarantine(
    till: Till, file: int, word: str, fault: Quarantined, reader: Reader | None
) -> RegisterFile | None:
    async with database(till.counter) as db, db.transaction():
        return await _judged(db, file, word, FileState.QUARANTINED, reader, fault, till.now())


async def _judged(
    db: Db,
    file: int,
    word: str,
    state: FileState,
    reader: Reader | None,
    fault: Quarantined | None,
    now: datetime,
) -> RegisterFile | None:
    """Keep what a file was judged to be, and tell its partner where it waits; None where another process has it now."""
    kept = await db.fetchval(
        """
        UPDATE register_file SET state = $3, fault = $4, detail = $5,
               decided_by = CASE WHEN $3 = 'QUARANTINED' THEN NULL ELSE decided_by END
         WHERE file = $1 AND claim = $2 AND state IN ('RECEIVED', 'TAKING') RETURNING file
        """,
        file,
        word,
        state.value,
        fault.fault.value if fault is not None else None,
        fault.detail[:200] if fault is not None else None,
    )
    if kept is None:
        return None
    if reader is not None:
        sums = reader.sums
        await db.execute(
            """
            UPDATE register_file SET number = $2, day = $3, order_number = $4, order_day = $5, rows = $6, bad = $7,
                   amount = $8, fee = $9, transfer = $10
             WHERE file = $1
            """,
            file,
            _kept_text(reader.number),
            reader.only_day,
            _kept_text(reader.order_number),
            reader.order_day,
            sums.count,
            reader.bad,
            sums.amount,
            sums.fee,
            sums.transfer,
        )
    judged = await files.find_file(db, file)
    if judged is not None and fault is not None and state is FileState.QUARANTINED:
        told = {**_named(judged), "reason": fault.fault.value}
        subject = f"{file} {fault.fault.value}"
        await tell(db, judged.partner, "register.quarantined.v1", subject, told, now=now)
    return judged


def _kept_text(text: str | None) -> str | None:
    return text.replace("\x00", "").strip() or None if text is not None else None


async def _take(till: Till, partner: Partner, layout: Layout, file: RegisterFile, word: str) -> None:
    """Post the rows behind the last kept line, batch by batch, as long as the file is ours."""
    agent = till.agent(partner.client)
    size = LANES * ROWS_AT_ONCE
    # Whoever let a file go on answers for its totals; the faults of its rows stay what they are.
    reader = reader_of(till, layout, file, judges=False)
    batch: list[Judged] = []
    async with aclosing(read_rows(till, layout, reader, file.file)) as read:
        async for rows in read:
            batch += [row for row in rows if row.line > file.taken_line]
            while len(batch) >= size:
                if not await _post(till, agent, layout, file, word, batch[:size]):
                    return
                del batch[:size]
    if batch and not await _post(till, agent, layout, file, word, batch):
        return
    async with database(till.counter) as db, db.transaction():
        ended = await db.fetchval(
            "UPDATE register_file SET state = 'TAKEN', ended_at = $3"
            " WHERE file = $1 AND claim = $2 AND state = 'TAKING' RETURNING file",
            file.file,
            word,
            till.now(),
        )
        if ended is not None:
            outcomes = {each.outcome.value: each.count for each in await files.tally(db, file.file)}
            told = {**_named(file), "rows": file.rows, "amount": file.amount, "outcomes": outcomes}
            await tell(db, partner.client, "register.taken.v1", str(file.file), told, now=till.now())


def _named(file: RegisterFile) -> dict[str, object]:
    return {"registerId": str(file.file), "sha256": file.sha256.hex()}


async def _post(
    till: Till, agent: Agent, layout: Layout, file: RegisterFile, word: str, rows: Sequence[Judged]
) -> bool:
    kept = await book(till, agent, layout, file, rows)
    return await files.keep_rows(till, file.file, word, rows[-1].line, kept)
