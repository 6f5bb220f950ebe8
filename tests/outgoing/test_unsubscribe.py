"""The link in a letter: one click stops it, looking at it does not, and nothing else can be done with it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import asyncpg
import httpx
from starlette.applications import Starlette

from bels.domain.terms import Channel
from bels.outgoing.choices import unsubscribe_token
from bels.web.unsubscribe import unsubscribe_routes
from tests.outgoing.conftest import EMAIL, Speaking

HOME = "1000001"


async def test_one_click_on_the_link_of_a_letter_stops_the_next_ones(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    await speaking.send()
    (letter,) = speaking.gateways.letters
    path = urlsplit(letter["List-Unsubscribe"].strip("<>")).path
    app = Starlette(routes=[*unsubscribe_routes(speaking.pool, speaking.vault)])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as client:
        looked = await client.get(path)
        assert looked.status_code == 200
        assert '<form method="post">' in looked.text
        assert "default-src 'none'" in looked.headers["content-security-policy"]
        assert not re.search("script|style=|http", looked.text)
        subscribed = "SELECT topics <> '{}' FROM subscription"
        assert await speaking.pool.fetchval(subscribed)

        for _ in range(2):
            clicked = await client.post(path, data={"List-Unsubscribe": "One-Click"})
            assert clicked.status_code == 200
        assert not await speaking.pool.fetchval(subscribed)
        for method in ("GET", "POST"):
            assert (await client.request(method, f"{path[:-2]}AA")).status_code == 404
        assert (await client.delete(path)).status_code == 405

    speaking.at("2024-05-26T12:00")
    assert (await speaking.plan()).count == 0


async def test_a_click_while_the_database_is_away_says_that_nothing_was_stopped(
    speaking: Speaking, database: str
) -> None:
    chosen = await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    path = f"/u/{await unsubscribe_token(speaking.vault, chosen.number)}"
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as away:
        await away.close()
        app = Starlette(routes=[*unsubscribe_routes(away, speaking.vault)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as client:
            clicked = await client.post(path)

    assert clicked.status_code == 503
    assert clicked.headers["retry-after"] == "60"
    assert "вы ещё подписаны" in clicked.text
