"""Read what a person wrote for a register: the integer part counts, in whatever digits it came (rules 1.2)."""

from __future__ import annotations

from re import Match
from re import compile as pattern
from unicodedata import normalize

VALUE_LENGTH_MAX = 40
"""A longer text is no reading of a meter."""

_LETTER_O = str.maketrans("ОоOo", "0000")
_PERSONAL = pattern(r"\S*@\S*|[^\W\d_]{3,}|(?:\d[\s().-]*){9,}")
_PHONE = pattern(r"(?<![0-9A-Za-z])\+?(?:[78][\s().-]{0,3})?\d(?:[\s().-]{0,3}\d){9}(?![0-9A-Za-z])")
_EMAIL = pattern(r"\S*@\S*")
_WORD = pattern(r"[^\W\d_]{4,}")
_VALUE = pattern(r"([0-9]+)(?:[.,][0-9]*)?")


def read_value(text: str) -> int | None:
    """Give the whole kWh that a text shows, None when it is no number.

    A tail after ``.`` or ``,`` is cut, leading zeros mean nothing, full-width digits are digits, and the letter О among
    digits is a zero.
    """
    if len(text) > VALUE_LENGTH_MAX:
        return None
    plain = normalize("NFKC", text).strip()
    found = _VALUE.fullmatch(plain)
    if found is None and any(c.isdigit() for c in plain):
        found = _VALUE.fullmatch(plain.translate(_LETTER_O))
    return int(found.group(1)) if found is not None else None


def quoted(text: str) -> str:
    """Give what may be kept of a text that is no reading: words, phones and e-mails are no part of an account's history."""
    return _PERSONAL.sub("***", text[:VALUE_LENGTH_MAX])


def quoted_number(text: str) -> str:
    """Give what may be kept of a number, of a meter or an account, that there is not: «E-9», many digits, but no word and no phone."""
    return _WORD.sub("***", _EMAIL.sub("***", _PHONE.sub(_starred, text[:VALUE_LENGTH_MAX])))


def holds_contact(text: str) -> bool:
    """Say whether a text holds what looks like an e-mail or a phone."""
    return "@" in text or any(map(_is_phone, _PHONE.finditer(text)))


def _is_phone(found: Match[str]) -> bool:
    digits = [c for c in found.group() if c.isdigit()]
    return digits[0] in "78" if len(digits) == 11 else digits[0] == "9"


def _starred(found: Match[str]) -> str:
    return "***" if _is_phone(found) else found.group()
