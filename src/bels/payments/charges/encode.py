"""Text for a bank's encoding: what it does not know is written by what it does, and never stops the file.

Layouts have no quoting (partners 4.2), so a separator or a line's end in a text becomes a comma or a blank.
"""

from __future__ import annotations

import unicodedata

UNKNOWN = "?"
BEGINS_NO_FIELD = "#=+-@ "

_ALIKE = {
    "«": '"', "»": '"', "„": '"', "“": '"', "”": '"', "’": "'", "‘": "'", "ʼ": "'", "–": "-", "—": "-", "−": "-", "‑": "-",
    "…": "...", "№": "N", "\u00a0": " ", "\u202f": " ", "₽": "руб.", "І": "I", "і": "i", "Ї": "I", "ї": "i", "Є": "Е", "є": "е",
    "Ґ": "Г", "ґ": "г", "Ә": "А", "ә": "а", "Ғ": "Г", "ғ": "г", "Қ": "К", "қ": "к", "Ң": "Н", "ң": "н", "Ө": "О", "ө": "о",
    "Ұ": "У", "ұ": "у", "Ү": "У", "ү": "у", "Һ": "Х", "һ": "х", "Ҳ": "Х", "ҳ": "х", "Ҷ": "Ч", "ҷ": "ч", "Ӣ": "И", "ӣ": "и",
    "Ў": "У", "ў": "у", "Ё": "Е", "ё": "е", "Ђ": "Д", "ђ": "д", "Ћ": "Ч", "ћ": "ч", "Ј": "И", "ј": "и", "Љ": "Л", "љ": "л",
    "Њ": "Н", "њ": "н", "Џ": "Ц", "џ": "ц", "ß": "ss", "Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "Æ": "AE", "æ": "ae", "ı": "i",
}  # fmt: skip


def written(text: str, encoding: str) -> tuple[str, bool]:
    """Give a text as it can stand in a field of an encoding, and whether something in it had to be written otherwise.

    Blanks and separators are made harmless without a word: they say nothing.
    """
    plain = "".join(" " if not c.isprintable() else c for c in unicodedata.normalize("NFC", text))
    plain = " ".join(plain.replace(";", ",").split())
    try:
        plain.encode(encoding)
    except UnicodeEncodeError:
        # What is alike may be a separator, too: ＃ is alike #.
        known = "".join(_known(c, encoding) for c in plain).replace(";", ",")
        return _begun(" ".join(known.split())), True
    return _begun(plain), False


def _begun(text: str) -> str:
    """Give a field as it may begin: so begin comments and totals of the file, and formulas where a clerk opens it as a table."""
    return text.lstrip(BEGINS_NO_FIELD)


def _known(character: str, encoding: str) -> str:
    for attempt in (
        character,
        _ALIKE.get(character, ""),
        "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c)),
    ):
        if attempt and _fits(attempt, encoding):
            return attempt
    return UNKNOWN


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
