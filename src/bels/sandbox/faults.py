"""Faults on demand: what a partner asked to fail fails, in the protocol's own words wherever it has any."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast
from zlib import crc32

from bels.domain.commands import Command
from bels.messages import Message, Outcome, TryLater
from bels.payments.sandbox import Failing, Fault

ASKED_MAX = 50
"""Orders to fail that may wait for one partner."""

_PERCENT = 100

Work = Callable[[Sequence[Message]], Awaitable[Sequence[Outcome | Exception]]]


@dataclass(slots=True)
class _Order:
    """An order to fail, and how many requests it has met."""

    asked: Failing
    met: int = 0

    @property
    def left(self) -> Failing:
        return replace(self.asked, count=self.asked.count - self.met)

    def meets(self) -> bool:
        """Count a request; say whether it fails. The same seed draws the same requests."""
        self.met += 1
        return crc32(b"%d:%d" % (self.asked.seed, self.met)) % _PERCENT < self.asked.share


class _Unreadable:
    """A command that no rule knows: a message with it is parked, as after a fault of ours."""


class Faults:
    """What is to fail, by partner; kept in memory alone, since a new process begins well."""

    def __init__(self) -> None:
        self._orders: dict[str, deque[_Order]] = {}
        self._meant: dict[str, Fault] = {}

    def ask(self, client: str, failing: Failing) -> bool:
        """Let the next requests of a partner fail; False where too many orders wait."""
        orders = self._orders.setdefault(client, deque())
        if len(orders) >= ASKED_MAX:
            return False
        orders.append(_Order(failing))
        return True

    def waiting(self, client: str) -> list[Failing]:
        """List what is still going to fail."""
        return [order.left for order in self._orders.get(client, ())]

    def forget(self, client: str) -> None:
        """Let all go well again."""
        self._orders.pop(client, None)

    def next_of(self, client: str) -> Failing | None:
        """Give what happens to the partner's next act; None: nothing does."""
        return self._next(client, lambda fault: fault is not Fault.DUPLICATE_WEBHOOK)

    def wants_webhook(self, client: str) -> bool:
        """Say whether a webhook of the partner is to go out twice."""
        return any(order.asked.fault is Fault.DUPLICATE_WEBHOOK for order in self._orders.get(client, ()))

    def next_webhook_of(self, client: str) -> bool:
        """Say whether the partner's next webhook goes out twice."""
        return self._next(client, lambda fault: fault is Fault.DUPLICATE_WEBHOOK) is not None

    def _next(self, client: str, is_meant: Callable[[Fault], bool]) -> Failing | None:
        orders = self._orders.get(client, deque())
        order = next((each for each in orders if is_meant(each.asked.fault)), None)
        if order is None:
            return None
        fails = order.meets()
        if order.met >= order.asked.count:
            orders.remove(order)
        return order.asked if fails else None

    def mean(self, request_id: str, fault: Fault) -> None:
        """Let the messages of a request fail where they are handled, so that its protocol finds the words."""
        self._meant[request_id] = fault

    def done(self, request_id: str) -> None:
        """Forget a request that has ended."""
        self._meant.pop(request_id, None)

    def around(self, work: Work) -> Work:
        """Wrap what handles a batch of messages: those that are meant to fail do, their neighbours do not."""

        async def handle(messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
            meant = [self._meant.get(message.request_id) for message in messages]
            if not any(meant):
                return await work(messages)
            kept = [
                replace(message, command=cast(Command, _Unreadable())) if fault is Fault.PARKED else message
                for message, fault in zip(messages, meant, strict=True)
                if fault is not Fault.TRY_LATER
            ]
            outcomes = iter(await work(kept) if kept else ())
            return [TryLater("the sandbox was asked to") if f is Fault.TRY_LATER else next(outcomes) for f in meant]

        return handle
