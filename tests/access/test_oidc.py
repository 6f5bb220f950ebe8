"""An OpenID provider that knows our people: a real one on loopback, with keys of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bels.access import oidc as module
from bels.access import people
from bels.access.callers import Caller, Kind, Right
from bels.access.doorkeeper import Doorkeeper, Unauthenticated
from bels.access.master_key import FileMasterKey
from bels.access.oidc import BadIdentity, Oidc, ProviderFailed
from bels.access.tokens import Grant, Tokens
from bels.access.vault import Vault

AUDIENCE = "bels-cabinet"
RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA_SHORT = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()
FOREIGN = Ed25519PrivateKey.generate()

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def now() -> datetime:
    return datetime.now(UTC)


def jwk(key: Private, **more: str) -> dict[str, Any]:
    public = key.public_key()
    algorithms = jwt.algorithms
    if isinstance(public, rsa.RSAPublicKey):
        return {**algorithms.RSAAlgorithm.to_jwk(public, as_dict=True), **more}
    if isinstance(public, ec.EllipticCurvePublicKey):
        return {**algorithms.ECAlgorithm.to_jwk(public, as_dict=True), **more}
    return {**algorithms.OKPAlgorithm.to_jwk(public, as_dict=True), **more}


class Provider:
    """An OpenID provider: what it publishes can be changed, and what it was asked for is counted."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.discovery: dict[str, Any] = {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}
        self.keys: list[dict[str, Any]] = [
            jwk(RSA_KEY, kid="rsa", use="sig"),
            jwk(EC_KEY, kid="ec", use="sig", alg="ES256"),
            jwk(ED_KEY, kid="ed", use="sig"),
        ]
        self.asked: list[str] = []
        self.answer: Response | None = None

    async def discover(self, _: Request) -> Response:
        self.asked.append("discovery")
        return self.answer or JSONResponse(self.discovery)

    async def publish(self, _: Request) -> Response:
        self.asked.append("keys")
        return JSONResponse({"keys": self.keys})

    def claims(self, **change: Any) -> dict[str, Any]:
        given = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "ivanova",
            "iat": int(now().timestamp()),
            "exp": int((now() + timedelta(minutes=5)).timestamp()),
            **change,
        }
        return {name: value for name, value in given.items() if value is not None}

    def token(self, key: Private = ED_KEY, kid: str | None = "ed", algorithm: str = "EdDSA", **change: Any) -> str:
        return jwt.encode(self.claims(**change), key, algorithm, {"kid": kid} if kid is not None else {})


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: Starlette, listening: socket.socket) -> AsyncIterator[None]:
    server = _Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    made = Provider(f"http://127.0.0.1:{listening.getsockname()[1]}")
    routes = [Route("/.well-known/openid-configuration", made.discover), Route("/keys", made.publish)]
    async with served(Starlette(routes=routes), listening):
        yield made


@pytest.fixture
def oidc(provider: Provider) -> Oidc:
    return Oidc(provider.issuer, AUDIENCE, clock=now)


@pytest.mark.parametrize(
    ("key", "kid", "algorithm"), [(RSA_KEY, "rsa", "RS256"), (EC_KEY, "ec", "ES256"), (ED_KEY, "ed", "EdDSA")]
)
async def test_a_token_of_the_provider_names_its_subject(
    oidc: Oidc, provider: Provider, key: Private, kid: str, algorithm: str
) -> None:
    token = provider.token(key, kid, algorithm, aud=["other", AUDIENCE])

    assert oidc.issued(token)
    subject, claims = await oidc.verify(token)
    assert (subject, claims["aud"]) == ("ivanova", ["other", AUDIENCE])


async def test_the_provider_is_asked_once_for_many_tokens(oidc: Oidc, provider: Provider) -> None:
    await asyncio.gather(*(oidc.verify(provider.token()) for _ in range(10)))
    assert provider.asked == ["discovery", "keys"]


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 9e11},
        {"iat": 9_999_999_999},
        {"nbf": 9_999_999_999},
        {"nbf": "later"},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_us_now_is_refused(
    oidc: Oidc, provider: Provider, change: dict[str, Any]
) -> None:
    with pytest.raises(BadIdentity):
        await oidc.verify(provider.token(**change))


