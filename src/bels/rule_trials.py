"""Try other rules on many accounts, in parallel; nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from bels.app import Bels
from bels.audit.replaying.anew import Publications, publications_of
from bels.audit.what_if.effects import Effects, outcomes
from bels.audit.what_if.outcome import Outcome
from bels.audit.what_if.sample import Sample
from bels.audit.what_if.trial import Trial, TrialRules
from bels.journal.journal import next_accounts, read, read_rules_stream
from bels.progress import Progress
from bels.projections import overview
from bels.rulebooks.shipped import PUBLISHED, shipped
from bels.workers import Tools, spread

ACCOUNTS_OF_PAGE = 250
ACCOUNTS_WALKED = 5_000
"""Numbers of accounts that are looked through at once for those of a sample."""

ACCOUNTS_ALONE_MAX = 500
"""So few accounts are replayed sooner than other processes start."""

WHOLE = Sample.whole()


@dataclass(frozen=True, slots=True)
class Page:
    """Some accounts and the rules to try on them; ``walked`` numbers were looked through for them."""

    place: int
    numbers: tuple[str, ...]
    walked: int
    trial: Trial
    publications: Publications
    is_told: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """What a page came to; ``outcomes`` are told only where they were asked for."""

    place: int
    walked: int
    effects: Effects
    outcomes: tuple[Outcome, ...]


Told = Callable[[Outcome], None]
"""Takes the outcome of each account, in order of number."""


async def read_publications(bels: Bels) -> Publications:
    """Read what was published."""
    async with bels.pool.acquire() as db:
        return publications_of(await read_rules_stream(db), shipped(PUBLISHED))


async def count_accounts(bels: Bels, wanted: Sequence[str] | Sample) -> int:
    """Count the accounts that ``try_rules`` looks through."""
    if not isinstance(wanted, Sample):
        return len(wanted)
    async with bels.pool.acquire() as db:
        return await overview.count_streams(db)


async def try_rules(
    bels: Bels,
    trial: Trial,
    publications: Publications,
    wanted: Sequence[str] | Sample,
    count: int,
    progress: Progress,
    told: Told | None = None,
) -> Effects:
    """Try rules on accounts by number or on a sample, looking through some ``count``; ``told`` takes each outcome, in order.

    :raises UnknownPublicationError: the trial names a publication that is not there.
    :raises TryLater: the database cannot be reached.
    """
    TrialRules(trial, publications)
    effects = Effects()
    waiting: dict[int, Tried] = {}
    next_place = 0

    def done(part: Tried) -> None:
        nonlocal next_place
        effects.add(part.effects)
        progress.update(part.walked)
        if told is None:
            return
        # Processes finish in any order; who reads the file finds the accounts in theirs.
        waiting[part.place] = part
        while next_place in waiting:
            for outcome in waiting.pop(next_place).outcomes:
                told(outcome)
            next_place += 1

    pages = _pages(bels, trial, publications, wanted, is_told=told is not None)
    share = wanted.share if isinstance(wanted, Sample) else 1
    await spread(bels, try_page, pages, done, alone=count * share <= ACCOUNTS_ALONE_MAX)
    return effects


async def _pages(
    bels: Bels, trial: Trial, publications: Publications, wanted: Sequence[str] | Sample, *, is_told: bool
) -> AsyncIterator[Page]:
    place = 0
    async for numbers, walked in _numbers(bels, wanted):
        for start in range(0, max(len(numbers), 1), ACCOUNTS_OF_PAGE):
            part = numbers[start : start + ACCOUNTS_OF_PAGE]
            yield Page(place, tuple(part), walked if start == 0 else 0, trial, publications, is_told)
            place += 1


async def _numbers(bels: Bels, wanted: Sequence[str] | Sample) -> AsyncIterator[tuple[Sequence[str], int]]:
    if not isinstance(wanted, Sample):
        numbers = sorted(set(wanted))
        yield numbers, len(numbers)
        return
    last = ""
    while True:
        async with bels.pool.acquire() as db:
            found = await next_accounts(db, last, ACCOUNTS_WALKED)
        if not found:
            return
        last = found[-1]
        yield wanted.of(found), len(found)


async def try_page(tools: Tools, page: Page) -> Tried:
    """Try rules on some accounts; one that cannot be replayed is named, and stops none of the others."""
    rules = TrialRules(page.trial, page.publications)
    effects = Effects()
    async with tools.pool.acquire() as db:
        entries = await read(db, dict.fromkeys(page.numbers, 0))
    told = [outcome for outcome in outcomes(entries, rules, effects) if page.is_told]
    return Tried(page.place, page.walked, effects, tuple(told))
