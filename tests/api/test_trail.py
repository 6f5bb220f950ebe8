"""The trail and what is unusual in it, as an auditor asks for them over GraphQL."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from bels.access import access_log
from bels.access.callers import Caller, Kind, rights_of
from bels.api.context import SEARCHES_AT_ONCE
from bels.api.engine.context import RefusedError
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from tests.api.client import Client, household, months

AUDITOR = Caller(Kind.AUDITOR, "u-auditor", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-auditor")
TRAIL = """query($filter: TrailFilter, $first: Int, $after: String, $last: Int, $before: String) {
  trail(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
    upTo behind pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor accountNumber entry kind period amount kwh node { id kind text recordedAt rule receipt data behalf { who } } } } }"""
UNUSUAL = """query($pattern: UnusualPattern!, $thresholds: UnusualThresholds, $since: DateTime, $until: DateTime, $after: String) {
  unusual(pattern: $pattern, thresholds: $thresholds, since: $since, until: $until, after: $after, first: 2) {
    pageInfo { hasNextPage endCursor }
    edges { node { pattern text actor count amount kwh since until accountCount accounts entries { id accountNumber entry } } } } }"""


@pytest.fixture
async def town(client: Client) -> Client:
    """Give a supplier with two households, one of them billed for two months, and an auditor who asks."""
    await household(client)
    await household(client, "1000102")
    await months(client, {"2024-01": None, "2024-02": 10100})
    client.caller = AUDITOR
    return client


async def edges(client: Client, **given: Any) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = (await client.ask(TRAIL, **given))["trail"]["edges"]
    return told


async def refusal(client: Client, query: str, **given: Any) -> str:
    result = await SCHEMA.execute(query, given, await client.context_of(client.caller))
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"
    return result.errors[0].message


async def test_the_trail_tells_the_entries_of_all_accounts_as_each_account_does(town: Client) -> None:
    told = (await town.ask(TRAIL, first=100))["trail"]
    assert told["behind"] == 0
    assert told["upTo"] is not None
    own = await town.ask(
        '{ account(number: "1000101") { audit(first: 100) { edges { node {'
        " id kind text recordedAt rule receipt data behalf { who } } } } } }"
    )
    mine = [edge["node"] for edge in told["edges"] if edge["accountNumber"] == "1000101"]
    assert mine == [edge["node"] for edge in own["account"]["audit"]["edges"]]
    assert {edge["accountNumber"] for edge in told["edges"]} == {"1000101", "1000102"}


async def test_a_filter_finds_a_closing_with_its_sum(town: Client) -> None:
    (closing,) = await edges(town, filter={"kinds": ["PeriodClosed"], "period": "2024-02", "channels": ["CLOSING"]})
    assert (closing["accountNumber"], closing["kind"], closing["period"], closing["kwh"]) == (
        "1000101",
        "PeriodClosed",
        "2024-02",
        100,
    )
    assert closing["node"]["rule"] is not None
    by_rule = await edges(town, filter={"rule": closing["node"]["rule"], "kinds": ["PeriodClosed"]})
    assert closing["cursor"] in [edge["cursor"] for edge in by_rule]
    by_receipt = await edges(town, filter={"receipt": closing["node"]["receipt"].lower()})
    assert closing["cursor"] in [edge["cursor"] for edge in by_receipt]
    assert await edges(town, filter={"amountMin": "100000.00"}) == []


async def test_pages_go_both_ways(town: Client) -> None:
    whole = [edge["cursor"] for edge in await edges(town, first=100)]
    seen: list[str] = []
    after = None
    while True:
        told = (await town.ask(TRAIL, first=3, after=after))["trail"]
        seen += [edge["cursor"] for edge in told["edges"]]
        after = told["pageInfo"]["endCursor"]
        if not told["pageInfo"]["hasNextPage"]:
            break
    assert seen == whole
    last = (await town.ask(TRAIL, last=2))["trail"]
    assert [edge["cursor"] for edge in last["edges"]] == whole[-2:]
    assert last["pageInfo"]["hasPreviousPage"] is True
    before = (await town.ask(TRAIL, last=2, before=last["pageInfo"]["startCursor"]))["trail"]
    assert [edge["cursor"] for edge in before["edges"]] == whole[-4:-2]


async def test_what_is_shown_is_recorded_with_its_accounts(town: Client) -> None:
    await edges(town, filter={"account": "1000102"})
    answer = await _over_http(town, '{ trail(filter: {account: "1000102"}) { edges { accountNumber } } }')
    assert answer["trail"]["edges"][0] == {"accountNumber": "1000102"}
    async with town.pool.acquire() as db:
        newest = (await access_log.page(db, None, 1))[0]
    assert (newest.subject, newest.fields, newest.accounts) == ("u-auditor", ("trail",), ("1000102",))


async def _over_http(client: Client, query: str) -> dict[str, Any]:
    """Ask as a request does: let in, answered, recorded."""
    context = await client.context_of(client.caller)
    operation = SCHEMA.find(query)
    context.admit(operation, 1)
    result = await SCHEMA.execute(query, {}, context)
    assert result.errors is None
    await context.answered(operation, result.data, result.errors)
    assert result.data is not None
    return result.data


async def test_an_entry_that_the_journal_lost_is_shown_as_lost(town: Client) -> None:
    await edges(town)
    await town.pool.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    await town.pool.execute("DELETE FROM journal WHERE originator_id = '1000102' AND originator_version = 2")
    lost = [edge for edge in await edges(town, first=100) if edge["node"] is None]
    assert [(edge["accountNumber"], edge["entry"], edge["kind"]) for edge in lost] == [("1000102", 2, "MeterInstalled")]


async def test_what_cannot_be_meant_is_refused(town: Client) -> None:
    assert "no kind" in await refusal(town, TRAIL, filter={"kinds": ["Dreamt"]})
    assert "cursor" in await refusal(town, TRAIL, after="rubbish")
    assert "1 to 100" in await refusal(town, TRAIL, first=101)
    assert "does not read" in await refusal(town, UNUSUAL, pattern="HELD_THEN_CONFIRMED", thresholds={"percent": 5})
    assert "at most" in await refusal(
        town,
        UNUSUAL,
        pattern="HELD_THEN_CONFIRMED",
        since="2020-01-01T00:00:00Z",
        until="2024-01-01T00:00:00Z",
    )


async def test_office_work_at_night_is_told_in_words_with_the_entries_to_read(town: Client) -> None:
    found = (await town.ask(UNUSUAL, pattern="CHANGES_OUTSIDE_OFFICE_HOURS", thresholds={"count": 1}))["unusual"]
    assert found["edges"] == []
    night = {"count": 1, "fromHour": 14, "untilHour": 15}
    since = (town.clock.at - timedelta(days=90)).isoformat()
    found = (await town.ask(UNUSUAL, pattern="CHANGES_OUTSIDE_OFFICE_HOURS", thresholds=night, since=since))["unusual"]
    (find,) = [edge["node"] for edge in found["edges"]]
    assert (find["actor"], find["accountCount"], set(find["accounts"])) == ("local:operator", 2, {"1000101", "1000102"})
    assert find["text"] == f"local:operator: записей: {find['count']}; лицевых счетов: 2."
    nodes = await town.ask(
        "query($ids: [ID!]!) { nodes(ids: $ids) { ... on AuditEntry { entry channel } } }",
        ids=[entry["id"] for entry in find["entries"]],
    )
    assert {node["channel"] for node in nodes["nodes"]} == {"OFFICE"}


async def test_a_find_is_recorded_with_every_account_that_it_names(town: Client) -> None:
    night = "thresholds: {count: 1, fromHour: 14, untilHour: 15}"
    since = (town.clock.at - timedelta(days=90)).isoformat()
    fields = "edges { node { accounts entries { accountNumber } } }"
    asked = f'{{ unusual(pattern: CHANGES_OUTSIDE_OFFICE_HOURS, {night}, since: "{since}") {{ {fields} }} }}'
    answer = await _over_http(town, asked)
    found = answer["unusual"]["edges"][0]["node"]
    async with town.pool.acquire() as db:
        newest = (await access_log.page(db, None, 1))[0]
    assert set(newest.accounts) == {*found["accounts"], *(entry["accountNumber"] for entry in found["entries"])}


async def test_many_searches_at_once_leave_the_others_their_connections(town: Client) -> None:
    asked = " ".join(
        f"a{i}: trail {{ behind }} b{i}: unusual(pattern: HELD_THEN_CONFIRMED) {{ __typename }}" for i in range(4)
    )
    blocking = await asyncpg.connect(town.database)
    try:
        async with blocking.transaction():
            # Searches wait for this lock, as long as one over many years may take.
            await blocking.execute("LOCK TABLE trail")
            context = await town.context_of(town.caller)
            searching = asyncio.create_task(SCHEMA.execute(f"{{ {asked} }}", {}, context))
            await asyncio.sleep(0.1)
            busy = town.pool.get_size() - town.pool.get_idle_size()
        result = await searching
    finally:
        await blocking.close()
    assert (busy, result.errors) == (SEARCHES_AT_ONCE, None)


async def test_a_cursor_of_no_century_of_ours_is_refused(town: Client) -> None:
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        cursor = urlsafe_b64encode(f'["{moment}",1]'.encode()).decode().rstrip("=")
        context = await town.context_of(town.caller)
        result = await SCHEMA.execute(f'{{ trail(after: "{cursor}") {{ behind }} }}', {}, context)
        assert result.errors is not None
        assert result.errors[0].message == "This is not a cursor of this connection."


async def test_every_pattern_says_what_it_means_and_can_be_asked_for(town: Client) -> None:
    told = (await town.ask("{ unusualPatterns { pattern means innocent thresholds { name value } } }"))[
        "unusualPatterns"
    ]
    assert len(told) == 9
    for each in told:
        given = {_camel(at["name"]): at["value"] for at in each["thresholds"]}
        page = (await town.ask(UNUSUAL, pattern=each["pattern"], thresholds=given))["unusual"]
        assert page["pageInfo"]["hasNextPage"] in (False, True)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@pytest.mark.parametrize("kind", [Kind.OPERATOR, Kind.INSPECTOR, Kind.CONSUMER, Kind.ADMINISTRATOR, Kind.ANONYMOUS])
async def test_the_trail_is_the_auditors_alone(client: Client, kind: Kind) -> None:
    caller = Caller(kind, "u-other", rights_of(kind, ("money", "rules", "people")), Channel.WEB, "x", {})
    context = await client.context_of(caller)
    for query in ("{ trail { behind } }", "{ unusualPatterns { means } }"):
        with pytest.raises(RefusedError):
            context.admit(SCHEMA.find(query), 1)


async def test_the_record_of_reading_is_asked_for_by_time(town: Client) -> None:
    await _over_http(town, "{ unusualPatterns { pattern } }")
    query = """query($since: DateTime, $until: DateTime) { accessRecords(since: $since, until: $until) {
      edges { node { at subject kind fields } } } }"""
    (record,) = [edge["node"] for edge in (await town.ask(query))["accessRecords"]["edges"]]
    assert (record["subject"], record["kind"], record["fields"]) == ("u-auditor", "AUDITOR", ["unusualPatterns"])
    at = record["at"]
    assert len((await town.ask(query, since=at))["accessRecords"]["edges"]) == 1
    assert (await town.ask(query, until=at))["accessRecords"]["edges"] == []
