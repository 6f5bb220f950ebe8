"""Closing a period decides how it is billed (rules 1.4, in the order of its table), once, from the 1st of the next month.

The bill is the charges of its kWh at its own tariff, the recalculations that its readings bring, each priced at the tariff of the
period it puts right, and the penalties through its last day. A rate that is needed and not known stops the closing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bels.domain.accept_reading import barred
from bels.domain.account import Account, Meter, Situation
from bels.domain.accrue_penalty import accrue_penalty
from bels.domain.actual_readings import CONTROL_KINDS, chain
from bels.domain.apportion import half_up
from bels.domain.charge_usage import Unpriced, charge_kwh, charge_usage, sum_of, usage_of
from bels.domain.closed_period import ClosedPeriod
from bels.domain.commands import ClosePeriod
from bels.domain.due_date import due_date
from bels.domain.estimate_usage import Estimate, estimate_failed_meter, estimate_usage, estimate_without_meter, norm_of
from bels.domain.events import (
    Average,
    CommandRefused,
    EstimationModeChanged,
    Event,
    InspectionDue,
    Norm,
    PeriodClosed,
    PeriodMissed,
    UsageLine,
    UsageRecalculated,
)
from bels.domain.money import ZERO
from bels.domain.periods import days_in, first_day, moscow_date, over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.settle_gap import Settled, recalculations, settle_gaps
from bels.domain.terms import (
    REGISTER_ORDER,
    Kwh,
    Mode,
    Money,
    Period,
    Reason,
    RecalculationReason,
    Register,
    Rule,
)

INSPECTION_DAYS = 15
"""Days after the deadline of the sixth missed period within which the supplier checks (point 84)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a period is billed, and why."""

    mode: Mode
    lines: tuple[UsageLine, ...]
    missed: int = 0
    average: Average | None = None
    norm: Norm | None = None


def close_period(account: Account, command: ClosePeriod, rulebook: Rulebook) -> tuple[Event, ...]:
    """Close the next period of an account: its usage, the recalculations it brings, the missed period, the mode."""
    refusal = _refusal(account, command)
    if refusal is not None:
        return (CommandRefused("ClosePeriod", refusal, command.closed_at, command.period),)
    period = command.period
    settings = rulebook.settings_of(period)
    refused = access_is_refused(account, period)
    # The last period of an account has no next bill for which a reading could wait.
    at_once = _has_act(account, period) or period == account.last_period
    settled = settle_gaps(account, period, settings.settlement, at_once, refused)
    usage = _usage(account, period, rulebook, settled)
    kwh = _sum(usage.lines)
    norms = {
        p: settings.interference_norms * norm_of(account, p, rulebook).kwh
        for act in account.interferences
        if not act.billed and act.period <= period
        for p in act.periods
    }
    group = rulebook.group_of(account.locality, account.stove)
    charges = charge_usage(usage.lines, group, period, rulebook)
    if isinstance(charges, Unpriced):
        return (CommandRefused("ClosePeriod", charges.reason, command.closed_at, charges.detail),)
    charged = sum_of(charges)
    due_on = due_date(period, rulebook)
    lines = _priced(account, period, charged, recalculations(account, period, kwh, settled, norms), group, rulebook)
    if isinstance(lines, Unpriced):
        return (CommandRefused("ClosePeriod", lines.reason, command.closed_at, lines.detail),)
    events: list[Event] = []
    # A reading that waits for the next bill (NEXT_PERIOD) was sent: the period is estimated, but not missed.
    missed = 0 if settled.deferred else usage.missed
    if missed:
        events.append(PeriodMissed(period, missed))
    events.append(
        PeriodClosed(
            period,
            command.closed_at,
            usage.mode,
            kwh,
            usage.lines,
            usage.missed,
            usage.average,
            usage.norm,
            settings.settlement,
            tuple(settled.steps),
            tuple(settled.withdrawn),
            settled.deferred,
            rulebook.version,
            charges,
            charged,
            sum((line.difference for line in lines), ZERO),
            due_on,
        )
    )
    events.extend(lines)
    penalty = accrue_penalty(account.ledger, period, moscow_date(command.closed_at), rulebook)
    if penalty is not None:
        events.append(penalty)
    if usage.mode is not account.mode:
        events.append(EstimationModeChanged(period, account.mode, usage.mode))
    if missed == settings.inspection_after_missed:
        due = first_day(period) + timedelta(days=settings.reading_deadline_day - 1 + INSPECTION_DAYS)
        events.append(InspectionDue(period, due))
    return tuple(events)


def _priced(
    account: Account,
    period: Period,
    charged: Money,
    lines: Sequence[UsageRecalculated],
    group: str,
    rulebook: Rulebook,
) -> tuple[UsageRecalculated, ...] | Unpriced:
    """Price recalculations: before is what stands charged, after the new kWh at the period's own tariff and ranges.

    First come the periods whose tariff was changed for the past: so a line that also changes their kWh is a line of its own.
    """
    stands: dict[Period, Money] = {period: charged}
    priced: list[UsageRecalculated] = []
    for line in (*_at_new_tariffs(account, period, rulebook), *lines):
        before = stands.get(line.period)
        if before is None:
            standing = _standing(account, line.period, group, rulebook)
            if isinstance(standing, Unpriced):
                return standing
            before = standing
        if line.reason is RecalculationReason.TARIFF_CHANGED:
            closed = account.closed_period(line.period)
            known = usage_of(closed.charges) if closed is not None else ()
            after = charge_usage(known, group, line.period, rulebook)
        else:
            interfered = line.reason is RecalculationReason.INTERFERENCE
            mode = Mode.NORMATIVE if interfered else Mode.METERED
            after = charge_kwh(line.after, mode, line.rule, group, line.period, rulebook)
        if isinstance(after, Unpriced):
            return after
        stands[line.period] = sum_of(after)
        if line.reason is RecalculationReason.TARIFF_CHANGED and stands[line.period] == before:
            continue
        priced.append(
            replace(
                line,
                money_before=before,
                money_after=stands[line.period],
                charges=after,
                rulebook=rulebook.version,
            )
        )
    return tuple(priced)


def recalculated_at(account: Account, rulebook: Rulebook) -> tuple[UsageRecalculated, ...] | Unpriced:
    """List what the next closing would post for tariffs that were changed for the past; nothing where none is to come."""
    if account.last_period is not None and account.next_period > account.last_period:
        return ()
    return _priced(account, account.next_period, ZERO, (), rulebook.group_of(account.locality, account.stove), rulebook)


def _standing(account: Account, period: Period, group: str, rulebook: Rulebook) -> Money | Unpriced:
    """Say what stands charged for a closed period; where an earlier system did not tell, its kWh at their own tariff."""
    closed = account.closed_period(period)
    if closed is None:
        return ZERO
    if closed.money is not None:
        return closed.money
    charges = charge_kwh(closed.stands, closed.mode, Rule.APP2_F1, group, period, rulebook)
    return charges if isinstance(charges, Unpriced) else sum_of(charges)


def _at_new_tariffs(account: Account, period: Period, rulebook: Rulebook) -> tuple[UsageRecalculated, ...]:
    """List the closed periods that were charged at rates which a later publication changed for the past."""
    if not rulebook.retroactions:
        return ()
    return tuple(
        UsageRecalculated(
            period,
            closed.period,
            RecalculationReason.TARIFF_CHANGED,
            Rule.RETROACTIVE_TARIFF,
            closed.stands,
            closed.stands,
            ground="; ".join(reasons),
        )
        for closed in account.closed
        if (reasons := retroactive_reasons(closed, rulebook))
    )


def retroactive_reasons(closed: ClosedPeriod, rulebook: Rulebook) -> tuple[str, ...]:
    """Give the reasons of the publications that may have changed the price of a closed period since it was charged."""
    if not closed.charges:
        return ()
    return tuple(r.reason for r in rulebook.retroactions if r.number > closed.priced_by and r.since <= closed.period)


def _refusal(account: Account, command: ClosePeriod) -> Reason | None:
    if account.situation is Situation.UNKNOWN:
        return Reason.UNKNOWN_ACCOUNT
    if command.period < account.next_period:
        return Reason.PERIOD_ALREADY_CLOSED
    if account.last_period is not None and command.period > account.last_period:
        return Reason.ACCOUNT_CLOSED
    if command.period > account.next_period:
        return Reason.PERIOD_OUT_OF_ORDER
    if command.closed_at < over_at(command.period):
        return Reason.PERIOD_NOT_OVER
    return None


def _has_act(account: Account, period: Period) -> bool:
    return (
        any(m.installed_in == period or m.removed_in == period or m.failed_in == period for m in account.meters)
        or any(r.period == period and r.kind in CONTROL_KINDS for r in account.readings)
        or any(act.period == period for act in account.access)
        or any(act.period == period for act in account.interferences)
    )


def access_is_refused(account: Account, period: Period) -> bool:
    """Say whether two refusals of access stand without a check or an installation, up to and with the period."""
    return any(
        second.period <= period and (check is None or check.period > period) for second, check in barred(account.access)
    )


def meter_of(account: Account, period: Period) -> Meter | None:
    """Find the meter that was in service when the period began, or else the first one installed in it."""
    for meter in account.meters:
        if meter.installed_in < period and (meter.removed_in is None or meter.removed_in >= period):
            return meter
    return next((m for m in account.meters if m.installed_in == period), None)


def _usage(account: Account, period: Period, rulebook: Rulebook, settled: Settled) -> Usage:
    if access_is_refused(account, period):
        norm = norm_of(account, period, rulebook)
        line = UsageLine(Register.TOTAL, norm.kwh, Mode.NORMATIVE_INCREASED, Rule.P60_3)
        return Usage(Mode.NORMATIVE_INCREASED, (line,), norm=norm)
    meter = meter_of(account, period)
    if meter is None:
        return _from_estimate(estimate_without_meter(account, period, rulebook))
    if meter.failed_in is not None and meter.failed_in <= period:
        return _failed(account, meter, period, rulebook, settled)
    if not settled.deferred and has_actual(account, period):
        return Usage(Mode.METERED, _metered(account, period, settled))
    return _from_estimate(estimate_usage(account, meter, period, rulebook))


def has_actual(account: Account, period: Period) -> bool:
    """Say whether an actual reading of the period is known."""
    return any(r.period == period for m in account.meters for r in chain(account, m.entry, period))


def _from_estimate(estimate: Estimate) -> Usage:
    lines = _lines(estimate.kwh, estimate.mode, estimate.rule)
    return Usage(estimate.mode, lines, estimate.missed, estimate.average, estimate.norm)


def _metered(account: Account, period: Period, settled: Settled) -> tuple[UsageLine, ...]:
    used: Kwh = settled.metered
    if not used:
        meter = next(m for m in reversed(account.meters) if m.installed_in <= period)
        used = dict.fromkeys(meter.model.registers, 0)
    return _lines(used, Mode.METERED, Rule.APP2_F1)


def _failed(account: Account, meter: Meter, period: Period, rulebook: Rulebook, settled: Settled) -> Usage:
    """A failed meter: the average; in the period of the new installation, the average for the days before the act."""
    estimate = estimate_failed_meter(account, meter, rulebook, period)
    following = next((m for m in account.meters if m.installed_in == period and m.entry > meter.entry), None)
    if following is None:
        return _from_estimate(estimate)
    month = shift(period, -1)
    deadline = rulebook.settings_of(month).reading_deadline_day
    since = first_day(month) + timedelta(days=deadline)
    days = max(0, (moscow_date(following.installed_at) - since).days)
    kwh = {r: half_up(part * days, days_in(month)) for r, part in estimate.kwh.items()}
    lines = _lines(kwh, estimate.mode, estimate.rule) + _lines(settled.metered, Mode.METERED, Rule.APP2_F1)
    return Usage(estimate.mode, lines, 0, estimate.average, estimate.norm)


def _lines(kwh: Kwh, mode: Mode, rule: Rule) -> tuple[UsageLine, ...]:
    return tuple(UsageLine(r, kwh[r], mode, rule) for r in REGISTER_ORDER if r in kwh)


def _sum(lines: tuple[UsageLine, ...]) -> dict[Register, int]:
    usage: dict[Register, int] = {}
    for line in lines:
        usage[line.register] = usage.get(line.register, 0) + line.kwh
    return usage
