"""A bill over HTTP: a PDF without personal data, or with the name and address that are posted and never stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pypdfium2  # type: ignore[import-untyped]
import pytest
from starlette.applications import Starlette

from bels.domain.rulebook import Requisites
from bels.intake import Intake
from bels.projections import bills
from bels.projections.bills import Bill
from bels.web.bills import bill_routes
from tests.domain.vectors import rulebook_of, vectors
from tests.supplier import feed, today

E01 = next(v for v in vectors("billing") if v["id"] == "E01")


@pytest.fixture
async def client(pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    rulebook = rulebook_of(E01)
    async with Intake(pool, rulebook, today).running() as intake:
        await feed(intake, E01, "1000001")

    async def find(account: str, period: str) -> tuple[Bill, Requisites | None] | None:
        async with pool.acquire() as db:
            bill = await bills.find(db, account, period, rulebook)
        return (bill, None) if bill is not None else None

    transport = httpx.ASGITransport(Starlette(routes=bill_routes(find)))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as asked:
        yield asked


def text_of(pdf: bytes) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return "".join(page.get_textpage().get_text_bounded() for page in document)
    finally:
        document.close()


async def test_a_bill_is_printed_without_personal_data(client: httpx.AsyncClient) -> None:
    answer = await client.get("/bills/1000001/2024-05.pdf")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    assert "без персональных данных" in text_of(answer.content)
    assert "1\u00a0245,05" in text_of(answer.content).replace(" ", "\u00a0")


async def test_a_name_and_an_address_are_printed_and_not_stored(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    named = {"name": "Королёва Алёна Ильинична", "address": "Балашиха, ул. Весёлая, 7"}
    answer = await client.post("/bills/1000001/2024-05.pdf", json=named)

    assert answer.status_code == 200
    assert "Королёва Алёна Ильинична" in text_of(answer.content)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE raw LIKE '%Королёва%'") == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/bills/1000001/2024-06.pdf", 404),
        ("/bills/9999999/2024-05.pdf", 404),
        ("/bills/1000001/2024-13.pdf", 400),
        ("/bills/10/2024-05.pdf", 400),
        ("/bills/%D9%A1000001/2024-05.pdf", 400),
    ],
)
async def test_a_bill_that_is_not_there_is_refused_with_a_reason(
    client: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await client.get(path)

    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 400),
        (b"[1", "application/json", 400),
        (b'{"name": "", "address": "x"}', "application/json", 400),
        (b'{"name": "x", "address": "y", "phone": "z"}', "application/json", 400),
        (b'{"name": "' + b"x" * 5000 + b'", "address": "y"}', "application/json", 413),
        (b"name=x", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_a_bad_name_is_refused_with_a_reason(
    client: httpx.AsyncClient, body: bytes, kind: str, status: int
) -> None:
    answer = await client.post("/bills/1000001/2024-05.pdf", content=body, headers={"content-type": kind})

    assert answer.status_code == status
    assert answer.json()["error"]
