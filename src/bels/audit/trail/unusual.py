"""Search for what is unusual: one statement for each pattern, over a window of time, by the keys of the index.

Every statement gives rows of one shape: ``key`` (its own in the order of count and key), actor, count, kwh, amount, the first and last
moment, how many accounts, some of them, and some entries as ``account/entry``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from bels.audit.trail.finding import limited
from bels.audit.trail.patterns import Thresholds, UnusualPattern
from bels.domain.terms import Money

DAYS_MAX = 400
"""The longest window."""
SHOWN_MAX = 20
"""Entries and accounts that a row names; the others are found by the trail itself."""
WAIT_S = 30
"""How long a statement may take."""
REMEDY = "ask for a shorter time (since, until)"
ACCOUNTS_AT_ONCE = 5_000
SLICES_MAX = 10
"""Households are looked through slice by slice; a question looks at so many, and says where to go on."""

Key = tuple[int, str]
"""Where a row stands: its count, downwards, and its key."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """A find: whose entries they are (None: of several), how many, kWh and roubles of all of them, and where to look.

    ``accounts`` and ``entries`` name the first ``SHOWN_MAX``; ``account_count`` counts all.
    """

    key: str
    actor: str | None
    count: int
    kwh: int | None
    amount: Money | None
    since: datetime
    until: datetime
    account_count: int
    accounts: tuple[str, ...]
    entries: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of finds; ``resume`` is where to go on where there may be more, None where there is none."""

    rows: tuple[Unusual, ...]
    resume: Key | None


# What every group tells of its entries.
_GROUP = f"""
       count(*) AS count, sum(t.kwh)::bigint AS kwh, sum(t.amount) AS amount,
       min(t.recorded_at) AS since, max(t.recorded_at) AS until, count(DISTINCT t.account) AS account_count,
       (array_agg(DISTINCT t.account))[:{SHOWN_MAX}] AS accounts,
       (array_agg(t.account || '/' || t.entry ORDER BY t.recorded_at, t.id))[:{SHOWN_MAX}] AS entries"""

# What a find of one entry tells.
_SINGLE = """
       1::bigint AS count, t.kwh, t.amount, t.recorded_at AS since, t.recorded_at AS until, 1::bigint AS account_count,
       ARRAY[t.account] AS accounts"""

_WINDOW = "t.recorded_at >= $1 AND t.recorded_at < $2"

_CORRECTIONS = f"""
SELECT t.actor AS key, t.actor,{_GROUP}
  FROM trail t
 WHERE t.channel = 'office' AND {_WINDOW}
   AND t.kind IN ('ReadingConfirmed', 'ReadingRejected', 'ReadingSuperseded', 'PaymentReversed', 'PaymentMovedOut', 'RefundMade')
 GROUP BY t.actor HAVING count(*) >= $3
"""

_REVERSALS = f"""
SELECT t.actor AS key, t.actor,{_GROUP}
  FROM trail t
 WHERE t.kind IN ('PaymentReversed', 'RefundMade') AND t.channel = 'office' AND {_WINDOW}
 GROUP BY t.actor HAVING count(*) >= $3 OR sum(t.amount) >= $4
"""

_MOVED = f"""
SELECT t.account AS key, CASE WHEN count(DISTINCT t.actor) = 1 THEN min(t.actor) END AS actor,{_GROUP}
  FROM trail t
 WHERE t.kind = 'PaymentMovedIn' AND {_WINDOW}
 GROUP BY t.account HAVING count(*) >= $3 OR sum(t.amount) >= $4
"""

_SENDER = f"""
SELECT t.actor AS key, t.actor,{_GROUP}
  FROM trail t
 WHERE t.channel IN ('sms', 'voice', 'email', 'telegram', 'max') AND t.kind IN ('ReadingAccepted', 'ReadingHeld') AND {_WINDOW}
   AND t.actor NOT LIKE '%:unknown' AND t.actor NOT LIKE 'gateway:%'
 GROUP BY t.actor HAVING count(DISTINCT t.account) >= $3
"""

