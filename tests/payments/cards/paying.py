"""A supplier with a contract with MONETA, MONETA on the other side, and a consumer with a card."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from bels.access.callers import Kind
from bels.access.people import add_person
from bels.access.personal import Personal, put, subject_of
from bels.channels.moneta import moneta_routes
from bels.domain.commands import ClosePeriod, SubmitReading
from bels.domain.terms import Money, Period
from bels.outgoing.moneta import MonetaApi
from bels.payments.cards.autopay import Autopay, set_autopay
from bels.payments.cards.bindings import bindings_of
from bels.payments.cards.booking import DifferenceKind
from bels.payments.cards.contract import Cards, api_of, cards_of
from bels.payments.cards.orders import Form, Order, OrderRequest, Started, find_order, form_of, quoted, start_order
from bels.payments.cards.reconciling import differences
from bels.payments.cards.refusals import CardRefused
from bels.payments.partners import partners_of
from bels.payments.till import Till
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.peers.loopback import listening
from tests.peers.moneta import CODE, MNT_ID, PASSWORD, USER, Made, Moneta, moneta

ACCOUNT = "1000001"
PHONE, EMAIL = "+79161234567", "ivanova@example.ru"


def contract_with(folder: Path, url: str = "https://moneta.test", **more: Any) -> dict[str, Any]:
    """Write the table of the contract, with its secrets in files."""
    (folder / "moneta.code").write_text(CODE, "utf-8")
    (folder / "moneta.password").write_text(PASSWORD, "utf-8")
    section = {
        "mnt_id": MNT_ID,
        "code_file": str(folder / "moneta.code"),
        "form": f"{url}/assistant.widget",
        "payee_inn": "5001000002",
        "api": f"{url}/services",
        "api_user": USER,
        "api_password_file": str(folder / "moneta.password"),
        "forget_token": "ForgetTokenRequest",
        **more,
    }
    return {
        "partner": {
            "moneta": {
                "client": "moneta",
                "addresses": ["127.0.0.1/32"],
                "commission": [{"since": date(2024, 1, 1), "method": "CARD", "percent": "1.0"}],
                "moneta": section,
            }
        }
    }


@dataclass(slots=True)
class Paying:
    """A supplier, MONETA, and the person ``person`` of account 1000001."""

    house: House
    cards: Cards
    peer: Moneta
    api: MonetaApi
    http: httpx.AsyncClient
    person: str
    keys: int = 0

    async def begin(self, amount: str = "200.00", **more: Any) -> Order:
        """Begin an order of the person."""
        started = await self.ask(amount, **more)
        assert isinstance(started, Started), started
        return started.order

    async def ask(self, amount: str = "200.00", **more: Any) -> Started | CardRefused:
        """Ask for an order of the person, with the commission as it was shown."""
        self.keys += 1
        told = quoted(self.cards, Decimal(amount))
        commission = told.commission if not isinstance(told, CardRefused) else Money("0.00")
        person = more.pop("person", self.person)
        payer = more.pop("payer", person or f"link/{ACCOUNT}")
        given = {"key": f"k{self.keys}", "account": ACCOUNT, "commission": commission, **more}
        return await start_order(self.cards, OrderRequest(payer, amount=Decimal(amount), person=person, **given))

    async def pay(self, order: Order) -> Made | None:
        """Pay an order at MONETA's form."""
        form = await self.form(order)
        return await self.peer.pay(form.url, None if form.method == "GET" else dict(form.fields))

    async def paid(self, amount: str = "200.00", **more: Any) -> tuple[Order, Made]:
        """Begin an order and pay it."""
        order = await self.begin(amount, **more)
        made = await self.pay(order)
        assert made is not None
        return await self.now(order), made

    async def form(self, order: Order) -> Form:
        """Give the form of an order."""
        form = await form_of(self.cards, order)
        assert isinstance(form, Form), form
        return form

    async def now(self, order: Order) -> Order:
        """Give an order as it stands."""
        async with self.cards.pool.acquire() as db:
            found = await find_order(db, order.order_id)
        assert found is not None
        return found

    async def bound(self) -> str:
        """Give the one binding of the person."""
        async with self.cards.pool.acquire() as db:
            (binding,) = await bindings_of(db, self.person)
        return binding.binding

    async def open_differences(self) -> list[DifferenceKind]:
        """List the kinds of open differences."""
        async with self.cards.pool.acquire() as db:
            return [each.kind for each in await differences(db, None, 100)]

    async def with_autopay(self, ceiling: str = "3000.00", day: int | None = 25) -> Autopay:
        """Bind a card by a payment of ten roubles, and let it pay by itself."""
        await self.paid("10.00", saves=True)
        autopay = await set_autopay(self.cards, self.person, ACCOUNT, await self.bound(), Decimal(ceiling), day)
        assert isinstance(autopay, Autopay), autopay
        return autopay

    async def bill(self, total: int = 10385) -> Decimal:
        """Send the reading of May 2024 and close the month on 1 June; give what is owed then."""
        await self.house.do(ACCOUNT, SubmitReading(self.house.now(), {"total": str(total)}))
        self.house.at = moscow("2024-06-01T06:00")
        await self.house.do(ACCOUNT, ClosePeriod(Period("2024-05"), self.house.now()))
        return await self.balance()

    async def texts(self) -> list[str]:
        """Read what the household is told, in order."""
        rows = await self.cards.pool.fetch("SELECT body, channel FROM outbox WHERE kind = 'AUTOPAY' ORDER BY id")
        async with self.cards.pool.acquire() as db:
            subject = subject_of(ACCOUNT, 1)
            vault = self.cards.vault
            return [(await vault.unseal(db, subject, row["body"], "outgoing text")).decode() for row in rows]

    async def balance(self, account: str = ACCOUNT) -> Decimal:
        """Say what an account owes."""
        return (await self.cards.till.intake.account(account)).ledger.balance

    async def count(self, table: str, where: str = "true") -> int:
        """Count rows."""
        found: int = await self.cards.pool.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
        return found


