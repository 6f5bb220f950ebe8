"""Kannel, the SMS gateway, in front of bels, and a phone behind it (``fakesmsc``, which comes with Kannel).

``phone <-> smsc = fake <-> bearerbox <-> smsbox <-> GET /channels/sms``. bearerbox speaks to the operators; smsbox turns a
text into a request to bels and the answer into one SMS or more.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_to_bytes

import httpx

from bels.words import TRY_LATER
from tests.peers import found, need, stop
from tests.servers import free_port

FAKESMSC = "/usr/lib/kannel/test/fakesmsc"
PACKAGES = "kannel kannel-extras"
START_WAIT_S = 20.0
ANSWER_WAIT_S = 30.0
SHORT_NUMBER = "1234"
PASSWORD = "status"

# An IP list of Kannel is "allow what is not denied", so each has both lines. Only the port of smsc = fake cannot be bound to
# one interface; nobody else may connect to it. reply-couldnotfetch is said after the last repeat: that message is lost.
# %p %P %a %c %C %I %T are sender, receiver, text, coding, charset, id and time.
CONFIGURATION = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = {password}
status-password = {password}
admin-deny-ip = "*.*.*.*"
admin-allow-ip = 127.0.0.1
smsbox-port = {box}
smsbox-interface = 127.0.0.1
box-deny-ip = "*.*.*.*"
box-allow-ip = 127.0.0.1
log-file = "{folder}/bearerbox.log"
store-type = spool
store-location = "{folder}/spool"
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = OPERATOR
port = {operator}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
log-file = "{folder}/smsbox.log"
log-level = 0
mo-recode = {recode}
http-request-retry = {repeats}
http-queue-delay = 1
http-timeout = 10
reply-couldnotfetch = "{lost}"

group = sms-service
keyword = default
catch-all = true
get-url = "{adapter}/channels/sms?from=%p&to=%P&text=%a&coding=%c&charset=%C&id=%I&ts=%T&token={token}"
accept-x-kannel-headers = true
concatenation = true
max-messages = 3
omit-empty = true
"""

_GOT = re.compile(rb"Got message [0-9]+: <(\S+) (\S+) (?:udh (\S+) )?(text|data|ucs-2) (.*)>$")


def need_kannel() -> None:
    """Skip, or fail, without Kannel."""
    need("bearerbox", "smsbox", FAKESMSC, packages=PACKAGES)


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone, or rather its operator, who connects to Kannel at a port and waits for the answer to one SMS."""

    port: int
    number: str = "+79161234567"

    async def hears(self, text: str) -> str:
        """Send a text and read the answer, put together from all its parts; Cyrillic travels as UCS-2, both ways.

        :raises TimeoutError: no whole answer came.
        """
        sent = f"text {text}" if text.isascii() else f"ucs2 {quote(text.encode('utf-16-be'), safe='')}"
        process = await asyncio.create_subprocess_exec(
            *(FAKESMSC, "-H", "127.0.0.1", "-r", str(self.port), "-m", "1", f"{self.number} {SHORT_NUMBER} {sent}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                parts: dict[int, str] = {}
                async for line in process.stdout:
                    got = _GOT.search(line.rstrip(b"\n"))
                    if got is None:
                        continue
                    assert (got[1].decode(), got[2].decode()) == (SHORT_NUMBER, self.number)
                    number, count = _part(got[3])
                    parts[number] = _read(got[4], got[5])
                    if len(parts) == count:
                        return "".join(parts[number] for number in sorted(parts))
            raise AssertionError("fakesmsc ended before the answer came")
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _part(header: bytes | None) -> tuple[int, int]:
    """Read which part of how many it is: the user data header ``05 00 03 <reference> <count> <number>``."""
    if header is None:
        return 1, 1
    read = unquote_to_bytes(header.replace(b"+", b"%20"))
    assert read[:3] == b"\x05\x00\x03", read
    return read[5], read[4]


def _read(kind: bytes, body: bytes) -> str:
    return body.decode("ascii") if kind == b"text" else unquote_to_bytes(body.replace(b"+", b"%20")).decode("utf-16-be")


@dataclass(frozen=True, slots=True)
class Kannel:
    """A running gateway, and a phone that can reach it."""

    folder: Path
    phone: Phone

    async def repeats(self, text: str) -> None:
        """Wait until bels has not taken a text and Kannel, which keeps it, has tried again."""
        asked = f"text={quote_plus(text)}&"
        async with asyncio.timeout(ANSWER_WAIT_S):
            while not any(asked in line for line in self._log() if "Retrying request" in line):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def _log(self) -> list[str]:
        return (self.folder / "smsbox.log").read_text("utf-8", "replace").splitlines()


@contextmanager
def kannel(folder: Path, adapter: str, token: str, *, repeats: int = 100, recode: bool = True) -> Iterator[Kannel]:
    """Run Kannel in an empty folder, in front of a bels at the URL ``adapter``.

    ``repeats`` of a request that was not answered 200 come a second apart. ``recode``: a UCS-2 text reaches bels as UTF-8,
    else as the bytes that the phone sent.

    :raises RuntimeError: it does not start.
    """
    ports = {name: free_port() for name in ("admin", "box", "operator")}
    (folder / "spool").mkdir()
    configuration = folder / "kannel.conf"
    configuration.write_text(
        CONFIGURATION.format(
            **ports,
            folder=folder,
            adapter=adapter,
            token=token,
            password=PASSWORD,
            repeats=repeats,
            recode=str(recode).lower(),
            lost=TRY_LATER,
        )
    )

    def told() -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{ports['admin']}/status.txt", params={"password": PASSWORD}).text
        except httpx.HTTPError:
            return ""

    bearerbox = _start("bearerbox", folder)
    try:
        # smsbox gives up at once when nobody listens.
        _wait(bearerbox, folder, lambda: _listens(ports["box"]))
        smsbox = _start("smsbox", folder)
        try:
            _wait(smsbox, folder, lambda: "smsbox:" in (said := told()) and "OPERATOR" in said)
            yield Kannel(folder, Phone(ports["operator"]))
        finally:
            stop(smsbox)
    finally:
        stop(bearerbox)


def _start(box: str, folder: Path) -> subprocess.Popen[bytes]:
    program = found(box)
    assert program is not None
    with (folder / f"{box}.out").open("wb") as output:
        return subprocess.Popen(
            [program, "-v", "4", folder / "kannel.conf"], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )


def _wait(process: subprocess.Popen[bytes], folder: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.05)
    said = "\n".join(log.read_text("utf-8", "replace")[-2000:] for log in sorted(folder.glob("*.out")))
    raise RuntimeError(f"Kannel does not start:\n{said}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