_HOURS = f"""
SELECT t.actor AS key, t.actor,{_GROUP}
  FROM trail t
 WHERE t.channel = 'office' AND {_WINDOW}
   AND (extract(isodow FROM t.recorded_at AT TIME ZONE 'Europe/Moscow') > 5
        OR extract(hour FROM t.recorded_at AT TIME ZONE 'Europe/Moscow') < $4
        OR extract(hour FROM t.recorded_at AT TIME ZONE 'Europe/Moscow') >= $5)
 GROUP BY t.actor HAVING count(*) >= $3
"""

_INSPECTOR = f"""
SELECT t.actor AS key, t.actor,{_GROUP}
  FROM trail t
 CROSS JOIN LATERAL (
       SELECT bool_and(shown.value::bigint % 10 = 0) AS is_round
         FROM reading r, json_each_text(r."values") AS shown
        WHERE r.account = t.account AND r.entry = t.entry
       OFFSET 0) AS display
 WHERE t.kind = 'ControlReadingTaken' AND {_WINDOW} AND display.is_round
 GROUP BY t.actor
HAVING count(*) >= $3
   AND count(*) * 100 >= $4 * (SELECT count(*) FROM trail a
                                WHERE a.kind = 'ControlReadingTaken' AND a.actor = t.actor
                                  AND a.recorded_at >= $1 AND a.recorded_at < $2)
"""

# Where the previous reading was wrong, the kWh that were held are those of a whole turn of the display: nobody used them.
_CONFIRMED = f"""
SELECT t.account || '/' || t.entry AS key, t.actor, 1::bigint AS count, held.kwh, t.amount, held.recorded_at AS since,
       t.recorded_at AS until, 1::bigint AS account_count, ARRAY[t.account] AS accounts,
       ARRAY[held.account || '/' || held.entry, t.account || '/' || t.entry] AS entries
  FROM trail t
 CROSS JOIN LATERAL (
       SELECT * FROM trail WHERE account = t.account AND entry = t.refers OFFSET 0) AS held
 WHERE t.kind = 'ReadingConfirmed' AND t.channel = 'office' AND {_WINDOW} AND held.kind = 'ReadingHeld'
   AND ((held.actor = t.actor AND t.recorded_at - held.recorded_at <= make_interval(mins => $3))
        OR (held.kwh >= $4
            AND NOT EXISTS (SELECT FROM reading r
                             WHERE r.account = held.account AND r.entry = held.entry AND r.kind = 'PREVIOUS_WRONG')))
"""

# The first head of the account that a seal knows at or after the closing is that of the seal which first vouched for it.
_LATE = f"""
SELECT t.account || '/' || t.entry AS key, t.actor,{_SINGLE}, ARRAY[t.account || '/' || c.entry, t.account || '/' || t.entry] AS entries
  FROM trail t
 CROSS JOIN LATERAL (
       SELECT entry FROM trail
        WHERE account = t.account AND entry < t.entry AND kind = 'PeriodClosed'
          AND period = CASE WHEN t.kind = 'ReadingConfirmed' THEN t.period
                            ELSE to_char(t.happened_at AT TIME ZONE 'Europe/Moscow', 'YYYY-MM') END
        ORDER BY entry LIMIT 1) AS c
 CROSS JOIN LATERAL (
       SELECT s.sealed_at FROM sealed_head h, seal s
        WHERE h.account = t.account AND h.version >= c.entry AND s.number = h.seal
        ORDER BY h.seal LIMIT 1) AS sealed
 WHERE t.kind IN ('MeterInstalled', 'MeterRemoved', 'MeterRestored', 'MeterFailed', 'ControlReadingTaken', 'AccessRefused',
                  'InterferenceFound', 'ResidentsChanged', 'TemporaryResidentsRegistered', 'AbsenceRegistered', 'ReadingConfirmed')
   AND {_WINDOW} AND sealed.sealed_at < t.recorded_at
   AND (t.kind = 'ReadingConfirmed' OR t.recorded_at - t.happened_at >= make_interval(days => $3))
"""

# The first three readings are what the others are compared with; whoever uses nothing is not judged.
_AVERAGE = f"""
SELECT t.account AS key, CASE WHEN count(DISTINCT t.actor) = 1 THEN min(t.actor) END AS actor,{_GROUP}
  FROM (SELECT *, avg(kwh) OVER before AS mean, count(*) OVER before AS known
          FROM trail
         WHERE account > $4 AND account <= $5 AND kind = 'ReadingAccepted' AND recorded_at >= $1 AND recorded_at < $2
        WINDOW before AS (PARTITION BY account ORDER BY entry ROWS BETWEEN 6 PRECEDING AND 1 PRECEDING)) AS t
 WHERE t.known >= 3
 GROUP BY t.account
HAVING count(*) >= $3 AND bool_and(t.kwh > 0 AND abs(t.kwh - t.mean) <= 0.5)
"""

