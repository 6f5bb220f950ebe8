"""Whom a plain route lets in, and how it refuses: one shape of an answer, ``{"error": SENTENCE, "code": CODE}``, whichever route it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse

from bels.access.callers import Caller
from bels.access.rights import Rights


class Refused(Exception):
    """A request is refused, with the status, the code and the headers to answer."""

    def __init__(self, status: int, code: str, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """Give the answer; one that asks for a credential says which (RFC 9110, 11.6.1)."""
        asks = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse({"error": str(self), "code": self.code}, self.status, {**asks, **self.headers})


def try_again(status: int, code: str, reason: str, after_s: int) -> JSONResponse:
    """Answer that the same may be sent again in so many seconds."""
    return Refused(status, code, reason, {"retry-after": str(after_s)}).answer()


def not_admitted(caller: Caller, may_not: str) -> Refused:
    """Refuse a caller: whoever is nobody yet is asked to sign in. ``may_not`` says what others may not, as in «print bills»."""
    if not caller.subject:
        return Refused(401, "UNAUTHENTICATED", "sign in: Authorization: Bearer ...")
    return Refused(403, "FORBIDDEN", f"this {caller.kind.value.lower()} may not {may_not}")


class Visitors(Protocol):
    """Who comes, and the record of what staff looked at."""

    async def caller(self, request: Request) -> Caller:
        """Say who asks.

        :raises Refused: the credential cannot be taken.
        """

    async def record(self, caller: Caller, request: Request, field: str, *accounts: str) -> None:
        """Record what staff looked at."""


def admit(rights: Rights, caller: Caller, field: str, may_not: str) -> None:
    """Let a caller in who may ask for a field of the schema.

    :raises Refused: it may not.
    """
    if rights.first_refused(frozenset({field}), caller.rights) is not None:
        raise not_admitted(caller, may_not)
