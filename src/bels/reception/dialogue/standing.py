"""Where a dialogue stands: a closed union of situations, kept in PostgreSQL between two turns.

What nobody confirmed lives here only. A situation of an older program that this one does not know begins the dialogue anew.
"""

from __future__ import annotations

from datetime import date

import msgspec

from bels.domain.terms import Register
from bels.reception.dialogue.turns import Line

VERSION = 1
"""Raise it where a situation changes its meaning: what stands under another version begins anew."""

READING = "read"
"""What an account is asked for, where nothing else is wanted."""


class Over(msgspec.Struct, frozen=True, tag="over"):
    """Nothing is awaited; whatever comes next begins anew."""


class Choosing(msgspec.Struct, frozen=True, tag="choosing"):
    """One of these accounts is to be chosen; only the end of each was told."""

    offered: tuple[str, ...]
    want: str = READING
    tries: int = 0


class Naming(msgspec.Struct, frozen=True, tag="naming"):
    """The number of an account is awaited."""

    want: str = READING
    tries: int = 0


class NamingMeter(msgspec.Struct, frozen=True, tag="naming_meter"):
    """The number of another meter of the account is awaited."""

    account: str
    tries: int = 0


class Valuing(msgspec.Struct, frozen=True, tag="valuing"):
    """The value of the next register is awaited.

    ``shown`` are places and registers in the order of the display, ``values`` what was said of the first of them. ``previous``
    is empty unless the sender is linked. ``meter`` is the number that was named, ``ends`` what is told of the one in service.
    """

    account: str
    ends: str
    capacity: int
    shown: tuple[tuple[str, Register], ...]
    previous: tuple[int, ...] = ()
    meter: str | None = None
    values: tuple[str, ...] = ()
    tries: int = 0


class Confirming(msgspec.Struct, frozen=True, tag="confirming"):
    """All values were said, and wait for a yes. ``draft`` names the message that the yes will send."""

    account: str
    draft: str
    values: dict[str, str]
    meter: str | None = None
    kwh: int | None = None
    roubles: str = ""
    held: str = ""
    tries: int = 0


class Doubting(msgspec.Struct, frozen=True, tag="doubting"):
    """A reading is held because so much is not plausible; its sender may say that it is right."""

    account: str
    draft: str
    entry: int
    tries: int = 0


class Menu(msgspec.Struct, frozen=True, tag="menu"):
    """What next? ``account`` is "" where none was named yet."""

    account: str
    linked: bool
    tries: int = 0


Situation = Over | Choosing | Naming | NamingMeter | Valuing | Confirming | Doubting | Menu
"""The closed union of situations."""


class Sent(msgspec.Struct, frozen=True):
    """The last draft that was sent, so that a second tap on its yes hears the same."""

    draft: str
    receipt: str
    code: str
    account: str
    lines: tuple[Line, ...]


class Standing(msgspec.Struct, frozen=True):
    """A dialogue between two turns: with whom, in which situation, the photos that wait for their reading, the turns of a day."""

    sender: str
    situation: Situation
    version: int = VERSION
    photos: tuple[str, ...] = ()
    sent: Sent | None = None
    day: date | None = None
    turns: int = 0


_decode = msgspec.json.Decoder(Standing).decode


def encoded(standing: Standing) -> str:
    """Write a standing as JSON."""
    return msgspec.json.encode(standing).decode()


def decoded(text: str, sender: str) -> Standing | None:
    """Read a standing; None where this program does not know it, or it is somebody else's."""
    try:
        standing = _decode(text)
    except msgspec.MsgspecError:
        return None
    return standing if standing.version == VERSION and standing.sender == sender else None
