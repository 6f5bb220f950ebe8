"""What a household chose to hear, and by which channel; how it stops; what happens to an address that nobody is reached at.

A choice belongs to a tenure and its address is sealed under that tenure's key: it ends with the household, and with erasure.
Whoever has the signed link of a letter stops what it came with, without logging in; so does whoever writes СТОП.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from bels.access.callers import sender_digest
from bels.access.door import SENDER_KEY
from bels.access.personal import email_of, phone_of, subject_of
from bels.access.vault import KeyDestroyed, NoSuchKey, Vault
from bels.domain.terms import Channel, Word
from bels.journal.write import Db

UNSUBSCRIBE_KEY = "unsubscribe"
"""The named key that signs the links of letters."""

ADDRESS_LENGTH_MAX = 254
FAILURES_MAX = 3
"""Texts in a row that did not arrive, by the gateway's own reports, before an address counts as dead."""

TOKEN_LENGTH = 32
_NUMBER_BYTES = 8
_SIGNATURE_BYTES = 16
_ABOUT = "outgoing address"


class Topic(Word):
    """What a text is about, as a household chooses it; answers are sent whatever it chose."""

    REMINDERS = "REMINDERS"
    """That readings are awaited."""
    NOTICES = "NOTICES"
    """What became of them, and of the bills."""
    ANSWER = "ANSWER"
    """What somebody asked for just now: a code, the answer to a letter. Never chosen."""


CHOSEN = (Topic.REMINDERS, Topic.NOTICES)
"""The topics that can be chosen."""

CHANNELS = (Channel.SMS, Channel.EMAIL, Channel.TELEGRAM, Channel.MAX)
"""The channels by which bels speaks first."""

LINKED_ONLY = (Channel.TELEGRAM, Channel.MAX)
"""Channels whose addresses no household writes down: a chat is its own as long as it is linked to the account."""


class ChoiceError(ValueError):
    """Such a choice cannot be kept; the sentence is for developers and repeats no address."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A channel of a household: ``address`` in clear, "" where its key is gone; ``topics`` is empty after it was stopped.

    ``digest`` is how the sender of the same address is known.
    """

    number: int
    account: str
    tenure: int
    channel: Channel
    topics: tuple[Topic, ...]
    address: str = field(repr=False)
    digest: str = ""
    chosen_at: datetime | None = None
    dead_at: datetime | None = None


def address_of(channel: Channel, address: str) -> str:
    """Give an address of a channel in its one form.

    :raises ChoiceError: bels does not speak first by this channel, or it is no chat.
    :raises PersonalDataError: it is no phone or no e-mail.
    """
    if channel not in CHANNELS:
        raise ChoiceError(f"bels speaks by {', '.join(CHANNELS)}, not by {channel}")
    if channel is Channel.SMS:
        return phone_of(address)
    if channel is Channel.EMAIL:
        return email_of(address)
    if not 1 <= len(address) <= ADDRESS_LENGTH_MAX or not address.isprintable():
        raise ChoiceError("a chat has an id of 1 to 254 characters")
    return address


async def digest_of(vault: Vault, address: str) -> str:
    """Give the keyed digest under which a sender is known.

    :raises MasterKeyError: the master key is another one.
    """
    return sender_digest(address, await vault.named_key(SENDER_KEY))


async def choose(
    db: Db,
    vault: Vault,
    account: str,
    tenure: int,
    channel: Channel,
    address: str,
    topics: Iterable[Topic],
    by: str,
    now: datetime,
) -> Choice:
    """Keep which topics a household hears by a channel, in place of what it chose of that channel before.

    Without topics the address alone is kept, so that they can be chosen later. Who may choose is the caller's to know.

    :raises ChoiceError: there is no such choice.
    :raises PersonalDataError: the address is no phone or no e-mail.
    :raises KeyDestroyed: the household was erased.
    """
    chosen = tuple(dict.fromkeys(topics))
    if not set(chosen) <= set(CHOSEN):
        raise ChoiceError(f"topics are {', '.join(CHOSEN)}")
    plain = address_of(channel, address)
    digest = await digest_of(vault, plain)
    async with db.transaction():
        sealed = await vault.seal(db, subject_of(account, tenure), plain.encode(), _ABOUT)
        # What is chosen anew is alive again, and hears what happens from now on.
        number = await db.fetchval(
            """
            INSERT INTO subscription (account, tenure, channel, topics, sealed, digest, chosen_by, chosen_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (account, tenure, channel) DO UPDATE SET
                topics = excluded.topics, sealed = excluded.sealed, digest = excluded.digest,
                chosen_by = excluded.chosen_by, chosen_at = excluded.chosen_at, failures = 0, dead_at = NULL, dead_code = NULL
            RETURNING number
            """,
            account,
            tenure,
            channel.value,
            [topic.value for topic in chosen],
            sealed,
            digest,
            by,
            now,
        )
    return Choice(number, account, tenure, channel, chosen, plain, digest, now)


async def stop(
    db: Db, account: str, tenure: int, channel: Channel | None = None, topics: Sequence[Topic] = CHOSEN
) -> int:
    """Stop topics of a household, on one channel or on all; count the channels on which something ended."""
    tag = await db.execute(
        """
        UPDATE subscription
           SET topics = ARRAY(SELECT topic FROM unnest(topics) AS topic WHERE topic <> ALL($4::text[]))
         WHERE account = $1 AND tenure = $2 AND ($3::text IS NULL OR channel = $3) AND topics && $4::text[]
        """,
        account,
        tenure,
        channel.value if channel is not None else None,
        [topic.value for topic in topics],
    )
    return int(tag.rpartition(" ")[2])


