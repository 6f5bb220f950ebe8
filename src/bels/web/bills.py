"""The bill as a PDF: ``GET /bills/1000101/2026-10.pdf``; with ``?personal=1`` the name and address stand on it.

Whoever sees the bill over GraphQL may print it; name and address are printed for the household itself and for operators of
personal data. What one may not see is not there: 404, as for an account that does not exist.
"""

from __future__ import annotations

import asyncio
from re import compile as pattern
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.access.callers import Caller, Right
from bels.access.rights import Rights
from bels.domain.periods import period as read_period
from bels.domain.rulebook import Requisites
from bels.printing.bill_pdf import bill_pdf
from bels.printing.person import Person
from bels.projections.bills import Bill, seen_from
from bels.web.refused import Refused, admit, try_again

PRINTED_AT_ONCE_MAX = 2
"""Bills under print in one process; the others wait."""
WAITING_MAX = 50
"""Bills that wait for it; more are told to come again."""

FIELD = "Account.bill"
"""The field of the schema whose rule holds for the printed bill too."""

_ACCOUNT = pattern(r"[0-9]{7}")
_PERSONAL = Right.CONSUMER | Right.OPERATOR_PEOPLE


class Bills(Protocol):
    """Where bills come from, and who asks for them."""

    async def caller(self, request: Request) -> Caller:
        """Say who asks."""

    async def bill(self, account: str, period: str) -> tuple[Bill, Requisites | None] | None:
        """Find a bill with the supplier's requisites."""

    async def person(self, account: str) -> Person | None:
        """Find the name and address of the household that lives there now."""

    async def record(self, caller: Caller, request: Request, field: str, account: str) -> None:
        """Record what staff looked at."""


def bill_routes(found: Bills, rights: Rights) -> list[Route]:
    """Give the route of printed bills."""
    printing = asyncio.Semaphore(PRINTED_AT_ONCE_MAX)
    waiting = 0

    async def printed(request: Request) -> Response:
        nonlocal waiting
        try:
            account, period = _named(request)
            bill, requisites, person = await _find(request, account, period)
        except Refused as refusal:
            return refusal.answer()
        if waiting >= WAITING_MAX:
            return try_again(429, "RATE_LIMITED", "too many bills are under print", 5)
        waiting += 1
        try:
            async with printing:
                pdf = await asyncio.to_thread(bill_pdf, bill, requisites, person)
        finally:
            waiting -= 1
        headers = {
            "content-disposition": f'inline; filename="{account}-{period}.pdf"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        return Response(pdf, media_type="application/pdf", headers=headers)

    async def _find(request: Request, account: str, period: str) -> tuple[Bill, Requisites | None, Person | None]:
        caller = await found.caller(request)
        admit(rights, caller, FIELD, "print bills")
        personal = request.query_params.get("personal") == "1"
        if personal and not caller.rights & _PERSONAL:
            raise Refused(
                403, "FORBIDDEN", "name and address are printed for the household and for operators of personal data"
            )
        sight = caller.sight(account)
        seen = sight is not None and (sight.period is None or period >= sight.period)
        bill = await found.bill(account, period) if seen else None
        if bill is None or sight is None:
            raise Refused(
                404, "NOT_FOUND", f"account {account} has no bill for {period}: the period is not closed here"
            )
        await found.record(caller, request, "bill.personal" if personal else "bill", account)
        person = await found.person(account) if personal else None
        printable, requisites = bill
        if sight.period is not None:
            # Nothing of the household before is printed either.
            printable = seen_from(printable, sight.entry, sight.period)
        return printable, requisites, person

    return [Route("/bills/{account}/{period}.pdf", printed, methods=["GET"])]


def _named(request: Request) -> tuple[str, str]:
    account = request.path_params["account"]
    try:
        period = read_period(request.path_params["period"])
    except ValueError as error:
        raise Refused(400, "BAD_USER_INPUT", str(error)) from None
    if not (_ACCOUNT.fullmatch(account) and account.isascii()):
        raise Refused(400, "BAD_USER_INPUT", "an account has seven digits: /bills/1000101/2026-10.pdf")
    return account, period
