"""MAX's side of a bot: an API server over real HTTP, and people in dialogues.

What is answered is checked by maxapi's own types, and so are the updates; limits are those of MAX's documentation. An update goes to
the webhook until it hears 200.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from re import compile as pattern
from typing import Any

import httpx
from maxapi.methods.types.getted_upload_url import GettedUploadUrl
from maxapi.methods.types.sended_callback import SendedCallback
from maxapi.methods.types.sended_message import SendedMessage
from maxapi.types.attachments.attachment import ButtonsPayload
from maxapi.types.updates import UpdateUnionAdapter
from maxapi.types.users import User
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.peers.loopback import listening

TOKEN = "the-token-of-a-max-bot-of-the-tests"
AT = 1_716_195_600_000
BOT = {"user_id": 900, "first_name": "БЭЛС", "username": "bels_max_bot", "is_bot": True, "last_activity_time": AT}

_SECRET = pattern(r"[A-Za-z0-9-]{5,256}")


@dataclass(frozen=True, slots=True)
class Said:
    """Something that the bot said in a chat: ``buttons`` are labels and what they bring back, ``files`` are tokens."""

    chat: int
    text: str
    buttons: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is given instead of the right one."""

    status: int
    body: dict[str, Any]


BLOCKED = Fault(403, {"code": "chat.denied", "message": "error.dialog.suspended"})
NO_CHAT = Fault(404, {"code": "chat.not.found", "message": "Chat not found"})
DOWN = Fault(503, {"code": "service.unavailable", "message": "try later"})
NOT_READY = Fault(400, {"code": "attachment.not.ready", "message": "Key: errors.process.attachment.file.not.processed"})


def flood(seconds: int | None) -> Fault:
    """Ask to wait."""
    return Fault(429, {"code": "too.many.requests", **({"retry_after": seconds} if seconds is not None else {})})


@dataclass(slots=True)
class MaxApi:
    """An API server: what the bot did, and which faults it meets next, by path."""

    url: str = ""
    said: list[Said] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tapped: list[str] = field(default_factory=list)
    webhook: dict[str, Any] | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    leaked: list[str] = field(default_factory=list)
    ids: count[int] = field(default_factory=lambda: count(1))

    def app(self) -> Starlette:
        """Give the server's application."""
        return Starlette(
            routes=[
                Route("/pictures/{name}", self._picture, methods=["GET"]),
                Route("/upload", self._upload, methods=["POST"]),
                Route("/{path:path}", self._method, methods=["GET", "POST"]),
            ]
        )

    async def _method(self, request: Request) -> Response:
        path = f"{request.method} /{request.path_params['path']}"
        self.asked.append(path)
        if request.headers.get("authorization") != TOKEN or "access_token" in request.query_params:
            return JSONResponse({"code": "verify.token", "message": "Invalid access_token"}, 401)
        if self.faults.get(path):
            fault = self.faults[path].pop(0)
            return JSONResponse(fault.body, fault.status)
        try:
            return JSONResponse(await self._answer(path, request))
        except ValueError as error:
            return JSONResponse({"code": "proto.payload", "message": str(error)}, 400)

    async def _answer(self, path: str, request: Request) -> Any:
        given = await request.json() if request.method == "POST" and await request.body() else {}
        match path:
            case "GET /me":
                return User.model_validate(BOT).model_dump(mode="json")
            case "POST /subscriptions":
                if not given["url"].startswith("https://") or not _SECRET.fullmatch(given.get("secret", "")):
                    raise ValueError("url must be https, secret 5 to 256 of A-Z, a-z, 0-9 and the dash")
                self.webhook = given
                return {"success": True}
            case "POST /messages":
                return self._message(int(request.query_params["chat_id"]), given)
            case "POST /answers":
                if not (given.get("notification") or given.get("message")):
                    raise ValueError("notification or message is required")
                self.tapped.append(request.query_params["callback_id"])
                answer = {"success": True}
                SendedCallback.model_validate(answer)
                return answer
            case "POST /uploads":
                place = {"url": f"{self.url}/upload"}
                GettedUploadUrl.model_validate(place)
                return place
            case _ if path.startswith("GET /chats/"):
                return {"chat_id": int(path.rpartition("/")[2]), "type": "dialog", "status": "active", "title": None}
            case _:
                raise ValueError(f"{path} is not known here")

    def _message(self, chat: int, given: dict[str, Any]) -> Any:
        text, attachments = given.get("text") or "", given.get("attachments") or []
        if len(text) >= 4000 or not (text or attachments):
            raise ValueError("text: size must be between 0 and 4000")
        buttons: list[tuple[str, str]] = []
        files: list[str] = []
        for each in attachments:
            if each["type"] == "inline_keyboard":
                rows = ButtonsPayload.model_validate(each["payload"]).buttons
                buttons += [(button.text, getattr(button, "payload", "") or "") for row in rows for button in row]
            else:
                files.append(each["payload"]["token"])
        self.said.append(Said(chat, text, tuple(buttons), tuple(files)))
        message = {
            "sender": BOT,
            "recipient": {"chat_id": chat, "chat_type": "dialog", "user_id": 5},
            "timestamp": AT,
            "body": {"mid": f"mid.{next(self.ids):032x}", "seq": 1, "text": text, "attachments": []},
        }
        SendedMessage.model_validate({"message": message})
        return {"message": message}

    async def _picture(self, request: Request) -> Response:
        if "authorization" in request.headers:
            self.leaked.append(request.url.path)
        if self.faults.get("picture"):
            return Response(status_code=self.faults["picture"].pop(0).status)
        content = self.pictures.get(request.path_params["name"])
        return Response(content, media_type="image/jpeg") if content is not None else Response(status_code=404)

    async def _upload(self, request: Request) -> Response:
        token = f"token{next(self.ids)}"
        async with request.form() as form:
            file = form["data"]
            assert isinstance(file, UploadFile)
            self.uploaded[token] = await file.read()
        return JSONResponse({"token": token, "fileId": 1})


