"""A network of terminals against a served bels: what it takes for paid is what stands in the books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.channels.osmp import PATH, osmp_routes
from bels.domain.commands import CloseAccount
from tests.channels.cases import unreachable
from tests.channels.house import House, opened_house
from tests.payments.conftest import Banks, opened_banks
from tests.peers.loopback import listening
from tests.peers.osmp import OK, Breach, State, Terminals, read_answer

AGREED: dict[str, Any] = {
    "readings": {"data1": "1", "data2": "2"},
    "fields": {"FIO": "name", "PREV": "previous"},
    "variants": ["cancel", "verify"],
}


@dataclass(frozen=True, slots=True)
class Street:
    """Terminals in the street, and the supplier that they pay to."""

    banks: Banks
    terminals: Terminals

    @property
    def house(self) -> House:
        """The supplier."""
        return self.banks.house

    async def credited(self) -> Decimal:
        """Say what stands in the books as paid, over all accounts."""
        async with self.banks.till.counter.pool.acquire() as db:
            return Decimal(await db.fetchval("SELECT coalesce(sum(amount), 0) FROM payment WHERE state = 'RECEIVED'"))

    def paid(self) -> Decimal:
        """Say what the network takes for paid."""
        return sum((Decimal(p.sum) for p in self.terminals.payments.values() if p.state is State.DONE), Decimal())


@asynccontextmanager
async def street_of(house: House, table: dict[str, Any], **more: Any) -> AsyncIterator[Street]:
    """Serve OSMP over real HTTP to a network with this contract."""
    banks = await opened_banks(house, {"sber": {"osmp": table}})
    partner = banks.agent().partner
    async with listening(Starlette(routes=osmp_routes(banks.till))) as url, httpx.AsyncClient(timeout=30) as http:
        terminals = Terminals(
            f"{url}{PATH}",
            partner.client,
            banks.secrets["sber"],
            http,
            house.now,
            lambda time: house.wait(seconds=time.total_seconds()),
            **more,
        )
        yield Street(banks, terminals)


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened_house(database, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("encoding", "posts"), [("utf-8", False), ("cp1251", True)])
async def test_a_payer_is_shown_the_account_and_pays_with_a_reading(house: House, encoding: str, posts: bool) -> None:
    async with street_of(house, {**AGREED, "encoding": encoding}, encoding=encoding, posts=posts) as street:
        probed = await street.terminals.check("1000001")
        checked = await street.terminals.check("1000001", "200.00", "7")
        payment = await street.terminals.settle(street.terminals.put_in("7", "1000001", "200.00", data1="10385"))
        again = await street.terminals.pay(payment)

        assert (probed.result, checked.result) == (OK, OK)
        assert dict(checked.fields) == {"PREV": "10200"}
        assert payment.state is State.DONE
        assert again is not None
        assert "10385" in again.comment
        assert await street.credited() == street.paid() == 200


async def test_every_payment_comes_thrice_at_once_over_lines_that_break_and_is_booked_once(house: House) -> None:
    async with street_of(house, AGREED) as street:
        numbers = [f"100000{n % 3 + 1}" for n in range(12)]
        payments = [street.terminals.put_in(str(n + 1), account, f"{100 + n}.07") for n, account in enumerate(numbers)]
        await asyncio.gather(*(street.terminals.cut_off(payment) for payment in payments))
        for _ in range(2):
            await asyncio.gather(*(street.terminals.pay(payment) for payment in payments for _ in range(3)))

        assert {payment.state for payment in payments} == {State.DONE}
        assert await street.credited() == street.paid()
        register = await street.terminals.register(f"{house.now():%Y%m%d}")
        assert {txn_id: amount for txn_id, (amount, _) in register.items()} == {
            p.txn_id: Decimal(p.sum) for p in payments
        }


async def test_a_payment_is_repeated_until_the_database_is_back(house: House) -> None:
    async with street_of(house, AGREED) as street:
        payment = street.terminals.put_in("1", "1000001", "200.00")
        async with unreachable(house):
            down = await street.terminals.pay(payment)
        assert down is not None
        assert (down.result, payment.state) == (1, State.NEW)

        await street.terminals.settle(payment)

        assert (payment.state, payment.asked) == (State.DONE, 2)
        assert await street.credited() == street.paid() == 200


async def test_money_that_is_refused_goes_back_to_the_payer(house: House) -> None:
    async with street_of(house, AGREED) as street:
        for txn_id, (account, amount) in enumerate((("1999999", "100.00"), ("12", "100.00"), ("1000001", "0.10")), 1):
            payment = await street.terminals.settle(street.terminals.put_in(str(txn_id), account, amount))
            assert (payment.state, payment.asked) == (State.FAILED, 1)

        assert await street.credited() == street.paid() == 0


async def test_a_cancelled_payment_stands_in_the_register_as_cancelled(house: House) -> None:
    async with street_of(house, AGREED) as street:
        kept, taken_back = [
            await street.terminals.settle(street.terminals.put_in(txn_id, "1000001", "50.00")) for txn_id in ("1", "2")
        ]
        cancelled = await street.terminals.cancel(taken_back)
        register = await street.terminals.register(f"{house.now():%Y%m%d}")

        assert (cancelled.result, kept.state) == (OK, State.DONE)
        assert register == {"1": (Decimal("50.00"), True), "2": (Decimal("50.00"), False)}
        assert await street.credited() == street.paid() == 50


async def test_a_network_that_takes_silence_for_success_finds_out_by_the_register(house: House) -> None:
    async with street_of(house, AGREED, assumes_success_after=timedelta(minutes=10)) as street:
        payment = street.terminals.put_in("1", "1000001", "200.00")
        async with unreachable(house):
            await street.terminals.settle(payment)
        assumed = payment.state
        register = await street.terminals.register("20240520")

        assert (assumed, payment.asked) == (State.DONE, 3)
        assert register == {}
        # It is sent once more the day after, with the date of the payer's operation.
        payment.state = State.NEW
        house.wait(days=1)
        await street.terminals.settle(payment)

        assert "1" in await street.terminals.register("20240520")
        assert await street.credited() == street.paid() == 200


async def test_an_account_that_is_closed_meanwhile_still_answers_a_repeat(house: House) -> None:
    async with street_of(house, AGREED) as street:
        payment = await street.terminals.settle(street.terminals.put_in("1", "1000001", "200.00"))
        await house.do("1000001", CloseAccount(house.now(), "продажа"))

        again = await street.terminals.pay(payment)

        assert again is not None
        assert (again.result, again.prv_txn) == (OK, payment.prv_txn)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<response/>",
        "<response><osmp_txn_id>1</osmp_txn_id><result>0</result><comment>OK</comment></response>",
        "<response><osmp_txn_id>2</osmp_txn_id><result>0</result><comment>OK</comment>",
        "<response><osmp_txn_id>2</osmp_txn_id><result>6</result><comment>OK</comment></response>",
        "<response><osmp_txn_id>2</osmp_txn_id><result>0</result><result>1</result><comment>OK</comment></response>",
        "<response><osmp_txn_id>2</osmp_txn_id><sum>1,5</sum><result>0</result><comment>OK</comment></response>",
    ],
)
def test_the_network_knows_an_answer_that_breaks_the_protocol(content: str) -> None:
    whole = f'<?xml version="1.0" encoding="UTF-8"?>{content}' if content else ""
    answer = httpx.Response(200, content=whole, headers={"content-type": "text/xml; charset=UTF-8"})

    with pytest.raises(Breach):
        read_answer(answer, "2", "utf-8")
