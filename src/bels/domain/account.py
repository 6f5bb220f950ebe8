"""An account as its events make it: frozen state, ``evolve`` and ``replay``. Nothing here judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import Any, assert_never

from bels.domain.closed_period import ClosedPeriod, closed_by, recalculated_by
from bels.domain.events import (
    AbsenceRegistered,
    AccessRefused,
    AccountClosed,
    AccountOpened,
    ChannelLinked,
    ChannelUnlinked,
    CommandRefused,
    ControlReadingTaken,
    EstimationModeChanged,
    Event,
    InspectionDue,
    InterferenceFound,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    PeriodCarriedOver,
    PeriodClosed,
    PeriodMissed,
    ProvenUsage,
    ReadingAccepted,
    ReadingCarriedOver,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
    ResidentsChanged,
    Step,
    TemporaryResidentsRegistered,
    UsageRecalculated,
)
from bels.domain.ledger import Ledger, bill, book
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
    RulebookPublished,
)
from bels.domain.periods import months_between, moscow_date, shift
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    HoldReason,
    Kwh,
    Locality,
    MeterModel,
    Mode,
    Period,
    ReadingKind,
    ReadingStatus,
    Register,
    Stove,
    Word,
)

NO_PERIOD = Period("")
"""The next period of an account that was never opened."""


class Situation(Word):
    """Where an account stands in its life. A payment that no account is known for and the rulebook have streams of their own."""

    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    CLOSED = "CLOSED"
    SUSPENSE = "SUSPENSE"
    RULEBOOK = "RULEBOOK"


@dataclass(frozen=True, slots=True)
class Residents:
    """Permanent residents and owners from a day on."""

    effective_on: date
    permanent: int
    owners: int


@dataclass(frozen=True, slots=True)
class Stay:
    """Temporary residents: ``since`` inclusive, ``until`` exclusive."""

    persons: int
    since: date
    until: date


@dataclass(frozen=True, slots=True)
class Absence:
    """Absent residents; the days of leaving and of return do not count."""

    persons: int
    left_on: date
    returned_on: date


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter's service on the account, from installation (or restoration) to removal; named by its first entry."""

    entry: EntryNumber
    model: MeterModel
    installed_at: datetime
    installed_in: Period
    removed_at: datetime | None = None
    removed_in: Period | None = None
    failed_at: datetime | None = None
    failed_in: Period | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading that was taken (a refused one is not kept in the state); named by its entry.

    ``rollover`` names registers that passed zero since the reading on which it rests, ``turns`` how often each has done so
    since the first one. ``carried``: billed by an earlier system.
    """

    entry: EntryNumber
    meter: EntryNumber
    kind: ReadingKind
    at: datetime
    period: Period
    values: Kwh
    status: ReadingStatus
    hold: HoldReason | None = None
    rollover: tuple[Register, ...] = ()
    proven: tuple[ProvenUsage, ...] = ()
    carried: bool = False
    late: bool = False
    turns: Kwh = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessAct:
    """An act about access: a refusal, or a check (a control reading or an installation) that ends them."""

    entry: EntryNumber
    at: datetime
    period: Period
    refused: bool


@dataclass(frozen=True, slots=True)
class Interference:
    """An act of interference that waits for its period's closing, or is already billed."""

    period: Period
    periods: tuple[Period, ...]
    billed: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A sender that may speak for the account on a channel."""

    channel: Channel
    sender: str


@dataclass(frozen=True)
class Account:
    """Лицевой счёт: everything its events say. ``version`` is the number of its last entry, 0 before the first."""

    number: AccountNumber
    version: int = 0
    situation: Situation = Situation.UNKNOWN
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    next_period: Period = NO_PERIOD
    last_period: Period | None = None
    locality: Locality = Locality.URBAN
    stove: Stove = Stove.GAS
    rooms: int = 1
    residents: tuple[Residents, ...] = ()
    stays: tuple[Stay, ...] = ()
    absences: tuple[Absence, ...] = ()
    meters: tuple[Meter, ...] = ()
    readings: tuple[Reading, ...] = ()  # in order of time, equal times in order of recording
    access: tuple[AccessAct, ...] = ()
    interferences: tuple[Interference, ...] = ()
    closed: tuple[ClosedPeriod, ...] = ()
    steps: Mapping[EntryNumber, Step] = field(default_factory=dict)
    mode: Mode | None = None
    mode_since: Period | None = None
    missed_in_a_row: int = 0
    inspection_due: date | None = None
    links: tuple[Link, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)

    @cached_property
    def chains(self) -> Mapping[EntryNumber, tuple[Reading, ...]]:
        """The actual readings of every meter in order of time, disproved ones included: what is asked most."""
        chains: dict[EntryNumber, list[Reading]] = {}
        for reading in self.readings:
            if reading.status is ReadingStatus.ACCEPTED or reading.status is ReadingStatus.DISPROVED:
                chains.setdefault(reading.meter, []).append(reading)
        return {meter: tuple(readings) for meter, readings in chains.items()}

    def closed_period(self, period: Period) -> ClosedPeriod | None:
        """Find what stands billed for a period, None when it is not closed or was closed before the account came."""
        if not self.closed:
            return None
        i = months_between(self.closed[0].period, period)
        return self.closed[i] if 0 <= i < len(self.closed) else None

    def reading(self, entry: EntryNumber) -> Reading | None:
        """Find a reading by its entry."""
        for reading in reversed(self.readings):
            if reading.entry == entry:
                return reading
        return None

    def meter(self, entry: EntryNumber) -> Meter:
        """Give a meter's service by its entry.

        :raises KeyError: the account has no such meter.
        """
        for meter in self.meters:
            if meter.entry == entry:
                return meter
        raise KeyError(entry)


def nobody(number: str) -> Account:
    """Give the account before its first entry."""
    return Account(AccountNumber(number))


def replay(account: Account, events: Iterable[Event]) -> Account:
    """Fold events, in order, into an account."""
    # What nobody else has yet is changed in place: an account of years is not copied for each of its events.
    draft: Account = object.__new__(_Draft)
    draft.__dict__.update(account.__dict__)
    for event in events:
        evolve(draft, event)
    replayed = object.__new__(Account)
    replayed.__dict__.update(draft.__dict__)
    return replayed


def evolve(account: Account, event: Event) -> Account:
    """Say what is, after an event. Total: whatever happened replays, under any later rule."""
    version = account.version + 1
    entry = EntryNumber(version)
    match event:
        case ReadingAccepted():
            # More kWh than the register now shows: it passed zero since the base.
            rollover: tuple[Register, ...] = ()
            for register, kwh in event.delta.items():
                if kwh > event.values[register]:
                    rollover = (*rollover, register)
            reading = Reading(
                entry,
                event.meter,
                ReadingKind.SENT,
                event.received_at,
                event.period,
                event.values,
                ReadingStatus.ACCEPTED,
                rollover=rollover,
                late=event.period < account.next_period,
                turns=_turns(account, event.base, rollover),
            )
            return _with(account, version=version, readings=_in_time(account.readings, reading))
        case PeriodClosed():
            return _close(account, event, version)
        case PaymentReceived():
            # Money for an unknown account has a stream of its own, which begins with it.
            situation = Situation.SUSPENSE if account.situation is Situation.UNKNOWN else account.situation
            return _with(account, version=version, ledger=book(account.ledger, entry, event), situation=situation)
        case ReadingSuperseded():
            return _mark(account, version, event.reading, ReadingStatus.SUPERSEDED)
        case UsageRecalculated():
            return _recalculate(account, event, version)
        case EstimationModeChanged():
            return _with(account, version=version, mode=event.after, mode_since=event.period)
        case ReadingRefused() | CommandRefused() | PeriodMissed():
            return _with(account, version=version)
        case ReadingHeld():
            held = Reading(
                entry,
                event.meter,
                ReadingKind.SENT,
                event.received_at,
                event.period,
                event.values,
                ReadingStatus.HELD,
                event.reason,
                turns=_turns(account, event.base, ()),
            )
            return _with(account, version=version, readings=_in_time(account.readings, held))
        case ReadingConfirmed():
            return _with(
                account,
                version=version,
                readings=tuple(
                    replace(
                        r,
                        status=ReadingStatus.ACCEPTED,
                        kind=event.kind,
                        rollover=event.rollover,
                        late=event.period < account.next_period,
                        turns=_passed_zero(r.turns, event.rollover),
                    )
                    if r.entry == event.reading
                    else r
                    for r in account.readings
                ),
            )
        case ReadingRejected():
            return _mark(account, version, event.reading, ReadingStatus.REJECTED)
        case ReadingDisproved():
            return _mark(account, version, event.reading, ReadingStatus.DISPROVED)
        case ReadingDisregarded():
            return _mark(account, version, event.reading, ReadingStatus.DISREGARDED)
        case AccountOpened():
            return _with(
                account,
                version=version,
                situation=Situation.OPEN,
                opened_at=event.opened_at,
                next_period=event.first_period,
                locality=event.locality,
                stove=event.stove,
                rooms=event.rooms,
                residents=(Residents(date.min, event.permanent, event.owners),),
            )
        case AccountClosed():
            return _with(
                account,
                version=version,
                situation=Situation.CLOSED,
                closed_at=event.closed_at,
                last_period=event.last_period,
            )
        case ResidentsChanged():
            change = Residents(event.effective_on, event.permanent, event.owners)
            residents = tuple(sorted((*account.residents, change), key=lambda r: r.effective_on))
            return _with(account, version=version, residents=residents)
        case TemporaryResidentsRegistered():
            stay = Stay(event.persons, event.since, event.until)
            return _with(account, version=version, stays=(*account.stays, stay))
        case AbsenceRegistered():
            absence = Absence(event.persons, event.left_on, event.returned_on)
            return _with(account, version=version, absences=(*account.absences, absence))
        case MeterInstalled():
            return _install(account, version, event.meter, event.installed_at, event.period, event.values)
        case MeterRestored():
            model = account.meter(event.meter).model
            return _install(account, version, model, event.restored_at, event.period, event.values)
        case MeterRemoved():
            final = Reading(
                entry,
                event.meter,
                event.kind,
                event.removed_at,
                event.period,
                event.values,
                ReadingStatus.ACCEPTED if account.meter(event.meter).failed_in is None else ReadingStatus.DISREGARDED,
                rollover=event.rollover,
                late=event.period < account.next_period,
                turns=_turns(account, event.base, event.rollover),
            )
            meters = tuple(
                replace(m, removed_at=event.removed_at, removed_in=event.period) if m.entry == event.meter else m
                for m in account.meters
            )
            return _with(account, version=version, meters=meters, readings=_in_time(account.readings, final))
        case MeterFailed():
            meters = tuple(
                replace(m, failed_at=event.failed_at, failed_in=event.period) if m.entry == event.meter else m
                for m in account.meters
            )
            return _with(account, version=version, meters=meters)
        case ReadingCarriedOver():
            carried = Reading(
                entry,
                event.meter,
                ReadingKind.SENT,
                event.at,
                event.period,
                event.values,
                ReadingStatus.ACCEPTED,
                carried=True,
            )
            # A meter's first carried reading is the initial one that MeterInstalled already brought.
            return _with(account, version=version, readings=_in_time(account.readings, carried))
        case PeriodCarriedOver():
            closed = ClosedPeriod(
                event.period,
                event.mode,
                event.usage,
                event.usage,
                event.estimated,
                event.usage if event.estimated else None,
                # Where nothing is known of what was billed there, nothing can be put right here.
                final=event.mode is Mode.NORMATIVE_INCREASED or not event.usage,
                money=event.billed,
            )
            return _with(
                account,
                version=version,
                closed=(*account.closed, closed),
                next_period=shift(event.period, 1),
                mode=event.mode,
                mode_since=account.mode_since if account.mode is event.mode else event.period,
                missed_in_a_row=account.missed_in_a_row + 1 if event.estimated else 0,
            )
        case ControlReadingTaken():
            control = Reading(
                entry,
                event.meter,
                ReadingKind.CONTROL,
                event.taken_at,
                event.period,
                event.values,
                ReadingStatus.ACCEPTED,
                rollover=event.rollover,
                proven=event.proven,
                late=event.period < account.next_period,
                turns=_turns(account, event.base, event.rollover),
            )
            return _with(
                account,
                version=version,
                readings=_in_time(account.readings, control),
                access=(*account.access, AccessAct(entry, event.taken_at, event.period, refused=False)),
                inspection_due=None,
            )
        case AccessRefused():
            act = AccessAct(entry, event.refused_at, event.period, refused=True)
            return _with(account, version=version, access=(*account.access, act))
        case InterferenceFound():
            found = Interference(event.period, event.periods)
            return _with(account, version=version, interferences=(*account.interferences, found))
        case InspectionDue():
            return _with(account, version=version, inspection_due=event.due_on)
        case ChannelLinked():
            return _with(account, version=version, links=(*account.links, Link(event.channel, event.sender)))
        case ChannelUnlinked():
            gone = Link(event.channel, event.sender)
            return _with(account, version=version, links=tuple(link for link in account.links if link != gone))
        case (
            PaymentReversed()
            | PaymentMovedOut()
            | PaymentMovedIn()
            | PenaltyAccrued()
            | BalanceCarriedOver()
            | RefundMade()
        ):
            return _with(account, version=version, ledger=book(account.ledger, entry, event))
        case RulebookPublished():
            return _with(account, version=version, situation=Situation.RULEBOOK)
        case _ as never:
            assert_never(never)


class _Draft(Account):
    """An account while ``replay`` makes it."""


def _with(account: Account, **changes: Any) -> Account:
    if account.__class__ is _Draft:
        account.__dict__.update(changes)
        if "readings" in changes:
            account.__dict__.pop("chains", None)
        return account
    # dataclasses.replace checks every field again; copying the dictionary is five times faster, and replay lives on it.
    state = account.__dict__ | changes
    if "readings" in changes:
        state.pop("chains", None)
    changed = object.__new__(Account)
    object.__setattr__(changed, "__dict__", state)
    return changed


def _turns(account: Account, base: EntryNumber, rollover: tuple[Register, ...]) -> Kwh:
    before = account.reading(base)
    return _passed_zero(before.turns if before is not None else {}, rollover)


def _passed_zero(turns: Kwh, rollover: tuple[Register, ...]) -> Kwh:
    return {**turns, **{r: turns.get(r, 0) + 1 for r in rollover}} if rollover else turns


def _in_time(readings: tuple[Reading, ...], reading: Reading) -> tuple[Reading, ...]:
    """Add a reading in order of time, equal times in order of recording: chains of readings are taken as they stand."""
    if not readings or readings[-1].at <= reading.at:
        return (*readings, reading)
    return tuple(sorted((*readings, reading), key=lambda r: (r.at, r.entry)))


def _mark(account: Account, version: int, entry: EntryNumber, status: ReadingStatus) -> Account:
    readings = account.readings
    # Nearly always it is one of the last: the others are not looked at.
    for i in range(len(readings) - 1, -1, -1):
        if readings[i].entry == entry:
            marked = replace(readings[i], status=status)
            return _with(account, version=version, readings=(*readings[:i], marked, *readings[i + 1 :]))
    return _with(account, version=version)


def _install(account: Account, version: int, model: MeterModel, at: datetime, period: Period, values: Kwh) -> Account:
    entry = EntryNumber(version)
    initial = Reading(
        entry,
        entry,
        ReadingKind.INITIAL,
        at,
        period,
        values,
        ReadingStatus.ACCEPTED,
        late=period < account.next_period,
    )
    before = tuple(replace(m, removed_at=at, removed_in=period) if m.removed_at is None else m for m in account.meters)
    return _with(
        account,
        version=version,
        meters=(*before, Meter(entry, model, at, period)),
        readings=_in_time(account.readings, initial),
        access=(*account.access, AccessAct(entry, at, period, refused=False)),
    )


def _close(account: Account, event: PeriodClosed, version: int) -> Account:
    estimated = event.missed_in_a_row > 0
    closed = closed_by(event)
    ledger = account.ledger
    if event.due_on is not None:
        amount = event.bill
        # The day is asked for a negative bill only, and takes longer to find than all else here.
        closed_on = moscow_date(event.closed_at) if amount < 0 else date.min
        ledger = bill(ledger, EntryNumber(version), amount, event.period, event.due_on, closed_on)
    periods = (*account.closed, closed)
    steps = account.steps
    if event.steps or event.withdrawn:
        # Copied whole, which is far quicker than step by step: an account of ten years has a hundred of them.
        kept = dict(account.steps)
        for reading in event.withdrawn:
            kept.pop(reading, None)
        settled: set[Period] = set()
        for step in event.steps:
            kept[step.reading] = step
            for share in step.shares:
                if share.period != event.period:
                    settled.add(share.period)
        steps = kept
        if settled:
            periods = tuple(replace(p, estimate=None) if p.period in settled else p for p in periods)
    return _with(
        account,
        version=version,
        closed=periods,
        steps=steps,
        next_period=shift(event.period, 1),
        missed_in_a_row=event.missed_in_a_row,
        inspection_due=account.inspection_due if estimated else None,
        interferences=account.interferences and _billed(account.interferences, event.period),
        ledger=ledger,
    )


def _billed(interferences: tuple[Interference, ...], through: Period) -> tuple[Interference, ...]:
    return tuple(replace(i, billed=True) if i.period <= through else i for i in interferences)


def _recalculate(account: Account, event: UsageRecalculated, version: int) -> Account:
    periods = tuple(recalculated_by(p, event) if p.period == event.period else p for p in account.closed)
    return _with(account, version=version, closed=periods)
