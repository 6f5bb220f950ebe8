"""The bill as a PDF: ``GET /bills/1000101/2026-10.pdf`` without personal data, ``POST`` with the name and address to print.

What is posted is printed and never stored: ``{"name": "...", "address": "..."}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from re import compile as pattern

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.domain.periods import period as read_period
from bels.domain.rulebook import Requisites
from bels.printing.bill_pdf import bill_pdf
from bels.printing.person import Person
from bels.projections.bills import Bill

BODY_BYTES_MAX = 4096
TEXT_MAX = 300
PRINTED_AT_ONCE_MAX = 2
"""Bills under print in one process; the others wait."""

_ACCOUNT = pattern(r"[0-9]{7}")

Find = Callable[[str, str], Awaitable[tuple[Bill, Requisites | None] | None]]
"""Finds the bill of an account and a period, and the supplier's requisites."""


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    address: str


def bill_routes(find: Find) -> list[Route]:
    """Give the routes of printed bills."""
    printing = asyncio.Semaphore(PRINTED_AT_ONCE_MAX)

    async def printed(request: Request) -> Response:
        account, period = request.path_params["account"], request.path_params["period"]
        try:
            period = read_period(period)
        except ValueError as error:
            return _refused(400, str(error))
        if not (_ACCOUNT.fullmatch(account) and account.isascii()):
            return _refused(400, "an account has seven digits: /bills/1000101/2026-10.pdf")
        person = None
        if request.method == "POST":
            named = await _named(request)
            if isinstance(named, Response):
                return named
            person = Person(named.name.strip(), named.address.strip())
        found = await find(account, period)
        if found is None:
            return _refused(404, f"account {account} has no bill for {period}: the period is not closed here")
        async with printing:
            pdf = await asyncio.to_thread(bill_pdf, *found, person)
        headers = {
            "content-disposition": f'inline; filename="{account}-{period}.pdf"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        return Response(pdf, media_type="application/pdf", headers=headers)

    return [Route("/bills/{account}/{period}.pdf", printed, methods=["GET", "POST"])]


async def _named(request: Request) -> _Named | Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return _refused(415, 'post {"name": "...", "address": "..."} as application/json')
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return _refused(413, f"a name and an address have at most {BODY_BYTES_MAX} bytes")
    try:
        named = msgspec.json.decode(body, type=_Named)
    except msgspec.DecodeError as error:
        return _refused(400, f'post {{"name": "...", "address": "..."}}: {error}')
    if not (0 < len(named.name.strip()) <= TEXT_MAX and 0 < len(named.address.strip()) <= TEXT_MAX):
        return _refused(400, f"a name and an address have 1 to {TEXT_MAX} characters")
    return named


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)
