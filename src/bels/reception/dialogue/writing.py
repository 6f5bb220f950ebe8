"""Write a reply out: for a screen, and as sentences that a machine reads aloud."""

from __future__ import annotations

from decimal import Decimal
from typing import assert_never

from bels.domain.terms import Period, Register
from bels.reception.dialogue.say import WORDS, Say
from bels.reception.dialogue.turns import Line, Option, Part, PartKind, Reply
from bels.words import ZONE_NAMES, month, plural

STAR = "*"


def written(line: Line) -> str:
    """Write a line for a screen: «Расход 185 кВт·ч»."""
    return _capital(WORDS[line.say].format(**{name: _written(part) for name, part in line.parts.items()}))


def written_reply(reply: Reply) -> str:
    """Write the lines of a reply for a screen, one under the other; its options are for buttons."""
    return "\n".join(written(line) for line in reply.lines)


def written_option(option: Option) -> str:
    """Write the label of an option as it stands on a button: «Исправить»."""
    return written(option.label).rstrip(".")


def spoken(line: Line) -> str:
    """Write a line for a machine that reads aloud, digits apart; "" where it is for screens only."""
    if any(part.kind is PartKind.TEXT for part in line.parts.values()):
        return ""
    return _capital(WORDS[line.say].format(**{name: _spoken(part) for name, part in line.parts.items()}))


def spoken_reply(reply: Reply) -> list[str]:
    """Write a reply for a machine that reads aloud: its lines, then every option that can be read with its key."""
    lines = [spoken(line) for line in reply.lines]
    for option in reply.ask.options:
        star, press = Line(Say.PRESS_STAR), Line(Say.PRESS, {"digit": Part(PartKind.DIGITS, option.digit)})
        if label := spoken(option.label):
            lines += [label, spoken(star if option.digit == STAR else press)]
    return [line for line in lines if line]


def _written(part: Part) -> str:
    match part.kind:
        case PartKind.KWH:
            return f"{part.value} кВт·ч"
        case PartKind.ROUBLES:
            return f"{part.value.replace('.', ',')} руб."
        case PartKind.ZONE:
            return ZONE_NAMES[Register(part.value)]
        case PartKind.MONTH:
            return month(Period(part.value))
        case PartKind.DAY:
            return ".".join(reversed(part.value.split("-")))
        case PartKind.DIGITS | PartKind.RECEIPT | PartKind.TIME | PartKind.TEXT:
            return part.value
        case _ as never:
            assert_never(never)


def _spoken(part: Part) -> str:
    match part.kind:
        case PartKind.DIGITS | PartKind.RECEIPT:
            return " ".join(part.value)
        case PartKind.KWH:
            number = abs(int(part.value))
            return f"{part.value} {plural(number, 'киловатт-час', 'киловатт-часа', 'киловатт-часов')}"
        case PartKind.ROUBLES:
            amount = Decimal(part.value)
            roubles, kopecks = int(abs(amount)), int(abs(amount) * 100 % 100)
            return (
                f"{'минус ' if amount < 0 else ''}{roubles} {plural(roubles, 'рубль', 'рубля', 'рублей')} "
                f"{kopecks} {plural(kopecks, 'копейка', 'копейки', 'копеек')}"
            )
        case _:
            return _written(part)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
