"""Closings decided anew: with the rules of then they come out as they were posted, with others what was known stays the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from bels.audit.replaying.anew import Posting, Publications, ReplayedAnew, publications_of, replay_anew
from bels.domain.account import Account, nobody, replay
from bels.domain.commands import ClosePeriod
from bels.domain.events import (
    Event,
    PeriodCarriedOver,
    PeriodClosed,
    ReadingRefused,
    UsageRecalculated,
)
from bels.domain.money import ZERO
from bels.domain.money_events import PenaltyAccrued
from bels.domain.periods import over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, Period, Reason, Settlement
from bels.intake import Intake
from bels.journal.codec import MAPPER
from bels.journal.entry import Entry
from bels.journal.journal import RULEBOOK, read
from bels.publishing import publish
from tests.audit.what_if.journals import ACCOUNT, Journal
from tests.domain.books import HERE, RULES, THERE, Desk, Wish, dearer, wishes
from tests.domain.lives import Life, live, lives
from tests.domain.test_laws import STRICTER, steady
from tests.domain.trade import OPEN, ORDINARY, closing, sent
from tests.domain.vectors import RULEBOOK as VECTOR_RULES
from tests.domain.vectors import command_of, opening, rulebook_of, steps, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import feed

POLICIES = list(Settlement)


def by(book: Rulebook) -> Any:
    """Decide every closing by one book."""
    return lambda closing: book


def stored(entries: list[Entry]) -> list[Entry]:
    """Give entries as they come back from the journal."""
    return [MAPPER.to_domain_event(MAPPER.to_stored_event(entry)) for entry in entries]


def check_zero(anew: ReplayedAnew, account: Account) -> None:
    """Check that nothing at all comes out otherwise."""
    assert [c.differences() for c in anew.closings if not c.is_same] == []
    assert all(c.anew == c.posted and not c.differences() for c in anew.closings)
    assert anew.account == account


@pytest.mark.parametrize("vector", vectors("billing"), ids=lambda v: v["id"])
def test_every_vector_comes_out_as_it_was_posted(vector: dict[str, Any]) -> None:
    book = rulebook_of(vector)
    journal = Journal(book)
    names: dict[str, EntryNumber] = {}
    for command in opening(vector):
        journal.ask(command)
    for _, kind, what in steps(vector):
        if "account" in what:
            continue
        if kind == "reading":
            names[what["ref"]] = EntryNumber(journal.accounts[ACCOUNT].version + 1)
        journal.ask(command_of(kind, what, names))
    anew = replay_anew(stored(journal.entries[ACCOUNT]), by(book))
    check_zero(anew, journal.accounts[ACCOUNT])
    assert len(anew.closings) == len(journal.accounts[ACCOUNT].closed) - vector_history(journal)


def vector_history(journal: Journal) -> int:
    """Count the periods that an earlier system closed."""
    return sum(isinstance(entry.event, PeriodCarriedOver) for entry in journal.entries[ACCOUNT])


def journal_of(life: Life, book: Rulebook) -> Journal:
    """Lead a life, and keep it as a journal."""
    journal = Journal(book)
    for lived, events in live(life, book):
        if events:
            journal.record(ACCOUNT, events)
        assert journal.accounts[ACCOUNT] == lived.account
    return journal


@pytest.mark.parametrize("policy", POLICIES)
@steady(25)
@given(life=lives())
def test_every_life_comes_out_as_it_was_posted(policy: Settlement, life: Life) -> None:
    book = DEFAULT_RULEBOOK.with_settlement(policy)
    journal = journal_of(life, book)
    check_zero(replay_anew(journal.entries[ACCOUNT], by(book)), journal.accounts[ACCOUNT])


def named(account: Account) -> set[int]:
    """List the entries that an account's state names."""
    return {
        *(reading.entry for reading in account.readings),
        *(meter.entry for meter in account.meters),
        *(act.entry for act in account.access),
        *(debt.entry for debt in account.ledger.debts),
        *(credit.entry for credit in account.ledger.credits),
        *(payment.entry for payment in account.ledger.payments),
    }


