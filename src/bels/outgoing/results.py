"""What became of handing a text to a gateway: the four answers that every sender gives, and what is handed to it.

A sender is a plain function for one channel. It never raises for what its gateway said, and never tries again by itself:
whoever called it knows how often and when.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bels.domain.terms import Channel


@dataclass(frozen=True, slots=True)
class Text:
    """Words for a household: ``subject`` is for a letter, ``unsubscribe`` the URL that stops them with one click (RFC 8058)."""

    text: str = field(repr=False)
    subject: str = ""
    unsubscribe: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """A whole letter as it goes over the wire (RFC 5322), from an envelope sender; "" is the null one of RFC 3834."""

    message: bytes = field(repr=False)
    sender: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """The gateway took it. ``provider_id`` finds it in a delivery report; ``delivered``: it is known to have arrived."""

    provider_id: str = ""
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway will never take this text; the address may be good. ``code`` is for developers and holds nothing personal."""

    code: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The gateway could not take it now; ``after_s`` is how long it asked us to wait (429), None where it did not say."""

    code: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Nobody is reached at this address any more: the bot is blocked, the mailbox or number does not exist."""

    code: str


Result = Sent | Refused | TryAgain | Dead

Sender = Callable[[str, Text | Letter, str], Awaitable[Result]]
"""Hand a text to a gateway: the address, the words, and a key that is the same when it is tried again (at most 64 signs)."""

Senders = dict[Channel, Sender]
"""Who sends on which channel; a channel that is switched off is not in it."""
