"""Both bots as a server serves them, from its settings alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bels.app import AppError
from bels.observing.health import Readiness
from bels.routes import asgi
from bels.settings import ChannelSettings
from tests.channels.house import House
from tests.peers import bot_api as telegram
from tests.peers import max_api as max_
from tests.peers.loopback import listening


async def test_a_server_with_tokens_talks_in_both_messengers(house: House, tmp_path: Path) -> None:
    assert house.bels is not None
    (tmp_path / "telegram").write_text(f"{telegram.TOKEN}\n")
    (tmp_path / "max").write_text(max_.TOKEN)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(telegram.bot_api())
        other = await stack.enter_async_context(max_.max_api())
        channels = ChannelSettings(
            telegram_token_file=tmp_path / "telegram",
            telegram_api=api.url,
            max_token_file=tmp_path / "max",
            max_api=other.url,
            public_url="https://bels.example",
        )
        bels = replace(house.bels, settings=replace(house.bels.settings, channels=channels))
        app = asgi(bels, house.desk.door, Readiness(bels.pool))
        url = await stack.enter_async_context(listening(app, lifespan=True))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        async with asyncio.timeout(10):
            while api.webhook is None or other.webhook is None:  # noqa: ASYNC110 - they register in the background
                await asyncio.sleep(0.01)
        in_telegram = telegram.Person(api, f"{url}/channels/telegram", http)
        in_max = max_.Person(other, f"{url}/channels/max", http, lambda _: "")

        asked, also = await in_telegram.say("1000001#10385"), await in_max.say("1000003#3100#1600")
        contacts = await in_telegram.say("контакты")

        assert asked
        assert also
        assert contacts
        assert "Всё верно?" in asked[0].text
        assert "Ночь 1600" in also[0].text
        assert "Балашиха" in contacts[0].text
        assert (await http.get(f"{url}/evidence/e-nothing")).status_code == 401


async def test_a_server_does_not_start_with_a_token_that_is_none(house: House, tmp_path: Path) -> None:
    assert house.bels is not None
    (tmp_path / "telegram").write_text("nonsense")
    channels = ChannelSettings(telegram_token_file=tmp_path / "telegram")
    bels = replace(house.bels, settings=replace(house.bels.settings, channels=channels))

    with pytest.raises(AppError, match="no token of a Telegram bot"):
        asgi(bels, house.desk.door, Readiness(bels.pool))
