"""Servers and PostgreSQL are killed in the middle of a load: what was acknowledged is there exactly once, nothing is half there."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx
import pytest

from bels.embedded import embedded, postmaster_pid
from bels.journal import journal
from tests.servers import SUBMIT, Server, open_household, start, wait_until_well
from tests.supplier import check_rebuild

ACCOUNTS = [str(1000100 + i) for i in range(12)]
WRITERS = 64


class Load:
    """64 writers on one account and on many, on two servers; each message is sent until it is acknowledged."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.acknowledged: dict[str, str] = {}
        self.broken = 0

    async def run(self, messages_each: int) -> None:
        """Send, and go on until every message has an outcome."""
        async with httpx.AsyncClient(timeout=10, limits=httpx.Limits(max_connections=WRITERS)) as client:
            await asyncio.gather(*(self._write(client, writer, messages_each) for writer in range(WRITERS)))

    async def _write(self, client: httpx.AsyncClient, writer: int, count: int) -> None:
        chance = Random(writer)
        for i in range(count):
            # Half of the writers crowd on one account.
            account = ACCOUNTS[0] if writer % 2 else chance.choice(ACCOUNTS)
            key = f"{writer}-{i}"
            value = [{"register": "TOTAL", "value": str(100 + chance.randrange(400))}]
            given = {"account": account, "idempotencyKey": key, "values": value}
            while key not in self.acknowledged:
                outcome = await self._send(client, chance.choice(self.urls), given)
                if outcome is not None:
                    self.acknowledged[key] = outcome["receipt"]
                else:
                    self.broken += 1
                    await asyncio.sleep(0.1)

    async def _send(self, client: httpx.AsyncClient, url: str, given: dict[str, Any]) -> Any:
        try:
            answer = await client.post(f"{url}/graphql", json={"query": SUBMIT, "variables": {"input": given}})
            told = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        if told.get("errors"):
            assert told["errors"][0]["extensions"]["code"] in ("TRY_LATER", "OPERATION_TIMED_OUT"), told
            return None
        outcome = told["data"]["submitReading"]
        assert outcome["__typename"] in ("ReadingAccepted", "ReadingHeld"), outcome
        return outcome


async def books_are_right(url: str, acknowledged: dict[str, str]) -> None:
    """Check that every acknowledged message is in the journal exactly once, and that the views equal a rebuild."""
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        # A message that only repeats a reading points to it, and hears its receipt.
        rows = await pool.fetch(
            "SELECT m.message_id, coalesce(convert_from(j.state, 'UTF8')::jsonb ->> 'receipt', m.receipt) AS receipt"
            " FROM message m LEFT JOIN journal j ON m.last_version = m.first_version - 1"
            " AND j.originator_id = m.account AND j.originator_version = m.first_version WHERE m.channel = 'web'"
        )
        assert {row["message_id"]: row["receipt"] for row in rows} == acknowledged
        entries = await pool.fetch(
            "SELECT originator_id, array_agg(originator_version ORDER BY originator_version) AS versions"
            " FROM journal GROUP BY 1"
        )
        for row in entries:
            assert row["versions"] == list(range(1, len(row["versions"]) + 1))
        brought = await pool.fetch(
            "SELECT convert_from(state, 'UTF8')::jsonb ->> 'receipt' AS receipt, count(*) AS n FROM journal"
            " WHERE topic IN ('reading-accepted.1', 'reading-held.1') GROUP BY 1"
        )
        assert {row["receipt"]: row["n"] for row in brought} == dict.fromkeys(acknowledged.values(), 1)
        async with pool.acquire() as db:
            # The rules that the servers themselves have published.
            rulebook, _ = await journal.read_rulebook(db, 0)
        assert rulebook is not None
        await check_rebuild(pool, rulebook)


async def _households(url: str) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        for account in ACCOUNTS:
            await open_household(client, url, account, {"TOTAL": 100})


@pytest.mark.parametrize("killed", ["nothing", "server", "postgres"])
async def test_64_writers_two_servers_and_a_kill_in_the_middle(tmp_path: Path, killed: str) -> None:
    environment = {"BELS_DATA_DIR": str(tmp_path)}
    with embedded(tmp_path) as url:
        servers = await asyncio.to_thread(_start_two, environment)
        try:
            await _households(servers[0].url)
            load = Load([server.url for server in servers])
            running = asyncio.create_task(load.run(messages_each=8))
            while len(load.acknowledged) < 100 and not running.done():  # noqa: ASYNC110  # no event for every outcome
                await asyncio.sleep(0.01)
            if killed == "server":
                await _kill_and_start_again(servers, environment)
            elif killed == "postgres":
                pid = postmaster_pid(tmp_path)
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(running, 120)
            await wait_until_well(servers[1].url)
            assert len(load.acknowledged) == WRITERS * 8
            assert killed == "nothing" or load.broken > 0
            await books_are_right(url, load.acknowledged)
        finally:
            for server in servers:
                server.process.terminate()
            for server in servers:
                server.process.wait(30)


def _start_two(environment: dict[str, str]) -> list[Server]:
    return [start(environment), start(environment)]


async def _kill_and_start_again(servers: list[Server], environment: dict[str, str]) -> None:
    killed = servers[0]
    await asyncio.to_thread(killed.kill)
    port = int(killed.url.rpartition(":")[2])
    servers[0] = await asyncio.to_thread(start, environment, port)


@pytest.mark.soak
@pytest.mark.parametrize("round_number", range(10))
async def test_kills_again_and_again(tmp_path: Path, round_number: int) -> None:
    environment = {"BELS_DATA_DIR": str(tmp_path)}
    chance = Random(round_number)
    with embedded(tmp_path) as url:
        servers = await asyncio.to_thread(_start_two, environment)
        try:
            await _households(servers[0].url)
            load = Load([server.url for server in servers])
            running = asyncio.create_task(load.run(messages_each=60))
            for _ in range(5):
                await asyncio.sleep(chance.random() * 2)
                if chance.random() < 0.5:
                    await _kill_and_start_again(servers, environment)
                elif (pid := postmaster_pid(tmp_path)) is not None:
                    os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(running, 300)
            await books_are_right(url, load.acknowledged)
        finally:
            for server in servers:
                server.process.terminate()
            for server in servers:
                server.process.wait(30)
