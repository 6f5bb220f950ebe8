"""What other rules would have led to: the question of a court, of a supplier who thinks of another policy, of an auditor."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.audit.replaying.anew import Publications
from bels.audit.what_if.effects import CLASSES, LARGEST_MAX, STEPS, Effects, bounds_of, class_of
from bels.audit.what_if.outcome import Outcome, what_if
from bels.audit.what_if.sample import Sample
from bels.audit.what_if.trial import RulesOfMonth, Trial, TrialRules, UnknownPublicationError, month_of
from bels.domain.commands import InstallMeter, OpenAccount, ReceivePayment, SubmitReading
from bels.domain.due_date import due_date
from bels.domain.events import PeriodClosed, UsageRecalculated
from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW, after, first_day, moscow_date, over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Locality, Mode, Period, Register, Scheme, Settlement, Stove
from tests.audit.what_if.journals import ACCOUNT, Journal
from tests.domain.books import dearer
from tests.domain.lives import Life, live, lives
from tests.domain.test_laws import steady
from tests.domain.trade import METER, ORDINARY, closing, day, sent
from tests.rules import DEFAULT_RULEBOOK

GROUP = "MO/urban_gas"
KOPECK = Decimal("0.01")


def rate(period: str) -> Decimal:
    """Give the rate of a town's single register in range 1."""
    tariff = DEFAULT_RULEBOOK.tariff_of(GROUP, Scheme.SINGLE, Period(period))
    assert tariff is not None
    found = tariff.rates[Register.TOTAL][0]
    assert found is not None
    return found


def tried(journal: Journal, trial: Trial, number: str = ACCOUNT) -> Outcome:
    """Try rules on an account."""
    return what_if(journal.entries[number], TrialRules(trial, journal.publications))


def years_of_estimates() -> Journal:
    """Let a household send no reading for three years, and then one of all that it used."""
    journal = Journal(DEFAULT_RULEBOOK)
    opened = datetime(2023, 1, 1, tzinfo=MOSCOW)
    journal.ask(OpenAccount(opened, Locality.URBAN, Stove.GAS, 2, 3))
    journal.ask(InstallMeter(METER, opened, {Register.TOTAL: 1000}))
    last = Period("2025-12")
    for period in ("2023-01", *after(Period("2023-01"), last)):
        if period == last:
            journal.ask(SubmitReading(day("2025-12-20"), {"total": "11400"}))
        journal.ask(closing(period))
    return journal


def test_why_a_bill_is_43_000_roubles_with_todays_tariff_for_years_of_estimates() -> None:
    # The court's question (a consumer, one bill, years of estimates): was each month put right at its own tariff, and what would
    # the bill have been at the tariff of the day of the bill?
    journal = years_of_estimates()
    as_posted = tried(journal, Trial())
    assert all(period.was == period.would_be for period in as_posted.periods)

    today = tried(journal, Trial(rules_of=Period("2025-12"), since=Period("2025-12")))
    *before, bill = today.periods
    assert all(period.rulebook is None and period.difference == ZERO for period in before)
    assert {period.was.mode for period in before[1:]} == {Mode.NORMATIVE}

    lines = [e.event for e in journal.entries[ACCOUNT] if isinstance(e.event, UsageRecalculated)]
    assert len(lines) == 34
    own = sum((money(sum(e.after.values()), rate(e.period)) - e.money_before for e in lines), ZERO)
    now = sum((money(sum(e.after.values()), rate("2025-12")) - e.money_before for e in lines), ZERO)
    assert (bill.was.recalculated, bill.would_be.recalculated) == (own, now)
    assert bill.was.charged == bill.would_be.charged
    assert bill.was.kwh == bill.would_be.kwh
    assert 40_000 < bill.was.bill < 43_000 < bill.would_be.bill < 44_000
    assert bill.difference == now - own == today.difference
    # What every month costs in the end, at its own tariff and at today's.
    march = next(period for period in before if period.period == "2023-03")
    assert march.stands.kwh == march.would_stand.kwh
    assert march.stands.money == money(march.stands.kwh, rate("2023-03"))
    assert march.would_stand.money == money(march.stands.kwh, rate("2025-12"))


