"""How long the bytes of a register are kept: a primary document at least five years after the end of its year (402-ФЗ art. 29).

Names and addresses of payers stand in them; when the time is over, nothing needs these any more (152-ФЗ). The file stays known by
its digest, and its rows with their outcomes, so that it stays the same file for ever and what was booked can be told.
"""

from __future__ import annotations

from datetime import datetime

from bels.domain.periods import MOSCOW, moscow_date
from bels.payments.till import Till
from bels.reception.counter import database

KEPT_YEARS = 5
FILES_AT_ONCE = 20


async def forget_bytes(till: Till) -> int:
    """Forget the bytes of files whose time is over, and the lines that an operator had to look at; count the files.

    A file that waits for a decision, or of which a row does, keeps all.

    :raises TryLater: the database cannot be reached; the next call goes on.
    """
    count = 0
    while True:
        async with database(till.counter) as db:
            forgotten = await db.fetchval(
                """
                WITH gone AS (
                    SELECT file FROM register_file
                    WHERE received_at < $1 AND state IN ('TAKEN', 'REJECTED')
                      AND EXISTS (SELECT FROM register_chunk WHERE register_chunk.file = register_file.file)
                      AND NOT EXISTS (
                          SELECT FROM register_row
                          WHERE register_row.file = register_file.file AND outcome IN ('REVIEW', 'RESOLVING'))
                    ORDER BY file LIMIT $2),
                lines AS (
                    UPDATE register_row SET raw = NULL, given = NULL
                    WHERE file IN (SELECT file FROM gone) AND (raw IS NOT NULL OR given IS NOT NULL)),
                bytes AS (DELETE FROM register_chunk WHERE file IN (SELECT file FROM gone))
                SELECT count(*) FROM gone
                """,
                kept_since(till.now()),
                FILES_AT_ONCE,
            )
        count += int(forgotten)
        if forgotten < FILES_AT_ONCE:
            return count


def kept_since(now: datetime) -> datetime:
    """Give the moment from which on files are kept whole: the beginning of the Moscow year five years before this one."""
    return datetime(moscow_date(now).year - KEPT_YEARS, 1, 1, tzinfo=MOSCOW)
