"""Are the sums of the bills right? Each is found again from its explanation, and every closing is decided anew.

An explanation says how a sum follows from what it names; only deciding anew says that it names the right things.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg

from bels.audit.calculator import CannotBeWorkedOut, work_out
from bels.audit.evidence.explanations import explanations
from bels.audit.findings import Finding, FindingKind
from bels.audit.replaying.anew import SLOW_WRITER, ClosingAnew, Publications, publications_of, replay_anew
from bels.domain.events import PeriodClosed, UsageRecalculated
from bels.domain.money import ZERO
from bels.domain.money_events import PenaltyAccrued, RulebookPublished
from bels.domain.rulebook import Rulebook, publication_of
from bels.domain.terms import Money, Period
from bels.journal.entry import Entry
from bels.journal.journal import RULEBOOK, by_account, read, read_rules_stream
from bels.journal.write import Db

ACCOUNTS_OF_SNAPSHOT = 50
"""Accounts whose entries are in memory at the same time, and which are seen as they were at one moment."""

CLOSINGS_NAMED_MAX = 20
"""Closings of one account that are named; each is looked for anew, with the ones before it left as they were posted."""


async def check_charges(db: Db, accounts: Sequence[str], rulebook: Rulebook) -> list[Finding]:
    """Say which sums of accounts cannot be found again, and which closings decided anew come out otherwise; nothing where none.

    ``db`` is in no transaction. ``rulebook`` is what counts where none was published. Nothing is written, nobody waits.
    """
    found: list[Finding] = []
    numbers = sorted(set(accounts))
    for first in range(0, len(numbers), ACCOUNTS_OF_SNAPSHOT):
        async with db.transaction(isolation="repeatable_read", readonly=True):
            stream = await read_rules_stream(db)
            published = publications_of(stream, rulebook)
            histories = await _histories(db, numbers[first : first + ACCOUNTS_OF_SNAPSHOT], found)
            found += await _out_of_time(db, stream, histories)
            for own in histories:
                found += await _explained(db, own, published.newest)
                found += _totals(own)
                found += _anew(own, published)
    return found


async def _histories(db: Db, numbers: Sequence[str], found: list[Finding]) -> list[list[Entry]]:
    """Read the entries of accounts that have a bill; find those that cannot be read, where they are more one by one."""
    try:
        entries = await read(db, dict.fromkeys(numbers, 0))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        raise
    except Exception as error:
        if len(numbers) > 1:
            return [own for number in numbers for own in await _histories(db, [number], found)]
        text = f"no sum can be found again, an entry cannot be read: {type(error).__name__}"
        found.append(Finding(FindingKind.CHARGE_DIFFERS, text, numbers[0]))
        return []
    return [own for own in by_account(entries).values() if any(isinstance(entry.event, PeriodClosed) for entry in own)]


async def _explained(db: Db, entries: Sequence[Entry], rulebook: Rulebook) -> list[Finding]:
    """Compare every sum that the entries posted with what its explanation leads to."""
    account = entries[0].account
    posted = {
        (entry.version, pointer): (entry, name, amount) for entry in entries for pointer, name, amount in _sums(entry)
    }
    found: list[Finding] = []
    try:
        async for told in explanations(db, account, rulebook):
            entry, name, amount = posted.pop((told.entry, told.pointer), (None, told.pointer, ZERO))
            if entry is None:
                text = f"{name}: the bill has a sum of {told.amount} that no entry posted"
                found.append(_differs(text, account, told.entry))
                continue
            try:
                result = work_out(told.explanation)
            except CannotBeWorkedOut as error:
                found.append(
                    _differs(
                        f"{name}: posted {amount}, its explanation does not recompute: {error}", account, told.entry
                    )
                )
                continue
            if result != amount or told.amount != amount:
                text = f"{name}: posted {amount}, its explanation leads to {result}, the bill says {told.amount}"
                found.append(_differs(text, account, told.entry))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        raise
    except Exception as error:
        return [*found, _differs(f"a sum of its bills cannot be explained: {type(error).__name__}", account, None)]
    return found + [
        _differs(f"{name}: posted {amount}, and no bill explains it", account, entry.version)
        for entry, name, amount in posted.values()
    ]


def _sums(entry: Entry) -> Iterator[tuple[str, str, Money]]:
    """Give the sums that an entry posted: where each stands in its state (JSON pointer), what it is, roubles."""
    match entry.event:
        case PeriodClosed() as closed if closed.due_on is not None:
            for i, line in enumerate(closed.charges):
                yield f"/event/charges/{i}/amount", f"line {i + 1} of the bill of {closed.period}", line.amount
        case UsageRecalculated() as changed if changed.rulebook:
            name = f"recalculation of {changed.period} on the bill of {changed.posted_in}"
            yield "/event/money_after", name, changed.difference
        case PenaltyAccrued() as accrued:
            for i, overdue in enumerate(accrued.sums):
                name = f"penalties for {overdue.period} on the bill of {accrued.period}"
                yield f"/event/sums/{i}/accrued", name, overdue.accrued - overdue.posted_before
        case _:
            pass


def _totals(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Compare the totals that the entries say with the sums that they are of."""
    recalculated: dict[Period, Money] = {}
    for entry in entries:
        if isinstance(entry.event, UsageRecalculated):
            posted_in = entry.event.posted_in
            recalculated[posted_in] = recalculated.get(posted_in, ZERO) + entry.event.difference
    for entry in entries:
        match entry.event:
            case PeriodClosed() as closed if closed.due_on is not None:
                pairs: tuple[tuple[str, Money, Money], ...] = (
                    (
                        f"charges of {closed.period}",
                        closed.charged,
                        sum((line.amount for line in closed.charges), ZERO),
                    ),
                    (f"recalculations of {closed.period}", closed.recalculated, recalculated.get(closed.period, ZERO)),
                )
            case PenaltyAccrued() as accrued:
                new = sum((each.accrued - each.posted_before for each in accrued.sums), ZERO)
                pairs = ((f"penalties of {accrued.period}", accrued.amount, new),)
            case _:
                continue
        for name, said, found in pairs:
            if said != found:
                yield _differs(f"{name}: {said} posted in all, their sum is {found}", entry.account, entry.version)


