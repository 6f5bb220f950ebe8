"""The rules through the API: public, published by operators, looked at before they count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from bels.api.engine.scalars import FILE_TEXT_MAX
from bels.api.schema import SCHEMA
from bels.publishing import publish
from bels.rulebooks.shipped import PUBLISHED, shipped
from bels.rulebooks.writing import write_rulebook
from tests.api.client import Client, household, months
from tests.rules import DEFAULT_RULEBOOK

DEARER = """[[tariff]]
group = "MO/urban_gas"
scheme = "single"
effective_on = {day}
rates = {{ total = ["{rate}"] }}
status = {{ total = "published" }}
source = "постановление"
"""
PUBLISH = """mutation($input: PublishRulebookInput!) { publishRulebook(input: $input) { __typename
  ... on RulebookPublished { receipt replayed number version since retroactive rulebook { number } }
  ... on RulebookFaulty { faults { line where reason } more }
  ... on Refusal { code hint path } ... on CommandRefused { detail } } }"""
PREVIEW = """query($toml: Toml!, $reason: String) { previewRulebook(toml: $toml, reason: $reason) { __typename
  ... on RulebookEffect { refusal since row chargedThrough retroactive lookedAt complete accounts lines difference unpriced
                          examples { accountNumber difference } }
  ... on RulebookFaulty { faults { line where reason } } } }"""


async def publish_file(client: Client, toml: str, **given: Any) -> dict[str, Any]:
    """Publish a file under a new key unless one is given."""
    client.keys += 1
    given = {"toml": toml, "idempotencyKey": f"k{client.keys}", **given}
    told: dict[str, Any] = (await client.ask(PUBLISH, input=given))["publishRulebook"]
    return told


async def in_force(client: Client) -> None:
    """Publish the rulebook of the tests as a supplier has it."""
    await publish(client.pool, client.intake, DEFAULT_RULEBOOK, "tests")


@pytest.mark.parametrize(
    ("on", "version", "rate", "status"),
    [
        ("2014-06-30", None, None, None),
        ("2014-07-01", "MO/urban_gas/single/2014-07-01", "4.18", "PUBLISHED"),
        ("2022-12-01", "MO/urban_gas/single/2022-12-01", "6.73", "DERIVED"),
        ("2024-06-30", "MO/urban_gas/single/2022-12-01", "6.73", "DERIVED"),
        ("2024-07-01", "MO/urban_gas/single/2024-07-01", "7.33", "PUBLISHED"),
    ],
)
async def test_the_tariff_of_a_day_is_public(
    client: Client, on: str, version: str | None, rate: str | None, status: str | None
) -> None:
    query = f'{{ tariff(locality: URBAN, stove: GAS, on: "{on}") {{ version rates {{ register range upToKwh rate status }} }} }}'
    told = (await client.ask(query))["tariff"]
    if version is None:
        assert told is None
    else:
        assert told["version"] == version
        assert told["rates"][0] == {
            "register": "TOTAL", "range": 1, "upToKwh": None, "rate": rate, "status": status,
        }  # fmt: skip


async def test_ranges_and_zones_stand_in_the_tariff(client: Client) -> None:
    query = """{ tariff(locality: URBAN, stove: GAS, scheme: TWO_ZONE, on: "2025-02-01") {
      scheme source rates { register range upToKwh rate } } }"""
    told = (await client.ask(query))["tariff"]
    assert told["scheme"] == "TWO_ZONE"
    assert [(r["register"], r["range"], r["upToKwh"]) for r in told["rates"][:3]] == [
        ("DAY", 1, 3900),
        ("DAY", 2, 6000),
        ("DAY", 3, None),
    ]


async def test_a_rate_that_nobody_published_is_told_to_be_unknown(client: Client) -> None:
    await publish(client.pool, client.intake, shipped(PUBLISHED), "tests")
    query = '{ tariff(locality: URBAN, stove: GAS, on: "2025-02-01") { rates { range rate status } } }'
    rates = (await client.ask(query))["tariff"]["rates"]
    assert [(r["range"], r["rate"], r["status"]) for r in rates] == [
        (1, "7.33", "DERIVED"),
        (2, None, "UNKNOWN"),
        (3, None, "UNKNOWN"),
    ]


async def test_the_rules_in_force_are_public_with_all_they_decide_by(client: Client) -> None:
    none = await client.ask("{ rulebook { number publishedAt source } rulebookHistory { edges { cursor } } }")
    assert none == {"rulebook": {"number": 0, "publishedAt": None, "source": None}, "rulebookHistory": {"edges": []}}
    await in_force(client)
    query = """{ rulebook { number name version publishedAt source region
      tariffs(group: "MO/rural", scheme: SINGLE, on: "2024-06-01") { version source rates { rate status } }
      all: tariffs { version } ranges { effectiveOn upToKwh } norms { effectiveOn source gas electric }
      settings { effectiveOn settlement readingDeadlineDay implausibleConfirmedBy } keyRates { effectiveOn percent source }
      penaltyTerms { effectiveOn steps { fromDay divisor } capPercent } moratoria { since until } dueDays { effectiveOn day } } }"""
    told = (await client.ask(query))["rulebook"]
    assert (told["number"], told["version"], told["source"]) == (1, f"{DEFAULT_RULEBOOK.name}/1", "tests")
    assert told["publishedAt"] is not None
    assert [t["version"] for t in told["tariffs"]] == ["MO/rural/single/2022-12-01"]
    assert len(told["all"]) == len(DEFAULT_RULEBOOK.tariffs)
    assert told["ranges"][-1] == {"effectiveOn": "2025-01-01", "upToKwh": [3900, 6000]}
    assert told["norms"][0]["gas"][1][2] == 46
    assert [Decimal(r["percent"]) for r in told["keyRates"]] == [r.percent for _, r in DEFAULT_RULEBOOK.key_rates]
    assert told["penaltyTerms"][-1]["steps"] == [{"fromDay": 31, "divisor": 300}, {"fromDay": 91, "divisor": 130}]
    assert [d["day"] for d in told["dueDays"]] == [10, 15]


async def test_a_publication_counts_at_once_and_stands_in_the_history(client: Client) -> None:
    await in_force(client)
    file = DEARER.format(day="2027-01-01", rate="9.99")
    seen = (await client.ask(PREVIEW, toml=file))["previewRulebook"]
    assert (seen["__typename"], seen["refusal"], seen["retroactive"], seen["lookedAt"]) == (
        "RulebookEffect",
        None,
        False,
        0,
    )

    told = await publish_file(client, file, idempotencyKey="dearer")
    assert (told["__typename"], told["number"], told["replayed"]) == ("RulebookPublished", 2, False)
    assert told["rulebook"] == {"number": 2}
    again = await publish_file(client, file, idempotencyKey="dearer")
    assert again == {**told, "replayed": True}
    other = await publish_file(client, DEARER.format(day="2027-01-01", rate="9.98"), idempotencyKey="dearer")
    assert (other["code"], other["path"]) == ("MESSAGE_ID_REUSED", ["input", "idempotencyKey"])
    same = await publish_file(client, file)
    assert (same["code"], same["path"]) == ("NOTHING_CHANGES", ["input", "toml"])

    rate = '{ tariff(locality: URBAN, stove: GAS, on: "2027-01-15") { rates { rate } } }'
    assert (await client.ask(rate))["tariff"]["rates"] == [{"rate": "9.99"}]
    history = """query($f: Int, $a: String) { rulebookHistory(first: $f, after: $a) {
      edges { cursor node { number source since retroactive actor } } } }"""
    edges = (await client.ask(history))["rulebookHistory"]["edges"]
    assert [e["node"]["number"] for e in edges] == [1, 2]
    assert edges[1]["node"]["since"] == told["since"]
    assert (await client.ask(history, f=1, a=edges[0]["cursor"]))["rulebookHistory"]["edges"] == edges[1:]
    # What was refused stands between the publications; the last one is found all the same.
    await publish_file(client, DEARER.format(day="2028-01-01", rate="10.50"))
    last = "{ rulebookHistory(last: 2) { edges { node { number } } } }"
    assert [e["node"]["number"] for e in (await client.ask(last))["rulebookHistory"]["edges"]] == [2, 3]


async def test_a_past_that_was_charged_changes_only_with_a_reason(client: Client) -> None:
    await in_force(client)
    await household(client)
    await months(client, {"2024-01": None, "2024-02": 10100, "2024-03": 10220})
    file = DEARER.format(day="2024-03-01", rate="7.00")

    seen = (await client.ask(PREVIEW, toml=file))["previewRulebook"]
    assert {k: seen[k] for k in ("refusal", "since", "chargedThrough", "retroactive", "lookedAt", "complete", "unpriced")} == {
        "refusal": "PAST_CHARGED", "since": "2024-03", "chargedThrough": "2024-03", "retroactive": True, "lookedAt": 1,
        "complete": True, "unpriced": 0,
    }  # fmt: skip
    # 120 kWh at 7.00 instead of 6.73.
    assert (seen["accounts"], seen["lines"], seen["difference"]) == (1, 1, "32.40")
    assert seen["examples"] == [{"accountNumber": "1000101", "difference": "32.40"}]
    refused = await publish_file(client, file)
    assert (refused["code"], refused["path"]) == ("PAST_CHARGED", ["input", "retroactive"])

    seen = (await client.ask(PREVIEW, toml=file, reason="решение суда"))["previewRulebook"]
    assert seen["refusal"] is None
    told = await publish_file(client, file, retroactive="решение суда")
    assert (told["since"], told["retroactive"]) == ("2024-03", "решение суда")
    await months(client, {"2024-04": 10330})
    query = """{ account(number: "1000101") { usage(last: 1) { edges { node { recalculated
      recalculations { period reason rule ground moneyBefore moneyAfter difference charges { rate } } } } } } }"""
    node = (await client.ask(query))["account"]["usage"]["edges"][0]["node"]
    assert node["recalculated"] == "32.40"
    assert node["recalculations"] == [
        {
            "period": "2024-03", "reason": "TARIFF_CHANGED", "rule": "policy:RETROACTIVE_TARIFF", "ground": "решение суда",
            "moneyBefore": "807.60", "moneyAfter": "840.00", "difference": "32.40", "charges": [{"rate": "7.00"}],
        }
    ]  # fmt: skip


async def test_a_file_with_faults_is_told_line_by_line(client: Client) -> None:
    await in_force(client)
    file = (
        DEARER.format(day="2027-01-01", rate="-1.00") + '\n[[key_rate]]\neffective_on = 2027-01-01\npercent = "1e5"\n'
    )
    told = await publish_file(client, file)
    assert told["__typename"] == "RulebookFaulty"
    assert [fault["line"] for fault in told["faults"]] == sorted(fault["line"] for fault in told["faults"])
    assert {5, 11} <= {fault["line"] for fault in told["faults"]}
    assert all(fault["reason"] for fault in told["faults"])
    seen = (await client.ask(PREVIEW, toml=file))["previewRulebook"]
    assert seen == {"__typename": "RulebookFaulty", "faults": told["faults"]}
    assert (await client.ask("{ rulebook { number } }"))["rulebook"] == {"number": 1}


async def test_a_whole_book_fits_into_a_file_and_nothing_much_longer(client: Client) -> None:
    await in_force(client)
    whole = write_rulebook(DEFAULT_RULEBOOK)
    assert len(whole) > 10_000
    told = await publish_file(client, whole.replace("7.33", "7.34"))
    assert told["__typename"] in ("RulebookPublished", "CommandRefused"), told
    given = {"toml": "#" * (FILE_TEXT_MAX + 1), "idempotencyKey": "long"}
    result = await SCHEMA.execute(PUBLISH, {"input": given}, await client.context_of(client.caller))
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"
    given = {"toml": "x = 1", "idempotencyKey": "reason", "retroactive": "я" * 1_001}
    result = await SCHEMA.execute(PUBLISH, {"input": given}, await client.context_of(client.caller))
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"


async def test_a_reading_that_cannot_be_priced_is_previewed_all_the_same(client: Client) -> None:
    await publish(client.pool, client.intake, shipped(PUBLISHED), "tests")
    await household(client)
    query = """{ previewReading(input: {account: "1000101", values: [{register: TOTAL, value: "10050"}]}) {
      ... on ReadingPreview { consumption { kwh } bill stopped balanceBefore balanceAfter cost { amount } } } }"""
    told = (await client.ask(query))["previewReading"]
    assert (told["stopped"], told["bill"]) == (None, "336.50")
    file = """[[tariff]]
