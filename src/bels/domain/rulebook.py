"""The rulebook: tariffs, ranges, norms, key rates, limits and policies as values with dates (rules 1.6, 1.9, 1.11, 3).

It is handed in, never looked up. Versions are pairs of the first day and the value, oldest first; the value on the 1st of a
period rules the period. Rates are roubles a kWh with VAT; a rate that nobody has published is None and is never guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TypeVar

from bels.domain.periods import first_day
from bels.domain.terms import (
    Locality,
    Period,
    RateStatus,
    Register,
    Role,
    Scheme,
    Settlement,
    Stove,
)

ALWAYS = date(2000, 1, 1)
"""The first day of a rule that has no beginning."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of rules 1.11; the value on the 1st of a period rules the period.

    ``plausible_kw`` is the power that a household can draw day and night, in kW; ``plausible_floor_kwh`` is in kWh.
    """

    settlement: Settlement = Settlement.REDISTRIBUTE
    reading_deadline_day: int = 25
    max_average_periods: int = 3
    average_min_periods: int = 3
    average_window_periods: int = 6
    rollover_top_percent: int = 5
    plausible_kw: int = 15
    plausible_average_factor: int = 5
    plausible_floor_kwh: int = 1000
    implausible_confirmed_by: Role = Role.CONSUMER
    inspection_after_missed: int = 6
    interference_norms: int = 10
    interference_periods_max: int = 3


T = TypeVar("T")

NormTable = tuple[tuple[int, ...], ...]
"""kWh per person and month: a row for 1, 2, 3, 4 and more rooms; a column for 1, 2, 3, 4, 5 and more residents."""


@dataclass(frozen=True, slots=True)
class Norms:
    """Нормативы потребления, by the kind of stove, with their source."""

    source: str
    gas: NormTable
    electric: NormTable

    def per_person(self, stove: Stove, rooms: int, residents: int) -> int:
        """Look the norm up: kWh per person and month."""
        table = self.electric if stove is Stove.ELECTRIC else self.gas
        row = table[min(max(rooms, 1), len(table)) - 1]
        return row[min(max(residents, 1), len(row)) - 1]


@dataclass(frozen=True, slots=True)
class Tariff:
    """Тариф: the rates of a group and a register set, from a day until the next row of the same two.

    ``rates`` gives each register a rate per range, the first for range 1; None is unknown. ``group`` is a region and a kind of
    dwelling, ``MO/urban_gas``.
    """

    group: str
    scheme: Scheme
    effective_on: date
    rates: Mapping[Register, tuple[Decimal | None, ...]]
    status: Mapping[Register, RateStatus]
    source: str

    @property
    def version(self) -> str:
        """The name of the row, for ever: ``MO/urban_gas/single/2024-07-01``."""
        return f"{self.group}/{self.scheme.value}/{self.effective_on}"

    @property
    def is_unknown(self) -> bool:
        """Say whether not one rate of the row is known."""
        return all(rate is None for rates in self.rates.values() for rate in rates)


@dataclass(frozen=True, slots=True)
class PenaltyStep:
    """From this overdue day on, one ``divisor``-th of the rate a day."""

    from_day: int
    divisor: int


@dataclass(frozen=True, slots=True)
class PenaltyTerms:
    """Порядок начисления пени (ЖК 155): steps by overdue day, and the cap of the rate in percent, None without one."""

    steps: tuple[PenaltyStep, ...]
    cap_percent: Decimal | None
    source: str


PenaltySpan = tuple[date, date, int, int, Decimal]
"""Days that make one line of a penalty: the first, the last, how many, the divisor, the rate in percent."""


@dataclass(frozen=True, slots=True)
class Moratorium:
    """Мораторий: no penalty for the days [since, until)."""

    since: date
    until: date
    source: str


@dataclass(frozen=True, slots=True)
class KeyRate:
    """Ключевая ставка: percent a year."""

    percent: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Requisites:
    """Реквизиты поставщика, as a bill must name them. ``account`` and ``corr_account`` have 20 digits, ``bic`` nine."""

    name: str
    inn: str
    account: str
    bank: str
    bic: str
    corr_account: str
    address: str
    phone: str
    kpp: str | None = None
    site: str | None = None
    hours: str | None = None


@dataclass(frozen=True, slots=True)
class Retroaction:
    """A publication that changed a past already charged: from ``since`` on, for ``reason``; ``number`` is the publication's."""

    number: int
    since: Period
    reason: str


