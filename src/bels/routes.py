"""What bels answers over HTTP, put together by hand: GraphQL, the channels, printed bills, health.

Only what serves imports this: the schema takes most of the start-up, and commands do without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bels.access import personal
from bels.access.door import Door
from bels.access.personal import subject_of, tenure_of
from bels.api.changes import Changes
from bels.api.context import RIGHTS, Asking, Context, Supplier, caller_of
from bels.api.engine.context import request_id_of
from bels.api.engine.http import GraphQL
from bels.api.engine.trusted import check_manifest, read_manifest
from bels.api.schema import SCHEMA, sdl
from bels.api.webhooks import schema_routes
from bels.app import AppError, Bels
from bels.auditing import auditing_routes
from bels.domain.rulebook import Requisites
from bels.domain.terms import Channel
from bels.gateways import gateways_of
from bels.observing.batches import within
from bels.observing.health import Readiness, health_routes
from bels.observing.metrics import Metrics, metrics_route, root_fields
from bels.observing.middleware import observed
from bels.partnering import partnering_of
from bels.printing.person import Person
from bels.projections import bills
from bels.projections.bills import Bill
from bels.queues import Queues
from bels.reception.office import Office, OfficeFileError, office_from
from bels.visitors import Visitors
from bels.web.bills import bill_routes
from bels.web.oauth import oauth_routes

logger = logging.getLogger(__name__)

GRAPHQL_PATH = "/graphql"
TRIES = {"login": "password", "register": "registration"}
"""What is tried, as the metrics name it."""
DOCUMENTS_BYTES_MAX = 10_000_000


def asgi(bels: Bels, door: Door, readiness: Readiness) -> ASGIApp:
    """Put the routes together: GraphQL, tokens, the channels, printed bills, health, metrics; all of it observed."""
    settings = bels.settings
    changes = Changes(bels.url)
    trusted = _trusted(settings.documents_file)
    metrics = Metrics(metadata.version("bels"), root_fields(SCHEMA._schema))
    metrics.watch_pool(bels.pool)
    metrics.watch_intake(lambda: sum(map(len, bels.intake.waiting)))
    metrics.watch_readiness(lambda: readiness.is_ready)
    bels.intake.work = within(metrics.around, bels.intake.work)
    door.throttle.observe = lambda what: metrics.login_failed(TRIES.get(what, what))
    office = _office(settings.channels.office)
    gateways = gateways_of(bels, door, office)
    partnering = partnering_of(bels, door)
    metrics.watch_calls(gateways.calls)
    tokens = {Channel.TELEGRAM: settings.channels.telegram_token_file, Channel.MAX: settings.channels.max_token_file}
    queues = Queues(bels.pool, metrics.registry, bels.intake.clock, [bot for bot, token in tokens.items() if token])
    supplier = Supplier(
        bels.pool,
        bels.intake,
        changes,
        door,
        documents_only=trusted is not None,
        office=office,
        partners=partnering.till.partners,
        hooks_on_loopback=settings.partners.hooks_on_loopback,
    )

    async def context(connection: HTTPConnection) -> Context:
        scope = connection.scope
        caller = await caller_of(door, connection)
        address = door.doorkeeper.address(scope["headers"], scope.get("client"))
        return Context(supplier, connection, asking=Asking(caller), address=address)

    page = (files("bels.api") / "ask.html").read_text("utf-8") if door.local or settings.ide else None
    published = sdl()

    async def schema(_: Request) -> Response:
        return PlainTextResponse(published)

    async def start(_: Request) -> Response:
        return RedirectResponse(GRAPHQL_PATH)

    graphql = GraphQL(
        SCHEMA,
        context,
        ide=page,
        trusted=trusted,
        allowed_origins=settings.origins,
    )

    async def look() -> None:
        if await readiness.look() is None:
            await queues.look()

    async def end_streams() -> None:
        # Whoever listens goes to another server before this one stops.
        await readiness.drained()
        graphql.stop()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with (
            changes.running(),
            door.running(),
            metrics.running(),
            gateways.running(),
            partnering.running(),
        ):
            ending = asyncio.create_task(end_streams())
            yield
            ending.cancel()

    oauth = oauth_routes(
        bels.pool,
        bels.vault,
        door.tokens,
        door.doorkeeper,
        door.throttle,
        own_people=door.oidc is None,
        clock=bels.intake.clock,
        request_id=lambda request: request_id_of(request.scope),
    )
    others = Starlette(
        routes=[
            *health_routes(readiness),
            metrics_route(metrics.registry, settings.metrics_token, look),
            Route("/schema.graphql", schema),
            *([Route("/", start)] if page is not None else []),
            *oauth,
            *bill_routes(_Bills(bels.pool, door, bels), RIGHTS),
            *gateways.routes,
            *partnering.routes,
            *auditing_routes(bels, door),
            *schema_routes(),
        ],
        lifespan=lifespan,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # GraphQL answers its own errors: the middleware and the router around it would cost it a tenth of its time.
        if scope["type"] != "lifespan" and scope["path"] == GRAPHQL_PATH:
            await graphql(scope, receive, send)
        else:
            await others(scope, receive, send)

    served: ASGIApp = app
    if settings.origins:
        served = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "QUERY"],
            allow_headers=["authorization", "content-type", "graphql-require-preflight", "x-request-id"],
            expose_headers=["x-request-id", "ratelimit", "ratelimit-policy", "retry-after"],
            max_age=3600,
        )
    return observed(served, metrics, readiness=readiness, tracing=bels.tracing, plain=frozenset({GRAPHQL_PATH}))


def _office(file: Path | None) -> Office:
    """Read the office's hours and contacts.

    :raises AppError: the file cannot be used.
    """
    try:
        return office_from(file)
    except OfficeFileError as error:
        raise AppError(f"BELS_OFFICE: {error}") from error


def _trusted(file: Path | None) -> dict[str, str] | None:
    """Read the manifest of trusted documents.

    :raises AppError: it cannot be read.
    """
    if file is None:
        return None
    try:
        if file.stat().st_size > DOCUMENTS_BYTES_MAX:
            raise AppError(f"BELS_DOCUMENTS: {file} has more than {DOCUMENTS_BYTES_MAX} bytes")
        documents = read_manifest(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AppError(f"BELS_DOCUMENTS: {file} cannot be read: {error}") from error
    for name, fault in check_manifest(SCHEMA, documents).items():
        logger.error("the trusted document %s cannot be executed: %s", name, fault)
    return documents


@dataclass(frozen=True, slots=True)
class _Bills(Visitors):
    """Finds bills for whoever may see them."""

    bels: Bels

    async def bill(self, account: str, period: str) -> tuple[Bill, Requisites | None] | None:
        """Find a bill with the supplier's requisites."""
        rulebook = await self.bels.intake.rules()
        async with self.bels.pool.acquire() as db:
            bill = await bills.find(db, account, period, rulebook)
        return (bill, rulebook.requisites) if bill is not None else None

    async def person(self, account: str) -> Person | None:
        """Find the name and address of the household that lives there now."""
        async with self.bels.pool.acquire() as db:
            subject = subject_of(account, await tenure_of(db, account))
            found = await personal.find(db, self.bels.vault, subject)
        return Person(found.name or "", found.address or "") if found is not None else None
