"""Tenures: the time of one household in a flat, and the lock under which who belongs to an account is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from re import compile as pattern

from bels.domain.terms import Period
from bels.journal.write import Db

_ACCOUNT = pattern(r"[0-9]{7}")
_LOCK = 0x6361_6269
_NO_PERIOD = Period("")


@dataclass(frozen=True, slots=True)
class Tenure:
    """The time of one household in a flat: it sees entries after ``entry`` and periods from ``period`` on ("": all)."""

    number: int = 1
    since: datetime | None = None
    entry: int = 0
    period: Period = _NO_PERIOD


def is_account(text: str) -> bool:
    """Say whether a text can be the number of an account."""
    return text.isascii() and _ACCOUNT.fullmatch(text) is not None


async def find_tenure(db: Db, account: str) -> Tenure:
    """Find the tenure of now; it is the first one where no flat was ever sold."""
    row = await db.fetchrow("SELECT number, since, entry, period FROM tenure WHERE account = $1", account)
    if row is None:
        return Tenure()
    return Tenure(row["number"], row["since"], row["entry"], Period(row["period"]))


async def hold_account(db: Db, account: str) -> None:
    """Hold who belongs to an account until the transaction ends: nobody comes in while its cabinet is being closed.

    :raises ValueError: it is no number of an account.
    """
    if not is_account(account):
        raise ValueError("an account has seven digits")
    await db.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, int(account))
