"""Their SFTP server: fetch what lies there, put it into ``done`` when it was taken; put charges there, whole or not at all.

Their host key is agreed in the contract; another one is an error with a name, never accepted. What is still being written is
left: a name with ``.part``, and whatever changed since the last look. A file that cannot be moved to ``done`` is known by its
size and time, and by its SHA-256 to the taker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import asyncpg
import asyncssh

from bels.payments.exchange.contracts import Exchange, Pull
from bels.payments.exchange.folders import (
    FILE_BYTES_MAX,
    FILES_OF_ROUND,
    LISTED_MAX,
    PART,
    Room,
    TakeFile,
    is_file_name,
    sync_folder,
    take_one,
    used,
)
from bels.payments.exchange.states import note_fetched, reached, was_fetched

logger = logging.getLogger(__name__)

CONNECT_S = 20.0
ROUND_S = 1800.0
"""One look at a server, with all that is fetched."""
BLOCK = 256 * 1024


class PullError(Exception):
    """Their files cannot be fetched now; the sentence is for the operator and names no file."""


class HostKeyChanged(PullError):
    """Their server shows another key than the contract says: perhaps it is not theirs."""


@dataclass(slots=True)
class Seen:
    """What a process saw on a server at its last look: size and time by name."""

    files: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one look: files taken, files that a person must look at, files left for the next look."""

    taken: int = 0
    failed: int = 0
    left: int = 0


