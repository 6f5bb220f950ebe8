"""Reconciling over GraphQL: the work list, transfers, closing; a partner sees its own and no more. And what a scanned code pays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from bels.access.callers import LOCAL, Caller, Kind, rights_of
from bels.api.changes import Changes
from bels.api.context import RIGHTS, Asking, Context, Supplier
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from tests.channels.house import opened_house
from tests.payments.conftest import opened_banks
from tests.payments.reconciling.books import CONTRACT, DAY, NEXT, Books, Row

DAYS = """query($partner: String, $day: Date!) { reconciliation(partner: $partner, day: $day) {
  partner title state theirCount theirSum theirFee ourCount ourSum net difference bookDifferences addsUp openDifferences closedBy
  ground reopened differences { number kind amount state workedBy } transfers { document amount purpose } acts { act by ground } } }"""
LIST = """query($partner: String, $state: DifferenceState, $kind: DifferenceKind, $first: Int, $after: String) {
  differences(partner: $partner, state: $state, kind: $kind, first: $first, after: $after) {
    edges { node { number partner day kind side text paymentId theirAmount ourAmount amount ageDays state } }
    pageInfo { hasNextPage endCursor } } }"""
RECORD = """mutation($input: RecordTransferInput!) { recordTransfer(input: $input) { __typename
  ... on TransferRecorded { replayed transfer { number partner purpose parts { day amount } } }
  ... on CommandRefused { code path detail } } }"""
MATCH = """mutation($input: MatchTransferInput!) { matchTransfer(input: $input) { __typename
  ... on TransferMatched { replayed transfer { number parts { day amount } } reconciliations { day transferSum openDifferences } }
  ... on CommandRefused { code path detail } } }"""
WORK = """mutation($input: WorkDifferenceInput!) { workDifference(input: $input) { __typename
  ... on DifferenceWorked { replayed difference { number state ground answerBy workedBy } } ... on CommandRefused { code path } } }"""
CLOSE = """mutation($input: CloseReconciliationInput!) { closeReconciliation(input: $input) { __typename
  ... on ReconciliationClosed { replayed reconciliation { state closedBy ground } }
  ... on ReconciliationNotClosed { text reconciliation { openDifferences } } ... on CommandRefused { code } } }"""
COMPARE = (
    """mutation($input: ReconcileDayInput!) { reconcileDay(input: $input) { reconciliation { theirSum ourSum } } }"""
)
SCAN = """query($text: String!) { readPaymentQr(text: $text) { __typename
  ... on ScannedBill { payee account period amount meter value isOurs } ... on ScannedSbpLink { qrcid once bank amount }
  ... on CodeNotRead { text detail } } }"""

MONEY = Caller(Kind.OPERATOR, "u-7", rights_of(Kind.OPERATOR, ("money",)), Channel.OFFICE, "operator:u-7")
AUDITOR = Caller(Kind.AUDITOR, "u-9", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-9")


@dataclass(slots=True)
class Desk:
    """A supplier that is asked over GraphQL by whoever a test names."""

    books: Books
    supplier: Supplier

    def bank(self, name: str = "sber") -> Caller:
        """Give a bank as a caller."""
        client = self.books.banks.agent(name).partner.client
        return Caller(
            Kind.PARTNER, client, rights_of(Kind.PARTNER, ("registers:read",)), Channel.BANK, f"partner:{client}"
        )

    async def try_(self, query: str, *, by: Caller = MONEY, **variables: Any) -> Any:
        """Ask, whatever comes."""
        connection = HTTPConnection({"type": "http", "headers": [], "client": None})
        context = Context(self.supplier, connection, asking=Asking(by), address="192.0.2.1")
        return await SCHEMA.execute(query, variables, context)

    async def ask(self, query: str, *, by: Caller = MONEY, **variables: Any) -> Any:
        """Ask, and expect no errors; give what the one root field tells."""
        result = await self.try_(query, by=by, **variables)
        assert result.errors is None, result.errors
        (told,) = result.data.values()
        return told


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a supplier with a day of «sber» on which a payment has another sum in the register."""
    async with opened_house(database, tmp_path) as house:
        books = Books(await opened_banks(house, {"sber": {"reconciliation": CONTRACT}}))
        bels, till = books.banks.bels, books.banks.till
        supplier = Supplier(bels.pool, bels.intake, Changes(database), till.counter.door, partners=till.partners)
        await books.paid("1", "100.00")
        await books.register(Row("1", "110.00"))
        house.wait(days=1, hours=12)
        await books.compared()
        yield Desk(books, supplier)


