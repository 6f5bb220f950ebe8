"""Actual readings (rules 1.3): the chain of readings of a meter, what may be a base, and the delta between two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from bels.domain.account import Account, Meter, Reading
from bels.domain.apportion import half_up
from bels.domain.events import Average
from bels.domain.periods import months_between
from bels.domain.rulebook import Settings
from bels.domain.terms import EntryNumber, Kwh, Period, ReadingKind, ReadingStatus, Register

CONTROL_KINDS = (ReadingKind.CONTROL, ReadingKind.PREVIOUS_WRONG)
"""Readings that rest on an inspector's or operator's word: their difference to the reading before is signed."""


def chain(account: Account, meter: EntryNumber, through: Period | None = None) -> Sequence[Reading]:
    """List the actual readings of a meter in order of time, disproved ones included, through a period."""
    readings = account.chains.get(meter, ())
    if through is None or not readings or readings[-1].period <= through:
        return readings
    return [r for r in readings if r.period <= through]


def _in_time(reading: Reading) -> tuple[datetime, EntryNumber]:
    return reading.at, reading.entry


def undisproved(readings: Iterable[Reading]) -> list[Reading]:
    """Leave out the readings that a control reading disproved: no consumption or average may rest on them."""
    return [r for r in readings if r.status is ReadingStatus.ACCEPTED]


def base_of(account: Account, meter: EntryNumber, period: Period, received_at: datetime) -> Reading | None:
    """Find the base B of a reading (rules 1.2): the latest actual reading of an earlier period, or an act of its own.

    Another sent reading of the same period is never the base: inside the window a consumer may correct downwards.
    """
    found: Reading | None = None
    for reading in undisproved(chain(account, meter, period)):
        if reading.period < period or (reading.kind is not ReadingKind.SENT and reading.at <= received_at):
            found = reading
    return found


def following_of(account: Account, meter: EntryNumber, period: Period, received_at: datetime) -> Reading | None:
    """Find the next actual reading after a moment: of a later period, or an act of the same one."""
    for reading in undisproved(chain(account, meter)):
        if reading.at > received_at and (reading.period > period or reading.kind is not ReadingKind.SENT):
            return reading
    return None


def shows_more(base: Reading, values: Kwh, following: Reading, capacity: int) -> bool:
    """Say whether values that became known late show more than the reading after them, both counted from their base.

    A control reading is the inspector's word: it never passed zero unless its act says so.
    """
    used = delta(base.values, values, capacity)
    whole = delta(base.values, following.values, capacity)
    turned = passed_zero(base, following)
    return any(
        values[register] > following.values[register]
        if following.kind in CONTROL_KINDS and register not in turned
        else kwh > whole[register]
        for register, kwh in used.items()
    )


def turn(capacity: int) -> int:
    """Give the kWh of a whole turn of a register with so many digits."""
    return int(10**capacity)


def delta(base: Kwh, values: Kwh, capacity: int) -> dict[Register, int]:
    """Take the kWh between two readings, a register that went down having passed zero."""
    return {
        register: (value - base[register]) if value >= base[register] else value + turn(capacity) - base[register]
        for register, value in values.items()
    }


def difference(base: Reading, reading: Reading, capacity: int) -> dict[Register, int]:
    """Take the kWh of the step from one actual reading to the next.

    For control readings it is signed, but for registers whose passing of zero was stated, then or on the way. So is the
    way to or from a disproved reading: what went down there was wrong, and did not pass zero.
    """
    if reading.kind not in CONTROL_KINDS and ReadingStatus.DISPROVED not in (base.status, reading.status):
        return delta(base.values, reading.values, capacity)
    return signed(base.values, reading.values, capacity, passed_zero(base, reading))


def passed_zero(base: Reading, reading: Reading) -> tuple[Register, ...]:
    """List the registers that are known to have passed zero between two readings, whichever readings stood between."""
    return tuple(r for r, turns in reading.turns.items() if turns > base.turns.get(r, 0))


def signed(base: Kwh, values: Kwh, capacity: int, rollover: tuple[Register, ...]) -> dict[Register, int]:
    """Take the signed kWh between two readings; registers in ``rollover`` passed zero."""
    turned = delta(base, values, capacity)
    return {
        register: turned[register] if register in rollover else value - base[register]
        for register, value in values.items()
    }


def went_down(base: Kwh, values: Kwh) -> tuple[Register, ...]:
    """List the registers that show less than before."""
    return tuple(register for register, value in values.items() if value < base[register])


def may_have_rolled_over(before: int, capacity: int, settings: Settings) -> bool:
    """Say whether a register stood in the top of its range, from where a lower value is a rollover."""
    return before * 100 >= (100 - settings.rollover_top_percent) * turn(capacity)


def average_until(account: Account, meter: Meter, until: Reading, settings: Settings) -> Average | None:
    """Take the average monthly volume that ends with a reading (59(2)); None when the history is too short.

    R0 is the latest actual reading at least ``average_window_periods`` before ``until``, or else the meter's first.
    """
    history = [r for r in undisproved(chain(account, meter.entry, until.period)) if _in_time(r) <= _in_time(until)]
    since = history[0] if history else until
    for reading in history:
        if months_between(reading.period, until.period) >= settings.average_window_periods:
            since = reading
    periods = months_between(since.period, until.period)
    if periods < settings.average_min_periods:
        return None
    whole = delta(since.values, until.values, meter.model.capacity)
    return Average(
        since.entry, until.entry, periods, {register: half_up(kwh, periods) for register, kwh in whole.items()}
    )


def disproved_by(account: Account, control: Kwh, meter: Meter, before: datetime) -> tuple[Reading, ...]:
    """List the readings that a control reading disproves: going back, the higher ones, until one that is not higher.

    A rollover ends the search too: what was higher before it belongs to another turn of the register.
    """
    readings = [r for r in undisproved(chain(account, meter.entry)) if r.at <= before]
    found: list[Reading] = []
    for i in range(len(readings) - 1, -1, -1):
        reading = readings[i]
        if not went_down(reading.values, control):
            break
        found.append(reading)
        if i > 0 and reading.kind not in CONTROL_KINDS and went_down(readings[i - 1].values, reading.values):
            break
    return tuple(reversed(found))
