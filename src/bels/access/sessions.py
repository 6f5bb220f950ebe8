"""Sessions: what a refresh token continues, and what can be revoked one by one.

A session ends after 30 days without use and after 180 days in any case. Each use of the refresh token replaces it. The first
token is 256 random bits; each next one is a keyed digest of the one before, so that only whoever has this installation's key
can know it. That is what makes a lost answer harmless: a token that is repeated at once gets *the same* successor again, and
nothing changes. One token that is repeated later revokes its session: two hold it, and one of them stole it. Whoever stole a
token and repeats it at once holds the same successor as its owner, and the next use of it by the second of them tells.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bels.access import acts
from bels.access.people import new_id
from bels.access.store import tell_change
from bels.access.vault import Vault
from bels.journal.write import Db

REFRESH_PREFIX = "bels_r_"
"""What a scanner for leaked secrets looks for."""

REFRESH_LENGTH = len(REFRESH_PREFIX) + 43
IDLE = timedelta(days=30)
LONGEST = timedelta(days=180)
REPEATED_WITHIN = timedelta(seconds=10)
"""How long after its use a token is still answered, because the first answer may have been lost."""

SESSIONS_MAX = 20
"""Living sessions of a person; the one that was used longest ago gives way."""

FORGOTTEN_AFTER = timedelta(days=180)
"""How long a session that has ended is still kept, for whoever looks into a theft."""


class Ended(StrEnum):
    """Why a session was revoked."""

    LOGGED_OUT = "LOGGED_OUT"
    REUSED = "REUSED"
    """A refresh token came a second time: somebody else has it."""
    TOO_MANY = "TOO_MANY"


class NotRenewed(StrEnum):
    """Why a refresh token continues nothing; the client is told only that it does not."""

    UNKNOWN = "UNKNOWN"
    ENDED = "ENDED"
    REUSED = "REUSED"


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session; the refresh token is told this once."""

    session: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """A session that goes on, and its next refresh token."""

    person: str
    session: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A living session, as its owner sees it."""

    session: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


async def begin(db: Db, vault: Vault, person: str, now: datetime) -> Begun:
    """Begin a session of a person who has just proved to be it."""
    session = new_id("s")
    token = REFRESH_PREFIX + secrets.token_urlsafe(32)
    digest = await vault.digest("sessions", token)
    async with db.transaction():
        await db.execute(
            """
            INSERT INTO session (session, person, token, created_at, used_at, expires_at) VALUES ($1, $2, $3, $4, $4, $5)
            """,
            session,
            person,
            digest,
            now,
            now + IDLE,
        )
        ended = await db.execute(
            """
            UPDATE session SET revoked_at = $2, reason = $4
            WHERE session IN (
                SELECT session FROM session WHERE person = $1 AND revoked_at IS NULL AND expires_at > $2 AND session <> $5
                ORDER BY used_at DESC OFFSET $3
            )
            """,
            person,
            now,
            SESSIONS_MAX - 1,
            Ended.TOO_MANY.value,
            session,
        )
        if ended != "UPDATE 0":
            await tell_change(db, person)
        await db.execute(
            "DELETE FROM session WHERE person = $1 AND coalesce(revoked_at, expires_at) < $2",
            person,
            now - FORGOTTEN_AFTER,
        )
    return Begun(session, token)


async def renew(db: Db, vault: Vault, refresh_token: str, now: datetime) -> Renewed | NotRenewed:
    """Continue a session and replace its refresh token; a token that was replaced before ends the session.

    What it finds out is kept only if the transaction around it, where there is one, is committed.
    """
    if not _looks_like_a_token(refresh_token):
        return NotRenewed.UNKNOWN
    given = await vault.digest("sessions", refresh_token)
    following = await _following(vault, refresh_token)
    async with db.transaction():
        # Whoever comes at the same time waits here, and then finds the token among the previous ones.
        row = await db.fetchrow(
            """
            SELECT session, person, token = $1 AS current, session.created_at, used_at,
                session.revoked_at IS NULL AND person.revoked_at IS NULL AND expires_at > $2 AS alive
            FROM session JOIN person USING (person)
            WHERE token = $1 OR previous = $1
            FOR UPDATE OF session
            """,
            given,
            now,
        )
        if row is None:
            return NotRenewed.UNKNOWN
        if not row["alive"]:
            return NotRenewed.ENDED
        session, person = row["session"], row["person"]
        if row["current"]:
            await db.execute(
                "UPDATE session SET previous = token, token = $2, used_at = $3, expires_at = $4 WHERE session = $1",
                session,
                await vault.digest("sessions", following),
                now,
                min(now + IDLE, row["created_at"] + LONGEST),
            )
        elif now - row["used_at"] > REPEATED_WITHIN:
            await revoke(db, session, Ended.REUSED)
            by = f"session:{session}"
            await acts.record(db, acts.Act.SESSION_REVOKED, by=by, subject=person, reason=Ended.REUSED.value)
            return NotRenewed.REUSED
    return Renewed(person, session, following)


async def revoke(db: Db, session: str, reason: str, *, person: str | None = None) -> str | None:
    """End a session, of this person only where one is named; give whose it was, or None where there was none to end."""
    async with db.transaction():
        owner = await db.fetchval(
            """
            UPDATE session SET revoked_at = now(), reason = $2
            WHERE session = $1 AND revoked_at IS NULL AND ($3::text IS NULL OR person = $3)
            RETURNING person
            """,
            session,
            str(reason),
            person,
        )
        if owner is None:
            return None
        await tell_change(db, owner)
    return str(owner)


async def revoke_token(db: Db, vault: Vault, refresh_token: str, reason: str) -> str | None:
    """End the session that a refresh token, or the one before it, continues; give whose it was, or None."""
    if not _looks_like_a_token(refresh_token):
        return None
    session = await db.fetchval(
        "SELECT session FROM session WHERE token = $1 OR previous = $1", await vault.digest("sessions", refresh_token)
    )
    return await revoke(db, session, reason) if session is not None else None


async def revoke_all(db: Db, person: str, reason: str) -> int:
    """End every session of a person; say how many there were."""
    async with db.transaction():
        ended = await db.fetch(
            """
            UPDATE session SET revoked_at = now(), reason = $2 WHERE person = $1 AND revoked_at IS NULL RETURNING session
            """,
            person,
            str(reason),
        )
        await tell_change(db, person)
    return len(ended)


async def list_of(db: Db, person: str, now: datetime) -> list[SessionRow]:
    """List the living sessions of a person, the one used last first; at most SESSIONS_MAX."""
    rows = await db.fetch(
        """
        SELECT session, created_at, used_at, expires_at FROM session
        WHERE person = $1 AND revoked_at IS NULL AND expires_at > $2
        ORDER BY used_at DESC, session LIMIT $3
        """,
        person,
        now,
        SESSIONS_MAX,
    )
    return [SessionRow(**row) for row in rows]


async def _following(vault: Vault, refresh_token: str) -> str:
    digest = await vault.digest("sessions-next", refresh_token)
    return REFRESH_PREFIX + urlsafe_b64encode(digest).decode().rstrip("=")


def _looks_like_a_token(text: str) -> bool:
    return len(text) == REFRESH_LENGTH and text.startswith(REFRESH_PREFIX) and text.isascii()
