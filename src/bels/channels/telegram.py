"""Telegram: updates come to a webhook with a secret in a header, answers go out through the Bot API (channels 6).

Only private chats are talked with: in a group everybody would read what a household uses. Telegram sends an update again, for
ever, until it hears 200.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

from aiogram import Bot
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramNotFound
from aiogram.types import CallbackQuery, ChatMemberUpdated, Message
from aiogram.types import Update as TelegramUpdate
from aiohttp import ClientError, ClientResponseError
from pydantic import ValidationError

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
from bels.outgoing.results import Result
from bels.outgoing.telegram import ANSWER_WAIT_S, TEXT_UNITS_MAX, send_document, send_section
from bels.reception.counter import Counter
from bels.reception.dialogue.turns import Said, SaidKind

PATH = "/channels/telegram"
SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the name of a header
ALLOWED_UPDATES = ["message", "edited_message", "callback_query", "my_chat_member"]

PHOTO_SIDE_MAX = 2_560
GONE = (ChatMemberStatus.KICKED, ChatMemberStatus.LEFT)

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Telegram:
    """Shows text, buttons and documents in Telegram, and fetches pictures from it."""

    bot: Bot = field(repr=False)
    channel: Channel = Channel.TELEGRAM
    text_max: int = TEXT_UNITS_MAX

    async def show(self, chat: str, text: str, buttons: Buttons) -> Result:
        """Send a message with buttons."""
        return await send_section(self.bot, chat, text, buttons)

    async def document(self, chat: str, name: str, content: bytes) -> Result:
        """Send a file."""
        return await send_document(self.bot, chat, name, content)

    async def acknowledge(self, tap: str) -> None:
        """Stop the clock on a button; a tap that is too old is none that anybody waits for."""
        try:
            await self.bot.answer_callback_query(tap)
        except (AiogramError, OSError, TimeoutError) as error:
            log.info("a tap is not acknowledged (%s)", type(error).__name__)

    async def fetch(self, picture: Picture, bytes_max: int) -> bytes | None:
        """Fetch a picture; more than ``bytes_max`` and a byte of it is never read. None where it is gone.

        :raises PictureLater: it cannot be fetched now.
        """
        content = bytearray()
        try:
            file = await self.bot.get_file(picture.reference)
            if file.file_path is None:
                return None
            url = self.bot.session.api.file_url(self.bot.token, file.file_path)
            async with aclosing(self.bot.session.stream_content(url, timeout=int(ANSWER_WAIT_S))) as chunks:
                async for chunk in chunks:
                    content += chunk
                    if len(content) > bytes_max:
                        break
        except (TelegramBadRequest, TelegramNotFound):
            return None
        except ClientResponseError as error:
            if error.status in (400, 404):
                return None
            raise PictureLater from None
        except (AiogramError, ClientError, OSError, TimeoutError):
            # The error would name the URL, and the URL holds the token.
            raise PictureLater from None
        return bytes(content)


def telegram(
    counter: Counter,
    bot: Bot,
    turn: Turn,
    *,
    public_url: str | None,
    bill: LastBill | None = None,
    read_display: ReadDisplay | None = None,
) -> Webhook:
    """Give the webhook of a bot. While it runs it is kept registered with Telegram; then the bot's session is closed.

    ``public_url`` is where Telegram reaches us, https; None where somebody else registers the webhook.
    """
    chats = Chats(counter, Telegram(bot), turn, bill, read_display)
    secret = secret_of(bot.token, Channel.TELEGRAM)

    async def register(url: str) -> str:
        await bot.set_webhook(f"{url}{PATH}", secret_token=secret, allowed_updates=ALLOWED_UPDATES)
        return (await bot.me()).username or ""

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with registered(counter, Channel.TELEGRAM, public_url, register, (AiogramError, OSError, TimeoutError)):
            try:
                yield
            finally:
                await bot.session.close()

    return Webhook(webhook_route(PATH, SECRET_HEADER, secret, lambda given: read_update(given, bot), chats), running)


def read_update(given: dict[str, Any], bot: Bot) -> Update | None:
    """Read an update; None for one that is malformed, or of a kind that we do not know."""
    try:
        update = TelegramUpdate.model_validate(given, context={"bot": bot})
    except ValidationError:
        return None
    name = f"tg:{update.update_id}"
    if update.message is not None:
        return _message(name, update.message)
    if update.edited_message is not None:
        chat = update.edited_message.chat
        return Update(name, str(chat.id), hint=EDITED) if chat.type == ChatType.PRIVATE else Update(name)
    if update.callback_query is not None:
        return _tap(name, update.callback_query)
    if update.my_chat_member is not None:
        return _membership(name, update.my_chat_member)
    return None


def _message(name: str, message: Message) -> Update:
    chat, text = str(message.chat.id), message.text or message.caption or ""
    if message.from_user is not None and message.from_user.is_bot:
        return Update(name)
    if message.chat.type != ChatType.PRIVATE:
        # In a group only what is meant for us is answered.
        return Update(name, chat, hint=IN_A_GROUP) if text.startswith("/") else Update(name)
    said = said_of(text) if text else None
    pictures = _pictures(message)
    if said is None and not pictures:
        return Update(name, chat, hint=NOT_READ)
    return Update(name, chat, said, pictures, album=(message.media_group_id or "") if pictures else "")


def _pictures(message: Message) -> tuple[Picture, ...]:
    if message.photo:
        # The largest that a display needs: Telegram gives the same photo in several sizes.
        fitting = [each for each in message.photo if max(each.width, each.height) <= PHOTO_SIDE_MAX] or message.photo[
            :1
        ]
        best = max(fitting, key=lambda each: each.width * each.height)
        return (Picture(best.file_id, "image/jpeg", best.file_size),)
    document = message.document
    if document is not None and (document.mime_type or "").startswith("image/"):
        return (Picture(document.file_id, document.mime_type or "", document.file_size),)
    return ()


def _tap(name: str, query: CallbackQuery) -> Update:
    message = query.message
    if message is None or message.chat.type != ChatType.PRIVATE or not query.data:
        return Update(name, tap=query.id)
    return Update(name, str(message.chat.id), Said(SaidKind.CHOICE, query.data), tap=query.id)


def _membership(name: str, change: ChatMemberUpdated) -> Update:
    if change.chat.type != ChatType.PRIVATE:
        return Update(name)
    if change.new_chat_member.status in GONE:
        return Update(name, str(change.chat.id), Said(SaidKind.LEFT), gone=True)
    # Whoever unblocks the bot says something next.
    return Update(name)
