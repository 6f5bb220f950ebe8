"""An entry of an account's journal: one event, who brought it, and when we knew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bels.domain.events import Event
from bels.domain.terms import AccountNumber, Channel


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it stands in the journal for ever.

    ``version`` counts the account's entries from 1. ``recorded_at`` is when bels knew (UTC); when it was true stands in
    the event. ``actor`` names who spoke, without personal data; ``receipt`` the message that led to it.
    """

    account: AccountNumber
    version: int
    recorded_at: datetime
    channel: Channel
    actor: str
    receipt: str
    event: Event
