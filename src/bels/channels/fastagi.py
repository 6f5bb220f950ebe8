"""FastAGI, by which Asterisk hands a call over: lines over TCP, one command at a time (Asterisk, res_agi; channels 4).

Only the protocol is here: the variables of a call, a command and its reply, and the ways in which a call ends.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError, StreamReader, StreamWriter, timeout
from dataclasses import dataclass
from re import DOTALL
from re import compile as pattern
from typing import Self

LINE_BYTES_MAX = 4_096
VARIABLES_MAX = 200
GREETING_S_MAX = 5.0
COMMAND_S_MAX = 90.0
"""A reply comes when a recording was played to its end; the longest one is half a minute."""

HANGUP = "HANGUP"
LINE_IS_UP = "6"
"""What CHANNEL STATUS says of a call that goes on."""

_REPLY = pattern(r"(?P<code>[0-9]{3})(?P<more>[ -])(?P<text>.*)", DOTALL)
_RESULT = pattern(r"result=(?P<result>\S*)(?:\s+\((?P<note>.*)\))?(?:\s+endpos=[0-9]+)?\s*", DOTALL)
_PLAIN = pattern(r"[A-Za-z0-9_]+")


class HungUp(Exception):
    """The caller has hung up, or Asterisk has let go of the call."""


class AgiError(Exception):
    """Asterisk does not speak as it should, or did not understand us."""


@dataclass(frozen=True, slots=True)
class Result:
    """The reply to a command: ``200 result=4321 (timeout)`` has the value 4321 and the note timeout."""

    value: str
    note: str


class Agi:
    """One call that Asterisk has handed over; ``variables`` are what it tells of it, by name without ``agi_``."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._hung_up = False
        self.variables: dict[str, str] = {}

    @classmethod
    async def accepted(cls, reader: StreamReader, writer: StreamWriter) -> Self:
        """Read what Asterisk tells of a call, up to the empty line.

        :raises AgiError: it does not end, or is something else.
        :raises HungUp: the connection ended.
        """
        agi = cls(reader, writer)
        try:
            async with timeout(GREETING_S_MAX):
                for _ in range(VARIABLES_MAX):
                    line = await agi._line()
                    if not line:
                        return agi
                    name, colon, value = line.partition(":")
                    if not name.startswith("agi_") or not colon:
                        raise AgiError("this is no FastAGI")
                    agi.variables[name.removeprefix("agi_")] = value.strip()
        except TimeoutError:
            raise AgiError("the variables of the call do not come") from None
        raise AgiError("the call has too many variables")

    async def ask(self, *words: str, wait_s: float = COMMAND_S_MAX) -> Result:
        """Send a command and read its reply; a bare HANGUP comes before it when the caller has hung up.

        :raises HungUp: the call is over.
        :raises AgiError: the command was not understood, or nothing came within ``wait_s``.
        :raises ValueError: a word has a line end, which would begin another command.
        """
        command = " ".join(map(quoted, words))
        try:
            async with timeout(wait_s):
                self._writer.write(f"{command}\n".encode())
                await self._writer.drain()
                return await self._reply(words[0])
        except TimeoutError:
            raise (HungUp if self._hung_up else AgiError)(f"no reply to {words[0]}") from None
        except ConnectionError:
            raise HungUp from None

    async def _reply(self, name: str) -> Result:
        text, is_told = "", False
        while not is_told:
            line = await self._line()
            if line == HANGUP:
                self._hung_up = True
                continue
            reply = _REPLY.fullmatch(line)
            if reply is None:
                # Between 520- and the last 520 stands how the command is used.
                if text:
                    continue
                raise AgiError(f"not a reply to {name}")
            text = f"{reply['code']} {reply['text']}"
            is_told = reply["more"] == " "
        if self._hung_up or text.startswith("511"):
            raise HungUp
        result = _RESULT.fullmatch(text.removeprefix("200 "))
        if not text.startswith("200 ") or result is None:
            raise AgiError(f"Asterisk does not understand {name} ({text[:3]})")
        return Result(result["result"], result["note"] or "")

    async def _line(self) -> str:
        try:
            line = await self._reader.readuntil(b"\n")
        except IncompleteReadError:
            raise HungUp from None
        except ConnectionError:
            raise HungUp from None
        except LimitOverrunError:
            raise AgiError(f"a line has more than {LINE_BYTES_MAX} bytes") from None
        return line.decode("utf-8", "replace").rstrip("\r\n")


def quoted(word: str) -> str:
    """Write a word of a command: quoted and escaped unless it is plain.

    :raises ValueError: it has a line end.
    """
    if any(sign in word for sign in "\r\n\0"):
        raise ValueError("a line end within a command would begin another one")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
