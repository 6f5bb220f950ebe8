"""Registers over GraphQL and by upload: a bank sees and sends its own, an operator of money decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request

from bels.access.callers import LOCAL, SCOPES, Caller, Kind, rights_of
from bels.access.tokens import Grant
from bels.api.changes import Changes
from bels.api.context import RIGHTS, Asking, Context, Supplier, caller_of
from bels.api.engine.context import RefusedError
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from bels.payments.registers import taking
from bels.payments.registers.files import FileState, RegisterFile
from bels.web import registers as web
from bels.web.refused import Refused
from bels.web.registers import register_routes
from tests.payments.registers.desk import Desk, day, opened_desk

ROWS = ["p-1;1000001;200.00", "p-2;10000O1;50.00", "p-3;1999999;7.00"]

LIST = """query($partner: String, $day: Date, $state: RegisterState, $after: String) {
  registers(partner: $partner, day: $day, state: $state, first: 1, after: $after) {
    edges { cursor node { file state partnerTitle number day } } pageInfo { hasNextPage } } }"""
ONE = """query($id: ID!) { register(id: $id) { layout name way rowCount amount fee transfer fault faultText detail sha256
  totals { outcome count amount }
  rows(outcome: REVIEW) { edges { node { line accountNumber amount outcome reason text raw } } } } }"""
RELEASE = """mutation($input: ReleaseRegisterInput!) { releaseRegister(input: $input) { __typename
  ... on RegisterReleased { register { state ground } } ... on RegisterNotWaiting { register { state } } } }"""
REJECT = """mutation($input: RejectRegisterInput!) { rejectRegister(input: $input) { __typename
  ... on RegisterRejected { register { state } } ... on RegisterNotWaiting { register { state } } } }"""
RESOLVE = """mutation($input: ResolveRegisterRowInput!) { resolveRegisterRow(input: $input) { __typename
  ... on RegisterRowResolved { row { outcome paymentId ground } } ... on RegisterRowNotWaiting { row { outcome } }
  ... on Refusal { code path } } }"""


def operator(*grants: str) -> Caller:
    """Give an operator with these grants."""
    return Caller(Kind.OPERATOR, "u-1", rights_of(Kind.OPERATOR, grants), Channel.OFFICE, "operator:u-1")


@dataclass(slots=True)
class Asked:
    """Who asks the API of a supplier that takes registers."""

    desk: Desk
    supplier: Supplier
    caller: Caller = field(default=LOCAL)

    def bank(self, name: str = "sber", *scopes: str) -> Caller:
        """Give a bank with these scopes, all by default."""
        agent = self.desk.banks.agent(name)
        rights = rights_of(Kind.PARTNER, scopes or tuple(SCOPES))
        return Caller(Kind.PARTNER, agent.partner.client, rights, Channel.BANK, agent.actor)

    async def ask(self, query: str, **variables: Any) -> tuple[dict[str, Any], list[str]]:
        """Ask, and give the data and the codes of the errors."""
        connection = HTTPConnection({"type": "http", "headers": [], "client": None})
        context = Context(self.supplier, connection, asking=Asking(self.caller), address="192.0.2.1")
        result = await SCHEMA.execute(query, variables, context)
        return result.data or {}, [str((error.extensions or {}).get("code")) for error in result.errors or ()]

    async def told(self, query: str, **variables: Any) -> Any:
        """Ask, and expect no errors."""
        data, errors = await self.ask(query, **variables)
        assert not errors, errors
        (answer,) = data.values()
        return answer

    async def id_of(self, file: RegisterFile) -> str:
        """Give the id of a file as the API has it."""
        rows = await self.told("{ registers(first: 100) { edges { node { id file } } } }")
        return next(str(row["node"]["id"]) for row in rows["edges"] if row["node"]["file"] == file.file)


@pytest.fixture
async def asked(database: str, tmp_path: Path) -> AsyncIterator[Asked]:
    """Open a supplier whose two banks bring registers."""
    async with opened_desk(database, tmp_path) as desk:
        bels = desk.banks.bels
        till = desk.till
        supplier = Supplier(bels.pool, bels.intake, Changes(bels.url), till.counter.door, partners=till.partners)
        yield Asked(desk, supplier)


async def test_a_bank_sees_its_own_registers_and_their_rows(asked: Asked) -> None:
    mine = (await asked.desk.receive(day(ROWS))).file
    other = (await asked.desk.receive(day(ROWS, 8), bank="app")).file
    last = (await asked.desk.receive(day(["p-9;1000001;1.00"], 9, total="2.00"))).file
    asked.caller = asked.bank()

    page = await asked.told(LIST)
    rest = await asked.told(LIST, after=page["edges"][0]["cursor"])
    one = await asked.told(ONE, id=await asked.id_of(mine))

    assert page["edges"][0]["node"] == {
        "file": last.file,
        "state": "QUARANTINED",
        "partnerTitle": "Сбербанк",
        "number": "9",
        "day": "2024-05-20",
    }
    assert (page["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
    assert rest["edges"][0]["node"]["file"] == mine.file
    assert [(t["outcome"], t["count"], t["amount"]) for t in one["totals"]] == [
        ("CREDITED", 1, "200.00"),
        ("REVIEW", 1, "50.00"),
        ("UNALLOCATED", 1, "7.00"),
    ]
    (waits,) = one["rows"]["edges"]
    assert waits["node"] == {
        "line": 3,
        "accountNumber": "10000O1",
        "amount": "50.00",
        "outcome": "REVIEW",
        "reason": "BAD_ACCOUNT",
        "text": "Лицевой счёт записан не цифрами.",
        "raw": "p-2;10000O1;50.00;;2024-05-20T10:00:00;;;",
    }
    assert (one["rowCount"], one["amount"], one["sha256"]) == (3, "257.00", mine.sha256.hex())
    asked.caller = LOCAL
    strange = await asked.id_of(other)
    asked.caller = asked.bank()
    assert await asked.told(ONE, id=strange) is None
    assert (await asked.told(LIST, partner="app"))["edges"][0]["node"]["file"] == last.file


async def test_registers_are_for_who_may_see_them(asked: Asked) -> None:
    def may(field: str, caller: Caller) -> bool:
        return RIGHTS.first_refused(frozenset({field}), caller.rights) is None

    file = (await asked.desk.receive(day(ROWS))).file
    named = await asked.id_of(file)

    assert not any(
        may("Query.registers", caller)
        for caller in (asked.bank("sber", "payments:write"), operator(), operator("people"))
    )
    assert not any(
        may(f"Mutation.{mutation}", caller)
        for mutation in ("releaseRegister", "rejectRegister", "resolveRegisterRow")
        for caller in (
            asked.bank(),
            operator(),
            Caller(Kind.AUDITOR, "u-2", rights_of(Kind.AUDITOR), Channel.OFFICE, ""),
        )
    )
    asked.caller = operator("money")
    one = await asked.told(ONE, id=named)
    assert one["rows"]["edges"][0]["node"]["raw"] is None
    assert (await asked.told(LIST, partner="sber", day="2024-05-20", state="TAKEN"))["edges"] != []
    assert (await asked.told(LIST, partner="app"))["edges"] == []
    assert (await asked.ask(ONE, id="cGF5"))[1] == ["BAD_USER_INPUT"]


async def test_an_operator_of_money_lets_a_register_go_on(asked: Asked) -> None:
    file = (await asked.desk.receive(day(["p-9;1000001;1.00"], total="2.00"))).file
    asked.caller = operator("money")
    given = {"id": await asked.id_of(file), "ground": "итог исправлен письмом банка"}

    one = await asked.told(ONE, id=given["id"])
    released = await asked.told(RELEASE, input=given)
    await taking.take_waiting(asked.desk.till)
    again = await asked.told(RELEASE, input=given)
    rejected = await asked.told(REJECT, input=given)

    assert (one["fault"], one["faultText"], one["detail"]) == (
        "TOTALS_DIFFER",
        "Итоги файла не сходятся с его строками.",
        "sum: 2.00 ≠ 1.00",
    )
    assert released == {
        "__typename": "RegisterReleased",
        "register": {"state": "RECEIVED", "ground": "итог исправлен письмом банка"},
    }
    assert again == rejected == {"__typename": "RegisterNotWaiting", "register": {"state": "TAKEN"}}
    assert (await asked.ask(RELEASE, input={**given, "ground": "8 916 123-45-67"}))[1] == ["BAD_USER_INPUT"]
    assert (await asked.ask(RELEASE, input={**given, "layout": "night"}))[1] == ["BAD_USER_INPUT"]


async def test_a_register_is_rejected(asked: Asked) -> None:
    file = (await asked.desk.receive(day(["p-9;1000001;1.00"], total="2.00"))).file
    asked.caller = operator("money")

    rejected = await asked.told(REJECT, input={"id": await asked.id_of(file), "ground": "банк пришлёт новый"})

    assert rejected == {"__typename": "RegisterRejected", "register": {"state": "REJECTED"}}


async def test_an_operator_of_money_says_what_a_row_means(asked: Asked) -> None:
    file = (await asked.desk.receive(day([*ROWS, "p-4;;3.00"]))).file
    asked.caller = operator("money")
    given = {"id": await asked.id_of(file), "line": 3, "ground": "плательщик назвал счёт"}

    refused = await asked.told(RESOLVE, input=given)
    done = await asked.told(RESOLVE, input={**given, "account": "1000001"})
    again = await asked.told(RESOLVE, input={**given, "account": "1000001"})
    dismissed = await asked.told(RESOLVE, input={**given, "line": 5, "dismiss": True})

    assert refused == {"__typename": "CommandRefused", "code": "BAD_ACCOUNT", "path": ["input", "account"]}
    assert done == {
        "__typename": "RegisterRowResolved",
        "row": {"outcome": "CREDITED", "paymentId": "p-2", "ground": "плательщик назвал счёт"},
    }
    assert again == {"__typename": "RegisterRowNotWaiting", "row": {"outcome": "CREDITED"}}
    assert dismissed["row"]["outcome"] == "DISMISSED"
    for wrong in ({"line": 77}, {"line": 0}, {"line": 3, "dismiss": True, "account": "1000001"}):
        assert (await asked.ask(RESOLVE, input={**given, **wrong}))[1] == ["BAD_USER_INPUT"]


# By upload -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank that uploads."""

    asked: Asked
    http: httpx.AsyncClient

    async def token(self, *scopes: str, name: str = "sber") -> dict[str, str]:
        """Sign a bank in."""
        client = self.asked.desk.banks.agent(name).partner.client
        grant = Grant(kind=Kind.PARTNER, subject=client, given=scopes or ("payments:write",))
        issued = await self.asked.desk.till.counter.door.tokens.issue(grant)
        return {"authorization": f"Bearer {issued[0]}"}


