"""How long registers are kept whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bels.payments.registers import files
from bels.payments.registers.files import RegisterFile
from bels.payments.registers.keeping import forget_bytes
from bels.payments.registers.review import dismiss_row
from tests.channels.household import moscow
from tests.payments.registers.desk import Desk, day, opened_desk

CONTENT = day(["p-1;1000001;200.00", "p-2;10000O1;50.00"])


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a supplier with two banks that bring registers."""
    async with opened_desk(database, tmp_path) as opened:
        yield opened


async def bytes_of(desk: Desk, file: RegisterFile) -> bytes:
    """Read a file as it is kept."""
    return b"".join([chunk async for chunk in files.stored_chunks(desk.till, file.file)])


async def test_a_file_is_kept_whole_to_the_end_of_the_fifth_year_after_its_own(desk: Desk) -> None:
    file = await desk.taken(CONTENT)
    await dismiss_row(desk.till, file.file, 3, "operator:u-1", "банк отозвал платёж")

    desk.banks.house.at = moscow("2029-12-31T23:59")
    assert await forget_bytes(desk.till) == 0
    assert await bytes_of(desk, file) == CONTENT

    desk.banks.house.at = moscow("2030-01-01T00:00")
    assert await forget_bytes(desk.till) == 1
    assert await forget_bytes(desk.till) == 0
    assert await bytes_of(desk, file) == b""
    rows = await desk.rows(file)
    assert [(row.line, row.outcome, row.raw, row.given) for row in rows] == [
        (2, "CREDITED", None, None),
        (3, "DISMISSED", None, None),
    ]


async def test_it_stays_the_same_file_when_its_bytes_are_forgotten(desk: Desk) -> None:
    file = await desk.taken(day(["p-1;1000001;200.00"]))
    balance = await desk.balance()
    desk.banks.house.at = moscow("2030-01-01T00:00")
    assert await forget_bytes(desk.till) == 1

    again = await desk.receive(day(["p-1;1000001;200.00"]), "D-again.csv")

    assert (again.repeated, again.file.file) == (True, file.file)
    assert await desk.balance() == balance


async def test_what_waits_for_a_person_is_not_forgotten(desk: Desk) -> None:
    with_a_row = await desk.taken(CONTENT)
    quarantined = (await desk.receive(day(["p-9;1000001;1.00"], total="2.00"))).file
    desk.banks.house.at = moscow("2031-01-01T00:00")

    assert await forget_bytes(desk.till) == 0
    assert await bytes_of(desk, with_a_row) == CONTENT
    assert await bytes_of(desk, quarantined) != b""
