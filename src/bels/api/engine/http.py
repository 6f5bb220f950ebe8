"""GraphQL over HTTP and WebSocket, after the specification and its audits.

Our own handler rather than Strawberry's view: it answers with the right status, type and error codes, reads no more than
it should, and adds less to an execution than the view does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from secrets import token_hex
from typing import Any, Generic, Self, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from graphql import GraphQLError
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import GraphQL as StrawberryView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from bels.api.engine.documents import ERRORS_MAX, Operation, RequestError, Schema, fault_text

BODY_MAX = 1_000_000
"""Bytes in the body of a request."""
QUERY_STRING_MAX = 16_000
"""Bytes in the query string of a GET."""
SOCKET_MESSAGE_MAX = 64_000
"""Bytes in one WebSocket message; the server's own limit should be as low (uvicorn: ``ws_max_size``)."""
HEADER_MAX = 1_000
"""Bytes of an Accept or Content-Type header that are looked at; no client needs more."""

log = logging.getLogger("bels.api")

App = TypeVar("App")
Context = TypeVar("Context")


class RefusedError(Exception):
    """A request is refused before GraphQL is reached, with an HTTP status, a code and a sentence for the client.

    The context of a request may raise it too: 401 UNAUTHENTICATED, 403 FORBIDDEN, 429 RATE_LIMITED.
    """

    def __init__(self, status: int, code: str, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


@dataclass(slots=True)
class RequestContext(Generic[App]):
    """What resolvers find in ``info.context``: the application's own object, and this request.

    On a WebSocket it lives as long as the socket, and ``connection_params`` is what ``connection_init`` brought; every
    operation and every event there gets a copy made by ``fresh``. Subclasses add loaders and the identity.
    """

    app: App
    connection: HTTPConnection
    connection_params: dict[str, object] | None = None
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    _request_id: str = ""

    @property
    def request_id(self) -> str:
        """Name the request, for the log and for a client that asks what went wrong."""
        if not self._request_id:
            self._request_id = token_hex(8)
        return self._request_id

    def fresh(self) -> Self:
        """Give a copy for one operation or event of a socket; a subclass with loaders makes new ones."""
        return replace(self, response_headers=[], _request_id="")


class _Body(msgspec.Struct):
    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815
    extensions: dict[str, Any] | None = None


_BODY = msgspec.json.Decoder(_Body)
_OBJECT = msgspec.json.Decoder(dict[str, Any] | None)
_ENCODER = msgspec.json.Encoder()

_JSON = b"application/json"
_GRAPHQL = b"application/graphql-response+json"
_HTML = b"text/html"
_SAFE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class GraphQL(Generic[Context]):
    """Serve a schema as an ASGI application.

    ``context`` makes what resolvers find in ``info.context``, from the connection; it may raise ``RefusedError``.
    ``admit`` is asked before every HTTP operation is executed, with its cost: rate limits, introspection. ``connect`` is
    asked when a WebSocket introduces itself. ``ide`` is the page that a
    browser gets when it opens the address; without it, it gets none.
    """

    def __init__(
        self,
        schema: Schema,
        context: Callable[[HTTPConnection], Awaitable[Context]],
        *,
        admit: Callable[[Context, Operation, int], Awaitable[None]] | None = None,
        connect: Callable[[Context], Awaitable[None]] | None = None,
        ide: str | None = None,
        request_error_status: int = 400,
        allowed_origins: Sequence[str] = (),
        connection_init_s: float = 10.0,
        subscriptions_max: int = 100,
    ) -> None:
        self._schema = schema
        self._context = context
        self._admit = admit
        self._ide = ide
        self._request_error_status = request_error_status
        self._socket = _SocketView(
            schema,
            context,
            connect,
            allowed_origins=allowed_origins,
            connection_init_wait_timeout=timedelta(seconds=connection_init_s),
            max_subscriptions_per_connection=subscriptions_max,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"GraphQL is served over HTTP and WebSocket, not {scope['type']}")
        status, kind, headers, body = await self._respond(scope, receive)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", kind + b"; charset=utf-8"),
                    (b"content-length", b"%d" % len(body)),
                    *_SAFE,
                    *[(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, receive: Receive) -> tuple[int, bytes, Sequence[tuple[str, str]], bytes]:
        kind: bytes = _JSON
        context: Any = None
        try:
            method = scope["method"]
            accept = content_type = length = encoding = b""
            for name, value in scope["headers"]:
                if name == b"accept":
                    accept = accept + b"," + value if accept else value
                elif name == b"content-type":
                    content_type = value
                elif name == b"content-length":
                    length = value
                elif name == b"content-encoding":
                    encoding = value
            chosen = _negotiate(accept[:HEADER_MAX], self._ide is not None and method == "GET")
            kind = _JSON if chosen is None or chosen is _HTML else chosen
            if method not in ("POST", "GET"):
                raise RefusedError(405, "METHOD_NOT_ALLOWED", "Use POST, or GET for a query.", [("allow", "GET, POST")])
            if chosen is None:
                raise RefusedError(406, "NOT_ACCEPTABLE", f"The answer is {_GRAPHQL.decode()} or {_JSON.decode()}.")
            if method == "POST":
                _check_content_type(content_type[:HEADER_MAX], encoding)
                request = _read_body(await _receive(receive, length))
            else:
                request = _read_query_string(scope["query_string"])
                if request.query is None and chosen is _HTML:
                    return 200, _HTML, (), (self._ide or "").encode()
            # Who asks comes first: a stranger's document is not even parsed.
            context = await self._context(HTTPConnection(scope))
            operation = self._schema.find(request.query, request.operationName)
            _check_kind(operation, method)
            if self._admit is not None:
                await self._admit(context, operation, operation.cost(request.variables or {}))
            result = await self._schema.answer(operation, request.variables, context)
            answer: dict[str, Any] = {"data": result.data}
            if result.errors:
                answer["errors"] = [error.formatted for error in result.errors]
            return 200, kind, getattr(context, "response_headers", ()), _ENCODER.encode(answer)
        except RequestError as refusal:
            status = refusal.status or self._request_error_status
            if kind is _JSON and refusal.well_formed:
                status = 200
            return status, kind, getattr(context, "response_headers", ()), _errors(refusal.errors)
        except RefusedError as refusal:
            error = GraphQLError(refusal.message, extensions={"code": refusal.code})
            return refusal.status, kind, refusal.headers, _errors([error])
        except Exception:
            request_id = getattr(context, "request_id", None) or token_hex(8)
            log.exception("request %s failed", request_id)
            extensions = {"code": "INTERNAL_SERVER_ERROR", "requestId": request_id}
            return 500, kind, (), _errors([GraphQLError(fault_text(request_id), extensions=extensions)])


def _errors(errors: list[GraphQLError]) -> bytes:
    return _ENCODER.encode({"errors": [error.formatted for error in errors[:ERRORS_MAX]]})


def _check_content_type(content_type: bytes, encoding: bytes) -> None:
    if not _is_json(content_type):
        raise RefusedError(415, "UNSUPPORTED_MEDIA_TYPE", "Send the request as application/json in UTF-8.")
    if encoding and encoding.lower() != b"identity":
        raise RefusedError(415, "UNSUPPORTED_MEDIA_TYPE", "Send the request without Content-Encoding.")


@lru_cache(256)
def _is_json(content_type: bytes) -> bool:
    kind, parameters = _parameters(content_type)
    return kind == _JSON and parameters.get(b"charset", b"utf-8") in (b"utf-8", b"utf8")


def _parameters(text: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    kind, *rest = text.lower().split(b";")
    pairs = (each.partition(b"=") for each in rest)
    return kind.strip(), {name.strip(): value.strip(b' \t"') for name, _, value in pairs}


@lru_cache(1024)
def _negotiate(accept: bytes, ide: bool) -> bytes | None:
    """Choose the type of the answer: the highest quality, then the client's order; None when nothing will do."""
    if not accept.strip():
        return _JSON
    ranges: list[tuple[bytes, float]] = []
    for part in accept.split(b","):
        kind, parameters = _parameters(part)
        try:
            quality = float(parameters.get(b"q", b"1"))
        except ValueError:
            quality = 0.0
        if parameters.get(b"charset", b"utf-8") in (b"utf-8", b"utf8"):
            ranges.append((kind, quality if 0 <= quality <= 1 else 0.0))
    best: tuple[float, int, int] | None = None
    chosen = None
    for rank, offer in enumerate((_JSON, _GRAPHQL, _HTML) if ide else (_JSON, _GRAPHQL)):
        # The most exact range that names the offer decides about it.
        for pattern in (offer, offer.partition(b"/")[0] + b"/*", b"*/*"):
            match = next(((place, q) for place, (kind, q) in enumerate(ranges) if kind == pattern), None)
            if match is not None:
                break
        else:
            continue
        place, quality = match
        if quality > 0 and (best is None or (-quality, place, rank) < best):
            best, chosen = (-quality, place, rank), offer
    return chosen


async def _receive(receive: Receive, length: bytes) -> bytes:
    if length.isdigit() and (len(length) > 9 or int(length) > BODY_MAX):
        raise _too_large()
    message: Message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > BODY_MAX:
            raise _too_large()
        return body
    chunks = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "BAD_USER_INPUT", "The request broke off.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > BODY_MAX:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> RefusedError:
    return RefusedError(413, "PAYLOAD_TOO_LARGE", f"A request may have {BODY_MAX} bytes.")


def _read_body(body: bytes) -> _Body:
    try:
        body.decode()  # msgspec does not look at the bytes of properties that it skips.
        return _BODY.decode(body)
    except UnicodeDecodeError:
        raise RefusedError(400, "BAD_USER_INPUT", "The body must be UTF-8.") from None
    except msgspec.ValidationError as error:
        raise RefusedError(400, "BAD_USER_INPUT", f"The body is not a GraphQL request: {error}.") from None
    except ValueError:
        raise RefusedError(400, "BAD_USER_INPUT", "The body must be JSON.") from None
    except RecursionError:
        raise RefusedError(400, "BAD_USER_INPUT", "The body is nested too deeply.") from None


def _read_query_string(query_string: bytes) -> _Body:
    if len(query_string) > QUERY_STRING_MAX:
        raise RefusedError(414, "URI_TOO_LONG", f"The query string may have {QUERY_STRING_MAX} bytes; use POST.")
    try:
        given = dict(parse_qsl(query_string.decode("ascii"), errors="strict", max_num_fields=100))
        variables = _OBJECT.decode(given["variables"]) if given.get("variables") else None
        extensions = _OBJECT.decode(given["extensions"]) if given.get("extensions") else None
    except (ValueError, RecursionError):
        message = "`variables` and `extensions` must be JSON objects in a URL-encoded query string of UTF-8."
        raise RefusedError(400, "BAD_USER_INPUT", message) from None
    return _Body(given.get("query"), variables, given.get("operationName") or None, extensions)


def _check_kind(operation: Operation, method: str) -> None:
    if operation.kind is OperationType.QUERY:
        return
    if operation.kind is OperationType.SUBSCRIPTION:
        message = "A subscription needs a WebSocket with the protocol graphql-transport-ws."
        raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
    if method != "POST":
        raise RefusedError(405, "METHOD_NOT_ALLOWED", "A mutation needs POST.", [("allow", "POST")])


class _SocketHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """Refuse a message of the wrong shape with 4400, where Strawberry's handler would break."""

    async def handle_message(self, message: Any) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            await self.handle_invalid_message("A message must be an object with a type")
            return
        if message["type"] in ("subscribe", "complete") and not _is_id(message.get("id")):
            await self.handle_invalid_message("A message must have an id")
            return
        if message["type"] == "subscribe" and not isinstance(message.get("payload"), dict):
            await self.handle_invalid_message("A subscription must have a payload")
            return
        if message["type"] == "connection_init" and message.get("payload") is None:
            message.pop("payload", None)
        await super().handle_message(cast("Any", message))


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100


class _SocketView(StrawberryView[Any, None]):
    """Serve graphql-transport-ws through Strawberry's own handler, with our limits, context and errors."""

    graphql_transport_ws_handler_class = _SocketHandler

    def __init__(
        self,
        schema: Schema,
        context: Callable[[HTTPConnection], Awaitable[Any]],
        connect: Callable[[Any], Awaitable[None]] | None,
        **options: Any,
    ) -> None:
        super().__init__(schema, graphql_ide=None, subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,), **options)
        self._context = context
        self._connect = connect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive=receive, send=send)
        try:
            await self.run(socket)
        except RefusedError as refusal:
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.close(code=4401 if refusal.status == 401 else 4403, reason=refusal.code)

    async def get_context(self, request: Any, response: Any) -> Any:
        return await self._context(request)

    async def on_ws_connect(self, context: Any) -> UnsetType | dict[str, object] | None:
        if self._connect is not None:
            try:
                await self._connect(context)
            except RefusedError as refusal:
                if refusal.status == 401:
                    raise
                raise ConnectionRejectionError from refusal
        return cast("UnsetType", UNSET)

    def decode_json(self, data: str | bytes) -> object:
        # The adapter knows only this exception; it closes the socket with 4400.
        try:
            raw = data.encode() if isinstance(data, str) else data
            if len(raw) <= SOCKET_MESSAGE_MAX:
                return msgspec.json.decode(raw)
            message = "too long"
        except (ValueError, RecursionError):
            message = "not JSON"
        raise json.JSONDecodeError(message, "", 0)

    def encode_json(self, data: object) -> str | bytes:
        return _ENCODER.encode(data).decode()
