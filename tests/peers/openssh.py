"""OpenSSH in both directions: ``sshd`` as a bank's server, ``sftp`` and ``ssh`` as a bank's client, with their own keys."""

from __future__ import annotations

import asyncio
import getpass
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers import found, need, stop
from tests.servers import free_port

PACKAGES = "openssh-server openssh-client"
START_WAIT_S = 10.0
ANSWER_WAIT_S = 20.0
POLL_S = 0.02
PRIVSEP = Path("/run/sshd")
"""sshd of Debian wants it, and only its service makes it."""

OPTIONS = (
    *("-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "GlobalKnownHostsFile=none", "-o", "PreferredAuthentications=publickey", "-o", "ConnectTimeout=10"),
)

CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
PrintMotd no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {folder}
LogLevel VERBOSE
"""


def need_openssh() -> None:
    """Skip, or fail, without OpenSSH."""
    need("sshd", "sftp", "ssh", "ssh-keygen", packages=PACKAGES)


@dataclass(frozen=True, slots=True)
class Key:
    """A pair of keys: the private one in a file, the public one as a line."""

    file: Path

    @property
    def public(self) -> str:
        """The public key, without the comment."""
        return " ".join(self.file.with_name(f"{self.file.name}.pub").read_text("utf-8").split()[:2])


def key(folder: Path, name: str) -> Key:
    """Make a pair of keys as ``ssh-keygen`` makes them."""
    program = found("ssh-keygen")
    assert program is not None
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True, timeout=20)
    return Key(folder / name)


@dataclass(frozen=True, slots=True)
class Sshd:
    """A bank's server: ``folder`` is what it shows to ``user``, who comes with ``client``'s key."""

    port: int
    folder: Path
    user: str
    host: Key
    client: Key


@asynccontextmanager
async def sshd(folder: Path, host: Key, client: Key, port: int | None = None) -> AsyncIterator[Sshd]:
    """Run ``sshd`` on a port of its own, over the folder ``files`` of a folder.

    :raises RuntimeError: it does not start.
    """
    need_openssh()
    port = port or free_port()
    process = _start(folder, host, client, port)
    try:
        await _wait(process, port, folder / "sshd.log")
        yield Sshd(port, folder / "files", getpass.getuser(), host, client)
    finally:
        await asyncio.to_thread(stop, process)


def _start(folder: Path, host: Key, client: Key, port: int) -> subprocess.Popen[bytes]:
    if os.geteuid() == 0:
        PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    (folder / "files").mkdir(exist_ok=True)
    authorized, configuration = folder / "authorized_keys", folder / "sshd_config"
    authorized.write_text(f"{client.public}\n", "utf-8")
    told = CONFIGURATION.format(port=port, host_key=host.file, authorized=authorized, folder=folder / "files")
    configuration.write_text(told, "utf-8")
    program = found("sshd")
    assert program is not None
    with (folder / "sshd.log").open("wb") as log:
        return subprocess.Popen([program, "-D", "-e", "-f", configuration], stdout=log, stderr=log)


@dataclass(frozen=True, slots=True)
class Client:
    """A bank's client of our server: ``user`` with a key, who knows our host key."""

    port: int
    user: str
    key: Path
    known_hosts: Path

    async def sftp(self, *lines: str) -> tuple[int, str]:
        """Run ``sftp`` with lines of commands, each though another failed; give its status and all that it said."""
        return await self._run(["sftp", "-b", "-", "-P", str(self.port)], "".join(f"{line}\n" for line in lines))

    async def ssh(self, *arguments: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run ``ssh`` with a command, or with options of its own."""
        return await self._run(["ssh", "-p", str(self.port), *options], "", arguments)

    async def _run(self, program: list[str], told: str, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
        path = found(program[0])
        assert path is not None
        keys = ("-i", str(self.key), "-o", f"UserKnownHostsFile={self.known_hosts}")
        process = await asyncio.create_subprocess_exec(
            *(path, *program[1:], *OPTIONS, *keys, f"{self.user}@127.0.0.1", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(ANSWER_WAIT_S):
            said, _ = await process.communicate(told.encode())
        assert process.returncode is not None
        return process.returncode, said.decode("utf-8", "replace")


def client(folder: Path, port: int, user: str, own: Key, host: Key) -> Client:
    """Give a client that knows the host key of a server on a port."""
    known = folder / f"known_hosts_{own.file.name}"
    known.write_text(f"[127.0.0.1]:{port} {host.public}\n", "utf-8")
    return Client(port, user, own.file, known)


async def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    try:
        async with asyncio.timeout(START_WAIT_S):
            while process.poll() is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(POLL_S)
                else:
                    writer.close()
                    return
    except TimeoutError:
        pass
    raise RuntimeError(f"sshd does not start:\n{_end(log)}")


def _end(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]
