"""A bill over HTTP: a PDF for whoever sees the bill; name and address stand on it for the household and the office alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pypdfium2  # type: ignore[import-untyped]
import pytest

from bels.access import clients, people, personal, sessions
from bels.access.access_log import page
from bels.access.callers import Kind
from bels.access.door import Door
from bels.access.personal import Personal, subject_of
from bels.access.tokens import Grant
from bels.app import Bels, door_of, opened
from bels.domain.terms import Channel
from bels.observing.health import Readiness
from bels.routes import asgi
from bels.settings import Settings
from bels.web.bills import WAITING_MAX
from tests.domain.vectors import rulebook_of, vectors
from tests.supplier import feed, today

E01 = next(v for v in vectors("billing") if v["id"] == "E01")
ACCOUNT, NEIGHBOUR = "1000001", "1000002"
PATH = "/bills/1000001/2024-05.pdf"
NAME, ADDRESS = "Королёва Алёна Ильинична", "Балашиха, ул. Весёлая, 7"


class Office:
    """The server of a supplier with two households whose bills of May 2024 are known, and credentials for its door."""

    def __init__(self, bels: Bels, door: Door, asked: httpx.AsyncClient) -> None:
        self.bels = bels
        self.door = door
        self.asked = asked

    async def get(self, path: str, as_whom: dict[str, str] | None = None) -> httpx.Response:
        """Ask for a page."""
        return await self.asked.get(path, headers=as_whom or {})

    async def person(self, kind: Kind, *grants: str, account: str | None = None, period: str = "") -> dict[str, str]:
        """Let a person in who sees an account from a period on, and give the header of the credential."""
        async with self.bels.pool.acquire() as db:
            named = await people.add_person(db, self.bels.vault, kind, login=None, password_hash="x", grants=grants)
            if account is not None:
                await db.execute(
                    "INSERT INTO membership (account, person, since, entry, period) VALUES ($1, $2, now(), $3, $4)",
                    account,
                    named,
                    3 if period else 0,
                    period,
                )
            session = (await sessions.begin(db, self.bels.vault, named, today())).session
        return await self._header(Grant(kind=kind, subject=named, session=session))

    async def partner(self, *scopes: str) -> dict[str, str]:
        """Let a bank in, and give the header of its credential."""
        async with self.bels.pool.acquire() as db:
            made = await clients.add_client(
                db, self.bels.vault, Kind.PARTNER, "Банк", Channel.BANK, scopes, None, by="u-root"
            )
        return await self._header(Grant(kind=Kind.PARTNER, subject=made[0], given=scopes))

    async def _header(self, grant: Grant) -> dict[str, str]:
        return {"authorization": f"Bearer {(await self.door.tokens.issue(grant))[0]}"}

    async def reads(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """Give what the record of reading says: which kind of staff read what of which accounts."""
        async with self.bels.pool.acquire() as db:
            return [(row.kind, row.fields, row.accounts) for row in reversed(await page(db, None, 100))]


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    settings = Settings(database_url=database, data_dir=tmp_path)
    async with opened(settings, rulebook_of(E01), today) as bels:
        for account in (ACCOUNT, NEIGHBOUR):
            await feed(bels.intake, E01, account)
        async with bels.pool.acquire() as db:
            await personal.put(db, bels.vault, subject_of(ACCOUNT, 1), Personal(NAME, ADDRESS, ("+79161234567",)))
        door = await door_of(bels, local=False)
        transport = httpx.ASGITransport(asgi(bels, door, Readiness(bels.pool)))
        async with httpx.AsyncClient(transport=transport, base_url="http://bels") as asked:
            yield Office(bels, door, asked)


def text_of(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return "".join(page.get_textpage().get_text_bounded() for page in document)
    finally:
        document.close()


async def test_a_bill_is_printed_without_personal_data_unless_they_are_asked_for(office: Office) -> None:
    owner = await office.person(Kind.CONSUMER, account=ACCOUNT)
    for query in ("", "?personal=0", "?personal=yes", "?personal="):
        answer = await office.get(PATH + query, owner)

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        told = text_of(answer.content)
        assert "без персональных данных" in told
        assert "1\u00a0245,05" in told.replace(" ", "\u00a0")
        assert not any(each in told for each in (NAME, "Королёва", "Весёлая", "9161234567"))


async def test_name_and_address_are_printed_for_the_household_itself(office: Office) -> None:
    answer = await office.get(PATH + "?personal=1", await office.person(Kind.CONSUMER, account=ACCOUNT))

    assert answer.status_code == 200
    told = " ".join(text_of(answer.content).split())
    assert NAME in told
    assert ADDRESS in told
    assert "9161234567" not in told
    assert "без персональных данных" not in told
    assert await office.reads() == []


async def test_a_household_of_which_nothing_is_kept_gets_its_bill_all_the_same(office: Office) -> None:
    path = PATH.replace(ACCOUNT, NEIGHBOUR) + "?personal=1"
    answer = await office.get(path, await office.person(Kind.CONSUMER, account=NEIGHBOUR))

    assert answer.status_code == 200
    assert "без персональных данных" in text_of(answer.content)


async def test_after_an_erasure_nothing_personal_is_printed(office: Office) -> None:
    async with office.bels.pool.acquire() as db:
        await personal.erase(
            db, office.bels.vault, subject_of(ACCOUNT, 1), by="u-1", reason="отзыв", document=None, request_id=""
        )
    answer = await office.get(PATH + "?personal=1", await office.person(Kind.CONSUMER, account=ACCOUNT))

    assert answer.status_code == 200
    assert "Королёва" not in text_of(answer.content)


async def test_a_stranger_is_asked_to_sign_in_and_learns_nothing(office: Office) -> None:
    for path in (PATH, PATH + "?personal=1", "/bills/9999999/2024-05.pdf"):
        answer = await office.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused = await office.get(PATH, {"authorization": "Bearer not-a-token"})
    assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHENTICATED")


async def test_a_foreign_bill_is_told_like_one_that_is_not_there(office: Office) -> None:
    neighbour = await office.person(Kind.CONSUMER, account=NEIGHBOUR)
    foreign = await office.get(PATH, neighbour)
    foreign_named = await office.get(PATH + "?personal=1", neighbour)
    missing = await office.get(PATH.replace(ACCOUNT, "9999999"), neighbour)

    assert foreign.status_code == foreign_named.status_code == missing.status_code == 404
    assert foreign.json() == foreign_named.json()
    assert foreign.text.replace(ACCOUNT, "") == missing.text.replace("9999999", "")


async def test_who_took_the_flat_over_gets_no_bill_of_the_household_before(office: Office) -> None:
    answer = await office.get(PATH, await office.person(Kind.CONSUMER, account=ACCOUNT, period="2024-06"))
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert (await office.get(PATH, await office.person(Kind.CONSUMER, account=ACCOUNT, period="2024-05"))).is_success


async def test_only_operators_of_personal_data_print_them_and_every_print_of_staff_is_recorded(office: Office) -> None:
    operator, of_people = await office.person(Kind.OPERATOR), await office.person(Kind.OPERATOR, "people")
    auditor = await office.person(Kind.AUDITOR)

    refused = [await office.get(PATH + "?personal=1", who) for who in (operator, auditor)]
    assert [(each.status_code, each.json()["code"]) for each in refused] == [(403, "FORBIDDEN")] * 2
    assert await office.reads() == []

    for who in (operator, auditor):
        answer = await office.get(PATH, who)
        assert answer.status_code == 200
        assert "Королёва" not in text_of(answer.content)
    named = await office.get(PATH + "?personal=1", of_people)
    assert "Королёва" in text_of(named.content)
    assert await office.reads() == [
        ("OPERATOR", ("bill",), (ACCOUNT,)),
        ("AUDITOR", ("bill",), (ACCOUNT,)),
        ("OPERATOR", ("bill.personal",), (ACCOUNT,)),
    ]


async def test_banks_inspectors_and_administrators_print_no_bills(office: Office) -> None:
    others = [
        await office.partner("payments:write", "readings:write", "registers:read"),
        await office.person(Kind.INSPECTOR),
        await office.person(Kind.ADMINISTRATOR),
    ]
    for who in others:
        for path in (PATH, PATH + "?personal=1"):
            answer = await office.get(path, who)
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/bills/1000001/2024-06.pdf", 404, "NOT_FOUND"),
        ("/bills/9999999/2024-05.pdf", 404, "NOT_FOUND"),
        ("/bills/1000001/2024-13.pdf", 400, "BAD_USER_INPUT"),
        ("/bills/10/2024-05.pdf", 400, "BAD_USER_INPUT"),
        ("/bills/%D9%A1000001/2024-05.pdf", 400, "BAD_USER_INPUT"),
        ("/bills/1000001/ivanov@example.ru.pdf", 400, "BAD_USER_INPUT"),
    ],
)
async def test_a_bill_that_is_not_there_is_refused_with_a_reason(
    office: Office, path: str, status: int, code: str
) -> None:
    answer = await office.get(path, await office.person(Kind.OPERATOR))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["error"]


async def test_a_bill_is_only_read(office: Office) -> None:
    owner = await office.person(Kind.CONSUMER, account=ACCOUNT)
    answer = await office.asked.post(PATH, headers=owner, json={"name": NAME, "address": ADDRESS})
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


async def test_when_too_many_wait_the_rest_is_told_to_come_again(office: Office) -> None:
    owner = await office.person(Kind.CONSUMER, account=ACCOUNT)
    more = 10
    printing_may_begin = threading.Event()
    # The printer is busy with something else.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(printing_may_begin.wait, 60))
    asked = [asyncio.create_task(office.get(PATH, owner)) for _ in range(WAITING_MAX + more)]
    async with asyncio.timeout(30):
        refused = [await each for _, each in zip(range(more), asyncio.as_completed(asked), strict=False)]
    printing_may_begin.set()
    await busy
    answers = await asyncio.gather(*asked)

    assert sum(answer.is_success for answer in answers) == WAITING_MAX
    for answer in refused:
        assert answer.status_code == 429
        assert answer.json()["code"] == "RATE_LIMITED"
        assert int(answer.headers["retry-after"]) > 0
    assert (await office.get(PATH, owner)).is_success
