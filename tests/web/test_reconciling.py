"""Reports of reconciled days over HTTP: a partner has its own; an operator of money hands a bank's statement in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from bels.access import people, sessions
from bels.access.access_log import page
from bels.access.callers import Kind
from bels.access.tokens import Grant
from bels.api.context import RIGHTS
from bels.payments.reconciling.statement import STATEMENT_BYTES_MAX
from bels.visitors import Visitors
from bels.web.reconciling import reconciling_routes
from tests.channels.house import opened_house
from tests.payments.conftest import opened_banks
from tests.payments.reconciling.books import CONTRACT, Books, Row
from tests.payments.reconciling.test_transfers import document, statement

CSV, HTML = "/reconciliations/sber/2024-05-20.csv", "/reconciliations/sber/2024-05-20.html"
STATEMENT = "/reconciliations/statement"


@dataclass(slots=True)
class Office:
    """The routes of a supplier with a day of «sber» on which a payment has another sum in the register."""

    books: Books
    asked: httpx.AsyncClient

    async def bank(self, name: str, *scopes: str) -> dict[str, str]:
        """Give the header of a bank's credential."""
        client = self.books.banks.agent(name).partner.client
        return await self._header(Grant(kind=Kind.PARTNER, subject=client, given=scopes or ("registers:read",)))

    async def staff(self, kind: Kind, *grants: str) -> dict[str, str]:
        """Let somebody of the office in, and give the header of the credential."""
        bels = self.books.banks.bels
        async with bels.pool.acquire() as db:
            named = await people.add_person(db, bels.vault, kind, login=None, password_hash="x", grants=grants)
            session = (await sessions.begin(db, bels.vault, named, self.books.banks.house.at)).session
        return await self._header(Grant(kind=kind, subject=named, session=session))

    async def _header(self, grant: Grant) -> dict[str, str]:
        tokens = self.books.banks.till.counter.door.tokens
        return {"authorization": f"Bearer {(await tokens.issue(grant))[0]}"}


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with opened_house(database, tmp_path) as house:
        books = Books(await opened_banks(house, {"sber": {"reconciliation": CONTRACT}}))
        await books.paid("1", "100.00")
        await books.register(Row("1", "110.00"))
        house.wait(hours=13)
        await books.compared()
        till = books.banks.till
        visitors = Visitors(books.banks.bels.pool, till.counter.door)
        transport = httpx.ASGITransport(Starlette(routes=reconciling_routes(till, visitors, RIGHTS)))
        async with httpx.AsyncClient(transport=transport, base_url="http://bels") as asked:
            yield Office(books, asked)


async def test_a_partner_has_the_report_of_its_own_day_alone(office: Office) -> None:
    own = await office.asked.get(CSV, headers=await office.bank("sber"))
    assert own.status_code == 200
    assert own.headers["content-type"] == "text/csv; charset=cp1251"
    assert own.headers["content-disposition"] == 'attachment; filename="sverka_sber_2024-05-20.csv"'
    assert "суммы различаются" in own.content.decode("cp1251")
    utf = await office.asked.get(f"{CSV}?encoding=UTF-8", headers=await office.bank("sber"))
    assert "суммы различаются" in utf.content.decode()

    foreign = await office.asked.get(CSV, headers=await office.bank("app"))
    never = await office.asked.get(CSV.replace("05-20", "05-01"), headers=await office.bank("sber"))
    assert (foreign.status_code, foreign.json()) == (never.status_code, never.json())
    assert foreign.status_code == 404


async def test_staff_is_recorded_and_the_page_runs_nothing(office: Office) -> None:
    shown = await office.asked.get(HTML, headers=await office.staff(Kind.AUDITOR))
    assert shown.status_code == 200
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    async with office.books.banks.bels.pool.acquire() as db:
        read = (await page(db, None, 10))[0]
    assert (read.fields, read.accounts) == (("reconciliation.report",), ("1000001",))


async def test_what_cannot_be_meant_is_refused(office: Office) -> None:
    header = await office.bank("sber")
    for path, status in (
        ("/reconciliations/sber/2024-02-31.csv", 400),
        ("/reconciliations/sber/2024-05-20.xls", 400),
        (f"{CSV}?encoding=koi8-r", 400),
        ("/reconciliations/nobody/2024-05-20.csv", 404),
        ("/reconciliations/sber/2099-05-20.csv", 404),
    ):
        assert (await office.asked.get(path, headers=header)).status_code == status, path


async def test_nobody_and_others_are_refused(office: Office) -> None:
    nobody = await office.asked.get(CSV)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    assert (await office.asked.get(CSV, headers=await office.bank("sber", "payments:write"))).status_code == 403
    for header in (await office.bank("sber"), await office.staff(Kind.AUDITOR), await office.staff(Kind.OPERATOR)):
        assert (await office.asked.post(STATEMENT, content=b"", headers=header)).status_code == 403


async def test_a_statement_is_handed_in_once_and_closes_what_it_pays(office: Office) -> None:
    money = await office.staff(Kind.OPERATOR, "money")
    text = statement(document(Сумма="108.90"), document(Номер="5", ПлательщикИНН="", ПлательщикСчет="")).encode(
        "cp1251"
    )
    first = await office.asked.post(STATEMENT, content=text, headers=money)
    again = await office.asked.post(STATEMENT, content=text, headers=money)
    assert first.json() == {"new": [1], "known": 0, "others": 1}
    assert again.json() == {"new": [], "known": 1, "others": 1}
    assert (await office.books.compared()).transfer_sum == (await office.books.compared()).net


async def test_a_statement_that_cannot_be_read_stores_nothing(office: Office) -> None:
    money = await office.staff(Kind.OPERATOR, "money")
    half = await office.asked.post(STATEMENT, content=statement(document()).encode("cp1251")[:-12], headers=money)
    assert (half.status_code, half.json()["code"]) == (422, "BAD_STATEMENT")
    unfit = statement(document(ПлательщикСчет="12")).encode("cp1251")
    assert (await office.asked.post(STATEMENT, content=unfit, headers=money)).json()["code"] == "BAD_TRANSFER"
    large = await office.asked.post(STATEMENT, content=b"x" * (STATEMENT_BYTES_MAX + 1), headers=money)
    assert large.status_code == 413