@pytest.fixture
async def bank(asked: Asked) -> AsyncIterator[Bank]:
    """Serve the route of uploads."""

    class Callers:
        """Who asks, as the served supplier knows it."""

        async def caller(self, request: Request) -> Caller:
            """Say who asks."""
            try:
                return await caller_of(asked.supplier.door, request)
            except RefusedError as refusal:
                raise Refused(refusal.status, refusal.code, refusal.message) from None

    app = Starlette(routes=register_routes(Callers(), asked.desk.till))
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels.example") as http:
        yield Bank(asked, http)


async def test_a_file_is_sent_as_it_is_or_in_a_form_and_once(bank: Bank) -> None:
    content, signed = day(ROWS), await bank.token()

    first = await bank.http.post("/partners/registers/day?name=D17.csv", content=content, headers=signed)
    form = {"file": ("../D18.csv", content, "text/csv")}
    again = await bank.http.post("/partners/registers/day", files=form, headers=signed)
    new = await bank.http.post("/partners/registers/day", files={"file": ("D19.csv", day(ROWS[:1], 8))}, headers=signed)

    assert (first.status_code, again.status_code, new.status_code) == (200, 200, 200)
    told = first.json()
    assert told["state"] == "TAKEN"
    assert told["totals"] == {"count": 3, "sum": "257.00", "fee": "0.00", "transfer": "257.00"}
    assert (told["number"], told["day"], told["fault"]) == ("7", "2024-05-20", None)
    assert again.json() == {**told, "repeated": True}
    kept = await bank.asked.desk.find(new.json()["register"])
    assert (kept.name, kept.way) == ("D19.csv", "UPLOAD")


