"""What is done about cards by the clock: every few minutes, and once a day. Each finds out by itself what there is to do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from bels.domain.periods import moscow_date
from bels.outgoing.moneta import MonetaApi, MonetaAway, MonetaRefused
from bels.payments.cards.autopay import run_autopay
from bels.payments.cards.bindings import forget_tokens
from bels.payments.cards.contract import Cards
from bels.payments.cards.orders import expire_orders
from bels.payments.cards.reconciling import Reconciled, reconcile_with_moneta
from bels.payments.cards.refunds import send_refunds

logger = logging.getLogger(__name__)


async def turn(cards: Cards, api: MonetaApi | None) -> None:
    """Let orders expire; ask MONETA for returns, let it forget tokens, make the payments that make themselves.

    :raises TryLater: the database cannot be reached; the next turn does what is left.
    """
    await expire_orders(cards)
    if api is None:
        return
    steps: tuple[Callable[[Cards, MonetaApi], Awaitable[object]], ...] = (send_refunds, forget_tokens, run_autopay)
    for step in steps:
        await step(cards, api)


async def close_day(cards: Cards, api: MonetaApi | None) -> Reconciled | None:
    """Compare the operations of yesterday with MONETA's; None where that cannot be done now.

    :raises TryLater: the database cannot be reached; what was booked stays booked.
    """
    if api is None:
        return None
    day = moscow_date(cards.now()) - timedelta(days=1)
    try:
        found = await reconcile_with_moneta(cards, api, day)
    except (MonetaAway, MonetaRefused) as error:
        logger.error("MONETA's operations of %s cannot be compared: %s", day, error)
        return None
    if found.booked or found.returned or found.differences:
        logger.warning(
            "MONETA's operations of %s: %d booked and %d returned only now, %d differences are open",
            day,
            found.booked,
            found.returned,
            found.differences,
        )
    return found
