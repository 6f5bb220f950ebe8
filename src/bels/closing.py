"""Close periods of every account, in order: what is left to do stands in the views, so a closing can be stopped and gone on."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bels.app import Bels
from bels.domain.account import Account
from bels.domain.commands import ClosePeriod
from bels.domain.events import CommandRefused, Event, PeriodClosed
from bels.domain.money import ZERO
from bels.domain.money_events import PenaltyAccrued
from bels.domain.periods import after, shift
from bels.domain.terms import Channel, Mode, Money, Period, Reason
from bels.messages import Message, Status
from bels.previewing import ClosingPreview, preview_closing
from bels.progress import Progress
from bels.projections import overview
from bels.projections.overview import OverviewRow
from bels.workers import Tools, Work, handled, spread

logger = logging.getLogger(__name__)

ACTOR = "closing"
ACCOUNTS_OF_PAGE = 250
ACCOUNTS_ALONE_MAX = 5000
"""So few accounts are closed sooner than other processes start."""

ACCOUNTS_PREVIEWED_ALONE_MAX = 1000
"""So few accounts are folded sooner than other processes start."""

ACCOUNTS_LISTED_MAX = 10

_UNPRICED = (Reason.NO_TARIFF, Reason.TARIFF_INCOMPLETE)


@dataclass(frozen=True, slots=True)
class AccountClosed:
    """What the closings of one account come to: how many, and roubles of the bills and of the penalties."""

    account: str
    periods: int
    charged: Money
    recalculated: Money
    penalties: Money


@dataclass(slots=True)
class Closed:
    """What closings led to: (period, mode) and reasons of refusals, counted; an example of each reason; roubles posted.

    ``listed`` are the first accounts, where they were asked for.
    """

    accounts: int = 0
    modes: Counter[tuple[str, str]] = field(default_factory=Counter)
    charged: Money = ZERO
    recalculated: Money = ZERO
    penalties: Money = ZERO
    refusals: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    listed: list[AccountClosed] = field(default_factory=list)

    def count(self, account: str, period: str, events: Sequence[Event]) -> bool:
        """Count what a closing led to; say whether the period is closed now."""
        closed = next((e for e in events if isinstance(e, PeriodClosed)), None)
        if closed is not None:
            penalties = sum((e.amount for e in events if isinstance(e, PenaltyAccrued)), ZERO)
            self._count(period, closed.mode, closed.charged, closed.recalculated, penalties)
            return True
        refused = next((e for e in events if isinstance(e, CommandRefused)), None)
        self._refuse(account, period, refused)
        return refused is not None and refused.reason is Reason.PERIOD_ALREADY_CLOSED

    def preview(self, account: str, first: Period, preview: ClosingPreview | None) -> None:
        """Count what the closings of an account would lead to, the first of them that of ``first``; None: it is parked."""
        self.accounts += 1
        if preview is None:
            self._refuse(account, first, None)
            return
        own = Closed()
        for c in preview.closings:
            own._count(c.period, c.mode, c.charged, c.recalculated, c.penalties)
        if preview.refusal is not None:
            own._refuse(account, shift(first, len(preview.closings)), preview.refusal)
        if preview.closings:
            sums = own.charged, own.recalculated, own.penalties
            own.listed.append(AccountClosed(account, len(preview.closings), *sums))
        self.add(own)

    def _count(self, period: str, mode: Mode, charged: Money, recalculated: Money, penalties: Money) -> None:
        self.modes[period, mode.value] += 1
        self.charged += charged
        self.recalculated += recalculated
        self.penalties += penalties

    def _refuse(self, account: str, period: str, refused: CommandRefused | None) -> None:
        reason = refused.reason.value if refused is not None else Status.PARKED.value
        detail = f"; no rate for {refused.detail}" if refused is not None and refused.reason in _UNPRICED else ""
        self.refusals[reason] += 1
        self.examples.setdefault(reason, f"account {account}, {period}{detail}")

    def add(self, other: Closed) -> None:
        """Count what another part of the work led to."""
        self.accounts += other.accounts
        self.modes += other.modes
        self.charged += other.charged
        self.recalculated += other.recalculated
        self.penalties += other.penalties
        self.refusals += other.refusals
        self.examples = other.examples | self.examples
        self.listed = sorted(self.listed + other.listed, key=lambda a: a.account)[:ACCOUNTS_LISTED_MAX]

    def summary(self) -> list[str]:
        """Say in lines what was closed, how, for how much, and what was refused."""
        lines = [f"Periods closed: {self.modes.total():,}"]
        modes = [mode.value for mode in Mode if any(mode.value == told for _, told in self.modes)]
        if modes:
            lines.append("  period " + "".join(f"{mode:>21}" for mode in modes))
        lines += [
            f"  {period}" + "".join(f"{self.modes[period, mode]:>21,}" for mode in modes)
            for period in sorted({period for period, _ in self.modes})
        ]
        if self.modes:
            parts = f"charges {self.charged:,.2f}, recalculations {self.recalculated:,.2f}"
            lines.append(f"Bills: {self.charged + self.recalculated:,.2f} roubles ({parts})")
            lines.append(f"Penalties: {self.penalties:,.2f} roubles")
        lines += [
            f"Closings refused, {reason}: {count:,} (the first: {self.examples[reason]})"
            for reason, count in self.refusals.most_common()
        ]
        if any(reason in self.refusals for reason in _UNPRICED):
            lines.append("When the rates are published (bels rulebook publish FILE), run the same command again.")
        return lines

    def listing(self) -> list[str]:
        """List the first accounts, with their roubles."""
        if not self.listed:
            return []
        lines = ["The first accounts:", "  account  periods         bills  recalculations   penalties"]
        return lines + [
            f"  {a.account}  {a.periods:>7}  {a.charged + a.recalculated:>12,.2f}  {a.recalculated:>14,.2f}  {a.penalties:>10,.2f}"
            for a in self.listed
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
    return await _through(bels, close_page, period, progress, alone=count <= ACCOUNTS_ALONE_MAX)


async def preview_through(bels: Bels, period: Period, count: int, progress: Progress) -> Closed:
    """Say what ``close_through`` would lead to now; nothing is stored.

    :raises TryLater: the database cannot be reached.
    """
    return await _through(bels, preview_page, period, progress, alone=count <= ACCOUNTS_PREVIEWED_ALONE_MAX)


async def _through(bels: Bels, work: Work[Page, Closed], period: Period, progress: Progress, alone: bool) -> Closed:
    closed = Closed()

    def done(part: Closed) -> None:
        closed.add(part)
        progress.update(part.accounts)

    await spread(bels, work, _pages(bels, period), done, alone)
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
    """Close every open period of some accounts; none is asked for after the first that cannot be closed."""
    async with tools.pool.acquire() as db:
        accounts = await overview.find(db, page.numbers)
    now = tools.intake.clock()
    wanted = {number: _open_periods(accounts[number], page.through) for number in page.numbers}
    # Closing several periods at once writes the views once: so what would be refused is found out before.
    several = [number for number, periods in wanted.items() if len(periods) > 1]
    for number, account in (await tools.intake.accounts(several)).items() if several else ():
        preview = _preview(tools, account, page.through)
        through = len(preview.closings) + (preview.refusal is not None) if preview is not None else 1
        wanted[number] = wanted[number][:through]
    asked = [(number, period) for number, periods in wanted.items() for period in periods]
    closed = Closed(len(accounts))
    outcomes = await handled(tools, [closing(number, period, now, page.run) for number, period in asked])
    for (number, period), outcome in zip(asked, outcomes, strict=True):
        closed.count(number, period, outcome.events)
    return closed


async def preview_page(tools: Tools, page: Page) -> Closed:
    """Say what ``close_page`` would lead to, account by account; nothing is stored."""
    accounts = await tools.intake.accounts(page.numbers)
    closed = Closed()
    for number in page.numbers:
        account = accounts[number]
        closed.preview(number, account.next_period, _preview(tools, account, page.through))
    return closed


def _preview(tools: Tools, account: Account, through: Period) -> ClosingPreview | None:
    """Preview the closings of an account; None where that fails: such a closing is parked, and stops none of the others."""
    try:
        return preview_closing(account, through, tools.intake.clock(), tools.intake.rulebook)
    except Exception:
        logger.exception("what the closing of account %s would lead to cannot be said", account.number)
        return None


def _open_periods(account: OverviewRow, through: Period) -> tuple[Period, ...]:
    last = min(through, Period(account.last_period)) if account.last_period is not None else through
    return after(shift(Period(account.next_period), -1), last)
