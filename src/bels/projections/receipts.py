"""What became of a message: by its receipt, for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bels.domain.terms import Word
from bels.journal.journal import Recorded, find_receipt
from bels.journal.write import Db
from bels.projections import readings
from bels.projections.readings import ReadingRow


class ReceiptState(Word):
    """Where a message stands. ``COUNTED``: billed in period ``counted_in``; ``DONE``: a command that is no reading."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    SUPERSEDED = "SUPERSEDED"
    DISPROVED = "DISPROVED"
    DISREGARDED = "DISREGARDED"
    REJECTED = "REJECTED"
    COUNTED = "COUNTED"
    DONE = "DONE"
    PARKED = "PARKED"


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A message by its receipt, with the reading that it brought, if it brought one."""

    receipt: str
    state: ReceiptState
    channel: str
    account: str
    actor: str
    recorded_at: datetime
    first_version: int | None
    last_version: int | None
    reading: ReadingRow | None


async def find(db: Db, receipt: str) -> ReceiptRow | None:
    """Find what became of a message: its first outcome, and whatever happened to its reading since."""
    recorded = await find_receipt(db, receipt)
    if recorded is None:
        return None
    reading = None
    if recorded.first_version is not None:
        reading = await readings.find(db, recorded.account, recorded.first_version)
    return ReceiptRow(
        recorded.receipt,
        _state(recorded, reading),
        recorded.channel.value,
        recorded.account,
        recorded.actor,
        recorded.recorded_at,
        recorded.first_version,
        recorded.last_version,
        reading,
    )


def _state(recorded: Recorded, reading: ReadingRow | None) -> ReceiptState:
    if recorded.status in ("PARKED", "REFUSED"):
        return ReceiptState(recorded.status)
    if reading is None:
        return ReceiptState.DONE
    if reading.status == "ACCEPTED" and reading.counted_in is not None:
        return ReceiptState.COUNTED
    return ReceiptState(reading.status)
