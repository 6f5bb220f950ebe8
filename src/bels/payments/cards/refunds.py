"""Returns of payments by card: asked by the office, made by MONETA, in the books when MONETA says that they are made.

A correct payment cannot be cancelled; a wrong one returns whole, within 30 days of the payment (partners 11). Nothing is asked of
MONETA twice: where an answer was lost, it is looked up under our id before another call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bels.access.people import new_id
from bels.domain.events import CommandRefused
from bels.domain.read_value import holds_contact
from bels.domain.terms import Money, Reason, Word
from bels.journal.write import Db
from bels.messages import Outcome, Status, digest
from bels.outgoing.moneta import CANCELED, MonetaApi, MonetaAway, MonetaRefused, Operation
from bels.payments.cards.booking import DifferenceKind, Doubted, close_differences, note_difference
from bels.payments.cards.contract import Cards
from bels.payments.cards.orders import OrderState, find_order, move_order
from bels.payments.cards.refusals import CardReason, CardRefused, holds_card_number
from bels.payments.till import cancel
from bels.reception.counter import database

RETURNED_WITHIN = timedelta(days=30)
REFUND_LETTER = "r"
PREFIX = "RETURN_"
"""MONETA's mark of a refund's id (partners 5)."""

GROUND_LENGTH_MAX = 200
GROUND_LENGTH_MIN = 3
BATCH = 50
LEASE = timedelta(minutes=10)
WAIT = timedelta(minutes=5)
WAIT_MAX = timedelta(hours=6)
BY_MONETA = "moneta"

_COLUMNS = (
    """refund, order_id, operation, total, ground, state, requested_at, due_at, attempts, returned_by, code, ended_at"""
)


class CardRefundState(Word):
    """Where a return stands."""

    REQUESTED = "REQUESTED"
    """MONETA has not answered yet."""
    AT_PAYEE = "AT_PAYEE"
    """MONETA has taken it up."""
    RETURNED = "RETURNED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class CardRefund:
    """A return of ``total`` roubles of an operation; ``due_at`` is when the payer must have it."""

    refund: str
    order_id: str
    operation: str
    total: Money
    ground: str
    state: CardRefundState
    requested_at: datetime
    due_at: datetime
    attempts: int
    returned_by: str | None
    code: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Requested:
    """A return that was asked for; ``is_repeat``: it had been before, under the same key."""

    refund: CardRefund
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """Money that went back and is out of the books; ``is_new``: just now."""

    order_id: str | None
    is_new: bool


async def request_refund(
    cards: Cards, maker: str, key: str, order_id: str, ground: str, operation: str | None = None
) -> Requested | CardRefused:
    """Ask for the return of a paid order: of its payment, or of the ``operation`` by which it was paid once more.

    :raises TryLater: nothing was stored.
    """
    ground = ground.strip()
    if any(map(holds_card_number, (key, order_id, ground, operation or ""))):
        return CardRefused(CardReason.CARD_NUMBER_GIVEN)
    raw_texts = cards.till.counter.door.raw_texts
    if not GROUND_LENGTH_MIN <= len(ground) <= GROUND_LENGTH_MAX or holds_contact(ground):
        return CardRefused(CardReason.BAD_NOTE)
    key = raw_texts.guarded(key)
    content = digest(raw_texts.sealed(f"{order_id}\n{operation}\n{ground}")).hex()
    async with database(cards.till.counter) as db, db.transaction():
        order = await find_order(db, order_id, held=True)
        if order is None:
            return CardRefused(CardReason.UNKNOWN_PAYMENT)
        before = await db.fetchrow(
            f"SELECT content, {_COLUMNS} FROM card_refund WHERE maker = $1 AND key = $2", maker, key
        )
        if before is not None:
            told: dict[str, Any] = dict(before)
            is_same = told.pop("content") == content
            return Requested(_refund(told), True) if is_same else CardRefused(CardReason.MESSAGE_ID_REUSED)
        paid = await db.fetchrow(
            """
            SELECT operation, total, paid_at FROM card_operation
            WHERE operation = $1 AND order_id = $2 AND why IS NULL AND returned_at IS NULL
            """,
            operation or order.operation,
            order_id,
        )
        if paid is None:
            return CardRefused(CardReason.NOT_PAID)
        row = await db.fetchrow(
            f"""
            INSERT INTO card_refund (refund, maker, key, content, order_id, operation, total, ground, state, requested_at, due_at,
                                     next_at)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, 'REQUESTED', $9, $10, $9
            WHERE NOT EXISTS (SELECT FROM card_refund WHERE operation = $6 AND state <> 'REFUSED')
            RETURNING {_COLUMNS}
            """,
            new_id(REFUND_LETTER),
            maker,
            key,
            content,
            order_id,
            paid["operation"],
            paid["total"],
            ground,
            cards.now(),
            paid["paid_at"] + RETURNED_WITHIN,
        )
    return Requested(_refund(row), False) if row is not None else CardRefused(CardReason.REFUND_UNDER_WAY)


async def send_refunds(cards: Cards, api: MonetaApi) -> int:
    """Ask MONETA for the returns that are due, and look after those under way; count those that are made.

    :raises TryLater: the database cannot be reached.
    """
    made = 0
    for refund in await _claim(cards):
        try:
            answer = await _ask(cards, api, refund)
        except MonetaRefused as refused:
            await _end(cards, refund, CardRefundState.REFUSED, str(refused))
            continue
        except MonetaAway as away:
            await _wait(cards, refund, refund.state, str(away))
            continue
        if answer is None:
            await _wait(cards, refund, refund.state, "NOT_FOUND")
        elif answer.status == CANCELED:
            await _end(cards, refund, CardRefundState.REFUSED, CANCELED)
        elif answer.is_done:
            returned = await confirm_return(cards, refund.operation, answer.id, answer.amount)
            made += isinstance(returned, Returned)
            if isinstance(returned, Doubted):
                await _wait(cards, refund, CardRefundState.AT_PAYEE, returned.kind.value)
        else:
            await _wait(cards, refund, CardRefundState.AT_PAYEE, None)
    return made


async def _ask(cards: Cards, api: MonetaApi, refund: CardRefund) -> Operation | None:
    """Call MONETA, unless it may have heard of it: then look what became of it.

    :raises MonetaRefused: nothing is returned.
    :raises MonetaAway: what became of it is not known.
    """
    if refund.attempts > 1 or refund.state is CardRefundState.AT_PAYEE:
        found = await api.find(refund.refund, refund.requested_at - LEASE, cards.now() + LEASE)
        living = [each for each in found if each.status != CANCELED]
        if living or found:
            return (living or found)[0]
        if refund.state is CardRefundState.AT_PAYEE:
            return None
    return await api.give_back(refund.operation, refund.total, refund.refund, f"Возврат платежа {refund.order_id}")


async def confirm_return(cards: Cards, operation: str, by: str, total: Decimal) -> Returned | Doubted:
    """Take the payment of an operation out of the books, because MONETA's operation ``by`` has returned it; once.

    :raises TryLater: nothing was stored, or not all of it; say it again.
    """
    async with database(cards.till.counter) as db:
        paid = await db.fetchrow(
            "SELECT order_id, total, paid_at, why, returned_at FROM card_operation WHERE operation = $1", operation
        )
        order = await find_order(db, paid["order_id"]) if paid is not None and paid["order_id"] is not None else None
        if paid is None:
            await note_difference(db, cards, by, DifferenceKind.RETURN_UNKNOWN, order, total)
            return Doubted(DifferenceKind.RETURN_UNKNOWN)
        if paid["returned_at"] is not None:
            returned_by = await db.fetchval(
                "SELECT returned_by FROM card_refund WHERE operation = $1 AND state = 'RETURNED'", operation
            )
            if returned_by not in (None, by):
                await note_difference(db, cards, by, DifferenceKind.RETURN_DIFFERS, order, total, Decimal(0))
            return Returned(paid["order_id"], False)
        if paid["total"] != total:
            await note_difference(db, cards, by, DifferenceKind.RETURN_DIFFERS, order, total, paid["total"])
            return Doubted(DifferenceKind.RETURN_DIFFERS)
    outcome = await cancel(cards.till, cards.agent, operation, f"возврат НКО «МОНЕТА», операция {by}", by_payer=False)
    async with database(cards.till.counter) as db, db.transaction():
        if outcome is None or not _is_out(outcome):
            await note_difference(db, cards, by, DifferenceKind.RETURN_NOT_BOOKED, order, total)
            return Doubted(DifferenceKind.RETURN_NOT_BOOKED)
        now = cards.now()
        tag = await db.execute(
            "UPDATE card_operation SET returned_at = $2 WHERE operation = $1 AND returned_at IS NULL", operation, now
        )
        # What nobody here has asked for, MONETA or the payer's bank has returned by itself.
        await db.execute(
            """
            WITH asked AS (
                UPDATE card_refund SET state = 'RETURNED', returned_by = $2, ended_at = $3, code = NULL
                WHERE operation = $1 AND state IN ('REQUESTED', 'AT_PAYEE') RETURNING refund)
            INSERT INTO card_refund (refund, maker, key, content, order_id, operation, total, ground, state, requested_at,
                                     due_at, next_at, returned_by, ended_at)
            SELECT $4, $5, $2, '', coalesce($6, ''), $1, $7, '', 'RETURNED', $3, $3, $3, $2, $3
            WHERE NOT EXISTS (SELECT FROM asked)
              AND NOT EXISTS (SELECT FROM card_refund WHERE operation = $1 AND state = 'RETURNED')
            ON CONFLICT (maker, key) DO NOTHING
            """,
            operation,
            by,
            now,
            new_id(REFUND_LETTER),
            BY_MONETA,
            order.order_id if order is not None else None,
            total,
        )
        await close_differences(db, cards, operation, (DifferenceKind.RETURN_OVERDUE,))
        if order is not None and order.operation == operation:
            await move_order(db, order.order_id, OrderState.REFUNDED, now)
    return Returned(paid["order_id"], bool(tag == "UPDATE 1"))


async def returned_operation(cards: Cards, transaction: str, *, asked_only: bool) -> str | None:
    """Find which operation a notice of a return is about: by our refund, or by the order; None where it cannot be told.

    ``asked_only``: only one whose return was asked for here counts.

    :raises TryLater: the database cannot be reached.
    """
    named = transaction.removeprefix(PREFIX)
    async with database(cards.till.counter) as db:
        operation: str | None = await db.fetchval(
            """
            SELECT operation FROM card_refund
            WHERE (refund = $1 OR order_id = $1) AND state <> 'REFUSED' ORDER BY requested_at DESC LIMIT 1
            """,
            named,
        )
        if operation is None and not asked_only:
            operation = await db.fetchval("SELECT operation FROM card_order WHERE order_id = $1", named)
    return operation


async def refunds_of(db: Db, order_id: str) -> list[CardRefund]:
    """List the returns of an order, the newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM card_refund WHERE order_id = $1 ORDER BY requested_at DESC, refund LIMIT $2",
        order_id,
        BATCH,
    )
    return [_refund(row) for row in rows]


