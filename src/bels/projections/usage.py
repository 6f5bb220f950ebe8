"""Usage by period, with the recalculations: what was billed, how, and what now stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bels.domain.events import Average, Norm, PeriodCarriedOver, PeriodClosed, UsageLine, UsageRecalculated
from bels.domain.rulebook import Rulebook
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
    PRIMARY KEY (account, entry)
);
"""
NAME = "usage"
TABLES = ("usage", "recalculation")

COLUMNS = """
    account text, period text, entry bigint, closed_at timestamptz, recorded_at timestamptz, mode text, usage json,
    stands json, lines json, missed int, average json, norm json, settlement text, deferred boolean, carried boolean,
    rulebook text"""

INSERT = f"INSERT INTO usage SELECT * FROM {given(COLUMNS)}"

RECALCULATION = """
    account text, entry bigint, posted_in text, period text, recorded_at timestamptz, reason text, rule text, before json,
    after json"""

RECALCULATED = f"INSERT INTO recalculation SELECT * FROM {given(RECALCULATION)}"

STANDING = "account text, period text, stands json"

STANDS = f"""
UPDATE usage SET stands = given.stands FROM {given(STANDING)}
 WHERE usage.account = given.account AND usage.period = given.period
"""


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the closed periods and the recalculations that entries bring."""
    closed: dict[tuple[str, str], list[Any]] = {}
    recalculated: list[tuple[Any, ...]] = []
    stands: dict[tuple[str, str], msgspec.Raw | None] = {}
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
                    ]
                case UsageRecalculated():
                    after = json(event.after)
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
                        )
                    )
                    if (account, event.period) in closed:
                        closed[account, event.period][7] = after
                    else:
                        stands[account, event.period] = after
                case PeriodCarriedOver():
                    usage = json(event.usage)
                    missed = 1 if event.estimated else 0
                    closed[account, event.period] = [
                        account, event.period, entry.version, None, entry.recorded_at, event.mode.value, usage, usage,
                        json(()), missed, None, None, None, False, True, None,
                    ]  # fmt: skip
                case _:
                    pass
    return [
        Write(INSERT, COLUMNS, [tuple(row) for row in closed.values()]),
        Write(RECALCULATED, RECALCULATION, recalculated),
        Write(STANDS, STANDING, [(account, period, after) for (account, period), after in stands.items()]),
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


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A closed period: ``usage`` as billed at its closing, ``stands`` after all recalculations."""

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
    recalculations: tuple[RecalculationRow, ...] = ()


_kwh = msgspec.json.Decoder(dict[str, int]).decode
_lines = msgspec.json.Decoder(tuple[UsageLine, ...]).decode
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
        "SELECT entry, posted_in, period, reason, rule, before, after FROM recalculation"
        " WHERE account = $1 AND posted_in = ANY($2::text[]) ORDER BY entry",
        account,
        [row["period"] for row in rows],
    )
    for row in recalculated:
        values = dict(row)
        values["before"], values["after"] = _kwh(values["before"]), _kwh(values["after"])
        posted.setdefault(row["posted_in"], []).append(RecalculationRow(**values))
    return [_usage(row, tuple(posted.get(row["period"], ()))) for row in rows]


def _usage(row: Any, recalculations: tuple[RecalculationRow, ...]) -> UsageRow:
    values = dict(row)
    values["usage"], values["stands"] = _kwh(values["usage"]), _kwh(values["stands"])
    values["lines"] = _lines(values["lines"])
    values["average"] = _average(values["average"]) if values["average"] is not None else None
    values["norm"] = _norm(values["norm"]) if values["norm"] is not None else None
    return UsageRow(**values, recalculations=recalculations)
