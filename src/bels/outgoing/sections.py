"""Cut a long text into messages where a reader would: between paragraphs, else between lines, else between words."""

from __future__ import annotations

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
