"""A rulebook file: every fault at its line with the way to do it right, merging, and writing what was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.rulebook import KeyRate, PenaltyStep, PenaltyTerms, Requisites, Retroaction, Rulebook
from bels.domain.terms import Period, RateStatus, Register, Scheme, Settlement
from bels.rulebooks.reading import FAULTS_MAX, RulebookFileError, read_rulebook
from bels.rulebooks.shipped import DEMONSTRATION, PUBLISHED, shipped
from bels.rulebooks.writing import write_rulebook

TARIFF = """[[tariff]]
group = "MO/urban_gas"
scheme = "single"
effective_on = 2027-01-01
rates = { total = ["8.10", "10.00", "?"] }
status = { total = "published" }
source = "an act"
"""
ZONES = """[[tariff]]
group = "MO/urban_gas"
scheme = "two_zone"
effective_on = 2027-01-01
rates = { day = ["9.30"], night = ["4.10"] }
status = { day = "published", night = "derived" }
source = "an act"
"""
NORMS = """[[norms]]
effective_on = 2027-01-01
source = "an act"
gas = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
electric = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
"""
SETTINGS = """[[settings]]
effective_on = 2027-01-01
settlement = "IN_PERIOD"
reading_deadline_day = 24
max_average_periods = 3
average_min_periods = 3
average_window_periods = 12
rollover_top_percent = 0
plausible_kw = 15
plausible_average_factor = 5
plausible_floor_kwh = 1000
implausible_confirmed_by = "operator"
inspection_after_missed = 6
interference_norms = 10
interference_periods_max = 3
"""
PENALTIES = """[[penalties]]
effective_on = 2027-01-01
steps = [{ from_day = 31, divisor = 300 }, { from_day = 91, divisor = 130 }]
cap_percent = "none"
source = "an act"
"""
MORATORIUM = """[[moratorium]]
since = 2022-04-01
until = 2022-10-01
source = "an act"
"""
KEY_RATE = """[[key_rate]]
effective_on = 2026-07-27
percent = "14"
source = "cbr.ru"
"""
RANGES = """[[ranges]]
effective_on = 2027-01-01
up_to_kwh = [3900, 6000]
"""
DUE_DAY = """[[due_day]]
effective_on = 2027-01-01
day = 20
"""
DAYS_OFF = """[[days_off]]
year = 2027
days = [2027-01-01, 2027-01-04]
"""
REQUISITES = """[requisites]
name = "ЗАО «БЭЛС»"
inn = "5001000002"
account = "40702810138250123017"
bank = "БАНК"
bic = "044525225"
corr_account = "30101810400000000225"
address = "Балашиха"
phone = "8 (495) 524-22-04"
"""


def base() -> Rulebook:
    return shipped(PUBLISHED)


def told(text: str, over: Rulebook | None) -> list[tuple[int, str, str]]:
    with pytest.raises(RulebookFileError) as raised:
        read_rulebook(text, over)
    return [(fault.line, fault.where, fault.reason) for fault in raised.value.faults]


def test_every_table_of_a_file_is_laid_over_the_book() -> None:
    tables = (TARIFF, ZONES, NORMS, SETTINGS, PENALTIES, MORATORIUM, KEY_RATE, RANGES, DUE_DAY, DAYS_OFF, REQUISITES)
    book = read_rulebook("\n".join(tables), base())
    january = Period("2027-01")
    tariff = book.tariff_of("MO/urban_gas", Scheme.SINGLE, january)
    assert tariff is not None
    assert tariff.rates == {Register.TOTAL: (Decimal("8.10"), Decimal("10.00"), None)}
    assert tariff.status == {Register.TOTAL: RateStatus.PUBLISHED}
    assert book.settings_of(january).settlement is Settlement.IN_PERIOD
    assert book.settings_of(Period("2026-12")) == base().settings_of(Period("2026-12"))
    assert book.key_rate_on(date(2026, 7, 27)) == 14
    assert book.norms_of(january).gas[0] == (1, 1, 1, 1, 1)
    assert book.due_days[-1] == (date(2027, 1, 1), 20)
    assert book.days_off == (*base().days_off, date(2027, 1, 1), date(2027, 1, 4))
    assert [row.since for row in book.moratoria] == [date(2020, 4, 6), date(2022, 4, 1)]
    assert book.penalties[-1][1].source == "an act"
    assert book.requisites is not None
    assert book.requisites.kpp is None
    assert (book.name, book.region, book.number) == (base().name, "MO", base().number)


def test_a_row_with_the_same_key_replaces_and_what_is_not_named_stays() -> None:
    row = TARIFF.replace("2027-01-01", "2026-10-01")
    book = read_rulebook(row, base())
    assert len(book.tariffs) == len(base().tariffs)
    changed = [ours for ours, theirs in zip(book.tariffs, base().tariffs, strict=True) if ours != theirs]
    assert [tariff.version for tariff in changed] == ["MO/urban_gas/single/2026-10-01"]
    assert replace(book, tariffs=base().tariffs) == base()


def test_a_year_of_days_off_is_replaced_whole() -> None:
    book = read_rulebook("[[days_off]]\nyear = 2026\ndays = [2026-12-31, 2026-01-09]\n", base())
    assert [day for day in book.days_off if day.year == 2026] == [date(2026, 1, 9), date(2026, 12, 31)]
    assert len([day for day in book.days_off if day.year == 2025]) == 15


def test_the_number_and_the_retroactions_stay_those_of_the_base() -> None:
    published = replace(base(), number=4, retroactions=(Retroaction(3, Period("2024-07"), "the act came late"),))
    book = read_rulebook(TARIFF, published)
    assert (book.number, book.retroactions) == (4, published.retroactions)


def test_rows_in_any_order_make_the_same_book() -> None:
    assert read_rulebook(ZONES + TARIFF, base()) == read_rulebook(TARIFF + ZONES, base())


def test_a_row_may_name_the_day_on_which_the_next_one_begins() -> None:
    first = TARIFF.replace("2027-01-01", "2026-10-01") + "until = 2027-01-01\n"
    assert read_rulebook(first + TARIFF, base()) == read_rulebook(
        TARIFF.replace("2027-01-01", "2026-10-01") + TARIFF, base()
    )


def test_a_file_may_be_written_in_the_other_ways_of_toml() -> None:
    other = """\ufeff# [[tariff]] in a comment is no row\r
