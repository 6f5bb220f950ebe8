"""A tariff that changes a past already charged puts right what was charged by it, once, with the next bill."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.account import Account, nobody, replay
from bels.domain.close_period import recalculated_at
from bels.domain.commands import Command, PublishRulebook
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, PeriodClosed, UsageRecalculated
from bels.domain.money import to_kopecks
from bels.domain.money_events import RulebookPublished
from bels.domain.periods import first_day, over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period, Reason, RecalculationReason, Register, Rule, Scheme
from bels.publishing import retroactive
from tests.domain.books import RULES, dearer
from tests.domain.test_laws import steady
from tests.domain.test_money_laws import check_prices
from tests.domain.trade import OPEN, ORDINARY, closing, day, sent, when

JANUARY = Period("2024-01")


def publish(rules: Rulebook, book: Rulebook, through: str | None, reason: str | None = "решение суда") -> Rulebook:
    """Publish a book over the rules in force."""
    charged = Period(through) if through is not None else None
    command = PublishRulebook(book, rules.number, day("2026-01-01"), "test", charged, reason)
    (event,) = decide(nobody("rulebook"), command, rules)
    assert isinstance(event, RulebookPublished), event
    return event.book


def lived(months: int, readings: dict[int, int], rules: Rulebook = RULES) -> Account:
    """Close so many months of a household whose meter showed these values in these months."""
    account = nobody("1000000")
    commands: list[Command] = [*ORDINARY]
    for n in range(1, months + 1):
        commands += [sent(f"2024-{n:02d}-20", 10_000 + readings[n])] if n in readings else []
        commands.append(closing(f"2024-{n:02d}"))
    for command in commands:
        account = replay(account, decide(account, command, rules))
    return account


def put_right(events: tuple[Event, ...]) -> list[UsageRecalculated]:
    """Give the recalculations of a closing that are for a changed tariff."""
    tariff = RecalculationReason.TARIFF_CHANGED
    return [e for e in events if isinstance(e, UsageRecalculated) and e.reason is tariff]


def rate(rules: Rulebook, period: Period) -> Decimal:
    """Give the single rate of a month without ranges."""
    tariff = rules.tariff_of("MO/urban_gas", Scheme.SINGLE, period)
    assert tariff is not None
    found = tariff.rates[Register.TOTAL][0]
    assert found is not None
    return found


@steady(200)
@given(
    months=st.integers(1, 10),
    readings=st.dictionaries(st.integers(1, 11), st.integers(0, 90), max_size=8),
    since=st.integers(0, 12),
    kopecks=st.integers(-100, 300).filter(bool),
)
def test_the_charged_periods_from_the_first_changed_on_are_priced_anew_each_once(
    months: int, readings: dict[int, int], since: int, kopecks: int
) -> None:
    total, told = 0, {}
    for n in sorted(readings):
        total += readings[n]
        told[n] = total
    account = lived(months, told)
    first = shift(JANUARY, since)
    rules = publish(RULES, dearer(RULES, first_day(first), kopecks), f"2024-{months:02d}")
    before = {c.period: dict(c.stands) for c in account.closed}

    following = ([sent(f"2024-{months + 1:02d}-20", 10_000 + told[months + 1])] if months + 1 in told else []) + [
        closing(f"2024-{months + 1:02d}")
    ]
    events: list[Event] = []
    for command in following:
        events += decide(replay(account, events), command, rules)
    after = replay(account, events)
    again = decide(after, closing(f"2024-{months + 2:02d}" if months < 11 else "2025-01"), rules)

    lines = put_right(tuple(events))
    rated = [p for p in before if before[p].get(Register.TOTAL)]
    expected = [p for p in rated if rate(rules, p) != rate(RULES, p)]
    assert [e.period for e in lines] == expected
    assert all(p >= first for p in expected)
    for line in lines:
        (kwh,) = line.before.values()
        assert line.before == line.after == before[line.period]
        assert line.difference == to_kopecks(kwh * rate(rules, line.period)) - to_kopecks(
            kwh * rate(RULES, line.period)
        )
        assert (line.rule, line.ground) == (Rule.RETROACTIVE_TARIFF, "решение суда")
    assert put_right(again) == []
    check_prices([*_history(account, told, months), *events, *again])
    # The closing's own bill and every other recalculation are at the new prices.
    for closed in after.closed:
        kwh = sum(closed.stands.values())
        if closed.period >= first or closed.period == shift(JANUARY, months):
            assert closed.money == to_kopecks(kwh * rate(rules, closed.period))


def _history(account: Account, told: dict[int, int], months: int) -> list[Event]:
    """Give the events that led to an account."""
    events: list[Event] = []
    now = nobody("1000000")
    commands: list[Command] = [*ORDINARY]
    for n in range(1, months + 1):
        commands += [sent(f"2024-{n:02d}-20", 10_000 + told[n])] if n in told else []
        commands.append(closing(f"2024-{n:02d}"))
    for command in commands:
        happened = decide(now, command, RULES)
        now = replay(now, happened)
        events += happened
    assert now == account
    return events


def test_what_a_dry_run_counts_is_what_the_next_closing_posts() -> None:
    account = lived(6, {2: 100, 3: 200, 4: 350, 6: 700})
    book = dearer(RULES, date(2024, 3, 1), 25)
    foretold = recalculated_at(account, retroactive(RULES, book, Period("2024-03")))
    rules = publish(RULES, book, "2024-06")

    posted = put_right(when(account, closing("2024-07"), rules))

    assert isinstance(foretold, tuple)
    assert [(e.period, e.money_before, e.money_after) for e in foretold] == [
        (e.period, e.money_before, e.money_after) for e in posted
    ]
    assert [e.period for e in posted] == ["2024-03", "2024-04", "2024-05", "2024-06"]


def test_two_changes_before_the_next_closing_are_one_line_a_period_with_both_reasons() -> None:
    account = lived(4, {2: 100, 3: 200, 4: 300})
    first = publish(RULES, dearer(RULES, date(2024, 2, 1), 100), "2024-04", "ошибка")
    second = publish(first, dearer(first, date(2024, 3, 1), -40), "2024-04", "решение суда")

    lines = put_right(when(account, closing("2024-05"), second))

    assert [(e.period, str(e.difference), e.ground) for e in lines] == [
        ("2024-02", "100.00", "ошибка"),
        ("2024-03", "60.00", "ошибка; решение суда"),
        ("2024-04", "60.00", "ошибка; решение суда"),
    ]


def test_a_change_that_is_taken_back_before_the_next_closing_posts_nothing() -> None:
    account = lived(4, {2: 100, 3: 200, 4: 300})
    dear = publish(RULES, dearer(RULES, date(2024, 2, 1), 100), "2024-04", "ошибка")
    back = publish(dear, replace(RULES, number=2), "2024-04", "ошибка исправлена")

    assert put_right(when(account, closing("2024-05"), back)) == []


def test_a_change_that_is_taken_back_after_a_closing_gives_the_money_back() -> None:
    account = lived(4, {2: 100, 3: 200, 4: 300})
    dear = publish(RULES, dearer(RULES, date(2024, 2, 1), 100), "2024-04", "ошибка")
    account = replay(account, when(account, closing("2024-05"), dear))
    back = publish(dear, replace(RULES, number=2), "2024-05", "ошибка исправлена")

    lines = put_right(when(account, closing("2024-06"), back))

    assert [(e.period, str(e.difference)) for e in lines] == [
        ("2024-02", "-100.00"),
        ("2024-03", "-100.00"),
        ("2024-04", "-100.00"),
        ("2024-05", "-100.00"),  # the average, 100 kWh
    ]


def test_a_settlement_in_the_same_bill_is_a_line_of_its_own_after_the_tariff_s() -> None:
    account = lived(5, {2: 100, 3: 200, 4: 300})
    rules = publish(RULES, dearer(RULES, date(2024, 5, 1), 100), "2024-05")
    account = replay(account, when(account, sent("2024-06-20", 10_500), rules))

    june = when(account, closing("2024-06"), rules)

    told = [
        (e.period, e.reason, e.before, e.after, str(e.difference)) for e in june if isinstance(e, UsageRecalculated)
    ]
    changed, settlement, may, total = (
        RecalculationReason.TARIFF_CHANGED,
        RecalculationReason.SETTLEMENT,
        Period("2024-05"),
        Register.TOTAL,
    )
    assert told == [
        (may, changed, {total: 100}, {total: 100}, "100.00"),
        (may, settlement, {total: 100}, {total: 102}, "15.46"),
    ]
    (closed,) = (e for e in june if isinstance(e, PeriodClosed))
    assert str(closed.recalculated) == "115.46"


def test_the_ranges_of_the_past_may_change_too() -> None:
    opened = replace(OPEN, opened_at=day("2025-01-01", 0), permanent=100)
    account = nobody("1000000")
    for command in (opened, closing("2025-01")):
        account = replay(account, decide(account, command, RULES))
    (kwh,) = account.closed[0].stands.values()
    rules = publish(RULES, replace(RULES, ranges=(*RULES.ranges[:-1], (date(2025, 1, 1), (1000, 1500)))), "2025-01")

    (line,) = put_right(when(account, closing("2025-02"), rules))

    assert [(c.range, c.kwh) for c in line.charges] == [(1, 1000), (2, 500), (3, kwh - 1500)]
    assert line.difference == 500 * (Decimal("9.99") - Decimal("7.33")) + (kwh - 1500) * (
        Decimal("11.52") - Decimal("7.33")
    )


def test_a_price_of_the_past_that_is_taken_away_stops_the_closing_and_posts_nothing() -> None:
    account = lived(3, {2: 100, 3: 200})
    unknown = tuple(
        replace(t, rates=dict.fromkeys(t.rates, (None,))) if t.effective_on == date(2024, 1, 1) else t
        for t in dearer(RULES, date(2024, 1, 1), 1).tariffs
    )
    rules = replace(publish(RULES, dearer(RULES, date(2024, 1, 1), 1), "2024-03"), tariffs=unknown)

    (refused,) = when(account, closing("2024-04"), rules)

    assert isinstance(refused, CommandRefused)
    assert refused.reason is Reason.NO_TARIFF


@pytest.mark.parametrize("through", ["2024-03", None])
def test_a_price_of_months_that_nobody_was_charged_for_needs_no_reason_and_changes_no_bill(through: str | None) -> None:
    account = lived(3, {2: 100, 3: 200})
    rules = publish(RULES, dearer(RULES, date(2024, 4, 1), 100), through, None)

    april = when(account, closing("2024-04"), rules)

    assert put_right(april) == []
    assert next(e.charges[0].rate for e in april if isinstance(e, PeriodClosed)) == rate(RULES, JANUARY) + 1
    assert over_at(Period("2024-04")) == closing("2024-04").closed_at
