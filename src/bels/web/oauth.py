"""OAuth 2: where programs get access tokens (RFC 6749), give them back (RFC 7009) and learn our keys (RFC 7517, RFC 8414).

    curl -u c-...:bels_... -d grant_type=client_credentials https://.../oauth/token

What is presented here are secrets of 256 bits, which nobody guesses. So a right one is never made to wait, whatever others
failed at the same address; each wrong one is counted, and soon only told to come back later.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import asyncpg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.access import acts, clients, links, people, sessions
from bels.access.callers import SCOPES, Kind
from bels.access.clients import ClientRow
from bels.access.doorkeeper import Doorkeeper, thumbprint_of_hex
from bels.access.throttle import Throttle, TooManyAttempts
from bels.access.tokens import BadToken, Grant, Tokens
from bels.access.vault import Vault

BODY_BYTES_MAX = 8192
BODY_WAIT_S = 20.0
FIELDS_MAX = 20
CLIENT_LENGTH_MAX = 64
SECRET_LENGTH_MAX = 256
KEYS_AGE_S = 600
"""How long our key set may be kept: a key is published an hour before it signs."""

TRY_LATER_S = 1

LINK_GRANT = "urn:bels:grant:link"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
REVOKE_PATH = "/oauth/revoke"
KEYS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"

_NEVER_KEPT = {"cache-control": "no-store", "pragma": "no-cache", "x-content-type-options": "nosniff"}

RequestId = Callable[[Request], str]


class _Refused(Exception):
    """An answer of RFC 6749 5.2: a code for the program, a sentence for its developer."""

    def __init__(self, error: str, reason: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.answer = JSONResponse(
            {"error": error, "error_description": reason}, status, headers={**_NEVER_KEPT, **(headers or {})}
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was read: its fields, who it says it is, and from where."""

    fields: Mapping[str, str]
    client: tuple[str, str] | None
    address: str
    certificate: str | None


def oauth_routes(
    pool: asyncpg.Pool,
    vault: Vault,
    tokens: Tokens,
    doorkeeper: Doorkeeper,
    throttle: Throttle,
    *,
    own_people: bool,
    clock: Callable[[], datetime],
    request_id: RequestId = lambda _: "",
) -> list[Route]:
    """Give the routes. ``own_people``: people log in here, and not at an OpenID provider; then sessions are continued here."""
    desk = _Desk(pool, vault, tokens, doorkeeper, throttle, own_people, clock, request_id)
    issuer = urlsplit(tokens.issuer)
    base = tokens.issuer.rstrip("/") if issuer.scheme in ("http", "https") and issuer.netloc else None

    async def keys(_: Request) -> Response:
        headers = {"cache-control": f"public, max-age={KEYS_AGE_S}", "x-content-type-options": "nosniff"}
        return JSONResponse(await tokens.jwks(), media_type="application/jwk-set+json", headers=headers)

    async def metadata(request: Request) -> Response:
        told = _metadata(tokens.issuer, base or str(request.base_url).rstrip("/"), own_people)
        return JSONResponse(told, headers=_NEVER_KEPT)

    paths = dict.fromkeys((METADATA_PATH, METADATA_PATH + issuer.path.rstrip("/") if base else METADATA_PATH))
    return [
        Route(TOKEN_PATH, _told(desk.token), methods=["POST"]),
        Route(REVOKE_PATH, _told(desk.revoke), methods=["POST"]),
        Route(KEYS_PATH, _told(keys), methods=["GET"]),
        *(Route(path, metadata, methods=["GET"]) for path in paths),
    ]


