"""GraphQL over server-sent events: the distinct connections of graphql-sse, one operation a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import Any

from graphql import GraphQLError
from starlette.types import Receive, Send
from strawberry.utils.aio import aclosing

from bels.api.engine.answers import encode, fault, worded
from bels.api.engine.context import RefusedError
from bels.api.engine.operations import RequestError

KEEP_ALIVE_S = 12.0
LAST_WORDS_S = 1.0
"""How long a client that reads nothing may hold up the end of its stream."""

KEEP_ALIVE = b":\n\n"
COMPLETE = b"event: complete\ndata: \n\n"


def next_event(answer: dict[str, Any]) -> bytes:
    """Write an answer as an event."""
    return b"event: next\ndata: " + encode(answer) + b"\n\n"


def failed(errors: Iterable[GraphQLError], request_id: str) -> bytes:
    """Write a whole stream that only tells why there is none."""
    return next_event({"errors": worded(errors, request_id)}) + COMPLETE


class EventStream:
    """One stream that is open; ``stop`` ends it because the server stops."""

    def __init__(self, send: Send, request_id: str, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._send = send
        self._request_id = request_id
        self._keep_alive_s = keep_alive_s
        self._one_writes = asyncio.Lock()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End it; the client is told that it may connect again."""
        self._stopped.set()

    async def run(
        self, answers: AsyncGenerator[dict[str, Any], None], receive: Receive, ended: Awaitable[None]
    ) -> None:
        """Send the answers until there are no more, the client goes, ``ended`` is done, or the server stops."""
        work = asyncio.ensure_future(self._tell(answers))
        gone = asyncio.ensure_future(_gone(receive))
        expired = asyncio.ensure_future(ended)
        stopped = asyncio.ensure_future(self._stopped.wait())
        alive = asyncio.ensure_future(self._keep_alive())
        tasks: list[asyncio.Future[Any]] = [work, gone, expired, stopped, alive]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if gone in done or alive in done:
            return
        last = COMPLETE
        if work not in done and expired in done:
            last = failed([_error("UNAUTHENTICATED", "The credential has ended; sign in again.")], self._request_id)
        elif work not in done:
            last = failed([_error("SERVICE_UNAVAILABLE", "The server stops; connect again.")], self._request_id)
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._send({"type": "http.response.body", "body": last})
        except TimeoutError:
            return

    async def _tell(self, answers: AsyncGenerator[dict[str, Any], None]) -> None:
        try:
            async with aclosing(answers):
                async for answer in answers:
                    await self._write(next_event(answer))
        except RequestError as refusal:
            await self._fail(refusal.errors)
        except RefusedError as refusal:
            await self._fail([refusal.error()])
        except Exception:
            await self._fail([fault(self._request_id)])

    async def _fail(self, errors: Iterable[GraphQLError]) -> None:
        await self._write(next_event({"errors": worded(errors, self._request_id)}))

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._keep_alive_s)
            await self._write(KEEP_ALIVE)

    async def _write(self, body: bytes) -> None:
        async with self._one_writes:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _error(code: str, message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})
