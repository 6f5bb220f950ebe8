"""MONETA's notices: what is taken, what is answered, and what is not believed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.applications import Starlette

from bels.channels.moneta import moneta_routes
from bels.domain.events import ReadingAccepted
from bels.payments.cards.booking import DifferenceKind
from bels.payments.cards.orders import OrderState, expire_orders
from bels.payments.till import find
from tests.conftest import new_supplier
from tests.payments.cards.paying import EMAIL, Paying, begun_anew, opened_paying
from tests.peers.loopback import listening
from tests.peers.moneta import attributes, heard, query_of, signed


@pytest.fixture(scope="module")
def module_database(postgres: str, template: str) -> str:
    """Make one supplier for the whole module."""
    return new_supplier(postgres, template, "bels_test_moneta")


@pytest.fixture(scope="module")
async def opened(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Paying]:
    """Open a supplier, MONETA and a consumer."""
    async with opened_paying(module_database, tmp_path_factory.mktemp("cards")) as paying:
        yield paying


@pytest.fixture
async def paying(opened: Paying) -> Paying:
    """Begin anew."""
    return await begun_anew(opened)


async def test_a_payment_at_the_form_is_on_the_account_with_its_reading_and_its_commission(paying: Paying) -> None:
    before = await paying.balance()

    order, made = await paying.paid("200.00", values={"total": "10385"}, contact=EMAIL)

    assert made.status == "SUCCEED"
    assert made.amount == Decimal("202.00")
    assert order.state is OrderState.PAID
    assert await paying.balance() == before - 200
    found = await find(paying.cards.till, paying.cards.agent, made.id)
    assert found is not None
    assert found.row is not None
    assert (found.row.actor, found.row.commission) == ("partner:moneta", Decimal("2.00"))
    assert found.paid.reading is not None
    assert isinstance(found.paid.reading.events[0], ReadingAccepted)


async def test_the_answer_tells_what_the_receipt_must_say(paying: Paying) -> None:
    order, made = await paying.paid("200.00", contact=EMAIL)

    told = attributes(made.answers[0])
    assert json.loads(told["INVENTORY"]) == [
        {
            "name": "Электроэнергия, лицевой счёт 1000001",
            "price": "200.00",
            "quantity": "1",
            "vatTag": 1102,
            "pm": "full_payment",
            "po": "service",
        },
        {
            "name": "Комиссия за приём платежа",
            "price": "2.00",
            "quantity": "1",
            "vatTag": 1102,
            "pm": "full_payment",
            "po": "service",
        },
    ]
    assert json.loads(told["CLIENT"]) == {"email": EMAIL}
    assert (told["SNO"], told["DELIVERY"]) == ("1", "0.00")
    assert await paying.count("card_fiscal", f"order_id = '{order.order_id}' AND state = 'SENT'") == 1
    rows = await paying.cards.pool.fetch("SELECT card_order::text AS row FROM card_order")
    assert EMAIL not in str(rows)


async def test_check_answers_by_where_the_order_stands(paying: Paying) -> None:
    order = await paying.begin()
    asked = [await paying.peer.check(order.order_id, amount) for amount in ("", "202.00", "203.00", "1e9")]
    assert [each.findtext("MNT_RESULT_CODE") for each in asked] == ["100", "402", "500", "500"]
    assert [each.findtext("MNT_AMOUNT") for each in asked] == ["202.00", None, None, None]
    assert (await paying.now(order)).state is OrderState.CHECKED
    unknown = await paying.peer.check("o-unknown", "202.00")
    dollars = await paying.peer.check(order.order_id, "202.00", MNT_CURRENCY_CODE="USD")
    assert [each.findtext("MNT_RESULT_CODE") for each in (unknown, dollars)] == ["500", "500"]

    held = await paying.begin()
    await paying.peer.tell(paying.peer.take(held.order_id, "202.00"), MNT_COMMAND="AUTHORISE")
    await paying.pay(order)
    late = await paying.begin()
    paying.house.wait(hours=2)
    after = [await paying.peer.check(each.order_id, "202.00") for each in (order, held, late)]
    assert [each.findtext("MNT_RESULT_CODE") for each in after] == ["200", "302", "500"]


async def test_a_repeat_is_answered_again_and_books_nothing(paying: Paying) -> None:
    _, made = await paying.paid()
    before = await paying.balance()
    paying.house.wait(hours=5)

    again = await paying.peer.tell(made)

    assert again == made.answers[0]
    assert await paying.balance() == before
    assert await paying.count("card_operation") == 1


async def test_ten_notices_at_once_book_once(paying: Paying) -> None:
    order = await paying.begin(values={"total": "10385"}, saves=True)
    before = await paying.balance()
    made = paying.peer.take(order.order_id, "202.00", token="token-1")

    answers = await asyncio.gather(*(paying.peer.tell(made) for _ in range(10)))

    assert all(map(heard, answers))
    assert await paying.balance() == before - 200
    assert await paying.count("card_operation") == 1
    assert await paying.count("card_binding") == 1
    assert await paying.count("payment") == 1


async def test_what_is_not_signed_by_moneta_is_not_believed(paying: Paying) -> None:
    order = await paying.begin()
    made = paying.peer.take(order.order_id, "202.00")
    notice = paying.peer.notice(made)
    for changed in (
        {"MNT_SIGNATURE": "0" * 32},
        {"MNT_SIGNATURE": ""},
        {"MNT_AMOUNT": "2.02"},
        {"MNT_OPERATION_ID": "9"},
    ):
        assert await paying.peer.bring("pay", {**notice, **changed}) == "FAIL"
        assert await paying.peer.bring("check", {**notice, **changed}) == "FAIL"
    assert (await paying.now(order)).state is OrderState.CREATED


async def test_the_signature_of_a_payer_s_own_form_signs_no_notice(paying: Paying) -> None:
    order = await paying.begin()
    form = query_of((await paying.form(order)).url)
    # The same text, cut elsewhere: without an operation, and with the end of the order's id as the operation.
    forged = {**form, "MNT_OPERATION_ID": ""}
    shorter = {**form, "MNT_TRANSACTION_ID": order.order_id[:-1], "MNT_OPERATION_ID": order.order_id[-1]}
    for given in (forged, shorter):
        assert await paying.peer.bring("pay", given) == "FAIL"
    assert await paying.count("payment") == 0


async def test_another_amount_currency_or_order_is_doubted_and_nothing_is_booked(paying: Paying) -> None:
    order = await paying.begin()
    made = [paying.peer.take(order.order_id, "2.02"), paying.peer.take("o-unknown", "202.00")]
    made.append(paying.peer.take(order.order_id, "202.00"))
    made[2].currency = "USD"

    answers = [await paying.peer.tell(each) for each in made]

    assert answers == ["FAIL"] * 3
    assert await paying.count("payment") == 0
    assert await paying.open_differences() == [
        DifferenceKind.AMOUNT_DIFFERS,
        DifferenceKind.UNKNOWN_ORDER,
        DifferenceKind.CURRENCY_DIFFERS,
    ]


async def test_the_test_mode_pays_nothing_in_production(paying: Paying) -> None:
    order = await paying.begin()
    paying.peer.test_mode = "1"
    assert await paying.peer.tell(paying.peer.take(order.order_id, "202.00")) == "FAIL"
    assert await paying.count("payment") == 0


async def test_the_test_mode_pays_where_the_contract_is_of_it(database: str, tmp_path: Path) -> None:
    async with opened_paying(database, tmp_path, test_mode=True) as paying:
        paying.peer.test_mode = "1"
        order, _ = await paying.paid()
        assert order.state is OrderState.PAID


async def test_a_notice_for_another_shop_is_not_taken(paying: Paying) -> None:
    order = await paying.begin()
    made = paying.peer.take(order.order_id, "202.00")
    assert await paying.peer.tell(made, MNT_ID="1") == "FAIL"
    assert await paying.count("payment") == 0


async def test_a_notice_from_another_address_is_not_taken_whatever_it_says_of_itself(paying: Paying) -> None:
    order = await paying.begin()
    made = paying.peer.take(order.order_id, "202.00")
    partner = replace(paying.cards.contract.partner, addresses=(ip_network("203.0.113.0/28"),))
    elsewhere = replace(paying.cards, contract=replace(paying.cards.contract, partner=partner))
    headers = {"x-real-ip": "203.0.113.5", "forwarded": "for=203.0.113.5"}
    async with listening(Starlette(routes=list(moneta_routes(elsewhere)))) as url:
        for path in ("pay", "check"):
            answer = await paying.http.post(
                f"{url}/partners/moneta/{path}", data=paying.peer.notice(made), headers=headers
            )
            assert (answer.status_code, answer.text) == (403, "FAIL")
    assert await paying.count("payment") == 0


async def test_a_notice_that_says_a_thing_twice_or_too_much_is_not_read(paying: Paying) -> None:
    order = await paying.begin()
    notice = paying.peer.notice(paying.peer.take(order.order_id, "202.00"))
    url = f"{paying.peer.hook}/pay"
    twice = await paying.http.get(url, params=[*notice.items(), ("MNT_AMOUNT", "1.00")])
    long = await paying.http.post(url, data={**notice, "more": "x" * 70_000})
    many = await paying.http.get(url, params={**notice, **{f"f{n}": "" for n in range(200)}})
    head = await paying.http.head(url, params=notice)
    bad = await paying.http.post(url, content=b"\xff\xfe")
    assert [each.status_code for each in (twice, long, many, head, bad)] == [403] * 5
    assert await paying.count("payment") == 0


async def test_a_notice_comes_by_get_too(paying: Paying) -> None:
    order = await paying.begin()
    notice = paying.peer.notice(paying.peer.take(order.order_id, "202.00"))
    answer = await paying.http.get(f"{paying.peer.hook}/pay", params=notice)
    assert heard(answer.text)


async def test_an_order_that_has_expired_is_paid_all_the_same(paying: Paying) -> None:
    order = await paying.begin()
    before = await paying.balance()
    paying.house.wait(hours=3)
    assert await expire_orders(paying.cards) == 1
    assert (await paying.now(order)).state is OrderState.EXPIRED
    assert await paying.pay(order) is None

    assert heard(await paying.peer.tell(paying.peer.take(order.order_id, "202.00")))

    assert (await paying.now(order)).state is OrderState.PAID
    assert await paying.balance() == before - 200


async def test_an_order_paid_twice_is_two_payments_and_a_difference(paying: Paying) -> None:
    order, _ = await paying.paid(values={"total": "10385"})
    before = await paying.balance()

    assert heard(await paying.peer.tell(paying.peer.take(order.order_id, "202.00")))

    assert await paying.balance() == before - 200
    assert await paying.open_differences() == [DifferenceKind.PAID_TWICE]


async def test_held_money_is_not_booked_and_may_be_let_go(paying: Paying) -> None:
    order, other = await paying.begin(), await paying.begin()
    made = paying.peer.take(order.order_id, "202.00")
    assert await paying.peer.tell(made, MNT_COMMAND="AUTHORISE") == "SUCCESS"
    assert (await paying.now(order)).state is OrderState.AUTHORISED
    assert await paying.count("payment") == 0
    assert await paying.peer.tell(made, MNT_COMMAND="CANCELLED_DEBIT") == "SUCCESS"
    assert (await paying.now(order)).state is OrderState.FAILED
    wrong = paying.peer.take(other.order_id, "1.00")
    assert await paying.peer.tell(wrong, MNT_COMMAND="AUTHORISE") == "FAIL"
    assert await paying.peer.tell(wrong, MNT_COMMAND="UNHEARD_OF") == "FAIL"


async def test_a_return_is_out_of_the_books_once_however_often_it_is_told(paying: Paying) -> None:
    before = await paying.balance()
    order, made = await paying.paid()
    back = paying.peer.returned(made)

    told = [await paying.peer.tell(back, MNT_COMMAND="CANCELLED_CREDIT") for _ in range(2)]

    assert told == ["SUCCESS", "SUCCESS"]
    assert (await paying.now(order)).state is OrderState.REFUNDED
    assert await paying.balance() == before
    assert await paying.count("card_refund", "state = 'RETURNED'") == 1
    # The late repeat of its payment is answered, and pays nothing again.
    assert heard(await paying.peer.tell(made))
    assert await paying.balance() == before


async def test_a_command_that_is_not_signed_returns_nothing_that_nobody_asked_for(paying: Paying) -> None:
    order, made = await paying.paid()
    before = await paying.balance()
    assert await paying.peer.tell(made, MNT_COMMAND="CANCELLED_CREDIT") == "FAIL"
    assert await paying.peer.tell(paying.peer.returned(made, "RETURN_o-unknown")) == "FAIL"
    less = paying.peer.returned(made)
    less.amount = Decimal("1.00")
    assert await paying.peer.tell(less) == "FAIL"
    assert (await paying.now(order)).state is OrderState.PAID
    assert await paying.balance() == before
    assert set(await paying.open_differences()) == {
        DifferenceKind.RETURN_UNASKED,
        DifferenceKind.RETURN_UNKNOWN,
        DifferenceKind.RETURN_DIFFERS,
    }


async def test_while_the_database_is_away_nothing_is_acknowledged(paying: Paying) -> None:
    order = await paying.begin()
    made = paying.peer.take(order.order_id, "202.00")
    async with paying.cards.pool.acquire() as db:
        await db.execute("ALTER TABLE card_operation RENAME TO card_operation_away")
        assert await paying.peer.tell(made) == "FAIL"
        await db.execute("ALTER TABLE card_order RENAME TO card_order_away")
        unknown = await paying.peer.check(order.order_id, "202.00")
        assert unknown.findtext("MNT_RESULT_CODE") == "302"
        await db.execute("ALTER TABLE card_order_away RENAME TO card_order")
        await db.execute("ALTER TABLE card_operation_away RENAME TO card_operation")
    before = await paying.balance()
    assert heard(await paying.peer.tell(made))
    assert await paying.balance() == before - 200
    assert await paying.count("payment") == 1


async def test_nothing_of_a_payer_and_no_secret_stands_in_a_log(
    paying: Paying, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    order = await paying.begin(contact=EMAIL, saves=True)
    made = paying.peer.take(order.order_id, "202.00", token="token-secret")
    await paying.peer.tell(made, MNT_SIGNATURE="0")
    await paying.peer.tell(made)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("bels")]
    assert not any(word in line for line in lines for word in (EMAIL, "token-secret", "QWERTY", order.order_id))
    assert signed("x") not in lines
