"""What both messengers share: an update is taken once, its turn is told, and the answer goes out after the commit (channels 6).

A messenger sends an update again until it hears 200. So an update that nobody can read is stored and answered 200, an update that
could not be stored or answered is answered 503; the turn of a dialogue that comes again hears the same, and what was sent of
its answer is not sent twice. A renderer only reads updates and shows text, buttons and documents.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from asyncio import timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from logging import getLogger
from typing import Any, Protocol, assert_never
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.domain.terms import Channel
from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.messages import TryLater
from bels.outgoing.results import Dead, Refused, Result, Sent, TryAgain
from bels.outgoing.sections import sections
from bels.reception.codes import tell_bot
from bels.reception.counter import Counter, Sender, speaks_for
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.turns import Reply, Said, SaidKind, Talk
from bels.reception.dialogue.writing import written_option, written_reply
from bels.reception.evidence import BYTES_MAX, OF_A_READING_MAX, REFUSALS, PhotoRefusal, attach_photos, keep_photo

BODY_BYTES_MAX = 1_000_000
TEXT_LENGTH_MAX = 4_096
"""What somebody wrote is read so far: no reading and no code is longer."""

WAIT_S = 25.0
"""A messenger waits half a minute for us, then it sends the update again."""

FLOOD_WAIT_S_MAX = 15.0
"""How long we wait at once when a messenger asks to; for longer it sends the update again."""

SEND_AGAIN_S = 5
"""After how many seconds we would like an update again, where nobody said anything else."""

CLAIMED_FOR = timedelta(seconds=60)
"""How long an update belongs to the process that works on it: longer than it may work, so that a killed one is followed."""

REGISTER_WAIT_S = 1.0
REGISTER_WAIT_S_MAX = 300.0
"""How long after a failure the webhook is registered again: from the first to the last."""

READ_DISPLAY_S = 10.0
PHOTOS_AT_ONCE_MAX = 4
"""Photos in memory of one process."""

KEPT_FOR = timedelta(days=90)
FORGOTTEN_AT_ONCE_MAX = 10_000

START = "/start"

EDITED = "Исправленное сообщение мы не читаем. Отправьте верное показание новым сообщением."
NOT_READ = "Мы понимаем текст, кнопки и фото счётчика. Показание можно написать так: 1000000#12345 – счёт и цифры."
IN_A_GROUP = "Показания и данные счёта – только в личном чате: напишите мне лично."

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by what its messenger needs to fetch it; ``size`` in bytes, None where it is not said."""

    reference: str = field(repr=False)
    content_type: str = "image/jpeg"
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """An update, free of a messenger's types.

    ``update_id`` names it for ever and holds no id of a chat. ``chat`` is whom to answer, "" nobody. ``pictures`` come before what
    is ``said`` beside them; ``album`` names pictures that come together in several updates. ``hint`` is all there is to answer
    to what is no turn. ``tap`` is to be acknowledged. ``gone``: nobody hears us there any more.
    """

    update_id: str
    chat: str = field(default="", repr=False)
    said: Said | None = field(default=None, repr=False)
    pictures: tuple[Picture, ...] = ()
    album: str = ""
    hint: str = ""
    tap: str = ""
    gone: bool = False


Buttons = Sequence[tuple[str, str]]
"""Labels, and the keys of the options that they stand for."""


class PictureLater(Exception):
    """A picture cannot be fetched now; its update may come again."""


class Messenger(Protocol):
    """A messenger: what its renderer does."""

    @property
    def channel(self) -> Channel:
        """Which one it is."""

    @property
    def text_max(self) -> int:
        """Units of UTF-16 in one message."""

    async def show(self, chat: str, text: str, buttons: Buttons) -> Result:
        """Send a message with buttons."""

    async def document(self, chat: str, name: str, content: bytes) -> Result:
        """Send a file."""

    async def acknowledge(self, tap: str) -> None:
        """Say that a tap was heard; whether that arrives does not matter."""

    async def fetch(self, picture: Picture, bytes_max: int) -> bytes | None:
        """Fetch a picture; more than ``bytes_max`` of it is never read. None where it is gone.

        :raises PictureLater: it cannot be fetched now.
        """


