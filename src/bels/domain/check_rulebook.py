"""A rulebook may be published when every row of it can be used: lawful values, no two rows for one day (rules 1.6-1.11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from itertools import pairwise
from re import compile as pattern
from typing import TypeVar

from bels.domain.rulebook import Moratorium, Norms, NormTable, PenaltyTerms, Requisites, Rulebook, Settings, Tariff
from bels.domain.terms import SCHEME_REGISTERS, RateStatus, Register, Role, Scheme

FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2100, 12, 31)
"""No rule of a book is older or later; such a day is a slip."""
ROWS_MAX = 5000
RATE_MAX = Decimal(1000)
DECIMALS_MAX = 4
RANGE_KWH_MAX = 1_000_000
NORM_KWH_MAX = 10_000
DIVISOR_MAX = 1_000_000
TEXT_LENGTH_MAX = 500
ROOMS, RESIDENTS = 4, 5
"""The rows and columns of a table of norms: the last of each is for more, too."""

LAWFUL_SETTINGS: dict[str, tuple[int, ...] | range] = {
    "reading_deadline_day": range(20, 28),
    "max_average_periods": (3,),
    "average_min_periods": (3,),
    "average_window_periods": (6, 12),
    "rollover_top_percent": range(21),
    "plausible_kw": range(1, 1001),
    "plausible_average_factor": range(1, 1001),
    "plausible_floor_kwh": range(1_000_001),
    "inspection_after_missed": range(1, 7),
    "interference_norms": range(1, 11),
    "interference_periods_max": range(1, 4),
}
"""What a setting may be: what rules 1.11 allow; bounds of good sense where they are silent."""

_NAME = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_REGION = pattern(r"[A-Z]{1,20}")
_GROUP = pattern(r"[A-Z]{1,20}/(urban_gas|urban_electric|rural)")
_DIGITS = {"inn": (10, 12), "kpp": (9,), "account": (20,), "bic": (9,), "corr_account": (20,)}


@dataclass(frozen=True, slots=True)
class RulebookFault:
    """What is wrong with a rulebook: a field of it, the place of the row, the key within the row, and how to do it right.

    ``index`` is None, and ``key`` empty, where the fault is not of one row, or not of one key.
    """

    table: str
    index: int | None
    key: str
    reason: str


T = TypeVar("T")
_Faults = Iterator[tuple[str, str]]
"""The faults of one row: the key and the reason."""


def faults_of(book: Rulebook) -> tuple[RulebookFault, ...]:
    """Find everything that forbids the publication of a book; none when it may be published."""
    return tuple(_faults_of(book))


def _faults_of(book: Rulebook) -> Iterator[RulebookFault]:
    if not _NAME.fullmatch(book.name):
        yield RulebookFault(
            "name", None, "", "the name has 1 to 40 letters, digits, dots and hyphens: write moscow-region"
        )
    if not _REGION.fullmatch(book.region):
        yield RulebookFault("region", None, "", "the region is written in capital letters: write MO")
    for table, what in (("settings", "settings"), ("norms", "norms"), ("ranges", "ranges"), ("due_days", "due days")):
        if not getattr(book, table):
            yield RulebookFault(table, None, "", f"the book has no {what}: give at least one row, from 2000-01-01")
    if _rows(book) > ROWS_MAX:
        yield RulebookFault("tariffs", None, "", f"the book has more than {ROWS_MAX} rows: leave out what is over")
    yield from _dated("settings", book.settings, _of_settings)
    yield from _dated("norms", book.norms, _of_norms)
    yield from _dated("ranges", book.ranges, _of_ranges)
    yield from _dated(
        "key_rates", book.key_rates, lambda row: _of_percent("percent", row.percent, row.source, zero=True)
    )
    yield from _dated("penalties", book.penalties, _of_penalties)
    yield from _dated("due_days", book.due_days, _of_due_day)
    yield from _of_tariffs(book)
    yield from _of_moratoria(book.moratoria)
    yield from _of_days_off(book.days_off)
    if book.requisites is not None:
        for key, reason in _of_requisites(book.requisites):
            yield RulebookFault("requisites", None, key, reason)


def _rows(book: Rulebook) -> int:
    tables = (book.settings, book.norms, book.tariffs, book.ranges, book.key_rates, book.penalties, book.moratoria)
    return sum(map(len, tables)) + len(book.due_days) + len(book.days_off)


def _dated(table: str, rows: Iterable[tuple[date, T]], check: Callable[[T], _Faults]) -> Iterator[RulebookFault]:
    last: date | None = None
    for i, (day, value) in enumerate(rows):
        for reason in _of_day(day):
            yield RulebookFault(table, i, "effective_on", reason)
        if last == day:
            yield RulebookFault(
                table, i, "effective_on", f"two rows begin on {day}: keep one, or give this one another day"
            )
        elif last is not None and last > day:
            yield RulebookFault(table, i, "effective_on", f"{day} stands after {last}: put the oldest row first")
        last = day
        for key, reason in check(value):
            yield RulebookFault(table, i, key, reason)


def _of_tariffs(book: Rulebook) -> Iterator[RulebookFault]:
    seen: set[tuple[str, Scheme, date]] = set()
    for i, tariff in enumerate(book.tariffs):
        key = tariff.group, tariff.scheme, tariff.effective_on
        if key in seen:
            yield RulebookFault(
                "tariffs",
                i,
                "effective_on",
                f"two rows for {tariff.group} {tariff.scheme.value} begin on {tariff.effective_on}: keep one, "
                "or give this one another day",
            )
        seen.add(key)
        for name, reason in _of_tariff(tariff, book):
            yield RulebookFault("tariffs", i, name, reason)


def _of_tariff(tariff: Tariff, book: Rulebook) -> _Faults:
    for reason in _of_day(tariff.effective_on):
        yield "effective_on", reason
    if not _GROUP.fullmatch(tariff.group):
        yield (
            "group",
            (
                f"{_short(tariff.group)} is not a group: write a region in capital letters and urban_gas, urban_electric or "
                "rural, as MO/urban_gas"
            ),
        )
    registers = SCHEME_REGISTERS[tariff.scheme]
    for key, given in (("rates", tariff.rates), ("status", tariff.status)):
        if set(given) != set(registers):
            yield (
                key,
                (
                    f"{tariff.scheme.value} has the registers {_listed(registers)}, not "
                    f"{_listed(given) or 'none'}: give each of them and no other"
                ),
            )
    bounds = len(_ranges_on(book, tariff.effective_on))
    for register, rates in tariff.rates.items():
        key = f"rates.{register.value}"
        if not rates:
            yield key, 'there is no rate: write one for each range, or "?" where it is not known'
            continue
        if len(rates) > bounds + 1:
            yield (
                key,
                (
                    f"{len(rates)} rates, but {bounds + 1} {'range is' if not bounds else 'ranges are'} in force on "
                    f"{tariff.effective_on}: leave out what is over, or enter the ranges first"
                ),
            )
        for rate in rates:
            if rate is not None:
                for reason in _of_rate(rate):
                    yield key, reason
        known = any(rate is not None for rate in rates)
        status = tariff.status.get(register)
        if known and status is RateStatus.UNKNOWN:
            yield f"status.{register.value}", "the status is unknown, but a rate is given: write published or derived"
        elif not known and status in (RateStatus.PUBLISHED, RateStatus.DERIVED):
            yield (
                f"status.{register.value}",
                f"the status is {status.value}, but no rate is given: write unknown, or give the rate",
            )
    yield from _of_text("source", tariff.source)


def _of_rate(rate: Decimal) -> Iterator[str]:
    if not rate.is_finite():
        yield f"{rate} is not a rate: write roubles a kWh, as 7.33"
    elif rate <= 0:
        yield f'{rate} is not above zero: write the rate, or "?" where it is not known'
    elif rate > RATE_MAX:
        yield f"{rate} roubles a kWh is above {RATE_MAX}: write roubles, not kopecks"
    elif _decimals(rate) > DECIMALS_MAX:
        yield f"{rate} has more than {DECIMALS_MAX} decimals: round it as the act has it"


def _of_settings(settings: Settings) -> _Faults:
    for key, lawful in LAWFUL_SETTINGS.items():
        value = getattr(settings, key)
        if value not in lawful:
            yield key, f"{key} is {value}: write {_allowed(lawful)}"
    if settings.implausible_confirmed_by not in (Role.CONSUMER, Role.OPERATOR):
        yield (
            "implausible_confirmed_by",
            f"a {settings.implausible_confirmed_by.value} confirms nothing: write consumer or operator",
        )


def _of_norms(norms: Norms) -> _Faults:
    tables: tuple[tuple[str, NormTable], ...] = (("gas", norms.gas), ("electric", norms.electric))
    for key, table in tables:
        if len(table) != ROOMS or any(len(row) != RESIDENTS for row in table):
            yield (
                key,
                (
                    f"a table of norms has {ROOMS} rows (1, 2, 3, 4 and more rooms) of {RESIDENTS} numbers "
                    "(1, 2, 3, 4, 5 and more residents)"
                ),
            )
        elif any(not 0 < norm <= NORM_KWH_MAX for row in table for norm in row):
            yield key, f"a norm is whole kWh a person and month, from 1 to {NORM_KWH_MAX}"
    yield from _of_text("source", norms.source)


def _of_ranges(bounds: tuple[int, ...]) -> _Faults:
    if any(not 0 < bound <= RANGE_KWH_MAX for bound in bounds):
        yield "up_to_kwh", f"a range ends at whole kWh a month, from 1 to {RANGE_KWH_MAX}"
    elif any(earlier >= later for earlier, later in pairwise(bounds)):
        yield "up_to_kwh", f"the ranges {_listed(bounds)} do not rise: write the lowest first, as [3900, 6000]"


def _of_percent(key: str, percent: Decimal, source: str, *, zero: bool) -> _Faults:
    if not percent.is_finite() or not 0 <= percent <= 100 or (not zero and not percent):
        yield key, f"{percent} is not a rate in percent a year: write a number {'from' if zero else 'above'} 0 to 100"
    elif _decimals(percent) > DECIMALS_MAX:
        yield key, f"{percent} has more than {DECIMALS_MAX} decimals"
    yield from _of_text("source", source)


def _of_penalties(terms: PenaltyTerms) -> _Faults:
    days = [step.from_day for step in terms.steps]
    if any(day < 1 for day in days) or any(a >= b for a, b in pairwise(days)):
        yield "steps", f"the steps begin on the days {_listed(days)}: write them rising, from day 1 on, as 31 and 91"
    for step in terms.steps:
        if not 1 <= step.divisor <= DIVISOR_MAX:
            yield "steps", f"the divisor {step.divisor} is not from 1 to {DIVISOR_MAX}: write 300 for 1/300 a day"
    if terms.cap_percent is not None:
        yield from _of_percent("cap_percent", terms.cap_percent, terms.source, zero=False)
    else:
        yield from _of_text("source", terms.source)


def _of_due_day(day: int) -> _Faults:
    if not 1 <= day <= 28:
        yield "day", f"{day} is not a day that every month has: write 1 to 28"


def _of_moratoria(moratoria: tuple[Moratorium, ...]) -> Iterator[RulebookFault]:
    last: Moratorium | None = None
    for i, row in enumerate(moratoria):
        for key, day in (("since", row.since), ("until", row.until)):
            for reason in _of_day(day):
                yield RulebookFault("moratoria", i, key, reason)
        if row.until <= row.since:
            yield RulebookFault(
                "moratoria",
                i,
                "until",
                f"until {row.until} is not after since {row.since}: write the first day that has penalties again",
            )
        if last is not None and last.since > row.since:
            yield RulebookFault(
                "moratoria", i, "since", f"{row.since} stands after {last.since}: put the oldest row first"
            )
        elif last is not None and last.until > row.since:
            yield RulebookFault(
                "moratoria",
                i,
                "since",
                f"it begins on {row.since}, within the one of {last.since} until {last.until}: write them as one",
            )
        last = row
        for key, reason in _of_text("source", row.source):
            yield RulebookFault("moratoria", i, key, reason)


def _of_days_off(days: tuple[date, ...]) -> Iterator[RulebookFault]:
    for i, day in enumerate(days):
        for reason in _of_day(day):
            yield RulebookFault("days_off", i, "days", reason)
        if i and days[i - 1] == day:
            yield RulebookFault("days_off", i, "days", f"{day} is named twice: name it once")
        elif i and days[i - 1] > day:
            yield RulebookFault("days_off", i, "days", f"{day} stands after {days[i - 1]}: put the earliest day first")


def _of_requisites(requisites: Requisites) -> _Faults:
    for field in fields(Requisites):
        text: str | None = getattr(requisites, field.name)
        if text is None:
            continue
        lengths = _DIGITS.get(field.name)
        if lengths is None:
            yield from _of_text(field.name, text)
        elif not (text.isascii() and text.isdigit() and len(text) in lengths):
            yield field.name, f"{_short(text)} does not have {' or '.join(map(str, lengths))} digits"


def _of_text(key: str, text: str) -> _Faults:
    if not text.strip():
        yield key, f"the {key} is empty: write it out"
    elif len(text) > TEXT_LENGTH_MAX:
        yield key, f"the {key} has more than {TEXT_LENGTH_MAX} characters: shorten it"
    elif any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        yield key, f"the {key} has a control character: write it in one plain line"


def _of_day(day: date) -> Iterator[str]:
    if not FIRST_DAY <= day <= LAST_DAY:
        yield f"{day} is not a day of {FIRST_DAY.year} to {LAST_DAY.year}"


def _ranges_on(book: Rulebook, day: date) -> tuple[int, ...]:
    in_force = [bounds for since, bounds in book.ranges if since <= day]
    return in_force[-1] if in_force else book.ranges[0][1] if book.ranges else ()


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _listed(values: Iterable[object]) -> str:
    return ", ".join(value.value if isinstance(value, Register) else str(value) for value in values)


def _allowed(values: tuple[int, ...] | range) -> str:
    if isinstance(values, range):
        return f"{values[0]} to {values[-1]}"
    return " or ".join(map(str, values))


def _short(text: str) -> str:
    return repr(text[:40])
