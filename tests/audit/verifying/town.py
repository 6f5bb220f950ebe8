"""A small town whose journal is sealed now and then, with what an auditor keeps of it elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bels.app import Bels, opened
from bels.audit.findings import Finding
from bels.audit.seals.keys import public_keys
from bels.audit.seals.sealing import seal_journal
from bels.audit.seals.statement import Seal
from bels.audit.verifying.heads import HeadsTree
from bels.audit.verifying.heads_file import read_heads, write_heads
from bels.audit.verifying.seals_check import Outside
from bels.closing import closing
from bels.domain.commands import ReceivePayment
from bels.domain.periods import over_at, shift
from bels.domain.terms import Period
from bels.journal.journal import RULEBOOK
from bels.messages import Message, Status
from bels.progress import Progress
from bels.publishing import publish_demonstration
from bels.settings import Settings
from bels.verification import Asked, Verified, verify
from tests.supplier import message, open_household, reading

ACCOUNTS = ("1000000", "1000001", "1000002", "1000003", "1000004")
FIRST = Period("2024-01")
MONTHS = 8
LATE_MONTH = 3
"""In which the last account is opened: the first seals do not know it."""

SEALED_AFTER = (1, 3, 5, 6)
"""Months after which the town is sealed; what comes after the last of them no seal knows."""

TABLES = ("journal", "message", "sealed_head", "seal", "seal_key")


ALONE = Asked(alone=True)
EVERYTHING = Asked(alone=True, views=True, charges=True, messages=True)


class Silent(Progress):
    """Nobody looks at how far it is."""

    def update(self, n: int = 1) -> object:
        """Hear it."""
        return None


@dataclass(slots=True)
class Town:
    """An open supplier with its clock, and what was kept outside: seals, the public key, the heads of the last seal."""

    bels: Bels
    folder: Path
    now: list[datetime]
    seals: list[Seal] = field(default_factory=list)
    key: bytes = b""
    heads: HeadsTree = field(default_factory=HeadsTree)

    @property
    def last(self) -> Seal:
        """The last seal."""
        return self.seals[-1]

    @property
    def outside(self) -> Outside:
        """What an auditor kept who took the last seal and the key with him."""
        return Outside(seals=(("seal.json", self.last),), keys=(self.key,))

    @property
    def outside_with_heads(self) -> Outside:
        """What an auditor kept who took the heads, too."""
        return Outside((("seal.json", self.last),), (self.key,), self.heads, self.last.number)

    async def verify(self, outside: Outside | None = None, asked: Asked = ALONE) -> Verified:
        """Verify all of it, in this process."""
        return await verify(self.bels, asked, outside or Outside(), Silent())

    async def verify_some(self, *accounts: str, outside: Outside | None = None) -> Verified:
        """Verify some accounts."""
        return await verify(self.bels, Asked(accounts, alone=True), outside or Outside(), Silent())

    async def seal(self) -> Seal:
        """Seal the journal an hour later."""
        self.now[0] += timedelta(hours=1)
        seal = await seal_journal(self.bels.pool, self.bels.vault, self.now[0])
        self.seals.append(seal)
        return seal

    async def take(self, *messages: Message) -> None:
        """Hand messages in, which are taken."""
        for outcome in await self.bels.intake.handle(list(messages)):
            assert outcome.status is Status.ACCEPTED, outcome

    async def keep(self) -> None:
        """Keep a copy of all that the proofs are about, from which it is put back."""
        async with self.bels.pool.acquire() as db:
            for table in TABLES:
                await db.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")

    async def put_back(self) -> None:
        """Put everything back as it was kept."""
        async with self.bels.pool.acquire() as db, db.transaction():
            await db.execute("SET LOCAL session_replication_role = replica")
            await db.execute(f"TRUNCATE {', '.join(TABLES)}")
            for table in TABLES:
                await db.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE kept_{table}")


@asynccontextmanager
async def living_town(url: str, folder: Path) -> AsyncIterator[Town]:
    """Let a town live some months, sealed now and then."""
    now = [datetime(2024, 1, 2, tzinfo=UTC)]
    settings = Settings(database_url=url, data_dir=folder)
    async with opened(settings, clock=lambda: now[0]) as bels:
        town = Town(bels, folder, now)
        await publish_demonstration(bels.pool, bels.intake)
        await town.take(*(opening for account in ACCOUNTS[:4] for opening in open_household(account)))
        for month in range(MONTHS):
            await _month(town, shift(FIRST, month), month)
            if month in SEALED_AFTER:
                await town.seal()
        async with bels.pool.acquire() as db:
            (town.key,) = (await public_keys(db)).values()
            path = await write_heads(db, town.last, folder)
        number, town.heads = read_heads(path)
        assert number == town.last.number
        yield town


async def _month(town: Town, period: Period, month: int) -> None:
    accounts = ACCOUNTS if month >= LATE_MONTH else ACCOUNTS[:4]
    town.now[0] = datetime(2024, month + 1, 20, 12, tzinfo=UTC)
    if month == LATE_MONTH:
        await town.take(*open_household(ACCOUNTS[4]))
    await town.take(
        *(reading(account, f"sms {account} {period}", 100 + 50 * month, town.now[0]) for account in accounts)
    )
    town.now[0] = over_at(period).astimezone(UTC) + timedelta(hours=3)
    for account in accounts:
        opened_late = account == ACCOUNTS[4] and month == LATE_MONTH
        for closed in [shift(FIRST, i) for i in range(month)] * opened_late + [period]:
            await town.take(closing(account, closed, town.now[0], "town"))
    town.now[0] += timedelta(days=4)
    payments = [
        ReceivePayment(Decimal("150.00"), town.now[0].date(), town.now[0], f"pay {account} {period}")
        for account in ACCOUNTS[:2]
    ]
    await town.take(
        *(message(account, paid, paid.reference) for account, paid in zip(ACCOUNTS, payments, strict=False))
    )


def names(findings: Sequence[Finding], account: str, entry: int | None = None) -> bool:
    """Say whether a finding names an account, and an entry, or entries among which it is."""
    return any(
        found.account == account
        and (
            entry is None
            or found.entry == entry
            or (found.first is not None and found.last is not None and found.first <= entry <= found.last)
        )
        for found in findings
    )


def streams() -> tuple[str, ...]:
    """Name all streams of the town's journal."""
    return (*ACCOUNTS, RULEBOOK)
