"""Sign what partners are told, after the Standard Webhooks convention: HMAC-SHA256 over id, moment and body.

``webhook-signature`` has a signature for each secret that holds, ``v1,BASE64 v1,BASE64``: while a partner changes its secret the
old one and the new one are both right.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 - how every secret begins
SECRET_BYTES = 32


def new_secret() -> str:
    """Make a secret: ``whsec_`` and 256 random bits."""
    return SECRET_PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed(event: str, at: datetime, body: bytes, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Give the three headers that say which event it is, when it was sent, and that it is ours; ``keys`` are whole secrets."""
    moment = str(int(at.timestamp()))
    content = b".".join((event.encode(), moment.encode(), body))
    return [
        ("webhook-id", event),
        ("webhook-timestamp", moment),
        ("webhook-signature", " ".join(f"v1,{_signature(key, content)}" for key in keys)),
    ]


def _signature(key: str, content: bytes) -> str:
    raw = b64decode(key.removeprefix(SECRET_PREFIX), validate=True)
    return b64encode(hmac.digest(raw, content, "sha256")).decode()
