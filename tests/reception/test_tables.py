"""Tables of readings, as housing companies and operators send and paste them."""

from __future__ import annotations

from datetime import date, datetime
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from openpyxl import Workbook

from bels.domain.terms import Register
from bels.reception.charsets import decoded
from bels.reception.grammar import read_values
from bels.reception.tables import BYTES_MAX, FAULTS, ROWS_MAX, Row, TableFault, read_pasted, read_table
from tests.effort import effort

Cell = str | int | float | bool | datetime | None


def rows(content: bytes) -> list[Row]:
    """Read a table that can be read."""
    read = read_table(content)
    assert isinstance(read, tuple), read
    return list(read)


def workbook(*lines: tuple[Cell, ...], sheet: str = "Лист1") -> bytes:
    """Make a workbook."""
    book, written = Workbook(), BytesIO()
    page = book.active
    assert page is not None
    page.title = sheet
    for line in lines:
        page.append(line)
    book.save(written)
    return written.getvalue()


PLAIN = "Лицевой счёт;показание;дата\n1000001;10385;20.05.2024\n1000003;5;\n"
READ = [
    Row(2, "1000001", (("", "10385"),), taken_on=date(2024, 5, 20)),
    Row(3, "1000003", (("", "5"),)),
]


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "cp1251", "koi8-r", "cp866", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_a_register_is_read_in_every_charset_and_with_every_delimiter(charset: str, delimiter: str) -> None:
    text = PLAIN.replace(";", delimiter).replace("\n", "\r\n")

    assert rows(text.encode(charset)) == READ
    assert rows((text + "\x1a").encode(charset)) == READ


def test_a_workbook_is_read_with_its_title_and_its_totals() -> None:
    book = workbook(
        ("ООО «УК Уют»", None),
        ("Реестр показаний за май 2024 г.",),
        (),
        (
            "№ п/п",
            "Дата снятия",
            "Показание счётчика, день",
            "Ночь",
            "Лицевой счёт",
            "№ счётчика",
            "Предыдущее показание",
        ),
        (1, datetime(2024, 5, 20), 3100.0, 1550, 1000003, "E-3", 9),  # noqa: DTZ001  # a cell knows no time zone
        (2, None, "10 385", None, " 1000001", None, 9),
        (None, "Итого", None, None, None, None, None),
        ("Директор Иванов",),
    )

    assert rows(book) == [
        Row(5, "1000003", (("day", "3100"), ("night", "1550")), "E-3", date(2024, 5, 20)),
        Row(6, "1000001", (("day", "10385"),)),
    ]


HEADERS = {
    "Л/с;Т1;Т2;Т3": ("T1", "T2", "T3"),
    "лс;T1;T2": ("T1", "T2"),
    "Лицевой счет;Тариф 1;Тариф 2": ("T1", "T2"),
    "номер лицевого счёта;пик;полупик;ночь": ("peak", "half_peak", "night"),
    "ЛИЦЕВОЙ СЧЁТ;ДЕНЬ;НОЧЬ;Расход": ("day", "night"),
    "№ лиц. счета;Показания прибора учета": ("",),
    "Лицевой счёт;Текущее показание;Предыдущее показание;Расход": ("",),
    "Лицевой счёт;Адрес;ФИО;Показание, кВт·ч": ("",),
    "Л/С;Значение": ("",),
}


@pytest.mark.parametrize("header", HEADERS)
def test_columns_are_known_by_the_words_that_people_use(header: str) -> None:
    columns = header.split(";")
    [row] = rows(f"{header}\n1000001;{';'.join('7' for _ in columns[1:])}\n".encode())

    assert tuple(name for name, _ in row.values) == HEADERS[header]


def test_columns_stand_in_any_order() -> None:
    [row] = rows("ночь;Счётчик №;день;дата;лицевой счёт\n2;E-3;1;2024-05-20;1000003\n".encode())

    assert row == Row(2, "1000003", (("night", "2"), ("day", "1")), "E-3", date(2024, 5, 20))
    assert read_values(row.tokens(), (Register.DAY, Register.NIGHT), None) == {"night": "2", "day": "1"}


def test_what_is_pasted_needs_no_names() -> None:
    read = read_pasted("1000001\t10385\n1000003\t3100\t1550\n")

    assert read == (Row(1, "1000001", (("", "10385"),)), Row(2, "1000003", (("", "3100"), ("", "1550"))))


def test_a_wrong_cell_stays_in_its_row_for_its_own_answer() -> None:
    read = rows("Лицевой счёт;показание;дата\n12;5;\n1000001;12а;31.02.2024\n;7;\n100000О;10385,5;\n".encode())

    assert read[0].account == "12"
    assert (read[1].values, read[1].bad_date) == ((("", "12а"),), "31.02.2024")
    assert (read[2].number, read[2].account) == (4, "")
    assert (read[3].account, read[3].values) == ("1000000", (("", "10385,5"),))


def test_a_formula_is_not_computed_and_its_kept_value_counts() -> None:
    assert read_table(workbook(("Лицевой счёт", "Показание"), (1000001, "=1+1"))) == (Row(2, "1000001", ()),)
    assert rows(
        b"\xd0\x9b/\xd1\x81;\xd0\xbf\xd0\xbe\xd0\xba\xd0\xb0\xd0\xb7\xd0\xb0\xd0\xbd\xd0\xb8\xd0\xb5\n1000001;=1+1\n"
    ) == [Row(2, "1000001", (("", "=1+1"),))]


