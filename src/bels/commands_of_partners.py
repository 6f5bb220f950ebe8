"""What a person types about partners: registers, charges sent out, files exchanged, contracts checked."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bels.app import Bels, door_of
from bels.collector import settled
from bels.command import DONE, PARTLY, CliError, ready, run, settings_given
from bels.domain.periods import moscow_date, shift
from bels.domain.terms import Period
from bels.observing.logs import set_up_logging
from bels.payments.partners import Partner, Partners, PartnersError, read_partners
from bels.payments.till import Till
from bels.reception.counter import Counter
from bels.settings import Settings

LISTED = 20
LISTED_MAX = 1_000

EXCHANGE_HELP = """\
Exchanges files with banks until it is stopped: serves SFTP to those who push, looks at the servers of those who do not, takes
what lies in the folders, writes charges on the day that is agreed. Any number of these may run, beside servers: one of them
does all but SFTP at a time.

  BELS_PARTNERS                      the contracts: tables exchange, registers and charges of each partner
  BELS_EXCHANGE                      the folder of their files: NAME/in, NAME/out, NAME/failed
  BELS_SFTP, BELS_SFTP_HOST_KEY      where we listen (127.0.0.1:2022), and our key: ssh-keygen -t ed25519 -N '' -f FILE
"""

REGISTERS_HELP = """\
A register is taken whole or not at all: where its totals do not match it waits in quarantine, a bad row waits alone. The same
file again, under any name, changes nothing.
"""

GIS_HELP = """\
Writes importMeteringDeviceValuesRequest documents of at most 1000 values; a program with the keys of ГОСТ signs and sends them.
The table of devices says how ГИС ЖКХ names each meter; readings of others are counted and named, and the command ends with 1.
"""

BY = "command"


def add_registers(command: Callable[..., Any]) -> None:
    """Add ``bels registers``."""
    registers = command("registers", "Take registers of payments, list those that came", None, REGISTERS_HELP)
    what = registers.add_subparsers(title="what to do", metavar="take|list", required=True)
    take = what.add_parser("take", help="take a file", description="Take a file.")
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument("--partner", required=True, metavar="NAME", help="whose it is, as BELS_PARTNERS names it")
    take.add_argument("--layout", metavar="NAME", help="which of its registers (default: as the file's name says)")
    take.set_defaults(run=_take)
    listed = what.add_parser("list", help="list the last files", description="List the last files.")
    listed.add_argument("--partner", metavar="NAME", help="of this partner only")
    listed.add_argument("--last", type=_count, default=LISTED, metavar="N", help=f"how many (default {LISTED})")
    listed.set_defaults(run=_list)


def add_charges(command: Callable[..., Any], period: Callable[[str], Period]) -> None:
    """Add ``bels charges``."""
    charges = command("charges", "Write what households owe as a file for a bank", None)
    what = charges.add_subparsers(title="what to do", metavar="write", required=True)
    write = what.add_parser("write", help="write the file into a folder", description="Write the file into a folder.")
    write.add_argument("folder", type=Path, metavar="DIR")
    write.add_argument("--partner", required=True, metavar="NAME", help="for whom, as BELS_PARTNERS names it")
    write.add_argument("--period", type=period, metavar="YYYY-MM", help="of which month (default: the month before)")
    write.set_defaults(run=_write)


def add_exchange(command: Callable[..., Any]) -> None:
    """Add ``bels exchange``."""
    exchange = command("exchange", "Exchange files with banks until stopped", _exchange, EXCHANGE_HELP)
    exchange.add_argument("--state", action="store_true", help="only say how each work stands, and what failed")


def add_partners(command: Callable[..., Any]) -> None:
    """Add ``bels partners``."""
    partners = command("partners", "Check the contracts of partners", None)
    what = partners.add_subparsers(title="what to do", metavar="check", required=True)
    check = what.add_parser("check", help="read a table of contracts", description="Read a table of contracts.")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_check)


def add_gis(command: Callable[..., Any], period: Callable[[str], Period]) -> None:
    """Add ``bels gis``."""
    gis = command("gis", "Write readings as documents for ГИС ЖКХ", None, GIS_HELP)
    what = gis.add_subparsers(title="what to do", metavar="write", required=True)
    write = what.add_parser("write", help="write the documents into a folder", description="Write the documents.")
    write.add_argument("period", type=period, metavar="PERIOD", help="for which the readings count, YYYY-MM")
    write.add_argument("folder", type=Path, metavar="DIR")
    write.add_argument(
        "--devices", type=Path, required=True, metavar="FILE", help="CSV: account,meter,root_guid[,display]"
    )
    write.set_defaults(run=_write_gis)


def read_contracts(path: Path) -> Partners:
    """Read a table of contracts with what it says of files.

    :raises PartnersError: it cannot be used.
    """
    from bels.exchanging import check_exchange

    partners = read_partners(path)
    check_exchange(partners.partners)
    return partners


def check_contracts(path: Path) -> Partners:
    """Read a table of contracts with all that every protocol says in it, and the files that it names, as a server does.

    :raises PartnersError: it cannot be used.
    """
    from bels.channels.osmp import osmp_terms
    from bels.channels.sber_eps import eps_terms
    from bels.payments.cards.contract import contract_of
    from bels.payments.exchange.contracts import exchange_of
    from bels.payments.reconciling import contracts as reconciling
    from bels.payments.registers.layout import layouts_of
    from bels.payments.webhooks import deliver as webhooks

    partners = read_contracts(path)
    for each in partners.partners:
        layouts_of(each)
        reconciling.terms_of(each)
        webhooks.terms_of(each)
        if "osmp" in each.sections:
            osmp_terms(each, path.parent)
        if "eps" in each.sections:
            eps_terms(each, path.parent)
        pull = exchange_of(each).pull
        if pull is not None and not pull.key_file.is_file():
            raise PartnersError(f"partner.{each.name}.exchange.pull.key_file: there is no {pull.key_file}")
    contract_of(partners)
    return partners


def _check(arguments: argparse.Namespace) -> int:
    try:
        partners = check_contracts(arguments.file)
    except PartnersError as error:
        raise CliError(str(error)) from error
    for each in partners.partners:
        print(f"{each.name}: {each.title}, {each.client}; {', '.join(each.sections) or 'no protocol'}")
    print(f"{arguments.file} is in order: {len(partners.partners)} partners.")
    return DONE


def _take(arguments: argparse.Namespace) -> int:
    from bels.payments.exchange.registers import take_register
    from bels.payments.registers.files import Way

    settings, partners = _partners_given()
    partner = _named(partners, arguments.partner)
    if not arguments.file.is_file():
        raise CliError(f"{arguments.file} is no file")

    async def running() -> int:
        async with ready(settings) as bels:
            till = await _till(bels, partners)
            taken = await take_register(
                till, partner, arguments.layout, arguments.file.name, arguments.file, Way.COMMAND, by=BY
            )
        print("\n".join([taken.words, *taken.problems]))
        return DONE if taken.is_in_order else PARTLY

    return run(running())


def _list(arguments: argparse.Namespace) -> int:
    from bels.payments.registers.files import list_files

    settings, partners = _partners_given()
    client = _named(partners, arguments.partner).client if arguments.partner is not None else None

    async def running() -> int:
        async with ready(settings) as bels:
            till = await _till(bels, partners)
            async with bels.pool.acquire() as db:
                found = await list_files(db, client, None, None, None, arguments.last)
            for each in found:
                name = till.counter.door.raw_texts.opened(each.name)
                fault = f" {each.fault}" if each.fault is not None else ""
                print(
                    f"{each.file:>6} {moscow_date(each.received_at)} {partners.of(each.partner).name} {each.layout} "
                    f"{each.state}{fault} rows {each.rows} bad {each.bad} sum {each.amount:.2f} {name}"
                )
        if not found:
            print("No register has come.")
        return DONE

    return run(running())


def _write(arguments: argparse.Namespace) -> int:
    from bels.payments.charges.layouts import charges_of
    from bels.payments.charges.write import write_charges

    settings, partners = _partners_given()
    partner = _named(partners, arguments.partner)
    if not arguments.folder.is_dir():
        raise CliError(f"{arguments.folder} is no folder")
    try:
        contract = charges_of(partner)
    except PartnersError as error:
        raise CliError(f"BELS_PARTNERS: {error}") from error
    if contract is None:
        raise CliError(f"there is no table [partner.{partner.name}.charges] in BELS_PARTNERS")

    async def running() -> int:
        async with ready(settings) as bels:
            till = await _till(bels, partners)
            period = arguments.period or shift(Period(f"{moscow_date(till.now()):%Y-%m}"), -1)
            payee = (await till.intake.rules()).requisites
            try:
                done = await write_charges(till, contract, period, arguments.folder, payee, by=BY)
            except (PartnersError, OSError) as error:
                raise CliError(str(error)) from error
        print("\n".join(done.summary()))
        return DONE

    return run(running())


def _write_gis(arguments: argparse.Namespace) -> int:
    from bels.channels.gis_readings import GisError, read_devices, write_readings

    settings = settings_given()
    if not arguments.folder.is_dir():
        raise CliError(f"{arguments.folder} is no folder")

    async def running() -> int:
        async with ready(settings) as bels:
            done = await write_readings(bels.pool, devices, arguments.period, arguments.folder)
        print("\n".join(done.summary()))
        return DONE if done.is_whole else PARTLY

    try:
        devices = read_devices(arguments.devices)
        return run(running())
    except (GisError, OSError) as error:
        raise CliError(str(error)) from error


def _exchange(arguments: argparse.Namespace) -> int:
    settings, partners = _partners_given()
    set_up_logging("json" if settings.log == "json" else "text", sys.stderr)
    if not arguments.state and settings.partners.exchange is None:
        raise CliError("no folder is named: set BELS_EXCHANGE")

    async def running() -> int:
        from bels.exchanging import exchanging
        from bels.payments.exchange.registers import register_taker

        async with ready(settings) as bels:
            if arguments.state:
                return await _say_states(bels, partners)
            till = await _till(bels, partners)
            settled()
            async with exchanging(bels, till, register_taker(till)) as server:
                at = f", SFTP on port {server.get_port()}" if server is not None else ""
                print(f"bels exchanges files in {settings.partners.exchange}{at}", flush=True)
                await asyncio.Event().wait()
        return DONE

    try:
        return run(running())
    except KeyboardInterrupt:
        # It has no other end: stopped in good order it is done.
        if arguments.state:
            raise
        return DONE


async def _say_states(bels: Bels, partners: Partners) -> int:
    from bels.payments.exchange.states import states

    async with bels.pool.acquire() as db:
        found = await states(db, [each.name for each in partners.partners])
    for each in found:
        good = f"{each.ok_at:%Y-%m-%d %H:%M}Z" if each.ok_at is not None else "never"
        bad = f"; failed {each.failures} times: {each.error}" if each.failures else ""
        print(f"{each.partner} {each.work}: last done {good}{f' ({each.done})' if each.done else ''}{bad}")
    if not found:
        print("No file has been exchanged.")
    return PARTLY if any(each.failures for each in found) else DONE


async def _till(bels: Bels, partners: Partners) -> Till:
    return Till(Counter(bels.pool, bels.intake, await door_of(bels, local=False)), partners)


def _partners_given() -> tuple[Settings, Partners]:
    settings = settings_given()
    if settings.partners.partners is None:
        raise CliError("no contracts are named: set BELS_PARTNERS to their file")
    try:
        return settings, read_contracts(settings.partners.partners)
    except PartnersError as error:
        raise CliError(f"BELS_PARTNERS: {error}") from error


def _named(partners: Partners, name: str) -> Partner:
    found = partners.named(name)
    if found is None:
        names = ", ".join(each.name for each in partners.partners)
        raise CliError(f"there is no partner {name[:40]!r} in BELS_PARTNERS, only: {names}")
    return found


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LISTED_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {LISTED_MAX}")
    return int(text)
