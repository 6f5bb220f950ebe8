"""The ledger: every movement of money with the balance after it and its two sides, and what each account owes now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from bels.domain.account import Account, Situation
from bels.domain.allocate_payment import open_debts
from bels.domain.events import (
    Event,
    PeriodClosed,
    UsageRecalculated,
)
from bels.domain.money import ZERO, to_kopecks
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
)
from bels.domain.periods import moscow_date
from bels.domain.post_movements import Movement, movements
from bels.domain.rulebook import Rulebook
from bels.domain.terms import EntryNumber, LedgerName, Money, PaymentState, Period, Purpose
from bels.journal.entry import Entry
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json

TABLE = """
CREATE TABLE ledger (
    account       text NOT NULL,
    entry         bigint NOT NULL,
    purpose       text NOT NULL,
    kind          text NOT NULL,
    period        text,
    posted_in     text NOT NULL,
    booked_on     date NOT NULL,
    recorded_at   timestamptz NOT NULL,
    receipt       text NOT NULL,
    reference     text NOT NULL,
    amount        numeric NOT NULL,
    balance       numeric NOT NULL,
    debit         text NOT NULL,
    credit        text NOT NULL,
    PRIMARY KEY (account, entry, purpose)
);
CREATE TABLE balance (
    account       text PRIMARY KEY,
    suspense      boolean NOT NULL,
    balance       numeric NOT NULL,
    penalty       numeric NOT NULL,
    owed          json NOT NULL,
    changed_at    timestamptz NOT NULL,
    receivable    numeric NOT NULL,
    revenue       numeric NOT NULL,
    recalculated  numeric NOT NULL,
    bank          numeric NOT NULL,
    unallocated   numeric NOT NULL,
    transfers     numeric NOT NULL,
    penalty_receivable numeric NOT NULL,
    penalty_income numeric NOT NULL,
    opening_balance numeric NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX balance_suspense_idx ON balance (changed_at, account) WHERE suspense AND balance <> 0;
CREATE TABLE payment (
    account       text NOT NULL,
    entry         bigint NOT NULL,
    reference     text NOT NULL,
    channel       text NOT NULL,
    actor         text NOT NULL,
    receipt       text NOT NULL,
    purpose       text NOT NULL,
    amount        numeric NOT NULL,
    paid_on       date NOT NULL,
    recorded_at   timestamptz NOT NULL,
    state         text NOT NULL,
    source        text,
    meant_for     text,
    unallocated   text,
    paid_at       timestamptz,
    commission    numeric,
    PRIMARY KEY (account, entry)
) WITH (fillfactor = 80);
CREATE INDEX payment_actor_idx ON payment (actor, paid_on);
CREATE INDEX payment_source_idx ON payment (source, reference) WHERE source IS NOT NULL;
"""
NAME = "ledger"
TABLES = ("ledger", "balance", "payment")

COLUMNS = """
    account text, entry bigint, purpose text, kind text, period text, posted_in text, booked_on date,
    recorded_at timestamptz, receipt text, reference text, amount numeric, balance numeric, debit text, credit text"""

INSERT = f"INSERT INTO ledger SELECT * FROM {given(COLUMNS)}"

BALANCE = """
    account text, suspense boolean, balance numeric, penalty numeric, owed json, changed_at timestamptz,
    receivable numeric, revenue numeric, recalculated numeric, bank numeric, unallocated numeric, transfers numeric,
    penalty_receivable numeric, penalty_income numeric, opening_balance numeric"""

# What is owed follows from the account; what each ledger holds is added up movement by movement. The two must agree.
WRITE = f"""
INSERT INTO balance SELECT * FROM {given(BALANCE)}
ON CONFLICT (account) DO UPDATE SET
    balance = excluded.balance, penalty = excluded.penalty, owed = excluded.owed, changed_at = excluded.changed_at,
    receivable = balance.receivable + excluded.receivable, revenue = balance.revenue + excluded.revenue,
    recalculated = balance.recalculated + excluded.recalculated, bank = balance.bank + excluded.bank,
    unallocated = balance.unallocated + excluded.unallocated, transfers = balance.transfers + excluded.transfers,
    penalty_receivable = balance.penalty_receivable + excluded.penalty_receivable,
    penalty_income = balance.penalty_income + excluded.penalty_income,
    opening_balance = balance.opening_balance + excluded.opening_balance
"""

_HELD = {
    LedgerName.RECEIVABLE: "receivable",
    LedgerName.REVENUE: "revenue",
    LedgerName.RECALCULATED: "recalculated",
    LedgerName.BANK: "bank",
    LedgerName.SUSPENSE: "unallocated",
    LedgerName.TRANSFERS: "transfers",
    LedgerName.PENALTY_RECEIVABLE: "penalty_receivable",
    LedgerName.PENALTY_INCOME: "penalty_income",
    LedgerName.OPENING_BALANCE: "opening_balance",
}
"""The column of each ledger: its debits less its credits."""

PAYMENT = """
    account text, entry bigint, reference text, channel text, actor text, receipt text, purpose text, amount numeric,
    paid_on date, recorded_at timestamptz, state text, source text, meant_for text, unallocated text,
    paid_at timestamptz, commission numeric"""

RECEIVED = f"INSERT INTO payment SELECT * FROM {given(PAYMENT)}"

PAYMENT_STATE = "account text, entry bigint, state text"

CHANGED = f"""
UPDATE payment SET state = given.state FROM {given(PAYMENT_STATE)}
 WHERE payment.account = given.account AND payment.entry = given.entry AND payment.state <> given.state
"""


_ENDS_PAYMENTS = (PaymentReversed, PaymentMovedOut, RefundMade)
_ABOUT_PAYMENTS = (PaymentReceived, PaymentMovedIn, *_ENDS_PAYMENTS)
"""Only these add to the list of payments or change it: a closing need not look at it."""


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write the movements that entries bring, what their accounts owe after them, and what became of their payments."""
    moved: list[tuple[Any, ...]] = []
    balances: list[tuple[Any, ...]] = []
    received: list[tuple[Any, ...]] = []
    states: list[tuple[Any, ...]] = []
    for change in changes:
        own = _moves(change)
        if not own:
            continue
        account = change.account
        moved += _rows(account, own)
        balances.append(_balance(account, own))
        if not any(isinstance(entry.event, _ABOUT_PAYMENTS) for entry, _, _ in own):
            continue
        new = {entry.version for entry, _, _ in own}
        stand = {p.entry: p.state for p in account.ledger.payments}
        for entry, _, _ in own:
            if isinstance(entry.event, PaymentReceived | PaymentMovedIn):
                received.append(_payment(account, entry, entry.event, stand))
        if any(isinstance(entry.event, _ENDS_PAYMENTS) for entry, _, _ in own):
            states += [
                (account.number, number, state.value)
                for number, state in stand.items()
                if state is not PaymentState.RECEIVED and number not in new
            ]
    return [
        Write(INSERT, COLUMNS, moved),
        Write(WRITE, BALANCE, balances),
        Write(RECEIVED, PAYMENT, received),
        Write(CHANGED, PAYMENT_STATE, states),
    ]


def _moves(change: Change) -> list[tuple[Entry, Movement, str]]:
    """Give the movements of new entries in order, each with the period on whose bill it stands."""
    moves: list[tuple[Entry, Movement, str]] = []
    closed_on: date | None = None
    waiting = 0
    for entry in change.entries:
        event: Event = entry.event
        if isinstance(event, PeriodClosed):
            closed_on = moscow_date(event.closed_at)
            # What came before this closing stands on its bill.
            moves[waiting:] = [(e, m, event.period) for e, m, _ in moves[waiting:]]
        own = _own_bill(event)
        moves += [(entry, movement, own or change.account.next_period) for movement in movements(event, closed_on)]
        if own:
            waiting = len(moves)
    return moves


def _own_bill(event: Event) -> Period | None:
    match event:
        case PeriodClosed() | PenaltyAccrued() | BalanceCarriedOver():
            return event.period
        case UsageRecalculated():
            return event.posted_in
        case _:
            return None


def _rows(account: Account, moves: Sequence[tuple[Entry, Movement, str]]) -> Iterator[tuple[Any, ...]]:
    after = {Purpose.ENERGY: account.ledger.balance, Purpose.PENALTY: account.ledger.penalty}
    for _, movement, _ in moves:
        after[movement.purpose] -= movement.amount
    suspense = account.situation is Situation.SUSPENSE
    for entry, movement, posted_in in moves:
        after[movement.purpose] += movement.amount
        debit, credit = movement.sides(suspense)
        yield (
            account.number,
            entry.version,
            movement.purpose.value,
            movement.kind.value,
            movement.period,
            posted_in,
            movement.booked_on,
            entry.recorded_at,
            entry.receipt,
            movement.reference,
            movement.amount,
            after[movement.purpose],
            debit.value,
            credit.value,
        )


def _balance(account: Account, moves: Sequence[tuple[Entry, Movement, str]]) -> tuple[Any, ...]:
    suspense = account.situation is Situation.SUSPENSE
    held = dict.fromkeys(_HELD, ZERO)
    for _, movement, _ in moves:
        debit, credit = movement.sides(suspense)
        held[debit] += abs(movement.amount)
        held[credit] -= abs(movement.amount)
    ledger = account.ledger
    return (
        account.number,
        suspense,
        ledger.balance,
        ledger.penalty,
        json(owed_by(account)),
        moves[-1][0].recorded_at,
        *held.values(),
    )


def owed_by(account: Account) -> list[OwedRow]:
    """List the bills that are not paid whole, oldest first."""
    return [
        OwedRow(debt.period, debt.due_on, debt.amount, left)
        for debt, left in open_debts(account.ledger)
        if debt.period is not None and debt.due_on is not None
    ]


def _payment(
    account: Account, entry: Entry, event: PaymentReceived | PaymentMovedIn, states: Mapping[EntryNumber, PaymentState]
) -> tuple[Any, ...]:
    received = event if isinstance(event, PaymentReceived) else None
    return (
        account.number,
        entry.version,
        event.reference,
        entry.channel.value,
        entry.actor,
        entry.receipt,
        event.purpose.value,
        event.amount,
        event.paid_on,
        entry.recorded_at,
        states[EntryNumber(entry.version)].value,
        event.source if isinstance(event, PaymentMovedIn) else None,
        received.meant_for if received is not None else None,
        received.unallocated.value if received is not None and received.unallocated is not None else None,
        received.paid_at if received is not None else None,
        received.commission if received is not None else None,
    )


@dataclass(frozen=True, slots=True)
class OwedRow:
    """A bill that is not paid whole: ``open`` roubles of ``amount`` are left, to be paid by ``due_on``."""

    period: str
    due_on: date
    amount: Money
    open: Money


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A movement: ``amount`` is added to the balance of ``purpose``, ``balance`` is what it then was.

    ``posted_in`` is the period on whose bill it stands; ``debit`` and ``credit`` are the two ledgers, each with the absolute
    amount.
    """

    account: str
    entry: int
    purpose: str
    kind: str
    period: str | None
    posted_in: str
    booked_on: date
    recorded_at: datetime
    receipt: str
    reference: str
    amount: Money
    balance: Money
    debit: str
    credit: str


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """What an account owes: positive a debt, negative an advance; penalties apart. ``owed`` are the open bills, oldest first."""

    account: str
    balance: Money
    penalty: Money
    owed: tuple[OwedRow, ...]
    changed_at: datetime

    @property
    def advance(self) -> Money:
        """What is overpaid, in roubles."""
        return max(-self.balance, ZERO)

    def overdue_on(self, day: date) -> Money:
        """Give what should have been paid before a day."""
        return sum((owed.open for owed in self.owed if owed.due_on < day), ZERO)


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment and its state. ``source`` is the account it was moved from; ``meant_for`` and ``unallocated`` say where it could
    not go, and why. ``paid_at`` is the moment of the payer's operation, ``commission`` what was paid on top, where they are known.
    """

    account: str
    entry: int
    reference: str
    channel: str
    actor: str
    receipt: str
    purpose: str
    amount: Money
    paid_on: date
    recorded_at: datetime
    state: str
    source: str | None
    meant_for: str | None
    unallocated: str | None
    paid_at: datetime | None = None
    commission: Money | None = None


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A ledger of the trial balance: what it holds on its debit or its credit side, in roubles."""

    ledger: LedgerName
    debit: Money
    credit: Money


_owed = msgspec.json.Decoder(tuple[OwedRow, ...]).decode
_LEDGER = "account, entry, purpose, kind, period, posted_in, booked_on, recorded_at, receipt, reference, amount, balance, debit, credit"


async def page(
    db: Db, account: str, after: tuple[int, str] | None, before: tuple[int, str] | None, limit: int, backward: bool
) -> list[LedgerRow]:
    """List a page of an account's movements in the order of the journal, by (entry, purpose)."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        f"SELECT {_LEDGER} FROM ledger WHERE account = $1"
        " AND ($2::bigint IS NULL OR (entry, purpose) > ($2, $3)) AND ($4::bigint IS NULL OR (entry, purpose) < ($4, $5))"
        f" ORDER BY entry {order}, purpose {order} LIMIT $6",
        account,
        *(after or (None, None)),
        *(before or (None, None)),
        limit,
    )
    return [LedgerRow(**row) for row in rows]