@asynccontextmanager
async def opened_paying(database: str, folder: Path, **contract: Any) -> AsyncIterator[Paying]:
    """Open it all, with what the contract says beyond the usual."""
    async with opened_house(database, folder) as house, moneta(house.now) as peer:
        till = Till(house.desk, partners_of(contract_with(folder, peer.url, **contract)))
        cards = cards_of(till)
        assert cards is not None
        vault = cards.vault
        async with cards.pool.acquire() as db:
            person = await add_person(db, vault, Kind.CONSUMER, login=None, password_hash=None)
            await db.execute(
                "INSERT INTO membership (account, person, since, entry, period) VALUES ($1, $2, $3, 0, '')",
                ACCOUNT,
                person,
                house.at,
            )
            await put(db, vault, subject_of(ACCOUNT, 1), Personal(phones=(PHONE,)))
        async with (
            listening(Starlette(routes=list(moneta_routes(cards)))) as url,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            peer.hook = f"{url}/partners/moneta"
            api = api_of(cards.contract, http)
            assert api is not None
            yield Paying(house, cards, peer, api, http, person)


TABLES = (
    "card_order, card_operation, card_fiscal, card_token, card_refund, card_difference, card_autopay, card_autopay_run, "
    "card_binding, outbox, payment"
)
"""What a test leaves behind; the journal itself goes on, so balances are compared with those before."""


async def begun_anew(paying: Paying) -> Paying:
    """Let the next test of a module begin as the first one did: opening a supplier takes longer than most of them."""
    async with paying.cards.pool.acquire() as db:
        await db.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
        await db.execute("UPDATE membership SET ended_at = NULL")
    paying.house.at = moscow("2024-05-20T12:00")
    peer = paying.peer
    for left in (peer.made, peer.asked, peer.faults, peer.forgotten, peer.tokens):
        left.clear()
    peer.test_mode = "0"
    return paying
