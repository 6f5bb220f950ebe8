"""One timer for all operations under way: they may all take the same time, so the oldest is always the next to be late.

``asyncio.timeout`` sets and unsets a timer of the event loop for every operation, which costs a fifth of a small one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class _Entry:
    """A task under way, and when it is late."""

    __slots__ = ("at", "cancelling", "late", "task")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self.task = task
        self.at = at
        self.cancelling = task.cancelling()
        self.late = False


class Deadlines:
    """Give every piece of work the same time."""

    def __init__(self, time_s: float) -> None:
        self.time_s = time_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: dict[_Entry, None] = {}

    async def within(self, work: Awaitable[T]) -> T:
        """Await work; cancel it when its time is over.

        :raises TimeoutError: it was cancelled for that.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._under_way = loop, None, {}
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("work with a deadline belongs to a task")
        entry = _Entry(task, loop.time() + self.time_s)
        under_way = self._under_way
        under_way[entry] = None
        if self._timer is None:
            self._timer = loop.call_at(entry.at, self._look)
        try:
            return await work
        except asyncio.CancelledError as cancelled:
            # Somebody else may have cancelled the task at the same time, who waits for it to end.
            if entry.late and task.uncancel() <= entry.cancelling:
                raise TimeoutError from cancelled
            raise
        finally:
            del under_way[entry]

    def _look(self) -> None:
        """Cancel what is late, and look again when the next one will be."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for entry in self._under_way:
            if entry.at > loop.time():
                self._timer = loop.call_at(entry.at, self._look)
                return
            if not entry.late:
                entry.late = True
                entry.task.cancel()
