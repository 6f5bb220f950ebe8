"""Call nobody who is not on the public internet: a partner's URL must not become a way into our own network.

The name is resolved here, every address that it has is judged, and the connection goes to the very address that was judged; so a
name that means another address a moment later (DNS rebinding) gains nothing. This happens again for every delivery.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import httpcore

URL_LENGTH_MAX = 500
HOST_LENGTH_MAX = 253
ADDRESSES_MAX = 8
"""Addresses of a name that are judged; one that has more is refused."""

RESOLVE_WAIT_S = 5.0
RESOLVERS_MAX = 32
"""Names that a process looks up at once, in threads of their own: one whose name servers are slow on purpose holds up no other work."""

PORTS = frozenset((443, 8443))
PORT_MIN = 1024
"""Other ports begin here, where the contract names them."""

_NAME = re.compile(r"(?!-)(?:[a-z0-9-]{1,63}(?<!-)\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
"""A name of several labels whose last begins with a letter: 127.1, 0x7f000001 and 2130706433 are none."""

_LOOPBACK_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(each)
    for each in (
        # IANA's registries of special-purpose addresses, and multicast; of IPv6 all but 2000::/3 is refused anyway.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")

_RESOLVERS = ThreadPoolExecutor(RESOLVERS_MAX, "bels-resolver")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host.

:raises OSError: there are none, or nobody knows now.
"""


class GuardError(Exception):
    """It is not called; ``code`` says why, for the partner."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def is_public(address: IPAddress) -> bool:
    """Say whether an address is one of the public internet: no address of a network within, and none that leads to one."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _PUBLIC_IPV6 or address.scope_id is not None):
        # ::1, fe80::/10, fc00::/7, ff00::/8, ::ffff:0:0/96 and 64:ff9b::/96, which lead to IPv4.
        return False
    return not any(address.version == network.version and address in network for network in _NOT_PUBLIC)


def is_loopback(address: IPAddress) -> bool:
    """Say whether an address is this machine."""
    return address.is_loopback


async def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host.

    :raises OSError: there are none, or nobody knows now.
    """
    found = await asyncio.get_running_loop().run_in_executor(
        _RESOLVERS, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may be called, trusting ``tls`` (None: as the system does).

    ``loopback``: this machine too, by plain HTTP and on any port, for a developer and the sandbox.
    """

    loopback: bool = False
    resolve: Resolve = resolved
    is_allowed: Callable[[IPAddress], bool] = is_public
    tls: ssl.SSLContext | None = None


def check_url(url: str, policy: Policy, ports: Iterable[int] = ()) -> tuple[str, int]:
    """Give the host and the port of a URL that may be called, as far as its text tells.

    :raises GuardError: it may not.
    """
    if not (0 < len(url) <= URL_LENGTH_MAX and all("!" <= c <= "~" for c in url) and "\\" not in url):
        raise GuardError("BAD_URL")
    try:
        parts = urlsplit(url)
        host, given = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise GuardError("BAD_URL") from None
    if parts.username is not None or parts.password is not None or "#" in url or len(host) > HOST_LENGTH_MAX:
        raise GuardError("BAD_URL")
    if policy.loopback and host in _LOOPBACK_HOSTS and parts.scheme in ("http", "https"):
        return host, given or (443 if parts.scheme == "https" else 80)
    if parts.scheme != "https":
        raise GuardError("NOT_HTTPS")
    if not _NAME.fullmatch(host):
        raise GuardError("NOT_A_NAME")
    port = 443 if given is None else given
    if port not in PORTS and not (port >= PORT_MIN and port in ports):
        raise GuardError("PORT_NOT_ALLOWED")
    return host, port


async def addresses_of(host: str, port: int, policy: Policy) -> list[str]:
    """Give the addresses of a host, all of which may be called.

    :raises GuardError: one of them may not, or there is none.
    """
    try:
        found = await policy.resolve(host, port)
    except (OSError, UnicodeError):
        raise GuardError("NAME_NOT_RESOLVED") from None
    if not found:
        raise GuardError("NAME_NOT_RESOLVED")
    is_allowed = is_loopback if policy.loopback and host in _LOOPBACK_HOSTS else policy.is_allowed
    try:
        allowed = len(found) <= ADDRESSES_MAX and all(is_allowed(ipaddress.ip_address(each)) for each in found)
    except ValueError:
        allowed = False
    if not allowed:
        # One bad address is enough: which of them is called is not ours alone to choose.
        raise GuardError("ADDRESS_NOT_ALLOWED")
    return list(found)


async def check_endpoint(url: str, policy: Policy, ports: Iterable[int] = ()) -> None:
    """Check that a URL may be called as things stand now: its text, and every address of its host.

    :raises GuardError: it may not.
    """
    host, port = check_url(url, policy, ports)
    try:
        async with asyncio.timeout(RESOLVE_WAIT_S):
            await addresses_of(host, port, policy)
    except TimeoutError:
        raise GuardError("NAME_NOT_RESOLVED") from None


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were just judged, and to no other; the name stays in TLS and in Host."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers.

        :raises GuardError: the host may not be called.
        """
        failed: Exception = GuardError("NAME_NOT_RESOLVED")
        for address in await addresses_of(host.strip("[]").lower(), port, self._policy):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: a partner has no socket here.

        :raises GuardError: always.
        """
        raise GuardError("ADDRESS_NOT_ALLOWED")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)


def guarded_pool(policy: Policy, connections_max: int) -> httpcore.AsyncConnectionPool:
    """Make a pool that calls by the policy: no proxy, no redirect, and a connection for every call, so that each is judged."""
    return httpcore.AsyncConnectionPool(
        ssl_context=policy.tls or ssl.create_default_context(),
        max_connections=connections_max,
        max_keepalive_connections=0,
        network_backend=GuardedBackend(policy),
    )
