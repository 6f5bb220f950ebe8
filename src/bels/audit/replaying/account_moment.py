"""What an account was at a moment, as values with names: its life, meters, readings, closed periods, what it owed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from bels.audit.replaying.moments import Moment, Replayed
from bels.domain.account import Absence, Account, Reading, Situation, Stay
from bels.domain.allocate_payment import open_debts
from bels.domain.closed_period import ClosedPeriod
from bels.domain.meter_models import display_of
from bels.domain.money import ZERO
from bels.domain.periods import first_day
from bels.domain.terms import (
    Channel,
    EntryNumber,
    Kwh,
    Locality,
    MeterModel,
    Mode,
    Money,
    Period,
    ReadingKind,
    ReadingStatus,
    Stove,
)
from bels.projections.overview import MeterRow, OverviewRow


@dataclass(frozen=True, slots=True)
class ResidentsMoment:
    """Who lived there on the day: permanent residents, temporary ones, those who were away, owners."""

    permanent: int
    temporary: int
    absent: int
    owners: int


@dataclass(frozen=True, slots=True)
class ReadingMoment:
    """A reading as it stood; ``at`` is when it was received or taken, ``carried``: an earlier system billed it."""

    entry: EntryNumber
    meter: EntryNumber
    kind: ReadingKind
    status: ReadingStatus
    at: datetime
    period: Period
    values: Kwh
    carried: bool


@dataclass(frozen=True, slots=True)
class MeterMoment:
    """A meter's service as it stood, with the last reading that counts; named by the entry that brought it."""

    entry: EntryNumber
    model: MeterModel
    installed_at: datetime
    removed_at: datetime | None
    failed_at: datetime | None
    last_reading: ReadingMoment | None


@dataclass(frozen=True, slots=True)
class PeriodMoment:
    """What stood billed for a closed period: ``usage`` kWh of its closing, ``stands`` and ``money`` after recalculations.

    ``estimated``: closed without a reading. ``money`` is None where it was billed without telling money.
    """

    period: Period
    mode: Mode
    usage: Kwh
    stands: Kwh
    estimated: bool
    final: bool
    money: Money | None


@dataclass(frozen=True, slots=True)
class OwedMoment:
    """A bill that was not paid whole: ``open`` roubles of ``amount``, to be paid by ``due_on``."""

    entry: EntryNumber
    period: Period
    due_on: date
    amount: Money
    open: Money


@dataclass(frozen=True, slots=True)
class LinkMoment:
    """A sender that could speak for the account, without its address."""

    channel: Channel
    sender: str


@dataclass(frozen=True, slots=True)
class AccountMoment:
    """An account at the end of ``day``, as it was known at ``moment.known_at``.

    ``known`` entries were known, ``set_aside`` of them were not true yet; ``last`` is the last one that counts (0: none), recorded at
    ``last_recorded_at``. Roubles: ``balance`` positive is owed, negative an advance; ``overdue`` should have been paid before the
    day; penalties apart.
    """

    number: str
    moment: Moment
    day: date
    known: int
    set_aside: int
    last: int
    last_recorded_at: datetime | None
    situation: Situation
    opened_at: datetime | None
    closed_at: datetime | None
    next_period: Period | None
    last_period: Period | None
    locality: Locality
    stove: Stove
    rooms: int
    residents: ResidentsMoment
    stays: tuple[Stay, ...]
    absences: tuple[Absence, ...]
    meters: tuple[MeterMoment, ...]
    readings: tuple[ReadingMoment, ...]
    mode: Mode | None
    mode_since: Period | None
    missed_in_a_row: int
    inspection_due: date | None
    periods: tuple[PeriodMoment, ...]
    balance: Money
    penalty: Money
    overdue: Money
    owed: tuple[OwedMoment, ...]
    links: tuple[LinkMoment, ...]


def account_moment(replayed: Replayed) -> AccountMoment:
    """Name what an account was at a moment."""
    account, day = replayed.account, replayed.day
    ledger = account.ledger
    owed = owed_by(account)
    return AccountMoment(
        number=replayed.history.account,
        moment=replayed.moment,
        day=day,
        known=replayed.known,
        set_aside=len(replayed.aside),
        last=replayed.last,
        last_recorded_at=replayed.last_recorded_at,
        situation=account.situation,
        opened_at=account.opened_at,
        closed_at=account.closed_at,
        next_period=account.next_period or None,
        last_period=account.last_period,
        locality=account.locality,
        stove=account.stove,
        rooms=account.rooms,
        residents=residents_on(account, day),
        stays=stays_on(account, day),
        absences=absences_on(account, day),
        meters=meters_of(account),
        readings=readings_of(account),
        mode=account.mode,
        mode_since=account.mode_since,
        missed_in_a_row=account.missed_in_a_row,
        inspection_due=account.inspection_due,
        periods=periods_of(account),
        balance=ledger.balance,
        penalty=ledger.penalty,
        overdue=overdue_on(owed, day),
        owed=owed,
        links=tuple(LinkMoment(link.channel, link.sender) for link in account.links),
    )


