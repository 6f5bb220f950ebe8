"""The audit trail over all accounts, and what is unusual in it."""

from __future__ import annotations

import strawberry


@strawberry.type
class TrailQuery:
    """What may be asked of it; no type of the schema."""
