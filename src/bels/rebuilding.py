"""Tell all views again from the journal, by several processes, while messages are being handled."""

from __future__ import annotations

from bels.app import Bels
from bels.journal.journal import accounts
from bels.progress import Progress
from bels.projections.project import retell, views_are_told
from bels.workers import Tools, spread

ACCOUNTS_OF_CHUNK = 100
"""Accounts told in one transaction: their rows are locked meanwhile, so a sender may wait as long as that takes."""

ACCOUNTS_ALONE_MAX = 500
"""So few accounts are told sooner than other processes start."""


async def rebuild(bels: Bels, count: int, progress: Progress) -> tuple[int, int]:
    """Tell every view of every account again, some ``count`` of them; count accounts and entries as they are told."""
    told = entries = 0

    def done(result: tuple[int, int]) -> None:
        nonlocal told, entries
        told += result[0]
        entries += result[1]
        progress.update(result[0])

    # While views are stale, nothing has read the rules that were published.
    await bels.intake.rules()
    async with bels.pool.acquire() as db:
        chunks = accounts(db, ACCOUNTS_OF_CHUNK)
        await spread(bels, tell, chunks, done, alone=count <= ACCOUNTS_ALONE_MAX)
        await views_are_told(db)
    return told, entries


async def tell(tools: Tools, numbers: list[str]) -> tuple[int, int]:
    """Tell the views of some accounts; count accounts and entries."""
    async with tools.pool.acquire() as db:
        return len(numbers), await retell(db, numbers, tools.intake.rulebook)
