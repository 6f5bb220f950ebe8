"""Which accounts a trial is made on: a share or a number of them, drawn by a seed, always the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

from bels.access.tenures import is_account
from bels.journal.write import Db

DRAWS_OF_ACCOUNT = 3
"""Numbers drawn for each account that is wanted: two of them may lead to the same account."""

_WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class Sample:
    """A share of all accounts, drawn by a seed: each is in it or not by its own number, whichever others there are."""

    share: Fraction
    seed: int

    @classmethod
    def whole(cls) -> Sample:
        """Take every account."""
        return cls(Fraction(1), 0)

    def takes(self, account: str) -> bool:
        """Say whether an account is drawn."""
        return _drawn(self.seed, account) * self.share.denominator < self.share.numerator * _WHOLE

    def of(self, accounts: Iterable[str]) -> tuple[str, ...]:
        """Draw from some streams of the journal; those that are no accounts are left out."""
        return tuple(account for account in accounts if is_account(account) and self.takes(account))


async def draw_accounts(db: Db, size: int, seed: int) -> list[str]:
    """Draw some accounts of all there are, at most ``size``, in order of number: numbers are drawn, and the next account is taken."""
    bounds = await db.fetchrow(
        "SELECT (SELECT account FROM overview WHERE account >= '0' AND account <= '9999999' ORDER BY account LIMIT 1) AS first,"
        " (SELECT account FROM overview WHERE account >= '0' AND account <= '9999999' ORDER BY account DESC LIMIT 1) AS last"
    )
    if bounds is None or bounds["first"] is None:
        return []
    first, last = int(bounds["first"]), int(bounds["last"])
    drawn = [str(first + _drawn(seed, str(i)) % (last - first + 1)) for i in range(size * DRAWS_OF_ACCOUNT)]
    rows = await db.fetch(
        """
        SELECT next.account
          FROM unnest($1::text[]) WITH ORDINALITY AS drawn (number, place)
         CROSS JOIN LATERAL (
               SELECT account FROM overview WHERE account >= drawn.number AND account <= '9999999' ORDER BY account LIMIT 1) AS next
         ORDER BY drawn.place
        """,
        drawn,
    )
    found = dict.fromkeys(row["account"] for row in rows if is_account(row["account"]))
    return sorted(list(found)[:size])


def _drawn(seed: int, text: str) -> int:
    return int.from_bytes(sha256(f"{seed}:{text}".encode()).digest()[:8], "big")
