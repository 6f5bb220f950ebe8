"""Two servers of bels behind the real proxy: subscriptions come through, and both are restarted under load without one failure."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import pytest
import websockets

from tests.command import bels, environment
from tests.conftest import new_supplier
from tests.deploy.proxy import ANSWER_WAIT_S, PARTNERS, PEOPLE, Identity, Proxy, identity, need_nginx, proxy
from tests.servers import ROOT, SUBMIT, Server, open_household, serving, start

pytestmark = pytest.mark.peer

ACCOUNTS = [f"10000{number:02d}" for number in range(8)]
SETTLE_S = 1.0
PAUSE_S = 0.02
GRANT = {"grant_type": "client_credentials"}
WAIT_READY = ROOT / "deploy" / "jobs" / "wait_ready.py"

QUERY = "query($n: String!) { account(number: $n) { submission { may period } } }"
CHANGED = "subscription($n: String!) { receiptChanged(number: $n) { state } }"
CONFIRM = "mutation($r: String!, $k: ID!) { confirmReading(input: {receipt: $r, idempotencyKey: $k}) { __typename } }"


@dataclass(slots=True)
class Town:
    """A small supplier: two servers, what they run with, the proxy before them."""

    servers: list[Server]
    environment: dict[str, str]
    front: Proxy


@pytest.fixture(scope="module")
def town(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Serve a small supplier behind nginx."""
    need_nginx()
    given = {
        "BELS_DATABASE_URL": new_supplier(postgres, template, "bels_test_nginx"),
        "BELS_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "BELS_TRUSTED_PROXIES": "127.0.0.1",
        "BELS_DRAIN_S": "1",
    }
    with serving(given, count=2) as servers:
        asyncio.run(_households(servers[0].url))
        first, second = (urlsplit(server.url).netloc for server in servers)
        with proxy(tmp_path_factory.mktemp("nginx") / "it", first, second) as front:
            yield Town(servers, given, front)


@pytest.fixture(scope="module")
def partner(town: Town) -> tuple[str, str]:
    """Add a partner that may send readings; give its name and secret."""
    return added(town, "partner", "A bank", "--scope", "readings:write")


@pytest.fixture(scope="module")
def credential(town: Town, partner: tuple[str, str]) -> dict[str, str]:
    """Give the headers by which a partner beyond the proxy may send readings and follow their receipts."""
    with town.front.client() as client:
        answer = client.post(**town.front.to("/oauth/token", PARTNERS), data=GRANT, auth=partner)
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def added(town: Town, *arguments: str) -> tuple[str, str]:
    """Add a client at the command line; give its name and its secret."""
    said = bels("client", "add", *arguments, env=environment() | town.environment)
    assert said.returncode == 0, said.stderr
    name = re.search(r"c-[a-z2-7]+", said.stderr)
    assert name is not None
    return name[0], said.stdout.strip()


async def _households(url: str) -> None:
    at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    async with httpx.AsyncClient(timeout=ANSWER_WAIT_S) as client:
        for account in ACCOUNTS:
            await open_household(client, url, account, {"TOTAL": 10200}, at)


@pytest.fixture
async def client(town: Town, credential: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        verify=town.front.context(), timeout=ANSWER_WAIT_S, headers=credential, limits=httpx.Limits(max_connections=50)
    ) as made:
        yield made


def reading(account: str, key: str, value: int) -> dict[str, object]:
    """Give the body of a mutation that submits a reading."""
    given = {"account": account, "idempotencyKey": key, "values": [{"register": "TOTAL", "value": str(value)}]}
    return {"query": SUBMIT, "variables": {"input": given}}


async def held(town: Town, client: httpx.AsyncClient, account: str) -> str:
    """Send a reading that nobody believes; give the receipt of what waits for its confirmation."""
    answer = await client.post(**town.front.to("/graphql"), json=reading(account, f"held {account}", 60200))
    said = answer.json()["data"]["submitReading"]
    assert said["__typename"] == "ReadingHeld", said
    return str(said["receipt"])


async def confirm(town: Town, client: httpx.AsyncClient, receipt: str) -> None:
    """Confirm it."""
    body = {"query": CONFIRM, "variables": {"r": receipt, "k": f"confirm {receipt}"}}
    answer = await client.post(**town.front.to("/graphql"), json=body)
    assert "errors" not in answer.json(), answer.text


async def test_a_reading_comes_through_with_a_token_and_not_without(town: Town, client: httpx.AsyncClient) -> None:
    front = town.front
    answer = await client.post(**front.to("/graphql"), json=reading(ACCOUNTS[0], "first", 10201))
    assert answer.json()["data"]["submitReading"]["__typename"] == "ReadingAccepted"
    assert answer.headers["strict-transport-security"]

    # The servers run with --local: whoever comes through the proxy is no local for that, whatever name it calls.
    for name in (PEOPLE, PARTNERS):
        with front.client() as stranger:
            answer = stranger.post(**front.to("/graphql", name), json=reading(ACCOUNTS[0], f"stranger {name}", 10202))
            assert "errors" in answer.json(), answer.text
            fault = answer.json()["errors"][0]["extensions"]
            assert fault["code"] in ("UNAUTHENTICATED", "FORBIDDEN")
            assert fault["requestId"] == answer.headers["x-request-id"]
            assert stranger.get(**front.to("/metrics", name)).status_code == 404
            assert stranger.get(**front.to("/health/ready", name)).status_code == 404


