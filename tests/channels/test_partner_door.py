"""Which partner asks: by its secret or its certificate, from where its contract says, and no longer than it may."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.dom import minidom
from xml.etree.ElementTree import Element

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette

from bels.access.callers import Kind
from bels.access.clients import add_client, revoke_client
from bels.app import door_of
from bels.channels import partner_door
from bels.channels.osmp import PATH, osmp_routes
from bels.channels.partner_door import REMEMBERED_FOR, Facade, Terms, Visitor, add, facade_route
from bels.channels.sber_eps import PATH as EPS_PATH
from bels.channels.sber_eps import eps_routes
from bels.domain.terms import Channel
from bels.payments.partners import partners_of
from bels.payments.till import Till
from bels.reception.counter import Counter
from tests.channels.cases import unreachable
from tests.channels.house import House, opened_house

CHECK = {"command": "check", "account": "1000001"}
SCOPES = ("payments:write", "readings:write", "registers:read")
PROXY = ("10.0.0.5", 40_000)
PEER = ("198.51.100.7", 40_000)


@dataclass(frozen=True, slots=True)
class Gate:
    """The door of the banks, behind a proxy that is trusted."""

    house: House
    till: Till
    http: httpx.AsyncClient
    client: str
    secret: str

    async def knock(self, auth: tuple[str, str] | None, **head: str) -> httpx.Response:
        """Ask OSMP for an account."""
        return await self.http.get(PATH, params=CHECK, auth=auth, headers=head)

    async def right(self, **head: str) -> httpx.Response:
        """Ask with the right secret."""
        return await self.knock((self.client, self.secret), **head)


@asynccontextmanager
async def gate_of(
    house: House,
    *,
    contract: dict[str, Any] | None = None,
    kind: Kind = Kind.PARTNER,
    scopes: tuple[str, ...] = SCOPES,
    certificate: str | None = None,
    peer: tuple[str, int] = PROXY,
) -> AsyncIterator[Gate]:
    """Serve OSMP and EPS to one client with this contract."""
    assert house.bels is not None
    settings = replace(house.bels.settings, trusted_proxies=(ip_network("10.0.0.0/8"),))
    door = await door_of(replace(house.bels, settings=settings), local=False)
    channel = Channel.BANK if kind is Kind.PARTNER else Channel.SMS
    async with house.bels.pool.acquire() as db:
        client, secret = await add_client(db, house.bels.vault, kind, "Банк", channel, scopes, certificate)
    told = {"partner": {"bank": {"client": client, **({"osmp": {}, "eps": {}} if contract is None else contract)}}}
    till = Till(Counter(house.bels.pool, house.bels.intake, door), partners_of(told))
    served = Starlette(routes=[*osmp_routes(till), *eps_routes(till)])
    transport = httpx.ASGITransport(served, client=peer)
    async with httpx.AsyncClient(transport=transport, base_url="http://bels.test") as http:
        yield Gate(house, till, http, client, secret)


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened_house(database, tmp_path) as opened:
        yield opened


def certificate() -> tuple[str, str]:
    """Make a certificate; give it as a proxy hands it over, and its SHA-256 in hex."""
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
    )
    told = quote(made.public_bytes(Encoding.PEM).decode(), safe="")
    return told, hashlib.sha256(made.public_bytes(Encoding.DER)).hexdigest()


def result(response: httpx.Response, name: str = "result") -> str:
    """Give the result code of an answer of the protocol."""
    assert response.status_code == 200, response.text
    (found,) = minidom.parseString(response.content).getElementsByTagName(name)
    return "".join(node.data for node in found.childNodes if node.nodeType == node.TEXT_NODE)


async def test_whoever_has_no_right_secret_is_told_so_by_http(house: House) -> None:
    async with gate_of(house) as gate:
        strangers = [
            await gate.knock(None),
            await gate.knock((gate.client, "bels_wrong")),
            await gate.knock(("c-" + "a" * 16, gate.secret)),
            await gate.knock(("ё", "ё")),
            await gate.knock(None, authorization="Basic ???"),
            await gate.knock(None, authorization="Basic " + b64encode(b"no colon").decode()),
            await gate.knock(None, authorization=f"Bearer {gate.secret}"),
            await gate.knock(None, authorization="Basic " + "A" * 5000),
        ]
        right = await gate.right()

    assert {answer.status_code for answer in strangers} <= {401, 429}
    assert strangers[0].status_code == 401
    assert strangers[0].headers["www-authenticate"].startswith("Basic ")
    assert result(right) == "0"


async def test_guessing_is_slowed_down_and_the_right_secret_never_is(house: House) -> None:
    async with gate_of(house) as gate:
        guesses = [await gate.knock((gate.client, f"bels_{n}")) for n in range(8)]
        right = await gate.right()

    assert [answer.status_code for answer in guesses[:5]] == [401] * 5
    assert guesses[-1].status_code == 429
    assert int(guesses[-1].headers["retry-after"]) > 0
    assert result(right) == "0"


async def test_a_revoked_partner_is_out_within_seconds(house: House) -> None:
    async with gate_of(house) as gate:
        await gate.right()
        async with gate.till.counter.pool.acquire() as db:
            await revoke_client(db, gate.client, now=house.now(), by="u-root")
        remembered = await gate.right()
        house.wait(seconds=REMEMBERED_FOR.total_seconds())
        forgotten = await gate.right()

    assert result(remembered) == "0"
    assert forgotten.status_code == 401
    assert timedelta(seconds=5) >= REMEMBERED_FOR


async def test_only_so_many_credentials_are_remembered(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partner_door, "REMEMBERED_MAX", 2)
    async with gate_of(house) as gate:
        basic = b64encode(f"{gate.client}:{gate.secret}".encode()).decode()
        # Each spelling of the header is another one to remember.
        heads = [f"Basic {' ' * blanks}{basic}" for blanks in range(3)]
        for head in heads:
            await gate.knock(None, authorization=head)
        async with gate.till.counter.pool.acquire() as db:
            await revoke_client(db, gate.client, now=house.now(), by="u-root")
        newest, oldest = [await gate.knock(None, authorization=head) for head in (heads[-1], heads[0])]

    assert (newest.status_code, oldest.status_code) == (200, 401)


async def test_while_nobody_can_be_looked_up_everybody_is_asked_to_repeat_in_his_own_encoding(house: House) -> None:
    async with gate_of(house, contract={"osmp": {"encoding": "cp1251"}}) as gate:
        await gate.right()
        async with unreachable(house):
            answers = [await gate.knock((gate.client, "bels_other")), await gate.right()]

    assert [result(answer) for answer in answers] == ["1", "1"]
    assert {answer.headers["content-type"] for answer in answers} == {"text/xml; charset=windows-1251"}


async def test_a_partner_with_a_certificate_must_show_it(house: House) -> None:
    told, in_hex = certificate()
    other, _ = certificate()
    async with gate_of(house, certificate=in_hex) as gate:
        without = await gate.right()
        wrong = await gate.right(**{"x-ssl-client-cert": other})
        right = await gate.right(**{"x-ssl-client-cert": told})
        alone = await gate.knock(None, **{"x-ssl-client-cert": told})
        stranger = await gate.knock(None, **{"x-ssl-client-cert": other})
    async with gate_of(house, certificate=certificate()[1], peer=PEER) as gate:
        claimed = await gate.right(**{"x-ssl-client-cert": told})

    assert [without.status_code, wrong.status_code, stranger.status_code, claimed.status_code] == [401] * 4
    assert [result(right), result(alone)] == ["0", "0"]


async def test_a_certificate_that_two_partners_share_names_neither(house: House) -> None:
    told, in_hex = certificate()
    async with gate_of(house, certificate=in_hex) as gate, gate_of(house, certificate=in_hex):
        assert (await gate.knock(None, **{"x-ssl-client-cert": told})).status_code == 401
        assert result(await gate.right(**{"x-ssl-client-cert": told})) == "0"


async def test_a_partner_comes_from_where_its_contract_says(house: House) -> None:
    contract = {"addresses": ["79.142.16.0/20"], "osmp": {}}
    async with gate_of(house, contract=contract) as gate:
        inside = await gate.right(**{"x-forwarded-for": "79.142.17.1"})
        outside = await gate.right(**{"x-forwarded-for": "203.0.113.7"})
        forged = await gate.right(**{"x-forwarded-for": "79.142.17.1, 203.0.113.7"})

    assert result(inside) == "0"
    assert [outside.status_code, forged.status_code] == [403, 403]


async def test_a_protocol_that_is_not_in_the_contract_is_not_spoken(house: House) -> None:
    async with gate_of(house, contract={"osmp": {}}) as gate:
        osmp = await gate.right()
        eps = await gate.http.get(EPS_PATH, auth=(gate.client, gate.secret))
    async with gate_of(house, contract={}) as gate:
        neither = await gate.right()

    assert result(osmp) == "0"
    assert [eps.status_code, neither.status_code] == [403, 403]


async def test_a_gateway_is_no_partner(house: House) -> None:
    async with gate_of(house, kind=Kind.GATEWAY, scopes=()) as gate:
        assert (await gate.right()).status_code == 403


async def test_a_partner_that_may_take_no_payments_is_forbidden_by_the_protocol(house: House) -> None:
    async with gate_of(house, scopes=("readings:write",)) as gate:
        eps = await gate.http.get(EPS_PATH, params={"ACTION": "check"}, auth=(gate.client, gate.secret))

        assert result(await gate.right()) == "7"
        assert result(eps, "CODE") == "7"


async def test_a_body_is_not_read_before_it_is_known_whose_it_is(house: House) -> None:
    async def endless() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with gate_of(house) as gate:
        answer = await gate.http.post(PATH, content=endless())

    assert answer.status_code == 401


@pytest.mark.parametrize("is_slow", [True, False])
async def test_a_fault_of_ours_is_temporary_and_is_told_to_the_operator(
    house: House, is_slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(visitor: Visitor, terms: Terms, given: Mapping[str, str]) -> Element:
        if is_slow:
            await asyncio.Event().wait()
        raise ZeroDivisionError

    def fault(given: Mapping[str, str], why: str | None) -> Element:
        root = Element("response")
        add(root, "result", "1" if why is None else "300")
        return root

    async with gate_of(house) as gate:
        facade = Facade("/partners/broken", "osmp", fault)
        route = facade_route(facade, gate.till, {gate.client: Terms()}, broken, wait_s=0.2)
        transport = httpx.ASGITransport(Starlette(routes=[route]), client=PROXY)
        async with httpx.AsyncClient(transport=transport, base_url="http://bels.test") as http:
            answer = await http.get(facade.path, auth=(gate.client, gate.secret))

    assert result(answer) == "1"
    assert gate.secret not in caplog.text
    assert ("TimeoutError" if is_slow else "ZeroDivisionError") in caplog.text
