"""What waits for a person: calls and chats that were handed over, and messages that nobody could read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from bels.domain.terms import Channel, Word
from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.messages import TryLater

TALK_LENGTH_MAX = 100


class HandOverReason(Word):
    """Why a call or a chat waits for a person."""

    ASKED = "ASKED"
    """The sender asked for one."""
    THREE_TRIES = "THREE_TRIES"
    """It could not be understood three times."""
    HELD_READING = "HELD_READING"
    """A reading is held that only an operator may decide."""
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class HandOver:
    """A call or a chat that waits: which talk on which channel, about which account where that is known.

    ``talk`` names the talk without personal data. ``taken_by`` is the operator who has it, ``done_at`` when it was over.
    """

    number: int
    channel: Channel
    talk: str
    account: str | None
    reason: HandOverReason
    at: datetime
    taken_by: str | None
    taken_at: datetime | None
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Unread:
    """A message that nobody could read: its receipt, when and how it came, its words as they are kept (sealed or digits)."""

    receipt: str
    channel: Channel
    recorded_at: datetime
    raw: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an operator did with such a message; ``account`` is the one that it was about, where that came out."""

    receipt: str
    note: str
    account: str | None
    by: str
    at: datetime


_HAND_OVER = "number, channel, talk, account, reason, at, taken_by, taken_at, done_at"


async def hand_over(
    pool: asyncpg.Pool, channel: Channel, talk: str, account: str | None, reason: HandOverReason, now: datetime
) -> int:
    """Let a talk wait for a person, and give its number; a talk that waits already waits no second time.

    :raises TryLater: the database cannot be reached.
    :raises ValueError: the talk has no name, or too long a one.
    """
    if not 1 <= len(talk) <= TALK_LENGTH_MAX:
        raise ValueError(f"a talk has a name of 1 to {TALK_LENGTH_MAX} characters")
    try:
        async with pool.acquire() as db:
            # The update changes nothing but makes a row that is there already the answer.
            number: int = await db.fetchval(
                """
                INSERT INTO hand_over (channel, talk, account, reason, at) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (channel, talk) WHERE done_at IS NULL
                DO UPDATE SET account = coalesce(hand_over.account, excluded.account)
                RETURNING number
                """,
                channel.value,
                talk,
                account,
                reason.value,
                now,
            )
        return number
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error


async def hand_overs(db: Db, after: tuple[datetime, int] | None, limit: int) -> list[HandOver]:
    """List the talks that wait or are under way, oldest first, after a moment and a number."""
    at, number = after or (None, None)
    rows = await db.fetch(
        f"""
        SELECT {_HAND_OVER} FROM hand_over
         WHERE done_at IS NULL AND ($1::timestamptz IS NULL OR (at, number) > ($1, $2::bigint))
         ORDER BY at, number LIMIT $3
        """,
        at,
        number,
        limit,
    )
    return [_hand_over(row) for row in rows]


async def take_hand_over(db: Db, number: int, by: str, now: datetime) -> HandOver | None:
    """Take a talk as an operator and give it as it stands: of two who take it at once, one is ``taken_by``. None: no such talk."""
    await db.execute(
        "UPDATE hand_over SET taken_by = $2, taken_at = $3 WHERE number = $1 AND taken_by IS NULL AND done_at IS NULL",
        number,
        by,
        now,
    )
    return await find_hand_over(db, number)


async def finish_hand_over(db: Db, number: int, by: str, note: str, now: datetime) -> HandOver | None:
    """Finish a talk as the operator who has it, or who took it just now, and give it as it stands; None: no such talk."""
    await db.execute(
        """
        UPDATE hand_over SET taken_by = $2, taken_at = coalesce(taken_at, $3), done_at = $3, note = $4
         WHERE number = $1 AND coalesce(taken_by, $2) = $2 AND done_at IS NULL
        """,
        number,
        by,
        now,
        note,
    )
    return await find_hand_over(db, number)


async def find_hand_over(db: Db, number: int) -> HandOver | None:
    """Find a talk by its number."""
    row = await db.fetchrow(f"SELECT {_HAND_OVER} FROM hand_over WHERE number = $1", number)
    return _hand_over(row) if row is not None else None


# The condition of the index message_not_understood_idx, word for word.
_NOT_UNDERSTOOD = "status = 'REFUSED' AND first_version IS NULL AND position('\"NOT_UNDERSTOOD\"'::bytea IN answer) > 0"


async def not_understood(db: Db, after: tuple[datetime, str] | None, limit: int) -> list[Unread]:
    """List the messages that nobody could read and no operator resolved, oldest first, after a moment and a receipt."""
    at, receipt = after or (None, None)
    rows = await db.fetch(
        f"""
        SELECT receipt, channel, recorded_at, raw FROM message
         WHERE {_NOT_UNDERSTOOD} AND ($1::timestamptz IS NULL OR (recorded_at, receipt) > ($1, $2::text))
           AND NOT EXISTS (SELECT FROM message_resolved WHERE message_resolved.receipt = message.receipt)
         ORDER BY recorded_at, receipt LIMIT $3
        """,
        at,
        receipt,
        limit,
    )
    return [Unread(row["receipt"], Channel(row["channel"]), row["recorded_at"], row["raw"]) for row in rows]


async def resolve(
    db: Db, receipt: str, note: str, account: str | None, by: str, now: datetime
) -> tuple[Resolved, bool] | None:
    """Note what was done with a message that nobody could read; True where it was resolved before, None: it is no such message."""
    row = await db.fetchrow(
        f"""
        INSERT INTO message_resolved (receipt, note, account, by, at)
        SELECT receipt, $2, $3, $4, $5 FROM message WHERE receipt = $1 AND {_NOT_UNDERSTOOD}
        ON CONFLICT (receipt) DO NOTHING RETURNING receipt, note, account, by, at
        """,
        receipt,
        note,
        account,
        by,
        now,
    )
    if row is not None:
        return Resolved(**dict(row)), False
    row = await db.fetchrow("SELECT receipt, note, account, by, at FROM message_resolved WHERE receipt = $1", receipt)
    return (Resolved(**dict(row)), True) if row is not None else None


def _hand_over(row: asyncpg.Record) -> HandOver:
    values = dict(row)
    return HandOver(
        **{**values, "channel": Channel(values["channel"]), "reason": HandOverReason(values["reason"])},
    )