@pytest.mark.parametrize("policy", POLICIES)
@steady(25)
@given(life=lives())
def test_other_rules_name_only_entries_that_there_are_and_each_once(policy: Settlement, life: Life) -> None:
    journal = journal_of(life, DEFAULT_RULEBOOK.with_settlement(policy))
    entries, posted = journal.entries[ACCOUNT], journal.accounts[ACCOUNT]
    for book in (STRICTER, *(DEFAULT_RULEBOOK.with_settlement(other) for other in POLICIES)):
        anew = replay_anew(entries, by(book)).account
        assert anew.version == posted.version
        assert anew.meters == posted.meters
        assert anew.readings == posted.readings
        assert [debt.entry for debt in anew.ledger.debts] == sorted({debt.entry for debt in anew.ledger.debts})
        closings = {entry.version for entry in entries if isinstance(entry.event, PeriodClosed)}
        facts = {entry.version for entry in entries} - closings
        assert named(anew) - closings <= facts
        billed = {debt.entry for debt in anew.ledger.debts} | {c.entry for c in anew.ledger.credits}
        assert billed - facts <= closings


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("wished", POLICIES)
@steady(25)
@given(life=lives())
def test_another_policy_leads_to_what_the_same_household_would_have_lived(
    policy: Settlement, wished: Settlement, life: Life
) -> None:
    told = journal_of(life, DEFAULT_RULEBOOK.with_settlement(policy))
    other = journal_of(life, DEFAULT_RULEBOOK.with_settlement(wished))
    anew = replay_anew(told.entries[ACCOUNT], by(other.rulebook))
    assert [c.would_be for c in anew.closings] == [posted(e) for e in closings_of(other)]
    assert [c.was for c in anew.closings] == [posted(e) for e in closings_of(told)]
    lived = other.accounts[ACCOUNT]
    assert [(c.period, c.stands, c.money) for c in anew.account.closed] == [
        (c.period, c.stands, c.money) for c in lived.closed
    ]
    assert (anew.account.ledger.balance, anew.account.ledger.penalty) == (lived.ledger.balance, lived.ledger.penalty)


def closings_of(journal: Journal) -> list[list[Event]]:
    """Give the events of each closing."""
    groups: dict[str, list[Event]] = {}
    for entry in journal.entries[ACCOUNT]:
        groups.setdefault(entry.receipt, []).append(entry.event)
    return [events for events in groups.values() if any(isinstance(event, PeriodClosed) for event in events)]


def posted(events: list[Event]) -> Posting:
    """Sum a closing up a second time, from its events."""
    (closed,) = [event for event in events if isinstance(event, PeriodClosed)]
    recalculated = [event for event in events if isinstance(event, UsageRecalculated)]
    kwh = sum(closed.usage.values()) + sum(sum(r.after.values()) - sum(r.before.values()) for r in recalculated)
    penalties = sum((event.amount for event in events if isinstance(event, PenaltyAccrued)), ZERO)
    return Posting(closed.mode, kwh, closed.charged, sum((r.difference for r in recalculated), ZERO), penalties)


@steady(40)
@given(wanted=wishes(40))
def test_money_and_publications_that_change_the_past_come_out_as_posted(wanted: list[Wish]) -> None:
    desk = Desk()
    journal = Journal(desk.rulebook)
    books = {desk.rulebook.number: desk.rulebook}
    for number in (HERE, THERE):
        journal.record(number, desk.events[number])
    for wish in wanted:
        before = {number: len(events) for number, events in desk.events.items()}
        desk.grant(wish)
        books[desk.rulebook.number] = desk.rulebook
        for number in (HERE, THERE):
            if new := desk.events[number][before[number] :]:
                journal.record(number, new)
    published = Publications(tuple((journal.moment, book) for book in books.values()), RULES)
    for number in (HERE, THERE):
        check_zero(replay_anew(journal.entries[number], published.then), desk.accounts[number])


def ordinary(*months: str, book: Rulebook = DEFAULT_RULEBOOK) -> Journal:
    """Bill an ordinary household for some months; after the first it sends no reading."""
    journal = Journal(book)
    for command in (*ORDINARY, sent("2024-01-20", 10_110)):
        journal.ask(command)
    for month in months:
        journal.ask(closing(month))
    return journal


