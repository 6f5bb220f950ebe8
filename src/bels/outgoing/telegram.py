"""Say something in a Telegram chat: text with buttons, a document; what Telegram answers is one of the four results."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramRetryAfter,
)
from aiogram.types import BufferedInputFile, InlineKeyboardButton, InlineKeyboardMarkup
from aiogram.types import Message as SentMessage
from aiogram.utils.token import TokenValidationError

from bels.outgoing.results import Dead, Refused, Result, Sender, Sent, TryAgain
from bels.outgoing.sections import chat_sender

TEXT_UNITS_MAX = 4096
CAPTION_LENGTH_MAX = 1024
CALLBACK_BYTES_MAX = 64
BUTTON_LENGTH_MAX = 64
ANSWER_WAIT_S = 10.0

NOBODY_THERE = (
    "chat not found",
    "user is deactivated",
    "peer_id_invalid",
    "bot was kicked",
    "group chat was deactivated",
)
"""Words of a bad request that mean that the chat is gone; Telegram has no code for it."""

Button = tuple[str, str]
"""A label, and what comes back when it is tapped: at most 64 bytes."""


class _Session(AiohttpSession):
    """The library's session, which ends as soon as its connections have: aiohttp waits for them, and not a quarter of a second."""

    async def close(self) -> None:
        """Close the connections, and wait until they are."""
        if self._session is not None:
            await self._session.close()


def telegram_bot(token: str, api: str | None = None) -> Bot:
    """Make a client of the Bot API; ``api`` is another host of it. Close its session when it is no longer needed.

    :raises ValueError: it is no token of a bot.
    """
    server = TelegramAPIServer.from_base(api) if api is not None else PRODUCTION
    try:
        return Bot(token, session=_Session(api=server, timeout=ANSWER_WAIT_S))
    except TokenValidationError:
        raise ValueError("this is no token of a Telegram bot") from None


async def send_section(bot: Bot, chat: str, text: str, buttons: Sequence[Button] = ()) -> Result:
    """Send one message of at most 4096 units, with its buttons one under the other."""
    return await _result(bot.send_message(int(chat), text, reply_markup=keyboard(buttons)))


async def send_document(bot: Bot, chat: str, name: str, content: bytes, caption: str = "") -> Result:
    """Send a file."""
    file = BufferedInputFile(content, name)
    return await _result(bot.send_document(int(chat), file, caption=caption[:CAPTION_LENGTH_MAX] or None))


def keyboard(buttons: Sequence[Button]) -> InlineKeyboardMarkup | None:
    """Lay buttons one under the other; None where there are none.

    :raises ValueError: what a button brings back is longer than Telegram keeps.
    """
    if not buttons:
        return None
    if any(len(data.encode()) > CALLBACK_BYTES_MAX for _, data in buttons):
        raise ValueError(f"a button brings back at most {CALLBACK_BYTES_MAX} bytes")
    rows = [[InlineKeyboardButton(text=label[:BUTTON_LENGTH_MAX], callback_data=data)] for label, data in buttons]
    return InlineKeyboardMarkup(inline_keyboard=rows)


def telegram_sender(bot: Bot) -> Sender:
    """Give the sender of the outbox."""
    return chat_sender(partial(send_section, bot), TEXT_UNITS_MAX)


async def _result(sending: Awaitable[SentMessage]) -> Result:
    # What Telegram says of an error may name the chat: only the kind of the error is told on.
    try:
        sent = await sending
    except TelegramRetryAfter as error:
        return TryAgain("TOO_MANY_REQUESTS", float(error.retry_after))
    except TelegramForbiddenError:
        return Dead("FORBIDDEN")
    except TelegramMigrateToChat:
        return Dead("MIGRATED")
    except TelegramBadRequest as error:
        gone = any(words in error.message.lower() for words in NOBODY_THERE)
        return Dead("CHAT_NOT_FOUND") if gone else Refused("BAD_REQUEST")
    except TelegramEntityTooLarge:
        return Refused("TOO_LARGE")
    except (AiogramError, OSError, TimeoutError) as error:
        return TryAgain(type(error).__name__)
    return Sent(str(sent.message_id))
