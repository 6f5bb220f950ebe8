"""Acts on a meter: installation, replacement, removal, failure and restoration (rules 1.3, 1.7; 59 «г», 81)."""

from __future__ import annotations

from datetime import datetime

from bels.domain.accept_reading import reading_period
from bels.domain.account import Account, Meter, Reading, Situation
from bels.domain.actual_readings import chain, disproved_by, may_have_rolled_over, signed, undisproved, went_down
from bels.domain.commands import InstallMeter, RemoveMeter, ReplaceMeter, ReportMeterFailure, RestoreMeter
from bels.domain.events import (
    CommandRefused,
    Event,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    ReadingDisproved,
    ReadingDisregarded,
)
from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    REGISTER_SETS,
    EntryNumber,
    FailureCause,
    Kwh,
    Meaning,
    MeterModel,
    Period,
    ReadingKind,
    ReadingStatus,
    Reason,
    Rule,
)

CAPACITIES = (5, 6, 7)
"""Integer digits a household meter may show; induction meters of 4 digits are not in service any more."""

METER_NUMBER_LENGTH_MAX = 40


def install_meter(account: Account, command: InstallMeter, rulebook: Rulebook) -> tuple[Event, ...]:
    """Install a meter: its initial values are an actual reading of the act's period.

    A meter that is still in service, without final values, counts as failed at the act.
    """
    refusal = _refusal_of_new_meter(account, command.meter, command.values, command.installed_at)
    if refusal is not None:
        return (_refused(command, refusal, command.installed_at),)
    period = reading_period(command.installed_at, rulebook)
    events: list[Event] = []
    current = current_meter(account)
    if current is not None and current.failed_at is None and current.model.number == command.meter.number:
        return (_refused(command, Reason.METER_EXISTS, command.installed_at),)
    if current is not None and current.failed_at is None:
        events += _fail(account, current, command.installed_at, period, FailureCause.NO_FINAL_VALUES, command.act)
    events.append(MeterInstalled(command.meter, command.installed_at, period, command.values, command.act))
    return tuple(events)


def remove_meter(account: Account, command: RemoveMeter, rulebook: Rulebook) -> tuple[Event, ...]:
    """Remove a meter with its final values, an actual reading; without them it counts as failed at the act."""
    current = current_meter(account)
    refusal = _refusal_of_act(account, command.removed_at, current) or _refusal_of_removal(
        account, command.removed_at, current
    )
    if refusal is not None or current is None:
        return (_refused(command, refusal or Reason.NO_METER, command.removed_at),)
    period = reading_period(command.removed_at, rulebook)
    return _remove(account, current, command, command.removed_at, period, command.values, command.meaning, rulebook)


def replace_meter(account: Account, command: ReplaceMeter, rulebook: Rulebook) -> tuple[Event, ...]:
    """Replace a meter, or its registers: final values of the old and initial values of the new in one act."""
    current = current_meter(account)
    refusal = _refusal_of_act(account, command.replaced_at, current) or _refusal_of_new_meter(
        account, command.meter, command.initial_values, command.replaced_at
    )
    if refusal is not None or current is None:
        return (_refused(command, refusal or Reason.NO_METER, command.replaced_at),)
    period = reading_period(command.replaced_at, rulebook)
    events = _remove(
        account, current, command, command.replaced_at, period, command.final_values, command.meaning, rulebook
    )
    if events and isinstance(events[0], CommandRefused):
        return events
    return (
        *events,
        MeterInstalled(command.meter, command.replaced_at, period, command.initial_values, command.act),
    )


def report_meter_failure(account: Account, command: ReportMeterFailure, rulebook: Rulebook) -> tuple[Event, ...]:
    """Report that a meter failed, was lost, or that its verification ran out: the average without a cap (59 «г»)."""
    current = current_meter(account)
    refusal = _refusal_of_act(account, command.failed_at, current)
    if refusal is None and current is not None and current.failed_at is not None:
        refusal = Reason.ALREADY_FAILED
    if refusal is not None or current is None:
        return (_refused(command, refusal or Reason.NO_METER, command.failed_at),)
    period = reading_period(command.failed_at, rulebook)
    return tuple(_fail(account, current, command.failed_at, period, command.cause, command.act))


