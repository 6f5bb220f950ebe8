"""The record of reading: what staff and auditors looked at, written before they see it, only ever added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from bels.access.callers import Caller
from bels.journal.write import Db

ACCOUNTS_MAX = 1_000
"""Accounts named in one record: whoever looks at more is recorded as often as it takes."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One operation of somebody of the staff: the root fields it asked for and the accounts it looked at."""

    read: int
    at: datetime
    subject: str
    kind: str
    request_id: str
    fields: tuple[str, ...]
    accounts: tuple[str, ...]


async def record_read(
    pool: asyncpg.Pool, caller: Caller, request_id: str, fields: Sequence[str], accounts: Sequence[str]
) -> None:
    """Record what a caller looked at; what cannot be recorded is not shown, so a failure is the caller's failure too."""
    async with pool.acquire() as db:
        # Nobody hides an account behind a thousand others.
        for first in range(0, max(len(accounts), 1), ACCOUNTS_MAX):
            await db.execute(
                "INSERT INTO access_log (subject, kind, request_id, fields, accounts) VALUES ($1, $2, $3, $4, $5)",
                caller.subject,
                caller.kind.value,
                request_id,
                list(fields),
                list(accounts[first : first + ACCOUNTS_MAX]),
            )


async def page(
    db: Db,
    before: int | None,
    limit: int,
    *,
    account: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[ReadRow]:
    """List reads, newest first: all, of one account, or by one person; from ``since`` until before ``until``."""
    # Only what is asked for stands in the statement, so that each finds its rows by its own key.
    asked = (
        ("read < ", before),
        ("accounts @> ", [account] if account is not None else None),
        ("subject = ", subject),
        ("at >= ", since),
        ("at < ", until),
    )
    given = [(condition, value) for condition, value in asked if value is not None]
    conditions = " AND ".join(["true", *(f"{condition}${i + 1}" for i, (condition, _) in enumerate(given))])
    rows = await db.fetch(
        f"SELECT * FROM access_log WHERE {conditions} ORDER BY read DESC LIMIT ${len(given) + 1}",
        *(value for _, value in given),
        limit,
    )
    return [ReadRow(**{**row, "fields": tuple(row["fields"]), "accounts": tuple(row["accounts"])}) for row in rows]