[[ "tariff" ]] # one
group = 'MO/urban_gas'
scheme = \"\"\"single\"\"\"
source = '''
an act''' # ]
effective_on = 2027-01-01
[tariff.rates]
total = [
  "8.10", # [[tariff]]
  "10.00",
  "?",
]
[tariff.status]
"total" = "published"
"""
    assert read_rulebook(other, base()) == read_rulebook(TARIFF, base())


@pytest.mark.parametrize(
    ("text", "line", "where", "sentence"),
    [
        # The file.
        ("", 1, "file", "it names nothing"),
        ("# a comment\n", 1, "file", "it names nothing"),
        ("x" * 1_000_001, 1, "file", "at most 1000000 are read: publish it in parts"),
        (DUE_DAY * 5001, 1, "file", "it has 5001 rows, at most 5000 are read"),
        ("a = " + "[\n" * 100_000, 1, "TOML", "too deep"),
        ("\n" + "a." * 300_000 + "a = 1", 2, "file", "it has more than 2000 characters: break the list into lines"),
        ("[[tariff]]\ngroup = MO\n", 2, "TOML", "write text and rates in quotes"),
        ("\n[[tariff]\n", 2, "TOML", "rows after [[table]]"),
        (TARIFF.replace("2027-01-01", "2027-02-30"), 4, "TOML", "write a day that exists"),
        (TARIFF + 'source = "x"\n', 8, "TOML", "a key is written twice in one row"),
        ("[[tariff]]\n" + 'source = "open', 2, "TOML", "write keys as key = value"),
        ('\n[[tarif]]\ngroup = "x"\n', 2, "tarif", "did you mean tariff?"),
        ("\nnumber = 3\n", 2, "number", "the file cannot say 'number'"),
        ("\nname = 3\n", 2, "name", "write a text in quotes"),
        ('name = "московский"\n', 1, "name", "write moscow-region"),
        ('region = "мо"\n', 1, "region", "write MO"),
        ('\ntariff = [{ group = "x" }]\n', 2, "tariff", "begin each with [[tariff]] on its own line"),
        ("\ntariff = []\n", 2, "tariff", "begin each with [[tariff]] on its own line"),
        ("\ntariff = [1]\n", 2, "tariff", "begin each with [[tariff]] on its own line"),
        ("\ntariff = 1\n", 2, "tariff", "begin each row with [[tariff]]"),
        (TARIFF.replace("[[tariff]]", "[tariff]"), 1, "tariff", "begin each row with [[tariff]]"),
        (REQUISITES.replace("[requisites]", "[[requisites]]"), 1, "requisites", "begin it with [requisites]"),
        # Keys and types.
        (TARIFF + "colour = 1\n", 8, "tariff 1, colour", "'colour' is not a key of tariff"),
        (TARIFF.replace("source", "sorce"), 7, "tariff 1, sorce", "did you mean source?"),
        (TARIFF.replace('source = "an act"\n', ""), 1, "tariff 1, source", "the key source is missing: write source ="),
        (SETTINGS.replace("plausible_kw = 15\n", ""), 1, "settings 1, plausible_kw", "write plausible_kw = 15"),
        (TARIFF.replace('"an act"', "5"), 7, "tariff 1, source", "source is the number 5: write a text in quotes"),
        (TARIFF.replace('"an act"', '" "'), 7, "tariff 1, source", "the source is empty"),
        (TARIFF.replace('"an act"', '"\\u0000"'), 7, "tariff 1, source", "has a control character"),
        (TARIFF.replace('"an act"', f'"{"x" * 501}"'), 7, "tariff 1, source", "more than 500 characters"),
        # Days.
        (TARIFF.replace("2027-01-01", '"2027-01-01"'), 4, "tariff 1, effective_on", "write a day without quotes"),
        (TARIFF.replace("2027-01-01", "2027-01-01T00:00:00"), 4, "tariff 1, effective_on", "without a time"),
        (TARIFF.replace("2027-01-01", "12:00:00"), 4, "tariff 1, effective_on", "write a day"),
        (TARIFF.replace("2027-01-01", "1989-12-31"), 4, "tariff 1, effective_on", "is not a day of 1990 to 2100"),
        (TARIFF.replace("2027-01-01", "2101-01-01"), 4, "tariff 1, effective_on", "is not a day of 1990 to 2100"),
        # Tariffs.
        (TARIFF.replace("MO/urban_gas", "MO/gas"), 2, "tariff 1, group", "'MO/gas' is not a group"),
        (TARIFF.replace("MO/urban_gas", "mo/urban_gas"), 2, "tariff 1, group", "write a region in capital letters"),
        (TARIFF.replace('"single"', '"four_zone"'), 3, "tariff 1, scheme", "write one of single, two_zone, three_zone"),
        (TARIFF.replace("total", "sum"), 5, "tariff 1, rates.sum", "'sum' is not a register: write total, day"),
        (ZONES.replace('day = ["9.30"], ', ""), 5, "tariff 1, rates", "two_zone has the registers day, night, not night"),
        (ZONES.replace('day = "published", ', ""), 6, "tariff 1, status", "two_zone has the registers day, night, not"),
        (TARIFF.replace('{ total = ["8.10", "10.00", "?"] }', '"8.10"'), 5, "tariff 1, rates", "write rates = { total ="),
        (TARIFF.replace('["8.10", "10.00", "?"]', '"8.10"'), 5, "tariff 1, rates.total", "write a list with a rate for"),
        (TARIFF.replace('["8.10", "10.00", "?"]', "[]"), 5, "tariff 1, rates.total", "there is no rate"),
        (TARIFF.replace('"8.10"', "8.10"), 5, "tariff 1, rates.total", '8.10 is not exact without quotes: write "8.10"'),
        (TARIFF.replace('"8.10"', "8"), 5, "tariff 1, rates.total", '8 is not exact without quotes: write "8"'),
        (TARIFF.replace('"8.10"', "nan"), 5, "tariff 1, rates.total", "nan is not exact without quotes"),
        (TARIFF.replace('"8.10"', '"NaN"'), 5, "tariff 1, rates.total", "'NaN' is not a number"),
        (TARIFF.replace('"8.10"', '"Infinity"'), 5, "tariff 1, rates.total", "'Infinity' is not a number"),
        (TARIFF.replace('"8.10"', '"8,10"'), 5, "tariff 1, rates.total", "with a point, not a comma"),
        (TARIFF.replace('"8.10"', '"8e3"'), 5, "tariff 1, rates.total", "in plain digits"),
        (TARIFF.replace('"8.10"', "true"), 5, "tariff 1, rates.total", "write a number in quotes"),
        (TARIFF.replace('"8.10"', '"-8.10"'), 5, "tariff 1, rates.total", "-8.10 is not above zero"),
        (TARIFF.replace('"8.10"', '"0.00"'), 5, "tariff 1, rates.total", "0.00 is not above zero"),
        (TARIFF.replace('"8.10"', '"8.12345"'), 5, "tariff 1, rates.total", "more than 4 decimals"),
        (TARIFF.replace('"8.10"', '"1000.01"'), 5, "tariff 1, rates.total", "write roubles, not kopecks"),
        (TARIFF.replace('"?"', '"9", "9"'), 5, "tariff 1, rates.total", "4 rates, but 3 ranges are in force on 2027-01-01"),
        (TARIFF.replace("2027-01-01", "2024-01-01"), 5, "tariff 1, rates.total", "1 range is in force on 2024-01-01"),
        (TARIFF.replace('"published"', '"unknown"'), 6, "tariff 1, status.total", "write published or derived"),
        (TARIFF.replace('"published"', '"known"'), 6, "tariff 1, status.total", "one of published, derived, unknown"),
        (TARIFF.replace('"8.10", "10.00"', '"?"'), 6, "tariff 1, status.total", "write unknown, or give the rate"),
        (TARIFF + TARIFF, 11, "tariff 2, effective_on", "two rows for MO/urban_gas single begin on 2027-01-01"),
        (TARIFF + "until = 2028-01-01\n", 8, "tariff 1, until", "nothing follows from 2028-01-01 on"),
        (TARIFF + "until = 2026-12-01\n", 8, "tariff 1, until", "is not after 2027-01-01"),
        (TARIFF + "until = 3\n", 8, "tariff 1, until", "write a day without quotes"),
        (
            TARIFF + "until = 2027-07-01\n" + TARIFF.replace("2027-01-01", "2027-08-01"),
            8,
            "tariff 1, until",
            "from 2027-07-01 to 2027-08-01 nothing is in force: add a row from 2027-07-01",
        ),
        (
            TARIFF + "until = 2027-09-01\n" + TARIFF.replace("2027-01-01", "2027-08-01"),
            8,
            "tariff 1, until",
            "it overlaps the row that begins on 2027-08-01",
        ),
        # Ranges, norms, settings.
        (RANGES.replace("[3900, 6000]", "[6000, 3900]"), 3, "ranges 1, up_to_kwh", "do not rise: write the lowest first"),
        (RANGES.replace("[3900, 6000]", "[3900, 3900]"), 3, "ranges 1, up_to_kwh", "do not rise"),
        (RANGES.replace("3900", "0"), 3, "ranges 1, up_to_kwh", "whole kWh a month, from 1"),
        (RANGES.replace("3900", '"3900"'), 3, "ranges 1, up_to_kwh", "write a whole number without quotes"),
        (RANGES.replace("[3900, 6000]", "3900"), 3, "ranges 1, up_to_kwh", "write a list of whole numbers"),
        (RANGES.replace("3900", "9" * 1900), 3, "ranges 1, up_to_kwh", "up_to_kwh has a number out of all bounds"),
        (RANGES + RANGES, 5, "ranges 2, effective_on", "two rows begin on 2027-01-01"),
        (NORMS.replace("[[1, 1, 1, 1, 1], ", "[", 1), 4, "norms 1, gas", "has 4 rows"),
        (NORMS.replace("[1, 1, 1, 1, 1]]", "[1, 1, 1, 1]]", 1), 4, "norms 1, gas", "of 5 numbers"),
        (NORMS.replace("electric = [[1", "electric = [[0"), 5, "norms 1, electric", "from 1 to 10000"),
        (NORMS.replace("electric = [[1", "electric = [[1.5"), 5, "norms 1, electric", "write a whole number"),
        (NORMS.replace("gas = [[1, 1, 1, 1, 1]", "gas = [1"), 4, "norms 1, gas", "each row in brackets"),
        (SETTINGS.replace("day = 24", "day = 28"), 4, "settings 1, reading_deadline_day", "write 20 to 27"),
        (SETTINGS.replace("day = 24", "day = true"), 4, "settings 1, reading_deadline_day", "write a whole number"),
        (SETTINGS.replace("IN_PERIOD", "LATER"), 3, "settings 1, settlement", "one of REDISTRIBUTE, IN_PERIOD, NEXT_PERIOD"),
        (SETTINGS.replace("= 12", "= 7"), 7, "settings 1, average_window_periods", "write 6 or 12"),
        (SETTINGS.replace("max_average_periods = 3", "max_average_periods = 4"), 5, "settings 1, max_average_periods", "write 3"),
        (SETTINGS.replace('"operator"', '"inspector"'), 12, "settings 1, implausible_confirmed_by", "consumer or operator"),
        (SETTINGS + SETTINGS, 17, "settings 2, effective_on", "two rows begin on 2027-01-01"),
        # Money and days.
        (KEY_RATE.replace('"14"', '"-1"'), 3, "key_rate 1, percent", "write a number from 0 to 100"),
        (KEY_RATE.replace('"14"', '"100.5"'), 3, "key_rate 1, percent", "write a number from 0 to 100"),
        (KEY_RATE.replace('"14"', "14.5"), 3, "key_rate 1, percent", 'write "14.5"'),
        (KEY_RATE + KEY_RATE, 6, "key_rate 2, effective_on", "two rows begin on 2026-07-27"),
        (PENALTIES.replace("from_day = 31", "from_day = 91"), 3, "penalties 1, steps", "91, 91: write them rising"),
        (PENALTIES.replace("from_day = 31", "from_day = 0"), 3, "penalties 1, steps", "from day 1 on"),
        (PENALTIES.replace("divisor = 300", "divisor = 0"), 3, "penalties 1, steps", "the divisor 0 is not"),
        (PENALTIES.replace("divisor = 300", "part = 300"), 3, "penalties 1, steps", "a from_day and a divisor"),
        (PENALTIES.replace('"none"', '"0"'), 4, "penalties 1, cap_percent", "write a number above 0 to 100"),
        (PENALTIES.replace('"none"', "9.5"), 4, "penalties 1, cap_percent", 'write "9.5"'),
        (DUE_DAY.replace("day = 20", "day = 29"), 3, "due_day 1, day", "write 1 to 28"),
        (DUE_DAY.replace("day = 20", "day = 0"), 3, "due_day 1, day", "write 1 to 28"),
        (MORATORIUM.replace("2022-10-01", "2022-04-01"), 3, "moratorium 1, until", "is not after since 2022-04-01"),
        (MORATORIUM.replace("2022-04-01", "2020-12-31"), 2, "moratorium 1, since", "within the one of 2020-04-06"),
        (MORATORIUM + MORATORIUM, 6, "moratorium 2, since", "write them as one"),
        (DAYS_OFF.replace("2027-01-04", "2028-01-04"), 3, "days_off 1, days", "2028-01-04 is not a day of 2027"),
        (DAYS_OFF.replace("2027-01-04", "2027-01-01"), 3, "days_off 1, days", "is named twice"),
        (DAYS_OFF + DAYS_OFF, 5, "days_off 2, year", "two rows are of 2027: write them as one"),
        (DAYS_OFF.replace("2027-01-04", '"4 January"'), 3, "days_off 1, days", "write a day without quotes"),
        (REQUISITES.replace("5001000002", "500100000"), 3, "requisites, inn", "does not have 10 or 12 digits"),
        (REQUISITES.replace("138250123017", "13825012301"), 4, "requisites, account", "does not have 20 digits"),
        (REQUISITES.replace("044525225", "04452522Б"), 6, "requisites, bic", "does not have 9 digits"),
        (REQUISITES.replace("30101810400000000225", "٣" * 20), 7, "requisites, corr_account", "20 digits"),
        (REQUISITES + 'kpp = "1"\n', 10, "requisites, kpp", "does not have 9 digits"),
        (REQUISITES.replace('"Балашиха"', '""'), 8, "requisites, address", "the address is empty"),
        (REQUISITES.replace('phone = "8 (495) 524-22-04"\n', ""), 1, "requisites, phone", "the key phone is missing"),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_its_line_with_the_way_to_do_it_right(
    text: str, line: int, where: str, sentence: str
) -> None:
    faults = told(text, base())
    assert (line, where) in [(at, row) for at, row, _ in faults]
    [reason] = [reason for at, row, reason in faults if (at, row) == (line, where)][:1]
    assert sentence in reason


def test_a_fault_alone_is_told_once() -> None:
    assert len(told(TARIFF.replace('"8.10"', "8.10"), base())) == 1
    assert len(told(TARIFF.replace("MO/urban_gas", "MO/gas"), base())) == 1


def test_all_faults_are_told_at_once_in_order_of_lines_as_readable_lines() -> None:
    text = (
        REQUISITES.replace("044525225", "1")
        + DUE_DAY.replace("day = 20", "day = 31")
        + TARIFF.replace('"8.10"', "8.10")
    )
    with pytest.raises(RulebookFileError) as raised:
        read_rulebook(text, base())
    assert str(raised.value).splitlines() == [
        "line 6, requisites, bic: '1' does not have 9 digits",
        "line 12, due_day 1, day: 31 is not a day that every month has: write 1 to 28",
        'line 17, tariff 1, rates.total: 8.10 is not exact without quotes: write "8.10"',
    ]


def test_no_more_than_fifty_faults_are_told() -> None:
    with pytest.raises(RulebookFileError, match="and 10 more") as raised:
        read_rulebook("".join(DUE_DAY.replace("2027-01-01", f"2027-01-01\nx{i} = 1") for i in range(60)), base())
    assert len(raised.value.faults) == FAULTS_MAX


def test_a_row_of_the_book_that_no_longer_fits_is_told_without_a_line() -> None:
    [fault] = [
        fault
        for fault in told("[[ranges]]\neffective_on = 2025-01-01\nup_to_kwh = [3900]\n", base())
        if "2025-01-01" in fault[2]
    ][:1]
    assert fault == (
        0,
        "tariff, rates.total",
        "3 rates, but 2 ranges are in force on 2025-01-01: leave out what is over, or enter the ranges first",
    )


def test_a_file_that_stands_alone_must_be_whole() -> None:
    assert told(DAYS_OFF, None) == [
        (1, "name", "name is missing: a file that stands alone must have it"),
        (1, "region", "region is missing: a file that stands alone must have it"),
        *((1, key, f"[[{key}]] is missing: a file that stands alone must have it") for key in ("tariff", "ranges", "norms", "settings", "due_day")),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [PUBLISHED, DEMONSTRATION])
def test_a_book_that_is_written_reads_as_itself(name: str) -> None:
    assert read_rulebook(write_rulebook(shipped(name)), None) == shipped(name)


def test_a_published_book_that_is_written_reads_as_itself_over_itself() -> None:
    book = replace(shipped(DEMONSTRATION), number=7, retroactions=(Retroaction(2, Period("2024-07"), "late"),))
    assert read_rulebook(write_rulebook(book), book) == book
    assert read_rulebook(write_rulebook(book), None) == replace(book, number=0, retroactions=())


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters=[chr(sign) for sign in (*range(32), 127)]),
    min_size=1,
    max_size=40,
).filter(str.strip)


@given(
    source=TEXTS,
    name=TEXTS,
    percent=st.decimals("0.0001", 100, places=4),
    hours=st.none() | TEXTS,
    days=st.sets(st.dates(date(2027, 1, 1), date(2100, 12, 31)), max_size=30),
)
def test_any_book_that_is_written_reads_as_itself(
    source: str, name: str, percent: Decimal, hours: str | None, days: set[date]
) -> None:
    book = replace(
        base(),
        key_rates=((date(2014, 1, 1), KeyRate(percent, source)),),
        penalties=((date(2014, 1, 1), PenaltyTerms((PenaltyStep(1, 300),), percent, source)),),
        days_off=tuple(sorted(days)),
        requisites=Requisites(name, "500100000212", "1" * 20, source, "1" * 9, "2" * 20, name, source, hours=hours),
    )
    assert read_rulebook(write_rulebook(book), None) == book


def test_a_file_that_does_not_know_a_rate_leaves_the_known_one_in_force() -> None:
    unknown = (
        '[[tariff]]\ngroup = "MO/urban_gas"\nscheme = "single"\neffective_on = 2024-07-01\nrates = { total = ["?"] }\n'
    )
    unknown += 'status = { total = "unknown" }\nsource = "-"\n'
    base = shipped(PUBLISHED)

    assert read_rulebook(unknown, base) == base
