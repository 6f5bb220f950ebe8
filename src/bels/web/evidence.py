"""A photo of a display: ``GET /evidence/e-...``, for the household that lives there now and for the staff, whose reads are recorded.

Whoever sees the reading over GraphQL may see its photo. What one may not see is not there: 404, as for a photo that does not
exist, and for one whose household was erased.
"""

from __future__ import annotations

from re import compile as pattern
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.access.callers import STAFF, Caller, Sight
from bels.access.rights import Rights
from bels.access.tenures import Tenure
from bels.reception.evidence import Evidence
from bels.web.refused import Refused, admit

PATH = "/evidence/{evidence}"

FIELD = "Reading.photos"
"""The field of the schema whose rule holds for the photo too."""

_EVIDENCE = pattern(r"e-[0-9a-zA-Z]{4,40}")
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class Photos(Protocol):
    """Where photos come from, and who asks for them."""

    async def caller(self, request: Request) -> Caller:
        """Say who asks."""

    async def find(self, evidence: str) -> tuple[Evidence, Tenure] | None:
        """Find a photo, not opened, with the tenure of now of its account."""

    async def open(self, evidence: str) -> bytes | None:
        """Open a photo; None where it is erased."""

    async def record(self, caller: Caller, request: Request, field: str, account: str) -> None:
        """Record what staff looked at."""


def evidence_routes(found: Photos, rights: Rights) -> list[Route]:
    """Give the route of photos."""

    async def show(request: Request) -> Response:
        try:
            photo, content = await _find(request)
        except Refused as refusal:
            return refusal.answer()
        headers = {
            "content-disposition": f'inline; filename="{photo.evidence}.{_ENDINGS[photo.content_type]}"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            # A picture that somebody sent us is shown and never executed.
            "content-security-policy": "default-src 'none'; sandbox",
        }
        return Response(content, media_type=photo.content_type, headers=headers)

    async def _find(request: Request) -> tuple[Evidence, bytes]:
        caller = await found.caller(request)
        admit(rights, caller, FIELD, "see photos")
        name = request.path_params["evidence"]
        kept = await found.find(name) if _EVIDENCE.fullmatch(name) else None
        if kept is None or not _may_see(caller, *kept):
            raise Refused(404, "NOT_FOUND", "there is no such photo here")
        photo, _ = kept
        # What cannot be recorded is not shown.
        await found.record(caller, request, FIELD, photo.account)
        content = await found.open(name)
        if content is None:
            raise Refused(404, "NOT_FOUND", "there is no such photo here")
        return photo, content

    return [Route(PATH, show, methods=["GET"])]


def _may_see(caller: Caller, photo: Evidence, tenure: Tenure) -> bool:
    if photo.receipt is None:
        # Nobody has sent a reading with it yet, so it is nobody's to look at.
        return False
    if caller.kind in STAFF or caller.sights is None:
        return caller.sight(photo.account) is not None
    # A household sees its own photos only; between a sale and the moment at which its process hears of it, a caller may still
    # have the sight of the one before.
    own = caller.sight(photo.account) == Sight(tenure.entry, tenure.period or None)
    return own and photo.tenure == tenure.number
