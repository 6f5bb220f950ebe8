"""What a view is told: an account after its new entries, and the entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.journal.entry import Entry


@dataclass(frozen=True, slots=True)
class Change:
    """The new entries of one account, in order, and the account that they led to."""

    account: Account
    entries: tuple[Entry, ...]


_encode = msgspec.json.Encoder().encode


def json(value: Any) -> msgspec.Raw | None:
    """Write a value for a json column, None for NULL."""
    return None if value is None else msgspec.Raw(_encode(value))
