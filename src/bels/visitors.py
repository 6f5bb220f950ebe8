"""Who asks for a page or a file over plain HTTP, and the record of what staff looked at: one way for every such route."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from starlette.requests import Request

from bels.access.access_log import record_read
from bels.access.callers import STAFF, Caller
from bels.access.door import Door
from bels.api.context import caller_of
from bels.api.engine.context import RefusedError, request_id_of
from bels.web.refused import Refused


@dataclass(frozen=True, slots=True)
class Visitors:
    """Knows whoever comes to a route that is not GraphQL."""

    pool: asyncpg.Pool
    door: Door

    async def caller(self, request: Request) -> Caller:
        """Say who asks.

        :raises Refused: the credential cannot be taken.
        """
        try:
            return await caller_of(self.door, request)
        except RefusedError as refusal:
            raise Refused(refusal.status, refusal.code, refusal.message) from None

    async def record(self, caller: Caller, request: Request, field: str, *accounts: str) -> None:
        """Record what staff looked at."""
        if caller.kind in STAFF:
            await record_read(self.pool, caller, request_id_of(request.scope), [field], accounts)
