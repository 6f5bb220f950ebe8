"""What an operator decides: whether a file that waits goes on, and what a row that waits means.

A decision is kept before it is carried out, with its ground and who made it; one that was cut off is carried out by whoever
looks next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec

from bels.domain.money import is_amount, to_kopecks
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.receive_payment import PAID_YEAR_MIN
from bels.domain.terms import Money, Reason
from bels.journal.write import Db
from bels.payments.registers import files
from bels.payments.registers.booking import Books
from bels.payments.registers.faults import PASSABLE, UNREADABLE
from bels.payments.registers.files import FileState, KeptRow, RegisterFile, RowOutcome, find_file
from bels.payments.registers.layout import Layout, layouts_of, shipped_layout
from bels.payments.registers.lookups import COMPOSITE
from bels.payments.registers.rows import NOON, Row
from bels.payments.till import Till
from bels.reception.counter import database

RESOLVING_S = 60
"""A row whose decision was cut off is gone on with after so long."""

ROWS_AT_ONCE = 100
ACCOUNT_LENGTH_MAX = 30

_values = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


@dataclass(frozen=True, slots=True)
class Mended:
    """What a row means, in roubles, as an operator found out; None: what it says is right."""

    account: str | None = None
    amount: Decimal | None = None
    paid_on: date | None = None


class ResolveError(ValueError):
    """A row cannot be taken so: ``reason``, and which field of the decision is to blame."""

    def __init__(self, reason: Reason, field: str, detail: str | None = None) -> None:
        super().__init__(f"{field}: {reason.value}")
        self.reason = reason
        self.field = field
        self.detail = detail


async def release_file(
    till: Till, file: int, by: str, ground: str, *, is_correction: bool = True, layout: str | None = None
) -> RegisterFile | None:
    """Let a file in quarantine go on: past its fault where its rows can be read, else it is judged anew as the contract is now.

    ``layout`` is another of the partner's registers that it is. ``is_correction``: where another file has its number, equal
    rows of both are the same payments. Whoever looks next takes it. None: it waits no longer, or there is none.

    :raises PartnersError: the partner has no such register.
    :raises TryLater: nothing changed.
    """
    async with database(till.counter) as db, db.transaction():
        kept = await find_file(db, file)
        if kept is None or kept.state is not FileState.QUARANTINED:
            return None
        named = kept.layout
        if layout is not None and layout != kept.layout:
            if layout not in layouts_of(till.partners.of(kept.partner)) or kept.taken_line:
                return None
            named = layout
        passes = kept.fault in PASSABLE and named == kept.layout
        row = await db.fetchval(
            """
            UPDATE register_file SET state = 'RECEIVED', decided_by = $2, decided_at = $3, ground = $4, is_correction = $5,
                   layout = $6, claim = NULL, claimed_until = NULL, fault = CASE WHEN $7 THEN fault END
             WHERE file = $1 AND state = 'QUARANTINED' RETURNING file
            """,
            file,
            by,
            till.now(),
            ground,
            is_correction,
            named,
            passes,
        )
        return await find_file(db, file) if row is not None else None


async def reject_file(till: Till, file: int, by: str, ground: str) -> RegisterFile | None:
    """Refuse a file in quarantine for good: nothing of it is taken. None: it waits no longer, or there is none.

    :raises TryLater: nothing changed.
    """
    now = till.now()
    async with database(till.counter) as db:
        row = await db.fetchval(
            """
            UPDATE register_file SET state = 'REJECTED', decided_by = $2, decided_at = $3, ground = $4, ended_at = $3
             WHERE file = $1 AND state = 'QUARANTINED' RETURNING file
            """,
            file,
            by,
            now,
            ground,
        )
        return await find_file(db, file) if row is not None else None


async def find_row(db: Db, file: int, line: int) -> KeptRow | None:
    """Find a row of a file by its line."""
    found = await files.list_rows(db, file, None, line - 1, 1)
    return found[0] if found and found[0].line == line else None


async def dismiss_row(till: Till, file: int, line: int, by: str, ground: str) -> KeptRow | None:
    """Decide that a row that waits is no payment to book, or was booked by hand. None: it waits no longer, or there is none.

    :raises TryLater: nothing changed.
    """
    async with database(till.counter) as db:
        done = await db.fetchval(
            """
            UPDATE register_row SET outcome = 'DISMISSED', resolved_by = $3, resolved_at = $4, ground = $5
             WHERE file = $1 AND line = $2 AND outcome = 'REVIEW' RETURNING line
            """,
            file,
            line,
            by,
            till.now(),
            ground,
        )
        return await find_row(db, file, line) if done is not None else None


async def take_row(till: Till, file: int, line: int, by: str, ground: str, mended: Mended) -> KeptRow | None:
    """Take a row that waits, as an operator found out what it means. None: it waits no longer, or there is none.

    :raises ResolveError: it cannot be taken so.
    :raises TryLater: it was not taken; what was decided is kept where that much was stored.
    """
    now = till.now()
    async with database(till.counter) as db, db.transaction():
        row = await find_row(db, file, line)
        if row is None or row.outcome is not RowOutcome.REVIEW:
            return None
        account, amount, paid_at = _meant(row, mended, now)
        done = await db.fetchval(
            """
            UPDATE register_row SET outcome = 'RESOLVING', account = $3, amount = $4, paid_on = $5, paid_at = $6,
                   resolved_by = $7, resolved_at = $8, ground = $9
             WHERE file = $1 AND line = $2 AND outcome = 'REVIEW' RETURNING line
            """,
            file,
            line,
            account,
            amount,
            moscow_date(paid_at),
            paid_at,
            by,
            now,
            ground,
        )
    return await _resolve(till, file, line) if done is not None else None


async def finish_resolving(till: Till) -> int:
    """Carry out decisions about rows that were cut off; how many.

    :raises TryLater: the database cannot be reached.
    """
    async with database(till.counter) as db:
        rows = await db.fetch(
            "SELECT file, line FROM register_row WHERE outcome = 'RESOLVING' AND resolved_at <= $1"
            " ORDER BY resolved_at LIMIT $2",
            till.now() - timedelta(seconds=RESOLVING_S),
            ROWS_AT_ONCE,
        )
    for row in rows:
        await _resolve(till, row["file"], row["line"])
    return len(rows)


def _meant(row: KeptRow, mended: Mended, now: datetime) -> tuple[str, Money, datetime]:
    if row.kind != "PAYMENT":
        # What is returned is booked by reversing a payment; of the row there is nothing left to do but to dismiss it.
        raise ResolveError(Reason.UNKNOWN_PAYMENT, "dismiss", row.reason)
    account = mended.account or row.account
    if not (account.isascii() and account.isdigit() and len(account) <= ACCOUNT_LENGTH_MAX):
        raise ResolveError(Reason.BAD_ACCOUNT, "account")
    amount = mended.amount if mended.amount is not None else row.amount
    if amount is None or not is_amount(amount):
        raise ResolveError(Reason.BAD_AMOUNT, "amount")
    paid_at = row.paid_at
    if mended.paid_on is not None:
        paid_at = datetime.combine(mended.paid_on, NOON, MOSCOW)
    if paid_at is None or paid_at.year < PAID_YEAR_MIN or moscow_date(paid_at) > moscow_date(now):
        raise ResolveError(Reason.BAD_DATES, "paidOn")
    return account, to_kopecks(amount), paid_at


async def _resolve(till: Till, file: int, line: int) -> KeptRow | None:
    """Book a row that is decided on, under its bank's id where that was never looked up, else under one of its own."""
    async with database(till.counter) as db:
        kept, row = await find_file(db, file), await find_row(db, file, line)
    if kept is None or row is None or row.amount is None or row.paid_at is None:
        return None
    partner = till.partners.of(kept.partner)
    layout: Layout = files.layout_named(partner, kept.layout) or replace(shipped_layout("generic"), name=kept.layout)
    texts = till.counter.door.raw_texts
    external_id = texts.opened(row.external_id) if row.external_id is not None else None
    if row.reason not in UNREADABLE or external_id is None or external_id.startswith(COMPOSITE):
        external_id = f"{COMPOSITE}row {file}/{line}"
    values = _values(texts.opened(row.given)) if row.given is not None else ()
    transfer = row.transfer if row.transfer is not None else row.amount
    read = Row(line, row.account, row.amount, row.paid_at, row.fee, transfer, values, external_id)
    books = Books(till, till.agent(partner.client), layout, kept)
    (plan,) = await books.payments([read], [(external_id, None)])
    became = books.kept(plan)
    reason = became.reason if became.outcome is not RowOutcome.CORRECTED else row.reason
    async with database(till.counter) as db:
        await db.execute(
            """
            UPDATE register_row SET outcome = $3, reason = $4, receipt = $5, payment_id = $6, reading = $7
             WHERE file = $1 AND line = $2 AND outcome = 'RESOLVING'
            """,
            file,
            line,
            became.outcome.value,
            reason if reason is not None else row.reason,
            became.receipt,
            became.payment_id,
            became.reading,
        )
        return await find_row(db, file, line)
