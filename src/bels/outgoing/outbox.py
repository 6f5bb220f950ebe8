"""The outbox: every text that goes out is a row here first, written in the transaction that decides that it is owed.

A row is claimed for ``LEASE``, handed to its gateway, marked. Whoever dies between the last two leaves a row that is sent again
when the lease is over: at least once. A letter then has the same Message-ID, so that a mailbox shows it once; SMS and bots
have no such name, and a household may read a text twice after a crash, never more often than ``ATTEMPTS_MAX`` times.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

import asyncpg

from bels.access import personal
from bels.access.personal import phone_of, subject_of, tenure_of
from bels.access.raw_texts import RawTexts
from bels.access.vault import KeyDestroyed, NoSuchKey, Vault
from bels.domain.terms import Channel, Word
from bels.journal.write import Db
from bels.outgoing import choices
from bels.outgoing.choices import Topic
from bels.outgoing.jobs import wake
from bels.outgoing.results import Letter

ATTEMPTS_MAX = 8
"""Times a text is handed to a gateway that could not take it, over some two hours."""

BACKOFF_S = 60
BACKOFF_S_MAX = 3_600
LEASE = timedelta(minutes=5)
KEY_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 4_000
LETTER_BYTES_MAX = 5_000_000
ANSWER_LIVES = timedelta(days=2)
"""An answer that could not be sent for so long is of no use any more."""

KEPT = timedelta(days=365)
"""How long a household sees what it was told."""

_BODY = "outgoing text"
_TO = "outgoing address of a text"


class TextState(Word):
    """Where a text stands."""

    PLANNED = "PLANNED"
    """It waits for its time, or to be tried again."""
    SENT = "SENT"
    """A gateway took it."""
    DELIVERED = "DELIVERED"
    """The gateway says that it arrived."""
    FAILED = "FAILED"
    """It did not arrive, and is tried no more."""
    CANCELLED = "CANCELLED"
    """It was not needed any more when its time came, or nobody wants to hear it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A text that was claimed; ``address`` and ``body`` are sealed, and None where they are found when it is sent."""

    id: int
    key: str
    account: str
    tenure: int
    topic: Topic
    kind: str
    period: str | None
    entry: int | None
    channel: Channel | None
    address: bytes | None
    body: bytes | None
    until: datetime | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Told:
    """A text as its household sees it: ``text`` without links, "" where it was not sent or was erased."""

    id: int
    topic: Topic
    kind: str
    period: str | None
    channel: Channel | None
    state: TextState
    created_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    last_error: str | None
    text: str = field(repr=False)


def key_of(name: str) -> str:
    """Give a key of at most 64 characters for a name of any length; the same name always gives the same key."""
    return name if len(name) <= KEY_LENGTH_MAX and name.isascii() else sha256(name.encode()).hexdigest()


async def put_text(
    db: Db,
    vault: Vault,
    account: str,
    tenure: int,
    channel: Channel,
    address: str,
    text: str,
    key: str,
    *,
    now: datetime,
    kind: str = "ANSWER",
    until: datetime | None = None,
) -> bool:
    """Put a text for a household on its way, in the transaction of ``db``; False where its key came before.

    It is an answer to somebody who waits: neither quiet hours nor what the household chose hold it up.

    :raises ValueError: it is too long.
    :raises ChoiceError: bels does not speak first by this channel.
    :raises KeyDestroyed: the household was erased.
    """
    if not 1 <= len(text) <= TEXT_LENGTH_MAX:
        raise ValueError(f"a text has 1 to {TEXT_LENGTH_MAX} characters")
    subject, to = subject_of(account, tenure), choices.address_of(channel, address)
    async with db.transaction():
        sealed_to = await vault.seal(db, subject, to.encode(), _TO)
        sealed = await vault.seal(db, subject, text.encode(), _BODY)
        return await _put(db, key, account, tenure, kind, channel, sealed_to, sealed, now, until)


async def put_letter(
    db: Db,
    raw_texts: RawTexts,
    key: str,
    to: str,
    letter: Letter,
    *,
    now: datetime,
    kind: str = "ANSWER",
    until: datetime | None = None,
) -> bool:
    """Put a whole letter on its way to somebody of whom no account need be known; False where its key came before.

    Address and letter are sealed under a key of the installation, and deleted as soon as it is sent.

    :raises ValueError: it is too long.
    """
    if len(letter.message) > LETTER_BYTES_MAX:
        raise ValueError(f"a letter has at most {LETTER_BYTES_MAX} bytes")
    envelope = f"{letter.sender}\n{b64encode(letter.message).decode()}"
    sealed_to, sealed = raw_texts.sealed(to).encode(), raw_texts.sealed(envelope).encode()
    async with db.transaction():
        return await _put(db, key, "", 0, kind, Channel.EMAIL, sealed_to, sealed, now, until)


async def send_text_to_household(
    pool: asyncpg.Pool,
    vault: Vault,
    account: str,
    text: str,
    key: str,
    *,
    now: datetime,
    address: str | None = None,
    until: datetime | None = None,
) -> bool:
    """Put an SMS on its way to a phone that the household of now gave; False where it gave none, or not this one.

    Without ``address`` it is the first phone. The same key again is sent once.

    :raises PersonalDataError: the address is no phone.
    :raises MasterKeyError: the master key is another one.
    """
    async with pool.acquire() as db:
        tenure = await tenure_of(db, account)
        kept = await personal.find(db, vault, subject_of(account, tenure))
        phones = kept.phones if kept is not None else ()
        to = phone_of(address) if address is not None else next(iter(phones), None)
        if to is None or to not in phones:
            return False
        await put_text(db, vault, account, tenure, Channel.SMS, to, text, key, now=now, kind="CODE", until=until)
    return True


async def delivered(
    pool: asyncpg.Pool, key: str, state: TextState, *, now: datetime, code: str | None = None, provider_id: str = ""
) -> bool:
    """Take a gateway's report on a text by its key: it arrived (DELIVERED) or never will (FAILED); False where it is unknown.

    A report may come before we noted that the text was sent, twice, or late: what arrived stays so.
    """
    if state not in (TextState.DELIVERED, TextState.FAILED):
        raise ValueError("a report says DELIVERED or FAILED")
    arrived = state is TextState.DELIVERED
    async with pool.acquire() as db, db.transaction():
        row = await db.fetchrow("SELECT state, subscription FROM outbox WHERE key = $1 FOR UPDATE", key_of(key))
        if row is None:
            return False
        if row["state"] in ((TextState.DELIVERED,) if arrived else (TextState.DELIVERED, TextState.FAILED)):
            return True
        await db.execute(
            """
            UPDATE outbox SET state = $2, ended_at = $3, sent_at = coalesce(sent_at, $3), claimed_until = NULL,
                last_error = $4, provider_id = coalesce(nullif($5, ''), provider_id),
                address = NULL, body = CASE WHEN topic = 'ANSWER' THEN NULL ELSE body END
            WHERE key = $1
            """,
            key_of(key),
            state.value,
            now,
            None if arrived else code or "UNDELIVERED",
            provider_id,
        )
        if row["subscription"] is not None:
            if arrived:
                await choices.arrived(db, row["subscription"])
            else:
                await choices.did_not_arrive(db, row["subscription"], now)
    return True


async def claim(db: Db, now: datetime, limit: int, *, answers: bool) -> list[Waiting]:
    """Claim texts that are due, the oldest first: answers that somebody waits for, or what was chosen.

    What another process has under way is passed over; an attempt counts from here, so that a text that kills its sender
    ends too.
    """
    rows = await db.fetch(
        f"""
        UPDATE outbox SET claimed_until = $2, attempts = attempts + 1
        WHERE id IN (
            SELECT id FROM outbox
            WHERE state = 'PLANNED' AND not_before <= $1 AND (claimed_until IS NULL OR claimed_until <= $1)
              AND topic {"=" if answers else "<>"} 'ANSWER'
            ORDER BY not_before, id LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING id, key, account, tenure, topic, kind, period, entry, channel, address, body, until, attempts
        """,
        now,
        now + LEASE,
        limit,
    )
    return sorted(
        (
            Waiting(
                **{
                    **dict(row),
                    "topic": Topic(row["topic"]),
                    "channel": Channel(row["channel"]) if row["channel"] is not None else None,
                }
            )
            for row in rows
        ),
        key=lambda waiting: waiting.id,
    )


async def told_today(db: Db, households: Sequence[tuple[str, int]], since: datetime) -> dict[tuple[str, int], int]:
    """Count what households were told of what they chose, since the beginning of a day."""
    rows = await db.fetch(
        """
        SELECT o.account, o.tenure, count(*) AS told FROM outbox o
        JOIN unnest($1::text[], $2::int[]) AS home (account, tenure) USING (account, tenure)
        WHERE o.sent_at >= $3 AND o.topic <> 'ANSWER' GROUP BY 1, 2
        """,
        [account for account, _ in households],
        [tenure for _, tenure in households],
        since,
    )
    return {(row["account"], row["tenure"]): row["told"] for row in rows}


async def opened(db: Db, vault: Vault, raw_texts: RawTexts, waiting: Waiting) -> tuple[str, str | Letter] | None:
    """Open the address and the words of an answer; None where its household was erased."""
    if waiting.address is None or waiting.body is None:
        return None
    if not waiting.account:
        sender, _, message = raw_texts.opened(waiting.body.decode()).partition("\n")
        return raw_texts.opened(waiting.address.decode()), Letter(b64decode(message), sender)
    subject = subject_of(waiting.account, waiting.tenure)
    try:
        to = await vault.unseal(db, subject, waiting.address, _TO)
        return to.decode(), (await vault.unseal(db, subject, waiting.body, _BODY)).decode()
    except (KeyDestroyed, NoSuchKey):
        return None


async def mark_sent(
    db: Db,
    vault: Vault,
    waiting: Waiting,
    state: TextState,
    now: datetime,
    *,
    channel: Channel,
    subscription: int | None,
    provider_id: str,
    text: str | None,
) -> None:
    """Note that a gateway took a text; ``text`` is kept for its household, without links."""
    async with db.transaction():
        kept = None
        if text is not None:
            try:
                kept = await vault.seal(db, subject_of(waiting.account, waiting.tenure), text.encode(), _BODY)
            except KeyDestroyed:
                kept = None
        # A report may have come before: what it says stays, and only now it is known of which address it says so.
        came_to = await db.fetchval(
            """
            UPDATE outbox SET
                state = CASE WHEN state = 'PLANNED' THEN $2 ELSE state END, sent_at = $3, claimed_until = NULL,
                ended_at = CASE WHEN $2 = 'DELIVERED' THEN $3 ELSE ended_at END,
                last_error = CASE WHEN state = 'FAILED' THEN last_error END,
                channel = $4, subscription = $5, provider_id = coalesce(nullif($6, ''), provider_id),
                address = NULL, body = $7
            WHERE id = $1 RETURNING state
            """,
            waiting.id,
            state.value,
            now,
            channel.value,
            subscription,
            provider_id,
            kept,
        )
        if subscription is not None and came_to == TextState.FAILED:
            await choices.did_not_arrive(db, subscription, now)
        elif subscription is not None and came_to == TextState.DELIVERED:
            await choices.arrived(db, subscription)


async def mark_again(
    db: Db, waiting: Waiting, code: str, now: datetime, after_s: float | None, *, counts: bool = True
) -> None:
    """Put a text back: after what its gateway asked for, else after a wait that doubles; the last attempt ends it.

    It waits no longer than it is of use. ``counts`` is false where no gateway was asked.
    """
    attempts = waiting.attempts if counts else waiting.attempts - 1
    if attempts >= ATTEMPTS_MAX:
        await mark_ended(db, waiting, TextState.FAILED, code, now)
        return
    wait_s = min(BACKOFF_S * 2 ** max(0, attempts - 1), BACKOFF_S_MAX)
    not_before = now + timedelta(seconds=wait_s if after_s is None else max(after_s, 1.0))
    await db.execute(
        """
        UPDATE outbox SET not_before = $2, attempts = $3, last_error = $4, claimed_until = NULL
        WHERE id = $1 AND state = 'PLANNED'
        """,
        waiting.id,
        not_before,
        attempts,
        code,
    )


async def mark_ended(db: Db, waiting: Waiting, state: TextState, code: str, now: datetime) -> None:
    """End a text that is sent no more: it failed, or is not needed."""
    await db.execute(
        """
        UPDATE outbox SET state = $2, last_error = $3, ended_at = $4, claimed_until = NULL, address = NULL, body = NULL
        WHERE id = $1 AND state = 'PLANNED'
        """,
        waiting.id,
        state.value,
        code,
        now,
    )


async def page(db: Db, vault: Vault, account: str, tenure: int, before: int | None, limit: int) -> list[Told]:
    """List a page of what a household was told or is to be told of what it chose, the newest first, ``before`` an id."""
    rows = await db.fetch(
        """
        SELECT id, topic, kind, period, channel, state, created_at, sent_at, ended_at, last_error, body FROM outbox
        WHERE account = $1 AND tenure = $2 AND topic <> 'ANSWER' AND ($3::bigint IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        """,
        account,
        tenure,
        before,
        limit,
    )
    told = []
    for row in rows:
        text = ""
        if row["body"] is not None:
            try:
                # The key of the one household is at hand after the first.
                text = (await vault.unseal(db, subject_of(account, tenure), row["body"], _BODY)).decode()
            except (KeyDestroyed, NoSuchKey):
                text = ""
        told.append(
            Told(
                row["id"],
                Topic(row["topic"]),
                row["kind"],
                row["period"],
                Channel(row["channel"]) if row["channel"] is not None else None,
                TextState(row["state"]),
                row["created_at"],
                row["sent_at"],
                row["ended_at"],
                row["last_error"],
                text,
            )
        )
    return told


async def forget_texts(db: Db, now: datetime) -> int:
    """Forget texts that are over for long, and those of households that have left or were erased; count them."""
    tag = await db.execute(
        """
        DELETE FROM outbox o
        WHERE created_at < $1
           OR EXISTS (SELECT FROM tenure t WHERE t.account = o.account AND t.number > o.tenure)
           OR EXISTS (SELECT FROM bels_keys.data_key k
                      WHERE k.subject = o.account || '/' || o.tenure AND k.wrapped IS NULL)
        """,
        now - KEPT,
    )
    return int(tag.rpartition(" ")[2])


async def _put(
    db: Db,
    key: str,
    account: str,
    tenure: int,
    kind: str,
    channel: Channel,
    address: bytes,
    body: bytes,
    now: datetime,
    until: datetime | None,
) -> bool:
    put = await db.fetchval(
        """
        INSERT INTO outbox (key, account, tenure, topic, kind, channel, address, body, state, not_before, until, created_at)
        VALUES ($1, $2, $3, 'ANSWER', $4, $5, $6, $7, 'PLANNED', $8, $9, $8) ON CONFLICT (key) DO NOTHING RETURNING true
        """,
        key_of(key),
        account,
        tenure,
        kind,
        channel.value,
        address,
        body,
        now,
        until or now + ANSWER_LIVES,
    )
    if put:
        await wake(db)
    return bool(put)
