"""The bank against a served bels: what it takes for paid is what stands in the books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.access.personal import Personal, put, subject_of
from bels.channels.sber_eps import PATH, eps_routes
from tests.channels.cases import unreachable
from tests.channels.house import House, opened_house
from tests.payments.conftest import Banks, opened_banks
from tests.peers.loopback import listening
from tests.peers.osmp import Breach, State
from tests.peers.sber_eps import DUPLICATE, OK, Bank

AGREED: dict[str, Any] = {"readings": {"IPU_1": "1", "IPU_2": "2"}, "info": ["previous"]}


@dataclass(frozen=True, slots=True)
class Branch:
    """The bank, and the supplier that its clients pay to."""

    banks: Banks
    bank: Bank

    async def credited(self) -> Decimal:
        """Say what stands in the books as paid, over all accounts."""
        async with self.banks.till.counter.pool.acquire() as db:
            return Decimal(await db.fetchval("SELECT coalesce(sum(amount), 0) FROM payment WHERE state = 'RECEIVED'"))

    def paid(self) -> Decimal:
        """Say what the bank takes for paid."""
        return sum((Decimal(p.amount) for p in self.bank.sent.values() if p.state is State.DONE), Decimal())


@asynccontextmanager
async def branch_of(house: House, table: dict[str, Any], **more: Any) -> AsyncIterator[Branch]:
    """Serve ЕПС over real HTTP to a bank with this contract."""
    banks = await opened_banks(house, {"sber": {"eps": table}})
    async with listening(Starlette(routes=eps_routes(banks.till))) as url, httpx.AsyncClient(timeout=30) as http:
        bank = Bank(
            f"{url}{PATH}",
            banks.agent().partner.client,
            banks.secrets["sber"],
            http,
            house.now,
            lambda time: house.wait(seconds=time.total_seconds()),
            **more,
        )
        yield Branch(banks, bank)


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened_house(database, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("encoding", "posts"), [("utf-8", True), ("cp1251", False)])
async def test_a_client_sees_whom_he_pays_for_and_pays_with_a_reading(house: House, encoding: str, posts: bool) -> None:
    async with house.desk.pool.acquire() as db:
        person = Personal("Иванов Иван Иванович", "Балашиха, ул. Ленина, д. 5")
        await put(db, house.desk.door.vault, subject_of("1000003", 1), person)
    async with branch_of(house, {**AGREED, "encoding": encoding}, encoding=encoding, posts=posts) as branch:
        checked = await branch.bank.check("1000003")
        payment = branch.bank.order("1", "1000003", "1245.05", IPU_1="3100", IPU_2="1600")
        await branch.bank.settle(payment)
        again = await branch.bank.pay(payment)

        assert checked.code == OK
        assert checked.more["FIO"] == "ИВАНОВ И** И**"
        assert checked.more["INFO"] == "Предыдущее показание: день 3000, ночь 1500"
        assert payment.state is State.DONE
        assert again is not None
        assert (again.code, again.more) == (DUPLICATE, payment.taken)
        assert "день 3100" in again.message
        assert await branch.credited() == branch.paid() == Decimal("1245.05")


async def test_every_payment_comes_thrice_at_once_over_lines_that_break_and_is_booked_once(house: House) -> None:
    async with branch_of(house, AGREED) as branch:
        orders = [branch.bank.order(str(n + 1), f"100000{n % 3 + 1}", f"{100 + n}.07") for n in range(12)]
        await asyncio.gather(*(branch.bank.cut_off(payment) for payment in orders))
        for _ in range(3):
            await asyncio.gather(*(branch.bank.pay(payment) for payment in orders))

        assert {payment.state for payment in orders} == {State.DONE}
        assert await branch.credited() == branch.paid()


async def test_a_payment_is_repeated_until_the_database_is_back(house: House) -> None:
    async with branch_of(house, AGREED) as branch:
        payment = branch.bank.order("1", "1000001", "200.00")
        async with unreachable(house):
            await branch.bank.pay(payment)
        assert (payment.code, payment.state) == (1, State.NEW)

        await branch.bank.settle(payment)

        assert (payment.code, payment.state) == (OK, State.DONE)
        assert await branch.credited() == branch.paid() == 200


async def test_money_that_is_refused_stays_with_the_client(house: House) -> None:
    async with branch_of(house, AGREED) as branch:
        wrong = (("1999999", "100.00", 3), ("12", "100.00", 4), ("1000001", "0.10", 10), ("1000001", "60000.01", 11))
        for pay_id, (account, amount, code) in enumerate(wrong, 1):
            payment = await branch.bank.settle(branch.bank.order(str(pay_id), account, amount))
            assert (payment.state, payment.code) == (State.FAILED, code)

        assert await branch.credited() == branch.paid() == 0


async def test_a_repeat_with_another_sum_tells_of_the_first_and_the_bank_sees_it(house: House) -> None:
    async with branch_of(house, AGREED) as branch:
        payment = await branch.bank.settle(branch.bank.order("1", "1000001", "200.00"))
        payment.amount = "300.00"

        with pytest.raises(Breach, match="another sum"):
            await branch.bank.pay(payment)

        assert await branch.credited() == 200


async def test_a_bank_that_is_not_ours_is_turned_away(house: House) -> None:
    async with branch_of(house, AGREED) as branch:
        branch.bank.secret = "bels_wrong"

        with pytest.raises(Breach, match="does not know us: 401"):
            await branch.bank.check("1000001")
