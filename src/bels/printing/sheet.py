"""A sheet of A4 to write on from the top down: measured text, rows of columns, a new page when one is full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from unicodedata import category, normalize

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = A4
LEFT, RIGHT = 40.0, WIDTH - 40.0
TOP, BOTTOM = HEIGHT - 34.0, 34.0
"""The part of the page that is written on, in points (1/72 inch) from its lower left corner."""

REGULAR, BOLD = "BelsSans-Regular", "BelsSans-Bold"
BLACK, GREY, PALE = 0.0, 0.38, 0.75
"""Shades of ink: text, notes, lines."""

_FONTS = Path(__file__).with_name("fonts")
_SIZE_MIN = 4.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: heading, width in points, and whether its cells are numbers, which stand on the right."""

    title: str
    width: float
    number: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: a cell a column; a line break in a cell begins a new line of it."""

    cells: Sequence[str]
    bold: bool = False


class Sheet:
    """The page being written; ``y`` is where the next thing goes, and falls as the page fills."""

    def __init__(self, title: str, author: str, subject: str, running_head: str, pages: int) -> None:
        """Begin a document; ``running_head`` stands on every page but the first, ``pages`` is how many there will be."""
        _fonts()
        self._bytes = BytesIO()
        # ``invariant``: no clock and no chance in the file, so that the same bill is the same bytes.
        self.canvas = Canvas(self._bytes, pagesize=A4, invariant=1, pageCompression=1, lang="ru-RU")
        self.canvas.setTitle(clean(title))
        self.canvas.setAuthor(clean(author))
        self.canvas.setSubject(clean(subject))
        self.canvas.setCreator("bels")
        self.page = 1
        self.y = TOP
        self._running_head = running_head
        self._pages = pages
        self._number_the_page()

    def finish(self) -> bytes:
        """Close the document and give its bytes."""
        self.canvas.save()
        return self._bytes.getvalue()

    def room_for(self, height: float) -> bool:
        """Begin a new page unless so many points are left; say whether one was begun."""
        if self.y - height >= BOTTOM:
            return False
        self.canvas.showPage()
        self.page += 1
        self.y = TOP
        self._number_the_page()
        self.text(LEFT, self.y - 8, self._running_head, 8, shade=GREY)
        self.y -= 16
        return True

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        bold: bool = False,
        shade: float = BLACK,
        to: float | None = None,
        right: bool = False,
    ) -> None:
        """Write one line at the baseline ``y``: from ``x`` on, or ending at ``x`` when ``right``; no wider than ``to`` points."""
        font = BOLD if bold else REGULAR
        shown = clean(text)
        if to is not None:
            size = _fitting(shown, font, size, to)
            shown = _cut(shown, font, size, to)
        self.canvas.setFillGray(shade)
        self.canvas.setFont(font, size)
        if right:
            self.canvas.drawRightString(x, y, shown)
        else:
            self.canvas.drawString(x, y, shown)

    def lines(
        self,
        x: float,
        text: str,
        size: float,
        width: float,
        *,
        bold: bool = False,
        shade: float = BLACK,
        most: int = 99,
    ) -> None:
        """Write text from ``y`` down, broken to ``width``; after ``most`` lines the rest is cut with …."""
        leading = leading_of(size)
        for line in wrapped(text, size, width, bold=bold, most=most):
            self.room_for(leading)
            self.text(x, self.y - size, line, size, bold=bold, shade=shade)
            self.y -= leading

    def heading(self, text: str, needs: float, amount: str = "") -> None:
        """Write the heading of a section, with its sum on the right, on a page that has ``needs`` more points under it."""
        self.room_for(22 + needs)
        self.y -= 7
        self.rule(self.y, 0.8, BLACK)
        self.y -= 12
        self.text(LEFT, self.y, text, 9.5, bold=True, to=RIGHT - LEFT - 90)
        if amount:
            self.text(RIGHT, self.y, amount, 9.5, bold=True, right=True, to=85)
        self.y -= 4

    def table(self, columns: Sequence[Column], rows: Sequence[Row], *, size: float = 8.0, headed: bool = True) -> None:
        """Write a table from ``y`` down, its heading again on every page."""
        if headed:
            self.room_for(table_height(columns, rows[:1]))
            self._head(columns)
        for i, row in enumerate(rows):
            cells = list(_cells(columns, row, size))
            height = _height(cells, size)
            if self.room_for(height) and headed:
                self._head(columns)
            if i or headed:
                edge = LEFT + sum(column.width for column in columns)
                self.rule(self.y, 0.6 if row.bold else 0.3, GREY if row.bold else PALE, right=edge)
            x = LEFT
            for column, lines in zip(columns, cells, strict=True):
                y = self.y - 2.5 - size
                for line in lines:
                    if column.number:
                        self.text(x + column.width, y, line, size, bold=row.bold, right=True, to=column.width - 4)
                    else:
                        self.text(x, y, line, size, bold=row.bold)
                    y -= leading_of(size)
                x += column.width
            self.y -= height

    def rule(self, y: float, thickness: float, shade: float, left: float = LEFT, right: float = RIGHT) -> None:
        """Draw a horizontal line."""
        self.canvas.setStrokeGray(shade)
        self.canvas.setLineWidth(thickness)
        self.canvas.line(left, y, right, y)

    def _head(self, columns: Sequence[Column]) -> None:
        size = 6.8
        titles = [wrapped(column.title, size, column.width - 6) for column in columns]
        x = LEFT
        for column, lines in zip(columns, titles, strict=True):
            for i, line in enumerate(lines):
                y = self.y - 2 - size - i * leading_of(size)
                edge = x + column.width if column.number else x
                self.text(edge, y, line, size, shade=GREY, right=column.number)
            x += column.width
        self.y -= max(map(len, titles)) * leading_of(size) + 3.5

    def _number_the_page(self) -> None:
        if self._pages > 1:
            self.text(RIGHT, BOTTOM - 12, f"лист {self.page} из {self._pages}", 7, shade=GREY, right=True)


def table_height(columns: Sequence[Column], rows: Sequence[Row], *, size: float = 8.0, headed: bool = True) -> float:
    """Measure a table that is not broken between pages."""
    height = sum(_height(list(_cells(columns, row, size)), size) for row in rows)
    if headed:
        height += max(len(wrapped(c.title, 6.8, c.width - 6)) for c in columns) * leading_of(6.8) + 3.5
    return height


def leading_of(size: float) -> float:
    """Give the distance of lines."""
    return size * 1.22


def wrapped(text: str, size: float, width: float, *, bold: bool = False, most: int = 99) -> list[str]:
    """Break text to lines of a width at its spaces (a longer word anywhere); after ``most`` lines the rest is cut with …."""
    font = BOLD if bold else REGULAR
    lines = [line for part in text.split("\n") for line in _broken(clean(part), font, size, width)]
    if len(lines) > most:
        lines = [*lines[: most - 1], _cut(f"{lines[most - 1]}…", font, size, width, always=True)]
    return lines


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Measure one line of text, in points."""
    return _width(clean(text), BOLD if bold else REGULAR, size)


