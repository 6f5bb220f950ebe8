"""Health: does the process answer, and should it get requests now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import asyncpg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

WAIT_S = 2.0
"""How long the database may take to answer; who asks waits no longer than that."""

LOOK_EVERY_S = 0.25
"""Answers are kept that long: many who ask are one question to the database."""

DRAINING = "draining"
VIEWS_NOT_TOLD = "views are not told yet"


class Readiness:
    """Know whether this process should get requests: its database answers, the views are told, it is not stopping."""

    def __init__(self, pool: asyncpg.Pool, clock: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        self._unreachable: str | None = "not looked at yet"
        self._untold = ""
        self._draining = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        """Say whether the process is about to stop."""
        return self._draining.is_set()

    @property
    def is_ready(self) -> bool:
        """Say what was found last."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Say why the process should get no requests, as it was found last."""
        return DRAINING if self.is_draining else self._unreachable or self._untold or None

    def drain(self) -> None:
        """Say from now on that the process should get no more requests; it still answers."""
        self._draining.set()

    async def drained(self) -> None:
        """Wait until the process is about to stop: streams end themselves then."""
        await self._draining.wait()

    async def look(self) -> str | None:
        """Look at the database, at most every quarter of a second, and give the reason why it is not ready."""
        if self._looking is not None:
            # Whoever asks meanwhile gets the same answer; a client that leaves does not stop it for the others.
            await asyncio.shield(self._looking)
        elif self._clock() - self._looked_at >= LOOK_EVERY_S:
            self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)
        return self.reason

    async def database(self) -> str | None:
        """Look whether the database answers; give the reason why not."""
        await self.look()
        return self._unreachable

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S), self._pool.acquire() as db:
                told = await db.fetchval("SELECT coalesce(bool_and(told), false) FROM view")
            self._unreachable = None
            self._untold = "" if told else VIEWS_NOT_TOLD
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._unreachable = type(error).__name__
        finally:
            self._looked_at = self._clock()
            self._looking = None


def health_routes(readiness: Readiness) -> list[Route]:
    """Give ``/health`` (the database answers), ``/health/live`` (the process answers), ``/health/ready`` (send requests here)."""

    async def health(_: Request) -> Response:
        return _answer("ok", "unavailable", await readiness.database())

    async def live(_: Request) -> Response:
        return _answer("live", "", None)

    async def ready(_: Request) -> Response:
        return _answer("ready", "not ready", await readiness.look())

    return [Route("/health", health), Route("/health/live", live), Route("/health/ready", ready)]


def _answer(well: str, unwell: str, reason: str | None) -> Response:
    body = {"status": well} if reason is None else {"status": unwell, "reason": reason}
    return JSONResponse(body, 200 if reason is None else 503, headers={"cache-control": "no-store"})
