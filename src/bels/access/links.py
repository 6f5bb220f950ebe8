"""One-task links: send the reading of this account, pay this bill. Each is opened once, and ends with its task or its time.

A link is 256 random bits; the table has their keyed digest. Whoever holds it needs nothing else, so it is for one account and
one task, lives for days at most, and goes with its household.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from bels.access import acts
from bels.access.callers import TASKS
from bels.access.people import new_id
from bels.access.store import tell_change
from bels.access.tenures import hold_account, is_account
from bels.access.vault import Vault
from bels.access.words import AccessReason, Refused
from bels.domain.account import Situation
from bels.domain.terms import Reason
from bels.journal.write import Db

LINK_PREFIX = "bels_l_"
"""What a scanner for leaked secrets looks for."""

LINK_LENGTH = len(LINK_PREFIX) + 43
LIVES_S = 3 * 24 * 3600
LIVES_S_MAX = 7 * 24 * 3600
LINKS_MAX = 10
"""Living links of an account; one that was opened counts until its time is over."""

FORGOTTEN_AFTER = timedelta(days=90)
"""How long a link that is over is still kept, for whoever asks what became of it."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new link; the token is told this once."""

    link: str
    token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """What a link is for."""

    link: str
    account: str
    task: str
    expires_at: datetime


async def make_link(
    db: Db,
    vault: Vault,
    account: str,
    task: str,
    *,
    made_by: str,
    now: datetime,
    lives_s: int = LIVES_S,
    request_id: str = "",
) -> Made | Refused:
    """Make a link for one task on one account.

    :raises ValueError: there is no such task, or the link would live too long.
    """
    if task not in TASKS or not 0 < lives_s <= LIVES_S_MAX:
        raise ValueError(f"a link is for one of {', '.join(TASKS)} and lives at most {LIVES_S_MAX} s")
    if not is_account(account):
        return Refused(Reason.UNKNOWN_ACCOUNT)
    link, token = new_id("l"), LINK_PREFIX + secrets.token_urlsafe(32)
    digest, expires_at = await vault.digest("links", token), now + timedelta(seconds=lives_s)
    async with db.transaction():
        await hold_account(db, account)
        situation = await db.fetchval("SELECT situation FROM overview WHERE account = $1", account)
        if situation not in (Situation.OPEN, Situation.CLOSED):
            return Refused(Reason.UNKNOWN_ACCOUNT)
        if situation == Situation.CLOSED and task == "reading":
            return Refused(Reason.ACCOUNT_CLOSED)
        living = await db.fetchval(
            """
            SELECT count(*) FROM task_link
            WHERE account = $1 AND expires_at > $2 AND done_at IS NULL AND revoked_at IS NULL
            """,
            account,
            now,
        )
        if living >= LINKS_MAX:
            return Refused(AccessReason.LIMIT_REACHED)
        await db.execute("DELETE FROM task_link WHERE account = $1 AND expires_at < $2", account, now - FORGOTTEN_AFTER)
        await db.execute(
            """
            INSERT INTO task_link (token, link, account, task, made_by, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            digest,
            link,
            account,
            task,
            made_by,
            now,
            expires_at,
        )
        await acts.record(
            db, acts.Act.LINK_MADE, by=made_by, subject=link, account=account, reason=task, request_id=request_id
        )
    return Made(link, token, expires_at)


async def open_link(db: Db, vault: Vault, token: str, now: datetime) -> OpenedLink | None:
    """Open a link, which can be done once; None for one that is unknown, over, revoked or was opened before."""
    if not (len(token) == LINK_LENGTH and token.startswith(LINK_PREFIX) and token.isascii()):
        return None
    row = await db.fetchrow(
        """
        UPDATE task_link SET opened_at = $2
        WHERE token = $1 AND opened_at IS NULL AND done_at IS NULL AND revoked_at IS NULL AND expires_at > $2
        RETURNING link, account, task, expires_at
        """,
        await vault.digest("links", token),
        now,
    )
    return OpenedLink(**row) if row is not None else None


async def done(db: Db, link: str, now: datetime) -> bool:
    """Note that the task of a link is carried out: what it let in is let in no more. False where it was over already."""
    return await _end(db, link, "done_at", now)


async def not_done(db: Db, link: str) -> None:
    """Take back that the task of a link was carried out: it was refused, and may be tried again."""
    async with db.transaction():
        await db.execute("UPDATE task_link SET done_at = NULL WHERE link = $1 AND revoked_at IS NULL", link)
        await tell_change(db, link)


async def revoke(db: Db, link: str, now: datetime) -> bool:
    """Revoke a link, opened or not."""
    return await _end(db, link, "revoked_at", now)


async def _end(db: Db, link: str, how: str, now: datetime) -> bool:
    async with db.transaction():
        ended = await db.fetchval(
            f"""
            UPDATE task_link SET {how} = $2 WHERE link = $1 AND done_at IS NULL AND revoked_at IS NULL RETURNING link
            """,
            link,
            now,
        )
        if ended is not None:
            await tell_change(db, link)
    return ended is not None


async def revoke_links(db: Db, account: str, now: datetime, *, made_by: str | None = None) -> int:
    """Revoke the links of an account, all or those that somebody made; in the transaction that cuts somebody off."""
    rows = await db.fetch(
        """
        UPDATE task_link SET revoked_at = $2
        WHERE account = $1 AND done_at IS NULL AND revoked_at IS NULL AND ($3::text IS NULL OR made_by = $3)
        RETURNING link
        """,
        account,
        now,
        made_by,
    )
    await tell_change(db, *(row["link"] for row in rows))
    return len(rows)
