"""Requests whose head has no end: they are cut off, and nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from bels.observing import heads
from bels.observing.heads import LimitedHeads
from tests.servers import free_port

GET = b"GET / HTTP/1.1\r\nhost: bels\r\n"
LINE = b"x: %s\r\n" % (b"a" * 1_000)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and say how long it is."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Give the port of a server that waits a moment for a head."""
    monkeypatch.setattr(heads, "HEAD_WAIT_S", 0.3)
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(answer, port=port, http=LimitedHeads, ws="none", lifespan="off", log_config=None)
    )
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await running


async def said(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send parts, one after the other, and give what comes until the server closes or a second is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(2):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            while chunk := await reader.read(65_536):
                got += chunk
    except ConnectionError:
        pass
    finally:
        writer.close()
    return got


async def test_a_head_without_an_end_is_refused(port: int) -> None:
    parts = [GET, *[LINE * 8] * 9]
    assert (await said(port, *parts, pause_s=0.005)).startswith(b"HTTP/1.1 431 ")
    url = [b"GET /", *[b"a" * 8_000] * 9]
    assert (await said(port, *url, pause_s=0.005)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("begun", [b"", GET])
async def test_a_head_that_does_not_come_whole_in_time_closes_the_connection(port: int, begun: bytes) -> None:
    assert await said(port, begun) == b""


async def test_requests_one_after_the_other_have_each_its_own_head_and_a_body_as_long_as_it_takes(port: int) -> None:
    close = b"connection: close\r\n"
    post = b"POST / HTTP/1.1\r\nhost: bels\r\ncontent-length: 300000\r\n"
    parts = [
        GET + LINE * 40 + b"\r\n",
        GET + LINE * 40 + b"\r\n",
        post + close + b"\r\n",
        *[b"b" * 100_000] * 3,
    ]
    whole = b"POST / HTTP/1.1\r\nhost: bels\r\ncontent-length: 120000\r\n\r\n" + b"b" * 120_000
    parts = [whole, whole, *parts]
    got = await said(port, *parts, pause_s=0.12)
    assert got.count(b"HTTP/1.1 200 OK") == 5
    assert got.endswith(b"300000")
