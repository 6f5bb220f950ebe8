"""A rulebook as the file that says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal

from bels.domain.rulebook import NormTable, PenaltyTerms, Requisites, Rulebook, Tariff
from bels.rulebooks.rows import NO_CAP, SETTINGS, UNKNOWN

_HEADINGS: Mapping[str, str] = {
    "settings": "Settings (rules 1.11): the row in force on the 1st of a period rules the period.",
    "norms": "Нормативы, kWh a person and month: a row for 1, 2, 3, 4+ rooms; a column for 1, 2, 3, 4, 5+ residents.",
    "ranges": "Диапазоны: the upper bounds of the ranges but the last, kWh a month; an empty list where all is range 1.",
    "tariff": 'Тарифы, roubles a kWh with VAT: for each register a rate for each range, "?" where it is not known.',
    "key_rate": "Ключевая ставка, percent a year.",
    "penalties": 'Пени (ЖК 155): one divisor-th of the rate a day, from this overdue day on; cap_percent = "none" without a cap.',
    "moratorium": "Моратории: no penalty from since until the day before until.",
    "due_day": "Срок оплаты: the day of the month after the period; a day off moves it to the next working day.",
    "days_off": "Public holidays and transferred days off that are no Saturday or Sunday, by year.",
}


def write_rulebook(book: Rulebook) -> str:
    """Write a book as the file that says the same: whole, without its number and retroactions, which a publication gives."""
    years: dict[int, list[date]] = {}
    for day in book.days_off:
        years.setdefault(day.year, []).append(day)
    rows: dict[str, Iterable[Mapping[str, str]]] = {
        "settings": (_on(day, {key: _value(getattr(value, key)) for key in SETTINGS}) for day, value in book.settings),
        "norms": (
            _on(day, {"source": _value(norms.source), "gas": _table(norms.gas), "electric": _table(norms.electric)})
            for day, norms in book.norms
        ),
        "ranges": (_on(day, {"up_to_kwh": _value(bounds)}) for day, bounds in book.ranges),
        "tariff": map(_tariff_row, book.tariffs),
        "key_rate": (
            _on(day, {"percent": _value(rate.percent), "source": _value(rate.source)}) for day, rate in book.key_rates
        ),
        "penalties": (_on(day, _penalty_row(terms)) for day, terms in book.penalties),
        "moratorium": (
            {"since": _value(row.since), "until": _value(row.until), "source": _value(row.source)}
            for row in book.moratoria
        ),
        "due_day": (_on(day, {"day": _value(due)}) for day, due in book.due_days),
        "days_off": ({"year": str(year), "days": _days(days)} for year, days in years.items()),
    }
    blocks = [f"name = {_value(book.name)}\nregion = {_value(book.region)}"]
    for table, written in rows.items():
        for i, row in enumerate(written):
            heading = [f"# {_HEADINGS[table]}"] if not i else []
            blocks.append("\n".join([*heading, f"[[{table}]]", *(f"{key} = {value}" for key, value in row.items())]))
    if book.requisites is not None:
        given = {field.name: getattr(book.requisites, field.name) for field in fields(Requisites)}
        texts = [f"{key} = {_value(text)}" for key, text in given.items() if text is not None]
        blocks.append("\n".join(["# Реквизиты, as a bill names them.", "[requisites]", *texts]))
    return "\n\n".join(blocks) + "\n"


def _on(day: date, row: Mapping[str, str]) -> Mapping[str, str]:
    return {"effective_on": _value(day), **row}


def _tariff_row(tariff: Tariff) -> Mapping[str, str]:
    return {
        "group": _value(tariff.group),
        "scheme": _value(tariff.scheme),
        "effective_on": _value(tariff.effective_on),
        "rates": _value({register.value: rates for register, rates in tariff.rates.items()}),
        "status": _value({register.value: status for register, status in tariff.status.items()}),
        "source": _value(tariff.source),
    }


def _penalty_row(terms: PenaltyTerms) -> Mapping[str, str]:
    steps = [{"from_day": step.from_day, "divisor": step.divisor} for step in terms.steps]
    cap = _value(NO_CAP if terms.cap_percent is None else terms.cap_percent)
    return {"steps": _value(steps), "cap_percent": cap, "source": _value(terms.source)}


def _table(norms: NormTable) -> str:
    return "\n".join(["[", *(f"    {_value(row)}," for row in norms), "]"])


def _days(days: Sequence[date]) -> str:
    lines = [", ".join(map(str, days[i : i + 8])) for i in range(0, len(days), 8)]
    return "\n".join(["[", *(f"    {line}," for line in lines), "]"])


def _value(value: object) -> str:
    match value:
        case None:
            return f'"{UNKNOWN}"'
        case str():
            return '"' + "".join(_sign(sign) for sign in value) + '"'
        case Decimal():
            return f'"{value:f}"'
        case Mapping():
            return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
        case tuple() | list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            return str(value)


def _sign(sign: str) -> str:
    if sign in '"\\':
        return f"\\{sign}"
    return f"\\u{ord(sign):04X}" if ord(sign) < 32 or ord(sign) == 127 else sign
