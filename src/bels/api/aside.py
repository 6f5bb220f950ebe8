"""Long work, done aside from the event loop: in one thread, a piece at a time, so that all of it together has one turn of the interpreter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ENTRIES_OF_POINT = 10
"""Entries whose replay costs a point of the budget."""

Done = TypeVar("Done")


class Aside:
    """The one thread, which begins with the first work."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "aside")

    async def do(self, work: Callable[[], Done]) -> Done:
        """Do some work when its turn has come; who is cancelled before that has nothing done."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
