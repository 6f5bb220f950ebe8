"""MAX: updates come to a webhook with a secret in a header, answers go out through the MAX Bot API (channels 6).

Only dialogues are talked with, never groups and channels. The library's types read an update, but not its webhook: that logs what
people said, and asks for the chat of every update, of which an update says all that is needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiohttp import ClientError
from maxapi import Bot
from maxapi.enums.chat_type import ChatType
from maxapi.enums.update import UpdateType
from maxapi.exceptions.base import MaxError
from maxapi.types.attachments import Attachments
from maxapi.types.attachments.attachment import OtherAttachmentPayload, PhotoAttachmentPayload
from maxapi.types.attachments.file import File
from maxapi.types.attachments.image import Image
from maxapi.types.message import Message
from maxapi.types.updates import UpdateUnionAdapter
from maxapi.types.updates.bot_started import BotStarted
from maxapi.types.updates.bot_stopped import BotStopped
from maxapi.types.updates.dialog_removed import DialogRemoved
from maxapi.types.updates.message_callback import MessageCallback
from maxapi.types.updates.message_created import MessageCreated
from maxapi.types.updates.message_edited import MessageEdited

from bels.channels.chat import (
    EDITED,
    IN_A_GROUP,
    NOT_READ,
    Buttons,
    Chats,
    LastBill,
    Picture,
    PictureLater,
    ReadDisplay,
    Turn,
    Update,
    Webhook,
    registered,
    said_of,
    secret_of,
    webhook_route,
)
from bels.domain.terms import Channel
from bels.outgoing.max_messages import ANSWER_WAIT_S, TEXT_LENGTH_MAX, send_document, send_section
from bels.outgoing.results import Result
from bels.reception.counter import Counter
from bels.reception.dialogue.turns import Said, SaidKind

PATH = "/channels/max"
SECRET_HEADER = "X-Max-Bot-Api-Secret"  # noqa: S105 - the name of a header
UPDATE_TYPES = [
    UpdateType.MESSAGE_CREATED,
    UpdateType.MESSAGE_EDITED,
    UpdateType.MESSAGE_CALLBACK,
    UpdateType.BOT_STARTED,
    UpdateType.BOT_STOPPED,
    UpdateType.DIALOG_REMOVED,
]
HEARD = "Выбрано"
"""What a tap is acknowledged with: MAX wants some words."""

HTTPS_PORT = 443
_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home", "corp")
"""Ends of names that only a network of one's own has."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp")

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Max:
    """Shows text, buttons and documents in MAX, and fetches pictures from it."""

    bot: Bot = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)
    channel: Channel = Channel.MAX
    text_max: int = TEXT_LENGTH_MAX

    async def show(self, chat: str, text: str, buttons: Buttons) -> Result:
        """Send a message with buttons."""
        return await send_section(self.bot, chat, text, buttons)

    async def document(self, chat: str, name: str, content: bytes) -> Result:
        """Send a file."""
        return await send_document(self.bot, chat, name, content)

    async def acknowledge(self, tap: str) -> None:
        """Say that a tap was heard."""
        try:
            await self.bot.send_callback(tap, notification=HEARD)
        except (MaxError, ClientError, OSError, TimeoutError) as error:
            log.info("a tap is not acknowledged (%s)", type(error).__name__)

    async def fetch(self, picture: Picture, bytes_max: int) -> bytes | None:
        """Fetch a picture by a client without our token; more than ``bytes_max`` and a byte of it is never read. None where it is gone.

        :raises PictureLater: it cannot be fetched now.
        """
        content = bytearray()
        if not _is_outside(picture.reference) and not _is_at(picture.reference, self.bot.api_url):
            return None
        try:
            async with self.http.stream("GET", picture.reference) as answer:
                if 400 <= answer.status_code < 500:
                    return None
                answer.raise_for_status()
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > bytes_max:
                        break
        except httpx.InvalidURL:
            return None
        except httpx.HTTPError:
            raise PictureLater from None
        return bytes(content)


