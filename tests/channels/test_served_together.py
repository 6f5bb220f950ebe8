"""Two servers of one supplier on one machine, as they are deployed: each is restarted while the other answers."""

from __future__ import annotations

import asyncio
import smtplib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from bels.channels.prompts import manifest, note
from bels.observing.health import Readiness
from bels.routes import asgi
from bels.settings import ChannelSettings
from bench.calls import dialogue
from tests.channels.house import House
from tests.channels.test_lmtp import ANNA, MAILBOX, letter
from tests.channels.test_prompts import silence
from tests.peers.loopback import listening
from tests.servers import free_port


async def test_two_servers_share_the_ports_of_letters_and_calls(house: House, tmp_path: Path) -> None:
    assert house.bels is not None
    for prompt in manifest():
        silence(tmp_path / f"{prompt}.wav")
    note(tmp_path)
    letters, calls = free_port(), free_port()
    channels = ChannelSettings(agi=("127.0.0.1", calls), prompts=tmp_path, lmtp=("127.0.0.1", letters), mailbox=MAILBOX)
    bels = replace(house.bels, settings=replace(house.bels.settings, channels=channels, drain_s=0.0))

    def brought(key: str) -> None:
        with smtplib.LMTP("127.0.0.1", letters, timeout=30) as server:
            server.sendmail(ANNA, [MAILBOX], letter("1000001#10385", key=key).as_bytes())

    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        await first.enter_async_context(listening(asgi(bels, house.desk.door, Readiness(bels.pool)), lifespan=True))
        await stack.enter_async_context(listening(asgi(bels, house.desk.door, Readiness(bels.pool)), lifespan=True))
        await first.aclose()

        for key in ("one", "two", "three"):
            await asyncio.to_thread(brought, key)
        heard = await dialogue(calls, [])
        kept = await bels.pool.fetchval("SELECT count(*) FROM message WHERE channel = 'email'")

    assert kept == 3
    assert heard.sounds
