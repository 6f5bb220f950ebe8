"""What other rules would have led to over many accounts: for whom, and how much. The order of counting changes nothing."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from bels.audit.replaying.anew import Rules
from bels.audit.what_if.outcome import Outcome, what_if
from bels.domain.money import ZERO
from bels.domain.terms import Mode, Money, Period
from bels.journal.entry import Entry
from bels.journal.journal import by_account

logger = logging.getLogger(__name__)

LARGEST_MAX = 20
"""Accounts with the largest changes that are named."""

STEPS = (Decimal(100), Decimal(1_000), Decimal(10_000))
"""Roubles at which a class of changes ends, for more and for less alike."""

CLASSES = tuple(range(-1 - len(STEPS), 2 + len(STEPS)))
"""The classes of changes in order: less by the largest sums first, 0 is no change, more by the largest sums last."""


def class_of(difference: Money) -> int:
    """Give the class of a change: its sign, and how many steps it passes."""
    if not difference:
        return 0
    passed = 1 + bisect_left(STEPS, abs(difference))
    return passed if difference > 0 else -passed


def bounds_of(number: int) -> tuple[Money | None, Money | None]:
    """Give the bounds of a class in roubles, the smaller first; None where it has none.

    A change of exactly a step belongs to the class that is nearer to no change.
    """
    if not number:
        return ZERO, ZERO
    i = abs(number) - 1
    near, far = (STEPS[i - 1] if i else ZERO), (STEPS[i] if i < len(STEPS) else None)
    return (near, far) if number > 0 else (-far if far is not None else None, -near)


@dataclass(slots=True)
class PeriodSums:
    """One period over many accounts: closings, those whose bill would be another, kWh and roubles posted and as they would be."""

    closings: int = 0
    changed: int = 0
    kwh: int = 0
    would_kwh: int = 0
    bills: Money = ZERO
    would_bills: Money = ZERO
    penalties: Money = ZERO
    would_penalties: Money = ZERO

    @property
    def difference(self) -> Money:
        """What the bills would be more, in roubles; negative for less."""
        return self.would_bills - self.bills

    def add(self, other: PeriodSums) -> None:
        """Add the same period of other accounts."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What would change for one account: kWh, roubles of its bills, of its penalties, and what it would owe more."""

    account: str
    kwh: int
    bills: Money
    penalties: Money
    difference: Money


@dataclass(slots=True)
class Effects:
    """What a trial would change over some accounts.

    ``more``, ``less`` and ``same`` count accounts by what they would owe; ``tried`` counts closings that were decided anew. ``refused``
    counts the reasons why closings could not be, each with an example; ``failed`` are accounts that could not be replayed at all.
    """

    accounts: int = 0
    more: int = 0
    less: int = 0
    same: int = 0
    tried: int = 0
    difference: Money = ZERO
    periods: dict[Period, PeriodSums] = field(default_factory=dict)
    modes: Counter[tuple[Mode, Mode]] = field(default_factory=Counter)
    classes: Counter[int] = field(default_factory=Counter)
    largest: list[AccountChange] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def total(self) -> PeriodSums:
        """All periods together."""
        total = PeriodSums()
        for sums in self.periods.values():
            total.add(sums)
        return total

    def count(self, outcome: Outcome) -> None:
        """Count one account."""
        difference = outcome.difference
        self.accounts += 1
        self.more += difference > 0
        self.less += difference < 0
        self.same += not difference
        self.tried += outcome.tried
        self.difference += difference
        self.classes[class_of(difference)] += 1
        for period in outcome.periods:
            was, would_be = period.was, period.would_be
            self.periods.setdefault(period.period, PeriodSums()).add(
                PeriodSums(
                    1,
                    int(was != would_be),
                    was.kwh,
                    would_be.kwh,
                    was.bill,
                    would_be.bill,
                    was.penalties,
                    would_be.penalties,
                )
            )
            if period.changes_mode and was.mode is not None and would_be.mode is not None:
                self.modes[was.mode, would_be.mode] += 1
            if period.refusal is not None:
                reason = period.refusal.reason.value
                self.refused[reason] += 1
                detail = f": {period.refusal.detail}" if period.refusal.detail else ""
                self._exemplify(reason, f"account {outcome.account}, {period.period}{detail}")
        if difference:
            self.largest = _largest([*self.largest, change_of(outcome)])

    def add(self, other: Effects) -> None:
        """Count what another part of the accounts would come to."""
        self.accounts += other.accounts
        self.more += other.more
        self.less += other.less
        self.same += other.same
        self.tried += other.tried
        self.difference += other.difference
        for period, sums in other.periods.items():
            self.periods.setdefault(period, PeriodSums()).add(sums)
        self.modes += other.modes
        self.classes += other.classes
        self.largest = _largest(self.largest + other.largest)
        self.refused += other.refused
        for reason, example in other.examples.items():
            self._exemplify(reason, example)
        self.failed = sorted(self.failed + other.failed)

    def _exemplify(self, reason: str, example: str) -> None:
        self.examples[reason] = min(example, self.examples.get(reason, example))


def outcomes(entries: Iterable[Entry], rules: Rules, effects: Effects) -> Iterator[Outcome]:
    """Try rules on accounts whose entries follow one another, count each, and give it; one that cannot be replayed stops no other."""
    for number, own in by_account(entries).items():
        try:
            outcome = what_if(own, rules)
        except Exception:
            logger.exception("account %s cannot be replayed by other rules", number)
            effects.failed.append(number)
            continue
        effects.count(outcome)
        yield outcome


def change_of(outcome: Outcome) -> AccountChange:
    """Sum up what would change for an account."""
    was, would_be = outcome.was, outcome.would_be
    return AccountChange(
        outcome.account,
        would_be.kwh - was.kwh,
        would_be.bill - was.bill,
        would_be.penalties - was.penalties,
        outcome.difference,
    )


def _largest(changes: list[AccountChange]) -> list[AccountChange]:
    return sorted(changes, key=lambda change: (-abs(change.difference), change.account))[:LARGEST_MAX]
