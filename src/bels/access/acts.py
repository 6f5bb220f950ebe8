"""Acts: what was done to credentials, cabinets and keys, by whom and why. They are only added to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bels.journal.write import Db


class Act(StrEnum):
    """What was done."""

    USER_ADDED = "USER_ADDED"
    USER_REVOKED = "USER_REVOKED"
    CLIENT_ADDED = "CLIENT_ADDED"
    CLIENT_SECRET_CHANGED = "CLIENT_SECRET_CHANGED"  # noqa: S105 - the name of an act
    CLIENT_REVOKED = "CLIENT_REVOKED"
    CONSUMER_REGISTERED = "CONSUMER_REGISTERED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105
    SESSION_REVOKED = "SESSION_REVOKED"
    ACCOUNT_LINKED = "ACCOUNT_LINKED"
    ACCOUNT_UNLINKED = "ACCOUNT_UNLINKED"
    CABINET_CLOSED = "CABINET_CLOSED"
    LINK_MADE = "LINK_MADE"
    CARD_BOUND = "CARD_BOUND"
    CARD_REMOVED = "CARD_REMOVED"
    PERSONAL_DATA_SET = "PERSONAL_DATA_SET"
    PERSONAL_DATA_ERASED = "PERSONAL_DATA_ERASED"
    MASTER_KEY_CHANGED = "MASTER_KEY_CHANGED"


@dataclass(frozen=True, slots=True)
class ActRow:
    """One act: ``document`` notes the identity document or order it rests on (kind and number's last digits, never whole)."""

    act: int
    at: datetime
    kind: Act
    by_subject: str
    subject: str
    account: str | None
    reason: str | None
    document: str | None
    request_id: str


async def record(
    db: Db,
    kind: Act,
    *,
    by: str,
    subject: str,
    account: str | None = None,
    reason: str | None = None,
    document: str | None = None,
    request_id: str = "",
) -> None:
    """Record an act, in the transaction that carries it out."""
    await db.execute(
        """
        INSERT INTO identity_act (kind, by_subject, subject, account, reason, document, request_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        kind.value,
        by,
        subject,
        account,
        reason,
        document,
        request_id,
    )


async def last(db: Db, kind: Act, subject: str) -> ActRow | None:
    """Find the last act of a kind about a subject."""
    row = await db.fetchrow(
        "SELECT * FROM identity_act WHERE subject = $1 AND kind = $2 ORDER BY act DESC LIMIT 1", subject, kind.value
    )
    return ActRow(**{**row, "kind": Act(row["kind"])}) if row is not None else None


async def page(
    db: Db, before: int | None, limit: int, *, account: str | None = None, subject: str | None = None
) -> list[ActRow]:
    """List acts, newest first: all, of an account, or of a subject."""
    rows = await db.fetch(
        """
        SELECT * FROM identity_act
        WHERE ($1::bigint IS NULL OR act < $1) AND ($3::text IS NULL OR account = $3) AND ($4::text IS NULL OR subject = $4)
        ORDER BY act DESC LIMIT $2
        """,
        before,
        limit,
        account,
        subject,
    )
    return [ActRow(**{**row, "kind": Act(row["kind"])}) for row in rows]
