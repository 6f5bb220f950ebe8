"""The file in which an operator publishes rules: TOML, read over the book in force (written by ``writing.py``).

A row of the file replaces the row of the book with the same key, other rows are added, and what the file does not name stays.
Decimals stand in quotes, so that no rate ever passes through a binary fraction; ``"?"`` is a rate that nobody knows.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from re import compile as pattern
from typing import Any, TypeVar

from bels.domain.check_rulebook import ROWS_MAX, faults_of
from bels.domain.rulebook import (
    KeyRate,
    Moratorium,
    Norms,
    PenaltyTerms,
    Requisites,
    Rulebook,
    Settings,
    Tariff,
)
from bels.domain.terms import Role, Scheme, Settlement
from bels.rulebooks.rows import NO_CAP, SETTINGS, File, FileFault, Row, Written, lines_of, meant

FILE_BYTES_MAX = 1_000_000
LINE_LENGTH_MAX = 2000
"""A key of a hundred thousand parts, all on one line, would hold the parser of the standard library for hours."""
FAULTS_MAX = 50

TABLES: Mapping[str, str] = {
    "settings": "settings",
    "norms": "norms",
    "tariff": "tariffs",
    "ranges": "ranges",
    "key_rate": "key_rates",
    "penalties": "penalties",
    "moratorium": "moratoria",
    "due_day": "due_days",
    "days_off": "days_off",
}
"""The tables of rows in a file, and the fields of a Rulebook that they become."""
WHOLE = ("name", "region", "tariff", "ranges", "norms", "settings", "due_day")
"""What a file must name when it is laid over nothing."""

T = TypeVar("T")
_PLACE = pattern(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$")
_KINDS = ("urban_gas", "urban_electric", "rural")
_HINTS = (
    ("date or datetime", "write a day that exists, as 2024-07-01"),
    ("Invalid value", 'write text and rates in quotes, as "7.33", and a day as 2024-07-01'),
    ("overwrite a value", "a key is written twice in one row: keep one"),
    ("Cannot declare", "a table is begun twice: begin each row with its own [[...]]"),
)


class RulebookFileError(ValueError):
    """A file cannot be read as a rulebook; ``faults`` say everything that is to be put right, in order of lines.

    ``more`` counts the faults beyond those that are told.
    """

    def __init__(self, faults: Iterable[FileFault]) -> None:
        found = sorted(faults, key=lambda fault: fault.line)
        self.faults, self.more = tuple(found[:FAULTS_MAX]), len(found[FAULTS_MAX:])
        lines = [str(fault) for fault in self.faults]
        super().__init__("\n".join([*lines, f"and {self.more} more"] if self.more else lines))


def read_rulebook(text: str, base: Rulebook | None) -> Rulebook:
    """Read a file over a book; without one the file must be whole. The number and the retroactions stay the base's.

    A rate that the book knows stays where the file says that it does not know it: a file is never less than what is in force.

    :raises RulebookFileError: the file has faults, all of them told at once.
    """
    text = text.removeprefix("\ufeff")
    file = File(_loaded(text), lines_of(text))
    book, origins = _read(file, base)
    faults = file.faults + _faults_in(file, book, origins)
    if faults:
        raise RulebookFileError(faults)
    if base is None:
        return book
    known = {row.version: row for row in base.tariffs}
    return replace(book, tariffs=tuple(_keeping(row, known.get(row.version)) for row in book.tariffs))


def _keeping(row: Tariff, known: Tariff | None) -> Tariff:
    if known is None or not any(rate is None for rates in row.rates.values() for rate in rates):
        return row
    rates = {}
    for register, told in row.rates.items():
        before = known.rates.get(register, ())
        rates[register] = tuple(before[i] if rate is None and i < len(before) else rate for i, rate in enumerate(told))
    status = {r: row.status[r] if rates[r] == row.rates[r] else known.status[r] for r in rates}
    return replace(row, rates=rates, status=status, source=row.source if rates == row.rates else known.source)


def _loaded(text: str) -> dict[str, Any]:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > FILE_BYTES_MAX:
        raise RulebookFileError(
            [FileFault(1, "file", f"it has {size} bytes, at most {FILE_BYTES_MAX} are read: publish it in parts")]
        )
    for line, written in enumerate(text.split("\n"), 1):
        if len(written) > LINE_LENGTH_MAX:
            raise RulebookFileError(
                [FileFault(line, "file", f"it has more than {LINE_LENGTH_MAX} characters: break the list into lines")]
            )
    try:
        data = tomllib.loads(text, parse_float=Written)
    except RecursionError as error:
        raise RulebookFileError([FileFault(1, "TOML", "lists stand too deep in lists: write rows plainly")]) from error
    except ValueError as error:
        raise RulebookFileError([_syntax(text, str(error))]) from error
    if not data:
        raise RulebookFileError([FileFault(1, "file", "it names nothing: write at least one row, as [[tariff]]")])
    rows = sum(len(value) for value in data.values() if isinstance(value, list))
    if rows > ROWS_MAX:
        raise RulebookFileError(
            [FileFault(1, "file", f"it has {rows} rows, at most {ROWS_MAX} are read: publish it in parts")]
        )
    return data


def _syntax(text: str, message: str) -> FileFault:
    found = _PLACE.match(message)
    what, line, column = (found[1], found[2], found[3]) if found else (message, None, None)
    hint = next((hint for sign, hint in _HINTS if sign in what), "write keys as key = value, rows after [[table]]")
    at = f" (column {column})" if column else ""
    return FileFault(int(line) if line else text.rstrip().count("\n") + 1, "TOML", f"{what}{at}: {hint}")


def _tariff(row: Row) -> tuple[object, Tariff]:
    row.keys(("group", "scheme", "effective_on", "rates", "status", "source"), ("until",))
    scheme = row.word("scheme", Scheme)
    tariff = Tariff(
        row.text("group"),
        scheme,
        row.day("effective_on"),
        row.rates("rates", scheme),
        row.statuses("status", scheme),
        row.text("source"),
    )
    if row.has("until"):
        row.day("until")
    return (tariff.group, tariff.scheme, tariff.effective_on), tariff


def _dated(keys: tuple[str, ...], read: Callable[[Row], T]) -> Callable[[Row], tuple[object, tuple[date, T]]]:
    def row(row: Row) -> tuple[object, tuple[date, T]]:
        row.keys(("effective_on", *keys))
        day = row.day("effective_on")
        return day, (day, read(row))

    return row


def _norms(row: Row) -> Norms:
    return Norms(row.text("source"), row.table_of_norms("gas"), row.table_of_norms("electric"))


def _settings(row: Row) -> Settings:
    numbers = {key: row.whole(key) for key in SETTINGS if key not in ("settlement", "implausible_confirmed_by")}
    return Settings(
        settlement=row.word("settlement", Settlement),
        implausible_confirmed_by=row.word("implausible_confirmed_by", Role),
        **numbers,
    )


def _penalties(row: Row) -> PenaltyTerms:
    return PenaltyTerms(row.steps("steps"), row.decimal_or("cap_percent", NO_CAP), row.text("source"))


def _moratorium(row: Row) -> tuple[object, Moratorium]:
    row.keys(("since", "until", "source"))
    moratorium = Moratorium(row.day("since"), row.day("until"), row.text("source"))
    return moratorium.since, moratorium


def _days_off(row: Row) -> tuple[object, tuple[date, ...]]:
    row.keys(("year", "days"))
    year, days = row.whole("year"), row.days("days")
    for day in days:
        if not row.failed and day.year != year:
            row.fault("days", f"{day} is not a day of {year}: write each year's days in a row of their own")
    return year, tuple(sorted(days))


def _requisites(file: File) -> Requisites | None:
    value = file.data.get("requisites")
    if value is None:
        return None
    if not isinstance(value, dict):
        file.fault(
            "requisites", None, "", "there is one set of requisites: begin it with [requisites], in single brackets"
        )
        return None
    row = Row(file, "requisites", None, value)
    row.keys(("name", "inn", "account", "bank", "bic", "corr_account", "address", "phone"), ("kpp", "site", "hours"))
    return Requisites(
        *(row.text(key) for key in ("name", "inn", "account", "bank", "bic", "corr_account", "address", "phone")),
        *(row.optional_text(key) for key in ("kpp", "site", "hours")),
    )


_Origins = Mapping[str, Sequence[int | None]]
"""The row of the file that each row of the book comes from, None where it is the base's; by the field of the book."""


