"""The doorkeeper: who asks, by the headers of a request, asked on every request.

A token that was verified is remembered with its caller for half a minute at most, and forgotten as soon as PostgreSQL tells
that what its subject may has changed. While nothing can be told, because the connection is lost, nothing is remembered: then
every request asks the tables.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bels.access import acts, people
from bels.access.callers import ANONYMOUS, LOCAL, WHOLE, Caller, Kind, Right, Sight, rights_of
from bels.access.oidc import BadIdentity, Oidc
from bels.access.store import ACCESS_CHANGES
from bels.access.tokens import BadToken, Claims, Grant, Tokens
from bels.access.vault import Vault
from bels.domain.terms import Channel, Period
from bels.journal.listening import Feed
from bels.journal.write import Db

logger = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: names in small letters."""

REMEMBERED_FOR = timedelta(seconds=30)
REMEMBERED_MAX = 10_000
"""Verified tokens of one process; the one that was used longest ago gives way."""

AUTHORIZATION_BYTES_MAX = 8192
CERTIFICATE_BYTES_MAX = 16_384
FORWARDED_BYTES_MAX = 2048
HOPS_MAX = 10
"""How many proxies may stand one behind another."""

ADDRESSES_MAX = 4096
CERTIFICATES_MAX = 1024
RECHECK_S = 30.0
"""How often whoever watches looks again while nothing can be told."""

_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)
_LOOPBACK_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_FORWARDING = (b"forwarded", b"x-real-ip", b"via")


class Unauthenticated(Exception):
    """The credential cannot be taken; the English sentence says why, and never more than its owner may know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate (RFC 6750)."""
        return f'Bearer error="invalid_token", error_description="{self.reason}"'


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    until: datetime
    certificate: str | None


