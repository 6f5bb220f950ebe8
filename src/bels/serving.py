"""Serve HTTP: who may be reached from where, and stopping in good order."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from bels.access.door import Door
from bels.app import Bels, door_of
from bels.collector import settled
from bels.observing.draining import DrainingServer
from bels.observing.heads import LimitedHeads
from bels.observing.health import Readiness

STOP_WAIT_S = 5
BACKLOG = 2048
SWITCH_S = 0.0005
SOCKET_MESSAGE_MAX = 65_536


class ListenError(OSError):
    """bels cannot listen there; the sentence says what to do."""


def bound(host: str, port: int, *, local: bool, has_master_key: bool) -> socket.socket:
    """Take a port of an address; it listens when bels is ready.

    :raises ListenError: the port is taken, or others could reach what is meant for this machine alone.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"{host!r} is no address to listen on: use 127.0.0.1, ::1 or localhost") from error
    loopback = all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
    if local and not loopback:
        raise ListenError(
            f"--local opens everything to whoever asks, so it does not listen on {host}: use 127.0.0.1, ::1 or localhost, "
            "or leave --local out"
        )
    if not has_master_key and not loopback:
        raise ListenError(
            f"bels does not listen on {host} without a master key: the one for development lies beside the data that it "
            "protects. Make one with `bels key new FILE`, keep it apart and name it in BELS_MASTER_KEY_FILE, "
            "or name a key service in BELS_MASTER_KEY_TRANSIT"
        )
    family, kind, protocol, _, address = found[0]
    taken = socket.socket(family, kind, protocol)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as error:
        taken.close()
        raise ListenError(
            f"port {port} of {host} cannot be taken ({error.strerror}): choose another with --port or BELS_PORT"
        ) from error
    return taken


async def serve(
    bels: Bels,
    listening: socket.socket,
    say: Callable[[str], None],
    *,
    local: bool = False,
    around: Callable[[ASGIApp, Door], ASGIApp] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; ``say`` is told the URL when bels listens. ``around`` stands around all that is served."""
    from bels.routes import asgi

    door = await door_of(bels, local=local)
    readiness = Readiness(bels.pool)
    served = asgi(bels, door, readiness)
    config = uvicorn.Config(
        around(served, door) if around is not None else served,
        loop="uvloop",
        http=LimitedHeads,
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_MAX,
        proxy_headers=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_WAIT_S,
        lifespan="on",
    )
    settled()
    # While a thread reads a strange document, the event loop gets the interpreter back so soon.
    sys.setswitchinterval(SWITCH_S)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    await _Server(config, readiness, bels.settings.drain_s, lambda: say(url)).serve([listening])


def greeting(url: str, *, demo: bool, local: bool) -> str:
    """Say what is served, and of the demonstration town what to open and what to try."""
    if not demo:
        return f"bels serves {url}"
    if not local:
        return f"""\
bels serves {url}

  Everybody must log in here. With --local there is also a page to ask on, and this machine needs no key.
  Ctrl-C stops it."""
    return f"""\
bels serves {url}

  Open  {url}/graphql and ask what an account was billed, and what was put right:

        {{ account(number: "1000006") {{ estimation {{ mode missedInARow }}
            usage(last: 3) {{ edges {{ node {{ period mode lines {{ register kwh rule }} }} }} }} }} }}

  Try   a reading by SMS:
        curl -G {url}/channels/sms -d from=9100000000 --data-urlencode 'text=1000000#10385'

  To see what a consumer, an operator or an auditor sees, choose the example "Log in" on that page.
  The accounts of the demonstration town are listed by: bels demo --list
  Ctrl-C stops it."""


class _Server(DrainingServer):
    """A server that leaves the signals' meaning to us: it stops, and the rest of bels is then closed in good order."""

    def __init__(
        self, config: uvicorn.Config, readiness: Readiness, drain_s: float, started: Callable[[], None]
    ) -> None:
        super().__init__(config, readiness, drain_s)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._started()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at SIGINT and SIGTERM, at once when they come twice."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