async def test_a_file_in_quarantine_is_an_answer(bank: Bank) -> None:
    content = day(ROWS, total="1.00")
    told = await bank.http.post("/partners/registers/day", content=content, headers=await bank.token())

    assert told.status_code == 200
    answer = told.json()
    assert (answer["state"], answer["fault"], answer["text"]) == (
        "QUARANTINED",
        "TOTALS_DIFFER",
        "Итоги файла не сходятся с его строками.",
    )


async def test_a_long_file_is_booked_after_its_answer(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "AT_ONCE_BYTES_MAX", 10)

    told = await bank.http.post("/partners/registers/day", content=day(ROWS), headers=await bank.token())
    await taking.take_waiting(bank.asked.desk.till)

    assert (told.status_code, told.json()["state"]) == (202, "RECEIVED")
    assert (await bank.asked.desk.find(told.json()["register"])).state is FileState.TAKEN


async def test_who_may_not_send_a_register_is_told_so(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    path, content = "/partners/registers/day", day(ROWS)
    signed = await bank.token()
    forbidden = await bank.http.post(path, content=content, headers=await bank.token("registers:read"))
    nobody = await bank.http.post(path, content=content)
    nowhere = await bank.http.post("/partners/registers/night", content=content, headers=signed)
    empty_form = await bank.http.post(path, files={"note": (None, "x")}, headers=signed)
    monkeypatch.setattr(web, "FORM_BYTES_MAX", 10)
    large = await bank.http.post(path, content=content, headers=signed)
    monkeypatch.setattr(web, "UPLOADS_AT_ONCE_MAX", 0)
    many = await bank.http.post(path, content=content, headers=signed)

    answers = [(each.status_code, each.json()["code"]) for each in (forbidden, nowhere, empty_form, large, many)]
    assert nobody.status_code in (401, 403)
    assert nowhere.json()["error"].startswith("there is no register night here: only ")
    assert answers == [
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (400, "BAD_USER_INPUT"),
        (413, "TOO_LARGE"),
        (429, "RATE_LIMITED"),
    ]


async def test_a_bank_that_sends_slowly_keeps_no_other_from_sending(bank: Bank) -> None:
    path, slow, fast = "/partners/registers/day", await bank.token(), await bank.token(name="app")
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def dripping(number: int) -> AsyncIterator[bytes]:
        begun.release()
        yield day(ROWS, number)[:10]
        await go_on.wait()
        yield day(ROWS, number)[10:]

    sent = [
        asyncio.create_task(bank.http.post(path, content=dripping(number), headers=slow))
        for number in range(web.UPLOADS_OF_ONE_MAX)
    ]
    for _ in sent:
        await begun.acquire()

    one_more = await bank.http.post(path, content=day(ROWS), headers=slow)
    other = await bank.http.post(path, content=day(ROWS), headers=fast)
    go_on.set()

    assert (one_more.status_code, one_more.json()["code"]) == (429, "RATE_LIMITED")
    assert other.status_code == 200
    assert [(await each).status_code for each in sent] == [200] * len(sent)
    assert (await bank.http.post(path, content=day(ROWS), headers=slow)).status_code == 200
