"""Payments of partners, with a reading, to the end."""

from __future__ import annotations

import strawberry


@strawberry.type
class PayingQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class PayingMutation:
    """What may be done; no type of the schema."""
