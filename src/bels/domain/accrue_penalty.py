"""Пени: from the 31st overdue day 1/300, from the 91st 1/130 of the rate for each day, the payment day included (ЖК 155; rules 1.9).

The rate is the key rate on the payment day, for an unpaid sum on the statement day, but not above the cap in force. Each payment and
each border (a step, a cap, a moratorium) begins a new line, and each line is rounded once. A closing posts what the lines
through the last day of its period come to, less what was posted for the same debt before: so what is known late puts the
penalties right with the next bill.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from bels.domain.allocate_payment import matched
from bels.domain.ledger import Ledger
from bels.domain.money import ZERO, to_kopecks
from bels.domain.money_events import (
    OverdueSum,
    PenaltyAccrued,
    PenaltyLine,
)
from bels.domain.periods import first_day, shift
from bels.domain.rulebook import PenaltySpan, Rulebook
from bels.domain.terms import Money, Period

DAY = timedelta(days=1)
SPANS_MAX = 20_000
"""Spans that a rulebook remembers: thousands of accounts have the same due dates and days of payment."""


def accrue_penalty(ledger: Ledger, period: Period, accrued_on: date, rulebook: Rulebook) -> PenaltyAccrued | None:
    """Accrue the penalties that come with the bill of a period; None when nothing is new."""
    through = first_day(shift(period, 1)) - DAY
    sums = tuple(s for s in overdue_sums(ledger, through, rulebook) if s.accrued != s.posted_before)
    if not sums:
        return None
    amount = sum((s.accrued - s.posted_before for s in sums), ZERO)
    return PenaltyAccrued(period, accrued_on, through, sums, amount, rulebook.version)


def overdue_sums(ledger: Ledger, through: date, rulebook: Rulebook) -> tuple[OverdueSum, ...]:
    """List the debts for which penalties stand or have been posted, as they are on a day."""
    if not any(d.due_on is not None and (d.due_on < through or d.penalty) for d in ledger.debts):
        return ()
    sums: list[OverdueSum] = []
    for debt, paid, open_ in matched(ledger):
        if debt.due_on is None or debt.period is None:
            continue
        is_last_in_time = not paid or paid[-1].on <= debt.due_on
        # Credits come by the day of payment: where the last was in time, all were.
        if not debt.penalty and (through <= debt.due_on or (not open_ and is_last_in_time)):
            continue
        parts = tuple((p.on, p.amount) for p in paid)
        lines = penalty_lines(debt.amount, debt.due_on, parts, through, rulebook)
        accrued = sum((line.amount for line in lines), ZERO)
        if accrued or debt.penalty:
            is_final = not open_ and all(on <= through for on, _ in parts)
            sums.append(OverdueSum(debt.entry, debt.period, debt.due_on, lines, accrued, debt.penalty, is_final))
    return tuple(sums)


def penalty_lines(
    principal: Money, due_on: date, paid: tuple[tuple[date, Money], ...], through: date, rulebook: Rulebook
) -> tuple[PenaltyLine, ...]:
    """Write the lines of one unpaid principal through a day; payments are (day, sum) in order of day."""
    by_day: dict[date, Money] = {}
    unpaid = principal
    for on, amount in paid:
        if on <= due_on:
            unpaid -= amount
        elif on <= through:
            by_day[on] = by_day.get(on, ZERO) + amount
    lines: list[PenaltyLine] = []
    since = due_on + DAY
    for on, amount in by_day.items():
        lines += _segment(unpaid, due_on, since, on, rulebook)
        unpaid -= amount
        since = on + DAY
    if unpaid and since <= through:
        lines += _segment(unpaid, due_on, since, through, rulebook)
    return tuple(lines)


def _segment(unpaid: Money, due_on: date, since: date, until: date, rulebook: Rulebook) -> list[PenaltyLine]:
    """Write the lines of a sum that stayed the same for some days; the key rate is that of the last of them."""
    if not unpaid:
        return []
    key = due_on, since, until
    spans = rulebook.penalty_spans.get(key)
    if spans is None:
        if len(rulebook.penalty_spans) >= SPANS_MAX:
            rulebook.penalty_spans.clear()
        spans = rulebook.penalty_spans[key] = _spans(due_on, since, until, rulebook)
    return [
        PenaltyLine(unpaid, first, last, days, divisor, rate, to_kopecks(unpaid * days * rate / (100 * divisor)))
        for first, last, days, divisor, rate in spans
    ]


def _spans(due_on: date, since: date, until: date, rulebook: Rulebook) -> tuple[PenaltySpan, ...]:
    """Cut some days at every border: whatever the sum is, it has a line for each of the spans."""
    key_rate = rulebook.key_rate_on(until)
    if not rulebook.penalties or key_rate is None:
        return ()
    borders = {day for day, _ in rulebook.penalties} | {m.since for m in rulebook.moratoria}
    borders |= {m.until for m in rulebook.moratoria}
    for _, terms in rulebook.penalties:
        borders |= {due_on + timedelta(days=step.from_day) for step in terms.steps}
    cuts = [since, *sorted(day for day in borders if since < day <= until), until + DAY]
    spans: list[PenaltySpan] = []
    for first, end in pairwise(cuts):
        terms = rulebook.penalty_terms_on(first)
        number = (first - due_on).days
        divisor = next((s.divisor for s in reversed(terms.steps) if s.from_day <= number), None)
        if divisor is None or any(m.since <= first < m.until for m in rulebook.moratoria):
            continue
        rate = key_rate if terms.cap_percent is None else min(terms.cap_percent, key_rate)
        spans.append((first, end - DAY, (end - first).days, divisor, rate))
    return tuple(spans)
