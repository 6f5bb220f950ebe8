"""GraphQL over WebSocket: the protocol graphql-transport-ws, with its close codes, our limits and the hooks of the context."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Annotated, Any

import msgspec
from graphql import GraphQLError
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from strawberry.http.websocket_origin import is_same_origin, normalize_allowed_origins, normalize_origin
from strawberry.utils.aio import aclosing

from bels.api.engine.answers import Answers, Asked, admit, check_values, encode, fault, worded
from bels.api.engine.context import RefusedError, RequestContext
from bels.api.engine.opened import Opened, credential_ended
from bels.api.engine.operations import RequestError
from bels.api.engine.scalars import BadUserInputError

PROTOCOL = "graphql-transport-ws"
MESSAGE_MAX = 64_000
"""Bytes in one WebSocket message; the server's own limit should be as low (uvicorn: ``ws_max_size``)."""

GOING = 1012
POLICY = 1008
FAULT = 1011
INVALID = 4400
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
WRONG_PROTOCOL = 4406
INIT_TIMEOUT = 4408
DOUBLE_ID = 4409
DOUBLE_INIT = 4429

log = logging.getLogger("bels.api")

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class _Init(msgspec.Struct, tag="connection_init"):
    payload: dict[str, Any] | None = None


class _Ping(msgspec.Struct, tag="ping"):
    payload: dict[str, Any] | None = None


class _Pong(msgspec.Struct, tag="pong"):
    payload: dict[str, Any] | None = None


class _Subscribe(msgspec.Struct, tag="subscribe"):
    id: _Id
    payload: dict[str, Any]


class _Complete(msgspec.Struct, tag="complete"):
    id: _Id


_MESSAGE = msgspec.json.Decoder(_Init | _Ping | _Pong | _Subscribe | _Complete)


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """Say how many sockets there may be, and what one may do.

    ``init_s`` is the time a client has to introduce itself, ``subscriptions`` how many operations run on one socket.
    """

    init_s: float = 10.0
    subscriptions: int = 100
    of_client: int = 200
    of_process: int = 5_000


class Sockets:
    """Serve WebSockets."""

    def __init__(
        self,
        answers: Answers,
        context: Callable[[HTTPConnection], Awaitable[RequestContext[Any]]],
        limits: SocketLimits,
        allowed_origins: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self.answers = answers
        self.limits = limits
        self.clock = clock
        self.opened = Opened(limits.of_client, limits.of_process)
        self._context = context
        self._allowed_origins = normalize_allowed_origins(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if not self._may_connect(scope):
            await _refuse(scope, send, RefusedError(403, "FORBIDDEN", "Pages of this origin may not connect."))
            return
        connection = HTTPConnection(scope)
        has_protocol = PROTOCOL in scope.get("subprotocols", ())
        accepted: dict[str, Any] = {
            "type": "websocket.accept",
            "subprotocol": PROTOCOL if has_protocol else None,
            "headers": [],
        }
        socket = _Socket(self, receive, send)
        try:
            context = await self._context(connection)
            leave = self.opened.enter(context.client_key, socket.stop)
            try:
                await send(accepted)
                await socket.run(context) if has_protocol else await socket.close(WRONG_PROTOCOL, "wrong protocol")
            finally:
                leave()
        except RefusedError as refusal:
            # A browser is not told the status of a handshake that failed, so it is told by the code of the close.
            if refusal.status in (401, 403):
                await send(accepted)
                await socket.close(UNAUTHENTICATED if refusal.status == 401 else FORBIDDEN, refusal.code)
            else:
                await _refuse(scope, send, refusal)
        except Exception:
            log.exception("a socket could not be opened")
            await _refuse(scope, send, RefusedError(500, "INTERNAL_SERVER_ERROR", "Something went wrong on our side."))

    def _may_connect(self, scope: Scope) -> bool:
        """Say whether the page that connects is ours; a program has no origin."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        if origin is None or is_same_origin(origin, headers.get(b"host")):
            return True
        return "*" in self._allowed_origins or normalize_origin(origin) in self._allowed_origins


async def _refuse(scope: Scope, send: Send, refusal: RefusedError) -> None:
    """Refuse the handshake: with the status where the server can, else with 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY, "reason": refusal.code})
        return
    body = encode({"errors": worded([refusal.error()], token_hex(8))})
    headers = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


