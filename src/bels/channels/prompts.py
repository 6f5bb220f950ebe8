"""The recordings of the voice menu: which there are, what is played for a line, whether a folder has them all (channels 4).

A line is cut at its parts: every piece of its words between two parts is one recording, and the parts are digits, which
Asterisk says one by one, and words that are recorded once for all lines. Numbers are never said as numbers: the Russian voice
that comes with Asterisk leaves parts of them out.
"""

from __future__ import annotations

import csv
import wave
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from re import compile as pattern
from shutil import which
from string import Formatter
from subprocess import DEVNULL, SubprocessError, run
from tempfile import TemporaryDirectory

from bels.domain.terms import Register
from bels.projections.words import MONTHS
from bels.reception.dialogue.say import WORDS, Say
from bels.reception.dialogue.turns import Line, Option, Part, PartKind
from bels.words import ZONE_NAMES

RATE_HZ, SAMPLE_BYTES = 8_000, 2
MANIFEST = "prompts.csv"
"""What was recorded, id and text: so that a sentence whose words have changed is known."""

SPEED_WORDS_A_MINUTE = 150
SPEAK_S_MAX = 30.0
SPEAKERS = 4
PROGRAMS = ("espeak-ng", "sox")

WAIT, UNAVAILABLE = "word-wait", "word-unavailable"
MINUS, KWH, ROUBLES, KOPECKS = "word-minus", "word-kwh", "word-roubles", "word-kopecks"

_OF_MONTHS = (
    *("января", "февраля", "марта", "апреля", "мая", "июня"),
    *("июля", "августа", "сентября", "октября", "ноября", "декабря"),
)
_DAYS = (
    *("первого", "второго", "третьего", "четвёртого", "пятого", "шестого", "седьмого", "восьмого", "девятого"),
    *("десятого", "одиннадцатого", "двенадцатого", "тринадцатого", "четырнадцатого", "пятнадцатого", "шестнадцатого"),
    *("семнадцатого", "восемнадцатого", "девятнадцатого", "двадцатого", "двадцать первого", "двадцать второго"),
    *("двадцать третьего", "двадцать четвёртого", "двадцать пятого", "двадцать шестого", "двадцать седьмого"),
    *("двадцать восьмого", "двадцать девятого", "тридцатого", "тридцать первого"),
)
_NUMBERS = {
    **dict(enumerate(("ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять"))),
    **dict(enumerate(("одиннадцать", "двенадцать", "тринадцать", "четырнадцать", "пятнадцать"), 11)),
    **dict(enumerate(("шестнадцать", "семнадцать", "восемнадцать", "девятнадцать"), 16)),
    **dict(zip((20, 30, 40, 50), ("двадцать", "тридцать", "сорок", "пятьдесят"), strict=True)),
}
_LETTERS = {
    **dict(zip("ABCDEFGH", ("а", "бэ", "цэ", "дэ", "е", "эф", "же", "аш"), strict=True)),
    **dict(zip("IJKLMNOP", ("и", "йот", "ка", "эль", "эм", "эн", "о", "пэ"), strict=True)),
    **dict(zip("QRSTUVWXYZ", ("ку", "эр", "эс", "тэ", "у", "вэ", "дубль-вэ", "икс", "игрек", "зет"), strict=True)),
}
_IN_SPEECH = {
    "кВт·ч": "киловатт-часов",
    "л/с": "лицевой счёт",
    "Л/с": "Лицевой счёт",
    "№": "номер ",
    "руб.": "рублей",
    "коп.": "копеек",
}
_UNIT = pattern(r"^\s*(?:(кВт·ч|киловатт-час\w*)|₽|руб\.|рубл\w+)")
_SOUND = pattern(r"\w")
_DIGITS = pattern(r"[0-9]+")
_SPELLED = pattern(r"[0-9]+|[A-Z]")
_MONEY = pattern(r"(-?)([0-9]+)\.([0-9]{2})")


class PromptsError(Exception):
    """The recordings cannot be used or made; the sentence says what is wrong."""


@dataclass(frozen=True, slots=True)
class Play:
    """Play a recording."""

    prompt: str


@dataclass(frozen=True, slots=True)
class Digits:
    """Say digits, one by one."""

    text: str


Sound = Play | Digits


