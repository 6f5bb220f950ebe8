"""``bels audit export``: the trail over all accounts as a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

from bels.access.access_log import record_read
from bels.access.callers import EVERYTHING, Caller, Kind
from bels.app import Bels
from bels.audit.trail.export import ExportForm, Piece, exported
from bels.audit.trail.finding import TooWideError, TrailFilter
from bels.audit.trail.telling import PAGE, Told, index_trail, told_so_far
from bels.audit.trail.wanted import FilterError, read_filter
from bels.command import DONE, PARTLY, CliError, ready, run, settings_given
from bels.domain.terms import Channel

EXPORT_HELP = """\
Writes the entries of all accounts that are searched for, oldest first: JSON Lines with every event, or CSV for a spreadsheet.
The last line says that the file is whole and how many entries it has. What was exported stands in the record of reading.

exit status: 0 it is written, 1 newer entries are not in it yet (how many is said), 2 nothing was written
"""

BY = Caller(Kind.LOCAL, "command", EVERYTHING, Channel.OFFICE, "command")
"""Who exports, in the record of reading: whoever types commands at the server."""

_OPTIONS = (
    ("kind", "KIND", "only this event, for example PaymentReversed; may be given again"),
    ("channel", "CHANNEL", "only what came so; may be given again"),
    ("actor", "ACTOR", "only what this one brought"),
    ("rule", "RULE", "only what rests on it, for example PP354:62"),
    ("since", "DAY|MOMENT", "recorded from this day of Moscow or moment (ISO 8601 with offset) on"),
    ("until", "DAY|MOMENT", "recorded before this day or moment"),
    ("period", "PERIOD", "only about this month, YYYY-MM"),
    ("amountMin", "ROUBLES", "only sums from this on"),
    ("amountMax", "ROUBLES", "only sums up to this"),
    ("account", "ACCOUNT", "only of this account"),
    ("receipt", "RECEIPT", "only of the message with this receipt"),
)


_TYPED = {"amountMin": "amount-min", "amountMax": "amount-max"}
"""Names that are written otherwise on a command line."""


def add(what: Any) -> None:
    """Add ``bels audit export``."""
    export = what.add_parser(
        "export",
        help="Write the trail over all accounts as a file",
        description=EXPORT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, shown, help_text in _OPTIONS:
        export.add_argument(f"--{_TYPED.get(name, name)}", dest=name, action="append", metavar=shown, help=help_text)
    export.add_argument("--format", choices=[form.value for form in ExportForm], default="jsonl", help="default jsonl")
    export.add_argument("--out", type=Path, metavar="FILE", help="write here (default: the standard output)")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    given = {name: values for name, _, _ in _OPTIONS if (values := getattr(arguments, name)) is not None}
    try:
        wanted = read_filter(given)
    except FilterError as error:
        sentence = str(error)
        for name, typed in _TYPED.items():
            sentence = sentence.replace(name, f"--{typed}")
        raise CliError(sentence) from error
    form, out = ExportForm(arguments.format), arguments.out

    async def running() -> int:
        async with ready(settings_given()) as bels:
            told = await _told(bels)
            await record_read(bels.pool, BY, "", [" ".join(["trail.export", form.value, *wanted.said()])], [])
            try:
                count = await _write(bels, wanted, form, told, out)
            except TooWideError as error:
                raise CliError(str(error)) from error
            await record_read(bels.pool, BY, "", [f"trail.exported entries={count} whole"], [])
        print(f"{count} entries.", file=sys.stderr)
        if told.behind:
            print(f"At most {told.behind} newer entries are not in it: run it again.", file=sys.stderr)
        return PARTLY if told.behind else DONE

    return run(running())


async def _told(bels: Bels) -> Told:
    """Tell the index all that is missing, in turns, as far as writers let it."""
    while await index_trail(bels.pool) >= PAGE:
        pass
    async with bels.pool.acquire() as db:
        return await told_so_far(db)


async def _write(bels: Bels, wanted: TrailFilter, form: ExportForm, told: Told, out: Path | None) -> int:
    """Write the file, beside its place first: one that was cut is not taken for a whole one; count its entries."""
    pieces = exported(bels.pool, wanted, form, told)
    if out is None:
        return await _pour(bels, pieces, sys.stdout.buffer)
    beside = out.with_name(f".{out.name}.part")
    try:
        try:
            with beside.open("wb") as file:
                count = await _pour(bels, pieces, file)
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CliError(f"{out} cannot be written ({error.strerror})") from error
    return count


async def _pour(bels: Bels, pieces: AsyncGenerator[Piece, None], file: IO[bytes]) -> int:
    count = 0
    async with aclosing(pieces):
        async for piece in pieces:
            if piece.accounts:
                await record_read(bels.pool, BY, "", ["trail.export"], piece.accounts)
            file.write(piece.text.encode())
            count += piece.entries
    file.flush()
    return count
