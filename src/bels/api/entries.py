"""Many readings at once, as an operator types or pastes them, on behalf of consumers."""

from __future__ import annotations

import strawberry


@strawberry.type
class EntryMutation:
    """How many readings are entered; no type of the schema."""
