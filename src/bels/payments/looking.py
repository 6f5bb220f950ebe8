"""A partner may look at so many accounts in a day: whoever takes payments looks first, whoever only looks copies the town.

Numbers of accounts are seven digits in a row, so that whoever may ask of any may ask of all: names, however masked, and debts. A
payment is never refused by this; only what is shown before it (policy, 152-ФЗ 5: no more than the purpose needs).
"""

from __future__ import annotations

import logging

from bels.access.quota import spend_each
from bels.domain.periods import moscow_date
from bels.payments.partners import Partner
from bels.payments.till import Till
from bels.reception.counter import database

LOOK = "partner look"

logger = logging.getLogger(__name__)


async def may_look(till: Till, partner: Partner, accounts: int = 1) -> bool:
    """Count looks of a partner, by whichever way; False where it has had those of its contract in this Moscow day.

    :raises TryLater: the database cannot be reached.
    """
    async with database(till.counter) as db:
        over = await spend_each(
            db,
            till.counter.door.vault,
            LOOK,
            {partner.client: accounts},
            partner.looks_a_day,
            moscow_date(till.now()),
        )
    if over:
        logger.warning("the partner %s has looked at %d accounts today", partner.client, partner.looks_a_day)
    return not over