def bomb(size: int) -> bytes:
    """Make a workbook that unpacks into much."""
    written = BytesIO()
    with (
        ZipFile(BytesIO(workbook(("Лицевой счёт", "Показание"), (1000001, 5)))) as good,
        ZipFile(written, "w", ZIP_DEFLATED) as made,
    ):
        for member in good.infolist():
            made.writestr(member, good.read(member))
        made.writestr("xl/media/more.bin", b"0" * size)
    return written.getvalue()


def with_sheet(sheet: bytes) -> bytes:
    """Make a workbook of a few bytes whose sheet is this."""
    written = BytesIO()
    with (
        ZipFile(BytesIO(workbook(("Лицевой счёт", "Показание"), (1000001, 5)))) as good,
        ZipFile(written, "w", ZIP_DEFLATED) as made,
    ):
        for member in good.infolist():
            made.writestr(member.filename, sheet if "sheet1" in member.filename else good.read(member), compresslevel=1)
    return written.getvalue()


def damaged_within() -> bytes:
    """Make a workbook whose packing is right and whose packed bytes are not."""
    content = bytearray(with_sheet(b"<worksheet>" + bytes(range(32, 127)) * 40))
    at = content.find(b"xl/worksheets/sheet1.xml") + 60
    content[at : at + 20] = b"\xff" * 20
    return bytes(content)


def entities() -> bytes:
    """Make a workbook whose XML grows out of itself."""
    written = BytesIO()
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha"}">' for i in range(12))
    with (
        ZipFile(BytesIO(workbook(("Лицевой счёт", "Показание"), (1000001, "x")))) as good,
        ZipFile(written, "w", ZIP_DEFLATED) as made,
    ):
        for member in good.infolist():
            content = good.read(member)
            if member.filename.startswith("xl/worksheets/sheet"):
                content = f'<?xml version="1.0"?><!DOCTYPE w [{laughs}]><worksheet>&l11;</worksheet>'.encode()
            made.writestr(member, content)
    return written.getvalue()


FAULTY = {
    "nothing": (b"", TableFault.EMPTY),
    "only names": ("Лицевой счёт;показание\n".encode(), TableFault.EMPTY),
    "no names": ("Мира;5\nЛенина;6\n".encode(), TableFault.NO_COLUMNS),
    "too many rows": ("Л/с;показание\n" + "1000001;5\n" * (ROWS_MAX + 1), TableFault.TOO_MANY_ROWS),
    "too big": (b"x" * (BYTES_MAX + 1), TableFault.TOO_BIG),
    "a bomb": (bomb(60_000_000), TableFault.TOO_BIG),
    "a bomb of cells": (with_sheet(b"<worksheet><sheetData><row>" + b"<c/>" * 10_000_000), TableFault.TOO_BIG),
    "a bomb of attributes": (with_sheet(b"<worksheet " + b"a=''" * 10_000_000), TableFault.TOO_BIG),
    "damaged within": (damaged_within(), TableFault.DAMAGED),
    "entities": (entities(), TableFault.DAMAGED),
    "half a workbook": (workbook(("Лицевой счёт", "Показание"), (1000001, 5))[:3000], TableFault.DAMAGED),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, TableFault.OLD_EXCEL),
    "an archive": (b"Rar!\x1a\x07\x00", TableFault.ARCHIVE),
    "quotes": ('Л/с;показание\n1000001;"' + "5" * 200_000, TableFault.DAMAGED),
}


@pytest.mark.parametrize(("content", "fault"), FAULTY.values(), ids=FAULTY.keys())
def test_a_table_that_cannot_be_read_says_why_and_costs_little(content: bytes | str, fault: TableFault) -> None:
    with effort() as done:
        assert read_table(content.encode() if isinstance(content, str) else content) is fault
    assert done.units < 300
    assert FAULTS[fault]


def test_a_zip_that_is_no_workbook_is_not_opened() -> None:
    written = BytesIO()
    with ZipFile(written, "w") as made:
        made.writestr("реестр.csv", PLAIN)

    assert read_table(written.getvalue()) is TableFault.ARCHIVE


def test_a_cell_a_million_rows_below_is_not_looked_for() -> None:
    book, written = Workbook(), BytesIO()
    page = book.active
    assert page is not None
    page["A1"], page["B1"], page["A2"], page["B2"] = "Лицевой счёт", "Показание", 1000001, 5
    page["A1000000"] = 1000003
    book.save(written)

    with effort() as done:
        assert len(rows(written.getvalue())) == 1
    assert done.units < 200


@pytest.mark.parametrize(
    "text", ["Показание", "счетчик", "ДЕНЬ 3100 НОЧЬ 1550", "Здравствуйте!", "Лицевой счёт 1000001, показание 10385"]
)
@pytest.mark.parametrize("charset", ["utf-8", "cp1251", "koi8-r", "cp866"])
@pytest.mark.parametrize("label", [None, "utf-8", "koi8-r", "windows-1251", "iso-8859-1", "no such charset", "x\udcff"])
def test_russian_words_are_read_whatever_the_label_says(text: str, charset: str, label: str | None) -> None:
    assert decoded(text.encode(charset), label) == text


def test_a_charset_that_is_seldom_is_believed_where_it_is_named() -> None:
    assert decoded("Показание".encode("iso8859-5"), "iso-8859-5") == "Показание"
