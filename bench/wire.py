"""A light HTTP client: as many connections as are needed at once, each used again, one request at a time on each.

It shares the machine with what it measures, so it does little: heads are bytes, answers are found by their length.
"""

import asyncio
import time
from types import TracebackType
from typing import Self

IDLE_S_MAX = 2.0
"""A connection that was not used for so long is left: the server closes it soon (uvicorn after 5 s)."""


class Wire:
    """Asks one server at this machine."""

    def __init__(self, port: int, wait_s: float) -> None:
        self._port, self._wait_s = port, wait_s
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def __aenter__(self) -> Self:
        """Begin; connections are opened when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close what is open."""
        for _, writer, _ in self._idle:
            writer.close()

    async def ask(self, line: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request, ``line`` is its method and target, and give the status and the body of the answer.

        :raises TimeoutError: no answer came in time.
        :raises asyncio.IncompleteReadError: the server closed the connection.
        """
        async with asyncio.timeout(self._wait_s):
            reader, writer = await self._connection()
            head = f"{line} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\ncontent-type: application/json\r\n"
            writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(body), body))
            answered = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = answered.index(b"content-length:") + len(b"content-length:")
            content = await reader.readexactly(int(answered[at : answered.index(b"\r\n", at)]))
            self._idle.append((reader, writer, time.perf_counter()))
        return int(answered.split(None, 2)[1]), content

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer, since = self._idle.pop()
            if time.perf_counter() - since < IDLE_S_MAX:
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)
