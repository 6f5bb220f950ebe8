"""The same values of the same meter on the same day are the same reading, whichever way they come again (channels 1)."""

from __future__ import annotations

from bels.domain.accept_reading import meter_at, reading_period
from bels.domain.account import Account, Meter, Reading
from bels.domain.commands import SubmitReading
from bels.domain.periods import moscow_date
from bels.domain.read_value import read_value
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, Period, ReadingKind, ReadingStatus, Role


def repeated_reading(account: Account, command: SubmitReading, rulebook: Rulebook) -> EntryNumber | None:
    """Find the reading that a message only repeats: accepted, still counting, of the same meter, day, period and values.

    An unchanged value on another day is a reading of its own, of 0 kWh. The remote system always says what it means, and a
    meter that it reads is read by nobody else. Where another word came between, a held reading or an act, the same values
    are a correction of it.
    """
    if command.role is Role.REMOTE or not account.readings:
        return None
    said = {name: read_value(text) for name, text in command.values.items()}
    # Hardly any reading repeats one, and only its values tell that at once.
    if not any(reading.values == said for reading in account.readings):
        return None
    meter = meter_at(account, command.received_at)
    if meter is None or meter.model.automatic or command.meter not in (None, meter.model.number):
        return None
    if command.taken_at is not None and command.taken_at > command.received_at:
        return None
    counting = _counting(account, meter, reading_period(command.received_at, rulebook))
    if counting is None or counting.carried or moscow_date(counting.at) != moscow_date(command.received_at):
        return None
    if any(r.meter == meter.entry and _came_between(r, counting, command) for r in account.readings):
        return None
    return counting.entry if counting.values == said else None


def _counting(account: Account, meter: Meter, period: Period) -> Reading | None:
    """Find the sent reading of the meter that counts for the period: a row that comes late may repeat one of long ago."""
    for reading in reversed(account.readings):
        if (
            reading.kind is ReadingKind.SENT
            and reading.status is ReadingStatus.ACCEPTED
            and reading.meter == meter.entry
            and reading.period == period
        ):
            return reading
    return None


def _came_between(other: Reading, counting: Reading, command: SubmitReading) -> bool:
    is_word = other.kind is not ReadingKind.SENT or other.status is ReadingStatus.HELD
    return is_word and counting.at < other.at <= command.received_at
