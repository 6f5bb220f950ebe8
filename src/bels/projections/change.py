"""What a view is told: an account after its new entries, and the entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.domain.rulebook import Rulebook
from bels.journal.entry import Entry
from bels.journal.journal import Db


@dataclass(frozen=True, slots=True)
class Change:
    """The new entries of one account, in order, and the account that they led to."""

    account: Account
    entries: tuple[Entry, ...]


_encode = msgspec.json.Encoder().encode


def json(value: Any) -> str | None:
    """Write a value for a json column, None for NULL."""
    return _encode(value).decode() if value is not None else None


async def write(db: Db, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a set-based statement whose parameters are the columns of the rows."""
    if rows:
        await db.execute(statement, *(list(column) for column in zip(*rows, strict=True)))


__all__ = ["Change", "Db", "Rulebook", "json", "write"]
