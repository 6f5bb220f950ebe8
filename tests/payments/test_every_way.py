"""A day of payments by every way at once, taken back, moved, corrected, repeated: all books tell one sum, to the kopeck."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from bels.channels.moneta import moneta_routes
from bels.channels.osmp import osmp_routes
from bels.channels.sber_eps import eps_routes
from bels.domain.commands import MovePaymentIn, MovePaymentOut
from bels.domain.periods import MOSCOW
from bels.domain.terms import AccountNumber, EntryNumber, PaymentState, Purpose
from bels.messages import Status
from bels.payments import refunds
from bels.payments.cards.contract import api_of, cards_of
from bels.payments.partners import Partner, partners_of
from bels.payments.reconciling.differences import of_day
from bels.payments.reconciling.three_ways import reconcile
from bels.payments.refunds import RefundDecision, RefundOrder, RefundRow, RefundState
from bels.payments.registers.files import TAKEN_OUTCOMES, RowOutcome
from bels.payments.till import Found, PayOrder, Till, cancel, find, pay
from bels.projections import ledger
from tests.channels.house import opened_house
from tests.payments.cards.paying import Paying, contract_with
from tests.payments.conftest import Banks, contracts, opened_banks
from tests.payments.reconciling.books import CONTRACT
from tests.payments.registers.desk import REGISTERS, Desk, day
from tests.peers.loopback import listening
from tests.peers.moneta import moneta
from tests.supplier import check_rebuild

logger = logging.getLogger(__name__)

DAY = date(2024, 5, 20)
ACCOUNTS = ["1000001", "1000002", "1000003", "1000006", "1000007", "1999999"]
"""The last one is nobody's."""

AGREED: dict[str, Any] = {
    "osmp": {"unknown_accounts": "keep", "readings": {"data1": "1"}},
    "eps": {"unknown_accounts": "keep"},
    "registers": REGISTERS,
    "reconciliation": CONTRACT,
}


