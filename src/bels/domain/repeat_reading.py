"""The same values of the same meter on the same day are the same reading, whichever way they come again (channels 1)."""

from __future__ import annotations

from bels.domain.accept_reading import meter_at, reading_period
from bels.domain.account import Account
from bels.domain.commands import SubmitReading
from bels.domain.periods import moscow_date
from bels.domain.read_value import read_value
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, ReadingKind, ReadingStatus, Role


def repeated_reading(account: Account, command: SubmitReading, rulebook: Rulebook) -> EntryNumber | None:
    """Find the reading that a message only repeats: accepted, still counting, of the same meter, day, period and values.

    An unchanged value on another day is a reading of its own, of 0 kWh. The remote system always says what it means.
    """
    if command.role is Role.REMOTE or not account.readings:
        return None
    last = next(
        (r for r in reversed(account.readings) if r.kind is ReadingKind.SENT and r.status is ReadingStatus.ACCEPTED),
        None,
    )
    if last is None or last.carried or moscow_date(last.at) != moscow_date(command.received_at):
        return None
    meter = meter_at(account, command.received_at)
    if meter is None or meter.entry != last.meter or command.meter not in (None, meter.model.number):
        return None
    if last.period != reading_period(command.received_at, rulebook) or (
        command.taken_at is not None and command.taken_at > command.received_at
    ):
        return None
    said = {name: read_value(text) for name, text in command.values.items()}
    return last.entry if said == dict(last.values) else None
