"""Usage by period, with the recalculations: what was billed, how, and what now stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from bels.domain.events import (
    Average,
    Norm,
    PeriodCarriedOver,
    PeriodClosed,
    Step,
    UsageLine,
    UsageRecalculated,
)
from bels.domain.money_events import (
    ChargeLine,
)
from bels.domain.periods import shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Money, Period
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json

TABLE = """
CREATE TABLE usage (
    account       text NOT NULL,
    period        text NOT NULL,
    entry         bigint NOT NULL,
    closed_at     timestamptz,
    recorded_at   timestamptz NOT NULL,
    mode          text NOT NULL,
    usage         json NOT NULL,
    stands        json NOT NULL,
    lines         json NOT NULL,
    missed        int  NOT NULL,
    average       json,
    norm          json,
    settlement    text,
    deferred      boolean NOT NULL,
    carried       boolean NOT NULL,
    rulebook      text,
    charges       json NOT NULL,
    charged       numeric,
    recalculated  numeric,
    due_on        date,
    money         numeric,
    steps         json NOT NULL,
    PRIMARY KEY (account, period)
) WITH (fillfactor = 80);
CREATE TABLE recalculation (
    account       text NOT NULL,
    entry         bigint NOT NULL,
    posted_in     text NOT NULL,
    period        text NOT NULL,
    recorded_at   timestamptz NOT NULL,
    reason        text NOT NULL,
    rule          text NOT NULL,
    before        json NOT NULL,
    after         json NOT NULL,
    money_before  numeric,
    money_after   numeric,
    charges       json NOT NULL,
    rulebook      text,
    ground        text,
    PRIMARY KEY (account, entry)
);
"""
PERIODS_LOOKED_AT_MAX = 600
"""Periods back from the last open one in which a charge is looked for: fifty years."""

NAME = "usage"
TABLES = ("usage", "recalculation")

COLUMNS = """
    account text, period text, entry bigint, closed_at timestamptz, recorded_at timestamptz, mode text, usage json,
    stands json, lines json, missed int, average json, norm json, settlement text, deferred boolean, carried boolean,
    rulebook text, charges json, charged numeric, recalculated numeric, due_on date, money numeric,
    steps json"""

INSERT = f"INSERT INTO usage SELECT * FROM {given(COLUMNS)}"

RECALCULATION = """
    account text, entry bigint, posted_in text, period text, recorded_at timestamptz, reason text, rule text, before json,
    after json, money_before numeric, money_after numeric, charges json, rulebook text, ground text"""

RECALCULATED = f"INSERT INTO recalculation SELECT * FROM {given(RECALCULATION)}"

STANDING = "account text, period text, stands json, money numeric"

STANDS = f"""
UPDATE usage SET stands = given.stands, money = coalesce(given.money, usage.money) FROM {given(STANDING)}
 WHERE usage.account = given.account AND usage.period = given.period
"""


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the closed periods and the recalculations that entries bring."""
    closed: dict[tuple[str, str], list[Any]] = {}
    recalculated: list[tuple[Any, ...]] = []
    stands: dict[tuple[str, str], tuple[msgspec.Raw | None, Money | None]] = {}
    for change in changes:
        account = change.account.number
        for entry in change.entries:
            event = entry.event
            match event:
                case PeriodClosed():
                    usage = json(event.usage)
                    closed[account, event.period] = [
                        account,
                        event.period,
                        entry.version,
                        event.closed_at,
                        entry.recorded_at,
                        event.mode.value,
                        usage,
                        usage,
                        json(event.lines),
                        event.missed_in_a_row,
                        json(event.average),
                        json(event.norm),
                        event.settlement.value,
                        event.deferred,
                        False,
                        event.rulebook,
                        json(event.charges),
                        event.charged if event.due_on is not None else None,
                        event.recalculated if event.due_on is not None else None,
                        event.due_on,
                        event.charged if event.due_on is not None else None,
                        json(event.steps),
                    ]
                case UsageRecalculated():
                    after = json(event.after)
                    is_priced = bool(event.rulebook)
                    recalculated.append(
                        (
                            account,
                            entry.version,
                            event.posted_in,
                            event.period,
                            entry.recorded_at,
                            event.reason.value,
                            event.rule.value,
                            json(event.before),
                            after,
                            event.money_before if is_priced else None,
                            event.money_after if is_priced else None,
                            json(event.charges),
                            event.rulebook or None,
                            event.ground,
                        )
                    )
                    money = event.money_after if is_priced else None
                    if (account, event.period) in closed:
                        row = closed[account, event.period]
                        row[7], row[-2] = after, money if is_priced else row[-2]
                    else:
                        stands[account, event.period] = after, money
                case PeriodCarriedOver():
                    usage = json(event.usage)
                    missed = 1 if event.estimated else 0
                    closed[account, event.period] = [
                        account, event.period, entry.version, None, entry.recorded_at, event.mode.value, usage, usage,
                        json(()), missed, None, None, None, False, True, None, json(()), None, None, None, event.billed, json(()),
                    ]  # fmt: skip
                case _:
                    pass
    return [
        Write(INSERT, COLUMNS, [tuple(row) for row in closed.values()]),
        Write(RECALCULATED, RECALCULATION, recalculated),
        Write(STANDS, STANDING, [(account, period, *stood) for (account, period), stood in stands.items()]),
    ]


