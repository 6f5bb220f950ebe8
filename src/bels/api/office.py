"""The office: hours and outages, what was not understood, who waits for a person."""

from __future__ import annotations

import strawberry


@strawberry.type
class OfficeQuery:
    """What may be asked of the office; no type of the schema."""


@strawberry.type
class OfficeMutation:
    """What the office does; no type of the schema."""
