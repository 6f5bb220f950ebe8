"""An account is opened once and closed once; between them its residents change (points 34, 56, 86; rules 1.10)."""

from __future__ import annotations

from datetime import date
from re import compile as pattern

from bels.domain.accept_reading import reading_period
from bels.domain.account import Account, Situation
from bels.domain.commands import (
    CarriedPeriod,
    CarryOverHistory,
    ChangeResidents,
    CloseAccount,
    OpenAccount,
    RegisterAbsence,
    RegisterTemporaryResidents,
)
from bels.domain.due_date import due_date
from bels.domain.events import (
    AbsenceRegistered,
    AccountClosed,
    AccountOpened,
    CommandRefused,
    Event,
    MeterInstalled,
    PeriodCarriedOver,
    ReadingCarriedOver,
    ResidentsChanged,
    TemporaryResidentsRegistered,
)
from bels.domain.money import ZERO, is_sum
from bels.domain.money_events import (
    BalanceCarriedOver,
)
from bels.domain.periods import after, first_day, moscow_date, over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.service_meter import refusal_of_model, refusal_of_values
from bels.domain.terms import EntryNumber, Mode, Reason, Register

PERSONS_MAX = 100
ROOMS_MAX = 30
OPENED_YEAR_MIN = 1990
"""No account of today is older in any system; an earlier year is a slip, and would have a period for each month."""
HISTORY_PERIODS_MAX = 600
"""Periods that an earlier system may have billed: fifty years."""

STAY_DAYS_MIN = 6
"""A stay or an absence counts from more than five full days."""

_ACCOUNT = pattern(r"[0-9]{7}")


def open_account(account: Account, command: OpenAccount, rulebook: Rulebook) -> tuple[Event, ...]:
    """Open an account; its first period is the one of the opening."""
    refusal: Reason | None = None
    if not _ACCOUNT.fullmatch(account.number):
        refusal = Reason.BAD_ACCOUNT
    elif account.situation is not Situation.UNKNOWN:
        refusal = Reason.ACCOUNT_EXISTS
    elif command.opened_at.year < OPENED_YEAR_MIN:
        refusal = Reason.BAD_DATES
    elif not (
        0 <= command.permanent <= PERSONS_MAX and 1 <= command.owners <= PERSONS_MAX and 1 <= command.rooms <= ROOMS_MAX
    ):
        refusal = Reason.BAD_RESIDENTS
    if refusal is not None:
        return (CommandRefused("OpenAccount", refusal, command.opened_at),)
    return (
        AccountOpened(
            command.opened_at,
            reading_period(command.opened_at, rulebook),
            command.locality,
            command.stove,
            command.rooms,
            command.permanent,
            command.owners,
        ),
    )


def close_account(account: Account, command: CloseAccount, rulebook: Rulebook) -> tuple[Event, ...]:
    """Close an account: the period of the closing is its last one."""
    refusal = _refusal_of_open(account)
    last = reading_period(command.closed_at, rulebook)
    if refusal is None and account.opened_at is not None and command.closed_at < account.opened_at:
        refusal = Reason.BAD_DATES
    if refusal is None and last < shift(account.next_period, -1):
        refusal = Reason.PERIOD_CLOSED
    if refusal is not None:
        return (CommandRefused("CloseAccount", refusal, command.closed_at),)
    return (AccountClosed(command.closed_at, last, command.ground),)


def carry_over_history(account: Account, command: CarryOverHistory, rulebook: Rulebook) -> tuple[Event, ...]:
    """Carry an account over from an earlier system: its meter's actual readings, and what is billed there."""
    refusal, detail = _refusal_of_history(account, command, rulebook)
    if refusal is not None:
        at = command.carried_at or account.opened_at or over_at(command.billed_through)
        return (CommandRefused("CarryOverHistory", refusal, at, detail),)
    events: list[Event] = []
    if command.meter is not None:
        first, *rest = command.readings
        entry = EntryNumber(account.version + 1)
        period = reading_period(first.at, rulebook)
        events.append(MeterInstalled(command.meter, first.at, period, first.values, ""))
        events += [ReadingCarriedOver(entry, r.at, reading_period(r.at, rulebook), r.values) for r in rest]
    named = {p.period: p for p in command.periods}
    start = min((*named, command.billed_through))
    for p in (start, *after(start, command.billed_through)):
        billed = named.get(p)
        if billed is not None:
            events.append(PeriodCarriedOver(p, billed.mode, billed.usage, billed.estimated, billed.billed))
        else:
            events.append(PeriodCarriedOver(p, Mode.METERED, {}, estimated=False))
    through = command.billed_through
    if command.balance or command.penalty:
        on = moscow_date(command.carried_at or over_at(through))
        balance, penalty = command.balance or ZERO, command.penalty or ZERO
        events.append(BalanceCarriedOver(through, on, due_date(through, rulebook), balance, penalty))
    return tuple(events)


