"""What a view is told: an account after its new entries, and the entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.domain.rulebook import Rulebook
from bels.journal.entry import Entry
from bels.journal.write import Db, Write


@dataclass(frozen=True, slots=True)
class Change:
    """The new entries of one account, in order, and the account that they led to."""

    account: Account
    entries: tuple[Entry, ...]


_encode = msgspec.json.Encoder().encode


def json(value: Any) -> str | None:
    """Write a value for a json column, None for NULL."""
    return _encode(value).decode() if value is not None else None


__all__ = ["Change", "Db", "Rulebook", "Write", "json"]
