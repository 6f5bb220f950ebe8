"""The metrics: what is counted of requests, operations, messages and the process itself, and the page that tells them."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest
from time import perf_counter
from typing import Any

import asyncpg
from graphql import GraphQLSchema
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.domain.events import CommandRefused, ReadingHeld, ReadingRefused
from bels.messages import Message, Outcome, Status
from bels.observing.batches import Handle

PATH = "/metrics"

SERIES_MAX = 500
"""Series of requests in one process: routes, methods and statuses are few, so more of them is a mistake of ours."""
CODES_MAX = 100
"""Codes of errors that are told apart; the rest is ``other``."""
LAG_EVERY_S = 0.5
OTHER = "other"

METHODS = frozenset({"GET", "HEAD", "POST", "QUERY", "OPTIONS", "PUT", "PATCH", "DELETE"})
OPERATION_KINDS = frozenset({"query", "mutation", "subscription"})
LOGIN_FAILURES = ("password", "throttled", "client", "session", "link", "oidc", "registration", OTHER)
CALLER_KINDS = frozenset(
    {
        "ANONYMOUS",
        "CONSUMER",
        "LINK",
        "PARTNER",
        "GATEWAY",
        "OPERATOR",
        "INSPECTOR",
        "AUDITOR",
        "ADMINISTRATOR",
        "LOCAL",
    }
)

BUDGET_CODE = "RATE_LIMITED"

# A small operation takes a fraction of a millisecond, a submitted reading some ten, the time budget of an operation is 5 s.
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """Everything that is counted in one process, in a registry of its own.

    ``version`` is that of the program; ``fields`` are the root fields of the schema: any other is counted as ``other``.
    """

    def __init__(self, version: str, fields: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        Gauge("bels_build_info", "The program that runs.", ["version"], registry=registry).labels(version).set(1)
        self._ready = Gauge("bels_ready", "Whether this process should get requests: 1 or 0.", registry=registry)
        self._requests = Histogram(
            "bels_http_request_seconds",
            "Time from the first to the last byte of a request, by its route.",
            ["method", "route", "status"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._operations = Counter(
            "bels_graphql_operations_total",
            "GraphQL operations, by kind and root field.",
            ["kind", "field"],
            registry=registry,
        )
        self._errors = Counter(
            "bels_errors_total", "GraphQL errors that clients got, by code.", ["code"], registry=registry
        )
        self._refusals = Counter(
            "bels_refusals_total",
            "Messages that the rules refused, by channel and reason.",
            ["channel", "code"],
            registry=registry,
        )
        self._held = Counter(
            "bels_held_total",
            "Readings that wait for a decision, by channel and reason.",
            ["channel", "code"],
            registry=registry,
        )
        self._budgets = Counter(
            "bels_budget_refusals_total",
            "Requests beyond a client's budget, by the kind of caller.",
            ["kind"],
            registry=registry,
        )
        self._logins = Counter(
            "bels_login_failures_total", "Failed proofs of identity, by what was tried.", ["kind"], registry=registry
        )
        self.sockets = Gauge("bels_open_sockets", "Open WebSockets.", registry=registry)
        self.streams = Gauge("bels_open_streams", "Open event streams.", registry=registry)
        self._messages = Counter(
            "bels_intake_messages_total",
            "Messages handled, by channel and outcome.",
            ["channel", "outcome"],
            registry=registry,
        )
        self._batch_size = Histogram(
            "bels_intake_batch_messages", "Messages of a batch.", buckets=BATCH_SIZES, registry=registry
        )
        self._batch_seconds = Histogram(
            "bels_intake_batch_seconds", "Time of a batch.", buckets=BATCH_BUCKETS, registry=registry
        )
        self._calls = Gauge("bels_calls_under_way", "Calls in the voice menu.", registry=registry)
        self._waiting = Gauge("bels_intake_waiting", "Messages that wait for their batch.", registry=registry)
        self._entries = Counter("bels_journal_entries_total", "Entries appended to the journal.", registry=registry)
        self._pool = Gauge("bels_pool_connections", "Connections of the pool, by state.", ["state"], registry=registry)
        self._lag = Histogram(
            "bels_event_loop_lag_seconds",
            f"How late the event loop wakes a task that sleeps {LAG_EVERY_S} s.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self._fields = frozenset(fields)
        for kind in LOGIN_FAILURES:
            self._logins.labels(kind)
        # What a label costs to look up is paid once: these are the counters themselves, by what they count.
        self._by_request: dict[tuple[str, str, int], Histogram] = {}
        self._by_operation: dict[tuple[str, str], Counter] = {}
        self._by_code: dict[str, Counter] = {}
        self._by_message: dict[tuple[str, str], Counter] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        found = self._by_request.get((method, route, status))
        if found is None:
            known = method if method in METHODS else OTHER
            crowded = len(self._by_request) >= SERIES_MAX
            found = self._requests.labels(known, OTHER if crowded else route, str(status))
            if not crowded and known == method:
                self._by_request[method, route, status] = found
        found.observe(seconds)

    def operation(self, kind: str, fields: Sequence[str]) -> None:
        """Count an operation by its kind and its root fields."""
        for field in fields:
            found = self._by_operation.get((kind, field))
            if found is None:
                known = kind if kind in OPERATION_KINDS else OTHER
                if field in self._fields:
                    found = self._by_operation[kind, field] = self._operations.labels(known, field)
                else:
                    found = self._operations.labels(known, OTHER)
            found.inc()

    def error(self, code: str, caller: str) -> None:
        """Count an error by its code, that of a budget by the kind of the caller too."""
        found = self._by_code.get(code)
        if found is None:
            if len(self._by_code) >= CODES_MAX:
                found = self._errors.labels(OTHER)
            else:
                found = self._by_code[code] = self._errors.labels(code)
        found.inc()
        if code == BUDGET_CODE:
            self._budgets.labels(caller if caller in CALLER_KINDS else OTHER).inc()

    def login_failed(self, kind: str) -> None:
        """Count a failed proof of identity: one of ``LOGIN_FAILURES``."""
        self._logins.labels(kind if kind in LOGIN_FAILURES else OTHER).inc()

    def batch(self, messages: Sequence[Message], outcomes: Sequence[Outcome | Exception], seconds: float) -> None:
        """Count a batch of messages with what became of each; a failure stands in place of an outcome."""
        self._batch_size.observe(len(messages))
        self._batch_seconds.observe(seconds)
        entries = 0
        for message, outcome in zip(messages, outcomes, strict=True):
            if isinstance(outcome, Exception):
                became = "FAILED"
            elif outcome.repeated:
                became = "REPEATED"
            else:
                became = outcome.status.value
                if outcome.version is not None:
                    entries += len(outcome.events)
                match outcome.status, outcome.events[:1]:
                    case Status.REFUSED, [CommandRefused() | ReadingRefused() as refused]:
                        self._refusals.labels(message.channel.value, refused.reason.value).inc()
                    case Status.HELD, [ReadingHeld() as held]:
                        self._held.labels(message.channel.value, held.reason.value).inc()
                    case _:
                        pass
            channel = message.channel.value
            found = self._by_message.get((channel, became))
            if found is None:
                found = self._by_message[channel, became] = self._messages.labels(channel, became)
            found.inc()
        self._entries.inc(entries)

    async def around(self, messages: Sequence[Message], handle: Handle) -> Sequence[Outcome | Exception]:
        """Handle a batch of the intake and count it, also when it failed as a whole."""
        begun = perf_counter()
        try:
            outcomes = await handle(messages)
        except Exception as error:
            self.batch(messages, [error] * len(messages), perf_counter() - begun)
            raise
        self.batch(messages, outcomes, perf_counter() - begun)
        return outcomes

    def watch_pool(self, pool: asyncpg.Pool) -> None:
        """Tell of a pool how many connections it uses, has free, may have, and how many tasks wait for one."""
        states: Mapping[str, Callable[[], float]] = {
            "used": lambda: pool.get_size() - pool.get_idle_size(),
            "free": pool.get_idle_size,
            "max": pool.get_max_size,
            "waiting": lambda: _waiting(pool),
        }
        for state, tell in states.items():
            self._pool.labels(state).set_function(tell)

    def watch_intake(self, waiting: Callable[[], int]) -> None:
        """Tell how many messages wait for their batch."""
        self._waiting.set_function(waiting)

    def watch_calls(self, under_way: Callable[[], int]) -> None:
        """Tell how many calls are in the voice menu."""
        self._calls.set_function(under_way)

    def watch_readiness(self, is_ready: Callable[[], bool]) -> None:
        """Tell whether this process should get requests."""
        self._ready.set_function(lambda: float(is_ready()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Metrics]:
        """Watch the event loop until left."""
        task = asyncio.create_task(self._watch_loop())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await asyncio.sleep(LAG_EVERY_S)
            self._lag.observe(max(0.0, loop.time() - begun - LAG_EVERY_S))


def root_fields(schema: GraphQLSchema) -> frozenset[str]:
    """Name the root fields of a schema: no operation that may run has another one, but for introspection."""
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    return frozenset(name for root in roots if root is not None for name in root.fields)


def _waiting(pool: asyncpg.Pool) -> int:
    # asyncpg does not tell it; without it a starved pool looks like a busy one.
    queue: Any = getattr(pool, "_queue", None)
    return sum(not waiter.done() for waiter in getattr(queue, "_getters", ()))


def metrics_route(
    registry: CollectorRegistry, token: str | None, before: Callable[[], Awaitable[object]] | None = None
) -> Route:
    """Give the route of the metrics: with a token for who brings it, without one for this machine alone.

    ``before`` is awaited before they are told: what is not known by itself is looked at then.
    """
    expected = f"Bearer {token}".encode() if token is not None else None

    async def metrics(request: Request) -> Response:
        if expected is not None:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not compare_digest(given, expected):
                return _refused(401, "UNAUTHENTICATED", {"www-authenticate": 'Bearer realm="bels metrics"'})
        elif not _is_from_this_machine(request):
            return _refused(403, "FORBIDDEN")
        if before is not None:
            await before()
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST, **_SAFE})

    return Route(PATH, metrics, methods=["GET"])


_SAFE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


def _refused(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{code}\n", status, headers={**_SAFE, **(headers or {})})


def _is_from_this_machine(request: Request) -> bool:
    """Say whether the peer is this machine itself, not a proxy on it that speaks for somebody else."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host.partition("%")[0]).is_loopback
    except ValueError:
        return False
