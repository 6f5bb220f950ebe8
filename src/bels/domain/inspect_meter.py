"""Acts of an inspector: control reading (61), refusal of access (60(1), 60(3)), interference (62)."""

from __future__ import annotations

from bels.domain.accept_reading import in_time, meter_at, reading_period
from bels.domain.account import Account
from bels.domain.actual_readings import CONTROL_KINDS, chain, disproved_by, signed, undisproved, went_down
from bels.domain.commands import RecordAccessRefusal, RecordInterference, TakeControlReading
from bels.domain.events import (
    AccessRefused,
    CommandRefused,
    ControlReadingTaken,
    Event,
    InterferenceFound,
    ProvenUsage,
    ReadingDisproved,
    ReadingDisregarded,
)
from bels.domain.rulebook import Rulebook
from bels.domain.service_meter import current_meter, refusal_of_account, refusal_of_values
from bels.domain.terms import EntryNumber, ReadingKind, ReadingStatus, Reason, Rule


def take_control_reading(account: Account, command: TakeControlReading, rulebook: Rulebook) -> tuple[Event, ...]:
    """Take a control reading: its difference to the reading before is signed, and it disproves higher ones before it."""
    meter = meter_at(account, command.taken_at)
    refusal = refusal_of_account(account, command.taken_at)
    if refusal is None and meter is None:
        refusal = Reason.NO_METER
    if refusal is None and meter is not None:
        refusal = (
            Reason.ALREADY_FAILED if meter.failed_at is not None else refusal_of_values(meter.model, command.values)
        )
    if refusal is not None or meter is None:
        return (_refused(command, refusal or Reason.NO_METER),)
    readings = chain(account, meter.entry)
    later = [r for r in undisproved(readings) if r.at > command.taken_at]
    if later and later[0].kind not in CONTROL_KINDS and went_down(command.values, later[0].values):
        return (_refused(command, Reason.MORE_THAN_NEXT, str(later[0].entry)),)
    period = reading_period(command.taken_at, rulebook)
    proven = tuple(ProvenUsage(p, kwh) for p, kwh in sorted((command.proven or {}).items()))
    for proof in proven:
        closed = account.closed_period(proof.period)
        if closed is None:
            return (_refused(command, Reason.PERIOD_NOT_CLOSED, proof.period),)
        if not set(proof.kwh) <= set(meter.model.registers) or any(kwh < 0 for kwh in proof.kwh.values()):
            return (_refused(command, Reason.BAD_VALUE, proof.period),)
    base = next(r for r in reversed(readings) if r.at <= command.taken_at)
    down = went_down(base.values, command.values)
    rollover = tuple(r for r in command.rollover if r in down)
    taken = ControlReadingTaken(
        meter.entry,
        command.taken_at,
        period,
        command.values,
        base.entry,
        signed(base.values, command.values, meter.model.capacity, rollover),
        rollover,
        proven,
        command.act,
    )
    if rollover:
        return (taken,)
    entry = EntryNumber(account.version + 1)
    disproved = disproved_by(account, command.values, meter, command.taken_at)
    return (taken, *(ReadingDisproved(r.entry, entry) for r in disproved))


def record_access_refusal(account: Account, command: RecordAccessRefusal, rulebook: Rulebook) -> tuple[Event, ...]:
    """Record a refusal of access; with the second since the last check, readings of its period no longer count."""
    meter = current_meter(account)
    refusal = refusal_of_account(account, command.refused_at)
    if refusal is not None or meter is None:
        return (_refused(command, refusal or Reason.NO_METER),)
    period = reading_period(command.refused_at, rulebook)
    earlier = 0
    for act in in_time(account.access):
        if act.at <= command.refused_at:
            earlier = earlier + 1 if act.refused else 0
    events: list[Event] = [AccessRefused(command.refused_at, period, earlier + 1, command.act)]
    if earlier == 1:
        entry = EntryNumber(account.version + 1)
        events += [
            ReadingDisregarded(r.entry, entry, Rule.P60_3)
            for r in account.readings
            if r.kind is ReadingKind.SENT
            and r.period >= max(period, account.next_period)
            and r.status in (ReadingStatus.ACCEPTED, ReadingStatus.HELD)
        ]
    return tuple(events)


def record_interference(account: Account, command: RecordInterference, rulebook: Rulebook) -> tuple[Event, ...]:
    """Record interference with a meter: at most three closed periods before the act go to ten norms."""
    refusal = refusal_of_account(account, command.found_at)
    if refusal is not None:
        return (_refused(command, refusal),)
    period = reading_period(command.found_at, rulebook)
    periods = tuple(sorted(set(command.periods)))
    if not periods or len(periods) > rulebook.settings_of(period).interference_periods_max:
        return (_refused(command, Reason.TOO_MANY_PERIODS, str(len(periods))),)
    for p in periods:
        if p >= period or account.closed_period(p) is None:
            return (_refused(command, Reason.PERIOD_NOT_CLOSED, p),)
    return (InterferenceFound(command.found_at, period, periods, command.act),)


def _refused(
    command: TakeControlReading | RecordAccessRefusal | RecordInterference,
    reason: Reason,
    detail: str | None = None,
) -> CommandRefused:
    if isinstance(command, TakeControlReading):
        at = command.taken_at
    else:
        at = command.refused_at if isinstance(command, RecordAccessRefusal) else command.found_at
    return CommandRefused(type(command).__name__, reason, at, detail)
