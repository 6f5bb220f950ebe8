"""A partner's own supplier to try on."""

from __future__ import annotations

import strawberry


@strawberry.type
class SandboxQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class SandboxMutation:
    """What may be done; no type of the schema."""
