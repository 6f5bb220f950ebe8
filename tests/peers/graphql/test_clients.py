"""Every client goes the same journey: it asks for a household, turns the pages of its readings, watches it and submits one."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import new_supplier
from tests.peers.graphql import HERE, need_npm, need_python, python, run, told, tool, workplace
from tests.servers import SUBMIT, ask, open_household, serving

pytestmark = pytest.mark.peer

NAME = "bels_test_graphql_clients"
OF_NPM = ("apollo", "graphql-sse", "graphql-ws", "relay", "typed", "urql", "urql-ws")
OF_PYPI = ("ariadne", "gql-http", "gql-ws")
ACCOUNTS = {name: f"10001{number:02d}" for number, name in enumerate(OF_NPM + OF_PYPI)}
PAGES = [[10200, 10210], [10220, 10230], [10240]]
VALUE = 10385
OPENED = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
"""Three days ago: a household can use two hundred kWh since then."""

TYPES = """
from datetime import datetime
from decimal import Decimal
from typing import assert_type
from bels_client import HouseholdAccount, ReadingsAccountReadingsEdgesNode

def judge(account: HouseholdAccount, reading: ReadingsAccountReadingsEdgesNode) -> None:
    assert_type(account.balance.balance, Decimal)
    assert_type(account.opened_at, datetime | None)
    assert_type(reading.received_at, datetime)
