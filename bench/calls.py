"""Voice dialogues as Asterisk leads them, many at once over FastAGI: what callers hear, and how long they wait for each turn."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import quantiles

HANG_UP = "hang up"
"""Instead of keys: the caller hangs up."""

SILENT = "silent"
"""Instead of keys: nothing is pressed."""

FILLER = "word-wait"
CALL_WAIT_S = 120.0

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass(slots=True)
class Dialogue:
    """One call: the names of the recordings and the digits that were heard, what bels left in BELS_NEXT, its waits in seconds."""

    sounds: list[str] = field(default_factory=list)
    next: str = ""
    waits_s: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Tell whether bels brought it to an end."""
        return self.next != ""


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Many calls at once: how many there were, how many ended well, the waits of all their turns in milliseconds."""

    calls: int
    whole: int
    fillers: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Line:
    """Asterisk's side of one call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def opened(cls, port: int, caller: str = "", name: str = "1.1", **more: str) -> "Line":
        """Connect to bels and tell of a call; ``caller`` is "" where the number is hidden."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        line = cls(reader, writer)
        variables = {
            "network": "yes",
            "request": f"agi://127.0.0.1:{port}/readings",
            "channel": "PJSIP/company-1",
            "uniqueid": name,
        }
        variables |= {"callerid": caller or "unknown", "callingpres": "0", "extension": "84986629494", **more}
        await line.say(*(f"agi_{key}: {value}" for key, value in variables.items()), "")
        return line

    async def asked(self) -> list[str]:
        """Wait for a command of bels and give its words; none when bels has ended the call."""
        try:
            line = (await self._reader.readline()).decode().rstrip("\n")
        except ConnectionError:
            line = ""
        return [plain or quoted.replace('\\"', '"').replace("\\\\", "\\") for quoted, plain in _WORD.findall(line)]

    async def say(self, *lines: str) -> None:
        """Send lines."""
        self._writer.write("".join(f"{line}\n" for line in lines).encode())
        await self._writer.drain()

    async def close(self) -> None:
        """Hang up without a word."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


async def dialogue(
    port: int, keys: Sequence[str], *, caller: str = "", name: str = "1.1", playing_s: float = 0.0
) -> Dialogue:
    """Lead one call: press ``keys`` whenever bels waits for one, hang up when there are no more; a sound takes ``playing_s``."""
    told, pressed = list(keys), ""
    heard = Dialogue()
    line = await Line.opened(port, caller, name)
    answered = time.perf_counter()
    is_thinking = True
    try:
        while words := await line.asked():
            if is_thinking and words[0] in ("STREAM", "SAY"):
                heard.waits_s.append(time.perf_counter() - answered)
                is_thinking = False
            match words:
                case ["STREAM", "FILE", file, *_]:
                    heard.sounds.append(file.rpartition("/")[2])
                    await asyncio.sleep(playing_s)
                    await line.say("200 result=0 endpos=8000")
                    if heard.sounds[-1] == FILLER:
                        answered, is_thinking = time.perf_counter(), True
                case ["SAY", "DIGITS", digits, *_]:
                    heard.sounds.append(digits)
                    await asyncio.sleep(playing_s)
                    await line.say("200 result=0")
                case ["WAIT", "FOR", "DIGIT", *_]:
                    keyed = told.pop(0) if told else HANG_UP
                    if keyed == HANG_UP:
                        await line.say("HANGUP", "200 result=-1")
                        continue
                    key, pressed = ("", "") if keyed == SILENT else (keyed[0], keyed[1:])
                    await line.say(f"200 result={ord(key) if key else 0}")
                    answered, is_thinking = time.perf_counter(), True
                case ["GET", "DATA", _, _, most]:
                    digits, ended, pressed = _keyed(pressed, int(most))
                    await line.say(f"200 result={digits}" if ended else f"200 result={digits} (timeout)")
                    answered, is_thinking = time.perf_counter(), True
                case ["SET", "VARIABLE", "BELS_NEXT", value]:
                    heard.next = value
                    await line.say("200 result=1")
                case ["CHANNEL", "STATUS"]:
                    await line.say("511 Command Not Permitted on a dead channel or intercept routine")
                case _:
                    await line.say("200 result=0")
    finally:
        await line.close()
    return heard


async def dialogues(port: int, scripts: Sequence[Sequence[str]], *, playing_s: float = 0.05) -> Dialogues:
    """Lead a call for each script, all at once."""
    async with asyncio.timeout(CALL_WAIT_S):
        heard = await asyncio.gather(
            *(
                dialogue(port, keys, caller=f"7916{number:07d}", name=f"1.{number}", playing_s=playing_s)
                for number, keys in enumerate(scripts)
            )
        )
    waits = [1000 * wait for each in heard for wait in each.waits_s]
    parts = quantiles(waits, n=100, method="inclusive") if len(waits) > 1 else [*waits, 0.0] * 50
    return Dialogues(
        len(heard),
        sum(each.is_whole for each in heard),
        sum(each.sounds.count(FILLER) for each in heard),
        parts[49],
        parts[98],
        max(waits, default=0.0),
    )


def _keyed(pressed: str, most: int) -> tuple[str, bool, str]:
    """Give what GET DATA reads of the keys: the digits, whether # or their number ended it, and the keys that are left."""
    digits, hash_, rest = pressed.partition("#")
    if len(digits) >= most:
        return digits[:most], True, pressed[most:]
    return digits, bool(hash_), rest
