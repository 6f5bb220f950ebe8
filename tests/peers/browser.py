"""Chromium as a peer: real pages over real HTTP, keys and fingers of a person, and axe-core's judgement of every page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright, expect
from starlette.applications import Starlette

from bels.observing.heads import LimitedHeads
from tests.peers import found, need
from tests.servers import free_port

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
AXE = Path(__file__).parent / "web/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WAIT_MS = 15_000
PHONE = {"width": 360, "height": 740}


def need_browser() -> None:
    """Skip where there is no browser or no judge of pages, or fail where peers are required."""
    need("chromium", packages="chromium fonts-dejavu-core")
    if AXE.is_file():
        return
    sentence = "A PEER IS MISSING, so pages are not judged: no axe-core. Install it with `make peers`, or in tests/peers/web: npm ci"
    if os.environ.get("BELS_REQUIRE_PEERS") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Run a browser; on a machine that is busy with other tests a page may take its time."""
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found("chromium"), args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve an application on loopback, in this loop, and give its URL."""
    port = free_port()
    config = uvicorn.Config(app, port=port, http=LimitedHeads, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


async def faults_of(page: Page) -> list[str]:
    """Give what axe-core finds wrong with a page, and whether it is wider than its window."""
    await page.evaluate(AXE.read_text("utf-8"))
    told: dict[str, Any] = await page.evaluate(
        "(rules) => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    faults = [f"{each['id']}: {node['html']}" for each in told["violations"] for node in each["nodes"]]
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*faults, *([f"{wide} pixels wider than the window"] if wide > 0 else [])]
