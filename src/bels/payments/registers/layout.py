r"""Layouts of registers as data: what a file of payments looks like, shipped for the known ones, agreed with each partner.

A partner's contract names its registers; each takes a shipped layout and may overrule any field of it (partners 4.2):

    [partner.sber.registers.evening]
    layout = "sber-evening"
    encoding = "utf-8"
    file_name = '(?P<number>\d+)_(?P<day>\d{8})\.txt'
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.resources import files
from typing import Any

from bels.domain.terms import Word
from bels.payments.partners import Partner, PartnersError

SECTION = "registers"
REGISTERS_MAX = 50
"""Kinds of files of one partner."""
COLUMNS_MAX = 200
PATTERN_LENGTH_MAX = 500
TEXT_LENGTH_MAX = 100
PERCENT_MAX = Decimal(100)
ENCODINGS = ("cp1251", "koi8-r", "utf-8", "cp866")
WITHOUT_KEY = "*"
"""The column of a value that stands among ``KEY:value`` without a key."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_BY_LINE = frozenset(("count", "sum", "transfer", "fee", "order_number", "order_day", "number", "day"))
_BY_TEXT = frozenset(("count", "sum", "transfer", "fee"))
_GROUPS = frozenset(("number", "day"))


class Container(Word):
    """What the rows stand in: the file itself, a zip with one file, a letter."""

    PLAIN = "plain"
    ZIP = "zip"
    LETTER = "letter"


class Part(Word):
    """The role of a column. ``TRANSFER`` is what is left of the amount after the fee; ``TIME`` stands beside a date of its own."""

    ACCOUNT = "account"
    UNIFIED_ACCOUNT = "unified_account"
    PAYMENT_DOCUMENT_ID = "payment_document_id"
    AMOUNT = "amount"
    FEE = "fee"
    TRANSFER = "transfer"
    PAID_AT = "paid_at"
    TIME = "time"
    PERIOD = "period"
    PAYER = "payer"
    ADDRESS = "address"
    READING = "reading"


COMPOSITE = ("day", "number", "account", "amount")
"""What a name of a row may be put together from where its bank gives none; ``day`` is the register's, else the row's."""

Column = int | str
"""A number from 1, the name of a column in the header, or a KEY."""


@dataclass(frozen=True, slots=True)
class Types:
    """Which rows return money: the column with the type, its two words, and the column with the payment that is returned."""

    column: Column
    payment: str
    refund: str
    parent: Column


@dataclass(frozen=True, slots=True)
class Layout:
    """What a register looks like.

    ``external_id`` is the column with the bank's id of a payment, or the composite that stands for it. ``totals`` are the places
    of the sums in a line that begins with ``trailer_prefix`` (after the rows) or ``header_prefix`` (before them), and
    ``totals_text`` the words before them in a text. ``about`` and ``file_name`` are patterns with the groups ``number`` and
    ``day`` (in ``day_format``). ``strict``: one bad row and the whole file waits. ``packs``: there are several with totals each.
    """

    name: str
    title: str
    columns: Mapping[Part, Column]
    encoding: str = "cp1251"
    bom: bool = False
    container: Container = Container.PLAIN
    delimiter: str = ";"
    decimal: str = "either"
    comment_prefix: str = ""
    header_prefix: str = ""
    trailer_prefix: str = ""
    header: bool | str = False
    date_format: str = "%d.%m.%Y"
    time_format: str = "%H:%M:%S"
    day_format: str = "%Y%m%d"
    key_value_from: int | None = None
    counters: Mapping[str, str] = field(default_factory=dict)
    external_id: Column | tuple[str, ...] = ()
    fee_from: str = "recipient"
    fee_percent: Decimal | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    totals_text: Mapping[str, str] = field(default_factory=dict)
    about: tuple[re.Pattern[str], ...] = ()
    file_name: re.Pattern[str] | None = None
    types: Types | None = None
    strict: bool = False
    packs: bool = False

    @property
    def is_by_key(self) -> bool:
        """Say whether columns that are words are keys of ``KEY:value``, not names in a header."""
        return self.key_value_from is not None


@lru_cache(64)
def shipped(name: str) -> Mapping[str, Any]:
    """Give the table of a shipped layout.

    :raises PartnersError: there is none of this name.
    """
    known = shipped_names()
    if name not in known:
        raise PartnersError(f"there is no layout {name[:40]}: {', '.join(known)}")
    return tomllib.loads((files(__package__) / "layouts" / f"{name}.toml").read_text("utf-8"))


def shipped_names() -> list[str]:
    """List the shipped layouts."""
    folder = files(__package__) / "layouts"
    return sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml"))


