"""Return a wrong payment, or a part of it: asked for, decided by the office, done in the journal (partners 11).

A payment returns within 30 days of the day on which it was paid. What goes back of one payment, in whatever parts, is never more
than the payment: its parts, and the whole where somebody cancels it, are claimed under one lock before anything is written. The
entry in the journal goes by the payment's own name and the number of the request, so that deciding again after a crash writes
nothing twice and mends the list.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec
from asyncpg import Record

from bels.access.people import new_id
from bels.domain.commands import MakeRefund, ReversePayment
from bels.domain.events import CommandRefused
from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.terms import Channel, EntryNumber, Money, PaymentState, Purpose, Reason, Word
from bels.journal.journal import find_messages, find_receipt
from bels.journal.write import Db
from bels.messages import Message, Outcome, Status, TryLater, digest, outcomes_of
from bels.payments.find import where_now
from bels.payments.webhooks.events import tell
from bels.projections import ledger
from bels.projections.ledger import PaymentRow
from bels.projections.partner_events import PARTNER
from bels.reception.counter import Counter, database

RETURNED_WITHIN = timedelta(days=30)
"""From the day of the payment to the day on which the payer has it back, or hears why not."""

TAKEN_BACK_WITHIN = timedelta(minutes=10)
"""So long a payment that somebody began to take back whole is not returned in parts: by then the journal knows of it, or he is gone."""

REQUESTS_OF_PAYMENT_MAX = 20
REQUESTS_PAGE_MAX = 101

_encode = msgspec.json.Encoder().encode


class RefundState(Word):
    """Where a request stands. ``DECIDED``: the money is to go back, the entry is not noted yet."""

    REQUESTED = "REQUESTED"
    DECIDED = "DECIDED"
    RETURNED = "RETURNED"
    REFUSED = "REFUSED"


OPEN_STATES = (RefundState.REQUESTED, RefundState.DECIDED)


class RefundDecision(Word):
    """What the office decides."""

    RETURN = "RETURN"
    REFUSE = "REFUSE"


@dataclass(frozen=True, slots=True)
class RefundRow:
    """A request to return ``amount`` of the ``paid`` roubles of a payment, named by the account and entry it came to.

    ``payer`` is the actor that brought the payment, ``reason`` is sealed, ``refusal`` is why the journal did not let it go back
    the last time, ``refund`` is the receipt of the entry by which it went.
    """

    request: str
    account: str
    entry: int
    number: int
    attempt: int
    payer: str
    receipt: str
    reference: str
    amount: Money
    paid: Money
    paid_on: date
    deadline: date
    reason: str
    requested_by: str
    requested_at: datetime
    state: RefundState
    decided_by: str | None
    decided_at: datetime | None
    ground: str | None
    refusal: str | None
    refund: str | None

    def is_overdue(self, today: date) -> bool:
        """Say whether the day is past by which it was to be decided."""
        return self.state in OPEN_STATES and self.deadline < today


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What is asked for: a part of a payment (None: all that is left), why (sealed), by whom and under which key."""

    amount: Decimal | None
    reason: str
    by: str
    key: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of a decision. ``row`` is None where there is no such request.

    ``is_other``: it was decided otherwise before. ``outcome`` is the journal's where one came, ``refusal`` why it stays open.
    """

    row: RefundRow | None
    replayed: bool = False
    is_other: bool = False
    outcome: Outcome | None = None
    refusal: Reason | None = None

    @property
    def is_parked(self) -> bool:
        """It waits for an operator: the code failed on it."""
        return self.outcome is not None and self.outcome.status is Status.PARKED


_COLUMNS = ", ".join(field.name for field in fields(RefundRow))


async def ask(db: Db, payment: PaymentRow, order: RefundOrder, now: datetime) -> tuple[RefundRow, bool] | Reason:
    """Ask to return a payment as it came, or a part of it; the same key gets the same request, and True."""
    content = digest(_encode([payment.account, payment.entry, _written(order.amount), order.reason]).decode())
    async with db.transaction():
        await _lock(db, payment.account, payment.entry)
        before = await db.fetchrow(
            f"SELECT content, {_COLUMNS} FROM refund_request WHERE requested_by = $1 AND request_key = $2",
            order.by,
            order.key,
        )
        if before is not None:
            return (_row(before), True) if before["content"] == content else Reason.MESSAGE_ID_REUSED
        asked = await of_payment(db, payment.account, payment.entry)
        # What was found before the lock may have been taken back since.
        standing = await where_now(db, await ledger.payment_at(db, payment.account, payment.entry) or payment)
        left = payment.amount - _sum(row for row in asked if row.state is not RefundState.REFUSED)
        amount = order.amount if order.amount is not None else left
        if standing.state in (PaymentState.REVERSED, PaymentState.RETURNED) or left <= 0:
            return Reason.PAYMENT_REVERSED
        if not is_amount(amount) or amount > left or len(asked) >= REQUESTS_OF_PAYMENT_MAX:
            return Reason.BAD_AMOUNT
        if amount < payment.amount and (payment.unallocated is not None or payment.purpose == Purpose.PENALTY):
            # What lies unallocated goes back whole, and penalties have no overpayment to be returned from.
            return Reason.BAD_AMOUNT
        made = await db.fetchrow(
            f"""
            INSERT INTO refund_request (request, account, entry, number, payer, receipt, reference, amount, paid, paid_on,
                deadline, reason, requested_by, request_key, content, requested_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
            ON CONFLICT (requested_by, request_key) DO NOTHING
            RETURNING {_COLUMNS}
            """,
            new_id("r"),
            payment.account,
            payment.entry,
            len(asked) + 1,
            payment.actor,
            payment.receipt,
            payment.reference,
            to_kopecks(amount),
            payment.amount,
            payment.paid_on,
            payment.paid_on + RETURNED_WITHIN,
            order.reason,
            order.by,
            order.key,
            content,
            now,
        )
    # The same key for two payments at once.
    return (_row(made), False) if made is not None else Reason.MESSAGE_ID_REUSED


async def find_request(db: Db, request: str) -> RefundRow | None:
    """Find a request by its name."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM refund_request WHERE request = $1", request)
    return _row(row) if row is not None else None