def _read(file: File, base: Rulebook | None) -> tuple[Rulebook, _Origins]:
    """Lay the rows of a file over a book. A row with a fault is left out, its fault is told."""
    known = ("name", "region", *TABLES, "requisites")
    for key in file.data:
        if key not in known:
            file.fault(key, None, "", f"the file cannot say {key[:40]!r}{meant(key, known)}")
    if base is None:
        for key in WHOLE:
            if key not in file.data:
                written = key if key in ("name", "region") else f"[[{key}]]"
                file.fault(key, None, "", f"{written} is missing: a file that stands alone must have it")
    texts = {key: file.text(key, getattr(base, key, "")) for key in ("name", "region")}
    origins: dict[str, Sequence[int | None]] = {}

    def merged(
        table: str,
        read: Callable[[Row], tuple[object, T]],
        rows: Iterable[T],
        key_of: Callable[[T], object],
        order: Callable[[T], Any],
    ) -> tuple[T, ...]:
        given: list[tuple[object, T, int | None]] = []
        for row in file.rows(table):
            key, value = read(row)
            if not row.failed:
                given.append((key, value, row.index))
        named = {key for key, _, _ in given}
        kept: list[tuple[object, T, int | None]] = [
            (key_of(row), row, None) for row in rows if key_of(row) not in named
        ]
        laid = sorted(kept + given, key=lambda found: order(found[1]))
        origins[TABLES[table]] = [index for _, _, index in laid]
        return tuple(value for _, value, _ in laid)

    def dated(
        table: str, keys: tuple[str, ...], read: Callable[[Row], T], rows: Iterable[tuple[date, T]]
    ) -> tuple[tuple[date, T], ...]:
        return merged(table, _dated(keys, read), rows, lambda row: row[0], lambda row: row[0])

    years: dict[int, list[date]] = {}
    for day in base.days_off if base else ():
        years.setdefault(day.year, []).append(day)
    by_year = merged(
        "days_off", _days_off, map(tuple, years.values()), lambda days: days[0].year, lambda days: days[:1]
    )
    days_off: list[tuple[date, int | None]] = []
    for days, index in zip(by_year, origins["days_off"], strict=True):
        if days_off and days and days_off[-1][0].year == days[0].year:
            file.fault("days_off", index, "year", f"two rows are of {days[0].year}: write them as one")
        else:
            days_off += [(day, index) for day in days]
    origins["days_off"] = [index for _, index in days_off]
    book = Rulebook(
        name=texts["name"],
        region=texts["region"],
        number=base.number if base else 0,
        retroactions=base.retroactions if base else (),
        settings=dated("settings", SETTINGS, _settings, base.settings if base else ()),
        norms=dated("norms", ("source", "gas", "electric"), _norms, base.norms if base else ()),
        tariffs=merged(
            "tariff",
            _tariff,
            base.tariffs if base else (),
            lambda row: (row.group, row.scheme, row.effective_on),
            _order_of_tariff,
        ),
        ranges=dated("ranges", ("up_to_kwh",), lambda row: row.wholes("up_to_kwh"), base.ranges if base else ()),
        key_rates=dated(
            "key_rate",
            ("percent", "source"),
            lambda row: KeyRate(row.decimal("percent"), row.text("source")),
            base.key_rates if base else (),
        ),
        penalties=dated("penalties", ("steps", "cap_percent", "source"), _penalties, base.penalties if base else ()),
        moratoria=merged(
            "moratorium", _moratorium, base.moratoria if base else (), lambda row: row.since, lambda row: row.since
        ),
        due_days=dated("due_day", ("day",), lambda row: row.whole("day"), base.due_days if base else ()),
        days_off=tuple(day for day, _ in days_off),
        requisites=_requisites(file) or (base.requisites if base else None),
    )
    return book, origins


