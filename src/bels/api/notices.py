"""Reminders and notices: which a household chose, by which channel, and what became of each."""

from __future__ import annotations

import strawberry


@strawberry.type
class AccountNotices:
    """What an account is told by itself; no type of the schema."""


@strawberry.type
class NoticeMutation:
    """What a household chooses; no type of the schema."""
