"""An operator's SMSC and the phones behind it: ``tests/peers/smpp`` (npm ``smpp``) in a process of its own, told what to send."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.peers import need
from tests.servers import free_port

HERE = Path(__file__).parent / "smpp"
PACKAGE = HERE / "node_modules" / "smpp" / "index.js"
PACKAGES = "nodejs npm, with Node 20 or newer, and then `make peers`"

ANSWER_WAIT_S = 30.0
LINE_BYTES_MAX = 1 << 20
SHORT_NUMBER = "1234"
USER, PASSWORD = "readings", "secret"

GSM_7, LATIN_1, ISO_8859_5, UCS_2 = 0, 3, 6, 8
"""What ``data_coding`` may say."""
_ENCODINGS = {LATIN_1: "latin-1", ISO_8859_5: "iso-8859-5", UCS_2: "utf-16-be"}
_GSM_7 = bytes.maketrans(b"@_$", b"\x00\x11\x02")
HAS_HEADER = 0x40


def need_smsc() -> None:
    """Skip, or fail, without Node and the package."""
    missing = () if PACKAGE.exists() else ("the npm package smpp",)
    need("node", *missing, packages=PACKAGES)


def encoded(text: str, coding: int) -> bytes:
    """Write a text as a phone does."""
    return text.encode("ascii").translate(_GSM_7) if coding == GSM_7 else text.encode(_ENCODINGS[coding])


@dataclass(frozen=True, slots=True)
class Submitted:
    """One part of a text that the gateway handed over; ``part`` is its reference, count and number."""

    sender: str
    text: str
    coding: int
    part: tuple[int, int, int]
    reported: int


@dataclass(slots=True)
class Smsc:
    """A running SMSC; ``port`` is where the gateway binds."""

    port: int
    _process: Process
    bound: asyncio.Event = field(default_factory=asyncio.Event)
    _names: count[int] = field(default_factory=count)
    _references: count[int] = field(default_factory=lambda: count(1))
    _taken: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    _submitted: dict[str, asyncio.Queue[Submitted]] = field(default_factory=lambda: defaultdict(asyncio.Queue))

    async def deliver(
        self,
        number: str,
        text: str | bytes,
        *,
        coding: int | None = None,
        part: tuple[int, int, int] | None = None,
        payload: bool = False,
    ) -> None:
        """Send a text of a phone, or one part of it, and wait until the gateway has it.

        :raises AssertionError: the gateway does not take it.
        """
        if coding is None:
            coding = GSM_7 if isinstance(text, str) and text.isascii() else UCS_2
        body = text if isinstance(text, bytes) else encoded(text, coding)
        header = bytes((5, 0, 3, *part)) if part is not None else b""
        name = next(self._names)
        message = {
            "from": number.removeprefix("+"),
            "to": SHORT_NUMBER,
            "hex": (header + body).hex(),
            "coding": coding,
            "esm": HAS_HEADER if header else 0,
            "payload": payload,
        }
        assert self._process.stdin is not None
        taken = self._taken[name] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"name": name, "deliver": message}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_WAIT_S):
            assert await taken == 0

    async def deliver_in_parts(self, number: str, parts: list[str], order: list[int]) -> None:
        """Send a long text whose parts arrive in an order of their own."""
        reference = next(self._references)
        for i in order:
            await self.deliver(number, parts[i], coding=UCS_2, part=(reference, len(parts), i + 1))

    async def heard(self, number: str) -> str:
        """Wait for the next text to a phone, put together from all its parts.

        :raises TimeoutError: no whole text came.
        """
        parts: dict[int, str] = {}
        async with asyncio.timeout(ANSWER_WAIT_S):
            while True:
                submitted = await self._submitted[number.removeprefix("+")].get()
                _, many, i = submitted.part
                parts[i] = submitted.text
                if len(parts) == many:
                    return "".join(parts[i] for i in sorted(parts))

    async def hears(self, number: str, text: str) -> str:
        """Send a text of a phone and wait for the answer."""
        await self.deliver(number, text)
        return await self.heard(number)

    def is_silent(self, number: str) -> bool:
        """Say whether nothing more came to a phone."""
        return self._submitted[number.removeprefix("+")].empty()

    async def follow(self, listening: asyncio.Future[int]) -> None:
        """Take in what the process tells, to its end."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            match told:
                case {"listening": port}:
                    listening.set_result(port)
                case {"bound": _}:
                    self.bound.set()
                case {"delivered": name, "status": status}:
                    self._taken.pop(name).set_result(status)
                case {"submitted": given}:
                    part = Submitted(
                        given["from"], given["text"], given["coding"], tuple(given["part"]), given["reported"]
                    )
                    self._submitted[given["to"].removeprefix("+")].put_nowait(part)
                case _:
                    raise ValueError(f"the SMSC says {told}")


@asynccontextmanager
async def smsc() -> AsyncIterator[Smsc]:
    """Run an SMSC on loopback.

    :raises TimeoutError: it does not start.
    """
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("node", str(HERE / "smsc.mjs"), str(port), USER, PASSWORD), stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX
    )
    running = Smsc(port, process)
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    following = asyncio.create_task(running.follow(listening))
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            await listening
        yield running
    finally:
        process.terminate()
        await process.wait()
        following.cancel()
