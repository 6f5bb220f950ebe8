"""The commands about money: statements and bills of an account, and the rules by which all of them are charged."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bels import bill_text, rule_effects, statement
from bels.app import Bels
from bels.command import DONE, PARTLY, CliError, account_given, ready, run, settings_given, text_of
from bels.domain.account import nobody
from bels.domain.commands import PublishRulebook
from bels.domain.events import CommandRefused
from bels.domain.money_events import RulebookPublished
from bels.domain.periods import MOSCOW, shift
from bels.domain.publish_rulebook import publish_rulebook
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period, Reason
from bels.journal.journal import RULEBOOK, read
from bels.printing.person import Person
from bels.progress import progress
from bels.projections import bills, overview
from bels.publishing import Effect, effect_of, publish
from bels.rulebooks.reading import RulebookFileError, read_rulebook
from bels.rulebooks.writing import write_rulebook
from bels.words import refusal

RULEBOOK_HELP = """\
The rulebook is tariffs, ranges, norms, key rates, penalties, days off and settings, as versions with dates. FILE is TOML; a
row of it replaces the row in force with the same key, other rows are added, and what it does not name stays. `bels rulebook
show` prints the whole file that says what is in force; a file may name as little as

  [[tariff]]
  group = "MO/urban_gas"
  scheme = "single"
  effective_on = 2025-07-01
  rates = { total = ["8.24", "10.50", "12.00"] }
  status = { total = "published" }
  source = "where it was published"
