"""Money through the API, over a real supplier: payments, refunds, moves, the books, bills and what they explain."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from graphql import GraphQLUnionType

from bels.api.schema import SCHEMA
from bels.domain.periods import MOSCOW
from tests.api.client import Client, household, months

ONE, OTHER = "1000101", "1000102"

PAID = """
  __typename
  ... on PaymentReceived { receipt replayed accountNumber amount balance unallocated unallocatedText allocated { period amount }
                           payment { paymentId state channel } }
  ... on PaymentReversed { receipt replayed accountNumber amount balance paymentId }
  ... on RefundMade { receipt replayed accountNumber amount balance }
  ... on PaymentMoved { receipt replayed accountNumber movedFrom amount balance balanceFrom allocated { period amount } }
  ... on Refusal { code text hint path }
  ... on CommandRefused { refused: receipt detail }
"""
LEDGER = """query($number: String!) { account(number: $number) { ledger(first: 100) { edges { node {
  kind purpose period postedIn bookedOn amount balance debit credit receipt reference } } } } }"""
WORK = "{ unallocatedPayments { edges { node { receipt accountNumber meantFor amount unallocated paymentId } } } }"


def of_outcomes(mutation: str) -> str:
    """Write a mutation that asks for whatever of its outcomes there is."""
    parts = PAID.split("  ... on ")
    name = mutation[0].upper() + mutation[1:]
    outcomes = SCHEMA._schema.type_map[f"{name}Result"]
    assert isinstance(outcomes, GraphQLUnionType)
    kinds = {kind.name for kind in outcomes.types}
    asked = [p for p in parts[1:] if p.split()[0] in kinds or p.startswith("Refusal")]
    return (
        f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ __typename "
        + " ".join(f"... on {p}" for p in asked)
        + " } }"
    )


async def act(client: Client, mutation: str, **given: Any) -> dict[str, Any]:
    """Do something with money, under a new key unless one is given."""
    if mutation == "receivePayment":
        given = {"account": ONE, "paidOn": client.clock.at.date().isoformat(), **given}
    else:
        client.keys += 1
        given = {"idempotencyKey": f"k{client.keys}", "ground": "заявление", **given}
    told: dict[str, Any] = (await client.ask(of_outcomes(mutation), input=given))[mutation]
    return told


async def entries(client: Client, number: str = ONE) -> list[dict[str, Any]]:
    """Give the movements of an account."""
    return [e["node"] for e in (await client.ask(LEDGER, number=number))["account"]["ledger"]["edges"]]


async def balance(client: Client, number: str = ONE) -> str:
    """Give what an account owes."""
    asked = await client.ask("query($n: String!) { account(number: $n) { balance { balance } } }", n=number)
    told: str = asked["account"]["balance"]["balance"]
    return told


async def balanced(client: Client) -> bool:
    """Say whether the trial balance is one, now and at the end of the day."""
    day = client.clock.at.date().isoformat()
    asked = await client.ask(
        f'{{ now: trialBalance {{ balanced debit credit }} then: trialBalance(on: "{day}") {{ balanced debit credit }} }}'
    )
    return asked["now"] == asked["then"] and asked["now"]["balanced"] is True


async def billed(client: Client) -> None:
    """Bring the household through four months: 0, 673.00, 807.60 and 740.30 roubles, none paid; 4.26 of penalties."""
    await household(client)
    await months(client, {"2024-01": None, "2024-02": 10100, "2024-03": 10220, "2024-04": 10330})


async def test_a_payment_pays_the_oldest_bill_first_and_tells_the_balance_after_it(client: Client) -> None:
    await billed(client)
    assert await balance(client) == "2220.90"

    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")

    assert paid["__typename"] == "PaymentReceived"
    assert (paid["amount"], paid["balance"], paid["replayed"]) == ("1000.00", "1220.90", False)
    assert paid["allocated"] == [{"period": "2024-02", "amount": "673.00"}, {"period": "2024-03", "amount": "327.00"}]
    assert paid["payment"] == {"paymentId": "SB-1", "state": "RECEIVED", "channel": "BANK"}
    last = (await entries(client))[-1]
    assert (last["kind"], last["amount"], last["balance"], last["debit"], last["credit"], last["reference"]) == (
        "PAYMENT", "-1000.00", "1220.90", "BANK", "RECEIVABLE", "SB-1",
    )  # fmt: skip
    assert await balanced(client)


async def test_the_same_payment_twice_is_one_payment(client: Client) -> None:
    await billed(client)
    first = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")
    client.clock.at += timedelta(days=3)
    again = await act(client, "receivePayment", amount="1000", paymentId="SB-1", paidOn="2024-05-01")

    assert again == {**first, "replayed": True}
    assert [e["kind"] for e in await entries(client)].count("PAYMENT") == 1

    other = await act(client, "receivePayment", amount="1000.01", paymentId="SB-1", paidOn="2024-05-01")
    assert (other["code"], other["path"], other["detail"]) == (
        "MESSAGE_ID_REUSED",
        ["input", "paymentId"],
        first["receipt"],
    )
    assert await balance(client) == "1220.90"


async def test_the_same_payment_sent_ten_times_at_once_is_one_payment(client: Client) -> None:
    await billed(client)
    told = await asyncio.gather(
        *[act(client, "receivePayment", amount="1000.00", paymentId="SB-1", paidOn="2024-05-01") for _ in range(10)]
    )
    assert len({paid["receipt"] for paid in told}) == 1
    assert sorted(paid["replayed"] for paid in told) == [False] + [True] * 9
    assert [e["kind"] for e in await entries(client)].count("PAYMENT") == 1


async def test_a_payment_moved_twice_at_once_is_moved_once(client: Client) -> None:
    await billed(client)
    await household(client, OTHER)
    await household(client, "1000103")
    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")
    told = await asyncio.gather(
        *[act(client, "movePayment", receipt=paid["receipt"], to=to) for to in (OTHER, "1000103")]
    )
    assert sorted(moved["__typename"] for moved in told) == ["CommandRefused", "PaymentMoved"]
    assert sorted([await balance(client, OTHER), await balance(client, "1000103")]) == ["-1000.00", "0.00"]
    assert await balanced(client)


@pytest.mark.parametrize("amount", ["0", "0.00", "-5.00", "100.001", "1000000000000", "10000000.01"])
async def test_a_sum_that_cannot_be_paid_is_refused_with_a_receipt(client: Client, amount: str) -> None:
    await household(client)
    refused = await act(client, "receivePayment", amount=amount, paymentId="SB-1")
    assert (refused["code"], refused["path"], refused["detail"]) == ("BAD_AMOUNT", ["input", "amount"], amount)
    told = await client.ask("query($n: String!) { receipt(number: $n) { state } }", n=refused["refused"])
    assert told["receipt"] == {"state": "REFUSED"}
    assert await entries(client) == []


@pytest.mark.parametrize(
    "amount", ["NaN", "Infinity", "-Infinity", "1e3", "1E3", "", " 5.00", "5,00", "+5.00", ".5", "5.", 5, 5.5, None, True,
               "0x10", "1_000", "٥", "1" * 21, "1.0000001", ["5.00"], {}, float("nan"), float("inf")],
)  # fmt: skip
async def test_what_is_no_plain_decimal_is_bad_user_input(client: Client, amount: object) -> None:
    given = {"account": ONE, "amount": amount, "paidOn": "2024-01-01", "paymentId": "SB-1"}
    result = await SCHEMA.execute(
        of_outcomes("receivePayment"), {"input": given}, await client.context_of(client.caller)
    )
    assert result.errors is not None
    assert [(e.extensions or {}).get("code") for e in result.errors] == ["BAD_USER_INPUT"]
    if isinstance(amount, str):
        assert '"1245.05"' in result.errors[0].message


async def test_a_payment_of_tomorrow_is_refused(client: Client) -> None:
    await household(client)
    tomorrow = (client.clock.at + timedelta(days=1)).date().isoformat()
    refused = await act(client, "receivePayment", amount="5.00", paymentId="SB-1", paidOn=tomorrow)
    assert (refused["code"], refused["path"]) == ("BAD_DATES", ["input", "paidOn"])


async def test_an_overpayment_is_returned_and_never_more_than_it(client: Client) -> None:
    await billed(client)
    await act(client, "receivePayment", amount="3000.00", paymentId="SB-1")
    assert await balance(client) == "-779.10"

    refused = await act(client, "makeRefund", account=ONE, amount="779.11")
    assert (refused["code"], refused["path"]) == ("REFUND_ABOVE_CREDIT", ["input", "amount"])
    bad = await act(client, "makeRefund", account=ONE, amount="-1.00")
    assert bad["code"] == "BAD_AMOUNT"
    made = await act(client, "makeRefund", account=ONE, amount="779.10", idempotencyKey="refund")
    assert (made["__typename"], made["amount"], made["balance"]) == ("RefundMade", "779.10", "0.00")
    again = await act(client, "makeRefund", account=ONE, amount="779.10", idempotencyKey="refund")
    assert again == {**made, "replayed": True}
    unknown = await act(client, "makeRefund", account="1999999", amount="1.00")
    assert unknown["code"] == "UNKNOWN_ACCOUNT"
    assert await balanced(client)


async def test_a_payment_is_reversed_once(client: Client) -> None:
    await billed(client)
    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")

    reversed_ = await act(client, "reversePayment", paymentId="SB-1", idempotencyKey="back")
    assert (reversed_["__typename"], reversed_["balance"], reversed_["paymentId"]) == (
        "PaymentReversed",
        "2220.90",
        "SB-1",
    )
    again = await act(client, "reversePayment", paymentId="SB-1", idempotencyKey="back")
    assert again == {**reversed_, "replayed": True}
    twice = await act(client, "reversePayment", receipt=paid["receipt"])
    assert (twice["code"], twice["path"]) == ("PAYMENT_REVERSED", ["input", "receipt"])
    unknown = await act(client, "reversePayment", paymentId="SB-2")
    assert (unknown["code"], unknown["path"]) == ("UNKNOWN_PAYMENT", ["input", "paymentId"])
    assert await balanced(client)


async def test_a_payment_is_moved_and_moved_back(client: Client) -> None:
    await billed(client)
    await household(client, OTHER)
    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")

    moved = await act(client, "movePayment", receipt=paid["receipt"], to=OTHER, idempotencyKey="move")
    assert (moved["__typename"], moved["accountNumber"], moved["movedFrom"]) == ("PaymentMoved", OTHER, ONE)
    assert (moved["balance"], moved["balanceFrom"]) == ("-1000.00", "2220.90")
    assert await act(client, "movePayment", receipt=paid["receipt"], to=OTHER, idempotencyKey="move") == {
        **moved,
        "replayed": True,
    }
    trace = "query($n: String!) { payment(receipt: $n) { state accountNumber movedTo { receipt accountNumber movedFrom } } }"
    assert (await client.ask(trace, n=paid["receipt"]))["payment"] == {
        "state": "MOVED",
        "accountNumber": ONE,
        "movedTo": {"receipt": moved["receipt"], "accountNumber": OTHER, "movedFrom": ONE},
    }
    gone = await act(client, "movePayment", receipt=paid["receipt"], to=OTHER)
    assert (gone["code"], gone["path"]) == ("PAYMENT_MOVED", ["input", "receipt"])
    same = await act(client, "movePayment", receipt=moved["receipt"], to=OTHER)
    assert (same["code"], same["path"]) == ("SAME_ACCOUNT", ["input", "to"])

    back = await act(client, "movePayment", receipt=moved["receipt"], to=ONE)
    assert (back["balance"], back["balanceFrom"]) == ("1220.90", "0.00")
    assert back["allocated"] == [{"period": "2024-02", "amount": "673.00"}, {"period": "2024-03", "amount": "327.00"}]
    # The bank takes its payment back by the id it knows, wherever the payment is by now.
    reversed_ = await act(client, "reversePayment", paymentId="SB-1")
    assert (reversed_["accountNumber"], reversed_["balance"]) == (ONE, "2220.90")
    assert await balanced(client)


async def test_a_payment_moved_to_nobody_stays_where_it_is(client: Client) -> None:
    await billed(client)
    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")
    refused = await act(client, "movePayment", receipt=paid["receipt"], to="1999999")
    assert (refused["code"], refused["path"]) == ("UNKNOWN_ACCOUNT", ["input", "to"])
    assert await balance(client) == "1220.90"
    unknown = await act(client, "movePayment", receipt="ZZZZZZZZ", to=ONE)
    assert (unknown["code"], unknown["path"]) == ("UNKNOWN_PAYMENT", ["input", "receipt"])


async def test_a_move_that_stopped_in_the_middle_is_finished_by_its_repeat(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await billed(client)
    await household(client, OTHER)
    paid = await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")
    submit = client.intake.submit

    async def crash(message: Any) -> Any:
        if message.message_id.endswith(":in"):
            raise RuntimeError("the power went out")
        return await submit(message)

    monkeypatch.setattr(client.intake, "submit", crash)
    given = {"receipt": paid["receipt"], "to": OTHER, "ground": "заявление", "idempotencyKey": "move"}
    result = await SCHEMA.execute(of_outcomes("movePayment"), {"input": given}, await client.context_of(client.caller))
    assert result.errors is not None
    monkeypatch.undo()
    on_the_way = "{ trialBalance { balanced rows { ledger debit credit } } }"
    rows = (await client.ask(on_the_way))["trialBalance"]["rows"]
    assert {"ledger": "TRANSFERS", "debit": "0.00", "credit": "1000.00"} in rows

    moved = await act(client, "movePayment", **given)
    assert (moved["balance"], moved["balanceFrom"], moved["replayed"]) == ("-1000.00", "2220.90", False)
    rows = (await client.ask(on_the_way))["trialBalance"]["rows"]
    assert {"ledger": "TRANSFERS", "debit": "0.00", "credit": "0.00"} in rows


async def test_a_payment_for_nobody_waits_and_is_allocated_or_returned(client: Client) -> None:
    await billed(client)
    first = await act(client, "receivePayment", account="1999999", amount="500.00", paymentId="SB-1")
    client.clock.at += timedelta(seconds=1)
    second = await act(client, "receivePayment", account="что-то", amount="70.00", paymentId="SB-2")
    assert (first["unallocated"], first["accountNumber"]) == ("UNKNOWN_ACCOUNT", None)
    work = [e["node"] for e in (await client.ask(WORK))["unallocatedPayments"]["edges"]]
    assert [(w["receipt"], w["meantFor"], w["amount"], w["accountNumber"]) for w in work] == [
        (first["receipt"], "1999999", "500.00", None),
        (second["receipt"], "что-то", "70.00", None),
    ]

    moved = await act(client, "movePayment", receipt=first["receipt"], to=ONE)
    assert (moved["movedFrom"], moved["balance"]) == (None, "1720.90")
    where = "query($n: String!) { payment(receipt: $n) { accountNumber movedFrom state unallocated movedTo { accountNumber movedFrom } } }"
    assert (await client.ask(where, n=first["receipt"]))["payment"] == {
        "accountNumber": None,
        "movedFrom": None,
        "state": "MOVED",
        "unallocated": "UNKNOWN_ACCOUNT",
        "movedTo": {"accountNumber": ONE, "movedFrom": None},
    }
    part = await act(client, "makeRefund", receipt=second["receipt"], amount="50.00")
    assert part["code"] == "BAD_AMOUNT"
    returned = await act(client, "makeRefund", receipt=second["receipt"], amount="70.00")
    assert (returned["__typename"], returned["accountNumber"], returned["balance"]) == ("RefundMade", None, "0.00")
    assert (await client.ask(WORK))["unallocatedPayments"]["edges"] == []
    # No message is lost and none is an account.
    assert (await client.ask("{ accounts { edges { node { number } } } }"))["accounts"]["edges"] == [
        {"node": {"number": ONE}}
    ]
    assert await balanced(client)


async def test_a_closed_account_takes_a_payment_as_long_as_it_owes(client: Client) -> None:
    await billed(client)
    client.clock.at = datetime(2024, 5, 10, 12, tzinfo=MOSCOW)
    closed = await client.do("closeAccount", account=ONE, closedAt=client.clock.at.isoformat(), ground="продажа")
    assert closed["__typename"] == "CommandDone", closed

    debt = await act(client, "receivePayment", amount="2220.90", paymentId="SB-1")
    assert (debt["accountNumber"], debt["unallocated"], debt["balance"]) == (ONE, None, "0.00")
    client.clock.at = datetime(2024, 6, 2, 12, tzinfo=MOSCOW)
    assert (await client.do("closePeriod", account=ONE, period="2024-05"))["__typename"] == "CommandDone"
    asked = await client.ask('{ account(number: "1000101") { balance { balance } } }')
    last = asked["account"]["balance"]["balance"]
    paid = await act(client, "receivePayment", amount=last, paymentId="SB-3")
    assert (paid["accountNumber"], paid["balance"]) == (ONE, "0.00")
    kept = await act(client, "receivePayment", amount="10.00", paymentId="SB-2")
    assert (kept["__typename"], kept["unallocated"], kept["accountNumber"]) == (
        "PaymentReceived",
        "ACCOUNT_CLOSED",
        None,
    )
    assert kept["unallocatedText"]


async def test_what_is_owed_is_told_bill_by_bill_and_as_of_any_day(client: Client) -> None:
    await billed(client)
    client.clock.at = datetime(2024, 5, 8, 12, tzinfo=MOSCOW)
    await act(client, "receivePayment", amount="1000.00", paymentId="SB-1")
    known_at = client.clock.at.isoformat()
    client.clock.at = datetime(2024, 5, 9, 12, tzinfo=MOSCOW)
    await act(client, "receivePayment", amount="20.90", paymentId="SB-2", paidOn="2024-05-07")

    asked = await client.ask(
        """query($k: DateTime!) { account(number: "1000101") {
          balance { balance advance overdue penalty changedAt owed { period amount open dueOn overdue } nextDue { period dueOn }
                    explain { title result steps { expression } } }
          a: balanceAsOf(date: "2024-05-07") { balance }
          b: balanceAsOf(date: "2024-05-07", knownAt: $k) { balance }
          c: balanceAsOf(date: "2024-04-30") { balance penalty }
          payments(last: 1) { edges { node { id paymentId paidOn } } } } }""",
        k=known_at,
    )
    told = asked["account"]
    assert {k: told["balance"][k] for k in ("balance", "advance", "overdue", "penalty")} == {
        "balance": "1200.00",
        "advance": "0.00",
        "overdue": "459.70",
        "penalty": "4.26",
    }
    assert told["balance"]["owed"] == [
        {"period": "2024-03", "amount": "807.60", "open": "459.70", "dueOn": "2024-04-10", "overdue": True},
        {"period": "2024-04", "amount": "740.30", "open": "740.30", "dueOn": "2024-05-13", "overdue": False},
    ]
    assert told["balance"]["nextDue"] == {"period": "2024-04", "dueOn": "2024-05-13"}
    explained = told["balance"]["explain"]
    assert (explained["result"], explained["steps"][-1]["expression"]) == ("1200.00", "2220.90 + (-1000.00) + (-20.90)")
    assert [told[k]["balance"] for k in "abc"] == ["2200.00", "2220.90", "1480.60"]
    node = told["payments"]["edges"][0]["node"]
    assert (node["paymentId"], node["paidOn"]) == ("SB-2", "2024-05-07")
    found = await client.ask("query($i: ID!) { node(id: $i) { ... on Payment { paymentId } } }", i=node["id"])
    assert found["node"] == {"paymentId": "SB-2"}


async def test_the_ledger_pages_both_ways(client: Client) -> None:
    await billed(client)
    page = """query($first: Int, $after: String, $last: Int, $before: String) { account(number: "1000101") {
      ledger(first: $first, after: $after, last: $last, before: $before) { edges { cursor node { balance } } } } }"""

    async def told(**given: Any) -> list[dict[str, Any]]:
        edges: list[dict[str, Any]] = (await client.ask(page, **given))["account"]["ledger"]["edges"]
        return edges

    whole = await told(first=10)
    assert [e["node"]["balance"] for e in whole] == ["0.00", "673.00", "1480.60", "2220.90", "4.26"]
    assert await told(first=2, after=whole[1]["cursor"]) == whole[2:4]
    assert await told(last=2, before=whole[3]["cursor"]) == whole[1:3]


async def test_penalties_are_foretold_to_any_day_as_the_closing_then_posts_them(client: Client) -> None:
    await billed(client)
    query = """{ account(number: "1000101") { penalties(on: "2024-05-31") { accrued postedBefore amount
      sums { period dueOn accrued amount lines { principal since until days divisor rate amount }
             explain { result unit steps { expression } } } } } }"""
    told = (await client.ask(query))["account"]["penalties"]

    assert [s["period"] for s in told["sums"]] == ["2024-02", "2024-03"]
    line = told["sums"][0]["lines"][0]
    assert (line["principal"], line["since"], line["until"], line["divisor"]) == (
        "673.00",
        "2024-04-11",
        "2024-05-31",
        300,
    )
    assert told["sums"][0]["explain"]["result"] == told["sums"][0]["amount"]
    await months(client, {"2024-05": 10450})
    posted = [e for e in await entries(client) if e["kind"] == "PENALTY"]
    assert sum(Decimal(e["amount"]) for e in posted) == Decimal(told["accrued"]) > 0
    penalty = (await client.ask('{ account(number: "1000101") { balance { penalty } } }'))["account"]["balance"]
    assert penalty == {"penalty": told["accrued"]}
    paid = await act(client, "receivePayment", amount=told["accrued"], paymentId="P-1", purpose="PENALTY")
    assert paid["balance"] == "0.00"
    assert await balanced(client)


BILL = """{ account(number: "1000101") { lastBill { id } bill(period: "2024-06") {
  id period dueOn mode opening charged recalculated bill closing toPay pdfUrl rulebook
  movements { kind amount paymentId bookedOn }
  charges { register kwh rate range tariff rule mode amount coefficient explain { ...E } }
  recalculations { period ground moneyBefore moneyAfter difference before { kwh } after { kwh } explain { ...E } }
  penalties { period amount lines { days amount } explain { ...E } }
  penaltyOpening penaltyAccrued penaltyPaid penaltyClosing
  readings { meter register previous current used } year { period mode usage { kwh } }
  explain { ...E } } } }
  fragment E on Explanation { title rule result unit sources { name value entry } steps { text expression rounding result unit weights place } }"""


async def test_the_bill_tells_every_part_and_how_it_was_found(client: Client) -> None:
    await billed(client)
    client.clock.at = datetime(2024, 6, 5, 12, tzinfo=MOSCOW)
    await months(client, {"2024-05": None})
    await act(client, "receivePayment", amount="1000.00", paymentId="SB-1", paidOn="2024-06-01")
    await months(client, {"2024-06": 10570})

    account = (await client.ask(BILL))["account"]
    bill = account["bill"]
    assert account["lastBill"]["id"] == bill["id"]
    assert (bill["dueOn"], bill["pdfUrl"]) == ("2024-07-10", "/bills/1000101/2024-06.pdf")
    assert [(c["kwh"], c["rate"], c["amount"], c["range"]) for c in bill["charges"]] == [(118, "6.73", "794.14", 1)]
    (line,) = bill["recalculations"]
    assert (line["period"], line["moneyBefore"], line["moneyAfter"], line["difference"]) == (
        "2024-05",
        "740.30",
        "821.06",
        "80.76",
    )
    assert (bill["charged"], bill["recalculated"], bill["bill"]) == ("794.14", "80.76", "874.90")
    assert [(m["kind"], m["amount"], m["paymentId"]) for m in bill["movements"]] == [("PAYMENT", "-1000.00", "SB-1")]
    assert Decimal(bill["opening"]) - 1000 + Decimal(bill["bill"]) == Decimal(bill["closing"])
    assert bill["charges"][0]["explain"]["result"] == "794.14"
    assert line["explain"]["result"] == "80.76"
    assert all(p["explain"]["steps"] for p in bill["penalties"])
    assert bill["explain"]["result"] == bill["closing"]
    found = await client.ask("query($i: ID!) { node(id: $i) { ... on Bill { period } } }", i=bill["id"])
    assert found["node"] == {"period": "2024-06"}
    none = await client.ask('{ account(number: "1000101") { bill(period: "2030-01") { id } } }')
    assert none["account"]["bill"] is None


async def test_a_closed_period_tells_its_charges(client: Client) -> None:
    await billed(client)
    query = """{ account(number: "1000101") { usage(last: 1) { edges { node {
      charged recalculated bill money dueOn charges { register kwh rate range tariff rule mode amount coefficient explain { title } }
    } } } } }"""
    node = (await client.ask(query))["account"]["usage"]["edges"][0]["node"]
    assert node == {
        "charged": "740.30",
        "recalculated": "0.00",
        "bill": "740.30",
        "money": "740.30",
        "dueOn": "2024-05-13",
        "charges": [
            {
                "register": "TOTAL", "kwh": 110, "rate": "6.73", "range": 1, "tariff": "MO/urban_gas/single/2022-12-01",
                "rule": "PP354:app2-f1", "mode": "METERED", "amount": "740.30", "coefficient": None, "explain": None,
            }
        ],
    }  # fmt: skip


async def test_what_silence_costs_is_what_the_closing_then_charges(client: Client) -> None:
    await billed(client)
    client.clock.at = datetime(2024, 5, 20, 12, tzinfo=MOSCOW)
    query = """{ account(number: "1000101") {
      submission { silence { mode cost } byNormative { cost } } estimation { silence { period cost } } } }"""
    told = (await client.ask(query))["account"]
    await months(client, {"2024-05": None})

    query = '{ account(number: "1000101") { usage(last: 1) { edges { node { charged mode } } } } }'
    closed = (await client.ask(query))["account"]["usage"]["edges"][0]["node"]
    assert told["submission"]["silence"] == {"mode": closed["mode"], "cost": closed["charged"]}
    assert told["estimation"]["silence"][0] == {"period": "2024-05", "cost": closed["charged"]}
    # Three residents in two rooms with a gas stove: 3 x 46 kWh.
    assert told["submission"]["byNormative"] == {"cost": "928.74"}


async def test_a_preview_of_a_reading_tells_the_money_of_the_real_closings(client: Client) -> None:
    await billed(client)
    await months(client, {"2024-05": None})
    client.clock.at = datetime(2024, 6, 20, 12, tzinfo=MOSCOW)
    query = """{ previewReading(input: {account: "1000101", values: [{register: TOTAL, value: "10570"}]}) {
      ... on ReadingPreview { bill balanceBefore balanceAfter stopped cost { register kwh rate amount }
        recalculations { moneyBefore moneyAfter difference } } } }"""
    told = (await client.ask(query))["previewReading"]
    before = await balance(client)
    await months(client, {"2024-06": 10570})

    assert (told["balanceBefore"], told["balanceAfter"]) == (before, await balance(client))
    assert (told["bill"], told["stopped"]) == ("874.90", None)
    assert told["cost"] == [{"register": "TOTAL", "kwh": 118, "rate": "6.73", "amount": "794.14"}]
    assert told["recalculations"] == [{"moneyBefore": "740.30", "moneyAfter": "821.06", "difference": "80.76"}]


CLOSE = """query($first: Int, $after: String) { previewClose(period: "2024-05", first: $first, after: $after) {
  edges { cursor node { accountNumber bill balance penalty refusal detail
                        closings { period mode charged recalculated bill penalties dueOn } } }
  pageInfo { hasNextPage endCursor }
  total { accounts complete endCursor periods charged recalculated bill penalties modes { mode count } refusals { refusal count } } } }"""


async def test_a_preview_of_a_closing_tells_what_the_closing_then_posts(client: Client) -> None:
    await billed(client)
    await household(client, OTHER)
    client.clock.at = datetime(2024, 6, 1, 6, tzinfo=MOSCOW)
    told = (await client.ask(CLOSE, first=1))["previewClose"]
    (edge,) = told["edges"]
    assert told["pageInfo"]["hasNextPage"] is True
    assert told["total"]["accounts"] == 2
    assert told["total"]["complete"] is True
    rest = (await client.ask(CLOSE, after=edge["cursor"]))["previewClose"]
    assert [e["node"]["accountNumber"] for e in rest["edges"]] == [OTHER]
    assert rest["total"]["accounts"] == 1
    assert (await balance(client), len(await entries(client))) == ("2220.90", 5)

    closed = await client.do("closePeriod", account=ONE, period="2024-05")
    assert closed["__typename"] == "CommandDone"
    node = edge["node"]
    posted = [e for e in await entries(client) if e["postedIn"] == "2024-05"]
    assert node["balance"] == await balance(client)
    assert node["closings"][0]["charged"] == posted[0]["amount"]
    assert node["closings"][0]["penalties"] == posted[-1]["amount"] == "11.98"
    assert node["penalty"] == posted[-1]["balance"] == "16.24"
    total = (await client.ask(CLOSE, first=1))["previewClose"]["total"]
    assert {k: Decimal(told["total"][k]) - Decimal(total[k]) for k in ("charged", "bill")} == {
        "charged": Decimal(node["bill"]),
        "bill": Decimal(node["bill"]),
    }


async def test_a_closing_of_a_month_to_come_cannot_be_previewed(client: Client) -> None:
    result = await SCHEMA.execute(
        '{ previewClose(period: "2024-02") { edges { cursor } } }', {}, await client.context_of(client.caller)
    )
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"


async def test_an_instant_of_knowledge_is_told_in_utc(client: Client) -> None:
    await household(client)
    at = datetime(2024, 1, 21, tzinfo=UTC).isoformat()
    query = 'query($k: DateTime!) { account(number: "1000101") { balanceAsOf(date: "2024-01-21", knownAt: $k) { knownAt balance } } }'
    told = (await client.ask(query, k=at))["account"]["balanceAsOf"]
    assert told == {"knownAt": "2024-01-21T00:00:00Z", "balance": "0.00"}


async def test_an_account_without_money_owes_nothing_and_says_so(client: Client) -> None:
    await household(client)
    query = """{ account(number: "1000101") { lastBill { id } payments { edges { cursor } } penalties(on: "2024-02-01") { accrued sums { period } }
      balance { balance advance overdue penalty owed { period } nextDue { period } changedAt explain { result } } } }"""
    assert (await client.ask(query))["account"] == {
        "lastBill": None,
        "payments": {"edges": []},
        "penalties": {"accrued": "0.00", "sums": []},
        "balance": {
            "balance": "0.00", "advance": "0.00", "overdue": "0.00", "penalty": "0.00", "owed": [], "nextDue": None,
            "changedAt": None, "explain": {"result": "0.00"},
        },
    }  # fmt: skip