@dataclass(frozen=True, slots=True)
class _Desk:
    pool: asyncpg.Pool
    vault: Vault
    tokens: Tokens
    doorkeeper: Doorkeeper
    throttle: Throttle
    own_people: bool
    clock: Callable[[], datetime]
    request_id: RequestId

    async def token(self, request: Request) -> Response:
        """Answer POST /oauth/token."""
        asked = await self._read(request)
        match _needed(asked, "grant_type"):
            case "client_credentials":
                return await self._for_client(asked)
            case "refresh_token" if self.own_people:
                return await self._for_session(asked)
            case grant if grant == LINK_GRANT:
                return await self._for_link(asked)
            case _:
                supported = ", ".join(_grant_types(self.own_people))
                raise _Refused("unsupported_grant_type", f"the grant types here are {supported}")

    async def revoke(self, request: Request) -> Response:
        """Answer POST /oauth/revoke: whoever has a token of a session ends that session; what is no token is done already."""
        asked = await self._read(request)
        token = _needed(asked, "token")
        if token.startswith(sessions.REFRESH_PREFIX):
            async with self.pool.acquire() as db, db.transaction():
                reason = sessions.Ended.LOGGED_OUT
                await self._record(request, await sessions.revoke_token(db, self.vault, token, reason), db)
            return Response(None, 200, headers=_NEVER_KEPT)
        try:
            grant = (await self.tokens.verify(token)).grant
        except BadToken:
            return Response(None, 200, headers=_NEVER_KEPT)
        if grant.kind not in people.CHANNELS:
            raise _Refused("unsupported_token_type", "this access token ends by itself in a few minutes")
        async with self.pool.acquire() as db, db.transaction():
            ended = await sessions.revoke(db, grant.session, sessions.Ended.LOGGED_OUT, person=grant.subject)
            await self._record(request, ended, db)
        return Response(None, 200, headers=_NEVER_KEPT)

    async def _for_client(self, asked: _Asked) -> Response:
        client = await self._authenticated(asked)
        scopes = _narrowed(asked.fields.get("scope"), client.scopes)
        certificate = asked.certificate if client.certificate is not None else None
        grant = Grant(kind=client.kind, subject=client.client, given=scopes, certificate=certificate)
        return await self._issued(grant, {"scope": " ".join(scopes)} if scopes else {})

    async def _for_session(self, asked: _Asked) -> Response:
        refresh_token = _needed(asked, "refresh_token")
        _narrowed(asked.fields.get("scope"), ())
        async with self.pool.acquire() as db:
            renewed = await sessions.renew(db, self.vault, refresh_token, self.clock())
            person = None
            if isinstance(renewed, sessions.Renewed):
                person = await people.find_person(db, renewed.person)
        if renewed is sessions.NotRenewed.UNKNOWN:
            await self._count_failure("refresh", refresh_token, asked.address)
        if not isinstance(renewed, sessions.Renewed) or person is None:
            raise _Refused("invalid_grant", "the refresh token is unknown, or its session has ended: sign in again")
        grant = Grant(kind=person.kind, subject=person.person, given=person.grants, session=renewed.session)
        return await self._issued(grant, {"refresh_token": renewed.refresh_token})

    async def _for_link(self, asked: _Asked) -> Response:
        token = _needed(asked, "link")
        _narrowed(asked.fields.get("scope"), ())
        async with self.pool.acquire() as db:
            opened = await links.open_link(db, self.vault, token, self.clock())
        if opened is None:
            await self._count_failure("link", token, asked.address)
            raise _Refused("invalid_grant", "the link is unknown, over, or was opened before: ask for another one")
        grant = Grant(kind=Kind.LINK, subject=opened.link, given=(opened.task,), account=opened.account)
        return await self._issued(grant, {"account": opened.account, "task": opened.task})

    async def _issued(self, grant: Grant, more: Mapping[str, str]) -> Response:
        token, expires_in = await self.tokens.issue(grant)
        told = {"access_token": token, "token_type": "Bearer", "expires_in": expires_in, **more}
        return JSONResponse(told, headers=_NEVER_KEPT)

    async def _authenticated(self, asked: _Asked) -> ClientRow:
        """Give the client whose secret, and certificate where it has one, was presented."""
        name, secret = asked.client or ("", "")
        if not name:
            raise _invalid_client()
        fits = len(name) <= CLIENT_LENGTH_MAX and len(secret) <= SECRET_LENGTH_MAX
        async with self.pool.acquire() as db:
            client = await clients.check_secret(db, self.vault, name, secret, self.clock()) if fits else None
        if client is None or not _has_certificate(client, asked.certificate):
            await self._count_failure("client", name[:CLIENT_LENGTH_MAX], asked.address)
            raise _invalid_client()
        return client

    async def _count_failure(self, what: str, identity: str, address: str) -> None:
        try:
            await self.throttle.check(what, identity, address)
        except TooManyAttempts as error:
            wait = {"retry-after": str(error.wait_s)}
            raise _Refused("temporarily_unavailable", f"try again in {error.wait_s} s", 429, wait) from None
        await self.throttle.failed(what, identity, address)

    async def _record(self, request: Request, person: str | None, db: asyncpg.pool.PoolConnectionProxy) -> None:
        if person is not None:
            reason = sessions.Ended.LOGGED_OUT.value
            act, rid = acts.Act.SESSION_REVOKED, self.request_id(request)
            await acts.record(db, act, by=person, subject=person, reason=reason, request_id=rid)

    async def _read(self, request: Request) -> _Asked:
        fields = _fields(request.headers.get("content-type", ""), await _body(request))
        headers, peer = request.scope["headers"], request.scope.get("client")
        return _Asked(
            fields,
            _client_of(request.headers.getlist("authorization"), fields),
            self.doorkeeper.address(headers, peer),
            self.doorkeeper.certificate(headers, peer),
        )