@dataclass(frozen=True, slots=True)
class RecalculationRow:
    """A recalculation: kWh of ``period`` before and after, posted with the bill of ``posted_in``."""

    entry: int
    posted_in: str
    period: str
    reason: str
    rule: str
    before: dict[str, int]
    after: dict[str, int]
    money_before: Money | None
    money_after: Money | None
    charges: tuple[ChargeLine, ...]
    rulebook: str | None
    ground: str | None

    @property
    def difference(self) -> Money | None:
        """What it added to its bill, in roubles."""
        if self.money_before is None or self.money_after is None:
            return None
        return self.money_after - self.money_before


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A closed period: ``usage`` as billed at its closing, ``stands`` after all recalculations.

    ``charged`` and ``recalculated`` roubles make its bill, due on ``due_on``; ``money`` is what stands charged for it now. None
    where a period was closed without telling money.
    """

    account: str
    period: str
    entry: int
    closed_at: datetime | None
    recorded_at: datetime
    mode: str
    usage: dict[str, int]
    stands: dict[str, int]
    lines: tuple[UsageLine, ...]
    missed: int
    average: Average | None
    norm: Norm | None
    settlement: str | None
    deferred: bool
    carried: bool
    rulebook: str | None
    charges: tuple[ChargeLine, ...]
    charged: Money | None
    recalculated: Money | None
    due_on: date | None
    money: Money | None
    steps: tuple[Step, ...]
    recalculations: tuple[RecalculationRow, ...] = ()

    @property
    def bill(self) -> Money | None:
        """The sum of its bill, in roubles."""
        return None if self.charged is None or self.recalculated is None else self.charged + self.recalculated


_kwh = msgspec.json.Decoder(dict[str, int]).decode
_lines = msgspec.json.Decoder(tuple[UsageLine, ...]).decode
_charges = msgspec.json.Decoder(tuple[ChargeLine, ...]).decode
_steps = msgspec.json.Decoder(tuple[Step, ...]).decode
_average = msgspec.json.Decoder(Average).decode
_norm = msgspec.json.Decoder(Norm).decode


async def page(
    db: Db, account: str, after: str | None, before: str | None, limit: int, backward: bool
) -> list[UsageRow]:
    """List a page of an account's closed periods, with the recalculations posted in each."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        "SELECT * FROM usage WHERE account = $1 AND ($2::text IS NULL OR period > $2)"
        f" AND ($3::text IS NULL OR period < $3) ORDER BY period {order} LIMIT $4",
        account,
        after,
        before,
        limit,
    )
    if not rows:
        return []
    posted: dict[str, list[RecalculationRow]] = {}
    recalculated = await db.fetch(
        "SELECT entry, posted_in, period, reason, rule, before, after, money_before, money_after, charges, rulebook, ground"
        " FROM recalculation"
        " WHERE account = $1 AND posted_in = ANY($2::text[]) ORDER BY entry",
        account,
        [row["period"] for row in rows],
    )
    for row in recalculated:
        values = dict(row)
        values["before"], values["after"] = _kwh(values["before"]), _kwh(values["after"])
        values["charges"] = _charges(values["charges"])
        posted.setdefault(row["posted_in"], []).append(RecalculationRow(**values))
    return [_usage(row, tuple(posted.get(row["period"], ()))) for row in rows]


async def year(db: Db, account: str, since: str, through: str) -> list[tuple[str, str, dict[str, int]]]:
    """List the periods after one through another, each with its mode and the kWh that stand billed."""
    rows = await db.fetch(
        "SELECT period, mode, stands FROM usage WHERE account = $1 AND period > $2 AND period <= $3 ORDER BY period",
        account,
        since,
        through,
    )
    return [(row["period"], row["mode"], _kwh(row["stands"])) for row in rows]


async def charged_through(db: Db) -> Period | None:
    """Give the last period that any account was charged for, None where none was."""
    bounds = await db.fetchrow(
        "SELECT (SELECT next_period FROM overview WHERE next_period <> '' ORDER BY next_period DESC LIMIT 1) AS last,"
        " (SELECT min(next_period) FROM overview WHERE next_period <> '') AS first"
    )
    if bounds is None or bounds["last"] is None:
        return None
    # Accounts that have come further than any charge are few: they were opened lately.
    period = shift(Period(bounds["last"]), -1)
    for _ in range(PERIODS_LOOKED_AT_MAX):
        charged = await db.fetchval(
            "SELECT EXISTS (SELECT FROM overview JOIN usage USING (account)"
            " WHERE next_period > $1 AND period = $1 AND charged IS NOT NULL)",
            period,
        )
        if charged:
            return period
        period = shift(period, -1)
    return None


def _usage(row: Any, recalculations: tuple[RecalculationRow, ...]) -> UsageRow:
    values = dict(row)
    values["usage"], values["stands"] = _kwh(values["usage"]), _kwh(values["stands"])
    values["lines"], values["charges"] = _lines(values["lines"]), _charges(values["charges"])
    values["steps"] = _steps(values["steps"])
    values["average"] = _average(values["average"]) if values["average"] is not None else None
    values["norm"] = _norm(values["norm"]) if values["norm"] is not None else None
    return UsageRow(**values, recalculations=recalculations)
