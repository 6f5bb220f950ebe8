"""Telegram's side of a bot: a Bot API server over real HTTP, and people in private chats.

What the bot asks is read into aiogram's own method types, and what is answered is made of aiogram's own types: neither side can
drift from the library. Limits are Telegram's own. An update goes to the webhook until it hears 200.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from re import compile as pattern
from typing import Any

import httpx
from aiogram.methods import AnswerCallbackQuery, GetFile, SendDocument, SendMessage, SetWebhook
from aiogram.types import Chat, File, InlineKeyboardMarkup, Message, Update, User
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.peers.loopback import listening

TOKEN = "123456789:AAE-the_token_of_a_bot_of_the_tests"
BOT = {"id": 123456789, "is_bot": True, "first_name": "БЭЛС", "username": "bels_test_bot"}
AT = datetime(2024, 5, 20, 9, tzinfo=UTC)

_SECRET = pattern(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class Said:
    """Something that the bot said in a chat: ``buttons`` are labels and what they bring back."""

    chat: int
    text: str
    buttons: tuple[tuple[str, str], ...] = ()
    document: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is given instead of the right one."""

    status: int
    description: str
    parameters: dict[str, int] = field(default_factory=dict)


BLOCKED = Fault(403, "Forbidden: bot was blocked by the user")
NO_CHAT = Fault(400, "Bad Request: chat not found")
DOWN = Fault(502, "Bad Gateway")


def flood(seconds: int) -> Fault:
    """Ask to wait."""
    return Fault(429, f"Too Many Requests: retry after {seconds}", {"retry_after": seconds})


@dataclass(slots=True)
class BotApi:
    """A Bot API server: what the bot did, and which faults it meets next, by method."""

    url: str = ""
    said: list[Said] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tapped: list[str] = field(default_factory=list)
    webhook: SetWebhook | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    ids: count[int] = field(default_factory=lambda: count(1000))

    def app(self) -> Starlette:
        """Give the server's application."""
        return Starlette(
            routes=[
                Route("/bot{token}/{method}", self._method, methods=["POST"]),
                Route("/file/bot{token}/{path:path}", self._file, methods=["GET"]),
            ]
        )

    async def _method(self, request: Request) -> Response:
        if request.path_params["token"] != TOKEN:
            return _error(Fault(401, "Unauthorized"))
        method = request.path_params["method"]
        self.asked.append(method)
        if self.faults.get(method):
            return _error(self.faults[method].pop(0))
        try:
            async with request.form() as form:
                result = await self._answer(method, form)
        except ValueError as error:
            return _error(Fault(400, f"Bad Request: {error}"))
        return JSONResponse({"ok": True, "result": result})

    async def _answer(self, method: str, form: FormData) -> Any:
        match method:
            case "getMe":
                return User.model_validate(BOT).model_dump(mode="json", exclude_none=True)
            case "setWebhook":
                webhook = SetWebhook.model_validate(_plain(form))
                if not webhook.url.startswith("https://"):
                    raise ValueError("bad webhook: An HTTPS URL must be provided for webhook")
                if webhook.secret_token is not None and not _SECRET.fullmatch(webhook.secret_token):
                    raise ValueError("secret token contains unallowed characters")
                self.webhook = webhook
                return True
            case "sendMessage":
                message = SendMessage.model_validate(_plain(form))
                if not 1 <= len(message.text.encode("utf-16-le")) // 2 <= 4096:
                    raise ValueError("message is too long" if message.text else "message text is empty")
                buttons = _buttons(message.reply_markup)
                said = Said(int(message.chat_id), message.text, buttons)
                self.said.append(said)
                return self._message(said)
            case "sendDocument":
                name = str(form["document"]).removeprefix("attach://")
                file = form[name]
                assert isinstance(file, UploadFile)
                plain = {key: value for key, value in _plain(form).items() if key != name}
                document = SendDocument.model_validate({**plain, "document": "attached"})
                said = Said(int(document.chat_id), document.caption or "", (), (file.filename or "", await file.read()))
                self.said.append(said)
                return self._message(said)
            case "answerCallbackQuery":
                self.tapped.append(AnswerCallbackQuery.model_validate(_plain(form)).callback_query_id)
                return True
            case "getFile":
                wanted = GetFile.model_validate(_plain(form)).file_id
                if wanted not in self.files:
                    raise ValueError("invalid file_id")
                found = File(
                    file_id=wanted,
                    file_unique_id=wanted,
                    file_size=len(self.files[wanted]),
                    file_path=f"photos/{wanted}",
                )
                return found.model_dump(mode="json", exclude_none=True)
            case _:
                raise ValueError(f"method {method} is not known here")

    def _message(self, said: Said) -> Any:
        made = Message(
            message_id=next(self.ids), date=AT, chat=Chat(id=said.chat, type="private"), text=said.text or None
        )
        return made.model_dump(mode="json", exclude_none=True)

    async def _file(self, request: Request) -> Response:
        content = self.files.get(request.path_params["path"].removeprefix("photos/"))
        if self.faults.get("file"):
            return Response(status_code=self.faults["file"].pop(0).status)
        return (
            Response(content, media_type="application/octet-stream")
            if content is not None
            else Response(status_code=404)
        )


