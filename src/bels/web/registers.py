"""Registers by upload: ``POST /partners/registers/evening?name=E17.txt`` with the file as the body, or as a form's one file.

A bank that signed in as a partner sends its own files. The answer tells what became of the file, not of its rows: those are
asked for over GraphQL. The same file again gets the same answer; a file in quarantine is an answer too, and no error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Protocol

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.access.callers import Caller, Kind, Right
from bels.messages import TryLater
from bels.payments.partners import Partner, PartnersError
from bels.payments.registers import files
from bels.payments.registers.faults import FILE_FAULTS
from bels.payments.registers.files import CHUNK_BYTES, FILE_BYTES_MAX, FileState, FileTooLargeError, RegisterFile, Way
from bels.payments.registers.layout import layouts_of
from bels.payments.registers.taking import work_on
from bels.payments.till import Till
from bels.web.refused import Refused, not_admitted, try_again

PATH = "/partners/registers/{layout}"

UPLOADS_AT_ONCE_MAX = 8
"""Files on their way in one process; more are told to come again."""

UPLOADS_OF_ONE_MAX = 3
"""Of one partner: whoever sends slowly keeps nobody else from sending."""

UPLOAD_S_MAX = 300
"""So long one file may take to arrive."""

AT_ONCE_BYTES_MAX = 1_000_000
"""A file of more bytes is booked after its answer: nobody waits for a hundred thousand rows."""

FORM_BYTES_MAX = FILE_BYTES_MAX + 100_000
"""A form with a file: the file, and what a form adds to it."""

FORM_FIELDS_MAX = 10


class Callers(Protocol):
    """Who asks."""

    async def caller(self, request: Request) -> Caller:
        """Say who asks.

        :raises Refused: the credential cannot be taken.
        """


def register_routes(found: Callers, till: Till) -> list[Route]:
    """Give the route of registers."""
    under_way: Counter[str] = Counter()

    async def upload(request: Request) -> Response:
        try:
            partner, layout = await _whose(request)
            if under_way.total() >= UPLOADS_AT_ONCE_MAX or under_way[partner.client] >= UPLOADS_OF_ONE_MAX:
                return try_again(429, "RATE_LIMITED", "too many registers are on their way", 5)
            under_way[partner.client] += 1
            try:
                async with asyncio.timeout(UPLOAD_S_MAX):
                    kept, repeated = await _stored(request, partner, layout)
                if kept.size <= AT_ONCE_BYTES_MAX:
                    kept = await work_on(till, kept.file)
            finally:
                under_way[partner.client] -= 1
        except Refused as refusal:
            return refusal.answer()
        except FileTooLargeError as error:
            return Refused(413, "TOO_LARGE", str(error)).answer()
        except (TimeoutError, ClientDisconnect):
            return Refused(408, "TIMEOUT", f"the file did not arrive in {UPLOAD_S_MAX} s; nothing was stored").answer()
        except TryLater:
            return try_again(503, "TRY_LATER", "send the same file again in a moment", 5)
        is_done = kept.state not in (FileState.RECEIVED, FileState.TAKING)
        return JSONResponse(_shown(kept, repeated), 200 if is_done else 202, {"cache-control": "no-store"})

    async def _whose(request: Request) -> tuple[Partner, str]:
        caller = await found.caller(request)
        if caller.kind is not Kind.PARTNER or Right.PARTNER_PAYMENTS not in caller.rights:
            raise not_admitted(caller, "bring registers")
        partner, layout = till.partners.of(caller.subject), request.path_params["layout"]
        address = till.counter.door.doorkeeper.address(request.scope["headers"], request.scope.get("client"))
        if not partner.may_come_from(address):
            raise Refused(403, "FORBIDDEN", "not from this address")
        try:
            known = layouts_of(partner)
        except PartnersError:
            # What is wrong with the contract is not the bank's to read.
            raise Refused(503, "TRY_LATER", "the registers of this partner cannot be taken now") from None
        if layout not in known:
            agreed = f"only {', '.join(sorted(known))}" if known else "none is agreed"
            raise Refused(404, "NOT_FOUND", f"there is no register {layout[:40]} here: {agreed}")
        return partner, layout

    async def _stored(request: Request, partner: Partner, layout: str) -> tuple[RegisterFile, bool]:
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > FORM_BYTES_MAX:
            raise FileTooLargeError(f"a register has at most {FILE_BYTES_MAX} bytes")
        name = _base_name(request.query_params.get("name", ""))
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await files.store_file(till, partner, name or layout, request.stream(), Way.UPLOAD, layout)
        if not length:
            raise Refused(411, "BAD_USER_INPUT", "a form tells its length")
        try:
            async with request.form(max_files=1, max_fields=FORM_FIELDS_MAX) as form:
                file = next((each for each in form.values() if isinstance(each, UploadFile)), None)
                if file is None:
                    raise Refused(400, "BAD_USER_INPUT", "there is no file in the form")
                name = name or _base_name(file.filename or "") or layout
                return await files.store_file(till, partner, name, _pieces(file), Way.UPLOAD, layout)
        except HTTPException as error:
            raise Refused(400, "BAD_USER_INPUT", error.detail) from None

    return [Route(PATH, upload, methods=["POST"])]


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(CHUNK_BYTES):
        yield piece


def _base_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").replace("\x00", "")).name[: files.NAME_LENGTH_MAX]


def _shown(kept: RegisterFile, repeated: bool) -> dict[str, object]:
    return {
        "register": kept.file,
        "repeated": repeated,
        "state": kept.state.value,
        "sha256": kept.sha256.hex(),
        "size": kept.size,
        "number": kept.number,
        "day": kept.day.isoformat() if kept.day is not None else None,
        "totals": {
            "count": kept.rows,
            "sum": f"{kept.amount:.2f}",
            "fee": f"{kept.fee:.2f}",
            "transfer": f"{kept.transfer:.2f}",
        },
        "fault": kept.fault.value if kept.fault is not None else None,
        "text": FILE_FAULTS[kept.fault] if kept.fault is not None else None,
        "detail": kept.detail,
    }