def manifest(words: Mapping[Say, str] = WORDS) -> dict[str, str]:
    """List every recording by its id, with the words that are to be spoken."""
    fixed = {
        WAIT: "Подождите, пожалуйста.",
        UNAVAILABLE: "Сервис временно недоступен. Если вы не слышали номера сообщения, передайте показание ещё раз.",
        MINUS: "минус",
        KWH: "киловатт-часов",
        ROUBLES: "рублей",
        KOPECKS: "копеек",
    }
    return {
        **{piece: text for say, template in words.items() for piece, text in _pieces(say, template)},
        **fixed,
        **{f"zone-{register.value}": name for register, name in ZONE_NAMES.items()},
        **{f"month-{number:02d}": name for number, name in enumerate(MONTHS, 1)},
        **{f"of-month-{number:02d}": name for number, name in enumerate(_OF_MONTHS, 1)},
        **{f"day-{number:02d}": name for number, name in enumerate(_DAYS, 1)},
        **{f"number-{number:02d}": name for number, name in _NUMBERS.items()},
        **{f"letter-{letter.lower()}": name for letter, name in _LETTERS.items()},
    }


def spoken(line: Line, words: Mapping[Say, str] = WORDS) -> tuple[Sound, ...] | None:
    """Give what is played for a line; None for a line that is only for a screen, or has a part that cannot be spoken."""
    template = words[line.say]
    recorded = {piece for piece, _ in _pieces(line.say, template)}
    sounds: list[Sound] = []
    for number, (_, name) in enumerate(cut := _cut(template)):
        if (piece := _piece(line.say, number, len(cut))) in recorded:
            sounds.append(Play(piece))
        if name is None:
            continue
        part = line.parts.get(name)
        said = _said(part) if part is not None else None
        if part is None or said is None:
            return None
        sounds += said
        unit = _UNIT.match(cut[number + 1][0]) if number + 1 < len(cut) else None
        if unit is not None and part.kind not in (PartKind.KWH, PartKind.ROUBLES):
            sounds.append(Play(KWH if unit[1] else ROUBLES))
    return tuple(sounds)


def offered(option: Option, words: Mapping[Say, str] = WORDS) -> tuple[Sound, ...]:
    """Give what is played for an option: its label, and which key to press; nothing where either cannot be spoken."""
    key = Line(Say.PRESS, {"digit": Part(PartKind.DIGITS, option.digit)})
    sounds = [spoken(line, words) for line in (option.label, Line(Say.PRESS_STAR) if option.digit == "*" else key)]
    return tuple(sound for each in sounds for sound in each or ()) if None not in sounds else ()


def wrong(folder: Path, words: Mapping[Say, str] = WORDS) -> list[str]:
    """Say what is missing in a folder of recordings, of a wrong format or recorded with other words; nothing when all is well."""
    wanted, recorded = manifest(words), _recorded(folder)
    return [
        f"{prompt}.wav: {fault}"
        for prompt, text in wanted.items()
        if (fault := _fault(folder / f"{prompt}.wav") or _stale(recorded.get(prompt), text)) is not None
    ]


def speak(
    folder: Path, words: Mapping[Say, str] = WORDS, *, words_a_minute: int = SPEED_WORDS_A_MINUTE, anew: bool = False
) -> int:
    """Make the recordings that a folder lacks, or all ``anew``, with espeak-ng's Russian voice, and give their number.

    :raises PromptsError: a program is missing or cannot do it.
    """
    if missing := [program for program in PROGRAMS if which(program) is None]:
        raise PromptsError(f"no {' and no '.join(missing)}: apt-get install {' '.join(PROGRAMS)}")
    folder.mkdir(parents=True, exist_ok=True)
    wanted, recorded = manifest(words), _recorded(folder)
    made = {
        prompt: text
        for prompt, text in wanted.items()
        if anew or _fault(folder / f"{prompt}.wav") is not None or recorded.get(prompt) != text
    }
    with TemporaryDirectory(dir=folder, prefix=".speak-") as scratch, ThreadPoolExecutor(SPEAKERS) as speakers:
        for _ in speakers.map(lambda each: _speak(folder, Path(scratch), each, words_a_minute), made.items()):
            pass
    note(folder, words)
    return len(made)


def note(folder: Path, words: Mapping[Say, str] = WORDS) -> None:
    """Write into a folder which words its recordings speak, in place of what stood there."""
    part = folder / f".{MANIFEST}.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(manifest(words).items())
    part.replace(folder / MANIFEST)


