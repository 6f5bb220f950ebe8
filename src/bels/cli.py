"""The commands that a person types: parsing and printing, nothing more."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from bels import closing, importing, serving
from bels.access.master_key import MasterKeyError
from bels.access.vault import VaultError
from bels.app import AppError, opened, settle_as_asked
from bels.command import (
    DONE,
    ENVIRONMENT,
    INTERRUPTED,
    NOTHING_DONE,
    PARTLY,
    CliError,
    ready,
    retell,
    run,
    settings_given,
    text_of,
)
from bels.commands_of_access import add_client, add_user
from bels.commands_of_audit import add_audit
from bels.commands_of_channels import add_voice
from bels.commands_of_keys import add_key
from bels.commands_of_money import add_bill, add_rulebook, add_statement, publish_text
from bels.commands_of_outgoing import add_deliver, add_remind
from bels.commands_of_partners import add_charges, add_exchange, add_gis, add_partners, add_registers
from bels.demo import load as demo
from bels.domain.periods import over_at, period
from bels.domain.terms import Period
from bels.embedded import EmbeddedPostgresError
from bels.import_files import ACCOUNT_COLUMNS, READING_COLUMNS, ImportFileError
from bels.intake import utc_now
from bels.messages import TryLater
from bels.observing.logs import set_up_logging
from bels.progress import progress
from bels.projections import overview
from bels.publishing import publish_demonstration
from bels.sandbox.store import SandboxError, refuse_sandbox
from bels.settings import SETTLEMENTS, Settings, SettingsError

IMPORT_HELP = f"""\
Feeds the messages of every account in order of time and closes each of its periods at its end.

accounts.csv: {",".join(ACCOUNT_COLUMNS)}
  1000101,2024-03-22,urban,gas,2,3,M1000101,5,half_peak|night|peak,14124|13047|5795
  registers: total, day|night or half_peak|night|peak, in any order; initial in the same order.
  The account is opened and its meter installed on opened_on at 12:00 Moscow time.

readings.csv: {",".join(READING_COLUMNS)}
  1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887
  received_at has an offset; values are in the order of the account's registers. Rows may come in any order.

Both are UTF-8 with commas. A row that cannot be imported is written with its line number and reason to
accounts.csv.rejects.csv or readings.csv.rejects.csv beside the file (written anew by every run, removed when nothing
is wrong); so is a reading that bels refuses. All other rows are imported.

Every period that was over when the last reading of the file was received is closed, for the accounts that the files
name; --close-through closes exactly through a period, which must be over by now.

Periods are charged by the rulebook in force; where none of an operator is, by the demonstration rulebook, or by --rulebook
FILE. An account stops at the first period whose rate is not known (NO_TARIFF); when it is published, bels close goes on.

