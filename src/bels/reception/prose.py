"""Take out of a message what is no reading and says so itself: greetings, dates, phones, flats, signatures.

To leave a number out is safe only where it is marked as something else, and even then it makes a wrong count of values rather
than a right one: a message whose values are too few is refused with an example, never taken.
"""

from __future__ import annotations

from re import IGNORECASE
from re import compile as pattern

_MONTH = (
    r"(?:январ[ьяе]|феврал[ьяе]|марта?|апрел[ьяе]|ма[йяе]|июн[ьяе]|июл[ьяе]|августа?|сентябр[ьяе]|октябр[ьяе]|ноябр[ьяе]"
    r"|декабр[ьяе]|yanvar|fevral|mart|aprel|ma[jyi]|iyun|iyul|avgust|sentyabr|oktyabr|noyabr|dekabr)"
)
_YEAR = r"(?:\s*г(?:\b\.?|од[ау]?\b))?"
_DAY = r"[0-3]?[0-9]"
_CAPITALISED = r"[А-ЯЁ][а-яё]+(?:-[А-ЯЁ][а-яё]+)?"

_GREETING = pattern(
    r"\b(?:добр|хорош|прекрасн|удачн|приятн|dobr|horosh)\w*\s+"
    r"(?:день|дня|вечер|вечера|утро|утра|ночь|ночи|времени\s+суток|den|dnya|vecher|utro)\b",
    IGNORECASE,
)
_DATE = pattern(
    rf"(?<![0-9])(?:{_DAY}[./-][01]?[0-9][./-]20[0-9]{{2}}|20[0-9]{{2}}-[01][0-9]-[0-3][0-9])(?![0-9]){_YEAR}"
    # A short date may be three values: only where it stands alone; day and month only after a preposition.
    rf"|(?<!\S){_DAY}\.[01]?[0-9]\.[0-9]{{2}}{_YEAR}(?=[,;]?(?:\s|$))"
    rf"|\b(?:на|от|за)\s+{_DAY}[./][01]?[0-9](?![0-9./,])",
    IGNORECASE,
)
_MONTH_NAMED = pattern(
    rf"\b(?:(?:за|на|в|za|na)\s+)?(?:(?<![0-9]){_DAY}(?:-?(?:го|е|ое|х))?\s+)?{_MONTH}\b"
    rf"(?:\s+месяц\w?)?(?:\s+20[2-4][0-9](?![0-9]){_YEAR})?",
    IGNORECASE,
)
_PHONE = pattern(
    r"(?:\b(?:т|тел|телефон|моб|сот|tel)\b[.:]?\s*)?"
    r"(?:(?<![0-9])[78]9[0-9]{9}(?![0-9])"
    r"|(?<![0-9])\+7[\s(-]*9[0-9]{2}[\s)-]*[0-9]{3}[\s-]*[0-9]{2}[\s-]*[0-9]{2}(?![0-9])"
    r"|(?<![0-9])8\s?[(-]9[0-9]{2}[\s)-]*[0-9]{3}[\s-]*[0-9]{2}[\s-]*[0-9]{2}(?![0-9]))",
    IGNORECASE,
)
_HOUSE = pattern(r"\b(?:дом|д)\b\.?\s*[0-9]{1,3}[а-яё]?(?=[\s,]+кв\w*\.?\s*[0-9])", IGNORECASE)
_FLAT = pattern(r"\b(?:кв|квартира|дом|корп|корпус|подъезд|этаж)(?:\b|(?=[0-9]))[.\s]*№?\s*[0-9]{1,4}\b", IGNORECASE)
_SIGNATURE = pattern(rf"\b[Сс]\s+уважением\b[,.!\s]*(?:(?:{_CAPITALISED}|[А-ЯЁ]\.)[,.\s]*){{0,4}}")
_NAME = pattern(rf"\b{_CAPITALISED}\s+[А-ЯЁ]\.\s?[А-ЯЁ]\.?(?![\w.])")

_PROSE = (_GREETING, _SIGNATURE, _NAME, _PHONE, _DATE, _MONTH_NAMED, _HOUSE, _FLAT)


def without_prose(text: str) -> str:
    """Leave out what is marked as no reading; a blank stands in its place."""
    for what in _PROSE:
        text = what.sub(" ", text)
    return text
