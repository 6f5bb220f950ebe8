"""bels put together, by hand: settings, PostgreSQL, schema, intake, routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import asyncpg
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bels.access.callers import sender_digest
from bels.api.changes import Changes
from bels.api.context import Supplier
from bels.api.engine.http import GraphQL, RequestContext
from bels.channels.sms import sms_routes
from bels.domain.rulebook import Requisites, Rulebook
from bels.domain.terms import Channel, EntryNumber, HoldReason, Period, ReadingStatus, Reason, Register, Settlement
from bels.embedded import embedded, ensure_running
from bels.intake import Clock, Intake, Outcome, digest, outcomes_of, utc_now
from bels.journal.journal import find_repeated_sms, install, sender_key
from bels.journal.write import SESSION
from bels.projections import bills, overview, receipts
from bels.projections.bills import Bill
from bels.projections.project import install_views
from bels.publishing import install_rulebook, publish_settlement
from bels.rulebooks.shipped import PUBLISHED, shipped
from bels.settings import Settings
from bels.web.bills import bill_routes
from bels.words import ReceiptState

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 10
CONNECT_WAIT_S = 30.0
STATEMENT_WAIT_S = 60.0
POSTGRES_VERSION_MIN = 15
LOOK_AFTER_POSTGRES_S = 1.0
HEALTH_WAIT_S = 2.0
GRAPHQL_PATH = "/graphql"


class AppError(RuntimeError):
    """bels cannot start; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Bels:
    """An open supplier: its database, the one way in, the views that are not told yet, the key of senders' digests."""

    url: str
    settings: Settings
    pool: asyncpg.Pool
    intake: Intake
    stale: tuple[str, ...]
    sender_key: bytes


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Give the URL of the supplier's PostgreSQL: ``BELS_DATABASE_URL``, or the embedded one, running."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with embedded(settings.data_dir) as url:
        yield url


@asynccontextmanager
async def opened(settings: Settings, rulebook: Rulebook | None = None, clock: Clock = utc_now) -> AsyncIterator[Bels]:
    """Open the supplier: PostgreSQL up, schema installed, rules published, intake running.

    ``rulebook`` is what counts while nothing is published, and then nothing is: None publishes the book that bels brings along.

    :raises AppError: the database cannot be used.
    """
    with database(settings) as url:
        async with _pool(url) as pool:
            async with pool.acquire() as db:
                version = int(await db.fetchval("SHOW server_version_num")) // 10_000
                if version < POSTGRES_VERSION_MIN:
                    raise AppError(f"bels needs PostgreSQL {POSTGRES_VERSION_MIN} or newer, this is {version}")
                await install(db)
                stale = await install_views(db)
                key = await sender_key(db)
            intake = Intake(pool, rulebook or shipped(PUBLISHED), clock)
            async with intake.running(), _looked_after(settings):
                if rulebook is None and not stale:
                    await install_rules(pool, intake, settings)
                yield Bels(url, settings, pool, intake, stale, key)


async def install_rules(pool: asyncpg.Pool, intake: Intake, settings: Settings) -> None:
    """Publish the rules of a new installation, and another settlement policy where the settings ask for one.

    The views must be told: they say what has been charged.
    """
    await install_rulebook(pool, intake)
    if settings.settlement is not None:
        await publish_settlement(pool, intake, Settlement(settings.settlement.upper()))


