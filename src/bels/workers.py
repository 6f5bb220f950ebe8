"""Long work in several processes, each with its own connections for its life; little work stays in this one."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import asyncpg
import uvloop

from bels.app import AppError, Bels
from bels.domain.rulebook import Rulebook
from bels.intake import Intake
from bels.journal.write import SESSION, as_it_is
from bels.messages import Message, Outcome, TryLater

TASKS_ALONE = 2
"""Pieces of work under way in one process: while PostgreSQL writes one, the next is decided."""

TASKS_WAITING_PER_WORKER = 2
CONNECT_WAIT_S = 30.0
STATEMENT_WAIT_S = 300.0

GC_AFTER = 500_000
"""A worker makes objects by the thousand and drops them together: looking for cycles as often as usual costs it a tenth."""

TRIES_MAX = 30
TRY_AGAIN_S = 1.0

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a piece of work has at hand, in whichever process it is done."""

    pool: asyncpg.Pool
    intake: Intake


Work = Callable[[Tools, P], Coroutine[Any, Any, R]]
"""A function of a module, as another process must find it by name; P and R go from process to process."""


async def spread(
    bels: Bels,
    work: Work[P, R],
    pieces: Iterable[P] | AsyncIterator[P],
    done: Callable[[R], None],
    alone: bool,
    processes: int | None = None,
) -> None:
    """Do a piece of work for each of ``pieces``, in this process or in ``processes``, by default one for each core.

    ``done`` gets every result.

    Pieces are asked for as they are needed. When one fails, or the work is stopped, those under way are finished.

    :raises AppError: a worker process was killed.
    """
    if alone:
        tools = Tools(bels.pool, bels.intake)
        await _gather(lambda piece: work(tools, piece), pieces, done, TASKS_ALONE)
        return
    count = processes or os.cpu_count() or 1
    executor = ProcessPoolExecutor(
        count,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(bels.url, bels.intake.rulebook),
    )
    loop = asyncio.get_running_loop()

    async def elsewhere(piece: P) -> R:
        return await loop.run_in_executor(executor, _do, work, piece)

    try:
        await _gather(elsewhere, pieces, done, count * TASKS_WAITING_PER_WORKER)
    except BrokenExecutor as error:
        raise AppError("a worker process was killed; run the same command again to go on") from error
    finally:
        # A worker finishes what it does, so nothing is left half done.
        await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)


async def _gather(
    do: Callable[[P], Coroutine[Any, Any, R]],
    pieces: Iterable[P] | AsyncIterator[P],
    done: Callable[[R], None],
    tasks_max: int,
) -> None:
    under_way: set[asyncio.Task[R]] = set()

    async def leave(tasks_left: int) -> None:
        while len(under_way) > tasks_left:
            ready, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in ready:
                done(await task)
                under_way.discard(task)

    try:
        async for piece in _each(pieces):
            under_way.add(asyncio.create_task(do(piece)))
            await leave(tasks_max - 1)
        await leave(0)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _each(pieces: Iterable[P] | AsyncIterator[P]) -> AsyncIterator[P]:
    if isinstance(pieces, AsyncIterator):
        async for piece in pieces:
            yield piece
    else:
        for piece in pieces:
            yield piece


async def handled(tools: Tools, messages: list[Message]) -> list[Outcome]:
    """Handle messages, again while the database is away for a moment.

    :raises TryLater: it stays away.
    """
    for _ in range(TRIES_MAX):
        try:
            return await tools.intake.handle(messages)
        except TryLater:
            await asyncio.sleep(TRY_AGAIN_S)
    return await tools.intake.handle(messages)


class _Worker:
    """What a worker process keeps for its life; its connections live in its loop."""

    runner: asyncio.Runner
    tools: Tools


def _leave_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _begin(url: str, rulebook: Rulebook) -> None:
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()
    gc.freeze()
    gc.set_threshold(GC_AFTER, 50, 100)
    _Worker.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    _Worker.tools = _Worker.runner.run(_connect(url, rulebook))


async def _connect(url: str, rulebook: Rulebook) -> Tools:
    # Never closed: the connections end with the process.
    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=1,
        timeout=CONNECT_WAIT_S,
        command_timeout=STATEMENT_WAIT_S,
        reset=as_it_is,
        server_settings={"application_name": "bels worker", **SESSION},
    )
    # Every account comes by once: remembered, they would only keep memory from being used again.
    return Tools(pool, Intake(pool, rulebook, remembered_max=0))


def _do(work: Work[P, R], piece: P) -> R:
    return _Worker.runner.run(work(_Worker.tools, piece))
