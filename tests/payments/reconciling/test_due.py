"""The night's work: yesterday and what changed, once, and nothing where nothing did."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from bels.payments.partners import Partner, PartnersError
from bels.payments.reconciling.contracts import SECTION, Terms, terms_of
from bels.payments.reconciling.differences import DifferenceState, of_day, work, work_list
from bels.payments.reconciling.due import check_contracts, reconcile_due
from bels.payments.reconciling.report import Form, ReportEncoding, report, report_name
from bels.payments.reconciling.statement import PaymentOrder
from bels.payments.reconciling.three_ways import day_of, days
from bels.payments.reconciling.transfers import record_transfers
from tests.payments.reconciling.books import CONTRACT, DAY, NEXT, Books, Row


async def due(books: Books) -> int:
    """Do the night's work."""
    return await reconcile_due(books.banks.till, books.banks.house.at)


async def test_the_night_compares_every_day_that_should_have_a_register_and_then_rests(books: Books) -> None:
    await books.paid("1", "100.00")
    books.banks.house.wait(hours=13)
    # The contract is of 1 May.
    assert await due(books) == 20
    assert await due(books) == 0


async def test_only_what_changed_is_compared_again(books: Books) -> None:
    await books.paid("1", "100.00")
    books.banks.house.wait(hours=13)
    await due(books)

    await books.register(Row("1", "100.00"))
    assert await due(books) == 1
    assert await due(books) == 0

    books.banks.house.wait(days=1)
    # A new day, and the register of the day before it is missed no more.
    assert await due(books) == 2

    async with books.banks.bels.pool.acquire() as db:
        till = books.banks.till
        order = PaymentOrder("17", NEXT, Decimal("99.00"), "7707083893", "", "", "за 20.05.2024")
        await record_transfers(db, till.partners, till.counter.door.raw_texts, [order], "operator:7", till.now())
        assert await due(books) == 1
        day = await day_of(db, books.partner.client, DAY)
    assert day is not None
    assert (day.state, day.closed_by) == ("CLOSED", "bels:reconciling")


async def test_a_date_that_differs_has_both_its_days_compared(books: Books) -> None:
    await books.paid("1", "100.00")
    books.banks.house.wait(days=2)
    await due(books)
    await books.register(Row("1", "100.00", on=NEXT), day=NEXT)
    await due(books)
    async with books.banks.bels.pool.acquire() as db:
        client = books.partner.client
        assert {each.kind for each in await of_day(db, client, DAY) if each.state == "OPEN"} == {
            "REGISTER_MISSING",
            "DATE_DIFFERS",
        }
        assert {each.kind for each in await of_day(db, client, NEXT) if each.state == "OPEN"} == {"DATE_DIFFERS"}


async def test_a_register_of_long_ago_is_compared_all_the_same(books: Books) -> None:
    await books.register(Row("1", "100.00", on=DAY - timedelta(days=90)), day=DAY)
    await due(books)
    async with books.banks.bels.pool.acquire() as db:
        found = await of_day(db, books.partner.client, DAY - timedelta(days=90))
    assert [(each.kind.value, each.amount) for each in found] == [
        ("ONLY_IN_REGISTER", Decimal("100.00")),
        ("TRANSFER_MISSING", Decimal("-99.00")),
    ]


async def test_what_the_bank_did_not_answer_opens_its_day_again(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "110.00"))
    await books.compared()
    async with books.banks.bels.pool.acquire() as db:
        client, now = books.partner.client, books.banks.house.at
        (found,) = await of_day(db, client, DAY)
        await work(db, found.number, DifferenceState.ASKED_BANK, "запрос 17", NEXT, "operator:7", now)
        books.banks.house.wait(days=2)
        await due(books)
        listed = await work_list(db, DifferenceState.OPEN, found.kind, client, None, 10)
        assert [(each.number, each.reopened) for each in listed] == [(found.number, 1)]
        rest = await work_list(db, None, None, client, (found.found_at, found.number), 100)
        assert found.number not in [each.number for each in rest]


