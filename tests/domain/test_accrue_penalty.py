"""Penalties by day, rate and cap, posted at closings and put right by them (ЖК 155; rules 1.9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.account import Account, replay
from bels.domain.accrue_penalty import overdue_sums, penalty_lines
from bels.domain.commands import Command, ReceivePayment, ReversePayment
from bels.domain.events import Event
from bels.domain.money_events import PenaltyAccrued
from bels.domain.rulebook import KeyRate, Moratorium, PenaltyStep, PenaltyTerms, Rulebook
from bels.domain.terms import EntryNumber, Period, Purpose
from tests.domain.books import NOTHING, RULES, Owed, penalty_of
from tests.domain.test_laws import steady
from tests.domain.trade import OPEN, closing, day, done, when
from tests.domain.vectors import RULEBOOK, vectors
from tests.rules import DEFAULT_RULEBOOK


def with_key_rate(percent: str) -> Rulebook:
    """Give the rules with one key rate for ever."""
    return replace(RULEBOOK, key_rates=((date(2000, 1, 1), KeyRate(Decimal(percent), "test")),))


def parts(*paid: tuple[str, str]) -> tuple[tuple[date, Decimal], ...]:
    """Read payments as the penalty takes them."""
    return tuple((date.fromisoformat(on), Decimal(amount)) for on, amount in paid)


@pytest.mark.parametrize("vector", vectors("penalty"), ids=lambda v: v["id"])
def test_the_vectors_penalties(vector: dict[str, Any]) -> None:
    given_, expected = vector["given"], vector["expected"]
    principal, due_on = Decimal(given_["principal"]), date.fromisoformat(given_["due"])
    paid = parts(*((p["date"], p["amount"]) for p in given_["payments"]))

    lines = penalty_lines(principal, due_on, paid, paid[-1][0], with_key_rate(given_["key_rate"]))

    assert [
        {
            "principal": str(line.principal),
            "days": line.days,
            "divisor": line.divisor,
            "rate": str(line.rate),
            "amount": str(line.amount),
        }
        for line in lines
    ] == expected["lines"]
    assert str(sum((line.amount for line in lines), NOTHING)) == expected["total"]


@pytest.mark.parametrize("vector", vectors("penalty_days"), ids=lambda v: v["id"])
def test_the_vectors_days_are_where_the_lines_begin_and_end(vector: dict[str, Any]) -> None:
    due_on, expected = date.fromisoformat(vector["given"]["due"]), vector["expected"]
    every_day = PenaltyTerms((PenaltyStep(1, 300),), None, "test")
    rules = with_key_rate("15")

    (first, *_) = penalty_lines(Decimal("2000.00"), due_on, (), date(2026, 7, 20), replace(
        rules, penalties=((date(2000, 1, 1), every_day),)
    ))  # fmt: skip
    (by_300, by_130) = penalty_lines(Decimal("2000.00"), due_on, (), date(2026, 7, 20), rules)

    assert first.since.isoformat() == expected["day_1"]
    assert by_300.since.isoformat() == expected["day_31"]
    assert by_300.until.isoformat() == expected["day_90"]
    assert by_130.since.isoformat() == expected["day_91"]


def accrued(account: Account, through: str, rules: Rulebook = DEFAULT_RULEBOOK) -> Decimal:
    """Give all penalties of an account through a day."""
    return sum((s.accrued for s in overdue_sums(account.ledger, date.fromisoformat(through), rules)), NOTHING)


def penalties(events: tuple[Event, ...]) -> list[str]:
    """Give what a closing posts of penalties."""
    return [str(e.amount) for e in events if isinstance(e, PenaltyAccrued)]


def paying(amount: str, on: str, known: str | None = None, purpose: Purpose = Purpose.ENERGY) -> ReceivePayment:
    """Pay a sum on a day, known then or later."""
    return ReceivePayment(Decimal(amount), date.fromisoformat(on), day(known or on), "чек", purpose)


SILENT = (OPEN, closing("2024-01"), closing("2024-02"))
"""January is billed 138 x 6.73 = 928.74, due on 12 February (the 10th is a Saturday); day 31 is 14 March."""


def test_the_bill_of_the_silent_household() -> None:
    (bill, _) = (d for d in done(*SILENT).ledger.debts)

    assert (str(bill.amount), bill.due_on) == ("928.74", date(2024, 2, 12))


@pytest.mark.parametrize(
    ("through", "expected"),
    [
        ("2024-03-13", "0.00"),
        ("2024-03-14", "0.29"),  # 928.74 x 1 x 9.5 % / 300 = 0.2941
        ("2024-03-31", "5.29"),  # 18 days
        ("2024-05-12", "17.65"),  # 60 days
        ("2024-05-13", "18.33"),  # and one by 1/130: 0.6787
    ],
)
def test_penalties_may_be_asked_for_any_day(through: str, expected: str) -> None:
    assert str(accrued(done(OPEN, closing("2024-01")), through)) == expected


def test_a_closing_posts_what_is_new_since_the_one_before() -> None:
    account = done(*SILENT)
    march = when(account, closing("2024-03"))
    april = when(replay(account, march), closing("2024-04"))

    assert penalties(march) == ["5.29"]
    # January's 48 days come to 14.12, of which 5.29 are posted; February, due on 11 March, has 20 days: 5.88.
    assert penalties(april) == [str(accrued(replay(account, march), "2024-04-30") - Decimal("5.29"))]
    assert replay(replay(account, march), april).ledger.penalty == accrued(account, "2024-04-30")


def test_what_was_paid_before_the_31st_day_costs_nothing() -> None:
    account = done(*SILENT, paying("928.74", "2024-03-13"))

    assert penalties(when(account, closing("2024-03"))) == []


def test_a_payment_known_late_with_an_earlier_day_takes_penalties_back() -> None:
    account = done(*SILENT, closing("2024-03"))
    late = replay(account, when(account, paying("928.74", "2024-02-12", "2024-04-20")))
    april = when(late, closing("2024-04"))

    assert account.ledger.penalty == Decimal("5.29")
    (sums,) = (e.sums for e in april if isinstance(e, PenaltyAccrued))
    assert (sums[0].period, str(sums[0].accrued), str(sums[0].posted_before), sums[0].lines) == (
        "2024-01",
        "0.00",
        "5.29",
        (),
    )
    assert sums[0].is_final
    assert replay(late, april).ledger.penalty == accrued(late, "2024-04-30")


def test_a_payment_that_is_taken_back_after_a_closing_brings_its_penalties_back() -> None:
    paid = done(*SILENT, paying("928.74", "2024-02-12"))
    entry = EntryNumber(paid.version)
    closed = replay(paid, when(paid, closing("2024-03")))
    reversed_ = replay(closed, when(closed, ReversePayment(entry, day("2024-04-10"), "отказ банка")))
    april = when(reversed_, closing("2024-04"))
    never = done(*SILENT, closing("2024-03"), closing("2024-04"))

    assert closed.ledger.penalty == 0
    assert reversed_.ledger.balance == done(*SILENT, closing("2024-03")).ledger.balance
    assert replay(reversed_, april).ledger.penalty == never.ledger.penalty > 0
    assert replay(reversed_, april).ledger.balance == never.ledger.balance


def test_penalties_never_draw_on_ordinary_payments_and_do_not_grow_by_themselves() -> None:
    account = done(*SILENT, closing("2024-03"))
    owed = account.ledger.balance
    by_energy = replay(account, when(account, paying(str(owed), "2024-04-05")))
    by_penalty = replay(account, when(account, paying("5.29", "2024-04-05", purpose=Purpose.PENALTY)))

    assert (by_energy.ledger.balance, by_energy.ledger.penalty) == (NOTHING, Decimal("5.29"))
    assert (by_penalty.ledger.balance, by_penalty.ledger.penalty) == (owed, NOTHING)
    assert accrued(by_penalty, "2024-04-30") == accrued(account, "2024-04-30")


def test_the_key_rate_is_that_of_the_payment_day_for_the_whole_line() -> None:
    rates = (("2000-01-01", "8"), ("2026-06-01", "6"))
    rules = replace(RULEBOOK, key_rates=tuple((date.fromisoformat(d), KeyRate(Decimal(p), "test")) for d, p in rates))
    owed, due_on = Decimal("3000.00"), date(2026, 4, 15)

    may = penalty_lines(owed, due_on, (), date(2026, 5, 31), rules)
    june = penalty_lines(owed, due_on, (), date(2026, 6, 1), rules)
    paid = penalty_lines(owed, due_on, parts(("2026-05-25", "1000")), date(2026, 6, 1), rules)

    assert [(line.days, str(line.rate), str(line.amount)) for line in may] == [(16, "8", "12.80")]
    # A rate that fell makes the sum of an unpaid debt smaller: the closing takes back what was too much.
    assert [(line.days, str(line.rate), str(line.amount)) for line in june] == [(17, "6", "10.20")]
    assert [(line.days, str(line.rate), str(line.amount)) for line in paid] == [
        (10, "8", "8.00"),
        (7, "6", "2.80"),
    ]


def test_a_moratorium_stops_penalties_for_its_days_and_not_the_count_of_days() -> None:
    rules = replace(with_key_rate("15"), moratoria=(Moratorium(date(2026, 5, 20), date(2026, 7, 20), "test"),))

    lines = penalty_lines(Decimal("2000.00"), date(2026, 4, 15), (), date(2026, 7, 24), rules)

    assert [(line.since, line.until, line.divisor) for line in lines] == [
        (date(2026, 5, 16), date(2026, 5, 19), 300),
        (date(2026, 7, 20), date(2026, 7, 24), 130),
    ]


def test_a_cap_that_ends_begins_a_new_line() -> None:
    (before, after) = penalty_lines(Decimal("2000.00"), date(2026, 11, 16), (), date(2027, 1, 31), with_key_rate("15"))

    assert (before.until, str(before.rate)) == (date(2026, 12, 31), "9.5")
    assert (after.since, str(after.rate)) == (date(2027, 1, 1), "15")


def test_two_payments_of_one_day_are_one_line() -> None:
    twice = parts(("2026-06-01", "500.00"), ("2026-06-01", "1500.00"))
    once = parts(("2026-06-01", "2000.00"))
    told = [
        penalty_lines(Decimal("2000.00"), date(2026, 4, 15), paid, date(2026, 7, 1), RULEBOOK) for paid in (twice, once)
    ]

    assert told[0] == told[1]


def test_without_a_published_key_rate_there_is_no_penalty() -> None:
    rules = replace(RULEBOOK, key_rates=())

    assert penalty_lines(Decimal("2000.00"), date(2026, 4, 15), (), date(2026, 9, 1), rules) == ()


@steady(300)
@given(
    kopecks=st.integers(1, 10**8),
    paid=st.lists(st.tuples(st.integers(-40, 250), st.integers(1, 10**7)), max_size=6),
    closings=st.lists(st.integers(0, 300), max_size=12),
)
def test_posted_step_by_step_penalties_add_up_to_the_formula_on_the_last_day(
    kopecks: int, paid: list[tuple[int, int]], closings: list[int]
) -> None:
    due_on, debt = date(2024, 3, 11), Decimal(kopecks) / 100
    owed = Owed(debt, due_on)
    for days, part in sorted(paid):
        if amount := min(Decimal(part) / 100, owed.left):
            owed.paid.append((due_on + timedelta(days=days), amount))
    posted = NOTHING
    for days in sorted(closings):
        through = due_on + timedelta(days=days)
        # Only what is known by then is told.
        known = tuple(p for p in owed.paid if p[0] <= through)
        lines = penalty_lines(debt, due_on, known, through, RULES)
        posted += sum((line.amount for line in lines), NOTHING) - posted
        assert posted == penalty_of(owed, through, RULES)
        assert posted == sum((x.amount for x in penalty_lines(debt, due_on, tuple(owed.paid), through, RULES)), NOTHING)


def test_an_account_that_always_pays_in_time_has_never_an_entry_about_penalties() -> None:
    commands: list[Command] = [OPEN]
    for month in range(1, 9):
        commands.append(closing(f"2024-{month:02d}"))
        bill = done(*commands).ledger.debts[-1]
        assert bill.due_on is not None
        commands.append(paying(str(bill.amount), bill.due_on.isoformat()))
    account = done(*commands)

    assert account.ledger.balance == account.ledger.penalty == 0
    assert len(account.ledger.debts) == 8
    assert not penalties(when(account, closing("2024-09")))
    assert account.closed[-1].period == Period("2024-08")
