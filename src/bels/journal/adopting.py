"""Give digests to the entries of a journal from before there were any; once in its life."""

from __future__ import annotations

import logging
from functools import partial

from bels.journal.chain import GENESIS, link
from bels.journal.installing import install_alone
from bels.journal.journal import accounts
from bels.journal.write import Db, Write, given, run

logger = logging.getLogger(__name__)

ACCOUNTS_OF_CHUNK = 200
SAID_EVERY = 1_000_000

_COLUMNS = "originator_id text, originator_version bigint, content text, digest text"


async def is_chained(db: Db) -> bool:
    """Say whether every entry has its digest: then the column may hold nothing else."""
    return bool(
        await db.fetchval(
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'journal'::regclass AND attname = 'digest'"
        )
    )


async def chain_entries(db: Db) -> int:
    """Give every entry that has none its digest; count them. What was done before it was stopped is not done again.

    An older program that still writes adds entries without a digest until all others have theirs; they are given theirs before
    anybody else may write, and it fails from then on. So it is stopped first.
    """
    if await is_chained(db):
        return 0
    done = said = 0
    async for numbers in accounts(db, ACCOUNTS_OF_CHUNK):
        done += await install_alone(db, partial(_chain_some, db, numbers))
        if done - said >= SAID_EVERY:
            said = done
            logger.info("entries are given their digests: %d so far", done)
    return done + await install_alone(db, partial(_finish, db))


async def _chain_some(db: Db, numbers: list[str]) -> int:
    await _may_change(db, True)
    done = await _chain(db, numbers)
    await _may_change(db, False)
    return done


async def _finish(db: Db) -> int:
    """Give their digests to entries that came meanwhile, and let the column hold nothing else."""
    # From here on nobody writes; LOCK TABLE asks for a right that the owner took from himself.
    await _may_change(db, True)
    late = [row[0] for row in await db.fetch("SELECT DISTINCT originator_id FROM journal WHERE digest IS NULL")]
    done = await _chain(db, late) if late else 0
    await _may_change(db, False)
    await db.execute("ALTER TABLE journal ALTER COLUMN digest SET NOT NULL")
    return done


async def _may_change(db: Db, may: bool) -> None:
    """Let this transaction alone fill the column, or forbid it again."""
    await db.execute(f"ALTER TABLE journal {'DISABLE' if may else 'ENABLE'} TRIGGER journal_is_only_added_to")
    await db.execute(f"{'GRANT' if may else 'REVOKE'} UPDATE ON journal {'TO' if may else 'FROM'} CURRENT_USER")


async def _chain(db: Db, numbers: list[str]) -> int:
    rows = await db.fetch(
        """
        SELECT j.originator_id, j.originator_version, j.topic, j.state, j.digest, m.content
          FROM journal j
          LEFT JOIN message m ON m.receipt = convert_from(j.state, 'UTF8')::json ->> 'receipt'
         WHERE j.originator_id = ANY($1::text[])
         ORDER BY j.originator_id, j.originator_version
        """,
        numbers,
    )
    before, last = GENESIS, ""
    missing = []
    for account, version, topic, state, digest, content in rows:
        if account != last:
            before, last = GENESIS, account
        if digest is not None:
            before = digest
            continue
        said = content if content is not None else b""
        before = link(before, account, version, topic, said, state)
        missing.append((account, version, said.hex(), before.hex()))
    await run(
        db,
        Write(
            "UPDATE journal j SET content = decode(given.content, 'hex'), digest = decode(given.digest, 'hex')"
            f" FROM {given(_COLUMNS)}"
            " WHERE j.originator_id = given.originator_id AND j.originator_version = given.originator_version",
            _COLUMNS,
            missing,
        ),
    )
    return len(missing)
