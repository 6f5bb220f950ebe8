"""A partner pays with a reading over GraphQL, to the end: preview, payment, status, cancellation, refund."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from bels.access.callers import LOCAL, Caller, Kind, rights_of
from bels.access.personal import Personal, put, subject_of
from bels.api.changes import Changes
from bels.api.context import Asking, Context, Supplier
from bels.api.engine.http import GraphQL
from bels.api.paying_outcomes import refused_payment
from bels.api.schema import SCHEMA
from bels.domain.commands import ClosePeriod
from bels.domain.terms import Channel, Period, Reason
from bels.payments.partners import Partners
from tests.channels.house import opened_house
from tests.channels.household import moscow
from tests.payments.conftest import Banks, opened_banks

ONE, THREE, CLOSED = "1000001", "1000002", "1000005"

REFUSED = "... on CommandRefused { code text hint path refused: receipt replayed detail } ... on MessageParked { parked: receipt }"
PAY = f"""mutation($input: PayWithReadingInput!) {{ payWithReading(input: $input) {{ __typename
  ... on PaymentTaken {{ receipt replayed paymentId accountNumber amount commission total paidOn paidAt balance unallocated
    unallocatedText allocated {{ period amount }} payment {{ state paymentId }}
    reading {{ state code text hint receipt outcome {{ __typename ... on ReadingHeld {{ reason limit }} }} }} }}
  {REFUSED} }} }}"""
RECEIVE = f"""mutation($input: ReceivePaymentInput!) {{ receivePayment(input: $input) {{ __typename
  ... on PaymentReceived {{ receipt replayed amount paidOn }} {REFUSED} }} }}"""
CANCEL = f"""mutation($input: CancelPaymentInput!) {{ cancelPayment(input: $input) {{ __typename
  ... on PaymentCancelled {{ receipt replayed paymentId amount }} {REFUSED} }} }}"""
STATUS = """query($id: ID!) { partnerPayment(paymentId: $id) { state text receipt accountNumber amount commission paidOn
  mayCancel returned refusal { code } unallocated reading { state code receipt } readingNow { state }
  refunds { id state amount deadline overdue reason } } }"""
PAYABLE = """query($n: String!, $amount: Money, $method: String, $values: [PaidValueInput!], $purpose: Purpose! = ENERGY) {
  payableAccount(number: $n, amount: $amount, method: $method, values: $values, purpose: $purpose) {
    number maskedName refusal text balance penalty overdue nextDue { period open dueOn } suggested minimum maximum amount
    commission total balanceAfter penaltyAfter
    submission { may refusal period until limit registers { register place capacity previous maximum } }
    reading { __typename ... on ReadingPreview { consumption { register kwh } held cost { register kwh amount } bill
      balanceAfter } ... on Refusal { code text hint } } } }"""
REQUEST = """mutation($input: RequestRefundInput!) { requestRefund(input: $input) { __typename
  ... on RefundRequested { replayed request { id state amount paid deadline reason } }
  ... on CommandRefused { code text path } } }"""
DECIDE = f"""mutation($input: DecideRefundInput!) {{ decideRefund(input: $input) {{ __typename
  ... on RefundDecided {{ replayed request {{ state refund amount }} }}
  ... on RefundDecidedOtherwise {{ text request {{ state }} }} {REFUSED} }} }}"""
LIST = """query($state: RefundState, $overdue: Boolean! = false) { refundRequests(state: $state, overdue: $overdue) {
  edges { node { id state paymentId amount deadline ageDays overdue reason } } } }"""


@dataclass(slots=True)
class Desk:
    """A supplier that is asked over GraphQL by whoever a test names."""

    banks: Banks
    supplier: Supplier

    def caller(self, name: str, *scopes: str) -> Caller:
        """Give a bank as a caller; by default with every scope."""
        client = self.banks.agent(name).partner.client
        rights = rights_of(Kind.PARTNER, scopes or ("payments:write", "readings:write"))
        return Caller(Kind.PARTNER, client, rights, Channel.BANK, f"partner:{client}")

    async def try_(self, caller: Caller, query: str, **variables: Any) -> Any:
        """Ask, whatever comes."""
        connection = HTTPConnection({"type": "http", "headers": [], "client": None})
        context = Context(self.supplier, connection, asking=Asking(caller), address="192.0.2.1")
        return await SCHEMA.execute(query, variables, context)

    async def ask(self, query: str, *, by: Caller | None = None, **variables: Any) -> Any:
        """Ask as the bank «sber» or another, and expect no errors; give what the one root field tells."""
        result = await self.try_(by or self.caller("sber"), query, **variables)
        assert result.errors is None, result.errors
        (told,) = result.data.values()
        return told

    async def pay(self, *, by: Caller | None = None, **changed: Any) -> Any:
        """Pay 200 roubles and send a reading, with whatever a test changes."""
        return await self.ask(PAY, by=by, input={**ORDER, **changed})

    async def owed(self, account: str = ONE) -> Decimal:
        """Say what an account owes."""
        return (await self.banks.till.intake.account(account)).ledger.balance


ORDER: dict[str, Any] = {
    "paymentId": "7781",
    "account": ONE,
    "amount": "200.00",
    "paidAt": "2024-05-20T11:30:00+03:00",
    "commission": "2.00",
    "values": [{"register": "TOTAL", "value": "10385"}],
}
OPERATOR = Caller(Kind.OPERATOR, "u-olga", rights_of(Kind.OPERATOR, ("money",)), Channel.OFFICE, "operator:u-olga")
AUDITOR = Caller(Kind.AUDITOR, "u-anna", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-anna")


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a supplier with two banks."""
    async with opened_house(database, tmp_path) as house:
        banks = await opened_banks(house)
        bels = banks.bels
        supplier = Supplier(bels.pool, bels.intake, Changes(database), house.desk.door, partners=banks.till.partners)
        yield Desk(banks, supplier)