@asynccontextmanager
async def _pool(url: str) -> AsyncIterator[asyncpg.Pool]:
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            timeout=CONNECT_WAIT_S,
            command_timeout=STATEMENT_WAIT_S,
            server_settings={"application_name": "bels", **SESSION},
        )
    except (OSError, asyncpg.PostgresError) as error:
        raise AppError(f"PostgreSQL cannot be reached ({type(error).__name__}): look at BELS_DATABASE_URL") from error
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 10)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def _looked_after(settings: Settings) -> AsyncIterator[None]:
    """Bring a killed embedded PostgreSQL back while bels runs."""
    if settings.database_url is not None:
        yield
        return

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_AFTER_POSTGRES_S)
            try:
                await asyncio.to_thread(ensure_running, settings.data_dir)
            except Exception:
                logger.exception("the embedded PostgreSQL cannot be brought back")

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def asgi(bels: Bels) -> ASGIApp:
    """Put the routes together: GraphQL, the SMS channel, health."""
    # The schema takes most of the start-up; commands that serve nothing do without it.
    from bels.api.schema import SCHEMA, sdl

    changes = Changes(bels.url)
    supplier = Supplier(bels.pool, bels.intake, changes, bels.sender_key)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with changes.running():
            yield

    async def context(connection: HTTPConnection) -> RequestContext[Supplier]:
        return RequestContext(supplier, connection)

    async def health(_: Request) -> Response:
        try:
            async with asyncio.timeout(HEALTH_WAIT_S), bels.pool.acquire() as db:
                await db.fetchval("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return JSONResponse({"status": "unavailable", "reason": type(error).__name__}, 503)
        return JSONResponse({"status": "ok"})

    page = (files("bels.api") / "ask.html").read_text("utf-8")
    published = sdl()

    async def schema(_: Request) -> Response:
        return PlainTextResponse(published)

    graphql = GraphQL(SCHEMA, context, ide=page)
    others = Starlette(
        routes=[
            Route("/health", health),
            Route("/schema.graphql", schema),
            *_sms(bels),
            *bill_routes(lambda account, period: _bill(bels, account, period)),
        ],
        lifespan=lifespan,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # GraphQL answers its own errors: the middleware and the router around it would cost it a tenth of its time.
        if scope["type"] != "lifespan" and scope["path"] == GRAPHQL_PATH:
            await graphql(scope, receive, send)
        else:
            await others(scope, receive, send)

    return app


async def _bill(bels: Bels, account: str, period: str) -> tuple[Bill, Requisites | None] | None:
    rulebook = await bels.intake.rules()
    async with bels.pool.acquire() as db:
        bill = await bills.find(db, account, period, rulebook)
    return (bill, rulebook.requisites) if bill is not None else None


def _sms(bels: Bels) -> list[Route]:
    async def earlier(actor: str, raw: str, since: datetime) -> Outcome | None:
        async with bels.pool.acquire() as db:
            found = await find_repeated_sms(db, actor, digest(raw), since)
            return (await outcomes_of(db, [found]))[0] if found is not None else None

    async def meter_of(account: str) -> SmsMeter | None:
        async with bels.pool.acquire() as db:
            row = (await overview.find(db, [account])).get(account)
        if row is None or row.meter is None:
            return None
        display = {place: Register(r) for place, r in (row.meter.display or {}).items()} or None
        return SmsMeter(tuple(Register(r) for r in row.meter.registers), display)

    async def receipt_state(receipt: str) -> ReceiptState | None:
        async with bels.pool.acquire() as db:
            row = await receipts.find(db, receipt)
        if row is None:
            return None
        reading = row.reading
        if reading is None:
            return ReceiptState(receipt, row.account, None, None, done=row.state is receipts.ReceiptState.DONE)
        return ReceiptState(
            receipt,
            row.account,
            ReadingStatus(reading.status),
            EntryNumber(reading.entry),
            Period(reading.period) if reading.period is not None else None,
            reading.counted_in is not None,
            _reason(reading.reason, reading.status),
            tuple(Register(r) for r in reading.values if r in list(Register)),
        )

    async def linked(account: str, sender: str) -> bool:
        async with bels.pool.acquire() as db:
            row = (await overview.find(db, [account])).get(account)
        phones = [link["sender"] for link in row.links if link["channel"] == Channel.SMS] if row is not None else []
        # Until identity comes, only this machine can ask; an account that has named its phones answers to them alone.
        return not phones or sender in phones

    return sms_routes(
        submit=bels.intake.submit,
        earlier=earlier,
        meter_of=meter_of,
        receipt_state=receipt_state,
        linked=linked,
        sender_digest=lambda address: sender_digest(address, bels.sender_key),
        now=bels.intake.clock,
        token=bels.settings.sms_token,
    )


def _reason(reason: str | None, status: str) -> Reason | HoldReason | None:
    if reason is None:
        return None
    return Reason(reason) if status == ReadingStatus.REFUSED else HoldReason(reason)


@dataclass(frozen=True, slots=True)
class SmsMeter:
    """What the SMS channel needs of a meter in service."""

    registers: tuple[Register, ...]
    display: Mapping[str, Register] | None