def restore_meter(account: Account, command: RestoreMeter, rulebook: Rulebook) -> tuple[Event, ...]:
    """Restore a failed meter: like the installation of a new one, its history for averages starts anew."""
    current = current_meter(account)
    refusal = _refusal_of_act(account, command.restored_at, current)
    if refusal is None and current is not None:
        if current.failed_at is None:
            refusal = Reason.METER_NOT_FAILED
        elif command.restored_at < current.failed_at:
            refusal = Reason.ACT_OUT_OF_ORDER
        else:
            refusal = refusal_of_values(current.model, command.values)
    if refusal is not None or current is None:
        return (_refused(command, refusal or Reason.NO_METER, command.restored_at),)
    period = reading_period(command.restored_at, rulebook)
    return (MeterRestored(current.entry, command.restored_at, period, command.values, command.act),)


def current_meter(account: Account) -> Meter | None:
    """Give the meter now in service, also when it has failed."""
    return account.meters[-1] if account.meters and account.meters[-1].removed_at is None else None


def refusal_of_account(account: Account, at: datetime) -> Reason | None:
    """Say why an act of this moment cannot be recorded on the account, None when it can."""
    if account.situation is Situation.UNKNOWN:
        return Reason.UNKNOWN_ACCOUNT
    if account.closed_at is not None and at >= account.closed_at:
        return Reason.ACCOUNT_CLOSED
    if account.opened_at is not None and at < account.opened_at:
        return Reason.BAD_DATES
    return None


def refusal_of_carried(account: Account, period: Period) -> Reason | None:
    """Say why values of an act cannot be billed: an earlier system closed their period and did not tell with what."""
    closed = account.closed_period(period)
    return Reason.PERIOD_CLOSED if closed is not None and closed.unknown else None


def refusal_of_values(model: MeterModel, values: Kwh) -> Reason | None:
    """Say why values of an act do not fit a meter, None when they do."""
    if set(values) != set(model.registers):
        return Reason.TOO_FEW_VALUES if set(values) < set(model.registers) else Reason.TOO_MANY_VALUES
    if any(value < 0 for value in values.values()):
        return Reason.BAD_VALUE
    if any(value >= 10**model.capacity for value in values.values()):
        return Reason.TOO_MANY_DIGITS
    return None


def _refusal_of_act(account: Account, at: datetime, current: Meter | None) -> Reason | None:
    refusal = refusal_of_account(account, at)
    if refusal is not None:
        return refusal
    if current is None:
        return Reason.NO_METER
    return Reason.ACT_OUT_OF_ORDER if at < current.installed_at else None


def _refusal_of_removal(account: Account, at: datetime, meter: Meter | None) -> Reason | None:
    """Say why a meter cannot have been taken out of service then: an inspector saw it later."""
    seen = meter is not None and any(
        r.meter == meter.entry and r.kind is ReadingKind.CONTROL and r.at > at for r in account.readings
    )
    return Reason.ACT_OUT_OF_ORDER if seen else None


def _refusal_of_new_meter(account: Account, meter: MeterModel, values: Kwh, at: datetime) -> Reason | None:
    refusal = refusal_of_account(account, at) or refusal_of_model(meter) or refusal_of_values(meter, values)
    if refusal is not None:
        return refusal
    last = account.meters[-1] if account.meters else None
    if last is not None and at < (last.removed_at or last.installed_at):
        return Reason.ACT_OUT_OF_ORDER
    return _refusal_of_removal(account, at, current_meter(account))