async def worked(desk: Desk, **given: Any) -> Any:
    """Work the first open difference off, with whatever a test changes."""
    (edge,) = (await desk.ask(LIST, state="OPEN"))["edges"]
    usual = {
        "idempotencyKey": "d",
        "difference": edge["node"]["number"],
        "state": "EXPLAINED",
        "ground": "письмо банка",
    }
    return await desk.ask(WORK, input={**usual, **given})


async def test_a_day_shows_its_sums_and_differences_to_the_kopeck(desk: Desk) -> None:
    day = await desk.ask(DAYS, partner="sber", day=DAY.isoformat())

    assert (day["theirSum"], day["ourSum"], day["difference"], day["bookDifferences"]) == (
        "110.00",
        "100.00",
        "10.00",
        "10.00",
    )
    assert (day["theirFee"], day["net"], day["addsUp"], day["state"]) == ("1.10", "108.90", True, "OPEN")
    assert [(each["kind"], each["amount"]) for each in day["differences"]] == [("AMOUNT_DIFFERS", "10.00")]
    assert [act["act"] for act in day["acts"]] == ["FOUND"]


async def test_a_partner_sees_its_own_days_and_not_who_worked_on_them(desk: Desk) -> None:
    await worked(desk)
    own = await desk.ask(DAYS, by=desk.bank(), day=DAY.isoformat())
    assert own["differences"][0]["workedBy"] is None
    assert {act["by"] for act in own["acts"]} == {None}
    client = desk.books.partner.client
    for name in ("sber", client):
        assert await desk.ask(DAYS, by=desk.bank("app"), partner=name, day=DAY.isoformat()) is None
        assert (await desk.ask(LIST, by=desk.bank("app"), partner=name, state=None))["edges"] == []
    assert len((await desk.ask(LIST, by=desk.bank(), state=None))["edges"]) == 1
    seen = await desk.ask(DAYS, by=AUDITOR, partner="sber", day=DAY.isoformat())
    assert seen["differences"][0]["workedBy"] == "operator:u-7"


def test_who_may_see_and_who_may_work() -> None:
    bank, app = rights_of(Kind.PARTNER, ("registers:read",)), rights_of(Kind.PARTNER, ("payments:write",))
    reads = frozenset({"Query.reconciliation", "Query.differences", "Query.bankTransfers", "Reconciliation.acts"})
    works = [
        f"Mutation.{name}" for name in ("recordTransfer", "matchTransfer", "workDifference", "closeReconciliation")
    ]
    for rights in (bank, MONEY.rights, AUDITOR.rights):
        assert RIGHTS.first_refused(reads, rights) is None
    assert RIGHTS.first_refused(reads, app) is not None
    assert RIGHTS.first_refused(reads, rights_of(Kind.CONSUMER)) is not None
    for name in works:
        assert RIGHTS.first_refused(frozenset({name}), MONEY.rights) is None
        for rights in (bank, AUDITOR.rights, rights_of(Kind.OPERATOR)):
            assert RIGHTS.first_refused(frozenset({name}), rights) == name
    assert (
        RIGHTS.first_refused(frozenset({"Query.readPaymentQr", "ScannedBill.account"}), rights_of(Kind.ANONYMOUS))
        is None
    )