async def unsubscribe_sender(db: Db, channel: Channel, digest: str) -> int:
    """Stop everything that goes to a sender's address, of whatever accounts: it wrote СТОП. Count the accounts.

    ``digest`` is that of ``Counter.sender(channel, address)``.
    """
    if not digest:
        return 0
    tag = await db.execute(
        "UPDATE subscription SET topics = '{}' WHERE digest = $1 AND channel = $2 AND topics <> '{}'",
        digest,
        channel.value,
    )
    return int(tag.rpartition(" ")[2])


async def unsubscribe_token(vault: Vault, number: int) -> str:
    """Sign the number of a choice for the link of a letter: 32 characters of an URL."""
    named = number.to_bytes(_NUMBER_BYTES, "big")
    return urlsafe_b64encode(named + await _signed(vault, named)).decode()


async def unsubscribe(db: Db, vault: Vault, token: str) -> bool:
    """Stop what a signed link is for; False where it is not ours. The same link again changes nothing."""
    number = await opened_token(vault, token)
    if number is None:
        return False
    await db.execute("UPDATE subscription SET topics = '{}' WHERE number = $1", number)
    return True


async def opened_token(vault: Vault, token: str) -> int | None:
    """Give the number of the choice that a link is for; None where its signature is not ours."""
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    try:
        raw = urlsafe_b64decode(token)
    except (Error, ValueError):
        return None
    named, signature = raw[:_NUMBER_BYTES], raw[_NUMBER_BYTES:]
    if not hmac.compare_digest(signature, await _signed(vault, named)):
        return None
    return int.from_bytes(named, "big")


async def of_household(db: Db, vault: Vault, account: str, tenure: int) -> list[Choice]:
    """Give the channels of a household, those first that were named first; none after erasure."""
    return (await of_households(db, vault, [(account, tenure)]))[account, tenure]


async def of_households(
    db: Db, vault: Vault, households: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], list[Choice]]:
    """Give the channels of households, in one statement and as many keys as are not at hand."""
    named = list(dict.fromkeys(households))
    rows = await db.fetch(
        """
        SELECT s.number, s.account, s.tenure, channel, topics, sealed, digest, chosen_at, dead_at FROM subscription s
        JOIN unnest($1::text[], $2::int[]) AS home (account, tenure) USING (account, tenure) ORDER BY s.number
        """,
        [account for account, _ in named],
        [tenure for _, tenure in named],
    )
    found: dict[tuple[str, int], list[Choice]] = {household: [] for household in named}
    with suppress(NoSuchKey):
        # One statement brings all keys at hand; what has none is left out below.
        await vault.unseal_many(db, {subject_of(r["account"], r["tenure"]): r["sealed"] for r in rows}, _ABOUT)
    for row in rows:
        subject = subject_of(row["account"], row["tenure"])
        try:
            address = (await vault.unseal(db, subject, row["sealed"], _ABOUT)).decode()
        except (KeyDestroyed, NoSuchKey):
            continue
        found[row["account"], row["tenure"]].append(
            Choice(
                row["number"],
                row["account"],
                row["tenure"],
                Channel(row["channel"]),
                tuple(map(Topic, row["topics"])),
                address,
                row["digest"],
                row["chosen_at"],
                row["dead_at"],
            )
        )
    return found


async def died(db: Db, number: int, code: str, now: datetime) -> None:
    """Note that nobody is reached at the address of a choice any more."""
    await db.execute(
        "UPDATE subscription SET dead_at = $2, dead_code = $3 WHERE number = $1 AND dead_at IS NULL", number, now, code
    )


async def died_at(db: Db, channel: Channel, digest: str, code: str, now: datetime) -> int:
    """Note that nobody is reached at a sender's address any more, of whatever accounts; count them.

    ``digest`` is that of ``Counter.sender(channel, address)``: a bot was blocked while it answered.
    """
    tag = await db.execute(
        "UPDATE subscription SET dead_at = $3, dead_code = $4 WHERE digest = $1 AND channel = $2 AND dead_at IS NULL",
        digest,
        channel.value,
        now,
        code,
    )
    return int(tag.rpartition(" ")[2])


async def arrived(db: Db, number: int) -> None:
    """Note that a text arrived at the address of a choice."""
    await db.execute("UPDATE subscription SET failures = 0 WHERE number = $1 AND failures > 0", number)


async def did_not_arrive(db: Db, number: int, now: datetime) -> None:
    """Note that a text did not arrive; after ``FAILURES_MAX`` in a row the address is dead."""
    await db.execute(
        """
        UPDATE subscription SET failures = failures + 1,
            dead_at = CASE WHEN failures + 1 >= $3 THEN coalesce(dead_at, $2) ELSE dead_at END,
            dead_code = CASE WHEN failures + 1 >= $3 THEN coalesce(dead_code, 'UNDELIVERED') ELSE dead_code END
        WHERE number = $1
        """,
        number,
        now,
        FAILURES_MAX,
    )


async def forget_households(db: Db) -> int:
    """Forget the choices of households that have left or were erased; count them."""
    tag = await db.execute(
        """
        DELETE FROM subscription s
        WHERE EXISTS (SELECT FROM tenure t WHERE t.account = s.account AND t.number > s.tenure)
           OR EXISTS (SELECT FROM bels_keys.data_key k
                      WHERE k.subject = s.account || '/' || s.tenure AND k.wrapped IS NULL)
        """
    )
    return int(tag.rpartition(" ")[2])


async def _signed(vault: Vault, named: bytes) -> bytes:
    key = await vault.named_key(UNSUBSCRIBE_KEY)
    return hmac.digest(key, b"unsubscribe " + named, sha256)[:_SIGNATURE_BYTES]
