"""Clients and public audits of GraphQL, each real, against a running bels. `deploy/peers.sh` installs them.

The clients of npm (``*.mjs``, one a client) and of PyPI (``*_journey.py``) go the same journey and print what they were told.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.peers import need
from tests.servers import ROOT

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
SCHEMA = ROOT / "src" / "bels" / "api" / "schema.graphql"
RUN_WAIT_S = 60.0


def tool(name: str) -> str:
    """Name a program that came from npm."""
    return str(MODULES / ".bin" / name)


def python(environment: str, program: str = "python") -> str:
    """Name a program of a Python environment of peers: ``clients`` or ``codegen``."""
    return str(ROOT / ".venv-peers" / environment / "bin" / program)


def need_npm() -> None:
    """Skip, or fail, without the packages of npm."""
    need(
        "node", tool("tsc"), tool("relay-compiler"), packages="nodejs npm, with Node 20 or newer, and then `make peers`"
    )


def need_python(environment: str) -> None:
    """Skip, or fail, without a Python environment of peers."""
    need(python(environment), packages="python3-venv, and then `make peers`")


def run(*command: str, cwd: Path = HERE, wait_s: float = RUN_WAIT_S, **environment: str) -> str:
    """Run a program to its end and give what it printed.

    :raises AssertionError: it failed; the sentence holds what it said.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=wait_s,
    )
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def told(*command: str, cwd: Path = HERE, wait_s: float = RUN_WAIT_S, **environment: str) -> Any:
    """Run a program that prints one JSON value, and give it."""
    return json.loads(run(*command, cwd=cwd, wait_s=wait_s, **environment))


def workplace(folder: Path, name: str, written: Mapping[str, str] | None = None) -> Path:
    """Lay out a scratch folder for a generator: its sources, our schema and documents, and the packages of npm."""
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True)
    shutil.copy(SCHEMA, folder / "schema.graphql")
    shutil.copy(HERE / "documents.graphql", folder)
    for path, text in (written or {}).items():
        (folder / path).write_text(text, "utf-8")
    (folder / "node_modules").symlink_to(MODULES)
    return folder
