"""The last resort against personal data in the log: what looks like a phone, an e-mail, a secret or a name is masked.

Code does not log personal data. But an exception's text may hold what it stumbled over, and so may a library's message.
"""

from __future__ import annotations

import ipaddress
import traceback
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from re import Match
from re import compile as pattern
from types import TracebackType

import asyncpg

TEXT_MAX = 20_000
"""Characters of one text; what is longer is cut."""
ERROR_TEXT_MAX = 2_000
"""Characters of one exception's text."""
CHAIN_MAX = 8
"""Exceptions told of one chain, or of one group."""
FRAMES_MAX = 40
"""Frames told of one exception, the innermost ones."""
ITEMS_MAX = 100
DEPTH_MAX = 4

_EDGE = 300

# Between the digits of a phone: spaces, brackets, dashes of all kinds, dots.
_GAP = r"[\s().\-\u2010-\u2015]{0,3}"

_SECRET = pattern(
    r"eyJ[\w-]{4,}(?:\.[\w-]*){0,4}"
    r"|bels_[\w-]{20,}"
    r"|\$argon2\S+"
    r"|(?:(?<=[Bb]earer )|(?<=[Bb]asic ))[\w.~+/=-]{8,}"
)
_MAIL = pattern(r"[^\s@\"<>(),;\[\]\\]{1,128}(?:@|%40)[^\s@\"'<>(),;\[\]\\]{0,255}")
_NUMBER = pattern(
    # A request id, a digest, a UUID: digits in them are no phone.
    r"(?P<id>(?<![0-9A-Za-z])(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?=[0-9]*[a-f])[0-9a-f]{16,128})(?![0-9A-Za-z]))"
    r"|(?P<card>(?<!\d)\d{4}([ -]?)\d{4}\3\d{4}\3\d{4}(?!\d))"
    r"|(?P<phone>(?<!\d)(?:"
    rf"(?:\+?[78７８]{_GAP})?[9９](?:{_GAP}\d){{9}}|[78７８](?:{_GAP}\d){{10}}|\+(?:{_GAP}\d){{10,15}}"
    r")(?!\d))"
    r"|(?P<address>(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)"
    r"|(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}(?:\d{1,3}(?:\.\d{1,3}){3})?(?!\w)))"
)
# Names and addresses of people are Cyrillic, what we log is not; also as an escape or as the bytes of UTF-8.
_TEXT = pattern(
    r"[\u0400-\u04ff]+(?:[\s.,«»\"'-]{1,3}[\u0400-\u04ff]+)*|(?:\\u04[0-9a-fA-F]{2})+|(?:\\x[dD][01]\\x[89abAB][0-9a-fA-F])+"
)


def scrub(text: str) -> str:
    """Mask what looks like a phone, an e-mail, a card, a secret, a public address or Cyrillic words; account numbers stay."""
    is_cut = len(text) > TEXT_MAX
    if is_cut:
        text = text[:TEXT_MAX]
    text = _SECRET.sub("[secret]", text)
    if "@" in text or "%40" in text:
        text = _MAIL.sub("[e-mail]", text)
    text = _NUMBER.sub(_masked, text)
    if "\\" in text or not text.isascii():
        text = _TEXT.sub("[text]", text)
    # What the cut went through may no longer look like what it is.
    return f"{text[:-_EDGE]} [cut]" if is_cut else text


@lru_cache(4096)
def scrub_known(text: str) -> str:
    """Mask in a short text that comes again and again, such as the name of an operation."""
    return scrub(text)


def _masked(found: Match[str]) -> str:
    kind = found.lastgroup
    text = found.group()
    if kind == "id":
        return text
    if kind == "address":
        known = text.rstrip(":")
        try:
            address = ipaddress.ip_address(known)
        except ValueError:
            return text
        return f"[address]{text[len(known) :]}" if address.is_global else text
    return f"[{kind}]"


def scrub_value(value: object, depth: int = 0) -> object:
    """Mask in a value that goes into the log with a record: in texts, in whole numbers, and inside of collections."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        text = str(value)
        return value if scrub(text) == text else "[phone]"
    if isinstance(value, Enum):
        return scrub(str(value.value))
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth < DEPTH_MAX:
        if isinstance(value, Mapping):
            some = list(value.items())[:ITEMS_MAX]
            return {scrub(str(name)): scrub_value(each, depth + 1) for name, each in some}
        if isinstance(value, list | tuple | set | frozenset):
            return [scrub_value(each, depth + 1) for each in list(value)[:ITEMS_MAX]]
    return scrub(_text_of(value))


def tell_error(error: BaseException) -> str:
    """Tell an exception with its traceback and causes as Python does, but no more of its text than is safe.

    PostgreSQL's DETAIL names the values of a row, its data exceptions and asyncpg's quote them: these are left out.
    """
    parts: list[str] = []
    _tell(error, parts, set())
    return "".join(parts).rstrip("\n")


def _tell(error: BaseException, parts: list[str], told: set[int]) -> None:
    told.add(id(error))
    before = error.__cause__
    link = "\nThe above exception was the direct cause of the following exception:\n\n"
    if before is None and not error.__suppress_context__:
        before = error.__context__
        link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    if before is not None and id(before) not in told and len(told) < CHAIN_MAX:
        _tell(before, parts, told)
        parts.append(link)
    if error.__traceback__ is not None:
        parts.append("Traceback (most recent call last):\n")
        parts += _frames(error.__traceback__)
    parts.append(f"{type(error).__module__}.{type(error).__qualname__}: {error_text(error)}\n")
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions[:CHAIN_MAX]:
            if id(each) not in told and len(told) < CHAIN_MAX:
                parts.append("\nOne of the group:\n\n")
                _tell(each, parts, told)


def _frames(trace: TracebackType) -> list[str]:
    # The lines of source are ours, not data: they stay as they are.
    summary = traceback.StackSummary.extract(traceback.walk_tb(trace), limit=-FRAMES_MAX)
    return [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n    {frame.line}\n' for frame in summary]


def error_text(error: BaseException) -> str:
    """Give so much of an exception's text as is safe."""
    if isinstance(error, asyncpg.PostgresError):
        about = [f"{name}={getattr(error, f'{name}_name', None)}" for name in ("table", "column", "constraint")]
        known = " ".join(each for each in about if not each.endswith("=None"))
        # Class 22 is what is wrong with a value, and the message quotes it.
        said = "" if (error.sqlstate or "").startswith("22") or not error.args else str(error.args[0])
        text = f"{error.sqlstate} {said} {known}"
    elif isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        text = _text_of(error).partition(":")[0]
    else:
        text = _text_of(error)
    return scrub(" ".join(text[:ERROR_TEXT_MAX].split()))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"[{type(value).__name__} without a text: {type(error).__name__}]"
