"""Entries put straight into a journal, as a test tells them: whose, when, by whom, what."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from bels.audit.trail.telling import index_trail
from bels.domain.events import (
    Event,
    PeriodClosed,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingHeld,
)
from bels.domain.money_events import PaymentMovedIn, PaymentReceived, PaymentReversed
from bels.domain.periods import MOSCOW
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    HoldReason,
    Mode,
    Money,
    Period,
    Purpose,
    ReadingKind,
    Register,
    Role,
    Settlement,
)
from bels.journal.entry import Entry
from bels.journal.journal import appended
from bels.journal.write import run

CONTENT = b"c" * 16


def at(month: int, day: int, hour: int = 12, minute: int = 0) -> datetime:
    """Give a moment of 2026 in Moscow."""
    return datetime(2026, month, day, hour, minute, tzinfo=MOSCOW)


class Story:
    """Puts entries into a journal, one after another, and has the trail told."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.versions: dict[str, int] = {}
        self.heads: dict[str, bytes] = {}

    async def tell(
        self,
        account: str,
        moment: datetime,
        event: Event,
        actor: str = "operator:u-1",
        channel: Channel = Channel.OFFICE,
    ) -> int:
        """Put an entry, and give its number in the account."""
        version = self.versions[account] = self.versions.get(account, 0) + 1
        receipt = f"{account}-{version}"
        entry = Entry(AccountNumber(account), version, moment, channel, actor, receipt, event)
        async with self.pool.acquire() as db:
            await run(db, appended([entry], self.heads, {receipt: CONTENT}))
        return version

    async def told(self) -> int:
        """Tell the index of the trail."""
        return await index_trail(self.pool)


def accepted(kwh: int, period: str = "2026-01") -> ReadingAccepted:
    """Accept a reading."""
    day = at(1, 20)
    return ReadingAccepted(
        EntryNumber(1),
        Period(period),
        day,
        None,
        {Register.TOTAL: 10_000},
        EntryNumber(1),
        {Register.TOTAL: kwh},
        Role.CONSUMER,
    )


def held(kwh: int) -> ReadingHeld:
    """Hold a reading."""
    return ReadingHeld(
        EntryNumber(1),
        Period("2026-01"),
        at(1, 20),
        None,
        {Register.TOTAL: 20_000},
        EntryNumber(1),
        {Register.TOTAL: kwh},
        Role.OPERATOR,
        HoldReason.IMPLAUSIBLE,
    )


def confirmed(reading: int, period: str = "2026-01") -> ReadingConfirmed:
    """Confirm a held reading."""
    return ReadingConfirmed(
        EntryNumber(reading), Period(period), at(1, 20), ReadingKind.SENT, (), Role.OPERATOR, "сверено по фото"
    )


def paid(amount: str) -> PaymentReceived:
    """Receive a payment."""
    return PaymentReceived(Money(amount), at(1, 20).date(), at(1, 20), Purpose.ENERGY, "p-1")


def reversed_payment(payment: int, amount: str) -> PaymentReversed:
    """Reverse a payment."""
    day = at(1, 21)
    return PaymentReversed(
        EntryNumber(payment), Money(amount), day.date(), day, Purpose.ENERGY, "p-1", "ошибка плательщика"
    )


def moved_in(source: str, amount: str) -> PaymentMovedIn:
    """Move a payment here."""
    day = at(1, 21)
    return PaymentMovedIn(
        Money(amount),
        day.date(),
        day,
        Purpose.ENERGY,
        "p-1",
        AccountNumber(source),
        EntryNumber(1),
        "ошибка плательщика",
    )


def closed(period: str, closed_at: datetime) -> PeriodClosed:
    """Close a period with nothing used."""
    return PeriodClosed(
        Period(period),
        closed_at,
        Mode.METERED,
        {Register.TOTAL: 0},
        (),
        0,
        None,
        None,
        Settlement.REDISTRIBUTE,
        (),
        (),
        False,
        "",
    )
