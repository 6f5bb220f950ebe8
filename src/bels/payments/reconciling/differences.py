"""Differences between the three books of a day: each of a named kind, worked off by an operator with a ground (partners 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from bels.domain.terms import Money
from bels.journal.write import Db

LISTED_MAX = 1_000
ANSWER_DAYS_MAX = 90


class DifferenceKind(StrEnum):
    """What differs."""

    REGISTER_MISSING = "REGISTER_MISSING"
    ONLY_IN_REGISTER = "ONLY_IN_REGISTER"
    ONLY_IN_BELS = "ONLY_IN_BELS"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    ACCOUNT_DIFFERS = "ACCOUNT_DIFFERS"
    DATE_DIFFERS = "DATE_DIFFERS"
    DUPLICATE = "DUPLICATE"
    UNALLOCATED = "UNALLOCATED"
    REVERSED_BUT_PAID = "REVERSED_BUT_PAID"
    FEE_DIFFERS = "FEE_DIFFERS"
    TRANSFER_MISSING = "TRANSFER_MISSING"
    TRANSFER_DIFFERS = "TRANSFER_DIFFERS"


class Side(StrEnum):
    """Which two sums a difference explains: their book and ours, their fee and the agreed one, the transfer and the net sum."""

    BOOK = "BOOK"
    FEE = "FEE"
    TRANSFER = "TRANSFER"


class DifferenceState(StrEnum):
    """What became of a difference."""

    OPEN = "OPEN"
    EXPLAINED = "EXPLAINED"
    CORRECTED = "CORRECTED"
    ASKED_BANK = "ASKED_BANK"
    CLEARED = "CLEARED"


class Act(StrEnum):
    """What is kept of a day's work."""

    FOUND = "FOUND"
    REOPENED = "REOPENED"
    CLEARED = "CLEARED"
    EXPLAINED = "EXPLAINED"
    CORRECTED = "CORRECTED"
    ASKED_BANK = "ASKED_BANK"
    DAY_CLOSED = "DAY_CLOSED"
    DAY_REOPENED = "DAY_REOPENED"
    TRANSFER_MATCHED = "TRANSFER_MATCHED"


WORKED = (DifferenceState.EXPLAINED, DifferenceState.CORRECTED, DifferenceState.ASKED_BANK)
"""How an operator closes a difference."""

IN_RUSSIAN = {
    DifferenceKind.REGISTER_MISSING: "реестр за день не получен",
    DifferenceKind.ONLY_IN_REGISTER: "есть в реестре, у нас не зачислен",
    DifferenceKind.ONLY_IN_BELS: "есть у нас, в реестре нет: запросить банк",
    DifferenceKind.AMOUNT_DIFFERS: "суммы различаются",
    DifferenceKind.ACCOUNT_DIFFERS: "лицевые счета различаются",
    DifferenceKind.DATE_DIFFERS: "дни операции различаются",
    DifferenceKind.DUPLICATE: "повтор платежа в реестре",
    DifferenceKind.UNALLOCATED: "невыясненный платёж",
    DifferenceKind.REVERSED_BUT_PAID: "у нас отменён, в реестре оплачен",
    DifferenceKind.FEE_DIFFERS: "комиссия не по договору",
    DifferenceKind.TRANSFER_MISSING: "перечисление не поступило",
    DifferenceKind.TRANSFER_DIFFERS: "перечислена другая сумма",
}
STATES_IN_RUSSIAN = {
    DifferenceState.OPEN: "не разобрано",
    DifferenceState.EXPLAINED: "объяснено",
    DifferenceState.CORRECTED: "исправлено",
    DifferenceState.ASKED_BANK: "запрошен банк",
    DifferenceState.CLEARED: "снято: данные сошлись",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of a partner's day: ``amount`` roubles are what it adds to the difference of its side; see schema.sql."""

    number: int
    partner: str
    day: date
    kind: DifferenceKind
    side: Side
    external_id: str | None
    their_account: str | None
    our_account: str | None
    their_amount: Money | None
    our_amount: Money | None
    amount: Money
    other_day: date | None
    receipt: str | None
    detail: str | None
    state: DifferenceState
    found_at: datetime
    changed_at: datetime
    ground: str | None
    worked_by: str | None
    worked_at: datetime | None
    answer_by: date | None
    reopened: int


@dataclass(frozen=True, slots=True)
class ActRow:
    """What was done to a day or to one of its differences."""

    number: int
    difference: int | None
    act: Act
    by: str
    at: datetime
    ground: str | None


_COLUMNS = (
    "number, partner, day, kind, side, external_id, their_account, our_account, their_amount, our_amount, amount, other_day,"
    " receipt, detail, state, found_at, changed_at, ground, worked_by, worked_at, answer_by, reopened"
)


async def of_day(db: Db, partner: str, day: date, limit: int = LISTED_MAX) -> list[Difference]:
    """List the differences of a day, open ones first, the greatest sums first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM difference WHERE partner = $1 AND day = $2"
        " ORDER BY state <> 'OPEN', state = 'CLEARED', abs(amount) DESC, number LIMIT $3",
        partner,
        day,
        limit,
    )
    return [_difference(row) for row in rows]


async def find(db: Db, number: int) -> Difference | None:
    """Find a difference by its number."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM difference WHERE number = $1", number)
    return _difference(row) if row is not None else None


