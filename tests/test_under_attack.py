"""The API under attack, at a real server process: whatever comes is answered with a code, and honest people are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from bels.settings import Settings
from bench import ours, traffic
from bench.callers import Callers, add_callers, token_of
from bench.hostile import Hostile, hostile
from bench.servers import free_port, server
from tests.conftest import new_supplier

ACCOUNTS = 4
HOSTILE = hostile()
FLOOD = 600
"""More requests than the budget of somebody without a token has points."""

RETRIES_MAX = 20
LONGEST_WAIT_S = 60

REFUSED = {400, 401, 403, 413, 429}
FOR_ANYBODY = {"RATE_LIMITED", "UNAUTHENTICATED", "FORBIDDEN"}
ME = "{ me { __typename } }"


@pytest.fixture(scope="module")
def served(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Callers]]:
    """Serve a small supplier that opens to nobody without a token; give its port, and who may come."""
    folder = tmp_path_factory.mktemp("attacked")
    database = new_supplier(postgres, template, "bels_test_under_attack")
    settings = Settings(database_url=database, data_dir=folder)
    ours.seed(settings, traffic.households(ACCOUNTS))
    callers = add_callers(settings, ACCOUNTS)
    port = free_port()
    more = {"BELS_DATABASE_URL": database, "BELS_DATA_DIR": str(folder)}
    with server(ours.serve(port, local=False), port, more):
        yield port, callers


@pytest.fixture
async def client(served: tuple[int, Callers]) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"accept": "application/graphql-response+json", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served[0]}", headers=headers, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def partner(served: tuple[int, Callers]) -> dict[str, str]:
    port, callers = served
    return {"authorization": f"Bearer {token_of(port, callers.partner)}"}


@pytest.fixture(scope="module")
def gateway(served: tuple[int, Callers]) -> dict[str, str]:
    port, callers = served
    return {"authorization": f"Bearer {token_of(port, callers.gateway)}"}


def codes(response: httpx.Response) -> list[str]:
    """Give the codes of an answer's errors; each must have one, and the id of the request."""
    errors = response.json().get("errors", [])
    assert all(error["extensions"]["requestId"] == response.headers["x-request-id"] for error in errors)
    return [error["extensions"]["code"] for error in errors]


async def sent(client: httpx.AsyncClient, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send a body, again after the wait that a spent budget names."""
    for _ in range(RETRIES_MAX):
        response = await client.post("/graphql", content=body, headers=headers)
        if response.status_code != 429:
            return response
        wait_s = int(response.headers["retry-after"])
        assert 1 <= wait_s <= LONGEST_WAIT_S
        await asyncio.sleep(wait_s)
    raise AssertionError("the budget never comes back")


_keys = iter(range(10**6))


async def is_served(client: httpx.AsyncClient, gateway: dict[str, str]) -> bool:
    """Say whether an honest reading is taken; what a gateway brings in place of an earlier one is held until confirmed."""
    key = next(_keys)
    values = [{"register": "TOTAL", "value": str(traffic.INITIAL_VALUE + key + 1)}]
    given: dict[str, Any] = {"account": str(traffic.FIRST_ACCOUNT), "idempotencyKey": f"honest {key}", "values": values}
    body = {"query": traffic.SUBMIT_READING, "variables": {"input": given}}
    answer = (await client.post("/graphql", json=body, headers=gateway)).json()
    return "errors" not in answer and answer["data"]["submitReading"]["__typename"] in (
        "ReadingAccepted",
        "ReadingHeld",
    )


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda each: f"{each.kind}: {each.name}")
async def test_a_partner_that_sends_it_is_told_what_is_wrong_with_it(
    client: httpx.AsyncClient, partner: dict[str, str], gateway: dict[str, str], attack: Hostile
) -> None:
    response = await sent(client, attack.body, partner)

    told = codes(response)
    assert response.status_code in (REFUSED if told else {200})
    assert (told or [""])[0] in attack.codes
    assert await is_served(client, gateway)


async def test_nobody_sends_them_all_and_each_is_refused_with_a_code(
    client: httpx.AsyncClient, gateway: dict[str, str]
) -> None:
    for attack in HOSTILE:
        response = await client.post("/graphql", content=attack.body)
        told = codes(response)
        assert response.status_code in REFUSED, (attack.name, response.text[:200])
        assert {*told} <= {*attack.codes, *FOR_ANYBODY}, attack.name
        assert told, attack.name
    assert await is_served(client, gateway)


async def test_a_flood_is_told_to_wait_and_is_served_after_the_wait(
    client: httpx.AsyncClient, gateway: dict[str, str]
) -> None:
    body = {"query": ME}
    response = await client.post("/graphql", json=body)
    for _ in range(FLOOD):
        if response.status_code != 200:
            break
        response = await client.post("/graphql", json=body)

    assert (response.status_code, codes(response)) == (429, ["RATE_LIMITED"])
    wait_s = int(response.headers["retry-after"])
    assert response.json()["errors"][0]["extensions"]["retryAfter"] == wait_s
    assert '"anonymous";r=' in response.headers["ratelimit"]
    assert await is_served(client, gateway)

    await asyncio.sleep(wait_s)
    assert (await client.post("/graphql", json=body)).status_code == 200


async def test_a_flood_of_wrong_tokens_is_401_and_others_are_served(
    client: httpx.AsyncClient, gateway: dict[str, str]
) -> None:
    for n in range(100):
        response = await client.post("/graphql", json={"query": ME}, headers={"authorization": f"Bearer a.b{n}.c"})
        assert (response.status_code, codes(response)) == (401, ["UNAUTHENTICATED"])
    assert await is_served(client, gateway)