"""


def add_statement(command: Callable[..., Any]) -> None:
    """Add ``bels statement``."""
    said = command("statement", "Print what an account was billed and paid, period by period", _statement)
    said.add_argument("account", metavar="ACCOUNT", help="seven digits")
    said.add_argument("--json", action="store_true", help="print JSON")


def add_bill(command: Callable[..., Any], period: Callable[[str], Period]) -> None:
    """Add ``bels bill``."""
    bill = command("bill", "Print the bill of an account, or write it as a PDF", _bill)
    bill.add_argument("account", metavar="ACCOUNT", help="seven digits")
    bill.add_argument("period", type=period, nargs="?", metavar="PERIOD", help="YYYY-MM (default: the last one closed)")
    how = bill.add_mutually_exclusive_group()
    how.add_argument("--pdf", type=Path, metavar="FILE", help="write the PDF here")
    how.add_argument("--json", action="store_true", help="print JSON, with the explanation of every sum")
    bill.add_argument("--name", help="whose bill it is: printed, never stored")
    bill.add_argument("--address", help="of the dwelling: printed, never stored")


def add_rulebook(command: Callable[..., Any]) -> None:
    """Add ``bels rulebook`` with what can be done to it."""
    rulebook = command(
        "rulebook", "Publish rules and tariffs, show those in force, list what was published", None, RULEBOOK_HELP
    )
    form = argparse.RawDescriptionHelpFormatter
    what = rulebook.add_subparsers(title="what to do", metavar="publish|show|history", required=True)

    def part(name: str, summary: str, run: Callable[[argparse.Namespace], int]) -> Any:
        added = what.add_parser(name, help=summary, description=f"{summary}.", formatter_class=form)
        added.set_defaults(run=run)
        return added

    published = part("publish", "Publish a file over the rules in force, from now on for everybody", _publish)
    published.add_argument("file", type=Path, metavar="FILE")
    published.add_argument(
        "--retroactive", metavar="REASON", help="why prices change that have been charged; the bills are put right"
    )
    published.add_argument("--dry-run", action="store_true", help="only count what it would change; nothing is stored")
    shown = part("show", "Print the rules in force", _show)
    how = shown.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument("--toml", action="store_true", help="print the file that says the same (default)")
    part("history", "List what was published", _history)


async def publish_text(bels: Bels, text: str, source: str, reason: str | None = None) -> RulebookPublished | None:
    """Publish a file of rules over those in force; None where it says nothing new, which is no error.

    :raises CliError: it cannot be published.
    """
    outcome = await publish(bels.pool, bels.intake, book_of(text, source, await bels.intake.rules()), source, reason)
    (event,) = outcome.events
    if isinstance(event, RulebookPublished):
        return event
    if isinstance(event, CommandRefused) and event.reason is Reason.NOTHING_CHANGES:
        return None
    raise CliError(_not_published(source, event) if isinstance(event, CommandRefused) else f"{source} is not published")


def book_of(text: str, source: str, base: Rulebook) -> Rulebook:
    """Read a file of rules over those in force.

    :raises CliError: it has faults; a line for each.
    """
    try:
        return read_rulebook(text, base)
    except RulebookFileError as error:
        lines = [
            f"{source}:{fault.line}: {fault.where}: {fault.reason}"
            if fault.line
            else f"{source}: with the rules in force, {fault.where}: {fault.reason}"
            for fault in error.faults
        ]
        more = [f"and {error.more} more"] if error.more else []
        raise CliError("\n".join([f"{source} is not published:", *lines, *more])) from error


def _not_published(source: str, refused: CommandRefused) -> str:
    words = refusal(refused.reason)
    how = ""
    if refused.reason is Reason.PAST_CHARGED and "give the reason" in (refused.detail or ""):
        how = ' Say why with --retroactive "REASON"; with --dry-run first, to see what it comes to.'
    return f"{source} is not published, {refused.reason.value}: {refused.detail}. {words.text}. {words.hint}.{how}"


def _publish(arguments: argparse.Namespace) -> int:
    text, source = text_of(arguments.file), str(arguments.file)

    async def publishing() -> int:
        async with ready(settings_given()) as bels:
            if arguments.dry_run:
                return await _effect(bels, text, source, arguments.retroactive)
            event = await publish_text(bels, text, source, arguments.retroactive)
        if event is None:
            print(f"Nothing is published: {source} says nothing that is not in force already.")
            return DONE
        since = (
            f"; prices change from {event.since} on"
            if event.since is not None
            else "; no price changes that was known before"
        )
        print(f"Published: {event.book.version}, from {source}{since}.")
        if event.retroactive is not None:
            print(
                "What was charged at other prices is put right with the next closing of each account: bels close PERIOD"
            )
        return DONE

    return run(publishing())


async def _effect(bels: Bels, text: str, source: str, reason: str | None) -> int:
    old = await bels.intake.rules()
    book = book_of(text, source, old)
    effect = await effect_of(bels.pool, bels.intake, book)
    now, through = bels.intake.clock(), effect.charged_through
    command = PublishRulebook(book, old.number, now, source, through, reason or "(--dry-run)")
    (event,) = publish_rulebook(nobody(RULEBOOK), command, old)
    if isinstance(event, CommandRefused):
        if event.reason is not Reason.NOTHING_CHANGES:
            raise CliError(_not_published(source, event))
        print(f"{source} says nothing that is not in force already.")
        return DONE
    if effect.is_retroactive:
        count = await rule_effects.count_to_recalculate(bels)
        with progress("count", count, "accounts") as bar:
            await rule_effects.count_effect(bels, book, effect, count, bar)
    print("\n".join([f"{source} can be read; nothing is published (--dry-run).", *_told(effect)]))
    return DONE


def _told(effect: Effect) -> list[str]:
    if effect.since is None:
        return ["No price changes that was known before."]
    lines = [f"The first price that changes: {effect.row}, from {effect.since} on."]
    if not effect.is_retroactive:
        through = f"; {effect.charged_through} was charged last" if effect.charged_through is not None else ""
        return [*lines, f"Nothing that was charged changes{through}."]
    assert effect.charged_through is not None  # noqa: S101 - for the type checker
    first_free = shift(effect.charged_through, 1)
    sums = f"{effect.lines:,} recalculations on {effect.accounts:,} accounts, {effect.difference:+,.2f} roubles in all"
    lines.append(
        f"{effect.charged_through} was charged last: say why the past changes with --retroactive, or let prices change from"
        f" {first_free} on."
    )
    lines.append(f"The next closing of each account would post {sums}.")
    if effect.examples:
        lines += [
            "The first of them:",
            *(f"  {account}  {difference:>+12,.2f}" for account, difference in effect.examples),
        ]
    if effect.unpriced:
        lines.append(f"A rate would be missing on {effect.unpriced:,} accounts: their next closing would be refused.")
    return lines


def _show(arguments: argparse.Namespace) -> int:
    async def showing() -> int:
        async with ready(settings_given()) as bels:
            book = await bels.intake.rules()
        text = write_rulebook(book)
        if arguments.json:
            told = {"publication": book.number, **tomllib.loads(text)}
            print(json.dumps(told, ensure_ascii=False, default=str))
        else:
            print(f"# Publication {book.number}, in force.\n\n{text}", end="")
        return DONE

    return run(showing())


def _history(arguments: argparse.Namespace) -> int:
    async def listing() -> int:
        async with ready(settings_given()) as bels, bels.pool.acquire() as db:
            entries = await read(db, {RULEBOOK: 0})
        rows = [("publication", "published", "by", "prices since", "from")]
        for entry in entries:
            event = entry.event
            if isinstance(event, RulebookPublished):
                at = f"{event.published_at.astimezone(MOSCOW):%Y-%m-%d %H:%M}"
                reason = f"; retroactive: {event.retroactive}" if event.retroactive is not None else ""
                rows.append((event.book.version, at, entry.actor, event.since or "-", f"{event.source}{reason}"))
        print("\n".join(statement.table(rows, "<<<<<")))
        return DONE

    return run(listing())


def _statement(arguments: argparse.Namespace) -> int:
    account = account_given(arguments.account)

    async def stating() -> int:
        async with ready(settings_given()) as bels:
            found = await statement.find_statement(bels, account)
        if found is None:
            raise CliError(f"there is no account {account}", PARTLY)
        if arguments.json:
            print(json.dumps(statement.as_json(found), ensure_ascii=False, separators=(",", ":")))
        else:
            print(statement.as_text(found))
        return DONE

    return run(stating())


def _bill(arguments: argparse.Namespace) -> int:
    account = account_given(arguments.account)
    if (arguments.name is None) != (arguments.address is None):
        raise CliError("a bill names both or neither: give --name and --address together")
    person = Person(arguments.name, arguments.address) if arguments.name is not None else None

    async def billing() -> int:
        async with ready(settings_given()) as bels:
            bill, book = await _found_bill(bels, account, arguments.period)
        if arguments.pdf is not None:
            from bels.printing.bill_pdf import bill_pdf

            try:
                arguments.pdf.write_bytes(bill_pdf(bill, book.requisites, person))
            except OSError as error:
                raise CliError(f"{arguments.pdf} cannot be written ({error.strerror})") from error
            print(f"The bill of {account} for {bill.period} is in {arguments.pdf}")
        elif arguments.json:
            print(json.dumps(bill_text.as_json(bill, person), ensure_ascii=False, separators=(",", ":")))
        else:
            print(bill_text.as_text(bill, person))
        return DONE

    return run(billing())


async def _found_bill(bels: Bels, account: str, period: Period | None) -> tuple[bills.Bill, Rulebook]:
    book = await bels.intake.rules()
    # One moment for all of it: a closing in between would leave a bill that does not add up.
    async with bels.pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        if account not in await overview.find(db, [account]):
            raise CliError(f"there is no account {account}", PARTLY)
        last = await bills.last_period(db, account)
        if last is None:
            raise CliError(f"account {account} has no bill yet", PARTLY)
        wanted = period if period is not None else Period(last)
        bill = await bills.find(db, account, wanted, book)
    if bill is None:
        raise CliError(f"account {account} has no bill for {wanted}; its last one is for {last}", PARTLY)
    return bill, book
