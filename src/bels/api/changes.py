"""The feed of changes: every commit names the accounts it changed, and whoever waits for one of them is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, suppress

from bels.journal.listening import CONNECT_WAIT_S, Feed
from bels.journal.notify import CHANGES


class Changes:
    """Tell watchers that their account changed.

    A watcher is told at least once after each commit; several commits while it is busy are told once. After a lost
    connection every watcher is told, since something may have been missed.
    """

    def __init__(self, url: str) -> None:
        self._feed = Feed(url, CHANGES, names=lambda payload: payload.split(","))

    def running(self) -> AbstractAsyncContextManager[None]:
        """Listen until left."""
        return self._feed.running()

    async def watch(self, account: str) -> AsyncGenerator[None, None]:
        """Yield once at the start, as soon as changes are heard, and again whenever the account has changed.

        :raises TooManyWatchers: no more fit this process.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._feed.listening.wait(), CONNECT_WAIT_S)
        async for _ in self._feed.watch(account):
            yield
