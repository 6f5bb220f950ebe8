"""A server that leaves says so first: under load, no request fails while another takes over."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from tests.servers import SUBMIT, Server, open_household, start

DRAIN_S = 1
ACCOUNTS = ("1000001", "1000003", "1000005", "1000007")


class Balancer:
    """Send each request to the first server that says it is ready, as a balancer does."""

    def __init__(self, client: httpx.AsyncClient, servers: list[Server]) -> None:
        self.client = client
        self.servers = servers
        self.answered: dict[str, int] = {}
        self.closing = 0

    async def ask(self, query: str, **variables: object) -> None:
        """Send a request.

        :raises AssertionError: it failed, or nobody is ready.
        """
        for server in list(self.servers):
            try:
                ready = await self.client.get(f"{server.url}/health/ready")
            except httpx.TransportError:
                # Nobody is there any more. Only the question may fail so, never a request.
                continue
            self.closing += ready.headers.get("connection") == "close"
            if ready.status_code == 200:
                answer = await self.client.post(f"{server.url}/graphql", json={"query": query, "variables": variables})
                assert answer.status_code == 200, answer.text
                assert "errors" not in answer.json(), answer.text
                self.answered[server.url] = self.answered.get(server.url, 0) + 1
                return
        raise AssertionError("no server is ready")


async def test_no_request_fails_while_another_server_takes_over(database: str) -> None:
    environment = {"BELS_DATABASE_URL": database, "BELS_DRAIN_S": str(DRAIN_S)}
    old = await asyncio.to_thread(start, environment)
    new: Server | None = None
    try:
        async with httpx.AsyncClient(timeout=30) as client:
            for account in ACCOUNTS:
                await open_household(client, old.url, account, {"TOTAL": 100})
            balancer = Balancer(client, [old])
            stopping = asyncio.Event()

            async def load(account: str) -> None:
                n = 0
                while not stopping.is_set():
                    n += 1
                    value = [{"register": "TOTAL", "value": str(100 + n)}]
                    given = {"account": account, "idempotencyKey": f"{account} {n}", "values": value}
                    await balancer.ask(SUBMIT, input=given)
                    await balancer.ask("query($n: String!) { account(number: $n) { id } }", n=account)

            async with asyncio.TaskGroup() as working:
                for account in ACCOUNTS:
                    working.create_task(load(account))
                new = await asyncio.to_thread(start, environment)
                balancer.servers.append(new)
                old.process.terminate()
                begun = time.monotonic()
                await asyncio.sleep(0.3)
                health = await client.get(f"{old.url}/health")
                ready = await client.get(f"{old.url}/health/ready")
                assert await asyncio.to_thread(old.process.wait, 20) == 0
                took = time.monotonic() - begun
                balancer.servers.remove(old)
                await asyncio.sleep(0.3)
                stopping.set()

        assert (health.status_code, ready.status_code, ready.json()["reason"]) == (200, 503, "draining")
        assert health.headers["connection"] == "close"
        assert DRAIN_S <= took < DRAIN_S + 10
        assert set(balancer.answered) == {old.url, new.url}
        assert balancer.closing > 0
    finally:
        for server in (old, new):
            if server is not None and server.process.poll() is None:
                server.process.terminate()
                server.process.wait(30)


@pytest.mark.parametrize("drain_s", ["0", "60"])
def test_a_second_signal_ends_the_wait(database: str, drain_s: str) -> None:
    server = start({"BELS_DATABASE_URL": database, "BELS_DRAIN_S": drain_s})
    begun = time.monotonic()

    server.process.terminate()
    if drain_s != "0":
        time.sleep(0.5)
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        server.process.terminate()

    assert server.process.wait(20) == 0
    assert time.monotonic() - begun < 15
