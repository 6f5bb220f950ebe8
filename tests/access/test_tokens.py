"""Access tokens: what is not ours or has ended is refused, and keys rotate without a break."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bels.access import tokens as module
from bels.access.callers import Kind
from bels.access.master_key import FileMasterKey
from bels.access.tokens import BadToken, Grant, Tokens
from bels.access.vault import Vault

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
ISSUER = "https://bels.example"
MASTER = FileMasterKey([("test", bytes(32))])
PARTNER = Grant(kind=Kind.PARTNER, subject="c-bank", given=("payments:write",))


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def tokens(pool: asyncpg.Pool, watch: Watch) -> Tokens:
    return process(pool, watch)


def process(pool: asyncpg.Pool, watch: Watch, issuer: str = ISSUER) -> Tokens:
    """What another process on the same database has."""
    return Tokens(pool, Vault(pool, MASTER), issuer, watch)


def part(given: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(given).encode()).decode().rstrip("=")


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


async def public_key(tokens: Tokens) -> Ed25519PublicKey:
    (key,) = (await tokens.jwks())["keys"]
    return Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["x"] + "="))


async def test_a_token_says_what_it_was_issued_for(tokens: Tokens) -> None:
    grants = [
        PARTNER,
        Grant(kind=Kind.OPERATOR, subject="u-olga", given=("money", "people"), session="s-1"),
        Grant(kind=Kind.LINK, subject="l-1", given=("bill",), account="1000101"),
        Grant(kind=Kind.PARTNER, subject="c-bank", certificate="A" * 43),
    ]
    for grant in grants:
        token, expires_in = await tokens.issue(grant)
        claims = await tokens.verify(token)

        assert claims.grant == grant
        assert expires_in == (900 if grant.kind is Kind.LINK else 600)
        assert claims.expires_at == START.timestamp() + expires_in


async def test_a_token_is_read_by_any_library_that_has_our_key_set(tokens: Tokens) -> None:
    token, _ = await tokens.issue(Grant(kind=Kind.PARTNER, subject="c-bank", given=("a", "b"), certificate="A" * 43))
    (key,) = (await tokens.jwks())["keys"]

    options: Any = {"verify_exp": False, "verify_iat": False}
    found = jwt.decode(token, jwt.PyJWK(dict(key)), audience=ISSUER, issuer=ISSUER, options=options)

    assert (found["sub"], found["client_id"], found["scope"], found["kind"]) == ("c-bank", "c-bank", "a b", "PARTNER")
    assert found["cnf"] == {"x5t#S256": "A" * 43}
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": key["kid"], "typ": "at+jwt"}


async def test_a_token_ends_after_ten_minutes(tokens: Tokens, watch: Watch) -> None:
    token, _ = await tokens.issue(PARTNER)

    watch.now += timedelta(minutes=10, seconds=-1)
    assert (await tokens.verify(token)).grant == PARTNER
    watch.now += timedelta(seconds=1)
    with pytest.raises(BadToken, match="expired"):
        await tokens.verify(token)


async def test_a_forged_token_is_refused(tokens: Tokens) -> None:
    token, _ = await tokens.issue(PARTNER)
    header, claims = jwt.get_unverified_header(token), claims_of(token)
    public = (await public_key(tokens)).public_bytes(Encoding.Raw, PublicFormat.Raw)
    mine = Ed25519PrivateKey.generate()
    body, (first, second, signature) = part(claims), token.split(".")
    forged = {
        "no signature": f"{part({**header, 'alg': 'none'})}.{body}.",
        "none in capitals": f"{part({**header, 'alg': 'NONE'})}.{body}.",
        "signature left out": f"{first}.{second}.",
        "another signature": f"{first}.{second}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "other claims": f"{first}.{part({**claims, 'sub': 'c-other'})}.{signature}",
        "HMAC by our public key": jwt.encode(claims, public, "HS256", {**header, "alg": "HS256"}),
        "HMAC that says EdDSA": jwt.encode(claims, public, "HS256", header | {"alg": "HS256"}).replace(
            part({**header, "alg": "HS256"}), first
        ),
        "a foreign key under our name": jwt.encode(claims, mine, "EdDSA", header),
        "a key that nobody has": jwt.encode(claims, mine, "EdDSA", {**header, "kid": "mine"}),
        "a key without a name": jwt.encode(claims, mine, "EdDSA", {"typ": "at+jwt"}),
        "a key that it brings along": jwt.encode(claims, mine, "EdDSA", {**header, "jwk": {"kty": "OKP"}}),
        "garbage": "a.b.c",
        "nothing": "",
        "no text of ASCII": "ключ.ключ.ключ",
        "too long": "a" * 5000,
    }

    async def is_taken(attempt: str) -> bool:
        try:
            await tokens.verify(attempt)
        except BadToken:
            return False
        return True

    assert [how for how, attempt in forged.items() if await is_taken(attempt)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"aud": "https://other.example"},
        {"aud": [ISSUER, "https://other.example"]},
        {"iat": START.timestamp() + 3600},
        {"exp": None},
        {"exp": "never"},
        {"kind": "GOD"},
        {"sub": None},
        {"sub": 5},
        {"jti": None},
        {"given": "people"},
    ],
    ids=str,
)
async def test_what_our_key_signed_for_something_else_is_refused(
    tokens: Tokens, pool: asyncpg.Pool, change: dict[str, Any]
) -> None:
    token, _ = await tokens.issue(PARTNER)
    assert tokens._signer is not None
    kid, private = tokens._signer
    claims = {name: value for name, value in {**claims_of(token), **change}.items() if value is not None}

    with pytest.raises(BadToken):
        await tokens.verify(jwt.encode(claims, private, "EdDSA", {"kid": kid, "typ": "at+jwt"}))


async def test_another_installation_s_tokens_are_refused(tokens: Tokens, pool: asyncpg.Pool, watch: Watch) -> None:
    token, _ = await process(pool, watch, "https://test.bels.example").issue(PARTNER)
    with pytest.raises(BadToken):
        await tokens.verify(token)


async def test_an_id_token_is_no_access_token(tokens: Tokens) -> None:
    token, _ = await tokens.issue(PARTNER)
    assert tokens._signer is not None
    kid, private = tokens._signer
    with pytest.raises(BadToken, match="another kind"):
        await tokens.verify(jwt.encode(claims_of(token), private, "EdDSA", {"kid": kid, "typ": "JWT"}))


async def test_processes_that_start_together_have_one_key(pool: asyncpg.Pool, watch: Watch) -> None:
    processes = [process(pool, watch) for _ in range(5)]
    issued = await asyncio.gather(*(each.issue(PARTNER) for each in processes))

    assert await pool.fetchval("SELECT count(*) FROM signing_key") == 1
    for each in processes:
        for token, _ in issued:
            assert (await each.verify(token)).grant == PARTNER


async def test_keys_rotate_without_a_break(pool: asyncpg.Pool, watch: Watch) -> None:
    ours, other = process(pool, watch), process(pool, watch)
    kid = jwt.get_unverified_header((await ours.issue(PARTNER))[0])["kid"]

    async def published() -> list[str]:
        return [key["kid"] for key in (await other.jwks())["keys"]]

    watch.now = START + module.SIGNS_FOR - module.PUBLISHED_BEFORE - timedelta(seconds=1)
    assert await published() == [kid]

    watch.now = START + module.SIGNS_FOR - module.PUBLISHED_BEFORE
    watch.now += module.REREAD_AFTER
    # An hour before it signs, the next key is there for everybody to read.
    first, second = await published()
    assert first == kid
    assert jwt.get_unverified_header((await ours.issue(PARTNER))[0])["kid"] == kid

    watch.now += module.PUBLISHED_BEFORE - timedelta(seconds=1)
    last_of_the_old, _ = await ours.issue(PARTNER)
    assert jwt.get_unverified_header(last_of_the_old)["kid"] == kid
    watch.now += timedelta(seconds=1)
    first_of_the_new, _ = await ours.issue(PARTNER)
    assert jwt.get_unverified_header(first_of_the_new)["kid"] == second
    for token in (last_of_the_old, first_of_the_new):
        assert (await other.verify(token)).grant == PARTNER

    watch.now += module.LINK_LIVES
    assert await published() == [kid, second]
    watch.now += module.CLOCKS_DIFFER
    assert await published() == [second]
    with pytest.raises(BadToken, match="none of our keys"):
        await other.verify(last_of_the_old)
    assert await pool.fetchval("SELECT private FROM signing_key WHERE kid = $1", kid) == b""


async def test_after_a_long_sleep_the_old_key_signs_until_the_new_one_was_published_for_an_hour(
    pool: asyncpg.Pool, watch: Watch
) -> None:
    kid = jwt.get_unverified_header((await process(pool, watch).issue(PARTNER))[0])["kid"]

    watch.now = START + timedelta(days=100)
    woken = process(pool, watch)
    assert jwt.get_unverified_header((await woken.issue(PARTNER))[0])["kid"] == kid
    assert len((await woken.jwks())["keys"]) == 2
    watch.now += module.PUBLISHED_BEFORE
    assert jwt.get_unverified_header((await woken.issue(PARTNER))[0])["kid"] != kid


async def test_rotation_by_several_processes_at_once_makes_one_key(pool: asyncpg.Pool, watch: Watch) -> None:
    await process(pool, watch).issue(PARTNER)
    watch.now = START + module.SIGNS_FOR
    await asyncio.gather(*(process(pool, watch).jwks() for _ in range(5)))

    assert await pool.fetchval("SELECT count(*) FROM signing_key") == 2


async def test_no_private_key_stands_in_clear(tokens: Tokens, pool: asyncpg.Pool) -> None:
    await tokens.issue(PARTNER)
    assert tokens._signer is not None
    raw = tokens._signer[1].private_bytes_raw()

    stored = await pool.fetchrow("SELECT * FROM signing_key")
    assert stored is not None
    assert raw not in stored["private"]
    assert len(stored["private"]) == 12 + 32 + 16


async def test_made_up_keys_do_not_make_us_read_for_each_of_them(tokens: Tokens, pool: asyncpg.Pool) -> None:
    token, _ = await tokens.issue(PARTNER)
    await pool.execute("UPDATE signing_key SET retired_at = now()")
    strange = jwt.encode(claims_of(token), Ed25519PrivateKey.generate(), "EdDSA", {"kid": "strange", "typ": "at+jwt"})

    with pytest.raises(BadToken):
        await tokens.verify(strange)
    read_at = tokens._read_at
    for _ in range(3):
        with pytest.raises(BadToken):
            await tokens.verify(strange)
    # The first of them read the table and found our key gone; the others did not ask again.
    assert tokens._read_at is read_at
