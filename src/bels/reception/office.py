"""The office as every channel tells it: address, phones, hours, from one file; whether it is open, in words (rules 6)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from re import compile as pattern

from bels.domain.office_hours import OfficeHours, OpenHours, hours_of, is_open, opens_next
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Word
from bels.rulebooks.rows import File, Row, lines_of

FILE_BYTES_MAX = 100_000
PHONES_MAX = 20
CLOSED_DAYS_MAX = 400
TEXT_LENGTH_MAX = 300
LINE_LENGTH_MAX = 2_000
"""A key of a hundred thousand parts on one line would hold the parser of the standard library for hours."""

DAYS_AHEAD = 7
"""The days of which the hours are told."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ON_WEEKDAY = ("в понедельник", "во вторник", "в среду", "в четверг", "в пятницу", "в субботу", "в воскресенье")
OF_MONTH = (
    *("января", "февраля", "марта", "апреля", "мая", "июня"),
    *("июля", "августа", "сентября", "октября", "ноября", "декабря"),
)

_TIME = pattern(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_PHONE = pattern(r"\+?[0-9][0-9 ()-]{1,24}")
_PLACE = pattern(r"at line (\d+)")
_OFFICE_KEYS = ("address", "opens", "closes", "weekdays")
_OFFICE_OPTIONAL = ("served", "last_working_day", "closed_on")


class PhoneKind(Word):
    """What a phone of the supplier is for."""

    HOTLINE = "HOTLINE"
    SMS = "SMS"
    VOICE_MENU = "VOICE_MENU"


class LastDay(Word):
    """What the last working day of a month is."""

    OPEN = "open"
    CLOSED = "closed"


class OfficeFileError(ValueError):
    """A file cannot be read as an office; the text names every line with what is wrong there."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone of the supplier, as it is written for people."""

    kind: PhoneKind
    number: str


@dataclass(frozen=True, slots=True)
class Office:
    """The office: where it is, whom it serves, its phones, its hours."""

    address: str
    served: str
    phones: tuple[Phone, ...]
    hours: OfficeHours

    @property
    def hotline(self) -> str:
        """The first hotline: the number that every answer may name."""
        return next(phone.number for phone in self.phones if phone.kind is PhoneKind.HOTLINE)


@dataclass(frozen=True, slots=True)
class OfficeState:
    """Whether the office is open at a moment: until when, or from when again; None where that is not known."""

    at: datetime
    is_open: bool
    closes_at: datetime | None
    opens_at: datetime | None


def shipped_office() -> Office:
    """Read the office that bels brings along."""
    return read_office((files("bels.reception") / "office.toml").read_text("utf-8"))


def office_from(path: Path | None) -> Office:
    """Read an office from a file, None for the one that bels brings along.

    :raises OfficeFileError: the file cannot be read.
    """
    if path is None:
        return shipped_office()
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise OfficeFileError(f"{path.name} has more than {FILE_BYTES_MAX} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OfficeFileError(f"{path.name} cannot be read as UTF-8 text: {type(error).__name__}") from error
    return read_office(text)


def read_office(text: str) -> Office:
    """Read an office from TOML.

    :raises OfficeFileError: every fault, with its line.
    """
    long = next((n for n, line in enumerate(text.splitlines(), 1) if len(line) > LINE_LENGTH_MAX), None)
    if long is not None:
        raise OfficeFileError(f"line {long}: it has more than {LINE_LENGTH_MAX} characters")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        where = f"line {place[1]}" if place else "the end of the file"
        raise OfficeFileError(f"{where}: this is not TOML: {error}") from error
    file = File(data, lines_of(text))
    for table in data:
        if table not in ("office", "phone"):
            file.fault(table, None, "", f"{table[:40]!r} is not known here: write [[office]] and [[phone]]")
    phones = tuple(_phone(row) for row in list(file.rows("phone"))[:PHONES_MAX])
    if PhoneKind.HOTLINE not in (phone.kind for phone in phones):
        file.fault("phone", None, "", 'there must be a [[phone]] with kind = "HOTLINE": every answer may name it')
    offices = [_office(row, phones) for row in file.rows("office")]
    if len(offices) != 1:
        file.fault("office", None, "", f"there must be one [[office]], not {len(offices)}")
    if file.faults:
        raise OfficeFileError("; ".join(str(fault) for fault in sorted(file.faults, key=lambda fault: fault.line)))
    return offices[0]


def state_of(office: Office, at: datetime, rulebook: Rulebook) -> OfficeState:
    """Say whether the office is open at a moment, until when, or from when again."""
    if not is_open(office.hours, at, rulebook):
        return OfficeState(at, False, None, opens_next(office.hours, at, rulebook))
    of_day = hours_of(office.hours, moscow_date(at), rulebook)
    return OfficeState(at, True, of_day.closes_at if of_day is not None else None, None)


def hours_ahead(
    office: Office, at: datetime, rulebook: Rulebook, days: int = DAYS_AHEAD
) -> list[tuple[date, OpenHours | None]]:
    """List days from the moment's on, each with its hours, None where the office is closed."""
    today = moscow_date(at)
    ahead = [today + timedelta(days=n) for n in range(days)]
    return [(day, hours_of(office.hours, day, rulebook)) for day in ahead]


def words_of(office: Office, state: OfficeState) -> str:
    """Say in Russian whether the office is open: «Офис закрыт. Откроется завтра в 08:45.»"""
    if state.is_open and state.closes_at is not None:
        return f"Офис открыт до {_clock(state.closes_at)}."
    if state.opens_at is None:
        return f"Офис закрыт. Когда откроется, скажет горячая линия {office.hotline}."
    return f"Офис закрыт. Откроется {on_day(moscow_date(state.opens_at), moscow_date(state.at))} в {_clock(state.opens_at)}."


def on_day(day: date, today: date) -> str:
    """Name a day as people do: «сегодня», «завтра», «в понедельник, 24 ноября»."""
    match (day - today).days:
        case 0:
            return "сегодня"
        case 1:
            return "завтра"
        case _:
            return f"{ON_WEEKDAY[day.weekday()]}, {day.day} {OF_MONTH[day.month - 1]},"


def contacts(office: Office) -> str:
    """Say in Russian where the office is and how to call it, a line for each."""
    names = {
        PhoneKind.HOTLINE: "Горячая линия",
        PhoneKind.SMS: "Показания по SMS",
        PhoneKind.VOICE_MENU: "Показания по телефону",
    }
    lines = [f"Офис: {office.address}."]
    for kind, name in names.items():
        numbers = ", ".join(phone.number for phone in office.phones if phone.kind is kind)
        lines += [f"{name}: {numbers}."] if numbers else []
    return "\n".join(lines)


def week(office: Office, at: datetime, rulebook: Rulebook) -> str:
    """Say in Russian when the office is open in the seven days from a moment on, days of the same hours together."""
    today = moscow_date(at)
    lines: list[tuple[str, str]] = []
    for day, of_day in hours_ahead(office, at, rulebook):
        hours = f"{_clock(of_day.opens_at)}–{_clock(of_day.closes_at)}" if of_day is not None else "закрыт"
        lines.append((on_day(day, today).rstrip(","), hours))
    return "\n".join(f"{name}: {hours}" for name, hours in lines)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(MOSCOW):%H:%M}"


def _phone(row: Row) -> Phone:
    row.keys(("kind", "number"))
    number = row.text("number").strip()
    if row.has("number") and not _PHONE.fullmatch(number):
        row.fault("number", 'this is no phone: write it as "8 (495) 524-22-04"')
    return Phone(row.word("kind", PhoneKind), number)


def _office(row: Row, phones: tuple[Phone, ...]) -> Office:
    row.keys(_OFFICE_KEYS, _OFFICE_OPTIONAL)
    opens, closes = _time(row, "opens"), _time(row, "closes")
    if opens >= closes and row.has("opens") and row.has("closes"):
        row.fault("closes", "it closes before it opens")
    days = row.text("weekdays").split()
    if row.has("weekdays") and (not days or any(day not in WEEKDAYS for day in days)):
        row.fault("weekdays", f'write some of "{" ".join(WEEKDAYS)}"')
    closed_on = row.days("closed_on") if row.has("closed_on") else ()
    if len(closed_on) > CLOSED_DAYS_MAX:
        row.fault("closed_on", f"there are more than {CLOSED_DAYS_MAX} days")
    last = row.word("last_working_day", LastDay) if row.has("last_working_day") else LastDay.OPEN
    hours = OfficeHours(
        opens,
        closes,
        frozenset(WEEKDAYS.index(day) for day in days if day in WEEKDAYS),
        last is LastDay.CLOSED,
        frozenset(closed_on),
    )
    return Office(_text(row, "address"), _text(row, "served"), phones, hours)


def _text(row: Row, key: str) -> str:
    text = (row.optional_text(key) or "").strip()
    if row.has(key) and not (0 < len(text) <= TEXT_LENGTH_MAX and text.isprintable()):
        row.fault(key, f"write a text of 1 to {TEXT_LENGTH_MAX} characters on one line")
    return text


def _time(row: Row, key: str) -> time:
    found = _TIME.fullmatch(row.text(key))
    if found is None:
        if row.has(key):
            row.fault(key, 'write a time as "08:45"')
        return time(0, 0)
    return time(int(found[1]), int(found[2]))
