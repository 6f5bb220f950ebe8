"""The feed of changes: every commit names the accounts it changed, and whoever waits for one of them is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from bels.journal.notify import CHANGES

logger = logging.getLogger(__name__)

WATCHERS_MAX = 10_000
"""Subscriptions of one process."""

RECONNECT_S = 0.5
CONNECT_WAIT_S = 10.0


class TooManyWatchers(RuntimeError):
    """No more subscriptions fit this process; try another one later."""


class Changes:
    """Listen on one connection for the whole process; each watcher has one account and is told that it changed.

    A watcher is told at least once after each commit; several commits while it is busy are told once. After a lost
    connection every watcher is told, since something may have been missed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._listening = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Changes]:
        """Listen until left."""
        task = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def watch(self, account: str) -> AsyncIterator[None]:
        """Yield once at the start, and again whenever the account has changed.

        :raises TooManyWatchers: no more fit this process.
        """
        if self._count >= WATCHERS_MAX:
            raise TooManyWatchers(f"{WATCHERS_MAX} subscriptions are open in this process")
        changed = asyncio.Event()
        changed.set()
        self._watchers.setdefault(account, set()).add(changed)
        self._count += 1
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), CONNECT_WAIT_S)
            while True:
                await changed.wait()
                changed.clear()
                yield None
        finally:
            self._count -= 1
            watchers = self._watchers[account]
            watchers.discard(changed)
            if not watchers:
                del self._watchers[account]

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("the feed of changes is interrupted: %s", type(error).__name__)
            self._listening.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        db = await asyncpg.connect(self._url, timeout=CONNECT_WAIT_S)
        try:
            lost = asyncio.Event()
            db.add_termination_listener(lambda _: lost.set())
            await db.add_listener(CHANGES, self._tell)
            self._listening.set()
            self._tell_all()
            await lost.wait()
        finally:
            db.terminate()

    def _tell(self, _db: object, _pid: int, _channel: str, payload: object) -> None:
        for account in str(payload).split(","):
            for changed in self._watchers.get(account, ()):
                changed.set()

    def _tell_all(self) -> None:
        for watchers in self._watchers.values():
            for changed in watchers:
                changed.set()