async def work_list(
    db: Db,
    state: DifferenceState | None,
    kind: DifferenceKind | None,
    partner: str | None,
    after: tuple[datetime, int] | None,
    limit: int,
) -> list[Difference]:
    """List the differences of a state, None for all, found first before the others."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM difference
         WHERE state = ANY($1::text[]) AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR partner = $3)
           AND ($4::timestamptz IS NULL OR (found_at, number) > ($4, $5::bigint))
         ORDER BY found_at, number LIMIT $6
        """,
        [state.value] if state is not None else [each.value for each in DifferenceState],
        kind.value if kind is not None else None,
        partner,
        *(after or (None, None)),
        limit,
    )
    return [_difference(row) for row in rows]


async def work(
    db: Db, number: int, state: DifferenceState, ground: str, answer_by: date | None, by: str, now: datetime
) -> Difference | None:
    """Close an open difference, or one that was closed otherwise; None where there is none to close.

    ``answer_by`` is the day by which a bank that was asked should have answered.
    """
    row = await db.fetchrow(
        f"""
        WITH worked AS (
            UPDATE difference SET state = $2, ground = $3, answer_by = $4, worked_by = $5, worked_at = $6, changed_at = $6
             WHERE number = $1 AND state <> 'CLEARED' RETURNING {_COLUMNS}
        ), told AS (
            INSERT INTO reconciling_act (partner, day, difference, act, by, at, ground)
            SELECT partner, day, number, state, $5, $6, $3 FROM worked
        )
        SELECT * FROM worked
        """,
        number,
        state.value,
        ground,
        answer_by,
        by,
        now,
    )
    return _difference(row) if row is not None else None


async def ask_again(db: Db, today: date, by: str, now: datetime) -> set[tuple[str, date]]:
    """Open again what a bank was asked about and did not answer in time; give the partners' days concerned."""
    rows = await db.fetch(
        """
        WITH late AS (
            UPDATE difference SET state = 'OPEN', reopened = reopened + 1, changed_at = $3
             WHERE state = 'ASKED_BANK' AND answer_by < $1 RETURNING number, partner, day
        ), told AS (
            INSERT INTO reconciling_act (partner, day, difference, act, by, at, ground)
            SELECT partner, day, number, 'REOPENED', $2, $3, 'банк не ответил к сроку' FROM late
        )
        SELECT partner, day FROM late
        """,
        today,
        by,
        now,
    )
    return {(row["partner"], row["day"]) for row in rows}


async def acts_of(db: Db, partner: str, day: date, limit: int = LISTED_MAX) -> list[ActRow]:
    """List what was done to a day, the newest last."""
    rows = await db.fetch(
        "SELECT number, difference, act, by, at, ground FROM reconciling_act WHERE partner = $1 AND day = $2"
        " ORDER BY number DESC LIMIT $3",
        partner,
        day,
        limit,
    )
    return [ActRow(**{**dict(row), "act": Act(row["act"])}) for row in reversed(rows)]


def _difference(row: object) -> Difference:
    told = dict(row)  # type: ignore[call-overload]  # a record is a mapping
    told["kind"] = DifferenceKind(told["kind"])
    told["side"] = Side(told["side"])
    told["state"] = DifferenceState(told["state"])
    return Difference(**told)
