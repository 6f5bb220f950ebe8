"""Say something in a MAX chat: text with buttons, a document; what MAX answers is one of the four results.

The host is platform-api2.max.ru, the token goes in ``Authorization`` only (never in a URL), the certificate may be one of
Минцифры, which the library trusts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial

from aiohttp import ClientError
from maxapi import Bot
from maxapi.client.default import DefaultConnectionProperties
from maxapi.enums.attachment import AttachmentType
from maxapi.enums.upload_type import UploadType
from maxapi.exceptions.max import InvalidToken, MaxApiError, MaxConnection, MaxUploadFileFailed
from maxapi.methods.types.sended_message import SendedMessage
from maxapi.types.attachments.attachment import Attachment, ButtonsPayload
from maxapi.types.attachments.buttons import CallbackButton, InlineButtonUnion
from maxapi.types.attachments.upload import AttachmentUpload
from maxapi.types.input_media import InputMedia, InputMediaBuffer

from bels.outgoing.results import Dead, Refused, Result, Sender, Sent, TryAgain
from bels.outgoing.sections import chat_sender

TEXT_LENGTH_MAX = 3_999
CALLBACK_LENGTH_MAX = 256
BUTTON_LENGTH_MAX = 128
ANSWER_WAIT_S = 10.0
READY_ATTEMPTS_MAX = 5
"""How often a message with a file is tried whose file MAX is still looking at."""
READY_WAIT_S = 1.0

Attached = Attachment | InputMedia | InputMediaBuffer | AttachmentUpload

Button = tuple[str, str]
"""A label, and what comes back when it is tapped."""


def max_bot(token: str, api: str | None = None) -> Bot:
    """Make a client of the MAX API; ``api`` is another host of it. Close its session when it is no longer needed.

    The library does not repeat by itself: whoever sends knows how often. It asks for no chat by itself either.

    :raises ValueError: there is no token.
    """
    if not token:
        # The library would look for one in the environment.
        raise ValueError("the token of the MAX bot is empty")
    bot = Bot(
        token,
        default_connection=DefaultConnectionProperties(timeout=ANSWER_WAIT_S, sock_connect=5, max_retries=0),
        auto_requests=False,
        after_upload_attempts=READY_ATTEMPTS_MAX,
        after_upload_retry_delay=READY_WAIT_S,
    )
    if api is not None:
        bot.set_api_url(api)
    return bot


async def send_section(bot: Bot, chat: str, text: str, buttons: Sequence[Button] = ()) -> Result:
    """Send one message of fewer than 4000 characters, with its buttons one under the other."""
    return await _result(bot.send_message(chat_id=int(chat), text=text, attachments=keyboard(buttons)))


async def send_document(bot: Bot, chat: str, name: str, content: bytes, caption: str = "") -> Result:
    """Send a file."""
    # The library adds the ending of what it finds the file to be.
    files: list[Attached] = [InputMediaBuffer(content, name.rpartition(".")[0] or name, type=UploadType.FILE)]
    return await _result(
        bot.send_message(chat_id=int(chat), text=caption or None, attachments=files, sleep_after_input_media=False)
    )


def keyboard(buttons: Sequence[Button]) -> list[Attached] | None:
    """Lay buttons one under the other; None where there are none.

    :raises ValueError: what a button brings back is longer than MAX keeps.
    """
    if not buttons:
        return None
    if any(len(data) > CALLBACK_LENGTH_MAX for _, data in buttons):
        raise ValueError(f"a button brings back at most {CALLBACK_LENGTH_MAX} characters")
    rows: list[list[InlineButtonUnion]] = [
        [CallbackButton(text=label[:BUTTON_LENGTH_MAX], payload=data)] for label, data in buttons
    ]
    return [Attachment(type=AttachmentType.INLINE_KEYBOARD, payload=ButtonsPayload(buttons=rows), bot=None)]


def max_sender(bot: Bot) -> Sender:
    """Give the sender of the outbox."""
    return chat_sender(partial(send_section, bot), TEXT_LENGTH_MAX)


async def _result(sending: Awaitable[SendedMessage | None]) -> Result:
    # What MAX says of an error may name the chat: only the kind of the error is told on.
    try:
        sent = await sending
    except MaxApiError as error:
        return _refused(error)
    except InvalidToken:
        return TryAgain("INVALID_TOKEN")
    except MaxUploadFileFailed:
        return TryAgain("UPLOAD_FAILED")
    except (MaxConnection, ClientError, OSError, RuntimeError, TimeoutError) as error:
        return TryAgain(type(error).__name__)
    mid = sent.message.body.mid if sent is not None and sent.message.body is not None else ""
    return Sent(mid)


def _refused(error: MaxApiError) -> Result:
    raw = error.raw if isinstance(error.raw, dict) else {}
    match error.code:
        case 429:
            after = raw.get("retry_after")
            return TryAgain(
                "TOO_MANY_REQUESTS", float(after) if isinstance(after, int | float) and after >= 0 else None
            )
        case 403 | 404:
            return Dead("FORBIDDEN" if error.code == 403 else "CHAT_NOT_FOUND")
        case code if code >= 500:
            return TryAgain(f"HTTP_{code}")
        case code:
            return Refused(f"HTTP_{code}")
