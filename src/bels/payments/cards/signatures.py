"""MONETA's signatures: md5 of values joined without a sign between them, the shared code last (partners 5).

Joined so, the boundary between two values is lost: what signs one text signs every other text that reads the same. Two rules keep
that harmless. Our order ids all have one length, and a notice must name its operation: so the signature of a payment form, which
every payer sees, never signs a notice. And nothing is signed for somebody who has not signed himself.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5
from hmac import compare_digest

FORM = ("MNT_ID", "MNT_TRANSACTION_ID", "MNT_AMOUNT", "MNT_CURRENCY_CODE", "MNT_SUBSCRIBER_ID", "MNT_TEST_MODE")
PAY = (
    "MNT_ID",
    "MNT_TRANSACTION_ID",
    "MNT_OPERATION_ID",
    "MNT_AMOUNT",
    "MNT_CURRENCY_CODE",
    "MNT_SUBSCRIBER_ID",
    "MNT_TEST_MODE",
)
CHECK = ("MNT_COMMAND", *PAY)
ANSWER = ("MNT_RESULT_CODE", "MNT_ID", "MNT_TRANSACTION_ID")


def signature(values: Mapping[str, str], of: tuple[str, ...], code: str) -> str:
    """Sign the values of these names in this order; one that is missing is empty."""
    joined = "".join(values.get(name, "") for name in of) + code
    return md5(joined.encode(), usedforsecurity=False).hexdigest()


def is_signed(values: Mapping[str, str], of: tuple[str, ...], code: str) -> bool:
    """Say whether ``MNT_SIGNATURE`` is that of the values, in constant time."""
    given = values.get("MNT_SIGNATURE", "").lower()
    return compare_digest(signature(values, of, code).encode(), given.encode("utf-8", "replace"))
