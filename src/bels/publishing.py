"""Publish rules: the stream of the rulebook begins with the book that bels brings along, and goes on with what operators publish."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import asyncpg

from bels.domain.account import Account
from bels.domain.charge_usage import Unpriced
from bels.domain.close_period import recalculated_at
from bels.domain.commands import PublishRulebook
from bels.domain.money import ZERO
from bels.domain.periods import first_day, shift
from bels.domain.publish_rulebook import first_change
from bels.domain.rulebook import Retroaction, Rulebook
from bels.domain.terms import Channel, Money, Period, Settlement
from bels.intake import Intake
from bels.journal.journal import RULEBOOK
from bels.messages import Message, Outcome, digest
from bels.projections import usage
from bels.rulebooks.shipped import DEMONSTRATION, PUBLISHED, shipped
from bels.rulebooks.writing import write_rulebook

ACTOR = "bels"
EXAMPLES_MAX = 20


@dataclass(slots=True)
class Effect:
    """What a publication would change of what has been charged: the first period and row, accounts, lines, roubles.

    ``examples`` are the first accounts with their differences; ``unpriced`` counts accounts where a rate would be missing.
    """

    since: Period | None
    row: str | None
    charged_through: Period | None
    accounts: int = 0
    lines: int = 0
    difference: Money = ZERO
    unpriced: int = 0
    examples: list[tuple[str, Money]] = field(default_factory=list)

    @property
    def is_retroactive(self) -> bool:
        """Say whether a past that has been charged would change."""
        return self.since is not None and self.charged_through is not None and self.since <= self.charged_through

    def count(self, account: Account, book: Rulebook) -> None:
        """Count what the publication would change on one account; ``book`` is as ``retroactive`` gives it."""
        lines = recalculated_at(account, book)
        if isinstance(lines, Unpriced):
            self.unpriced += 1
        elif lines:
            difference = sum((line.difference for line in lines), ZERO)
            self.accounts += 1
            self.lines += len(lines)
            self.difference += difference
            if len(self.examples) < EXAMPLES_MAX:
                self.examples.append((account.number, difference))

    def add(self, other: Effect) -> None:
        """Count what another part of the accounts would come to."""
        self.accounts += other.accounts
        self.lines += other.lines
        self.difference += other.difference
        self.unpriced += other.unpriced
        self.examples = sorted(self.examples + other.examples)[:EXAMPLES_MAX]


async def effect_of(pool: asyncpg.Pool, intake: Intake, book: Rulebook) -> Effect:
    """Say whether a book would change what has been charged; accounts are not counted yet.

    :raises TryLater: the database cannot be reached.
    """
    old = await intake.rules()
    change = first_change(old, book)
    async with pool.acquire() as db:
        through = await usage.charged_through(db)
    return Effect(change[0] if change is not None else None, change[1] if change is not None else None, through)


def retroactive(old: Rulebook, book: Rulebook, since: Period) -> Rulebook:
    """Give a book as it would be in force after its publication, with the past it changes."""
    number = old.number + 1
    return replace(book, number=number, retroactions=(*old.retroactions, Retroaction(number, since, "dry run")))


async def publication(
    pool: asyncpg.Pool, intake: Intake, book: Rulebook, source: str, reason: str | None
) -> PublishRulebook:
    """Give the command that publishes a book made from the one in force, whose number it has."""
    async with pool.acquire() as db:
        through = await usage.charged_through(db)
    return PublishRulebook(book, book.number, intake.clock(), source, through, reason)


async def publish(
    pool: asyncpg.Pool,
    intake: Intake,
    book: Rulebook,
    source: str,
    reason: str | None = None,
    channel: Channel = Channel.OFFICE,
    actor: str = ACTOR,
    key: str | None = None,
) -> Outcome:
    """Publish a book made from the one in force, whose number it has; the same book upon the same publication is one message.

    :raises TryLater: the database cannot be reached.
    """
    command = await publication(pool, intake, book, source, reason)
    raw = write_rulebook(book) + (f"\n# {reason}" if reason is not None else "")
    name = key or f"rulebook:{book.number}:{digest(raw).hex()}"
    (outcome,) = await intake.handle([Message(channel, name, actor, RULEBOOK, command, raw)])
    return outcome


async def install_rulebook(pool: asyncpg.Pool, intake: Intake) -> None:
    """Publish the rulebook that bels brings along where none has been published.

    :raises TryLater: the database cannot be reached.
    """
    if (await intake.rules()).number == 0:
        await publish(pool, intake, shipped(PUBLISHED), f"bels: {PUBLISHED}.toml")


async def publish_demonstration(pool: asyncpg.Pool, intake: Intake) -> None:
    """Publish the demonstration rulebook over the one that bels brings along; what an operator has published stays.

    :raises TryLater: the database cannot be reached.
    """
    old = await intake.rules()
    if old.name == PUBLISHED:
        book = replace(shipped(DEMONSTRATION), settings=old.settings, number=old.number)
        await publish(pool, intake, book, f"bels: {DEMONSTRATION}.toml")


async def publish_settlement(pool: asyncpg.Pool, intake: Intake, settlement: Settlement) -> None:
    """Publish another settlement policy, from the first period that nobody has been charged for.

    :raises TryLater: the database cannot be reached.
    """
    old = await intake.rules()
    async with pool.acquire() as db:
        through = await usage.charged_through(db)
    if through is None:
        if any(settings.settlement is not settlement for _, settings in old.settings):
            await publish(pool, intake, old.with_settlement(settlement), f"settlement {settlement.value}")
        return
    first = shift(through, 1)
    if old.settings_of(first).settlement is not settlement:
        settings = (
            *((day, s) for day, s in old.settings if day < first_day(first)),
            (first_day(first), replace(old.settings_of(first), settlement=settlement)),
            *((day, replace(s, settlement=settlement)) for day, s in old.settings if day > first_day(first)),
        )
        await publish(pool, intake, replace(old, settings=settings), f"settlement {settlement.value} from {first}")