@dataclass(frozen=True)
class Rulebook:
    """All rules, past and to come. ``number`` counts publications, 0 for a book that was never published.

    ``due_days`` are days of the month after the period, by the 1st of that month; ``days_off`` are public holidays and
    transferred days off (Saturdays and Sundays need no row).
    """

    name: str
    settings: tuple[tuple[date, Settings], ...]
    norms: tuple[tuple[date, Norms], ...]
    number: int = 0
    region: str = "MO"
    tariffs: tuple[Tariff, ...] = ()
    ranges: tuple[tuple[date, tuple[int, ...]], ...] = ((ALWAYS, ()), (date(2025, 1, 1), (3900, 6000)))
    key_rates: tuple[tuple[date, KeyRate], ...] = ()
    penalties: tuple[tuple[date, PenaltyTerms], ...] = ()
    moratoria: tuple[Moratorium, ...] = ()
    due_days: tuple[tuple[date, int], ...] = ((ALWAYS, 10), (date(2026, 3, 1), 15))
    days_off: tuple[date, ...] = ()
    requisites: Requisites | None = None
    retroactions: tuple[Retroaction, ...] = ()

    @property
    def version(self) -> str:
        """The version that decisions name: ``moscow-region/3``."""
        return f"{self.name}/{self.number}"

    def settings_of(self, period: Period) -> Settings:
        """Give the settings that rule a period."""
        return _on(self.settings, first_day(period))

    def norms_of(self, period: Period) -> Norms:
        """Give the norms that rule a period."""
        return _on(self.norms, first_day(period))

    def ranges_of(self, period: Period) -> tuple[int, ...]:
        """Give the upper bounds of the ranges but the last, in kWh a month; none where all is range 1."""
        return _on(self.ranges, first_day(period))

    def tariff_of(self, group: str, scheme: Scheme, period: Period) -> Tariff | None:
        """Find the tariff in force on the 1st of a period, None where no row is that old."""
        rows = self._tariffs.get((group, scheme))
        if rows is None:
            return None
        i = bisect_right(rows[0], first_day(period))
        return rows[1][i - 1] if i else None

    def group_of(self, locality: Locality, stove: Stove) -> str:
        """Give the tariff group of a dwelling: a village is one group, whatever the stove."""
        if locality is Locality.RURAL:
            return f"{self.region}/rural"
        return f"{self.region}/urban_{stove.value}"

    def key_rate_on(self, day: date) -> Decimal | None:
        """Give the key rate of a day in percent, None where none is published that early."""
        if not self.key_rates or self.key_rates[0][0] > day:
            return None
        return _on(self.key_rates, day).percent

    def penalty_terms_on(self, day: date) -> PenaltyTerms:
        """Give the terms of penalties of a day; there must be some."""
        return _on(self.penalties, day)

    def due_day_on(self, day: date) -> int:
        """Give the day of the month by which bills are to be paid that fall due in the month of ``day``."""
        return _on(self.due_days, day)

    def is_day_off(self, day: date) -> bool:
        """Say whether a day is a Saturday, a Sunday, a public holiday (ТК 112) or a transferred day off."""
        return day.weekday() >= 5 or day in self._days_off or (day.month, day.day) in HOLIDAYS

    def with_settlement(self, settlement: Settlement) -> Rulebook:
        """Say the same rules under another settlement policy, for every date."""
        return replace(self, settings=tuple((day, replace(s, settlement=settlement)) for day, s in self.settings))

    @cached_property
    def penalty_spans(self) -> dict[tuple[date, date, date], tuple[PenaltySpan, ...]]:
        """What was found under these rules for (due date, first day, last day): remembered, never part of the rules."""
        return {}

    @cached_property
    def _tariffs(self) -> Mapping[tuple[str, Scheme], tuple[list[date], list[Tariff]]]:
        rows: dict[tuple[str, Scheme], tuple[list[date], list[Tariff]]] = {}
        for tariff in sorted(self.tariffs, key=lambda t: t.effective_on):
            days, tariffs = rows.setdefault((tariff.group, tariff.scheme), ([], []))
            days.append(tariff.effective_on)
            tariffs.append(tariff)
        return rows

    @cached_property
    def _days_off(self) -> frozenset[date]:
        return frozenset(self.days_off)


HOLIDAYS = frozenset({*((1, day) for day in range(1, 9)), (2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)})
"""Нерабочие праздничные дни (ТК 112), every year."""


@lru_cache(256)
def publication_of(version: str) -> int:
    """Read the number of the publication out of a version, 0 where it was never published."""
    number = version.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _on(versions: tuple[tuple[date, T], ...], day: date) -> T:
    in_force = versions[0][1]
    for since, value in versions[1:]:
        if since > day:
            break
        in_force = value
    return in_force