def test_a_publication_counts_for_the_closings_that_were_recorded_after_it() -> None:
    journal = ordinary("2024-01")
    first = journal.publish(dearer(journal.rulebook, date(2024, 2, 1), 100))
    journal.ask(closing("2024-02"))
    second = journal.publish(dearer(journal.rulebook, date(2024, 1, 1), 300), "решение суда")
    journal.ask(closing("2024-03"))
    entries = [entry for entry in journal.entries[ACCOUNT] if isinstance(entry.event, PeriodClosed)]
    published = journal.publications
    assert [published.then(entry).number for entry in entries] == [0, first.number, second.number]
    assert all(published.then(entry) is published.known_at(entry.recorded_at) for entry in entries)
    assert published.newest == second
    assert published.numbered(7) is None
    recalculated = [e.event for e in journal.entries[ACCOUNT] if isinstance(e.event, UsageRecalculated)]
    assert recalculated
    check_zero(replay_anew(journal.entries[ACCOUNT], published.then), journal.accounts[ACCOUNT])


def test_a_closing_that_missed_a_publication_by_a_moment_is_decided_by_the_book_it_names() -> None:
    journal = ordinary("2024-01")
    slow = journal.rulebook
    journal.publish(dearer(journal.rulebook, date(2024, 2, 1), 100))
    journal.rulebook, new = slow, journal.rulebook
    journal.ask(closing("2024-02"))
    journal.rulebook = new
    late = journal.entries[ACCOUNT][-1]
    (closed,) = [
        e for e in journal.entries[ACCOUNT] if isinstance(e.event, PeriodClosed) and e.event.period == "2024-02"
    ]
    assert journal.publications.then(closed) is slow is not journal.publications.known_at(closed.recorded_at)
    assert late.recorded_at == closed.recorded_at
    check_zero(replay_anew(journal.entries[ACCOUNT], journal.publications.then), journal.accounts[ACCOUNT])


def test_a_sum_that_does_not_follow_from_the_rules_is_said_with_both_values() -> None:
    journal = ordinary("2024-01", "2024-02")
    entries = [
        replace(entry, event=replace(entry.event, charged=entry.event.charged + 1))
        if isinstance(entry.event, PeriodClosed) and entry.event.period == "2024-02"
        else entry
        for entry in journal.entries[ACCOUNT]
    ]
    january, february = replay_anew(entries, by(DEFAULT_RULEBOOK)).closings
    assert january.is_same
    assert not february.is_same
    charged = february.would_be.charged
    assert february.differences() == (f"PeriodClosed.charged: posted {charged + 1}, anew {charged}",)


def test_a_book_that_is_not_here_is_a_difference_and_never_hidden() -> None:
    journal = ordinary("2024-01", book=replace(DEFAULT_RULEBOOK, name="lost"))
    other = Publications((), DEFAULT_RULEBOOK)
    (january,) = replay_anew(journal.entries[ACCOUNT], other.then).closings
    assert january.differences() == (f"PeriodClosed.rulebook: posted lost/0, anew {DEFAULT_RULEBOOK.version}",)


def test_a_closing_that_these_rules_cannot_price_stands_as_posted_and_says_why() -> None:
    journal = ordinary("2024-01", "2024-02")
    unpriced = replace(DEFAULT_RULEBOOK, tariffs=())
    anew = replay_anew(journal.entries[ACCOUNT], by(unpriced))
    january = anew.closings[0]
    assert january.refusal is not None
    assert january.anew == january.posted
    assert not january.is_same
    assert january.differences() == (
        "it cannot be decided anew, NO_TARIFF: 2024-01: MO/urban_gas/single total, range 1",
    )
    assert anew.account == journal.accounts[ACCOUNT]


def test_closings_that_are_left_alone_stand_and_later_ones_rest_on_them() -> None:
    journal = ordinary("2024-01", "2024-02", "2024-03")
    book = dearer(DEFAULT_RULEBOOK, date(2024, 1, 1), 100)

    def from_march(entry: Entry) -> Rulebook | None:
        assert isinstance(entry.event, PeriodClosed)
        return book if entry.event.period == "2024-03" else None

    january, february, march = replay_anew(journal.entries[ACCOUNT], from_march).closings
    assert january.is_same
    assert february.is_same
    assert (january.rulebook, march.rulebook) == (None, book.version)
    assert march.would_be.bill - march.was.bill == Decimal(march.was.kwh)


