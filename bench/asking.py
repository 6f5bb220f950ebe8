"""Ask GraphQL questions one after the other, over HTTP and of the application itself, and time the answers."""

import http.client
import time
from collections.abc import Callable, Iterator
from itertools import islice
from statistics import median, quantiles
from typing import Any

from starlette.types import ASGIApp

Judge = Callable[[bytes], None]
"""Raises where an answer is none; then its time means nothing."""


def over_http(port: int, bodies: Iterator[bytes], warm_up: int, asked: int, judge: Judge) -> tuple[float, float]:
    """Ask over one connection; give p50 and p99 in ms."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken: list[float] = []
    for body in islice(bodies, warm_up + asked):
        began = time.perf_counter()
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        said = connection.getresponse().read()
        taken.append(time.perf_counter() - began)
        judge(said)
    connection.close()
    return _times(taken[warm_up:])


async def in_process(
    app: ASGIApp,
    bodies: Iterator[bytes],
    warm_up: int,
    asked: int,
    judge: Judge,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Call the application itself: from the request's first byte to the answer's last, without HTTP and sockets; p50 and p99 in ms.

    By ``time.process_time`` it is the CPU of this process alone, whatever else runs on the machine.
    """
    taken: list[float] = []
    for body in islice(bodies, warm_up + asked):
        scope, receive, send, said = _request(body)
        began = clock()
        await app(scope, receive, send)
        taken.append(clock() - began)
        judge(b"".join(said))
    return _times(taken[warm_up:])


def _times(taken: list[float]) -> tuple[float, float]:
    return round(median(taken) * 1000, 3), round(quantiles(taken, n=100)[98] * 1000, 3)


def _request(body: bytes) -> tuple[dict[str, Any], Callable[[], Any], Callable[[Any], Any], list[bytes]]:
    said: list[bytes] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            said.append(message.get("body", b""))

    return scope, receive, send, said
