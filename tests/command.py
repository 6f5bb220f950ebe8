"""The command line as tests use it: ``bels`` in a process of its own, and the views as they can be compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from bels.projections.project import VIEWS

BELS = Path(sys.executable).parent / "bels"
COMMAND_WAIT_S = 120

NOT_COMPARED = {"receipt", "recorded_at", "changed_at"}
"""What differs between two runs of the same history: when it was recorded, and the receipt drawn for it."""


def environment(database: str | None = None, data_dir: Path | None = None) -> dict[str, str]:
    """Give the environment of a command: a database by URL, or the embedded one in a folder."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("BELS_")}
    if database is not None:
        given["BELS_DATABASE_URL"] = database
    if data_dir is not None:
        given["BELS_DATA_DIR"] = str(data_dir)
    return given


def bels(*arguments: str | Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``bels`` to its end."""
    return subprocess.run(
        [BELS, *arguments], env=dict(env), capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False
    )


def statement_of(account: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Ask ``bels statement --json``."""
    said = bels("statement", account, "--json", env=env)
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout))


async def views(url: str, without: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Give the rows of every view, in one order."""
    db = await asyncpg.connect(url)
    try:
        told = {}
        for view in VIEWS:
            for table in view.TABLES:
                rows = [dict(row) for row in await db.fetch(f"SELECT * FROM {table}")]
                for row in rows:
                    for name in without:
                        row.pop(name, None)
                told[table] = sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))
        return told
    finally:
        await db.close()


async def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    db = await asyncpg.connect(url)
    try:
        return [tuple(row.values()) for row in await db.fetch(query)]
    finally:
        await db.close()
