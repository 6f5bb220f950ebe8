"""Read bytes whose charset nobody knows for sure: Russian letters tell it by how often each of them stands in a text."""

from __future__ import annotations

import codecs
from math import log

SAMPLE_BYTES = 20_000
"""So much of a long text is looked at; the rest of it has the same charset."""

CYRILLIC = ("cp1251", "koi8-r", "cp866")
"""What a Russian text comes in that is not UTF-8, the likeliest first."""

_ALSO_BY_LABEL = ("iso8859-5", "mac-cyrillic")
_LABEL_BONUS = 0.15
_FOREIGN = -6.0
_CASE_BROKEN = -4.0
_CAPITAL = -0.2
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Letters of a thousand of Russian prose, by the Russian National Corpus.
# fmt: off
_OF_A_THOUSAND = {
    "о": 109.7, "е": 84.5, "а": 80.1, "и": 73.5, "н": 67.0, "т": 62.6, "с": 54.7, "р": 47.3, "в": 45.4, "л": 44.0,
    "к": 34.9, "м": 32.1, "д": 29.8, "п": 28.1, "у": 26.2, "я": 20.1, "ы": 19.0, "ь": 17.4, "г": 17.0, "з": 16.5,
    "б": 15.9, "ч": 14.4, "й": 12.1, "х": 9.7, "ж": 9.4, "ш": 7.3, "ю": 6.4, "ц": 4.8, "щ": 3.6, "э": 3.2,
    "ф": 2.6, "ъ": 0.4, "ё": 0.4,
}
# fmt: on
_WEIGHTS = {letter: log(often / 30.0) for letter, often in _OF_A_THOUSAND.items()}
_SIGNS = frozenset("№«»—–…·°§\u00a0“”„’‘•±\u00ad")


def decoded(content: bytes, label: str | None = None) -> str:
    """Read a text; ``label`` is what its sender says of the charset. What cannot be read becomes U+FFFD; never raises.

    What reads as UTF-8 is UTF-8, because no other text does by accident. Else the letters choose, and the label only tips
    the scales: it often lies.
    """
    for bom, charset in _BOMS:
        if content.startswith(bom):
            return content[len(bom) :].decode(charset, "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    return content.decode(likeliest(content, label), "replace")


def likeliest(content: bytes, label: str | None = None) -> str:
    """Choose the charset of a text that is no UTF-8 by the statistics of its letters."""
    named = _name(label)
    sample = content[:SAMPLE_BYTES]
    if named == "utf-8" and sum(c == "\ufffd" for c in sample.decode("utf-8", "replace")) * 50 < len(sample):
        # One damaged sign does not make another charset of it.
        return "utf-8"
    candidates = [*CYRILLIC, named] if named in _ALSO_BY_LABEL else list(CYRILLIC)
    return max(candidates, key=lambda charset: _score(sample, charset) + (_LABEL_BONUS if charset == named else 0.0))


def _name(label: str | None) -> str:
    try:
        return codecs.lookup(label.strip()).name if label else ""
    except (LookupError, ValueError):
        return ""


def _score(sample: bytes, charset: str) -> float:
    """Say how Russian a text looks in a charset, on the average of its signs beyond ASCII."""
    score, signs = 0.0, 0
    before = ""
    for c in sample.decode(charset, "replace"):
        if not c.isascii():
            signs += 1
            score += _WEIGHTS.get(c.lower(), 0.0 if c in _SIGNS else _FOREIGN)
            if c.isupper():
                score += _CASE_BROKEN if before.islower() else _CAPITAL
        before = c
    return score / max(signs, 1)
