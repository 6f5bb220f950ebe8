"""Read a short message: an account with its values, a confirmation, or a question about a receipt (rules 5, channels 3).

Two steps, because registers and display belong to the account: ``read_message`` finds whose message it is, ``read_values``
names its values. How many there must be is not judged here: the domain answers that the same on every channel. Where a
text may mean two things it is refused, so that nobody is billed for a guess. Also for the text of e-mail and bots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from re import IGNORECASE
from re import compile as pattern
from unicodedata import category, normalize

from bels.domain.read_value import VALUE_LENGTH_MAX, read_value
from bels.domain.terms import Register

LENGTH_MAX = 1000
"""A longer text is no reading: seven parts of a long SMS have 469 characters."""

SMS_ORDER: tuple[tuple[Register, ...], ...] = (
    (Register.TOTAL,),
    (Register.DAY, Register.NIGHT),
    (Register.HALF_PEAK, Register.NIGHT, Register.PEAK),
)
"""The order of values without zone names, by the number of zones."""


class Kind(Enum):
    """What a piece of the text is."""

    NUMBER = "number"
    MARK = "mark"
    FILLER = "filler"
    DASH = "dash"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text as written (a mark: the register's name, or T1..T4), and the separators before it."""

    kind: Kind
    text: str
    before: str


@dataclass(frozen=True, slots=True)
class Reading:
    """An account of seven digits and what was written with it."""

    account: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """``ДА <receipt>``: the held reading with this receipt is right."""

    receipt: str


@dataclass(frozen=True, slots=True)
class ReceiptQuestion:
    """``? <receipt>``: what became of it?"""

    receipt: str


@dataclass(frozen=True, slots=True)
class BadAccount:
    """The first number is no account: it has so many digits, and not seven, or None: letters stand in it.

    The number itself is left out: where an account should stand people write their phone.
    """

    digits: int | None


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """There is no number in it, or it is damaged or too long. ``confirming``: a ``ДА`` without a whole receipt."""

    confirming: bool = False


@dataclass(frozen=True, slots=True)
class BadValue:
    """The piece of the text that is no value, or that no zone claims."""

    token: str


Parsed = Reading | Confirmation | ReceiptQuestion | BadAccount | NotUnderstood
"""The closed union of what a message may be."""

_ZONES: dict[str, Register] = {
    **dict.fromkeys(("всего", "итого", "общее", "общий", "сумма"), Register.TOTAL),
    **dict.fromkeys(
        ("день", "днем", "дневной", "дневная", "дневное", "дневные", "дн", "д", "day", "den"), Register.DAY
    ),
    **dict.fromkeys(
        ("ночь", "ночью", "ночной", "ночная", "ночное", "ночные", "ноч", "н", "night", "noch"), Register.NIGHT
    ),
    **dict.fromkeys(("пик", "пиковый", "пиковая", "пиковое", "пиковые", "peak", "pik"), Register.PEAK),
    **dict.fromkeys(
        ("полупик", "полупиковый", "полупиковая", "полупиковое", "полупиковые", "п/пик", "polupik"),
        Register.HALF_PEAK,
    ),
}
# fmt: off
_FILLERS = frozenset(
    (
        "лс", "л/с", "л", "с", "ls", "лиц", "лицевой", "счет", "сч", "счета", "абонент", "показание", "показания",
        "показаний", "показ", "пок", "pokazanie", "pokazaniya", "счетчик", "счетчика", "эл", "электро",
        "электричество", "электроэнергия", "электроэнергии", "энергия", "энергии", "свет", "здравствуйте", "привет",
        "добрый", "пожалуйста", "спасибо", "прошу", "принять", "примите", "передаю", "передаем", "отправляю", "шлю",
        "мои", "наши", "и", "да", "квт", "квтч", "квт/ч", "квт-ч", "квт·ч", "квт⋅ч", "квт∙ч", "квт/час", "квтчас",
        "ч", "час", "kvt", "kwh",
    )
)
# fmt: on

_NUMBER = r"[0-9][0-9oо]*"
_PIECE = pattern(
    # A date is one piece, or three zones would be read out of it; a short one only where it stands alone.
    r"(?<![0-9])[0-3]?[0-9]\.[01]?[0-9]\.20[0-9]{2}(?![0-9])"
    r"|(?<!\S)[0-3]?[0-9]\.[01]?[0-9]\.[0-9]{2}(?!\S)"
    r"|[^#.;,*:=\s]+"
)
_DISPLAY_MARK = pattern(r"[тt]([1-4])")
_GLUED_BEFORE = pattern(rf"([^\W\d_]+(?:/[^\W\d_]+)?|[тt][1-4](?=-))-*({_NUMBER})")
_GLUED_AFTER = pattern(rf"({_NUMBER})-?(квт[^0-9]*|kwh|kvt|ч)")
_GLUED_ACCOUNT = pattern(r"(?:л/?с-?)?([0-9oо]{7})[-/_+|\\]+(.+)")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))
_EDGES = "!\"'`´«»“”„‘’()[]{}<>|&~\x00"
_GREETING = pattern(
    r"\b(?:добр|хорош|прекрасн|удачн|приятн)\w*\s+(?:день|дня|вечер|вечера|утро|утра|ночь|ночи)\b", IGNORECASE
)
_HALF_PEAK = pattern(r"\bполу[\s-]+пик", IGNORECASE)

