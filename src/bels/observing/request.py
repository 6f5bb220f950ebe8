"""What is noted of a request while it is handled: for its line in the log, its metrics and its trace. Never what it says."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from re import compile as pattern
from secrets import token_hex
from typing import Protocol

from starlette.types import Scope

from bels.observing.scrub import scrub

REQUEST_ID = "request_id"
"""Where a request's id stands in its ASGI scope; the GraphQL engine looks there too."""

NOTED = "bels.noted"
"""Where what is noted of a request stands in its ASGI scope."""

FIELDS_MAX = 10
"""Root fields that are noted; an operation may not have more."""

_GIVEN_ID = pattern(rb"[A-Za-z0-9._-]{8,64}")
_MADE_ID = pattern(rb"(?=[0-9]*[a-f])[0-9a-f]{16,64}")
"""What programs make: nothing personal looks like it, and to know that is quicker than to look."""


class Counts(Protocol):
    """What counts operations and errors as they come."""

    def operation(self, kind: str, fields: Sequence[str]) -> None:
        """Count an operation by its kind and its root fields."""

    def error(self, code: str, caller: str) -> None:
        """Count an error by its code, that of a budget by the kind of the caller too."""


class Noted:
    """One request, or one socket: its id, who asks, which operation, the code of its first error.

    Whoever learns something writes it here: who asks ``by``, the GraphQL context ``asked`` and ``failed``.
    """

    __slots__ = (
        "code",
        "counts",
        "fields",
        "kind",
        "operation",
        "operation_kind",
        "operations",
        "request_id",
        "subject",
    )

    def __init__(self, request_id: str, counts: Counts | None = None) -> None:
        self.request_id = request_id
        self.counts = counts
        self.subject = ""
        self.kind = ""
        self.operation: str | None = None
        self.operation_kind = ""
        self.fields: Sequence[str] = ()
        self.operations = 0
        self.code = ""

    def by(self, kind: str, subject: str) -> None:
        """Note who asks: the kind of the caller and its id, which says nothing of the person."""
        self.kind = kind
        self.subject = subject

    def asked(self, kind: str, name: str | None, fields: Sequence[str]) -> None:
        """Note the operation that is asked for: ``query``, ``mutation`` or ``subscription``, its name and root fields."""
        self.operation_kind = kind
        self.operation = name
        self.fields = fields
        self.operations += 1
        if self.counts is not None:
            self.counts.operation(kind, fields)

    def failed(self, code: str) -> None:
        """Note an error of the answer by its code; the first one is the request's."""
        if not self.code:
            self.code = code
        if self.counts is not None:
            self.counts.error(code, self.kind)


CURRENT: ContextVar[Noted | None] = ContextVar("bels.request", default=None)
"""The request that is being handled: every line of the log that is written meanwhile carries its id."""


def noted(scope: Scope) -> Noted | None:
    """Give what is noted of a request, None where nobody observes."""
    found: Noted | None = scope.get(NOTED)
    return found


def request_id_of(scope: Scope) -> str:
    """Give the id of a request: the one it has, the one it brings in ``X-Request-Id``, or a new one.

    Ids are logged and stored for ever, so one that looks like a phone or a secret is not taken.
    """
    known: str | None = scope.get(REQUEST_ID)
    if known is None:
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                known = _given(value)
                break
        known = scope[REQUEST_ID] = known or token_hex(8)
    return known


def _given(value: bytes) -> str | None:
    if not _GIVEN_ID.fullmatch(value):
        return None
    text = value.decode()
    return text if _MADE_ID.fullmatch(value) or scrub(text) == text else None
