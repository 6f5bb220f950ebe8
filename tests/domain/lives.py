"""Generated lives of accounts: what a household's meter truly did, what was told of it when, and who confirmed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count

from hypothesis import strategies as st

from bels.domain.account import Account, evolve, nobody
from bels.domain.actual_readings import base_of, chain, went_down
from bels.domain.commands import (
    ChangeResidents,
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    OpenAccount,
    RejectReading,
    ReplaceMeter,
    SubmitReading,
    TakeControlReading,
)
from bels.domain.decide import decide
from bels.domain.events import Event, ReadingHeld
from bels.domain.periods import MOSCOW, days_in, first_day, over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, HoldReason, Locality, Meaning, MeterModel, Period, Register, Role, Stove

FIRST = Period("2024-01")
MONTHS_MAX = 8

Values = dict[Register, int]

REGISTERS = (
    (Register.TOTAL,),
    (Register.DAY, Register.NIGHT),
    (Register.PEAK, Register.HALF_PEAK, Register.NIGHT),
)


@dataclass(frozen=True, slots=True)
class TrueMeter:
    """A meter and the kWh it truly counts: what it showed at first, and kWh per register for each month of the life."""

    model: MeterModel
    initial: Values
    monthly: tuple[Values, ...]

    def position(self, at: datetime) -> Values:
        """Give what the registers would show if they never passed zero."""
        local = at.astimezone(MOSCOW)
        months = (local.year - 2024) * 12 + local.month - 1
        shown = dict(self.initial)
        for register in shown:
            shown[register] += sum(month[register] for month in self.monthly[:months])
            if months < len(self.monthly):
                days = days_in(Period(f"{local.year}-{local.month:02d}"))
                shown[register] += self.monthly[months][register] * local.day // days
        return shown

    @property
    def turn(self) -> int:
        """Give the kWh of a whole turn of a register."""
        return int(10**self.model.capacity)


@dataclass(frozen=True, slots=True)
class Told:
    """A reading told by the consumer: when it was received, how much too high it is, and when bels came to know."""

    at: datetime
    error: int
    known_at: datetime
    confirmed_after: int | None


@dataclass(frozen=True, slots=True)
class Life:
    """All that will happen to one account."""

    meters: tuple[TrueMeter, ...]
    months: int
    told: tuple[Told, ...] = ()
    controls: tuple[tuple[datetime, datetime], ...] = ()
    replaced: tuple[datetime, datetime] | None = None
    residents: tuple[tuple[datetime, int], ...] = ()
    closing_hours: tuple[int, ...] = ()

    def meter_at(self, at: datetime) -> TrueMeter:
        """Give the meter that truly hung there."""
        return self.meters[-1] if self.replaced is not None and at >= self.replaced[0] else self.meters[0]


@dataclass(slots=True)
class Lived:
    """What a life led to; ``shown`` is what each reading said, in kWh that never pass zero.

    ``inexpressible``: an act had one register pass zero and another be wrong, for which it has no word.
    """

    account: Account
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    shown: dict[EntryNumber, Values] = field(default_factory=dict)
    inexpressible: bool = False


def moment(month: int, day: int, hour: int = 12) -> datetime:
    """Give an hour of a day of the n-th month, the last day where the month is shorter."""
    first = first_day(shift(FIRST, month))
    day = min(day, days_in(shift(FIRST, month)))
    return datetime(first.year, first.month, day, hour, tzinfo=MOSCOW)


@st.composite
def true_meters(draw: st.DrawFn, number: str = "M1") -> TrueMeter:
    """Draw a meter: any register set, 5 to 7 digits, sometimes about to pass zero."""
    registers = draw(st.sampled_from(REGISTERS))
    capacity = draw(st.sampled_from((5, 5, 6, 7)))
    start = st.one_of(st.integers(0, 60_000), st.integers(10**capacity - 1500, 10**capacity - 1))
    monthly = st.sampled_from((0, 0, 1, 40, 110, 180, 250))
    return TrueMeter(
        MeterModel(number, capacity, registers),
        {r: draw(start) for r in registers},
        tuple({r: draw(monthly) for r in registers} for _ in range(MONTHS_MAX + 3)),
    )


@st.composite
def tellings(draw: st.DrawFn, month: int) -> Told:
    """Draw a reading of a month: often exact and at once, sometimes too high, sometimes known months later."""
    at = moment(month, draw(st.sampled_from((1, 5, 20, 24, 25, 26, 27, 31))), draw(st.integers(0, 23)))
    delay = draw(st.sampled_from((0, 0, 0, 0, 3, 12, 40, 70)))
    error = draw(st.sampled_from((0, 0, 0, 0, 1, 35, 1300)))
    confirmed_after = draw(st.sampled_from((None, 1, 1, 9, 45)))
    return Told(at, error, at + timedelta(days=delay), confirmed_after)


@st.composite
def lives(draw: st.DrawFn, *, with_acts: bool = True, with_late: bool = True) -> Life:
    """Draw a life: one or two meters, missed months, crowded windows, late rows, controls, confirmations."""
    months = draw(st.integers(2, MONTHS_MAX))
    told: list[Told] = []
    controls: list[tuple[datetime, datetime]] = []
    for month in range(months):
        for _ in range(draw(st.sampled_from((0, 0, 1, 1, 1, 2, 3)))):
            reading = draw(tellings(month))
            told.append(reading if with_late else Told(reading.at, 0, reading.at, 1))
        if with_acts and draw(st.integers(0, 5)) == 5:
            at = moment(month, draw(st.integers(2, 31)), 15)
            controls.append((at, at + timedelta(days=draw(st.sampled_from((0, 0, 20, 40))))))
    meters: tuple[TrueMeter, ...] = (draw(true_meters()),)
    replaced = None
    if with_acts and draw(st.integers(0, 2)) == 2:
        at = moment(draw(st.integers(0, months - 1)), draw(st.integers(3, 31)), 11)
        replaced = (at, at + timedelta(days=draw(st.sampled_from((0, 0, 0, 25, 45)))))
        meters = (*meters, draw(true_meters("M2")))
    residents = tuple((moment(m, 10), draw(st.integers(0, 6))) for m in range(months) if draw(st.integers(0, 4)) == 4)
    hours = tuple(draw(st.sampled_from((0, 1, 100, 500))) for _ in range(months))
    return Life(meters, months, tuple(told), tuple(controls), replaced, residents, hours)


Happening = tuple[datetime, int, Callable[[datetime], tuple[Event, ...]]]


@dataclass(slots=True)
class Queue:
    """What will happen, in the order in which bels comes to know of it."""

    waiting: list[Happening] = field(default_factory=list)
    order: count[int] = field(default_factory=count)

    def put(self, known_at: datetime, happen: Callable[[datetime], tuple[Event, ...]]) -> None:
        """Let something happen at a moment."""
        heappush(self.waiting, (known_at, next(self.order), happen))


def live(life: Life, rulebook: Rulebook) -> Iterator[tuple[Lived, tuple[Event, ...]]]:
    """Lead a life: yield after each command what is and what the command led to."""
    lived = Lived(nobody("1000000"))
    first = life.meters[0]
    yield lived, _do(lived, OpenAccount(moment(0, 1, 0), Locality.URBAN, Stove.GAS, 2, 3), rulebook)
    lived.shown[EntryNumber(lived.account.version + 1)] = first.initial
    yield lived, _do(lived, InstallMeter(first.model, moment(0, 1, 0), first.initial), rulebook)
    queue = Queue()
    for told in life.told:
        queue.put(told.known_at, partial(_tell, lived, life, rulebook, told, queue))
    for at, known_at in life.controls:
        queue.put(known_at, partial(_control, lived, life, rulebook, at))
    if life.replaced is not None:
        queue.put(life.replaced[1], partial(_replace, lived, life, rulebook, life.replaced[0]))
    for at, permanent in life.residents:
        queue.put(at, partial(_change_residents, lived, rulebook, permanent))
    closed_at = moment(0, 1, 0)
    for month in range(life.months):
        period = shift(FIRST, month)
        closed_at = max(closed_at, over_at(period) + timedelta(hours=life.closing_hours[month]))
        queue.put(closed_at, partial(_close, lived, rulebook, period))
    while queue.waiting:
        now, _, happen = heappop(queue.waiting)
        yield lived, happen(now)


def _close(lived: Lived, rulebook: Rulebook, period: Period, now: datetime) -> tuple[Event, ...]:
    return _do(lived, ClosePeriod(period, now), rulebook)


def _change_residents(lived: Lived, rulebook: Rulebook, permanent: int, now: datetime) -> tuple[Event, ...]:
    return _do(lived, ChangeResidents(now.date(), permanent, now), rulebook)


def _do(lived: Lived, command: Command, rulebook: Rulebook) -> tuple[Event, ...]:
    events = decide(lived.account, command, rulebook)
    for event in events:
        lived.account = evolve(lived.account, event)
    lived.commands.append(command)
    lived.events += events
    return events


def _tell(lived: Lived, life: Life, rulebook: Rulebook, told: Told, queue: Queue, now: datetime) -> tuple[Event, ...]:
    meter = life.meter_at(told.at)
    true = meter.position(told.at)
    # A slip of the pen never passes zero by itself: the law could not tell it from the truth.
    high = {r: v + told.error for r, v in true.items()}
    shown = high if all(high[r] // meter.turn == true[r] // meter.turn for r in true) else true
    entry = EntryNumber(lived.account.version + 1)
    lived.shown[entry] = shown
    texts = {r.value: str(v % meter.turn) for r, v in shown.items()}
    events = _do(lived, SubmitReading(told.at, texts), rulebook)
    if isinstance(events[0], ReadingHeld) and told.confirmed_after is not None:
        queue.put(now + timedelta(days=told.confirmed_after), partial(_confirm, lived, rulebook, entry))
    return events


def _confirm(lived: Lived, rulebook: Rulebook, entry: EntryNumber, now: datetime) -> tuple[Event, ...]:
    """An operator who knows the truth says what a held value means, or rejects it where no word fits."""
    held = lived.account.reading(entry)
    assert held is not None
    base = base_of(lived.account, held.meter, held.period, held.at)
    meaning = None
    if base is not None:
        turn = 10 ** lived.account.meter(held.meter).model.capacity
        down = went_down(base.values, held.values)
        passed = [lived.shown[entry].get(r, 0) // turn > lived.shown[base.entry].get(r, 0) // turn for r in held.values]
        rolled = [p for r, p in zip(held.values, passed, strict=True) if r in down]
        if down and not all(rolled) and (any(passed) or held.hold is HoldReason.IMPLAUSIBLE):
            return _do(lived, RejectReading(entry, now, "a slip"), rulebook)
        meaning = Meaning.PREVIOUS_WRONG if down and not any(rolled) else Meaning.ROLLOVER
    return _do(lived, ConfirmReading(entry, now, Role.OPERATOR, meaning=meaning), rulebook)


def _control(lived: Lived, life: Life, rulebook: Rulebook, at: datetime, _: datetime) -> tuple[Event, ...]:
    meter = life.meter_at(at)
    true = meter.position(at)
    rollover: tuple[Register, ...] = ()
    known = next((m for m in reversed(lived.account.meters) if m.installed_at <= at), None)
    if known is not None and known.model.number != meter.model.number:
        # An inspector who stands before another meter writes another act.
        return ()
    if known is not None:
        base = [r for r in chain(lived.account, known.entry) if r.at <= at][-1]
        rollover = tuple(r for r in true if true[r] // meter.turn > lived.shown[base.entry][r] // meter.turn)
    lived.shown[EntryNumber(lived.account.version + 1)] = true
    values = {r: v % meter.turn for r, v in true.items()}
    return _do(lived, TakeControlReading(at, values, rollover=rollover), rulebook)


def _replace(lived: Lived, life: Life, rulebook: Rulebook, at: datetime, _: datetime) -> tuple[Event, ...]:
    old, new = life.meters
    final = old.position(at)
    started = new.position(at)
    base = [r for r in chain(lived.account, lived.account.meters[-1].entry) if r.at <= at][-1]
    wrong = any(
        final[r] % old.turn < base.values[r] and final[r] // old.turn == lived.shown[base.entry][r] // old.turn
        for r in final
    )
    meaning = Meaning.PREVIOUS_WRONG if wrong else Meaning.ROLLOVER
    lived.inexpressible |= wrong and any(final[r] // old.turn > lived.shown[base.entry][r] // old.turn for r in final)
    lived.shown[EntryNumber(lived.account.version + 1)] = final
    command = ReplaceMeter(
        new.model,
        at,
        {r: v % old.turn for r, v in final.items()},
        {r: v % new.turn for r, v in started.items()},
        meaning=meaning,
    )
    before = lived.account.version
    events = _do(lived, command, rulebook)
    lived.shown[EntryNumber(before + len(events))] = started
    return events