Turn = Callable[[Talk, str, Said, str], Awaitable[Reply]]
"""Take a turn of the dialogue: the talk, the turn's name, what was said, and the same as it may be kept."""

LastBill = Callable[[str], Awaitable[tuple[str, bytes] | None]]
"""Print the last bill of an account: its file's name and content, None where there is none."""

ReadDisplay = Callable[[bytes], Awaitable[str | None]]
"""Guess what a display shows, in a process of its own; a person confirms it."""


@dataclass(frozen=True, slots=True)
class Later:
    """An update was not answered: it is to come again, after so many seconds."""

    after_s: float = SEND_AGAIN_S


@dataclass(frozen=True, slots=True)
class Chats:
    """What a messenger's updates are worked on with."""

    counter: Counter
    messenger: Messenger
    turn: Turn
    bill: LastBill | None = None
    read_display: ReadDisplay | None = None
    photos: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PHOTOS_AT_ONCE_MAX))


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    buttons: Buttons = ()


@dataclass(frozen=True, slots=True)
class _Document:
    account: str


_Part = _Text | _Document


@dataclass(frozen=True, slots=True)
class Webhook:
    """A messenger's webhook: its route, and what must run beside it while it is served."""

    route: Route
    running: Callable[[], AbstractAsyncContextManager[None]] = field(repr=False)


def secret_of(token: str, channel: Channel) -> str:
    """Derive the secret that a messenger sends with every update from the bot's token: 64 letters and digits."""
    return hmac.digest(token.encode(), f"bels webhook {channel.value}".encode(), "sha256").hex()


def said_of(text: str) -> Said:
    """Read what was written in a chat: ``/start`` begins, with what its link brought; another command is a word like others."""
    command, _, rest = text.strip().partition(" ")
    if command.partition("@")[0] == START:
        return Said(SaidKind.BEGIN, rest.strip())
    return Said(SaidKind.TEXT, text.removeprefix("/"))


def webhook_route(
    path: str, header: str, secret: str, read: Callable[[dict[str, Any]], Update | None], chats: Chats
) -> Route:
    """Give the route of a messenger's webhook; ``read`` gives None for an update that it does not know."""

    async def receive(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get(header, "").encode("latin-1"), secret.encode()):
            log.warning("%s: an update with a wrong secret", chats.messenger.channel.value)
            return PlainTextResponse("wrong secret", 401)
        body = await _body(request)
        if body is None:
            # It would come for ever, and nothing that a person says is so long.
            log.error("%s: an update of more than %d bytes", chats.messenger.channel.value, BODY_BYTES_MAX)
            return PlainTextResponse("too large")
        try:
            async with timeout(WAIT_S):
                later = await take_update(chats, _read(body, read), body)
        except (TryLater, TimeoutError, PictureLater, *UNAVAILABLE) as error:
            log.warning("%s: an update is not taken (%s)", chats.messenger.channel.value, type(error).__name__)
            later = Later()
        except Exception:
            # Whatever it was: the messenger keeps the update and sends it again.
            log.exception("%s: an update is not taken", chats.messenger.channel.value)
            later = Later()
        if later is not None:
            return PlainTextResponse("try later", 503, {"retry-after": f"{max(1, round(later.after_s))}"})
        return PlainTextResponse("taken")

    return Route(path, receive, methods=["POST"])


