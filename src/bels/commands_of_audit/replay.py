"""``bels audit replay``: an account in two times, step by step; two moments compared; the books; the journal by the stock reader."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bels.app import Bels
from bels.audit.replaying.account_moment import AccountMoment, MeterMoment, account_moment
from bels.audit.replaying.books import BooksReplayed, replay_books
from bels.audit.replaying.differences import Difference, changing_entries, differences_of_moments
from bels.audit.replaying.moments import (
    Moment,
    Replayed,
    ReplayError,
    read_history,
    replay,
    rulebook_known,
)
from bels.audit.replaying.steps import Step, steps, told
from bels.command import DONE, PARTLY, CliError, account_given, ready, run, settings_given
from bels.domain.periods import MOSCOW
from bels.domain.terms import Register
from bels.journal.write import Db
from bels.progress import progress
from bels.statement import table

if TYPE_CHECKING:
    from bels.audit.stock import StockOrder, StockRow

STEPS_OF_PAGE = 200
YEARS = range(1900, 2100)
"""The years in which households have accounts."""

DIFFERENCES_TOLD_MAX = 20
"""Accounts that the two readers tell differently, one by one; all are counted."""

REPLAY_HELP = """\
Fold an account anew from its entries, to any day as it was known at any moment.

  bels audit replay 1000101                                    as it is now
  bels audit replay 1000101 --as-of 2024-05-31                 as it was at the end of a day, as we know it now
  bels audit replay 1000101 --known-at 2024-06-03T12:00+03:00  as we knew it at a moment
  bels audit replay 1000101 --steps                            entry by entry: the rule, and the state before and after
  bels audit replay 1000101 --as-of 2024-05-31 --known-at 2024-06-03T12:00+03:00 --difference --to-as-of 2024-05-31
                                                               what we knew then of May against what we know now
  bels audit replay 1000101 --ledger                           the posted ledger against the journal, and against closings
                                                               decided again by the rules of then
  bels audit replay --stock [ACCOUNT ...]                      read by the stock eventsourcing library, and compared

Known is what was recorded up to the moment. True by the end of a day (Moscow) is what has a date of that day or before: a reading
when it was received, a payment when it was made, a closing when it was posted.

