"""How an account is estimated: mode, missed periods, the average and what it rests on, and what silence will be billed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from bels.domain.account import Account
from bels.domain.events import Average
from bels.domain.forecast_estimate import Silent, forecast_estimate
from bels.domain.money_events import PaymentMovedIn, PaymentMovedOut, PaymentReceived, PaymentReversed, RefundMade
from bels.domain.rulebook import Rulebook
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json

TABLE = """
CREATE TABLE estimation (
    account         text PRIMARY KEY,
    mode            text,
    since           text,
    missed_in_a_row int  NOT NULL,
    periods_left    int  NOT NULL,
    inspection_due  date,
    average         json,
    average_since   json,
    average_until   json,
    silent          json NOT NULL,
    rulebook        text NOT NULL
) WITH (fillfactor = 80);
"""
NAME = "estimation"
TABLES = ("estimation",)

COLUMNS = """
    account text, mode text, since text, missed_in_a_row int, periods_left int, inspection_due date, average json,
    average_since json, average_until json, silent json, rulebook text"""

WRITE = f"""
INSERT INTO estimation SELECT * FROM {given(COLUMNS)}
ON CONFLICT (account) DO UPDATE SET
    mode = excluded.mode, since = excluded.since, missed_in_a_row = excluded.missed_in_a_row,
    periods_left = excluded.periods_left, inspection_due = excluded.inspection_due, average = excluded.average,
    average_since = excluded.average_since, average_until = excluded.average_until, silent = excluded.silent,
    rulebook = excluded.rulebook
"""


_MONEY = frozenset((PaymentReceived, PaymentReversed, PaymentMovedIn, PaymentMovedOut, RefundMade))
"""Whoever pays changes nothing of what silence will be billed: a register of payments need not tell it again."""


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the row of every changed account. The forecast is told under the rules of the day (docs/decisions/0002)."""
    rows = [_row(c.account, rulebook) for c in changes if c.account.next_period and not _is_money(c)]
    return [Write(WRITE, COLUMNS, rows)]


def _is_money(change: Change) -> bool:
    return all(type(entry.event) in _MONEY for entry in change.entries)


def _row(account: Account, rulebook: Rulebook) -> tuple[Any, ...]:
    forecast = forecast_estimate(account, rulebook)
    average = forecast.average
    return (
        account.number,
        account.mode.value if account.mode is not None else None,
        account.mode_since,
        account.missed_in_a_row,
        forecast.periods_left,
        account.inspection_due,
        json(average),
        _reading(account, average.since) if average is not None else None,
        _reading(account, average.until) if average is not None else None,
        json(forecast.silent),
        rulebook.version,
    )


def _reading(account: Account, entry: int) -> msgspec.Raw | None:
    reading = next((r for r in account.readings if r.entry == entry), None)
    if reading is None:
        return None
    return json({"entry": reading.entry, "at": reading.at, "period": reading.period, "values": reading.values})


@dataclass(frozen=True, slots=True)
class AverageReading:
    """A reading on which the average rests."""

    entry: int
    at: datetime
    period: str
    values: dict[str, int]


@dataclass(frozen=True, slots=True)
class EstimationRow:
    """How an account is estimated. ``silent`` lists the coming periods that have no reading yet."""

    account: str
    mode: str | None
    since: str | None
    missed_in_a_row: int
    periods_left: int
    inspection_due: date | None
    average: Average | None
    average_since: AverageReading | None
    average_until: AverageReading | None
    silent: tuple[Silent, ...]
    rulebook: str


_average = msgspec.json.Decoder(Average).decode
_average_reading = msgspec.json.Decoder(AverageReading).decode
_silent = msgspec.json.Decoder(tuple[Silent, ...]).decode


async def find(db: Db, accounts: Sequence[str]) -> dict[str, EstimationRow]:
    """Find how accounts are estimated."""
    rows = await db.fetch("SELECT * FROM estimation WHERE account = ANY($1::text[])", list(accounts))
    return {row["account"]: _estimation(row) for row in rows}


def _estimation(row: Any) -> EstimationRow:
    values = dict(row)
    values["silent"] = _silent(values["silent"])
    values["average"] = _average(values["average"]) if values["average"] is not None else None
    for name in ("average_since", "average_until"):
        values[name] = _average_reading(values[name]) if values[name] is not None else None
    return EstimationRow(**values)