async def test_days_are_listed_in_their_order(books: Books) -> None:
    books.banks.house.wait(days=1)
    await due(books)
    async with books.banks.bels.pool.acquire() as db:
        client = books.partner.client
        first = await days(db, client, DAY - timedelta(days=3), DAY, None, None, 2)
        more = await days(db, client, DAY - timedelta(days=3), DAY, "OPEN", (first[-1].day, client), 10)
    assert [each.day for each in first + more] == [DAY - timedelta(days=back) for back in (3, 2, 1, 0)]


async def test_a_report_tells_the_sums_and_every_difference(books: Books) -> None:
    await books.paid("=1+1", "100.00")
    await books.register(Row("=1+1", "110.00"), Row("<b>", "5.00", outcome="REVIEW"))
    await books.compared()
    async with books.banks.bels.pool.acquire() as db:
        text = await report(db, books.texts, books.partner, DAY, Form.CSV)
        same = await report(db, books.texts, books.partner, DAY, Form.CSV, ReportEncoding.UTF_8)
        page = await report(db, books.texts, books.partner, DAY, Form.HTML)
        never = await report(db, books.texts, books.partner, DAY - timedelta(days=99), Form.CSV)
    assert text is not None
    assert same is not None
    assert page is not None
    assert never is None
    told = text.content.decode("cp1251")
    assert told == same.content.decode()
    assert "Реестр банка;2;115,00\r\n" in told
    assert "Разница: реестр минус зачислено;;15,00\r\n" in told
    assert ";суммы различаются;не разобрано;'=1+1;1000001;1000001;110,00;100,00;10,00;" in told
    assert "строка ждёт решения оператора" in told
    assert "REVIEW" not in told + page.content.decode()
    # Printed on an upright page, the columns at the right would be cut off.
    assert "@page { size: A4 landscape" in page.content.decode()
    assert '<td class="sum">110,00</td>' in page.content.decode()
    assert "&lt;b&gt;" in page.content.decode()
    assert "<b>" not in page.content.decode()
    assert text.accounts == page.accounts == ("1000001",)
    assert report_name(books.partner, DAY, Form.CSV) == "sverka_sber_2024-05-20.csv"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"unknown": 1}, "unknown is unknown"),
        ({"since": "2024-01-01"}, "since is a day"),
        ({"register": 1}, "register is true or false"),
        ({"cut_off": "24:00"}, "cut_off is a Moscow time"),
        ({"answer_days": 31}, "answer_days is a whole number from 0 to 30"),
        ({"transfer_days": True}, "transfer_days is a whole number"),
        ({"payers": ["500100732259"]}, "payers is a list"),
        ({"accounts": "40702810138250123017"}, "accounts is a list"),
        ({"purpose_day": "("}, "purpose_day is no pattern"),
        ({"purpose_day": "день"}, "one group"),
        ({"fee": 1}, "fee is a list"),
        ({"fee": [{"since": DAY, "part": "1"}]}, "fee.part is unknown"),
        ({"fee": [{"percent": "1"}]}, "fee.since is a day"),
        ({"fee": [{"since": DAY, "percent": "101"}]}, "0 to 100"),
        ({"fee": [{"since": DAY, "percent": "NaN"}]}, "fee.percent is a text of 0 to 100"),
        ({"fee": [{"since": DAY, "minimum": "-1"}]}, "roubles"),
    ],
)
def test_a_contract_that_cannot_be_used_says_where(said: dict[str, object], told: str) -> None:
    with pytest.raises(PartnersError, match=told):
        terms_of(Partner("c-1", "sber", "Сбербанк", sections={SECTION: said}))


def test_a_contract_without_the_table_awaits_nothing_and_one_payer_pays_for_one_partner() -> None:
    assert terms_of(Partner("c-1", "sber", "Сбербанк")) == Terms()
    both = tuple(Partner(f"c-{name}", name, name, sections={SECTION: CONTRACT}) for name in ("sber", "app"))
    with pytest.raises(PartnersError, match="one of the two"):
        check_contracts(both)
    check_contracts(both[:1])
