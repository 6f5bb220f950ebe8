"""GraphQL over HTTP and WebSocket, after the specification and its audits.

Our own handler rather than Strawberry's view: it answers with the right status, type and error codes, reads no more than
it should, and adds less to an execution than the view does.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from re import DOTALL, findall
from time import time
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from graphql import GraphQLError
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from strawberry.types.graphql import OperationType

from bels.api.engine.answers import Answers, Asked, admit, check_values, encode, fault, worded
from bels.api.engine.context import RefusedError, RequestContext, request_id_of
from bels.api.engine.deadlines import Deadlines
from bels.api.engine.documents import Schema
from bels.api.engine.opened import Opened, credential_ended
from bels.api.engine.operations import Operation, RequestError
from bels.api.engine.sockets import SocketLimits, Sockets
from bels.api.engine.stream import KEEP_ALIVE_S, EventStream, failed

__all__ = ["GraphQL", "RefusedError", "RequestContext"]

BODY_MAX = 1_000_000
"""Bytes in the body of a request."""
BODY_WAIT_S = 20.0
"""Within which the body of a request must have come whole: whoever sends it a byte at a time holds a connection."""
QUERY_STRING_MAX = 16_000
"""Bytes in the query string of a GET."""
REFUSED_WAIT_S = 0.1
"""How long whoever has spent the budget waits for being told so."""
HEADER_MAX = 1_000
"""Bytes of an Accept or Content-Type header that are looked at; no client needs more."""
STREAMS_OF_CLIENT, STREAMS_OF_PROCESS = 100, 1_000
"""Event streams that may be open at a time."""

Context = TypeVar("Context", bound=RequestContext[Any])

_BODY = msgspec.json.Decoder(Asked)
_OBJECT = msgspec.json.Decoder(dict[str, Any] | None)

_JSON = b"application/json"
_GRAPHQL = b"application/graphql-response+json"
_EVENTS = b"text/event-stream"
_HTML = b"text/html"
_SAFE = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_METHODS = "GET, POST, QUERY, OPTIONS"
_ALLOW = (("allow", _METHODS), ("accept-query", _JSON.decode()))
_OTHER_SITES = (b"cross-site", b"same-site")

Headers = Sequence[tuple[str, str]]


class _Streaming(NamedTuple):
    """A stream that has its place; ``leave`` gives the place up."""

    run: Callable[[], Awaitable[None]]
    leave: Callable[[], None]


class _Reply(NamedTuple):
    """What is answered; with a stream, ``body`` is only its beginning."""

    status: int
    kind: bytes
    body: bytes
    headers: Headers = ()
    stream: _Streaming | None = None


class GraphQL(Generic[Context]):
    """Serve a schema as an ASGI application: HTTP, event streams and WebSockets.

    ``context`` makes what resolvers find in ``info.context``, from the connection; it may raise ``RefusedError``, and so may
    its hooks, which judge every operation on every transport. ``trusted`` are the documents that may come by their id.
    ``ide`` is the page that a browser gets when it opens the address; without it, it gets none. Pages of ``allowed_origins``
    may open WebSockets. ``clock`` gives seconds of the epoch.
    """

    def __init__(
        self,
        schema: Schema,
        context: Callable[[HTTPConnection], Awaitable[Context]],
        *,
        ide: str | None = None,
        request_error_status: int = 400,
        trusted: Mapping[str, str] | None = None,
        allowed_origins: Sequence[str] = (),
        socket_limits: SocketLimits | None = None,
        streams_max: tuple[int, int] = (STREAMS_OF_CLIENT, STREAMS_OF_PROCESS),
        keep_alive_s: float = KEEP_ALIVE_S,
        body_wait_s: float = BODY_WAIT_S,
        clock: Callable[[], float] = time,
    ) -> None:
        self._answers = Answers(schema, trusted)
        self._context = context
        self._ide = _Reply(200, _HTML, ide.encode(), [("content-security-policy", _policy(ide))]) if ide else None
        self._request_error_status = request_error_status
        self._keep_alive_s = keep_alive_s
        self._bodies = Deadlines(body_wait_s)
        self._clock = clock
        self._streams = Opened(*streams_max)
        self._sockets = Sockets(self._answers, context, socket_limits or SocketLimits(), allowed_origins, clock)

    def stop(self) -> None:
        """End all event streams and sockets and take no more, so that a server that stops need not wait for them."""
        self._streams.stop()
        self._sockets.opened.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"GraphQL is served over HTTP and WebSocket, not {scope['type']}")
        request_id = request_id_of(scope)
        status, kind, body, headers, stream = await self._reply(scope, receive, send, request_id)
        raw = [*_SAFE, (b"x-request-id", request_id.encode())]
        if kind:
            raw.append((b"content-type", kind + b"; charset=utf-8"))
        if stream is None and status != 204:
            raw.append((b"content-length", b"%d" % len(body)))
        raw += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        start = {"type": "http.response.start", "status": status, "headers": raw}
        if stream is None:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        try:
            await send(start)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await stream.run()
        finally:
            stream.leave()

    async def _reply(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> _Reply:
        kind: bytes = _JSON
        chosen: bytes | None = None
        context: Context | None = None
        try:
            method = scope["method"]
            headers = dict(scope["headers"])
            accept = headers.get(b"accept", b"")
            if len(headers) != len(scope["headers"]):
                accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
            chosen = _negotiate(accept[:HEADER_MAX], self._ide is not None and method == "GET")
            kind = chosen if chosen is _GRAPHQL else _JSON
            if method == "OPTIONS":
                return _Reply(204, b"", b"", _ALLOW)
            if method not in ("POST", "GET", "QUERY"):
                raise RefusedError(405, "METHOD_NOT_ALLOWED", "Use POST, or GET or QUERY for a query.", _ALLOW)
            if chosen is None:
                message = f"The answer is {_GRAPHQL.decode()}, {_JSON.decode()} or {_EVENTS.decode()}."
                raise RefusedError(406, "NOT_ACCEPTABLE", message)
            if method == "GET":
                request = _read_query_string(scope["query_string"])
                if chosen is _HTML and request.query is None and request.documentId is None and self._ide is not None:
                    return self._ide
                if headers.get(b"sec-fetch-site") in _OTHER_SITES and b"graphql-require-preflight" not in headers:
                    message = "A page of another site must send the header GraphQL-Require-Preflight, or use POST."
                    raise RefusedError(403, "CSRF_PREVENTED", message)
            else:
                _check_content_type(headers.get(b"content-type", b"")[:HEADER_MAX], headers.get(b"content-encoding"))
                body = await self._in_time(_receive(receive, headers.get(b"content-length", b"")))
                # Who asks comes first: a stranger's body is not even read.
                context = await self._context(HTTPConnection(scope))
                context.weigh(len(body))
                request = _read_body(body)
                check_values(request.variables, len(body))
            if context is None:
                context = await self._context(HTTPConnection(scope))
            operation = await self._answers.find(request, context)
            _check_kind(operation, method, chosen)
            admit(operation, request.variables, context)
            if chosen is _EVENTS:
                return self._stream(operation, request.variables, context, receive, send)
            answer = await self._answers.answer(operation, request.variables, context)
            return _Reply(200, kind, encode(answer), context.response_headers)
        except RequestError as refusal:
            if chosen is _EVENTS and refusal.status is None:
                return _Reply(
                    200, _EVENTS, failed(refusal.errors, request_id), context.response_headers if context else ()
                )
            status = refusal.status or self._request_error_status
            if kind is _JSON and chosen is not _EVENTS and refusal.well_formed:
                status = 200
            return _Reply(
                status, kind, _errors(refusal.errors, request_id), context.response_headers if context else ()
            )
        except RefusedError as refusal:
            if refusal.status == 429:
                # Whoever asks again at once, on as few connections as ever, is slowed down for everybody's sake.
                await asyncio.sleep(REFUSED_WAIT_S)
            known = {name.lower() for name, _ in refusal.headers}
            earlier = [each for each in context.response_headers if each[0].lower() not in known] if context else []
            return _Reply(refusal.status, kind, _errors([refusal.error()], request_id), [*earlier, *refusal.headers])
        except Exception:
            return _Reply(500, kind, _errors([fault(request_id)], request_id))

    async def _in_time(self, receiving: Awaitable[bytes]) -> bytes:
        try:
            return await self._bodies.within(receiving)
        except TimeoutError:
            message = f"The body did not come within {self._bodies.time_s:g} s."
            raise RefusedError(408, "REQUEST_TIMEOUT", message, [("connection", "close")]) from None

    def _stream(
        self,
        operation: Operation,
        variables: dict[str, Any] | None,
        context: Context,
        receive: Receive,
        send: Send,
    ) -> _Reply:
        """Begin a stream of events.

        :raises RefusedError: too many are open.
        """
        stream = EventStream(send, context.request_id, self._keep_alive_s)
        leave = self._streams.enter(context.client_key, stream.stop)

        async def run() -> None:
            events = self._answers.events(operation, variables, context)
            await stream.run(events, receive, credential_ended(context, self._clock))

        return _Reply(
            200, _EVENTS, b":\n\n", [*context.response_headers, ("x-accel-buffering", "no")], _Streaming(run, leave)
        )


def _policy(page: str) -> str:
    """Write the content security policy of a page that has its script and style in itself and asks nobody but us."""

    def hashes(tag: str) -> str:
        found = findall(rf"<{tag}>(.*?)</{tag}>", page, DOTALL)
        return " ".join(f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" for each in found) or "'none'"

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _errors(errors: list[GraphQLError], request_id: str) -> bytes:
    return encode({"errors": worded(errors, request_id)})


def _check_content_type(content_type: bytes, encoding: bytes | None) -> None:
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
    for rank, offer in enumerate((_JSON, _GRAPHQL, _EVENTS, _HTML) if ide else (_JSON, _GRAPHQL, _EVENTS)):
        # The most exact range that names the offer decides about it; a stream must be named itself, for many name it in passing.
        wider = () if offer is _EVENTS else (offer.partition(b"/")[0] + b"/*", b"*/*")
        for pattern in (offer, *wider):
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


def _read_body(body: bytes) -> Asked:
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


def _read_query_string(query_string: bytes) -> Asked:
    if len(query_string) > QUERY_STRING_MAX:
        raise RefusedError(414, "URI_TOO_LONG", f"The query string may have {QUERY_STRING_MAX} bytes; use POST.")
    try:
        given = dict(parse_qsl(query_string.decode("ascii"), errors="strict", max_num_fields=100))
        variables = _OBJECT.decode(given["variables"]) if given.get("variables") else None
        extensions = _OBJECT.decode(given["extensions"]) if given.get("extensions") else None
    except (ValueError, RecursionError):
        message = "`variables` and `extensions` must be JSON objects in a URL-encoded query string of UTF-8."
        raise RefusedError(400, "BAD_USER_INPUT", message) from None
    name = given.get("operationName") or None
    return Asked(given.get("query"), variables, name, extensions, given.get("documentId"))


def _check_kind(operation: Operation, method: str, chosen: bytes) -> None:
    if operation.kind is OperationType.QUERY:
        return
    if operation.kind is OperationType.MUTATION:
        if method != "POST":
            raise RefusedError(405, "METHOD_NOT_ALLOWED", "A mutation needs POST.", [("allow", "POST")])
    elif chosen is not _EVENTS:
        message = (
            "A subscription needs Accept: text/event-stream, or a WebSocket with the protocol graphql-transport-ws."
        )
        raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