@dataclass(slots=True)
class Trade:
    """A bank that pays by every way, and what it holds to be paid: ``standing`` by its ids, ``parts`` that went back of it."""

    banks: Banks
    paying: Paying
    url: str
    chance: Random
    orders: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    standing: dict[str, Decimal] = field(default_factory=dict)
    parts: dict[str, Decimal] = field(default_factory=dict)
    by_card: Decimal = Decimal(0)
    done: dict[str, int] = field(default_factory=dict)

    @property
    def till(self) -> Till:
        """The till."""
        return self.banks.till

    @property
    def bank(self) -> Partner:
        """The bank."""
        return self.banks.agent().partner

    def count(self, what: str) -> None:
        """Count what was done."""
        self.done[what] = self.done.get(what, 0) + 1

    def amount(self) -> Decimal:
        """Draw a sum."""
        return Decimal(self.chance.randrange(100, 300_000)) / 100

    async def by_graphql(self, payment_id: str, account: str, amount: Decimal) -> bool:
        """Pay as `payWithReading` does, sometimes with a reading."""
        values = {"total": str(10_300 + self.chance.randrange(400))} if self.chance.random() < 0.3 else None
        paid = await pay(
            self.till, self.banks.agent(), PayOrder(payment_id, account, amount, self.banks.house.at, values=values)
        )
        return paid.received is not None

    async def by_osmp(self, payment_id: str, account: str, amount: Decimal) -> bool:
        """Pay at a terminal."""
        at = f"{self.banks.house.at.astimezone(MOSCOW):%Y%m%d%H%M%S}"
        given = {"command": "pay", "txn_id": payment_id, "txn_date": at, "account": account, "sum": str(amount)}
        return (await self._ask("osmp", given)).findtext("result") == "0"

    async def by_eps(self, payment_id: str, account: str, amount: Decimal) -> bool:
        """Pay by Sberbank's protocol: 8 is said of what came before."""
        at = f"{self.banks.house.at.astimezone(MOSCOW):%d.%m.%Y_%H:%M:%S}"
        given = {"ACTION": "payment", "ACCOUNT": account, "AMOUNT": str(amount), "PAY_ID": payment_id, "PAY_DATE": at}
        answer = await self._ask("sber-eps", given)
        assert answer.findtext("CODE") in ("0", "8") or answer.findtext("EXT_ID") is None
        told = answer.findtext("AMOUNT")
        return answer.findtext("CODE") in ("0", "8") and told is not None and Decimal(told) == amount

    async def _ask(self, protocol: str, given: dict[str, str]) -> ElementTree.Element:
        auth = self.bank.client, self.banks.secrets["sber"]
        answer = await self.paying.http.get(f"{self.url}/partners/{protocol}?{urlencode(given)}", auth=auth)
        assert answer.status_code == 200, answer.text
        return ElementTree.fromstring(answer.content)

    async def online(self, count: int) -> None:
        """Pay so many times, repeat some of it by another way, and do to some of it what can be done to a payment."""
        ways = {"graphql": self.by_graphql, "osmp": self.by_osmp, "eps": self.by_eps}
        for number in range(count):
            payment_id, account, amount = str(5_000_000 + number), self.chance.choice(ACCOUNTS), self.amount()
            name = self.chance.choice(list(ways))
            self.orders[payment_id] = account, amount
            if await ways[name](payment_id, account, amount):
                self.standing[payment_id] = amount
                self.count(name)
            await self._afterwards(self.chance.choice(list(self.orders)), ways)
            if number % 7 == 0:
                amount = self.amount()
                _, made = await self.paying.paid(str(amount))
                assert made.status == "SUCCEED"
                self.by_card += amount
                self.count("card")

    async def _afterwards(self, payment_id: str, ways: dict[str, Any]) -> None:
        match self.chance.randrange(8):
            case 0 | 1:
                name = self.chance.choice(list(ways))
                account, amount = self.orders[payment_id]
                # The first answer comes again, whatever became of the payment since; over GraphQL it may be another content.
                await ways[name](payment_id, account, amount)
                self.count("repeat")
            case 2:
                account, amount = self.orders[payment_id]
                assert not await self.chance.choice(list(ways.values()))(payment_id, account, amount + 1)
                self.count("other sum")
            case 3:
                outcome = await cancel(self.till, self.banks.agent(), payment_id, "ошибка")
                if outcome is not None and outcome.status is Status.ACCEPTED:
                    self.standing.pop(payment_id, None)
                    self.count("cancelled")
            case 4:
                await self._refund(payment_id)
            case 5:
                await self._move(payment_id)
            case _:
                pass

    async def _found(self, payment_id: str) -> Found | None:
        found = await find(self.till, self.banks.agent(), payment_id)
        if found is None or found.row is None or found.now is None or found.now.state != PaymentState.RECEIVED:
            return None
        return found

    async def _refund(self, payment_id: str) -> None:
        found = await self._found(payment_id)
        if found is None or found.row is None:
            return
        part = None if self.chance.random() < 0.5 else Decimal(self.chance.randrange(1, 5_000)) / 100
        order = RefundOrder(part, "ошибка", "partner:x", f"{payment_id} {len(self.done)} {self.chance.random()}")
        async with self.till.counter.pool.acquire() as db:
            asked = await refunds.ask(db, found.row, order, self.till.now())
        if not isinstance(asked, tuple):
            return
        row: RefundRow = asked[0]
        done = await refunds.decide(
            self.banks.house.desk, row.request, RefundDecision.RETURN, "заявление", by="operator:7"
        )
        again = await refunds.decide(
            self.banks.house.desk, row.request, RefundDecision.RETURN, "заявление", by="operator:7"
        )
        assert done.row is not None
        assert again.row is not None
        if done.row.state is RefundState.RETURNED and again.row.state is RefundState.RETURNED:
            # What is unallocated is given back by a transfer of ours, as a part is: the bank has paid it all the same.
            is_returned = found.now is not None and found.now.unallocated is not None
            if part is None and not is_returned and payment_id not in self.parts:
                del self.standing[payment_id]
            else:
                self.parts[payment_id] = self.parts.get(payment_id, Decimal(0)) + done.row.amount
            self.count("refund")
        elif again.row.state is RefundState.RETURNED:
            raise AssertionError("a second decision returned what the first could not")

    async def _move(self, payment_id: str) -> None:
        found, house = await self._found(payment_id), self.banks.house
        if found is None or found.now is None or payment_id in self.parts:
            return
        now, to = found.now, self.chance.choice(ACCOUNTS[:-1])
        if to == now.account:
            return
        entry, source = EntryNumber(now.entry), AccountNumber(now.account)
        await house.do(now.account, MovePaymentOut(entry, AccountNumber(to), house.at, "ошибка"))
        moved = MovePaymentIn(
            now.amount, now.paid_on, house.at, Purpose(now.purpose), now.reference, source, entry, "ошибка"
        )  # fmt: skip
        await house.do(to, moved)
        self.count("moved")

    async def register(self) -> Decimal:
        """Bring the register of the day: most of it, some with another sum, some that never came online, one twice."""
        rows = []
        for payment_id, (account, amount) in self.orders.items():
            match self.chance.randrange(12):
                case 0:
                    continue
                case 1:
                    rows.append(f"{payment_id};{account};{self.amount()}")
                case 2:
                    rows.append(f"{payment_id};{self.chance.choice(ACCOUNTS)};{amount}")
                case _:
                    rows.append(f"{payment_id};{account};{amount}")
        rows += [
            f"{6_000_000 + number};{self.chance.choice(ACCOUNTS)};{self.amount()}"
            for number in range(len(self.orders) // 5)
        ]
        self.chance.shuffle(rows)
        rows.append(rows[0])
        desk = Desk(self.banks)
        file = await desk.taken(day(rows))
        again = await desk.receive(day(rows))
        assert again.file.file == file.file
        kept = await desk.rows(file)
        assert [row.line for row in kept] == sorted({row.line for row in kept})
        assert len(kept) == len(rows)
        for row in kept:
            self.count(f"row {row.outcome}")
            if row.outcome in (RowOutcome.CREDITED, RowOutcome.UNALLOCATED, RowOutcome.CORRECTED):
                assert row.external_id is not None
                assert row.amount is not None
                self.standing[row.external_id] = row.amount
            elif row.outcome is RowOutcome.MATCHED:
                assert self.standing[row.external_id or ""] == row.amount
            else:
                assert row.outcome not in TAKEN_OUTCOMES
        return sum((row.amount or Decimal(0) for row in kept), Decimal(0))


@asynccontextmanager
async def opened_trade(database: str, folder: Path, seed: int) -> AsyncIterator[Trade]:
    """Open a supplier with the bank, MONETA, and all their protocols on a port."""
    async with opened_house(database, folder) as house, moneta(house.now) as peer:
        banks = await opened_banks(house, {"sber": AGREED})
        clients = {name: banks.agent(name).partner.client for name in ("sber", "app")}
        table = contracts(clients, {"sber": AGREED})["partner"] | contract_with(folder, peer.url)["partner"]
        till = Till(house.desk, partners_of({"partner": table}))
        cards = cards_of(till)
        assert cards is not None
        served = Starlette(routes=[*osmp_routes(till), *eps_routes(till), *moneta_routes(cards)])
        async with listening(served) as url, httpx.AsyncClient(trust_env=False) as http:
            peer.hook = f"{url}/partners/moneta"
            api = api_of(cards.contract, http)
            assert api is not None
            paying = Paying(house, cards, peer, api, http, "")
            yield Trade(replace(banks, till=till), paying, url, Random(seed))


async def books_tell_one_sum(trade: Trade, in_register: Decimal) -> None:
    """Compare the ledger, the view, the journal, the register and the reconciliation with what the bank holds to be paid."""
    pool, parts = trade.till.counter.pool, sum(trade.parts.values(), Decimal(0))
    held = sum(trade.standing.values(), Decimal(0))
    stands = "state IN ('RECEIVED', 'RETURNED')"
    rows = await pool.fetch(f"SELECT actor, sum(amount) AS total FROM payment WHERE {stands} GROUP BY actor")
    view = {row["actor"]: row["total"] for row in rows}
    # What the office moved is its own entry on the other account.
    moved = sum((total for actor, total in view.items() if not actor.startswith("partner:")), Decimal(0))
    assert view[trade.bank.actor] + moved == held
    assert view.get("partner:moneta", Decimal(0)) == trade.by_card
    assert await pool.fetchval("SELECT sum(bank) FROM balance") == held + trade.by_card - parts
    async with pool.acquire() as db:
        trial = await ledger.trial_balance(db)
    assert sum((row.debit - row.credit for row in trial), Decimal(0)) == 0
    # The day of the bank, when all of it has come and when some is missed.
    now = trade.banks.house.at
    for later in (0, 2, 9):
        async with pool.acquire() as db:
            shown, _ = await reconcile(
                db, trade.till.counter.door.raw_texts, trade.bank, DAY, now + timedelta(days=later)
            )
            found = [each for each in await of_day(db, trade.bank.client, DAY, 10_000) if each.state != "CLEARED"]
        assert shown.adds_up, shown
        assert shown.their_sum == in_register
        assert shown.our_sum == held
        book = sum((each.amount for each in found if each.side == "BOOK"), Decimal(0))
        assert shown.their_sum - shown.our_sum == book - shown.awaited_sum
    # What stands in the views is what a rebuild gives.
    await check_rebuild(pool, trade.till.intake.rulebook)


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_day_by_every_way_comes_to_one_sum_in_every_book(database: str, tmp_path: Path, seed: int) -> None:
    async with opened_trade(database, tmp_path, seed) as trade:
        await trade.online(40)
        in_register = await trade.register()
        await books_tell_one_sum(trade, in_register)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 22))
async def test_a_long_day_by_every_way_comes_to_one_sum_in_every_book(database: str, tmp_path: Path, seed: int) -> None:
    async with opened_trade(database, tmp_path, seed) as trade:
        await trade.online(400)
        in_register = await trade.register()
        await books_tell_one_sum(trade, in_register)
    logger.info("%s; %s roubles by card", dict(sorted(trade.done.items())), trade.by_card)
