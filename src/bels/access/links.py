"""One-task links: send the reading of this account, pay this bill. Each is opened once, and ends with its task or its time.

A link is 256 random bits; the table has their keyed digest. Whoever holds it needs nothing else, so it is for one account and
one task, lives for days at most, and goes with its household.

A program opens a link for a token of GraphQL (``open_link``). A page looks at it as often as somebody asks, since mail scanners
ask too (``peek``), and carries its task out when somebody says so (``carry_out``): once, but the same attempt again is the same.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from bels.access import acts
from bels.access.callers import TASKS
from bels.access.people import new_id
from bels.access.store import tell_change
from bels.access.tenures import hold_account, is_account
from bels.access.vault import Vault
from bels.access.words import AccessReason, Refused
from bels.domain.account import Situation
from bels.domain.terms import Channel, Reason, Word
from bels.journal.write import Db

LINK_PREFIX = "bels_l_"
"""What a scanner for leaked secrets looks for."""

LINK_LENGTH = len(LINK_PREFIX) + 43
LIVES_S = 3 * 24 * 3600
LIVES_S_MAX = 7 * 24 * 3600
LINKS_MAX = 10
"""Living links of an account; one that was opened counts until its time is over."""

CONFIRM = "confirm"
"""The task of a link that confirms one held reading: only its page carries it out, GraphQL knows no such task."""

CONFIRM_LINKS_MAX = 10
"""Living links of an account that confirm: strangers cause them, so they take no place of the household's own."""

PAGE = "/l/"

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


class LinkState(Word):
    """How a link stands."""

    LIVING = "LIVING"
    DONE = "DONE"
    REVOKED = "REVOKED"
    OVER = "OVER"
    """Its time is over."""


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A link as its page sees it. ``attempt`` is the key under which its task was last carried out."""

    link: str
    account: str
    task: str
    expires_at: datetime
    done_at: datetime | None
    state: LinkState
    about: str | None
    attempt: str | None


@dataclass(frozen=True, slots=True)
class Confirms:
    """What a link confirms: the receipt of a held reading, in the name of a sender (its keyed digest) on its channel."""

    receipt: str
    channel: Channel
    sender: str


def link_url(public_url: str, token: str) -> str:
    """Give the address of a link's page, as it stands in a letter; ``public_url`` is how consumers reach us."""
    return f"{public_url.rstrip('/')}{PAGE}{token}"


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
            WHERE account = $1 AND expires_at > $2 AND done_at IS NULL AND revoked_at IS NULL AND task <> $3
            """,
            account,
            now,
            CONFIRM,
        )
        if living >= LINKS_MAX:
            return Refused(AccessReason.LIMIT_REACHED)
        await _forget(db, account, now)
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


async def make_confirm_link(
    db: Db, vault: Vault, account: str, receipt: str, sender_digest: str, channel: Channel, now: datetime
) -> str | None:
    """Make a link that confirms a held reading for the sender to whom it is sent, and give its token.

    Whoever opens it has proven to read what is sent to that address, and no more: unless the address is linked to the account,
    it confirms what an unlinked sender may send. None: too many wait already for this account.

    :raises ValueError: it is no number of an account.
    """
    link, token = new_id("l"), LINK_PREFIX + secrets.token_urlsafe(32)
    about = msgspec.json.encode(Confirms(receipt, channel, sender_digest)).decode()
    digest = await vault.digest("links", token)
    async with db.transaction():
        await hold_account(db, account)
        made = await db.fetchval(
            """
            INSERT INTO task_link (token, link, account, task, made_by, created_at, expires_at, about)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8
            WHERE $9 > (
                SELECT count(*) FROM task_link
                WHERE account = $3 AND task = $4 AND expires_at > $6 AND done_at IS NULL AND revoked_at IS NULL
            ) RETURNING link
            """,
            digest,
            link,
            account,
            CONFIRM,
            f"{channel.value}:{sender_digest}",
            now,
            now + timedelta(seconds=LIVES_S),
            about,
            CONFIRM_LINKS_MAX,
        )
        await _forget(db, account, now)
    return token if made is not None else None


def confirms(link: SeenLink) -> Confirms | None:
    """Say what a link confirms, None where it is for something else."""
    if link.task != CONFIRM or link.about is None:
        return None
    return msgspec.json.decode(link.about, type=Confirms)


async def peek(db: Db, vault: Vault, token: str, now: datetime) -> SeenLink | None:
    """Look at a link without opening it, None for an unknown one: whatever fetches a letter's links ahead does no harm."""
    if not _is_token(token):
        return None
    row = await db.fetchrow(
        """
        SELECT link, account, task, expires_at, done_at, about, attempt, CASE
            WHEN revoked_at IS NOT NULL THEN 'REVOKED' WHEN done_at IS NOT NULL THEN 'DONE'
            WHEN expires_at <= $2 THEN 'OVER' ELSE 'LIVING' END AS state
        FROM task_link WHERE token = $1
        """,
        await vault.digest("links", token),
        now,
    )
    return SeenLink(**{**row, "state": LinkState(row["state"])}) if row is not None else None


async def carry_out(db: Db, vault: Vault, token: str, attempt: str, now: datetime) -> bool:
    """Begin the task of a link: it is done before it is begun, so of many at once one is carried out.

    The attempt that did it may come again, by a second click or after an answer that was lost: its message has the same name
    and is not taken twice. False where the link is unknown, over, revoked or done by another attempt.
    """
    if not _is_token(token):
        return False
    async with db.transaction():
        link = await db.fetchval(
            """
            UPDATE task_link SET opened_at = coalesce(opened_at, $2), done_at = coalesce(done_at, $2), attempt = $3
            WHERE token = $1 AND revoked_at IS NULL
              AND (done_at IS NULL AND expires_at > $2 OR done_at IS NOT NULL AND attempt = $3)
            RETURNING link
            """,
            await vault.digest("links", token),
            now,
            attempt,
        )
        if link is not None:
            await tell_change(db, link)
    return link is not None


async def open_link(db: Db, vault: Vault, token: str, now: datetime) -> OpenedLink | None:
    """Open a link, which can be done once; None for one that is unknown, over, revoked or was opened before."""
    if not _is_token(token):
        return None
    row = await db.fetchrow(
        """
        UPDATE task_link SET opened_at = $2
        WHERE token = $1 AND opened_at IS NULL AND done_at IS NULL AND revoked_at IS NULL AND expires_at > $2
          AND task <> $3
        RETURNING link, account, task, expires_at
        """,
        await vault.digest("links", token),
        now,
        CONFIRM,
    )
    return OpenedLink(**row) if row is not None else None


async def done(db: Db, link: str, now: datetime) -> bool:
    """Note that the task of a link is carried out: what it let in is let in no more. False where it was over already."""
    return await _end(db, link, "done_at", now)


async def not_done(db: Db, link: str, attempt: str | None = None) -> None:
    """Take back that the task of a link was carried out, by this attempt of its page: it was refused, and may be tried again."""
    async with db.transaction():
        await db.execute(
            """
            UPDATE task_link SET done_at = NULL, attempt = NULL
            WHERE link = $1 AND revoked_at IS NULL AND attempt IS NOT DISTINCT FROM $2
            """,
            link,
            attempt,
        )
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


async def _forget(db: Db, account: str, now: datetime) -> None:
    await db.execute("DELETE FROM task_link WHERE account = $1 AND expires_at < $2", account, now - FORGOTTEN_AFTER)


def _is_token(token: str) -> bool:
    return len(token) == LINK_LENGTH and token.startswith(LINK_PREFIX) and token.isascii()