def money(kwh: int, price: Decimal) -> Decimal:
    """Price kWh of range 1."""
    return (kwh * price).quantize(KOPECK, ROUND_HALF_UP)


def household(*, months: int = 8, silent: tuple[int, ...] = (3, 4, 5), book: Rulebook = DEFAULT_RULEBOOK) -> Journal:
    """Bill an ordinary household of 2024 that sends nothing in some months, and pays a part of each bill."""
    journal = Journal(book)
    for command in ORDINARY:
        journal.ask(command)
    bill(journal, range(1, months + 1), silent)
    return journal


def bill(journal: Journal, months: range, silent: tuple[int, ...] = ()) -> None:
    """Bill some months of 2024."""
    for month in months:
        if month not in silent:
            journal.ask(sent(f"2024-{month:02d}-20", 10_000 + month * 150 + 40 * (month > 3)))
        paid_at = day(f"2024-{month:02d}-24")
        journal.ask(ReceivePayment(Decimal("300.00"), moscow_date(paid_at), paid_at, f"pay {month}"))
        journal.ask(closing(f"2024-{month:02d}"))


def test_another_settlement_policy_moves_the_same_kwh_to_other_months() -> None:
    journal = household()
    for policy in Settlement:
        outcome = tried(journal, Trial(settlement=policy))
        assert outcome.was.kwh == outcome.would_be.kwh
        assert any(p.was != p.would_be for p in outcome.periods) == (policy is not Settlement.REDISTRIBUTE)
        assert outcome.tried == len(outcome.periods) == 8
    waiting = tried(journal, Trial(settlement=Settlement.NEXT_PERIOD))
    june = waiting.periods[5]
    assert (june.was.mode, june.would_be.mode) == (Mode.METERED, Mode.NORMATIVE)
    assert june.changes_mode
    assert june.would_be.recalculated == ZERO != june.was.recalculated


def test_a_trial_stores_nothing_and_its_difference_is_what_the_account_would_owe_more() -> None:
    journal = household()
    before = list(journal.entries[ACCOUNT])
    outcome = tried(journal, Trial(book=dearer(DEFAULT_RULEBOOK, date(2024, 1, 1), 100)))
    assert journal.entries[ACCOUNT] == before
    bills = outcome.would_be.bill - outcome.was.bill
    penalties = outcome.would_be.penalties - outcome.was.penalties
    # A later row of the tariff stays: half of the year is dearer by a rouble a kWh.
    dear = sum(period.stands.kwh for period in outcome.periods if period.period < "2024-07")
    assert bills == dear
    assert penalties > 0
    assert outcome.difference == bills + penalties
    assert outcome.balance.energy == journal.accounts[ACCOUNT].ledger.balance
    assert outcome.would_balance.energy == outcome.balance.energy + bills


def test_from_a_period_on_what_was_billed_before_stands() -> None:
    journal = household()
    book = dearer(DEFAULT_RULEBOOK, date(2024, 1, 1), 100)
    outcome = tried(journal, Trial(book=book, since=Period("2024-06")))
    assert [period.rulebook is None for period in outcome.periods] == [True] * 5 + [False] * 3
    assert all(period.was == period.would_be for period in outcome.periods[:5])
    june = outcome.periods[5]
    # June puts April and May right, which are dearer in this book too; that is how it would have been posted.
    assert june.difference > june.was.kwh * Decimal("0.5")


def test_a_publication_is_tried_by_its_number() -> None:
    journal = household(months=4)
    first = journal.publish(dearer(journal.rulebook, date(2024, 5, 1), 100))
    bill(journal, range(5, 7))
    second = journal.publish(dearer(journal.rulebook, date(2024, 6, 1), 200), "решение суда")
    bill(journal, range(7, 9))
    then = tried(journal, Trial())
    assert then.difference == ZERO
    only_first = tried(journal, Trial(publication=first.number))
    assert only_first.difference < ZERO
    assert {period.rulebook for period in only_first.periods} == {first.version}
    always_second = tried(journal, Trial(publication=second.number))
    # It came with the bill of July that June was put right; with it from the first day, June is right at once.
    assert always_second.was.bill == always_second.would_be.bill
    assert [p.period for p in always_second.periods if p.difference] == ["2024-06", "2024-07"]
    with pytest.raises(UnknownPublicationError):
        TrialRules(Trial(publication=3), journal.publications)
    with pytest.raises(UnknownPublicationError):
        TrialRules(Trial(publication=0), journal.publications)