@asynccontextmanager
async def registered(
    counter: Counter,
    channel: Channel,
    public_url: str | None,
    register: Callable[[str], Awaitable[str]],
    faults: tuple[type[Exception], ...],
) -> AsyncIterator[None]:
    """Keep trying to register our webhook while this is open, until it is, and keep the name of the bot for links.

    ``register`` does it for a URL and gives the bot's name; ``faults`` are what it may fail with. None for ``public_url``:
    nothing is registered, and updates may still come.
    """
    if public_url is None:
        yield
        return
    if urlsplit(public_url).scheme != "https":
        log.error("%s: a webhook must be https, so none is registered: look at BELS_PUBLIC_URL", channel.value)
        yield
        return

    may_fail: tuple[type[Exception], ...] = (*faults, *UNAVAILABLE)

    async def try_on() -> None:
        wait_s = REGISTER_WAIT_S
        while True:
            try:
                name = await register(public_url)
                async with counter.pool.acquire() as db:
                    await tell_bot(db, channel, name, counter.now())
            except may_fail as error:
                # What a messenger says may hold the URL with the token: only the kind of the error is told.
                log.warning("%s: the webhook is not registered (%s)", channel.value, type(error).__name__)
            else:
                log.info("%s: the webhook is registered", channel.value)
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, REGISTER_WAIT_S_MAX)

    task = asyncio.create_task(try_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def take_update(chats: Chats, update: Update | None, body: bytes) -> Later | None:
    """Take an update and answer it; None where it need not come again.

    :raises TryLater: nothing was stored.
    :raises PictureLater: its picture cannot be fetched now.
    """
    counter, channel = chats.counter, chats.messenger.channel
    if update is None:
        await _keep_unread(counter, channel, body)
        return None
    claimed = await _claim(counter, channel, update.update_id)
    if not isinstance(claimed, int):
        return claimed
    later: Later | None = Later(0)
    try:
        later = await _answer(chats, update, claimed)
    finally:
        await _end(counter, channel, update.update_id, later)
    return later


async def _answer(chats: Chats, update: Update, parts_sent: int) -> Later | None:
    """Take the turn, then send what was not sent of its answer."""
    counter, messenger = chats.counter, chats.messenger
    sender = counter.sender(messenger.channel, update.chat)
    parts = await _parts(chats, update, sender)
    if update.gone:
        await _died(counter, sender)
        return None
    if update.tap:
        await messenger.acknowledge(update.tap)
    for number, part in enumerate(parts[parts_sent:], start=parts_sent + 1):
        sent = await _sent(chats, update.chat, part)
        if isinstance(sent, TryAgain) and sent.after_s is not None and sent.after_s <= FLOOD_WAIT_S_MAX:
            await asyncio.sleep(sent.after_s)
            sent = await _sent(chats, update.chat, part)
        match sent:
            case Sent():
                await _note_sent(counter, messenger.channel, update.update_id, number)
            case TryAgain(code, after_s):
                log.warning("%s: an answer is not sent (%s), it goes out later", messenger.channel.value, code)
                return Later(after_s if after_s is not None else SEND_AGAIN_S)
            case Dead(code):
                log.info("%s: nobody is reached in a chat any more (%s)", messenger.channel.value, code)
                await _died(counter, sender)
                return None
            case Refused(code):
                # It would be refused again and again; what was taken is taken.
                log.error("%s: an answer is refused (%s)", messenger.channel.value, code)
                await _note_sent(counter, messenger.channel, update.update_id, number)
            case _ as never:
                assert_never(never)
    return None


async def _parts(chats: Chats, update: Update, sender: Sender) -> list[_Part]:
    """Take the turns of an update, and give the messages of its answer: the same for the same update."""
    if not update.chat:
        return []
    if update.hint:
        return [_Text(update.hint)]
    if update.said is not None and update.said.kind is SaidKind.BEGIN:
        await _lives(chats.counter, sender)
    # A renderer knows no phone: the chat itself is what a household may want to be reminded in.
    talk = Talk(chats.messenger.channel, sender.digest, sender, address=update.chat)
    refused: list[_Part] = []
    parts: list[_Part] = []
    for number, picture in enumerate(update.pictures[:OF_A_READING_MAX]):
        name = f"{update.update_id}/{number}"
        kept = await _kept(chats, name, sender, picture)
        if isinstance(kept, PhotoRefusal):
            refused = [_Text(f"{REFUSALS[kept].text}. {REFUSALS[kept].hint}.")]
        else:
            parts = await _of_turn(chats, talk, name, Said(SaidKind.PHOTO, kept))
    if update.said is not None:
        # What is written beside a picture is the turn that is answered.
        parts = await _of_turn(chats, talk, update.update_id, update.said)
    if update.album and not await _is_first(chats.counter, talk, update):
        return []
    return [*refused, *parts]


async def _of_turn(chats: Chats, talk: Talk, turn_id: str, said: Said) -> list[_Part]:
    counter = chats.counter
    said = Said(said.kind, said.text[:TEXT_LENGTH_MAX])
    reply = await chats.turn(talk, turn_id, said, counter.door.raw_texts.kept(said.text))
    if reply.receipt and reply.photos:
        await attach_photos(counter, reply.receipt, reply.photos, talk.sender.actor)
    if said.kind is SaidKind.LEFT:
        return []
    texts = sections(written_reply(reply), chats.messenger.text_max)
    buttons = [(written_option(option), option.key) for option in reply.ask.options]
    parts: list[_Part] = [_Text(text) for text in texts[:-1]]
    parts += [_Text(text, buttons) for text in texts[-1:]]
    if chats.bill is not None and _tells_of_a_bill(reply) and await speaks_for(counter, reply.account, talk.sender):
        parts.append(_Document(reply.account))
    return parts


def _tells_of_a_bill(reply: Reply) -> bool:
    return bool(reply.account) and any(line.say is Say.BILL for line in reply.lines)


async def _kept(chats: Chats, name: str, sender: Sender, picture: Picture) -> str | PhotoRefusal:
    """Keep a picture; give its evidence, and after a blank what was read from it."""
    if picture.size is not None and picture.size > BYTES_MAX:
        return PhotoRefusal.TOO_LARGE
    async with chats.photos:
        content = await chats.messenger.fetch(picture, BYTES_MAX)
        if content is None:
            return PhotoRefusal.NOT_A_PHOTO
        kept = await keep_photo(chats.counter, "", None, content, picture.content_type, sender.actor, key=name)
        if isinstance(kept, PhotoRefusal):
            return kept
        guess = await _guessed(chats, content)
    return f"{kept.evidence} {guess}" if guess else kept.evidence


async def _guessed(chats: Chats, content: bytes) -> str | None:
    if chats.read_display is None:
        return None
    try:
        async with timeout(READ_DISPLAY_S):
            return await chats.read_display(content)
    except Exception as error:
        # A guess is a comfort: without it the person types.
        log.warning("a display could not be read (%s)", type(error).__name__)
        return None


async def _sent(chats: Chats, chat: str, part: _Part) -> Result:
    match part:
        case _Text(text, buttons):
            return await chats.messenger.show(chat, text, buttons)
        case _Document(account):
            printed = await chats.bill(account) if chats.bill is not None else None
            return await chats.messenger.document(chat, *printed) if printed is not None else Sent()


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _read(body: bytes, read: Callable[[dict[str, Any]], Update | None]) -> Update | None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return read(given) if isinstance(given, dict) else None


async def _keep_unread(counter: Counter, channel: Channel, body: bytes) -> None:
    """Keep an update that nobody can read, sealed: somebody may want to know what it was."""
    log.warning("%s: an update that is not known is kept", channel.value)
    async with counter.pool.acquire() as db:
        await db.execute(
            """
            INSERT INTO chat_update (channel, update_id, received_at, done_at, malformed) VALUES ($1, $2, $3, $3, $4)
            ON CONFLICT DO NOTHING
            """,
            channel.value,
            f"sha256:{sha256(body).hexdigest()}",
            counter.now(),
            counter.door.raw_texts.sealed(body.decode("utf-8", "replace").replace("\x00", "\ufffd")),
        )


async def _claim(counter: Counter, channel: Channel, update_id: str) -> int | Later | None:
    """Claim an update for this process, and give how many messages of its answer were sent.

    None where it is answered, Later where another process works on it.
    """
    now = counter.now()
    async with counter.pool.acquire() as db:
        sent: int | None = await db.fetchval(
            """
            INSERT INTO chat_update AS u (channel, update_id, received_at, claimed_until) VALUES ($1, $2, $3, $4)
            ON CONFLICT (channel, update_id) DO UPDATE SET claimed_until = excluded.claimed_until
                WHERE u.done_at IS NULL AND (u.claimed_until IS NULL OR u.claimed_until <= $3)
            RETURNING parts_sent
            """,
            channel.value,
            update_id,
            now,
            now + CLAIMED_FOR,
        )
        if sent is not None:
            return sent
        until: datetime | None = await db.fetchval(
            "SELECT claimed_until FROM chat_update WHERE channel = $1 AND update_id = $2 AND done_at IS NULL",
            channel.value,
            update_id,
        )
    return Later(min((until - now).total_seconds(), SEND_AGAIN_S)) if until is not None else None


async def _end(counter: Counter, channel: Channel, update_id: str, later: Later | None) -> None:
    """Say that an update is answered, or when it may be claimed again."""
    now = counter.now()
    try:
        async with counter.pool.acquire() as db:
            await db.execute(
                """
                UPDATE chat_update SET claimed_until = $4, done_at = CASE WHEN $4::timestamptz IS NULL THEN $3::timestamptz END
                WHERE channel = $1 AND update_id = $2
                """,
                channel.value,
                update_id,
                now,
                now + timedelta(seconds=later.after_s) if later is not None else None,
            )
    except UNAVAILABLE:
        # It may be claimed again when its time is over, and is then answered to its end.
        log.warning("%s: an update cannot be ended", channel.value)


async def _note_sent(counter: Counter, channel: Channel, update_id: str, parts: int) -> None:
    async with counter.pool.acquire() as db:
        await db.execute(
            "UPDATE chat_update SET parts_sent = $3 WHERE channel = $1 AND update_id = $2",
            channel.value,
            update_id,
            parts,
        )


async def _is_first(counter: Counter, talk: Talk, update: Update) -> bool:
    """Say whether an update is the one of its album that is answered: the first that asks, whenever it asks again."""
    name = f"album:{counter.sender(talk.channel, f'{talk.talk} {update.album}').digest}"
    async with counter.pool.acquire() as db:
        return bool(
            await db.fetchval(
                """
                INSERT INTO chat_update AS u (channel, update_id, received_at, done_at, speaks) VALUES ($1, $2, $3, $3, $4)
                ON CONFLICT (channel, update_id) DO UPDATE SET speaks = u.speaks
                RETURNING speaks = $4
                """,
                talk.channel.value,
                name,
                counter.now(),
                update.update_id,
            )
        )


async def _died(counter: Counter, sender: Sender) -> None:
    async with counter.pool.acquire() as db:
        await db.execute(
            "INSERT INTO dead_chat (channel, sender, dead_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            sender.channel.value,
            sender.digest,
            counter.now(),
        )


async def _lives(counter: Counter, sender: Sender) -> None:
    async with counter.pool.acquire() as db:
        await db.execute(
            "DELETE FROM dead_chat WHERE channel = $1 AND sender = $2", sender.channel.value, sender.digest
        )


async def forget_updates(db: Db, now: datetime) -> None:
    """Forget the updates of long ago: no messenger sends one again after a day."""
    await db.execute(
        """
        DELETE FROM chat_update WHERE (channel, update_id) IN (
            SELECT channel, update_id FROM chat_update WHERE received_at < $1 LIMIT $2
        )
        """,
        now - KEPT_FOR,
        FORGOTTEN_AT_ONCE_MAX,
    )
