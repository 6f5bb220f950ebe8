"""Charges out: what households owe, as files that banks read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bels.access.access_log import page as accesses
from bels.access.personal import Personal, erase, put, subject_of
from bels.domain.commands import ClosePeriod
from bels.domain.terms import Money, Period
from bels.messages import TryLater
from bels.payments.charges.encode import written
from bels.payments.charges.layouts import ChargesContract, charges_of, layouts
from bels.payments.charges.write import Written, write_charges
from bels.payments.partners import Partner, PartnersError
from bels.payments.till import PayOrder, pay
from tests.channels.house import opened_house
from tests.channels.household import moscow
from tests.conftest import new_supplier
from tests.payments.conftest import Banks, opened_banks

MAY = Period("2024-05")
NAME = "5001000002_40702810138250123017_1_0524.txt"
OWN: dict[str, Any] = {"inn": "5001000002", "account": "40702810138250123017"}
PEOPLE = {
    "1000001": Personal("Иванова Мария Ивановна", "г. Павловский Посад, ул. Володарского; д. 2, кв. 5"),
    "1000002": Personal("Müller «Łódź» №1", "д. Бе́лая"),
    "1000003": Personal("Петров Пётр"),
}


@pytest.fixture(scope="module")
def supplier(postgres: str, template: str) -> str:
    """Give a new supplier to all tests of this file."""
    return new_supplier(postgres, template, "bels_test_charges")


@pytest.fixture(scope="module")
async def banks(supplier: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Banks]:
    """Open a supplier whose May 2024 is charged; three households have given their names."""
    async with opened_house(supplier, tmp_path_factory.mktemp("charges")) as house:
        banks = await opened_banks(house)
        house.at = moscow("2024-06-02T12:00")
        await house.do_all([(f"100000{n}", ClosePeriod(MAY, house.at)) for n in range(1, 8)])
        async with banks.bels.pool.acquire() as db:
            for account, personal in PEOPLE.items():
                await put(db, banks.bels.vault, subject_of(account, 1), personal)
        yield banks


def agreed(banks: Banks, **told: Any) -> ChargesContract:
    """Agree with the bank «sber» on charges."""
    sber = banks.agent().partner
    contract = charges_of(replace(sber, sections={"charges": {"layout": "sber-old", **OWN, **told}}))
    assert contract is not None
    return contract


async def write(banks: Banks, folder: Path, period: Period = MAY, page: int = 2, **told: Any) -> Written:
    """Write charges by pages of two accounts."""
    return await write_charges(banks.till, agreed(banks, **told), period, folder, None, by="clerk:7", page=page)


def lines_of(done: Written, encoding: str = "cp1251") -> list[str]:
    """Read a file as its bank would."""
    text = done.path.read_bytes().decode(encoding)
    assert text.endswith("\r\n")
    return text.removesuffix("\r\n").split("\r\n")


def in_folder(folder: Path) -> list[str]:
    """List what lies in a folder."""
    return [each.name for each in folder.iterdir()]


async def test_a_bank_gets_a_line_for_every_account_in_its_own_encoding(banks: Banks, tmp_path: Path) -> None:
    done = await write(banks, tmp_path)

    head, *lines = lines_of(done)
    rows = [line.split(";") for line in lines]
    assert done.path.name == NAME
    assert head == f"#FILESUM {done.total:.2f}"
    assert sum(Decimal(row[3]) for row in rows) == done.total > 0
    assert [row[2] for row in rows] == ["1000001", "1000002", "1000003", "1000004", "1000005", "1000006", "1000007"]
    assert rows[0][:2] == ["Иванова Мария Ивановна", "г. Павловский Посад, ул. Володарского, д. 2, кв. 5"]
    assert rows[3][:2] == ["", ""]
    owed = {number: (await banks.till.intake.account(number)).ledger.balance for number in ("1000001", "1000004")}
    assert (Decimal(rows[0][3]), Decimal(rows[3][3])) == (owed["1000001"], owed["1000004"])
    assert in_folder(tmp_path) == [NAME]
    assert done.path.stat().st_mode & 0o777 == 0o600


async def test_the_new_form_has_places_for_what_gis_knows(banks: Banks, tmp_path: Path) -> None:
    done = await write(banks, tmp_path, layout="sber-new", decimal=",", header=["#TYPE 7", "#SUM {sum} {count}"])

    first, second, row, *_ = lines_of(done)
    assert (first, second) == ("#TYPE 7", f"#SUM {done.total:.2f} 7".replace(".", ","))
    name, unified, fias, address, account, amount = row.split(";")
    assert (name, unified, fias, account) == ("Иванова Мария Ивановна", "", "", "1000001")
    assert address.startswith("г. Павловский Посад")
    assert "," in amount


@pytest.mark.parametrize(
    ("encoding", "name", "replaced"),
    [
        ("cp1251", "Muller «Lodz» №1", 1),
        ("koi8-r", 'Muller "Lodz" N1', 1),
        ("cp866", 'Muller "Lodz" №1', 1),
        ("utf-8", "Müller «Łódź» №1", 0),
    ],
)
async def test_what_an_encoding_does_not_know_is_written_by_what_it_does(
    banks: Banks, tmp_path: Path, encoding: str, name: str, replaced: int
) -> None:
    done = await write(banks, tmp_path, encoding=encoding)

    row = lines_of(done, encoding)[2].split(";")
    assert (row[0], row[2]) == (name, "1000002")
    assert done.replaced == replaced
    assert done.examples == ["1000002"][:replaced]
    assert ("(л/с 1000002)" in " ".join(done.summary())) == bool(replaced)


async def test_meters_stand_register_by_register_with_their_types(banks: Banks, tmp_path: Path) -> None:
    done = await write(banks, tmp_path, layout="sbbol-meters")

    rows = {line.split(";")[0]: line.split(";") for line in lines_of(done)}
    assert done.path.name == NAME.replace(".txt", "_meters.csv")
    blocks = {account: [row[i : i + 7] for i in range(5, len(row), 7)] for account, row in rows.items()}
    assert all(len(block) == 7 for each in blocks.values() for block in each)
    assert {account: [block[0] for block in each] for account, each in blocks.items()} == {
        "1000001": ["2"],
        "1000002": ["5", "6", "7"],
        "1000003": ["3", "4"],
        "1000004": ["2"],
        "1000005": ["2"],
        "1000006": ["3", "4"],
        "1000007": ["2"],
    }
    number, _, _, value, on = blocks["1000001"][0][1:6]
    assert number
    assert (value, on) == ("10200", "24.04.2024")
    # A meter that was installed on 10 May began at 0.
    assert blocks["1000007"][0][1:6] == ["E-7N", "", "", "0", "10.05.2024"]


async def test_the_same_charges_are_the_same_bytes(banks: Banks, tmp_path: Path) -> None:
    first = (await write(banks, tmp_path)).path.read_bytes()
    again = await write(banks, tmp_path, page=1_000)

    assert again.path.read_bytes() == first


async def test_what_is_due_falls_with_a_payment_and_what_the_bill_said_does_not(banks: Banks, tmp_path: Path) -> None:
    def amount(done: Written) -> Decimal:
        return next(Decimal(x.split(";")[3]) for x in lines_of(done) if ";1000006;" in x)

    bill, due = await write(banks, tmp_path, amount="bill"), Decimal(0)
    before = amount(bill)
    due = amount(await write(banks, tmp_path))
    order = PayOrder("charges-1", "1000006", Decimal("100.00"), banks.house.at)
    assert (await pay(banks.till, banks.agent(), order)).received is not None

    assert before == due
    assert amount(await write(banks, tmp_path, amount="bill")) == before
    assert amount(await write(banks, tmp_path)) == due - 100


async def test_who_owes_nothing_is_left_out_where_that_is_agreed(banks: Banks, tmp_path: Path) -> None:
    order = PayOrder("charges-2", "1000007", Decimal("50000.00"), banks.house.at)
    assert (await pay(banks.till, banks.agent(), order)).received is not None

    everybody = await write(banks, tmp_path)
    assert next(x for x in lines_of(everybody) if ";1000007;" in x).endswith(";0.00")
    debtors = await write(banks, tmp_path, only_debt=True)
    assert [x for x in lines_of(debtors) if ";1000007;" in x] == []
    assert debtors.count == everybody.count - 1
    nobody = await write(banks, tmp_path, Period("2024-06"), amount="bill")
    assert (nobody.count, lines_of(nobody)) == (0, ["#FILESUM 0.00"])


async def test_it_is_recorded_whose_names_left_the_house_and_to_whom(banks: Banks, tmp_path: Path) -> None:
    await write(banks, tmp_path, page=1_000)

    async with banks.bels.pool.acquire() as db:
        (last,) = await accesses(db, None, 1)
    assert (last.kind, last.subject) == ("PARTNER", banks.agent().partner.client)
    assert last.fields == ("charges",)
    assert last.accounts == ("1000001", "1000002", "1000003")
    assert NAME in last.request_id
    assert "clerk:7" in last.request_id


async def test_an_erased_household_stands_there_without_a_name(banks: Banks, tmp_path: Path) -> None:
    before = await write(banks, tmp_path)
    async with banks.bels.pool.acquire() as db:
        await erase(
            db, banks.bels.vault, "1000003/1", by="clerk:7", reason="отзыв согласия", document=None, request_id=""
        )
    after = await write(banks, tmp_path)

    assert next(x for x in lines_of(after) if ";1000003;" in x).startswith(";;1000003;")
    assert after.unnamed == before.unnamed + 1


async def test_a_file_that_cannot_be_finished_is_not_there(banks: Banks, tmp_path: Path) -> None:
    async with banks.bels.pool.acquire() as db:
        await db.execute("ALTER TABLE personal RENAME TO personal_away")
    try:
        with pytest.raises(TryLater):
            await write(banks, tmp_path)
    finally:
        async with banks.bels.pool.acquire() as db:
            await db.execute("ALTER TABLE personal_away RENAME TO personal")

    assert in_folder(tmp_path) == []


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({}, "layout"),
        ({"layout": "other"}, "layout"),
        ({"layout": "sber-old", "encoding": "cp1252"}, "encoding"),
        ({"layout": "sber-old", "amount": "all"}, "amount"),
        ({"layout": "sber-old", "only_debt": 1}, "only_debt"),
        ({"layout": "sber-old", "inn": "12"}, "inn"),
        ({"layout": "sber-old", "account": "../../x"}, "account"),
        ({"layout": "sber-old", "number": "../1"}, "number"),
        ({"layout": "sber-old", "header": ["{sum}"]}, "header"),
        ({"layout": "sber-old", "header": ["#{secret}"]}, "header"),
        ({"layout": "sber-old", "header": ["#{sum.__class__.x}"]}, "header"),
        ({"layout": "sber-old", "day": 31}, "day"),
        ({"layout": "sber-old", "where": "out"}, "where"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused(told: dict[str, Any], word: str) -> None:
    with pytest.raises(PartnersError, match=rf"partner\.sber\.charges\.{word}"):
        charges_of(Partner("c-1", "sber", "Сбербанк", sections={"charges": told}))


def test_nobody_knows_whose_charges_these_are() -> None:
    contract = charges_of(Partner("c-1", "sber", "Сбербанк", sections={"charges": {"layout": "sber-old"}}))
    assert contract is not None
    with pytest.raises(PartnersError, match="inn"):
        contract.file_name(MAY, None)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("ООО «А;Б»\r\n#второй", "ООО «А,Б» #второй"),
        ("=1+1", "1+1"),
        ("# комментарий", " комментарий".strip()),
        ("а\u00a0б\u200bв", "а б в"),
        ("漢字", "??"),
        ("＃漢字", "??"),
        ("＝ГИПЕРССЫЛКА(1；2)", "ГИПЕРССЫЛКА(1,2)"),
        ("+@=-#Иванов", "Иванов"),
        ("＃ ＃итог", "итог"),
        ("Ұлы Қадыр", "Улы Кадыр"),
    ],
)
def test_a_text_never_breaks_a_line_of_a_file(text: str, field: str) -> None:
    assert written(text, "cp1251")[0].strip() == field


def test_every_layout_can_be_written() -> None:
    assert set(layouts()) == {"sber-old", "sber-new", "sbbol-meters"}
    for name in layouts():
        contract = charges_of(Partner("c-1", "sber", "Сбербанк", sections={"charges": {"layout": name, **OWN}}))
        assert contract is not None
        assert contract.file_name(MAY, None).startswith("5001000002_40702810138250123017_1_0524")
        assert contract.header_lines(MAY, None, 1, Money("1.00")) == (["#FILESUM 1.00"] if "sber" in name else [])
