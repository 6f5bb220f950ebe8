"""A household whose bills are known, and the desk at which the rules of its cabinet are carried out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg

from bels.access.callers import Kind
from bels.access.desk import Desk
from bels.access.documents import Document, DocumentKind
from bels.access.master_key import development_key
from bels.access.passwords import Passwords
from bels.access.people import add_person
from bels.access.proofs import BillProof
from bels.access.throttle import Throttle
from bels.access.tokens import Tokens
from bels.access.vault import Vault
from bels.domain.commands import ClosePeriod, LinkChannel, SubmitReading
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, Period
from bels.intake import Intake
from bels.messages import Outcome, Status
from tests.domain.vectors import rulebook_of, vectors
from tests.supplier import feed, message

E01 = next(v for v in vectors("billing") if v["id"] == "E01")
ACCOUNT = "1000001"
MAY = Period("2024-05")
TO_PAY = Decimal("1245.05")
RIGHT = BillProof(MAY, to_pay=TO_PAY, meter="M1")
PASSWORD = "мост сова ведро"
LOGIN = "ivanova@example.ru"
HOME, AWAY = "192.0.2.10", "198.51.100.7"
PASSPORT = Document(DocumentKind.PASSPORT, "4821", date(2019, 4, 2))
EXTRACT = Document(DocumentKind.EGRN_EXTRACT, "7730", date(2024, 6, 3))


@dataclass(slots=True)
class Clock:
    """A clock that stands where it is put: after the closing of May 2024."""

    now: datetime = datetime(2024, 6, 5, 12, tzinfo=MOSCOW)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def pass_by(self, **time: float) -> None:
        """Let time go by."""
        self.now += timedelta(**time)


@asynccontextmanager
async def desk_of(pool: asyncpg.Pool, folder: Path, clock: Clock) -> AsyncIterator[Desk]:
    """Give the desk of a supplier with one household, 1000001, whose bill of May 2024 is 1245.05 by 10385 on meter M1."""
    vault, passwords = Vault(pool, development_key(folder)), Passwords()
    async with Intake(pool, rulebook_of(E01), clock).running() as intake:
        await feed(intake, E01, ACCOUNT)
        tokens = Tokens(pool, vault, "https://bels.example", clock)
        yield Desk(pool, vault, passwords, Throttle(pool, vault, clock), tokens, intake)
    passwords.close()


async def add_household(desk: Desk, account: str) -> None:
    """Open another account with the same life and the same bill."""
    await feed(desk.intake, E01, account)


async def consumer(desk: Desk, login: str | None = None, password: str = PASSWORD) -> str:
    """Add a consumer without accounts."""
    hashed = await desk.passwords.hash(password)
    async with desk.pool.acquire() as db:
        return await add_person(db, desk.vault, Kind.CONSUMER, login=login, password_hash=hashed)


async def send(desk: Desk, command: SubmitReading | ClosePeriod | LinkChannel, account: str = ACCOUNT) -> Outcome:
    """Carry out a command on the account, which is accepted."""
    outcome = await desk.intake.submit(message(account, command, f"{account} {command!r}"))
    assert outcome.status is Status.ACCEPTED
    return outcome


async def bill_june(desk: Desk, clock: Clock, total: int = 10485, day: int = 20) -> None:
    """Send the reading of June and close the month: 100 kWh more, unless another reading is said."""
    clock.now = datetime(2024, 6, day, 12, tzinfo=MOSCOW)
    await send(desk, SubmitReading(clock.now, {"total": str(total)}))
    clock.now = datetime(2024, 7, 1, 6, tzinfo=MOSCOW)
    await send(desk, ClosePeriod(Period("2024-06"), clock.now))


async def link_sender(desk: Desk, channel: Channel, sender: str) -> None:
    """Let a phone or a chat speak for the account."""
    await send(desk, LinkChannel(channel, sender, desk.intake.clock()))