async def test_the_work_list_has_an_order_pages_and_an_age(desk: Desk) -> None:
    await desk.books.register(Row("2", "5.00"), Row("3", "6.00"))
    await desk.books.compared()
    desk.books.banks.house.wait(days=2)
    first = await desk.ask(LIST, state="OPEN", first=2)
    rest = await desk.ask(LIST, state="OPEN", after=first["pageInfo"]["endCursor"])
    nodes = [edge["node"] for edge in first["edges"] + rest["edges"]]
    assert [node["kind"] for node in nodes] == ["AMOUNT_DIFFERS", "ONLY_IN_REGISTER", "ONLY_IN_REGISTER"]
    assert {node["ageDays"] for node in nodes} == {2}
    assert nodes[0]["text"] == "суммы различаются"
    assert len((await desk.ask(LIST, state="OPEN", kind="AMOUNT_DIFFERS", partner="sber"))["edges"]) == 1


async def test_a_difference_is_worked_once_under_a_key(desk: Desk) -> None:
    done = await worked(desk, state="ASKED_BANK", ground="запрос 17", answerBy="2024-05-30")
    number = done["difference"]["number"]
    assert done["difference"]["workedBy"] == "operator:u-7"
    same = {
        "idempotencyKey": "d",
        "difference": number,
        "state": "ASKED_BANK",
        "ground": "запрос 17",
        "answerBy": "2024-05-30",
    }
    assert (await desk.ask(WORK, input=same))["replayed"]
    other = await desk.ask(WORK, input={**same, "ground": "другое"})
    assert (other["__typename"], other["code"]) == ("CommandRefused", "MESSAGE_ID_REUSED")


WRONG: list[dict[str, Any]] = [
    {"state": "OPEN"},
    {"ground": "?"},
    {"ground": "звонил +79161234567"},
    {"difference": 0},
    {"difference": 99},
    {"state": "ASKED_BANK"},
    {"answerBy": "2024-05-30"},
    {"state": "ASKED_BANK", "answerBy": "2024-05-01"},
]


async def test_a_wrong_request_changes_nothing(desk: Desk) -> None:
    (edge,) = (await desk.ask(LIST, state="OPEN"))["edges"]
    usual = {
        "idempotencyKey": "d",
        "difference": edge["node"]["number"],
        "state": "EXPLAINED",
        "ground": "письмо банка",
    }
    for wrong in WRONG:
        result = await desk.try_(WORK, input={**usual, **wrong})
        assert result.errors[0].extensions["code"] == "BAD_USER_INPUT", wrong
    assert len((await desk.ask(LIST, state="OPEN"))["edges"]) == 1


async def test_a_day_is_closed_when_its_transfer_has_come_and_all_is_worked_off(desk: Desk) -> None:
    close = {"idempotencyKey": "c", "partner": "sber", "day": DAY.isoformat(), "ground": "разобрано"}
    refused = await desk.ask(CLOSE, input=close)
    assert (refused["__typename"], refused["reconciliation"]["openDifferences"]) == ("ReconciliationNotClosed", 1)
    await worked(desk)
    assert "ожидаются" in (await desk.ask(CLOSE, input=close))["text"]

    transfer = {
        "idempotencyKey": "t",
        "document": "17",
        "madeOn": NEXT.isoformat(),
        "amount": "108.90",
        "payerInn": "7707083893",
        "purpose": "Платежи населения за 20.05.2024",
    }
    recorded = await desk.ask(RECORD, input=transfer)
    assert recorded["transfer"]["partner"] == "sber"
    assert recorded["transfer"]["parts"] == [{"day": DAY.isoformat(), "amount": "108.90"}]
    assert (await desk.ask(RECORD, input=transfer))["replayed"]
    reused = await desk.ask(RECORD, input={**transfer, "amount": "1.00"})
    assert reused["code"] == "MESSAGE_ID_REUSED"

    closed = await desk.ask(CLOSE, input=close)
    assert (closed["__typename"], closed["reconciliation"]["closedBy"]) == ("ReconciliationClosed", "operator:u-7")
    assert (await desk.ask(CLOSE, input=close))["replayed"]
    shown = await desk.ask(DAYS, by=desk.bank(), day=DAY.isoformat())
    assert (shown["state"], shown["ground"], shown["closedBy"]) == ("CLOSED", "разобрано", None)
    assert shown["transfers"][0]["purpose"].endswith("20.05.2024")
    audited = await desk.ask(DAYS, by=AUDITOR, partner="sber", day=DAY.isoformat())
    assert audited["transfers"] == [{"document": "17", "amount": "108.90", "purpose": None}]


