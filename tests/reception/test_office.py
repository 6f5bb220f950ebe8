"""The office as every channel tells it: from one file, whose faults are told where they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest

from bels.domain.periods import MOSCOW
from bels.reception.office import (
    FILE_BYTES_MAX,
    Office,
    OfficeFileError,
    PhoneKind,
    contacts,
    hours_ahead,
    office_from,
    on_day,
    read_office,
    shipped_office,
    state_of,
    week,
    words_of,
)
from bels.rulebooks.shipped import PUBLISHED, shipped

BOOK = shipped(PUBLISHED)
GOOD = """[[phone]]
kind = "HOTLINE"
number = "8 (495) 524-22-04"

[[office]]
address = "Балашиха"
opens = "09:00"
closes = "18:00"
weekdays = "mon tue sat"
closed_on = [2026-11-24]
"""


def at(text: str) -> datetime:
    """Give a Moscow moment."""
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


def said(office: Office, moment: str) -> str:
    """Say whether an office is open."""
    return words_of(office, state_of(office, at(moment), BOOK))


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2026-11-23T12:00", "Офис открыт до 17:15."),
        ("2026-11-03T12:00", "Офис открыт до 16:15."),
        ("2026-11-23T07:00", "Офис закрыт. Откроется сегодня в 08:45."),
        ("2026-11-23T17:15", "Офис закрыт. Откроется завтра в 08:45."),
        ("2026-11-27T18:00", "Офис закрыт. Откроется во вторник, 1 декабря, в 08:45."),
        ("2026-11-21T18:00", "Офис закрыт. Откроется в понедельник, 23 ноября, в 08:45."),
    ],
)
def test_a_caller_hears_until_when_or_from_when_the_office_is_open(moment: str, words: str) -> None:
    assert said(shipped_office(), moment) == words


def test_where_nobody_knows_when_it_opens_the_hotline_does() -> None:
    office = shipped_office()
    never = replace(office, hours=replace(office.hours, weekdays=frozenset()))

    assert said(never, "2026-11-23T12:00") == "Офис закрыт. Когда откроется, скажет горячая линия 8 (495) 524-22-04."


def test_the_office_that_bels_brings_along_is_the_suppliers() -> None:
    office = shipped_office()

    assert office.address == "Балашиха, мкр. Салтыковка, ул. Гражданская, 5"
    assert office.hotline == "8 (495) 524-22-04"
    assert [phone.kind for phone in office.phones].count(PhoneKind.HOTLINE) == 2
    assert "Показания по SMS: +7 (903) 767-67-81." in contacts(office)
    assert "Показания по телефону: 8 (498) 662-94-94." in contacts(office)
    assert (office.hours.opens.isoformat(), office.hours.closes.isoformat()) == ("08:45:00", "17:15:00")
    assert office.hours.last_working_day_closed


def test_a_week_is_told_day_by_day_with_its_closed_days() -> None:
    told = week(shipped_office(), at("2026-11-26T12:00"), BOOK).splitlines()

    assert told[0] == "сегодня: 08:45–17:15"
    assert told[1] == "завтра: 08:45–17:15"
    assert told[2] == "в субботу, 28 ноября: закрыт"
    assert told[4] == "в понедельник, 30 ноября: закрыт"
    assert len(told) == 7
    days = hours_ahead(shipped_office(), at("2026-11-26T12:00"), BOOK)
    assert [day for day, hours in days if hours is None] == [date(2026, 11, 28), date(2026, 11, 29), date(2026, 11, 30)]


def test_a_day_is_named_as_people_do() -> None:
    today = date(2026, 11, 23)

    assert on_day(today, today) == "сегодня"
    assert on_day(date(2026, 11, 24), today) == "завтра"
    assert on_day(date(2026, 11, 25), today) == "в среду, 25 ноября,"


def test_another_office_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "office.toml"
    file.write_text(GOOD, "utf-8")

    office = office_from(file)

    assert office.address == "Балашиха"
    assert said(office, "2026-11-23T12:00") == "Офис открыт до 18:00."
    # Tuesday is closed by the file, so Saturday is next; the last working day of the month is open as any other.
    assert said(office, "2026-11-23T19:00") == "Офис закрыт. Откроется в субботу, 28 ноября, в 09:00."
    assert said(office, "2026-11-29T19:00") == "Офис закрыт. Откроется завтра в 09:00."
    assert office_from(None) == shipped_office()


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ('opens = "09:00"', 'opens = "25:00"|line 7, office 1, opens: write a time as "08:45"'),
        ('opens = "09:00"', "opens = 9|line 7, office 1, opens: opens is the number 9"),
        ('opens = "09:00"', 'opens = "19:00"|line 8, office 1, closes: it closes before it opens'),
        ('opens = "09:00"\n', "|line 5, office 1, opens: the key opens is missing"),
        ('"mon tue sat"', '"mon tues"|line 9, office 1, weekdays: write some of'),
        ("[2026-11-24]", '["завтра"]|line 10, office 1, closed_on: closed_on is'),
        ("[2026-11-24]", "[2026-11-31]|line 10: this is not TOML"),
        ('"HOTLINE"', '"FAX"|line 2, phone 1, kind: kind is'),
        ('"HOTLINE"', '"SMS"|line 1, phone: there must be a [[phone]] with kind = "HOTLINE"'),
        ('"8 (495) 524-22-04"', '"позвоните нам"|line 3, phone 1, number: this is no phone'),
        ("[[office]]", "[[bureau]]|line 5, bureau: 'bureau' is not known here"),
        ("[[office]]", "[office]|line 5, office"),
        ("[[office]]", '[[office]]\naddress="x"\n[[office]]|there must be one [[office]], not 2'),
        ("[[phone]]", f"x = {'a.' * 2000}b|line 1: it has more than 2000 characters"),
        ('address = "Балашиха"', 'address = " "|line 6, office 1, address: write a text of 1 to 300 characters'),
        ('address = "Балашиха"', 'adress = "Балашиха"|line 6, office 1, adress: '),
    ],
)
def test_a_faulty_file_names_the_line_and_what_is_to_be_written(broken: str, told: str) -> None:
    written, _, fault = told.partition("|")
    assert broken in GOOD

    with pytest.raises(OfficeFileError) as refused:
        read_office(GOOD.replace(broken, written, 1))

    assert fault in str(refused.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    binary, big = tmp_path / "binary", tmp_path / "big"
    binary.write_bytes(b"\xff\xfe\x00")
    big.write_text("#" * (FILE_BYTES_MAX + 1), "utf-8")

    for file in (tmp_path / "nowhere", binary, big):
        with pytest.raises(OfficeFileError, match=file.name):
            office_from(file)