def _anew(entries: Sequence[Entry], published: Publications) -> Iterator[Finding]:
    """Decide every closing anew by the rules in force then; each that comes out otherwise is left as posted for those after it."""
    account = entries[0].account
    as_posted: set[int] = set()
    while len(as_posted) < CLOSINGS_NAMED_MAX:
        try:
            decided = replay_anew(entries, lambda e: None if e.version in as_posted else published.then(e))
        except Exception as error:
            yield _differs(f"its closings cannot be decided anew: {type(error).__name__}", account, None)
            return
        other = next((c for c in decided.closings if not c.is_same and c.entry.version not in as_posted), None)
        if other is None:
            return
        as_posted.add(other.entry.version)
        yield _differs(_otherwise(other), account, other.entry.version)


def _otherwise(closing: ClosingAnew) -> str:
    was, now = closing.was, closing.would_be
    return (
        f"closing of {closing.period}: posted {was.kwh} kWh, {was.bill} and penalties of {was.penalties}; decided anew"
        f" {now.kwh} kWh, {now.bill} and penalties of {now.penalties} ({'; '.join(closing.differences())})"
    )


async def _out_of_time(db: Db, stream: Sequence[Entry], histories: Sequence[Sequence[Entry]]) -> list[Finding]:
    """Find the closings that name rules which were published only after them, or replaced long before them."""
    books = [entry for entry in stream if isinstance(entry.event, RulebookPublished)]
    closings = [entry for own in histories for entry in own if isinstance(entry.event, PeriodClosed)]
    # What is first in the journal was known first: moments are those of the clocks of many processes.
    rows = await db.fetch(
        """
        SELECT originator_id, originator_version, notification_id
          FROM unnest($1::text[], $2::bigint[]) AS wanted (account, version)
          JOIN journal ON originator_id = wanted.account AND originator_version = wanted.version
        """,
        [entry.account for entry in (*books, *closings)],
        [entry.version for entry in (*books, *closings)],
    )
    place = {(row["originator_id"], row["originator_version"]): row["notification_id"] for row in rows}
    numbers = [entry.event.book.number for entry in books if isinstance(entry.event, RulebookPublished)]
    found = []
    for closing in closings:
        closed = closing.event
        named = publication_of(closed.rulebook) if isinstance(closed, PeriodClosed) else 0
        at = numbers.index(named) if named in numbers else -1
        following = books[at + 1] if at + 1 < len(books) else None
        if named and (at < 0 or place[RULEBOOK, books[at].version] > place[closing.account, closing.version]):
            text = f"the closing was decided by publication {named} of the rules, which was not there then"
        elif following is not None and following.recorded_at < closing.recorded_at - SLOW_WRITER:
            text = f"the closing was decided by publication {named} of the rules, which another had replaced before"
        else:
            continue
        found.append(_differs(text, closing.account, closing.version))
    return found


def _differs(text: str, account: str, entry: int | None) -> Finding:
    return Finding(FindingKind.CHARGE_DIFFERS, text, account, entry)