def residents_on(account: Account, day: date) -> ResidentsMoment:
    """Count who lived there on a day."""
    fixed = next((r for r in reversed(account.residents) if r.effective_on <= day), None)
    return ResidentsMoment(
        permanent=fixed.permanent if fixed is not None else 0,
        temporary=sum(stay.persons for stay in stays_on(account, day)),
        absent=sum(absence.persons for absence in absences_on(account, day)),
        owners=fixed.owners if fixed is not None else 0,
    )


def stays_on(account: Account, day: date) -> tuple[Stay, ...]:
    """List the temporary residents of a day."""
    return tuple(stay for stay in account.stays if stay.since <= day < stay.until)


def absences_on(account: Account, day: date) -> tuple[Absence, ...]:
    """List who was away on a day; the days of leaving and of return are not counted as away."""
    return tuple(absence for absence in account.absences if absence.left_on < day < absence.returned_on)


def owed_by(account: Account) -> tuple[OwedMoment, ...]:
    """List the bills that are not paid whole, oldest first."""
    return tuple(
        OwedMoment(debt.entry, debt.period, debt.due_on, debt.amount, left)
        for debt, left in open_debts(account.ledger)
        if debt.period is not None and debt.due_on is not None
    )


def overdue_on(owed: Sequence[OwedMoment], day: date) -> Money:
    """Give what should have been paid before a day."""
    return sum((bill.open for bill in owed if bill.due_on < day), ZERO)


def meters_of(account: Account) -> tuple[MeterMoment, ...]:
    """List all meters, each with its last reading that counts."""
    last: dict[EntryNumber, Reading] = {reading.meter: reading for reading in counted(account.readings)}
    return tuple(
        MeterMoment(
            meter.entry,
            meter.model,
            meter.installed_at,
            meter.removed_at,
            meter.failed_at,
            _reading(last[meter.entry]) if meter.entry in last else None,
        )
        for meter in account.meters
    )


def readings_of(account: Account) -> tuple[ReadingMoment, ...]:
    """List the readings that count, in order of time."""
    return tuple(_reading(reading) for reading in counted(account.readings))


def periods_of(account: Account) -> tuple[PeriodMoment, ...]:
    """List the closed periods, oldest first."""
    return tuple(_period(closed) for closed in account.closed)


def counted(readings: Sequence[Reading]) -> list[Reading]:
    """List the readings that count, in order of time."""
    return [reading for reading in readings if reading.status is ReadingStatus.ACCEPTED]


def overview_of(replayed: Replayed) -> OverviewRow | None:
    """Give an account at a glance as the view had it at that moment, None where it was not open yet."""
    account = replayed.account
    if account.situation is not Situation.OPEN and account.situation is not Situation.CLOSED:
        return None
    recorded_at = replayed.last_recorded_at
    assert recorded_at is not None  # noqa: S101 - for the type checker: its opening counts
    # The view tells the residents of the 1st of the period that closes next: by them its norm is found.
    residents = residents_on(account, first_day(account.next_period))
    return OverviewRow(
        account=account.number,
        version=account.version,
        recorded_at=recorded_at,
        situation=account.situation.value,
        opened_at=account.opened_at,
        closed_at=account.closed_at,
        next_period=account.next_period,
        last_period=account.last_period,
        locality=account.locality.value,
        stove=account.stove.value,
        rooms=account.rooms,
        permanent=residents.permanent,
        temporary=residents.temporary,
        owners=residents.owners,
        meter=_meter_row(account),
        links=tuple({"channel": link.channel.value, "sender": link.sender} for link in account.links),
    )


def _meter_row(account: Account) -> MeterRow | None:
    if not account.meters or account.meters[-1].removed_at is not None:
        return None
    meter = account.meters[-1]
    display = display_of(meter.model)
    return MeterRow(
        entry=meter.entry,
        number=meter.model.number,
        model=meter.model.model,
        capacity=meter.model.capacity,
        registers=tuple(register.value for register in meter.model.registers),
        display={place: register.value for place, register in display.items()} if display is not None else None,
        automatic=meter.model.automatic,
        installed_at=meter.installed_at,
        failed_at=meter.failed_at,
    )


def _reading(reading: Reading) -> ReadingMoment:
    return ReadingMoment(
        reading.entry,
        reading.meter,
        reading.kind,
        reading.status,
        reading.at,
        reading.period,
        reading.values,
        reading.carried,
    )


def _period(closed: ClosedPeriod) -> PeriodMoment:
    return PeriodMoment(
        closed.period,
        closed.mode,
        closed.usage,
        closed.stands,
        closed.estimated,
        closed.final,
        closed.money,
    )
