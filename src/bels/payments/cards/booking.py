"""What MONETA says of an operation becomes money in the journal, once: by its notice, by the day's list, or by its answer to us.

What is said by a notice is doubted where it does not fit: md5 without a key is weak. A doubt books nothing and is noted; MONETA
repeats, and after a day the operation completes there without our answer. Then its own list says so, over a connection that we
opened, and that is believed: money that has completed is never dropped. What fits its order goes to the account; what names no
order of ours, or another sum than its order, is kept unallocated under the name that it came with, for an operator to allocate.

- Unknown order, another amount: a notice is answered FAIL; the list books it unallocated. Another currency is never booked: an
  operator asks MONETA.
- Expired or failed order, right amount: it is that order's payment, and is taken at once: the form was paid in the last minute.
- A notice does not say when the payer paid, and may come a day late. MONETA asks whether an order may be paid just before it is:
  that moment is the payer's operation (partners 1.3), else the moment of the notice.
- A second operation of one order: it is another payment of the same payer to the same account, and is booked there too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from bels.access.vault import VaultError
from bels.domain.money import is_amount, to_kopecks
from bels.domain.read_value import holds_contact
from bels.domain.terms import Word
from bels.journal.write import Db
from bels.payments.cards.bindings import bind
from bels.payments.cards.contract import CURRENCY, Cards
from bels.payments.cards.fiscal import keep_fiscal
from bels.payments.cards.orders import Order, OrderState, find_order, move_order, pay_order, values_of
from bels.payments.cards.refusals import holds_card_number
from bels.payments.till import PayOrder, pay
from bels.reception.counter import database

TRANSACTION_LENGTH_MAX = 255
NAME_LENGTH_MAX = 40
"""Of what is written down as the account that money was meant for."""

UNNAMED = "moneta"

logger = logging.getLogger(__name__)


class Source(Word):
    """How we know of an operation."""

    NOTICE = "NOTICE"
    LIST = "LIST"
    ANSWER = "ANSWER"


class DifferenceKind(Word):
    """What MONETA says otherwise than we do."""

    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    CURRENCY_DIFFERS = "CURRENCY_DIFFERS"
    OPERATION_DIFFERS = "OPERATION_DIFFERS"
    NOT_BOOKED = "NOT_BOOKED"
    PAID_TWICE = "PAID_TWICE"
    NOT_AT_MONETA = "NOT_AT_MONETA"
    RETURN_UNKNOWN = "RETURN_UNKNOWN"
    RETURN_DIFFERS = "RETURN_DIFFERS"
    RETURN_NOT_BOOKED = "RETURN_NOT_BOOKED"
    RETURN_UNASKED = "RETURN_UNASKED"
    RETURN_OVERDUE = "RETURN_OVERDUE"
    RECEIPT_DUE = "RECEIPT_DUE"


DOUBTS = (
    DifferenceKind.UNKNOWN_ORDER,
    DifferenceKind.AMOUNT_DIFFERS,
    DifferenceKind.CURRENCY_DIFFERS,
    DifferenceKind.NOT_BOOKED,
)
"""What is over once the money has come to its account."""


@dataclass(frozen=True, slots=True)
class Completed:
    """An operation that MONETA says is done: ``total`` roubles came for ``transaction``, our id of an order, at ``at``.

    ``token`` and ``shown`` are what it gives for a card that is to be bound: the token, and the number as it masks it.
    """

    operation: str
    transaction: str
    total: Decimal
    at: datetime
    source: Source
    currency: str = CURRENCY
    token: str | None = field(default=None, repr=False)
    shown: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Booked:
    """An operation whose money is in the journal; ``order`` as it stands then, None where it is unallocated for ``why``."""

    operation: str
    receipt: str
    order: Order | None
    is_new: bool
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Doubted:
    """An operation that does not fit: nothing is booked."""

    kind: DifferenceKind


async def book(cards: Cards, completed: Completed) -> Booked | Doubted:
    """Book an operation, once; said again, by whichever way, it changes nothing.

    :raises TryLater: nothing was stored, or not all of it; say it again.
    """
    if not (is_amount(completed.total) and completed.operation.isascii() and completed.operation.isdigit()):
        return Doubted(DifferenceKind.AMOUNT_DIFFERS)
    # A payment is of now at the latest, however far ahead MONETA's clock is.
    completed = replace(completed, at=min(completed.at, cards.now()))
    async with database(cards.till.counter) as db:
        before = await _before(db, completed)
        if before is not None:
            return before
        order = await find_order(db, completed.transaction)
        doubt = _doubt(completed, order)
        if doubt is DifferenceKind.CURRENCY_DIFFERS or (doubt is not None and completed.source is not Source.LIST):
            await note_difference(db, cards, completed.operation, doubt, order, completed.total)
            return Doubted(doubt)
    if order is not None and order.operation is None and completed.source is Source.NOTICE:
        completed = replace(completed, at=order.checked_at or completed.at)
    if order is None or doubt is not None:
        return await _keep_unallocated(cards, completed, order, doubt or DifferenceKind.UNKNOWN_ORDER)
    return await _pay(cards, completed, order)


async def _pay(cards: Cards, completed: Completed, order: Order) -> Booked | Doubted:
    first = order.operation in (None, completed.operation)
    paid = await pay(
        cards.till,
        cards.agent,
        PayOrder(
            completed.operation,
            order.account,
            order.amount,
            completed.at,
            order.purpose,
            order.commission,
            order.commission,
            values_of(cards, order) if first else None,
            is_strict=False,
            keeps_unknown=True,
        ),
    )
    if paid.received is None:
        # Parked or refused: it is not in the journal, whatever is said to MONETA.
        async with database(cards.till.counter) as db:
            await note_difference(db, cards, completed.operation, DifferenceKind.NOT_BOOKED, order, completed.total)
        return Doubted(DifferenceKind.NOT_BOOKED)
    receipt = paid.payment.receipt
    async with database(cards.till.counter) as db:
        async with db.transaction():
            held = await find_order(db, order.order_id, held=True)
            is_new = await _keep_operation(db, cards, completed, order.order_id, receipt, order.account, None)
            if held is not None and held.operation not in (None, completed.operation):
                await note_difference(db, cards, completed.operation, DifferenceKind.PAID_TWICE, order, completed.total)
            await pay_order(db, order.order_id, completed.operation, receipt, completed.at, cards.now())
            await keep_fiscal(db, cards, order, completed.operation, completed.at)
            await close_differences(db, cards, completed.operation, DOUBTS)
        await _bind(db, cards, completed, order)
        return Booked(completed.operation, receipt, await find_order(db, order.order_id), is_new)


async def _keep_unallocated(
    cards: Cards, completed: Completed, order: Order | None, why: DifferenceKind
) -> Booked | Doubted:
    paid = await pay(
        cards.till,
        cards.agent,
        PayOrder(
            completed.operation,
            _meant_for(completed.transaction),
            to_kopecks(completed.total),
            completed.at,
            is_strict=False,
            keeps_unknown=True,
        ),
    )
    async with database(cards.till.counter) as db, db.transaction():
        await note_difference(db, cards, completed.operation, why, order, completed.total)
        if paid.received is None:
            await note_difference(db, cards, completed.operation, DifferenceKind.NOT_BOOKED, order, completed.total)
            return Doubted(DifferenceKind.NOT_BOOKED)
        order_id, receipt = order.order_id if order is not None else None, paid.payment.receipt
        is_new = await _keep_operation(db, cards, completed, order_id, receipt, paid.payment.account, why.value)
    return Booked(completed.operation, receipt, None, is_new, why.value)


async def _bind(db: Db, cards: Cards, completed: Completed, order: Order) -> None:
    """Bind the card of an order that was paid with consent; that it cannot be bound is no reason to doubt the money."""
    if completed.token is None or completed.shown is None or not order.saves:
        return
    try:
        async with db.transaction():
            held = await find_order(db, order.order_id, held=True)
            # Only the payment that the consent was given for binds: a repeat after the card was removed does not.
            if held is None or held.bound is not None or held.operation != completed.operation:
                return
            binding = await bind(db, cards, held, completed.token, completed.shown)
            await db.execute(
                "UPDATE card_order SET bound = $2 WHERE order_id = $1",
                order.order_id,
                binding if binding is not None else "",
            )
    except VaultError as error:
        logger.warning("the card of an order is not bound: %s", type(error).__name__)


async def note_difference(
    db: Db,
    cards: Cards,
    operation: str,
    kind: DifferenceKind,
    order: Order | None,
    there: Decimal | None,
    here: Decimal | None = None,
) -> None:
    """Note what MONETA says otherwise than we do, once; sums in roubles, None where one side has none."""
    await db.execute(
        """
        INSERT INTO card_difference (operation, kind, order_id, there, here, found_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (operation, kind) DO NOTHING
        """,
        operation,
        kind.value,
        order.order_id if order is not None else None,
        there,
        here if here is not None or order is None else order.total,
        cards.now(),
    )


async def close_differences(db: Db, cards: Cards, operation: str, kinds: tuple[DifferenceKind, ...]) -> None:
    """Close what was noted of an operation and has come right by itself."""
    await db.execute(
        """
        UPDATE card_difference SET closed_at = $2, closed_by = 'bels'
        WHERE operation = $1 AND closed_at IS NULL AND kind = ANY ($3::text[])
        """,
        operation,
        cards.now(),
        [kind.value for kind in kinds],
    )


async def _keep_operation(
    db: Db, cards: Cards, completed: Completed, order_id: str | None, receipt: str, account: str, why: str | None
) -> bool:
    kept = await db.fetchval(
        """
        INSERT INTO card_operation (operation, order_id, transaction, total, paid_at, booked_at, source, receipt, account, why)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (operation) DO NOTHING RETURNING true
        """,
        completed.operation,
        order_id,
        _meant_for(completed.transaction),
        to_kopecks(completed.total),
        completed.at,
        cards.now(),
        completed.source.value,
        receipt,
        account,
        why,
    )
    return bool(kept)


async def _before(db: Db, completed: Completed) -> Booked | Doubted | None:
    row = await db.fetchrow(
        "SELECT order_id, transaction, total, receipt, why FROM card_operation WHERE operation = $1",
        completed.operation,
    )
    if row is None:
        return None
    if row["total"] != completed.total or row["transaction"] != _meant_for(completed.transaction):
        return Doubted(DifferenceKind.OPERATION_DIFFERS)
    order = await find_order(db, row["order_id"]) if row["order_id"] is not None and row["why"] is None else None
    return Booked(completed.operation, row["receipt"], order, False, row["why"])


def _doubt(completed: Completed, order: Order | None) -> DifferenceKind | None:
    if completed.currency != CURRENCY:
        return DifferenceKind.CURRENCY_DIFFERS
    if order is None:
        return DifferenceKind.UNKNOWN_ORDER
    return DifferenceKind.AMOUNT_DIFFERS if completed.total != order.total else None


def _meant_for(transaction: str) -> str:
    """Give what may be kept of a name that money came with: nothing that may be a card, a phone or an e-mail."""
    is_kept = transaction.isascii() and transaction.isprintable() and 0 < len(transaction) <= NAME_LENGTH_MAX
    if not is_kept or holds_card_number(transaction) or holds_contact(transaction):
        return UNNAMED
    return transaction


async def authorise(cards: Cards, order_id: str, total: Decimal, currency: str, operation: str) -> Doubted | None:
    """Note that the money of an order is held on its card; a doubt where it does not fit.

    :raises TryLater: nothing was stored.
    """
    async with database(cards.till.counter) as db:
        order = await find_order(db, order_id)
        if order is None or total != order.total or currency != CURRENCY:
            kind = DifferenceKind.UNKNOWN_ORDER if order is None else DifferenceKind.AMOUNT_DIFFERS
            await note_difference(db, cards, operation, kind, order, total)
            return Doubted(kind)
        await move_order(db, order.order_id, OrderState.AUTHORISED, cards.now())
    return None


async def release(cards: Cards, order_id: str, operation: str, total: Decimal) -> Doubted | None:
    """Note that held money was let go; a doubt where the order is paid.

    :raises TryLater: nothing was stored.
    """
    async with database(cards.till.counter) as db:
        order = await find_order(db, order_id)
        if order is None or order.state in (OrderState.PAID, OrderState.REFUNDED):
            kind = DifferenceKind.UNKNOWN_ORDER if order is None else DifferenceKind.RETURN_UNASKED
            await note_difference(db, cards, operation, kind, order, total)
            return Doubted(kind)
        await move_order(db, order.order_id, OrderState.FAILED, cards.now())
    return None
