"""An inspector's round: what to take along, and what comes back from places without a network."""

from __future__ import annotations

import strawberry


@strawberry.type
class RoundQuery:
    """What an inspector takes along; no type of the schema."""


@strawberry.type
class RoundMutation:
    """What an inspector brings back; no type of the schema."""
