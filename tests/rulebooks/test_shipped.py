"""The rulebooks that bels brings along say what the rules say, and the demonstration can price everything."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bels.domain.check_rulebook import faults_of
from bels.domain.periods import index_of, period_at
from bels.domain.publish_rulebook import first_change
from bels.domain.rulebook import Norms, PenaltyStep, Settings, Tariff
from bels.domain.terms import SCHEME_REGISTERS, Period, RateStatus, Register, Scheme
from bels.rulebooks.shipped import DEMONSTRATION, PUBLISHED, shipped
from tests.domain.vectors import EXAMPLES, vector

OURS = [row for row in EXAMPLES["tariffs"] if row["group"].startswith("MO/")]
GROUPS = ("MO/urban_gas", "MO/urban_electric", "MO/rural")
NEVER_PUBLISHED = ("2016-07-01", "2025-07-01", "2026-01-01", "2026-10-01")


def rows_of(book_name: str) -> dict[str, Tariff]:
    return {tariff.version: tariff for tariff in shipped(book_name).tariffs}


@pytest.mark.parametrize("row", OURS, ids=lambda row: row["id"])
def test_every_tariff_of_the_rules_is_in_the_published_book(row: dict[str, Any]) -> None:
    tariff = rows_of(PUBLISHED)[row["id"]]
    assert {
        register.value: [None if rate is None else str(rate) for rate in rates]
        for register, rates in tariff.rates.items()
    } == row["rates"]
    assert {register.value: status.value for register, status in tariff.status.items()} == row["status"]
    assert tariff.source == row["source"]
    period = Period(row["effective_from"][:7])
    assert list(shipped(PUBLISHED).ranges_of(period)) == row.get("limits", [])


def test_the_published_book_has_no_rate_that_the_rules_do_not_have() -> None:
    others = [tariff for version, tariff in rows_of(PUBLISHED).items() if version not in {row["id"] for row in OURS}]
    assert {str(tariff.effective_on) for tariff in others} == set(NEVER_PUBLISHED)
    assert {tariff.group for tariff in others} == {"MO/urban_electric", "MO/rural"}
    assert all(tariff.is_unknown for tariff in others)


@pytest.mark.parametrize("day", NEVER_PUBLISHED)
@pytest.mark.parametrize("group", GROUPS)
def test_what_is_to_be_entered_before_use_is_unknown_for_every_group(group: str, day: str) -> None:
    rows = rows_of(PUBLISHED)
    assert all(rows[f"{group}/{scheme.value}/{day}"].is_unknown for scheme in Scheme)


@pytest.mark.parametrize("name", [PUBLISHED, DEMONSTRATION])
def test_the_other_rules_are_those_of_the_rules(name: str) -> None:
    book = shipped(name)
    table = EXAMPLES["norms"]["table"]
    assert (book.name, book.number, book.region, book.retroactions) == (name, 0, "MO", ())
    assert book.settings == ((date(2000, 1, 1), Settings()),)
    [(since, norms)] = book.norms
    assert since == date(2000, 1, 1)
    assert norms == Norms(norms.source, tuple(map(tuple, table["gas"])), tuple(map(tuple, table["electric"])))
    assert "№ 260" in norms.source
    assert book.due_days == ((date(2000, 1, 1), 10), (date(2026, 3, 1), 15))
    assert [(day, terms.cap_percent) for day, terms in book.penalties] == [
        (date(2000, 1, 1), Decimal("9.5")),
        (date(2027, 1, 1), None),
    ]
    assert {terms.steps for _, terms in book.penalties} == {(PenaltyStep(31, 300), PenaltyStep(91, 130))}
    [moratorium] = book.moratoria
    assert (moratorium.since, moratorium.until) == (date(2020, 4, 6), date(2021, 1, 1))
    assert faults_of(book) == ()


@pytest.mark.parametrize(
    ("day", "percent"),
    [
        (date(2013, 9, 12), None),
        (date(2014, 12, 16), Decimal(17)),
        (date(2022, 2, 27), Decimal("9.5")),
        (date(2022, 2, 28), Decimal(20)),
        (date(2024, 10, 27), Decimal(19)),
        (date(2025, 12, 31), Decimal(16)),
    ],
)
def test_the_key_rate_of_a_day_is_the_one_in_force(day: date, percent: Decimal | None) -> None:
    assert shipped(PUBLISHED).key_rate_on(day) == percent


def test_transferred_days_off_are_no_working_days() -> None:
    book = shipped(PUBLISHED)
    assert book.is_day_off(date(2026, 3, 9))
    assert book.is_day_off(date(2024, 12, 30))
    assert not book.is_day_off(date(2026, 3, 10))
    assert {day.year for day in book.days_off} == set(range(2014, 2027))
    assert all(day.weekday() < 5 for day in book.days_off)


def test_only_the_demonstration_has_requisites_since_nobody_told_the_real_ones() -> None:
    assert shipped(PUBLISHED).requisites is None
    requisites = shipped(DEMONSTRATION).requisites
    assert requisites is not None
    fields = vector("F12")["given"]["fields"]
    assert (
        requisites.name,
        requisites.account,
        requisites.bank,
        requisites.bic,
        requisites.corr_account,
        requisites.inn,
    ) == tuple(fields[key] for key in ("Name", "PersonalAcc", "BankName", "BIC", "CorrespAcc", "PayeeINN"))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("scheme", list(Scheme))
def test_the_demonstration_can_price_every_household_from_july_2015_on(group: str, scheme: Scheme) -> None:
    book = shipped(DEMONSTRATION)
    for month in range(index_of(Period("2015-07")), index_of(Period("2035-01"))):
        period = period_at(month)
        tariff = book.tariff_of(group, scheme, period)
        assert tariff is not None, period
        for register in SCHEME_REGISTERS[scheme]:
            rates = tariff.rates[register]
            assert len(rates) == len(book.ranges_of(period)) + 1, (period, register)
            assert all(rate is not None for rate in rates), (period, register)


def test_the_demonstration_says_what_is_published_wherever_anything_is() -> None:
    demonstration = rows_of(DEMONSTRATION)
    for version, tariff in rows_of(PUBLISHED).items():
        for register, rates in tariff.rates.items():
            ours = demonstration[version].rates[register]
            assert [rate for rate in rates if rate is not None] == [
                own for own, rate in zip(ours, rates, strict=True) if rate is not None
            ]
    assert first_change(shipped(PUBLISHED), shipped(DEMONSTRATION)) is None


def test_the_demonstration_says_of_each_invented_rate_that_it_is_one() -> None:
    published = rows_of(PUBLISHED)
    for version, tariff in rows_of(DEMONSTRATION).items():
        known = published.get(version)
        for register, rates in tariff.rates.items():
            if known is None or known.rates[register] != rates:
                assert tariff.status[register] is RateStatus.DERIVED, version
                assert tariff.source.startswith("demonstration: "), version
            else:
                assert tariff.status[register] is known.status[register], version


def test_ranges_of_the_demonstration_rise_as_in_ryazan() -> None:
    tariff = rows_of(DEMONSTRATION)["MO/urban_gas/single/2025-01-01"]
    assert tariff.rates[Register.TOTAL] == (Decimal("7.33"), Decimal("9.99"), Decimal("11.52"))


def test_a_demonstration_is_called_so_in_the_first_line_of_its_file() -> None:
    file = Path(__file__).parent.parent.parent / "src/bels/rulebooks/demonstration.toml"
    assert "DEMONSTRATION" in file.read_text("utf-8").splitlines()[0]


def test_no_other_rulebook_is_brought_along() -> None:
    with pytest.raises(ValueError, match="it brings moscow-region and demonstration along"):
        shipped("../secret")
