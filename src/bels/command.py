"""What every command has in common: its exit status, the sentence that says why it cannot go on, its loop, an open supplier."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bels import rebuilding
from bels.app import Bels, opened
from bels.progress import progress
from bels.projections import overview
from bels.publishing import install_rulebook
from bels.settings import Settings

DONE, PARTLY, NOTHING_DONE, INTERRUPTED = 0, 1, 2, 130

ENVIRONMENT = """\
environment:
  BELS_DATA_DIR      folder of the PostgreSQL that comes with bels (default .bels)
  BELS_DATABASE_URL  another PostgreSQL >= 15 instead: postgresql://user@host/database
  BELS_MASTER_KEY_FILE    the key that wraps all keys of what is personal (bels key new FILE)
  BELS_MASTER_KEY_TRANSIT, BELS_MASTER_KEY_TOKEN_FILE  a key in a key service instead
  BELS_HOST, BELS_PORT, BELS_SETTLEMENT; all of them: README

exit status: 0 everything is done, 1 some of it is not (each case is said), 2 nothing was done, 130 stopped by Ctrl-C
"""


class CliError(Exception):
    """The command cannot be carried out; the sentence says why and what to do."""

    def __init__(self, sentence: str, status: int = NOTHING_DONE) -> None:
        super().__init__(sentence)
        self.status = status


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a command in uvloop; SIGTERM stops it as Ctrl-C does, which leaves everything in order."""
    import uvloop

    async def stoppable() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(task.cancel))
        return await main

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(stoppable())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def settings_given() -> Settings:
    """Read the environment.

    :raises SettingsError: a variable cannot be used.
    """
    return Settings.from_environment(os.environ)


@asynccontextmanager
async def ready(settings: Settings) -> AsyncIterator[Bels]:
    """Open bels with all its views told."""
    async with opened(settings) as bels:
        if bels.stale:
            print(f"Views are told again from the journal: {', '.join(bels.stale)}", file=sys.stderr)
            await retell(bels)
            await install_rulebook(bels.pool, bels.intake)
        yield bels


async def retell(bels: Bels) -> tuple[int, int]:
    """Tell all views again; count accounts and entries."""
    async with bels.pool.acquire() as db:
        streams = await overview.count_streams(db)
    with progress("rebuild", streams, "accounts") as bar:
        _, entries = await rebuilding.rebuild(bels, streams, bar)
    async with bels.pool.acquire() as db:
        return await overview.count(db), entries


def account_given(text: str) -> str:
    """Give an account as it was typed.

    :raises CliError: it has not seven digits.
    """
    if not (len(text) == 7 and text.isascii() and text.isdigit()):
        raise CliError(f"an account has exactly seven digits, {text[:40]!r} has not")
    return text


def text_of(path: Path) -> str:
    """Read a file.

    :raises CliError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise CliError(f"{path} cannot be read ({error.strerror})") from error
