"""Nonsense for every root field: the server never fails, and every error has a code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphql
import httpx
import pytest

from tests.conftest import new_supplier
from tests.peers.graphql import HERE, SCHEMA, need_python, python, told
from tests.servers import SUBMIT, ask, open_household, serving

pytestmark = pytest.mark.peer

NAME = "bels_test_graphql_fuzz"
ACCOUNT = "1000101"
OPENED = "2026-01-10T09:00:00Z"
KNOWN = "query($number: String!) { account(number: $number) { id readings { edges { cursor node { id } } } } }"
CASES = 8
CASES_OF_A_SOAK = 200
WAIT_S = 300.0
SOAK_WAIT_S = 3600.0


@pytest.fixture(scope="module")
def url(postgres: str, template: str) -> Iterator[str]:
    """Serve a supplier that may be asked anything."""
    need_python("clients")

    with serving({"BELS_DATABASE_URL": new_supplier(postgres, template, NAME)}) as servers:
        yield servers[0].url


async def _known(url: str) -> dict[str, list[Any]]:
    """Open a household, and give what exists then by the names of arguments and input fields; and pages that may be."""
    async with httpx.AsyncClient(timeout=30) as client:
        await open_household(client, url, ACCOUNT, {"TOTAL": 10200}, OPENED)
        given = {"account": ACCOUNT, "idempotencyKey": "1", "values": [{"register": "TOTAL", "value": "10300"}]}
        receipt = (await ask(client, url, SUBMIT, input=given))["submitReading"]["receipt"]
        account = (await ask(client, url, KNOWN, number=ACCOUNT))["account"]
    ids = [account["id"], *(edge["node"]["id"] for edge in account["readings"]["edges"])]
    cursors = [None, *(edge["cursor"] for edge in account["readings"]["edges"])]
    return {
        "account": [ACCOUNT],
        "accountNumber": [ACCOUNT],
        "to": [ACCOUNT],
        "number": [ACCOUNT, receipt],
        "receipt": [receipt],
        "id": ids,
        "ids": ids,
        "first": [1, 3, 100],
        "last": [None],
        "after": cursors,
        "before": cursors,
    }


def _fields() -> set[str]:
    """Name every root field of the schema."""
    schema = graphql.build_schema(SCHEMA.read_text("utf-8"))
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    return {f"{root.name}.{field}" for root in roots if root is not None for field in root.fields}


def _fuzz(url: str, cases: int, wait_s: float, folder: Path) -> None:
    known = json.dumps(asyncio.run(_known(url)))
    # What hypothesis keeps is kept in the folder it is started from.
    found = told(
        python("clients"), str(HERE / "fuzz.py"), f"{url}/graphql", str(cases), known, wait_s=wait_s, cwd=folder
    )
    failures = [f"{field}: {failure}" for field, one in found.items() for failure in one["failures"]]
    assert not failures, "\n\n".join(failures)
    assert set(found) == _fields()
    # Nonsense that is all refused before it is executed would prove little.
    assert [field for field, one in found.items() if not one["executed"]] == []
    assert httpx.get(f"{url}/health").status_code == 200


def test_nonsense_for_any_root_field_is_answered_with_a_code(url: str, tmp_path: Path) -> None:
    _fuzz(url, CASES, WAIT_S, tmp_path)


@pytest.mark.soak
def test_much_nonsense_for_any_root_field_is_answered_with_a_code(url: str, tmp_path: Path) -> None:
    _fuzz(url, CASES_OF_A_SOAK, SOAK_WAIT_S, tmp_path)
