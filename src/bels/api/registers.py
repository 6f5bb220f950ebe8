"""Files of payments."""

from __future__ import annotations

import strawberry


@strawberry.type
class RegisterQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class RegisterMutation:
    """What may be done; no type of the schema."""
