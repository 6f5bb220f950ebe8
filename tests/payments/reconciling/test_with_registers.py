"""Registers that were really taken, compared: what their room did to them is what reconciling finds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from bels.payments.registers.files import Way
from bels.payments.registers.taking import receive_file
from tests.channels.house import opened_house
from tests.payments.conftest import opened_banks
from tests.payments.reconciling.books import CONTRACT, NEXT, Books
from tests.payments.registers.desk import REGISTERS, day

TOCHKA = "TRANS_DATE;TRANSACTION_ID;SUM;COMMISSION;USER_INFO;PARENT_TRANSACTION_ID;TRANSACTION_TYPE"


@pytest.fixture
async def books(database: str, tmp_path: Path) -> AsyncIterator[Books]:
    """Open a supplier whose bank «sber» brings registers and is reconciled with."""
    async with opened_house(database, tmp_path) as house:
        yield Books(await opened_banks(house, {"sber": {"reconciliation": CONTRACT, "registers": REGISTERS}}))


async def take(books: Books, content: bytes, name: str = "D.csv") -> None:
    """Take a register."""
    taken = await receive_file(books.banks.till, books.partner, name, [content], Way.UPLOAD)
    assert taken.file.state == "TAKEN", taken


def zipped(*rows: str) -> bytes:
    """Pack a day's CSV."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("day.csv", "\n".join((TOCHKA, *rows)))
    return packed.getvalue()


async def test_what_a_register_credits_meets_and_corrects_agrees_with_our_books(books: Books) -> None:
    for payment_id, amount in (("online", "200.00"), ("79161234567", "50.00"), ("dear", "90.00"), ("alone", "7.00")):
        await books.paid(payment_id, amount)
    books.banks.house.wait(days=1, hours=12)
    rows = ["online;1000001;200.00;2.00", "79161234567;1000001;50.00;0.50", "dear;1000001;95.00;0.95"]
    await take(books, day([*rows, "cash;1000003;10.00;0.10", "nobody;1999999;3.00;0.03"]))

    found = await books.told_of()

    assert found == [
        ("AMOUNT_DIFFERS", Decimal("0.00")),
        ("ONLY_IN_BELS", Decimal("-7.00")),
        ("UNALLOCATED", Decimal("0.00")),
    ]
    shown = await books.compared()
    assert [shown.their_sum, shown.our_sum, shown.net] == [Decimal("358.00"), Decimal("365.00"), Decimal("354.42")]


async def test_money_that_a_register_gives_back_in_part_agrees_on_both_days(books: Books) -> None:
    books.banks.house.wait(days=3)
    await take(books, zipped("2024-05-20 10:00:00;1;100,00;1,00;1000001;;PAYMENT"), "one.zip")
    await take(books, zipped("2024-05-21 10:00:00;2;30,00;0;1000001;1;REFUND"), "two.zip")

    assert await books.told_of() == []
    assert await books.told_of(NEXT) == []
    assert [(await books.compared()).our_sum, (await books.compared(NEXT)).our_sum] == [100, -30]