async def of_payment(db: Db, account: str, entry: int) -> list[RefundRow]:
    """List the requests about a payment as it came, in order."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM refund_request WHERE account = $1 AND entry = $2 ORDER BY number LIMIT $3",
        account,
        entry,
        REQUESTS_OF_PAYMENT_MAX,
    )
    return [_row(row) for row in rows]


async def requests(
    db: Db,
    *,
    payer: str | None,
    state: RefundState | None,
    overdue_on: date | None,
    after: tuple[date, str] | None,
    limit: int,
) -> list[RefundRow]:
    """List requests by their deadline: those that wait where no ``state`` is named, one payer's, those overdue on a day."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM refund_request
        WHERE ($1::text IS NULL OR payer = $1)
          AND CASE WHEN $2::text IS NULL THEN state IN ('REQUESTED', 'DECIDED') ELSE state = $2 END
          AND ($3::date IS NULL OR (deadline < $3 AND state IN ('REQUESTED', 'DECIDED')))
          AND ($4::date IS NULL OR (deadline, request) > ($4, $5::text))
        ORDER BY deadline, request LIMIT $6
        """,
        payer,
        state.value if state is not None else None,
        overdue_on,
        *(after or (None, None)),
        min(limit, REQUESTS_PAGE_MAX),
    )
    return [_row(row) for row in rows]


async def claimed(db: Db, payment: PaymentRow) -> Money:
    """Say how much of a payment, as it came, went back or is to go back by requests that were decided so."""
    return _sum(
        row
        for row in await of_payment(db, payment.account, payment.entry)
        if row.state in (RefundState.DECIDED, RefundState.RETURNED)
    )


@asynccontextmanager
async def taking_back(counter: Counter, payment: PaymentRow) -> AsyncIterator[bool]:
    """Keep a payment, as it came, from being returned in parts while the whole of it is taken back; False: a part went back.

    :raises TryLater: the database cannot be reached.
    """
    async with database(counter) as db:
        taker = await take_back(db, payment, counter.now())
    yield taker is not None
    # Where what was begun did not come to its end, it may still do so: then nothing is let go.
    async with database(counter) as db:
        await db.execute("DELETE FROM taking_back WHERE taker = $1", taker)


async def take_back(db: Db, payment: PaymentRow, now: datetime) -> str | None:
    """Note that a payment, as it came, is about to be taken back whole; None where a part of it went back, or is to."""
    async with db.transaction():
        await _lock(db, payment.account, payment.entry)
        if await claimed(db, payment):
            return None
        taker = new_id("t")
        await db.execute("DELETE FROM taking_back WHERE at < $1", now - TAKEN_BACK_WITHIN)
        await db.execute("INSERT INTO taking_back VALUES ($1, $2, $3, $4)", taker, payment.account, payment.entry, now)
    return taker


async def decide(
    counter: Counter, request: str, decision: RefundDecision, ground: str, *, by: str, request_id: str = ""
) -> Decided:
    """Decide a request, and return what is to be returned; the same decision again mends what a crash left half done.

    :raises TryLater: send the same again.
    """
    async with database(counter) as db, db.transaction():
        row = await find_request(db, request)
        if row is None:
            return Decided(None)
        await _lock(db, row.account, row.entry)
        row = await find_request(db, request)
        if row is None:
            return Decided(None)
        wanted = RefundState.REFUSED if decision is RefundDecision.REFUSE else RefundState.RETURNED
        if row.state is wanted:
            return Decided(row, replayed=True)
        if row.state is not RefundState.REQUESTED and (
            row.state is not RefundState.DECIDED or decision is RefundDecision.REFUSE
        ):
            return Decided(row, is_other=True)
        if row.state is RefundState.REQUESTED:
            if decision is RefundDecision.RETURN and not await _is_left(db, row):
                return Decided(row, refusal=Reason.BAD_AMOUNT)
            if decision is RefundDecision.RETURN and await _is_taken_back(db, row, counter.now()):
                return Decided(row, refusal=Reason.PAYMENT_REVERSED)
            state = RefundState.REFUSED if decision is RefundDecision.REFUSE else RefundState.DECIDED
            row = await _decided(db, row, state, ground, by, counter.now())
            await _tell(db, row, counter.now())
    if row.state is RefundState.REFUSED:
        return Decided(row)
    return await _carry_out(counter, row, by, request_id)


async def _carry_out(counter: Counter, row: RefundRow, by: str, request_id: str) -> Decided:
    """Write the entry by which a claimed part goes back, or find it, and note it."""
    async with database(counter) as db:
        recorded = await find_receipt(db, row.receipt)
        payment = await ledger.payment_at(db, row.account, row.entry)
        if recorded is None or payment is None:
            return Decided(row, refusal=Reason.UNKNOWN_PAYMENT)
        name = f"{recorded.message_id} refund {row.number}" + (f".{row.attempt}" if row.attempt > 1 else "")
        before = await find_messages(db, [(Channel.OFFICE.value, name)])
        outcome = (await outcomes_of(db, before))[0] if before else None
        standing = await where_now(db, payment)
    if outcome is None:
        command = _command(row, standing, counter.now())
        if isinstance(command, Reason):
            return Decided(await _reopened(counter, row, command), refusal=command)
        raw = _encode(["refund", row.request, row.attempt]).decode()
        outcome = await counter.intake.submit(
            Message(Channel.OFFICE, name, by, standing.account, command, raw, request_id)
        )
    event = outcome.events[0] if outcome.events else None
    if isinstance(event, CommandRefused):
        reopened = await _reopened(counter, row, event.reason)
        return Decided(reopened, outcome=outcome, refusal=event.reason)
    if event is None:
        return Decided(row, outcome=outcome)
    async with database(counter) as db, db.transaction():
        noted = await db.fetchrow(
            f"UPDATE refund_request SET state = 'RETURNED', refund = $2, refusal = NULL WHERE request = $1 RETURNING {_COLUMNS}",
            row.request,
            outcome.receipt,
        )
        row = _row(noted) if noted is not None else row
        await _tell(db, row, counter.now())
    return Decided(row, outcome=outcome)


async def _tell(db: Db, row: RefundRow, now: datetime) -> None:
    """Tell the partner whose payment it was that its request is decided; what is still to be carried out is not."""
    if row.state not in (RefundState.RETURNED, RefundState.REFUSED) or not row.payer.startswith(PARTNER):
        return
    told = {
        "requestId": row.request,
        "paymentId": row.reference,
        "receipt": row.receipt,
        "amount": row.amount,
        "decision": row.state.value,
    }
    await tell(db, row.payer.removeprefix(PARTNER), "refund_request.decided.v1", row.request, told, now=now)


def _command(row: RefundRow, standing: PaymentRow, now: datetime) -> ReversePayment | MakeRefund | Reason:
    """Say what returns it: the whole of a wrong payment is reversed, a part of it is a refund of what is overpaid.

    :raises TryLater: the payment is on its way to another account.
    """
    ground = row.ground or ""
    if standing.state == PaymentState.MOVED:
        raise TryLater("the payment is on its way to another account")
    if standing.state != PaymentState.RECEIVED:
        return Reason.PAYMENT_REVERSED
    if standing.unallocated is None and row.amount == row.paid:
        return ReversePayment(EntryNumber(standing.entry), now, ground)
    # An unallocated payment lies on a stream of its own and is returned from there, whole.
    return MakeRefund(row.amount, now, ground)


async def _decided(db: Db, row: RefundRow, state: RefundState, ground: str, by: str, now: datetime) -> RefundRow:
    changed = await db.fetchrow(
        f"""
        UPDATE refund_request SET state = $2, ground = $3, decided_by = $4, decided_at = $5, refusal = NULL
        WHERE request = $1 RETURNING {_COLUMNS}
        """,
        row.request,
        state.value,
        ground,
        by,
        now,
    )
    return _row(changed) if changed is not None else row


async def _reopened(counter: Counter, row: RefundRow, refusal: Reason) -> RefundRow:
    """Put a request back on the work list: its next attempt goes by another name."""
    async with database(counter) as db:
        changed = await db.fetchrow(
            f"""
            UPDATE refund_request SET state = 'REQUESTED', attempt = attempt + 1, refusal = $3
            WHERE request = $1 AND attempt = $2 AND state = 'DECIDED' RETURNING {_COLUMNS}
            """,
            row.request,
            row.attempt,
            refusal.value,
        )
    return _row(changed) if changed is not None else row


async def _is_left(db: Db, row: RefundRow) -> bool:
    others = [other for other in await of_payment(db, row.account, row.entry) if other.request != row.request]
    taken = _sum(other for other in others if other.state in (RefundState.DECIDED, RefundState.RETURNED))
    return taken + row.amount <= row.paid


async def _is_taken_back(db: Db, row: RefundRow, now: datetime) -> bool:
    found = await db.fetchval(
        "SELECT true FROM taking_back WHERE account = $1 AND entry = $2 AND at >= $3 LIMIT 1",
        row.account,
        row.entry,
        now - TAKEN_BACK_WITHIN,
    )
    return found is True


async def _lock(db: Db, account: str, entry: int) -> None:
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"refund {account} {entry}")


def _sum(rows: Iterable[RefundRow]) -> Money:
    return sum((row.amount for row in rows), ZERO)


def _written(amount: Decimal | None) -> str | None:
    return str(to_kopecks(amount)) if amount is not None and is_amount(amount) else str(amount)


def _row(row: Record) -> RefundRow:
    return RefundRow(
        **{**{name.name: row[name.name] for name in fields(RefundRow)}, "state": RefundState(row["state"])}
    )
