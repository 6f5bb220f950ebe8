"""Payments by card."""

from __future__ import annotations

import strawberry


@strawberry.type
class CardQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class CardMutation:
    """What may be done; no type of the schema."""
