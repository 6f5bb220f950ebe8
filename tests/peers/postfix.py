"""Postfix in front of bels, under the configuration of ``deploy/postfix``, and a mailbox of the world behind it.

``letter -> smtpd -> queue -> LMTP -> bels -> smtpd -> queue -> smtp -> the world``. Only its times, its places and the milter
are another one's: a header that only the tests write stands for the verdict of a milter.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import smtplib
import socket
import subprocess
import time
from asyncio import to_thread
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.peers import found, need
from tests.servers import free_port

DEPLOY = Path(__file__).parents[2] / "deploy" / "postfix"
PACKAGES = "postfix"
START_WAIT_S = 20.0
MAIL_WAIT_S = 10.0
DOMAIN, MAILBOX, OURS = "bels.example", "pokazaniya@bels.example", "mx.bels.example"
VERDICT_HEADER = "X-Verdict-Of-The-Milter"

PLACES = """
config_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
# Nothing leaves this machine: the whole world is one server on it.
default_transport = smtp:[127.0.0.1]:{world}
relay_transport = smtp:[127.0.0.1]:{world}
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
transport_retry_time = 1s
# A server that was away is asked again at once.
default_destination_concurrency_failed_cohort_limit = 1000
lmtp_destination_concurrency_failed_cohort_limit = 1000
smtpd_client_message_rate_limit = 0
"""


def need_postfix() -> None:
    """Skip, or fail, without Postfix, or where we may not start one."""
    need("postfix", packages=PACKAGES)
    if os.geteuid() == 0:
        return
    sentence = "A PEER IS MISSING, so bels is not tried against it: only root may start Postfix"
    if os.environ.get("BELS_REQUIRE_PEERS") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running mail server: ``world_port`` is where it delivers what goes out, ``lmtp_port`` where it looks for bels."""

    folder: Path
    in_port: int
    out_port: int
    lmtp_port: int
    world_port: int

    async def takes(self, letter: EmailMessage | bytes, sender: str, *to: str) -> tuple[int, str]:
        """Hand a letter over as another mail server does, and hear code and words."""
        content = letter if isinstance(letter, bytes) else letter.as_bytes()
        return await to_thread(self._takes, content, sender, to or (MAILBOX,))

    def _takes(self, content: bytes, sender: str, to: tuple[str, ...]) -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", self.in_port, local_hostname="world.example", timeout=MAIL_WAIT_S) as client:
            client.ehlo()
            code, said = client.mail(sender, [f"SIZE={len(content)}"])
            for each in to if code == 250 else ():
                code, said = client.rcpt(each)
                if code != 250:
                    return code, said.decode()
            if code == 250:
                code, said = client.data(content)
            return code, said.decode()

    async def becomes(self, message_id: str, status: str, times: int = 1) -> str:
        """Wait until a letter has a status (sent, deferred, bounced) so many times; gives what the server said last."""
        async with asyncio.timeout(MAIL_WAIT_S):
            while len(told := self._told(message_id, status)) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return told[-1]

    def _told(self, message_id: str, status: str) -> list[str]:
        lines = (self.folder / "mail.log").read_text("utf-8", "replace").splitlines()
        names = {
            m[1]
            for line in lines
            if (m := re.search(rf"cleanup\[\d+\]: (\w+): message-id={re.escape(message_id)}$", line))
        }
        wanted = (re.search(rf"(?:lmtp|smtp|error)\[\d+\]: (\w+): .* status={status} (.*)$", line) for line in lines)
        return [m[2] for m in wanted if m is not None and m[1] in names]

    async def is_empty(self) -> None:
        """Wait until nothing is in the queue."""
        async with asyncio.timeout(MAIL_WAIT_S):
            while "Mail queue is empty" not in await to_thread(self._queue):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def _queue(self) -> str:
        return _run("postqueue", "-c", str(self.folder / "etc"), "-p").stdout.decode()


@contextmanager
def postfix() -> Iterator[Postfix]:
    """Run Postfix in a folder of its own.

    :raises RuntimeError: it does not start.
    """
    # Its parents must be open to the user postfix, and those of a test are not.
    folder = Path(mkdtemp(prefix="bels-postfix-"))
    try:
        mail = Postfix(folder, free_port(), free_port(), free_port(), free_port())
        _configure(mail)
        etc = str(folder / "etc")
        started = _run("postfix", "-c", etc, "start")
        try:
            _wait(mail, started)
            yield mail
        finally:
            _run("postfix", "-c", etc, "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configure(mail: Postfix) -> None:
    folder = mail.folder
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    shutil.chown(folder / "data", "postfix")
    values = {
        "BELS_MAIL_HOST": OURS,
        "BELS_MAIL_DOMAIN": DOMAIN,
        "BELS_MAILBOX": MAILBOX,
        "BELS_LMTP": f"127.0.0.1:{mail.lmtp_port}",
        "BELS_SMTP_IN": f"127.0.0.1:{mail.in_port}",
        "BELS_SMTP_OUT": f"127.0.0.1:{mail.out_port}",
        "BELS_MILTER": "",
        "BELS_POSTFIX_FOLDER": str(folder / "etc"),
        "BELS_AUTHSERV_ID_PATTERN": OURS.replace(".", r"\."),
    }
    for name in ("main.cf", "master.cf", "header_checks"):
        text = (DEPLOY / name).read_text("utf-8")
        for variable, value in values.items():
            text = text.replace(f"${{{variable}}}", value)
        if name == "main.cf":
            text = _with_places(text, PLACES.format(folder=folder, world=mail.world_port))
        if name == "master.cf":
            # The folder has none of the files that a chroot needs.
            text = re.sub(r"^(\S+ +(?:inet|unix) +\S +\S) +y ", r"\1 n ", text, flags=re.MULTILINE)
        if name == "header_checks":
            text += f"/^{VERDICT_HEADER}: (.*)/ REPLACE Authentication-Results: {OURS}; $1\n"
        (folder / "etc" / name).write_text(text, "utf-8")


def _with_places(text: str, places: str) -> str:
    """Put other settings in the place of those of the same name."""
    names = {line.partition("=")[0].strip() for line in places.splitlines() if "=" in line}
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in names]
    return "\n".join(kept) + places


def _wait(mail: Postfix, started: subprocess.CompletedProcess[bytes]) -> None:
    deadline = time.monotonic() + START_WAIT_S
    while started.returncode == 0 and time.monotonic() < deadline:
        if all(_listens(port) for port in (mail.in_port, mail.out_port)):
            return
        time.sleep(0.05)
    log = mail.folder / "mail.log"
    said = log.read_text("utf-8", "replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"Postfix does not start:\n{started.stderr.decode()}\n{said}")


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    path = found(program)
    assert path is not None
    return subprocess.run([path, *arguments], capture_output=True, timeout=START_WAIT_S, check=False)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