async def test_a_forged_token_is_refused(oidc: Oidc, provider: Provider) -> None:
    public = ED_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    genuine = provider.token()
    forged = {
        "no signature": jwt.encode(provider.claims(), "", "none", {"kid": "ed"}),
        "HMAC by a public key": jwt.encode(provider.claims(), public, "HS256", {"kid": "ed"}),
        "a foreign key": provider.token(FOREIGN, "ed"),
        "an algorithm of another key": provider.token(RSA_KEY, "ed", "RS256"),
        "an algorithm that is not allowed": provider.token(RSA_KEY, "rsa", "RS512"),
        "a key that is not named": provider.token(kid=None),
        "another signature": genuine[:-4] + "AAAA",
        "garbage": "a.b.c",
        "too long": "a" * 10_000,
    }

    async def is_taken(attempt: str) -> bool:
        try:
            await oidc.verify(attempt)
        except BadIdentity:
            return False
        return True

    assert [how for how, attempt in forged.items() if await is_taken(attempt)] == []
    assert not oidc.issued("a.b.c")
    assert not oidc.issued(provider.token(iss="https://other.example"))


async def test_a_key_of_one_may_be_left_unnamed(oidc: Oidc, provider: Provider) -> None:
    provider.keys = [jwk(ED_KEY)]
    assert (await oidc.verify(provider.token(kid=None)))[0] == "ivanova"


async def test_keys_that_are_not_for_signatures_or_too_weak_are_not_used(oidc: Oidc, provider: Provider) -> None:
    provider.keys += [
        jwk(FOREIGN, kid="encrypts", use="enc"),
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"},
        {"kty": "OKP", "crv": "Ed448", "kid": "unknown", "x": "AA"},
        {"kty": "RSA", "kid": "broken"},
        jwk(RSA_SHORT, kid="short"),
    ]
    hmac = jwt.encode(provider.claims(), b"secretsecretsecretsecretsecretse", "HS256", {"kid": "secret"})
    for token in (provider.token(FOREIGN, "encrypts"), hmac):
        with pytest.raises(BadIdentity):
            await oidc.verify(token)
    # It is published, but has too few bits for anybody's signature to count.
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = provider.token(RSA_SHORT, "short", "RS256")
    with pytest.raises(BadIdentity):
        await oidc.verify(weak)
    assert (await oidc.verify(provider.token()))[0] == "ivanova"


