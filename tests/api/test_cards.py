"""Payments by card over GraphQL: the consumer's way to the form, bound cards, autopay; returns and differences of the office."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from bels.access.callers import LOCAL, WHOLE, Caller, Kind, rights_of
from bels.api.changes import Changes
from bels.api.context import Asking, Context, Supplier
from bels.api.engine.http import GraphQL
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from bels.payments.cards.refunds import send_refunds
from bels.payments.partners import Partners
from tests.conftest import new_supplier
from tests.payments.cards.paying import ACCOUNT, EMAIL, Paying, begun_anew, opened_paying

QUOTE = """query($amount: Money!) { cardQuote(amount: $amount) { __typename
  ... on CardQuote { amount commission total } ... on CardRefused { code text hint path detail } } }"""
START = """mutation($input: StartCardPaymentInput!) { startCardPayment(input: $input) { __typename
  ... on CardPaymentStarted { replayed payment { id state total } form { url method fields { name value } } }
  ... on CardRefused { code path detail } } }"""
SHOWN = """query($id: ID!) { cardPayment(id: $id) { id accountNumber amount commission total purpose state paidAt receipt operation
  document saved fiscal { state sno url items { name price quantity vatTag method subject } }
  refunds { id state amount dueAt } } }"""
LISTED = "query($after: String) { cardPayments(first: 2, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } } }"
BINDINGS = "{ cardBindings { id masked kind accountNumber } }"
REMOVE = """mutation($input: RemoveCardBindingInput!) { removeCardBinding(input: $input) { __typename
  ... on CardBindingRemoved { id } ... on CardRefused { code path } } }"""
SET = """mutation($input: SetAutopayInput!) { setAutopay(input: $input) { __typename
  ... on AutopaySet { autopay { id accountNumber ceiling day state } } ... on CardRefused { code path } } }"""
STOP = """mutation($input: StopAutopayInput!) { stopAutopay(input: $input) { __typename
  ... on AutopayStopped { autopay { state reason } } ... on CardRefused { code path } } }"""
AUTOPAYS = "{ autopays { id state reason } }"
REFUND = """mutation($input: RefundCardPaymentInput!) { refundCardPayment(input: $input) { __typename
  ... on CardRefundRequested { replayed refund { id state amount } } ... on CardRefused { code path } } }"""
DIFFERENCES = """query($closed: Boolean!) { cardDifferences(closed: $closed) { edges { node {
  number kind order there here closedBy note } } } }"""
CLOSE = """mutation($input: CloseCardDifferenceInput!) { closeCardDifference(input: $input) { __typename
  ... on CardDifferenceClosed { difference { number note } } ... on CardRefused { code path } } }"""
REVERSE = """mutation($input: ReversePaymentInput!) { reversePayment(input: $input) { __typename
  ... on PaymentReversed { accountNumber } ... on CommandRefused { code detail } } }"""

PAYMENT = {"account": ACCOUNT, "amount": "200.00", "commission": "2.00", "idempotencyKey": "may-1"}


@dataclass(slots=True)
class Asker:
    """Somebody who asks the schema over HTTP, of a supplier with cards."""

    paying: Paying
    supplier: Supplier

    async def ask(self, who: Caller, query: str, **variables: Any) -> Any:
        """Ask as somebody; give the one field that was asked for, or the code of the refusal."""

        async def context(connection: HTTPConnection) -> Context:
            return Context(self.supplier, connection, asking=Asking(who), address="192.0.2.1")

        app = httpx.ASGITransport(GraphQL(SCHEMA, context))
        async with httpx.AsyncClient(transport=app, base_url="http://bels") as http:
            answer = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
        if "errors" in answer:
            return answer["errors"][0]["extensions"]["code"]
        (found,) = answer["data"].values()
        return found

    async def do(self, who: Caller, query: str, **given: Any) -> Any:
        """Carry out a mutation."""
        return await self.ask(who, query, input=given)

    @property
    def consumer(self) -> Caller:
        """The person of account 1000001."""
        return somebody(Kind.CONSUMER, self.paying.person, ACCOUNT)


def somebody(kind: Kind, subject: str, *accounts: str, given: tuple[str, ...] = ()) -> Caller:
    """Give a caller that sees these accounts; staff sees all."""
    sights = dict.fromkeys(accounts, WHOLE) if kind in (Kind.CONSUMER, Kind.LINK) else None
    return Caller(kind, subject, rights_of(kind, given), Channel.WEB, f"{kind.value.lower()}:{subject}", sights)


LINK = somebody(Kind.LINK, "l-1", ACCOUNT, given=("bill",))
READING_LINK = somebody(Kind.LINK, "l-2", ACCOUNT, given=("reading",))
CASHIER = somebody(Kind.OPERATOR, "u-cashier", given=("money",))
CLERK = somebody(Kind.OPERATOR, "u-clerk")
AUDITOR = somebody(Kind.AUDITOR, "u-auditor")
STRANGER = somebody(Kind.CONSUMER, "u-stranger", "1000002")


@pytest.fixture(scope="module")
def module_database(postgres: str, template: str) -> str:
    """Make one supplier for the whole module."""
    return new_supplier(postgres, template, "bels_test_cards_api")


@pytest.fixture(scope="module")
async def opened(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paying]:
    """Open a supplier, MONETA and a consumer."""
    async with opened_paying(module_database, tmp_path_factory.mktemp("cards")) as paying:
        yield paying


@pytest.fixture
async def asker(opened: Paying, module_database: str) -> Asker:
    """Begin anew, with a contract with MONETA."""
    till = (await begun_anew(opened)).cards.till
    counter, changes = till.counter, Changes(module_database)
    return Asker(opened, Supplier(counter.pool, till.intake, changes, counter.door, partners=till.partners))


async def test_a_consumer_is_shown_the_commission_and_sent_to_the_form(asker: Asker) -> None:
    quote = await asker.ask(asker.consumer, QUOTE, amount="200.00")
    assert quote == {"__typename": "CardQuote", "amount": "200.00", "commission": "2.00", "total": "202.00"}
    values = [{"register": "TOTAL", "value": "10385"}]

    begun = await asker.do(asker.consumer, START, **PAYMENT, values=values, contact=EMAIL, save=True)
    again = await asker.do(asker.consumer, START, **PAYMENT, values=values, contact=EMAIL, save=True)

    assert begun["__typename"] == "CardPaymentStarted"
    assert (begun["replayed"], again["replayed"]) == (False, True)
    assert begun["payment"] == again["payment"]
    assert begun["form"] == again["form"]
    made = await asker.paying.peer.pay(begun["form"]["url"])
    assert made is not None
    shown = await asker.ask(asker.consumer, SHOWN, id=begun["payment"]["id"])
    assert (shown["state"], shown["total"], shown["saved"]) == ("PAID", "202.00", True)
    assert (shown["fiscal"]["state"], len(shown["fiscal"]["items"])) == ("SENT", 2)
    assert "1000001" in shown["document"]
    paid = await asker.do(asker.consumer, START, **PAYMENT, values=values, contact=EMAIL, save=True)
    assert (paid["payment"]["state"], paid["form"]) == ("PAID", None)


async def test_who_may_not_see_a_payment_is_told_there_is_none(asker: Asker) -> None:
    mine = (await asker.do(asker.consumer, START, **PAYMENT))["payment"]["id"]
    links = (await asker.do(LINK, START, **PAYMENT))["payment"]["id"]
    seen = {
        who.subject: [bool(await asker.ask(who, SHOWN, id=each)) for each in (mine, links)]
        for who in (asker.consumer, LINK, STRANGER, CASHIER, AUDITOR)
    }
    assert list(seen.values()) == [[True, False], [False, True], [False, False], [True, True], [True, True]]
    assert await asker.ask(CLERK, SHOWN, id=mine) == "FORBIDDEN"
    assert await asker.ask(asker.consumer, SHOWN, id="o-unknown") is None
    reads = await asker.paying.cards.pool.fetch("SELECT accounts FROM access_log")
    assert [ACCOUNT] in [row["accounts"] for row in reads]


async def test_only_a_payer_begins_a_payment_and_of_its_own_accounts(asker: Asker) -> None:
    for who in (READING_LINK, CASHIER, AUDITOR):
        assert await asker.do(who, START, **PAYMENT) == "FORBIDDEN"
    refused = await asker.do(STRANGER, START, **PAYMENT)
    assert (refused["code"], refused["path"]) == ("UNKNOWN_ACCOUNT", ["input", "account"])
    saving = await asker.do(LINK, START, **PAYMENT, save=True)
    assert saving["code"] == "CARD_BINDING_CONSUMER_ONLY"


async def test_a_refusal_says_what_and_where(asker: Asker) -> None:
    told = [
        await asker.do(asker.consumer, START, **{**PAYMENT, **changed})
        for changed in (
            {"commission": "1.00"},
            {"amount": "0.00"},
            {"amount": "14999.00"},
            {"contact": "4111 1111 1111 1111"},
            {"account": "4111111111111111"},
            {"idempotencyKey": "4111111111111111"},
            {"values": [{"register": "TOTAL", "value": "1"}] * 2},
            {"binding": "b-unknown"},
        )
    ]
    assert [(each["code"], each["path"]) for each in told] == [
        ("COMMISSION_CHANGED", ["input", "commission"]),
        ("BAD_AMOUNT", ["input", "amount"]),
        ("AMOUNT_TOO_LARGE", ["input", "amount"]),
        ("CARD_NUMBER_GIVEN", None),
        ("CARD_NUMBER_GIVEN", None),
        ("CARD_NUMBER_GIVEN", None),
        ("BAD_VALUE", ["input", "values"]),
        ("UNKNOWN_BINDING", ["input", "binding"]),
    ]
    assert told[0]["detail"] == "2.00"
    large = await asker.ask(asker.consumer, QUOTE, amount="15000.00")
    assert (large["code"], large["path"], large["detail"]) == ("AMOUNT_TOO_LARGE", ["amount"], "15000.00")


async def test_bound_cards_are_listed_removed_and_pay_by_themselves(asker: Asker) -> None:
    await asker.paying.paid("10.00", saves=True)
    (card,) = await asker.ask(asker.consumer, BINDINGS)
    assert (card["masked"], card["kind"], card["accountNumber"]) == ("220012******3456", "UTILITIES", ACCOUNT)
    assert await asker.ask(STRANGER, BINDINGS) == []

    given = {"account": ACCOUNT, "binding": card["id"], "ceiling": "3000.00", "day": 25}
    assert (await asker.do(STRANGER, SET, **given))["code"] == "UNKNOWN_ACCOUNT"
    autopay = (await asker.do(asker.consumer, SET, **given))["autopay"]
    assert (autopay["state"], autopay["day"], autopay["ceiling"]) == ("ACTIVE", 25, "3000.00")
    refused = await asker.do(asker.consumer, SET, **{**given, "day": 31})
    assert (refused["code"], refused["path"]) == ("BAD_DAY", ["input", "day"])
    assert (await asker.do(STRANGER, STOP, autopay=autopay["id"]))["code"] == "UNKNOWN_AUTOPAY"
    stopped = await asker.do(asker.consumer, STOP, autopay=autopay["id"])
    assert stopped["autopay"] == {"state": "STOPPED", "reason": "ASKED"}
    assert [each["reason"] for each in await asker.ask(asker.consumer, AUTOPAYS)] == ["ASKED"]

    by_card = await asker.do(asker.consumer, START, **PAYMENT, binding=card["id"])
    assert by_card["form"]["method"] == "POST"
    assert (await asker.do(STRANGER, REMOVE, binding=card["id"]))["code"] == "UNKNOWN_BINDING"
    assert (await asker.do(asker.consumer, REMOVE, binding=card["id"]))["id"] == card["id"]
    assert await asker.ask(asker.consumer, BINDINGS) == []
    gone = await asker.do(asker.consumer, START, **PAYMENT, binding=card["id"])
    assert (gone["replayed"], gone["form"]) == (True, None)


async def test_the_office_of_money_returns_a_payment(asker: Asker) -> None:
    order, _ = await asker.paying.paid()
    given = {"id": order.order_id, "idempotencyKey": "r-1", "ground": "не тот лицевой счёт"}
    for who in (asker.consumer, CLERK, AUDITOR):
        assert await asker.do(who, REFUND, **given) == "FORBIDDEN"
    asked = [await asker.do(CASHIER, REFUND, **given) for _ in range(2)]
    assert [each["replayed"] for each in asked] == [False, True]
    assert asked[0]["refund"]["amount"] == "202.00"
    other = await asker.do(CASHIER, REFUND, **{**given, "idempotencyKey": "r-2"})
    assert other["code"] == "REFUND_UNDER_WAY"
    told = [
        (await asker.do(CASHIER, REFUND, **{**given, "idempotencyKey": "r-3", **changed}))["code"]
        for changed in ({"id": "o-unknown"}, {"ground": "по звонку +7 916 123-45-67"}, {"operation": "999"})
    ]
    assert told == ["UNKNOWN_PAYMENT", "BAD_NOTE", "NOT_PAID"]

    await send_refunds(asker.paying.cards, asker.paying.api)
    shown = await asker.ask(asker.consumer, SHOWN, id=order.order_id)
    assert (shown["state"], shown["refunds"][0]["state"]) == ("REFUNDED", "RETURNED")


async def test_the_office_of_money_works_off_differences(asker: Asker) -> None:
    order = await asker.paying.begin()
    await asker.paying.peer.tell(asker.paying.peer.take(order.order_id, "2.02"))
    (edge,) = (await asker.ask(CASHIER, DIFFERENCES, closed=False))["edges"]
    assert edge["node"] == {
        "number": 1,
        "kind": "AMOUNT_DIFFERS",
        "order": order.order_id,
        "there": "2.02",
        "here": "202.00",
        "closedBy": None,
        "note": None,
    }
    assert await asker.ask(asker.consumer, DIFFERENCES, closed=False) == "FORBIDDEN"
    assert await asker.do(AUDITOR, CLOSE, number=1, ground="разобрано") == "FORBIDDEN"
    closed = await asker.do(CASHIER, CLOSE, number=1, ground="разобрано с банком")
    assert closed["difference"] == {"number": 1, "note": "разобрано с банком"}
    assert (await asker.do(CASHIER, CLOSE, number=1, ground="ещё раз"))["code"] == "UNKNOWN_DIFFERENCE"
    assert (await asker.ask(CASHIER, DIFFERENCES, closed=False))["edges"] == []
    (edge,) = (await asker.ask(AUDITOR, DIFFERENCES, closed=True))["edges"]
    assert edge["node"]["closedBy"] == "operator:u-cashier"


async def test_own_payments_are_listed_page_by_page(asker: Asker) -> None:
    ids = []
    for number in range(5):
        asker.paying.house.wait(minutes=1)
        begun = await asker.do(asker.consumer, START, **{**PAYMENT, "idempotencyKey": f"k{number}"})
        ids.append(begun["payment"]["id"])
    await asker.do(LINK, START, **PAYMENT)
    listed: list[str] = []
    after = None
    while True:
        page = await asker.ask(asker.consumer, LISTED, after=after)
        listed += [edge["node"]["id"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert listed == ids[::-1]


async def test_without_a_contract_cards_are_switched_off(asker: Asker) -> None:
    object.__setattr__(asker.supplier, "partners", Partners())
    assert (await asker.ask(LOCAL, QUOTE, amount="200.00"))["code"] == "CARDS_SWITCHED_OFF"
    assert (await asker.do(LOCAL, START, **PAYMENT))["code"] == "CARDS_SWITCHED_OFF"


async def test_the_office_finds_a_payment_by_card_by_the_id_under_which_it_is_booked(asker: Asker) -> None:
    begun = await asker.do(asker.consumer, START, **PAYMENT)
    made = await asker.paying.peer.pay(begun["form"]["url"])
    assert made is not None

    reversed_ = await asker.do(
        CASHIER,
        REVERSE,
        paymentId=made.id,
        ground="ошибка",
        idempotencyKey="back",
    )

    assert (reversed_["__typename"], reversed_["accountNumber"]) == ("PaymentReversed", ACCOUNT)
