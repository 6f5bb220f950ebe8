"""What is said in a dialogue and what is answered, free of any messenger's or telephony's types.

A renderer turns what came to it into a ``Said`` and a ``Reply`` into what its peer shows or speaks. A reply is lines with named
parts, not text: a bot writes them out, a telephone plays a recording for the words and speaks the digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bels.access.personal import ContactKind
from bels.domain.terms import Channel, Word
from bels.reception.counter import Sender
from bels.reception.dialogue.say import Say


@dataclass(frozen=True, slots=True)
class Talk:
    """Who talks with us, and which of its talks it is: a chat has one for ever, every telephone call is its own.

    ``talk`` is at most 100 characters without personal data (a keyed digest, a call's id). ``contact`` and ``address`` find the
    accounts of a household that gave this phone or e-mail; None where the channel knows none.
    """

    channel: Channel
    talk: str
    sender: Sender
    contact: ContactKind | None = None
    address: str = field(default="", repr=False)


class SaidKind(Word):
    """What a turn brings."""

    BEGIN = "BEGIN"
    """The call was taken, the chat was opened; ``text`` is what came with it (a link's payload), or empty."""
    NUMBER = "NUMBER"
    """Digits that were keyed in, without the # that ends them; may be empty or hold a star."""
    TEXT = "TEXT"
    """What was typed."""
    CHOICE = "CHOICE"
    """An option of the last reply, by its ``key``."""
    PHOTO = "PHOTO"
    """A picture of the display; ``text`` is the evidence under which it is kept, and after a blank what was read from it, if
    anything: a guess that is shown and must be confirmed like every value."""
    SILENCE = "SILENCE"
    """Nothing came in time."""
    LEFT = "LEFT"
    """Hung up, or left the chat: nothing will be heard, nothing that was not confirmed is kept as a reading."""


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of the other side."""

    kind: SaidKind
    text: str = ""


class PartKind(Word):
    """How a named part of a line is written or spoken."""

    DIGITS = "DIGITS"
    """Spoken digit by digit: an account, a reading, the end of a number."""
    KWH = "KWH"
    """Whole kWh."""
    ROUBLES = "ROUBLES"
    """Roubles and kopecks, written 1245.05."""
    ZONE = "ZONE"
    """A register by its name: night."""
    MONTH = "MONTH"
    """A period, 2026-11."""
    RECEIPT = "RECEIPT"
    """Eight characters, spelled."""
    DAY = "DAY"
    """A date, 2026-11-25."""
    TIME = "TIME"
    """A time of day, 08:45."""
    TEXT = "TEXT"
    """Words for a screen; a telephone leaves a line out that has one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A named part of a line."""

    kind: PartKind
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of a reply; its Russian words stand in ``say.py``."""

    say: Say
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Option:
    """One of the answers that are offered. ``key`` is at most 20 ASCII characters; ``digit`` is its key of a telephone."""

    key: str
    digit: str
    label: Line


class AskKind(Word):
    """What is awaited."""

    NUMBER = "NUMBER"
    """Digits, ended by # on a telephone."""
    CHOICE = "CHOICE"
    """One of the options."""
    NOTHING = "NOTHING"
    """The talk is over: a telephone hangs up, a chat stays silent."""
    OPERATOR = "OPERATOR"
    """The talk goes on with a person: a telephone connects, a chat is in the operators' list."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is awaited next; options may stand beside a number, too. ``digits_max`` bounds a number."""

    kind: AskKind
    options: tuple[Option, ...] = ()
    digits_max: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a turn. ``receipt`` is that of a message taken in this turn, ``code`` its outcome, else empty.

    ``account`` is the account that the talk is about now, or was in this turn; ``photos`` are the pictures that belong to the
    reading with this receipt.
    """

    lines: tuple[Line, ...]
    ask: Ask
    receipt: str = ""
    code: str = ""
    account: str = ""
    photos: tuple[str, ...] = ()
