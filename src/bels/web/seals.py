"""Seals for everybody who wants to keep a copy: ``GET /seals/latest.json``, ``/seals/17.json``, ``/seals/keys.json``.

Nobody needs to sign in: there is nothing of any household in a seal, and the more copies there are outside, the less can be changed
unnoticed. A seal never changes, so caches keep it for ever; the newest one and the keys for a minute.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from re import compile as pattern

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.audit.seals.keys import list_keys
from bels.audit.seals.publishing import keys_published
from bels.audit.seals.reading import find_seal, latest_seal
from bels.audit.seals.statement import Seal, SealError, published
from bels.journal.faults import UNAVAILABLE
from bels.web.refused import Refused, try_again

logger = logging.getLogger(__name__)

PATH = "/seals/{name}.json"
LATEST, KEYS = "latest", "keys"
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_MINUTE = "public, max-age=60"

_NUMBER = pattern(r"[1-9][0-9]{0,11}")


def seal_routes(pool: asyncpg.Pool) -> list[Route]:
    """Give the routes of seals and of the keys that signed them."""

    async def answer(request: Request) -> Response:
        name: str = request.path_params["name"]
        try:
            text = await _keys() if name == KEYS else await _seal(name)
        except Refused as refusal:
            return refusal.answer()
        except SealError:
            logger.exception("the seal %s cannot be read", name)
            reason = "what is kept here is no seal any more: ask whoever keeps copies outside"
            return Refused(500, "SEAL_BROKEN", reason, {"cache-control": "no-store"}).answer()
        except UNAVAILABLE:
            return try_again(503, "TRY_LATER", "seals cannot be read now; try again in a moment", 2)
        body = text.encode()
        tag = f'"{sha256(body).hexdigest()[:32]}"'
        headers = {
            "cache-control": FOR_A_MINUTE if name in (LATEST, KEYS) else FOR_EVER,
            "etag": tag,
            "x-content-type-options": "nosniff",
        }
        if _has(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    async def _seal(name: str) -> str:
        found: Seal | None = None
        async with pool.acquire() as db:
            if name == LATEST:
                found = await latest_seal(db)
            elif _NUMBER.fullmatch(name):
                found = await find_seal(db, int(name))
        if found is None:
            # It may come: nobody may remember that there was none.
            raise Refused(
                404,
                "NOT_FOUND",
                "there is no such seal; the newest is /seals/latest.json",
                {"cache-control": "no-store"},
            )
        return published(found)

    async def _keys() -> str:
        async with pool.acquire() as db:
            return keys_published(await list_keys(db))

    return [Route(PATH, answer, methods=["GET"])]


def _has(request: Request, tag: str) -> bool:
    """Say whether whoever asks has it already (RFC 9110, 13.1.2)."""
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return tag in given or given == ["*"]