def refusal_of_model(meter: MeterModel) -> Reason | None:
    """Say why a meter cannot serve a household, None when it can."""
    number = meter.number.strip()
    if (
        not number.isprintable()
        or not number
        or len(number) > METER_NUMBER_LENGTH_MAX
        or meter.capacity not in CAPACITIES
    ):
        return Reason.BAD_METER
    if frozenset(meter.registers) not in REGISTER_SETS or len(set(meter.registers)) != len(meter.registers):
        return Reason.BAD_METER
    if meter.display is not None and not set(meter.display.values()) <= set(meter.registers):
        return Reason.BAD_METER
    return None


def _fail(account: Account, meter: Meter, at: datetime, period: Period, cause: FailureCause, act: str) -> list[Event]:
    entry = EntryNumber(account.version + 1)
    events: list[Event] = [MeterFailed(meter.entry, at, period, cause, act)]
    events += [
        ReadingDisregarded(r.entry, entry, Rule.P59G)
        for r in account.readings
        if r.meter == meter.entry
        and r.period >= max(period, account.next_period)
        and r.kind is not ReadingKind.INITIAL
        and r.status in (ReadingStatus.ACCEPTED, ReadingStatus.HELD)
    ]
    if cause is FailureCause.NO_FINAL_VALUES:
        known = {e.reading for e in events if isinstance(e, ReadingDisregarded)}
        events += [
            ReadingDisregarded(r.entry, entry, Rule.P59G) for r in _after(account, meter, at) if r.entry not in known
        ]
    return events


def _after(account: Account, meter: Meter, at: datetime) -> list[Reading]:
    """List the readings of a meter that was not there any more: its removal became known late."""
    gone = (ReadingStatus.ACCEPTED, ReadingStatus.HELD, ReadingStatus.DISPROVED)
    return [r for r in account.readings if r.meter == meter.entry and r.at > at and r.status in gone]


def _remove(
    account: Account,
    meter: Meter,
    command: RemoveMeter | ReplaceMeter,
    at: datetime,
    period: Period,
    values: Kwh | None,
    meaning: Meaning | None,
    rulebook: Rulebook,
) -> tuple[Event, ...]:
    if values is None:
        if meter.failed_at is not None:
            return (_refused(command, Reason.ALREADY_FAILED, at),) if isinstance(command, RemoveMeter) else ()
        return tuple(_fail(account, meter, at, period, FailureCause.NO_FINAL_VALUES, command.act))
    refusal = refusal_of_carried(account, period) or refusal_of_values(meter.model, values)
    if refusal is not None:
        return (_refused(command, refusal, at),)
    before = [r for r in chain(account, meter.entry) if r.at <= at]
    base = (undisproved(before) or before)[-1]
    down = went_down(base.values, values)
    settings = rulebook.settings_of(period)
    unlikely = [r for r in down if not may_have_rolled_over(base.values[r], meter.model.capacity, settings)]
    if unlikely and meaning is None and meter.failed_at is None:
        return (_refused(command, Reason.LESS_THAN_PREVIOUS, at, f"{', '.join(unlikely)} < {dict(base.values)}"),)
    wrong = meaning is Meaning.PREVIOUS_WRONG and bool(down) and meter.failed_at is None
    kind = ReadingKind.CONTROL if wrong else ReadingKind.FINAL
    rollover = () if wrong else down
    removed = MeterRemoved(
        meter.entry,
        at,
        period,
        values,
        kind,
        base.entry,
        signed(base.values, values, meter.model.capacity, rollover),
        rollover,
        command.act,
    )
    entry = EntryNumber(account.version + 1)
    gone = [ReadingDisregarded(r.entry, entry, Rule.APP2_F1) for r in _after(account, meter, at)]
    disproved = disproved_by(account, values, meter, at) if wrong else ()
    return (removed, *gone, *(ReadingDisproved(r.entry, entry) for r in disproved))


def _refused(
    command: InstallMeter | RemoveMeter | ReplaceMeter | ReportMeterFailure | RestoreMeter,
    reason: Reason,
    at: datetime,
    detail: str | None = None,
) -> CommandRefused:
    return CommandRefused(type(command).__name__, reason, at, detail)