_RECEIPT = pattern(r"[2-9A-HJ-NP-Z]{8}")
_RECEIPT_WORD = pattern(r"[^\W_]+|[?№]")
_LOOK_ALIKES = str.maketrans("АВСЕНКМОРТХУ", "ABCEHKMOPTXY")
_YES = ("ДA", "DA")


def read_message(text: str) -> Parsed:
    """Say what a text is, and whose. Never raises, whatever the text."""
    if len(text) > LENGTH_MAX:
        return NotUnderstood()
    plain = _plain(text)
    return _read_receipt(plain) or _read_account(plain)


def read_values(
    tokens: tuple[Token, ...], registers: tuple[Register, ...], display: Mapping[str, Register] | None
) -> dict[str, str] | BadValue:
    """Name the values of a message for ``SubmitReading.values``: by zone marks, else by the order of an SMS.

    Fewer values than registers leave names out, more get the names ``value4``, ... With no registers (no such account or
    no meter) only what needs no meter is judged. ``display`` maps ``T1``.. to registers; without it a meter of several
    zones cannot be told by them.
    """
    numbers = _numbers(tokens)
    if isinstance(numbers, BadValue):
        return numbers
    if len(registers) == 1:
        numbers = _without_tail(numbers)
    if any(marks for marks, _ in numbers):
        return _by_marks(numbers, registers, display)
    order = _order(registers, len(numbers))
    return {str(order[i]) if i < len(order) else f"value{i + 1}": number.text for i, (_, number) in enumerate(numbers)}


def _plain(text: str) -> str:
    # NFKC would make "No" of №, which is read as a word of its own; what cannot be seen joins nothing and parts nothing.
    plain = " № ".join(normalize("NFKC", part) for part in text.split("№")).translate(_DASHES)
    seen = "".join(_visible(c) for c in plain)
    return _HALF_PEAK.sub("полупик", _GREETING.sub(" ", seen))


def _visible(c: str) -> str:
    if c in "\t\n\r":
        return c
    match category(c):
        case "Cf" | "Me" | "Mn":
            return ""
        case "Cc":
            return "\x00"
        case _:
            return c


def _read_receipt(plain: str) -> Confirmation | ReceiptQuestion | NotUnderstood | None:
    words = _RECEIPT_WORD.findall(plain.upper().translate(_LOOK_ALIKES))
    if not words:
        return None
    first, *rest = words
    if first.startswith(_YES) and len(first) > 2:
        first, rest = first[:2], [first[2:], *rest]
        if not _RECEIPT.fullmatch(rest[0]) or not _mixed(rest[0]):
            return None
    if first in _YES:
        rest = [word for word in rest if word not in "?№"]
        receipt = _receipt(rest)
        if receipt is not None:
            return Confirmation(receipt)
        # A number alone may be an account; letters with digits can only be a damaged receipt.
        return NotUnderstood(confirming=True) if not rest or _mixed(rest[0]) else None
    asked = [word for word in words if word not in "?№"]
    receipt = _receipt(asked)
    if receipt is None or "".join(asked) != receipt:
        return None
    alone = len(asked) == 1 and _mixed(receipt)
    return ReceiptQuestion(receipt) if alone or first in "?№" or words[-1] == "?" else None


def _receipt(words: list[str]) -> str | None:
    whole = "".join(words)
    if _RECEIPT.fullmatch(whole) and (len(words) == 1 or _mixed(whole)):
        return whole
    if words and _RECEIPT.fullmatch(words[0]) and not any(c.isdigit() for word in words[1:] for c in word):
        return words[0]
    return None


def _mixed(word: str) -> bool:
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _read_account(plain: str) -> Reading | BadAccount | NotUnderstood:
    tokens = tuple(_tokens(plain))
    for i, token in enumerate(tokens):
        if not (token.kind is Kind.NUMBER or (token.kind is Kind.UNKNOWN and any(c.isdigit() for c in token.text))):
            continue
        # What stands before the account is no value; a zone named there still names the first one.
        before = tuple(t for t in tokens[:i] if t.kind is Kind.MARK)
        glued = _GLUED_ACCOUNT.fullmatch(token.text.lower())
        rest: tuple[Token, ...] = ()
        if token.kind is Kind.NUMBER:
            account = _digits(token.text)
        elif glued is not None:
            account, rest = _digits(glued.group(1)), tuple(_read_piece(glued.group(2), "-"))
        else:
            digits = sum(c.isdigit() for c in token.text)
            return BadAccount(digits if digits != 7 else None)
        if len(account) != 7:
            return BadAccount(len(account))
        return Reading(account, (*before, *rest, *tokens[i + 1 :]))
    return NotUnderstood()


