"""Processes and databases of the benchmarks: each server in its own process, each run in its own database."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from bench.load import Report

ROOT = Path(__file__).parent.parent
START_WAIT_S = 60.0
STOP_WAIT_S = 30.0
POLL_S = 0.05
LOAD_WAIT_S = 120
LOG_TAIL = 2_000


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a process of the benchmarks: it finds ``bench`` and ``bels``."""
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),))))
    return {**os.environ, **more, "PYTHONPATH": path}


async def fresh_database(url: str, name: str, template: str = "template1") -> str:
    """Make an empty database, or a copy of another one, with a checkpoint behind it, and give its URL."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    before, _, after = url.partition("/bels?")
    if not after:
        raise ValueError("the URL of the embedded PostgreSQL names no database bels")
    return f"{before}/{name}?{after}"


@contextmanager
def server(command: Sequence[str], port: int, more: Mapping[str, str]) -> Iterator[None]:
    """Run a server until it listens, and stop it afterwards; its log goes to a file, as it does where it serves.

    :raises RuntimeError: it ends, or does not listen in time.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment(more), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)
        try:
            deadline = time.monotonic() + START_WAIT_S
            while not _listens(port):
                if process.poll() is not None:
                    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL))
                    said = log.read().decode(errors="replace")
                    raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")
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


def begun_load(port: int, traffic: str, connections: int, seconds: float, *more: str) -> subprocess.Popen[str]:
    """Begin to load a server from another process; ``more`` are arguments of ``bench.load``."""
    command = [sys.executable, "-m", "bench.load", "--url", f"http://127.0.0.1:{port}/graphql", "--traffic", traffic]
    return subprocess.Popen(
        [*command, "--connections", str(connections), "--seconds", str(seconds), *more],
        env=environment({}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended_load(loading: subprocess.Popen[str]) -> Report:
    """Wait for a load's end, and say what it showed.

    :raises RuntimeError: an answer was an error: then the rate means nothing.
    """
    try:
        told, _ = loading.communicate(timeout=LOAD_WAIT_S)
    except subprocess.TimeoutExpired:
        loading.kill()
        loading.wait()
        raise
    if loading.returncode:
        raise RuntimeError(f"the load ended with {loading.returncode}")
    report = Report(**json.loads(told))
    print(f"  {report}", file=sys.stderr, flush=True)
    if report.errors or not report.requests:
        raise RuntimeError(f"{report.errors} errors in {report.requests} answers: {report.first_error}")
    return report


def load(port: int, traffic: str, connections: int, seconds: float, *more: str) -> Report:
    """Load a server from another process, to the end.

    :raises RuntimeError: an answer was an error: then the rate means nothing.
    """
    return ended_load(begun_load(port, traffic, connections, seconds, *more))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
