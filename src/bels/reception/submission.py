"""What was written about a meter, as one command: its values named by that meter, or why they cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time

from bels.domain.commands import Claim, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.periods import MOSCOW
from bels.domain.read_value import quoted
from bels.domain.terms import Reason, Register
from bels.reception.grammar import BadValue, Token, read_values


def submission(
    tokens: tuple[Token, ...],
    registers: tuple[Register, ...],
    display: Mapping[str, Register] | None,
    at: datetime,
    *,
    taken_on: date | None = None,
    meter: str | None = None,
    claim: Claim | None = None,
) -> SubmitReading | ReadingRefused:
    """Name the values of a text or a row by the registers and the display of its account's meter.

    ``at`` is when it was received, ``taken_on`` the day on which it was read off, ``meter`` the number that was written.
    """
    values = read_values(tokens, registers, display)
    if isinstance(values, BadValue):
        return ReadingRefused(Reason.BAD_VALUE, at, {}, registers, detail=quoted(values.token))
    # A day that is not over yet has begun: a reading of today is not one of the future.
    taken_at = datetime.combine(taken_on, time(), MOSCOW) if taken_on is not None else None
    return SubmitReading(at, values, taken_at=taken_at, meter=meter, claim=claim)
