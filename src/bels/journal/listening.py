"""What PostgreSQL tells on a channel, for a whole process on one connection: whoever watches a name hears that it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import asyncpg

logger = logging.getLogger(__name__)

WATCHERS_MAX = 10_000
"""Who watches, in one feed of one process."""

RECONNECT_S = 0.5
CONNECT_WAIT_S = 10.0
HEARTBEAT_S = 10.0
"""How often the connection is tried: a network that swallows everything closes nothing."""


class TooManyWatchers(RuntimeError):
    """No more watchers fit this process; try another one later."""


def _ignore(_: object = None) -> None:
    """Do nothing."""


class Feed:
    """Hear one channel; a payload names one or several things that changed, and whoever watches one of them is told.

    ``told`` hears every name, ``missed`` that something may have been missed: the connection was lost, or is back. Then every
    watcher is told, too.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        names: Callable[[str], Iterable[str]] = lambda payload: (payload,),
        told: Callable[[str], None] = _ignore,
        missed: Callable[[], None] = _ignore,
    ) -> None:
        self._url = url
        self._channel = channel
        self._names = names
        self._told = told
        self._missed = missed
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self.count = 0
        """How many watch."""
        self.listening = asyncio.Event()
        """Set while everything that is told is heard."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen until left."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._miss()

    async def watch(self, name: str, *, again_s: float | None = None) -> AsyncGenerator[None, None]:
        """Yield at the start, and again whenever the name has changed; several changes meanwhile are one.

        ``again_s`` is how often to yield while nothing can be heard; None: only when it can again.

        :raises TooManyWatchers: no more fit this process.
        """
        if self.count >= WATCHERS_MAX:
            raise TooManyWatchers(f"{WATCHERS_MAX} watch already in this process")
        changed = asyncio.Event()
        changed.set()
        self._watchers.setdefault(name, set()).add(changed)
        self.count += 1
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(again_s):
                        await changed.wait()
                if changed.is_set() or not self.listening.is_set():
                    changed.clear()
                    yield None
        finally:
            self.count -= 1
            watchers = self._watchers[name]
            watchers.discard(changed)
            if not watchers:
                del self._watchers[name]

    def tell(self, name: str) -> None:
        """Tell whoever watches a name that it changed."""
        for changed in self._watchers.get(name, ()):
            changed.set()

    def _miss(self) -> None:
        self._missed()
        for name in self._watchers:
            self.tell(name)

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("the feed %s is interrupted: %s", self._channel, type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _listen_once(self) -> None:
        db = await asyncpg.connect(self._url, timeout=CONNECT_WAIT_S)
        lost = asyncio.Event()

        def stop(_: object) -> None:
            # At once, and not when the task comes to it: a change that is told now would not reach us.
            self.listening.clear()
            self._miss()
            lost.set()

        try:
            db.add_termination_listener(stop)
            await db.add_listener(self._channel, self._hear)
            self.listening.set()
            self._miss()
            while not lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await lost.wait()
                        return
                await db.execute("SELECT 1", timeout=HEARTBEAT_S)
        finally:
            stop(db)
            db.terminate()

    def _hear(self, _db: object, _pid: int, _channel: str, payload: object) -> None:
        for name in self._names(str(payload)):
            self._told(name)
            self.tell(name)