"""
"""What mypy must find in the client that ariadne-codegen makes."""


@pytest.fixture(scope="module")
def graphql(postgres: str, template: str) -> Iterator[str]:
    """Serve a supplier with one household a client; give the address of its GraphQL."""
    with serving({"BELS_DATABASE_URL": new_supplier(postgres, template, NAME)}) as servers:
        asyncio.run(_households(servers[0].url, *ACCOUNTS.values()))
        yield f"{servers[0].url}/graphql"


async def _households(url: str, *accounts: str) -> None:
    [_, *submitted] = [value for page in PAGES for value in page]
    async with httpx.AsyncClient(timeout=30) as client:
        for account in accounts:
            await open_household(client, url, account, {"TOTAL": PAGES[0][0]}, OPENED)
            for value in submitted:
                values = [{"register": "TOTAL", "value": str(value)}]
                given = {"account": account, "idempotencyKey": f"{account} {value}", "values": values}
                taken = await ask(client, url, SUBMIT, input=given)
                assert taken["submitReading"]["__typename"] == "ReadingAccepted"


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the questions of relay/journey.js with relay-compiler."""
    need_npm()
    folder = workplace(tmp_path_factory.mktemp("relay"), "relay", {"persisted.json": "{}"})
    (folder / "artifacts").mkdir()
    run(tool("relay-compiler"), "relay.config.json", cwd=folder)
    return folder / "artifacts"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make types with graphql-codegen's client preset, and build the front end of typed/typed.ts with them."""
    need_npm()
    folder = workplace(tmp_path_factory.mktemp("typed"), "typed", {"package.json": '{"type": "module"}'})
    run(tool("graphql-codegen"), "--config", "codegen.json", cwd=folder)
    run(tool("tsc"), "--project", ".", cwd=folder)
    return folder / "built" / "typed.js"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Python client with ariadne-codegen, and judge it and the journey that uses it with mypy."""
    need_python("codegen")
    folder = workplace(tmp_path_factory.mktemp("ariadne"), "ariadne", {"types_of_client.py": TYPES})
    run(python("codegen", "ariadne-codegen"), cwd=folder)
    run(python("codegen"), "-m", "mypy", "--no-error-summary", ".", cwd=folder)
    return folder


def test_the_public_audits_of_graphql_over_http_are_all_passed(graphql: str) -> None:
    need_npm()

    verdicts = told("node", "audits.mjs", graphql)
    assert [verdict for verdict in verdicts if verdict["status"] != "ok"] == []
    assert Counter(verdict["level"] for verdict in verdicts) == {"MUST": 13, "SHOULD": 23, "MAY": 25}


@pytest.mark.parametrize("client", ["apollo", "graphql-sse", "graphql-ws", "urql", "urql-ws"])
def test_a_client_of_npm_goes_the_journey(client: str, graphql: str) -> None:
    need_npm()

    _check(client, told("node", "journey.mjs", client, graphql, ACCOUNTS[client], str(VALUE)))


def test_relay_compiles_our_schema_and_goes_the_journey(graphql: str, artifacts: Path) -> None:
    arguments = ("relay", graphql, ACCOUNTS["relay"], str(VALUE))
    _check("relay", told("node", "journey.mjs", *arguments, RELAY_ARTIFACTS=str(artifacts)))


def test_a_typed_front_end_has_no_any_and_goes_the_journey(graphql: str, built: Path) -> None:
    arguments = ("typed", graphql, ACCOUNTS["typed"], str(VALUE))
    _check("typed", told("node", "journey.mjs", *arguments, TYPED_CLIENT=str(built)))


def test_the_manifests_of_both_compilers_are_trusted_documents(
    postgres: str, template: str, artifacts: Path, built: Path, tmp_path: Path
) -> None:
    of_relay = json.loads((artifacts.parent / "persisted.json").read_text("utf-8"))
    of_codegen = json.loads((built.parents[1] / "made" / "persisted-documents.json").read_text("utf-8"))
    manifest = tmp_path / "documents.json"
    manifest.write_text(json.dumps(of_relay | of_codegen), "utf-8")
    [household] = [name for name, text in of_codegen.items() if text.startswith("query Household")]
    account = ACCOUNTS["relay"]

    environment = {
        "BELS_DATABASE_URL": new_supplier(postgres, template, f"{NAME}_trusted"),
        "BELS_DOCUMENTS": str(manifest),
    }
    with serving(environment) as servers:
        url = f"{servers[0].url}/graphql"
        asyncio.run(_households(servers[0].url, account))
        arguments = ("relay", url, account, str(VALUE))
        _check("relay", told("node", "journey.mjs", *arguments, RELAY_ARTIFACTS=str(artifacts), BY_ID="yes"))

        answer = httpx.post(url, json={"documentId": household, "variables": {"number": account}}, timeout=30)
        assert answer.json()["data"]["account"]["number"] == account
        unknown = httpx.post(url, json={"documentId": f"sha256:{'0' * 64}"}, timeout=30)
        assert unknown.json()["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize("client", ["gql-http", "gql-ws"])
def test_gql_goes_the_journey(client: str, graphql: str) -> None:
    need_python("clients")

    arguments = (client, graphql, ACCOUNTS[client], str(VALUE))
    _check(client, told(python("clients"), str(HERE / "gql_journey.py"), *arguments))


def test_the_client_of_ariadne_codegen_is_typed_and_goes_the_journey(graphql: str, made: Path) -> None:
    arguments = ("ariadne", graphql, ACCOUNTS["ariadne"], str(VALUE))
    _check("ariadne", told(python("codegen"), str(made / "ariadne_journey.py"), *arguments))


def _check(client: str, journey: dict[str, Any]) -> None:
    """Check what a client was told, every value of it."""
    account = ACCOUNTS[client]
    global_id = b64encode(f"Account:{account}".encode()).decode().rstrip("=")
    assert journey["submitted"]["submitReading"]["__typename"] == "ReadingAccepted"
    journey = _without_type_names(journey)

    assert journey["household"]["account"] == {
        "id": global_id,
        "number": account,
        "open": True,
        "openedAt": OPENED,
        "balance": {"balance": "0.00", "overdue": "0.00"},
        "meter": {"number": f"M{account}", "capacity": 5, "registers": ["TOTAL"]},
    }

    nodes = [node for page in journey["pages"] for node in page]
    assert [[node["values"] for node in page] for page in journey["pages"]] == [
        [[{"register": "TOTAL", "value": value}] for value in page] for page in PAGES
    ]
    # The first one came with the meter; of the others, which are all of one period, the last one counts.
    assert [node["status"] for node in nodes] == ["ACCEPTED", "SUPERSEDED", "SUPERSEDED", "SUPERSEDED", "ACCEPTED"]
    assert [node["entry"] for node in nodes] == sorted(node["entry"] for node in nodes)
    assert len({node["id"] for node in nodes}) == len(nodes)

    submitted = journey["submitted"]["submitReading"]
    used = [{"register": "TOTAL", "kwh": VALUE - PAGES[0][0]}]
    assert submitted == {"receipt": submitted["receipt"], "replayed": False, "consumption": used}
    assert journey["again"]["submitReading"] == {**submitted, "replayed": True}

    [before, after] = [event["accountChanged"] for event in journey["events"]]
    assert before["account"] == {"id": global_id, "number": account, "version": before["account"]["version"]}
    assert before["entries"] == []
    assert [entry["kind"] for entry in after["entries"]] == ["ReadingAccepted", "ReadingSuperseded"]
    assert after["account"] == {**before["account"], "version": before["account"]["version"] + len(after["entries"])}


def _without_type_names(answer: Any) -> Any:
    """Leave out the names of types, which some clients add to what was asked."""
    if isinstance(answer, dict):
        return {name: _without_type_names(value) for name, value in answer.items() if name != "__typename"}
    return [_without_type_names(each) for each in answer] if isinstance(answer, list) else answer
