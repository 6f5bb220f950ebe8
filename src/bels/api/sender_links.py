"""Phones, chats and e-mails that speak for an account: linked by a one-time code."""

from __future__ import annotations

import strawberry


@strawberry.type
class AccountSenders:
    """Who speaks for an account; no type of the schema."""


@strawberry.type
class SenderLinkMutation:
    """What links a sender; no type of the schema."""