def max_bot(
    counter: Counter,
    bot: Bot,
    token: str,
    turn: Turn,
    *,
    public_url: str | None,
    bill: LastBill | None = None,
    read_display: ReadDisplay | None = None,
) -> Webhook:
    """Give the webhook of a bot. While it runs it is kept registered with MAX; then the bot's sessions are closed.

    ``public_url`` is where MAX reaches us, https; None where somebody else registers the webhook.
    """
    secret = secret_of(token, Channel.MAX)
    http = httpx.AsyncClient(timeout=ANSWER_WAIT_S, follow_redirects=False)
    chats = Chats(counter, Max(bot, http), turn, bill, read_display)

    async def register(url: str) -> str:
        await bot.subscribe_webhook(f"{url}{PATH}", UPDATE_TYPES, secret)
        return (await bot.get_me()).username or ""

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        faults = (MaxError, ClientError, OSError, TimeoutError)
        async with http, registered(counter, Channel.MAX, public_url, register, faults):
            try:
                yield
            finally:
                await bot.close_session()

    return Webhook(
        webhook_route(PATH, SECRET_HEADER, secret, lambda given: read_update(given, counter), chats), running
    )


def read_update(given: dict[str, Any], counter: Counter) -> Update | None:
    """Read an update; None for one that is malformed, or of a kind that we do not know."""
    try:
        update = UpdateUnionAdapter.validate_python(given)
    except ValueError:
        return None

    def named(*parts: object) -> str:
        # MAX's own ids hold the chat's, so a digest names the update.
        return f"max:{counter.sender(Channel.MAX, '/'.join(map(str, parts))).digest}"

    match update:
        case MessageCreated(message=message) if message.body is not None:
            return _message(named(message.body.mid), message)
        case MessageCreated(message=message):
            # Something forwarded, without words of its own.
            name = named("forwarded", message.recipient.chat_id, message.timestamp)
            return Update(name, _chat(message), hint=NOT_READ)
        case MessageEdited(message=message):
            mid = message.body.mid if message.body is not None else message.timestamp
            return Update(named("edited", mid, update.timestamp), _chat(message), hint=EDITED)
        case MessageCallback(message=message, callback=callback):
            name, chat = named("tap", callback.callback_id), _chat(message) if message is not None else ""
            if not chat or not callback.payload:
                return Update(name, tap=callback.callback_id)
            return Update(name, chat, Said(SaidKind.CHOICE, callback.payload), tap=callback.callback_id)
        case BotStarted(chat_id=chat, payload=payload):
            return Update(named("start", chat, update.timestamp), str(chat), Said(SaidKind.BEGIN, payload or ""))
        case BotStopped(chat_id=chat) | DialogRemoved(chat_id=chat):
            return Update(named("gone", chat, update.timestamp), str(chat), Said(SaidKind.LEFT), gone=True)
        case _:
            return None


def _message(name: str, message: Message) -> Update:
    body, chat = message.body, _chat(message)
    text = (body.text or "") if body is not None else ""
    if message.sender is not None and message.sender.is_bot:
        return Update(name)
    if not chat:
        where = message.recipient.chat_id
        # In a group only what is meant for us is answered.
        return Update(name, str(where), hint=IN_A_GROUP) if text.startswith("/") and where is not None else Update(name)
    pictures = tuple(filter(None, map(_picture, (body.attachments or []) if body is not None else [])))
    said = said_of(text) if text else None
    if said is None and not pictures:
        return Update(name, chat, hint=NOT_READ)
    return Update(name, chat, said, pictures)


def _chat(message: Message) -> str:
    recipient = message.recipient
    return str(recipient.chat_id) if recipient.chat_type == ChatType.DIALOG and recipient.chat_id is not None else ""


def _is_at(url: str, api_url: str) -> bool:
    """Say whether a URL is of the messenger's own API."""
    try:
        given, own = urlsplit(url), urlsplit(api_url)
    except ValueError:
        return False
    return (given.scheme, given.netloc) == (own.scheme, own.netloc)


def _is_outside(url: str) -> bool:
    """Say whether a URL names a server of the Internet by its name: what comes in an update must not point at our own network."""
    try:
        given = urlsplit(url)
        host, port = given.hostname or "", given.port
    except ValueError:
        return False
    _, dot, top = host.rpartition(".")
    is_name = bool(dot) and (top.isalpha() or top.startswith("xn--")) and top not in _INSIDE
    return given.scheme == "https" and is_name and port in (None, HTTPS_PORT) and given.username is None


def _picture(attachment: Attachments) -> Picture | None:
    payload = attachment.payload
    if isinstance(attachment, Image) and isinstance(payload, PhotoAttachmentPayload | OtherAttachmentPayload):
        return Picture(payload.url, "")
    if isinstance(attachment, File) and isinstance(payload, PhotoAttachmentPayload | OtherAttachmentPayload):
        is_picture = (attachment.filename or "").lower().endswith(PICTURES)
        return Picture(payload.url, "", attachment.size) if is_picture else None
    return None
