"""Traces by OpenTelemetry, where a collector is named: requests, batches of the intake, statements. Never a value of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from time import time_ns
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
from starlette.types import Scope

from bels.messages import Message, Outcome
from bels.observing.batches import Handle
from bels.observing.request import Noted
from bels.observing.scrub import scrub_known

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

RATIO = 0.1
"""The share of requests that are traced where the caller has not decided."""

EXPORT_WAIT_S = 5.0
FLUSH_WAIT_S = 3.0
"""How long a process that stops waits for its last spans to be taken."""

QUEUE_MAX = 2048
BATCH_MAX = 512
EVERY_MS = 2_000.0
STATEMENT_MAX = 2_000
"""Characters of a statement that are told."""

REQUEST_IDS_MAX = 20
"""Requests that are named in the span of a batch."""

TRACES_PATH = "/v1/traces"


def tracing_to(endpoint: str | None, version: str, ratio: float = RATIO) -> Tracing | None:
    """Set tracing up, None where no collector is named; the libraries for it are loaded only then.

    ``endpoint`` is the collector's base URL (``http://collector:4318``); ``ratio`` the share of requests that are traced.
    """
    if endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    url = endpoint if urlsplit(endpoint).path not in ("", "/") else endpoint.rstrip("/") + TRACES_PATH
    exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_WAIT_S)
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(ratio),
        resource=Resource.create({"service.name": "bels", "service.version": version}),
        span_limits=SpanLimits(max_attributes=32, max_attribute_length=STATEMENT_MAX),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=QUEUE_MAX, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH_MAX
        )
    )
    return Tracing(provider.get_tracer("bels", version), provider.shutdown)


class Tracing:
    """Make spans: ``begin`` one for a request, ``around`` one for a batch, ``statement`` one for what PostgreSQL was asked."""

    def __init__(self, tracer: Tracer, shutdown: Callable[[], None]) -> None:
        from opentelemetry import trace
        from opentelemetry.context import attach, detach
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._shutdown = shutdown
        self._trace = trace
        self._attach = attach
        self._detach = detach
        self._parents = TraceContextTextMapPropagator()

    def begin(self, scope: Scope) -> RequestSpan:
        """Begin the span of a request, below the caller's own where it named one (``traceparent``)."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        parent = self._parents.extract(carrier) if carrier else None
        span = self._tracer.start_span("request", parent, self._trace.SpanKind.SERVER)
        token = self._attach(self._trace.set_span_in_context(span, parent))
        return RequestSpan(span, lambda: self._detach(token))

    async def around(self, messages: Sequence[Message], handle: Handle) -> Sequence[Outcome | Exception]:
        """Handle a batch of the intake within a span of its own: it answers several requests at once."""
        with self._tracer.start_as_current_span("intake batch", record_exception=False) as span:
            if not span.is_recording():
                return await handle(messages)
            span.set_attribute("bels.messages", len(messages))
            ids = {message.request_id for message in messages[:REQUEST_IDS_MAX]} - {""}
            span.set_attribute("bels.request_ids", [scrub_known(each) for each in sorted(ids)])
            span.set_attribute("bels.channels", sorted({message.channel.value for message in messages}))
            outcomes = await handle(messages)
            counts: dict[str, int] = {}
            for outcome in outcomes:
                became = "FAILED" if isinstance(outcome, Exception) else outcome.status.value
                counts[became] = counts.get(became, 0) + 1
            for became, count in counts.items():
                span.set_attribute(f"bels.outcomes.{became.lower()}", count)
            return outcomes

    async def watch(self, connection: asyncpg.Connection) -> None:
        """Trace the statements of a connection: the ``init`` of a pool."""
        connection.add_query_logger(self.statement)

    def statement(self, asked: Any) -> None:
        """Note a statement that has been answered below what is traced now: its text, never its parameters."""
        parent = self._trace.get_current_span()
        if not parent.is_recording():
            return
        ended = time_ns()
        text = str(asked.query)
        words = text.split(None, 1)
        span = self._tracer.start_span(
            words[0].upper()[:20] if words else "statement",
            kind=self._trace.SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": text[:STATEMENT_MAX]},
            start_time=ended - int(asked.elapsed * 1e9),
        )
        if asked.exception is not None:
            # Its text may quote a row; the class says enough.
            span.set_attribute("error.type", type(asked.exception).__qualname__)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(ended)

    async def close(self, wait_s: float = FLUSH_WAIT_S) -> None:
        """Send what is left, for a few seconds at most."""
        # A thread that the interpreter need not wait for: a collector that is away must not keep bels from ending.
        flushing = Thread(target=self._shutdown, name="bels-traces", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, wait_s)


class RequestSpan:
    """The span of one request."""

    __slots__ = ("_leave", "_span")

    def __init__(self, span: Span, leave: Callable[[], None]) -> None:
        self._span = span
        self._leave = leave

    def failed(self, kind: str) -> None:
        """Note that the request ended by an error of this class."""
        self._span.set_attribute("error.type", kind)

    def end(self, request: Noted, method: str, route: str, status: int) -> None:
        """End the span with what is known of the request by now."""
        span = self._span
        if span.is_recording():
            from opentelemetry.trace import StatusCode

            name = f"{method} {route}"
            attributes: Mapping[str, Any] = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "bels.request_id": scrub_known(request.request_id),
                "bels.caller.kind": request.kind,
                "bels.caller.subject": request.subject,
            }
            span.set_attributes(attributes)
            if request.operation_kind:
                # The name of an operation is the client's text and may hold anything; its root fields are ours.
                name = f"{request.operation_kind} {' '.join(request.fields[:3])}"
                span.set_attribute("graphql.operation.type", request.operation_kind)
                span.set_attribute("bels.fields", list(request.fields))
            if request.code:
                span.set_attribute("bels.code", request.code)
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            span.update_name(name)
        span.end()
        self._leave()