def test_a_partner_with_a_certificate_gets_a_token_only_by_showing_it(town: Town, tmp_path: Path) -> None:
    front, its = town.front, identity(tmp_path / "its", "bank.example")
    another = identity(tmp_path / "another", "bank.example")
    bound = added(town, "partner", "A careful bank", "--scope", "readings:write", "--certificate", its.thumbprint)

    def asked(shown: Identity | None, name: str = PARTNERS, **forged: str) -> httpx.Response:
        with front.client(shown) as client:
            return client.post(**front.to("/oauth/token", name, **forged), data=GRANT, auth=bound)

    assert asked(its).status_code == 200
    forged = quote(its.certificate.read_text())
    for refused in (
        asked(None),
        asked(another),
        asked(its, PEOPLE),
        asked(None, x_ssl_client_cert=forged),
        asked(None, PEOPLE, x_ssl_client_cert=forged),
    ):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("origin", [True, False])
async def test_a_subscription_by_websocket_comes_through(
    town: Town, client: httpx.AsyncClient, credential: dict[str, str], origin: bool
) -> None:
    front = town.front
    receipt = await held(town, client, ACCOUNTS[1 + origin])
    async with websockets.connect(
        f"wss://{PEOPLE}:{front.https}/graphql",
        host="127.0.0.1",
        port=front.https,
        ssl=front.context(),
        server_hostname=PEOPLE,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        origin=websockets.Origin(f"https://{PEOPLE}:{front.https}") if origin else None,
        additional_headers=credential,
    ) as socket:

        async def heard() -> dict[str, Any]:
            async with asyncio.timeout(ANSWER_WAIT_S):
                said: dict[str, Any] = json.loads(await socket.recv())
                return said

        await socket.send(json.dumps({"type": "connection_init"}))
        assert (await heard())["type"] == "connection_ack"
        asked = {"query": CHANGED, "variables": {"n": receipt}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asked}))
        assert (await heard())["payload"]["data"] == {"receiptChanged": {"state": "HELD"}}
        await confirm(town, client, receipt)
        assert (await heard())["payload"]["data"]["receiptChanged"]["state"] != "HELD"


async def test_a_subscription_by_server_sent_events_comes_through_as_it_happens(
    town: Town, client: httpx.AsyncClient
) -> None:
    receipt = await held(town, client, ACCOUNTS[3])
    asked = town.front.to("/graphql", accept="text/event-stream")
    body = {"query": CHANGED, "variables": {"n": receipt}}
    async with asyncio.timeout(ANSWER_WAIT_S), client.stream("POST", **asked, json=body) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        states = []
        async for line in stream.aiter_lines():
            if not line.startswith("data:") or not line.removeprefix("data:").strip():
                continue
            states.append(json.loads(line.removeprefix("data:"))["data"]["receiptChanged"]["state"])
            if len(states) == 2:
                break
            # The first event is here while the answer goes on: nothing on the way waits for its end.
            await confirm(town, client, receipt)
    assert states[0] == "HELD" != states[1]


@dataclass(slots=True)
class Load:
    """What a steady load met: keys of readings that were acknowledged, and everything that went wrong."""

    acknowledged: list[str] = field(default_factory=list)
    answered: int = 0
    failures: list[str] = field(default_factory=list)


async def _ask_on(town: Town, client: httpx.AsyncClient, account: str, load: Load, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        key = f"rolling {account} {number}"
        body = reading(account, key, 10300 + number) if number % 2 else {"query": QUERY, "variables": {"n": account}}
        try:
            answer = await client.post(**town.front.to("/graphql", PARTNERS), json=body)
        except httpx.HTTPError as error:
            load.failures.append(repr(error))
            continue
        said: dict[str, Any] = answer.json() if answer.status_code == 200 else {"errors": answer.text}
        if "errors" in said:
            load.failures.append(f"{answer.status_code} {said['errors']}")
        elif number % 2:
            assert said["data"]["submitReading"]["__typename"] in ("ReadingAccepted", "ReadingHeld")
            load.acknowledged.append(key)
        load.answered += 1
        await asyncio.sleep(PAUSE_S)


def _restart(town: Town, place: int) -> None:
    """Restart one server as systemd does: SIGTERM, start, and wait until it is ready and the proxy knows it."""
    before = town.servers[place]
    before.process.terminate()
    assert before.process.wait(30) == 0
    port = urlsplit(before.url).port
    town.servers[place] = start(town.environment, port)
    subprocess.run([sys.executable, WAIT_READY, str(port)], check=True, timeout=60)


async def test_both_servers_are_restarted_under_load_and_no_request_fails(
    town: Town, client: httpx.AsyncClient, partner: tuple[str, str]
) -> None:
    load, stop = Load(), asyncio.Event()
    before = len(town.front.said())
    asking = [asyncio.create_task(_ask_on(town, client, account, load, stop)) for account in ACCOUNTS]
    await asyncio.sleep(SETTLE_S)
    for place in range(2):
        await asyncio.to_thread(_restart, town, place)
    await asyncio.sleep(SETTLE_S)
    stop.set()
    await asyncio.gather(*asking)

    assert load.failures == []
    assert load.answered > 100
    db = await asyncpg.connect(town.environment["BELS_DATABASE_URL"])
    try:
        # A message is named by who sent it and by its key: none was lost, and none was stored twice.
        names = [f"{partner[0]}/{key}" for key in load.acknowledged]
        stored = await db.fetchval("SELECT count(*) FROM message WHERE message_id = ANY($1::text[])", names)
    finally:
        await db.close()
    assert stored == len(load.acknowledged)
    said = town.front.said()[before:]
    assert {line["status"] for line in said} == {200}
    # Requests did meet the server that was away, and were answered by the other one.
    assert any(line["upstream_status"].endswith(", 200") for line in said)
