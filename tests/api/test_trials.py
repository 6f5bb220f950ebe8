"""What other rules would have led to, asked through the API: by whom it may be, within which limits, and that nothing is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from bels.access import access_log
from bels.access.callers import Caller, Kind, rights_of
from bels.api import trials
from bels.api.context import LIMITS, Context
from bels.api.engine.budget import Budgets
from bels.api.engine.http import GraphQL
from bels.api.schema import SCHEMA
from bels.audit.what_if.sample import draw_accounts
from bels.domain.terms import Channel
from bels.publishing import publish
from tests.api.client import Client, household, months
from tests.api.test_rules import DEARER
from tests.domain.vectors import RULEBOOK
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import views

AUDITOR = Caller(Kind.AUDITOR, "u-auditor", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-auditor")
OPERATOR = Caller(Kind.OPERATOR, "u-oper", rights_of(Kind.OPERATOR, ("money",)), Channel.OFFICE, "operator:u-oper")
RULES = Caller(Kind.OPERATOR, "u-rules", rights_of(Kind.OPERATOR, ("rules",)), Channel.OFFICE, "operator:u-rules")

WHAT_IF = """query($input: WhatIfInput!) { whatIf(input: $input) { __typename
  ... on WhatIfOutcome { rules since accounts complete missing failed more less same tried refused difference kwh
    periods { period closings changed kwh wouldKwh bills wouldBills difference penalties wouldPenalties }
    modes { mode wouldMode closings } classes { low high accounts }
    largest { accountNumber kwh bills penalties difference }
    account { accountNumber balance wouldBalance penalty wouldPenalty
      closings { period mode wouldMode difference rulebook refusal detail
        stands { kwh money charges { rate tariff amount } } wouldStand { kwh money charges { rate tariff amount } }
        posted { kwh charged recalculated bill penalties } wouldBe { kwh charged recalculated bill penalties } } } }
  ... on WhatIfRefused { code text hint detail }
  ... on RulebookFaulty { faults { line where reason } more } } }"""

LIFE = {"2024-01": 10100, "2024-02": None, "2024-03": None, "2024-04": 10600}


async def what_if(client: Client, **given: Any) -> dict[str, Any]:
    """Ask what would be."""
    told: dict[str, Any] = (await client.ask(WHAT_IF, input=given))["whatIf"]
    return told


@pytest.fixture
async def town(client: Client) -> Client:
    """Bill a household that sent nothing for two months, under published rules."""
    await publish(client.pool, client.intake, DEFAULT_RULEBOOK, "tests")
    await household(client)
    await months(client, LIFE)
    return client


async def test_another_policy_is_tried_on_an_account_and_nothing_is_stored(town: Client) -> None:
    before, entries = await views(town.pool), await town.pool.fetchval("SELECT count(*) FROM journal")
    told = await what_if(town, accounts=["1000101"], settlement="IN_PERIOD")
    assert await views(town.pool) == before
    assert await town.pool.fetchval("SELECT count(*) FROM journal") == entries

    assert told["__typename"] == "WhatIfOutcome"
    assert (told["accounts"], told["complete"], told["missing"], told["tried"], told["refused"]) == (1, True, [], 4, 0)
    account = told["account"]
    assert [closing["period"] for closing in account["closings"]] == list(LIFE)
    january, _, _, april = account["closings"]
    assert january["posted"] == january["wouldBe"]
    assert january["difference"] == "0.00"
    assert april["posted"]["kwh"] == april["wouldBe"]["kwh"]
    assert april["posted"]["recalculated"] != "0.00"
    assert april["wouldBe"]["recalculated"] == "0.00"
    assert april["rulebook"] == f"{DEFAULT_RULEBOOK.name}/1"
    assert told["periods"][3]["difference"] == april["difference"]


async def test_a_file_a_day_and_a_publication_are_tried(town: Client) -> None:
    file = DEARER.format(day="2024-01-01", rate="9.99")
    dearer = await what_if(town, accounts=["1000101"], toml=file, since="2024-04")
    april = dearer["account"]["closings"][3]
    assert dearer["rules"].startswith("the file over ")
    assert dearer["since"] == "2024-04"
    assert [closing["rulebook"] is None for closing in dearer["account"]["closings"]] == [True, True, True, False]
    assert float(april["difference"]) > 0
    assert dearer["difference"] == dearer["largest"][0]["difference"]
    assert [one["accounts"] for one in dearer["classes"]] == [1]
    assert (dearer["more"], dearer["less"], dearer["same"]) == (1, 0, 0)

    later = await what_if(town, accounts=["1000101"], rulesOf="2025-12-10")
    assert later["rules"] == "the rules of 2025-12 for every period"
    assert all(float(closing["difference"]) >= 0 for closing in later["account"]["closings"])
    february = later["account"]["closings"][1]
    assert february["stands"]["charges"][0]["tariff"] == "MO/urban_gas/single/2022-12-01"
    assert february["wouldStand"]["charges"][0]["tariff"] == "MO/urban_gas/single/2025-07-01"
    assert february["stands"]["kwh"] == february["wouldStand"]["kwh"]
    same = await what_if(town, accounts=["1000101"], publication=1)
    assert (same["difference"], same["same"], same["largest"]) == ("0.00", 1, [])


async def test_what_cannot_be_tried_is_refused_with_a_reason(town: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = await what_if(town, accounts=["1000101"], publication=7)
    assert (unknown["code"], unknown["detail"]) == ("UNKNOWN_RULEBOOK", "7")
    assert unknown["text"] == "Публикации правил с таким номером нет."
    nobody = await what_if(town, accounts=["1000999", "x"], settlement="IN_PERIOD")
    assert nobody["code"] == "UNKNOWN_ACCOUNT"
    many = await what_if(town, accounts=[str(2000000 + n) for n in range(201)], settlement="IN_PERIOD")
    assert (many["code"], many["detail"]) == ("TOO_MANY_ACCOUNTS", "201")
    faulty = await what_if(town, accounts=["1000101"], toml="[[tariff]]\ngroup = 5\n")
    assert faulty["__typename"] == "RulebookFaulty"
    assert faulty["faults"]
    monkeypatch.setattr(trials, "ENTRIES_MAX", 5)
    long = await what_if(town, accounts=["1000101"], settlement="IN_PERIOD")
    assert long["code"] == "TOO_MANY_ENTRIES"


async def test_rules_without_any_rate_are_refused(client: Client) -> None:
    client.intake.rulebook = RULEBOOK
    await household(client)
    await months(client, {"2024-01": 10100})
    told = await what_if(client, accounts=["1000101"], rulesOf="2001-01-01")
    assert told["code"] == "NO_TARIFF"
    assert told["detail"].startswith("account 1000101, 2024-01")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"accounts": ["1000101"]}, "Give one of `publication`, `rulesOf`, `toml` and `settlement`."),
        (
            {"accounts": ["1000101"], "publication": 1, "settlement": "IN_PERIOD"},
            "Give one of `publication`, `rulesOf`, `toml` and `settlement`.",
        ),
        ({"publication": 1}, "Give one of `accounts` and `sample`."),
        ({"publication": 1, "accounts": [], "sample": {"size": 3}}, "Give one of `accounts` and `sample`."),
        ({"publication": 1, "sample": {"size": 201}}, "`size` may be 1 to 200, `seed` 0 to 2147483647."),
        ({"publication": 1, "sample": {"size": 3, "seed": -1}}, "`size` may be 1 to 200, `seed` 0 to 2147483647."),
    ],
)
async def test_a_question_that_says_too_much_or_too_little_is_told_so(
    client: Client, given: dict[str, Any], said: str
) -> None:
    result = await SCHEMA.execute(WHAT_IF, {"input": given}, await client.context_of(client.caller))
    assert result.errors is not None
    assert [error.message for error in result.errors] == [said]
    assert result.errors[0].extensions is not None
    assert result.errors[0].extensions["code"] == "BAD_USER_INPUT"


async def test_a_sample_is_the_same_for_the_same_seed(client: Client) -> None:
    await publish(client.pool, client.intake, DEFAULT_RULEBOOK, "tests")
    for number in range(1000101, 1000113):
        await household(client, str(number))
    drawn = await what_if(client, sample={"size": 5, "seed": 3}, publication=1)
    assert drawn["accounts"] == 5
    assert drawn == await what_if(client, sample={"size": 5, "seed": 3}, publication=1)
    assert drawn["account"] is None
    everybody = await what_if(client, sample={"size": 200}, publication=1)
    assert everybody["accounts"] == 12
    async with client.pool.acquire() as db:
        chosen = [await draw_accounts(db, 5, seed) for seed in (3, 3, 4)]
    assert chosen[0] == chosen[1] == sorted(set(chosen[0]))
    assert chosen[0] != chosen[2]


async def over_http(client: Client, caller: Caller, **given: Any) -> httpx.Response:
    """Ask what would be over HTTP, as somebody."""

    async def context(_: HTTPConnection) -> Context:
        return await client.context_of(caller)

    app = httpx.ASGITransport(GraphQL(SCHEMA, context))
    async with httpx.AsyncClient(transport=app, base_url="http://bels") as asked:
        return await asked.post("/graphql", json={"query": WHAT_IF, "variables": {"input": given}})


async def test_an_auditor_may_ask_and_which_accounts_it_looked_at_is_recorded(town: Client) -> None:
    for caller in (AUDITOR, RULES):
        told = (await over_http(town, caller, accounts=["1000101"], publication=1)).json()
        assert told["data"]["whatIf"]["accounts"] == 1
        async with town.pool.acquire() as db:
            (row,) = await access_log.page(db, None, 1, account="1000101", subject=caller.subject)
        assert (row.kind, list(row.fields), list(row.accounts)) == (caller.kind.value, ["whatIf"], ["1000101"])
    refused = await over_http(town, OPERATOR, accounts=["1000101"], publication=1)
    assert refused.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_replaying_costs_points_and_an_empty_budget_says_when_to_come_back(
    town: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "ENTRIES_OF_POINT", 1)
    supplier = (await town.context_of(AUDITOR)).app
    town.supplier = replace(supplier, budgets=Budgets(clock=lambda: 0.0))
    context, limit = await town.context_of(AUDITOR), LIMITS[Kind.AUDITOR]
    budgets, key = context.app.budgets, context.client_key
    entries = await town.pool.fetchval("SELECT count(*) FROM journal WHERE originator_id = '1000101'")
    asked = {"input": {"accounts": ["1000101"], "publication": 1}}
    assert (await SCHEMA.execute(WHAT_IF, asked, context)).errors is None
    left = budgets.look(key, limit).remaining
    assert limit.points - left >= entries
    budgets.take(key, left - entries + 1, limit)
    spent = await SCHEMA.execute(WHAT_IF, asked, await town.context_of(AUDITOR))
    assert spent.errors is not None
    assert spent.errors[0].extensions is not None
    assert spent.errors[0].extensions["code"] == "RATE_LIMITED"


def test_a_slice_has_few_entries_or_one_account() -> None:
    sizes = {"3": 5_000, "1": 400, "2": 700, "4": 10, "5": 990}
    assert list(trials.slices(sizes)) == [["1"], ["2"], ["3"], ["4", "5"]]
    assert list(trials.slices({})) == []


async def test_a_trial_that_takes_too_long_says_that_it_is_not_complete(
    town: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "TIME_MAX_S", -1.0)
    told = await what_if(town, accounts=["1000101"], publication=1)
    assert (told["complete"], told["accounts"]) == (False, 0)