An import that was stopped is run again: the same row is the same message and is stored once, closed periods stay
closed. A different row for an account that exists is a rejected row.
"""


def main() -> NoReturn:
    """Run the command that was typed and leave with its exit status."""
    arguments = _parser().parse_args()
    try:
        sys.exit(arguments.run(arguments))
    except KeyboardInterrupt:
        _complain("stopped; run the same command again to go on")
        sys.exit(INTERRUPTED)
    except CliError as error:
        _complain(str(error))
        sys.exit(error.status)
    except (SettingsError, ImportFileError, SandboxError) as error:
        _complain(str(error))
        sys.exit(NOTHING_DONE)
    except (AppError, EmbeddedPostgresError, VaultError) as error:
        _complain(str(error))
        sys.exit(PARTLY)
    except MasterKeyError as error:
        _complain(f"{error}. Look at BELS_MASTER_KEY_FILE: it must name the key that this database was filled with")
        sys.exit(PARTLY)
    except TryLater as error:
        _complain(f"the database cannot be reached ({error}); run the same command again to go on")
        sys.exit(PARTLY)
    except BrokenPipeError:
        # Whoever reads us has enough. The interpreter must not find out again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PARTLY)


def _complain(sentence: str) -> None:
    print(f"bels: {sentence}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="bels",
        description="bels: the system of record of a household electricity supplier.",
        epilog=ENVIRONMENT,
        formatter_class=form,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, summary: str, run: Callable[[argparse.Namespace], int] | None, text: str = "") -> Any:
        added = commands.add_parser(
            name, help=summary, description=text or f"{summary}.", epilog=ENVIRONMENT, formatter_class=form
        )
        added.set_defaults(run=run)
        return added

    serve = command("serve", "Serve GraphQL, the channels, bills and tokens", _serve)
    serve.add_argument(
        "--host", help="address to listen on, outside loopback only with a master key (default BELS_HOST or 127.0.0.1)"
    )
    serve.add_argument("--port", type=_whole(1, 65_535), help="port to listen on (default BELS_PORT or 8000)")
    serve.add_argument(
        "--local", action="store_true", help="loopback only: whoever asks without a credential may do everything"
    )
    serve.add_argument("--demo", action="store_true", help="load the demonstration town first if there are no accounts")
    serve.add_argument(
        "--sandbox", action="store_true", help="invented accounts for partners to try on, in a folder of their own"
    )
    serve.add_argument("--fresh", action="store_true", help="with --sandbox: begin it anew")
    command("install", "Make or upgrade the database", _install)
    imported = command("import", "Import accounts and readings from CSV files", _import, IMPORT_HELP)
    imported.add_argument("accounts", type=Path, metavar="accounts.csv")
    imported.add_argument("readings", type=Path, metavar="readings.csv")
    imported.add_argument(
        "--close-through", type=_period, metavar="YYYY-MM", help="close every period through this one"
    )
    imported.add_argument(
        "--settlement",
        choices=SETTLEMENTS,
        help="how a reading after missed periods puts the estimates right (default BELS_SETTLEMENT, or as published)",
    )
    imported.add_argument(
        "--rulebook",
        type=Path,
        metavar="FILE",
        help="publish these tariffs first (default: the demonstration rulebook, unless an operator has published one)",
    )
    close = command("close", "Close every open period of every account through PERIOD", _close)
    close.add_argument("period", type=_period, metavar="PERIOD", help="the last period to close, YYYY-MM")
    close.add_argument("--dry-run", action="store_true", help="only say what it would post; nothing is stored")
    add_statement(command)
    add_bill(command, _period)
    add_rulebook(command)
    add_user(command)
    add_client(command)
    add_key(command)
    add_voice(command)
    add_deliver(command)
    add_remind(command)
    add_registers(command)
    add_charges(command, _period)
    add_gis(command, _period)
    add_exchange(command)
    add_partners(command)
    add_audit(command)
    command("rebuild", "Tell all views again from the journal, while bels serves", _rebuild)
    town = command("demo", "Load the demonstration town into an empty database", _demo)
    town.add_argument(
        "--accounts", type=_whole(1, 100_000), default=demo.ACCOUNTS, help=f"how many (default {demo.ACCOUNTS})"
    )
    town.add_argument("--months", type=_whole(2, 120), default=demo.MONTHS, help=f"of history (default {demo.MONTHS})")
    town.add_argument("--seed", type=int, default=demo.SEED, help=f"of the town's chance (default {demo.SEED})")
    town.add_argument("--list", action="store_true", help="list the accounts to try, with their situations")
    schema = command("schema", "Print the GraphQL schema", _schema)
    schema.add_argument("--check", action="store_true", help="compare it with the schema file instead")
    return parser


def _period(text: str) -> Period:
    try:
        return period(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def _must_be_over(period: Period) -> None:
    end = over_at(period)
    if end > utc_now():
        raise CliError(f"{period} is not over: it can be closed from {end:%Y-%m-%d %H:%M} Moscow time")


def _serve(arguments: argparse.Namespace) -> int:
    settings = settings_given()
    set_up_logging("json" if settings.log == "json" else "text", sys.stderr)
    if arguments.sandbox:
        return _serve_sandbox(arguments, settings)
    if arguments.fresh:
        raise CliError("--fresh empties a sandbox: it goes with --sandbox alone")
    settings, listening = _listening(arguments, settings)

    async def running() -> int:
        async with ready(settings) as bels:
            await refuse_sandbox(bels.pool)
            await settle_as_asked(bels)
            if arguments.demo:
                print((await demo.load(bels, demo.ACCOUNTS, demo.MONTHS, demo.SEED)).said, flush=True)
            await serving.serve(
                bels,
                listening,
                lambda url: print(serving.greeting(url, demo=arguments.demo, local=arguments.local), flush=True),
                local=arguments.local,
            )
        return DONE

    with listening:
        return run(running())


def _listening(arguments: argparse.Namespace, settings: Settings) -> tuple[Settings, socket.socket]:
    """Take the port that was asked for.

    :raises CliError: it cannot be taken.
    """
    settings = replace(settings, host=arguments.host or settings.host, port=arguments.port or settings.port)
    try:
        has_key = settings.master_key_file is not None or settings.master_key_transit is not None
        return settings, serving.bound(settings.host, settings.port, local=arguments.local, has_master_key=has_key)
    except serving.ListenError as error:
        raise CliError(str(error)) from error


def _serve_sandbox(arguments: argparse.Namespace, settings: Settings) -> int:
    from bels.sandbox import serving as sandbox
    from bels.sandbox.watching import watched

    if arguments.local or arguments.demo:
        raise CliError("a sandbox asks for credentials and has its own accounts: leave --local and --demo out")
    settings, listening = _listening(arguments, sandbox.settings_of_sandbox(settings))

    async def running() -> int:
        if arguments.fresh:
            await sandbox.begin_afresh(settings)
        async with sandbox.opened_sandbox(settings) as (bels, room):
            await serving.serve(
                bels,
                listening,
                lambda url: print(sandbox.greeting(url, room), flush=True),
                around=lambda app, door: watched(app, room, door),
            )
        return DONE

    with listening:
        return run(running())


def _install(arguments: argparse.Namespace) -> int:
    async def running() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            print(f"The database is installed; it has {await overview.count(db):,} accounts.")
        return DONE

    return run(running())


def _import(arguments: argparse.Namespace) -> int:
    settings = settings_given()
    if arguments.close_through is not None:
        _must_be_over(arguments.close_through)
    settings = replace(settings, settlement=arguments.settlement or settings.settlement)
    text = text_of(arguments.rulebook) if arguments.rulebook is not None else None
    job = importing.Import(arguments.accounts, arguments.readings, utc_now())

    async def running() -> int:
        through = arguments.close_through or job.default_close_through()
        async with ready(settings) as bels:
            await settle_as_asked(bels)
            if text is not None:
                await publish_text(bels, text, str(arguments.rulebook))
            else:
                await publish_demonstration(bels.pool, bels.intake)
            with progress("import", job.count(), "accounts") as bar:
                await job.store(bels, through, bar)
        return DONE

    try:
        with progress("check", job.readings.size, "bytes") as bar:
            job.check(bar)
        run(running())
    finally:
        job.close()
    print("\n".join(job.done.summary()))
    for rejects in (job.accounts.rejects, job.readings.rejects):
        if len(rejects):
            print(f"Rows not imported: {len(rejects):,}, see {rejects.path}")
    wrong = len(job.accounts.rejects) + len(job.readings.rejects) + job.done.closed.refusals.total()
    return PARTLY if wrong else DONE


def _close(arguments: argparse.Namespace) -> int:
    _must_be_over(arguments.period)

    async def running() -> int:
        async with ready(settings_given()) as bels:
            if not arguments.dry_run:
                await settle_as_asked(bels)
            async with bels.pool.acquire() as db:
                count = await overview.count_to_close(db, arguments.period)
            work = closing.preview_through if arguments.dry_run else closing.close_through
            with progress("count" if arguments.dry_run else "close", count, "accounts") as bar:
                closed = await work(bels, arguments.period, count, bar)
        if arguments.dry_run:
            print("This is what the closing would lead to; nothing is stored (--dry-run).")
        print(f"Accounts with periods to close: {closed.accounts:,}")
        print("\n".join([*closed.summary(), *closed.listing()]))
        return PARTLY if closed.refusals else DONE

    return run(running())


def _rebuild(arguments: argparse.Namespace) -> int:
    async def running() -> int:
        async with opened(settings_given()) as bels:
            accounts, entries = await retell(bels)
        print(f"All views are told again: {entries:,} entries of {accounts:,} accounts.")
        return DONE

    return run(running())


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.list:
        print(demo.listing())
        return DONE

    async def running() -> int:
        async with ready(settings_given()) as bels:
            await settle_as_asked(bels)
            loaded = await demo.load(bels, arguments.accounts, arguments.months, arguments.seed)
        if not loaded.ours:
            raise CliError(f"{loaded.said} Nothing is loaded: set BELS_DATA_DIR to another folder.")
        print(loaded.said)
        return DONE

    return run(running())


def _schema(arguments: argparse.Namespace) -> int:
    from bels.api.schema import sdl

    told = sdl()
    if not arguments.check:
        sys.stdout.write(told)
        return DONE
    path = Path(__file__).parent / "api" / "schema.graphql"
    if not path.is_file() or path.read_text(encoding="utf-8") != told:
        raise CliError(f"{path} is not the schema of this code; write it anew: make schema", PARTLY)
    return DONE