def _is_out(outcome: Outcome) -> bool:
    event = outcome.events[0] if outcome.events else None
    is_reversed = isinstance(event, CommandRefused) and event.reason is Reason.PAYMENT_REVERSED
    return outcome.status is Status.ACCEPTED or is_reversed


def _refund(row: Any) -> CardRefund:
    return CardRefund(**{**dict(row), "state": CardRefundState(row["state"])})


async def _claim(cards: Cards) -> list[CardRefund]:
    async with database(cards.till.counter) as db:
        rows = await db.fetch(
            f"""
            UPDATE card_refund SET attempts = attempts + 1, next_at = $1::timestamptz + $3::interval
            WHERE refund IN (SELECT refund FROM card_refund WHERE state IN ('REQUESTED', 'AT_PAYEE') AND next_at <= $1
                             ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING {_COLUMNS}
            """,
            cards.now(),
            BATCH,
            LEASE,
        )
    return [_refund(row) for row in rows]


async def _wait(cards: Cards, refund: CardRefund, state: CardRefundState, code: str | None) -> None:
    async with database(cards.till.counter) as db:
        await db.execute(
            """
            UPDATE card_refund SET state = $2, code = $3, next_at = $4
            WHERE refund = $1 AND state IN ('REQUESTED', 'AT_PAYEE')
            """,
            refund.refund,
            state.value,
            code,
            cards.now() + min(WAIT * 2 ** min(refund.attempts - 1, 10), WAIT_MAX),
        )


async def _end(cards: Cards, refund: CardRefund, state: CardRefundState, code: str) -> None:
    async with database(cards.till.counter) as db:
        await db.execute(
            """
            UPDATE card_refund SET state = $2, code = $3, ended_at = $4
            WHERE refund = $1 AND state IN ('REQUESTED', 'AT_PAYEE')
            """,
            refund.refund,
            state.value,
            code,
            cards.now(),
        )
