"""A TOML file as rows that know their lines: every value is taken as what it should be, every fault is told where it stands.

tomllib tells no line of what it has read, so the lines are found by going through the text once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from re import DOTALL, Pattern
from re import compile as pattern
from typing import Any, TypeVar

from bels.domain.rulebook import NormTable, PenaltyStep, Settings
from bels.domain.terms import SCHEME_REGISTERS, RateStatus, Register, Scheme

WHOLE_MAX = 10**9
UNKNOWN = "?"
NO_CAP = "none"
SETTINGS = tuple(field.name for field in fields(Settings))

W = TypeVar("W", bound=StrEnum)

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_PARTS = pattern(_PART)
_NAMES = pattern(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_HEADER = pattern(rf"(\[\[?)[ \t]*({_NAMES.pattern})[ \t]*\]\]?")
_BLANK = pattern(r"(?:\s|#[^\n]*)*")
_VALUE = pattern(
    r'"""(?:\\.|[^\\])*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r"""'[^'\n]*'|"(?:\\.|[^"\\\n])*"|"""
    r"""#[^\n]*|[\[\]{}]|\n|[^"'#\[\]{}\n]+""",
    DOTALL,
)
_DECIMAL = pattern(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?")


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong in a file: the line, from 1; the table, row and key; and how to do it right.

    ``line`` is 0 where a row of the book in force does not go with the file.
    """

    line: int
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{f'line {self.line}' if self.line else 'the book in force'}, {self.where}: {self.reason}"


class Written:
    """A number with a point or an exponent, as the file writes it."""

    def __init__(self, text: str) -> None:
        self.text = text


Place = tuple[str, int | None, str]
"""A table, the row in it, and the key in that row."""


def lines_of(text: str) -> Mapping[Place, int]:
    """Find the line of every row and key of a text that is TOML: the parser itself does not tell."""
    lines: dict[Place, int] = {}
    rows: dict[str, int] = {}
    table, index, above = "", None, ""
    at, line, counted = 0, 1, 0

    def note(table: str, index: int | None, key: str) -> None:
        lines.setdefault((table, index, key), line)
        while key:
            key = key.rpartition(".")[0]
            lines.setdefault((table, index, key), line)

    while True:
        at = _end(_BLANK, text, at)
        line, counted = line + text.count("\n", counted, at), at
        header = _HEADER.match(text, at)
        if header is not None:
            names = _named(header[2])
            table, above = names[0], ".".join(names[1:])
            if header[1] == "[[" and not above:
                rows[table] = rows.get(table, -1) + 1
            index = rows.get(table)
            note(table, index, above)
            at = header.end()
            continue
        key = _NAMES.match(text, at)
        if key is None:
            return lines
        names = _named(key[0])
        if table:
            note(table, index, ".".join([above, *names] if above else names))
        else:
            note(names[0], None, ".".join(names[1:]))
        at = _end_of_value(text, key.end())


def _named(names: str) -> list[str]:
    return [part[1:-1] if part[0] in "\"'" else part for part in _PARTS.findall(names)]


def _end(what: Pattern[str], text: str, at: int) -> int:
    found = what.match(text, at)
    return int(found.end()) if found else at


def _end_of_value(text: str, at: int) -> int:
    depth = 0
    for token in _VALUE.finditer(text, at):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and not depth:
            return token.end()
    return len(text)


class File:
    """A parsed file, its lines, and the faults found so far."""

    def __init__(self, data: Mapping[str, Any], lines: Mapping[Place, int]) -> None:
        self.data, self.lines = data, lines
        self.faults: list[FileFault] = []
        self.broken: set[str] = set()

    def line(self, table: str, index: int | None, key: str) -> int:
        """Give the line of a key, or of what is nearest above it."""
        while True:
            found = self.lines.get((table, index, key))
            if found is not None:
                return found
            if not key:
                return self.lines.get((table, None, ""), self.lines.get((table, 0, ""), 1))
            key = key.rpartition(".")[0]

    def fault(self, table: str, index: int | None, key: str, reason: str) -> None:
        """Note a fault at its line."""
        where = table if index is None else f"{table} {index + 1}"
        self.faults.append(FileFault(self.line(table, index, key), f"{where}, {key}" if key else where, reason))
        self.broken.add(table)

    def text(self, key: str, otherwise: str) -> str:
        """Read a text that stands above all tables."""
        value = self.data.get(key, otherwise)
        if isinstance(value, str):
            return value
        self.fault(key, None, "", f"{key} is {_kind(value)}: write a text in quotes")
        return otherwise

    def rows(self, table: str) -> Iterator[Row]:
        """Give the rows of a table."""
        value = self.data.get(table, [])
        if not isinstance(value, list):
            self.fault(
                table, None, "", f"this is not a row of {table}: begin each row with [[{table}]] on its own line"
            )
        elif (value and not isinstance(value[0], dict)) or (table in self.data and (table, 0, "") not in self.lines):
            self.fault(table, None, "", f"rows are not written in a list: begin each with [[{table}]] on its own line")
        else:
            yield from (Row(self, table, i, row) for i, row in enumerate(value))


class Row:
    """A row of a file. A value that is not what it should be is told as a fault, and something of its kind is given instead."""

    def __init__(self, file: File, table: str, index: int | None, raw: Mapping[str, Any]) -> None:
        self._file, self.table, self.index, self._raw = file, table, index, raw
        self.failed = False

    def fault(self, key: str, reason: str) -> None:
        """Note what is wrong with a key."""
        self.failed = True
        self._file.fault(self.table, self.index, key, reason)

    def has(self, key: str) -> bool:
        """Say whether the row gives a key."""
        return key in self._raw

    def keys(self, known: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Tell the keys that the row lacks, and those that nobody knows."""
        for key in self._raw:
            if key not in known and key not in optional:
                self.fault(key, f"{key[:40]!r} is not a key of {self.table}{meant(key, [*known, *optional])}")
        for key in known:
            if key not in self._raw:
                self.fault(key, f"the key {key} is missing: write {key} = {FORMS.get(key, '...')}")

    def text(self, key: str) -> str:
        """Read a text."""
        value = self._raw.get(key, "")
        if isinstance(value, str):
            return value
        self.fault(key, f"{key} is {_kind(value)}: write a text in quotes, as {FORMS.get(key, key + ' = ...')}")
        return ""

    def optional_text(self, key: str) -> str | None:
        """Read a text that may be absent."""
        return self.text(key) if self.has(key) else None

    def day(self, key: str) -> date:
        """Read a day."""
        value = self._raw.get(key, date.min)
        return self._day(key, value)

    def days(self, key: str) -> tuple[date, ...]:
        """Read a list of days."""
        return tuple(self._day(key, value) for value in self._list(key, "days, as [2026-01-09, 2026-03-09]"))

    def _day(self, key: str, value: object) -> date:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        what = f"{value[:40]!r}" if isinstance(value, str) else _kind(value)
        self.fault(key, f"{key} is {what}: write a day without quotes and without a time, as 2024-07-01")
        return date.min

    def whole(self, key: str) -> int:
        """Read a whole number."""
        value = self._raw.get(key, 0)
        return self._whole(key, value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """Read a list of whole numbers."""
        return tuple(self._whole(key, value) for value in self._list(key, "whole numbers, as [3900, 6000]"))

    def _whole(self, key: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= WHOLE_MAX:
            return value
        self.fault(key, f"{key} has {_kind(value)}: write a whole number without quotes")
        return 0

    def table_of_norms(self, key: str) -> NormTable:
        """Read a table of whole numbers."""
        rows: list[tuple[int, ...]] = []
        for row in self._list(key, "4 rows of 5 whole numbers, as [[75, 46, 36, 29, 25], ...]"):
            if isinstance(row, list):
                rows.append(tuple(self._whole(key, value) for value in row))
            else:
                self.fault(key, f"{key} has {_kind(row)}: write 4 rows of 5 whole numbers, each row in brackets")
        return tuple(rows)

    def word(self, key: str, words: type[W]) -> W:
        """Read one of a closed set of words."""
        return self._word(key, self._raw.get(key, next(iter(words)).value), words)

    def _word(self, key: str, value: object, words: type[W]) -> W:
        for word in words:
            if word.value == value:
                return word
        told = f"{value[:40]!r}" if isinstance(value, str) else _kind(value)
        self.fault(key, f"{key} is {told}: write one of {', '.join(word.value for word in words)}, in quotes")
        return next(iter(words))

    def decimal(self, key: str) -> Decimal:
        """Read an exact number."""
        return self._decimal(key, self._raw.get(key, "0"))

    def decimal_or(self, key: str, none: str) -> Decimal | None:
        """Read an exact number, or the word that says that there is none."""
        return None if self._raw.get(key) == none else self.decimal(key)

    def _decimal(self, key: str, value: object) -> Decimal:
        if isinstance(value, Written | int) and not isinstance(value, bool):
            written = value.text if isinstance(value, Written) else str(value)
            self.fault(key, f'{written[:40]} is not exact without quotes: write "{written[:40]}"')
        elif not isinstance(value, str):
            self.fault(key, f'{key} has {_kind(value)}: write a number in quotes, as "7.33"')
        elif _DECIMAL.fullmatch(value):
            return Decimal(value)
        else:
            comma = "with a point, not a comma" if "," in value else "in plain digits"
            self.fault(key, f'{value[:40]!r} is not a number: write it {comma}, as "7.33"')
        return Decimal(1)

    def rates(self, key: str, scheme: Scheme) -> dict[Register, tuple[Decimal | None, ...]]:
        """Read a list of rates for each register."""
        rates: dict[Register, tuple[Decimal | None, ...]] = {}
        for register, value in self._by_register(key, scheme, '["7.33"]'):
            at = f"{key}.{register.value}"
            if not isinstance(value, list):
                self.fault(at, f'{at} is {_kind(value)}: write a list with a rate for each range, as ["7.33", "?"]')
                continue
            rates[register] = tuple(None if rate == UNKNOWN else self._decimal(at, rate) for rate in value)
        return rates

    def statuses(self, key: str, scheme: Scheme) -> dict[Register, RateStatus]:
        """Read a status for each register."""
        return {
            register: self._word(f"{key}.{register.value}", value, RateStatus)
            for register, value in self._by_register(key, scheme, '"published"')
        }

    def steps(self, key: str) -> tuple[PenaltyStep, ...]:
        """Read the steps of a penalty."""
        steps: list[PenaltyStep] = []
        form = "[{ from_day = 31, divisor = 300 }]"
        for value in self._list(key, f"steps, as {form}"):
            if not isinstance(value, dict) or set(value) != {"from_day", "divisor"}:
                self.fault(key, f"a step has a from_day and a divisor, and nothing else: write {form}")
                continue
            steps.append(PenaltyStep(self._whole(key, value["from_day"]), self._whole(key, value["divisor"])))
        return tuple(steps)

    def _by_register(self, key: str, scheme: Scheme, form: str) -> Iterator[tuple[Register, object]]:
        names = {register.value: register for register in Register}
        value = self._raw.get(key, {})
        if not isinstance(value, dict):
            some = ", ".join(f"{register.value} = {form}" for register in SCHEME_REGISTERS[scheme])
            self.fault(key, f"{key} is {_kind(value)}: write {key} = {{ {some} }}")
            return
        for name, given in value.items():
            register = names.get(name)
            if register is None:
                self.fault(f"{key}.{name}", f"{name[:40]!r} is not a register: write {', '.join(names)}")
            else:
                yield register, given

    def _list(self, key: str, form: str) -> list[Any]:
        value = self._raw.get(key, [])
        if isinstance(value, list):
            return value
        self.fault(key, f"{key} is {_kind(value)}: write a list of {form}")
        return []


FORMS: Mapping[str, str] = {
    "effective_on": "2024-07-01",
    "since": "2024-07-01",
    "until": "2024-07-01",
    "group": '"MO/urban_gas"',
    "scheme": '"single"',
    "rates": '{ total = ["7.33"] }',
    "status": '{ total = "published" }',
    "source": '"where it was published"',
    "up_to_kwh": "[3900, 6000]",
    "gas": "[[75, 46, 36, 29, 25], ...]",
    "electric": "[[125, 77, 60, 49, 42], ...]",
    "percent": '"16.5"',
    "steps": "[{ from_day = 31, divisor = 300 }]",
    "cap_percent": '"9.5", or "none" without a cap',
    "day": "15",
    "year": "2026",
    "days": "[2026-01-09, 2026-03-09]",
    **dict.fromkeys(("name", "inn", "account", "bank", "bic", "corr_account", "address", "phone"), '"..."'),
    **{
        field.name: f'"{default.value}"'
        if isinstance(default := getattr(Settings(), field.name), StrEnum)
        else f"{default}"
        for field in fields(Settings)
    },
}


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case Written():
            return f"the number {value.text[:40]}"
        case int():
            return "a number out of all bounds" if abs(value) > WHOLE_MAX else f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case datetime():
            return f"the moment {value}"
        case date():
            return f"the day {value}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a time"


def meant(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, 1)
    return f": did you mean {close[0]}?" if close else f": write {', '.join(known)}"