def _order_of_tariff(row: Tariff) -> tuple[date, str, int, int]:
    region, _, kind = row.group.partition("/")
    return (
        row.effective_on,
        region,
        _KINDS.index(kind) if kind in _KINDS else len(_KINDS),
        list(Scheme).index(row.scheme),
    )


def _faults_in(file: File, book: Rulebook, origins: _Origins) -> list[FileFault]:
    """Tell at their lines the faults that the values have among themselves.

    What only follows from a row that was left out is not told: it would go away by itself.
    """
    broken = {TABLES.get(table, table) for table in file.broken}
    told: list[FileFault] = []
    tables = {field: table for table, field in TABLES.items()}
    for fault in faults_of(book):
        if (fault.index is None and fault.table in broken) or (fault.table == "tariffs" and "ranges" in broken):
            continue
        table = tables.get(fault.table, fault.table)
        origin = origins[fault.table][fault.index] if fault.index is not None else None
        if fault.index is not None and origin is None:
            told.append(FileFault(0, f"{table}, {fault.key}", fault.reason))
            continue
        row = table if origin is None else f"{table} {origin + 1}"
        where = f"{row}, {fault.key}" if fault.key else row
        told.append(FileFault(file.line(table, origin, fault.key), where, fault.reason))
    if "tariffs" not in broken:
        told += _faults_of_until(file, book.tariffs, origins["tariffs"])
    return told


def _faults_of_until(file: File, tariffs: Sequence[Tariff], origins: Sequence[int | None]) -> Iterator[FileFault]:
    """Tell the rows that end before the next one begins, or after; ``tariffs`` are in order of time."""
    next_of: dict[tuple[str, Scheme], date] = {}
    for tariff, origin in zip(reversed(tariffs), reversed(origins), strict=True):
        following = next_of.get((tariff.group, tariff.scheme))
        next_of[tariff.group, tariff.scheme] = tariff.effective_on
        until = file.data["tariff"][origin].get("until") if origin is not None else None
        if origin is None or until is None:
            continue
        if until <= tariff.effective_on:
            reason = f"until {until} is not after {tariff.effective_on}: write the first day of the next row"
        elif following is None:
            reason = f'nothing follows from {until} on: add a row that begins then, with "?" for a rate not known'
        elif following > until:
            reason = f"from {until} to {following} nothing is in force: add a row from {until}, or end on {following}"
        elif following < until:
            reason = f"it overlaps the row that begins on {following}: end it on {following}"
        else:
            continue
        yield FileFault(file.line("tariff", origin, "until"), f"tariff {origin + 1}, until", reason)