def test_a_file_reprices_what_stood_charged_only_where_the_past_was_changed_then() -> None:
    journal = household(months=4)
    journal.publish(dearer(journal.rulebook, date(2024, 5, 1), 100))
    bill(journal, range(5, 7))
    journal.publish(dearer(journal.rulebook, date(2024, 4, 1), 200), "решение суда")
    bill(journal, range(7, 9))
    cheap = dearer(DEFAULT_RULEBOOK, date(2024, 1, 1), -100)
    outcome = tried(journal, Trial(book=cheap, since=Period("2024-07")))
    july = outcome.periods[6]
    # The publication of July changed prices from April on: the file's prices count for those months, for no earlier one.
    stands = {period.period: period.would_stand.money for period in outcome.periods}
    kwh = {period.period: period.stands.kwh for period in outcome.periods}
    assert stands[Period("2024-05")] == money(kwh[Period("2024-05")], cheap_rate(cheap, "2024-05"))
    assert stands[Period("2024-02")] == money(kwh[Period("2024-02")], rate("2024-02"))
    assert july.would_be.recalculated < ZERO < july.was.recalculated


def cheap_rate(book: Rulebook, period: str) -> Decimal:
    """Give the rate of a book."""
    tariff = book.tariff_of(GROUP, Scheme.SINGLE, Period(period))
    assert tariff is not None
    found = tariff.rates[Register.TOTAL][0]
    assert found is not None
    return found


def test_rules_that_have_no_rate_leave_the_closing_as_posted_and_say_so() -> None:
    journal = household()
    late = tuple(row for row in DEFAULT_RULEBOOK.tariffs if row.effective_on >= date(2024, 7, 1))
    outcome = tried(journal, Trial(book=replace(DEFAULT_RULEBOOK, tariffs=late)))
    assert [period.period for period in outcome.refused] == [f"2024-0{n}" for n in range(1, 7)]
    assert outcome.tried == 2
    assert outcome.difference == ZERO
    effects = Effects()
    effects.count(outcome)
    assert effects.refused == {"NO_TARIFF": 6}
    assert effects.examples["NO_TARIFF"].startswith("account 1000000, 2024-01: 2024-01: MO/urban_gas/single")


def test_the_rules_of_a_month_rule_every_period_by_the_row_of_that_month() -> None:
    book = RulesOfMonth.of(DEFAULT_RULEBOOK, Period("2025-12"))
    assert month_of(date(2025, 12, 31)) == "2025-12"
    for period in ("2014-07", "2023-01", "2026-05"):
        tariff = book.tariff_of(GROUP, Scheme.SINGLE, Period(period))
        assert tariff is DEFAULT_RULEBOOK.tariff_of(GROUP, Scheme.SINGLE, Period("2025-12"))
        assert book.settings_of(Period(period)) == DEFAULT_RULEBOOK.settings_of(Period("2025-12"))
        assert book.norms_of(Period(period)) == DEFAULT_RULEBOOK.norms_of(Period("2025-12"))
        assert book.ranges_of(Period(period)) == (3900, 6000)
    assert due_date(Period("2026-05"), book).day in (10, 11, 12)
    assert due_date(Period("2026-05"), DEFAULT_RULEBOOK).day >= 15
    assert book.version == DEFAULT_RULEBOOK.version
    # What is counted by the day stays with its days.
    assert book.key_rate_on(date(2024, 1, 1)) == DEFAULT_RULEBOOK.key_rate_on(date(2024, 1, 1))


