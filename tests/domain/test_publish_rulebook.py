"""A rulebook is published whole; what was charged changes only for a stated reason (rules 1.6, 1.11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from bels.domain.account import Account
from bels.domain.check_rulebook import faults_of
from bels.domain.commands import PublishRulebook
from bels.domain.events import (
    CommandRefused,
    Event,
)
from bels.domain.money_events import (
    RulebookPublished,
)
from bels.domain.publish_rulebook import NEW_TARIFF, first_change, publish_rulebook
from bels.domain.rulebook import (
    ALWAYS,
    KeyRate,
    Moratorium,
    Norms,
    PenaltyStep,
    PenaltyTerms,
    Requisites,
    Retroaction,
    Rulebook,
    Settings,
    Tariff,
)
from bels.domain.terms import AccountNumber, Period, RateStatus, Reason, Register, Role, Scheme, Settlement

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
SINGLE = {Register.TOTAL: RateStatus.PUBLISHED}


def tariff(day: date, *rates: str | None, group: str = "MO/urban_gas", status: RateStatus | None = None) -> Tariff:
    given = tuple(None if rate is None else Decimal(rate) for rate in rates)
    known = RateStatus.PUBLISHED if any(rates) else RateStatus.UNKNOWN
    return Tariff(group, Scheme.SINGLE, day, {Register.TOTAL: given}, {Register.TOTAL: status or known}, "an act")


NORMS = Norms("an act", ((1,) * 5,) * 4, ((2,) * 5,) * 4)
JULY_2024, JANUARY_2025, JULY_2025 = date(2024, 7, 1), date(2025, 1, 1), date(2025, 7, 1)
BOOK = Rulebook(
    name="book",
    number=3,
    settings=((ALWAYS, Settings()),),
    norms=((ALWAYS, NORMS),),
    tariffs=(tariff(JULY_2024, "7.33"), tariff(JANUARY_2025, "7.33", None, None), tariff(JULY_2025, None, None, None)),
)
CHARGED = Period("2025-03")


def publishing(
    book: Rulebook, charged: Period | None = CHARGED, reason: str | None = None, base: int = 3, over: Rulebook = BOOK
) -> tuple[Event, ...]:
    command = PublishRulebook(book, base, AT, "tariffs.toml", charged, reason)
    return publish_rulebook(Account(AccountNumber("rulebook")), command, over)


def published(book: Rulebook, since: str | None) -> tuple[Event, ...]:
    first = Period(since) if since else None
    # A period that is charged while the book is published is put right by its next closing.
    retroactions = (*book.retroactions, *([Retroaction(4, first, NEW_TARIFF)] if first else []))
    now = replace(book, number=4, retroactions=retroactions)
    return (RulebookPublished(now, AT, "tariffs.toml", first, None),)


def refusal(events: tuple[Event, ...]) -> tuple[Reason, str]:
    [event] = events
    assert isinstance(event, CommandRefused)
    assert (event.command, event.refused_at) == ("PublishRulebook", AT)
    return event.reason, event.detail or ""


def with_tariffs(*tariffs: Tariff) -> Rulebook:
    named = {row.version for row in tariffs}
    return replace(BOOK, tariffs=(*(row for row in BOOK.tariffs if row.version not in named), *tariffs))


def test_a_rate_that_was_unknown_may_become_known_in_a_charged_past() -> None:
    book = with_tariffs(tariff(JANUARY_2025, "7.33", "9.99", "11.52"))
    assert publishing(book) == published(book, None)


def test_a_row_that_was_missing_may_be_entered_in_a_charged_past() -> None:
    book = with_tariffs(tariff(date(2020, 7, 1), "5.73"), tariff(JULY_2024, "5.57", group="MO/urban_electric"))
    assert publishing(book) == published(book, None)


def test_a_price_of_a_period_to_come_may_change_and_the_publication_says_from_when() -> None:
    book = with_tariffs(tariff(date(2025, 4, 1), "8.10", None, None))
    assert publishing(book) == published(book, "2025-04")


def test_a_tariff_of_the_middle_of_a_month_changes_the_price_of_the_next_one() -> None:
    book = with_tariffs(tariff(date(2025, 3, 2), "8.10", None, None))
    assert publishing(book) == published(book, "2025-04")


def test_where_nothing_was_charged_every_price_may_change() -> None:
    book = with_tariffs(tariff(JULY_2024, "7.50"))
    assert publishing(book, charged=None) == published(book, "2024-07")


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_price_that_was_charged_does_not_change_without_a_reason(blank: str | None) -> None:
    book = with_tariffs(tariff(JULY_2024, "7.50"), tariff(JANUARY_2025, "7.60", None, None))
    reason, detail = refusal(publishing(book, reason=blank))
    assert reason is Reason.PAST_CHARGED
    assert "MO/urban_gas single total, range 1 (7.33 to 7.50, row MO/urban_gas/single/2024-07-01)" in detail
    assert "would change in 2024-07, and 2025-03 has been charged" in detail


def test_a_price_that_was_charged_changes_for_a_reason_which_the_book_keeps() -> None:
    before = replace(BOOK, retroactions=(Retroaction(2, Period("2024-08"), "an error"),))
    book = with_tariffs(tariff(JANUARY_2025, "7.60", None, None))
    [event] = publishing(book, reason=" the act came late ", over=before)
    assert event == RulebookPublished(
        replace(
            book,
            number=4,
            retroactions=(*before.retroactions, Retroaction(4, Period("2025-01"), "the act came late")),
        ),
        AT,
        "tariffs.toml",
        Period("2025-01"),
        "the act came late",
    )


def test_a_reason_that_was_not_needed_is_not_kept() -> None:
    book = with_tariffs(tariff(date(2025, 4, 1), "8.10", None, None))
    assert publishing(book, reason="to be sure") == published(book, "2025-04")


def test_the_last_charged_period_is_charged_and_the_next_one_is_not() -> None:
    book = with_tariffs(tariff(date(2025, 3, 1), "8.10", None, None))
    assert refusal(publishing(book, charged=Period("2025-03")))[0] is Reason.PAST_CHARGED
    assert publishing(book, charged=Period("2025-02")) == published(book, "2025-03")


def test_a_known_rate_does_not_become_unknown_in_a_charged_past() -> None:
    book = with_tariffs(tariff(JULY_2024, None))
    assert "(7.33 to unknown, row MO/urban_gas/single/2024-07-01)" in refusal(publishing(book))[1]
    gone = replace(BOOK, tariffs=BOOK.tariffs[1:])
    assert "in 2024-07" in refusal(publishing(gone))[1]
    assert "(7.33 to unknown, no row)" in refusal(publishing(gone))[1]


def test_ranges_of_a_charged_period_do_not_change_without_a_reason() -> None:
    book = replace(BOOK, ranges=((ALWAYS, ()), (JANUARY_2025, (3000, 6000))))
    reason, detail = refusal(publishing(book))
    assert (reason, "the ranges (3900, 6000 to 3000, 6000) would change in 2025-01" in detail) == (
        Reason.PAST_CHARGED,
        True,
    )
    [event] = publishing(book, reason="the act was read wrongly")
    assert isinstance(event, RulebookPublished)
    assert event.retroactive == "the act was read wrongly"


@pytest.mark.parametrize(
    ("book", "what"),
    [
        (replace(BOOK, norms=((ALWAYS, replace(NORMS, gas=((9,) * 5,) * 4)),)), "norms of 1990-01"),
        (replace(BOOK, norms=((ALWAYS, NORMS), (date(2025, 3, 1), replace(NORMS, gas=NORMS.electric)))), "norms of 2025-03"),
        (
            replace(BOOK, settings=((ALWAYS, Settings()), (date(2025, 2, 1), Settings(settlement=Settlement.IN_PERIOD)))),
            "settings of 2025-02",
        ),
    ],
    ids=["norms from ever", "norms", "settings"],
)  # fmt: skip
def test_norms_and_settings_of_a_charged_period_never_change(book: Rulebook, what: str) -> None:
    reason, detail = refusal(publishing(book, reason="a good one"))
    assert reason is Reason.PAST_CHARGED
    assert detail == f"the {what} would change, and 2025-03 has been charged: they may change from 2025-04 on"


def test_norms_and_settings_of_periods_to_come_may_change() -> None:
    april = date(2025, 4, 1)
    book = replace(
        BOOK,
        norms=(
            (ALWAYS, replace(NORMS, source="the same act, told better")),
            (april, replace(NORMS, gas=NORMS.electric)),
        ),
        settings=((ALWAYS, Settings()), (april, Settings(reading_deadline_day=20))),
    )
    assert publishing(book) == published(book, None)


def test_due_days_days_off_requisites_and_rules_of_penalties_to_come_may_change_at_any_time() -> None:
    april = date(2025, 4, 1)
    book = replace(
        BOOK,
        key_rates=((april, KeyRate(Decimal(18), "cbr.ru")),),
        penalties=((april, PenaltyTerms((PenaltyStep(31, 300),), Decimal("9.5"), "ЖК 155")),),
        moratoria=(Moratorium(april, date(2025, 5, 1), "an act"),),
        due_days=((ALWAYS, 20),),
        days_off=(date(2025, 1, 9),),
        requisites=Requisites("БЭЛС", "5001000002", "1" * 20, "БАНК", "1" * 9, "2" * 20, "Балашиха", "8"),
    )
    assert publishing(book) == published(book, None)


@pytest.mark.parametrize(
    ("book", "what"),
    [
        (replace(BOOK, key_rates=((date(2025, 3, 31), KeyRate(Decimal(18), "cbr.ru")),)), "key rates"),
        (
            replace(BOOK, penalties=((ALWAYS, PenaltyTerms((PenaltyStep(1, 1),), None, "an error")),)),
            "penalty terms",
        ),
        (replace(BOOK, moratoria=(Moratorium(JULY_2024, JANUARY_2025, "an act"),)), "moratoria"),
    ],
)
def test_rules_of_penalties_for_charged_days_change_only_with_a_reason(book: Rulebook, what: str) -> None:
    reason, detail = refusal(publishing(book))
    assert reason is Reason.PAST_CHARGED
    assert detail.startswith(f"the {what} of days through 2025-03 would change")
    [event] = publishing(book, reason="ПП 424")
    assert event == RulebookPublished(replace(book, number=4), AT, "tariffs.toml", None, "ПП 424")


def test_a_region_never_changes_once_anybody_was_charged() -> None:
    moved = replace(BOOK, region="RYAZAN")
    assert refusal(publishing(moved, reason="слияние"))[0] is Reason.PAST_CHARGED
    assert publishing(moved, charged=None) == published(moved, None)


def test_a_book_made_from_an_older_publication_is_refused() -> None:
    reason, detail = refusal(publishing(with_tariffs(tariff(date(2026, 1, 1), "8.10")), base=2))
    assert (reason, detail) == (
        Reason.RULEBOOK_CHANGED,
        "publication 3 is in force, this book was made from 2: make it anew",
    )


def test_a_book_that_says_what_is_in_force_is_refused() -> None:
    same = replace(BOOK, number=0, retroactions=(Retroaction(1, CHARGED, "x"),))
    assert refusal(publishing(same))[0] is Reason.NOTHING_CHANGES


def test_the_first_publication_may_say_what_was_in_force_without_one() -> None:
    shipped = replace(BOOK, number=0)
    [event] = publishing(shipped, charged=None, base=0, over=shipped)
    assert event == RulebookPublished(replace(shipped, number=1), AT, "tariffs.toml", None, None)


def test_a_book_with_faults_is_refused_and_the_refusal_names_them() -> None:
    book = replace(with_tariffs(tariff(date(2026, 1, 1), "-8.10")), due_days=((ALWAYS, 31),))
    reason, detail = refusal(publishing(book))
    assert reason is Reason.BAD_RULEBOOK
    assert detail.split("; ") == [
        "due_days 1, day: 31 is not a day that every month has: write 1 to 28",
        'tariffs 4, rates.total: -8.10 is not above zero: write the rate, or "?" where it is not known',
    ]
    many = replace(BOOK, due_days=tuple((date(2001, 1, day), 31) for day in range(1, 10)))
    assert refusal(publishing(many))[1].endswith("; and 4 more")


def test_the_first_change_between_two_books_is_found() -> None:
    assert first_change(BOOK, BOOK) is None
    assert first_change(BOOK, with_tariffs(tariff(JULY_2025, "8.10", None, None))) is None
    later = with_tariffs(tariff(date(2024, 9, 1), "7.50"), tariff(date(2024, 8, 15), "7.40"))
    assert first_change(BOOK, later) == (
        Period("2024-09"),
        "MO/urban_gas single total, range 1 (7.33 to 7.50, row MO/urban_gas/single/2024-09-01)",
    )


@pytest.mark.parametrize(
    ("book", "fault"),
    [
        (replace(BOOK, name="a/b"), ("name", None, "")),
        (replace(BOOK, region="mo"), ("region", None, "")),
        (replace(BOOK, settings=()), ("settings", None, "")),
        (replace(BOOK, norms=()), ("norms", None, "")),
        (replace(BOOK, ranges=()), ("ranges", None, "")),
        (replace(BOOK, due_days=()), ("due_days", None, "")),
        (replace(BOOK, due_days=((JULY_2024, 10), (ALWAYS, 10))), ("due_days", 1, "effective_on")),
        (replace(BOOK, due_days=((JULY_2024, 10), (JULY_2024, 10))), ("due_days", 1, "effective_on")),
        (replace(BOOK, days_off=tuple(date.fromordinal(730000 + day) for day in range(5000))), ("tariffs", None, "")),
        (replace(BOOK, days_off=(date(2026, 1, 9), date(2025, 1, 9))), ("days_off", 1, "days")),
        (with_tariffs(tariff(JULY_2024, "NaN")), ("tariffs", 2, "rates.total")),
        (with_tariffs(tariff(JULY_2024, "Infinity")), ("tariffs", 2, "rates.total")),
        (with_tariffs(tariff(JULY_2024, "1", status=RateStatus.UNKNOWN)), ("tariffs", 2, "status.total")),
        (with_tariffs(replace(tariff(JULY_2024, "1"), scheme=Scheme.TWO_ZONE)), ("tariffs", 3, "rates")),
        (with_tariffs(tariff(JULY_2024, "1"), tariff(JULY_2024, "2")), ("tariffs", 3, "effective_on")),
        (replace(BOOK, settings=((ALWAYS, Settings(max_average_periods=6)),)), ("settings", 0, "max_average_periods")),
        (
            replace(BOOK, settings=((ALWAYS, Settings(implausible_confirmed_by=Role.AGENT)),)),
            ("settings", 0, "implausible_confirmed_by"),
        ),
        (
            replace(BOOK, moratoria=(Moratorium(JULY_2025, date(2026, 1, 1), "x"), Moratorium(ALWAYS, JULY_2024, "x"))),
            ("moratoria", 1, "since"),
        ),
        (replace(BOOK, key_rates=((ALWAYS, KeyRate(Decimal("NaN"), "x")),)), ("key_rates", 0, "percent")),
    ],
)  # fmt: skip
def test_a_fault_of_a_book_is_found_in_its_row(book: Rulebook, fault: tuple[str, int | None, str]) -> None:
    assert fault in [(found.table, found.index, found.key) for found in faults_of(book)]


def test_a_book_without_faults_has_none() -> None:
    assert faults_of(BOOK) == ()