def _digits(number: str) -> str:
    return number.lower().replace("о", "0").replace("o", "0")


def _tokens(plain: str) -> Iterator[Token]:
    end = 0
    for piece in _PIECE.finditer(plain):
        yield from _read_piece(piece.group(), plain[end : piece.start()])
        end = piece.end()


def _read_piece(piece: str, before: str) -> Iterator[Token]:
    piece = piece.strip(_EDGES)
    if not piece:
        return
    if not piece.strip("-"):
        yield Token(Kind.DASH, piece, before)
        return
    piece = piece.rstrip("-_")
    if piece.startswith("-") and piece.lstrip("-")[0].isalpha():
        piece = piece.lstrip("-")
    # A date holds separators and is no number: 25.05.2024.
    if "." not in piece and read_value(piece) is not None:
        yield Token(Kind.NUMBER, piece, before)
        return
    word = piece.lower().replace("ё", "е")
    known = _read_word(word, before)
    if known is not None:
        yield known
    elif len(word) > VALUE_LENGTH_MAX:
        yield Token(Kind.UNKNOWN, piece, before)
    elif (glued := _GLUED_BEFORE.fullmatch(word)) and (known := _read_word(glued.group(1), before)):
        yield known
        yield Token(Kind.NUMBER, glued.group(2), "")
    elif (glued := _GLUED_AFTER.fullmatch(word)) and _read_word(glued.group(2), "") is not None:
        yield Token(Kind.NUMBER, glued.group(1), before)
    else:
        yield Token(Kind.UNKNOWN, piece, before)


def _read_word(word: str, before: str) -> Token | None:
    if word in _ZONES:
        return Token(Kind.MARK, _ZONES[word], before)
    if mark := _DISPLAY_MARK.fullmatch(word):
        return Token(Kind.MARK, f"T{mark.group(1)}", before)
    return Token(Kind.FILLER, word, before) if word in _FILLERS else None


def _numbers(tokens: tuple[Token, ...]) -> list[tuple[tuple[str, ...], Token]] | BadValue:
    """List the numbers, each with the marks between it and the number before."""
    numbers: list[tuple[tuple[str, ...], Token]] = []
    marks: tuple[str, ...] = ()
    for i, token in enumerate(tokens):
        match token.kind:
            case Kind.FILLER:
                continue
            case Kind.MARK:
                marks = (*marks, token.text)
            case Kind.NUMBER:
                numbers.append((marks, token))
                marks = ()
            case Kind.DASH:
                # "10385 - 10200" may be a subtraction.
                if 0 < i < len(tokens) - 1 and tokens[i - 1].kind is tokens[i + 1].kind is Kind.NUMBER:
                    return BadValue(f"{tokens[i - 1].text} - {tokens[i + 1].text}"[:VALUE_LENGTH_MAX])
            case Kind.UNKNOWN:
                following = tokens[i + 1].text if token.text == "№" and i + 1 < len(tokens) else ""
                return BadValue((token.text + following).replace("\x00", "")[:VALUE_LENGTH_MAX])
    # Marks after the last number name nothing; they show that the sender wrote the zone behind its value.
    if marks and numbers and not any(named for named, _ in numbers):
        return BadValue(numbers[0][1].text)
    return numbers


def _without_tail(numbers: list[tuple[tuple[str, ...], Token]]) -> list[tuple[tuple[str, ...], Token]]:
    if len(numbers) != 2:
        return numbers
    (marks, whole), (named, tail) = numbers
    if named or tail.before not in (".", ",") or len(tail.text) > 3:
        return numbers
    return [(marks, Token(Kind.NUMBER, f"{whole.text}{tail.before}{tail.text}", whole.before))]


def _by_marks(
    numbers: list[tuple[tuple[str, ...], Token]],
    registers: tuple[Register, ...],
    display: Mapping[str, Register] | None,
) -> dict[str, str] | BadValue:
    values: dict[str, str] = {}
    for i, (marks, number) in enumerate(numbers):
        if not marks:
            whole = numbers[i - 1][1].text + number.before if i and number.before in (".", ",") else ""
            return BadValue(whole + number.text)
        names = {name for mark in marks if (name := _name(mark, registers, display)) is not None}
        if len(names) != 1:
            return BadValue(marks[-1])
        name = names.pop()
        if name in values:
            return BadValue(number.text)
        values[name] = number.text
    return values


def _name(mark: str, registers: tuple[Register, ...], display: Mapping[str, Register] | None) -> str | None:
    if not mark.startswith("T"):
        return str(mark)
    if not registers:
        return mark
    if display is not None and mark in display:
        return str(display[mark])
    return str(Register.TOTAL) if mark == "T1" and registers == (Register.TOTAL,) else None


def _order(registers: tuple[Register, ...], values: int) -> tuple[Register, ...]:
    zones = len(registers) or min(max(values, 1), len(SMS_ORDER))
    return next((order for order in SMS_ORDER if len(order) == zones), registers)