def test_more_and_fewer_entries_than_were_posted_leave_every_name_to_its_fact() -> None:
    journal = ordinary("2024-01", "2024-02")
    journal.ask(sent("2024-03-20", 10_300))
    journal.ask(closing("2024-03"))
    journal.ask(closing("2024-04"))
    journal.ask(sent("2024-05-20", 10_500))
    journal.ask(closing("2024-05"))
    entries, posted = journal.entries[ACCOUNT], journal.accounts[ACCOUNT]
    for policy in POLICIES:
        anew = replay_anew(entries, by(DEFAULT_RULEBOOK.with_settlement(policy)))
        assert anew.account.readings == posted.readings
        assert set(anew.account.steps) <= {reading.entry for reading in posted.readings}
    # NEXT_PERIOD bills a reading that ends a gap one period later: March is no missed period any more, and posts fewer entries.
    waiting = replay_anew(entries, by(DEFAULT_RULEBOOK.with_settlement(Settlement.NEXT_PERIOD))).closings
    assert any(len(c.anew) < len(c.posted) for c in waiting)
    assert any(len(c.anew) > len(c.posted) for c in waiting)


def test_a_closing_from_before_there_was_money_is_decided_in_kwh_alone() -> None:
    journal = ordinary("2024-01", "2024-02")
    journal.ask(sent("2024-03-20", 10_300))
    journal.ask(closing("2024-03"))
    old: list[Entry] = []
    for entry in journal.entries[ACCOUNT]:
        event = entry.event
        if isinstance(event, PeriodClosed):
            event = replace(event, charges=(), charged=ZERO, recalculated=ZERO, due_on=None)
        elif isinstance(event, UsageRecalculated):
            event = replace(event, money_before=ZERO, money_after=ZERO, charges=(), rulebook="")
        if not isinstance(event, PenaltyAccrued):
            old.append(replace(entry, event=event, version=len(old) + 1))
    account = replay(nobody(ACCOUNT), (entry.event for entry in old))
    assert account.ledger.balance == ZERO
    check_zero(replay_anew(old, by(DEFAULT_RULEBOOK)), account)


def test_refusals_and_streams_without_closings_are_replayed_as_they_stand() -> None:
    journal = Journal(DEFAULT_RULEBOOK)
    journal.ask(OPEN)
    journal.ask(ClosePeriod(Period("2024-05"), over_at(Period("2024-05"))))
    journal.record(ACCOUNT, [ReadingRefused(Reason.BAD_VALUE, journal.moment, {"total": "x"})])
    anew = replay_anew(journal.entries[ACCOUNT], by(DEFAULT_RULEBOOK))
    assert (anew.closings, anew.account) == ((), journal.accounts[ACCOUNT])
    assert replay_anew([], by(DEFAULT_RULEBOOK)).closings == ()


async def test_what_a_supplier_has_stored_comes_out_as_it_was_posted(pool: Any, intake: Intake) -> None:
    numbers = {}
    intake.rulebook = VECTOR_RULES
    long = [v for v in vectors("billing") if rulebook_of(v) == VECTOR_RULES and len(v["given"].get("closings", ())) > 2]
    for i, vector in enumerate(long[:10]):
        numbers[str(1000000 + i)] = vector
        await feed(intake, vector, str(1000000 + i))
        if i == 5:
            await publish(pool, intake, VECTOR_RULES, "test")
        if i == 8:
            changed = dearer(intake.rulebook, date(2024, 7, 1), 55)
            await publish(pool, intake, changed, "test", "решение комитета")
    async with pool.acquire() as db:
        published = publications_of(await read(db, {RULEBOOK: 0}), VECTOR_RULES)
        entries = await read(db, dict.fromkeys(numbers, 0))
    assert len(published.recorded) == 2
    closings = 0
    for number in numbers:
        own = [entry for entry in entries if entry.account == number]
        anew = replay_anew(own, published.then)
        check_zero(anew, await intake.account(number))
        closings += len(anew.closings)
    assert closings > 20