@asynccontextmanager
async def max_api() -> AsyncIterator[MaxApi]:
    """Run an API server of MAX."""
    api = MaxApi()
    async with listening(api.app()) as api.url:
        yield api


@dataclass(slots=True)
class Person:
    """Somebody in a dialogue with the bot, whose updates MAX brings to the webhook at ``hook``."""

    api: MaxApi
    hook: str
    http: httpx.AsyncClient
    named: Callable[[dict[str, Any]], str]
    chat: int = 88001
    last: dict[str, Any] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    ids: count[int] = field(default_factory=lambda: count(500))

    async def begin(self, payload: str = "") -> list[Said] | None:
        """Open the bot, perhaps by a link with a payload."""
        return await self.send(
            "bot_started", chat_id=self.chat, user=self.user(), **({"payload": payload} if payload else {})
        )

    async def say(self, text: str, **more: Any) -> list[Said] | None:
        """Write something; None where the webhook does not take it."""
        return await self.send("message_created", message=self.message(text, **more))

    async def tap(self, data: str) -> list[Said] | None:
        """Tap a button by what it brings back."""
        return await self.send("message_callback", **self.tapping(data))

    async def photo(self, *contents: bytes, text: str | None = None) -> list[Said] | None:
        """Send photos in one message."""
        attachments = []
        for content in contents:
            name = f"photo{next(self.ids)}"
            self.api.pictures[name] = content
            payload = {"photo_id": next(self.ids), "token": name, "url": f"{self.api.url}/pictures/{name}"}
            attachments.append({"type": "image", "payload": payload})
        return await self.send("message_created", message=self.message(text, attachments=attachments))

    async def send(self, update_type: str, **content: Any) -> list[Said] | None:
        """Let MAX bring an update; what the bot said to it."""
        self.last = {"update_type": update_type, "timestamp": AT + next(self.ids), **content}
        UpdateUnionAdapter.validate_python(self.last)
        return await self.again()

    async def again(self) -> list[Said] | None:
        """Let MAX bring the last update once more."""
        before = len(self.api.said)
        status = await self.bring(self.last)
        self.statuses.append(status)
        return self.api.said[before:] if status == 200 else None

    async def bring(self, update: dict[str, Any] | bytes, secret: str | None = None) -> int:
        """Bring an update as it is, and give the status."""
        assert self.api.webhook is not None
        headers = {"X-Max-Bot-Api-Secret": self.api.webhook["secret"] if secret is None else secret}
        body = update if isinstance(update, bytes) else json.dumps(update).encode()
        return (await self.http.post(self.hook, content=body, headers=headers)).status_code

    def user(self) -> dict[str, Any]:
        """Give who it is."""
        return {"user_id": 5, "first_name": "Анна", "last_name": "Иванова", "is_bot": False, "last_activity_time": AT}

    def message(self, text: str | None, kind: str = "dialog", **more: Any) -> dict[str, Any]:
        """Give a message; its id holds the chat's, as those of MAX do."""
        chat = self.chat if kind == "dialog" else -500
        mid = f"mid.{chat & (1 << 64) - 1:016x}{next(self.ids):016x}"
        return {
            "sender": self.user(),
            "recipient": {"chat_id": chat, "chat_type": kind, "user_id": 900},
            "timestamp": AT,
            "body": {"mid": mid, "seq": 1, "text": text, **more},
        }

    def tapping(self, data: str) -> dict[str, Any]:
        """Give a tap on a button."""
        callback = {"timestamp": AT, "callback_id": f"tap{next(self.ids)}", "payload": data, "user": self.user()}
        return {"callback": callback, "message": {**self.message("?"), "sender": BOT}}

    @property
    def turn_id(self) -> str:
        """Name the turn of the last update."""
        return self.named(self.last)
