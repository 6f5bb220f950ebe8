"""One-time codes: whoever holds one links its phone, chat or e-mail to an account (channels 1).

A household makes a code in its cabinet, or lets one be sent to the phone that it gave. The table has keyed digests of codes. A
code is for the household of now: it ends with its time, with its use and with the sale of the flat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from re import compile as pattern

from bels.access.quota import spend
from bels.access.tenures import find_tenure, hold_account, is_account
from bels.access.throttle import TooManyAttempts
from bels.access.words import AccessReason, Refused
from bels.domain.account import Situation
from bels.domain.commands import LinkChannel, UnlinkChannel
from bels.domain.events import ChannelLinked, CommandRefused, ReadingRefused
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel, Reason
from bels.journal.codec import to_entry
from bels.journal.faults import UNAVAILABLE
from bels.journal.journal import find_messages
from bels.journal.receipts import RECEIPT_ALPHABET, new_receipts
from bels.journal.write import Db
from bels.messages import Message, Outcome, Status, TryLater
from bels.projections import overview
from bels.reception.counter import Answer, Counter, Sender, speaks_for, take
from bels.words import Words, answer

LIVES = timedelta(minutes=15)
LIVING_MAX = 5
"""Living codes of an account: more would only help whoever guesses."""

FORGOTTEN_AFTER = timedelta(days=90)
"""How long a code that is over is still kept, for whoever asks what became of it."""

SENT_A_DAY = 3
"""Codes that go to the phone of one account in a day, and that one sender may ask for: each is an SMS to somebody."""

CODE_LENGTH = 8
CODE_DIGEST = "link codes"
"""The named key of the codes' digests."""

NAME_LENGTH = 4
"""Signs by which a household tells its senders apart."""

LINKINGS_MAX = 200
"""Linkings of an account that are looked at, the last ones; 50 may stand at once."""

BOT_LINKS = {Channel.TELEGRAM: "https://t.me/{name}?start={code}", Channel.MAX: "https://max.ru/{name}?start={code}"}
"""How a messenger opens a bot with a payload."""

UNDONE_GROUND = "код выдан прежнему абоненту"
"""What the journal says of a sender that came in while the flat changed hands."""

NOT_FITTING = Words("Код не подошёл: он неверный, использован или истёк", "Возьмите новый код в личном кабинете")

_WHAT = "code"
_SIGNS = pattern(r"[\s.\-–—]+")
_LETTERS = str.maketrans("АВСЕНКМРТХУ", "ABCEHKMPTXY")
"""Cyrillic letters that look like Latin ones: a code is copied by hand."""

Send = Callable[[str, str], Awaitable[bool]]
"""Send a text to the phone of an account's household; False where there is none, or nothing can be sent."""


@dataclass(frozen=True, slots=True)
class Code:
    """A new code, told this once; ``expires_at`` is when it is worth nothing."""

    account: str
    code: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Claimed:
    account: str
    tenure: int