async def test_a_new_key_is_asked_for_and_made_up_ones_are_not_asked_for_each_time(
    oidc: Oidc, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oidc.verify(provider.token())
    provider.keys.append(jwk(FOREIGN, kid="new"))
    with pytest.raises(BadIdentity):
        await oidc.verify(provider.token(FOREIGN, "new"))
    assert provider.asked == ["discovery", "keys"]

    monkeypatch.setattr(module, "UNKNOWN_KEY_WAIT_S", 0.0)
    assert (await oidc.verify(provider.token(FOREIGN, "new")))[0] == "ivanova"
    assert provider.asked == ["discovery", "keys"] * 2


async def test_while_the_provider_is_away_the_keys_that_are_known_hold_for_a_day(
    oidc: Oidc, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oidc.verify(provider.token())
    monkeypatch.setattr(module, "KEYS_FRESH_S", 0.0)
    monkeypatch.setattr(module, "UNKNOWN_KEY_WAIT_S", 0.0)
    provider.answer = Response(status_code=503)
    assert (await oidc.verify(provider.token()))[0] == "ivanova"

    monkeypatch.setattr(module, "KEYS_HOLD_S", 0.0)
    with pytest.raises(ProviderFailed):
        await oidc.verify(provider.token())


@pytest.mark.parametrize(
    "answer",
    [
        Response(status_code=500),
        Response("not JSON"),
        Response("{}"),
        Response("[]"),
        Response(b" " * (module.ANSWER_BYTES_MAX + 1)),
        RedirectResponse("/keys"),
        JSONResponse({"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}),
    ],
    ids=["fails", "no JSON", "empty", "a list", "too long", "elsewhere", "another issuer"],
)
async def test_a_provider_that_answers_nonsense_lets_nobody_in(
    oidc: Oidc, provider: Provider, answer: Response
) -> None:
    provider.answer = answer
    with pytest.raises(ProviderFailed):
        await oidc.verify(provider.token())


async def test_keys_are_not_fetched_in_clear_from_elsewhere(oidc: Oidc, provider: Provider) -> None:
    provider.discovery["jwks_uri"] = "http://198.51.100.1/keys"
    with pytest.raises(ProviderFailed):
        await oidc.verify(provider.token())
    with pytest.raises(ValueError, match="https only"):
        Oidc("http://sso.example", AUDIENCE, clock=now)
    with pytest.raises(ValueError, match="audience"):
        Oidc("https://sso.example", "", clock=now)


async def test_a_provider_that_hangs_is_waited_for_a_limited_time(
    oidc: Oidc, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.2)

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)

    provider.answer = hangs  # type: ignore[assignment]
    async with asyncio.timeout(0.9):
        with pytest.raises(ProviderFailed):
            await oidc.verify(provider.token())


# The doorkeeper, where people come from the provider.


@pytest.fixture
async def keeper(pool: asyncpg.Pool, database: str, oidc: Oidc) -> Doorkeeper:
    vault = Vault(pool, FileMasterKey([("test", bytes(32))]))
    tokens = Tokens(pool, vault, "bels", now)
    return Doorkeeper(pool, vault, tokens, url=database, local=False, trusted_proxies=(), oidc=oidc, clock=now)


async def admitted(keeper: Doorkeeper, token: str) -> Caller:
    return await keeper.admit([(b"authorization", b"Bearer " + token.encode())], ("198.51.100.7", 1))


async def test_somebody_new_becomes_a_consumer_without_accounts_once(
    keeper: Doorkeeper, provider: Provider, pool: asyncpg.Pool
) -> None:
    callers = await asyncio.gather(*(admitted(keeper, provider.token(jti=str(n))) for n in range(5)))

    assert await pool.fetchval("SELECT count(*) FROM person") == 1
    assert await pool.fetchval("SELECT array_agg(kind) FROM identity_act") == ["CONSUMER_REGISTERED"]
    for caller in callers:
        assert (caller.kind, caller.sights, caller.rights) == (
            Kind.CONSUMER,
            {},
            Right.ANONYMOUS | Right.PASSWORD | Right.CONSUMER,
        )
        assert caller.subject == callers[0].subject
    assert (await admitted(keeper, provider.token(sub="petrova"))).subject != callers[0].subject


async def test_staff_is_who_the_administrator_said_it_is(
    keeper: Doorkeeper, provider: Provider, pool: asyncpg.Pool
) -> None:
    async with pool.acquire() as db:
        identity = (provider.issuer, "olga")
        person = await people.add_person(
            db, keeper._vault, Kind.OPERATOR, login=None, password_hash=None, grants=("rules",), oidc=identity
        )
    caller = await admitted(keeper, provider.token(sub="olga"))

    assert (caller.subject, caller.kind, caller.sights) == (person, Kind.OPERATOR, None)
    assert Right.OPERATOR_RULES in caller.rights


async def test_a_revoked_person_is_not_made_anew(keeper: Doorkeeper, provider: Provider, pool: asyncpg.Pool) -> None:
    await admitted(keeper, provider.token())
    await pool.execute("UPDATE person SET revoked_at = now()")

    with pytest.raises(Unauthenticated):
        await admitted(keeper, provider.token())
    assert await pool.fetchval("SELECT count(*) FROM person") == 1


async def test_our_own_tokens_let_programs_in_and_no_people(keeper: Doorkeeper, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(db, keeper._vault, Kind.ADMINISTRATOR, login=None, password_hash="x")
    token, _ = await keeper._tokens.issue(Grant(kind=Kind.ADMINISTRATOR, subject=person, session="s-1"))
    with pytest.raises(Unauthenticated, match="OpenID provider"):
        await admitted(keeper, token)

    token, _ = await keeper._tokens.issue(Grant(kind=Kind.PARTNER, subject="c-none"))
    with pytest.raises(Unauthenticated, match="client has been revoked"):
        await admitted(keeper, token)


async def test_what_the_provider_did_not_sign_is_refused_at_the_door(keeper: Doorkeeper, provider: Provider) -> None:
    for token in (provider.token(FOREIGN), provider.token(exp=1), provider.token(iss="https://other.example")):
        with pytest.raises(Unauthenticated):
            await admitted(keeper, token)
