"""What proves to belong to an account: two things of one fresh bill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from bels.access.desk import Desk
from bels.access.proofs import BillProof, proves
from bels.access.tenures import Tenure
from bels.domain.commands import ClosePeriod, Command, InstallMeter, OpenAccount, ReceivePayment, SubmitReading
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.terms import Locality, MeterModel, Period, Register, Stove
from bels.projections import bills
from tests.access.household import ACCOUNT, MAY, TO_PAY, Clock, bill_june, desk_of, send
from tests.supplier import message

JUNE = Period("2024-06")
ONE_KOPECK_MORE = Decimal("1245.06")
RIGHT = [
    BillProof(MAY, to_pay=TO_PAY, meter="M1"),
    BillProof(MAY, to_pay=TO_PAY, reading=10385),
    BillProof(MAY, meter=" № m-1", reading=10385),
    BillProof(MAY, to_pay=Decimal("1245.050"), meter="M1", reading=10385),
]
WRONG = [
    BillProof(MAY),
    BillProof(MAY, to_pay=TO_PAY),
    BillProof(MAY, meter="M1"),
    BillProof(MAY, reading=10385),
    BillProof(MAY, to_pay=ONE_KOPECK_MORE, meter="M1"),
    BillProof(MAY, to_pay=TO_PAY, meter="M2"),
    BillProof(MAY, to_pay=TO_PAY, meter=""),
    BillProof(MAY, to_pay=TO_PAY, meter="M1" * 1000),
    BillProof(MAY, to_pay=TO_PAY, reading=10200),
    BillProof(MAY, to_pay=ONE_KOPECK_MORE, meter="M1", reading=10385),
    BillProof(MAY, to_pay=Decimal("NaN"), meter="M1"),
    BillProof(MAY, to_pay=Decimal("sNaN"), meter="M1"),
    BillProof(MAY, to_pay=Decimal("1E+999999"), meter="M1"),
    BillProof(MAY, to_pay=TO_PAY, reading=10**30),
    BillProof(JUNE, to_pay=TO_PAY, meter="M1"),
    BillProof(Period("2024-04"), to_pay=TO_PAY, meter="M1"),
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(pool: asyncpg.Pool, tmp_path: Path, clock: Clock) -> AsyncIterator[Desk]:
    async with desk_of(pool, tmp_path, clock) as made:
        yield made


async def proven(desk: Desk, given: BillProof, account: str = ACCOUNT, tenure: Tenure | None = None) -> bool:
    async with desk.pool.acquire() as db:
        return await proves(db, account, given, tenure or Tenure(), desk.intake.clock(), desk.intake.rulebook)


async def test_two_things_of_one_bill_are_enough(desk: Desk) -> None:
    assert [given for given in RIGHT if not await proven(desk, given)] == []


async def test_one_thing_or_one_wrong_one_proves_nothing(desk: Desk) -> None:
    assert [given for given in WRONG if await proven(desk, given)] == []


async def test_another_account_is_not_opened_by_it(desk: Desk) -> None:
    for account in ("1000002", "", "1", "RULEBOOK", "١٠٠٠٠٠١", "1000001\x00", " 1000001"):
        assert not await proven(desk, BillProof(MAY, to_pay=TO_PAY, meter="M1"), account)


async def test_an_old_bill_proves_nothing(desk: Desk, clock: Clock) -> None:
    clock.now = datetime(2024, 11, 30, 12, tzinfo=MOSCOW)
    assert await proven(desk, BillProof(MAY, to_pay=TO_PAY, meter="M1"))
    clock.now = datetime(2024, 12, 1, 12, tzinfo=MOSCOW)
    assert not await proven(desk, BillProof(MAY, to_pay=TO_PAY, meter="M1"))


async def test_a_bill_with_nothing_to_pay_has_no_sum_that_proves(desk: Desk, clock: Clock) -> None:
    paid = ReceivePayment(Decimal("5000.00"), moscow_date(clock.now), clock.now, "payment 1")
    await desk.intake.submit(message(ACCOUNT, paid, "payment 1"))
    await bill_june(desk, clock)

    assert not await proven(desk, BillProof(JUNE, to_pay=Decimal("0.00"), meter="M1"))
    assert await proven(desk, BillProof(JUNE, reading=10485, meter="M1"))


async def test_what_the_norm_makes_is_computed_by_any_neighbour(desk: Desk, clock: Clock) -> None:
    number, opened = "1000009", datetime(2024, 5, 1, tzinfo=MOSCOW)
    commands: tuple[Command, ...] = (
        OpenAccount(opened, Locality.URBAN, Stove.GAS, 2, 3),
        InstallMeter(MeterModel("77", 5, (Register.TOTAL,)), opened, {Register.TOTAL: 100}, "акт"),
        ClosePeriod(MAY, datetime(2024, 6, 1, 6, tzinfo=MOSCOW)),
        ClosePeriod(JUNE, datetime(2024, 7, 1, 6, tzinfo=MOSCOW)),
    )
    for i, command in enumerate(commands):
        await desk.intake.submit(message(number, command, f"{number} {i}"))
    async with desk.pool.acquire() as db:
        bill = await bills.find(db, number, JUNE, desk.intake.rulebook)
    assert bill is not None
    assert bill.norm is not None
    assert bill.to_pay > 0

    assert not await proven(desk, BillProof(JUNE, to_pay=bill.to_pay, meter="77"), number)


async def test_the_household_before_knows_the_meter_and_has_the_old_bills(desk: Desk, clock: Clock) -> None:
    sold_at = clock.now
    async with desk.pool.acquire() as db:
        entry = await db.fetchval("SELECT version FROM overview WHERE account = $1", ACCOUNT)
    sold = Tenure(2, sold_at, entry, JUNE)

    assert not await proven(desk, BillProof(MAY, to_pay=TO_PAY, reading=10385), tenure=sold)
    await bill_june(desk, clock)
    async with desk.pool.acquire() as db:
        bill = await bills.find(db, ACCOUNT, JUNE, desk.intake.rulebook)
    assert bill is not None
    assert not await proven(desk, BillProof(JUNE, to_pay=bill.to_pay, meter="M1"), tenure=sold)
    assert not await proven(desk, BillProof(JUNE, reading=10485, meter="M1"), tenure=sold)
    assert await proven(desk, BillProof(JUNE, to_pay=bill.to_pay, reading=10485), tenure=sold)


async def test_the_reading_that_both_households_took_together_is_the_old_one_s(desk: Desk, clock: Clock) -> None:
    clock.now = datetime(2024, 6, 20, 9, tzinfo=MOSCOW)
    sold = Tenure(2, clock.now, 5, JUNE)
    await bill_june(desk, clock, day=20)
    async with desk.pool.acquire() as db:
        bill = await bills.find(db, ACCOUNT, JUNE, desk.intake.rulebook)
    assert bill is not None

    assert not await proven(desk, BillProof(JUNE, to_pay=bill.to_pay, reading=10485), tenure=sold)
    assert await proven(desk, BillProof(JUNE, to_pay=bill.to_pay, reading=10485))


async def test_a_meter_installed_since_is_the_new_household_s(desk: Desk, clock: Clock) -> None:
    async with desk.pool.acquire() as db:
        entry = await db.fetchval("SELECT version FROM overview WHERE account = $1", ACCOUNT)
    sold = Tenure(2, clock.now, entry, JUNE)
    clock.pass_by(days=1)
    installed = InstallMeter(MeterModel("0550", 5, (Register.TOTAL,)), clock.now, {Register.TOTAL: 3}, "акт")
    await desk.intake.submit(message(ACCOUNT, installed, "another meter"))
    clock.now = datetime(2024, 6, 22, 12, tzinfo=MOSCOW)
    await send(desk, SubmitReading(clock.now, {"total": "60"}))
    clock.now = datetime(2024, 7, 1, 6, tzinfo=MOSCOW)
    await send(desk, ClosePeriod(JUNE, clock.now))

    assert await proven(desk, BillProof(JUNE, meter="550", reading=60), tenure=sold)
    assert not await proven(desk, BillProof(JUNE, meter="M1", reading=60), tenure=sold)