@asynccontextmanager
async def bot_api() -> AsyncIterator[BotApi]:
    """Run a Bot API server."""
    api = BotApi()
    async with listening(api.app()) as api.url:
        yield api


@dataclass(slots=True)
class Person:
    """Somebody in a private chat with the bot, whose updates Telegram brings to the webhook at ``hook``."""

    api: BotApi
    hook: str
    http: httpx.AsyncClient
    chat: int = 77001
    last: dict[str, Any] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    updates: count[int] = field(default_factory=lambda: count(500))

    async def begin(self, payload: str = "") -> list[Said] | None:
        """Open the bot, perhaps by a link with a payload."""
        return await self.say(f"/start {payload}".strip())

    async def say(self, text: str, **more: Any) -> list[Said] | None:
        """Write something; None where the webhook does not take it."""
        return await self.send(message={**self.message(), "text": text, **more})

    async def tap(self, data: str) -> list[Said] | None:
        """Tap a button by what it brings back."""
        return await self.send(callback_query=self.tapping(data))

    async def photo(self, content: bytes, **more: Any) -> list[Said] | None:
        """Send a photo."""
        name = f"photo{next(self.updates)}"
        self.api.files[name] = content
        sizes = [
            {"file_id": f"{name}s", "file_unique_id": "s", "width": 90, "height": 60, "file_size": 1000},
            {"file_id": name, "file_unique_id": name, "width": 1280, "height": 960, "file_size": len(content)},
        ]
        return await self.send(message={**self.message(), "photo": sizes, **more})

    async def send(self, **content: Any) -> list[Said] | None:
        """Let Telegram bring an update; what the bot said to it."""
        self.last = Update.model_validate({"update_id": next(self.updates), **content}).model_dump(
            mode="json", exclude_none=True, by_alias=True
        )
        return await self.again()

    async def again(self) -> list[Said] | None:
        """Let Telegram bring the last update once more."""
        before = len(self.api.said)
        status = await self.bring(self.last)
        self.statuses.append(status)
        return self.api.said[before:] if status == 200 else None

    async def bring(self, update: dict[str, Any] | bytes, secret: str | None = None) -> int:
        """Bring an update as it is, and give the status."""
        assert self.api.webhook is not None
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.api.webhook.secret_token if secret is None else secret}
        body = update if isinstance(update, bytes) else json.dumps(update).encode()
        answer = await self.http.post(self.hook, content=body, headers={k: v or "" for k, v in headers.items()})
        return answer.status_code

    def message(self, kind: str = "private") -> dict[str, Any]:
        """Give what every message has."""
        sender = {"id": self.chat, "is_bot": False, "first_name": "Анна", "last_name": "Иванова"}
        chat = {"id": self.chat if kind == "private" else -100_500, "type": kind}
        return {"message_id": next(self.updates), "date": int(AT.timestamp()), "chat": chat, "from": sender}

    def tapping(self, data: str) -> dict[str, Any]:
        """Give a tap on a button."""
        message = self.message()
        return {
            "id": f"tap{next(self.updates)}",
            "from": message["from"],
            "chat_instance": "1",
            "data": data,
            "message": {**message, "from": BOT, "text": "?"},
        }

    @property
    def turn_id(self) -> str:
        """Name the turn of the last update."""
        return f"tg:{self.last['update_id']}"


def _plain(form: FormData) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in form.items():
        if isinstance(value, UploadFile):
            continue
        found[key] = json.loads(value) if value[:1] in "[{" and value else value
    return found


def _buttons(markup: object) -> tuple[tuple[str, str], ...]:
    if markup is None:
        return ()
    assert isinstance(markup, InlineKeyboardMarkup), markup
    buttons = [button for row in markup.inline_keyboard for button in row]
    if any(not 1 <= len((button.callback_data or "").encode()) <= 64 for button in buttons):
        raise ValueError("BUTTON_DATA_INVALID")
    return tuple((button.text, button.callback_data or "") for button in buttons)


def _error(fault: Fault) -> Response:
    told: dict[str, Any] = {"ok": False, "error_code": fault.status, "description": fault.description}
    if fault.parameters:
        told["parameters"] = fault.parameters
    return JSONResponse(told, fault.status)
