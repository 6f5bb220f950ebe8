"""The schema as other programs meet it: the file that is published, and every question against a real supplier."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType

from bels.api.schema import SCHEMA, sdl
from bels.domain.periods import MOSCOW
from tests.api.client import Client, household, months

FILE = Path(__file__).parents[2] / "src" / "bels" / "api" / "schema.graphql"


def test_the_schema_file_is_the_schema() -> None:
    assert FILE.read_text("utf-8") == sdl(), "the schema has changed: run `make schema` and look at the difference"


def test_every_type_field_argument_and_value_is_described() -> None:
    silent = []
    for name, kind in SCHEMA._schema.type_map.items():
        if name.startswith("__") or name in ("String", "Int", "Boolean", "ID", "Float"):
            continue
        if not kind.description:
            silent.append(name)
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in kind.fields.items():
                if not field.description:
                    silent.append(f"{name}.{field_name}")
                for argument, described in getattr(field, "args", {}).items():
                    if not described.description:
                        silent.append(f"{name}.{field_name}({argument})")
        if isinstance(kind, GraphQLEnumType):
            silent += [f"{name}.{value}" for value, described in kind.values.items() if not described.description]
    assert silent == []


USAGE = """{ account(number: "1000101") { usage(first: 50) { edges { node {
  period mode quality missedInARow usage { register kwh } stands { kwh } lines { rule }
  average { periods kwh { kwh } } norm { kwh } recalculations { period reason rule before { kwh } after { kwh } } } } } } }"""


async def test_a_reading_after_a_missed_month_puts_it_right(client: Client) -> None:
    await household(client)
    await months(
        client,
        {"2024-01": None, "2024-02": 10100, "2024-03": 10220, "2024-04": 10330, "2024-05": None, "2024-06": 10570},
    )

    nodes = [e["node"] for e in (await client.ask(USAGE))["account"]["usage"]["edges"]]
    may, june = nodes[4], nodes[5]
    assert (may["mode"], may["quality"], may["missedInARow"]) == ("AVERAGE", "AVERAGE", 1)
    assert may["usage"] == [{"register": "TOTAL", "kwh": 110}]
    assert may["average"] == {"periods": 3, "kwh": [{"kwh": 110}]}
    assert june["recalculations"] == [
        {
            "period": "2024-05",
            "reason": "SETTLEMENT",
            "rule": "policy:REDISTRIBUTE",
            "before": [{"kwh": 110}],
            "after": [{"kwh": 122}],
        }
    ]
    assert may["stands"] == [{"kwh": 122}]
    assert june["usage"] == [{"register": "TOTAL", "kwh": 118}]


async def test_a_preview_says_what_the_closing_then_posts_and_stores_nothing(client: Client) -> None:
    await household(client)
    await months(client, {"2024-01": None, "2024-02": 10100, "2024-03": 10220, "2024-04": 10330, "2024-05": None})
    client.clock.at = datetime(2024, 6, 20, 12, tzinfo=MOSCOW)
    preview = """{ previewReading(input: {account: "1000101", values: [{register: TOTAL, value: "10570"}]}) {
      ... on ReadingPreview { period held mode usage { kwh } recalculations { period before { kwh } after { kwh } } } } }"""

    told = (await client.ask(preview))["previewReading"]
    versions = (await client.ask('{ account(number: "1000101") { version } }'))["account"]
    assert (await client.ask('{ account(number: "1000101") { version } }'))["account"] == versions

    await months(client, {"2024-06": 10570})
    june = (await client.ask(USAGE))["account"]["usage"]["edges"][-1]["node"]
    assert (told["period"], told["mode"], told["held"]) == ("2024-06", june["mode"], None)
    assert told["usage"] == [{"kwh": line["kwh"]} for line in june["usage"]]
    posted = [{k: r[k] for k in ("period", "before", "after")} for r in june["recalculations"]]
    assert told["recalculations"] == posted


async def test_a_receipt_tells_its_message_to_the_end(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 21, tzinfo=MOSCOW)
    values = [{"register": "TOTAL", "value": "10050"}]
    first = await client.do("submitReading", account="1000101", values=values)
    client.clock.at = datetime(2024, 1, 22, tzinfo=MOSCOW)
    second = await client.do("submitReading", account="1000101", values=[{"register": "TOTAL", "value": "10060"}])

    async def state(receipt: str) -> dict[str, Any]:
        query = "query($n: String!) { receipt(number: $n) { state text countedIn accountNumber reading { entry } } }"
        told: dict[str, Any] = (await client.ask(query, n=receipt.lower()))["receipt"]
        return told

    assert (await state(first["receipt"]))["state"] == "SUPERSEDED"
    assert (await state(second["receipt"]))["state"] == "ACCEPTED"
    await months(client, {"2024-01": None})
    counted = await state(second["receipt"])
    assert (counted["state"], counted["countedIn"], counted["accountNumber"]) == ("COUNTED", "2024-01", "1000101")
    assert "2024-01" in counted["text"]
    assert (await client.ask('{ receipt(number: "ZZZZZZZZ") { state } }'))["receipt"] is None


async def test_a_held_reading_waits_in_the_queue_until_it_is_decided(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 21, tzinfo=MOSCOW)
    held = await client.do("submitReading", account="1000101", values=[{"register": "TOTAL", "value": "9000"}])
    assert (held["__typename"], held["reason"]) == ("ReadingHeld", "LESS_THAN_PREVIOUS")
    queue = "{ heldReadings { edges { node { receipt hold } } } }"
    assert [e["node"]["receipt"] for e in (await client.ask(queue))["heldReadings"]["edges"]] == [held["receipt"]]

    refused = await client.do("confirmReading", receipt=held["receipt"])
    assert refused["code"] == "OPERATOR_ONLY"
    unsaid = await client.do("decideReading", receipt=held["receipt"], note="звонок")
    assert unsaid["code"] == "MEANING_REQUIRED"
    done = await client.do("decideReading", receipt=held["receipt"], note="звонок", meaning="PREVIOUS_WRONG")
    assert [e["kind"] for e in done["entries"]] == ["ReadingConfirmed", "ReadingDisproved"]
    assert (await client.ask(queue))["heldReadings"]["edges"] == []
    unknown = await client.do("rejectReading", receipt="ZZZZZZZZ", note="нет такого")
    assert (unknown["code"], unknown["path"]) == ("UNKNOWN_READING", ["input", "receipt"])


async def test_pages_go_both_ways_and_ids_lead_back(client: Client) -> None:
    await household(client)
    await months(client, {"2024-01": None, "2024-02": 10100, "2024-03": 10220})
    page = """query($first: Int, $after: String, $last: Int, $before: String) { account(number: "1000101") {
      audit(first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { id entry } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""
    entries: list[int] = []
    after = None
    while True:
        told = (await client.ask(page, first=3, after=after))["account"]["audit"]
        entries += [e["node"]["entry"] for e in told["edges"]]
        after = told["pageInfo"]["endCursor"]
        if not told["pageInfo"]["hasNextPage"]:
            break
    assert entries == list(range(1, len(entries) + 1))
    last = (await client.ask(page, last=2))["account"]["audit"]
    assert [e["node"]["entry"] for e in last["edges"]] == entries[-2:]
    assert last["pageInfo"]["hasPreviousPage"] is True

    ids = [e["node"]["id"] for e in last["edges"]]
    account = (
        await client.ask(
            '{ account(number: "1000101") { id usage { edges { node { id } } } readings { edges { node { id } } } } }'
        )
    )["account"]
    ids += [account["id"], account["usage"]["edges"][0]["node"]["id"], account["readings"]["edges"][0]["node"]["id"]]
    nodes = (await client.ask("query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=ids))["nodes"]
    assert [n["id"] for n in nodes] == ids
    assert [n["__typename"] for n in nodes] == ["AuditEntry", "AuditEntry", "Account", "Usage", "Reading"]
    result = await SCHEMA.execute('{ node(id: "rubbish") { id } }', {}, await client.context_of(client.caller))
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"


async def test_a_subscription_tells_the_changes_of_its_account_only(client: Client) -> None:
    await household(client)
    await household(client, "1000102")
    query = 'subscription { accountChanged(accountNumber: "1000101") { account { version } entries { kind } } }'
    stream: Any = await SCHEMA.subscribe(query, {}, context_value=await client.context_of(client.caller))
    first = await asyncio.wait_for(anext(stream), 5)
    assert first.data == {"accountChanged": {"account": {"version": 2}, "entries": []}}

    client.clock.at = datetime(2024, 1, 21, tzinfo=MOSCOW)
    values = [{"register": "TOTAL", "value": "10050"}]
    await client.do("submitReading", account="1000102", values=values)
    await client.do("submitReading", account="1000101", values=values)

    changed = await asyncio.wait_for(anext(stream), 5)
    assert changed.data == {"accountChanged": {"account": {"version": 3}, "entries": [{"kind": "ReadingAccepted"}]}}
    await stream.aclose()


async def test_every_refusal_has_its_words(client: Client) -> None:
    told = (await client.ask("{ possibleRefusals { code text hint } }"))["possibleRefusals"]

    assert len({refusal["code"] for refusal in told}) == len(told) > 30
    assert all(refusal["text"] and refusal["hint"] for refusal in told)
