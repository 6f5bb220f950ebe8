"""Read a table of readings, pasted or sent as a file: a housing company's register, an operator's list (channels 5, 9).

The columns stand in any order under words that people use; what a row means is not judged here. Every row keeps its
number in the table, so that its outcome can be told beside it. A workbook is only read: no formula is computed, no link is
followed, and what would unpack into too much is refused before it is unpacked.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from itertools import islice
from lzma import LZMAError
from re import compile as pattern
from unicodedata import normalize
from zipfile import BadZipFile, ZipFile
from zlib import error as DeflateError  # noqa: N812 - zlib names its exception in lower case

from openpyxl import load_workbook

from bels.domain.read_value import VALUE_LENGTH_MAX
from bels.domain.terms import Register, Word
from bels.reception.charsets import decoded
from bels.reception.grammar import Kind, Token

ROWS_MAX = 5_000
BYTES_MAX = 5_000_000
UNPACKED_BYTES_MAX = 50_000_000
MARKS_MAX = 1_000_000
"""Elements of a workbook, and as many attributes again three times: of 5000 rows with 60 cells are 600 000. Forty kilobytes may
hold ten million, which take three gigabytes once they are read."""

CHUNK_BYTES = 1 << 20
MEMBERS_MAX = 500
SHEETS_MAX = 10
COLUMNS_MAX = 60
HEADER_ROWS_MAX = 30
"""Above the names of the columns stands a title, not a story."""

CELL_LENGTH_MAX = 200

XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
"""The media type of a workbook."""


class TableFault(Word):
    """Why a table cannot be read."""

    EMPTY = "EMPTY"
    NO_COLUMNS = "NO_COLUMNS"
    TOO_MANY_ROWS = "TOO_MANY_ROWS"
    TOO_BIG = "TOO_BIG"
    DAMAGED = "DAMAGED"
    OLD_EXCEL = "OLD_EXCEL"
    ARCHIVE = "ARCHIVE"


FAULTS: dict[TableFault, str] = {
    TableFault.EMPTY: "В таблице нет строк с показаниями",
    TableFault.NO_COLUMNS: "В таблице не найдены колонки: нужны «лицевой счёт» и «показание» (или «день», «ночь», Т1..Т3)",
    TableFault.TOO_MANY_ROWS: f"В таблице больше {ROWS_MAX} строк: разделите её на несколько",
    TableFault.TOO_BIG: "Таблица слишком велика: не больше 5 МБ",
    TableFault.DAMAGED: "Файл таблицы повреждён и не читается",
    TableFault.OLD_EXCEL: "Старый формат xls не читается: сохраните таблицу как xlsx или csv",
    TableFault.ARCHIVE: "Архивы не открываем: пришлите саму таблицу, xlsx или csv",
}
"""What the sender of such a table hears."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table. ``number`` is the one that a person sees beside it, from 1 with the header counted.

    ``values`` are the texts with what their columns are called: a register, T1.., or "" for a column of values without
    a zone. ``meter`` is the meter's number where it is given. ``taken_on`` is None where there is no date; ``bad_date`` is
    the text of one that cannot be read.
    """

    number: int
    account: str
    values: tuple[tuple[str, str], ...]
    meter: str | None = None
    taken_on: date | None = None
    bad_date: str | None = None

    def tokens(self) -> tuple[Token, ...]:
        """Give the values as ``grammar.read_values`` takes them."""
        tokens: list[Token] = []
        for name, text in self.values:
            if name:
                tokens.append(Token(Kind.MARK, name, " "))
            tokens.append(Token(Kind.NUMBER, text, " "))
        return tuple(tokens)


@dataclass(frozen=True, slots=True)
class _Columns:
    account: int
    values: tuple[tuple[int, str], ...]
    meter: int | None = None
    date: int | None = None


@dataclass(slots=True)
class _Found:
    """The columns under their names, as they are found."""

    account: int | None = None
    meter: int | None = None
    date: int | None = None
    values: list[tuple[int, str]] = field(default_factory=list)


_XLSX, _OLD_EXCEL, _ZIP = "xl/workbook.xml", b"\xd0\xcf\x11\xe0", b"PK\x03\x04"
_OTHER_ARCHIVES = (b"Rar!", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"PK\x05\x06")
_DELIMITERS = (";", "\t", ",", "|")
_ACCOUNT_NAME = pattern(r"лиц\w*\W*сч|\bл\W{0,2}с\b|\bсчет абонента|\baccount\b|^ls$")
_NO_COLUMN_NAME = pattern(
    r"предыд|прежн|прошл|начальн|расход|потреблен|разниц|сумм|адрес|\bфио\b|фамили|previous|итого к"
)
_DATE_NAME = pattern(r"\bдата\b|\bdate\b|число снятия")
_METER_NAME = pattern(r"счетчик|прибор|\bпу\b|заводск|\bmeter\b")
_DISPLAY_NAME = pattern(r"(?:\b[tт]\s*|тариф\w*\s*|зона\s*)№?\s*([1-4])\b")
_VALUE_NAME = pattern(r"показан|значени|reading|\bвсего\b|квт")
_ZONE_NAMES = (
    (pattern(r"полу\W*пик|\bп/пик|half"), Register.HALF_PEAK),
    (pattern(r"\bпик|\bpeak"), Register.PEAK),
    (pattern(r"\bноч|\bnight"), Register.NIGHT),
    (pattern(r"\bдень\b|\bдневн|\bday"), Register.DAY),
)
_ACCOUNT = pattern(r"[0-9]{7}")
_NUMBER = pattern(r"[0-9][0-9 \u00a0]*(?:[.,][0-9]*)?")
_GROUPED = pattern(r"[0-9]{1,3}(?:[ \u00a0\u202f'][0-9]{3})+(?:[.,][0-9]*)?")
_DATES = (pattern(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})"), pattern(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?"))
_LETTER_O = str.maketrans("ОоOo", "0000")
_CENTURY = 2000

Cells = Sequence[object]


def read_table(content: bytes) -> tuple[Row, ...] | TableFault:
    """Read a file of readings: a workbook or lines of text, whatever its name says. Never raises, whatever the bytes."""
    if len(content) > BYTES_MAX:
        return TableFault.TOO_BIG
    if content.startswith(_OLD_EXCEL):
        return TableFault.OLD_EXCEL
    if content.startswith(_ZIP):
        return _read_workbook(content)
    if content.startswith(_OTHER_ARCHIVES):
        return TableFault.ARCHIVE
    return read_pasted(decoded(content))


def read_pasted(text: str) -> tuple[Row, ...] | TableFault:
    """Read lines with the delimiter that most of them have: semicolon, tab, comma or bar, of a file or of the clipboard."""
    if len(text) > BYTES_MAX:
        return TableFault.TOO_BIG
    plain = text.removeprefix("\ufeff").replace("\x00", "").rstrip("\x1a \t\r\n")
    try:
        return _read_rows(csv.reader(StringIO(plain), delimiter=_delimiter(plain)))
    except csv.Error:
        return TableFault.DAMAGED


def _delimiter(text: str) -> str:
    lines = list(islice((line for line in text.splitlines() if line.strip()), HEADER_ROWS_MAX))
    # A decimal comma stands in many lines of a table that something else divides, so the comma comes after these.
    counted = {d: sum(d in line for line in lines) for d in _DELIMITERS}
    return next(
        (d for d in _DELIMITERS if counted[d] * 2 >= max(len(lines), 1)), max(counted, key=lambda d: counted[d])
    )


def _read_workbook(content: bytes) -> tuple[Row, ...] | TableFault:
    try:
        with ZipFile(BytesIO(content)) as packed:
            members = packed.infolist()
            if not any(member.filename == _XLSX for member in members):
                return TableFault.ARCHIVE
            # What is read of a member ends at the size that stands here, so a lie in it unpacks no more than it says.
            if len(members) > MEMBERS_MAX or sum(member.file_size for member in members) > UNPACKED_BYTES_MAX:
                return TableFault.TOO_BIG
            if _has_too_many_marks(packed):
                return TableFault.TOO_BIG
        book = load_workbook(BytesIO(content), read_only=True, data_only=True, keep_links=False)
        try:
            read: tuple[Row, ...] | TableFault = TableFault.EMPTY
            for sheet in book.worksheets[:SHEETS_MAX]:
                sheet.reset_dimensions()
                found = _read_rows(
                    sheet.iter_rows(max_row=ROWS_MAX + HEADER_ROWS_MAX + 2, max_col=COLUMNS_MAX, values_only=True)
                )
                if isinstance(found, tuple) or found is TableFault.TOO_MANY_ROWS:
                    return found
                read = found if read is TableFault.EMPTY else read
            return read
        finally:
            book.close()
    except (BadZipFile, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, EOFError, SyntaxError):
        # SyntaxError is the base of the XML parser's error; the others are what openpyxl raises for what is no workbook.
        return TableFault.DAMAGED
    except (NotImplementedError, RuntimeError, RecursionError, OverflowError, MemoryError, DeflateError, LZMAError):
        return TableFault.DAMAGED


def _has_too_many_marks(packed: ZipFile) -> bool:
    """Say whether a workbook holds more elements than a table has cells, whatever its bytes are."""
    elements = attributes = 0
    for member in packed.infolist():
        with packed.open(member) as unpacked:
            while chunk := unpacked.read(CHUNK_BYTES):
                elements += chunk.count(b"<") - chunk.count(b"</")
                attributes += chunk.count(b"=")
                if elements > MARKS_MAX or attributes > 3 * MARKS_MAX:
                    return True
    return False


def _read_rows(lines: Iterable[Cells]) -> tuple[Row, ...] | TableFault:
    numbered = _numbered(lines)
    columns: _Columns | None = None
    rows: list[Row] = []
    is_empty = True
    for number, cells in numbered:
        is_empty = False
        if columns is None:
            columns = _columns(cells)
            if columns is not None:
                continue
            columns = _columns_without_names(cells)
            if columns is None:
                if number > HEADER_ROWS_MAX:
                    return TableFault.NO_COLUMNS
                continue
        row = _row(number, cells, columns)
        if row is None:
            continue
        if len(rows) == ROWS_MAX:
            return TableFault.TOO_MANY_ROWS
        rows.append(row)
    if columns is None:
        return TableFault.EMPTY if is_empty else TableFault.NO_COLUMNS
    return tuple(rows) or TableFault.EMPTY


def _numbered(lines: Iterable[Cells]) -> Iterator[tuple[int, list[str | date]]]:
    """Give the lines that hold something, with their numbers; cells as texts, dates as dates."""
    for number, line in enumerate(lines, 1):
        cells = [_cell(cell) for cell in line[:COLUMNS_MAX]]
        if any(cell != "" for cell in cells):
            yield number, cells


def _cell(cell: object) -> str | date:
    match cell:
        case None | bool():
            return ""
        case datetime():
            return cell.date()
        case date():
            return cell
        case float():
            # A workbook keeps every number as one with a point; a reading of whole kWh has none.
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else str(Decimal(repr(cell)))
        case _:
            return str(cell)[:CELL_LENGTH_MAX].strip()


def _name(cell: str | date) -> str:
    return " ".join(normalize("NFKC", cell).lower().replace("ё", "е").split()) if isinstance(cell, str) else ""


def _columns(cells: Sequence[str | date]) -> _Columns | None:
    """Find the columns by their names, None where this line has no names."""
    found = _Found()
    for i, cell in enumerate(cells):
        _find(found, i, _name(cell))
    if found.account is None or not found.values:
        return None
    return _Columns(found.account, tuple(found.values), found.meter, found.date)


def _find(found: _Found, i: int, name: str) -> None:
    if not name or name[0].isdigit() or _NO_COLUMN_NAME.search(name):
        return
    if _ACCOUNT_NAME.search(name):
        found.account = i if found.account is None else found.account
    elif _DATE_NAME.search(name):
        found.date = i if found.date is None else found.date
    elif (zone := _zone(name)) is not None:
        found.values.append((i, zone))
    elif _VALUE_NAME.search(name):
        found.values.append((i, ""))
    elif _METER_NAME.search(name):
        found.meter = i if found.meter is None else found.meter


def _zone(name: str) -> str | None:
    for zone, register in _ZONE_NAMES:
        if zone.search(name):
            return str(register)
    display = _DISPLAY_NAME.search(name)
    return f"T{display.group(1)}" if display is not None else None


def _columns_without_names(cells: Sequence[str | date]) -> _Columns | None:
    """Take a line without names for a row where it is plain: an account, then numbers and perhaps a date."""
    if len(cells) < 2 or not _ACCOUNT.fullmatch(_account(cells[0])):
        return None
    dates = [i for i, cell in enumerate(cells) if isinstance(cell, date) or _date(cell) is not None]
    values = [i for i, cell in enumerate(cells[1:], 1) if i not in dates and cell != ""]
    if len(dates) > 1 or not values or not all(_NUMBER.fullmatch(str(cells[i])) for i in values):
        return None
    return _Columns(
        0, tuple((i, "") for i in range(1, COLUMNS_MAX) if i not in dates), None, dates[0] if dates else None
    )


def _row(number: int, cells: Sequence[str | date], columns: _Columns) -> Row | None:
    def at(i: int | None) -> str | date:
        return cells[i] if i is not None and i < len(cells) else ""

    account = _account(at(columns.account))
    values = tuple((name, text) for i, name in columns.values if (text := _value(at(i))))
    if not account and not values:
        # A line of totals or a signature under the table.
        return None
    if not any(c.isdigit() for c in account) and not any(c.isdigit() for _, text in values for c in text):
        return None
    meter = str(at(columns.meter))[:VALUE_LENGTH_MAX].strip() or None
    given = at(columns.date)
    taken_on = given if isinstance(given, date) else _date(given)
    bad_date = str(given)[:VALUE_LENGTH_MAX] if given and taken_on is None else None
    return Row(number, account, values, meter, taken_on, bad_date)


def _account(cell: str | date) -> str:
    if not isinstance(cell, str):
        return ""
    plain = "".join(normalize("NFKC", cell).split()).lstrip("№'").removesuffix(".0")
    return plain.translate(_LETTER_O) if any(c.isdigit() for c in plain) else plain


def _value(cell: str | date) -> str:
    if not isinstance(cell, str):
        return cell.isoformat()
    text = cell.lstrip("'").strip()
    if _GROUPED.fullmatch(text):
        # 10 385 is a number that was made easy to read.
        text = "".join(c for c in text if c.isdigit() or c in ".,")
    return "" if text in ("-", "–", "—") else text[:VALUE_LENGTH_MAX]


def _date(text: str | date) -> date | None:
    if not isinstance(text, str):
        return text
    written, iso = (p.fullmatch(text.strip()) for p in _DATES)
    try:
        if written is not None:
            day, month, year = (int(each) for each in written.groups())
            return date(year if year >= 100 else _CENTURY + year, month, day)
        if iso is not None:
            return date(int(iso[1]), int(iso[2]), int(iso[3]))
    except ValueError:
        return None
    return None
