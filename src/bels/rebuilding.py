"""Tell all views again from the journal, by several processes, while messages are being handled."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import asyncpg

from bels.app import Bels
from bels.domain.rulebook import Rulebook
from bels.journal.journal import accounts
from bels.progress import Progress
from bels.projections.project import retell, views_are_told

ACCOUNTS_OF_CHUNK = 100
"""Accounts told in one transaction: their rows are locked meanwhile, so a sender may wait as long as that takes."""

CHUNKS_WAITING_PER_WORKER = 3


async def rebuild(bels: Bels, progress: Progress) -> tuple[int, int]:
    """Tell every view of every account again; count accounts and entries. ``progress`` counts accounts."""
    workers = os.cpu_count() or 1
    told = entries = 0
    pool = ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(bels.url, bels.intake.rulebook),
    )
    room = asyncio.Semaphore(workers * CHUNKS_WAITING_PER_WORKER)
    try:
        async with asyncio.TaskGroup() as group, bels.pool.acquire() as db:

            async def tell(numbers: list[str]) -> None:
                nonlocal told, entries
                try:
                    entries += await asyncio.get_running_loop().run_in_executor(pool, _tell, numbers)
                finally:
                    room.release()
                told += len(numbers)
                progress.update(len(numbers))

            async for numbers in accounts(db, ACCOUNTS_OF_CHUNK):
                await room.acquire()
                group.create_task(tell(numbers))
    finally:
        # Not waited for in the event loop's thread: a worker finishes its chunk, and its transaction is whole.
        await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
    async with bels.pool.acquire() as db:
        await views_are_told(db)
    return told, entries


class _Worker:
    """What a worker process keeps for its life: its connection, and the loop that the connection lives in."""

    runner: asyncio.Runner
    db: asyncpg.Connection
    rulebook: Rulebook


def _begin(url: str, rulebook: Rulebook) -> None:
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    _Worker.runner = asyncio.Runner()
    _Worker.rulebook = rulebook
    _Worker.db = _Worker.runner.run(_connect(url))


async def _connect(url: str) -> asyncpg.Connection:
    settings = {"application_name": "bels rebuild", "timezone": "UTC", "jit": "off"}
    return await asyncpg.connect(url, server_settings=settings)


def _tell(numbers: Sequence[str]) -> int:
    return _Worker.runner.run(retell(_Worker.db, numbers, _Worker.rulebook))
