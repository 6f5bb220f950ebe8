"""Kannel, the SMS gateway, in front of bels, bound to an operator's SMSC, as ``deploy/kannel/kannel.conf`` says.

``phone <-> SMSC <-SMPP-> bearerbox <-> smsbox <-> GET /channels/sms``. bearerbox speaks to the operator; smsbox turns a text
into a request to bels and the answer into one SMS or more. The tests change its numbers, not its lines.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import quote, quote_plus

import httpx

from tests.peers import found, need, stop
from tests.peers.smsc import PASSWORD, SHORT_NUMBER, USER, Smsc, need_smsc, smsc
from tests.servers import ROOT, free_port

CONFIGURATION = ROOT / "deploy" / "kannel" / "kannel.conf"
PACKAGES = "kannel kannel-extras"
START_WAIT_S = 20.0
ANSWER_WAIT_S = 30.0
POLL_S = 0.05
GATEWAY_PASSWORD = "status"
TEST_VALUES = {"http-request-retry": "100", "http-queue-delay": "1", "log-level": "0", "reconnect-delay": "1"}
"""A second between repeats, and a log that tells of each."""


def need_kannel() -> None:
    """Skip, or fail, without Kannel and the SMSC."""
    need("bearerbox", "smsbox", packages=PACKAGES)
    need_smsc()


@dataclass(frozen=True, slots=True)
class Kannel:
    """A running gateway, the operator behind it, and where it takes texts to send."""

    folder: Path
    operator: Smsc
    sendsms: str

    async def repeats(self, text: str, times: int = 1) -> None:
        """Wait until bels has not taken a text and Kannel, which keeps it, has tried again so many times."""
        asked = f"text={quote_plus(text)}&"
        async with asyncio.timeout(ANSWER_WAIT_S):
            while sum(asked in line for line in self._log() if "Retrying request" in line) < times:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)

    def _log(self) -> list[str]:
        return (self.folder / "smsbox.log").read_text("utf-8", "replace").splitlines()


def configuration(folder: Path, adapter: str, token: str, smpp_port: int, ports: dict[str, int], **values: str) -> str:
    """Fill the template for a folder and the ports of this run; ``values`` replace settings by name, _ for -."""
    text = Template(CONFIGURATION.read_text("utf-8")).substitute(
        KANNEL_FOLDER=folder / "spool",
        KANNEL_LOGS=folder,
        KANNEL_PASSWORD=GATEWAY_PASSWORD,
        KANNEL_ADMIN_PORT=ports["admin"],
        KANNEL_BOX_PORT=ports["box"],
        KANNEL_SENDSMS_PORT=ports["sendsms"],
        BELS_URL=adapter,
        BELS_SMS_CREDENTIAL=quote(token, safe=""),
        SMPP_HOST="127.0.0.1",
        SMPP_PORT=smpp_port,
        SMPP_USER=USER,
        SMPP_PASSWORD=PASSWORD,
        SMPP_NUMBER=SHORT_NUMBER,
    )
    for name, value in (TEST_VALUES | {name.replace("_", "-"): value for name, value in values.items()}).items():
        text, changed = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
        assert changed, f"the template has no {name}"
    return text


@asynccontextmanager
async def kannel(folder: Path, adapter: str, token: str, **values: str) -> AsyncIterator[Kannel]:
    """Run Kannel in an empty folder, in front of a bels at the URL ``adapter``; ``values`` are those of ``configuration``.

    :raises RuntimeError: it does not start.
    """
    need_kannel()
    ports = {name: free_port() for name in ("admin", "box", "sendsms")}
    (folder / "spool").mkdir()
    async with smsc() as operator:
        text = configuration(folder, adapter, token, operator.port, ports, **values)
        (folder / "kannel.conf").write_text(text, "utf-8")
        bearerbox = _start("bearerbox", folder)
        try:
            # smsbox gives up at once when nobody listens.
            await _wait(bearerbox, folder, lambda: _listens(ports["box"]))
            smsbox = _start("smsbox", folder)
            try:
                await _wait(smsbox, folder, lambda: "smsbox:" in _told(ports["admin"]))
                async with asyncio.timeout(START_WAIT_S):
                    await operator.bound.wait()
                yield Kannel(folder, operator, f"http://127.0.0.1:{ports['sendsms']}/cgi-bin/sendsms")
            finally:
                await asyncio.to_thread(stop, smsbox)
        finally:
            await asyncio.to_thread(stop, bearerbox)


def _told(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/status.txt", params={"password": GATEWAY_PASSWORD}).text
    except httpx.HTTPError:
        return ""


def _start(box: str, folder: Path) -> subprocess.Popen[bytes]:
    program = found(box)
    assert program is not None
    with (folder / f"{box}.out").open("wb") as output:
        return subprocess.Popen(
            [program, "-v", "4", folder / "kannel.conf"], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )


async def _wait(process: subprocess.Popen[bytes], folder: Path, ready: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(START_WAIT_S):
            while process.poll() is None:
                if await asyncio.to_thread(ready):
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        pass
    raise RuntimeError(f"Kannel does not start:\n{_output(folder)}")


def _output(folder: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace")[-2000:] for log in sorted(folder.glob("*.out")))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
