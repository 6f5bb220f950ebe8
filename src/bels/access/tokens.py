"""Access tokens: JWT (RFC 7519, RFC 9068) signed with Ed25519 keys of our own, which rotate.

A key is published an hour before it signs, signs for 30 days, and stays published until the last token that it signed has
ended; then its private part is deleted. Whichever process first finds that a key is due makes it. All of them read the table
``signing_key`` once a minute, so an hour is enough for each of them and for whoever keeps our key set.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.access.callers import Kind
from bels.access.vault import Vault
from bels.journal.write import Db

ALGORITHM = "EdDSA"
LIVES = timedelta(minutes=10)
LINK_LIVES = timedelta(minutes=15)
"""How long the holder of a one-task link has for the task."""

PUBLISHED_BEFORE = timedelta(hours=1)
SIGNS_FOR = timedelta(days=30)
CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much the clocks of two machines may differ."""

REREAD_AFTER = timedelta(minutes=1)
UNKNOWN_KEY_WAIT_S = 1.0
"""How often a token of an unknown key may make us read the keys again."""

TOKEN_LENGTH_MAX = 4096

_TYPE = "at+jwt"
_LOCK = 0x62656C73_746F6B65
_NONCE_SIZE = 12


class BadToken(Exception):
    """The token is none of ours, or it has ended; the sentence is for a developer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """For whom a token is issued and for what: ``given`` are grants, scopes or the task of a link.

    ``subject`` is a person "u-...", a client "c-..." or a link; ``session`` is the person's; ``account`` is the link's;
    ``certificate`` is the SHA-256 of the client certificate that it is bound to, base64url (RFC 8705).
    """

    kind: Kind
    subject: str
    given: tuple[str, ...] = ()
    session: str = ""
    account: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says; times in seconds of the epoch."""

    grant: Grant
    token: str
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    x: str
    public: Ed25519PublicKey
    sealed: bytes
    signs_from: datetime


