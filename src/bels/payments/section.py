"""A table of a partner's contract, read field by field; what cannot be used is named by its place: ``partner.sber.exchange.keys``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.terms import Money
from bels.payments.partners import PERCENT_MAX, Partner, PartnersError

TEXT_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Section:
    """A table as TOML gives it, and where it stands. Every reader of it raises ``PartnersError`` for what cannot be used."""

    values: Mapping[str, Any]
    where: str

    def at(self, name: str) -> str:
        """Say where a field stands."""
        return f"{self.where}.{name}"

    def only(self, fields: frozenset[str]) -> None:
        """Refuse a field of another name: it is a slip of the pen."""
        unknown = sorted(set(self.values) - fields)
        if unknown:
            raise PartnersError(f"{self.at(unknown[0])} is unknown: {', '.join(sorted(fields))}")

    def text(self, name: str, default: str | None = None, shape: re.Pattern[str] | None = None) -> str:
        """Read a text of printable characters; one that is absent and has no default is refused."""
        text = self.values.get(name, default)
        if not (isinstance(text, str) and 0 < len(text) <= TEXT_LENGTH_MAX and text.isprintable()):
            raise PartnersError(f"{self.at(name)} is a text of 1 to {TEXT_LENGTH_MAX} printable characters")
        if shape is not None and not shape.fullmatch(text):
            raise PartnersError(f"{self.at(name)} is a text like {shape.pattern}")
        return text

    def text_or_none(self, name: str, shape: re.Pattern[str] | None = None) -> str | None:
        """Read a text, None where it is absent."""
        return self.text(name, None, shape) if name in self.values else None

    def one_of(self, name: str, *words: str) -> str:
        """Read one of these words; the first where it is absent."""
        word = self.values.get(name, words[0])
        if word not in words:
            raise PartnersError(f"{self.at(name)} is one of {', '.join(words)}")
        return str(word)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Read true or false."""
        flag = self.values.get(name, default)
        if not isinstance(flag, bool):
            raise PartnersError(f"{self.at(name)} is true or false")
        return flag

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """Read a whole number from ``least`` to ``most``."""
        number = self.values.get(name, default)
        if not (type(number) is int and least <= number <= most):
            raise PartnersError(f"{self.at(name)} is a whole number from {least} to {most}")
        return number

    def whole_or_none(self, name: str, least: int, most: int) -> int | None:
        """Read a whole number, None where it is absent."""
        return self.whole(name, least, least, most) if name in self.values else None

    def day(self, name: str) -> date | None:
        """Read a day, None where it is absent."""
        day = self.values.get(name)
        if day is not None and type(day) is not date:
            raise PartnersError(f"{self.at(name)} is a day, like 2026-01-01")
        return day

    def since(self) -> date:
        """Read the day from which on a row is in force."""
        day = self.day("since")
        if day is None:
            raise PartnersError(f"{self.at('since')} is a day, like 2026-01-01")
        return day

    def percent(self, name: str) -> Decimal:
        """Read a percentage, written as a text; 0 where it is absent."""
        number = self._decimal(self.values.get(name, "0"))
        if number is None or not 0 <= number <= PERCENT_MAX:
            raise PartnersError(f'{self.at(name)} is a text of 0 to {PERCENT_MAX}, like "1.5"')
        return number

    def money(self, name: str, *, least: Money = ZERO) -> Money | None:
        """Read a sum of roubles, written as a text; None where it is absent."""
        if name not in self.values:
            return None
        amount = self._decimal(self.values[name])
        if amount is None or not (amount == 0 or is_amount(amount)) or amount < least:
            raise PartnersError(f'{self.at(name)} is a text of roubles from {least} on, like "15000.00"')
        return to_kopecks(amount)

    def listed(self, name: str, most: int, fits: Callable[[Any], bool], what: str) -> list[Any]:
        """Read a list of at most ``most`` values that fit; ``what`` says what they are. Empty where it is absent."""
        found = self.values.get(name, [])
        if not isinstance(found, list) or len(found) > most or not all(map(fits, found)):
            raise PartnersError(f"{self.at(name)} is a list of at most {most} {what}")
        return found

    def rows(self, name: str, most: int, fields: frozenset[str]) -> tuple[Section, ...]:
        """Read a list of tables with these fields. Empty where it is absent."""
        tables = self.listed(name, most, lambda each: isinstance(each, dict), f"tables of {', '.join(sorted(fields))}")
        found = tuple(Section(table, self.at(name)) for table in tables)
        for each in found:
            each.only(fields)
        return found

    def table(self, name: str) -> Section | None:
        """Give a table in it, None where it is absent."""
        table = self.values.get(name)
        if table is not None and not isinstance(table, dict):
            raise PartnersError(f"{self.at(name)} is not a table")
        return Section(table, self.at(name)) if table is not None else None

    def _decimal(self, text: object) -> Decimal | None:
        try:
            number = Decimal(text) if isinstance(text, str) else None
        except InvalidOperation:
            return None
        return number if number is not None and number.is_finite() else None


def section_of(partner: Partner, name: str) -> Section:
    """Give a table of a partner's contract, empty where there is none."""
    return Section(partner.sections.get(name, {}), f"partner.{partner.name}.{name}")
