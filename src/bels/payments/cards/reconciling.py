"""A day's operations of MONETA against ours: it completes without our answer after its repeats, so its list has the last word.

An operation that MONETA could not tell us of for 26 to 27 hours is of the day before yesterday when it completes: a look at a day
takes in the days before it. What is done there and unknown here is booked now; what is booked here and not there is a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money
from bels.journal.write import Db
from bels.outgoing.moneta import CANCELED, SUCCEED, MonetaApi, Operation
from bels.payments.cards.booking import (
    Booked,
    Completed,
    DifferenceKind,
    Doubted,
    Source,
    book,
    note_difference,
)
from bels.payments.cards.contract import Cards
from bels.payments.cards.fiscal import finish_fiscal
from bels.payments.cards.orders import fail_orders, find_order
from bels.payments.cards.refunds import Returned, confirm_return, returned_operation
from bels.reception.counter import database

LOOK_BACK_DAYS = 2
"""MONETA repeats for up to 27 hours, and begins as late as midnight."""

RETURN_SOON = timedelta(days=5)
"""So long before the payer must have its money back a return is worked on by hand."""

RECEIPT_LATE = timedelta(days=1)
"""A receipt is due by the next working day (54-ФЗ); after so long the office sees to it."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a look at a day found: operations ``there`` and their sum in roubles, how many were booked or returned only now."""

    day: date
    there: int
    total: Money
    booked: int
    returned: int
    differences: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What MONETA says otherwise than we do; sums in roubles, None where one side has none."""

    number: int
    operation: str
    kind: DifferenceKind
    order_id: str | None
    there: Money | None
    here: Money | None
    found_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    note: str | None


def span_of(day: date) -> tuple[datetime, datetime]:
    """Give the time whose operations a look at a Moscow day needs: of the day itself and of those before it."""
    start = datetime.combine(day - timedelta(days=LOOK_BACK_DAYS), time(), MOSCOW)
    return start, datetime.combine(day + timedelta(days=1), time(), MOSCOW)


async def reconcile_with_moneta(cards: Cards, api: MonetaApi, day: date) -> Reconciled:
    """Ask MONETA for the operations of a day and compare them with ours.

    :raises MonetaAway: MONETA does not answer.
    :raises MonetaRefused: it does not let us.
    :raises TryLater: the database cannot be reached; what was booked stays booked.
    """
    return await reconcile_day(cards, day, await api.operations(*span_of(day)))


async def reconcile_day(cards: Cards, day: date, operations: Sequence[Operation]) -> Reconciled:
    """Compare MONETA's operations of ``span_of(day)`` with ours; again it changes nothing.

    :raises TryLater: the database cannot be reached; what was booked stays booked.
    """
    # What left our account otherwise is our own doing: MONETA transfers to our bank what it has taken for us.
    came = [each for each in operations if not each.is_return and not each.is_out]
    done = [each for each in came if each.is_done]
    failed = [each.transaction for each in came if each.status == CANCELED]
    async with database(cards.till.counter) as db:
        known = await _known(db, done)
        await fail_orders(db, failed, cards.now(), CANCELED)
    booked = returned = 0
    # Most were told by their notices, and are known: only the others are gone through one by one.
    for operation in done:
        if operation.id not in known:
            booked += await _book(cards, operation)
    for operation in operations:
        if operation.is_return and operation.status == SUCCEED:
            returned += await _return(cards, operation)
    async with database(cards.till.counter) as db:
        await _note_missing(db, cards, day, [each.id for each in done])
        await _note_late(db, cards)
        await _finish_receipts(db, done)
        open_differences = await db.fetchval("SELECT count(*) FROM card_difference WHERE closed_at IS NULL")
    of_day = [each for each in done if each.at is None or each.at.astimezone(MOSCOW).date() == day]
    total = sum((each.amount for each in of_day), ZERO)
    return Reconciled(day, len(of_day), total, booked, returned, open_differences)


async def _book(cards: Cards, operation: Operation) -> bool:
    # While MONETA still awaits our answer, only what fits is taken: of the rest nobody knows yet that it will complete.
    source = Source.LIST if operation.status == SUCCEED else Source.NOTICE
    outcome = await book(
        cards,
        Completed(
            operation.id,
            operation.transaction,
            operation.amount,
            operation.at or cards.now(),
            source,
            operation.currency,
        ),
    )
    if isinstance(outcome, Doubted) and outcome.kind is DifferenceKind.OPERATION_DIFFERS:
        async with database(cards.till.counter) as db:
            await note_difference(
                db,
                cards,
                operation.id,
                outcome.kind,
                await find_order(db, operation.transaction),
                operation.amount,
            )
    return isinstance(outcome, Booked) and outcome.is_new


async def _return(cards: Cards, operation: Operation) -> bool:
    original = operation.parent
    if original is None:
        original = await returned_operation(cards, operation.transaction, asked_only=False)
    returned = await confirm_return(cards, original or "", operation.id, operation.amount)
    return isinstance(returned, Returned) and returned.is_new


async def _note_missing(db: Db, cards: Cards, day: date, there: Sequence[str]) -> None:
    """Note what is booked here as paid on a day and is not done at MONETA; close it where it is, after all."""
    start, end = datetime.combine(day, time(), MOSCOW), datetime.combine(day + timedelta(days=1), time(), MOSCOW)
    await db.execute(
        """
        INSERT INTO card_difference (operation, kind, order_id, here, found_at)
        SELECT operation, $4, order_id, total, $5 FROM card_operation
        WHERE paid_at >= $1 AND paid_at < $2 AND operation <> ALL ($3::text[])
        ON CONFLICT (operation, kind) DO NOTHING
        """,
        start,
        end,
        list(there),
        DifferenceKind.NOT_AT_MONETA.value,
        cards.now(),
    )
    await db.execute(
        """
        UPDATE card_difference SET closed_at = $2, closed_by = 'bels'
        WHERE operation = ANY ($1::text[]) AND kind = $3 AND closed_at IS NULL
        """,
        list(there),
        cards.now(),
        DifferenceKind.NOT_AT_MONETA.value,
    )


async def _known(db: Db, done: Sequence[Operation]) -> set[str]:
    """Give which operations are booked as MONETA tells them."""
    rows = await db.fetch(
        """
        SELECT o.operation FROM card_operation o
        JOIN unnest($1::text[], $2::numeric[]) AS told (operation, total) USING (operation) WHERE o.total = told.total
        """,
        [each.id for each in done],
        [each.amount for each in done],
    )
    return {row["operation"] for row in rows}


async def _note_late(db: Db, cards: Cards) -> None:
    """Note what is nearly too late: returns by the day on which the payer must have them, receipts that MONETA has not heard of."""
    await db.execute(
        """
        INSERT INTO card_difference (operation, kind, order_id, there, here, found_at)
        SELECT operation, $4, order_id, NULL::numeric, total, $1::timestamptz FROM card_refund
        WHERE state IN ('REQUESTED', 'AT_PAYEE') AND due_at < $1::timestamptz + $2::interval
        UNION ALL
        SELECT f.operation, $5, f.order_id, NULL::numeric, o.total, $1::timestamptz FROM card_fiscal f JOIN card_operation o USING (operation)
        WHERE f.state = 'REQUESTED' AND o.booked_at < $1::timestamptz - $3::interval AND o.returned_at IS NULL
        ON CONFLICT (operation, kind) DO NOTHING
        """,
        cards.now(),
        RETURN_SOON,
        RECEIPT_LATE,
        DifferenceKind.RETURN_OVERDUE.value,
        DifferenceKind.RECEIPT_DUE.value,
    )


async def _finish_receipts(db: Db, done: Sequence[Operation]) -> None:
    for operation in done:
        if operation.receipt_url is not None:
            await finish_fiscal(db, operation.id, operation.receipt_url)


async def differences(db: Db, after: int | None, limit: int, *, closed: bool = False) -> list[Difference]:
    """List differences in the order in which they were found: those that are open, or with ``closed`` all."""
    rows = await db.fetch(
        """
        SELECT number, operation, kind, order_id, there, here, found_at, closed_at, closed_by, note FROM card_difference
        WHERE ($1::bigint IS NULL OR number > $1) AND ($3 OR closed_at IS NULL) ORDER BY number LIMIT $2
        """,
        after,
        limit,
        closed,
    )
    return [Difference(**{**dict(row), "kind": DifferenceKind(row["kind"])}) for row in rows]


async def close_difference(cards: Cards, number: int, by: str, note: str) -> Difference | None:
    """Close a difference that was worked off; None where none of that number is open.

    :raises TryLater: nothing was stored.
    """
    async with database(cards.till.counter) as db:
        row = await db.fetchrow(
            """
            UPDATE card_difference SET closed_at = $2, closed_by = $3, note = $4
            WHERE number = $1 AND closed_at IS NULL
            RETURNING number, operation, kind, order_id, there, here, found_at, closed_at, closed_by, note
            """,
            number,
            cards.now(),
            by,
            note,
        )
    return Difference(**{**dict(row), "kind": DifferenceKind(row["kind"])}) if row is not None else None
