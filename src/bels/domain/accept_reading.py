"""A reading is accepted, held or refused by the checks of rules 1.2, in their order; the first that fails is the answer."""

from __future__ import annotations

from datetime import datetime
from re import compile as pattern

from bels.domain.account import AccessAct, Account, Meter, Reading, Situation
from bels.domain.actual_readings import (
    average_until,
    base_of,
    chain,
    delta,
    following_of,
    may_have_rolled_over,
    shows_more,
    went_down,
)
from bels.domain.commands import SubmitReading
from bels.domain.events import Event, ReadingAccepted, ReadingHeld, ReadingRefused, ReadingSuperseded
from bels.domain.periods import months_between, moscow_date, period_of
from bels.domain.read_value import quoted, quoted_number, read_value
from bels.domain.rulebook import Rulebook, Settings
from bels.domain.speak_for import must_be_confirmed
from bels.domain.terms import EntryNumber, HoldReason, Kwh, Period, ReadingKind, ReadingStatus, Reason, Register, Role

_ACCOUNT = pattern(r"[0-9]{7}")


def accept_reading(account: Account, command: SubmitReading, rulebook: Rulebook) -> tuple[Event, ...]:
    """Decide a reading: accepted for its period, held (на проверке) with a reason, or refused with a reason."""
    received_at = command.received_at
    refusal = _refusal_of_account(account, received_at)
    if refusal is not None:
        return (_refused(command, refusal),)
    meter = meter_at(account, received_at)
    if command.meter is not None:
        refusal = _refusal_of_named_meter(account, command.meter, meter)
        if refusal is not None:
            return (_refused(command, refusal, meter, detail=quoted_number(command.meter or "")),)
    if meter is not None and meter.model.automatic and command.role is not Role.REMOTE:
        return (_refused(command, Reason.METER_NOT_READ_BY_CONSUMER, meter),)
    period = reading_period(received_at, rulebook)
    if meter is None or not readings_taken(account, meter, received_at, period):
        return (_refused(command, Reason.READINGS_NOT_TAKEN, meter),)
    if command.taken_at is not None and command.taken_at > received_at:
        return (_refused(command, Reason.TAKEN_IN_FUTURE, meter),)
    values = _read_values(command, meter)
    if isinstance(values, ReadingRefused):
        return (values,)
    base = base_of(account, meter.entry, period, received_at)
    if base is None:
        # A row dated before the meter's first actual reading rests on nothing.
        return (_refused(command, Reason.READINGS_NOT_TAKEN, meter),)
    settings = rulebook.settings_of(period)
    return _weigh(account, command, meter, period, values, base, settings)


def reading_period(received_at: datetime, rulebook: Rulebook) -> Period:
    """Give the period to which a fact of this moment belongs, by the deadline day in force."""
    month = period_of(received_at, 31)
    return period_of(received_at, rulebook.settings_of(month).reading_deadline_day)


def meter_at(account: Account, at: datetime) -> Meter | None:
    """Find the meter that was in service at a moment."""
    for meter in reversed(account.meters):
        if meter.installed_at <= at and (meter.removed_at is None or at < meter.removed_at):
            return meter
    return None


def readings_taken(account: Account, meter: Meter, at: datetime, period: Period) -> bool:
    """Say whether readings are taken: no second refusal of access without a check (60(1)), no failed meter (59 «г»).

    Both take away their whole period, also what was received in it before the act.
    """
    if meter.failed_in is not None and period >= meter.failed_in:
        return False
    return not any(
        period >= second.period and (check is None or at < check.at) for second, check in barred(account.access)
    )


def barred(acts: tuple[AccessAct, ...]) -> list[tuple[AccessAct, AccessAct | None]]:
    """List when two refusals of access stood: the second refusal, and the check or installation that ended it, if any."""
    spans: list[tuple[AccessAct, AccessAct | None]] = []
    if len(acts) < 2:
        return spans
    refusals = 0
    for act in sorted(acts, key=lambda act: (act.at, act.entry)):
        if not act.refused and refusals >= 2:
            spans[-1] = (spans[-1][0], act)
        refusals = refusals + 1 if act.refused else 0
        if refusals == 2:
            spans.append((act, None))
    return spans


def superseded_by(
    account: Account, reading: EntryNumber, meter: EntryNumber, period: Period, at: datetime
) -> list[Event]:
    """List what an accepted reading supersedes: the older sent ones of its period, and every older held one.

    The last received counts (equal times: the last recorded); one that came late is itself superseded at once. So is one
    of a period that an earlier system billed, nobody here knows how: what was used after its reading is still to be billed.
    """
    events: list[Event] = []
    closed = account.closed_period(period)
    if closed is not None and closed.unknown:
        return [ReadingSuperseded(reading, chain(account, meter, period)[-1].entry)]
    for other in account.readings:
        if other.meter != meter or other.kind is not ReadingKind.SENT or other.entry == reading:
            continue
        if other.status is ReadingStatus.HELD and other.at < at:
            events.append(ReadingSuperseded(other.entry, reading))
        elif other.status in (ReadingStatus.ACCEPTED, ReadingStatus.DISPROVED) and other.period == period:
            older = (other.at, other.entry) < (at, reading)
            events.append(ReadingSuperseded(other.entry, reading) if older else ReadingSuperseded(reading, other.entry))
    return events


