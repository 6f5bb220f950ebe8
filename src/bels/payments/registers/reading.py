"""Read a register by its layout: line by line, whatever its size, each line a row or a fault with its reason (partners 4.2).

Nothing is quoted, because names hold quotes. A fault of one line is told beside its neighbours; a fault of the file (its charset,
its structure, its totals) ends the reading: half a file looks like a whole one until its totals are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from bels.payments.registers.faults import FileFault, Quarantined
from bels.payments.registers.layout import Layout
from bels.payments.registers.rows import AMOUNT, BadRow, Judged, Sums, row_reader
from bels.reception.charsets import SAMPLE_BYTES, likeliest

LINE_BYTES_MAX = 65_536
LINES_MAX = 3_000_000
FOREIGN_BYTES_MIN = 30
"""So many bytes beyond ASCII tell one charset from another; fewer may be anything."""

_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_ENDS = "\x1a\x00"
"""What DOS ends a text with, and what fills its last block."""


@dataclass(slots=True)
class Reader:
    """Reads a register piece by piece: ``read`` for every piece, then ``close``; its sums and names stand in it.

    ``today`` is the day after which no payment can be dated. With ``judges`` False totals and charset were judged before, and
    whoever released the file answers for them.
    """

    layout: Layout
    today: date
    judges: bool = True
    lines: int = 0
    bad: int = 0
    sums: Sums = field(default_factory=Sums)
    number: str | None = None
    day: date | None = None
    order_number: str | None = None
    order_day: date | None = None
    first_day: date | None = None
    last_day: date | None = None
    _rest: bytes = b""
    _is_begun: bool = False
    _sample: bytearray = field(default_factory=bytearray)
    _is_charset_judged: bool = False
    _pack: Sums = field(default_factory=Sums)
    _claimed: Mapping[str, Decimal] | None = None
    _texts: dict[str, Decimal] = field(default_factory=dict)
    _is_ended: bool = False
    _row: Callable[[int, str], Judged | None] | None = None
    _saw_text: bool = False

    def __post_init__(self) -> None:
        if not self.layout.header:
            self._row = row_reader(self.layout, {}, self.today)

    def read(self, piece: bytes) -> list[Judged]:
        """Read a piece of the file; whole lines of it come as rows.

        :raises Quarantined: the whole file waits.
        """
        data = self._rest + piece
        if not self._is_begun:
            if len(data) < len(_BOM):
                self._rest = data
                return []
            data = self._begun(data)
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise Quarantined(FileFault.LINE_TOO_LONG, str(self.lines + len(lines) + 1))
        return [row for line in lines if (row := self._line(line)) is not None]

    def close(self) -> list[Judged]:
        """Read what is left, and judge the file as a whole.

        :raises Quarantined: the whole file waits.
        """
        rest = self._rest if self._is_begun else self._begun(self._rest)
        self._rest = b""
        row = self._line(rest) if rest else None
        if self.judges:
            if not self._is_charset_judged:
                self._judge_charset()
            self._judge_end()
        return [row] if row is not None else []

    def named_by(self, file_name: str) -> None:
        """Take number and day from the name of the file, where the layout says how."""
        if self.layout.file_name is not None and (found := self.layout.file_name.fullmatch(file_name)):
            self._named(found)

    @property
    def only_day(self) -> date | None:
        """The day of the register: as it says itself, or the one day of all its rows."""
        if self.day is not None:
            return self.day
        return self.first_day if self.first_day == self.last_day else None

    def _begun(self, data: bytes) -> bytes:
        self._is_begun = True
        if data.startswith(_WIDE):
            raise Quarantined(FileFault.WRONG_ENCODING, "utf-16")
        if data.startswith(_BOM):
            if self.layout.encoding != "utf-8" and self.judges:
                raise Quarantined(FileFault.WRONG_ENCODING, "utf-8")
            return data[len(_BOM) :]
        if self.layout.bom and data and self.judges:
            raise Quarantined(FileFault.NO_BOM)
        return data

    def _line(self, line: bytes) -> Judged | None:
        self.lines += 1
        if len(line) > LINE_BYTES_MAX:
            raise Quarantined(FileFault.LINE_TOO_LONG, str(self.lines))
        if self.lines > LINES_MAX:
            raise Quarantined(FileFault.TOO_LARGE, f"> {LINES_MAX}")
        if not line.isascii() and not self._is_charset_judged and self.judges:
            self._sample += line + b"\n"
            if len(self._sample) > SAMPLE_BYTES:
                self._judge_charset()
        try:
            text = line.decode(self.layout.encoding)
        except UnicodeDecodeError:
            if self.judges:
                raise Quarantined(FileFault.WRONG_ENCODING, _looks_like(line)) from None
            text = line.decode(self.layout.encoding, "replace")
        text = text.rstrip("\r")
        if text.endswith(("\x1a", "\x00")):
            text = text.rstrip(_ENDS).rstrip("\r")
        if not text or text.isspace():
            self._blank()
            return None
        self._saw_text = True
        return self._read(text)

    def _read(self, text: str) -> Judged | None:
        layout = self.layout
        prefix = layout.trailer_prefix or layout.header_prefix
        if prefix and text.startswith(prefix):
            self._totals(text[len(prefix) :])
            return None
        if layout.comment_prefix and text.startswith(layout.comment_prefix):
            self._about(text)
            return None
        if self._row is None:
            self._header(text)
            return None
        if self._is_ended:
            if layout.totals_text:
                self._total_in_words(text)
                return None
            if self.judges:
                raise Quarantined(FileFault.AFTER_TOTALS, str(self.lines))
        row = self._row(self.lines, text)
        if row is None:
            self._about(text)
            return None
        self.sums.add(row)
        self._pack.add(row)
        if row.paid_at is not None:
            day = row.paid_at.date()
            self.first_day = day if self.first_day is None else min(day, self.first_day)
            self.last_day = day if self.last_day is None else max(day, self.last_day)
        if isinstance(row, BadRow):
            self.bad += 1
        return row

    def _blank(self) -> None:
        # In a letter an empty line ends the table, and the sums follow in words.
        if self.layout.totals_text and self._row is not None:
            self._is_ended = True

    def _header(self, text: str) -> None:
        header = self.layout.header
        if isinstance(header, str) and not text.startswith(header):
            self._about(text)
            return
        names = {name.strip().casefold(): i for i, name in enumerate(text.split(self.layout.delimiter), 1)}
        self._row = row_reader(self.layout, names, self.today)

    def _about(self, text: str) -> None:
        for pattern in self.layout.about:
            if found := pattern.search(text):
                self._named(found)

    def _named(self, found: re.Match[str]) -> None:
        groups = found.groupdict()
        if self.number is None and groups.get("number"):
            self.number = groups["number"][:40]
        if self.day is None and groups.get("day"):
            self.day = self._day(groups["day"])

    def _day(self, text: str) -> date | None:
        try:
            return datetime.strptime(text.strip(), self.layout.day_format).date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            return None

    def _totals(self, rest: str) -> None:
        layout = self.layout
        if self._is_ended and self.judges:
            raise Quarantined(FileFault.AFTER_TOTALS, str(self.lines))
        cells = rest.split(layout.delimiter)
        told = {name: cells[at - 1].strip() if at <= len(cells) else "" for name, at in layout.totals.items()}
        if self.number is None:
            self.number = told.get("number", "")[:40] or None
        self.order_number = told.get("order_number", "")[:40] or self.order_number
        self.order_day = self._day(told.get("order_day", "")) or self.order_day
        if self.day is None:
            self.day = self._day(told.get("day", ""))
        self._is_ended = not layout.packs and not layout.header_prefix
        if not self.judges:
            return
        claimed: dict[str, Decimal] = {
            name: _sum(told[name], layout) for name in ("count", "sum", "fee", "transfer") if name in told
        }
        if layout.header_prefix:
            if self._claimed is not None or self._pack.count:
                self._compare()
            self._claimed = claimed
            return
        self._claimed = claimed
        self._compare()

    def _total_in_words(self, text: str) -> None:
        for name, words in self.layout.totals_text.items():
            _, found, after = text.partition(words)
            if found and self.judges:
                number = re.search(r"[0-9][0-9 \u00a0]*(?:[.,][0-9]+)?", after)
                if number is None:
                    raise Quarantined(FileFault.BAD_TOTALS, str(self.lines))
                self._texts[name] = _sum(re.sub(r"[ \u00a0]", "", number.group()), self.layout)

    def _compare(self) -> None:
        """Compare what a pack claims with its rows, and begin the next one."""
        pack, claimed = self._pack, self._claimed
        self._pack, self._claimed = Sums(), None
        if claimed is None:
            raise Quarantined(FileFault.TOTALS_MISSING)
        found = pack.told()
        for name, told in claimed.items():
            if told != found[name]:
                raise Quarantined(FileFault.TOTALS_DIFFER, f"{name}: {told} ≠ {found[name]}")

    def _judge_end(self) -> None:
        layout = self.layout
        if self._row is None and self._saw_text:
            raise Quarantined(FileFault.NO_HEADER)
        if layout.totals_text and self._saw_text:
            if len(self._texts) < len(layout.totals_text):
                raise Quarantined(FileFault.TOTALS_MISSING)
            self._claimed = self._texts
            self._compare()
        elif layout.totals and self._saw_text:
            is_open = self._claimed is not None or self._pack.count > 0
            if layout.header_prefix and is_open:
                self._compare()
            elif is_open or not (self._is_ended or layout.packs or layout.header_prefix):
                raise Quarantined(FileFault.TOTALS_MISSING)
        if layout.strict and self.bad:
            raise Quarantined(FileFault.BAD_ROWS, str(self.bad))

    def _judge_charset(self) -> None:
        """Look whether the letters are Russian in the charset that was agreed.

        :raises Quarantined: they are in another one.
        """
        self._is_charset_judged = True
        sample, declared = bytes(self._sample), self.layout.encoding
        self._sample.clear()
        foreign = sum(byte > 127 for byte in sample)
        if declared == "utf-8" or not foreign:
            return
        found = _looks_like(sample)
        if found != "utf-8" and foreign < FOREIGN_BYTES_MIN:
            return
        if found != declared:
            raise Quarantined(FileFault.WRONG_ENCODING, found)


def _looks_like(sample: bytes) -> str:
    """Say in what charset a text beyond ASCII is."""
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        return likeliest(sample)
    return "utf-8"


def _sum(text: str, layout: Layout) -> Decimal:
    """Read a total.

    :raises Quarantined: it is no sum.
    """
    if not AMOUNT[layout.decimal].fullmatch(text):
        raise Quarantined(FileFault.BAD_TOTALS)
    return Decimal(text.replace(",", "."))
