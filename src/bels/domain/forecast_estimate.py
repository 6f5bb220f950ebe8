"""What silence will be billed: the estimate of each coming period if no reading arrives (rules 1.4, 1.5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bels.domain.accept_reading import meter_at, plausible_limit, reading_period, readings_taken
from bels.domain.account import Account, Meter, Situation
from bels.domain.actual_readings import average_until, base_of, chain, turn, undisproved
from bels.domain.close_period import access_is_refused, has_actual, meter_of
from bels.domain.estimate_usage import estimate_failed_meter, estimate_usage, estimate_without_meter, norm_of
from bels.domain.events import Average, Norm
from bels.domain.periods import first_day, months_between, shift, window_of
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Kwh, Mode, Period, Reason, Register, Rule

PERIODS_AHEAD = 6
"""Periods from the open one on that are foretold: silence takes four of them to fall from the average to the norm."""


@dataclass(frozen=True, slots=True)
class Silent:
    """What a coming period will be billed if no reading arrives for it."""

    period: Period
    mode: Mode
    kwh: Kwh
    rule: Rule
    missed: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What lies ahead in silence: the average and the readings it rests on, and the coming periods.

    ``periods_left`` counts the periods that would still go by the average before the norm.
    """

    average: Average | None
    periods_left: int
    silent: tuple[Silent, ...]


def forecast_estimate(account: Account, rulebook: Rulebook) -> Forecast:
    """Say what the coming periods that have no reading yet will be billed in silence: what ``close_period`` will bill."""
    if account.situation is Situation.UNKNOWN or not account.next_period:
        return Forecast(None, 0, ())
    last = account.last_period
    coming = [p for p in (shift(account.next_period, i) for i in range(PERIODS_AHEAD)) if last is None or p <= last]
    if not coming:
        return Forecast(None, 0, ())
    current = next((m for m in reversed(account.meters) if m.removed_at is None), None)
    if current is None or current.failed_in is not None or access_is_refused(account, coming[-1]):
        return Forecast(None, 0, tuple(_special(account, p, rulebook) for p in coming if _is_silent(account, p)))
    until = undisproved(chain(account, current.entry))[-1]
    settings = first = rulebook.settings_of(coming[0])
    average = ahead = average_until(account, current, until, settings)
    silent = []
    steady = _steady_norm(account, coming[0], rulebook)
    for p in coming:
        missed = months_between(until.period, p)
        if missed <= 0:
            # A later period may have its reading already, and this one none.
            if _is_silent(account, p):
                silent.append(_special(account, p, rulebook))
            continue
        if rulebook.settings_of(p) is not settings:
            settings = rulebook.settings_of(p)
            average = average_until(account, current, until, settings)
        if average is not None and missed <= settings.max_average_periods:
            silent.append(Silent(p, Mode.AVERAGE, average.kwh, Rule.P59B, missed))
        else:
            norm = {Register.TOTAL: (steady or norm_of(account, p, rulebook)).kwh}
            rule = Rule.P60 if average is not None else Rule.P59_2
            silent.append(Silent(p, Mode.NORMATIVE, norm, rule, missed))
    cap = first.max_average_periods if ahead is not None else 0
    missed_before = max(0, months_between(until.period, coming[0]) - 1)
    return Forecast(ahead, max(0, cap - missed_before), tuple(silent))


def _steady_norm(account: Account, first: Period, rulebook: Rulebook) -> Norm | None:
    """Give the norm of all coming periods, None where residents or norms may change between them."""
    if account.stays or len(rulebook.norms) > 1 or account.residents[-1].effective_on > first_day(first):
        return None
    return norm_of(account, first, rulebook)


def _is_silent(account: Account, period: Period) -> bool:
    return access_is_refused(account, period) or not has_actual(account, period)


def _special(account: Account, period: Period, rulebook: Rulebook) -> Silent:
    if access_is_refused(account, period):
        norm = {Register.TOTAL: norm_of(account, period, rulebook).kwh}
        return Silent(period, Mode.NORMATIVE_INCREASED, norm, Rule.P60_3, 0)
    meter = meter_of(account, period)
    if meter is None:
        estimate = estimate_without_meter(account, period, rulebook)
    elif meter.failed_in is not None and meter.failed_in <= period:
        estimate = estimate_failed_meter(account, meter, rulebook, period)
    else:
        estimate = estimate_usage(account, meter, period, rulebook)
    return Silent(period, estimate.mode, estimate.kwh, estimate.rule, estimate.missed)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a register may show now: ``minimum`` is what it showed last, ``maximum`` the most that is plausible.

    A value outside is not refused but held, or a rollover where the register stands in the top of its range.
    """

    register: Register
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Submission:
    """Whether a reading may be sent now: for which period, until when (exclusive), which registers, and what else happens.

    ``refusal`` says why not. ``limit`` is the plausible kWh of all registers together since ``since``. ``sent`` is what
    was already sent for the period. ``silence`` is what the period will be billed without a reading, None when one counts.
    """

    refusal: Reason | None
    period: Period
    until: datetime
    registers: tuple[Bounds, ...]
    limit: int | None
    sent: Kwh | None
    silence: Silent | None
    by_norm: Silent | None


def may_submit(account: Account, at: datetime, rulebook: Rulebook) -> Submission:
    """Say whether a consumer may send a reading at a moment, within which bounds, and what silence costs."""
    period = reading_period(at, rulebook)
    settings = rulebook.settings_of(period)
    until = window_of(period, settings.reading_deadline_day)[1]
    refusal: Reason | None = None
    meter = meter_at(account, at)
    if account.situation is Situation.UNKNOWN:
        refusal = Reason.UNKNOWN_ACCOUNT
    elif account.closed_at is not None and at >= account.closed_at:
        refusal = Reason.ACCOUNT_CLOSED
    elif meter is not None and meter.model.automatic:
        refusal = Reason.METER_NOT_READ_BY_CONSUMER
    elif meter is None or not readings_taken(account, meter, at, period):
        refusal = Reason.READINGS_NOT_TAKEN
    ahead = {s.period: s for s in forecast_estimate(account, rulebook).silent}
    silence = ahead.get(period)
    norm = norm_of(account, period, rulebook) if account.situation is not Situation.UNKNOWN else None
    by_norm = (
        Silent(period, Mode.NORMATIVE, {Register.TOTAL: norm.kwh}, Rule.P60, silence.missed)
        if norm is not None and silence is not None
        else None
    )
    if refusal is not None or meter is None:
        return Submission(refusal, period, until, (), None, None, silence, by_norm)
    base = base_of(account, meter.entry, period, at)
    if base is None:
        return Submission(Reason.READINGS_NOT_TAKEN, period, until, (), None, None, silence, by_norm)
    limit = plausible_limit(account, meter, base, at, period, settings)
    sent = next(
        (r.values for r in reversed(chain(account, meter.entry)) if r.period == period and r.entry != base.entry), None
    )
    bounds = tuple(_bounds(meter, r, base.values[r], limit) for r in meter.model.registers)
    return Submission(None, period, until, bounds, limit, sent, silence, by_norm)


def _bounds(meter: Meter, register: Register, last: int, limit: int) -> Bounds:
    return Bounds(register, last, min(last + limit, turn(meter.model.capacity) - 1))