async def of_bill(db: Db, account: str, period: str) -> list[LedgerRow]:
    """List the movements that stand on the bill of a period, in the order of the journal."""
    rows = await db.fetch(
        f"SELECT {_LEDGER} FROM ledger WHERE account = $1 AND posted_in = $2 ORDER BY entry, purpose", account, period
    )
    return [LedgerRow(**row) for row in rows]


async def penalty_before(db: Db, account: str, entry: int) -> Money:
    """Give the penalties' balance before an entry."""
    balance = await db.fetchval(
        "SELECT balance FROM ledger WHERE account = $1 AND entry < $2 AND purpose = 'PENALTY' ORDER BY entry DESC LIMIT 1",
        account,
        entry,
    )
    return balance if balance is not None else ZERO


async def find(db: Db, accounts: Sequence[str]) -> dict[str, BalanceRow]:
    """Find what accounts owe; an account without a movement owes nothing and has no row."""
    rows = await db.fetch(
        "SELECT account, balance, penalty, owed, changed_at FROM balance WHERE account = ANY($1::text[])",
        list(accounts),
    )
    return {row["account"]: BalanceRow(**{**dict(row), "owed": _owed(row["owed"])}) for row in rows}


async def balance_as_of(db: Db, account: str, day: date, known_at: datetime | None) -> tuple[Money, Money]:
    """Give the balance and the penalties at the end of a day, as they were known at a moment (None: now)."""
    # Clocks of servers differ by a little: what stands after a line that was not known yet was not known either, whatever it says.
    rows = await db.fetch(
        "SELECT purpose, sum(amount) AS sum FROM ledger WHERE account = $1 AND booked_on <= $2"
        " AND ($3::timestamptz IS NULL"
        " OR entry < ALL (SELECT min(entry) FROM ledger WHERE account = $1 AND recorded_at > $3 HAVING count(*) > 0))"
        " GROUP BY purpose",
        account,
        day,
        known_at,
    )
    sums = {row["purpose"]: row["sum"] for row in rows}
    return sums.get(Purpose.ENERGY.value, ZERO), sums.get(Purpose.PENALTY.value, ZERO)


