"""A supplier with a few households that speaks by itself, to gateways that keep what they are handed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bels.access import personal
from bels.access.personal import Personal, PersonalDataError, subject_of, tenure_of
from bels.access.vault import Vault
from bels.delivering import post_of
from bels.domain.terms import Channel
from bels.outgoing.choices import CHOSEN, Choice, Topic, choose
from bels.outgoing.deliver import Post, deliver_due
from bels.outgoing.outcomes import NEWS_FOR, plan_notices
from bels.outgoing.reminders import Planned, plan_reminders
from bels.outgoing.store import install_outgoing
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.outgoing.gateways import Gateways, opened_gateways

PHONE, EMAIL, CHAT = "+79161234567", "ivanova@example.ru", "700700"
PUBLIC_URL = "https://lk.bels.example"


@dataclass
class Speaking:
    """A supplier that speaks: its house, its gateways, and what it sends with."""

    house: House
    gateways: Gateways
    post: Post

    @property
    def pool(self) -> asyncpg.Pool:
        """Give the pool."""
        return self.post.pool

    @property
    def vault(self) -> Vault:
        """Give the vault."""
        return self.post.vault

    def at(self, text: str) -> None:
        """Move the clock to a Moscow time."""
        self.house.at = moscow(text)

    async def choose(
        self, number: str, channel: Channel, address: str, *topics: Topic, tenure: int | None = None
    ) -> Choice:
        """Choose for a household, all topics by default; a phone or an e-mail is one that it gave."""
        async with self.pool.acquire() as db:
            home = tenure or await tenure_of(db, number)
            if channel in (Channel.SMS, Channel.EMAIL) and ("@" in address or address[-1].isdigit()):
                subject = subject_of(number, home)
                kept = await personal.find(db, self.vault, subject) or Personal()
                phones = (*kept.phones, address) if channel is Channel.SMS else kept.phones
                emails = (*kept.emails, address) if channel is Channel.EMAIL else kept.emails
                with suppress(PersonalDataError):
                    await personal.put(db, self.vault, subject, Personal("Иванова Анна", None, phones, emails))
            return await choose(
                db, self.vault, number, home, channel, address, topics or CHOSEN, "consumer:u-1", self.house.at
            )

    async def plan(self) -> Planned:
        """Plan the reminders that are due."""
        return await plan_reminders(self.pool, self.post.intake, self.house.at)

    async def news(self) -> int:
        """Plan the outcome notices."""
        async with self.pool.acquire() as db:
            return await plan_notices(db, self.house.at, self.house.at - NEWS_FOR)

    async def send(self) -> int:
        """Send what is due."""
        return await deliver_due(self.post)

    async def texts(self, *columns: str) -> list[tuple[Any, ...]]:
        """Give columns of the outbox, in order."""
        rows = await self.pool.fetch(f"SELECT {', '.join(columns)} FROM outbox ORDER BY id")
        return [tuple(row) for row in rows]

    async def lives_there(self, number: str, *, phones: tuple[str, ...] = (), emails: tuple[str, ...] = ()) -> None:
        """Keep who lives there."""
        async with self.pool.acquire() as db:
            subject = subject_of(number, await tenure_of(db, number))
            await personal.put(db, self.vault, subject, Personal("Иванова Анна", None, phones, emails))


@pytest.fixture
async def speaking(database: str, tmp_path: Path) -> AsyncIterator[Speaking]:
    """Open a supplier with a few households, on a database of its own, and gateways."""
    async with opened_house(database, tmp_path) as house, opened_gateways(house.now) as gateways:
        assert house.bels is not None
        async with house.bels.pool.acquire() as db:
            await install_outgoing(db)
        post = await post_of(house.bels, house.desk.door, gateways.senders)
        yield Speaking(house, gateways, replace(post, public_url=PUBLIC_URL))