def of_node(told: Any) -> list[Any]:
    """Give the nodes of a page."""
    return [edge["node"] for edge in told["edges"]]


# Before.


async def test_a_payer_sees_before_paying_whose_account_it_is_and_what_everything_costs(desk: Desk) -> None:
    vault = desk.banks.bels.vault
    async with desk.banks.bels.pool.acquire() as db:
        await put(db, vault, subject_of(ONE, 1), Personal(name="Иванов Пётр Сергеевич", address="ул. Мира, 1"))

    shown = await desk.ask(PAYABLE, n=ONE, amount="1245.05", values=ORDER["values"])

    assert shown["maskedName"] == "И*** Пётр С."
    assert (shown["amount"], shown["commission"], shown["total"]) == ("1245.05", "12.45", "1257.50")
    assert (shown["minimum"], shown["maximum"], shown["refusal"]) == ("1.00", "60000.00", None)
    assert shown["submission"]["may"] is True
    (register,) = shown["submission"]["registers"]
    assert (register["register"], register["capacity"], register["previous"]) == ("TOTAL", 6, 10200)
    assert register["maximum"] > 10385
    reading = shown["reading"]
    assert reading["consumption"] == [{"register": "TOTAL", "kwh": 185}]
    assert Decimal(shown["balanceAfter"]) == Decimal(reading["balanceAfter"]) - Decimal("1245.05")
    assert Decimal(reading["bill"]) > 0