def _told(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except _Refused as refused:
            return refused.answer
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            wait = {"retry-after": str(TRY_LATER_S)}
            return _Refused("temporarily_unavailable", "the database cannot be reached", 503, wait).answer

    return told


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise _Refused("invalid_request", f"a request has at most {BODY_BYTES_MAX} bytes", 413)
    except TimeoutError:
        raise _Refused(
            "invalid_request", f"the body did not come within {BODY_WAIT_S:g} s", 408, {"connection": "close"}
        ) from None
    return body


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise _Refused("invalid_request", "post the fields as application/x-www-form-urlencoded")
    try:
        given = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX, separator="&"
        )
    except ValueError:
        raise _Refused("invalid_request", f"post at most {FIELDS_MAX} fields, in UTF-8") from None
    fields = dict(given)
    if len(fields) < len(given):
        raise _Refused("invalid_request", "a field stands there twice")
    # A field without a value counts as left out (RFC 6749 3.2).
    return {name: value for name, value in fields.items() if value}


def _client_of(authorizations: list[str], fields: Mapping[str, str]) -> tuple[str, str] | None:
    """Say who the client says it is: by HTTP Basic, or in the fields; never by both."""
    if not authorizations:
        if "client_secret" not in fields:
            return None
        return fields.get("client_id", ""), fields["client_secret"]
    if "client_secret" in fields or len(authorizations) > 1:
        raise _Refused("invalid_request", "send the client's secret once: by HTTP Basic or as client_secret")
    scheme, _, encoded = authorizations[0].partition(" ")
    if scheme.lower() != "basic":
        raise _invalid_client()
    try:
        name, colon, secret = b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise _invalid_client() from None
    name, secret = unquote_plus(name), unquote_plus(secret)
    if not colon:
        raise _invalid_client()
    if fields.get("client_id", name) != name:
        raise _Refused("invalid_request", "client_id is another one than HTTP Basic names")
    return name, secret


def _has_certificate(client: ClientRow, presented: str | None) -> bool:
    if client.certificate is None:
        return True
    return presented is not None and compare_digest(presented, thumbprint_of_hex(client.certificate))


def _invalid_client() -> _Refused:
    # One and the same for an unknown client, a wrong secret, a revoked client and another certificate.
    reason = "the client, its secret or its certificate is not right"
    return _Refused("invalid_client", reason, 401, {"www-authenticate": 'Basic realm="bels", charset="UTF-8"'})


def _needed(asked: _Asked, name: str) -> str:
    value = asked.fields.get(name)
    if value is None:
        raise _Refused("invalid_request", f"the field {name} is missing")
    return value


def _narrowed(asked_for: str | None, has: tuple[str, ...]) -> tuple[str, ...]:
    """Give the scopes that were asked for, all that the client has where none were."""
    if asked_for is None:
        return has
    wanted = tuple(dict.fromkeys(asked_for.split(" ")))
    if not set(wanted) <= set(has):
        raise _Refused("invalid_scope", f"it may ask for: {' '.join(has)}" if has else "it has no scopes to ask for")
    return wanted


def _grant_types(own_people: bool) -> list[str]:
    return ["client_credentials", *(["refresh_token"] if own_people else []), LINK_GRANT]


def _metadata(issuer: str, base: str, own_people: bool) -> dict[str, object]:
    return {
        "issuer": issuer,
        "token_endpoint": base + TOKEN_PATH,
        "revocation_endpoint": base + REVOKE_PATH,
        "jwks_uri": base + KEYS_PATH,
        "scopes_supported": list(SCOPES),
        "response_types_supported": [],
        "grant_types_supported": _grant_types(own_people),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "tls_client_certificate_bound_access_tokens": True,
    }
