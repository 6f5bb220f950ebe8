"""The commands about the master key: `bels key new`, `bels key rewrap`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bels.access import acts, master_key
from bels.access.acts import Act
from bels.access.callers import LOCAL
from bels.access.master_key import MasterKeyError
from bels.command import DONE, CliError, ready, run, settings_given

KEY_HELP = """\
The master key wraps the keys of all personal data. Whoever loses it loses the data for ever; whoever learns it, and has the
database, reads them: keep a copy of its file apart from the backups of the database.

To change it, without a break:
  bels key new --add FILE    puts a new key before the others: it wraps from now on, the others still unwrap
                             (start every server anew)
  bels key rewrap            wraps all keys by the new one
                             (take the old line out of FILE, start every server anew)
To move into a key service, set BELS_MASTER_KEY_TRANSIT beside BELS_MASTER_KEY_FILE, start every server anew, rewrap, take
BELS_MASTER_KEY_FILE away.
"""


def add_key(command: Callable[..., Any]) -> None:
    """Add ``bels key`` with what can be done to it."""
    key = command("key", "Make a master key, and wrap all keys by it", None, KEY_HELP)
    what = key.add_subparsers(title="what to do", metavar="new|rewrap", required=True)

    def part(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> Any:
        added = what.add_parser(name, help=summary, description=f"{summary}.")
        added.set_defaults(run=run)
        return added

    new = part("new", "Write a new master key to a file that only its owner can read", _new)
    new.add_argument("file", type=Path, metavar="FILE")
    new.add_argument("--add", action="store_true", help="put it before the keys of a file that is there")
    rewrapped = part("rewrap", "Wrap by the master key of today what another one wraps", _rewrap)
    rewrapped.add_argument(
        "--all", action="store_true", help="also what it wraps itself: before a key service forgets old versions of it"
    )


def _new(arguments: argparse.Namespace) -> int:
    path = arguments.file
    try:
        name = master_key.add_new(path) if arguments.add else master_key.write_new(path)
    except MasterKeyError as error:
        raise CliError(str(error)) from error
    print(f"The master key {name} is in {path}; keep a copy apart from the backups of the database.")
    if arguments.add:
        print("Now start every server anew, then: bels key rewrap")
    else:
        print(f"Servers take it from there: BELS_MASTER_KEY_FILE={path.absolute()}")
    return DONE


def _rewrap(arguments: argparse.Namespace) -> int:
    async def rewrapping() -> int:
        async with ready(settings_given()) as bels:
            try:
                count = await bels.vault.rewrap(everything=arguments.all)
            except MasterKeyError as error:
                raise CliError(
                    f"{error}. What was wrapped before stays so; begin again when this is put right."
                ) from error
            name = bels.vault.master
            if count:
                async with bels.pool.acquire() as db:
                    await acts.record(
                        db, Act.MASTER_KEY_CHANGED, by=LOCAL.subject, subject=name, reason=f"{count} keys"
                    )
        print(f"Keys wrapped by {name}: {count:,}.")
        return DONE

    return run(rewrapping())
