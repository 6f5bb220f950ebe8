"""One household of the demonstration town: its meter turns day by day, and it says what a meter shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from math import cos, pi
from random import Random

from bels.domain.commands import (
    CarryOverHistory,
    CloseAccount,
    ClosePeriod,
    Command,
    InstallMeter,
    OpenAccount,
    ReplaceMeter,
    SubmitReading,
)
from bels.domain.periods import MOSCOW, days_in, first_day, over_at, period_of, shift
from bels.domain.terms import Channel, EntryNumber, Locality, MeterModel, Period, Register, Role, Stove, Word

FIRST_NUMBER = 1_000_000
HELD = EntryNumber(0)
"""Stands for the entry of a held reading or a payment until it is known: ``Step.answers`` names the step that brought it."""

ONE = (Register.TOTAL,)
TWO = (Register.DAY, Register.NIGHT)
THREE = (Register.HALF_PEAK, Register.NIGHT, Register.PEAK)
SHARES = {
    Register.TOTAL: 1.0,
    Register.DAY: 0.68,
    Register.NIGHT: 0.32,
    Register.HALF_PEAK: 0.40,
    Register.PEAK: 0.28,
}
MODELS = {ONE: "Нева 101", TWO: "Миртек 12", THREE: "Матрица А1"}
CONSUMER_CHANNELS = (
    (Channel.MOBILE, 26), (Channel.CABINET, 18), (Channel.SMS, 17), (Channel.WEB, 10), (Channel.VOICE, 8), (Channel.BANK, 8),
    (Channel.TELEGRAM, 5), (Channel.GIS, 4), (Channel.MAX, 2), (Channel.EMAIL, 1), (Channel.OFFICE, 1),
)  # fmt: skip
LAST_READING_DAY, LAST_READING_HOUR = 22, 19.0
"""When the first account sent its last reading, from which the examples go on."""

ROLES = {Channel.BANK: Role.AGENT, Channel.GIS: Role.AGENT, Channel.OFFICE: Role.OPERATOR, Channel.REMOTE: Role.REMOTE}


class Sum(Word):
    """How a sum of money follows from what its payer owes at the moment of the message."""

    WHOLE = "WHOLE"
    ROUNDED_UP = "ROUNDED_UP"
    PART = "PART"
    TENFOLD = "TENFOLD"
    OVERPAID = "OVERPAID"
    PENALTY = "PENALTY"
    STANDING_ORDER = "STANDING_ORDER"


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the plan. ``answers`` is the name of the step whose held reading or payment this one is about.

    ``sum`` says how much money it moves, from what ``payer`` owes then.
    """

    at: datetime
    name: str
    account: str
    channel: Channel
    command: Command
    answers: str | None = None
    sum: Sum | None = None
    payer: str = ""


@dataclass(frozen=True, slots=True)
class Town:
    """How large the town is and which chance made it; its history ends at ``until``."""

    accounts: int
    months: int
    seed: int
    until: datetime

    @property
    def now(self) -> Period:
        """The calendar month in which the history ends."""
        return period_of(self.until, 31)

    @property
    def start(self) -> Period:
        """The first month of the history."""
        return shift(self.now, 1 - self.months)


