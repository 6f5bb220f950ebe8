"""A light load generator: N connections that ask, wait for the answer and ask again.

It shares the machine with the server and PostgreSQL, so it does as little as it can: requests are two ``%``, answers are
found by their length and judged by two searches in their bytes. Its own CPU time is part of its report.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench import traffic

DRAIN_WAIT_S = 30.0
CONNECT_WAIT_S = 10.0

EXPECTED = {
    "submitReading": "ReadingAccepted",
    "submitReadings": "ReadingAccepted",
    "account": '"estimation"',
    "pay": "PaymentTaken",
    "payWithReading": '"state":"ACCEPTED"',
}
"""What an answer to each kind of traffic has."""

Requests = Callable[[int, int], Iterator[traffic.Request]]
"""Give the requests of connection ``i`` of ``n``."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run showed, warm-up left out. Latencies are milliseconds, ``client_cpu_us`` is per request.

    ``rows_per_s`` counts what the requests carried: readings.
    """

    requests: int
    errors: int
    seconds: float
    per_s: float
    rows_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    client_cpu_us: float
    first_error: str = ""


class _Run:
    """The state that all connections share."""

    def __init__(self, head: bytes, expect: bytes, rows: int) -> None:
        self.head, self.expect, self.rows = head, expect, rows
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error = ""
        self.measuring = False
        self.stopping = False
        self.busy = 0
        self.idle = asyncio.Event()

    def fail(self, said: bytes) -> None:
        if self.measuring or not self.first_error:
            self.errors += 1
        if not self.first_error:
            self.first_error = said[:2000].decode(errors="replace") or "the server closed the connection"


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run, requests: Iterator[traffic.Request]) -> None:
        self.run, self.requests = run, requests
        self.received = b""
        self.asked_at = 0.0
        self.waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, not the base class.
        self.transport = cast(asyncio.WriteTransport, transport)

    def ask(self) -> None:
        lines, body = next(self.requests)
        self.waiting = True
        self.asked_at = time.perf_counter()
        self.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (self.run.head, lines, len(body), body))

    def data_received(self, data: bytes) -> None:
        if self.received:
            data = self.received + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.received = data
            return
        head = data[:end].lower()
        at = head.find(b"content-length:")
        line_end = head.find(b"\r\n", at)
        # Strawberry and Starlette always say it; what does not, is an error and not a benchmark.
        length = int(head[at + 15 : line_end if line_end > 0 else end]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self.received = data
            return
        now = time.perf_counter()
        run = self.run
        self.received = b""
        self.waiting = False
        if not data.startswith(b"HTTP/1.1 200") or data.count(run.expect) != run.rows or b'"errors"' in data:
            run.fail(data)
        if run.measuring:
            run.latencies.append(now - self.asked_at)
        if run.stopping:
            self._leave()
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.run.fail(str(exc or "").encode())
            self._leave()

    def _leave(self) -> None:
        self.waiting = False
        self.run.busy -= 1
        self.run.idle.set()
        self.transport.close()


def load(
    url: str,
    requests: Requests,
    *,
    expect: str,
    rows: int = 1,
    connections: int = 64,
    seconds: float = 8.0,
    warm_up_s: float = 2.0,
    headers: tuple[str, ...] = (),
) -> Report:
    """Ask for this long and report; an answer that has not ``expect`` exactly ``rows`` times, or has errors, is an error."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(url, requests, expect, rows, connections, seconds, warm_up_s, headers))


async def _load(
    url: str,
    requests: Requests,
    expect: str,
    rows: int,
    connections: int,
    seconds: float,
    warm_up_s: float,
    headers: tuple[str, ...],
) -> Report:
    place = urlsplit(url)
    lines = (
        f"POST {place.path or '/'} HTTP/1.1",
        f"host: {place.netloc}",
        "content-type: application/json",
        "accept: application/json",
        *headers,
        "",
    )
    run = _Run("\r\n".join(lines).encode(), expect.encode(), rows)
    loop = asyncio.get_running_loop()
    made = []
    for i in range(connections):
        opening = loop.create_connection(
            partial(_Connection, run, requests(i, connections)), place.hostname or "127.0.0.1", place.port or 80
        )
        made.append((await asyncio.wait_for(opening, CONNECT_WAIT_S))[1])
    run.busy = connections
    for connection in made:
        connection.ask()
    await asyncio.sleep(warm_up_s)
    run.measuring = True
    began, cpu_began = time.perf_counter(), _cpu_s()
    await asyncio.sleep(seconds)
    run.measuring = False
    took, cpu_took = time.perf_counter() - began, _cpu_s() - cpu_began
    run.stopping = True
    deadline = time.monotonic() + DRAIN_WAIT_S
    while run.busy and time.monotonic() < deadline:
        run.idle.clear()
        try:
            await asyncio.wait_for(run.idle.wait(), 1.0)
        except TimeoutError:
            continue
    return _report(run, took, cpu_took)


def _report(run: _Run, seconds: float, cpu_s: float) -> Report:
    latencies = sorted(run.latencies)
    count = len(latencies)

    def at(share: float) -> float:
        return round(latencies[min(count - 1, int(count * share))] * 1000, 2) if count else 0.0

    return Report(
        requests=count,
        errors=run.errors,
        seconds=round(seconds, 3),
        per_s=round(count / seconds, 1),
        rows_per_s=round(count * run.rows / seconds, 1),
        p50_ms=at(0.50),
        p95_ms=at(0.95),
        p99_ms=at(0.99),
        max_ms=at(1.0),
        client_cpu_us=round(cpu_s / count * 1e6, 1) if count else 0.0,
        first_error=run.first_error,
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Load a GraphQL server and print what it showed as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=main.__doc__)
    parser.add_argument("--url", required=True, help="http://127.0.0.1:PORT/graphql")
    parser.add_argument("--traffic", choices=tuple(EXPECTED), default="submitReading")
    parser.add_argument("--expect", help="what an answer has, once for every reading or account")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm-up", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--accounts", type=int, default=traffic.ACCOUNTS)
    parser.add_argument("--rows", type=int, default=traffic.ROWS_PER_CALL, help="readings in a call of submitReadings")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--bearers", metavar="FILE", help="JSON: the tokens that submit for each account, in turns")
    given = parser.parse_args()
    bearers = None
    if given.bearers is not None:
        bearers = {int(account): tokens for account, tokens in json.loads(Path(given.bearers).read_bytes()).items()}
    many = given.traffic == "submitReadings"
    requests: dict[str, Requests] = {
        "submitReading": partial(traffic.submit_reading, accounts=given.accounts, bearers=bearers),
        "submitReadings": partial(traffic.submit_readings, accounts=given.accounts, rows=given.rows),
        "pay": partial(traffic.pay, accounts=given.accounts),
        "payWithReading": partial(traffic.pay, accounts=given.accounts, has_reading=True),
        "account": partial(traffic.account, accounts=given.accounts, bearers=bearers),
    }
    report = load(
        given.url,
        requests[given.traffic],
        expect=given.expect or EXPECTED[given.traffic],
        rows=given.rows if many else 1,
        connections=given.connections,
        seconds=given.seconds,
        warm_up_s=given.warm_up,
        headers=tuple(given.header),
    )
    if report.first_error:
        print(f"first error: {report.first_error}", file=sys.stderr)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
