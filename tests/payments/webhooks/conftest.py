"""A supplier whose bank has a receiver of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from bels.domain.terms import Purpose
from bels.payments.till import Paid, PayOrder, pay
from bels.payments.webhooks import subscriptions
from bels.payments.webhooks.deliver import Hooks, deliver_webhooks, opened_hooks
from bels.payments.webhooks.guard import Policy
from bels.payments.webhooks.subscriptions import Delivery, Webhook
from tests.channels.house import opened_house
from tests.payments.conftest import Banks, opened_banks
from tests.peers.webhook_receiver import Receiver, running_receiver

TYPES = ("payment.received.v1", "reading.accepted.v1", "reading.held.v1", "payment.cancelled.v1")


@dataclass(frozen=True, slots=True)
class Hooked:
    """The banks (see ``opened_banks``), what events are delivered with, and the receiver of the bank «sber»."""

    banks: Banks
    hooks: Hooks
    receiver: Receiver

    @property
    def partner(self) -> str:
        """The actor of the bank."""
        return self.banks.agent().actor

    def now(self) -> datetime:
        """Tell the supplier's time."""
        return self.banks.till.now()

    async def subscribe(
        self, url: str | None = None, *, key: str = "1", types: tuple[str, ...] = TYPES, bank: str = "sber"
    ) -> tuple[Webhook, str]:
        """Subscribe the bank; give its webhook and the secret, which the receiver knows from then on."""
        async with self.hooks.pool.acquire() as db:
            webhook, secret = await subscriptions.subscribe(
                db,
                self.hooks.raw_texts,
                self.banks.agent(bank).actor,
                key,
                url or self.receiver.url,
                types,
                "",
                self.now(),
            )
        assert secret is not None
        self.receiver.set(secrets=[secret])
        return webhook, secret

    async def pay(self, name: str, account: str = "1000001", *, bank: str = "sber") -> Paid:
        """Pay through the bank."""
        order = PayOrder(name, account, Decimal("10.00"), self.now(), Purpose.ENERGY)
        return await pay(self.banks.till, self.banks.agent(bank), order)

    async def deliver(self, hooks: Hooks | None = None) -> int:
        """Deliver what is due."""
        return await deliver_webhooks(hooks or self.hooks)

    async def deliveries(self, webhook: Webhook) -> list[Delivery]:
        """List the deliveries to a webhook, the oldest first."""
        async with self.hooks.pool.acquire() as db:
            return (await subscriptions.deliveries_of(db, webhook.id, None, None, 1_000))[::-1]

    def with_policy(self, hooks: Hooks, policy: Policy) -> Hooks:
        """Give what events are delivered with under another policy."""
        return replace(hooks, policy=policy)


@pytest.fixture(scope="module")
def listening() -> Iterator[Receiver]:
    """Run a receiver for the tests of a file."""
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(listening: Receiver) -> Receiver:
    """Give a receiver to which nothing came yet."""
    listening.reset()
    return listening


@pytest.fixture
async def hooked(database: str, tmp_path: Path, receiver: Receiver) -> AsyncIterator[Hooked]:
    """Open a supplier with banks, which may be called on this machine."""
    async with opened_house(database, tmp_path) as house:
        banks = await opened_banks(house)
        raw_texts = banks.till.counter.door.raw_texts
        policy = Policy(loopback=True)
        async with opened_hooks(
            banks.bels.pool, raw_texts, banks.till.partners, policy, house.now, lambda: datetime.now(UTC)
        ) as hooks:
            yield Hooked(banks, hooks, receiver)
