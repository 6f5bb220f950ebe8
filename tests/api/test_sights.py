"""Which accounts one sees: of a foreign account no root field tells more than of one that does not exist."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bels.access.callers import LOCAL, Caller, Kind, Right, Sight, rights_of
from bels.api.context import RIGHTS
from bels.api.engine.paging import encode_id
from bels.api.schema import SCHEMA
from bels.audit.seals.sealing import seal_journal
from bels.domain.terms import Channel, Period
from tests.api.client import Client, Clock, household, months

OWN, FOREIGN, NOBODYS = "1000101", "1000102", "1999999"
READING = '{account: "%s", idempotencyKey: "mine", values: [{register: TOTAL, value: "10385"}]}'


def consumer(sights: dict[str, Sight]) -> Caller:
    """Give a consumer who sees these accounts."""
    return Caller(Kind.CONSUMER, "u-mine", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-mine", sights)


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    """Give a program that asks a supplier of two households, each with three months of life."""
    client = Client(pool, database, Clock(datetime(2024, 1, 10, 9, tzinfo=UTC)))
    async with client.intake.running(), client.changes.running():
        for account in (OWN, FOREIGN):
            client.clock.at = datetime(2024, 1, 10, 9, tzinfo=UTC)
            await household(client, account)
        await months(client, {"2024-01": 10100, "2024-02": 10210})
        for period, value in (("2024-01", 10150), ("2024-02", 10310)):
            client.clock.at = datetime(2024, int(period[-1]), 20, 9, tzinfo=UTC)
            values = [{"register": "TOTAL", "value": str(value)}]
            await client.do("submitReading", account=FOREIGN, values=values)
            client.clock.at = datetime(2024, int(period[-1]) + 1, 1, 9, tzinfo=UTC)
            await client.do("closePeriod", account=FOREIGN, period=period)
        for account in (OWN, FOREIGN):
            given = {"account": account, "paymentId": f"pay {account}", "amount": "100.00", "paidOn": "2024-03-01"}
            paid = "mutation($input: ReceivePaymentInput!) { receivePayment(input: $input) { __typename } }"
            await client.ask(paid, input=given)
        await seal_journal(pool, (await client.door()).vault, client.clock.at)
        yield client


async def told(client: Client, query: str) -> Any:
    """Ask whatever it is, and give data or errors, without what names the request."""
    result = await SCHEMA.execute(query, None, await client.context_of(client.caller))
    errors = [(e.message, (e.extensions or {}).get("code")) for e in result.errors or ()]
    return result.data, errors


async def receipts_of(pool: asyncpg.Pool, account: str) -> list[str]:
    """Give the receipts of an account: its first reading's and its payment's are among them."""
    rows = await pool.fetch("SELECT receipt FROM message WHERE account = $1 ORDER BY recorded_at", account)
    return [row["receipt"] for row in rows]


async def probes(pool: asyncpg.Pool, account: str) -> dict[str, list[str]]:
    """Write, for every root field that is about an account, what a consumer may try with this one."""
    receipts = await receipts_of(pool, account) or ["AAAAAAAA", "BBBBBBBB"]
    ids = [
        encode_id(kind, key)
        for kind, key in (
            ("Account", account),
            ("Reading", f"{account}/3"),
            ("AuditEntry", f"{account}/1"),
            ("Usage", f"{account}/2024-01"),
            ("Bill", f"{account}/2024-02"),
            *(("Payment", f"{account}/{entry}") for entry in range(3, 12)),
        )
    ]
    reading = READING % account
    preview = reading.replace('idempotencyKey: "mine", ', "")
    answered = "__typename ... on Refusal { code text hint path }"
    return {
        "Query.account": [f'{{ account(number: "{account}") {{ id balance {{ balance }} submission {{ may }} }} }}'],
        "Query.node": [f'{{ node(id: "{each}") {{ __typename id }} }}' for each in ids],
        "Query.nodes": [f"{{ nodes(ids: {json.dumps(ids)}) {{ __typename id }} }}"],
        "Query.receipt": [f'{{ receipt(number: "{each}") {{ state text }} }}' for each in receipts],
        "Query.sealProof": [f'{{ sealProof(account: "{account}") {{ version digest }} }}'],
        "Query.payment": [f'{{ payment(receipt: "{each}") {{ amount }} }}' for each in receipts],
        "Query.previewReading": [f"{{ previewReading(input: {preview}) {{ {answered} }} }}"],
        "Mutation.submitReading": [f"mutation {{ submitReading(input: {reading}) {{ {answered} }} }}"],
        "Mutation.submitReadings": [
            f"mutation {{ submitReadings(input: {{rows: [{reading}]}}) {{ accepted rows {{ outcome {{ {answered} }} }} }} }}"
        ],
        "Mutation.makeLinkCode": [f'mutation {{ makeLinkCode(input: {{account: "{account}"}}) {{ {answered} }} }}'],
        "Mutation.unlinkSender": [
            (
                f'mutation {{ unlinkSender(input: {{account: "{account}", sender: "{encode_id("Sender", f"{account}/99")}",'
                f' idempotencyKey: "u"}}) {{ {answered} }} }}'
            )
        ],
        "Mutation.chooseNotices": [
            (
                f'mutation {{ chooseNotices(input: {{account: "{account}", channel: SMS, topics: [NOTICES]}})'
                f" {{ {answered} }} }}"
            )
        ],
        "Mutation.stopNotices": [f'mutation {{ stopNotices(input: {{account: "{account}"}}) {{ {answered} }} }}'],
        "Mutation.confirmReading": [
            f'mutation {{ confirmReading(input: {{receipt: "{each}", idempotencyKey: "c"}}) {{ {answered} }} }}'
            for each in receipts
        ],
    }


NOT_ABOUT_AN_ACCOUNT = {
    *("me", "possibleRefusals", "rateLimit", "rulebook", "rulebookHistory", "sessions", "tariff"),
    *("office", "outages"),
    *("readPaymentQr", "webhookEventTypes", "cardQuote"),
    *("latestSeal", "seal", "seals", "sealKeys", "sealConsistency"),
    # What hangs on the person, whatever the account.
    *("autopays", "cardBindings", "cardPayments", "removeCardBinding", "stopAutopay"),
    *("changePassword", "logIn", "logOut", "renewSession"),
}
PROVEN_ELSEWHERE = {"linkAccount", "registerConsumer", "unlinkAccount"}
"""tests/access/test_cabinets.py: a stranger hears one and the same, after the same time."""
CARDS = {"cardPayment", "startCardPayment", "setAutopay"}
"""tests/api/test_cards.py: cards ask for a contract with an acquirer, which no test here has."""
WATCHED = {"accountChanged", "receiptChanged"}


async def test_of_a_foreign_account_nothing_is_told_that_is_not_told_of_one_that_does_not_exist(
    client: Client, pool: asyncpg.Pool
) -> None:
    client.caller = consumer({OWN: Sight()})
    before = await pool.fetchval("SELECT count(*) FROM message")
    tried = await probes(pool, FOREIGN)
    missing = await probes(pool, NOBODYS)
    mine = await probes(pool, OWN)

    for coordinate, queries in tried.items():
        answers = {json.dumps(await told(client, each), sort_keys=True, default=str) for each in queries}
        nobody = {json.dumps(await told(client, each), sort_keys=True, default=str) for each in missing[coordinate]}
        as_nobody = {each.replace(FOREIGN, NOBODYS) for each in answers}
        without_receipts = {each for each in as_nobody if "UNKNOWN_READING" not in each} or as_nobody
        assert without_receipts <= nobody or "UNKNOWN_READING" in str(nobody), coordinate
        own = [json.dumps(await told(client, each), default=str) for each in mine[coordinate]]
        assert any(each not in nobody for each in own), f"{coordinate} tells nothing of the own account either"
    stored = await pool.fetch("SELECT account FROM message OFFSET $1", before)
    assert FOREIGN not in {row["account"] for row in stored}
    assert NOBODYS not in {row["account"] for row in stored}


async def test_every_root_field_that_is_open_to_consumers_was_tried(pool: asyncpg.Pool) -> None:
    tried = {each.partition(".")[2] for each in await probes(pool, NOBODYS)}
    rights = Right.ANONYMOUS | Right.PASSWORD | Right.CONSUMER
    roots = {c.partition(".")[2] for c, mask in RIGHTS.table.items() if c.split(".")[0] in ROOTS and mask & rights}
    assert roots == tried | NOT_ABOUT_AN_ACCOUNT | PROVEN_ELSEWHERE | CARDS | WATCHED


ROOTS = ("Query", "Mutation", "Subscription")

EVERYTHING_OF_AN_ACCOUNT = """{ account(number: "%s") {
  readings(first: 100) { edges { node { entry period values { value } } } }
  usage(first: 100) { edges { node { period } } }
  audit(first: 100) { edges { node { entry text } } }
  ledger(first: 100) { edges { node { entry period amount } } }
  payments(first: 100) { edges { node { entry paymentId } } }
  bill(period: "2024-01") { period } lastBill { period year { period } }
  estimation { averageSince { values { value } } averageUntil { values { value } } }
  balance { owed { period } explain { steps { text } } }
  penalties(on: "2024-08-01") { sums { period } }
  notices(first: 100) { edges { node { id } } } preferences { channel } senders { id }
} }"""


async def test_the_next_household_sees_nothing_of_the_one_before(client: Client) -> None:
    last = (await client.ask(f'{{ account(number: "{OWN}") {{ version }} }}'))["account"]["version"]
    client.caller = consumer({OWN: Sight(last, Period("2024-03"))})
    asked = EVERYTHING_OF_AN_ACCOUNT % OWN

    seen = (await client.ask(asked))["account"]
    for name in ("readings", "usage", "audit", "ledger", "payments"):
        assert seen[name] == {"edges": []}, name
    assert seen["bill"] is None
    assert seen["lastBill"] is None
    assert seen["estimation"] == {"averageSince": None, "averageUntil": None}
    assert seen["balance"]["owed"] == []
    assert seen["penalties"]["sums"] == []
    assert await told(
        client, f'{{ account(number: "{OWN}") {{ balanceAsOf(date: "2024-02-29") {{ balance }} }} }}'
    ) == (
        {"account": None},
        [("`date` may be 2024-03-01 at the earliest.", "BAD_USER_INPUT")],
    )
    for each in (await probes(client.pool, OWN))["Query.node"][1:]:
        assert (await told(client, each))[0] == {"node": None}, each
    for each in await receipts_of(client.pool, OWN):
        assert (await client.ask(f'{{ receipt(number: "{each}") {{ state }} }}'))["receipt"] is None

    # Its own life begins.
    client.clock.at = datetime(2024, 3, 20, 9, tzinfo=UTC)
    sent = await client.do("submitReading", account=OWN, values=[{"register": "TOTAL", "value": "10400"}])
    assert sent["__typename"] == "ReadingAccepted"
    client.caller = LOCAL
    client.clock.at = datetime(2024, 4, 1, 9, tzinfo=UTC)
    await client.do("closePeriod", account=OWN, period="2024-03")
    client.caller = consumer({OWN: Sight(last, Period("2024-03"))})
    seen = (await client.ask(asked))["account"]
    assert [e["node"]["values"][0]["value"] for e in seen["readings"]["edges"]] == [10400]
    assert [e["node"]["period"] for e in seen["usage"]["edges"]] == ["2024-03"]
    assert seen["lastBill"] == {"period": "2024-03", "year": [{"period": "2024-03"}]}
    assert min(e["node"]["entry"] for e in seen["audit"]["edges"]) == last + 1


async def test_a_bank_follows_the_messages_that_it_brought_and_no_others(client: Client, pool: asyncpg.Pool) -> None:
    bank = Caller(Kind.PARTNER, "c-bank", rights_of(Kind.PARTNER, ("readings:write",)), Channel.BANK, "partner:c-bank")
    others = await receipts_of(pool, OWN)
    client.caller = bank
    client.clock.at = datetime(2024, 3, 20, 9, tzinfo=UTC)
    sent = await client.do("submitReading", account=OWN, values=[{"register": "TOTAL", "value": "10400"}])

    mine = await client.ask(f'{{ receipt(number: "{sent["receipt"]}") {{ channel state }} }}')
    assert mine["receipt"] == {"channel": "BANK", "state": "ACCEPTED"}
    for each in others:
        assert (await client.ask(f'{{ receipt(number: "{each}") {{ state }} }}'))["receipt"] is None


async def test_a_gateway_passes_a_claim_on_and_vouches_for_nobody(client: Client) -> None:
    client.caller = Caller(Kind.GATEWAY, "c-sms", rights_of(Kind.GATEWAY), Channel.SMS, "gateway:c-sms")
    client.clock.at = datetime(2024, 3, 20, 9, tzinfo=UTC)

    first, other = [
        await client.do("submitReading", account=OWN, values=[{"register": "TOTAL", "value": value}])
        for value in ("10400", "10410")
    ]
    batch = await client.ask(
        "mutation($input: SubmitReadingsInput!) { submitReadings(input: $input) { held } }",
        input={"rows": [{"account": OWN, "idempotencyKey": "b", "values": [{"register": "TOTAL", "value": "10420"}]}]},
    )
    preview = "query($input: PreviewReadingInput!) { previewReading(input: $input) { ... on ReadingPreview { held } } }"
    asked = {"account": OWN, "values": [{"register": "TOTAL", "value": "10430"}]}
    previewed = await client.ask(preview, input=asked)
    confirmed = await client.do("confirmReading", receipt=other["receipt"])

    assert (first["__typename"], other["__typename"]) == ("ReadingAccepted", "ReadingHeld")
    assert other["reason"] == "UNCONFIRMED_SENDER"
    assert batch["submitReadings"]["held"] == 1
    assert previewed["previewReading"]["held"] == "UNCONFIRMED_SENDER"
    assert confirmed["code"] == "UNCONFIRMED_SENDER"
    client.caller = consumer({OWN: Sight()})
    assert (await client.do("confirmReading", receipt=other["receipt"]))["__typename"] == "CommandDone"


async def test_the_same_key_of_two_callers_is_two_messages(client: Client) -> None:
    client.clock.at = datetime(2024, 3, 20, 9, tzinfo=UTC)
    client.caller = consumer({OWN: Sight()})
    first, _ = await told(client, f"mutation {{ submitReading(input: {READING % OWN}) {{ __typename }} }}")
    client.caller = Caller(
        Kind.CONSUMER, "u-other", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-other", {FOREIGN: Sight()}
    )
    second, _ = await told(client, f"mutation {{ submitReading(input: {READING % FOREIGN}) {{ __typename }} }}")

    assert first == second == {"submitReading": {"__typename": "ReadingAccepted"}}