def shipped_layout(name: str, **overruled: Any) -> Layout:
    """Give a shipped layout, with fields overruled.

    :raises PartnersError: there is none of this name, or it cannot be so.
    """
    return layout_of(name, {"layout": name, **overruled}, f"layout {name}")


def layouts_of(partner: Partner) -> dict[str, Layout]:
    """Give the registers that were agreed with a partner, by name.

    :raises PartnersError: one of them cannot be used.
    """
    told = partner.sections.get(SECTION, {})
    where = f"partner.{partner.name}.{SECTION}"
    if len(told) > REGISTERS_MAX:
        raise PartnersError(f"{where} has more than {REGISTERS_MAX} tables")
    return {name: layout_of(name, of, f"{where}.{name}") for name, of in told.items()}


def layout_for(layouts: Mapping[str, Layout], file_name: str) -> Layout | None:
    """Choose the register that a file is by its name; the only one there is needs no name. None: it cannot be told."""
    named = [each for each in layouts.values() if each.file_name is not None and each.file_name.fullmatch(file_name)]
    if len(named) == 1:
        return named[0]
    return next(iter(layouts.values())) if not named and len(layouts) == 1 else None


def layout_of(name: str, told: object, where: str) -> Layout:
    """Read a layout: a table that may rest on a shipped one.

    :raises PartnersError: it cannot be used; the sentence is for the operator.
    """
    if not _NAME.fullmatch(name) or not isinstance(told, Mapping):
        raise PartnersError(
            f"{where} is a table; its name is a small letter and up to 39 small letters, digits, _ and -"
        )
    own = dict(told)
    base = own.pop("layout", None)
    if base is not None and not isinstance(base, str):
        raise PartnersError(f"{where}.layout is the name of a shipped layout: {', '.join(shipped_names())}")
    table = {**(shipped(base) if base is not None else {}), **own}
    unknown = sorted(set(table) - set(_FIELDS))
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is unknown: {', '.join(sorted(_FIELDS))}")
    if "columns" not in table:
        raise PartnersError(f"{where}.columns is missing")
    read = {key: _FIELDS[key](of, f"{where}.{key}") for key, of in table.items()}
    layout = Layout(name, **{"title": name, **read})
    _check(layout, where)
    return layout


def _check(layout: Layout, where: str) -> None:
    columns = layout.columns
    if Part.AMOUNT not in columns or Part.PAID_AT not in columns:
        raise PartnersError(f"{where}.columns must name amount and paid_at")
    if not {Part.ACCOUNT, Part.UNIFIED_ACCOUNT, Part.PAYMENT_DOCUMENT_ID} & set(columns):
        raise PartnersError(f"{where}.columns must name account, unified_account or payment_document_id")
    words = [each for each in _every_column(layout) if isinstance(each, str)]
    if words and not layout.is_by_key and not layout.header:
        raise PartnersError(f"{where}.columns: {words[0]} is a name, but there is no header and no key_value_from")
    if layout.counters and not (layout.is_by_key or layout.header or all(key.isdigit() for key in layout.counters)):
        raise PartnersError(f"{where}.counters: keys and names need key_value_from or header")
    if layout.totals and bool(layout.trailer_prefix) == bool(layout.header_prefix):
        raise PartnersError(f"{where}.totals stand in a line with trailer_prefix or with header_prefix, one of the two")
    if layout.packs and not layout.totals:
        raise PartnersError(f"{where}.packs need totals")
    if not layout.external_id:
        raise PartnersError(f"{where}.external_id is a column, or a list of {', '.join(COMPOSITE)}")
    if layout.delimiter == "," and layout.decimal != ".":
        raise PartnersError(f'{where}: where a comma divides columns, decimal is "."')


def _every_column(layout: Layout) -> list[Column]:
    types = layout.types
    found: list[Column] = [*layout.columns.values()]
    if types is not None:
        found += [types.column, types.parent]
    if not isinstance(layout.external_id, tuple):
        found.append(layout.external_id)
    return found


def _text(least: int, most: int = TEXT_LENGTH_MAX) -> Callable[[object, str], str]:
    def read(told: object, where: str) -> str:
        if not (isinstance(told, str) and least <= len(told) <= most and told.replace("\t", " ").isprintable()):
            raise PartnersError(f"{where} is a text of {least} to {most} characters")
        return told

    return read


def _one_of(*words: str) -> Callable[[object, str], str]:
    def read(told: object, where: str) -> str:
        if told not in words:
            raise PartnersError(f"{where} is one of {', '.join(words)}")
        return str(told)

    return read


def _flag(told: object, where: str) -> bool:
    if not isinstance(told, bool):
        raise PartnersError(f"{where} is true or false")
    return told


def _header(told: object, where: str) -> bool | str:
    return told if isinstance(told, bool) else _text(1)(told, where)


