"""Texts for a chat: a long one is cut into messages where a reader would, between paragraphs, else lines, else words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bels.outgoing.results import Dead, Letter, Refused, Result, Sender, Sent, Text

SECTIONS_MAX = 10
"""Messages of one text: what is longer is cut off, and says so."""

CUT_OFF = "…"
_BREAKS = ("\n\n", "\n", " ")


def sections(text: str, length_max: int) -> list[str]:
    """Cut a text into messages of at most so many UTF-16 units, as messengers count; at most ten of them."""
    found: list[str] = []
    rest = text.strip()
    while rest:
        if len(found) == SECTIONS_MAX:
            found[-1] = f"{found[-1][: _fitting(found[-1], length_max - len(CUT_OFF))]}{CUT_OFF}"
            break
        fitting = _fitting(rest, length_max)
        end = fitting if fitting == len(rest) else _break_before(rest, fitting)
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return found


def chat_sender(send_section: Callable[[str, str], Awaitable[Result]], units_max: int) -> Sender:
    """Give the sender of the outbox for a messenger: the address is the chat's id, a letter is none of a messenger's.

    ``send_section`` sends one message of at most ``units_max`` UTF-16 units to a chat.
    """

    async def send(address: str, text: Text | Letter, key: str) -> Result:
        if isinstance(text, Letter):
            return Refused("NOT_A_TEXT")
        if not address.removeprefix("-").isdecimal():
            return Dead("NO_CHAT")
        sent: Result = Refused("EMPTY")
        for section in sections(text.text, units_max):
            sent = await send_section(address, section)
            if not isinstance(sent, Sent):
                break
        return sent

    return send


def _fitting(text: str, units_max: int) -> int:
    """Count the characters from the beginning that fit; those beyond the basic plane are two units each."""
    if len(text) <= units_max and len(text.encode("utf-16-le")) <= 2 * units_max:
        return len(text)
    units = 0
    for i, character in enumerate(text):
        units += 2 if character > "\uffff" else 1
        if units > units_max:
            return i
    return len(text)


def _break_before(text: str, end: int) -> int:
    for each in _BREAKS:
        # A section that is nearly empty would help nobody.
        at = text.rfind(each, end // 2, end + 1)
        if at > 0:
            return at
    return end
