"""The audit trail as a file: ``GET /audit/trail.jsonl`` or ``.csv?kind=&channel=&actor=&rule=&since=&until=&period=&amountMin=``.

It is streamed page by page: whoever reads slowly holds back the next query and no transaction, whoever goes ends it. The last line says
that it is whole, and of how many entries; a file without it was cut. Who exported what is recorded before it is sent.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime

import asyncpg
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bels.access.callers import Caller
from bels.access.rights import Rights
from bels.audit.trail.export import MEDIA, ExportForm, Piece, exported, file_name
from bels.audit.trail.finding import TooWideError
from bels.audit.trail.telling import catch_up
from bels.audit.trail.wanted import FilterError, read_filter
from bels.web.refused import Refused, Visitors, admit

FIELD = "Query.trail"
"""Whoever may ask for this field may have the file."""
PATH = "/audit/trail.{form}"

AT_ONCE_MAX = 2
"""Exports under way in one process; others are told to come again."""
AGAIN_S = 30
STALLED_S = 60.0
"""A client that does not take a page in this time is gone."""
EXPORT_S = 4 * 3600.0
"""An export may last so long."""
COMPRESSION = 5

_GZIP = 16 + zlib.MAX_WBITS


def trail_routes(pool: asyncpg.Pool, visitors: Visitors, rights: Rights, clock: Callable[[], datetime]) -> list[Route]:
    """Give the route of the trail's files."""
    return [Route(PATH, _TrailFiles(pool, visitors, rights, clock), methods=["GET"])]


class _TrailFiles:
    """Writes the trail for whoever may read it; an application of its own, since an answer must know whether it was taken."""

    def __init__(self, pool: asyncpg.Pool, visitors: Visitors, rights: Rights, clock: Callable[[], datetime]) -> None:
        self._pool, self._visitors, self._rights, self._clock = pool, visitors, rights, clock
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            caller = await self._visitors.caller(request)
            admit(self._rights, caller, FIELD, "export the trail")
            async with self._one_of_few():
                await self._export(request, caller, send)
        except Refused as refusal:
            await refusal.answer()(scope, receive, send)

    @asynccontextmanager
    async def _one_of_few(self) -> AsyncIterator[None]:
        if self._under_way >= AT_ONCE_MAX:
            reason = f"{AT_ONCE_MAX} exports are under way; come again in {AGAIN_S} s"
            raise Refused(429, "RATE_LIMITED", reason, {"retry-after": str(AGAIN_S)})
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _export(self, request: Request, caller: Caller, send: Send) -> None:
        form = _form_of(request.path_params["form"])
        query = request.query_params
        try:
            wanted = read_filter({name: query.getlist(name) for name in query})
        except FilterError as error:
            raise Refused(400, "BAD_USER_INPUT", str(error)) from None
        packed = _takes_gzip(request.headers)
        start = {
            "type": "http.response.start",
            "status": 200,
            "headers": _headers(form, file_name(form, self._clock()), packed),
        }
        if request.method == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        told = await catch_up(self._pool)
        # What cannot be recorded is not shown: what is searched for, then the accounts of each page, then how far it came.
        await self._visitors.record(caller, request, " ".join(["trail.export", form.value, *wanted.said()]))
        async with aclosing(exported(self._pool, wanted, form, told)) as pieces:
            try:
                first = await anext(pieces)
            except TooWideError as error:
                raise Refused(422, "TOO_WIDE", str(error)) from None
            await send(start)
            gone = asyncio.ensure_future(_gone(request.receive))
            count, is_whole = 0, False
            try:
                async with asyncio.timeout(EXPORT_S):
                    pack = zlib.compressobj(COMPRESSION, zlib.DEFLATED, _GZIP) if packed else None
                    piece: Piece | None = first
                    while piece is not None and not gone.done():
                        if piece.accounts:
                            await self._visitors.record(caller, request, "trail.export", *piece.accounts)
                        await _send(send, await _packed(pack, piece.text.encode()))
                        count += piece.entries
                        piece = await anext(pieces, None)
                    is_whole = piece is None
                    if is_whole:
                        rest = pack.flush() if pack is not None else b""
                        await send({"type": "http.response.body", "body": rest})
            finally:
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    await gone
                end = f"trail.exported entries={count} {'whole' if is_whole else 'cut'}"
                await asyncio.shield(self._visitors.record(caller, request, end))


async def _send(send: Send, body: bytes) -> None:
    """Send a page; it waits until the client has taken most of those before."""
    async with asyncio.timeout(STALLED_S):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _packed(pack: zlib._Compress | None, body: bytes) -> bytes:
    if pack is None:
        return body
    # Deflating leaves the lock of the interpreter: others are served meanwhile.
    return await asyncio.to_thread(lambda: pack.compress(body) + pack.flush(zlib.Z_SYNC_FLUSH))


async def _gone(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _form_of(name: str) -> ExportForm:
    try:
        return ExportForm(name)
    except ValueError:
        raise Refused(404, "NOT_FOUND", "ask for /audit/trail.jsonl or /audit/trail.csv") from None


def _takes_gzip(headers: Headers) -> bool:
    """Say whether the client asked for gzip (RFC 9110, 12.5.3); what it did not ask for it does not get."""
    for given in ",".join(headers.getlist("accept-encoding")).split(","):
        coding, _, weight = given.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _headers(form: ExportForm, name: str, packed: bool) -> list[tuple[bytes, bytes]]:
    headers = {
        "content-type": MEDIA[form],
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        **({"content-encoding": "gzip"} if packed else {}),
    }
    return [(key.encode(), value.encode()) for key, value in headers.items()]
