"""A sandbox over a real PostgreSQL, on a day of 2026, and its server on a port of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import uvicorn

from bels.app import Bels, door_of
from bels.domain.periods import MOSCOW
from bels.observing.heads import LimitedHeads
from bels.observing.health import Readiness
from bels.routes import asgi
from bels.sandbox.room import SandboxRoom
from bels.sandbox.serving import opened_sandbox
from bels.sandbox.watching import watched
from bels.settings import Settings
from tests.peers.partner_client import PartnerClient, opened_partner

OPENED_AT = datetime(2026, 5, 20, 12, tzinfo=MOSCOW)
"""What our clock says: the sandbox's goes to the day in May on which bills are due."""


class Ours:
    """Our clock, which goes on from a day in May."""

    def __init__(self, at: datetime = OPENED_AT) -> None:
        self._at = at
        self._began = monotonic()

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._at + timedelta(seconds=monotonic() - self._began)


@asynccontextmanager
async def opened_room(database_url: str, folder: Path) -> AsyncIterator[tuple[Bels, SandboxRoom]]:
    """Open a sandbox."""
    async with opened_sandbox(Settings(database_url=database_url, data_dir=folder), Ours()) as opened:
        yield opened


@asynccontextmanager
async def served(bels: Bels, room: SandboxRoom) -> AsyncIterator[str]:
    """Serve a sandbox, and give its URL."""
    door = await door_of(bels, local=False)
    app = watched(asgi(bels, door, Readiness(bels.pool)), room, door)
    config = uvicorn.Config(app, http=LimitedHeads, lifespan="on", log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def partner_of(url: str, room: SandboxRoom, place: int, name: str = "b") -> AsyncIterator[PartnerClient]:
    """Open the program of one of the sandbox's partners."""
    ready = room.partners[place]
    async with opened_partner(url, ready.client, ready.secret, name) as partner:
        await partner.look_around()
        yield partner
