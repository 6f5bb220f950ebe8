"""What is left of the caller's budget, for whoever wants to see it before it is spent."""

from __future__ import annotations

import strawberry

from bels.api.context import LIMITS, Info


@strawberry.type(description="A budget of points: every operation costs some, and they come back at an even rate.")
class RateLimit:
    """A budget of points."""

    name: str = strawberry.field(description="Which budget it is, as in the header RateLimit-Policy.")
    limit: int = strawberry.field(description="Points when it is full.")
    remaining: int = strawberry.field(description="Points that are left, after this query.")
    restore_rate: float = strawberry.field(description="Points that come back in a second.")
    reset_s: int = strawberry.field(description="Seconds until it is full again.")


@strawberry.type
class BudgetQuery:
    """What may be asked of one's budget; no type of the schema."""

    @strawberry.field(
        description="The budget of whoever asks: an operation costs 1 for each object it may give, and 10 for each mutation; "
        "null where there is none. The same stands in `extensions.cost` and in the RateLimit headers of every answer."
    )
    def rate_limit(self, info: Info) -> RateLimit | None:
        """Look into the budget."""
        context = info.context
        limit = LIMITS.get(context.caller.kind)
        if limit is None:
            return None
        bucket = context.app.budgets.look(context.client_key, limit)
        return RateLimit(
            name=limit.name,
            limit=bucket.limit,
            remaining=bucket.remaining,
            restore_rate=bucket.restore_rate,
            reset_s=bucket.reset_s,
        )