async def trial_balance(db: Db, account: str | None = None) -> list[TrialRow]:
    """Give the trial balance of an account, or of the supplier as a whole: what each ledger holds now."""
    sums = ", ".join(f"coalesce(sum({column}), 0) AS {column}" for column in _HELD.values())
    row = await db.fetchrow(f"SELECT {sums} FROM balance WHERE $1::text IS NULL OR account = $1", account)
    return [_trial(name, row[column]) for name, column in _HELD.items()] if row is not None else []


async def trial_balance_as_of(db: Db, day: date, account: str | None = None) -> list[TrialRow]:
    """Give the trial balance at the end of a day, added up from the movements themselves."""
    rows = await db.fetch(
        "SELECT side.ledger, sum(side.amount) AS held FROM ledger"
        " CROSS JOIN LATERAL (VALUES (debit, abs(amount)), (credit, -abs(amount))) AS side (ledger, amount)"
        " WHERE booked_on <= $1 AND ($2::text IS NULL OR account = $2) GROUP BY side.ledger",
        day,
        account,
    )
    held = {LedgerName(row["ledger"]): row["held"] for row in rows}
    return [_trial(name, held.get(name, ZERO)) for name in _HELD]


def _trial(name: LedgerName, held: Money) -> TrialRow:
    held = to_kopecks(held)
    return TrialRow(name, max(held, ZERO), max(-held, ZERO))


