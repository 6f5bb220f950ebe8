"""The bank's transfers: read from its statement, matched to the days they pay."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bels.payments.reconciling.statement import PaymentOrder, StatementError, read_statement
from bels.payments.reconciling.transfers import (
    Part,
    Recorded,
    TransferError,
    check,
    find_transfer,
    list_transfers,
    match_by_itself,
    match_transfer,
    record_transfer,
    record_transfers,
)
from tests.payments.reconciling.books import DAY, NEXT, Books, Row

OWN = "40702810138250123017"
ORDER = PaymentOrder("17", NEXT, Decimal("99.00"), "7707083893", "", "ПАО СБЕРБАНК", "Платежи населения за 20.05.2024")


def document(**fields: str) -> str:
    told = {
        "Номер": "17",
        "Дата": "21.05.2024",
        "Сумма": "99.00",
        "ПлательщикСчет": "30232810400000000225",
        "ПлательщикИНН": "7707083893",
        "Плательщик1": "ПАО СБЕРБАНК",
        "ПолучательСчет": OWN,
        "НазначениеПлатежа": "Перечисление платежей населения за 20.05.2024, реестр 7",
    } | fields
    lines = "".join(f"{key}={value}\r\n" for key, value in told.items())
    return f"СекцияДокумент=Платежное поручение\r\n{lines}КонецДокумента\r\n"


def statement(*documents: str, encoding: str = "Windows") -> str:
    head = f"1CClientBankExchange\r\nВерсияФормата=1.03\r\nКодировка={encoding}\r\nРасчСчет={OWN}\r\n"
    account = f"СекцияРасчСчет\r\nДатаНачала=21.05.2024\r\nРасчСчет={OWN}\r\nКонецРасчСчет\r\n"
    return head + account + "".join(documents) + "КонецФайла\r\n"


@pytest.mark.parametrize(
    ("codec", "named"), [("cp1251", "Windows"), ("cp866", "DOS"), ("utf-8-sig", "UTF-8"), ("utf-8", "UTF-8")]
)
def test_a_statement_is_read_in_whatever_encoding_it_names(codec: str, named: str) -> None:
    (order,) = read_statement(statement(document(), encoding=named).encode(codec) + b"\x1a")
    assert (order.document, order.made_on, order.amount) == ("17", NEXT, Decimal("99.00"))
    assert (order.payer_inn, order.payer) == ("7707083893", "ПАО СБЕРБАНК")
    assert order.purpose.endswith("реестр 7")


def test_what_went_out_is_no_transfer_to_us() -> None:
    out = document(ПолучательСчет="40702810900000000001", ПлательщикСчет=OWN)
    assert read_statement(statement(out, document(Номер="18")).encode("cp1251"))[0].document == "18"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (1, "Номер=1\r\nКонецФайла"),
        (0, ""),
        (18, statement(document()).removesuffix("КонецФайла\r\n")),
        (9, statement(document(Сумма="сто"))),
        (9, statement(document(Дата="31.02.2024"))),
        (9, statement(document(Номер=""))),
        (9, statement(document().removesuffix("КонецДокумента\r\n"))),
        (9, statement("КонецДокумента\r\n")),
    ],
)
def test_a_statement_that_cannot_be_read_says_where(line: int, text: str) -> None:
    with pytest.raises(StatementError) as fault:
        read_statement(text.encode("cp1251"))
    assert fault.value.line == line


async def test_a_statement_is_taken_once_and_only_what_partners_pay_is_kept(books: Books) -> None:
    till, now = books.banks.till, books.banks.house.at
    person = document(
        Номер="5", ПлательщикИНН="500100732259", ПлательщикСчет="40817810000000000001", Плательщик1="Иванов И. И."
    )
    orders = read_statement(statement(document(), person).encode("cp1251"))
    async with books.banks.bels.pool.acquire() as db:
        texts = till.counter.door.raw_texts
        assert await record_transfers(db, till.partners, texts, orders, "operator:7", now) == Recorded((1,), 0, 1)
        assert await record_transfers(db, till.partners, texts, orders, "operator:7", now) == Recorded((), 1, 1)
        (kept,) = await list_transfers(db, None, True, None, 10)
        stored = await db.fetchval("SELECT string_agg(bank_transfer::text, ' ') FROM bank_transfer")
    assert kept.partner == books.partner.client
    assert "Иванов" not in stored
    assert "населения" not in stored
    assert texts.opened(kept.purpose or "").endswith("реестр 7")


async def test_a_transfer_finds_its_day_by_its_purpose_or_by_its_sum(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    await books.compared()
    till, now = books.banks.till, books.banks.house.at
    async with books.banks.bels.pool.acquire() as db:
        texts = till.counter.door.raw_texts
        await record_transfers(db, till.partners, texts, [ORDER], "operator:7", now)
        assert await match_by_itself(db, books.partner, "bels", now) == {DAY}
        assert await match_by_itself(db, books.partner, "bels", now) == set()
        await db.execute("DELETE FROM transfer_part")
        silent = PaymentOrder("18", NEXT, Decimal("99.00"), "7707083893", "", "", "реестр 7")
        await record_transfers(db, till.partners, texts, [silent], "operator:7", now)
        await db.execute("DELETE FROM bank_transfer WHERE document = '17'")
        assert await match_by_itself(db, books.partner, "bels", now) == {DAY}
    books.banks.house.wait(days=4)
    day = await books.compared()
    assert (day.transfer_sum, day.net, day.state) == (Decimal("99.00"), Decimal("99.00"), "CLOSED")


async def test_a_transfer_of_another_sum_differs_and_one_transfer_may_pay_several_days(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    till, now = books.banks.till, books.banks.house.at
    order = PaymentOrder("19", NEXT, Decimal("150.00"), "", "", "", "")
    async with books.banks.bels.pool.acquire() as db:
        texts = till.counter.door.raw_texts
        transfer, known = await record_transfer(db, till.partners, texts, order, "operator:7", now)
        assert (transfer.partner, known) == (None, False)
        again, known = await record_transfer(db, till.partners, texts, order, "operator:7", now)
        assert (again.number, known) == (transfer.number, True)
        client, earlier = books.partner.client, DAY - timedelta(days=1)
        parts = [Part(DAY, Decimal("100.00")), Part(earlier, Decimal("50.00"))]
        days = await match_transfer(db, transfer.number, client, parts, "operator:7", now)
        assert days == {(client, DAY), (client, earlier)}
        shown = await find_transfer(db, transfer.number)
        assert shown is not None
        assert [part.day for part in shown.parts] == [earlier, DAY]
    (found,) = await books.differences()
    assert [found.kind, found.amount] == ["TRANSFER_DIFFERS", 1]

    async with books.banks.bels.pool.acquire() as db:
        parts = [Part(DAY, Decimal("99.00")), Part(earlier, Decimal("51.00"))]
        await match_transfer(db, transfer.number, client, parts, "operator:7", now)
    assert await books.differences() == []


async def test_parts_that_are_not_the_sum_are_refused(books: Books) -> None:
    till, now = books.banks.till, books.banks.house.at
    wrong: list[list[Part]] = [
        [],
        [Part(DAY, Decimal("98.00"))],
        [Part(DAY, Decimal("50.00")), Part(DAY, Decimal("49.00"))],
        [Part(DAY, Decimal("-1.00")), Part(NEXT, Decimal("100.00"))],
    ]
    async with books.banks.bels.pool.acquire() as db:
        transfer, _ = await record_transfer(db, till.partners, till.counter.door.raw_texts, ORDER, "operator:7", now)
        for parts in wrong:
            with pytest.raises(TransferError):
                await match_transfer(db, transfer.number, books.partner.client, parts, "operator:7", now)


@pytest.mark.parametrize(
    ("field", "order"),
    [
        ("document", PaymentOrder("", NEXT, Decimal(1), "", "", "", "")),
        ("amount", PaymentOrder("1", NEXT, Decimal(0), "", "", "", "")),
        ("payerInn", PaymentOrder("1", NEXT, Decimal(1), "500100732259", "", "", "")),
        ("payerAccount", PaymentOrder("1", NEXT, Decimal(1), "", "123", "", "")),
        ("purpose", PaymentOrder("1", NEXT, Decimal(1), "", "", "", "x" * 501)),
    ],
)
def test_a_transfer_that_cannot_be_kept_says_why(field: str, order: PaymentOrder) -> None:
    with pytest.raises(TransferError) as fault:
        check(order)
    assert fault.value.field == field
