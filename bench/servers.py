"""Processes and databases of the benchmarks: each server in its own process, each run in its own database."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

ROOT = Path(__file__).parent.parent
START_WAIT_S = 60.0
STOP_WAIT_S = 30.0
POLL_S = 0.05


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a process of the benchmarks: it finds ``bench`` and ``bels``."""
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),))))
    return {**os.environ, **more, "PYTHONPATH": path}


async def fresh_database(url: str, name: str) -> str:
    """Make an empty database, with a checkpoint behind it, and give its URL."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    before, _, after = url.partition("/bels?")
    if not after:
        raise ValueError("the URL of the embedded PostgreSQL names no database bels")
    return f"{before}/{name}?{after}"


@contextmanager
def server(command: Sequence[str], port: int, more: Mapping[str, str]) -> Iterator[None]:
    """Run a server until it listens, and stop it afterwards.

    :raises RuntimeError: it ends, or does not listen in time.
    """
    process = subprocess.Popen(command, env=environment(more), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_WAIT_S
        while not _listens(port):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not listen after {START_WAIT_S:g} s")
            time.sleep(POLL_S)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
