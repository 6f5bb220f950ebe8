"""An inspector's round over GraphQL: the list that goes along names nobody, and what comes back is taken once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from bels.access.callers import Caller, Kind, rights_of
from bels.api.schema import SCHEMA
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel
from tests.api.client import Client, Clock, household, months

ONE, TWO = "1000101", "1000102"
INSPECTOR = Caller(Kind.INSPECTOR, "u-insp", rights_of(Kind.INSPECTOR), Channel.INSPECTOR, "inspector:u-insp")
ROUND = """query($accounts: [String!], $prefix: String, $locality: Locality, $after: String, $first: Int) {
  round(accounts: $accounts, prefix: $prefix, locality: $locality, after: $after, first: $first) {
    pageInfo { hasNextPage endCursor }
    edges { node { accountNumber version meter model capacity registers { place register last } lastAt lastKind
      accessRefusals barred inspectionDue nextPeriod } } } }"""
SYNCHRONISE = """mutation($input: SynchroniseRoundInput!) { synchroniseRound(input: $input) { taken refused items {
  key accountNumber state refusal text advice period difference { register kwh } accessRefusals late laterKnown receipt replayed } } }"""


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    """Give an inspector's program over two households, one of which was read in January."""
    client = Client(pool, database, Clock(datetime(2024, 1, 10, 12, tzinfo=MOSCOW)))
    async with client.intake.running(), client.changes.running():
        for account in (ONE, TWO):
            await household(client, account)
        await months(client, {"2024-01": 10_110})
        client.clock.at = datetime(2024, 2, 20, 12, tzinfo=MOSCOW)
        client.caller = INSPECTOR
        yield client


def control(key: str, account: str, value: int, at: str = "2024-02-20T10:00:00+03:00") -> dict[str, Any]:
    """Record a control reading."""
    values = [{"register": "TOTAL", "value": value}]
    return {
        "key": key,
        "account": account,
        "takenAt": at,
        "act": f"акт {key}",
        "control": {"meter": "M1", "values": values},
    }


def refusal(key: str, account: str, at: str) -> dict[str, Any]:
    """Record a refusal of access."""
    return {"key": key, "account": account, "takenAt": at, "act": f"акт {key}", "refusal": {"nobodyHome": True}}


async def bring(client: Client, *items: dict[str, Any], device: str = "tablet-3") -> dict[str, Any]:
    """Bring items in."""
    told: dict[str, Any] = await client.ask(SYNCHRONISE, input={"device": device, "items": list(items)})
    brought: dict[str, Any] = told["synchroniseRound"]
    return brought


async def test_the_list_of_a_round_tells_the_meters_and_nobodys_name(client: Client) -> None:
    told = (await client.ask(ROUND, first=1))["round"]
    rest = (await client.ask(ROUND, after=told["pageInfo"]["endCursor"]))["round"]

    assert told["pageInfo"]["hasNextPage"]
    assert told["edges"][0]["node"] == {
        "accountNumber": ONE,
        "version": told["edges"][0]["node"]["version"],
        "meter": "M1",
        "model": None,
        "capacity": 5,
        "registers": [{"place": "T1", "register": "TOTAL", "last": 10_110}],
        "lastAt": "2024-01-20T10:00:00Z",
        "lastKind": "SENT",
        "accessRefusals": 0,
        "barred": False,
        "inspectionDue": None,
        "nextPeriod": "2024-02",
    }
    assert [edge["node"]["accountNumber"] for edge in rest["edges"]] == [TWO]
    named = (await client.ask(ROUND, accounts=[TWO, "9999999"]))["round"]["edges"]
    assert [edge["node"]["accountNumber"] for edge in named] == [TWO]
    assert (await client.ask(ROUND, prefix="2"))["round"]["edges"] == []
    assert (await client.ask(ROUND, locality="RURAL"))["round"]["edges"] == []
    assert len((await client.ask(ROUND, locality="URBAN", prefix="10001"))["round"]["edges"]) == 2


async def test_a_round_comes_in_once_however_often_it_is_sent(client: Client) -> None:
    items = [
        control("1", ONE, 10_200),
        refusal("2", TWO, "2024-02-18T10:00:00+03:00"),
        refusal("3", TWO, "2024-02-19T10:00:00+03:00"),
    ]

    first = await bring(client, *items)
    again = await bring(client, *items)
    backwards = await bring(client, *reversed(items))

    assert (first["taken"], first["refused"]) == (3, 0)
    assert first["items"][0]["difference"] == [{"register": "TOTAL", "kwh": 90}]
    assert [item["accessRefusals"] for item in first["items"]] == [None, 1, 2]
    assert again["items"] == [{**item, "replayed": True} for item in first["items"]]
    assert backwards["items"] == list(reversed(again["items"]))
    barred = (await client.ask(ROUND, accounts=[TWO]))["round"]["edges"][0]["node"]
    assert (barred["accessRefusals"], barred["barred"]) == (2, True)


async def test_a_conflict_is_answered_beside_its_row_with_what_to_do(client: Client) -> None:
    foreign = control("1", ONE, 10_200)
    foreign["control"]["meter"] = "M9"

    told = await bring(
        client,
        foreign,
        control("2", ONE, 10_150, "2024-01-21T10:00:00+03:00"),
        control("3", ONE, 10_200, "2024-02-20T18:00:00+03:00"),
        control("4", "9999999", 1),
    )

    assert [item["state"] for item in told["items"]] == ["REFUSED", "TAKEN", "TRY_AGAIN", "REFUSED"]
    assert [item["refusal"] for item in told["items"]] == ["FOREIGN_METER", None, "TAKEN_IN_FUTURE", "UNKNOWN_ACCOUNT"]
    assert (told["items"][1]["late"], told["items"][1]["period"]) == (True, "2024-01")
    assert all(item["advice"] for item in told["items"])
    assert (told["taken"], told["refused"]) == (1, 3)


@pytest.mark.parametrize(
    "given",
    [
        {"device": "tablet-3", "items": []},
        {"device": " ", "items": [control("1", ONE, 1)]},
        {"device": "tablet-3", "items": [{**control("1", ONE, 1), "refusal": {}}]},
        {"device": "tablet-3", "items": [{**control("1", ONE, 1), "control": None}]},
        {"device": "tablet-3", "items": [{**control("1", ONE, 1), "key": ""}]},
        {"device": "tablet-3", "items": [{**control("1", ONE, 1), "act": "x" * 101}]},
        {"device": "tablet-3", "items": [control(str(n), ONE, 1) for n in range(201)]},
    ],
)
async def test_what_no_device_of_ours_sends_is_refused_whole(client: Client, given: dict[str, Any]) -> None:
    result = await SCHEMA.execute(SYNCHRONISE, {"input": given}, await client.context_of(client.caller))

    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"
    assert await client.pool.fetchval("SELECT count(*) FROM message WHERE actor = 'inspector:u-insp'") == 0


@pytest.mark.parametrize("given", [{"accounts": ["1"] * 501}, {"prefix": "1%"}, {"prefix": "12345678"}, {"first": 101}])
async def test_what_cannot_be_listed_is_refused(client: Client, given: dict[str, Any]) -> None:
    result = await SCHEMA.execute(ROUND, given, await client.context_of(client.caller))

    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"
