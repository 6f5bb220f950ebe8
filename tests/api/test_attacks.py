"""What was tried against the API, and does not work any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from bels.access import links
from bels.access.callers import LOCAL, Caller, Kind, Sight, rights_of
from bels.access.clients import add_client
from bels.access.links import Made
from bels.api.engine.paging import encode_id
from bels.api.objects import HIDDEN, OF_ANOTHER, told
from bels.api.schema import SCHEMA
from bels.domain.events import UsageRecalculated
from bels.domain.terms import Channel, Period
from bels.journal.journal import read_page
from bels.projections import audit, bills
from tests.api.client import Client, Clock, household, months

ONE, OTHER = "1000101", "1000102"
TOTAL = {"register": "TOTAL"}
SUBMIT = "mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename } }"
PAY = "mutation($input: ReceivePaymentInput!) { receivePayment(input: $input) { __typename ... on PaymentReceived { receipt } } }"
REVERSE = """mutation($input: ReversePaymentInput!) { reversePayment(input: $input) {
  __typename ... on PaymentReversed { accountNumber amount } ... on Refusal { code } } }"""
MOVE = (
    "mutation($input: MovePaymentInput!) { movePayment(input: $input) { __typename ... on PaymentMoved { receipt } } }"
)
PAYMENTS = """query($n: String!) { account(number: $n) {
  payments(first: 10) { edges { node { entry movedFrom movedTo { accountNumber } } } }
  audit(last: 1) { edges { node { kind text data } } } } }"""


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    """Give a program that asks a supplier whose clock stands in January 2024."""
    client = Client(pool, database, Clock(datetime(2024, 1, 10, 9, tzinfo=UTC)))
    async with client.intake.running():
        yield client


def consumer(sights: dict[str, Sight]) -> Caller:
    return Caller(Kind.CONSUMER, "u-mine", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-mine", sights)


def bank(name: str) -> Caller:
    rights = rights_of(Kind.PARTNER, ("payments:write",))
    return Caller(Kind.PARTNER, name, rights, Channel.BANK, f"partner:{name}")


async def added_bank(client: Client) -> Caller:
    vault = (await client.context_of(LOCAL)).app.door.vault
    async with client.pool.acquire() as db:
        name, _ = await add_client(db, vault, Kind.PARTNER, "Банк", Channel.BANK, ("payments:write",))
    return bank(name)


async def paid(client: Client, caller: Caller, account: str, name: str) -> str:
    client.caller = caller
    given = {"account": account, "amount": "100.00", "paidOn": "2024-01-10", "paymentId": name}
    told_of: dict[str, Any] = (await client.ask(PAY, input=given))["receivePayment"]
    client.caller = LOCAL
    return str(told_of["receipt"])


async def opened_link(client: Client, account: str) -> Caller:
    door, now = (await client.context_of(LOCAL)).app.door, client.clock()
    async with client.pool.acquire() as db:
        made = await links.make_link(db, door.vault, account, "reading", made_by="u-clerk", now=now)
        assert isinstance(made, Made)
        assert await links.open_link(db, door.vault, made.token, now) is not None
    rights = rights_of(Kind.LINK, ("reading",))
    return Caller(Kind.LINK, made.link, rights, Channel.WEB, f"link:{made.link}", {account: Sight()})


# Payments.


async def test_a_payment_that_a_bank_brought_is_reversed_by_the_banks_name_of_it(client: Client) -> None:
    await household(client)
    await paid(client, await added_bank(client), ONE, "SB-1")

    given = {"paymentId": "SB-1", "idempotencyKey": "back", "ground": "ошибка банка"}
    assert (await client.ask(REVERSE, input=given))["reversePayment"] == {
        "__typename": "PaymentReversed",
        "accountNumber": ONE,
        "amount": "100.00",
    }


async def test_a_name_that_two_banks_gave_reverses_neither_payment(client: Client) -> None:
    await household(client)
    await household(client, OTHER)
    await paid(client, await added_bank(client), ONE, "SB-1")
    second = await paid(client, await added_bank(client), OTHER, "SB-1")

    given = {"idempotencyKey": "back", "ground": "ошибка банка"}
    result = await SCHEMA.execute(REVERSE, {"input": {"paymentId": "SB-1", **given}}, await client.context_of(LOCAL))
    assert [(e.extensions or {})["code"] for e in result.errors or ()] == ["BAD_USER_INPUT"]
    assert (await client.ask(REVERSE, input={"receipt": second, **given}))["reversePayment"]["accountNumber"] == OTHER


async def test_a_household_does_not_learn_whose_payment_came_to_it_by_mistake(client: Client) -> None:
    await household(client)
    await household(client, OTHER)
    receipt = await paid(client, await added_bank(client), ONE, "SB-1")
    given = {"receipt": receipt, "to": OTHER, "idempotencyKey": "move", "ground": "ошибка плательщика"}
    assert (await client.ask(MOVE, input=given))["movePayment"]["__typename"] == "PaymentMoved"

    for account, foreign in ((ONE, OTHER), (OTHER, ONE)):
        client.caller = consumer({account: Sight()})
        seen = (await client.ask(PAYMENTS, n=account))["account"]
        assert foreign not in json.dumps(seen)
        assert HIDDEN in seen["audit"]["edges"][0]["node"]["text"]
        client.caller = consumer({ONE: Sight(), OTHER: Sight()})
        assert foreign in json.dumps((await client.ask(PAYMENTS, n=account))["account"])


# One-task links.


async def test_of_many_readings_that_one_link_sends_at_once_one_is_taken(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 20, 9, tzinfo=UTC)
    caller = await opened_link(client, ONE)

    async def send(number: int) -> str:
        given = {"account": ONE, "idempotencyKey": f"k{number}", "values": [{**TOTAL, "value": str(10100 + number)}]}
        result = await SCHEMA.execute(SUBMIT, {"input": given}, await client.context_of(caller))
        if result.errors:
            return str((result.errors[0].extensions or {})["code"])
        return str((result.data or {})["submitReading"]["__typename"])

    answers = await asyncio.gather(*(send(number) for number in range(8)))
    assert sorted(answers) == ["ReadingAccepted"] + ["UNAUTHENTICATED"] * 7
    assert await send(9) == "UNAUTHENTICATED"


async def test_a_link_whose_reading_was_refused_may_try_again(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 20, 9, tzinfo=UTC)
    client.caller = await opened_link(client, ONE)

    for key, value, answer in (("k1", "много", "ReadingRefused"), ("k2", "10100", "ReadingAccepted")):
        given = {"account": ONE, "idempotencyKey": key, "values": [{**TOTAL, "value": value}]}
        assert (await client.ask(SUBMIT, input=given))["submitReading"]["__typename"] == answer


# The household before.


async def test_a_recalculation_of_the_household_before_is_told_to_nobody_of_the_next(client: Client) -> None:
    await household(client)
    await months(client, {"2024-01": 10100, "2024-02": None})
    client.caller = LOCAL
    stands = (await client.ask(f'{{ account(number: "{ONE}") {{ version }} }}'))["account"]["version"]
    since = Sight(stands, Period("2024-03"))
    client.clock.at = datetime(2024, 3, 20, 9, tzinfo=UTC)
    preview = f"""{{ previewReading(input: {{account: "{ONE}", values: [{{register: TOTAL, value: "10310"}}]}}) {{
      ... on ReadingPreview {{ recalculations {{ period }} }} }} }}"""
    assert (await client.ask(preview))["previewReading"]["recalculations"] == [{"period": "2024-02"}]
    client.caller = consumer({ONE: since})
    assert (await client.ask(preview))["previewReading"]["recalculations"] == []

    await client.do("submitReading", account=ONE, values=[{**TOTAL, "value": "10310"}])
    client.caller = LOCAL
    client.clock.at = datetime(2024, 4, 1, 9, tzinfo=UTC)
    await client.do("closePeriod", account=ONE, period="2024-03")
    asked = f"""{{ account(number: "{ONE}") {{
      usage(last: 1) {{ edges {{ node {{ recalculations {{ period }} }} }} }}
      lastBill {{ recalculated recalculations {{ period }} penalties {{ period }} }}
      audit(first: 100) {{ edges {{ node {{ kind text data }} }} }} }} }}"""
    everything = (await client.ask(asked))["account"]
    assert everything["usage"]["edges"][0]["node"]["recalculations"] == [{"period": "2024-02"}]
    client.caller = consumer({ONE: since})
    seen = (await client.ask(asked))["account"]
    assert seen["usage"]["edges"][0]["node"]["recalculations"] == []
    assert seen["lastBill"] == {**everything["lastBill"], "recalculations": [], "penalties": []}
    recalculated = [e["node"] for e in seen["audit"]["edges"] if e["node"]["kind"] == "UsageRecalculated"]
    assert recalculated == [{"kind": "UsageRecalculated", "text": OF_ANOTHER, "data": "{}"}]
    async with client.pool.acquire() as db:
        entries = await read_page(db, ONE, stands, None, 100, False)
        entry = next(e for e in entries if isinstance(e.event, UsageRecalculated))
        whole = await bills.find(db, ONE, "2024-03", await client.intake.rules())
    node = f'{{ node(id: "{encode_id("AuditEntry", f"{ONE}/{entry.version}")}") {{ ... on AuditEntry {{ text }} }} }}'
    assert (await client.ask(node))["node"] == {"text": OF_ANOTHER}
    assert told(audit.tell(entry), LOCAL).text != OF_ANOTHER
    assert whole is not None
    printed = bills.seen_from(whole, stands, "2024-03")
    assert (printed.recalculations, printed.recalculated) == ((), whole.recalculated)
    assert printed.explained is None or printed.explained.balance is None
    assert all(month.period >= "2024-03" for month in printed.year)
    assert printed.due_on > date(2024, 4, 1)


# Budgets.


async def test_addresses_of_one_ipv6_subscriber_share_a_budget(client: Client) -> None:
    context = await client.context_of(Caller(Kind.ANONYMOUS, "", LOCAL.rights, Channel.WEB, "anonymous", {}))
    keys = set()
    for address in ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "192.0.2.1"):
        context.address = address
        keys.add(context.client_key)
    assert len(keys) == 2


def test_a_batch_costs_as_many_as_its_rows() -> None:
    row = '{account: "1", idempotencyKey: "k", values: []}'
    counts = "mutation { submitReadings(input: {rows: [%s]}) { accepted } }"
    assert SCHEMA.find(counts % row).cost({}) == 10 + 1 + 1
    assert SCHEMA.find(counts % ", ".join([row] * 7)).cost({}) == 10 + 1 + 7
    whole = "mutation($input: SubmitReadingsInput!) { submitReadings(input: $input) { accepted rows { outcome { __typename } } } }"
    assert SCHEMA.find(whole).cost({"input": {"rows": [{}] * 500}}) == 10 + 1 + 500 * 3
    rows = "mutation($rows: [SubmitReadingInput!]!) { submitReadings(input: {rows: $rows}) { accepted } }"
    assert SCHEMA.find(rows).cost({"rows": [{}] * 900}) == 10 + 1 + 500
    assert SCHEMA.find(rows).cost({"rows": "rubbish"}) == 10 + 1 + 1