@steady(30)
@given(life=lives(), policy=st.sampled_from(list(Settlement)))
def test_the_parts_of_an_outcome_add_up(life: Life, policy: Settlement) -> None:
    journal = Journal(DEFAULT_RULEBOOK)
    for _, events in live(life, DEFAULT_RULEBOOK):
        if events:
            journal.record(ACCOUNT, events)
    publications = Publications((), DEFAULT_RULEBOOK)
    none = what_if(journal.entries[ACCOUNT], TrialRules(Trial(), publications))
    assert none.difference == ZERO
    outcome = what_if(journal.entries[ACCOUNT], TrialRules(Trial(settlement=policy), publications))
    assert outcome.difference == (
        outcome.would_be.bill - outcome.was.bill + outcome.would_be.penalties - outcome.was.penalties
    )
    for standing, whole in (
        (sum(p.stands.kwh for p in outcome.periods), outcome.was.kwh),
        (sum(p.would_stand.kwh for p in outcome.periods), outcome.would_be.kwh),
    ):
        assert standing == whole
    closed = [e.event for e in journal.entries[ACCOUNT] if isinstance(e.event, PeriodClosed)]
    assert [p.period for p in outcome.periods] == [event.period for event in closed]


def outcomes(seed: int, count: int) -> list[Outcome]:
    """Make outcomes of some households, each under a price of its own."""
    journal = household(months=4, silent=(2,))
    made = []
    for i in range(count):
        kopecks = (seed * 31 + i * 97) % 400 - 200
        book = dearer(DEFAULT_RULEBOOK, date(2024, 1, 1), kopecks if i % 5 else 0)
        made.append(replace(tried(journal, Trial(book=book)), account=str(1000000 + i)))
    return made


@steady(8)
@given(seed=st.integers(0, 50), cut=st.integers(0, 30))
def test_effects_do_not_depend_on_who_counted_which_account_first(seed: int, cut: int) -> None:
    told = outcomes(seed, 30)
    whole = Effects()
    for outcome in told:
        whole.count(outcome)
    parts = [Effects(), Effects()]
    for i, outcome in enumerate(reversed(told)):
        parts[i >= cut].count(outcome)
    together = Effects()
    together.add(parts[1])
    together.add(parts[0])
    assert together == whole
    assert whole.accounts == whole.more + whole.less + whole.same == 30
    assert sum(whole.classes.values()) == 30
    assert len(whole.largest) == LARGEST_MAX
    assert whole.difference == sum((outcome.difference for outcome in told), ZERO)
    assert whole.total.difference == sum((o.would_be.bill - o.was.bill for o in told), ZERO)


@steady(200)
@given(kopecks=st.integers(-(10**7), 10**7))
def test_every_change_is_in_one_class_whose_bounds_hold_it(kopecks: int) -> None:
    difference = kopecks * KOPECK
    number = class_of(difference)
    low, high = bounds_of(number)
    assert number in CLASSES
    assert (number > 0) == (difference > 0)
    assert low is None or low <= difference
    assert high is None or difference <= high


def test_the_bounds_of_the_classes_meet() -> None:
    bounds = [bounds_of(number) for number in CLASSES]
    assert bounds[0][0] is None
    assert bounds[-1][1] is None
    assert [high for _, high in bounds[:-1]] == [low for low, _ in bounds[1:]]
    assert [class_of(step) for step in STEPS] == [1, 2, 3]


def test_a_sample_is_the_same_for_the_same_seed_whoever_else_there_is() -> None:
    town = [str(1000000 + i) for i in range(4000)]
    sample = Sample(Fraction("0.05"), 7)
    drawn = sample.of([*town, "rulebook", "suspense-1"])
    assert 140 < len(drawn) < 260
    assert sample.of(reversed(town[:2000])) == tuple(reversed([n for n in drawn if n < "1002000"]))
    assert set(drawn) != set(Sample(Fraction("0.05"), 8).of(town))
    assert set(drawn) <= set(Sample(Fraction("0.1"), 7).of(town))
    assert Sample.whole().of(town) == tuple(town)


def test_a_trial_says_what_it_tries() -> None:
    assert Trial().said() == "the rules of then"
    assert Trial(publication=3).said() == "publication 3"
    assert Trial(rules_of=Period("2026-07"), since=Period("2026-03")).said() == (
        "the rules of 2026-07 for every period, from 2026-03 on"
    )
    assert Trial(book=DEFAULT_RULEBOOK).said() == f"the file over {DEFAULT_RULEBOOK.version}"
    assert Trial(settlement=Settlement.IN_PERIOD).said() == "the rules of then, settled by IN_PERIOD"
    assert first_day(shift(Period("2024-01"), 1)) == over_at(Period("2024-01")).date()
