"""What a publication of rules would change of what has been charged, counted over all accounts; nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from bels.app import Bels
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period
from bels.progress import Progress
from bels.projections import overview
from bels.publishing import Effect, retroactive
from bels.workers import Tools, spread

ACCOUNTS_OF_PAGE = 500
ACCOUNTS_ALONE_MAX = 1000
"""So few accounts are folded sooner than other processes start."""

EVERY_PERIOD = Period("9999-12")


@dataclass(frozen=True, slots=True)
class Page:
    """Some accounts, the book as it would be in force, and an effect that counts nothing yet."""

    numbers: tuple[str, ...]
    book: Rulebook
    effect: Effect


async def count_to_recalculate(bels: Bels) -> int:
    """Count the accounts that still have a closing to come: only with a bill is anything put right."""
    async with bels.pool.acquire() as db:
        return await overview.count_to_close(db, EVERY_PERIOD)


async def count_effect(bels: Bels, book: Rulebook, effect: Effect, count: int, progress: Progress) -> Effect:
    """Count over some ``count`` accounts what the next closing would post.

    :raises TryLater: the database cannot be reached.
    """
    if not effect.is_retroactive or effect.since is None:
        return effect
    after = retroactive(await bels.intake.rules(), book, effect.since)

    def done(part: tuple[int, Effect]) -> None:
        effect.add(part[1])
        progress.update(part[0])

    await spread(bels, count_page, _pages(bels, after, effect), done, alone=count <= ACCOUNTS_ALONE_MAX)
    return effect


async def _pages(bels: Bels, book: Rulebook, effect: Effect) -> AsyncIterator[Page]:
    empty = Effect(effect.since, effect.row, effect.charged_through)
    last = ""
    while True:
        async with bels.pool.acquire() as db:
            found = await overview.to_close(db, EVERY_PERIOD, last, ACCOUNTS_OF_PAGE)
        if not found:
            return
        last = found[-1][0]
        yield Page(tuple(number for number, _ in found), book, empty)


async def count_page(tools: Tools, page: Page) -> tuple[int, Effect]:
    """Count what the publication would change on some accounts."""
    effect = replace(page.effect, examples=[])
    for account in (await tools.intake.accounts(page.numbers)).values():
        effect.count(account, page.book)
    return len(page.numbers), effect
