"""What bels answers over HTTP, put together by hand: GraphQL, the SMS channel, printed bills, health.

Only what serves imports this: the schema takes most of the start-up, and commands do without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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
from bels.api.schema import SCHEMA, sdl
from bels.app import Bels
from bels.channels.sms import sms_routes
from bels.domain.rulebook import Requisites
from bels.domain.terms import Channel, EntryNumber, HoldReason, Period, ReadingStatus, Reason, Register
from bels.intake import Outcome, digest, outcomes_of
from bels.journal.journal import find_repeated_sms
from bels.projections import bills, overview, receipts
from bels.projections.bills import Bill
from bels.web.bills import bill_routes
from bels.words import ReceiptState

HEALTH_WAIT_S = 2.0
GRAPHQL_PATH = "/graphql"


def asgi(bels: Bels) -> ASGIApp:
    """Put the routes together: GraphQL, the SMS channel, health."""
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
