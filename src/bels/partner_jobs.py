"""What is done for partners by the clock, and as it comes: webhooks, reconciliation, cards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import httpx

from bels.access.door import Door
from bels.app import AppError, Bels, till_of
from bels.outgoing.jobs import Work
from bels.payments.cards.contract import api_of, cards_of
from bels.payments.cards.jobs import close_day, turn
from bels.payments.partners import PartnersError
from bels.payments.reconciling.due import check_contracts, reconcile_due
from bels.payments.registers.keeping import forget_bytes
from bels.payments.till import Till
from bels.payments.webhooks.deliver import delivering_webhooks, opened_hooks
from bels.payments.webhooks.guard import Policy

EVERY_FIVE_MINUTES = "*/5 * * * *"
AFTER_MIDNIGHT = "15 3 * * *"
"""06:15 in Moscow, in UTC: the registers and lists of yesterday are there."""

RECONCILE, FORGET_REGISTERS = "reconcile", "forget_registers"
CARDS, CARDS_OF_THE_DAY = "cards", "cards_of_the_day"

Schedules = Mapping[str, tuple[str, Work]]


@asynccontextmanager
async def partner_jobs(bels: Bels, door: Door) -> AsyncIterator[Schedules]:
    """Deliver webhooks while this is open, and give what is to be done by the clock.

    :raises AppError: a contract or a secret cannot be used.
    """
    till = till_of(bels, door)
    policy = Policy(loopback=door.local or bels.settings.partners.hooks_on_loopback)
    async with AsyncExitStack() as stack:
        try:
            check_contracts(till.partners.partners)
            hooks = await stack.enter_async_context(
                opened_hooks(bels.pool, door.raw_texts, till.partners, policy, bels.intake.clock)
            )
            cards = cards_of(till)
            http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
            api = api_of(cards.contract, http) if cards is not None else None
        except PartnersError as error:
            raise AppError(f"BELS_PARTNERS: {error}") from error
        await stack.enter_async_context(delivering_webhooks(hooks))
        schedules: dict[str, tuple[str, Work]] = {
            RECONCILE: (AFTER_MIDNIGHT, partial(_reconcile, till)),
            FORGET_REGISTERS: (AFTER_MIDNIGHT, partial(forget_bytes, till)),
        }
        if cards is not None:
            schedules[CARDS] = EVERY_FIVE_MINUTES, partial(turn, cards, api)
            schedules[CARDS_OF_THE_DAY] = AFTER_MIDNIGHT, partial(close_day, cards, api)
        yield schedules


async def _reconcile(till: Till) -> int:
    return await reconcile_due(till, till.now())
