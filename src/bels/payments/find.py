"""Find a payment by the names it goes by, and follow it where it was moved."""

from __future__ import annotations

from collections.abc import Callable

from bels.access.clients import payers
from bels.domain.money_events import PaymentMovedIn, PaymentMovedOut
from bels.domain.terms import Channel, PaymentState
from bels.journal.entry import Entry
from bels.journal.journal import find_messages, find_receipt, read_page
from bels.journal.write import Db
from bels.payments.partners import Partners
from bels.projections import ledger
from bels.projections.ledger import PaymentRow

ROWS_OF_PAGE = 100
MOVES_MAX = 20


async def by_receipt(db: Db, receipt: str) -> PaymentRow | None:
    """Find the payment that a message brought: as it came, or as it was moved."""
    recorded = await find_receipt(db, receipt.strip().upper())
    if recorded is None or recorded.first_version is None:
        return None
    return await ledger.payment_at(db, recorded.account, recorded.first_version)


async def by_id(db: Db, payment_id: str, named: Callable[[str], str], partners: Partners) -> list[PaymentRow]:
    """Find the payments that go by a payer's id, as they came: two payers may use one id, and each means its own.

    ``named`` gives the name of a message as it is kept. ``partners`` are asked too: one that is known by its signature alone, as
    MONETA is, is no client of the door.
    """
    names = [(Channel.BANK.value, named(payment_id))]
    names += [(channel, named(f"{subject}/{payment_id}")) for channel, subject in await payers(db)]
    names += [(Channel.BANK.value, named(each.message_id(payment_id))) for each in partners.partners]
    found = [
        await ledger.payment_at(db, each.account, each.first_version)
        for each in await find_messages(db, list(dict.fromkeys(names)))
        if each.first_version is not None
    ]
    # Another message may have that name too: what it brought is no payment.
    return [row for row in found if row is not None]


async def origin(db: Db, row: PaymentRow) -> PaymentRow:
    """Follow a payment back to where it came first."""
    for _ in range(MOVES_MAX):
        entries = await read_page(db, row.account, row.entry - 1, None, 1, False) if row.source is not None else []
        event = entries[0].event if entries and entries[0].version == row.entry else None
        before = await ledger.payment_at(db, event.source, event.payment) if isinstance(event, PaymentMovedIn) else None
        if before is None:
            break
        row = before
    return row


async def where_now(db: Db, row: PaymentRow) -> PaymentRow:
    """Follow a payment to the account where it is now."""
    for _ in range(MOVES_MAX):
        there = await moved_to(db, row) if row.state == PaymentState.MOVED else None
        if there is None:
            break
        row = there
    return row


async def moved_to(db: Db, row: PaymentRow) -> PaymentRow | None:
    """Find a payment on the account it was moved to from here; None where it was not moved, or is still on its way."""
    out = await _move(db, row)
    if out is None or not isinstance(out.event, PaymentMovedOut):
        return None
    after: int | None = None
    while page := await ledger.payments(db, out.event.to, after, None, ROWS_OF_PAGE, False):
        for there in page:
            if (
                there.source == row.account
                and there.reference == row.reference
                and there.recorded_at >= out.recorded_at
            ):
                return there
        after = page[-1].entry
    return None


async def _move(db: Db, row: PaymentRow) -> Entry | None:
    after = row.entry
    while entries := await read_page(db, row.account, after, None, ROWS_OF_PAGE, False):
        for entry in entries:
            if isinstance(entry.event, PaymentMovedOut) and entry.event.payment == row.entry:
                return entry
        after = entries[-1].version
    return None
