"""How every sum of an account's life was found: what an evidence pack says of each charge, recalculation and penalty.

A sum is named by its entry and by where it stands in the entry's state (a JSON pointer, RFC 6901):

* a line of a charge: ``/event/charges/0/amount``;
* a recalculation: ``/event/money_after``, of which ``money_before`` beside it is taken off;
* penalties on the debt of one period: ``/event/sums/0/accrued``, of which ``posted_before`` beside it is taken off.

What came from an earlier system, and what was closed before there was money in the journal, has no explanation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import msgspec
from asyncpg import Record

from bels.domain.explain import Explanation
from bels.domain.money_events import PenaltyAccrued
from bels.domain.rulebook import Rulebook, publication_of
from bels.domain.terms import Money
from bels.journal.codec import to_entry
from bels.journal.journal import read_publication
from bels.journal.write import Db
from bels.projections import readings, usage
from bels.projections.explanations import Facts, explain_charge, explain_penalty, explain_recalculation
from bels.projections.usage import UsageRow

PERIODS_OF_PAGE = 120
"""How many closed periods are read at once: ten years."""

READINGS_OF_PAGE = 1000
"""How many readings are read at once; all that an account has are kept, some kilobytes a year."""


@dataclass(frozen=True, slots=True)
class ExplainedSum:
    """A sum on the ledger: the entry that posted it, where in its state it stands, roubles, how it was found."""

    entry: int
    pointer: str
    amount: Money
    explanation: Explanation

    def told(self) -> dict[str, Any]:
        """Give it as a line of ``explanations.jsonl``: plain values of JSON, the explanation as the API gives it."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told


async def explanations(db: Db, account: str, rulebook: Rulebook) -> AsyncIterator[ExplainedSum]:
    """Explain every charge, recalculation and penalty of an account, period by period, in the order of the journal.

    Each is told by the rules under which it was charged; ``rulebook`` is the one in force. For all of it to be of one moment, the
    connection must be in a transaction that sees one (REPEATABLE READ).
    """
    found = await _readings(db, account)
    penalties = await _penalties(db, account)
    books: dict[int, Rulebook] = {0: rulebook, rulebook.number: rulebook}
    after: str | None = None
    while rows := await usage.page(db, account, after, None, PERIODS_OF_PAGE, False):
        after = rows[-1].period
        for row in rows:
            if row.due_on is None:
                continue
            number = publication_of(row.rulebook or "")
            if number not in books:
                books[number] = await read_publication(db, number) or rulebook
            for told in _of_period(Facts(row, found, books[number]), row):
                yield told
                # Where periods were put right often, all of them take long: others have their turn in between.
                await asyncio.sleep(0)
            for posted in penalties.get(row.period, ()):
                yield posted


def verifier_source() -> str:
    """Give the program that judges a pack, as it is handed to people: one file, without bels."""
    return files("bels.audit.evidence").joinpath("verify_evidence.py").read_text("utf-8")


def _of_period(facts: Facts, row: UsageRow) -> Iterator[ExplainedSum]:
    for i, line in enumerate(row.charges):
        yield ExplainedSum(row.entry, f"/event/charges/{i}/amount", line.amount, explain_charge(facts, i))
    for recalculation in row.recalculations:
        difference = recalculation.difference
        if difference is not None:
            explained = explain_recalculation(facts, recalculation)
            yield ExplainedSum(recalculation.entry, "/event/money_after", difference, explained)


async def _readings(db: Db, account: str) -> dict[int, readings.ReadingRow]:
    """Find all readings of an account, by entry."""
    found: dict[int, readings.ReadingRow] = {}
    after: int | None = None
    while page := await readings.page(db, account, after, None, READINGS_OF_PAGE, False):
        found.update((row.entry, row) for row in page)
        after = page[-1].entry
    return found


async def _penalties(db: Db, account: str) -> dict[str, list[ExplainedSum]]:
    """Explain the penalties of an account, by the period on whose bill they stand."""
    rows = await db.fetch(
        """
        SELECT j.originator_version, j.topic, j.state
          FROM ledger l
          JOIN journal j ON j.originator_id = l.account AND j.originator_version = l.entry
         WHERE l.account = $1 AND l.kind = 'PENALTY'
         ORDER BY l.entry
        """,
        account,
    )
    # Ten years of an unpaid account take half a second: others are served meanwhile.
    return await asyncio.to_thread(_posted, account, rows)


def _posted(account: str, rows: Sequence[Record]) -> dict[str, list[ExplainedSum]]:
    told: dict[str, list[ExplainedSum]] = {}
    for version, topic, state in rows:
        event = to_entry(account, version, topic, state).event
        if isinstance(event, PenaltyAccrued):
            told.setdefault(event.period, []).extend(
                ExplainedSum(
                    version,
                    f"/event/sums/{i}/accrued",
                    overdue.accrued - overdue.posted_before,
                    explain_penalty(overdue),
                )
                for i, overdue in enumerate(event.sums)
            )
    return told