class Tokens:
    """Issue and verify access tokens of one installation; ``issuer`` is also their audience."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, issuer: str, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._vault = vault
        self._issuer = issuer
        self._clock = clock
        # Its clock is not ours: we look at `exp` and `iat` ourselves.
        self._jwt = jwt.PyJWT(
            {
                "require": ["iss", "aud", "sub", "exp", "iat", "jti"],
                "verify_exp": False,
                "verify_iat": False,
                "strict_aud": True,
            }
        )
        self._keys: dict[str, _Key] = {}
        self._read_at: datetime | None = None
        self._asked_again_at = float("-inf")
        self._reading = asyncio.Lock()
        self._signer: tuple[str, Ed25519PrivateKey] | None = None

    @property
    def issuer(self) -> str:
        """Who stands in the tokens as their issuer and audience."""
        return self._issuer

    async def issue(self, grant: Grant) -> tuple[str, int]:
        """Issue a token; give it and the seconds that it lives."""
        now = self._clock()
        lives = LINK_LIVES if grant.kind is Kind.LINK else LIVES
        kid, private = await self._signs_now(now)
        issued_at = int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": grant.subject,
            "iat": issued_at,
            "exp": issued_at + int(lives.total_seconds()),
            "jti": secrets.token_urlsafe(16),
            "kind": grant.kind.value,
            "given": list(grant.given),
        }
        if grant.kind in (Kind.PARTNER, Kind.GATEWAY):
            claims |= {"client_id": grant.subject, "scope": " ".join(grant.given)}
        if grant.session:
            claims["sid"] = grant.session
        if grant.account is not None:
            claims["account"] = grant.account
        if grant.certificate is not None:
            claims["cnf"] = {"x5t#S256": grant.certificate}
        return self._jwt.encode(claims, private, ALGORITHM, {"kid": kid, "typ": _TYPE}), int(lives.total_seconds())

    async def verify(self, token: str) -> Claims:
        """Say what a token says, if it is one of ours and has not ended.

        :raises BadToken: it is not, or it has.
        """
        if len(token) > TOKEN_LENGTH_MAX:
            raise BadToken("the access token is too long")
        now = self._clock()
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM or header.get("typ") != _TYPE:
                raise BadToken("the access token is of another kind than we issue")
            key = await self._key(str(header.get("kid", "")), now)
            claims = self._jwt.decode(
                token, key.public, algorithms=[ALGORITHM], audience=self._issuer, issuer=self._issuer
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise BadToken(f"the access token cannot be verified ({type(error).__name__})") from None
        try:
            said = msgspec.convert(claims, _Said)
            grant = _grant_of(said)
        except (msgspec.ValidationError, ValueError):
            raise BadToken("the access token says something that we do not") from None
        if said.exp <= now.timestamp():
            raise BadToken("the access token has expired")
        if said.iat > (now + CLOCKS_DIFFER).timestamp():
            raise BadToken("the access token is of the future")
        return Claims(grant, said.jti, said.iat, said.exp)

    async def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Give the key set (RFC 7517): the keys that sign, will sign, or signed what has not ended."""
        keys = await self._keys_of(self._clock())
        return {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": key.kid, "use": "sig", "alg": ALGORITHM}
                for key in sorted(keys.values(), key=lambda key: key.signs_from)
            ]
        }

    async def _key(self, kid: str, now: datetime) -> _Key:
        key = (await self._keys_of(now)).get(kid)
        if key is None:
            # Keys are known long before they sign; somebody who makes kids up must not make us read for each of them.
            asked_at = asyncio.get_running_loop().time()
            if asked_at - self._asked_again_at >= UNKNOWN_KEY_WAIT_S:
                self._asked_again_at = asked_at
                self._read_at = None
                key = (await self._keys_of(now)).get(kid)
        if key is None:
            raise BadToken("the access token is signed by none of our keys, or long over: ask for a new one")
        return key

    async def _signs_now(self, now: datetime) -> tuple[str, Ed25519PrivateKey]:
        keys = await self._keys_of(now)
        # The first key of all signs at once, also for a machine whose clock is a little behind.
        first = min(keys.values(), key=lambda each: each.signs_from)
        begun = (each for each in keys.values() if each.signs_from <= now)
        key = max(begun, key=lambda each: each.signs_from, default=first)
        if self._signer is None or self._signer[0] != key.kid:
            self._signer = key.kid, await self._unsealed(key)
        return self._signer

    async def _keys_of(self, now: datetime) -> dict[str, _Key]:
        if self._fresh(now):
            return self._keys
        async with self._reading:
            if not self._fresh(now):
                await self._vault.named_key("tokens")
                async with self._pool.acquire() as db:
                    keys = await _read(db)
                    if _due(keys, now) or _outlived(keys, now):
                        keys = await self._rotate(db, now)
                self._keys = {key.kid: key for key in keys}
                self._read_at = now
        return self._keys

    def _fresh(self, now: datetime) -> bool:
        return self._read_at is not None and abs(now - self._read_at) < REREAD_AFTER

    async def _rotate(self, db: Db, now: datetime) -> list[_Key]:
        private = Ed25519PrivateKey.generate()
        x = _base64(private.public_key().public_bytes_raw())
        kid = _thumbprint(x)
        sealed = await self._sealed(kid, private)
        async with db.transaction():
            # One process rotates; the others wait here, and then find it done.
            await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            keys = await _read(db)
            if _due(keys, now):
                signs_from = now + PUBLISHED_BEFORE if any(key.signs_from <= now for key in keys) else now
                await db.execute(
                    """
                    INSERT INTO signing_key (kid, public, private, created_at, signs_from) VALUES ($1, $2, $3, $4, $5)
                    """,
                    kid,
                    x,
                    sealed,
                    now,
                    signs_from,
                )
            await db.execute(
                "UPDATE signing_key SET retired_at = $2, private = '' WHERE kid = ANY($1::text[])",
                [key.kid for key in _outlived(keys, now)],
                now,
            )
            return await _read(db)

    async def _sealed(self, kid: str, private: Ed25519PrivateKey) -> bytes:
        nonce = secrets.token_bytes(_NONCE_SIZE)
        cipher = AESGCM(await self._vault.named_key("tokens"))
        return nonce + cipher.encrypt(nonce, private.private_bytes_raw(), kid.encode())

    async def _unsealed(self, key: _Key) -> Ed25519PrivateKey:
        cipher = AESGCM(await self._vault.named_key("tokens"))
        raw = cipher.decrypt(key.sealed[:_NONCE_SIZE], key.sealed[_NONCE_SIZE:], key.kid.encode())
        return Ed25519PrivateKey.from_private_bytes(raw)


class _Bound(msgspec.Struct):
    certificate: str = msgspec.field(name="x5t#S256")


class _Said(msgspec.Struct):
    kind: Kind
    sub: str
    jti: str
    iat: float
    exp: float
    given: tuple[str, ...] = ()
    sid: str = ""
    account: str | None = None
    cnf: _Bound | None = None


def _grant_of(said: _Said) -> Grant:
    return Grant(
        kind=said.kind,
        subject=said.sub,
        given=said.given,
        session=said.sid,
        account=said.account,
        certificate=said.cnf.certificate if said.cnf is not None else None,
    )


async def _read(db: Db) -> list[_Key]:
    rows = await db.fetch(
        "SELECT kid, public, private, signs_from FROM signing_key WHERE retired_at IS NULL ORDER BY signs_from, kid"
    )
    return [
        _Key(
            row["kid"],
            row["public"],
            Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(row["public"] + "=")),
            row["private"],
            row["signs_from"],
        )
        for row in rows
    ]


def _due(keys: list[_Key], now: datetime) -> bool:
    """Say whether another key must be published: there is none, or the last one soon has signed for long enough."""
    return not keys or now >= keys[-1].signs_from + SIGNS_FOR - PUBLISHED_BEFORE


def _outlived(keys: list[_Key], now: datetime) -> list[_Key]:
    """Give the keys whose every token has ended: the next key signs for longer than a token lives."""
    over = now - max(LIVES, LINK_LIVES) - CLOCKS_DIFFER
    return [key for key, following in pairwise(keys) if following.signs_from <= over]


def _thumbprint(x: str) -> str:
    """Name a key by what it is (RFC 7638)."""
    return _base64(hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x.encode()).digest())


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
