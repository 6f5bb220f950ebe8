"""Registers read by their layouts: every shipped layout by its sample, the vectors of the trade, and what banks send by mistake."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bels.domain.read_value import read_value
from bels.payments.partners import PartnersError, partners_of
from bels.payments.registers import containers
from bels.payments.registers.containers import plain_pieces
from bels.payments.registers.faults import FILE_FAULTS, ROW_FAULTS, FileFault, Quarantined, RowFault
from bels.payments.registers.layout import Layout, layout_for, layout_of, layouts_of, shipped_layout, shipped_names
from bels.payments.registers.reading import Reader
from bels.payments.registers.rows import BadRow, Judged, Row
from tests.channels.household import moscow
from tests.domain.vectors import vector

SAMPLES = Path(__file__).parent / "samples"
TODAY = date(2024, 5, 21)
SUM, FEES, NET = Decimal("2841.16"), Decimal("28.41"), Decimal("2812.75")


async def _chunks(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def read(
    layout: Layout, content: bytes, *, name: str = "", size: int = 50, judges: bool = True
) -> tuple[Reader, list[Judged]]:
    """Read a file in small pieces."""

    async def run() -> tuple[Reader, list[Judged]]:
        reader, rows = Reader(layout, TODAY, judges), list[Judged]()
        reader.named_by(name)
        async for piece in plain_pieces(layout, _chunks(content, size)):
            rows += reader.read(piece)
        return reader, rows + reader.close()

    return asyncio.run(run())


def fault_of(layout: Layout, content: bytes) -> tuple[FileFault, str]:
    """Say why a file waits."""
    with pytest.raises(Quarantined) as raised:
        read(layout, content, size=4096)
    return raised.value.fault, raised.value.detail


def sample(name: str) -> bytes:
    """Give the sample of a layout."""
    (path,) = SAMPLES.glob(f"{name}.*")
    return path.read_bytes()


# Layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_layout_reads_its_sample(name: str) -> None:
    reader, rows = read(shipped_layout(name), sample(name))

    assert all(isinstance(row, Row) for row in rows), rows
    assert reader.only_day == date(2024, 5, 20)
    assert {row.account for row in rows} <= {"1000001", "1000003", "1000006"}
    assert {row.paid_at.date() for row in rows if isinstance(row, Row)} == {date(2024, 5, 20)}


@pytest.mark.parametrize("name", ["sber-evening", "classic", "generic"])
def test_the_sums_of_a_register_are_those_of_its_rows(name: str) -> None:
    reader, _ = read(shipped_layout(name), sample(name))

    assert reader.sums.told() == {"count": 3, "sum": SUM, "fee": FEES, "transfer": NET}


def test_a_register_of_the_evening_brings_readings_in_any_order_of_its_keys() -> None:
    _, rows = read(shipped_layout("sber-evening"), sample("sber-evening"))

    told = [(row.line, row.account, str(row.amount), str(row.fee), row.values) for row in rows]
    assert told == [
        (2, "1000001", "1245.05", "12.45", (("1", "10385"),)),
        (3, "1000003", "1096.11", "10.96", (("1", "5210"), ("2", "2105,7"))),
        (4, "1000006", "500.00", "5.00", ()),
    ]


def test_a_classic_register_tells_the_hour_and_the_payment_order() -> None:
    reader, rows = read(shipped_layout("classic"), sample("classic"))

    assert rows[0].paid_at == moscow("2024-05-20T15:30:15")
    assert (reader.order_number, reader.order_day) == ("417", date(2024, 5, 21))


def test_a_letter_tells_its_number_and_its_sums_in_words() -> None:
    reader, rows = read(shipped_layout("yookassa"), sample("yookassa"))

    assert (reader.number, reader.day) == ("141", date(2024, 5, 20))
    assert [(row.external_id, str(row.transfer), str(row.fee)) for row in rows] == [
        ("2ddc7a5f-000f-5000-8000-1b8f5a0c9a01", "1.91", "0.09"),
        ("2ddc7a60-000f-5000-8000-1b8f5a0c9a02", "7.66", "0.34"),
    ]


def test_an_archive_tells_payments_and_what_is_returned() -> None:
    reader, rows = read(shipped_layout("tochka"), sample("tochka"))

    assert [row.parent for row in rows if isinstance(row, Row)] == [None, None, "b0c1-7002"]
    assert reader.sums.amount == Decimal("1245.05")


def test_packs_have_totals_each_and_one_bad_line_holds_the_whole_file() -> None:
    layout, content = shipped_layout("regional-pack"), sample("regional-pack")
    reader, rows = read(layout, content)

    assert reader.sums.count == len(rows) == 3
    assert fault_of(layout, content.replace(b"1745.05", b"1745.06"))[0] is FileFault.TOTALS_DIFFER
    assert fault_of(layout, content.replace(b"|0|0.00", b"|1|0.01"))[0] is FileFault.TOTALS_DIFFER
    assert fault_of(layout, content.replace(b"|1000003|", b"|100000A|")) == (FileFault.BAD_ROWS, "1")


def test_a_contract_names_a_layout_and_overrules_it() -> None:
    table = {
        "evening": {
            "layout": "sber-evening",
            "encoding": "koi8-r",
            "file_name": r"R(?P<number>\d+)_(?P<day>\d{8})\.txt",
        },
        "month": {"layout": "classic", "file_name": r"M\d+\.txt"},
    }
    (partner,) = partners_of({"partner": {"sber": {"client": "c-1", "registers": table}}}).partners
    layouts = layouts_of(partner)

    reader, _ = read(
        layouts["evening"], sample("sber-evening").decode("cp1251").encode("koi8-r"), name="R17_20240519.txt"
    )
    assert (reader.number, reader.day) == ("17", date(2024, 5, 19))
    assert layout_for(layouts, "M5.txt") is layouts["month"]
    assert layout_for(layouts, "other.txt") is None
    assert layout_for({"evening": layouts["evening"]}, "other.txt") is layouts["evening"]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"layout": "sber-morning"}, "there is no layout sber-morning"),
        ({"layout": "classic", "colums": {}}, "colums is unknown"),
        ({"layout": "classic", "columns": {"sum": 1}}, "columns.sum is no role"),
        ({"layout": "classic", "encoding": "cp437"}, "encoding is one of"),
        ({"layout": "classic", "columns": {"amount": 1}}, "must name amount and paid_at"),
        ({"layout": "classic", "columns": {"amount": 1, "paid_at": 2}}, "must name account"),
        ({"layout": "classic", "totals": {"total": 1}}, "totals is a table"),
        ({"layout": "classic", "header_prefix": "#"}, "one of the two"),
        ({"layout": "classic", "external_id": "ID"}, "there is no header"),
        ({"layout": "classic", "external_id": ["hour"]}, "external_id is a column"),
        ({"layout": "classic", "file_name": "("}, "no regular expression"),
        ({"layout": "classic", "file_name": "(?P<year>.)"}, "groups number and day"),
        ({"layout": "classic", "date_format": "%Q"}, "a form of a date"),
        ({"layout": "classic", "fee_percent": "101"}, "fee_percent is a text"),
        ({"layout": "tochka", "types": {"column": 1}}, "types is a table"),
        ({"layout": 1}, "layout is the name"),
        ({"encoding": "utf-8"}, "columns is missing"),
        ({"layout": "generic", "delimiter": ",", "decimal": ","}, "a comma divides columns"),
    ],
)
def test_a_slip_in_a_contract_is_told(told: dict[str, Any], says: str) -> None:
    with pytest.raises(PartnersError, match=says):
        layout_of("evening", told, "partner.sber.registers.evening")


def test_every_fault_has_its_words() -> None:
    assert set(FILE_FAULTS) == set(FileFault)
    assert set(ROW_FAULTS) == set(RowFault)


# Vectors ---------------------------------------------------------------------------------------------------------


def test_f08_fees_are_rounded_by_the_row_and_a_wrong_trailer_holds_the_file() -> None:
    told = vector("F08")
    layout = layout_of(
        "f08",
        {
            "columns": {"account": 1, "amount": 2, "paid_at": 3},
            "external_id": ["day", "account", "amount"],
            "fee_percent": told["given"]["fee_percent"],
            "trailer_prefix": "=",
            "totals": {"count": 1, "sum": 2},
        },
        "f08",
    )
    lines = "".join(f"{row['account']};{row['amount']};20.05.2024\n" for row in told["given"]["rows"])
    expected = told["expected"]
    for trailer, is_accepted in zip(told["given"]["trailer_sums"], expected["file_accepted"], strict=True):
        content = f"{lines}=3;{trailer}\n".encode()
        if not is_accepted:
            assert fault_of(layout, content)[0] is FileFault.TOTALS_DIFFER
            continue
        reader, rows = read(layout, content)
        assert [str(row.fee) for row in rows] == expected["fees"]
        assert reader.sums.told() == {
            "count": expected["count"],
            "sum": Decimal(expected["sum"]),
            "fee": Decimal(expected["fee_total"]),
            "transfer": Decimal(expected["net"]),
        }


def test_f09_a_row_of_the_evening() -> None:
    told = vector("F09")
    _, (row,) = read(shipped_layout("sber-evening"), told["given"]["line"].encode("cp1251"))

    assert isinstance(row, Row)
    expected = told["expected"]
    assert (row.account, str(row.amount), str(row.fee), row.paid_at.date().isoformat()) == (
        expected["account"],
        expected["amount"],
        expected["fee"],
        expected["date"],
    )
    assert [read_value(text) for _, text in row.values] == expected["readings"]


# What banks send by mistake --------------------------------------------------------------------------------------

LINE = b"7977;00123;1;1;100.00;1.00;20/05/2024;CLIENTNO:1000001;method_pay:1"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (LINE.replace(b"20/05", b"31/02"), RowFault.BAD_DATE),
        (LINE.replace(b"20/05", b"22/05"), RowFault.BAD_DATE),
        (LINE.replace(b"1000001", b"10000O1"), RowFault.BAD_ACCOUNT),
        (LINE.replace(b"CLIENTNO:1000001", b"CLIENTNO:"), RowFault.NO_ACCOUNT),
        (LINE.replace(b"CLIENTNO:1000001;", b""), RowFault.NO_ACCOUNT),
        (LINE.replace(b"100.00", b"1e9"), RowFault.BAD_AMOUNT),
        (LINE.replace(b"100.00", b"-5.00"), RowFault.BAD_AMOUNT),
        (LINE.replace(b"100.00", b"0.00"), RowFault.BAD_AMOUNT),
        (LINE.replace(b"100.00", b"100.005"), RowFault.BAD_AMOUNT),
        (LINE.replace(b"100.00", b"99999999999.00"), RowFault.BAD_AMOUNT),
        (LINE.replace(b"1.00;20", b"x;20"), RowFault.BAD_FEE),
        (LINE.replace(b"1.00;20", b"100.01;20"), RowFault.BAD_FEE),
        (LINE.replace(b"7977", b"79\x0077"), RowFault.BAD_CHARACTER),
        (LINE.replace(b"7977", b"79\x1a77"), RowFault.BAD_CHARACTER),
    ],
)
def test_a_bad_line_waits_alone(line: bytes, fault: RowFault) -> None:
    reader, rows = read(shipped_layout("sber-evening"), b"\r\n".join([LINE, line, LINE]))

    assert [type(row) for row in rows] == [Row, BadRow, Row]
    bad = rows[1]
    assert isinstance(bad, BadRow)
    assert bad.fault is fault
    assert bad.line == 2
    assert bad.text == ROW_FAULTS[fault]
    assert reader.bad == 1


def test_a_row_without_an_account_goes_by_the_document_or_the_unified_account() -> None:
    line = LINE.replace(b"CLIENTNO:1000001", b"CLIENTNO:;CLIENTDOCNO:75da533315-01-00052")
    _, (row,) = read(shipped_layout("sber-evening"), line)

    assert isinstance(row, Row)
    assert row.account == "75da533315-01-00052"


def test_a_line_without_columns_waits_alone() -> None:
    content = sample("classic").decode("cp1251").replace("=3;", "20-05-2024;рваная\r\n=4;").encode("cp1251")
    _, rows = read(shipped_layout("classic"), content)

    assert [row.fault for row in rows if isinstance(row, BadRow)] == [RowFault.BAD_COLUMNS]


@pytest.mark.parametrize("end", [b"\x1a", b"\r\n\x1a", b"\r\n\x1a\x00\x00", b"\r\n\r\n", b"\x1a\r\n"])
def test_what_dos_ends_a_file_with_is_no_line(end: bytes) -> None:
    reader, rows = read(shipped_layout("sber-evening"), LINE + end)

    assert [type(row) for row in rows] == [Row]
    assert reader.bad == 0


@pytest.mark.parametrize(
    ("declared", "sent"), [("cp1251", "koi8-r"), ("cp1251", "cp866"), ("cp1251", "utf-8"), ("koi8-r", "cp1251")]
)
def test_a_wrong_charset_holds_the_file_and_says_what_it_looks_like(declared: str, sent: str) -> None:
    text = sample("classic").decode("cp1251")

    assert fault_of(shipped_layout("classic", encoding=declared), text.encode(sent)) == (FileFault.WRONG_ENCODING, sent)


def test_a_utf_8_that_is_none_holds_the_file() -> None:
    text = sample("classic").decode("cp1251")

    assert fault_of(shipped_layout("classic", encoding="utf-8"), text.encode("cp1251"))[0] is FileFault.WRONG_ENCODING
    assert fault_of(shipped_layout("classic"), text.encode("utf-16")) == (FileFault.WRONG_ENCODING, "utf-16")
    assert fault_of(shipped_layout("classic"), text.encode("utf-8-sig")) == (FileFault.WRONG_ENCODING, "utf-8")


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    layout, text = shipped_layout("generic"), sample("generic")

    assert read(layout, b"\xef\xbb\xbf" + text)[0].sums.amount == SUM
    assert fault_of(shipped_layout("generic", bom=True), text)[0] is FileFault.NO_BOM


def test_half_a_file_has_no_totals() -> None:
    for name in ("classic", "generic"):
        content = sample(name)
        half = content[: len(content) // 2]
        assert fault_of(shipped_layout(name), half)[0] is FileFault.TOTALS_MISSING
    letter = sample("yookassa")
    assert fault_of(shipped_layout("yookassa"), letter[: letter.index("Число".encode())])[0] is FileFault.TOTALS_MISSING


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("2841,16", "2841,15", FileFault.TOTALS_DIFFER),
        ("=3;", "=4;", FileFault.TOTALS_DIFFER),
        ("2812,75", "2812,76", FileFault.TOTALS_DIFFER),
        ("28,41", "28,40", FileFault.TOTALS_DIFFER),
        ("=3;2841,16", "=3;много", FileFault.BAD_TOTALS),
        ("=3;", "=3;2841,16;2812,75;28,41;417;21-05-2024\r\n=3;", FileFault.AFTER_TOTALS),
    ],
)
def test_totals_that_do_not_match_hold_the_whole_file(old: str, new: str, fault: FileFault) -> None:
    content = sample("classic").decode("cp1251").replace(old, new).encode("cp1251")

    assert fault_of(shipped_layout("classic"), content)[0] is fault


def test_a_file_without_a_payment_is_a_register_too() -> None:
    assert read(shipped_layout("classic"), b"")[1] == []
    assert read(shipped_layout("classic"), b"=0;0,00;0,00;0,00;;\r\n")[1] == []
    assert (
        read(
            shipped_layout("generic"), sample("generic").splitlines()[0] + "\nИТОГО;0;0.00;0.00;8;2024-05-20".encode()
        )[1]
        == []
    )
    head = (
        sample("yookassa")
        .decode()
        .replace("10.00", "0.00")
        .replace("9.57", "0.00")
        .replace("платежей: 2", "платежей: 0")
    )
    empty = "\n".join(line for line in head.split("\n") if not line.startswith("2ddc"))
    assert read(shipped_layout("yookassa"), empty.encode())[1] == []


def test_a_header_without_its_columns_holds_the_file() -> None:
    content = sample("generic").replace(b"amount", b"total")

    assert fault_of(shipped_layout("generic"), content) == (FileFault.NO_HEADER, "amount")


def test_a_line_without_an_end_is_not_gathered_in_memory() -> None:
    assert fault_of(shipped_layout("sber-evening"), b"7" * 10_000_000)[0] is FileFault.LINE_TOO_LONG
    assert fault_of(shipped_layout("sber-evening"), LINE + b"\n" + b"7" * 70_000 + b"\n")[0] is FileFault.LINE_TOO_LONG


@pytest.mark.parametrize(
    "letter",
    [
        b"Subject: " + b"=?utf-8?q?a?= " * 1_000,
        b"From: x\nSubject: 1" + b"\r\n =?utf-8?q?a?=" * 1_000,
        b"From: x\nContent-Type: text/plain" + b"; a*0=b" * 1_000,
        b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\nContent-Type: multipart/mixed; boundary=a\n\n" * 200,
        b"From: x\n\n--a\rcontent-transfer-encoding :" + b"7" * 3_000,
    ],
    ids=["subject", "folded", "parameters", "parts", "encoding"],
)
def test_a_letter_whose_headers_would_take_hours_is_not_read(letter: bytes) -> None:
    assert fault_of(shipped_layout("yookassa"), letter + b"\n\n1") == (FileFault.BAD_ARCHIVE, "letter")


def test_an_archive_that_is_none_or_unpacks_without_end_holds_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def zipped(*files: tuple[str, bytes]) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        return packed.getvalue()

    layout = shipped_layout("tochka")
    assert fault_of(layout, b"TRANS_DATE;SUM")[0] is FileFault.BAD_ARCHIVE
    assert fault_of(layout, zipped(("a.csv", b""), ("b.csv", b"")))[0] is FileFault.BAD_ARCHIVE
    assert fault_of(layout, sample("tochka")[:-40])[0] is FileFault.BAD_ARCHIVE
    assert fault_of(layout, zipped(*((f"{n}.csv", b"") for n in range(2000))))[0] is FileFault.TOO_LARGE
    spoiled = bytearray(sample("tochka"))
    spoiled[80] ^= 0xFF
    assert fault_of(layout, bytes(spoiled))[0] is FileFault.BAD_ARCHIVE
    monkeypatch.setattr(containers, "UNPACKED_BYTES_MAX", 1_000_000)
    assert fault_of(layout, zipped(("bomb.csv", b"\n" * 1_000_001)))[0] is FileFault.TOO_LARGE


def test_names_hold_quotes_and_quotes_divide_nothing() -> None:
    content = sample("classic").decode("cp1251").replace('"РИТА"', '"РИТА').encode("cp1251")

    assert [row.account for row in read(shipped_layout("classic"), content)[1]] == ["1000001", "1000003", "1000006"]


def test_it_reads_the_same_in_pieces_of_any_size() -> None:
    layout, content = shipped_layout("classic"), sample("classic")
    whole = read(layout, content, size=len(content))[1]

    assert all(read(layout, content, size=size)[1] == whole for size in (1, 2, 7, 64))
