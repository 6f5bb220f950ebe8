"""Traces as a real collector gets them: OTLP over HTTP, decoded with the protocol's own messages."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread
from typing import Any

import asyncpg
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.intake import Intake
from bels.observing.metrics import Metrics
from bels.observing.middleware import observed
from bels.observing.request import Noted, noted
from bels.observing.tracing import tracing_to
from tests.supplier import open_household

TRACE = "0af7651916cd43dd8448eb211c80319c"
STUCK_S = 1.5
PARENT = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@dataclass
class Collector:
    """What a collector was sent."""

    url: str
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""
    services: set[str] = field(default_factory=set)
    stuck: Event = field(default_factory=Event)

    def named(self, name: str) -> list[Span]:
        """Give the spans of a name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if collecting.stuck.is_set():
                time.sleep(STUCK_S)
            assert self.path == "/v1/traces"
            told = ExportTraceServiceRequest.FromString(body)
            collecting.raw += body
            for resource in told.resource_spans:
                collecting.services |= {
                    a.value.string_value for a in resource.resource.attributes if a.key == "service.name"
                }
                for scope in resource.scope_spans:
                    collecting.spans += scope.spans
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    collecting = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield collecting
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Span) -> dict[str, Any]:
    """Give what a span says."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


async def test_a_request_is_a_span_below_the_callers_and_its_statements_are_below_it(
    collector: Collector, database: str
) -> None:
    tracing = tracing_to(collector.url, "1.0", 0.0)
    assert tracing is not None
    async with asyncpg.create_pool(database, min_size=1, max_size=2, init=tracing.watch) as pool:

        async def ask(request: Request) -> Response:
            found = noted(request.scope)
            assert found is not None
            found.by("CONSUMER", "u-1")
            found.asked("query", "ByIvanov", ("account",))
            await pool.fetchval("SELECT count(*) FROM person WHERE person = $1", "Sidorov")
            with pytest.raises(asyncpg.PostgresError):
                await pool.fetchval("SELECT $1::text::int", "Petrov")
            return JSONResponse({})

        app = observed(Starlette(routes=[Route("/ask/{name}", ask)]), Metrics("1.0"), tracing=tracing)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as client:
            told = await client.get("/ask/Ivanov?phone=89161234567", headers=SAMPLED)
            await client.get("/ask/Unsampled")
    await tracing.close()

    assert collector.services == {"bels"}
    (request,) = collector.named("query account")
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(request) == {
        "http.request.method": "GET",
        "http.route": "/ask/{name}",
        "http.response.status_code": 200,
        "bels.request_id": told.headers["x-request-id"],
        "bels.caller.kind": "CONSUMER",
        "bels.caller.subject": "u-1",
        "graphql.operation.type": "query",
        "bels.fields": attributes(request)["bels.fields"],
    }
    statements = collector.named("SELECT")
    assert all(span.parent_span_id == request.span_id for span in statements)
    said = [attributes(span) for span in statements]
    assert {"SELECT count(*) FROM person WHERE person = $1", "SELECT $1::text::int"} <= {
        each["db.query.text"] for each in said
    }
    assert [each["error.type"] for each in said if "error.type" in each] == ["InvalidTextRepresentationError"]
    assert len(collector.spans) == 1 + len(statements)
    for personal in (b"Ivanov", b"Sidorov", b"Petrov", b"9161234567"):
        assert personal not in collector.raw


async def test_a_request_that_fails_is_a_failed_span(collector: Collector) -> None:
    tracing = tracing_to(collector.url, "1.0", 1.0)

    async def fail(_: Request) -> Response:
        raise RuntimeError("Ivanov")

    app = observed(Starlette(routes=[Route("/fail", fail)]), Metrics("1.0"), tracing=tracing)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as client:
        await client.get("/fail")
    assert tracing is not None
    await tracing.close()

    (span,) = collector.named("GET /fail")
    assert attributes(span)["error.type"] == "RuntimeError"
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert b"Ivanov" not in collector.raw


async def test_a_batch_of_the_intake_is_a_span_over_its_statements(collector: Collector, database: str) -> None:
    from tests.rules import DEFAULT_RULEBOOK

    tracing = tracing_to(collector.url, "1.0", 1.0)
    assert tracing is not None
    async with asyncpg.create_pool(database, min_size=1, max_size=2, init=tracing.watch) as pool:
        outcomes = await tracing.around(open_household("1000101"), Intake(pool, DEFAULT_RULEBOOK).handle)
    await tracing.close()

    assert len(outcomes) == 2
    (batch,) = collector.named("intake batch")
    said = attributes(batch)
    assert (said["bels.messages"], said["bels.outcomes.accepted"]) == (2, 2)
    below = [span for span in collector.spans if span.parent_span_id == batch.span_id]
    assert len(below) >= 2
    assert all(span.start_time_unix_nano >= batch.start_time_unix_nano for span in below)


async def test_a_collector_that_hangs_does_not_keep_the_process(collector: Collector) -> None:
    tracing = tracing_to(collector.url, "1.0", 1.0)
    assert tracing is not None
    span = tracing.begin({"headers": []})
    span.end(Noted("1"), "GET", "/", 200)
    collector.stuck.set()

    begun = time.perf_counter()
    await tracing.close(0.3)

    assert time.perf_counter() - begun < STUCK_S / 2
    collector.stuck.clear()
    await asyncio.sleep(STUCK_S)


def test_without_a_collector_nothing_of_it_is_even_loaded() -> None:
    assert tracing_to(None, "1.0") is None
    look = (
        "import sys; import bels.observing.middleware, bels.observing.tracing; "
        "sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", look], timeout=60).returncode == 0
