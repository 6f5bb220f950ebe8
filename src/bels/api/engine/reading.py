"""Turns for reading what was never seen before: it holds everybody up, so all of it together has a share of the time only.

Parsing and validating a strange document takes up to 20 ms, and answering a strange introspection 60 ms. It is done one at a time,
in a thread, so that the event loop goes on meanwhile; and whoever comes when the share is spent waits in a line.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic, thread_time
from typing import TypeVar

from bels.api.engine.context import RefusedError

SHARE = 0.1
"""Of the time may be spent on it, once the burst is spent."""
BURST_S = 0.2
WAITING_MAX = 200
WAITING_OF_CLIENT = 4
"""Who may wait, in all and of one client: the others are told to come back."""

Read = TypeVar("Read")


class Readers:
    """The line, and the one thread that reads."""

    def __init__(
        self, *, share: float = SHARE, burst_s: float = BURST_S, clock: Callable[[], float] = monotonic
    ) -> None:
        self._share = share
        self._burst_s = burst_s
        self._clock = clock
        self._spent = 0.0
        self._at = clock()
        self._waiting: Counter[str] = Counter()
        self._line = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "reading")

    def check(self, client: str) -> None:
        """Look whether a client may join the line.

        :raises RefusedError: too many wait.
        """
        if self._waiting[client] >= WAITING_OF_CLIENT or self._waiting.total() >= WAITING_MAX:
            message = "Too many new documents wait to be read; try again in a moment, or send documents that were sent before."
            raise RefusedError(429, "RATE_LIMITED", message, [("retry-after", "1")], {"retryAfter": 1})

    async def read(self, client: str, work: Callable[[], Read]) -> Read:
        """Do some reading for a client when its turn has come.

        :raises RefusedError: too many wait.
        """
        async with self._place(client), self._line:
            wait_s = (self._now_spent() - self._burst_s) / self._share
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            result, took_s = await asyncio.get_running_loop().run_in_executor(self._thread, _timed, work)
            self._spent = self._now_spent() + took_s
        if isinstance(result, Exception):
            raise result
        return result

    def _now_spent(self) -> float:
        now = self._clock()
        self._spent = max(0.0, self._spent - (now - self._at) * self._share)
        self._at = now
        return self._spent

    @asynccontextmanager
    async def _place(self, client: str) -> AsyncIterator[None]:
        self.check(client)
        self._waiting[client] += 1
        try:
            yield
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]


def _timed(work: Callable[[], Read]) -> tuple[Read | Exception, float]:
    began = thread_time()
    result: Read | Exception
    try:
        result = work()
    except Exception as error:  # told where it was asked for, with the time that it took
        result = error
    return result, thread_time() - began
