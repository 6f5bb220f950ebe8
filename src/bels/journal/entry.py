"""An entry of an account's journal: one event, who brought it, and when we knew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bels.domain.events import Event
from bels.domain.terms import AccountNumber, Channel, Word


class Ground(Word):
    """By what right an operator acts for a consumer: how it was asked, or what was shown."""

    IN_PERSON = "IN_PERSON"
    BY_PHONE = "BY_PHONE"
    LETTER = "LETTER"
    POWER_OF_ATTORNEY = "POWER_OF_ATTORNEY"


@dataclass(frozen=True, slots=True)
class Behalf:
    """For whom an operator acts: HOLDER, MEMBER, REPRESENTATIVE or a person of the cabinet (``u-...``), and by what right.

    ``document`` notes what was shown, without personal data: kind, day, the end of the number.
    """

    who: str
    ground: Ground
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it stands in the journal for ever.

    ``version`` counts the account's entries from 1. ``recorded_at`` is when bels knew (UTC); when it was true stands in
    the event. ``actor`` names who spoke, without personal data; ``receipt`` the message that led to it. ``behalf`` is for
    whom an operator spoke, None where everybody spoke for himself or nobody said.
    """

    account: AccountNumber
    version: int
    recorded_at: datetime
    channel: Channel
    actor: str
    receipt: str
    event: Event
    behalf: Behalf | None = None
