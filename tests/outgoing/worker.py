"""A process that sends what is due, for a test that kills it: ``python -m tests.outgoing.worker DATABASE FOLDER GATEWAY AT``."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

import httpx

from bels.app import door_of, opened
from bels.delivering import delivering
from bels.domain.terms import Channel
from bels.outgoing.kannel import kannel_sender
from bels.settings import Settings
from tests.rules import DEFAULT_RULEBOOK


async def main(database: str, folder: str, gateway: str, at: str) -> None:
    """Send until killed."""
    began, since = datetime.fromisoformat(at), monotonic()

    def clock() -> datetime:
        return began + timedelta(seconds=monotonic() - since)

    settings = Settings(database_url=database, data_dir=Path(folder))
    async with opened(settings, DEFAULT_RULEBOOK, clock) as bels, httpx.AsyncClient(trust_env=False) as http:
        sender = kannel_sender(http, gateway, "bels", "secret", "http://127.0.0.1:1", b"s" * 32)
        async with delivering(bels, await door_of(bels, local=False), {Channel.SMS: sender}):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
