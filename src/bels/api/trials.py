"""What would be, under other rules: nothing is stored."""

from __future__ import annotations

import strawberry


@strawberry.type
class TrialQuery:
    """What may be asked of it; no type of the schema."""
