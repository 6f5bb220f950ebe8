"""Whoever holds a fresh bill of an account belongs to it: two things that stand on one bill, and that a stranger cannot know.

The things are three: the month with the sum to pay, the number of the meter, the current reading. What somebody can know
without the bill is no such thing, so

- nothing to pay, or what the norm alone makes, is no sum: a neighbour computes it;
- after a flat has changed hands only bills from the first period of the new household on count, only a reading that was sent
  since, and no meter that was there before: the household before it has old bills, and knows the meter;
- an old bill (more than six months) may lie in any bin.

A household without a meter has one of the three things at most: it is let in at the office, as is one without a bill yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bels.access.tenures import Tenure, is_account
from bels.domain.periods import MOSCOW, moscow_date, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period
from bels.journal.write import Db
from bels.projections import bills, overview
from bels.projections.bills import Bill

BILLS_MAX = 6
"""Months back in which a bill proves something."""

THINGS_MIN = 2
METER_LENGTH_MAX = 40


@dataclass(frozen=True, slots=True)
class BillProof:
    """What somebody says to stand on the bill of ``period``: «К оплате», «Прибор учёта №», «Текущее показание» of any zone."""

    period: Period
    to_pay: Decimal | None = None
    meter: str | None = None
    reading: int | None = None


async def proves(db: Db, account: str, given: BillProof, tenure: Tenure, now: datetime, rulebook: Rulebook) -> bool:
    """Say whether two things are given at least, and all that are given are right; why not is said to nobody."""
    earliest = max(tenure.period, shift(Period(f"{now.astimezone(MOSCOW):%Y-%m}"), -BILLS_MAX))
    if not (is_account(account) and given.period >= earliest):
        return False
    bill = await bills.find(db, account, given.period, rulebook)
    if bill is None:
        return False
    things = [
        right
        for said, right in (
            (given.to_pay, _sum_is(bill, given.to_pay)),
            (given.meter, _meter_is(bill, given.meter, await _known_before(db, account, tenure))),
            (given.reading, _reading_is(bill, given.reading, tenure)),
        )
        if said is not None
    ]
    return len(things) >= THINGS_MIN and all(things)


def _sum_is(bill: Bill, said: Decimal | None) -> bool:
    by_norm_alone = bill.norm is not None and bill.to_pay == bill.charged
    return bill.to_pay > 0 and not by_norm_alone and said is not None and said.is_finite() and said == bill.to_pay


def _meter_is(bill: Bill, said: str | None, known_before: frozenset[str]) -> bool:
    if said is None or len(said) > METER_LENGTH_MAX:
        return False
    return _plain(said) in {_plain(reading.meter) for reading in bill.readings} - known_before - {""}


def _reading_is(bill: Bill, said: int | None, tenure: Tenure) -> bool:
    since = moscow_date(tenure.since) if tenure.since is not None else None
    return said is not None and said in {
        reading.current
        for reading in bill.readings
        # The day of the sale itself is the old household's too: the last reading is often taken together.
        if reading.current_on is not None and (since is None or reading.current_on > since)
    }


async def _known_before(db: Db, account: str, tenure: Tenure) -> frozenset[str]:
    """Give the numbers of meters that the household before knew: all but one installed since."""
    if tenure.number == 1:
        return frozenset()
    rows = await db.fetch(
        "SELECT DISTINCT meter FROM reading WHERE account = $1 AND entry <= $2 AND meter IS NOT NULL",
        account,
        tenure.entry,
    )
    known = (await overview.find(db, [account])).get(account)
    carried = {known.meter.number} if known and known.meter and known.meter.entry <= tenure.entry else set()
    return frozenset(_plain(number) for number in {row["meter"] for row in rows} | carried)


def _plain(number: str) -> str:
    """Read the number of a meter as it may be written: «№ 0110-70118» is 11070118."""
    return "".join(c for c in number.casefold() if c.isalnum()).lstrip("0")