class Doorkeeper:
    """Say who asks. Run it (``running``), or it asks the tables each time.

    ``local``: whoever asks from this machine without a credential may do everything. From ``trusted_proxies`` the caller's
    address and certificate are taken as they say it. With ``oidc`` people come with the tokens of their provider, and with
    those only.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        vault: Vault,
        tokens: Tokens,
        *,
        url: str,
        local: bool,
        trusted_proxies: tuple[Network, ...],
        oidc: Oidc | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._tokens = tokens
        self._local = local
        self._trusted_proxies = trusted_proxies
        self._oidc = oidc
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._of_subject: dict[str, set[bytes]] = {}
        self._verifying: dict[bytes, asyncio.Task[_Known]] = {}
        self._changes = 0
        self._feed = Feed(url, ACCESS_CHANGES, told=self._told, missed=self._forget_all)
        self._peer = lru_cache(ADDRESSES_MAX)(self._look_at)
        self._thumbprint = lru_cache(CERTIFICATES_MAX)(_thumbprint)

    async def admit(self, headers: Headers, client: tuple[str, int] | None) -> Caller:
        """Say who asks.

        :raises Unauthenticated: there is a credential, and it cannot be taken.
        :raises ProviderFailed: the OpenID provider's keys are not known.
        """
        given: bytes | None = None
        for name, value in headers:
            if name == b"authorization":
                if given is not None:
                    raise Unauthenticated("send one Authorization header, not several")
                given = value
        if given is None:
            return self._stranger(headers, client)
        known = self._known.get(given)
        if known is not None and self._clock() < known.until:
            self._known.move_to_end(given)
        else:
            known = await self._verified(given)
        if known.certificate is not None and known.certificate != self.certificate(headers, client):
            raise Unauthenticated("the access token is bound to another client certificate")
        return known.caller

    def address(self, headers: Headers, client: tuple[str, int] | None) -> str:
        """Give the caller's address: the peer's, or what a trusted proxy says of it."""
        if client is None:
            return ""
        found, trusted = self._peer(client[0])
        if not trusted:
            return found
        # Each proxy adds its peer at the end; what stands before the first that we do not trust is anybody's word.
        told = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for hop in reversed(told[-FORWARDED_BYTES_MAX:].decode("latin-1").split(",")[-HOPS_MAX:]):
            address, trusted = self._peer(hop.strip())
            if not address:
                break
            found = address
            if not trusted:
                break
        return found

    def certificate(self, headers: Headers, client: tuple[str, int] | None) -> str | None:
        """Give the SHA-256, base64url, of the client certificate that a trusted proxy has verified to be the caller's."""
        if client is None or not self._peer(client[0])[1]:
            return None
        told = [value for name, value in headers if name == b"x-ssl-client-cert"]
        if len(told) != 1 or not 0 < len(told[0]) <= CERTIFICATE_BYTES_MAX:
            return None
        return self._thumbprint(told[0])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Doorkeeper]:
        """Listen for changes of rights until left, and remember callers meanwhile."""
        async with self._feed.running():
            yield self

    def changes(self, subject: str) -> AsyncGenerator[None, None]:
        """Yield once at the start, and again whenever what a subject may may have changed: look again, by ``admit``.

        :raises TooManyWatchers: no more fit this process.
        """
        return self._feed.watch(subject, again_s=RECHECK_S)

    def _stranger(self, headers: Headers, client: tuple[str, int] | None) -> Caller:
        if not self._local or client is None or not _is_loopback(client[0]):
            return ANONYMOUS
        hosts = 0
        for name, value in headers:
            if name.startswith(b"x-forwarded-") or name in _FORWARDING:
                return ANONYMOUS
            if name == b"host":
                # A page of another site that has made its name mean this machine names itself here (DNS rebinding).
                if not _LOOPBACK_HOST.fullmatch(value):
                    return ANONYMOUS
                hosts += 1
            if name == b"sec-fetch-site" and value == b"cross-site":
                # A page of another site that makes the developer's browser ask.
                return ANONYMOUS
        return LOCAL if hosts == 1 else ANONYMOUS

    async def _verified(self, given: bytes) -> _Known:
        """Verify a credential once, for all who come with it at the same time."""
        task = self._verifying.get(given)
        if task is None:
            task = asyncio.create_task(self._verify(given))
            self._verifying[given] = task
            task.add_done_callback(lambda done: self._done(given, done))
        return await asyncio.shield(task)

    def _done(self, given: bytes, task: asyncio.Task[_Known]) -> None:
        if self._verifying.get(given) is task:
            del self._verifying[given]
        if not task.cancelled():
            # Whoever waited may be gone; what went wrong has then been asked for.
            task.exception()

    async def _verify(self, given: bytes) -> _Known:
        found = _BEARER.fullmatch(given) if len(given) <= AUTHORIZATION_BYTES_MAX else None
        if found is None:
            raise Unauthenticated("send the access token as Authorization: Bearer TOKEN")
        token = found.group(1).decode("ascii")
        changes = self._changes
        if self._oidc is not None and self._oidc.issued(token):
            known = await self._by_provider(self._oidc, token)
        else:
            try:
                claims = await self._tokens.verify(token)
            except BadToken as error:
                raise Unauthenticated(str(error)) from None
            known = await self._by_grant(claims)
        # What has changed while we looked may be what we looked at.
        if self._feed.listening.is_set() and changes == self._changes:
            self._remember(given, known)
        return known

    async def _by_grant(self, claims: Claims) -> _Known:
        grant = claims.grant
        async with self._pool.acquire() as db:
            if grant.kind in people.CHANNELS:
                if self._oidc is not None:
                    raise Unauthenticated("people sign in at the OpenID provider here")
                caller = await self._person(db, grant.subject, grant.session, claims.expires_at, grant.kind)
                return self._lasting(caller, claims.expires_at, grant.certificate)
            if grant.kind is Kind.LINK:
                return self._lasting(await _link(db, grant, claims.expires_at), claims.expires_at, grant.certificate)
            if grant.kind in (Kind.PARTNER, Kind.GATEWAY):
                caller, certificate = await _client(db, grant, claims.expires_at)
                return self._lasting(caller, claims.expires_at, certificate)
        raise Unauthenticated("the access token is of a kind that has none")

    async def _by_provider(self, oidc: Oidc, token: str) -> _Known:
        try:
            subject, claims = await oidc.verify(token)
        except BadIdentity as error:
            raise Unauthenticated(str(error)) from None
        expires_at = float(claims["exp"])
        async with self._pool.acquire() as db:
            person = await self._known_by_provider(db, oidc.issuer, subject)
            return self._lasting(await self._person(db, person, None, expires_at, None), expires_at, None)

    async def _known_by_provider(self, db: Db, issuer: str, subject: str) -> str:
        """Give the person whom a provider names; somebody new becomes a consumer without accounts."""
        row = await people.find_by_oidc(db, self._vault, issuer, subject)
        if row is None:
            try:
                async with db.transaction():
                    person = await people.add_person(
                        db, self._vault, Kind.CONSUMER, login=None, password_hash=None, oidc=(issuer, subject)
                    )
                    await acts.record(db, acts.Act.CONSUMER_REGISTERED, by=person, subject=person, reason="OIDC")
                return person
            except people.LoginTaken:
                # Another request of the same person was quicker.
                row = await people.find_by_oidc(db, self._vault, issuer, subject)
        if row is None:
            raise Unauthenticated("the person is just being made or revoked: try again")
        return row.person

    async def _person(self, db: Db, person: str, session: str | None, expires_at: float, kind: Kind | None) -> Caller:
        """Build a person's caller; ``session`` None: a provider vouches for it, and it has no session of ours."""
        rows = await db.fetch(
            """
            SELECT p.kind, p.grants, p.must_change, m.account, m.entry, m.period
            FROM person p LEFT JOIN membership m ON m.person = p.person AND m.ended_at IS NULL
            WHERE p.person = $1 AND p.revoked_at IS NULL AND ($2::text IS NULL OR EXISTS (
                SELECT FROM session s
                WHERE s.session = $2 AND s.person = $1 AND s.revoked_at IS NULL AND s.expires_at > $3
            ))
            """,
            person,
            session,
            self._clock(),
        )
        if not rows or kind not in (None, Kind(rows[0]["kind"])):
            raise Unauthenticated("the session has ended: sign in again")
        first, kind = rows[0], Kind(rows[0]["kind"])
        sights: Mapping[str, Sight] | None
        if first["must_change"] or kind is Kind.ADMINISTRATOR:
            sights = {}
        elif kind is Kind.CONSUMER:
            sights = {row["account"]: _sight(row["entry"], row["period"]) for row in rows if row["account"] is not None}
        else:
            sights = None
        return Caller(
            kind,
            person,
            Right.ANONYMOUS | Right.PASSWORD if first["must_change"] else rights_of(kind, tuple(first["grants"])),
            people.CHANNELS[kind],
            _actor(kind, person),
            sights,
            session or "",
            expires_at,
        )

    def _lasting(self, caller: Caller, expires_at: float, certificate: str | None) -> _Known:
        ends_at = datetime.fromtimestamp(expires_at, UTC)
        return _Known(caller, min(ends_at, self._clock() + REMEMBERED_FOR), certificate)

    def _remember(self, given: bytes, known: _Known) -> None:
        self._known[given] = known
        self._known.move_to_end(given)
        self._of_subject.setdefault(known.caller.subject, set()).add(given)
        if len(self._known) > REMEMBERED_MAX:
            oldest, gone = self._known.popitem(last=False)
            credentials = self._of_subject[gone.caller.subject]
            credentials.discard(oldest)
            if not credentials:
                del self._of_subject[gone.caller.subject]

    def _forget(self, subject: str) -> None:
        self._changes += 1
        self._verifying.clear()
        for given in self._of_subject.pop(subject, ()):
            self._known.pop(given, None)

    def _forget_all(self) -> None:
        self._changes += 1
        self._verifying.clear()
        self._known.clear()
        self._of_subject.clear()

    def _told(self, subject: str) -> None:
        # A destroyed key is told here too: a subject is also whoever has a key.
        self._vault.forget(subject)
        self._forget(subject)

    def _look_at(self, text: str) -> tuple[str, bool]:
        """Give an address in its one form, "" where it is none, and whether a trusted proxy has it."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return "", False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return str(address), any(address in network for network in self._trusted_proxies)


async def _client(db: Db, grant: Grant, expires_at: float) -> tuple[Caller, str | None]:
    row = await db.fetchrow(
        "SELECT kind, channel, scopes, certificate FROM client WHERE client = $1 AND revoked_at IS NULL", grant.subject
    )
    if row is None or row["kind"] != grant.kind.value:
        raise Unauthenticated("the client has been revoked")
    asked_for = None if row["certificate"] is None else thumbprint_of_hex(row["certificate"])
    if asked_for is not None and grant.certificate != asked_for:
        raise Unauthenticated("the access token is not bound to the client's certificate: ask for another one")
    # A scope that was taken away since is gone from the tokens too.
    given = tuple(scope for scope in grant.given if scope in row["scopes"])
    return (
        Caller(
            grant.kind,
            grant.subject,
            rights_of(grant.kind, given),
            Channel(row["channel"]),
            _actor(grant.kind, grant.subject),
            None,
            grant.subject,
            expires_at,
        ),
        grant.certificate,
    )


async def _link(db: Db, grant: Grant, expires_at: float) -> Caller:
    row = await db.fetchrow(
        """
        SELECT l.account, l.task, t.entry, t.period
        FROM task_link l LEFT JOIN tenure t ON t.account = l.account
        WHERE l.link = $1 AND l.opened_at IS NOT NULL AND l.done_at IS NULL AND l.revoked_at IS NULL
        """,
        grant.subject,
    )
    if row is None or row["account"] != grant.account:
        raise Unauthenticated("the link has been used or revoked")
    return Caller(
        Kind.LINK,
        grant.subject,
        rights_of(Kind.LINK, (row["task"],)),
        Channel.WEB,
        _actor(Kind.LINK, grant.subject),
        {row["account"]: WHOLE if row["entry"] is None else _sight(row["entry"], row["period"])},
        grant.subject,
        expires_at,
    )


def thumbprint_of_hex(certificate: str) -> str:
    """Give a SHA-256 that is written in hex as tokens have it: base64url (RFC 8705)."""
    return _base64(bytes.fromhex(certificate))


def _thumbprint(told: bytes) -> str | None:
    try:
        certificate = x509.load_pem_x509_certificate(unquote_to_bytes(told))
    except ValueError:
        return None
    return _base64(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _sight(entry: int, period: str) -> Sight:
    return Sight(entry, Period(period) if period else None)


def _actor(kind: Kind, subject: str) -> str:
    return f"{kind.value.lower()}:{subject}"


@lru_cache(ADDRESSES_MAX)
def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