_NEXT_HOUSEHOLDS = "SELECT account FROM overview WHERE account > $1 ORDER BY account LIMIT $2"


def _given(pattern: UnusualPattern, at: Thresholds) -> tuple[str, list[Any]]:
    """Give a pattern's statement and what it is given after the window."""
    statements: Mapping[UnusualPattern, tuple[str, list[Any]]] = {
        UnusualPattern.MANY_CORRECTIONS_BY_ONE_OPERATOR: (_CORRECTIONS, [at.count]),
        UnusualPattern.REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR: (_REVERSALS, [at.count, at.roubles]),
        UnusualPattern.HELD_THEN_CONFIRMED: (_CONFIRMED, [at.minutes, at.kwh]),
        UnusualPattern.LATE_CHANGES_AFTER_SEALING: (_LATE, [at.days]),
        UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT: (_MOVED, [at.count, at.roubles]),
        UnusualPattern.ONE_SENDER_FOR_MANY_ACCOUNTS: (_SENDER, [at.count]),
        UnusualPattern.ROUND_READINGS_BY_ONE_INSPECTOR: (_INSPECTOR, [at.count, at.percent]),
        UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS: (_HOURS, [at.count, at.from_hour, at.until_hour]),
        UnusualPattern.READINGS_EQUAL_TO_AVERAGE: (_AVERAGE, [at.count]),
    }
    return statements[pattern]


async def unusual(
    pool: asyncpg.Pool,
    pattern: UnusualPattern,
    since: datetime,
    until: datetime,
    at: Thresholds,
    after: Key | None,
    size: int,
) -> Page:
    """Search for a pattern in entries recorded from ``since`` until ``until``, at most ``DAYS_MAX`` days: the most first.

    Households whose readings equal their average are in the order of their numbers.

    :raises TooWideError: it takes too long; a shorter window does not.
    """
    until = min(until, since + timedelta(days=DAYS_MAX))
    statement, given = _given(pattern, at)
    if pattern is UnusualPattern.READINGS_EQUAL_TO_AVERAGE:
        return await _by_households(
            pool, statement, [since, until, *given], after[1] if after is not None else "", size
        )
    values = [since, until, *given]
    n = len(values)
    paged = (
        f"SELECT * FROM ({statement}) AS found"
        f" WHERE ${n + 1}::bigint IS NULL OR count < ${n + 1} OR (count = ${n + 1} AND key > ${n + 2}::text)"
        f" ORDER BY count DESC, key LIMIT ${n + 3}"
    )
    async with pool.acquire() as db, limited(db, WAIT_S, REMEDY):
        rows = await db.fetch(paged, *values, *(after or (None, None)), size + 1)
    found = tuple(_row(row) for row in rows[:size])
    return Page(found, (found[-1].count, found[-1].key) if len(rows) > size else None)


async def _by_households(pool: asyncpg.Pool, statement: str, values: list[Any], after: str, size: int) -> Page:
    found: list[Unusual] = []
    for _ in range(SLICES_MAX):
        async with pool.acquire() as db, limited(db, WAIT_S, REMEDY):
            numbers = await db.fetch(_NEXT_HOUSEHOLDS, after, ACCOUNTS_AT_ONCE)
            if not numbers:
                return Page(tuple(found), None)
            last = numbers[-1]["account"]
            rows = await db.fetch(f"{statement} ORDER BY key", *values, after, last)
        found += map(_row, rows)
        if len(found) > size:
            return Page(tuple(found[:size]), (found[size - 1].count, found[size - 1].key))
        after = last
    return Page(tuple(found), (0, after))


def _row(row: asyncpg.Record) -> Unusual:
    found = Unusual(**row)
    entries = tuple((account, int(entry)) for account, _, entry in (each.partition("/") for each in row["entries"]))
    return replace(found, accounts=tuple(row["accounts"]), entries=entries)
