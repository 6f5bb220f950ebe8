"""What the books say about the rows of a register: messages of their names, rows of other registers, payments that came online.

Each is one statement for a whole batch. OFFSET 0 keeps the order of a plan: first the names of the batch, then each by its key,
whatever the tables' size was when the statement was planned.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bels.access.raw_texts import RawTexts
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel, MeterModel, Money, Register
from bels.journal.write import Db
from bels.payments.registers.files import RowOutcome
from bels.payments.registers.rows import Row
from bels.projections import overview
from bels.projections.overview import MeterRow
from bels.reception.counter import ShownMeter
from bels.reception.rounds import shown_registers

COMPOSITE = "register "
"""The beginning of a name that a row without an id gets: no bank's id has a blank."""

_KNOWN = ("request_id", "receipt", "account", "entry", "amount", "state", "meant_for", "unallocated")


Online = dict[tuple[str, Decimal, date], deque[str]]
"""The ids of payments by account, sum and day, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Known:
    """A message that came before under a row's name: who brought it, the payment that it led to, where that stands."""

    request_id: str
    receipt: str
    account: str
    entry: int | None
    amount: Money | None
    state: str | None
    meant_for: str | None
    unallocated: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that was kept under the same id: of which file, of which line, and what it came to."""

    file: int
    line: int
    amount: Money | None
    outcome: RowOutcome
    payment_id: str | None


async def known_messages(db: Db, names: Sequence[str]) -> dict[str, Known]:
    """Find the messages of these names, each with the payment that it led to."""
    rows = await db.fetch(
        """
        SELECT message.message_id, message.request_id, message.receipt, message.account, payment.entry, payment.amount,
               payment.state, payment.meant_for, payment.unallocated
          FROM unnest($2::text[]) AS wanted (message_id)
          CROSS JOIN LATERAL (
                SELECT message_id, request_id, receipt, account, first_version FROM message
                 WHERE channel = $1 AND message_id = wanted.message_id
                OFFSET 0) AS message
          LEFT JOIN LATERAL (
                SELECT entry, amount, state, meant_for, unallocated FROM payment
                 WHERE account = message.account AND entry = message.first_version
                OFFSET 0) AS payment ON true
        """,
        Channel.BANK.value,
        list(names),
    )
    return {row["message_id"]: Known(**{name: row[name] for name in _KNOWN}) for row in rows}


async def seen_rows(
    db: Db, texts: RawTexts, partner: str, ids: Sequence[str], kind: str = "PAYMENT"
) -> dict[str, list[Seen]]:
    """Find the rows that were kept under these ids, of whatever file."""
    by_kept = {texts.guarded(each): each for each in ids}
    rows = await db.fetch(
        """
        SELECT external_id, file, line, amount, outcome, payment_id FROM register_row
         WHERE partner = $1 AND external_id = ANY($2::text[]) AND kind = $3
        """,
        partner,
        list(by_kept),
        kind,
    )
    found: dict[str, list[Seen]] = defaultdict(list)
    for row in rows:
        payment_id = texts.opened(row["payment_id"]) if row["payment_id"] is not None else None
        seen = Seen(row["file"], row["line"], row["amount"], RowOutcome(row["outcome"]), payment_id)
        found[by_kept[row["external_id"]]].append(seen)
    return found


async def stands_under(db: Db, texts: RawTexts, partner: str, payment_id: str) -> str:
    """Say under which id the money of a payment stands now: registers may have corrected it or returned a part."""
    found = await db.fetchval(
        """
        SELECT payment_id FROM register_row
         WHERE partner = $1 AND payment_id IS NOT NULL AND (external_id = $2 OR parent = $2) AND outcome <> 'REVIEW'
         ORDER BY file DESC, line DESC LIMIT 1
        """,
        partner,
        texts.guarded(payment_id),
    )
    return texts.opened(found) if found is not None else payment_id


async def meters_of(db: Db, rows: Sequence[Row]) -> dict[str, ShownMeter]:
    """Find the meters of the accounts that bring readings."""
    accounts = {row.account for row in rows if row.values}
    if not accounts:
        return {}
    found = await overview.find(db, sorted(accounts))
    return {number: _shown(row.meter) for number, row in found.items() if row.meter is not None}


async def online_payments(db: Db, texts: RawTexts, partner: str, actor: str, rows: Sequence[Row]) -> Online:
    """Find the payments that came online and that no row of a register has met, by account, sum and day."""
    wanted = {(row.account, row.amount, moscow_date(row.paid_at)) for row in rows}
    accounts, amounts, days = zip(*wanted, strict=True) if wanted else ((), (), ())
    found = await db.fetch(
        """
        SELECT wanted.account, payment.amount, payment.paid_on, payment.reference, payment.entry
          FROM unnest($2::text[], $3::numeric[], $4::date[]) AS wanted (account, amount, paid_on)
          CROSS JOIN LATERAL (
                SELECT amount, paid_on, reference, entry FROM payment
                 WHERE account = wanted.account AND amount = wanted.amount AND paid_on = wanted.paid_on AND actor = $1
                   AND source IS NULL AND state IN ('RECEIVED', 'MOVED') AND reference NOT LIKE $5
                OFFSET 0) AS payment
        """,
        actor,
        list(accounts),
        list(amounts),
        list(days),
        f"{COMPOSITE}%",
    )
    known = {
        row["account"]
        for row in await db.fetch("SELECT account FROM overview WHERE account = ANY($1::text[])", list(accounts))
    }
    strangers = [account for account in accounts if account not in known]
    if strangers:
        found += await db.fetch(
            """
            SELECT meant_for AS account, amount, paid_on, reference, entry FROM payment
             WHERE actor = $1 AND paid_on = ANY($2::date[]) AND meant_for = ANY($3::text[])
               AND state IN ('RECEIVED', 'MOVED') AND reference NOT LIKE $4
            """,
            actor,
            sorted(set(days)),
            strangers,
            f"{COMPOSITE}%",
        )
    met = await db.fetch(
        "SELECT payment_id FROM register_row WHERE partner = $1 AND payment_id = ANY($2::text[])",
        partner,
        [texts.guarded(row["reference"]) for row in found],
    )
    taken = {row["payment_id"] for row in met}
    online: Online = defaultdict(deque)
    for row in sorted(found, key=lambda each: each["entry"]):
        if texts.guarded(row["reference"]) not in taken:
            online[row["account"], row["amount"], row["paid_on"]].append(row["reference"])
    return online


def _shown(meter: MeterRow) -> ShownMeter:
    display = {place: Register(name) for place, name in (meter.display or {}).items()}
    registers = tuple(Register(name) for name in meter.registers)
    model = MeterModel(meter.number, meter.capacity, registers, meter.model, display or None, meter.automatic)
    return ShownMeter(meter.number, meter.capacity, shown_registers(model), meter.automatic)