async def make_code(counter: Counter, account: str, made_by: str, request_id: str = "") -> Code | Refused:
    """Make a code that links a sender to an account, for the household of now.

    ``made_by`` is who asks: a person, or a sender by its digest.
    """
    if not is_account(account):
        return Refused(Reason.UNKNOWN_ACCOUNT)
    now = counter.now()
    code, expires_at = next(new_receipts(1)), now + LIVES
    digest = await counter.door.vault.digest(CODE_DIGEST, code)
    async with counter.pool.acquire() as db, db.transaction():
        # Nobody comes in while the cabinet of the account is being closed, and no two count the living codes at once.
        await hold_account(db, account)
        situation = await db.fetchval("SELECT situation FROM overview WHERE account = $1", account)
        if situation != Situation.OPEN:
            closed = situation == Situation.CLOSED
            return Refused(Reason.ACCOUNT_CLOSED if closed else Reason.UNKNOWN_ACCOUNT)
        living = await db.fetchval(
            "SELECT count(*) FROM link_code WHERE account = $1 AND expires_at > $2 AND used_at IS NULL", account, now
        )
        if living >= LIVING_MAX:
            return Refused(AccessReason.LIMIT_REACHED)
        await db.execute("DELETE FROM link_code WHERE account = $1 AND expires_at < $2", account, now - FORGOTTEN_AFTER)
        await db.execute(
            """
            INSERT INTO link_code (code, account, tenure, made_by, created_at, expires_at, request_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            digest,
            account,
            (await find_tenure(db, account)).number,
            made_by,
            now,
            expires_at,
            request_id,
        )
    return Code(account, code, expires_at)


async def send_code(counter: Counter, account: str, sender: Sender, send: Send, request_id: str = "") -> bool:
    """Let a code be sent to the phone that the account's household gave; False where too many were asked for today.

    Nothing else is told: whether there is such an account, and whether a phone of it is known, is nobody's business.
    """
    limits = {("codes to", account): SENT_A_DAY, ("codes for", sender.actor): SENT_A_DAY}
    async with counter.pool.acquire() as db:
        if not await spend(db, counter.door.vault, limits, moscow_date(counter.now())):
            return False
    made = await make_code(counter, account, sender.actor, request_id)
    if isinstance(made, Code):
        await send(account, text_of(made))
    return True


def text_of(code: Code) -> str:
    """Write a code into one SMS."""
    return f"БЭЛС: код {code.code} для л/с {code.account}. Никому не сообщайте"


async def use_code(
    counter: Counter, sender: Sender, code: str, message_id: str, raw: str, request_id: str = ""
) -> Answer:
    """Link the sender by a code, and word the answer; the same message again hears the same.

    ``raw`` is the message as it came, sealed where it holds more than digits. Guessing is slowed down by the throttle; what is
    refused is stored like every message.

    :raises TryLater: nothing was stored: the same message may come again.
    """
    try:
        return await _used(counter, sender, normalised_code(code), message_id, raw, request_id)
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error


async def _used(counter: Counter, sender: Sender, code: str, message_id: str, raw: str, request_id: str) -> Answer:
    async with counter.pool.acquire() as db:
        came_before = bool(await find_messages(db, [(sender.channel.value, message_id)]))
    if came_before:
        # Whatever the command is, a message that came before is answered from the journal.
        return await _refused(counter, sender, Reason.NOT_LINKED, message_id, raw, request_id)
    if not sender.digest or not sender.proven:
        return await _refused(counter, sender, Reason.BAD_ADDRESS, message_id, raw, request_id)
    throttle, who = counter.door.throttle, sender.actor
    try:
        await throttle.check(_WHAT, who, who)
    except TooManyAttempts:
        return await _refused(counter, sender, Reason.TOO_MANY_MESSAGES, message_id, raw, request_id)
    try:
        claimed = await _claim(counter, code, f"{sender.channel.value}/{message_id}")
    except UNAVAILABLE:
        # The try was not made, through a fault of ours.
        await _withdraw(counter, who)
        raise
    if claimed is None:
        account = await _linked_by(counter, sender, code)
        if account is not None:
            # A second tap, or an operator's own repeat of an SMS: nobody guesses, and nothing is linked again.
            await _withdraw(counter, who)
            command = LinkChannel(sender.channel, sender.digest, counter.now())
            outcome = await counter.intake.submit(
                Message(sender.channel, message_id, who, account, command, raw, request_id)
            )
            return Answer(outcome, _words(outcome), linked=True)
        await throttle.failed(_WHAT, who, who)
        return await _refused(counter, sender, Reason.NOT_LINKED, message_id, raw, request_id)
    await throttle.succeeded(_WHAT, who, who)
    command = LinkChannel(sender.channel, sender.digest, counter.now())
    outcome = await counter.intake.submit(
        Message(sender.channel, message_id, who, claimed.account, command, raw, request_id)
    )
    if not await _is_still_theirs(counter, claimed):
        await _undo(counter, sender, claimed.account, message_id, request_id)
        return Answer(outcome, NOT_FITTING, linked=False)
    return Answer(outcome, _words(outcome), linked=outcome.status is Status.ACCEPTED)


def normalised_code(text: str) -> str:
    """Give a code as it was made, "" where it is none: blanks and dashes go, Cyrillic letters that look Latin become Latin."""
    code = _SIGNS.sub("", text[: 4 * CODE_LENGTH]).upper().translate(_LETTERS)
    return code if len(code) == CODE_LENGTH and set(code) <= set(RECEIPT_ALPHABET) else ""


async def _claim(counter: Counter, code: str, name: str) -> _Claimed | None:
    """Use a code up in the name of one message, which may ask again and gets it again; None where it is worth nothing."""
    if not code:
        return None
    digest = await counter.door.vault.digest(CODE_DIGEST, code)
    async with counter.pool.acquire() as db:
        row = await db.fetchrow(
            """
            UPDATE link_code c SET used_at = coalesce(used_at, $2), used_by = $3
            WHERE code = $1 AND (used_by = $3 OR (used_at IS NULL AND expires_at > $2))
              AND tenure = coalesce((SELECT number FROM tenure t WHERE t.account = c.account), 1)
            RETURNING account, tenure
            """,
            digest,
            counter.now(),
            name,
        )
    return _Claimed(row["account"], row["tenure"]) if row is not None else None


async def _linked_by(counter: Counter, sender: Sender, code: str) -> str | None:
    """Give the account to which this very sender has linked itself by this code before, and still is; None where there is none."""
    if not code:
        return None
    digest = await counter.door.vault.digest(CODE_DIGEST, code)
    async with counter.pool.acquire() as db:
        account: str | None = await db.fetchval(
            """
            SELECT c.account FROM link_code c
            JOIN message m ON m.channel = $2 AND m.message_id = substr(c.used_by, length($2) + 2)
            WHERE c.code = $1 AND starts_with(c.used_by, $2 || '/') AND m.actor = $3 AND m.status = 'ACCEPTED'
              AND m.account = c.account
            """,
            digest,
            sender.channel.value,
            sender.actor,
        )
    return account if account is not None and await speaks_for(counter, account, sender) else None


async def _withdraw(counter: Counter, who: str) -> None:
    try:
        await counter.door.throttle.withdrawn(_WHAT, who, who)
    except UNAVAILABLE:
        # Where the database is gone the try counts as a failure, which is forgotten in time.
        return


async def _is_still_theirs(counter: Counter, claimed: _Claimed) -> bool:
    async with counter.pool.acquire() as db:
        return (await find_tenure(db, claimed.account)).number == claimed.tenure


async def _undo(counter: Counter, sender: Sender, account: str, message_id: str, request_id: str) -> None:
    """Unlink a sender that came in by a code of the household before, while the flat changed hands."""
    command = UnlinkChannel(sender.channel, sender.digest, counter.now(), UNDONE_GROUND)
    raw = f"unlink {sender.channel.value} {sender.digest}"
    name = f"undo/{message_id}"[:200]
    await counter.intake.submit(Message(sender.channel, name, sender.actor, account, command, raw, request_id))


async def _refused(
    counter: Counter, sender: Sender, reason: Reason, message_id: str, raw: str, request_id: str
) -> Answer:
    refusal = ReadingRefused(reason, counter.now(), {})
    taken = await take(counter, sender, message_id, "", refusal, raw, request_id=request_id)
    return Answer(taken.outcome, _words(taken.outcome), linked=taken.outcome.status is Status.ACCEPTED)


def _words(outcome: Outcome) -> Words:
    match outcome.events[0] if outcome.events else None:
        case ChannelLinked():
            return Words(
                f"Привязано: л/с {outcome.account}",
                "Теперь вам видны расход и прежние показания. Отвязать – в кабинете",
            )
        case CommandRefused(reason=Reason.ALREADY_LINKED):
            return Words(f"Уже привязано: л/с {outcome.account}", "Повторять не нужно; привязок не больше 50")
        case ReadingRefused(reason=Reason.NOT_LINKED):
            return NOT_FITTING
        case ReadingRefused(reason=Reason.BAD_ADDRESS):
            return Words("Отправитель скрыт или не подтверждён, привязать его нельзя", "Отправьте код со своего адреса")
        case ReadingRefused(reason=Reason.TOO_MANY_MESSAGES):
            return Words("Слишком много неверных кодов", "Подождите 15 минут и отправьте код снова, иначе – завтра")
        case _:
            return answer(outcome)


async def forget_codes(db: Db, now: datetime) -> None:
    """Forget the codes that were over long ago."""
    await db.execute("DELETE FROM link_code WHERE expires_at < $1", now - FORGOTTEN_AFTER)


@dataclass(frozen=True, slots=True)
class LinkedSender:
    """A sender that speaks for an account: ``entry`` linked it, ``name`` tells it apart without its address.

    ``reachable`` is False where nobody hears us any more: the bot was blocked.
    """

    entry: int
    channel: Channel
    sender: str = field(repr=False)
    linked_at: datetime
    reachable: bool = True

    @property
    def name(self) -> str:
        """Give the end of its digest, which tells it apart and tells nothing of its address."""
        return self.sender[-NAME_LENGTH:].upper()


DEAD = "SELECT channel, sender FROM dead_chat WHERE sender = ANY($1::text[])"


async def senders_of(db: Db, account: str, after: int = 0, *, gone: bool = False) -> list[LinkedSender]:
    """List who speaks for an account, as it was linked after an entry, oldest first; with ``gone`` also who did once."""
    row = (await overview.find(db, [account])).get(account)
    links = {(link["channel"], link["sender"]) for link in row.links} if row is not None else set()
    if not links and not gone:
        return []
    rows = await db.fetch(
        """
        SELECT originator_id, originator_version, topic, state FROM journal
        WHERE originator_id = $1 AND originator_version > $2 AND topic LIKE 'channel-linked.%'
        ORDER BY originator_version DESC LIMIT $3
        """,
        account,
        after,
        LINKINGS_MAX,
    )
    dead = {(row["channel"], row["sender"]) for row in await db.fetch(DEAD, [sender for _, sender in links])}
    # Of a sender that was linked, unlinked and linked again the last time counts.
    found: dict[tuple[str, str], LinkedSender] = {}
    for entry in (to_entry(*row) for row in rows):
        event = entry.event
        if isinstance(event, ChannelLinked) and (gone or (event.channel.value, event.sender) in links):
            key = (event.channel.value, event.sender)
            linked = LinkedSender(entry.version, event.channel, event.sender, event.linked_at, key not in dead)
            found.setdefault(key, linked)
    return sorted(found.values(), key=lambda sender: sender.entry)


async def tell_bot(db: Db, channel: Channel, name: str, now: datetime) -> None:
    """Say under which name a messenger knows our bot."""
    await db.execute(
        """
        INSERT INTO bot (channel, name, told_at) VALUES ($1, $2, $3)
        ON CONFLICT (channel) DO UPDATE SET name = excluded.name, told_at = excluded.told_at
        """,
        channel.value,
        name,
        now,
    )


async def bot_links(db: Db, code: str) -> dict[Channel, str]:
    """Give, for every bot that is known, the link that opens it with a code."""
    rows = await db.fetch("SELECT channel, name FROM bot ORDER BY channel")
    known = {Channel(row["channel"]): row["name"] for row in rows}
    return {
        channel: BOT_LINKS[channel].format(name=name, code=code)
        for channel, name in known.items()
        if channel in BOT_LINKS
    }
