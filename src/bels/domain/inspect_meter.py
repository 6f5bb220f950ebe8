"""Acts of an inspector: control reading (61), refusal of access (60(1), 60(3)), interference (62)."""

from __future__ import annotations

from collections.abc import Sequence

from bels.domain.accept_reading import barred, meter_at, reading_period
from bels.domain.account import AccessAct, Account, Meter, Reading
from bels.domain.actual_readings import (
    CONTROL_KINDS,
    chain,
    disproved_by,
    shows_more,
    signed,
    undisproved,
    went_down,
)
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
from bels.domain.service_meter import current_meter, refusal_of_account, refusal_of_carried, refusal_of_values
from bels.domain.terms import EntryNumber, ReadingKind, ReadingStatus, Reason, Rule


def take_control_reading(account: Account, command: TakeControlReading, rulebook: Rulebook) -> tuple[Event, ...]:
    """Take a control reading: its difference to the reading before is signed, and it disproves higher ones before it."""
    meter = meter_at(account, command.taken_at)
    refusal = refusal_of_account(account, command.taken_at)
    if refusal is None and meter is None:
        refusal = Reason.NO_METER
    period = reading_period(command.taken_at, rulebook)
    if refusal is None and meter is not None:
        refusal = refusal_of_carried(account, period) or refusal_of_values(meter.model, command.values)
        if meter.failed_in is not None and period >= meter.failed_in:
            refusal = Reason.ALREADY_FAILED
    if refusal is not None or meter is None:
        return (_refused(command, refusal or Reason.NO_METER),)
    readings = chain(account, meter.entry)
    following = next((r for r in undisproved(readings) if r.at > command.taken_at), None)
    if following is not None and _shows_more(readings, command, following, meter):
        return (_refused(command, Reason.MORE_THAN_NEXT, str(following.entry)),)
    proven = tuple(ProvenUsage(p, kwh) for p, kwh in sorted((command.proven or {}).items()))
    for proof in proven:
        closed = account.closed_period(proof.period)
        if closed is None or closed.final:
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


def _shows_more(readings: Sequence[Reading], command: TakeControlReading, following: Reading, meter: Meter) -> bool:
    """Say whether a control reading that became known late shows more than a sent or final reading after it."""
    if following.kind in CONTROL_KINDS:
        return False
    before = [r for r in undisproved(readings) if r.at <= command.taken_at]
    lower = not before or any(r not in command.rollover for r in went_down(before[-1].values, command.values))
    if lower:
        return bool(went_down(command.values, following.values))
    return shows_more(before[-1], command.values, following, meter.model.capacity)


def record_access_refusal(account: Account, command: RecordAccessRefusal, rulebook: Rulebook) -> tuple[Event, ...]:
    """Record a refusal of access; with the second since the last check, readings of its period no longer count."""
    meter = current_meter(account)
    refusal = refusal_of_account(account, command.refused_at)
    if refusal is not None or meter is None:
        return (_refused(command, refusal or Reason.NO_METER),)
    period = reading_period(command.refused_at, rulebook)
    entry = EntryNumber(account.version + 1)
    earlier = 0
    for act in sorted(account.access, key=lambda act: (act.at, act.entry)):
        if act.at <= command.refused_at:
            earlier = earlier + 1 if act.refused else 0
    refused = AccessRefused(command.refused_at, period, earlier + 1, command.act)
    spans = barred((*account.access, AccessAct(entry, command.refused_at, period, refused=True)))
    disregarded = (
        ReadingDisregarded(r.entry, entry, Rule.P60_3)
        for r in account.readings
        if r.kind is ReadingKind.SENT
        and r.status in (ReadingStatus.ACCEPTED, ReadingStatus.HELD)
        and r.period >= account.next_period
        and any(r.period >= second.period and (check is None or r.at < check.at) for second, check in spans)
    )
    return (refused, *disregarded)


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
        closed = account.closed_period(p)
        if p >= period or closed is None or closed.unknown:
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
