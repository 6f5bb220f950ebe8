"""OAuth 2 over HTTP: programs get tokens by the letter of the RFCs, and everything else gets the error that they name."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from urllib.parse import quote, quote_plus

import asyncpg
import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from bels.access import clients, people, sessions
from bels.access.callers import Kind, Right
from bels.access.doorkeeper import Doorkeeper
from bels.access.links import LINK_PREFIX
from bels.access.master_key import FileMasterKey
from bels.access.throttle import Throttle
from bels.access.tokens import Tokens
from bels.access.vault import Vault
from bels.domain.terms import Channel
from bels.web.oauth import BODY_BYTES_MAX, LINK_GRANT, oauth_routes

ISSUER = "https://bels.example"
FORM = {"content-type": "application/x-www-form-urlencoded"}
PROXY = ("10.0.0.5", 1)


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class Office:
    """The routes, and what they stand on."""

    def __init__(self, pool: asyncpg.Pool, url: str, issuer: str = ISSUER) -> None:
        self.pool = pool
        self.watch = Watch()
        self.vault = Vault(pool, FileMasterKey([("test", bytes(32))]))
        self.tokens = Tokens(pool, self.vault, issuer, self.watch)
        self.doorkeeper = Doorkeeper(
            pool,
            self.vault,
            self.tokens,
            url=url,
            local=False,
            trusted_proxies=(ip_network("10.0.0.0/8"),),
            oidc=None,
            clock=self.watch,
        )

    def caller(self, *, own_people: bool = True, peer: tuple[str, int] = PROXY) -> httpx.AsyncClient:
        throttle = Throttle(self.pool, self.vault, self.watch)
        routes = oauth_routes(
            self.pool,
            self.vault,
            self.tokens,
            self.doorkeeper,
            throttle,
            own_people=own_people,
            clock=self.watch,
            request_id=lambda request: request.headers.get("x-request-id", ""),
        )
        transport = httpx.ASGITransport(Starlette(routes=routes), client=peer)
        return httpx.AsyncClient(transport=transport, base_url="http://bels")

    async def bank(self, certificate: str | None = None) -> tuple[str, str]:
        scopes = ("payments:write", "registers:read")
        async with self.pool.acquire() as db:
            return await clients.add_client(
                db, self.vault, Kind.PARTNER, "Банк", Channel.BANK, scopes, certificate, by="u-root"
            )

    async def signed_in(self) -> tuple[str, sessions.Begun]:
        async with self.pool.acquire() as db:
            person = await people.add_person(
                db, self.vault, Kind.OPERATOR, login=None, password_hash="x", grants=("money",)
            )
            return person, await sessions.begin(db, self.vault, person, self.watch())

    async def link(self, lives: timedelta = timedelta(days=1)) -> str:
        token = LINK_PREFIX + "A" * 43
        await self.pool.execute(
            """
            INSERT INTO task_link (token, link, account, task, made_by, created_at, expires_at)
            VALUES ($1, 'l-1', '1000101', 'bill', 'u-olga', now(), $2)
            """,
            await self.vault.digest("links", token),
            self.watch() + lives,
        )
        return token

    async def rights_of(self, token: str) -> tuple[Kind, Right]:
        caller = await self.doorkeeper.admit([(b"authorization", b"Bearer " + token.encode())], ("198.51.100.7", 1))
        return caller.kind, caller.rights


@pytest.fixture
def office(pool: asyncpg.Pool, database: str) -> Office:
    return Office(pool, database)


@pytest.fixture
async def http(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with office.caller() as client:
        yield client


def answered(answer: httpx.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"


async def test_a_partner_gets_a_token_with_its_scopes(http: httpx.AsyncClient, office: Office) -> None:
    answer = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=await office.bank())

    assert answer.status_code == 200
    told = answer.json()
    assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 600, "payments:write registers:read")
    assert "refresh_token" not in told
    assert answer.headers["cache-control"] == "no-store"
    expected = Right.ANONYMOUS | Right.PARTNER_PAYMENTS | Right.PARTNER_REGISTERS
    assert await office.rights_of(told["access_token"]) == (Kind.PARTNER, expected)


async def test_the_secret_may_come_in_the_form_and_scopes_may_be_narrowed(
    http: httpx.AsyncClient, office: Office
) -> None:
    client, secret = await office.bank()
    form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, "scope": "payments:write"}
    told = (await http.post("/oauth/token", data=form)).json()

    assert told["scope"] == "payments:write"
    assert await office.rights_of(told["access_token"]) == (Kind.PARTNER, Right.ANONYMOUS | Right.PARTNER_PAYMENTS)


async def test_a_gateway_gets_a_token_without_scopes(http: httpx.AsyncClient, office: Office) -> None:
    async with office.pool.acquire() as db:
        auth = await clients.add_client(db, office.vault, Kind.GATEWAY, "Kannel", Channel.SMS, by="u-root")
    told = (await http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)).json()

    assert "scope" not in told
    assert await office.rights_of(told["access_token"]) == (Kind.GATEWAY, Right.ANONYMOUS | Right.GATEWAY)


async def test_a_client_that_encodes_its_secret_as_the_rfc_says_is_understood(
    http: httpx.AsyncClient, office: Office
) -> None:
    client, secret = await office.bank()
    told = b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".replace("-", "%2D").encode()).decode()
    answer = await http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"authorization": f"basic {told}"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("", "invalid_request"),
        ("grant_type=", "invalid_request"),
        ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x", "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=client_credentials&client_secret=x", "invalid_request"),
        ("grant_type=client_credentials&client_id=c-other", "invalid_request"),
        ("grant_type=client_credentials&scope=readings%3Awrite", "invalid_scope"),
        ("grant_type=client_credentials&scope=payments%3Awrite++registers%3Aread", "invalid_scope"),
        ("grant_type=client_credentials&scope=*", "invalid_scope"),
        ("grant_type=%ff", "invalid_request"),
        ("&".join(f"f{n}=1" for n in range(30)), "invalid_request"),
        ("grant_type=refresh_token", "invalid_request"),
        ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("grant_type=refresh_token&refresh_token=bels_r_" + "A" * 43, "invalid_grant"),
        ("grant_type=refresh_token&refresh_token=x&scope=payments%3Awrite", "invalid_scope"),
        (f"grant_type={quote(LINK_GRANT)}", "invalid_request"),
        (f"grant_type={quote(LINK_GRANT)}&link=bels_l_" + "B" * 43, "invalid_grant"),
        (f"grant_type={quote(LINK_GRANT)}&link=%00", "invalid_grant"),
        (f"grant_type={quote(LINK_GRANT)}&link=x&scope=bill", "invalid_scope"),
    ],
)
async def test_what_the_rfc_calls_an_error_is_answered_as_it_says(
    http: httpx.AsyncClient, office: Office, form: str, error: str
) -> None:
    answer = await http.post("/oauth/token", content=form, headers=FORM, auth=await office.bank())
    answered(answer, 400, error)


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"grant_type": "client_credentials"}', 400),
        ("multipart/form-data; boundary=x", b"--x--", 400),
        ("", b"grant_type=client_credentials", 400),
        (FORM["content-type"], b"\xff\xfe", 400),
        (FORM["content-type"], b"a" * (BODY_BYTES_MAX + 1), 413),
    ],
)
async def test_a_body_that_is_no_small_form_is_refused(
    http: httpx.AsyncClient, content_type: str, body: bytes, status: int
) -> None:
    for path in ("/oauth/token", "/oauth/revoke"):
        answered(await http.post(path, content=body, headers={"content-type": content_type}), status, "invalid_request")


async def test_a_form_may_name_its_charset(http: httpx.AsyncClient, office: Office) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"}
    answer = await http.post(
        "/oauth/token", content="grant_type=client_credentials", headers=headers, auth=await office.bank()
    )
    assert answer.status_code == 200


async def test_whoever_is_no_client_hears_one_and_the_same(http: httpx.AsyncClient, office: Office) -> None:
    client, secret = await office.bank()
    revoked, revoked_secret = await office.bank()
    async with office.pool.acquire() as db:
        await clients.revoke_client(db, revoked, now=office.watch(), by="u-root")
    wrong = f"{secret[:-1]}{'0' if secret[-1] != '0' else '1'}"
    basic = {
        "nobody": {},
        "wrong secret": {"authorization": f"Basic {b64encode(f'{client}:{wrong}'.encode()).decode()}"},
        "unknown": {"authorization": f"Basic {b64encode(f'c-none:{secret}'.encode()).decode()}"},
        "revoked": {"authorization": f"Basic {b64encode(f'{revoked}:{revoked_secret}'.encode()).decode()}"},
        "no colon": {"authorization": f"Basic {b64encode(client.encode()).decode()}"},
        "no name": {"authorization": f"Basic {b64encode(f':{secret}'.encode()).decode()}"},
        "no base64": {"authorization": "Basic !!!"},
        "not UTF-8": {"authorization": f"Basic {b64encode(bytes([255, 58, 255])).decode()}"},
        "NUL": {"authorization": f"Basic {b64encode(bytes([0, 58, 0])).decode()}"},
        "huge": {"authorization": f"Basic {b64encode(b'c' * 3000 + b':x').decode()}"},
        "another scheme": {"authorization": f"Bearer {secret}"},
    }
    told = set()
    for headers in basic.values():
        answer = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, headers=headers)
        answered(answer, 401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic ")
        told.add(answer.text)
    assert len(told) == 1


async def test_wrong_secrets_are_soon_told_to_wait_and_the_right_one_is_not(
    http: httpx.AsyncClient, office: Office
) -> None:
    client, secret = await office.bank()
    form = {"grant_type": "client_credentials"}
    answers = [await http.post("/oauth/token", data=form, auth=(client, f"bels_{n}")) for n in range(8)]

    assert answers[0].status_code == 401
    answered(answers[-1], 429, "temporarily_unavailable")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert (await http.post("/oauth/token", data=form, auth=(client, secret))).status_code == 200


async def test_many_workers_of_a_partner_get_their_tokens_at_once(http: httpx.AsyncClient, office: Office) -> None:
    auth, form = await office.bank(), {"grant_type": "client_credentials"}
    answers = await asyncio.gather(*(http.post("/oauth/token", data=form, auth=auth) for _ in range(12)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 12


def certificate() -> tuple[str, str]:
    """Make a certificate; give it as a proxy hands it over, and its SHA-256 in hex."""
    key = Ed25519PrivateKey.generate()
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, None)
    told = quote(made.public_bytes(Encoding.PEM).decode(), safe="")
    return told, sha256(made.public_bytes(Encoding.DER)).hexdigest()


async def test_a_client_with_a_certificate_needs_it_and_gets_a_token_that_is_bound_to_it(office: Office) -> None:
    told, in_hex = certificate()
    other, _ = certificate()
    auth, form = await office.bank(in_hex), {"grant_type": "client_credentials"}
    async with office.caller() as http:
        for headers in ({}, {"x-ssl-client-cert": other}, {"x-ssl-client-cert": "nonsense"}):
            answered(await http.post("/oauth/token", data=form, auth=auth, headers=headers), 401, "invalid_client")
        answer = await http.post("/oauth/token", data=form, auth=auth, headers={"x-ssl-client-cert": told})
    async with office.caller(peer=("198.51.100.7", 1)) as stranger:
        spoofed = await stranger.post("/oauth/token", data=form, auth=auth, headers={"x-ssl-client-cert": told})

    answered(spoofed, 401, "invalid_client")
    token = answer.json()["access_token"]
    assert len(jwt.decode(token, options={"verify_signature": False})["cnf"]["x5t#S256"]) == 43
    raw = [(b"authorization", b"Bearer " + token.encode()), (b"x-ssl-client-cert", told.encode())]
    assert (await office.doorkeeper.admit(raw, PROXY)).subject == auth[0]


async def test_a_session_is_continued_by_its_refresh_token(http: httpx.AsyncClient, office: Office) -> None:
    person, begun = await office.signed_in()
    form = {"grant_type": "refresh_token", "refresh_token": begun.refresh_token}
    told = (await http.post("/oauth/token", data=form)).json()

    assert told["refresh_token"] != begun.refresh_token
    expected = Right.ANONYMOUS | Right.PASSWORD | Right.OPERATOR | Right.OPERATOR_MONEY
    assert await office.rights_of(told["access_token"]) == (Kind.OPERATOR, expected)
    assert jwt.decode(told["access_token"], options={"verify_signature": False})["sub"] == person
    assert (await http.post("/oauth/token", data=form)).json()["refresh_token"] == told["refresh_token"]

    office.watch.now += timedelta(seconds=11)
    answered(await http.post("/oauth/token", data=form), 400, "invalid_grant")
    stolen = {**form, "refresh_token": told["refresh_token"]}
    answered(await http.post("/oauth/token", data=stolen), 400, "invalid_grant")


async def test_where_people_come_from_a_provider_no_session_is_continued_here(office: Office) -> None:
    _, begun = await office.signed_in()
    async with office.caller(own_people=False) as http:
        form = {"grant_type": "refresh_token", "refresh_token": begun.refresh_token}
        answered(await http.post("/oauth/token", data=form), 400, "unsupported_grant_type")
        told = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert told["grant_types_supported"] == ["client_credentials", LINK_GRANT]


async def test_a_link_is_opened_once(http: httpx.AsyncClient, office: Office) -> None:
    form = {"grant_type": LINK_GRANT, "link": await office.link()}
    answers = await asyncio.gather(*(http.post("/oauth/token", data=form) for _ in range(4)))

    opened = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(opened) == 1
    assert (opened[0]["expires_in"], opened[0]["account"], opened[0]["task"]) == (900, "1000101", "bill")
    assert await office.rights_of(opened[0]["access_token"]) == (Kind.LINK, Right.ANONYMOUS | Right.LINK_BILL)
    answered(await http.post("/oauth/token", data=form), 400, "invalid_grant")


async def test_a_link_that_is_over_opens_nothing(http: httpx.AsyncClient, office: Office) -> None:
    form = {"grant_type": LINK_GRANT, "link": await office.link()}
    office.watch.now += timedelta(days=1)
    answered(await http.post("/oauth/token", data=form), 400, "invalid_grant")


async def test_a_session_is_ended_by_its_refresh_token(http: httpx.AsyncClient, office: Office) -> None:
    person, begun = await office.signed_in()
    form = {"token": begun.refresh_token, "token_type_hint": "access_token"}
    for _ in range(2):
        answer = await http.post("/oauth/revoke", data=form, headers={"x-request-id": "request-1"})
        assert (answer.status_code, answer.content) == (200, b"")

    renewal = {"grant_type": "refresh_token", "refresh_token": begun.refresh_token}
    answered(await http.post("/oauth/token", data=renewal), 400, "invalid_grant")
    acts = await office.pool.fetch("SELECT kind, by_subject, subject, reason, request_id FROM identity_act")
    assert [tuple(act) for act in acts] == [("SESSION_REVOKED", person, person, "LOGGED_OUT", "request-1")]


async def test_a_session_is_ended_by_its_access_token(http: httpx.AsyncClient, office: Office) -> None:
    _, begun = await office.signed_in()
    renewal = {"grant_type": "refresh_token", "refresh_token": begun.refresh_token}
    told = (await http.post("/oauth/token", data=renewal)).json()

    assert (await http.post("/oauth/revoke", data={"token": told["access_token"]})).status_code == 200
    renewal["refresh_token"] = told["refresh_token"]
    answered(await http.post("/oauth/token", data=renewal), 400, "invalid_grant")


async def test_a_client_s_access_token_ends_by_itself(http: httpx.AsyncClient, office: Office) -> None:
    form = {"grant_type": "client_credentials"}
    told = (await http.post("/oauth/token", data=form, auth=await office.bank())).json()
    answer = await http.post("/oauth/revoke", data={"token": told["access_token"]})
    answered(answer, 400, "unsupported_token_type")


async def test_what_is_no_token_is_revoked_already(http: httpx.AsyncClient) -> None:
    for token in ("x", "a.b.c", "bels_r_x", "bels_r_" + "A" * 43, "\0"):
        assert (await http.post("/oauth/revoke", data={"token": token})).status_code == 200
    answered(await http.post("/oauth/revoke", data={"token_type_hint": "x"}), 400, "invalid_request")


async def test_our_keys_and_endpoints_are_published(http: httpx.AsyncClient, office: Office) -> None:
    keys = await http.get("/.well-known/jwks.json")
    assert keys.headers["content-type"] == "application/jwk-set+json"
    assert keys.headers["cache-control"] == "public, max-age=600"
    (key,) = keys.json()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    assert "d" not in key

    told = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert told["issuer"] == ISSUER
    assert told["token_endpoint"] == f"{ISSUER}/oauth/token"
    assert told["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    assert told["grant_types_supported"] == ["client_credentials", "refresh_token", LINK_GRANT]


@pytest.mark.parametrize(
    ("issuer", "path", "endpoint"),
    [
        ("bels", "/.well-known/oauth-authorization-server", "http://bels/oauth/token"),
        (f"{ISSUER}/api", "/.well-known/oauth-authorization-server/api", f"{ISSUER}/api/oauth/token"),
    ],
)
async def test_endpoints_are_named_after_the_issuer_where_it_is_a_url(
    pool: asyncpg.Pool, database: str, issuer: str, path: str, endpoint: str
) -> None:
    async with Office(pool, database, issuer).caller() as http:
        assert (await http.get(path)).json()["token_endpoint"] == endpoint


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
async def test_tokens_are_never_in_an_address(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path, params={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_database_that_is_away_is_said_so(office: Office, database: str) -> None:
    auth = await office.bank()
    await office.tokens.jwks()

    away = await asyncpg.create_pool(database, min_size=1)
    await away.close()
    routes = oauth_routes(
        away,
        office.vault,
        office.tokens,
        office.doorkeeper,
        Throttle(office.pool, office.vault, office.watch),
        own_people=True,
        clock=office.watch,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://b") as http:
        answer = await http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)
    answered(answer, 503, "temporarily_unavailable")
