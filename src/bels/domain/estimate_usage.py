"""No actual reading in a period: the average for up to three missed periods in a row, then the norm (59 «б», 59(2), 60)."""

from __future__ import annotations

from dataclasses import dataclass

from bels.domain.account import Account, Meter, Reading
from bels.domain.actual_readings import average_until, chain, undisproved
from bels.domain.apportion import half_up
from bels.domain.events import Average, Norm, NormAdjustment
from bels.domain.periods import days_in, first_day, months_between, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Kwh, Mode, Period, Register, Rule


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a period is billed without a reading: mode, kWh, rule, and the numbers behind them.

    ``missed`` is the number m of the period in the row of missed ones, 0 where no row is counted.
    """

    mode: Mode
    kwh: Kwh
    rule: Rule
    missed: int
    average: Average | None = None
    norm: Norm | None = None


def last_actual_before(account: Account, meter: Meter, period: Period) -> Reading:
    """Find A, the last actual reading of an earlier period; a meter always has an initial one.

    Where a control reading disproved every one of them, the initial reading is all there is.
    """
    readings = undisproved(chain(account, meter.entry, shift(period, -1)))
    return readings[-1] if readings else chain(account, meter.entry)[0]


def estimate_usage(account: Account, meter: Meter, period: Period, rulebook: Rulebook) -> Estimate:
    """Estimate a period that has no actual reading (rules 1.5)."""
    settings = rulebook.settings_of(period)
    until = last_actual_before(account, meter, period)
    missed = months_between(until.period, period)
    average = average_until(account, meter, until, settings)
    if average is not None and missed <= settings.max_average_periods:
        return Estimate(Mode.AVERAGE, average.kwh, Rule.P59B, missed, average)
    norm = norm_of(account, period, rulebook)
    rule = Rule.P59_2 if average is None else Rule.P60
    return Estimate(Mode.NORMATIVE, {Register.TOTAL: norm.kwh}, rule, missed, None, norm)


def estimate_failed_meter(account: Account, meter: Meter, rulebook: Rulebook, period: Period) -> Estimate:
    """Estimate a period of a failed meter: the average that ends before the failure, without a cap (59 «г»)."""
    failed_in = meter.failed_in or period
    until = last_actual_before(account, meter, failed_in)
    average = average_until(account, meter, until, rulebook.settings_of(period))
    if average is not None:
        return Estimate(Mode.AVERAGE, average.kwh, Rule.P59G, 0, average)
    norm = norm_of(account, period, rulebook)
    return Estimate(Mode.NORMATIVE, {Register.TOTAL: norm.kwh}, Rule.P59_2, 0, None, norm)


def estimate_without_meter(account: Account, period: Period, rulebook: Rulebook) -> Estimate:
    """Estimate a period without a meter by formula 4, with temporary residents and absences by the day (rules 1.10)."""
    first = first_day(period)
    permanent = _permanent_on_first(account, period)
    per_person = rulebook.norms_of(period).per_person(account.stove, account.rooms, permanent)
    days = days_in(period)
    adjustments: list[NormAdjustment] = []
    for stay in account.stays:
        if (stay.until - stay.since).days > 5:
            full = overlap(first.toordinal(), days, stay.since.toordinal(), stay.until.toordinal())
            adjustments.append(NormAdjustment(stay.persons, full, stay.persons * adjustment(per_person, full, days)))
    for absence in account.absences:
        left, returned = absence.left_on.toordinal() + 1, absence.returned_on.toordinal()
        if returned - left > 5:
            full = overlap(first.toordinal(), days, left, returned)
            persons = min(absence.persons, permanent)
            adjustments.append(NormAdjustment(persons, full, -persons * adjustment(per_person, full, days)))
    kwh = max(permanent * per_person + sum(a.kwh for a in adjustments), 0)
    norm = Norm(permanent, per_person, kwh, tuple(a for a in adjustments if a.days))
    return Estimate(Mode.NORMATIVE, {Register.TOTAL: kwh}, Rule.APP2_F4, 0, None, norm)


def adjustment(per_person: int, days: int, days_in_period: int) -> int:
    """Give the kWh of one person for some full days of a period (rules 1.10)."""
    return half_up(per_person * days, days_in_period)


def overlap(first: int, days: int, since: int, until: int) -> int:
    """Count the days of [since, until) that lie in the month which begins at ``first`` (ordinals)."""
    return max(0, min(first + days, until) - max(first, since))


def norm_of(account: Account, period: Period, rulebook: Rulebook) -> Norm:
    """Give the norm of a period: residents on its 1st, or the owners where nobody is registered (56(2))."""
    first = first_day(period)
    residents = _registered_on_first(account, period) + sum(
        stay.persons for stay in account.stays if stay.since <= first < stay.until
    )
    residents = residents or _owners_on_first(account, period)
    per_person = rulebook.norms_of(period).per_person(account.stove, account.rooms, residents)
    return Norm(residents, per_person, residents * per_person)


def _registered_on_first(account: Account, period: Period) -> int:
    first = first_day(period)
    return next((r.permanent for r in reversed(account.residents) if r.effective_on <= first), 0)


def _owners_on_first(account: Account, period: Period) -> int:
    first = first_day(period)
    return max(1, next((r.owners for r in reversed(account.residents) if r.effective_on <= first), 1))


def _permanent_on_first(account: Account, period: Period) -> int:
    return _registered_on_first(account, period) or _owners_on_first(account, period)
