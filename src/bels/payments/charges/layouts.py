"""The layouts of charges as data, and what is agreed with a partner about them.

[partner.sber.charges]
layout = "sber-new"            # sber-old, sber-new, sbbol-meters
encoding = "cp1251"            # cp1251, koi8-r, utf-8, cp866
amount = "due"                 # what is owed now; "bill": what the bill of the period says
penalties = false              # true: with penalties
only_debt = true               # who owes nothing is left out
decimal = "."
to = "out"                     # our folder for them; "theirs": their SFTP server (exchange.pull.put)
number = "1"                   # НОМЕР in the file's name
inn = "5001000002"             # these two: as the rulebook's requisites say, where they are absent
account = "40702810138250123017"
header = ["#TYPE 7", "#SERVICE 12345", "#FILESUM {sum}"]
day = 5                        # written by itself from this day on, once the month before is charged; absent: by command
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

from bels.domain.rulebook import Requisites
from bels.domain.terms import Money, Period
from bels.payments.partners import Partner, PartnersError
from bels.payments.section import TEXT_LENGTH_MAX, section_of

ENCODINGS = {"cp1251": "cp1251", "koi8-r": "koi8_r", "utf-8": "utf-8", "cp866": "cp866"}
HEADER_LINES_MAX = 20
DAY_MAX = 28

Role = Literal["name", "address", "account", "unified_account", "service_id", "fias", "fias_flat", "amount", "period"]
MeterRole = Literal["type", "number", "title", "next_verification", "value", "value_on", "info"]

_FIELDS = frozenset(
    (
        *("layout", "encoding", "amount", "penalties", "only_debt", "decimal", "to", "number", "inn", "account"),
        *("header", "day"),
    )
)
_INN = re.compile(r"[0-9]{10}|[0-9]{12}")
_ACCOUNT = re.compile(r"[0-9]{20}")
_NUMBER = re.compile(r"[0-9A-Za-z-]{1,20}")


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout: the roles of its columns, the header's lines, the file's name, and of meters the columns of one register.

    ``types`` are a register's type by the number of registers of the meter.
    """

    name: str
    columns: tuple[Role, ...]
    file_name: str
    header: tuple[str, ...] = ()
    meters: tuple[MeterRole, ...] = ()
    meters_max: int = 0
    types: Mapping[int, Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class ChargesContract:
    """What is agreed with a partner about files of charges; ``day`` of the month from which on they are written by themselves."""

    partner: Partner
    layout: Layout
    encoding: str = "cp1251"
    of_bill: bool = False
    with_penalties: bool = False
    only_debt: bool = False
    decimal: str = "."
    to_theirs: bool = False
    number: str = "1"
    inn: str | None = None
    account: str | None = None
    header: tuple[str, ...] | None = None
    day: int | None = None

    def file_name(self, period: Period, payee: Requisites | None) -> str:
        """Name the file of a period.

        :raises PartnersError: neither the contract nor the requisites say whose charges these are.
        """
        return self.layout.file_name.format(**self._words(period, payee))

    def header_lines(self, period: Period, payee: Requisites | None, count: int, total: Money) -> list[str]:
        """Write the lines before the first account.

        :raises PartnersError: see ``file_name``.
        """
        told = self.layout.header if self.header is None else self.header
        amount = f"{total:.2f}".replace(".", self.decimal)
        return [line.format(**self._words(period, payee), count=count, sum=amount) for line in told]

    def _words(self, period: Period, payee: Requisites | None) -> dict[str, str]:
        inn = self.inn or (payee.inn if payee is not None else None)
        account = self.account or (payee.account if payee is not None else None)
        if inn is None or account is None:
            where = f"partner.{self.partner.name}.charges"
            raise PartnersError(f"{where}: neither it nor the rulebook's requisites name our inn and account")
        year, _, month = period.partition("-")
        return {"inn": inn, "account": account, "number": self.number, "mm": month, "yy": year[2:], "yyyy": year}


def layouts() -> Mapping[str, Layout]:
    """Read the layouts that bels brings along."""
    told = tomllib.loads((files("bels.payments.charges") / "layouts.toml").read_text("utf-8"))
    return {name: _layout(name, each) for name, each in told.items()}


def charges_of(partner: Partner) -> ChargesContract | None:
    """Read a partner's table ``charges``, None where there is none.

    :raises PartnersError: it cannot be used.
    """
    if "charges" not in partner.sections:
        return None
    told = section_of(partner, "charges")
    told.only(_FIELDS)
    layout = layouts().get(str(told.values.get("layout")))
    if layout is None:
        raise PartnersError(f"{told.at('layout')} is one of {', '.join(layouts())}")
    header = told.values.get("header")
    if header is not None and not _is_header(header):
        raise PartnersError(f"{told.at('header')} is a list of at most {HEADER_LINES_MAX} lines that begin with #")
    return ChargesContract(
        partner,
        layout,
        told.one_of("encoding", *ENCODINGS),
        told.one_of("amount", "due", "bill") == "bill",
        told.flag("penalties"),
        told.flag("only_debt"),
        told.one_of("decimal", ".", ","),
        told.one_of("to", "out", "theirs") == "theirs",
        told.text("number", "1", _NUMBER),
        told.text_or_none("inn", _INN),
        told.text_or_none("account", _ACCOUNT),
        tuple(header) if header is not None else None,
        told.whole_or_none("day", 1, DAY_MAX),
    )


def _is_header(told: object) -> bool:
    if not isinstance(told, list) or len(told) > HEADER_LINES_MAX:
        return False
    words = dict.fromkeys(("inn", "account", "number", "mm", "yy", "yyyy", "count", "sum"), "")
    for line in told:
        if not (isinstance(line, str) and line.startswith("#") and line.isprintable() and len(line) <= TEXT_LENGTH_MAX):
            return False
        try:
            line.format(**words)
        except (KeyError, IndexError, ValueError, AttributeError):
            return False
    return True


def _layout(name: str, told: Mapping[str, Any]) -> Layout:
    columns, meters = tuple(told["columns"]), tuple(told.get("meters", ()))
    if not set(columns) <= set(get_args(Role)) or not set(meters) <= set(get_args(MeterRole)):
        raise ValueError(f"the layout {name} has a column that means nothing")
    types = told.get("types")
    return Layout(
        name,
        columns,
        told["file_name"],
        tuple(told.get("header", ())),
        meters,
        told.get("meters_max", 0),
        {int(count): each for count, each in types.items()} if types is not None else None,
    )
