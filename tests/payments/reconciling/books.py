"""Registers of a bank as they were taken, online payments and transfers, written down in a line each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from bels.access.raw_texts import RawTexts
from bels.domain.periods import MOSCOW
from bels.journal.write import Db
from bels.payments.partners import Partner
from bels.payments.reconciling.differences import Difference, of_day
from bels.payments.reconciling.three_ways import Day, reconcile
from bels.payments.till import Paid, PayOrder, pay
from tests.payments.conftest import Banks

DAY = date(2024, 5, 20)
NEXT = DAY + timedelta(days=1)
ACCOUNT = "1000001"
CONTRACT: dict[str, Any] = {
    "since": date(2024, 5, 1),
    "payers": ["7707083893"],
    "accounts": ["30232810400000000225"],
    "purpose_day": "за ([0-9]{2}[.][0-9]{2}[.][0-9]{4})",
    "transfer_days": 2,
    "fee": [{"since": date(2024, 1, 1), "percent": "1.0"}],
}
"""What is agreed with «sber»: a register the day after, a transfer two days after, one percent is kept."""

OUTCOMES = {"CREDITED", "MATCHED", "CORRECTED", "UNALLOCATED", "REFUNDED", "REVIEW", "RESOLVING", "DISMISSED"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a register: one percent is kept of it, where ``fee`` does not say otherwise; "" says nothing."""

    external_id: str | None
    amount: str
    account: str = ACCOUNT
    on: date | None = DAY
    outcome: str = "MATCHED"
    fee: str | None = None
    receipt: str | None = None
    parent: str | None = None
    payment_id: str | None = None


@dataclass(slots=True)
class Books:
    """The three books of a bank, and the day they are compared on."""

    banks: Banks
    name: str = "sber"
    agreed: Partner | None = None

    @property
    def partner(self) -> Partner:
        """Give the bank."""
        return self.agreed or self.banks.agent(self.name).partner

    @property
    def texts(self) -> RawTexts:
        """Give what seals ids."""
        return self.banks.till.counter.door.raw_texts

    def as_agreed(self, partner: Partner) -> None:
        """Let another contract hold."""
        self.agreed = partner

    async def paid(self, payment_id: str, amount: str, account: str = ACCOUNT, at: datetime | None = None) -> Paid:
        """Let the bank bring a payment online."""
        at = at or datetime.combine(DAY, time(11), MOSCOW)
        order = PayOrder(payment_id, account, Decimal(amount), at, keeps_unknown=True)
        return await pay(self.banks.till, self.banks.agent(self.name), order)

    async def register(
        self, *rows: Row, day: date | None = DAY, number: str | None = None, state: str = "TAKEN"
    ) -> int:
        """Take a register as the room of registers takes it."""
        async with self.banks.bels.pool.acquire() as db:
            file: int = await db.fetchval(
                "INSERT INTO register_file (partner, sha256, layout, name, way, size, received_at, received_by, state, number, day)"
                " VALUES ($1, $2, 'evening', 'r.txt', 'UPLOAD', 1, $3, 'x', $4, $5, $6) RETURNING file",
                self.partner.client,
                sha256(repr((rows, day, number, self.banks.house.at)).encode()).digest(),
                self.banks.house.at,
                state,
                number,
                day,
            )
            for line, row in enumerate(rows, 1):
                await keep(db, self.partner.client, file, line, row)
        return file

    async def compared(self, day: date = DAY) -> Day:
        """Compare a day; whatever is found, its sums add up."""
        async with self.banks.bels.pool.acquire() as db:
            shown, _ = await reconcile(db, self.texts, self.partner, day, self.banks.house.at)
        assert shown.adds_up, shown
        return shown

    async def differences(self, day: date = DAY) -> list[Difference]:
        """Compare a day; give what differs still, as it is listed."""
        await self.compared(day)
        async with self.banks.bels.pool.acquire() as db:
            return [each for each in await of_day(db, self.partner.client, day) if each.state != "CLEARED"]

    async def told_of(self, day: date = DAY) -> list[tuple[str, Decimal]]:
        """Compare a day; name what differs in the books, with its sum."""
        found = await self.differences(day)
        return sorted((each.kind.value, each.amount) for each in found if each.side == "BOOK")


async def keep(db: Db, partner: str, file: int, line: int, row: Row) -> None:
    """Keep a row of a register."""
    assert row.outcome in OUTCOMES
    amount = Decimal(row.amount)
    fee = None if row.fee == "" else Decimal(row.fee) if row.fee is not None else round_percent(amount)
    await db.execute(
        "INSERT INTO register_row (file, line, partner, kind, external_id, parent, account, amount, fee, transfer, paid_on, paid_at,"
        " outcome, receipt, payment_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        file,
        line,
        partner,
        "REFUND" if row.outcome == "REFUNDED" or row.parent is not None else "PAYMENT",
        row.external_id,
        row.parent,
        row.account,
        amount,
        fee,
        amount - (fee or 0),
        row.on,
        datetime.combine(row.on, time(12), MOSCOW) if row.on is not None else None,
        row.outcome,
        row.receipt,
        row.payment_id,
    )


def round_percent(amount: Decimal) -> Decimal:
    """Give one percent, rounded half up as fees are."""
    return (amount / 100).quantize(Decimal("0.01"), "ROUND_HALF_UP")