async def test_a_partner_looks_at_so_many_accounts_a_day_and_pays_all_the_same(desk: Desk) -> None:
    few = Partners(tuple(replace(each, looks_a_day=2) for each in desk.supplier.partners.partners))
    supplier = replace(desk.supplier, partners=few)

    async def context(connection: HTTPConnection) -> Context:
        return Context(supplier, connection, asking=Asking(desk.caller("sber")), address="192.0.2.1")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(GraphQL(SCHEMA, context)), base_url="http://b") as http:
        two = await http.post("/", json={"query": f'{{ a: account(number: "{ONE}") {{ maskedName }} '
                                                  f'b: payableAccount(number: "{THREE}") {{ maskedName }} }}'})  # fmt: skip
        third = await http.post("/", json={"query": f'{{ payableAccount(number: "{ONE}") {{ maskedName balance }} }}'})
        paid = await http.post("/", json={"query": PAY, "variables": {"input": ORDER}})

    assert (two.status_code, list(two.json()["data"])) == (200, ["a", "b"])
    assert (third.status_code, third.json()["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")
    assert "data" not in third.json()
    assert paid.json()["data"]["payWithReading"]["__typename"] == "PaymentTaken"


async def test_what_is_due_and_what_is_overdue_are_told_apart_and_suggested(desk: Desk) -> None:
    house = desk.banks.house
    await desk.pay(amount="1.00", commission="0.01")
    house.at = moscow("2024-06-01T06:00")
    await house.do(ONE, ClosePeriod(Period("2024-05"), house.at))
    due = await desk.ask(PAYABLE, n=ONE)
    house.at = moscow("2024-07-15T06:00")
    late = await desk.ask(PAYABLE, n=ONE)
    penalty = await desk.ask(PAYABLE, n=ONE, purpose="PENALTY")

    assert (due["nextDue"]["period"], due["nextDue"]["open"]) == ("2024-05", due["balance"])
    assert (due["suggested"], due["amount"], due["balanceAfter"], due["overdue"]) == (
        due["balance"], due["balance"], "0.00", "0.00",
    )  # fmt: skip
    assert Decimal(due["total"]) == Decimal(due["amount"]) + Decimal(due["commission"]) > Decimal(due["amount"])
    assert (late["nextDue"], late["overdue"]) == (None, due["balance"])
    assert (penalty["suggested"], penalty["total"], penalty["balanceAfter"]) == ("0.00", "0.00", due["balance"])


async def test_registers_come_in_the_order_of_the_display(desk: Desk) -> None:
    shown = await desk.ask(PAYABLE, n=THREE)
    assert [(r["place"], r["register"]) for r in shown["submission"]["registers"]] == [
        ("T1", "NIGHT"), ("T2", "PEAK"), ("T3", "HALF_PEAK"),
    ]  # fmt: skip


async def test_a_preview_says_why_a_payment_or_a_reading_would_not_do(desk: Desk) -> None:
    assert await desk.ask(PAYABLE, n="1999999") is None
    closed = await desk.ask(PAYABLE, n=CLOSED, values=ORDER["values"])
    assert closed["submission"]["refusal"] == "ACCOUNT_CLOSED"
    assert closed["reading"]["code"] == "ACCOUNT_CLOSED"
    small, large = [await desk.ask(PAYABLE, n=ONE, amount=amount) for amount in ("0.99", "60000.01")]
    assert [told["refusal"] for told in (small, large)] == ["AMOUNT_TOO_SMALL", "AMOUNT_TOO_LARGE"]
    bad = await desk.ask(PAYABLE, n=ONE, values=[{"place": "2", "value": "1"}])
    assert bad["reading"]["code"] == "TOO_FEW_VALUES"
    assert (await desk.try_(desk.caller("sber"), PAYABLE, n=ONE, amount="1.005")).errors


# The payment.


async def test_a_payment_and_a_reading_are_one_operation(desk: Desk) -> None:
    before = await desk.owed()

    paid = await desk.pay()

    assert paid["__typename"] == "PaymentTaken"
    assert (paid["amount"], paid["commission"], paid["total"], paid["replayed"]) == ("200.00", "2.00", "202.00", False)
    assert Decimal(paid["balance"]) == before - 200 == await desk.owed()
    assert (paid["reading"]["state"], paid["reading"]["code"]) == ("ACCEPTED", "ACCEPTED")
    status = await desk.ask(STATUS, id="7781")
    assert (status["state"], status["commission"], status["mayCancel"], status["readingNow"]["state"]) == (
        "RECEIVED", "2.00", True, "ACCEPTED",
    )  # fmt: skip


async def test_money_is_taken_when_the_reading_is_not_and_it_says_how_to_mend_it(desk: Desk) -> None:
    less = await desk.pay(paymentId="1", values=[{"register": "TOTAL", "value": "9000"}])
    none = await desk.pay(paymentId="2", values=[{"place": "T1", "value": "привет"}])
    many = await desk.pay(paymentId="3", values=[{"place": "1", "value": "1"}, {"place": "1", "value": "2"}])

    assert [p["__typename"] for p in (less, none, many)] == ["PaymentTaken"] * 3
    assert [p["reading"]["code"] for p in (less, none, many)] == ["LESS_THAN_PREVIOUS", "BAD_VALUE", "TOO_MANY_VALUES"]
    assert all(p["reading"]["text"] and p["reading"]["hint"] for p in (less, none, many))


async def test_a_held_reading_of_a_payment_is_confirmed_by_the_partners_next_call(desk: Desk) -> None:
    paid = await desk.pay(values=[{"register": "TOTAL", "value": "60000"}])
    assert paid["reading"]["outcome"]["reason"] == "IMPLAUSIBLE"

    confirm = "mutation($input: ConfirmReadingInput!) { confirmReading(input: $input) { __typename } }"
    given = {"receipt": paid["reading"]["receipt"], "idempotencyKey": "confirm-1", "values": [
        {"register": "TOTAL", "value": "60000"}]}  # fmt: skip
    foreign = await desk.ask(confirm, by=desk.caller("app"), input=given)
    done = await desk.ask(confirm, input=given)

    assert (foreign["__typename"], done["__typename"]) == ("CommandRefused", "CommandDone")
    assert (await desk.ask(STATUS, id="7781"))["readingNow"]["state"] == "ACCEPTED"


async def test_a_held_reading_of_a_payment_is_replaced_by_another(desk: Desk) -> None:
    await desk.pay(values=[{"register": "TOTAL", "value": "60000"}])
    desk.banks.house.wait(minutes=5)
    submit = "mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename } }"
    given = {"account": ONE, "idempotencyKey": "r-1", "values": [{"register": "TOTAL", "value": "10400"}]}
    assert (await desk.ask(submit, input=given))["__typename"] == "ReadingAccepted"
    assert (await desk.ask(STATUS, id="7781"))["readingNow"]["state"] == "SUPERSEDED"


async def test_the_same_again_says_the_same_and_that_it_is_a_repeat(desk: Desk) -> None:
    first = await desk.pay()
    desk.banks.house.wait(days=400)
    again = await desk.pay(amount="200", commission="2", paidAt="2024-05-20T08:30:00Z")

    assert first["replayed"] is False
    assert {**again, "replayed": False} == first


@pytest.mark.parametrize(
    "changed",
    [
        {"account": "1000003"},
        {"amount": "200.01"},
        {"paidAt": "2024-05-20T11:30:01+03:00"},
        {"purpose": "PENALTY"},
        {"commission": None},
        {"method": "CASH"},
        {"values": None},
        {"values": [{"register": "TOTAL", "value": "10386"}]},
        {"meter": "E-1"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_the_same_id_with_anything_else_in_it_is_an_error(desk: Desk, changed: dict[str, Any]) -> None:
    await desk.pay()
    owed = await desk.owed()
    other = await desk.pay(**changed)
    assert (other["code"], other["path"]) == ("MESSAGE_ID_REUSED", ["input", "paymentId"])
    assert await desk.owed() == owed


async def test_ids_are_the_partners_own_and_one_for_all_its_doors(desk: Desk) -> None:
    first = await desk.pay(values=None)
    other = await desk.pay(by=desk.caller("app"), values=None, commission=None)
    given = {"paymentId": "7781", "account": ONE, "amount": "200.00", "paidOn": "2024-05-20"}
    door = await desk.ask(RECEIVE, input=given)

    assert first["receipt"] != other["receipt"]
    assert door["code"] == "MESSAGE_ID_REUSED"
    assert (await desk.ask(STATUS, by=desk.caller("app"), id="7781"))["receipt"] == other["receipt"]
    assert await desk.ask(STATUS, id="another") is None


async def test_receive_payment_keeps_to_the_contract_too(desk: Desk) -> None:
    given = {"paymentId": "1", "account": ONE, "amount": "0.50", "paidOn": "2024-05-20"}
    refused = await desk.ask(RECEIVE, input=given)
    nameless = await desk.ask(RECEIVE, input={**given, "paymentId": "SB 1"})
    operator = await desk.ask(RECEIVE, by=OPERATOR, input={**given, "paymentId": "SB 1"})
    assert (refused["code"], nameless["code"]) == ("AMOUNT_TOO_SMALL", "BAD_MESSAGE_ID")
    assert operator["__typename"] == "PaymentReceived"


async def test_many_at_once_book_once(desk: Desk) -> None:
    before = await desk.owed()
    told = await asyncio.gather(*(desk.pay() for _ in range(10)))
    assert len({(p["receipt"], p["balance"], p["reading"]["receipt"]) for p in told}) == 1
    assert [p["replayed"] for p in told].count(False) <= 1
    assert await desk.owed() == before - 200


async def test_what_is_refused_stays_refused_under_its_id(desk: Desk) -> None:
    refused = await desk.pay(amount="70000.00", commission="100.00")
    again = await desk.pay(amount="70000.00", commission="100.00")
    status = await desk.ask(STATUS, id="7781")

    assert (refused["code"], refused["path"]) == ("AMOUNT_TOO_LARGE", ["input", "amount"])
    assert again == {**refused, "replayed": True}
    assert (status["state"], status["refusal"]["code"], status["amount"]) == ("REFUSED", "AMOUNT_TOO_LARGE", None)
    assert (await desk.pay())["code"] == "MESSAGE_ID_REUSED"


async def test_a_commission_that_was_not_shown_is_refused(desk: Desk) -> None:
    wrong = await desk.pay(commission="1.99")
    assert (wrong["code"], wrong["path"], wrong["detail"]) == ("COMMISSION_CHANGED", ["input", "commission"], "2.00")
    bad = await desk.pay(paymentId="2", commission="-1.00")
    assert (bad["code"], bad["path"]) == ("BAD_AMOUNT", ["input", "commission"])
    # Who has no row in its contract says what it took.
    free = await desk.pay(by=desk.caller("app"), commission="7.77")
    assert (free["commission"], free["total"]) == ("7.77", "207.77")


@pytest.mark.parametrize("name", ["", " ", "a b", "ё1", "x" * 101, "7\n8"])
async def test_an_id_that_can_name_nothing_is_refused_at_once(desk: Desk, name: str) -> None:
    told = await desk.pay(paymentId=name)
    assert (told["code"], told["path"], told["refused"]) == ("BAD_MESSAGE_ID", ["input", "paymentId"], None)
    assert "100" in told["hint"]


@pytest.mark.parametrize("word", ["reading", "cancel", "refund 1", "corrected 1", "corrected 1 reversal", "rest"])
async def test_no_message_of_a_partner_takes_a_name_that_comes_with_its_payments(desk: Desk, word: str) -> None:
    submit = "mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename } }"
    rows = """mutation($input: SubmitReadingsInput!) { submitReadings(input: $input) { rows { outcome {
      __typename ... on Refusal { code } } } } }"""
    given = {"account": ONE, "idempotencyKey": f"7781 {word}", "values": [{"register": "TOTAL", "value": "1"}]}

    told = await desk.try_(desk.caller("sber"), submit, input=given)
    row = (await desk.ask(rows, input={"rows": [given]}))["rows"][0]["outcome"]

    assert [error.extensions["code"] for error in told.errors] == ["BAD_USER_INPUT"]
    assert (row["__typename"], row["code"]) == ("ReadingRefused", "BAD_MESSAGE_ID")
    assert (await desk.pay())["reading"]["state"] == "ACCEPTED"
    assert (await desk.ask(CANCEL, input={"paymentId": "7781", "reason": "ошибка кассира"}))["__typename"] == (
        "PaymentCancelled"
    )


async def test_money_for_nobody_is_kept(desk: Desk) -> None:
    paid = await desk.pay(account="1999999")
    assert (paid["accountNumber"], paid["unallocated"], paid["reading"]["code"]) == (
        None, "UNKNOWN_ACCOUNT", "UNKNOWN_ACCOUNT",
    )  # fmt: skip
    status = await desk.ask(STATUS, id="7781")
    assert (status["state"], status["accountNumber"]) == ("UNALLOCATED", "1999999")


def test_a_payer_with_a_wrong_account_is_not_told_how_to_write_a_reading() -> None:
    told = [
        refused_payment(reason, "10000", None, replayed=False, detail=None, path=None)
        for reason in (Reason.UNKNOWN_ACCOUNT, Reason.BAD_ACCOUNT)
    ]
    assert {each.hint for each in told} == {"Проверьте номер по квитанции: 7 цифр, например 1000000"}


async def test_a_partner_without_readings_pays_without_them(desk: Desk) -> None:
    cashier = desk.caller("sber", "payments:write")
    pay = "mutation($input: PayWithReadingInput!) { payWithReading(input: $input) { __typename } }"
    told = await desk.try_(cashier, pay, input=ORDER)
    assert [e.extensions["code"] for e in told.errors] == ["FORBIDDEN"]
    # Nothing was taken: the id is free.
    assert (await desk.ask(pay, by=cashier, input={**ORDER, "values": None}))["__typename"] == "PaymentTaken"


# After.


async def test_a_partner_cancels_on_the_day_and_its_reading_stays(desk: Desk) -> None:
    before = await desk.owed()
    await desk.pay()
    given = {"paymentId": "7781", "reason": "ошибка кассира"}
    done = await desk.ask(CANCEL, input=given)
    again = await desk.ask(CANCEL, input=given)
    status = await desk.ask(STATUS, id="7781")

    assert done["__typename"] == "PaymentCancelled"
    assert again == {**done, "replayed": True}
    assert (status["state"], status["mayCancel"], status["readingNow"]["state"]) == ("CANCELLED", False, "ACCEPTED")
    assert await desk.owed() == before
    assert (await desk.ask(CANCEL, by=desk.caller("app"), input=given))["code"] == "UNKNOWN_PAYMENT"


@pytest.mark.parametrize("reason", ["карта 4111 1111 1111 1111", "звонил +7 926 111-22-33", "написал a@b.example"])
async def test_what_is_kept_for_ever_holds_no_card_and_no_contact(desk: Desk, reason: str) -> None:
    await desk.pay()
    asks = [(CANCEL, {"paymentId": "7781", "reason": reason}),
            (REQUEST, {"paymentId": "7781", "reason": reason, "idempotencyKey": "r"})]  # fmt: skip
    for ask, given in asks:
        told = await desk.try_(desk.caller("sber"), ask, input=given)
        assert [error.extensions["code"] for error in told.errors] == ["BAD_USER_INPUT"]
    assert (await desk.ask(STATUS, id="7781"))["state"] == "RECEIVED"


async def test_after_the_day_a_cancellation_is_told_to_ask_for_a_refund(desk: Desk) -> None:
    await desk.pay()
    desk.banks.house.wait(days=1)
    late = await desk.ask(CANCEL, input={"paymentId": "7781", "reason": "ошибка"})
    assert (late["code"], late["hint"]) == ("CANCELLED_TOO_LATE", "Подайте заявление о возврате")


async def test_a_wrong_payment_comes_back_by_a_request_that_the_office_decides(desk: Desk) -> None:
    before = await desk.owed()
    await desk.pay()
    desk.banks.house.wait(days=1)
    asked = {"paymentId": "7781", "reason": "не тот счёт", "idempotencyKey": "refund-1"}
    made = await desk.ask(REQUEST, input=asked)
    again = await desk.ask(REQUEST, input=asked)
    (mine,) = of_node(await desk.ask(LIST))
    (work,) = of_node(await desk.ask(LIST, by=OPERATOR))
    (seen,) = of_node(await desk.ask(LIST, by=AUDITOR))

    request = made["request"]
    assert (request["state"], request["amount"], request["deadline"]) == ("REQUESTED", "200.00", "2024-06-19")
    assert again == {**made, "replayed": True}
    assert mine == work
    assert (work["reason"], seen["reason"], work["ageDays"], work["overdue"]) == ("не тот счёт", None, 0, False)
    assert of_node(await desk.ask(LIST, by=desk.caller("app"))) == []

    decided = {"request": request["id"], "decision": "RETURN", "ground": "заявление"}
    done = await desk.ask(DECIDE, by=OPERATOR, input=decided)
    repeated = await desk.ask(DECIDE, by=OPERATOR, input=decided)
    other = await desk.ask(DECIDE, by=OPERATOR, input={**decided, "decision": "REFUSE"})
    status = await desk.ask(STATUS, id="7781")

    assert (done["__typename"], done["request"]["state"]) == ("RefundDecided", "RETURNED")
    assert repeated == {**done, "replayed": True}
    assert other["__typename"] == "RefundDecidedOtherwise"
    assert (status["state"], status["returned"]) == ("RETURNED", "200.00")
    assert await desk.owed() == before


async def test_a_request_that_waits_too_long_is_overdue(desk: Desk) -> None:
    await desk.pay()
    await desk.ask(REQUEST, input={"paymentId": "7781", "reason": "дважды", "idempotencyKey": "1"})
    desk.banks.house.at = moscow("2024-06-19T23:59")
    assert of_node(await desk.ask(LIST, by=OPERATOR, overdue=True)) == []
    desk.banks.house.wait(minutes=1)
    (late,) = of_node(await desk.ask(LIST, by=OPERATOR, overdue=True))
    assert (late["overdue"], late["ageDays"]) == (True, 31)


async def test_a_refused_request_says_why_and_moves_nothing(desk: Desk) -> None:
    await desk.pay()
    owed = await desk.owed()
    made = await desk.ask(REQUEST, input={"paymentId": "7781", "reason": "передумал", "idempotencyKey": "1"})
    told = {"request": made["request"]["id"], "decision": "REFUSE", "ground": "платёж верен"}
    assert (await desk.ask(DECIDE, by=OPERATOR, input=told))["request"]["state"] == "REFUSED"
    assert await desk.owed() == owed
    (one,) = of_node(await desk.ask(LIST, state="REFUSED"))
    assert one["state"] == "REFUSED"


async def test_what_may_not_be_asked_back_is_refused_with_a_reason(desk: Desk) -> None:
    await desk.pay()
    asked = {"paymentId": "7781", "reason": "ошибка", "idempotencyKey": "1"}
    above = await desk.ask(REQUEST, input={**asked, "amount": "200.01"})
    never = await desk.ask(REQUEST, input={**asked, "paymentId": "no"})
    foreign = await desk.ask(REQUEST, by=desk.caller("app"), input=asked)
    receipt = (await desk.ask(STATUS, id="7781"))["receipt"]
    stolen = await desk.ask(
        REQUEST, by=desk.caller("app"), input={"receipt": receipt, "reason": "ошибка", "idempotencyKey": "1"}
    )
    paper = await desk.ask(
        REQUEST, by=OPERATOR, input={"receipt": receipt, "reason": "заявление", "idempotencyKey": "1"}
    )
    twice = await desk.ask(REQUEST, input=asked)

    assert [each.get("code") for each in (above, never, foreign, stolen, paper, twice)] == [
        "BAD_AMOUNT", "UNKNOWN_PAYMENT", "UNKNOWN_PAYMENT", "UNKNOWN_PAYMENT", None, "PAYMENT_REVERSED",
    ]  # fmt: skip
    unknown = await desk.ask(DECIDE, by=OPERATOR, input={"request": "r-x", "decision": "RETURN", "ground": "нет"})
    assert unknown["code"] == "UNKNOWN_PAYMENT"


async def test_the_developer_at_this_machine_pays_by_plain_ids(desk: Desk) -> None:
    paid = await desk.pay(by=LOCAL)
    assert paid["__typename"] == "PaymentTaken"
    assert (await desk.ask(STATUS, by=LOCAL, id="7781"))["state"] == "RECEIVED"
    desk.banks.house.wait(seconds=timedelta(hours=1).total_seconds())
    assert (await desk.pay(by=LOCAL))["replayed"] is True