_PAYMENT = (
    "account, entry, reference, channel, actor, receipt, purpose, amount, paid_on, recorded_at, state, source, meant_for,"
    " unallocated, paid_at, commission"
)


async def payments(
    db: Db, account: str, after: int | None, before: int | None, limit: int, backward: bool
) -> list[PaymentRow]:
    """List a page of an account's payments in the order of the journal."""
    order = "DESC" if backward else "ASC"
    rows = await db.fetch(
        f"SELECT {_PAYMENT} FROM payment WHERE account = $1 AND ($2::bigint IS NULL OR entry > $2)"
        f" AND ($3::bigint IS NULL OR entry < $3) ORDER BY entry {order} LIMIT $4",
        account,
        after,
        before,
        limit,
    )
    return [PaymentRow(**row) for row in rows]


async def payment_at(db: Db, account: str, entry: int) -> PaymentRow | None:
    """Find a payment by its entry."""
    row = await db.fetchrow(f"SELECT {_PAYMENT} FROM payment WHERE account = $1 AND entry = $2", account, entry)
    return PaymentRow(**row) if row is not None else None


async def unallocated(db: Db, after: tuple[datetime, str] | None, limit: int) -> list[PaymentRow]:
    """List the payments that wait to be allocated, longest unchanged first, after a moment and a stream."""
    rows = await db.fetch(
        f"SELECT {', '.join('payment.' + name.strip() for name in _PAYMENT.split(','))}"
        " FROM balance JOIN payment USING (account)"
        " WHERE suspense AND balance <> 0 AND ($1::timestamptz IS NULL OR (changed_at, balance.account) > ($1, $2::text))"
        " ORDER BY changed_at, balance.account LIMIT $3",
        *(after or (None, None)),
        limit,
    )
    return [PaymentRow(**row) for row in rows]