def clean(text: str) -> str:
    """Leave in a text only what the font can show: composed, one line, and ? for what it has no letter for."""
    known = _fonts()
    return "".join(_shown(text, known)).strip(" ")


def _shown(text: str, known: frozenset[int]) -> Iterator[str]:
    for letter in normalize("NFC", text):
        kind = category(letter)
        if letter in "\n\t\r" or (kind[0] == "Z" and letter != "\u00a0"):
            yield " "
        elif kind in ("Mn", "Me", "Cf", "Cc"):
            continue
        else:
            yield letter if ord(letter) in known else "?"


@lru_cache(1)
def _fonts() -> frozenset[int]:
    """Register both fonts, once; the letters that both have."""
    fonts = [TTFont(name, _FONTS / f"{name}.ttf") for name in (REGULAR, BOLD)]
    for font in fonts:
        registerFont(font)
    return frozenset.intersection(*(frozenset(font.face.charToGlyph) for font in fonts))


def _cells(columns: Sequence[Column], row: Row, size: float) -> Iterator[list[str]]:
    for column, cell in zip(columns, row.cells, strict=True):
        if column.number:
            yield cell.split("\n")
        else:
            yield wrapped(cell, size, column.width - 6, bold=row.bold)


def _height(cells: Sequence[Sequence[str]], size: float) -> float:
    return max(map(len, cells)) * leading_of(size) + 4.5


def _width(text: str, font: str, size: float) -> float:
    return stringWidth(text, font, size)


def _fitting(text: str, font: str, size: float, width: float) -> float:
    full = _width(text, font, size)
    return size if full <= width else max(_SIZE_MIN, size * width / full)


def _cut(text: str, font: str, size: float, width: float, *, always: bool = False) -> str:
    if _width(text, font, size) <= width + 0.01:
        return text
    while text and _width(f"{text}…", font, size) > width:
        text = text[:-1]
    return f"{text}…"


def _broken(text: str, font: str, size: float, width: float) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if _width(longer, font, size) <= width:
            line = longer
            continue
        if line:
            yield line
        line = word
        while _width(line, font, size) > width and len(line) > 1:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or _width(line[:n], font, size) <= width)
            yield line[:fits]
            line = line[fits:]
    yield line
