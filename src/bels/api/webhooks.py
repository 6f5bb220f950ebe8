"""What partners are told."""

from __future__ import annotations

import strawberry


@strawberry.type
class WebhookQuery:
    """What may be asked to see; no type of the schema."""


@strawberry.type
class WebhookMutation:
    """What may be done; no type of the schema."""
