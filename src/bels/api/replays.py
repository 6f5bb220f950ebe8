"""An account in two times: as it was on a day, as we knew it on another."""

from __future__ import annotations

import strawberry


@strawberry.type
class ReplayQuery:
    """What may be asked of it; no type of the schema."""
