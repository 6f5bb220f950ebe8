"""Receipts: names of messages that can be dictated."""

from __future__ import annotations

import os
from collections.abc import Iterator

RECEIPT_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

_PAIRS = [a + b for a in RECEIPT_ALPHABET for b in RECEIPT_ALPHABET]


def new_receipts(count: int) -> Iterator[str]:
    """Draw receipts: eight characters that can be dictated, without 0 and O, 1 and I."""
    # One call to the system for a whole batch: each costs more than everything else here.
    drawn = os.urandom(5 * count)
    for i in range(0, 5 * count, 5):
        n = int.from_bytes(drawn[i : i + 5])
        yield _PAIRS[n & 1023] + _PAIRS[n >> 10 & 1023] + _PAIRS[n >> 20 & 1023] + _PAIRS[n >> 30]