def _number(told: object, where: str) -> int:
    if not (type(told) is int and 1 <= told <= COLUMNS_MAX):
        raise PartnersError(f"{where} is a number from 1 to {COLUMNS_MAX}")
    return told


def _column(told: object, where: str) -> Column:
    return _number(told, where) if type(told) is int else _text(1)(told, where)


def _columns(told: object, where: str) -> Mapping[Part, Column]:
    if not isinstance(told, Mapping):
        raise PartnersError(f"{where} is a table of roles")
    unknown = sorted(set(told) - {part.value for part in Part})
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is no role: {', '.join(part.value for part in Part)}")
    return {Part(role): _column(of, f"{where}.{role}") for role, of in told.items()}


def _external_id(told: object, where: str) -> Column | tuple[str, ...]:
    if not isinstance(told, list):
        return _column(told, where)
    if not told or any(each not in COMPOSITE for each in told):
        raise PartnersError(f"{where} is a column, or a list of {', '.join(COMPOSITE)}")
    return tuple(told)


def _places(names: frozenset[str], value: Callable[[object, str], Any]) -> Callable[[object, str], Mapping[str, Any]]:
    def read(told: object, where: str) -> Mapping[str, Any]:
        if not isinstance(told, Mapping) or set(told) - names:
            raise PartnersError(f"{where} is a table of {', '.join(sorted(names))}")
        return {name: value(of, f"{where}.{name}") for name, of in told.items()}

    return read


def _counters(told: object, where: str) -> Mapping[str, str]:
    if not isinstance(told, Mapping) or len(told) > COLUMNS_MAX:
        raise PartnersError(f"{where} is a table: the key of a value, and its register's name, place or number")
    return {_text(1)(key, where): _text(1)(of, f"{where}.{key}") for key, of in told.items()}


def _percent(told: object, where: str) -> Decimal:
    try:
        percent = Decimal(told) if isinstance(told, str) else None
    except InvalidOperation:
        percent = None
    if percent is None or not (percent.is_finite() and 0 <= percent <= PERCENT_MAX):
        raise PartnersError(f'{where} is a text of 0 to {PERCENT_MAX}, like "1.5"')
    return percent


def _format(told: object, where: str) -> str:
    text = _text(2)(told, where)
    try:
        datetime.strptime(datetime(2024, 5, 20, 15, 30, 15).strftime(text), text)  # noqa: DTZ001, DTZ007 - only the form is tried
    except (ValueError, re.error):
        raise PartnersError(f"{where} is a form of a date, like %d.%m.%Y") from None
    return text


def _pattern(told: object, where: str) -> re.Pattern[str]:
    text = _text(1, PATTERN_LENGTH_MAX)(told, where)
    try:
        found = re.compile(text)
    except re.error as error:
        raise PartnersError(f"{where} is no regular expression: {error}") from None
    if set(found.groupindex) - _GROUPS:
        raise PartnersError(f"{where} has the groups number and day and no others")
    return found


def _patterns(told: object, where: str) -> tuple[re.Pattern[str], ...]:
    if not isinstance(told, list) or len(told) > len(_GROUPS):
        raise PartnersError(f"{where} is a list of at most {len(_GROUPS)} regular expressions")
    return tuple(_pattern(each, where) for each in told)


def _types(told: object, where: str) -> Types:
    if not isinstance(told, Mapping) or set(told) != {"column", "payment", "refund", "parent"}:
        raise PartnersError(f"{where} is a table of column, payment, refund and parent")
    word = _text(1)
    return Types(
        _column(told["column"], f"{where}.column"),
        word(told["payment"], f"{where}.payment"),
        word(told["refund"], f"{where}.refund"),
        _column(told["parent"], f"{where}.parent"),
    )


def _container(told: object, where: str) -> Container:
    return Container(_one_of(*(each.value for each in Container))(told, where))


_FIELDS: Mapping[str, Callable[[object, str], Any]] = {
    "title": _text(1),
    "encoding": _one_of(*ENCODINGS),
    "bom": _flag,
    "container": _container,
    "delimiter": _text(1, 5),
    "decimal": _one_of(",", ".", "either"),
    "comment_prefix": _text(1),
    "header_prefix": _text(1),
    "trailer_prefix": _text(1),
    "header": _header,
    "date_format": _format,
    "time_format": _format,
    "day_format": _format,
    "columns": _columns,
    "key_value_from": _number,
    "counters": _counters,
    "external_id": _external_id,
    "fee_from": _one_of("payer", "recipient"),
    "fee_percent": _percent,
    "totals": _places(_BY_LINE, _number),
    "totals_text": _places(_BY_TEXT, _text(1)),
    "about": _patterns,
    "file_name": _pattern,
    "types": _types,
    "strict": _flag,
    "packs": _flag,
}
"""How each field is read; another one is a slip of the pen."""