@asynccontextmanager
async def connected(pull: Pull) -> AsyncIterator[asyncssh.SFTPClient]:
    """Open a session with their server.

    :raises HostKeyChanged: it shows another key.
    :raises PullError: it cannot be reached, or does not know our key.
    """
    # The key types that are asked for follow from whole keys; a fingerprint says nothing of its type.
    known: tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]] = (list(pull.host_keys), [], [])
    try:
        async with (
            asyncssh.connect(
                pull.host,
                pull.port,
                username=pull.user,
                client_keys=[str(pull.key_file)],
                known_hosts=known,
                client_factory=lambda: _Client(pull),
                config=None,
                agent_path=None,
                preferred_auth="publickey",
                compression_algs=["none"],
                x509_trusted_certs=None,
                gss_host=None,
                connect_timeout=CONNECT_S,
                login_timeout=CONNECT_S,
                keepalive_interval=15,
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            yield client
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyChanged("the server shows another host key than the contract says") from error
    except asyncssh.PermissionDenied as error:
        raise PullError("the server does not let us in with our key") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise PullError("our private key cannot be read: it must have no password") from error
    except asyncssh.SFTPError as error:
        raise PullError(f"the server refuses: {type(error).__name__}") from error
    except (OSError, asyncssh.Error) as error:
        raise PullError(f"the server cannot be reached: {type(error).__name__}") from error


async def pull_files(
    pool: asyncpg.Pool, room: Room, agreed: Exchange, take: TakeFile, seen: Seen, now: datetime
) -> Pulled:
    """Fetch what lies on a partner's server and take it, one file after the other.

    :raises PullError: it cannot be done now.
    :raises TryLater: nothing could be stored; what was fetched is taken later.
    """
    pull = agreed.pull
    if pull is None:
        return Pulled()
    try:
        async with asyncio.timeout(ROUND_S), connected(pull) as client:
            return await _pull(pool, room, agreed, pull, client, take, seen, now)
    except TimeoutError as error:
        raise PullError("the server is too slow") from error


async def put_file(pull: Pull, path: Path) -> None:
    """Put a file onto their server as a part, and give it its name when it is whole.

    :raises PullError: it cannot be done now.
    """
    if pull.put is None:
        raise PullError("the contract names no folder on the server")
    name = posixpath.join(pull.put, path.name)
    try:
        async with asyncio.timeout(ROUND_S), connected(pull) as client:
            await client.put(str(path), f"{name}{PART}")
            with suppress(asyncssh.SFTPNoSuchFile):
                # Without the extension of OpenSSH a rename goes over nothing.
                if await client.exists(name):
                    await client.remove(name)
            await client.rename(f"{name}{PART}", name)
    except TimeoutError as error:
        raise PullError("the server is too slow") from error


async def _pull(
    pool: asyncpg.Pool,
    room: Room,
    agreed: Exchange,
    pull: Pull,
    client: asyncssh.SFTPClient,
    take: TakeFile,
    seen: Seen,
    now: datetime,
) -> Pulled:
    found = await _listed(client, pull.folder)
    still = [name for name, what in found.items() if seen.files.get(name) == what]
    seen.files = found
    taken = failed = fetched = 0
    for name in sorted(still, key=lambda each: (found[each][1], each)):
        async with reached(pool) as db:
            known = await was_fetched(db, agreed.partner.name, name, *found[name])
        if known:
            # It was taken, and could not be moved then.
            await _move_to_done(client, pull, name)
            continue
        size = found[name][0]
        bytes_used, files_used = used(room)
        if fetched >= FILES_OF_ROUND or files_used >= agreed.files_max or bytes_used + size > agreed.bytes_max:
            break
        fetched += 1
        if size > FILE_BYTES_MAX:
            logger.error("%s has a file of %d bytes for us, too many", agreed.partner.name, size)
            failed += 1
            continue
        if not await _fetch(client, posixpath.join(pull.folder, name), room, name, size):
            continue
        # What fails is put away for a person, and is moved on their server as well.
        is_taken = await take_one(room, agreed, take, name, "pull")
        taken, failed = taken + is_taken, failed + (not is_taken)
        async with reached(pool) as db:
            await note_fetched(db, agreed.partner.name, name, *found[name], now)
        await _move_to_done(client, pull, name)
    return Pulled(taken, failed, len(found) - taken - failed)


async def _listed(client: asyncssh.SFTPClient, folder: str) -> dict[str, tuple[int, int]]:
    """List the plain files of a folder that are not parts: size and time in seconds by name."""
    found: dict[str, tuple[int, int]] = {}
    count = 0
    async for entry in client.scandir(folder):
        count += 1
        if count > LISTED_MAX:
            break
        name = entry.filename if isinstance(entry.filename, str) else entry.filename.decode("utf-8", "replace")
        attrs = entry.attrs
        if name.endswith(PART) or not is_file_name(name) or not stat.S_ISREG(attrs.permissions or 0):
            continue
        found[name] = (attrs.size or 0, attrs.mtime or 0)
    return found


async def _fetch(client: asyncssh.SFTPClient, remote: str, room: Room, name: str, size: int) -> bool:
    """Copy a file into ``taking``; False where it changed meanwhile, or one of its name waits there."""
    to = room.of("taking") / name
    if to.exists():
        return False
    part = to.with_name(f"{name}{PART}")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        copied = 0
        async with client.open(remote, "rb", encoding=None) as theirs:
            while copied <= size and isinstance(block := await theirs.read(BLOCK, copied), bytes) and block:
                copied += await asyncio.to_thread(os.write, file, block)
        now = await client.stat(remote)
        await asyncio.to_thread(os.fsync, file)
    except asyncssh.SFTPNoSuchFile:
        return False
    finally:
        os.close(file)
    if copied != size or now.size != size:
        # It grows, or was cut: the next look finds it again.
        part.unlink()
        return False
    part.replace(to)
    sync_folder(to.parent)
    return True


async def _move_to_done(client: asyncssh.SFTPClient, pull: Pull, name: str) -> None:
    """Move a file into their ``done``, which we make where it is missing; where we may not, it stays and does no harm."""
    if not pull.done:
        return
    folder = posixpath.join(pull.folder, pull.done)
    try:
        with suppress(asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists):
            await client.mkdir(folder)
        to, count = posixpath.join(folder, name), 0
        while await client.exists(to) and count < FILES_OF_ROUND:
            count += 1
            to = posixpath.join(folder, f"{name}~{count}")
        await client.rename(posixpath.join(pull.folder, name), to)
    except asyncssh.SFTPError as error:
        logger.warning("a file that was taken cannot be moved to done: %s", type(error).__name__)


class _Client(asyncssh.SSHClient):
    def __init__(self, pull: Pull) -> None:
        self._fingerprints = pull.fingerprints

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Accept a key by its fingerprint."""
        return key.get_fingerprint() in self._fingerprints
