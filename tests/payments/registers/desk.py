"""A till whose banks bring registers, and the registers that they bring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bels.payments.registers import files
from bels.payments.registers.files import FileState, KeptRow, RegisterFile, Tally, Way
from bels.payments.registers.taking import FileTaken, receive_file
from bels.payments.till import Till
from tests.channels.house import opened_house
from tests.payments.conftest import Banks, opened_banks

REGISTERS: dict[str, dict[str, Any]] = {
    "evening": {"layout": "sber-evening", "file_name": r"E(?P<number>\d+)?.*\.txt"},
    "day": {"layout": "generic", "file_name": r"D.*\.csv"},
    "tochka": {"layout": "tochka", "file_name": r".*\.zip"},
    "classic": {"layout": "classic", "fee_from": "payer", "file_name": r"C(?P<number>\d+)\.txt"},
}
HEADER = "id;account;amount;fee;paid_at;t1;t2;t3"


@dataclass(frozen=True, slots=True)
class Desk:
    """The bank «sber» with its registers."""

    banks: Banks

    @property
    def till(self) -> Till:
        """The till."""
        return self.banks.till

    async def receive(
        self, content: bytes, name: str = "D.csv", way: Way = Way.UPLOAD, bank: str = "sber"
    ) -> FileTaken:
        """Bring a file."""
        return await receive_file(self.till, self.banks.agent(bank).partner, name, [content], way)

    async def rows(self, file: RegisterFile) -> list[KeptRow]:
        """List the rows of a file."""
        async with self.banks.bels.pool.acquire() as db:
            return await files.list_rows(db, file.file, None, None, 10_000)

    async def outcomes(self, file: RegisterFile) -> list[str]:
        """Say what became of each row."""
        return [row.outcome.value + (f" {row.reason}" if row.reason else "") for row in await self.rows(file)]

    async def tally(self, file: RegisterFile) -> list[Tally]:
        """Count rows by outcome."""
        async with self.banks.bels.pool.acquire() as db:
            return await files.tally(db, file.file)

    async def find(self, file: int) -> RegisterFile:
        """Find a file."""
        async with self.banks.bels.pool.acquire() as db:
            found = await files.find_file(db, file)
        assert found is not None
        return found

    async def balance(self, account: str = "1000001") -> Decimal:
        """Say what an account owes."""
        return (await self.till.intake.account(account)).ledger.balance

    async def taken(self, content: bytes, name: str = "D.csv") -> RegisterFile:
        """Bring a file that is taken at once."""
        file = (await self.receive(content, name)).file
        assert file.state is FileState.TAKEN, (file.fault, file.detail)
        return file


@asynccontextmanager
async def opened_desk(database: str, folder: Path) -> AsyncIterator[Desk]:
    """Open the house of the tests with registers agreed."""
    async with opened_house(database, folder) as house:
        yield Desk(await opened_banks(house, {"sber": {"registers": REGISTERS}, "app": {"registers": REGISTERS}}))


def day(rows: Sequence[str], number: int = 7, *, on: str = "2024-05-20", total: str | None = None) -> bytes:
    """Write a register with our own layout: ``id;account;amount`` and what follows, dated by the day where nothing is said."""
    lines, amount, fee = [], Decimal(0), Decimal(0)
    for row in rows:
        cells = row.split(";")
        cells += ["", f"{on}T10:00:00", "", "", ""][len(cells) - 3 :]
        lines.append(";".join(cells))
        amount += Decimal(cells[2])
        fee += Decimal(cells[3] or 0)
    return "\n".join([HEADER, *lines, f"ИТОГО;{len(rows)};{total or amount};{fee};{number};{on}"]).encode()


def evening(rows: Sequence[str]) -> bytes:
    """Write a register of the evening of 20 May: ``account;amount`` and ``KEY:value`` that follow."""
    lines = []
    for row in rows:
        account, amount, *more = row.split(";")
        lines.append(";".join(["7977", "1", "", "", amount, "", "20/05/2024", f"CLIENTNO:{account}", *more]))
    return "\r\n".join(lines).encode("cp1251")
