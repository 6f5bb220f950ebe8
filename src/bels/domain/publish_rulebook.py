"""A rulebook is published whole, over the one in force; a price that has been charged changes only with a reason.

What became known is no change: a rate that was unknown could not have been charged (rules 1.6, 1.11).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date

from bels.domain.account import Account
from bels.domain.check_rulebook import FIRST_DAY, faults_of
from bels.domain.commands import PublishRulebook
from bels.domain.events import (
    CommandRefused,
    Event,
)
from bels.domain.money_events import (
    RulebookPublished,
)
from bels.domain.periods import first_day, period_at, shift
from bels.domain.rulebook import Retroaction, Rulebook, Tariff
from bels.domain.terms import Period, Reason, Scheme

FAULTS_TOLD_MAX = 5
NEW_TARIFF = "опубликован новый тариф"
"""Why a period is priced again that was charged at the old price while the new one was being published."""


def publish_rulebook(account: Account, command: PublishRulebook, rulebook: Rulebook) -> tuple[Event, ...]:
    """Publish a rulebook over the one in force.

    A past that was charged changes only for a stated reason, and only in its prices: norms and settings made usage, and a
    publication settles no usage anew.
    """
    book, charged = command.book, command.charged_through
    faults = faults_of(book)
    if faults:
        told = [
            f"{fault.table}{'' if fault.index is None else f' {fault.index + 1}'}{fault.key and f', {fault.key}'}: "
            f"{fault.reason}"
            for fault in faults[:FAULTS_TOLD_MAX]
        ]
        more = len(faults) - len(told)
        return _refused(command, Reason.BAD_RULEBOOK, "; ".join(told) + (f"; and {more} more" if more else ""))
    if command.base != rulebook.number:
        return _refused(
            command,
            Reason.RULEBOOK_CHANGED,
            f"publication {rulebook.number} is in force, this book was made from {command.base}: make it anew",
        )
    # The first publication says what was in force without one: there is nothing yet that it could repeat.
    if rulebook.number and _is_same(book, rulebook):
        return _refused(command, Reason.NOTHING_CHANGES, f"publication {rulebook.number} says all of this already")
    if charged is not None:
        for what, first in _changed_terms(rulebook, book):
            if first <= charged:
                return _refused(
                    command,
                    Reason.PAST_CHARGED,
                    f"the {what} of {first} would change, and {charged} has been charged: they may change from "
                    f"{shift(charged, 1)} on",
                )
        if book.region != rulebook.region:
            told_region = (
                f"the region would change from {rulebook.region} to {book.region}, and {charged} has been charged"
            )
            return _refused(command, Reason.PAST_CHARGED, f"{told_region}: a region cannot change any more")
    change = first_change(rulebook, book)
    number, reason = rulebook.number + 1, (command.retroactive or "").strip()
    since = change[0] if change is not None else None
    penalties = None if charged is None else _changed_penalties(rulebook, book, first_day(shift(charged, 1)))
    if penalties is not None and not reason:
        return _refused(
            command,
            Reason.PAST_CHARGED,
            f"the {penalties} of days through {charged} would change, and {charged} has been charged: give the reason, and "
            "the next bill puts the penalties right",
        )
    if change is None or since is None:
        return (_published(command, number, rulebook.retroactions, since, reason if penalties is not None else None),)
    is_charged = charged is not None and since <= charged
    if is_charged and not reason:
        return _refused(
            command,
            Reason.PAST_CHARGED,
            f"{change[1]} would change in {since}, and {charged} has been charged: give the reason, and what was "
            "charged is put right",
        )
    # A closing under way may still charge the first such period at the old price: its next one puts that right as well.
    retroaction = Retroaction(number, since, reason if is_charged else NEW_TARIFF)
    return (
        _published(
            command,
            number,
            (*rulebook.retroactions, retroaction),
            since,
            reason if is_charged or penalties is not None else None,
        ),
    )


def first_change(old: Rulebook, new: Rulebook) -> tuple[Period, str] | None:
    """Find the first period that one book prices otherwise than another, and say what changes; None where none does.

    A rate that was not known in the old book changes nothing.
    """
    days = {row.effective_on for book in (old, new) for row in book.tariffs}
    days |= {day for book in (old, new) for day, _ in book.ranges}
    kinds = sorted({(row.group, row.scheme) for row in old.tariffs})
    for period in _periods_ruled_from(days):
        before, after = old.ranges_of(period), new.ranges_of(period)
        if before != after:
            return period, f"the ranges ({_listed(before)} to {_listed(after)})"
        for group, scheme in kinds:
            change = _changed_rate(old, new, group, scheme, period)
            if change is not None:
                return period, change
    return None


def _changed_rate(old: Rulebook, new: Rulebook, group: str, scheme: Scheme, period: Period) -> str | None:
    was, becomes = old.tariff_of(group, scheme, period), new.tariff_of(group, scheme, period)
    if was is None or was is becomes:
        return None
    for register, rates in was.rates.items():
        now = becomes.rates.get(register, ()) if becomes is not None else ()
        for i, rate in enumerate(rates):
            rate_now = now[i] if i < len(now) else None
            if rate is not None and rate != rate_now:
                row = _row(becomes) if becomes is not None else "no row"
                told = "unknown" if rate_now is None else rate_now
                return f"{group} {scheme.value} {register.value}, range {i + 1} ({rate} to {told}, {row})"
    return None


def _changed_terms(old: Rulebook, new: Rulebook) -> Iterator[tuple[str, Period]]:
    """Give the first period with other norms, and the first with other settings; a source may be told better."""
    for period in _periods_ruled_from(day for book in (old, new) for day, _ in book.norms):
        was, becomes = old.norms_of(period), new.norms_of(period)
        if (was.gas, was.electric) != (becomes.gas, becomes.electric):
            yield "norms", period
            break
    for period in _periods_ruled_from(day for book in (old, new) for day, _ in book.settings):
        if old.settings_of(period) != new.settings_of(period):
            yield "settings", period
            break


def _changed_penalties(old: Rulebook, new: Rulebook, end: date) -> str | None:
    """Name what would change of the rules of penalties for days before ``end``, None where nothing would."""
    for what, was, becomes in (
        ("penalty terms", old.penalties, new.penalties),
        ("key rates", old.key_rates, new.key_rates),
    ):
        if [row for row in was if row[0] < end] != [row for row in becomes if row[0] < end]:
            return what
    if [m for m in old.moratoria if m.since < end] != [m for m in new.moratoria if m.since < end]:
        return "moratoria"
    return None


def _periods_ruled_from(days: Iterable[date]) -> list[Period]:
    """List the periods in which something may begin to rule; the first one stands for all that is older than every row."""
    months = {day.year * 12 + day.month - (1 if day.day == 1 else 0) for day in (FIRST_DAY, *days)}
    return [period_at(month) for month in sorted(months)]


def _is_same(book: Rulebook, other: Rulebook) -> bool:
    return replace(book, number=other.number, retroactions=other.retroactions) == other


def _published(
    command: PublishRulebook,
    number: int,
    retroactions: tuple[Retroaction, ...],
    since: Period | None,
    reason: str | None,
) -> RulebookPublished:
    book = replace(command.book, number=number, retroactions=retroactions)
    return RulebookPublished(book, command.published_at, command.source, since, reason)


def _refused(command: PublishRulebook, reason: Reason, detail: str) -> tuple[Event, ...]:
    return (CommandRefused("PublishRulebook", reason, command.published_at, detail),)


def _row(tariff: Tariff) -> str:
    return f"row {tariff.version}"


def _listed(bounds: tuple[int, ...]) -> str:
    return ", ".join(map(str, bounds)) or "none"
