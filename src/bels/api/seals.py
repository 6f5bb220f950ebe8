"""Seals, their proofs, and the keys that signed them."""

from __future__ import annotations

import strawberry


@strawberry.type
class SealQuery:
    """What may be asked of it; no type of the schema."""


@strawberry.type
class SealMutation:
    """What may be done about it; no type of the schema."""
