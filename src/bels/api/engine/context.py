"""What an operation finds at hand, and what the engine asks of whoever serves a schema: one set of hooks for all transports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from re import compile as pattern
from secrets import token_hex
from typing import Any, Generic, Self, TypeVar

from graphql import GraphQLError
from starlette.requests import HTTPConnection
from starlette.types import Scope

from bels.api.engine.operations import Operation

REQUEST_ID = "request_id"
"""Where a request's id stands in its ASGI scope; whoever wraps the engine may put one there."""

_GIVEN_ID = pattern(rb"[A-Za-z0-9._-]{8,64}")

App = TypeVar("App")


class RefusedError(Exception):
    """A request is refused with an HTTP status, a code, a sentence for the client and what a program may want to know.

    The hooks of a context may raise it: 401 UNAUTHENTICATED, 403 FORBIDDEN, 429 RATE_LIMITED.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Sequence[tuple[str, str]] = (),
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.extensions = extensions or {}

    def error(self) -> GraphQLError:
        """Word it as the error of an answer."""
        return GraphQLError(self.message, extensions={"code": self.code, **self.extensions})


@dataclass(slots=True)
class RequestContext(Generic[App]):
    """What resolvers find in ``info.context``: the application's own object, and this request.

    On a WebSocket it lives as long as the socket, and ``connection_params`` is what ``connection_init`` brought; every
    operation and every event there gets a copy made by ``fresh``. Subclasses add loaders and the identity, and answer the
    engine's questions: ``meet``, ``admit``, ``answered``, ``documents_only``, ``connected``, ``expires_at``, ``ended`` and
    ``client_key``. Every transport asks them alike: HTTP, event streams and WebSockets.
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
            self._request_id = request_id_of(self.connection.scope) if self.connection else token_hex(8)
        return self._request_id

    def fresh(self) -> Self:
        """Give a copy for one operation of a socket; a subclass with loaders makes new ones."""
        return replace(self, response_headers=[])

    def for_event(self) -> Self:
        """Give a copy for one event of a subscription; a subclass with loaders makes new ones, and shares what it notes.

        The source of the events and the hooks have the context of the operation.
        """
        return self.fresh()

    def renamed(self, request_id: str) -> Self:
        """Give a fresh copy under an id of its own: every operation of a socket has one."""
        copy = self.fresh()
        copy._request_id = request_id
        return copy

    def weigh(self, size: int) -> None:
        """Judge a body of so many bytes, before it is read: a budget for large ones.

        :raises RefusedError: it is one too many.
        """

    def meet(self, text: str) -> None:
        """Judge a document that is not kept, before it is parsed: a budget for strange documents.

        :raises RefusedError: it is one too many.
        """

    def admit(self, operation: Operation, cost: int) -> None:
        """Judge an operation before it is executed, with its cost.

        :raises RefusedError: the caller may not, or not now; 401 also closes a socket.
        """

    def takes_turns(self) -> bool:
        """Say whether what was never seen before waits for its turn to be read: all such reading has a share of the time."""
        return True

    async def answered(
        self, operation: Operation, data: dict[str, Any] | None, errors: Sequence[GraphQLError] | None
    ) -> Mapping[str, object] | None:
        """Note what was answered, and give the ``extensions`` of the answer; a subscription's every event comes here.

        :raises RefusedError: the answer may not be sent.
        """
        return None

    def documents_only(self) -> bool:
        """Say whether only trusted documents are taken from this caller."""
        return False

    async def connected(self) -> None:
        """Judge a WebSocket when it has introduced itself; ``connection_params`` is set.

        :raises RefusedError: it is closed, with 4401 for 401 and 4403 for all else.
        """

    @property
    def expires_at(self) -> float | None:
        """Say when the credential ends, in seconds of the epoch; sockets and streams end with it."""
        return None

    async def ended(self) -> None:
        """Return when the credential has been taken back; sockets and streams end with it."""
        await asyncio.Event().wait()

    @property
    def client_key(self) -> str:
        """Name the client whose open streams are counted together."""
        client = self.connection.client if self.connection else None
        return client.host if client else ""


def request_id_of(scope: Scope) -> str:
    """Give the id of a request: the one it has already, the one it brings in ``X-Request-Id``, or a new one."""
    known: str | None = scope.get(REQUEST_ID)
    if known is None:
        given = next((value for name, value in scope.get("headers", ()) if name == b"x-request-id"), b"")
        known = scope[REQUEST_ID] = given.decode() if _GIVEN_ID.fullmatch(given) else token_hex(8)
    return known