def _refusal_of_history(
    account: Account, command: CarryOverHistory, rulebook: Rulebook
) -> tuple[Reason | None, str | None]:
    refusal = _refusal_of_open(account)
    if refusal is not None:
        return refusal, None
    # What was paid here stands on a bill of a period that the history would close.
    if account.meters or account.closed or account.ledger.payments:
        return Reason.NOT_MIGRATING, None
    for carried in (command.balance, command.penalty, *(p.billed for p in command.periods)):
        if carried is not None and not is_sum(carried):
            return Reason.BAD_AMOUNT, str(carried)[:40]
    for billed in command.periods:
        refusal = _refusal_of_billed(command, billed)
        if refusal is not None:
            return refusal, billed.period
    if command.meter is None:
        return (Reason.BAD_METER, None) if command.readings else (None, None)
    if not command.readings:
        return Reason.TOO_FEW_VALUES, None
    refusal = refusal_of_model(command.meter)
    if refusal is not None:
        return refusal, None
    before = None
    for reading in command.readings:
        refusal = refusal_of_values(command.meter, reading.values)
        if refusal is not None:
            return refusal, reading.at.isoformat()
        if before is not None and reading.at <= before:
            return Reason.BAD_DATES, reading.at.isoformat()
        before = reading.at
    last = reading_period(command.readings[-1].at, rulebook)
    if last > command.billed_through:
        return Reason.BAD_DATES, last
    missing = set(after(last, command.billed_through)) - {p.period for p in command.periods}
    return (Reason.PERIOD_NOT_CLOSED, min(missing)) if missing else (None, None)


def _refusal_of_billed(command: CarryOverHistory, billed: CarriedPeriod) -> Reason | None:
    if not shift(command.billed_through, -HISTORY_PERIODS_MAX) < billed.period <= command.billed_through:
        return Reason.BAD_DATES
    # What an estimate billed is put right register by register: it must be told, in the meter's registers or as a norm.
    registers = {*(command.meter.registers if command.meter is not None else ()), Register.TOTAL}
    if billed.estimated and (not billed.usage or not set(billed.usage) <= registers or min(billed.usage.values()) < 0):
        return Reason.BAD_VALUE
    return None


def change_residents(account: Account, command: ChangeResidents) -> tuple[Event, ...]:
    """Change the number of permanent residents and owners from a day on; closed periods keep theirs."""
    refusal = _refusal_of_open(account)
    if refusal is None and not (0 <= command.permanent <= PERSONS_MAX and 1 <= command.owners <= PERSONS_MAX):
        refusal = Reason.BAD_RESIDENTS
    if refusal is None and command.effective_on <= _last_closed_first_day(account):
        refusal = Reason.PERIOD_CLOSED
    if refusal is not None:
        return (CommandRefused("ChangeResidents", refusal, command.asked_at, command.effective_on.isoformat()),)
    return (ResidentsChanged(command.effective_on, command.permanent, command.owners),)


def register_temporary_residents(account: Account, command: RegisterTemporaryResidents) -> tuple[Event, ...]:
    """Register temporary residents for more than five days in a row (point 56)."""
    refusal = _refusal_of_stay(account, command.persons, command.since, command.until, STAY_DAYS_MIN)
    if refusal is not None:
        name = "RegisterTemporaryResidents"
        return (CommandRefused(name, refusal, command.asked_at, f"{command.since}/{command.until}"),)
    return (TemporaryResidentsRegistered(command.persons, command.since, command.until),)


def register_absence(account: Account, command: RegisterAbsence) -> tuple[Event, ...]:
    """Register an absence of more than five full days; the days of leaving and of return do not count (point 86)."""
    # Full days lie strictly between leaving and return, hence one more.
    refusal = _refusal_of_stay(account, command.persons, command.left_on, command.returned_on, STAY_DAYS_MIN + 1)
    if refusal is not None:
        detail = f"{command.left_on}/{command.returned_on}"
        return (CommandRefused("RegisterAbsence", refusal, command.asked_at, detail),)
    return (AbsenceRegistered(command.persons, command.left_on, command.returned_on),)


def _refusal_of_open(account: Account) -> Reason | None:
    if account.situation is Situation.UNKNOWN:
        return Reason.UNKNOWN_ACCOUNT
    return Reason.ACCOUNT_CLOSED if account.situation is Situation.CLOSED else None


def _refusal_of_stay(account: Account, persons: int, since: date, until: date, days_min: int) -> Reason | None:
    refusal = _refusal_of_open(account)
    if refusal is not None:
        return refusal
    if not 1 <= persons <= PERSONS_MAX:
        return Reason.BAD_RESIDENTS
    if (until - since).days < days_min or (until - since).days > 366:
        return Reason.BAD_DATES
    # A closed period keeps its bill: a stay that reaches into one must be named from the open period on.
    return Reason.PERIOD_CLOSED if since < first_day(account.next_period) else None


def _last_closed_first_day(account: Account) -> date:
    return first_day(account.closed[-1].period) if account.closed else date.min
