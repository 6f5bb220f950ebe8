"""Reports of reconciled days, and the bank's statements: ``GET /reconciliations/sber/2026-11-20.csv`` (or ``.html``; with
``?encoding=utf-8`` instead of cp1251), ``POST /reconciliations/statement`` with a file of ``1CClientBankExchange``.

Whoever sees a day over GraphQL may have its report: a partner its own, and of others it is told as if there were none.
"""

from __future__ import annotations

import asyncio
from datetime import date
from re import compile as pattern

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.access.callers import Caller, Kind
from bels.access.rights import Rights
from bels.domain.periods import moscow_date
from bels.messages import TryLater
from bels.payments.partners import Partner
from bels.payments.reconciling.report import Form, ReportEncoding, report, report_name
from bels.payments.reconciling.statement import STATEMENT_BYTES_MAX, StatementError
from bels.payments.reconciling.transfers import Recorded, TransferError
from bels.payments.reconciling.working import enter_statement
from bels.payments.till import Till
from bels.reception.counter import database
from bels.web.refused import Refused, Visitors, admit, try_again

REPORT_FIELD = "Query.reconciliation"
STATEMENT_FIELD = "Mutation.recordTransfer"
"""The fields of the schema whose rules hold here too."""

STATEMENT_PATH = "/reconciliations/statement"
REPORT_PATH = "/reconciliations/{partner}/{name}"
AT_ONCE_MAX = 2
"""Reports and statements under work in one process; the others wait."""
WAITING_MAX = 20
"""Requests that wait for it; more are told to come again."""
UPLOAD_WAIT_S = 60.0

_NAME = pattern(r"([0-9]{4}-[0-9]{2}-[0-9]{2})\.(csv|html)")
_MEDIA = {Form.CSV: "text/csv", Form.HTML: "text/html"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


def reconciling_routes(till: Till, visitors: Visitors, rights: Rights) -> list[Route]:
    """Give the routes of reports and statements."""
    working = asyncio.Semaphore(AT_ONCE_MAX)
    waiting = 0

    async def in_turn(request: Request) -> Response:
        nonlocal waiting
        if waiting >= WAITING_MAX:
            return try_again(429, "RATE_LIMITED", "too many reports are being made", 5)
        waiting += 1
        try:
            return await (_statement(request) if request.method == "POST" else _report(request))
        except Refused as refusal:
            return refusal.answer()
        except TryLater:
            return try_again(503, "TRY_LATER", "nothing was stored; try again in a moment", 2)
        finally:
            waiting -= 1

    async def _report(request: Request) -> Response:
        caller = await _admitted(request, REPORT_FIELD)
        day, form = _day_of(request.path_params["name"])
        encoding = _encoding_of(request)
        partner = _partner(caller, request.path_params["partner"])
        told = None
        if partner is not None:
            async with working, database(till.counter) as db:
                told = await report(db, till.counter.door.raw_texts, partner, day, form, encoding)
        if partner is None or told is None:
            raise Refused(404, "NOT_FOUND", "this day was never compared")
        # What cannot be recorded is not shown.
        await visitors.record(caller, request, "reconciliation.report", *told.accounts)
        charset = "utf-8" if form is Form.HTML else encoding.value
        headers = {
            "content-disposition": f'{"inline" if form is Form.HTML else "attachment"}; filename="{report_name(partner, day, form)}"',
            "content-security-policy": _POLICY,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        return Response(told.content, headers={**headers, "content-type": f"{_MEDIA[form]}; charset={charset}"})

    async def _statement(request: Request) -> Response:
        caller = await _admitted(request, STATEMENT_FIELD)
        raw = await _body(request)
        try:
            async with working:
                recorded = await enter_statement(till, raw, caller.actor)
        except StatementError as fault:
            raise Refused(422, "BAD_STATEMENT", str(fault)) from None
        except TransferError as fault:
            raise Refused(422, "BAD_TRANSFER", f"{fault.field}: {fault}") from None
        return JSONResponse(_recorded(recorded), headers={"cache-control": "no-store"})

    async def _admitted(request: Request, field: str) -> Caller:
        caller = await visitors.caller(request)
        admit(rights, caller, field, "do this")
        return caller

    def _partner(caller: Caller, name: str) -> Partner | None:
        found = till.partners.named(name) or next((p for p in till.partners.partners if p.client == name), None)
        if found is None or (caller.kind is Kind.PARTNER and found.client != caller.subject):
            return None
        return found

    def _day_of(name: str) -> tuple[date, Form]:
        found = _NAME.fullmatch(name)
        try:
            if found is None:
                raise ValueError(name)
            day = date.fromisoformat(found[1])
        except ValueError:
            raise Refused(400, "BAD_USER_INPUT", "ask for a day: /reconciliations/sber/2026-11-20.csv") from None
        if day > moscow_date(till.now()):
            raise Refused(404, "NOT_FOUND", "this day was never compared")
        return day, Form(found[2])

    return [
        Route(STATEMENT_PATH, in_turn, methods=["POST"]),
        Route(REPORT_PATH, in_turn, methods=["GET"]),
    ]


def _encoding_of(request: Request) -> ReportEncoding:
    try:
        return ReportEncoding(request.query_params.get("encoding", ReportEncoding.CP1251.value).lower())
    except ValueError:
        raise Refused(400, "BAD_USER_INPUT", "encoding is cp1251 or utf-8") from None


async def _body(request: Request) -> bytes:
    raw = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_WAIT_S):
            async for piece in request.stream():
                raw += piece
                if len(raw) > STATEMENT_BYTES_MAX:
                    raise Refused(413, "TOO_LARGE", f"a statement has at most {STATEMENT_BYTES_MAX} bytes")
    except (TimeoutError, ClientDisconnect):
        raise Refused(408, "TOO_SLOW", "the statement did not come whole") from None
    return bytes(raw)


def _recorded(recorded: Recorded) -> dict[str, object]:
    return {"new": list(recorded.new), "known": recorded.known, "others": recorded.others}
