"""The commands about the channels: `bels voice prompts`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bels.command import DONE, PARTLY, CliError

PROMPTS_HELP = """\
The recordings of the voice menu: one WAV file each (8000 Hz, mono, 16 bits), named by its id, in a folder that
Asterisk and bels see under the same path (BELS_PROMPTS). prompts.csv beside them says which words were recorded.

  bels voice prompts --list           prints id and words of each, as CSV, for the studio; it is also prompts.csv
  bels voice prompts DIR --speak      makes those that are missing or whose words have changed with espeak-ng
  bels voice prompts --check DIR      says what is missing, of a wrong format or recorded with other words
"""


def add_voice(command: Callable[..., Any]) -> None:
    """Add ``bels voice prompts``."""
    voice = command("voice", "List, make and check the recordings of the voice menu", None, PROMPTS_HELP)
    what = voice.add_subparsers(title="what to do", metavar="prompts", required=True)
    added = what.add_parser(
        "prompts",
        help="the recordings",
        description=PROMPTS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=_prompts)
    added.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="the folder to speak into")
    added.add_argument("--list", action="store_true", help="print id and words of every recording")
    added.add_argument("--speak", action="store_true", help="make what DIR lacks with espeak-ng")
    added.add_argument("--check", type=Path, metavar="DIR", help="say what is wrong in DIR")


def _prompts(arguments: argparse.Namespace) -> int:
    from bels.channels import prompts

    if [arguments.list, arguments.speak, arguments.check is not None].count(True) != 1:
        raise CliError("say one of --list, DIR --speak, --check DIR")
    if arguments.speak != (arguments.folder is not None):
        raise CliError("--speak needs the folder to speak into, and only it")
    if arguments.list:
        csv.writer(sys.stdout, lineterminator="\n").writerows(prompts.manifest().items())
        return DONE
    if arguments.speak:
        try:
            made = prompts.speak(arguments.folder)
        except (prompts.PromptsError, OSError) as error:
            raise CliError(str(error), PARTLY) from error
        print(f"Recordings made: {made}, of {len(prompts.manifest())}.")
        return DONE
    faults = prompts.wrong(arguments.check)
    print("\n".join(faults) if faults else f"All {len(prompts.manifest())} recordings are there.")
    return PARTLY if faults else DONE
