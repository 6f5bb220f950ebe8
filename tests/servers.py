"""Real server processes of bels on loopback, and a client that speaks to them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_WAIT_S = 60.0
ROOT = Path(__file__).parent.parent

OPEN = """mutation($account: String!, $key: ID!, $at: DateTime!) { openAccount(input: {account: $account, idempotencyKey: $key,
  openedAt: $at, locality: URBAN, stove: GAS, rooms: 2, permanent: 3}) { __typename } }"""
INSTALL = """mutation($input: InstallMeterInput!) { installMeter(input: $input) { __typename } }"""
SUBMIT = """mutation($input: SubmitReadingInput!) { submitReading(input: $input) {
  __typename
  ... on ReadingAccepted { receipt period replayed consumption { register kwh } }
  ... on ReadingHeld { receipt reason limit text }
  ... on Refusal { code text hint path }
  ... on MessageParked { receipt }
} }"""


@dataclass
class Server:
    """A running server: its process and its address."""

    process: subprocess.Popen[bytes]
    url: str

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(environment: dict[str, str], port: int | None = None, *more: str) -> Server:
    """Start a server and wait until it answers.

    :raises RuntimeError: it ended, or did not answer in time.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "bels", "serve", "--local", "--port", str(port), *more]
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return Server(process, url)
        except httpx.HTTPError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError("the server does not answer")


@contextmanager
def serving(environment: dict[str, str], count: int = 1) -> Iterator[list[Server]]:
    """Run server processes on one database."""
    servers = [start(environment) for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            server.process.terminate()
        for server in servers:
            server.process.wait(30)


async def ask(client: httpx.AsyncClient, url: str, query: str, **variables: Any) -> dict[str, Any]:
    """Ask a question or a favour; give what stands under ``data``."""
    answer = await client.post(f"{url}/graphql", json={"query": query, "variables": variables})
    told: dict[str, Any] = answer.json()
    assert "errors" not in told, told
    data: dict[str, Any] = told["data"]
    return data


async def open_household(
    client: httpx.AsyncClient,
    url: str,
    account: str,
    registers: dict[str, int],
    at: str = "2026-01-10T09:00:00Z",
    display: list[dict[str, str]] | None = None,
) -> None:
    """Open an account with a meter of five digits."""
    opened = await ask(client, url, OPEN, account=account, key=f"open {account}", at=at)
    assert opened["openAccount"]["__typename"] == "CommandDone"
    given = {
        "account": account,
        "idempotencyKey": f"meter {account}",
        "installedAt": at,
        "act": "1",
        "meter": {"number": f"M{account}", "capacity": 5, "registers": list(registers), "display": display},
        "values": [{"register": r, "value": v} for r, v in registers.items()],
    }
    installed = await ask(client, url, INSTALL, input=given)
    assert installed["installMeter"]["__typename"] == "CommandDone"


async def wait_until_well(url: str) -> None:
    """Wait until a server can reach its database again."""
    async with httpx.AsyncClient(timeout=5) as client:
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline:
            try:
                if (await client.get(f"{url}/health")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError("the server does not get well")
