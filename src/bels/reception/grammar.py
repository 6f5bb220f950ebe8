"""Read a message: an account with its values, a confirmation, a code, or a question about a receipt (rules 5, channels 3).

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
from bels.reception.prose import without_prose

LENGTH_MAX = 1000
"""A longer text is no reading: seven parts of a long SMS have 469 characters."""

SMS_ORDER: tuple[tuple[Register, ...], ...] = (
    (Register.TOTAL,),
    (Register.DAY, Register.NIGHT),
    (Register.HALF_PEAK, Register.NIGHT, Register.PEAK),
)
"""The order of values without zone names, by the number of zones."""


GROUP_DIGITS = 3
"""The digits by which people group a long number."""


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
    """An account of seven digits and what was written with it; ``meter`` is the number of the meter where it is named."""

    account: str
    tokens: tuple[Token, ...]
    meter: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """``ДА <receipt>``: the held reading with this receipt is right."""

    receipt: str


@dataclass(frozen=True, slots=True)
class LinkCode:
    """``КОД <code>``: the sender shall speak for the account that the code was made for."""

    code: str


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
    """There is no number in it, or it is damaged or too long. ``after`` is ДА or КОД where 8 signs should follow and do not."""

    after: str = ""


@dataclass(frozen=True, slots=True)
class BadValue:
    """The piece of the text that is no value, or that no zone claims."""

    token: str


Parsed = Reading | Confirmation | LinkCode | ReceiptQuestion | BadAccount | NotUnderstood
"""The closed union of what a message may be."""

_ZONES: dict[str, Register] = {
    **dict.fromkeys(("всего", "итого", "общее", "общий", "сумма"), Register.TOTAL),
    **dict.fromkeys(
        ("день", "днем", "дневной", "дневная", "дневное", "дневные", "дн", "д", "day", "den", "dnevnoy"), Register.DAY
    ),
    **dict.fromkeys(
        ("ночь", "ночью", "ночной", "ночная", "ночное", "ночные", "ноч", "н", "night", "noch", "nochnoy"),
        Register.NIGHT,
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
        "показаний", "показ", "пок", "pokazanie", "pokazaniya", "pokazania", "pok", "счетчик", "счетчика", "электросчетчик",
        "электросчетчика", "прибор", "прибора", "учета", "пу", "ипу", "зав", "заводской", "номер", "schetchik", "schet",
        "lic", "l/s", "эл", "электро", "э/э", "электричество", "электроэнергия", "электроэнергии", "эл/энергия",
        "энергия", "энергии", "свет", "здравствуйте", "приветствую", "привет", "добрый", "пожалуйста", "спасибо", "спс",
        "заранее", "большое", "благодарю", "spasibo", "прошу", "принять", "примите", "передаю", "передаем", "отправляю",
        "подаю", "сдаю", "сообщаю", "направляю", "высылаю", "запиши", "запишите", "шлю", "мои", "наши", "текущие",
        "текущее", "составляют", "составляет", "дата", "на", "за", "сегодня", "тариф", "и", "да", "квт", "квтч",
        "квт/ч", "квт-ч", "квт·ч", "квт⋅ч", "квт∙ч", "квт/час", "квтчас", "кв", "кв/ч", "кватт", "киловатт", "ч", "час",
        "kvt", "kwh",
    )
)
_ACCOUNT_WORDS = frozenset(("лс", "л/с", "ls", "l/s", "лиц", "лицевой", "lic", "абонент"))
_METER_WORDS = frozenset(
    (
        "счетчик", "счетчика", "электросчетчик", "электросчетчика", "прибор", "прибора", "пу", "ипу", "зав", "заводской",
        "schetchik", "сч",
    )
)
_VALUE_WORDS = frozenset(("показание", "показания", "показаний", "показ", "пок", "pokazanie", "pokazaniya", "pokazania", "pok"))
# fmt: on

_NUMBER = r"[0-9][0-9oо]*"
_RUNS = pattern(r"[0-9]+")
_PIECE = pattern(r"[^#.;,*:=\s]+")
_DISPLAY_MARK = pattern(r"(?:[тt]|тариф)([1-4])")
_GLUED_BEFORE = pattern(rf"([^\W\d_]+(?:/[^\W\d_]+)?|[тt][1-4](?=-))-*({_NUMBER})")
_GLUED_AFTER = pattern(rf"({_NUMBER})-?(квт[^0-9]*|kwh|kvt|ч)")
_GLUED_ACCOUNT = pattern(r"(?:л/?с-?)?([0-9oо]{7})[-/_+|>\\]+(.+)")
# Possessive: what a run has taken it does not give back, or forty odd letters would be tried in every division.
_GLUED_RUN = pattern(r"[^\W\d_]++(?:/[^\W\d_]++)?|[0-9]++")
_GLUED = pattern(rf"(?:{_GLUED_RUN.pattern}|(?<![0-9])-|-(?![0-9]))++")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))
_EDGES = "!\"'`´«»“”„‘’()[]{}<>|&~\x00"
_BRACKETED = pattern(r"(?<=[0-9])\(([^\W\d_]+)\)")
_LAYOUT_SLIPS = str.maketrans("qwertyuiop[]asdfghjkl;'zxcvbnm,.`", "йцукенгшщзхъфывапролджэячсмитьбюё")
_ARROWS = "→⇒⟶"
_AS_IT_IS = "\t\n\r№\ufffd"
"""What category would make a blank of; the last stands where a byte was damaged, perhaps a digit."""
_PICTURES_FROM = 0x1F000
_HALF_PEAK = pattern(r"\bполу[\s-]+пик", IGNORECASE)

_RECEIPT = pattern(r"[2-9A-HJ-NP-Z]{8}")
_RECEIPT_WORD = pattern(r"[^\W_]+|[?№]")
_LOOK_ALIKES = str.maketrans("АВСЕНКМОРТХУ", "ABCEHKMOPTXY")
_YES = ("ДA", "DA")
_YES_SLIP = "LF"
_CODE_WORDS = ("KOД", "KOD", "CODE", "RJL")
"""КОД, its look-alike letters made Latin, in Latin letters, and as a keyboard in the wrong layout writes it."""
_SAID_WITH_YES = frozenset(
    word.upper().translate(_LOOK_ALIKES) for word in ("верно", "все", "всё", "показание", "номер")
)
_ASKED_WITH = frozenset(word.upper().translate(_LOOK_ALIKES) for word in ("что", "с", "статус", "где", "номер"))

LETTER_LENGTH_MAX = 20_000
"""A letter says more than a short message; who writes still more is no household."""

GROWS_MAX = 2
"""So much longer a text may become by being written one way: one sign may stand for eighteen."""

HOUSE_DIGITS_MAX = 3
"""A number of so few digits before a named account is a house or a flat."""


_STOP = frozenset(("стоп", "stop", "отписка", "отписаться", "отпишите"))


def read_message(text: str, *, in_letter: bool = False) -> Parsed:
    """Say what a text is, and whose. Never raises, whatever the text.

    ``in_letter``: the account is the first number that has seven digits, for phones and houses stand in letters too.
    """
    longest = LETTER_LENGTH_MAX if in_letter else LENGTH_MAX
    if len(text) > longest:
        return NotUnderstood()
    seen = _seen(text)
    if len(seen) > GROWS_MAX * longest:
        return NotUnderstood()
    return _read_receipt(seen) or _read_account(_plain(seen), in_letter=in_letter)


def asks_to_stop(text: str) -> bool:
    """Say whether a text only asks that we write no more: СТОП."""
    return len(text) <= LENGTH_MAX and "".join(c for c in _seen(text).lower() if c.isalpha()) in _STOP


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
    if (grouped := _grouped(numbers)) is not None:
        return grouped
    if len(registers) == 1:
        numbers = _without_tail(numbers)
    if any(marks for marks, _ in numbers):
        return _by_marks(numbers, registers, display)
    order = _order(registers, len(numbers))
    return {str(order[i]) if i < len(order) else f"value{i + 1}": number.text for i, (_, number) in enumerate(numbers)}


def _seen(text: str) -> str:
    # NFKC would make "No" of №, which is read as a word of its own; what cannot be seen joins nothing and parts nothing.
    plain = " № ".join(normalize("NFKC", part) for part in text.split("№")).translate(_DASHES)
    return "".join(_visible(c) for c in plain)


def _plain(seen: str) -> str:
    return _HALF_PEAK.sub("полупик", _BRACKETED.sub(r" \1 ", without_prose(seen)))


def _visible(c: str) -> str:
    if c in _AS_IT_IS:
        return c
    if c in _ARROWS or ord(c) >= _PICTURES_FROM:
        return " "
    match category(c):
        case "Cf" | "Me" | "Mn":
            return ""
        case "Cc":
            return "\x00"
        case "So":
            return " "
        case _:
            return c


def _read_receipt(seen: str) -> Confirmation | LinkCode | ReceiptQuestion | NotUnderstood | None:
    words = _RECEIPT_WORD.findall(seen.upper().translate(_LOOK_ALIKES))
    if not words:
        return None
    return _read_code(words) or _read_confirmation(words) or _read_question(words)


def _read_code(words: list[str]) -> LinkCode | NotUnderstood | None:
    word, rest = _without_first(words, _CODE_WORDS)
    if not word:
        return None
    code = _receipt(rest)
    if code is not None:
        return LinkCode(code)
    # A number may be an account, whose name for people is a code, too.
    return None if any(word.isdigit() for word in rest) else NotUnderstood("КОД")


def _read_confirmation(words: list[str]) -> Confirmation | NotUnderstood | None:
    word, rest = _without_first(words, _YES)
    if not word and words[0] == _YES_SLIP:
        word, rest = words[0], words[1:]
    if not word:
        return None
    rest = [each for each in rest if each not in _SAID_WITH_YES]
    receipt = _receipt(rest)
    if receipt is not None:
        return Confirmation(receipt)
    # A number alone may be an account; letters with digits can only be a damaged receipt.
    return NotUnderstood("ДА") if not rest or _mixed(rest[0]) else None


def _read_question(words: list[str]) -> ReceiptQuestion | None:
    asked = [word for word in words if word not in "?№" and word not in _ASKED_WITH]
    receipt = _receipt(asked)
    if receipt is None or "".join(asked) != receipt:
        return None
    alone = len(asked) == 1 and _mixed(receipt)
    return ReceiptQuestion(receipt) if alone or words[0] in "?№" or words[-1] == "?" else None


def _without_first(words: list[str], firsts: tuple[str, ...]) -> tuple[str, list[str]]:
    """Part a message from its first word, which a receipt may be glued to; "" where it begins with another."""
    first, *rest = words
    if first in firsts:
        return first, [word for word in rest if word not in "?№"]
    for each in firsts:
        glued = first.removeprefix(each)
        if glued != first and _RECEIPT.fullmatch(glued) and _mixed(glued):
            return each, [glued, *rest]
    return "", words


def _receipt(words: list[str]) -> str | None:
    whole = "".join(words)
    if _RECEIPT.fullmatch(whole) and (len(words) == 1 or _mixed(whole)):
        return whole
    if words and _RECEIPT.fullmatch(words[0]) and not any(c.isdigit() for word in words[1:] for c in word):
        return words[0]
    return None


def _mixed(word: str) -> bool:
    return any(c.isdigit() for c in word) and any(c.isalpha() for c in word)


def _read_account(plain: str, *, in_letter: bool) -> Reading | BadAccount | NotUnderstood:
    tokens, meter = _without_meter(tuple(_tokens(plain)))
    at = next((i for i, token in enumerate(tokens) if _has_digits(token)), None)
    if at is None:
        return NotUnderstood()
    first = _account_at(tokens, at, meter)
    if isinstance(first, Reading):
        return first
    if in_letter:
        whole = (_account_at(tokens, i, meter) for i in range(at + 1, len(tokens)) if _has_digits(tokens[i]))
        return next((found for found in whole if isinstance(found, Reading)), first)
    return _named_account(tokens, meter) or first


def _has_digits(token: Token) -> bool:
    return token.kind is Kind.NUMBER or (token.kind is Kind.UNKNOWN and any(c.isdigit() for c in token.text))


def _account_at(tokens: tuple[Token, ...], i: int, meter: str | None) -> Reading | BadAccount:
    token = tokens[i]
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
    # What stands before the account is no value; a zone named there still names the first one. It is gathered here, for one
    # number: a letter may have ten thousand that are no account.
    before = tuple(t for t in tokens[:i] if t.kind is Kind.MARK)
    return Reading(account, (*before, *rest, *tokens[i + 1 :]), meter)


def _named_account(tokens: tuple[Token, ...], meter: str | None) -> Reading | None:
    """Find the one account that is named as such («л/с 1000001») behind other numbers, which must be named, or of a house."""
    named = [
        i
        for i, token in enumerate(tokens)
        if token.kind is Kind.NUMBER and len(_digits(token.text)) == 7 and _ACCOUNT_WORDS & _words_before(tokens, i)
    ]
    if len(named) != 1:
        return None
    kept: list[Token] = []
    for i, token in enumerate(tokens[: named[0]]):
        if token.kind is Kind.MARK:
            kept.append(token)
        elif _has_digits(token):
            if token.kind is Kind.NUMBER and (_VALUE_WORDS & _words_before(tokens, i) or _is_marked(tokens, i)):
                kept.append(token)
            elif max(len(run) for run in _RUNS.findall(token.text)) > HOUSE_DIGITS_MAX:
                return None
    return Reading(_digits(tokens[named[0]].text), (*kept, *tokens[named[0] + 1 :]), meter)


def _is_marked(tokens: tuple[Token, ...], i: int) -> bool:
    kinds = (token.kind for token in reversed(tokens[:i]) if token.kind not in (Kind.FILLER, Kind.DASH))
    return next(kinds, None) is Kind.MARK


def _words_before(tokens: tuple[Token, ...], i: int) -> set[str]:
    """Give the known words that stand right before a piece, № among them or not."""
    words = set()
    for token in reversed(tokens[:i]):
        if token.kind is not Kind.FILLER and token.text != "№":
            break
        words.add(token.text)
    return words


def _without_meter(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], str | None]:
    """Part the number of a meter that is named («счётчик №12345») from the rest; a number right after «счётчик» is a reading."""
    for i in range(1, len(tokens)):
        sign, number = tokens[i - 1], tokens[i]
        if sign.text not in ("№", "номер") or not _has_digits(number):
            continue
        words = _words_before(tokens, i)
        # «сч.» is an account as well, before one was named.
        known = words & _METER_WORDS if any(map(_has_digits, tokens[: i - 1])) else words & (_METER_WORDS - {"сч"})
        if known and not words & _ACCOUNT_WORDS:
            return (*tokens[: i - 1], *tokens[i + 1 :]), number.text.replace("\x00", "")[:VALUE_LENGTH_MAX]
    return tokens, None


def _digits(number: str) -> str:
    return number.lower().replace("о", "0").replace("o", "0")


def _tokens(plain: str) -> Iterator[Token]:
    end = 0
    before: Token | None = None
    held: Token | None = None
    for piece in _PIECE.finditer(plain):
        for token in _read_piece(piece.group(), plain[end : piece.start()]):
            if held is not None:
                # «тариф 1» is T1; «дневной тариф 1» is not.
                if token.kind is Kind.NUMBER and token.text in ("1", "2", "3", "4"):
                    token = Token(Kind.MARK, f"T{token.text}", held.before)  # noqa: PLW2901
                else:
                    yield held
                held = None
            elif token.text == "тариф" and (before is None or before.kind is not Kind.MARK):
                held = token
                continue
            before = token
            yield token
        end = piece.end()
    if held is not None:
        yield held


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
    if read_value(piece) is not None:
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
    elif _GLUED.fullmatch(word) and (parts := _read_glued(word, before)):
        yield from parts
    else:
        yield Token(Kind.UNKNOWN, piece, before)


def _read_glued(word: str, before: str) -> list[Token]:
    """Part «день3130ночь1600» at its words, none where one is not known; a single letter may be part of a damaged number."""
    parts: list[Token] = []
    for run in _GLUED_RUN.findall(word):
        if run.isdigit():
            parts.append(Token(Kind.NUMBER, run, before))
        else:
            known = _read_word(run, before)
            if known is None or (known.kind is Kind.FILLER and len(run) < 2):
                return []
            parts.append(known)
        before = ""
    return parts if len(parts) > 1 else []


def _read_word(word: str, before: str) -> Token | None:
    # A keyboard in the wrong layout writes ltym for день; a single letter of it says nothing.
    slip = word.translate(_LAYOUT_SLIPS) if len(word) > 1 and word.isascii() else word
    for each in (word, slip):
        if each in _ZONES:
            return Token(Kind.MARK, _ZONES[each], before)
        if mark := _DISPLAY_MARK.fullmatch(each):
            return Token(Kind.MARK, f"T{mark.group(1)}", before)
        if each in _FILLERS:
            return Token(Kind.FILLER, each, before)
    return None


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
    if marks and numbers and not numbers[0][0]:
        # The zones stand behind their values, each of them; where only some do, nobody can tell.
        behind = [*(named for named, _ in numbers[1:]), marks]
        if all(behind):
            return [(named, number) for named, (_, number) in zip(behind, numbers, strict=True)]
        if not any(named for named, _ in numbers):
            return BadValue(numbers[0][1].text)
    return numbers


def _grouped(numbers: list[tuple[tuple[str, ...], Token]]) -> BadValue | None:
    """Refuse «10.385», which may be ten kWh and a bit, or ten thousand and some, or two values."""
    if len(numbers) != 2:
        return None
    (_, whole), (named, tail) = numbers
    if named or tail.before not in (".", ",") or len(tail.text) != GROUP_DIGITS or len(whole.text) > GROUP_DIGITS:
        return None
    return BadValue(f"{whole.text}{tail.before}{tail.text}")


def _without_tail(numbers: list[tuple[tuple[str, ...], Token]]) -> list[tuple[tuple[str, ...], Token]]:
    if len(numbers) != 2:
        return numbers
    (marks, whole), (named, tail) = numbers
    if named or tail.before not in (".", ",") or len(tail.text) > GROUP_DIGITS:
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