class _Socket:
    """One WebSocket: what it has said, and the operations that run on it."""

    def __init__(self, sockets: Sockets, receive: Receive, send: Send) -> None:
        self._sockets = sockets
        self._receive = receive
        self._send_raw = send
        self._over = asyncio.Event()
        self._closed = False
        self._introduced = False
        self._acknowledged = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()

    async def run(self, context: RequestContext[Any]) -> None:
        """Serve until one side closes."""
        self._context = context
        self._begin(self._read())
        self._begin(self._await_init())
        try:
            await self._over.wait()
        finally:
            tasks = [*self._others, *self._operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Close because the server stops; the client may connect again at once."""
        self._begin(self.close(GOING, "the server stops"))

    async def close(self, code: int, reason: str) -> None:
        """Close, once."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._put({"type": "websocket.close", "code": code, "reason": reason})
        finally:
            self._over.set()

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            await self._send_raw(message)
        except OSError:
            # The client is gone, and nobody is left to be told.
            self._closed = True
            self._over.set()

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _send(self, message: dict[str, Any]) -> None:
        text = encode(message).decode()
        if not self._closed:
            await self._put({"type": "websocket.send", "text": text})

    async def _await_init(self) -> None:
        await asyncio.sleep(self._sockets.limits.init_s)
        if not self._acknowledged:
            await self.close(INIT_TIMEOUT, "Connection initialisation timeout")

    async def _watch(self) -> None:
        await credential_ended(self._context, self._sockets.clock)
        await self.close(UNAUTHENTICATED, "The credential ended")

    async def _read(self) -> None:
        try:
            while not self._closed:
                event = await self._receive()
                if event["type"] == "websocket.disconnect":
                    break
                raw = (event.get("text") or "").encode()
                if not raw or len(raw) > MESSAGE_MAX:
                    await self.close(INVALID, f"A message is a text of at most {MESSAGE_MAX} bytes")
                    break
                try:
                    message = _MESSAGE.decode(raw)
                except (ValueError, RecursionError):
                    await self.close(INVALID, "Not a message of graphql-transport-ws")
                    break
                await self._take(message, len(raw))
        except Exception:
            log.exception("a socket broke off")
            await self.close(FAULT, "INTERNAL_SERVER_ERROR")
        finally:
            self._over.set()

    async def _take(self, message: _Init | _Ping | _Pong | _Subscribe | _Complete, size: int) -> None:
        match message:
            case _Init():
                await self._introduce(message.payload)
            case _Ping():
                await self._send({"type": "pong"})
            case _Pong():
                pass
            case _Subscribe():
                await self._subscribe(message.id, message.payload, size)
            case _Complete():
                task = self._operations.pop(message.id, None)
                if task is not None:
                    task.cancel()

    async def _introduce(self, payload: dict[str, Any] | None) -> None:
        if self._introduced:
            await self.close(DOUBLE_INIT, "Too many initialisation requests")
            return
        self._introduced = True
        self._context.connection_params = payload or {}
        try:
            await self._context.connected()
        except RefusedError as refusal:
            await self.close(UNAUTHENTICATED if refusal.status == 401 else FORBIDDEN, refusal.code)
            return
        self._acknowledged = True
        self._begin(self._watch())
        await self._send({"type": "connection_ack"})

    async def _subscribe(self, name: str, payload: dict[str, Any], size: int) -> None:
        if not self._acknowledged:
            await self.close(UNAUTHENTICATED, "Unauthorized")
        elif payload.keys().isdisjoint(("query", "documentId", "extensions")):
            await self.close(INVALID, "A subscription has a query")
        elif name in self._operations:
            await self.close(DOUBLE_ID, f"Subscriber for {name} already exists")
        elif len(self._operations) >= self._sockets.limits.subscriptions:
            message = f"A socket may have {self._sockets.limits.subscriptions} operations at a time."
            error = GraphQLError(message, extensions={"code": "RATE_LIMITED"})
            await self._fail(name, [error], token_hex(8))
        else:
            self._operations[name] = asyncio.create_task(self._execute(name, payload, size))

    async def _execute(self, name: str, payload: dict[str, Any], size: int) -> None:
        request_id = token_hex(8)
        answers = self._sockets.answers
        try:
            context = self._context.renamed(request_id)
            asked = _read_payload(payload)
            check_values(asked.variables, size)
            operation = await answers.find(asked, context)
            admit(operation, asked.variables, context)
            async with aclosing(answers.events(operation, asked.variables, context)) as events:
                async for answer in events:
                    await self._send({"id": name, "type": "next", "payload": answer})
            # Its id is free before the client can know.
            self._forget(name)
            await self._send({"id": name, "type": "complete"})
        except RequestError as refusal:
            await self._fail(name, refusal.errors, request_id)
        except RefusedError as refusal:
            if refusal.status == 401:
                await self.close(UNAUTHENTICATED, refusal.code)
            await self._fail(name, [refusal.error()], request_id)
        except Exception:
            await self._fail(name, [fault(request_id)], request_id)

    async def _fail(self, name: str, errors: Iterable[GraphQLError], request_id: str) -> None:
        self._forget(name)
        await self._send({"id": name, "type": "error", "payload": worded(errors, request_id)})

    def _forget(self, name: str) -> None:
        # The client may have completed it and begun another one under the same id.
        if self._operations.get(name) is asyncio.current_task():
            del self._operations[name]


def _read_payload(payload: dict[str, Any]) -> Asked:
    try:
        return msgspec.convert(payload, Asked)
    except msgspec.ValidationError as error:
        message = f"The payload is not a GraphQL request: {error}."
        raise RequestError([BadUserInputError(message)], status=400, well_formed=False) from None
