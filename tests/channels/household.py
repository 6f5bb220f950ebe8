"""A few households for the channels: their meters and previous readings, and their accounts as the domain decides them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import CarriedReading, CarryOverHistory, CloseAccount, Command, OpenAccount
from bels.domain.decide import decide
from bels.domain.events import CommandRefused
from bels.domain.periods import MOSCOW
from bels.domain.terms import Locality, MeterModel, Period, Register, Stove
from tests.rules import DEFAULT_RULEBOOK

MATRIX = {"T1": Register.NIGHT, "T2": Register.PEAK, "T3": Register.HALF_PEAK}
TWO_ZONES = {"T1": Register.DAY, "T2": Register.NIGHT}
METERS = {
    "1000001": MeterModel("E-1", 6, (Register.TOTAL,)),
    "1000002": MeterModel("M-2", 6, (Register.PEAK, Register.HALF_PEAK, Register.NIGHT), display=MATRIX),
    "1000003": MeterModel("E-3", 6, (Register.DAY, Register.NIGHT), display=TWO_ZONES),
    "1000004": MeterModel("S-4", 6, (Register.TOTAL,), automatic=True),
    "1000005": MeterModel("E-5", 6, (Register.TOTAL,)),
    "1000006": MeterModel("E-6", 6, (Register.DAY, Register.NIGHT)),
}
CLOSED = "1000005"
PREVIOUS = {
    Register.TOTAL: 10200,
    Register.DAY: 3000,
    Register.NIGHT: 1500,
    Register.PEAK: 2000,
    Register.HALF_PEAK: 6000,
}


def moscow(text: str) -> datetime:
    """Read a Moscow time."""
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


@dataclass(slots=True)
class Town:
    """Accounts 1000001 (one zone), 1000002 (three), 1000003 (two), 1000004 (automatic), 1000005 (closed), 1000006, in memory.

    Each has been read monthly up to 24 April 2024, 100 kWh a register.
    """

    at: datetime = field(default_factory=lambda: moscow("2024-05-20T12:00"))
    accounts: dict[str, Account] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, meter in METERS.items():
            self.accounts[number] = nobody(number)
            self._do(number, OpenAccount(moscow("2023-10-01T00:00"), Locality.URBAN, Stove.GAS, 2, 3))
            readings = tuple(
                CarriedReading(
                    moscow(f"{month}-24T12:00"),
                    {register: PREVIOUS[register] - 100 * (6 - i) for register in meter.registers},
                )
                for i, month in enumerate(("2023-10", "2023-11", "2023-12", "2024-01", "2024-02", "2024-03", "2024-04"))
            )
            self._do(number, CarryOverHistory(meter, readings, Period("2024-04")))
        self._do(CLOSED, CloseAccount(moscow("2024-05-02T12:00"), "продажа"))

    def _do(self, number: str, command: Command) -> None:
        events = decide(self.accounts[number], command, DEFAULT_RULEBOOK)
        assert not isinstance(events[0], CommandRefused), events
        self.accounts[number] = replay(self.accounts[number], events)
