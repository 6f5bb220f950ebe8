"""What the scheduler asks for each night: yesterday, and every day that is open or of which something changed."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from bels.access.raw_texts import RawTexts
from bels.domain.periods import moscow_date
from bels.journal.write import Db
from bels.payments.partners import Partner, PartnersError
from bels.payments.reconciling.books import LATE_DAYS
from bels.payments.reconciling.contracts import terms_of
from bels.payments.reconciling.differences import ask_again
from bels.payments.reconciling.three_ways import SYSTEM, digest_of, facts_of, plan_freely, reconcile
from bels.payments.reconciling.transfers import match_by_itself
from bels.payments.till import Till
from bels.reception.counter import database

LOOKS_BACK_DAYS = 35
"""So many days are looked at each night, closed or not: registers come late, payments are reversed. Older ones while they are open."""

OLDER_DAYS_MAX = 1_000
"""Older days of a partner that are open, in one night."""


async def reconcile_due(till: Till, now: datetime) -> int:
    """Compare every day of every partner of which something changed, or on which waiting has ended; count them.

    A day whose facts are the same as when it was last compared costs a look alone. Run again, or twice at once, nothing changes.

    :raises TryLater: the database cannot be reached.
    :raises PartnersError: a contract cannot be used.
    """
    partners = till.partners.partners
    for partner in partners:
        terms_of(partner)
    count = 0
    async with database(till.counter) as db:
        asked = await ask_again(db, moscow_date(now), SYSTEM, now)
        for partner in partners:
            again = {day for client, day in asked if client == partner.client}
            count += await _reconcile_due(db, till.counter.door.raw_texts, partner, now, again)
    return count


async def reconcile_days(db: Db, texts: RawTexts, partner: Partner, days: set[date], now: datetime) -> int:
    """Compare days, and the other days that their payments stand on; count them."""
    to_do, done = set(days), set[date]()
    while to_do:
        day = min(to_do)
        _, others = await reconcile(db, texts, partner, day, now)
        done.add(day)
        to_do = (to_do | others) - done
    return len(done)


def check_contracts(partners: tuple[Partner, ...]) -> None:
    """Check what contracts say of reconciling, before anything is served.

    :raises PartnersError: one cannot be used, or two partners are paid for by the same payer.
    """
    payers: dict[str, str] = {}
    for partner in partners:
        terms = terms_of(partner)
        for payer in (*terms.payers, *terms.accounts):
            if payers.setdefault(payer, partner.name) != partner.name:
                raise PartnersError(f"{payer} transfers for {payers[payer]} and for {partner.name}: one of the two")


async def _reconcile_due(db: Db, texts: RawTexts, partner: Partner, now: datetime, again: set[date]) -> int:
    today = moscow_date(now)
    first = today - timedelta(days=LOOKS_BACK_DAYS)
    async with db.transaction():
        await plan_freely(db)
        facts = await facts_of(db, partner, first, today - timedelta(days=1))
        older = await db.fetch(
            "SELECT day FROM reconciliation WHERE partner = $1 AND state = 'OPEN' AND day < $2 ORDER BY day DESC LIMIT $3",
            partner.client,
            first,
            OLDER_DAYS_MAX,
        )
        late = await db.fetch(LATE_DAYS, partner.client, first)
        for row in (*older, *late):
            facts.update(await facts_of(db, partner, row["day"], row["day"]))
        known = await db.fetch(
            "SELECT day, facts, look_again_at FROM reconciliation WHERE partner = $1 AND (day >= $2 OR state = 'OPEN')",
            partner.client,
            first,
        )
    looked = {row["day"]: row["facts"] for row in known}
    due = {day for day, told in facts.items() if looked.get(day) != told}
    due |= {row["day"] for row in known if row["look_again_at"] is not None and row["look_again_at"] <= now}
    # What was there and is gone, for example a transfer matched to another day.
    nothing = digest_of(terms_of(partner), "")
    due |= {row["day"] for row in known if row["day"] not in facts and row["day"] < today and row["facts"] != nothing}
    due |= again | _expected(partner, first, today, set(looked))
    count = await reconcile_days(db, texts, partner, due, now)
    # What a day comes to is known now, so that its transfer can be.
    return count + await reconcile_days(db, texts, partner, await match_by_itself(db, partner, SYSTEM, now), now)


def _expected(partner: Partner, first: date, today: date, looked: set[date]) -> set[date]:
    """List the days for which a register must come, also an empty one, and that nobody looked at."""
    terms = terms_of(partner)
    if not terms.expects_register or terms.since is None:
        return set()
    start = max(first, terms.since)
    return {start + timedelta(days=i) for i in range((today - start).days)} - looked
