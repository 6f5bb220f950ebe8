"""One pass around every request of a partner: what it asked to fail fails, and what it did is kept for the checklist."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bels.access.callers import Kind
from bels.access.door import Door
from bels.access.doorkeeper import Unauthenticated
from bels.access.oidc import ProviderFailed
from bels.observing.request import request_id_of
from bels.payments.sandbox import SCOPE, WAIT_S, WAIT_S_MAX, Failing, Fault, Sandbox
from bels.sandbox.faults import Faults
from bels.sandbox.requests import ANSWER_MAX, BODY_MAX, OWN, REGISTER, Sent, code_of, read_request

FAULT_HEADER = b"bels-sandbox-fault"
"""Asks for a fault of one request: ``lost-answer``, ``slow``, ``try-later``, ``server-error``, ``parked``."""

PLAIN_PATHS = ("/health", "/metrics", "/oauth", "/.well-known", "/schema.graphql", "/static")
"""Where no partner acts."""

BODY_WAIT_S = 30
"""How long a body is heard out before it is given on as far as it came."""

PARTNERS_PATH = "/partners/"
"""Where a partner may also be known by its name in the address."""

LOST_LENGTH = b"4096"
"""How long the answer is said to be that never comes: then the connection is closed, and every client sees that."""


class Room(Sandbox, Protocol):
    """The sandbox as the pass around requests knows it."""

    faults: Faults
    names: Mapping[str, str]
    """The partners' clients, by client and by the name of their contract."""

    async def keep(
        self, client: str, sent: Sent, began: float, fault: Fault | None, status: int, code: str | None
    ) -> None:
        """Keep what a partner did; ``began`` is how many seconds ago it began."""


def watched(app: ASGIApp, room: Room, door: Door) -> ASGIApp:
    """Put the sandbox around an application."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        scope[SCOPE] = room
        is_plain = scope["type"] == "websocket" or scope["path"].startswith(PLAIN_PATHS)
        client = None if is_plain else await _client_of(scope, room, door)
        if client is None:
            await app(scope, receive, send)
            return
        await _watched(app, room, client, scope, receive, send)

    return serve


async def _watched(app: ASGIApp, room: Room, client: str, scope: Scope, receive: Receive, send: Send) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    heard, body = await _heard(receive)
    headers = dict(scope["headers"])
    if len(body) > BODY_MAX:
        # Two files may begin alike: they differ in their length, too.
        body += headers.get(b"content-length", b"")
    sent = read_request(scope["method"], scope["path"], scope["query_string"], headers.get(b"content-type", b""), body)
    failing = _by_header(headers) or (room.faults.next_of(client) if sent.is_act else None)
    fault = failing.fault if failing is not None and OWN.isdisjoint(sent.operations) else None
    request_id = request_id_of(scope)
    status, answer = 0, b""

    async def receive_on() -> Message:
        return heard.pop(0) if heard else await receive()

    async def send_on(message: Message) -> None:
        nonlocal status, answer
        if message["type"] == "http.response.start":
            status = message["status"]
        elif len(answer) < ANSWER_MAX:
            answer += message.get("body", b"")
        if fault is not Fault.LOST_ANSWER:
            await send(message)

    try:
        if fault is Fault.SERVER_ERROR:
            await _answer_as_a_proxy(send_on, 502)
            return
        if fault is Fault.TRY_LATER and REGISTER in sent.operations:
            # A file is no message: nothing behind it has words for this.
            await _answer_as_a_proxy(send_on, 503)
            return
        if fault in (Fault.TRY_LATER, Fault.PARKED):
            room.faults.mean(request_id, fault)
        if failing is not None and fault is Fault.SLOW:
            await asyncio.sleep(min(failing.wait_s, WAIT_S_MAX))
        await app(scope, receive_on, send_on)
        if fault is Fault.LOST_ANSWER:
            # What is promised and never comes: the server closes the connection.
            head = [(b"content-type", b"application/octet-stream"), (b"content-length", LOST_LENGTH)]
            await send({"type": "http.response.start", "status": 200, "headers": head})
    finally:
        room.faults.done(request_id)
        if not (sent.operations and OWN.issuperset(sent.operations)):
            await room.keep(client, sent, loop.time() - began, fault, status or 499, code_of(answer))


async def _heard(receive: Receive) -> tuple[list[Message], bytes]:
    """Hear a body out, or as much of it as is looked at and comes in time; what was heard is given on."""
    heard: list[Message] = []
    body = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_WAIT_S):
            while len(body) <= BODY_MAX:
                message = await receive()
                heard.append(message)
                body += message.get("body", b"")
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    return heard, body


async def _answer_as_a_proxy(send: Send, status: int) -> None:
    body = b"<html><body><h1>%d</h1></body></html>" % status
    head = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body)), (b"retry-after", b"5")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _by_header(headers: Mapping[bytes, bytes]) -> Failing | None:
    asked = headers.get(FAULT_HEADER, b"").decode("latin-1").strip().upper().replace("-", "_")
    named, _, wait_s = asked.partition("=")
    if named not in set(Fault):
        return None
    return Failing(Fault(named), wait_s=int(wait_s) if wait_s.isdecimal() and len(wait_s) < 4 else WAIT_S)


async def _client_of(scope: Scope, room: Room, door: Door) -> str | None:
    """Say which partner asks: by its token, by the name before its password, or by its name in the address."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    kind, _, credential = given.partition(b" ")
    if kind.lower() == b"bearer":
        try:
            caller = await door.doorkeeper.admit(scope["headers"], scope.get("client"))
        except (Unauthenticated, ProviderFailed, OSError, TimeoutError):
            return None
        return caller.subject if caller.kind is Kind.PARTNER else None
    if kind.lower() == b"basic":
        try:
            user = b64decode(credential, validate=True).partition(b":")[0].decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return None
        if user in room.names:
            return room.names[user]
    if not scope["path"].startswith(PARTNERS_PATH):
        return None
    return next((room.names[part] for part in scope["path"].split("/") if part in room.names), None)
