"""The evidence pack of an account: ``GET /audit/accounts/1000101/evidence.zip``; with ``?personal=included`` names, words and photos
are in it, with ``?seal=17`` (once or more) a proof for that seal beside the usual.

Operators and auditors may have it; what is personal only whoever may see the household's data. It is made into a file that has no
name, and sent from there. Anybody may have the program that judges packs: ``GET /audit/verify_evidence.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Counts
from collections.abc import AsyncIterator, Callable
from functools import partial
from tempfile import TemporaryFile
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from bels.access.callers import Caller
from bels.access.master_key import MasterKeyError
from bels.access.rights import Rights
from bels.access.tenures import is_account
from bels.access.vault import VaultError
from bels.audit.evidence.archive import PackTooLarge
from bels.audit.evidence.explanations import verifier_source
from bels.audit.evidence.pack import SEALS_MAX, Asked, PackError, SealsBrokenError, write_pack
from bels.messages import TryLater
from bels.reception.counter import Counter
from bels.web.refused import Refused, Visitors, admit, try_again

PATH = "/audit/accounts/{account}/evidence.zip"
VERIFIER_PATH = "/audit/verify_evidence.py"

FIELD, PERSONAL_FIELD = "AuditEntry.behalf", "PersonalData.name"
"""The fields of the schema whose rules hold here too: who spoke for whom, which only the office and auditors see, and who lives there."""

AT_ONCE_MAX = 2
"""Packs that one process makes at once; the others wait."""
WAITING_MAX = 20
"""Packs that are made, waited for or sent; whoever comes then is told to come again."""
OF_ONE_MAX = 4
"""Those of one person among them: the others have room, too."""
STALLED_S = 60.0
"""A client that takes nothing in this time is gone: its file takes room on the disk."""

SEAL_DIGITS_MAX = 12
_PIECE = 1 << 18


def evidence_pack_routes(
    counter: Counter, visitors: Visitors, rights: Rights, waiting_max: int = WAITING_MAX
) -> list[Route]:
    """Give the routes of evidence packs, and of the program that judges them."""
    working = asyncio.Semaphore(AT_ONCE_MAX)
    under_way: Counts[str] = Counts()

    async def answer(request: Request) -> Response:
        try:
            caller = await visitors.caller(request)
            # A stranger takes no place of anybody.
            admit(rights, caller, FIELD, "have evidence packs")
        except Refused as refusal:
            return refusal.answer()
        person = caller.subject
        if under_way.total() >= waiting_max or under_way[person] >= OF_ONE_MAX:
            return try_again(429, "RATE_LIMITED", "too many evidence packs are being made", 10)
        under_way[person] += 1
        ended = partial(under_way.subtract, [person])
        try:
            sent = await _pack(request, caller, ended)
        except BaseException as error:
            ended()
            if isinstance(error, Refused):
                return error.answer()
            if isinstance(error, TryLater):
                return try_again(503, "TRY_LATER", "nothing was made; try again in a moment", 2)
            raise
        return sent

    async def _pack(request: Request, caller: Caller, ended: Callable[[], None]) -> Response:
        asked = _asked(request, caller)
        if asked.personal and rights.first_refused(frozenset({PERSONAL_FIELD}), caller.rights) is not None:
            raise Refused(
                403, "FORBIDDEN", "personal data is for operators of personal data: leave personal=included out"
            )
        if caller.sight(asked.account) is None:
            raise Refused(404, "NOT_FOUND", f"there is no account {asked.account}")
        # What cannot be recorded is not shown.
        await visitors.record(caller, request, asked.recorded, asked.account)
        file: BinaryIO = TemporaryFile()  # noqa: SIM115 - it is closed when it was sent
        try:
            async with working:
                size = await write_pack(counter, asked, file)
        except BaseException as error:
            file.close()
            if isinstance(error, SealsBrokenError):
                raise Refused(409, "SEALS_BROKEN", str(error)) from None
            if isinstance(error, PackError):
                raise Refused(404, "NOT_FOUND", str(error)) from None
            if isinstance(error, PackTooLarge):
                raise Refused(413, "TOO_LARGE", str(error)) from None
            if isinstance(error, VaultError | MasterKeyError):
                reason = "what is sealed cannot be opened; look at the keys"
                raise Refused(503, "KEYS_UNAVAILABLE", reason) from error
            raise
        return _Sent(file, asked.account, size, ended)

    return [Route(PATH, answer, methods=["GET"]), Route(VERIFIER_PATH, _verifier, methods=["GET"])]


async def _verifier(_: Request) -> Response:
    """Hand out the program that judges packs; there is nothing of anybody in it."""
    headers = {
        "content-disposition": 'attachment; filename="verify_evidence.py"',
        "x-content-type-options": "nosniff",
        "cache-control": "public, max-age=60",
    }
    return Response(verifier_source(), media_type="text/x-python; charset=utf-8", headers=headers)


class _Sent(StreamingResponse):
    """A file that is sent and then let go, whatever becomes of the connection."""

    def __init__(self, file: BinaryIO, account: str, size: int, ended: Callable[[], None]) -> None:
        headers = {
            "content-disposition": f'attachment; filename="evidence-{account}.zip"',
            "content-length": str(size),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        super().__init__(_pieces(file), media_type="application/zip", headers=headers)
        self._file = file
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, in_time)
        finally:
            self._file.close()
            self._ended()


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece


def _asked(request: Request, caller: Caller) -> Asked:
    account, given = request.path_params["account"], request.query_params
    if not is_account(account):
        raise Refused(400, "BAD_USER_INPUT", "an account has seven digits: /audit/accounts/1000101/evidence.zip")
    personal = given.get("personal", "masked")
    if personal not in ("included", "masked"):
        raise Refused(400, "BAD_USER_INPUT", "personal is included or masked")
    seals = given.getlist("seal")
    if len(seals) > SEALS_MAX or not all(_is_number(each) for each in seals):
        raise Refused(400, "BAD_USER_INPUT", f"seal is the number of a seal, at most {SEALS_MAX} of them")
    return Asked(account, caller.subject, personal == "included", tuple(map(int, seals)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= SEAL_DIGITS_MAX
