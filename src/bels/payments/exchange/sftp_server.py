"""Our SFTP server: each bank in its own folder, by its key alone; ``in`` to send, ``out`` to fetch, and nothing else.

There is no shell, no command, no forwarding, no terminal, no password. What may be done with files is in ``sftp_files.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncssh

from bels.payments.exchange.contracts import Exchange
from bels.payments.exchange.folders import room_of
from bels.payments.exchange.sftp_files import REFUSED, Files, Guest

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 100
CONNECTIONS_OF_ADDRESS_MAX = 20
CONNECTIONS_OF_ONE_MAX = 5
"""Of one partner that has shown its key."""
CHANNELS_MAX = 5
"""Sessions in one connection."""
LOGIN_S = 20.0
IDLE_S = 300.0
KEEPALIVE_S = 30
TRIES_MAX = 10
"""Keys that one connection may show."""
BANNER = "bels"


@dataclass(slots=True)
class Bank:
    """Everybody who may come, by name, and who is here; after ``idle_s`` seconds without a word somebody is sent away."""

    guests: Mapping[str, Guest]
    idle_s: float
    open: set[asyncssh.SSHServerConnection] = field(default_factory=set)


def guests_of(root: Path, agreed: Sequence[Exchange]) -> dict[str, Guest]:
    """Give a room to each partner, and make what is missing of them."""
    guests = {each.partner.name: Guest(each, room_of(root, each.partner)) for each in agreed}
    for guest in guests.values():
        guest.room.make()
    return guests


@asynccontextmanager
async def serving_sftp(
    guests: Mapping[str, Guest], host: str, port: int, host_key: Path, idle_s: float = IDLE_S
) -> AsyncIterator[asyncssh.SSHAcceptor]:
    """Serve SFTP while this is open.

    :raises OSError: the address cannot be listened on, or the host key cannot be read.
    :raises asyncssh.KeyImportError: the host key is none.
    """
    bank = Bank(guests, idle_s)
    acceptor = await asyncssh.listen(
        host,
        port,
        config=None,
        server_factory=partial(_Server, bank),
        server_host_keys=[asyncssh.read_private_key(host_key)],
        sftp_factory=_session,
        sftp_version=3,
        encoding=None,
        allow_scp=False,
        allow_pty=False,
        line_editor=False,
        agent_forwarding=False,
        x11_forwarding=False,
        public_key_auth=True,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        rdns_lookup=False,
        compression_algs=["none"],
        login_timeout=LOGIN_S,
        keepalive_interval=KEEPALIVE_S,
        server_version=BANNER,
    )
    try:
        yield acceptor
    finally:
        acceptor.close()
        await acceptor.wait_closed()
        # What is under way stays a part: the bank sends it again.
        for connection in list(bank.open):
            connection.abort()
            await connection.wait_closed()


class _Server(asyncssh.SSHServer):
    """One connection: who it is, and since when nothing was heard of it."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._connection: asyncssh.SSHServerConnection | None = None
        self._guest: Guest | None = None
        self._admitted: Guest | None = None
        self._tries = 0
        self._heard = time.monotonic()
        self._alarm: asyncio.TimerHandle | None = None
        self.channels = 0

    @property
    def guest(self) -> Guest:
        """Whose key was shown."""
        assert self._admitted is not None  # noqa: S101 - no session is opened before
        return self._admitted

    def heard(self) -> None:
        """Note that the client did something."""
        self._heard = time.monotonic()

    def ended(self) -> None:
        """Note that a session ended."""
        self.channels -= 1

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Count a connection; one too many is closed."""
        self._connection = conn
        address = self._address()
        # Whoever comes from where no partner does is not even asked for a key: strangers must not take the partners' places.
        welcome = any(guest.agreed.partner.may_come_from(address) for guest in self._bank.guests.values())
        same = sum(_address_of(each) == address for each in self._bank.open)
        if not welcome or same >= CONNECTIONS_OF_ADDRESS_MAX or len(self._bank.open) >= CONNECTIONS_MAX:
            conn.abort()
            return
        self._bank.open.add(conn)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that ended."""
        if self._connection is not None:
            self._bank.open.discard(self._connection)
        if self._admitted is not None:
            self._admitted.connections -= 1
        if self._alarm is not None:
            self._alarm.cancel()
        self._connection = None

    def begin_auth(self, username: str) -> bool:
        """Ask everybody for a key, those whom we do not know too."""
        guest = self._bank.guests.get(username)
        known = guest is not None and guest.agreed.partner.may_come_from(self._address())
        self._guest = guest if known else None
        return True

    def public_key_auth_supported(self) -> bool:
        """Say that a key is the only way in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Say whether the key is the partner's."""
        self._tries += 1
        if self._tries > TRIES_MAX and self._connection is not None:
            self._connection.abort()
            return False
        guest = self._guest
        return (
            guest is not None
            and guest.agreed.partner.name == username
            and key in guest.agreed.keys
            and guest.connections < CONNECTIONS_OF_ONE_MAX
        )

    def auth_completed(self) -> None:
        """Let the partner in, unless it is here often enough."""
        guest = self._guest
        if self._connection is None:
            return
        if guest is None or guest.connections >= CONNECTIONS_OF_ONE_MAX:
            self._connection.abort()
            return
        guest.connections += 1
        self._admitted = guest
        logger.info("%s came by SFTP", guest.agreed.partner.name)

    def _address(self) -> str:
        return _address_of(self._connection) if self._connection is not None else ""

    def _look(self) -> None:
        """Close a connection that has been idle for too long."""
        idle = time.monotonic() - self._heard
        if idle >= self._bank.idle_s and self._connection is not None:
            self._connection.abort()
            return
        self._alarm = asyncio.get_running_loop().call_later(self._bank.idle_s - idle, self._look)


def _address_of(connection: asyncssh.SSHServerConnection) -> str:
    peer = connection.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _session(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
    server = channel.get_connection().get_owner()
    if not isinstance(server, _Server):
        raise asyncssh.SFTPPermissionDenied(REFUSED)
    server.channels += 1
    if server.channels > CHANNELS_MAX:
        channel.abort()
    return Files(channel, server.guest, server.heard, server.ended)