@dataclass(slots=True)
class Household:
    """One account while its plan is made: its meter turns day by day, ``ago`` counts months back from the current one."""

    town: Town
    index: int
    chance: Random
    registers: tuple[Register, ...] = ONE
    kwh_a_month: float = 180.0
    winter: float = 0.25
    stove: Stove = Stove.GAS
    locality: Locality = Locality.URBAN
    rooms: int = 2
    residents: int = 3
    automatic: bool = False
    opened_ago: int = 99
    capacity: int = 6
    initial: int | None = None
    last_reading: int | None = None
    has_meter: bool = True
    empty_months: tuple[int, ...] = ()
    steps: list[Step] = field(default_factory=list)
    meter: MeterModel = field(init=False)
    opened_at: datetime = field(init=False)
    _installed_at: datetime = field(init=False)
    _shown: dict[Register, float] = field(init=False)
    _meters: int = 0

    def __post_init__(self) -> None:
        """Open the account and install its meter."""
        ago = min(self.opened_ago, self.town.months - 1)
        day = 1 if self.index == 0 else self.chance.randint(1, 12)
        self.opened_at = self.at(ago, day, 9.0 if self.index == 0 else 10 + 4 * self.chance.random())
        initial = self.initial if self.initial is not None else self.chance.randint(200, 60_000)
        if self.last_reading is not None:
            initial = self.last_reading - int(
                self.used(self.opened_at, self.at(1, LAST_READING_DAY, LAST_READING_HOUR))
            )
        self.meter = self.new_meter(self.registers)
        self.shown(self.opened_at, {r: int(initial * SHARES[r]) for r in self.registers})
        self.act(
            self.opened_at,
            OpenAccount(self.opened_at, self.locality, self.stove, self.rooms, self.residents),
            Channel.OFFICE,
        )
        if self.has_meter:
            at = self.opened_at + timedelta(minutes=20)
            self.act(at, InstallMeter(self.meter, at, self.shows(at), "Акт допуска"), Channel.INSPECTOR)

    @property
    def number(self) -> str:
        """The account."""
        return f"{FIRST_NUMBER + self.index:07d}"

    def at(self, ago: int, day: int, hour: float | None = None) -> datetime:
        """Give a moment of a day so many months ago; by default in the evening, when people read their meters."""
        period = shift(self.town.now, -ago)
        hour = 18 + 3 * self.chance.random() if hour is None else hour
        midnight = datetime.combine(first_day(period), time(), MOSCOW)
        return midnight + timedelta(days=min(day, days_in(period)) - 1, seconds=int(hour * 3600))

    def act(self, at: datetime, command: Command, channel: Channel, answers: str | None = None) -> str:
        """Plan a message, unless it is before the account or after the end; give its name."""
        name = f"demo:{self.number}:{len(self.steps)}"
        if self.opened_at <= at <= self.town.until:
            self.steps.append(Step(at, name, self.number, channel, command, answers))
        return name

    def new_meter(self, registers: tuple[Register, ...]) -> MeterModel:
        """Take a meter from the store."""
        self._meters += 1
        display = {"T1": Register.TOTAL} if registers == ONE else None
        if registers == TWO:
            display = {"T1": Register.DAY, "T2": Register.NIGHT}
        elif registers == THREE:
            display = {"T1": Register.NIGHT, "T2": Register.PEAK, "T3": Register.HALF_PEAK}
        number = f"{self.chance.randint(10, 99)}{self.index:05d}{self._meters}"
        return MeterModel(number, self.capacity, registers, MODELS[registers], display, self.automatic)

    def shows(self, at: datetime, more: float = 0) -> dict[Register, int]:
        """Say what the meter shows; ``more`` kWh are added, as by a slip of the pen."""
        used = self.used(self._installed_at, at) + more
        top = 10**self.meter.capacity
        return {r: int(self._shown[r] + used * SHARES[r]) % top for r in self.meter.registers}

    def send(
        self,
        ago: int,
        day: int | None = None,
        channel: Channel | None = None,
        more: float = 0,
        hour: float | None = None,
    ) -> str:
        """Send a reading, so many months ago."""
        day = self.chance.choices(range(16, 26), (1, 1, 1, 2, 3, 4, 4, 6, 5, 3))[0] if day is None else day
        return self.send_at(self.at(ago, day, hour), channel, more)

    def send_at(self, at: datetime, channel: Channel | None = None, more: float = 0) -> str:
        """Send a reading at a moment."""
        return self.say(at, {r.value: str(v) for r, v in self.shows(at, more).items()}, channel)

    def say(self, at: datetime, values: Mapping[str, str], channel: Channel | None = None) -> str:
        """Send these texts as a reading."""
        if channel is None:
            channels, weights = zip(*CONSUMER_CHANNELS, strict=True)
            channel = self.chance.choices(channels, weights)[0]
        return self.act(at, SubmitReading(at, values, ROLES.get(channel, Role.CONSUMER)), channel)

    def send_every_month(self, since_ago: int = 99, until_ago: int = 0, channel: Channel | None = None) -> None:
        """Send a reading in each of these months."""
        for ago in range(min(since_ago, self.town.months - 1), until_ago - 1, -1):
            self.send(ago, channel=channel)

    def replace_meter(self, at: datetime, registers: tuple[Register, ...]) -> None:
        """Replace the meter, by an inspector's act."""
        final = self.shows(at)
        self.meter = self.new_meter(registers)
        self.shown(at, dict.fromkeys(registers, 3))
        self.act(at, ReplaceMeter(self.meter, at, final, self.shows(at), "Акт замены"), Channel.INSPECTOR)

    def close_periods(self) -> None:
        """Close every period that is over, on the first night of the next month."""
        first = period_of(self.opened_at)
        carried = [s.command.billed_through for s in self.steps if isinstance(s.command, CarryOverHistory)]
        first = shift(carried[0], 1) if carried else first
        gone = [period_of(s.command.closed_at) for s in self.steps if isinstance(s.command, CloseAccount)]
        period = first
        while over_at(period) < self.town.until and (not gone or period <= gone[0]):
            at = over_at(period) + timedelta(minutes=30)
            name = f"close:{self.number}:{period}:demo"
            if at <= self.town.until:
                self.steps.append(Step(at, name, self.number, Channel.CLOSING, ClosePeriod(period, at)))
            period = shift(period, 1)

    def shown(self, at: datetime, shown: Mapping[Register, int]) -> None:
        """Let the meter show this at a moment, and turn from there."""
        self._installed_at = at
        self._shown = {r: float(v) for r, v in shown.items()}

    def used(self, since: datetime, until: datetime) -> float:
        """Count kWh between two moments: more in winter, none in the months when nobody is there."""
        kwh, at = 0.0, since
        while at < until:
            end = min(over_at(period_of(at, 31)), until)
            if at.month not in self.empty_months:
                season = 1 + self.winter * cos(2 * pi * (at.month - 1) / 12)
                kwh += self.kwh_a_month * season * (end - at).total_seconds() / (30.4 * 86_400)
            at = end
        return kwh
