"""An OpenID provider that knows our people: its discovery document, its keys, and the verification of its tokens.

The provider is asked for its keys once an hour, and when a token names a key that is not known, at most twice a minute. While
it does not answer, the keys that are known hold for a day.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec

ALGORITHMS = ("RS256", "ES256", "EdDSA")
WAIT_S = 5.0
"""For the provider's answer, whole."""

ANSWER_BYTES_MAX = 256 * 1024
KEYS_MAX = 50
KEYS_FRESH_S = 3600.0
KEYS_HOLD_S = 86_400.0
UNKNOWN_KEY_WAIT_S = 30.0
"""How often a token of an unknown key, or a provider that does not answer, makes us ask it again."""

NO_KEYS_WAIT_S = 2.0
"""How often it is asked while none of its keys is known."""

CLOCKS_DIFFER_S = 60.0
TOKEN_LENGTH_MAX = 8192
SUBJECT_LENGTH_MAX = 255
SECONDS_MAX = 1e11
"""Times of a token after the year 5000 are none."""

_DISCOVERY = "/.well-known/openid-configuration"


class BadIdentity(Exception):
    """The provider's token cannot be taken; the sentence is for a developer."""


class ProviderFailed(Exception):
    """The provider cannot be asked, or answers what it must not; no token of it can be judged."""


class _Discovered(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class Oidc:
    """Verify the tokens of one OpenID provider that are meant for ``audience``."""

    def __init__(self, issuer: str, audience: str, *, clock: Callable[[], datetime]) -> None:
        """Take an issuer that is asked at its first token.

        :raises ValueError: its keys would travel in clear, or no audience is named.
        """
        if not audience:
            raise ValueError(
                "an OpenID provider needs an audience, the name under which it knows us: set BELS_OIDC_AUDIENCE"
            )
        _must_be_safe(issuer)
        self.issuer = issuer.rstrip("/")
        self.audience = audience
        self._clock = clock
        self._jwt = jwt.PyJWT(
            {
                "require": ["iss", "aud", "sub", "exp", "iat"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "enforce_minimum_key_length": True,
            }
        )
        self._issuer_in_tokens = self.issuer
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._known_at = float("-inf")
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    def issued(self, token: str) -> bool:
        """Say whether a token claims to be this provider's; nothing of it is verified."""
        if len(token) > TOKEN_LENGTH_MAX:
            return False
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError):
            return False
        issuer = claims.get("iss")
        return isinstance(issuer, str) and issuer.rstrip("/") == self.issuer

    async def verify(self, token: str) -> tuple[str, Mapping[str, Any]]:
        """Give the subject of a token, and all that it says.

        :raises BadIdentity: it is not one of this provider, not meant for us, or has ended.
        :raises ProviderFailed: the provider's keys are not known.
        """
        if len(token) > TOKEN_LENGTH_MAX:
            raise BadIdentity("the token is too long")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._key(kid)
            claims = self._jwt.decode(
                token, key, algorithms=ALGORITHMS, audience=self.audience, issuer=self._issuer_in_tokens
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise BadIdentity(f"the provider's token cannot be verified ({type(error).__name__})") from None
        now = self._clock().timestamp()
        if not _seconds(claims["exp"], "exp") + CLOCKS_DIFFER_S > now:
            raise BadIdentity("the provider's token has expired")
        if any(_seconds(claims[name], name) > now + CLOCKS_DIFFER_S for name in ("iat", "nbf") if name in claims):
            raise BadIdentity("the provider's token is of the future")
        subject = claims["sub"]
        if not (isinstance(subject, str) and 0 < len(subject) <= SUBJECT_LENGTH_MAX):
            raise BadIdentity(f"the provider's token names no subject of at most {SUBJECT_LENGTH_MAX} characters")
        return subject, claims

    async def _key(self, kid: str | None) -> jwt.PyJWK:
        time = asyncio.get_running_loop().time
        known = self._keys.get(kid)
        if known is not None and time() - self._known_at < KEYS_FRESH_S:
            return known
        async with self._asking:
            known = self._keys.get(kid)
            if known is None or time() - self._known_at >= KEYS_FRESH_S:
                await self._ask(time)
                known = self._keys.get(kid)
        if known is None:
            raise BadIdentity("the provider's token is signed by none of its keys")
        return known

    async def _ask(self, time: Callable[[], float]) -> None:
        """Ask for the keys anew, but not too often; what is known holds on where the provider fails."""
        failed: Exception | None = None
        if time() - self._asked_at >= (UNKNOWN_KEY_WAIT_S if self._keys else NO_KEYS_WAIT_S):
            self._asked_at = time()
            try:
                async with asyncio.timeout(WAIT_S), httpx.AsyncClient(timeout=WAIT_S, follow_redirects=False) as client:
                    self._issuer_in_tokens, self._keys = await self._fetch(client)
                self._known_at = time()
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
                failed = error
        if time() - self._known_at >= KEYS_HOLD_S:
            self._keys = {}
            why = "it was asked a moment ago" if failed is None else type(failed).__name__
            raise ProviderFailed(f"the OpenID provider's keys are not known ({why})") from failed

    async def _fetch(self, client: httpx.AsyncClient) -> tuple[str, dict[str | None, jwt.PyJWK]]:
        discovered = msgspec.json.decode(await _get(client, self.issuer + _DISCOVERY), type=_Discovered)
        # Some providers write their name with a slash at the end, and then in every token too.
        if discovered.issuer.rstrip("/") != self.issuer:
            raise ValueError("the discovery document is of another issuer")
        _must_be_safe(discovered.jwks_uri)
        keys = msgspec.json.decode(await _get(client, discovered.jwks_uri), type=_KeySet).keys[:KEYS_MAX]
        usable = [key for each in keys if (key := _usable(each)) is not None]
        if not usable:
            raise ValueError("the provider has no key that we can use")
        found: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in usable}
        if len(usable) == 1:
            # A provider of one key may leave its name out.
            found[None] = usable[0]
        else:
            found.pop(None, None)
        return discovered.issuer, found


def _usable(given: dict[str, Any]) -> jwt.PyJWK | None:
    if given.get("use", "sig") != "sig" or given.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        key = jwt.PyJWK(given)
    except (jwt.PyJWTError, ValueError):
        return None
    return key if key.algorithm_name in ALGORITHMS else None


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    async with client.stream("GET", url, headers={"accept": "application/json"}) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"the provider answers {answer.status_code}")
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise ValueError(f"the provider's answer is longer than {ANSWER_BYTES_MAX} bytes")
    return body


def _must_be_safe(url: str) -> None:
    """Insist on TLS, but for a provider on this machine: whoever changes its keys on their way is everybody."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise ValueError("an OpenID provider is reached by https only, unless it runs on this machine")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(given: object, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < SECONDS_MAX:
        raise BadIdentity(f"the provider's token has no usable time in {name!r}")
    return float(given)
