"""The rules of a trial: what takes the place of the rules that counted when a period was closed.

Only closings are decided by them. Facts stand as they are: a reading that was held or refused under the limits of then stays so, as
nobody can know what the household would have answered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date

from bels.audit.replaying.anew import Publications
from bels.domain.events import PeriodClosed
from bels.domain.periods import first_day, shift
from bels.domain.rulebook import Norms, Rulebook, Settings, Tariff
from bels.domain.terms import Period, Scheme, Settlement
from bels.journal.entry import Entry


class UnknownPublicationError(LookupError):
    """No rulebook was published under this number."""


@dataclass(frozen=True)
class Trial:
    """The rules to try, one of four, and from which period on; with none of them the rules are those of then.

    ``publication`` is the number of a published rulebook, ``rules_of`` a month whose tariffs, ranges, norms, settings and due day
    rule every period, ``book`` a file read over the rules in force, ``settlement`` a policy under the rules of then. Closings of
    periods before ``since`` stand as they were posted; None tries the whole history.
    """

    publication: int | None = None
    rules_of: Period | None = None
    book: Rulebook | None = None
    settlement: Settlement | None = None
    since: Period | None = None

    def said(self) -> str:
        """Name the rules for a person."""
        if self.publication is not None:
            told = f"publication {self.publication}"
        elif self.rules_of is not None:
            told = f"the rules of {self.rules_of} for every period"
        elif self.book is not None:
            told = f"the file over {self.book.version}"
        elif self.settlement is not None:
            told = f"the rules of then, settled by {self.settlement.value}"
        else:
            told = "the rules of then"
        return told if self.since is None else f"{told}, from {self.since} on"


def month_of(day: date) -> Period:
    """Give the month whose rules are the rules of a day: a period is ruled by the values on its 1st."""
    return Period(f"{day:%Y-%m}")


@dataclass(frozen=True)
class RulesOfMonth(Rulebook):
    """A rulebook in which the values that rule one month rule every period.

    What is counted by the day (key rates, terms of penalties, moratoria) stays with its days.
    """

    month: Period = Period("")  # noqa: RUF009 - a period is a text, which nobody changes

    @classmethod
    def of(cls, book: Rulebook, month: Period) -> RulesOfMonth:
        """Let a month of a book rule every period."""
        return cls(**{field.name: getattr(book, field.name) for field in fields(Rulebook)}, month=month)

    def settings_of(self, period: Period) -> Settings:
        """Give the settings of the month."""
        return super().settings_of(self.month)

    def norms_of(self, period: Period) -> Norms:
        """Give the norms of the month."""
        return super().norms_of(self.month)

    def ranges_of(self, period: Period) -> tuple[int, ...]:
        """Give the ranges of the month."""
        return super().ranges_of(self.month)

    def tariff_of(self, group: str, scheme: Scheme, period: Period) -> Tariff | None:
        """Find the tariff of the month."""
        return super().tariff_of(group, scheme, self.month)

    def due_day_on(self, day: date) -> int:
        """Give the day by which the bill of the month is to be paid."""
        return super().due_day_on(first_day(shift(self.month, 1)))


class TrialRules:
    """By which rulebook a closing is decided in a trial; the books are made once for each publication that was in force.

    :raises UnknownPublicationError: the trial names a publication that is not there.
    """

    def __init__(self, trial: Trial, publications: Publications) -> None:
        self._trial = trial
        self._publications = publications
        self._made: dict[str, Rulebook] = {}
        self._named: Rulebook | None = None
        if trial.publication is not None:
            self._named = publications.numbered(trial.publication) if trial.publication else None
            if self._named is None:
                raise UnknownPublicationError(trial.publication)

    def __call__(self, closing: Entry) -> Rulebook | None:
        """Give the book; None where the closing stands as it was posted."""
        since = self._trial.since
        assert isinstance(closing.event, PeriodClosed)  # noqa: S101 - for the type checker
        if since is not None and closing.event.period < since:
            return None
        if self._named is not None:
            return self._named
        then = self._publications.then(closing)
        made = self._made.get(then.version)
        if made is None:
            made = self._made[then.version] = self._over(then)
        return made

    def _over(self, then: Rulebook) -> Rulebook:
        if self._trial.settlement is not None:
            return then.with_settlement(self._trial.settlement)
        book = self._trial.book
        if self._trial.rules_of is not None:
            book = RulesOfMonth.of(self._publications.newest, self._trial.rules_of)
        if book is None:
            return then
        # Which past had been changed when a period was closed does not follow from the rules that are tried: so what stands charged
        # from before them is priced anew where it was then, and only there.
        return replace(book, number=then.number, retroactions=then.retroactions)
