"""Short words for tests: days, values, an ordinary account, and folding commands."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import ClosePeriod, Command, InstallMeter, OpenAccount, SubmitReading
from bels.domain.decide import decide
from bels.domain.events import AccountOpened, Event, MeterInstalled, PeriodClosed, UsageRecalculated
from bels.domain.periods import MOSCOW, over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, Locality, MeterModel, Period, Register, Role, Settlement, Stove
from tests.rules import DEFAULT_RULEBOOK

TOTAL = Register.TOTAL
METER = MeterModel("M1", 5, (TOTAL,))
NEW_METER = MeterModel("M2", 5, (TOTAL,))
ZONE_METER = MeterModel("M3", 5, (Register.PEAK, Register.HALF_PEAK, Register.NIGHT))
IN_PERIOD = DEFAULT_RULEBOOK.with_settlement(Settlement.IN_PERIOD)
NEXT_PERIOD = DEFAULT_RULEBOOK.with_settlement(Settlement.NEXT_PERIOD)


def day(text: str, hour: int = 12) -> datetime:
    """Give an hour of a Moscow day, written ``2024-05-20``."""
    return datetime.fromisoformat(text).replace(hour=hour, tzinfo=MOSCOW)


def total(kwh: int) -> dict[Register, int]:
    """Give the values of a meter with one register."""
    return {TOTAL: kwh}


def zones(peak: int, half_peak: int, night: int) -> dict[Register, int]:
    """Give the values of a meter with three registers."""
    return {Register.PEAK: peak, Register.HALF_PEAK: half_peak, Register.NIGHT: night}


def sent(on: str, kwh: int, role: Role = Role.CONSUMER) -> SubmitReading:
    """Send a reading of one register."""
    return SubmitReading(day(on), {"total": str(kwh)}, role)


def closing(period: str) -> ClosePeriod:
    """Close a period on the 1st of the next."""
    return ClosePeriod(Period(period), over_at(Period(period)))


def closings(*periods: str) -> list[ClosePeriod]:
    """Close periods, each on the 1st of its next."""
    return [closing(p) for p in periods]


OPENED = AccountOpened(day("2024-01-01", 0), Period("2024-01"), Locality.URBAN, Stove.GAS, 2, 3, 1)
INSTALLED = MeterInstalled(METER, day("2024-01-01", 1), Period("2024-01"), total(10_000), "")
M1 = EntryNumber(2)
"""The entry that names the meter of an ordinary account, and its initial reading."""

OPEN = OpenAccount(day("2024-01-01", 0), Locality.URBAN, Stove.GAS, 2, 3)
INSTALL = InstallMeter(METER, day("2024-01-01", 1), total(10_000))
ORDINARY: tuple[Command, ...] = (OPEN, INSTALL)
"""An account opened on 1 January 2024 with a meter of five digits at 10000: urban, gas, 2 rooms, 3 residents, norm 138."""


def given(*events: Event) -> Account:
    """Replay what has happened."""
    return replay(nobody("1000000"), events)


def done(*commands: Command, rulebook: Rulebook = DEFAULT_RULEBOOK, number: str = "1000000") -> Account:
    """Replay what was asked and decided."""
    account = nobody(number)
    for command in commands:
        account = replay(account, decide(account, command, rulebook))
    return account


def when(account: Account, command: Command, rulebook: Rulebook = DEFAULT_RULEBOOK) -> tuple[Event, ...]:
    """Decide a command under the default rules."""
    return decide(account, command, rulebook)


def stands(account: Account) -> dict[str, dict[str, int]]:
    """Give what stands billed, by period and register."""
    return {c.period: {r.value: kwh for r, kwh in c.stands.items()} for c in account.closed}


def bill(events: Iterable[Event]) -> tuple[str, dict[str, int]]:
    """Give the mode and the kWh of a closing."""
    closed = next(e for e in events if isinstance(e, PeriodClosed))
    return closed.mode.value, {r.value: kwh for r, kwh in closed.usage.items()}


def put_right(events: Iterable[Event]) -> list[tuple[str, str, dict[str, int], dict[str, int]]]:
    """Give the recalculations of a closing: period, reason, before, after."""
    return [
        (
            e.period,
            e.reason.value,
            {r.value: kwh for r, kwh in e.before.items()},
            {r.value: kwh for r, kwh in e.after.items()},
        )
        for e in events
        if isinstance(e, UsageRecalculated)
    ]
