"""Three books compared."""

from __future__ import annotations

import strawberry


@strawberry.type
class ReconcilingQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class ReconcilingMutation:
    """What may be done; no type of the schema."""
