"""The rulebook: limits, policies and norms as values with dates. It is handed in, never looked up (rules 1.11, 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

from bels.domain.periods import first_day
from bels.domain.terms import Period, Role, Settlement, Stove


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
class Rulebook:
    """All rules of a day. Versions are pairs of the first day and the value, oldest first."""

    version: str
    settings: tuple[tuple[date, Settings], ...]
    norms: tuple[tuple[date, Norms], ...]

    def settings_of(self, period: Period) -> Settings:
        """Give the settings that rule a period."""
        return _on(self.settings, period)

    def norms_of(self, period: Period) -> Norms:
        """Give the norms that rule a period."""
        return _on(self.norms, period)

    def with_settlement(self, settlement: Settlement) -> Rulebook:
        """Say the same rules under another settlement policy, for every date."""
        return replace(self, settings=tuple((day, replace(s, settlement=settlement)) for day, s in self.settings))


def _on(versions: tuple[tuple[date, T], ...], period: Period) -> T:
    if len(versions) == 1:
        return versions[0][1]
    day = first_day(period)
    in_force = versions[0][1]
    for since, value in versions:
        if since > day:
            break
        in_force = value
    return in_force


SMOLENSK_260 = Norms(
    source="Смоленск, № 260 (the Moscow region's norms for dwellings are not published)",
    gas=((75, 46, 36, 29, 25), (96, 60, 46, 38, 33), (109, 68, 52, 43, 37), (118, 73, 57, 46, 40)),
    electric=((125, 77, 60, 49, 42), (147, 91, 71, 57, 50), (161, 100, 77, 63, 55), (171, 106, 82, 67, 58)),
)

DEFAULT_RULEBOOK = Rulebook(
    version="bels-1",
    settings=((date(2000, 1, 1), Settings()),),
    norms=((date(2000, 1, 1), SMOLENSK_260),),
)
