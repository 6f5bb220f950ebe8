"""What a request's resolvers have at hand."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import strawberry

from bels.access.callers import LOCAL_CALLERS, Caller
from bels.api.changes import Changes
from bels.api.engine.http import RequestContext
from bels.domain.terms import Role
from bels.intake import Intake


@dataclass(frozen=True, slots=True)
class Supplier:
    """The supplier behind a request: its views, the one way in, the feed of changes, the key of senders' digests."""

    pool: asyncpg.Pool
    intake: Intake
    changes: Changes
    sender_key: bytes

    def caller(self, role: Role) -> Caller:
        """Say who asks, in the role that the operation belongs to."""
        return LOCAL_CALLERS[role]


Info = strawberry.Info[RequestContext[Supplier], None]
