"""Close periods of every account, in order: what is left to do stands in the views, so a closing can be stopped and gone on."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bels.app import Bels
from bels.domain.commands import ClosePeriod
from bels.domain.events import CommandRefused, PeriodClosed
from bels.domain.periods import after, shift
from bels.domain.terms import Channel, Period
from bels.intake import Message, Outcome, Status, TryLater
from bels.progress import Progress
from bels.projections import overview

ACTOR = "closing"
ACCOUNTS_OF_PAGE = 500
WRITERS = 3
"""Batches under way at the same time: while PostgreSQL writes one, the next is decided."""

TRIES_MAX = 30
TRY_AGAIN_S = 1.0


@dataclass(slots=True)
class Closed:
    """What closings led to: (period, mode) and reasons of refusals, counted; accounts that could not be closed."""

    modes: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    accounts: int = 0
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
        self.examples.setdefault(reason, f"{outcome.account}, {period}")


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


async def close_through(bels: Bels, period: Period, progress: Progress) -> Closed:
    """Close every open period of every account through ``period``; ``progress`` counts accounts.

    :raises TryLater: the database cannot be reached; do it again, what is closed is closed.
    """
    run, closed = new_run(), Closed()
    pages = _pages(bels, period)

    async def write() -> None:
        async for page in pages:
            await _close_page(bels, period, page, run, closed)
            closed.accounts += len(page)
            progress.update(len(page))

    await together(write() for _ in range(WRITERS))
    return closed


class _pages:  # noqa: N801 - used like a generator; an async generator cannot be shared by two writers
    """Give the pages of accounts that have something to close, to whichever writer asks."""

    def __init__(self, bels: Bels, period: Period) -> None:
        self._bels, self._period, self._after = bels, period, ""
        self._turn = asyncio.Lock()

    def __aiter__(self) -> AsyncIterator[list[str]]:
        return self

    async def __anext__(self) -> list[str]:
        async with self._turn, self._bels.pool.acquire() as db:
            found = await overview.to_close(db, self._period, self._after, ACCOUNTS_OF_PAGE)
        if not found:
            raise StopAsyncIteration
        self._after = found[-1][0]
        return [number for number, _ in found]


async def _close_page(bels: Bels, through: Period, numbers: Sequence[str], run: str, closed: Closed) -> None:
    async with bels.pool.acquire() as db:
        accounts = await overview.find(db, numbers)
    messages: list[Message] = []
    periods: list[Period] = []
    now = bels.intake.clock()
    for account in accounts.values():
        last = min(through, Period(account.last_period)) if account.last_period is not None else through
        for period in after(shift(Period(account.next_period), -1), last):
            messages.append(closing(account.account, period, now, run))
            periods.append(period)
    for outcome, period in zip(await handled(bels, messages), periods, strict=True):
        closed.count(outcome, period)


async def handled(bels: Bels, messages: Sequence[Message]) -> list[Outcome]:
    """Handle messages, again while the database is away for a moment.

    :raises TryLater: it stays away.
    """
    for _ in range(TRIES_MAX):
        try:
            return await bels.intake.handle(messages)
        except TryLater:
            await asyncio.sleep(TRY_AGAIN_S)
    return await bels.intake.handle(messages)


async def together(works: Iterable[object]) -> None:
    """Do some work at the same time; when one fails or is stopped, all are."""
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[arg-type]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
