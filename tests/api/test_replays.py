"""An account in two times over the schema: as it was on a day, as bels knew it at a moment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
import pytest
from graphql import GraphQLObjectType, build_schema

from bels.access.callers import Caller, Kind, Sight, rights_of
from bels.api import replays
from bels.api.context import LIMITS, RIGHTS
from bels.api.engine.budget import Budgets
from bels.api.engine.paging import encode_cursor
from bels.api.replays import ANSWERED, INSTEAD
from bels.api.schema import SCHEMA, sdl
from bels.domain.terms import Channel
from tests.api.client import Client, Clock, household, months

NUMBER = "1000101"
AUDITOR = Caller(Kind.AUDITOR, "u-auditor", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-auditor")
VALUES: dict[str, int | None] = {"2024-01": 10100, "2024-02": None, "2024-03": None, "2024-04": 10560}


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    """Give a program that asks a supplier of one household with four closed months and a payment."""
    client = Client(pool, database, Clock(datetime(2024, 1, 10, 9, tzinfo=UTC)))
    async with client.intake.running(), client.changes.running():
        await household(client)
        await months(client, VALUES)
        client.clock.at = datetime(2024, 5, 6, 9, tzinfo=UTC)
        paid = "mutation($input: ReceivePaymentInput!) { receivePayment(input: $input) { __typename } }"
        given = {"account": NUMBER, "paymentId": "pay", "amount": "100.00", "paidOn": "2024-05-03"}
        await client.ask(paid, input=given)
        client.clock.at = datetime(2024, 5, 20, 9, tzinfo=UTC)
        yield client


async def told(client: Client, query: str) -> tuple[Any, list[tuple[str, Any]]]:
    """Ask whatever it is, and give data and errors."""
    result = await SCHEMA.execute(query, None, await client.context_of(client.caller))
    return result.data, [(e.message, (e.extensions or {}).get("code")) for e in result.errors or ()]


async def at(client: Client, moment: str, fields: str) -> Any:
    """Ask the account at a moment."""
    return (await client.ask(f'{{ account(number: "{NUMBER}", {moment}) {{ {fields} }} }}'))["account"]


async def test_an_account_is_shown_as_it_was_on_a_day(client: Client) -> None:
    fields = "number version nextPeriod open residents { permanent } meter { number }"
    then = await at(client, 'asOf: "2024-03-15"', fields)
    assert (then["nextPeriod"], then["open"], then["meter"]["number"]) == ("2024-03", True, "M1")
    now = (await client.ask(f'{{ account(number: "{NUMBER}") {{ {fields} }} }}'))["account"]
    assert (now["nextPeriod"], now["residents"]) == ("2024-05", then["residents"])
    assert then["version"] < now["version"]
    assert await at(client, 'asOf: "2024-01-09"', fields) is None
    assert await at(client, 'knownAt: "2024-01-09T00:00:00Z"', fields) is None


async def test_what_we_knew_on_the_third_is_not_what_we_know_now(client: Client) -> None:
    fields = (
        "moment { day entriesKnown entriesSetAside lastEntry balance { balance overdue penalty owed { period open } } }"
    )
    then = (await at(client, 'asOf: "2024-05-03", knownAt: "2024-05-03T20:00:00Z"', fields))["moment"]
    now = (await at(client, 'asOf: "2024-05-03"', fields))["moment"]
    assert (then["day"], then["entriesSetAside"], now["entriesSetAside"]) == ("2024-05-03", 0, 0)
    assert now["entriesKnown"] == then["entriesKnown"] + 1
    assert float(then["balance"]["balance"]) - float(now["balance"]["balance"]) == 100
    query = f'{{ account(number: "{NUMBER}") {{ balanceAsOf(date: "2024-05-03") {{ balance penalty }} }} }}'
    as_of = (await client.ask(query))["account"]["balanceAsOf"]
    assert as_of == {key: now["balance"][key] for key in ("balance", "penalty")}
    before = (await at(client, 'asOf: "2024-05-02"', fields))["moment"]
    assert (before["entriesSetAside"], before["balance"]["balance"]) == (1, then["balance"]["balance"])


async def test_everything_about_the_account_is_told_at_its_moment(client: Client) -> None:
    everything = """moment { situation openedAt closedAt mode modeSince missedInARow inspectionDue locality stove rooms
      residents { permanent temporary absent owners } stays { persons } absences { persons } links { channel sender }
      meters { entry number capacity registers installedAt removedAt failedAt lastReading { entry values { value } } }
      readings(first: 1) { edges { cursor node { entry kind at period meter carried values { register value } } }
        pageInfo { hasNextPage } }
      periods { edges { node { period mode usage { kwh } stands { kwh } money estimated final } } }
      rulebook { version number publishedAt } }"""
    then = (await at(client, 'asOf: "2024-04-02"', everything))["moment"]
    assert (then["situation"], then["mode"], then["missedInARow"]) == ("OPEN", "NORMATIVE", 2)
    assert then["meters"][0]["lastReading"] == {"entry": 3, "values": [{"value": 10100}]}
    assert then["readings"]["pageInfo"]["hasNextPage"] is True
    periods = [edge["node"] for edge in then["periods"]["edges"]]
    assert [each["period"] for each in periods] == ["2024-01", "2024-02", "2024-03"]
    assert periods[2]["estimated"] is True
    # The reading of April puts the two estimates right.
    later = (await at(client, 'asOf: "2024-05-02"', everything))["moment"]
    put_right = [edge["node"] for edge in later["periods"]["edges"]][2]
    assert put_right["usage"] == periods[2]["usage"]
    assert put_right["stands"] != periods[2]["stands"]
    cursor = then["readings"]["edges"][0]["cursor"]
    paged = await at(
        client, 'asOf: "2024-04-02"', f'moment {{ readings(after: "{cursor}") {{ edges {{ node {{ entry }} }} }} }}'
    )
    assert [edge["node"]["entry"] for edge in paged["moment"]["readings"]["edges"]] == [3]


async def test_a_replay_costs_what_it_is_long_and_once_for_all_its_fields(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "ENTRIES_OF_POINT", 1)
    # The longest histories are folded aside.
    monkeypatch.setattr(replays, "ENTRIES_AT_ONCE", 1)
    supplier = (await client.context_of(AUDITOR)).app
    client.supplier = replace(supplier, budgets=Budgets(clock=lambda: 0.0))
    entries = await client.pool.fetchval("SELECT count(*) FROM journal WHERE originator_id = $1", NUMBER)
    between = 'accountDifference(number: "1000101", from: {asOf: "2024-02-15"}, to: {})'
    for asked, price in (
        ('account(number: "1000101") { moment { day } steps(first: 3) { edges { cursor } } }', entries),
        ('account(number: "1000101", asOf: "2024-03-15") { moment { day } }', entries),
        (f"{between} {{ before {{ day }} }}", 2 * entries),
        ('ledgerReplay(number: "1000101") { holds }', replays.FOLDS_OF_BOOKS * entries),
        ('account(number: "1000101") { steps(first: 2) { edges { node { state } } } }', entries + 2 * (1 + 2)),
    ):
        context = await client.context_of(AUDITOR)
        result = await SCHEMA.execute(f"{{ {asked} }}", {}, context)
        assert (result.errors, context.paid) == (None, price)
    context, limit = await client.context_of(AUDITOR), LIMITS[Kind.AUDITOR]
    context.pay(context.app.budgets.look(context.client_key, limit).remaining - entries + 1)
    spent = await SCHEMA.execute('{ account(number: "1000101") { moment { day } } }', {}, context)
    assert [(error.extensions or {})["code"] for error in spent.errors or ()] == ["RATE_LIMITED"]


async def test_a_cursor_of_another_kind_is_no_fault_of_ours(client: Client) -> None:
    for cursor, fields in (
        (encode_cursor((-5,)), "readings(after: CURSOR) { edges { node { entry } } }"),
        (encode_cursor((2**62,)), "readings(after: CURSOR) { edges { node { entry } } }"),
        (encode_cursor(("2024-01",)), "readings(after: CURSOR) { edges { node { entry } } }"),
        (encode_cursor((1,)), "periods(after: CURSOR) { edges { node { period } } }"),
    ):
        asked = fields.replace("CURSOR", f'"{cursor}"')
        _, errors = await told(client, f'{{ account(number: "{NUMBER}") {{ moment {{ {asked} }} }} }}')
        assert [code for _, code in errors] == ["BAD_USER_INPUT"]
    for place, count in ((-5, 10), (2**62, 0)):
        steps = f'steps(first: 10, after: "{encode_cursor((place,))}") {{ edges {{ node {{ counts }} }} }}'
        found = await client.ask(f'{{ account(number: "{NUMBER}") {{ {steps} }} }}')
        assert len(found["account"]["steps"]["edges"]) == count


async def test_today_is_never_told_for_then(client: Client) -> None:
    asked = cast("GraphQLObjectType", build_schema(sdl()).type_map["Account"]).fields
    assert set(asked) >= ANSWERED - {"__typename"}
    assert set(asked) >= set(INSTEAD)
    fields = {name: field for name, field in asked.items() if name not in ANSWERED}
    assert {"balance", "readings", "usage", "audit", "estimation", "submission", "bill", "personalData"} <= set(fields)
    for name, field in fields.items():
        given = {
            "balanceAsOf": '(date: "2024-05-01")',
            "penalties": '(on: "2024-05-01")',
            "bill": '(period: "2024-04")',
        }
        inner = "" if str(field.type).strip("!") in ("String", "Int") else " { __typename }"
        for asks in (
            f"{name}{given.get(name, '')}{inner}",
            f"... on Account {{ x: {name}{given.get(name, '')}{inner} }}",
        ):
            data, errors = await told(client, f'{{ account(number: "{NUMBER}", asOf: "2024-03-15") {{ id {asks} }} }}')
            [(message, code)] = errors
            assert (data, code) == ({"account": None}, "BAD_USER_INPUT")
            assert f"`{name}`" in message
            assert "ask" in message


async def test_a_fragment_hides_nothing_that_is_told_only_as_of_now(client: Client) -> None:
    fragments = "fragment A on Account { ...B number } fragment B on Account { ...C } fragment C on Account { %s }"
    query = f'query {{ account(number: "{NUMBER}", asOf: "2024-03-15") {{ ...A ...B }} }} {fragments}'
    assert (await client.ask(query % "nextPeriod"))["account"] == {"nextPeriod": "2024-03", "number": NUMBER}
    _, errors = await told(client, query % "balance { balance }")
    assert errors == [
        ("`balance` is told only as it is now, not as of a moment: ask moment { balance }.", "BAD_USER_INPUT")
    ]


async def test_the_steps_tell_the_rule_and_the_state_before_and_after(client: Client) -> None:
    fields = """steps(first: 3, after: AFTER) { edges { cursor node { counts state entry { entry kind text channel recordedAt }
      madeBy { name text acts rulebook } changed { path label before after } } } pageInfo { hasNextPage endCursor } }"""
    first = (await at(client, 'asOf: "2024-05-02"', fields.replace(", after: AFTER", "")))["steps"]
    nodes = [edge["node"] for edge in first["edges"]]
    assert [node["entry"]["kind"] for node in nodes] == ["AccountOpened", "MeterInstalled", "ReadingAccepted"]
    opened = {each["path"]: each for each in nodes[0]["changed"]}
    assert opened["situation"] == {
        "path": "situation", "label": "Состояние счёта", "before": "UNKNOWN", "after": "OPEN"
    }  # fmt: skip
    assert nodes[2]["madeBy"]["name"] == "accept_reading"
    assert json.loads(nodes[2]["state"])["version"] == 3
    cursor, last = first["pageInfo"]["endCursor"], None
    while cursor:
        page = (await at(client, 'asOf: "2024-05-02"', fields.replace("AFTER", f'"{cursor}"')))["steps"]
        last = page["edges"][-1]["node"]
        cursor = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] else None
    assert last is not None
    assert (last["entry"]["kind"], last["counts"], last["changed"]) == ("PaymentReceived", False, [])


async def test_two_moments_are_compared_with_the_entries_between(client: Client) -> None:
    query = """{ accountDifference(number: "%s", from: {asOf: "2024-05-03", knownAt: "2024-05-03T20:00:00Z"}, to: {asOf: "2024-05-03"}) {
      before { entriesKnown } after { entriesKnown } changed { path label before after }
      entries { edges { node { appears entry { kind text } } } } } }"""
    found = (await client.ask(query % NUMBER))["accountDifference"]
    [edge] = found["entries"]["edges"]
    assert (edge["node"]["appears"], edge["node"]["entry"]["kind"]) == (True, "PaymentReceived")
    paths = {each["path"] for each in found["changed"]}
    assert {"ledger/balance", f"payments/{found['after']['entriesKnown']}/amount"} <= paths
    assert (await client.ask(query % "1999999"))["accountDifference"] is None


async def test_the_posted_ledger_is_a_visible_zero(client: Client) -> None:
    query = """{ ledgerReplay(number: "%s") { accountNumber holds entries closings different difference differenceDecided
      sums { purpose posted replayed decided difference differenceDecided }
      lines(first: 2) { edges { cursor node { entry kind purpose period bookedOn posted replayed decided balance balanceReplayed
        difference differenceDecided holds } } pageInfo { hasNextPage } } } }"""
    found = (await client.ask(query % NUMBER))["ledgerReplay"]
    assert (found["holds"], found["closings"], found["different"]) == (True, 4, [])
    assert (found["difference"], found["differenceDecided"]) == ("0.00", "0.00")
    assert [each["difference"] for each in found["sums"]] == ["0.00", "0.00"]
    assert [edge["node"]["difference"] for edge in found["lines"]["edges"]] == ["0.00", "0.00"]
    assert found["lines"]["pageInfo"]["hasNextPage"] is True
    await client.pool.execute("UPDATE balance SET balance = balance + 1")
    found = (await client.ask(query % NUMBER))["ledgerReplay"]
    assert (found["holds"], found["difference"]) == (False, "1.00")
    assert (await client.ask(query % "1999999"))["ledgerReplay"] is None


async def test_only_whoever_sees_the_whole_account_may_ask_for_a_moment(client: Client) -> None:
    sights = {NUMBER: Sight()}
    consumer = Caller(Kind.CONSUMER, "u-1", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-1", sights)
    partner = Caller(
        Kind.PARTNER, "c-1", rights_of(Kind.PARTNER, ("payments:write",)), Channel.BANK, "partner:c-1", None
    )
    for caller in (consumer, partner):
        client.caller = caller
        for number in (NUMBER, "1999999"):
            for moment in ('asOf: "2024-03-15"', 'knownAt: "2024-03-15T00:00:00Z"'):
                data, errors = await told(client, f'{{ account(number: "{number}", {moment}) {{ number }} }}')
                assert (data, [code for _, code in errors]) == ({"account": None}, ["FORBIDDEN"])
        for coordinate in ("Account.moment", "Account.steps", "Query.accountDifference", "Query.ledgerReplay"):
            assert RIGHTS.first_refused(frozenset({coordinate}), caller.rights) == coordinate
    for kind in (Kind.AUDITOR, Kind.OPERATOR):
        client.caller = Caller(kind, "u-2", rights_of(kind), Channel.OFFICE, f"{kind.value.lower()}:u-2", None)
        context = await client.context_of(client.caller)
        result = await SCHEMA.execute(
            f'{{ account(number: "{NUMBER}", asOf: "2024-03-15") {{ number moment {{ day }} }} }}', None, context
        )
        assert (result.errors, result.data) == (None, {"account": {"number": NUMBER, "moment": {"day": "2024-03-15"}}})
        assert context.seen == {NUMBER}


async def test_a_moment_that_has_not_come_cannot_be_known(client: Client) -> None:
    for query in (
        f'{{ account(number: "{NUMBER}", knownAt: "2024-05-21T00:00:00Z") {{ number }} }}',
        f'{{ accountDifference(number: "{NUMBER}", from: {{knownAt: "2030-01-01T00:00:00Z"}}, to: {{}}) {{ changed {{ path }} }} }}',
    ):
        _, errors = await told(client, query)
        assert [code for _, code in errors] == ["BAD_USER_INPUT"]
        assert "has not come yet" in errors[0][0]
    # A day to come is no secret: what is known of it now may be asked.
    assert (await at(client, 'asOf: "2024-12-31"', "number"))["number"] == NUMBER


async def test_without_a_moment_the_account_is_replayed_to_now(client: Client) -> None:
    query = (
        f'{{ account(number: "{NUMBER}") {{ version moment {{ asOf knownAt lastEntry day }} balance {{ balance }} }} }}'
    )
    found = (await client.ask(query))["account"]
    assert found["moment"] == {"asOf": None, "knownAt": None, "lastEntry": found["version"], "day": "2024-05-20"}
