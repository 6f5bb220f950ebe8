"""Signed drafts: what a form's earlier steps settled travels with the page, so that no server keeps a session for a stranger.

A draft is JSON in base64url and its HMAC under a key of the installation. It is bound to its step, to what was settled before,
and to a random id that names the message it will become: sent twice, it is one message.
"""

from __future__ import annotations

import binascii
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hmac import compare_digest

import msgspec

from bels.access.vault import Vault

LIVES = timedelta(minutes=30)
DRAFT_LENGTH_MAX = 2000
ID_BYTES = 16
KEY = "drafts"


class BadDraft(Exception):
    """It is no draft of this step that was made here."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What was settled: the account, the meter, values by register. ``receipt`` and ``reading`` are of a held reading.

    ``made_at`` are whole seconds of the epoch.
    """

    step: str
    account: str
    meter: str
    values: Mapping[str, str] = field(default_factory=dict)
    receipt: str = ""
    reading: int = 0
    id: str = ""
    made_at: int = 0

    def is_over(self, now: datetime) -> bool:
        """Say whether it was made too long ago."""
        return now - datetime.fromtimestamp(self.made_at, UTC) > LIVES


async def signed(vault: Vault, draft: Draft, now: datetime) -> str:
    """Sign a draft under a new id."""
    made = replace(draft, id=secrets.token_urlsafe(ID_BYTES), made_at=int(now.timestamp()))
    content = msgspec.json.encode(made)
    text = urlsafe_b64encode(content).decode()
    return f"{text}.{urlsafe_b64encode(await vault.digest(KEY, text)).decode()}"


async def opened(vault: Vault, text: str, step: str) -> Draft:
    """Open a draft of a step; whether it is over is another question, as one that was sent in time is answered for ever.

    :raises BadDraft: it was not signed here, or belongs to another step.
    """
    content, _, signature = text.partition(".")
    if len(text) > DRAFT_LENGTH_MAX or not text.isascii():
        raise BadDraft
    expected = urlsafe_b64encode(await vault.digest(KEY, content)).decode()
    if not compare_digest(signature, expected):
        raise BadDraft
    try:
        draft = msgspec.json.decode(urlsafe_b64decode(content), type=Draft)
    except (binascii.Error, msgspec.DecodeError):
        raise BadDraft from None
    if draft.step != step:
        raise BadDraft
    return draft