async def test_a_transfer_of_nobody_known_is_matched_by_hand(desk: Desk) -> None:
    given = {"idempotencyKey": "t", "document": "18", "madeOn": NEXT.isoformat(), "amount": "108.90"}
    number = (await desk.ask(RECORD, input=given))["transfer"]["number"]
    waiting = "{ bankTransfers(unmatched: true) { edges { node { number partner } } } }"
    assert (await desk.ask(waiting))["edges"] == [{"node": {"number": number, "partner": None}}]
    match = {"idempotencyKey": "m", "transfer": number, "partner": "sber"}
    parts = [{"day": DAY.isoformat(), "amount": "108.90"}]
    wrong = await desk.ask(MATCH, input={**match, "parts": [{"day": DAY.isoformat(), "amount": "108.00"}]})
    assert (wrong["code"], wrong["path"]) == ("BAD_AMOUNT", ["input", "parts"])
    done = await desk.ask(MATCH, input={**match, "parts": parts})
    assert done["reconciliations"] == [{"day": DAY.isoformat(), "transferSum": "108.90", "openDifferences": 1}]
    assert (await desk.ask(MATCH, input={**match, "parts": parts}))["replayed"]
    assert (await desk.ask(waiting))["edges"] == []


async def test_days_are_listed_and_compared_on_demand(desk: Desk) -> None:
    query = '{ reconciliations(partner: "sber", state: OPEN) { edges { node { day state } } } }'
    assert (await desk.ask(query))["edges"] == [{"node": {"day": DAY.isoformat(), "state": "OPEN"}}]
    await desk.books.register(Row("2", "5.00"))
    told = await desk.ask(COMPARE, input={"partner": "sber", "day": DAY.isoformat()})
    assert told["reconciliation"] == {"theirSum": "115.00", "ourSum": "100.00"}
    for wrong in ({"partner": "nobody", "day": DAY.isoformat()}, {"partner": "sber", "day": "2024-05-30"}):
        result = await desk.try_(COMPARE, input=wrong)
        assert result.errors[0].extensions["code"] == "BAD_USER_INPUT"


async def test_a_scanned_code_says_what_it_pays(desk: Desk) -> None:
    bill = "ST00012|Name=БЭЛС|PersonalAcc=40702810138250123017|BankName=Банк|BIC=044525225|CorrespAcc=0|persacc=1000001|PaymPeriod=202405|SUM=124505"
    told = await desk.ask(SCAN, by=LOCAL, text=bill)
    assert (told["account"], told["period"], told["amount"], told["isOurs"]) == ("1000001", "2024-05", "1245.05", True)
    assert not (await desk.ask(SCAN, text=bill.replace("123017", "123018")))["isOurs"]
    link = "https://qr.nspk.ru/AD10004F7SM1QOR38T1RNP592HT1U2MC?type=02&bank=100000000054&sum=4000&cur=RUB&crc=0B61"
    assert (await desk.ask(SCAN, text=link))["amount"] == "40.00"
    spoiled = await desk.ask(SCAN, text=link.replace("sum=4000", "sum=9000"))
    assert (spoiled["__typename"], spoiled["detail"][:3]) == ("CodeNotRead", "crc")
    assert (await desk.ask(SCAN, text="привет"))["__typename"] == "CodeNotRead"