def _refusal_of_account(account: Account, at: datetime) -> Reason | None:
    if not _ACCOUNT.fullmatch(account.number):
        return Reason.BAD_ACCOUNT
    if account.situation is Situation.UNKNOWN:
        return Reason.UNKNOWN_ACCOUNT
    if account.closed_at is not None and at >= account.closed_at:
        return Reason.ACCOUNT_CLOSED
    return None


def _refusal_of_named_meter(account: Account, number: str, meter: Meter | None) -> Reason | None:
    if meter is not None and meter.model.number == number:
        return None
    known = any(m.model.number == number for m in account.meters)
    return Reason.METER_CLOSED if known else Reason.FOREIGN_METER


def _refused(
    command: SubmitReading, reason: Reason, meter: Meter | None = None, detail: str | None = None
) -> ReadingRefused:
    return ReadingRefused(
        reason,
        command.received_at,
        {name: quoted(text) for name, text in command.values.items()},
        meter.model.registers if meter is not None else (),
        meter.model.capacity if meter is not None else None,
        detail,
    )


def _read_values(command: SubmitReading, meter: Meter) -> dict[Register, int] | ReadingRefused:
    read = {name: read_value(text) for name, text in command.values.items()}
    for name, value in read.items():
        if value is None:
            return _refused(command, Reason.BAD_VALUE, meter, detail=quoted(command.values[name]))
    expected = meter.model.registers
    missing = [register for register in expected if register not in read]
    if missing:
        return _refused(command, Reason.TOO_FEW_VALUES, meter, detail=f"{len(expected) - len(missing)}/{len(expected)}")
    if len(read) > len(expected):
        return _refused(command, Reason.TOO_MANY_VALUES, meter, detail=f"{len(read)}/{len(expected)}")
    values = {register: value for register in expected if (value := read[register]) is not None}
    for register, value in values.items():
        if value >= 10**meter.model.capacity:
            return _refused(command, Reason.TOO_MANY_DIGITS, meter, detail=quoted(command.values[register]))
    return values


def _weigh(
    account: Account,
    command: SubmitReading,
    meter: Meter,
    period: Period,
    values: dict[Register, int],
    base: Reading,
    settings: Settings,
) -> tuple[Event, ...]:
    capacity = meter.model.capacity
    used = delta(base.values, values, capacity)
    entry = EntryNumber(account.version + 1)
    hold = _hold(account, command.received_at, meter, period, values, base, settings)
    if hold is None:
        limit = plausible_limit(account, meter, base, command.received_at, period, settings)
        if sum(used.values()) > limit:
            hold = HoldReason.IMPLAUSIBLE
    else:
        limit = 0
    if hold is None and must_be_confirmed(account, command.claim, meter, period, values):
        hold = HoldReason.UNCONFIRMED_SENDER
    if hold is None:
        accepted = ReadingAccepted(
            meter.entry, period, command.received_at, command.taken_at, values, base.entry, used, command.role
        )
        return (accepted, *superseded_by(account, entry, meter.entry, period, command.received_at))
    held = ReadingHeld(
        meter.entry,
        period,
        command.received_at,
        command.taken_at,
        values,
        base.entry,
        used,
        command.role,
        hold,
        limit if hold is HoldReason.IMPLAUSIBLE else None,
        base.values,
    )
    later = next(
        (
            r
            for r in account.readings
            if r.meter == meter.entry
            and r.kind is ReadingKind.SENT
            and r.status is ReadingStatus.ACCEPTED
            and r.at > command.received_at
        ),
        None,
    )
    return (held,) if later is None else (held, ReadingSuperseded(entry, later.entry))


def _hold(
    account: Account,
    at: datetime,
    meter: Meter,
    period: Period,
    values: Kwh,
    base: Reading,
    settings: Settings,
) -> HoldReason | None:
    capacity = meter.model.capacity
    if any(
        not may_have_rolled_over(base.values[register], capacity, settings)
        for register in went_down(base.values, values)
    ):
        return HoldReason.LESS_THAN_PREVIOUS
    following = following_of(account, meter.entry, period, at)
    if following is not None and shows_more(base, values, following, capacity):
        return HoldReason.MORE_THAN_NEXT
    return None


def plausible_limit(
    account: Account, meter: Meter, base: Reading, received_at: datetime, period: Period, settings: Settings
) -> int:
    """Give L, the kWh since the base above which a reading is implausible (rules 1.2)."""
    days = max(1, (moscow_date(received_at) - moscow_date(base.at)).days)
    by_power = settings.plausible_kw * 24 * days
    average = average_until(account, meter, base, settings)
    if average is None:
        return by_power
    gap = max(1, months_between(base.period, period))
    usual = settings.plausible_average_factor * sum(average.kwh.values()) * gap
    return min(by_power, max(settings.plausible_floor_kwh, usual))
