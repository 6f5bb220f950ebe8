"""MONETA to the end of its patience: it completes without our answer, and its list of the day has the last word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from starlette.applications import Starlette

from bels.channels.moneta import moneta_routes
from bels.domain.periods import moscow_date
from bels.domain.read_value import quoted_number
from bels.domain.terms import Reason
from bels.outgoing.moneta import MonetaApi, MonetaAway, MonetaRefused
from bels.payments.cards.booking import DifferenceKind
from bels.payments.cards.jobs import close_day, turn
from bels.payments.cards.orders import OrderState, expire_orders
from bels.payments.cards.reconciling import close_difference, reconcile_with_moneta
from bels.payments.cards.refunds import CardRefundState, Requested, refunds_of, request_refund, send_refunds
from bels.payments.till import find
from tests.conftest import new_supplier
from tests.payments.cards.paying import Paying, begun_anew, opened_paying
from tests.peers.loopback import listening
from tests.peers.moneta import heard


@pytest.fixture(scope="module")
def module_database(postgres: str, template: str) -> str:
    """Make one supplier for the whole module."""
    return new_supplier(postgres, template, "bels_test_moneta_peer")


@pytest.fixture(scope="module")
async def opened(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paying]:
    """Open a supplier, MONETA and a consumer."""
    async with opened_paying(module_database, tmp_path_factory.mktemp("cards")) as paying:
        yield paying


@pytest.fixture
async def paying(opened: Paying) -> Paying:
    """Begin anew."""
    return await begun_anew(opened)


async def test_what_completes_after_27_hours_of_fail_is_credited_once_by_the_list(paying: Paying) -> None:
    order = await paying.begin(values={"total": "10385"})
    before = await paying.balance()
    hook = paying.peer.hook
    # Nobody who is believed is at home: our own Check URL answers, the Pay URL does not.
    elsewhere = replace(paying.cards.contract, code="another")
    async with listening(Starlette(routes=list(moneta_routes(replace(paying.cards, contract=elsewhere))))) as deaf:
        paying.peer.hook = f"{deaf}/partners/moneta"
        made = paying.peer.take(order.order_id, "202.00")
        for _ in range(27):
            await paying.peer.repeat()
            paying.house.wait(hours=1)
        assert made.status == "TAKENIN_NOTSENT"
        assert set(made.answers) == {"FAIL"}
        assert len(made.answers) == 27
        await paying.peer.repeat()
    assert made.status == "SUCCEED"
    assert await paying.balance() == before
    await expire_orders(paying.cards)

    paying.house.wait(hours=12)
    first = await close_day(paying.cards, paying.api)
    again = await close_day(paying.cards, paying.api)
    next_day = await reconcile_with_moneta(paying.cards, paying.api, moscow_date(paying.house.now()))

    assert first is not None
    assert again is not None
    assert (first.booked, again.booked, next_day.booked) == (1, 0, 0)
    assert await paying.balance() == before - 200
    order = await paying.now(order)
    assert (order.state, order.operation) == (OrderState.PAID, made.id)
    found = await find(paying.cards.till, paying.cards.agent, made.id)
    assert found is not None
    assert found.row is not None
    # It is dated by the payer's operation, and its reading is taken.
    assert found.row.paid_at == made.at
    assert found.paid.reading is not None
    assert await paying.count("card_fiscal", "state = 'REQUESTED'") == 1
    paying.house.wait(days=2)
    await close_day(paying.cards, paying.api)
    assert await paying.open_differences() == [DifferenceKind.RECEIPT_DUE]

    paying.peer.hook = hook
    assert heard(await paying.peer.tell(made))
    assert await paying.balance() == before - 200
    assert await paying.count("payment") == 1
    assert await paying.count("card_fiscal", "state = 'SENT'") == 1
    assert await paying.open_differences() == []


async def test_money_that_fits_no_order_waits_for_an_operator_and_is_never_dropped(paying: Paying) -> None:
    order = await paying.begin()
    other = paying.peer.take(order.order_id, "2.02")
    unknown = paying.peer.take("shop-77", "500.00")
    personal = paying.peer.take("+79161234567", "5.00")
    for made in (other, unknown, personal):
        assert await paying.peer.tell(made) == "FAIL"
    early = await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert (early.booked, await paying.count("payment")) == (0, 0)
    paying.house.wait(hours=27)
    await paying.peer.repeat()

    done = await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))

    assert (done.booked, done.there, done.total) == (3, 3, Decimal("507.02"))
    rows = await paying.cards.pool.fetch("SELECT meant_for, unallocated, amount FROM payment ORDER BY amount")
    assert [(row["meant_for"], row["amount"]) for row in rows] == [
        (quoted_number(order.order_id), Decimal("2.02")),
        (quoted_number("moneta"), Decimal("5.00")),
        (quoted_number("shop-77"), Decimal("500.00")),
    ]
    assert {row["unallocated"] for row in rows} == {Reason.UNKNOWN_ACCOUNT.value}
    assert (await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))).booked == 0
    assert sorted(await paying.open_differences()) == ["AMOUNT_DIFFERS", "UNKNOWN_ORDER", "UNKNOWN_ORDER"]
    # Their late notices are answered: the money is in the journal.
    assert heard(await paying.peer.tell(unknown))
    closed = await close_difference(paying.cards, 1, "operator:u-1", "разнесён вручную")
    assert closed is not None
    assert closed.note == "разнесён вручную"
    assert await close_difference(paying.cards, 1, "operator:u-1", "ещё раз") is None


async def test_what_is_booked_here_and_not_there_is_a_difference_until_it_is_there(paying: Paying) -> None:
    _, made = await paying.paid()
    del paying.peer.made[made.id]
    await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert await paying.open_differences() == [DifferenceKind.NOT_AT_MONETA]
    paying.peer.made[made.id] = made
    await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert await paying.open_differences() == []
    assert await paying.count("payment") == 1


async def test_a_cancelled_operation_ends_its_order_and_another_may_pay_it(paying: Paying) -> None:
    order = await paying.begin()
    paying.peer.take(order.order_id, "202.00", status="CANCELED")
    await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert (await paying.now(order)).state is OrderState.FAILED
    assert heard(await paying.peer.tell(paying.peer.take(order.order_id, "202.00")))
    assert (await paying.now(order)).state is OrderState.PAID


async def test_a_return_that_is_asked_for_is_made_by_moneta_and_then_in_the_books(paying: Paying) -> None:
    before = await paying.balance()
    order, made = await paying.paid()
    asked = [await request_refund(paying.cards, "operator:u-1", "k1", order.order_id, "не тот счёт") for _ in range(2)]
    assert all(isinstance(each, Requested) for each in asked)
    assert await paying.balance() == before - 200

    assert await send_refunds(paying.cards, paying.api) == 1

    assert await paying.balance() == before
    assert (await paying.now(order)).state is OrderState.REFUNDED
    async with paying.cards.pool.acquire() as db:
        (refund,) = await refunds_of(db, order.order_id)
    assert (refund.state, refund.total, refund.operation) == (CardRefundState.RETURNED, Decimal("202.00"), made.id)
    assert refund.due_at - made.at == timedelta(days=30)
    # Its notice and the day's list say the same once more.
    back = next(each for each in paying.peer.made.values() if each.is_return)
    assert await paying.peer.tell(back, MNT_COMMAND="CANCELLED_CREDIT") == "SUCCESS"
    done = await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert (done.returned, done.differences) == (0, 0)
    assert await send_refunds(paying.cards, paying.api) == 0
    assert len([name for name, _ in paying.peer.asked if name == "RefundRequest"]) == 1


async def test_a_return_whose_answer_was_lost_is_looked_up_and_not_made_twice(paying: Paying) -> None:
    order, _ = await paying.paid()
    before = await paying.balance()
    await request_refund(paying.cards, "operator:u-1", "k1", order.order_id, "не тот счёт")
    paying.peer.faults["RefundRequest"] = ["LOST"]
    assert await send_refunds(paying.cards, paying.api) == 0
    assert await paying.balance() == before
    paying.house.wait(minutes=6)
    assert await send_refunds(paying.cards, paying.api) == 1
    assert await paying.balance() == before + 200
    assert len([name for name, _ in paying.peer.asked if name == "RefundRequest"]) == 1


async def test_a_return_that_moneta_refuses_leaves_the_payment_and_may_be_asked_for_again(paying: Paying) -> None:
    order, _ = await paying.paid()
    await request_refund(paying.cards, "operator:u-1", "k1", order.order_id, "не тот счёт")
    second = await request_refund(paying.cards, "operator:u-1", "k2", order.order_id, "не тот счёт")
    assert not isinstance(second, Requested)
    paying.peer.faults["RefundRequest"] = ["500.4.1"]
    assert await send_refunds(paying.cards, paying.api) == 0
    async with paying.cards.pool.acquire() as db:
        (refund,) = await refunds_of(db, order.order_id)
    assert (refund.state, refund.code) == (CardRefundState.REFUSED, "500.4.1")
    assert isinstance(await request_refund(paying.cards, "u", "k3", order.order_id, "ещё раз"), Requested)
    assert await send_refunds(paying.cards, paying.api) == 1


async def test_a_return_made_in_moneta_s_own_cabinet_is_found_in_its_list(paying: Paying) -> None:
    before = await paying.balance()
    order, made = await paying.paid()
    paying.peer.returned(made, "by hand")
    done = await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert done.returned == 1
    assert await paying.balance() == before
    assert (await paying.now(order)).state is OrderState.REFUNDED
    async with paying.cards.pool.acquire() as db:
        (refund,) = await refunds_of(db, order.order_id)
    assert refund.state is CardRefundState.RETURNED


async def test_the_second_payment_of_an_order_returns_alone(paying: Paying) -> None:
    order, _ = await paying.paid()
    twice = paying.peer.take(order.order_id, "202.00")
    await paying.peer.tell(twice)
    before = await paying.balance()
    await request_refund(paying.cards, "u", "k", order.order_id, "оплачено дважды", twice.id)
    assert await send_refunds(paying.cards, paying.api) == 1
    assert await paying.balance() == before + 200
    assert (await paying.now(order)).state is OrderState.PAID


async def test_a_payment_is_of_the_day_of_the_payer_however_late_its_notice_is_heard(paying: Paying) -> None:
    paying.house.wait(hours=11, minutes=50)
    order = await paying.begin()
    await paying.peer.check(order.order_id, "202.00")
    made = paying.peer.take(order.order_id, "202.00")
    paying.house.wait(hours=20)
    assert heard(await paying.peer.tell(made))
    found = await find(paying.cards.till, paying.cards.agent, made.id)
    assert found is not None
    assert found.row is not None
    assert (found.row.paid_on, found.row.paid_at) == (date(2024, 5, 20), made.at)


async def test_our_own_withdrawals_and_other_currencies_are_no_payments(paying: Paying) -> None:
    order = await paying.begin()
    paying.peer.take("payout 7", "-5000.00", status="SUCCEED")
    paying.peer.take(order.order_id, "202.00", status="SUCCEED").currency = "USD"
    done = await reconcile_with_moneta(paying.cards, paying.api, date(2024, 5, 20))
    assert (done.booked, done.returned) == (0, 0)
    assert await paying.count("payment") == 0
    assert await paying.open_differences() == [DifferenceKind.CURRENCY_DIFFERS]


async def test_a_return_that_is_nearly_too_late_is_worked_on_by_hand(paying: Paying) -> None:
    order, _ = await paying.paid()
    await request_refund(paying.cards, "u", "k", order.order_id, "не тот счёт")
    paying.peer.faults["RefundRequest"] = ["AWAY"]
    paying.house.wait(days=26)
    assert await send_refunds(paying.cards, paying.api) == 0
    await close_day(paying.cards, paying.api)
    assert await paying.open_differences() == [DifferenceKind.RETURN_OVERDUE]
    paying.house.wait(hours=1)
    assert await send_refunds(paying.cards, paying.api) == 1
    assert await paying.open_differences() == []


async def test_a_list_of_many_pages_is_read_whole(paying: Paying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bels.outgoing.moneta.PAGE_SIZE", 2)
    for amount in range(1, 6):
        paying.peer.take("x", f"{amount}.00")
    now = paying.house.now()
    found = await paying.api.operations(now - timedelta(days=1), now + timedelta(days=1))
    assert [each.amount for each in found] == [Decimal(amount) for amount in range(1, 6)]


async def test_what_is_wrong_with_moneta_is_told_by_a_code_and_nothing_else(paying: Paying) -> None:
    now = paying.house.now()
    paying.peer.faults["FindOperationsListRequest"] = ["AWAY"]
    with pytest.raises(MonetaAway, match="HTTP_502"):
        await paying.api.operations(now, now)
    with pytest.raises(MonetaRefused, match=r"500\.1\.1"):
        await replace(paying.api, password="wrong").operations(now, now)
    with pytest.raises(MonetaAway, match="ConnectError"):
        await MonetaApi(paying.http, "http://127.0.0.1:1/services", "bels", "secret", "1").operations(now, now)
    with pytest.raises(MonetaAway, match="NO_REQUEST_AGREED"):
        await replace(paying.api, forget_request=None).forget("token")
    assert "api-password" not in repr(paying.api)
    paying.peer.faults["FindOperationsListRequest"] = ["AWAY"]
    assert await close_day(paying.cards, paying.api) is None
    assert await close_day(paying.cards, None) is None


async def test_every_turn_does_what_there_is_and_without_an_api_lets_orders_expire(paying: Paying) -> None:
    order = await paying.begin()
    paying.house.wait(hours=2)
    await turn(paying.cards, None)
    assert (await paying.now(order)).state is OrderState.EXPIRED
    paid, _ = await paying.paid()
    await request_refund(paying.cards, "u", "k", paid.order_id, "не тот счёт")
    await turn(paying.cards, paying.api)
    assert (await paying.now(paid)).state is OrderState.REFUNDED