def _speak(folder: Path, scratch: Path, recording: tuple[str, str], words_a_minute: int) -> None:
    prompt, text = recording
    raw, made = scratch / f"{prompt}.raw.wav", scratch / f"{prompt}.wav"
    espeak = ("espeak-ng", "-v", "ru", "-s", str(words_a_minute), "-w", str(raw), "--", text)
    sox = ("sox", str(raw), "-r", str(RATE_HZ), "-c", "1", "-b", "16", "-e", "signed-integer", str(made))
    try:
        for command in (espeak, sox):
            run(command, check=True, timeout=SPEAK_S_MAX, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    except (OSError, SubprocessError) as error:
        raise PromptsError(f"{prompt} cannot be spoken ({type(error).__name__})") from error
    made.replace(folder / f"{prompt}.wav")


def _recorded(folder: Path) -> dict[str, str]:
    try:
        with (folder / MANIFEST).open(encoding="utf-8", newline="") as file:
            return {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}


def _fault(path: Path) -> str | None:
    try:
        with wave.open(str(path)) as sound:
            shape = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth())
            if shape != (RATE_HZ, 1, SAMPLE_BYTES):
                return f"{shape[0]} Hz, {shape[1]} channels, {8 * shape[2]} bits instead of 8000 Hz, mono, 16 bits"
            return "empty" if sound.getnframes() == 0 else None
    except FileNotFoundError:
        return "missing"
    except (OSError, wave.Error, EOFError):
        return "not a WAV file"


def _stale(recorded: str | None, text: str) -> str | None:
    if recorded is None:
        return f"not named in {MANIFEST}, so nobody knows its words"
    return None if recorded == text else "recorded with other words"


def _cut(template: str) -> list[tuple[str, str | None]]:
    return [(text, name) for text, name, _, _ in Formatter().parse(template)]


def _piece(say: Say, number: int, count: int) -> str:
    name = f"say-{say.value.lower().replace('_', '-')}"
    return name if count == 1 else f"{name}-{number + 1}"


def _pieces(say: Say, template: str) -> Iterator[tuple[str, str]]:
    cut = _cut(template)
    for number, (text, _) in enumerate(cut):
        # A unit after a part is said with the part.
        said = text if number == 0 else _UNIT.sub("", text)
        if _SOUND.search(said):
            for written, heard in _IN_SPEECH.items():
                said = said.replace(written, heard)
            yield _piece(say, number, len(cut)), " ".join(said.split()).lstrip(".,:;!?)» ").rstrip("(« ")


def _said(part: Part) -> list[Sound] | None:
    """Give what is played for a part, with its unit; None where it cannot be spoken."""
    value = part.value
    try:
        match part.kind:
            case PartKind.DIGITS | PartKind.RECEIPT:
                return _spelled(value)
            case PartKind.KWH:
                sign: list[Sound] = [Play(MINUS)] if value.startswith("-") else []
                digits = _spelled(value.removeprefix("-"))
                return [*sign, *digits, Play(KWH)] if digits is not None else None
            case PartKind.ROUBLES:
                return _money(value)
            case PartKind.ZONE:
                return [Play(f"zone-{Register(value).value}")]
            case PartKind.MONTH:
                return [Play(f"month-{date.fromisoformat(f'{value}-01').month:02d}")]
            case PartKind.DAY:
                on = date.fromisoformat(value)
                return [Play(f"day-{on.day:02d}"), Play(f"of-month-{on.month:02d}")]
            case PartKind.TIME:
                at = time.fromisoformat(value)
                return [*_number(at.hour), *([] if at.minute >= 10 else _number(0)), *_number(at.minute)]
            case PartKind.TEXT:
                return None
    except ValueError:
        return None


def _spelled(value: str) -> list[Sound] | None:
    pieces = _SPELLED.findall(value)
    if not pieces or "".join(pieces) != value:
        return None
    return [Digits(piece) if piece.isdigit() else Play(f"letter-{piece.lower()}") for piece in pieces]


def _money(value: str) -> list[Sound] | None:
    money = _MONEY.fullmatch(value)
    if money is None:
        return None
    minus, roubles, kopecks = money.groups()
    sounds: list[Sound] = [*([Play(MINUS)] if minus else []), Digits(roubles), Play(ROUBLES)]
    return [*sounds, Digits(kopecks), Play(KOPECKS)] if kopecks != "00" else sounds


def _number(number: int) -> list[Sound]:
    if number in _NUMBERS:
        return [Play(f"number-{number:02d}")]
    return [Play(f"number-{number - number % 10}"), Play(f"number-{number % 10:02d}")]
