"""A supplier with a real PostgreSQL, a clock that moves and a few households, for channels and the dialogue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bels.app import Bels, door_of, opened
from bels.domain.commands import (
    CarriedReading,
    CarryOverHistory,
    CloseAccount,
    Command,
    LinkChannel,
    OpenAccount,
    ReplaceMeter,
)
from bels.domain.terms import Channel, Locality, MeterModel, Period, Register, Stove
from bels.messages import Message, Outcome, Status
from bels.reception.counter import Counter
from bels.settings import Settings
from tests.channels.household import CLOSED, METERS, PREVIOUS, moscow
from tests.rules import DEFAULT_RULEBOOK

REPLACED = "1000007"
"""Its meter E-7 was replaced by E-7N, which began at 0, on 10 May 2024."""
MONTHS = ("2023-10", "2023-11", "2023-12", "2024-01", "2024-02", "2024-03", "2024-04")


@dataclass(slots=True)
class House:
    """The supplier: ``at`` is the time that everybody sees, ``counter`` what channels work with."""

    at: datetime
    bels: Bels | None = None
    counter: Counter | None = None
    _told: int = 0

    def now(self) -> datetime:
        """Tell the time."""
        return self.at

    def wait(self, **time: float) -> None:
        """Let time pass."""
        self.at += timedelta(**time)

    @property
    def desk(self) -> Counter:
        """The counter of the open supplier."""
        assert self.counter is not None
        return self.counter

    async def do(self, number: str, command: Command) -> Outcome:
        """Carry out a command as the office would."""
        assert self.bels is not None
        outcome = await self.bels.intake.submit(self._message(number, command))
        assert outcome.status is Status.ACCEPTED, outcome
        return outcome

    async def do_all(self, told: Sequence[tuple[str, Command]]) -> None:
        """Carry out commands as the office would, in one transaction: a house stands in a moment."""
        assert self.bels is not None
        outcomes = await self.bels.intake.handle([self._message(number, command) for number, command in told])
        assert {outcome.status for outcome in outcomes} == {Status.ACCEPTED}, outcomes

    def _message(self, number: str, command: Command) -> Message:
        self._told += 1
        return Message(Channel.OFFICE, f"house {self._told}", "clerk:7", number, command, repr(command))

    async def link(self, number: str, channel: Channel, address: str) -> None:
        """Link a sender to an account."""
        await self.do(number, LinkChannel(channel, self.desk.sender(channel, address).digest, self.at))


@asynccontextmanager
async def opened_house(database_url: str, folder: Path, *, at: str = "2024-05-20T12:00") -> AsyncIterator[House]:
    """Open accounts 1000001 (one zone), 1000002 (three, «Матрица»), 1000003 (two), 1000004 (automatic), 1000005 (closed),
    1000006 (two) and 1000007 (its meter was replaced), each read monthly up to 24 April 2024, 100 kWh a register.
    """
    house = House(moscow(at))
    settings = Settings(database_url=database_url, data_dir=folder)
    async with opened(settings, DEFAULT_RULEBOOK, house.now) as bels:
        house.bels = bels
        door = await door_of(bels, local=False)
        house.counter = Counter(bels.pool, bels.intake, door)
        told: list[tuple[str, Command]] = []
        for number, meter in {**METERS, REPLACED: MeterModel("E-7", 6, (Register.TOTAL,))}.items():
            readings = tuple(
                CarriedReading(
                    moscow(f"{month}-24T12:00"),
                    {register: PREVIOUS[register] - 100 * (6 - i) for register in meter.registers},
                )
                for i, month in enumerate(MONTHS)
            )
            told += [
                (number, OpenAccount(moscow("2023-10-01T00:00"), Locality.URBAN, Stove.GAS, 2, 3)),
                (number, CarryOverHistory(meter, readings, Period("2024-04"))),
            ]
        told.append((CLOSED, CloseAccount(moscow("2024-05-02T12:00"), "продажа")))
        final = {Register.TOTAL: PREVIOUS[Register.TOTAL] + 50}
        new = MeterModel("E-7N", 6, (Register.TOTAL,))
        told.append((REPLACED, ReplaceMeter(new, moscow("2024-05-10T12:00"), final, {Register.TOTAL: 0}, "акт 7")))
        await house.do_all(told)
        yield house