exit status: 0 done, 1 the books or the readers differ (each case is said), 2 it could not be done
"""


def add(what: Any) -> None:
    """Add ``bels audit replay``."""
    summary = "Replay an account to a day, as it was known at a moment"
    form = argparse.RawDescriptionHelpFormatter
    added = what.add_parser("replay", help=summary, description=REPLAY_HELP, formatter_class=form)
    added.set_defaults(run=_replay)
    added.add_argument(
        "accounts", nargs="*", metavar="ACCOUNT", help="seven digits; several, or none for all, with --stock"
    )
    added.add_argument("--as-of", type=_day, metavar="DAY", help="at the end of this day, YYYY-MM-DD")
    added.add_argument("--known-at", type=_moment, metavar="MOMENT", help="as it was known then, ISO 8601 with offset")
    how = added.add_mutually_exclusive_group()
    how.add_argument("--steps", action="store_true", help="tell every entry, with what it changed")
    how.add_argument("--difference", action="store_true", help="compare with now, or with the moment of --to-...")
    how.add_argument("--ledger", action="store_true", help="hold the posted ledger against its replay")
    how.add_argument("--json", action="store_true", help="print JSON")
    how.add_argument("--stock", action="store_true", help="compare our reader with the stock library's")
    added.add_argument("--to-as-of", type=_day, metavar="DAY", help="with --difference: at the end of this day")
    added.add_argument("--to-known-at", type=_moment, metavar="MOMENT", help="with --difference: as known then")


def _replay(arguments: argparse.Namespace) -> int:
    numbers = [account_given(text) for text in arguments.accounts]
    timed = [arguments.as_of, arguments.known_at, arguments.to_as_of, arguments.to_known_at]
    if (arguments.stock or arguments.ledger) and any(each is not None for each in timed):
        raise CliError("--stock and --ledger look at the whole journal: leave the moments out")
    if (arguments.to_as_of or arguments.to_known_at) and not arguments.difference:
        raise CliError("--to-as-of and --to-known-at are for --difference")
    if not arguments.stock and len(numbers) != 1:
        raise CliError("name one account; several, or none for all of them, only with --stock")

    async def replaying() -> int:
        async with ready(settings_given()) as bels:
            if arguments.stock:
                return await _stock(bels, numbers)
            try:
                return await _account(bels, numbers[0], arguments)
            except ReplayError as error:
                raise CliError(str(error)) from error

    return run(replaying())


async def _account(bels: Bels, number: str, arguments: argparse.Namespace) -> int:
    now = bels.intake.clock()
    async with bels.pool.acquire() as db:
        if arguments.ledger:
            return await _ledger(bels, db, number)
        history = await read_history(db, number)
        if not history.rows:
            raise CliError(f"there is no account {number}")
        then = replay(history, Moment(arguments.as_of, arguments.known_at), now)
        if arguments.difference:
            after = replay(history, Moment(arguments.to_as_of, arguments.to_known_at), now)
            entries = await told(db, history, changing_entries(then, after))
            print("\n".join(_difference(then, after, differences_of_moments(then, after))))
            print(f"\nEntries that made the difference: {len(entries)}")
            for row in entries:
                sign = "+" if after.counts(row.entry) else "-"
                print(f"  {sign} {row.entry:>5}  recorded {_at(row.recorded_at)}  {row.text}")
            return DONE
        if arguments.json:
            print(msgspec.json.encode(account_moment(then)).decode())
            return DONE
        book = await rulebook_known(db, arguments.known_at)
        print("\n".join(_told(account_moment(then), book.book.version if book is not None else None)))
        if arguments.steps:
            after_entry = 0
            while page := await steps(db, then, after_entry, STEPS_OF_PAGE):
                for step in page:
                    print("\n".join(["", *_step(step)]))
                after_entry = page[-1].row.entry
    return DONE


def _told(then: AccountMoment, book: str | None) -> list[str]:
    """Say what an account was."""
    if then.opened_at is None and then.last_recorded_at is None:
        first = f"Account {then.number} {_when(then.moment, then.day)}"
        return [first, f"  there was none then: of {then.known} entries known none was true yet"]
    residents = then.residents
    last = f"entry {then.last}, recorded {_at(then.last_recorded_at)}" if then.last_recorded_at is not None else "none"
    lines = [
        f"Account {then.number} {_when(then.moment, then.day)}",
        f"  entries       {then.known} known, {then.set_aside} of them not true yet; the last that counts: {last}",
        f"  rules known   {book or 'none published'}",
        f"  situation     {then.situation.value}"
        + (f", opened {_at(then.opened_at)}" if then.opened_at is not None else "")
        + (f", closed {_at(then.closed_at)}" if then.closed_at is not None else ""),
        f"  dwelling      {then.locality.value}, {then.stove.value}, rooms {then.rooms}",
        f"  residents     {residents.permanent} permanent, {residents.temporary} temporary, {residents.absent} away, {residents.owners} owners",
        f"  estimation    {then.mode.value if then.mode is not None else 'nothing closed'}"
        + (f" since {then.mode_since}" if then.mode_since is not None else "")
        + f", {then.missed_in_a_row} missed in a row"
        + (f", inspection due {then.inspection_due}" if then.inspection_due is not None else ""),
        f"  next period   {then.next_period or 'none'}",
        f"  owed          {then.balance:.2f}, overdue {then.overdue:.2f}, penalties {then.penalty:.2f}",
    ]
    lines += [f"    {bill.period}: {bill.open:.2f} of {bill.amount:.2f}, due {bill.due_on}" for bill in then.owed]
    lines += [f"  meter         {_meter(meter)}" for meter in then.meters]
    lines += [f"  linked        {link.channel.value} {link.sender}" for link in then.links]
    if then.periods:
        rows = [
            (
                each.period,
                each.mode.value,
                _kwh(each.usage),
                _kwh(each.stands),
                f"{each.money:.2f}" if each.money is not None else "-",
            )
            for each in then.periods
        ]
        lines += ["", *table([("period", "mode", "kWh billed", "kWh stand", "roubles stand"), *rows], "<<>>>")]
    return lines


def _when(moment: Moment, day: date) -> str:
    known = f"as known at {_at(moment.known_at)}" if moment.known_at is not None else "as known now"
    return f"at the end of {day}, {known}" if moment.as_of is not None else known


def _meter(meter: MeterMoment) -> str:
    last = meter.last_reading
    told_last = f", {_kwh(last.values)} at {_at(last.at)} (entry {last.entry})" if last is not None else ""
    ended = f", removed {_at(meter.removed_at)}" if meter.removed_at is not None else ""
    failed = f", failed {_at(meter.failed_at)}" if meter.failed_at is not None else ""
    return f"{meter.model.number} (entry {meter.entry}), in service {_at(meter.installed_at)}{ended}{failed}{told_last}"


def _kwh(used: Any) -> str:
    if set(used) == {Register.TOTAL}:
        return str(used[Register.TOTAL])
    return " ".join(f"{register.value} {value}" for register, value in used.items()) or "0"


def _at(at: datetime | None) -> str:
    return at.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S") if at is not None else "-"


def _step(step: Step) -> list[str]:
    """Tell an entry with what it changed."""
    row, made = step.row, step.made_by
    by = ", ".join([made.name, *made.acts, *([f"rules {made.rulebook}"] if made.rulebook is not None else [])])
    lines = [
        f"{row.entry}. {row.kind}: {row.text}",
        f"     recorded {_at(row.recorded_at)}, true {_at(row.happened_at)}; {row.channel}, {row.actor}, receipt {row.receipt}",
        f"     by {by}: {made.text}",
    ]
    if not step.counts:
        return [*lines, "     set aside: it was not true yet"]
    return lines + [f"     {line}" for line in _changed(step.changed)]


def _changed(changed: Sequence[Difference]) -> Iterator[str]:
    for each in changed:
        yield f"{each.path}: {each.before or '-'} -> {each.after or '-'}"


def _difference(before: Replayed, after: Replayed, changed: Sequence[Difference]) -> list[str]:
    lines = [
        f"Account {before.history.account}",
        f"  from: {_when(before.moment, before.day)}, {before.known - len(before.aside)} entries count",
        f"  to:   {_when(after.moment, after.day)}, {after.known - len(after.aside)} entries count",
        "",
    ]
    rows = [(each.path, each.before or "-", each.after or "-", each.label) for each in changed]
    return lines + (table([("what", "before", "after", ""), *rows], "<<<<") if rows else ["Nothing differs."])


async def _ledger(bels: Bels, db: Db, number: str) -> int:
    books = await replay_books(db, number, await bels.intake.rules())
    if books is None:
        raise CliError(f"there is no account {number}")
    print("\n".join(_books(books)))
    return DONE if books.holds else PARTLY


def _books(books: BooksReplayed) -> list[str]:
    rows = [
        (
            str(line.entry),
            str(line.booked_on),
            line.kind.value,
            line.purpose.value,
            line.period or "",
            *(f"{sum_:.2f}" if sum_ is not None else "-" for sum_ in (line.posted, line.replayed, line.decided)),
            f"{line.difference:.2f}",
            "" if line.holds else "DIFFERS",
        )
        for line in books.lines
    ]
    header = ("entry", "booked", "kind", "purpose", "period", "posted", "replayed", "decided", "difference", "")
    sums = [
        f"{each.purpose.value}: posted {each.posted:.2f}, replayed {each.replayed:.2f}, difference {each.difference:.2f};"
        f" decided again {each.decided:.2f}, difference {each.difference_decided:.2f}"
        for each in books.sums
    ]
    return [
        *table([header, *rows], "><<<<>>>><"),
        "",
        *sums,
        f"Entries: {books.entries:,}; closings decided again: {books.closings:,}",
        *books.different,
        "The three books agree." if books.holds else "THE BOOKS DO NOT AGREE.",
    ]


async def _stock(bels: Bels, numbers: Sequence[str]) -> int:
    """Read by the stock library, which is synchronous, in a thread of its own."""
    from bels.audit.stock import stock_order

    with progress("stock", len(numbers), "accounts") as bar:
        rows = await asyncio.to_thread(_compared, bels.url, numbers, bar.update)
        order = await asyncio.to_thread(stock_order, bels.url) if not numbers else None
    accounts, entries, different = rows
    missing = sum(row.same for row in different)
    for row in different[:DIFFERENCES_TOLD_MAX]:
        print(f"{row.account}: {row.difference or 'it has no entries'}")
    print(
        f"Read by the stock library: {accounts:,} accounts, {entries:,} entries; {len(different) - missing:,} differ."
    )
    if order is not None:
        print(_in_order(order))
    return PARTLY if different or (order is not None and not order.same) else DONE


def _compared(url: str, numbers: Sequence[str], update: Callable[[int], object]) -> tuple[int, int, list[StockRow]]:
    # The library and its driver take a tenth of a second to load, which no other start shall wait for.
    from bels.audit.stock import stock_report

    accounts = entries = 0
    different: list[StockRow] = []
    for row in stock_report(url, numbers or None):
        accounts += 1
        entries += row.entries
        update(1)
        # A number that was typed and has no entries is said, too.
        if not row.same or not row.entries:
            different.append(row)
    return accounts, entries, different


def _in_order(order: StockOrder) -> str:
    if order.same:
        return f"In the order of its notifications: {order.entries:,} entries, all the same."
    return f"In the order of its notifications it differs after {order.entries:,} entries: {order.difference}"


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year not in YEARS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day of 1900 to 2099: write YYYY-MM-DD, as 2024-05-31")
    return day


def _moment(text: str) -> datetime:
    example = "for example 2024-06-03T12:00:00+03:00"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment: write ISO 8601, {example}") from None
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset: write {example}")
    if at.year not in YEARS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment of 1900 to 2099")
    return at
