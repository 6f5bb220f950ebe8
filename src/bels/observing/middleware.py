"""One pass around every request: its id, its line in the log, its metrics, its trace."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bels.observing.health import Readiness
from bels.observing.logs import ACCESS, log_request
from bels.observing.metrics import METHODS, OTHER, Metrics
from bels.observing.request import CURRENT, NOTED, Noted, request_id_of
from bels.observing.tracing import Tracing

UNMATCHED = "unmatched"
"""The route of a request that no route is for; its path is the client's invention and is not logged."""

UNLOGGED = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})

ERRORS_READ_MAX = 64_000
"""Bytes of an answer that are read for the codes of its errors."""

SOCKET_ERROR_WITHIN = 200
"""Characters of a socket's message in which its type stands."""

BROKEN_OFF = 499
"""The status that is noted where the client was gone before the answer began."""


class _Extensions(msgspec.Struct):
    code: str = ""


class _Error(msgspec.Struct):
    extensions: _Extensions = msgspec.field(default_factory=_Extensions)


class _Errors(msgspec.Struct):
    errors: list[_Error] = msgspec.field(default_factory=list)


class _SocketError(msgspec.Struct):
    type: str = ""
    payload: list[_Error] | msgspec.Raw = msgspec.field(default_factory=list)


_read_errors = msgspec.json.Decoder(_Errors).decode
_read_socket_error = msgspec.json.Decoder(_SocketError).decode


def observed(
    app: ASGIApp,
    metrics: Metrics,
    *,
    readiness: Readiness | None = None,
    tracing: Tracing | None = None,
    plain: frozenset[str] = frozenset({"/graphql"}),
    unlogged: frozenset[str] = UNLOGGED,
) -> ASGIApp:
    """Observe an application: every request and socket gets an id, is counted, logged when it has ended, and traced.

    ``plain`` are paths that are served without a router; all others are known by their route's template.
    ``unlogged`` are routes that programs ask every few seconds: they are counted, but have no line in the log. While ``readiness``
    drains, every answer closes its connection.
    """
    access = logging.getLogger(ACCESS)

    def route_of(scope: Scope) -> str:
        if scope["path"] in plain:
            return str(scope["path"])
        route = scope.get("route")
        return str(route.path) if route is not None else UNMATCHED

    async def http(scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        request_id = request_id_of(scope)
        note = scope[NOTED] = Noted(request_id, metrics)
        status = 0
        is_stream = False

        async def send_on(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                is_named = False
                for name, value in headers:
                    if name == b"x-request-id":
                        is_named = True
                    elif name == b"content-type" and value.startswith(b"text/event-stream"):
                        is_stream = True
                        metrics.streams.inc()
                if not is_named:
                    headers.append((b"x-request-id", request_id.encode()))
                if readiness is not None and readiness.is_draining:
                    headers.append((b"connection", b"close"))
            elif message.get("body", b"").startswith(b'{"errors"') and len(message["body"]) <= ERRORS_READ_MAX:
                # Refused before it was executed: no context has seen it. An error of ours is no news to the client.
                _note_errors(note, message["body"])
            await send(message)

        token = CURRENT.set(note)
        span = tracing.begin(scope) if tracing is not None else None
        try:
            await app(scope, receive, send_on)
        except BaseException as error:
            if span is not None:
                span.failed(type(error).__qualname__)
            raise
        finally:
            if is_stream:
                metrics.streams.dec()
            seconds = perf_counter() - begun
            route = route_of(scope)
            given = scope["method"]
            method = given if given in METHODS else OTHER
            status = status or BROKEN_OFF
            metrics.request(method, route, status, seconds)
            if route not in unlogged and access.isEnabledFor(logging.INFO):
                log_request(access, note, method, route, status, seconds)
            if span is not None:
                span.end(note, method, route, status)
            CURRENT.reset(token)

    async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
        begun = perf_counter()
        note = scope[NOTED] = Noted(request_id_of(scope), metrics)
        closed = 1006
        accepted = False

        async def receive_on() -> Message:
            nonlocal closed
            message = await receive()
            if message["type"] == "websocket.disconnect":
                closed = message.get("code") or 1005
            return message

        async def send_on(message: Message) -> None:
            nonlocal closed, accepted
            kind = message["type"]
            if kind == "websocket.accept":
                accepted = True
                metrics.sockets.inc()
            elif kind == "websocket.close":
                closed = message.get("code") or 1000
            elif kind == "websocket.http.response.start":
                closed = message["status"]
            elif kind == "websocket.send":
                text = message.get("text") or ""
                if '"error"' in text[:SOCKET_ERROR_WITHIN] and len(text) <= ERRORS_READ_MAX:
                    _note_socket_error(note, text)
            await send(message)

        token = CURRENT.set(note)
        try:
            await app(scope, receive_on, send_on)
        finally:
            if accepted:
                metrics.sockets.dec()
            if access.isEnabledFor(logging.INFO):
                log_request(access, note, "WEBSOCKET", route_of(scope), closed, perf_counter() - begun)
            CURRENT.reset(token)

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await http(scope, receive, send)
        elif scope["type"] == "websocket":
            await websocket(scope, receive, send)
        else:
            await app(scope, receive, send)

    return observe


def _note_errors(note: Noted, body: bytes) -> None:
    try:
        found = _read_errors(body).errors
    except msgspec.DecodeError:
        return
    for error in found:
        note.failed(error.extensions.code or "UNKNOWN")


def _note_socket_error(note: Noted, text: str) -> None:
    try:
        found = _read_socket_error(text)
    except msgspec.DecodeError:
        return
    payload: Any = found.payload
    if found.type == "error" and isinstance(payload, list):
        for error in payload:
            note.failed(error.extensions.code or "UNKNOWN")
