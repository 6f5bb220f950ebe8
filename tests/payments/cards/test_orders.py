"""Orders: what is refused before anybody is sent to MONETA, limits, bindings, and their legal moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bels.access import personal
from bels.access.cards import Removed, cards_of, remove_cards
from bels.access.personal import subject_of
from bels.domain.terms import Money, Purpose
from bels.payments.cards.bindings import bindings_of, forget_tokens, remove_binding
from bels.payments.cards.fiscal import FiscalState, find_fiscal, finish_fiscal, slip
from bels.payments.cards.orders import FROM, OrderState, Started, contact_of, form_of, move_order, quoted
from bels.payments.cards.refusals import CardReason, CardRefused
from bels.payments.quote import Quote
from tests.conftest import new_supplier
from tests.payments.cards.paying import EMAIL, Paying, begun_anew, opened_paying
from tests.peers.moneta import query_of


@pytest.fixture(scope="module")
def module_database(postgres: str, template: str) -> str:
    """Make one supplier for the whole module."""
    return new_supplier(postgres, template, "bels_test_cards")


@pytest.fixture(scope="module")
async def opened(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paying]:
    """Open a supplier, MONETA and a consumer."""
    async with opened_paying(module_database, tmp_path_factory.mktemp("cards")) as paying:
        yield paying


@pytest.fixture
async def paying(opened: Paying) -> Paying:
    """Begin anew."""
    return await begun_anew(opened)


def reason(outcome: Started | CardRefused) -> CardReason | None:
    """Give why an order is refused."""
    return outcome.reason if isinstance(outcome, CardRefused) else None


async def test_what_a_payment_costs_is_told_before_and_charged_as_told(paying: Paying) -> None:
    assert quoted(paying.cards, Decimal("1245.05")) == Quote(Money("1245.05"), Money("12.45"))
    order = await paying.begin("1245.05")
    form = query_of((await paying.form(order)).url)
    assert (form["MNT_AMOUNT"], form["MNT_TRANSACTION_ID"], form["MNT_TEST_MODE"]) == ("1257.50", order.order_id, "0")
    assert "PAYMENTTOKEN" not in form


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"amount": "0.00"}, CardReason.BAD_AMOUNT),
        ({"amount": "1.005"}, CardReason.BAD_AMOUNT),
        ({"amount": "-5"}, CardReason.BAD_AMOUNT),
        ({"amount": "NaN"}, CardReason.BAD_AMOUNT),
        ({"amount": "14900.00"}, CardReason.AMOUNT_TOO_LARGE),
        ({"commission": Decimal("1.99")}, CardReason.COMMISSION_CHANGED),
        ({"commission": Decimal("2.001")}, CardReason.COMMISSION_CHANGED),
        ({"account": "1999999"}, CardReason.UNKNOWN_ACCOUNT),
        ({"account": "счёт"}, CardReason.UNKNOWN_ACCOUNT),
        ({"contact": "nobody"}, CardReason.BAD_ADDRESS),
        ({"values": {"total": "1" * 21}}, CardReason.BAD_VALUE),
        ({"values": {"total": "4111111111111111"}}, CardReason.CARD_NUMBER_GIVEN),
        ({"contact": "4111 1111 1111 1111"}, CardReason.CARD_NUMBER_GIVEN),
        ({"key": "4111-1111-1111-1111"}, CardReason.CARD_NUMBER_GIVEN),
        ({"person": None, "saves": True}, CardReason.CARD_BINDING_CONSUMER_ONLY),
        ({"person": None, "binding": "b-x"}, CardReason.CARD_BINDING_CONSUMER_ONLY),
        ({"binding": "b-x"}, CardReason.UNKNOWN_BINDING),
    ],
)
async def test_what_cannot_be_paid_is_refused_before_the_form(
    paying: Paying, asked: dict[str, Any], why: CardReason
) -> None:
    before = await paying.count("card_order")
    assert reason(await paying.ask(**asked)) is why
    assert await paying.count("card_order") == before


async def test_the_same_key_is_the_same_order_and_another_content_is_an_error(paying: Paying) -> None:
    first = await paying.ask(key="one", contact=EMAIL)
    again = await paying.ask("200.0", key="one", contact=EMAIL)
    other = await paying.ask("201.00", key="one", contact=EMAIL)
    link = await paying.ask(key="one", contact=EMAIL, person=None)
    assert isinstance(first, Started)
    assert isinstance(again, Started)
    assert (again.order, again.is_repeat) == (first.order, True)
    assert reason(other) is CardReason.MESSAGE_ID_REUSED
    assert isinstance(link, Started)
    assert not link.is_repeat


async def test_ten_at_once_under_one_key_are_one_order(paying: Paying) -> None:
    started = await asyncio.gather(*(paying.ask(key="one") for _ in range(10)))
    assert len({each.order.order_id for each in started if isinstance(each, Started)}) == 1


async def test_limits_count_what_is_paid_and_what_may_still_be_paid(database: str, tmp_path: Path) -> None:
    limits = [{"since": date(2024, 1, 1), "operation": "600.00", "day": "1000.00", "day_count": 4, "month": "1600.00"}]
    async with opened_paying(database, tmp_path, limits=limits) as paying:
        assert reason(await paying.ask("600.00")) is CardReason.AMOUNT_TOO_LARGE
        await paying.paid("500.00")
        open_one = await paying.begin("400.00")
        assert reason(await paying.ask("200.00")) is CardReason.CARD_LIMIT_EXCEEDED
        # Another payer has limits of its own, and an order that nobody paid counts no more.
        assert isinstance(await paying.ask("200.00", person=None), Started)
        paying.house.wait(hours=2)
        assert isinstance(await paying.ask("200.00"), Started)
        assert (await paying.now(open_one)).is_payable(paying.house.now()) is False
        paying.house.wait(days=1)
        await paying.paid("590.00")
        await paying.begin("300.00")
        paying.house.wait(days=1)
        assert reason(await paying.ask("590.00")) is CardReason.CARD_LIMIT_EXCEEDED
        paying.house.wait(days=15)
        assert isinstance(await paying.ask("590.00"), Started)


async def test_concurrent_orders_do_not_pass_a_limit_together(database: str, tmp_path: Path) -> None:
    limits = [{"since": date(2024, 1, 1), "day_count": 3}]
    async with opened_paying(database, tmp_path, limits=limits) as paying:
        started = await asyncio.gather(*(paying.ask("10.00") for _ in range(8)))
        assert sum(isinstance(each, Started) for each in started) == 3


async def test_a_card_is_bound_by_consent_and_pays_with_its_token(paying: Paying) -> None:
    unbound, made = await paying.paid("10.00")
    assert (unbound.bound, made.token) == (None, None)
    await paying.paid("20.00", saves=True)
    async with paying.cards.pool.acquire() as db:
        (bound,) = await bindings_of(db, paying.person)
    assert (bound.masked, bound.kind, bound.account) == ("220012******3456", "UTILITIES", "1000001")

    order = await paying.begin("30.00", binding=bound.binding)
    form = await paying.form(order)
    assert form.method == "POST"
    assert "token" not in form.url
    assert dict(form.fields)["PAYMENTTOKEN"] in paying.peer.tokens
    made_by_token = await paying.pay(order)
    assert made_by_token is not None
    assert (await paying.now(order)).state is OrderState.PAID
    # The same card, given once more with consent, is the same binding.
    await paying.peer.tell(paying.peer.take((await paying.begin("40.00", saves=True)).order_id, "40.40", token="t"))
    async with paying.cards.pool.acquire() as db:
        assert len(await bindings_of(db, paying.person)) == 2
    for order_id in [(await paying.begin("50.00", saves=True)).order_id for _ in range(2)]:
        await paying.peer.tell(paying.peer.take(order_id, "50.50", token="t"))
    async with paying.cards.pool.acquire() as db:
        assert len(await bindings_of(db, paying.person)) == 2


async def test_a_bound_card_never_makes_the_first_payment_and_serves_one_kind(paying: Paying) -> None:
    order, _ = await paying.paid("10.00", saves=True)
    binding = await paying.bound()
    pool = paying.cards.pool
    await pool.execute("UPDATE card_order SET state = 'REFUNDED' WHERE order_id = $1", order.order_id)
    assert reason(await paying.ask(binding=binding)) is CardReason.CARD_BINDING_FIRST_PAYMENT
    await paying.paid("10.00")
    assert isinstance(await paying.ask(binding=binding), Started)
    assert isinstance(await paying.ask(binding=binding, purpose=Purpose.PENALTY), Started)
    await pool.execute("UPDATE card_token SET kind = 'FINES'")
    assert reason(await paying.ask(binding=binding)) is CardReason.CARD_BINDING_OTHER_KIND


async def test_a_removed_card_pays_nothing_and_is_forgotten_at_moneta_until_it_is(paying: Paying) -> None:
    await paying.paid("10.00", saves=True)
    binding = await paying.bound()
    order = await paying.begin(binding=binding)
    assert not await remove_binding(paying.cards, "u-another", binding)
    assert await remove_binding(paying.cards, paying.person, binding)
    assert not await remove_binding(paying.cards, paying.person, binding)
    assert reason(await paying.ask(binding=binding)) is CardReason.UNKNOWN_BINDING
    assert isinstance(await form_of(paying.cards, order), CardRefused)

    paying.peer.faults["ForgetTokenRequest"] = ["AWAY", "500.1.2"]
    assert await forget_tokens(paying.cards, paying.api) == 0
    assert await forget_tokens(paying.cards, paying.api) == 0
    paying.house.wait(hours=6)
    assert await forget_tokens(paying.cards, paying.api) == 0
    paying.house.wait(hours=6)
    assert await forget_tokens(paying.cards, paying.api) == 1
    assert paying.peer.tokens == set()
    assert await paying.count("card_token", "sealed = '' AND forgotten_at IS NOT NULL") == 1
    assert await paying.count("bels_keys.data_key", f"subject = '{binding}' AND wrapped IS NULL") == 1
    paying.house.wait(days=1)
    assert await forget_tokens(paying.cards, paying.api) == 0


async def test_a_forgotten_password_takes_the_cards_away_at_moneta_too(paying: Paying) -> None:
    for _ in range(2):
        await paying.paid("10.00", saves=True)
    async with paying.cards.pool.acquire() as db:
        assert len(await cards_of(db, paying.person)) == 2
        assert await paying.cards.pool.fetchval("SELECT count(*) FROM card_token") == 2
        await remove_cards(db, person=paying.person, why=Removed.PASSWORD_RESET, by="u-clerk", now=paying.house.now())
    assert await forget_tokens(paying.cards, paying.api) == 2
    assert len(paying.peer.forgotten) == 2


async def test_no_token_and_no_contact_stands_in_a_table_in_clear(database: str, tmp_path: Path) -> None:
    async with opened_paying(database, tmp_path) as paying:
        await nothing_stands_in_clear(paying)


async def nothing_stands_in_clear(paying: Paying) -> None:
    """Pay with a card that is bound and a contact, look through every table, then erase the household."""
    order, made = await paying.paid("10.00", saves=True, contact=EMAIL, values={"total": "10385"})
    assert made.token is not None
    pool = paying.cards.pool
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for table in tables:
        rows = await pool.fetch(f"SELECT t::text AS row FROM {table['tablename']} t")
        text = "\n".join(row["row"] for row in rows)
        assert made.token not in text, table
        assert made.token.encode().hex() not in text, table
        assert EMAIL not in text, table
    async with pool.acquire() as db:
        assert await contact_of(paying.cards, db, order) == EMAIL
        await paying.cards.vault.destroy(db, subject_of("1000001", 1))
        assert await contact_of(paying.cards, db, order) is None
        assert await personal.find(db, paying.cards.vault, "nobody/1") is None


async def test_only_legal_moves_are_made(paying: Paying) -> None:
    order = await paying.begin()
    pool = paying.cards.pool
    async with pool.acquire() as db:
        for state, to in product(OrderState, OrderState):
            if to is OrderState.PAID:
                continue
            paid = state in (OrderState.PAID, OrderState.REFUNDED)
            await db.execute(
                """
                UPDATE card_order SET state = $2, operation = CASE WHEN $3 THEN '1' END,
                    receipt = CASE WHEN $3 THEN 'R' END, paid_at = CASE WHEN $3 THEN now() END
                WHERE order_id = $1
                """,
                order.order_id,
                state.value,
                paid,
            )
            legal = state in FROM[to]
            assert await move_order(db, order.order_id, to, paying.house.now()) is legal, (state, to)
        with pytest.raises(ValueError, match="by an operation"):
            await move_order(db, order.order_id, OrderState.PAID, paying.house.now())
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute("UPDATE card_order SET state = 'PAID', operation = NULL")
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute("UPDATE card_order SET state = 'LOST'")


async def test_the_paper_of_a_payment_is_there_at_once_and_the_printed_receipt_later(paying: Paying) -> None:
    order = await paying.begin("1245.05")
    assert slip(paying.cards.contract, order) is None
    made = await paying.pay(order)
    assert made is not None
    paper = slip(paying.cards.contract, await paying.now(order))
    assert paper is not None
    assert all(
        word in paper for word in ("5001000002", "1000001", "1245.05", "12.45", "1257.50", made.id, "20.05.2024")
    )
    async with paying.cards.pool.acquire() as db:
        assert not await finish_fiscal(db, made.id, "javascript:alert(1)")
        assert await finish_fiscal(db, made.id, "https://check.example/1")
        fiscal = await find_fiscal(db, made.id)
    assert fiscal is not None
    assert (fiscal.state, fiscal.url) == (FiscalState.DONE, "https://check.example/1")
    assert sum(item.price for item in fiscal.items) == Decimal("1257.50")