group = "MO/urban_gas"
scheme = "single"
effective_on = 2024-01-01
rates = { total = ["?"] }
status = { total = "unknown" }
source = "не опубликован"
"""
    assert (await publish_file(client, file))["__typename"] == "RulebookPublished"
    told = (await client.ask(query))["previewReading"]
    assert told == {
        "consumption": [{"kwh": 50}], "bill": None, "stopped": "NO_TARIFF", "balanceBefore": "0.00", "balanceAfter": "0.00",
        "cost": [],
    }  # fmt: skip
    close = """{ previewClose(period: "2024-01") {
      edges { node { accountNumber bill refusal detail closings { period } } } total { accounts periods bill refusals { refusal count } } } }"""
    seen = (await client.ask(close))["previewClose"]
    assert seen["edges"][0]["node"]["detail"].startswith("2024-01: MO/urban_gas/single/2024-01-01")
    assert (seen["edges"][0]["node"]["refusal"], seen["edges"][0]["node"]["closings"]) == ("NO_TARIFF", [])
    assert seen["total"] == {
        "accounts": 1, "periods": 0, "bill": "0.00", "refusals": [{"refusal": "NO_TARIFF", "count": 1}],
    }  # fmt: skip
    silence = '{ account(number: "1000101") { submission { silence { cost usage { kwh } } } } }'
    told = (await client.ask(silence))["account"]["submission"]["silence"]
    assert told is None or told["cost"] is None
