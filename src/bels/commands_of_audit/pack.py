"""``bels audit pack``."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from bels.access.access_log import record_read
from bels.access.callers import LOCAL
from bels.access.master_key import MasterKeyError
from bels.access.vault import VaultError
from bels.app import door_of
from bels.command import DONE, CliError, account_given, ready, run, settings_given
from bels.reception.counter import Counter

HELP = """\
Writes all that the account's history rests on as one signed zip (docs/evidence.md): entries, proofs, messages, explanations, a page
to read and print. It is recorded as a read of the account. verify_evidence.py judges the file anywhere, without bels.

exit status: 0 it is written, 1 the database or the key cannot be used, 2 nothing was written
"""


def add(what: Any) -> None:
    """Add ``bels audit pack``."""
    pack = what.add_parser(
        "pack",
        help="Write the evidence of an account",
        description="Write the evidence of an account.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pack.add_argument("account", metavar="ACCOUNT", nargs="?", help="its seven digits")
    pack.add_argument("--personal", action="store_true", help="with names, words and photos (default: masked)")
    pack.add_argument(
        "--seal",
        type=_number,
        action="append",
        default=[],
        metavar="N",
        help="prove by this seal, too; may be repeated",
    )
    pack.add_argument("--out", type=Path, metavar="FILE", help="where to (default: evidence-ACCOUNT.zip here)")
    pack.add_argument(
        "--verifier", type=Path, metavar="FILE", help="write the program that judges packs, too, or alone"
    )
    pack.set_defaults(run=_pack)


def _pack(arguments: argparse.Namespace) -> int:
    from bels.audit.evidence.archive import PackTooLarge
    from bels.audit.evidence.pack import Asked, PackError, write_pack
    from bels.audit.evidence.timeline import COMMAND

    if arguments.verifier is not None:
        _write_verifier(arguments.verifier)
        if arguments.account is None:
            return DONE
    if arguments.account is None:
        raise CliError("name the ACCOUNT whose evidence is wanted, or --verifier FILE")
    account = account_given(arguments.account)
    path: Path = arguments.out or Path(f"evidence-{account}.zip")
    settings = settings_given()

    async def running() -> int:
        async with ready(settings) as bels:
            counter = Counter(bels.pool, bels.intake, await door_of(bels, local=False))
            asked = Asked(account, COMMAND, arguments.personal, tuple(arguments.seal))
            await record_read(bels.pool, replace(LOCAL, subject=COMMAND), "", [asked.recorded], [account])
            # A file half written must not look like a pack, and what is personal is for its owner alone.
            unfinished = path.with_name(f"{path.name}.part")
            try:
                with _private(unfinished) as file:
                    size = await write_pack(counter, asked, file)
                unfinished.replace(path)
            except (PackError, PackTooLarge, VaultError, MasterKeyError) as error:
                raise CliError(str(error)) from error
            except OSError as error:
                raise CliError(f"{path} cannot be written ({error.strerror})") from error
            finally:
                unfinished.unlink(missing_ok=True)
        print(f"{path}: {size:,} bytes, personal data {'included' if arguments.personal else 'masked'}")
        return DONE

    return run(running())


def _write_verifier(path: Path) -> None:
    from bels.audit.evidence.explanations import verifier_source

    try:
        path.write_text(verifier_source(), "utf-8")
    except OSError as error:
        raise CliError(f"{path} cannot be written ({error.strerror})") from error
    print(f"{path}: needs Python 3.9 or later and the package cryptography")


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a seal")
    return int(text)
