"""``bels audit seal``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bels.command import DONE, PARTLY, CliError, ready, run, settings_given

SEAL_HELP = """\
Follows what was added since the last seal, gathers the heads of all accounts into a tree, and signs its root. Keep the seals
elsewhere: a copy that nobody here can reach proves for ever what the journal was.

exit status: 0 sealed, 1 sealed with faults (each account is named), 2 nothing was sealed
"""


def add(what: Any) -> None:
    """Add ``bels audit seal``."""
    seal = what.add_parser(
        "seal",
        help="Seal the journal",
        description="Seal the journal.",
        epilog=SEAL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    seal.add_argument("--new-key", action="store_true", help="draw a new key first: it signs from now on")
    seal.add_argument(
        "--into", type=Path, metavar="DIR", help="write the seals that are not there yet into a folder (BELS_SEALS)"
    )
    seal.add_argument(
        "--heads",
        type=Path,
        metavar="DIR",
        help="write the heads of this seal into a folder: by them an account is named",
    )
    seal.set_defaults(run=_seal)


def _seal(arguments: argparse.Namespace) -> int:
    from bels.audit.seals.keys import new_key
    from bels.audit.seals.publishing import publish_files
    from bels.audit.seals.sealing import SealingError, seal_journal
    from bels.audit.seals.statement import SealError
    from bels.audit.verifying.heads_file import HeadsError, write_heads

    settings = settings_given()

    async def running() -> int:
        async with ready(settings) as bels:
            now = bels.intake.clock()
            if arguments.new_key:
                key = await new_key(bels.pool, bels.vault, now)
                print(f"The key {key} signs from now on; keep its public half, too: /seals/keys.json")
            try:
                seal = await seal_journal(bels.pool, bels.vault, now)
            except (SealingError, SealError) as error:
                raise CliError(f"nothing was sealed: {error}") from error
            print(f"Seal {seal.number}: {seal.accounts:,} streams, {seal.entries:,} entries, signed by {seal.key}.")
            print(f"heads {seal.heads.hex()}")
            print(f"log   {seal.log.hex()}")
            if arguments.heads is not None:
                try:
                    async with bels.pool.acquire() as db:
                        print(f"Written: {await write_heads(db, seal, arguments.heads)}")
                except (HeadsError, OSError) as error:
                    raise CliError(f"the heads are not written: {error}", PARTLY) from error
            different: tuple[int, ...] = ()
            folder = arguments.into or settings.audit.seals
            if folder is not None:
                try:
                    done = await publish_files(bels.pool, folder)
                except OSError as error:
                    raise CliError(f"{folder} cannot be written to ({error.strerror})", PARTLY) from error
                print(f"Written into {folder}: {len(done.written)}.")
                different = done.different
        for fault in seal.faults:
            print(f"FAULT: {fault}: what stands there is not what was sealed; look at it by: bels audit verify")
        for number in different:
            print(f"FAULT: the file of seal {number} is not the seal in the database")
        return PARTLY if seal.faults or different else DONE

    return run(running())
