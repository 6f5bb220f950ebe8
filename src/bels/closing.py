"""Close periods of every account, in order: what is left to do stands in the views, so a closing can be stopped and gone on."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bels.app import Bels
from bels.domain.commands import ClosePeriod
from bels.domain.events import CommandRefused, PeriodClosed
from bels.domain.periods import after, shift
from bels.domain.terms import Channel, Mode, Period
from bels.intake import Message, Outcome, Status
from bels.progress import Progress
from bels.projections import overview
from bels.workers import Tools, handled, spread

ACTOR = "closing"
ACCOUNTS_OF_PAGE = 1000
ACCOUNTS_ALONE_MAX = 5000
"""So few accounts are closed sooner than other processes start."""


@dataclass(slots=True)
class Closed:
    """What closings led to: (period, mode) and reasons of refusals, counted; an example of each reason."""

    accounts: int = 0
    modes: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def count(self, outcome: Outcome, period: str) -> None:
        """Count the outcome of a closing."""
        closed = next((e for e in outcome.events if isinstance(e, PeriodClosed)), None)
        if closed is not None:
            self.modes[period, closed.mode.value] += 1
            return
        refused = next((e for e in outcome.events if isinstance(e, CommandRefused)), None)
        reason = refused.reason.value if refused is not None else Status.PARKED.value
        self.refusals[reason] += 1
        self.examples.setdefault(reason, f"account {outcome.account}, {period}")

    def add(self, other: Closed) -> None:
        """Count what another part of the work led to."""
        self.accounts += other.accounts
        self.modes += other.modes
        self.refusals += other.refusals
        self.examples = other.examples | self.examples

    def summary(self) -> list[str]:
        """Say in lines what was closed, how, and what was refused."""
        lines = [f"Periods closed: {self.modes.total():,}"]
        modes = [mode.value for mode in Mode if any(mode.value == told for _, told in self.modes)]
        if modes:
            lines.append("  period " + "".join(f"{mode:>21}" for mode in modes))
        lines += [
            f"  {period}" + "".join(f"{self.modes[period, mode]:>21,}" for mode in modes)
            for period in sorted({period for period, _ in self.modes})
        ]
        return lines + [
            f"Closings refused, {reason}: {count:,} (the first: {self.examples[reason]})"
            for reason, count in self.refusals.most_common()
        ]


@dataclass(frozen=True, slots=True)
class Page:
    """Some accounts that have periods to close."""

    numbers: tuple[str, ...]
    through: Period
    run: str


def new_run() -> str:
    """Draw the name of a run: a refused closing must not take the name that the next run needs."""
    return secrets.token_hex(4)


def closing(account: str, period: Period, closed_at: datetime, run: str) -> Message:
    """Give the message that closes a period of an account."""
    return Message(
        Channel.CLOSING,
        f"close:{account}:{period}:{run}",
        ACTOR,
        account,
        ClosePeriod(period, closed_at.astimezone(UTC)),
        f"close {account} {period}",
    )


async def close_through(bels: Bels, period: Period, count: int, progress: Progress) -> Closed:
    """Close every open period of every account through ``period``, of some ``count`` accounts.

    :raises TryLater: the database cannot be reached; do it again, what is closed is closed.
    """
    closed = Closed()

    def done(part: Closed) -> None:
        closed.add(part)
        progress.update(part.accounts)

    await spread(bels, close_page, _pages(bels, period), done, alone=count <= ACCOUNTS_ALONE_MAX)
    return closed


async def _pages(bels: Bels, through: Period) -> AsyncIterator[Page]:
    run, last = new_run(), ""
    while True:
        async with bels.pool.acquire() as db:
            found = await overview.to_close(db, through, last, ACCOUNTS_OF_PAGE)
        if not found:
            return
        last = found[-1][0]
        yield Page(tuple(number for number, _ in found), through, run)


async def close_page(tools: Tools, page: Page) -> Closed:
    """Close every open period of some accounts."""
    async with tools.pool.acquire() as db:
        accounts = await overview.find(db, page.numbers)
    messages: list[Message] = []
    periods: list[Period] = []
    now = tools.intake.clock()
    for number in page.numbers:
        account = accounts[number]
        last = min(page.through, Period(account.last_period)) if account.last_period is not None else page.through
        for period in after(shift(Period(account.next_period), -1), last):
            messages.append(closing(number, period, now, page.run))
            periods.append(period)
    closed = Closed(len(accounts))
    for outcome, period in zip(await handled(tools, messages), periods, strict=True):
        closed.count(outcome, period)
    return closed
