"""The till: money and a reading in one operation, named for ever by the partner's own id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, date, timedelta
from decimal import Decimal
from random import Random

import asyncpg
import pytest
from asyncpg import UndefinedTableError

from bels.domain.commands import ReplaceMeter
from bels.domain.events import CommandRefused, ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.terms import HoldReason, MeterModel, Money, Purpose, Reason, Register
from bels.intake import Intake
from bels.messages import Status, TryLater
from bels.payments.quote import agreed, quote
from bels.payments.till import Paid, PayOrder, cancel, find, is_payment_id, named_values, pay
from tests.channels.household import moscow
from tests.payments.conftest import Banks

AT = moscow("2024-05-20T11:30")
ORDER = PayOrder("1234567", "1000001", Decimal("200.00"), AT, values={"total": "10385"})


async def balance(banks: Banks, account: str = "1000001") -> Decimal:
    """Say what an account owes."""
    return (await banks.till.intake.account(account)).ledger.balance


async def test_money_and_a_reading_come_in_one_operation(banks: Banks) -> None:
    before = await balance(banks)

    paid = await pay(banks.till, banks.agent(), ORDER)

    assert paid.received is not None
    assert paid.received.paid_at == AT
    assert paid.reading is not None
    assert isinstance(paid.reading.events[0], ReadingAccepted)
    assert await balance(banks) == before - 200


async def test_a_bad_reading_never_refuses_the_money(banks: Banks) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, values={"total": "9000"}))

    assert paid.received is not None
    assert paid.reading is not None
    assert isinstance(paid.reading.events[0], ReadingHeld)
    assert paid.reading.events[0].reason is HoldReason.LESS_THAN_PREVIOUS


async def test_a_payment_that_is_refused_takes_no_reading(banks: Banks) -> None:
    before = (await banks.till.intake.account("1000001")).readings

    paid = await pay(banks.till, banks.agent(), replace(ORDER, amount=Decimal("0.50")))

    assert paid.refusal is not None
    assert paid.refusal.reason is Reason.AMOUNT_TOO_SMALL
    assert paid.reading is None
    assert (await banks.till.intake.account("1000001")).readings == before


async def test_the_same_again_gets_the_same_answer_and_another_content_is_an_error(banks: Banks) -> None:
    first = await pay(banks.till, banks.agent(), ORDER)
    before = await balance(banks)

    again = await pay(banks.till, banks.agent(), ORDER)
    other = await pay(banks.till, banks.agent(), replace(ORDER, values={"total": "10386"}))
    dearer = await pay(banks.till, banks.agent(), replace(ORDER, amount=Decimal("300.00"), is_strict=False))

    assert again.payment.repeated
    assert again.payment.receipt == first.payment.receipt
    assert again.reading is not None
    assert first.reading is not None
    assert again.reading.receipt == first.reading.receipt
    assert [p.refusal and p.refusal.reason for p in (other, dearer)] == [Reason.MESSAGE_ID_REUSED] * 2
    assert await balance(banks) == before


async def test_a_lenient_repeat_may_differ_in_all_but_account_and_sum(banks: Banks) -> None:
    lenient = replace(ORDER, is_strict=False)
    first = await pay(banks.till, banks.agent(), lenient)

    again = await pay(banks.till, banks.agent(), replace(lenient, values=None, paid_at=AT + timedelta(minutes=1)))

    assert again.payment.repeated
    assert again.payment.receipt == first.payment.receipt
    assert again.reading is not None
    assert first.reading is not None
    assert again.reading.receipt == first.reading.receipt


async def test_lenient_repeats_at_once_may_differ_too(banks: Banks) -> None:
    before = await balance(banks)
    lenient = replace(ORDER, is_strict=False)
    orders = [
        replace(lenient, paid_at=AT + timedelta(minutes=n), values=ORDER.values if n % 2 else None) for n in range(10)
    ]

    paid = await asyncio.gather(*(pay(banks.till, banks.agent(), order) for order in orders))

    assert all(p.received is not None for p in paid)
    assert len({p.payment.receipt for p in paid}) == 1
    assert await balance(banks) == before - 200


@pytest.mark.parametrize("seed", range(6))
async def test_of_orders_that_differ_under_one_id_only_the_one_whose_money_is_taken_brings_its_reading(
    banks: Banks, database: str, seed: int
) -> None:
    chance = Random(seed)
    orders = [
        replace(ORDER, amount=Decimal(n), values={"total": str(10300 + n)} if chance.random() < 0.6 else None)
        for n in (0, 50, 60, 70, 80, 90)
    ]
    chance.shuffle(orders)
    async with (
        asyncpg.create_pool(database, min_size=2, max_size=4) as pool,
        Intake(pool, banks.till.intake.rulebook, banks.till.intake.clock).running() as elsewhere,
    ):
        counter = replace(banks.till.counter, intake=elsewhere)
        tills = (banks.till, replace(banks.till, counter=counter))
        paid = await asyncio.gather(
            *(pay(chance.choice(tills), banks.agent(), replace(order)) for order in orders for _ in range(2))
        )

    told = {(p.payment.receipt, p.payment.status) for p in paid if p.refusal is None or p.refusal.detail is None}
    assert len(told) == 1
    first = next(p for p in paid if p.refusal is None or p.refusal.detail is None)
    assert all(p.reading is None for p in paid if p.refusal is not None)
    won = next(order for order, p in zip([o for o in orders for _ in range(2)], paid, strict=True) if p is first)
    stored = await banks.bels.pool.fetch("SELECT message_id, content FROM message WHERE message_id LIKE '%/1234567%'")
    assert len(stored) == (2 if won.values is not None and first.received is not None else 1)
    assert len({row["content"] for row in stored}) == 1


async def test_ids_are_the_partners_own(banks: Banks) -> None:
    before = await balance(banks)

    paid = [await pay(banks.till, banks.agent(name), replace(ORDER, values=None)) for name in ("sber", "app")]

    assert paid[0].payment.receipt != paid[1].payment.receipt
    assert await balance(banks) == before - 400


async def test_ten_at_once_book_once(banks: Banks) -> None:
    before = await balance(banks)

    paid: list[Paid] = await asyncio.gather(*(pay(banks.till, banks.agent(), ORDER) for _ in range(10)))

    assert len({p.payment.receipt for p in paid}) == 1
    assert len({p.reading.receipt for p in paid if p.reading is not None}) == 1
    assert await balance(banks) == before - 200


async def test_money_for_nobody_is_kept_or_left_to_the_payer_as_agreed(banks: Banks) -> None:
    stray = replace(ORDER, account="1999999", values=None)
    kept = await pay(banks.till, banks.agent(), stray)
    refusing = replace(banks.agent(), partner=replace(banks.agent().partner, refuses_unknown=True))
    refused = await pay(banks.till, refusing, replace(stray, payment_id="7"))

    assert kept.received is not None
    assert kept.received.unallocated is Reason.UNKNOWN_ACCOUNT
    assert refused.refusal is not None
    assert refused.refusal.reason is Reason.UNKNOWN_ACCOUNT


async def test_a_partner_cancels_its_payment_on_the_day_and_not_later(banks: Banks) -> None:
    before = await balance(banks)
    await pay(banks.till, banks.agent(), replace(ORDER, commission=Money("2.00"), quoted=Money("2.00")))
    await pay(banks.till, banks.agent(), replace(ORDER, payment_id="2", values=None))

    done = await cancel(banks.till, banks.agent(), "1234567", "ошибка кассира")
    banks.house.wait(days=1)
    late = await cancel(banks.till, banks.agent(), "2", "ошибка кассира")
    never = await cancel(banks.till, banks.agent("app"), "1234567", "ошибка кассира")

    assert done is not None
    assert done.status is Status.ACCEPTED
    assert late is not None
    assert isinstance(late.events[0], CommandRefused)
    assert late.events[0].reason is Reason.CANCELLED_TOO_LATE
    assert never is None
    assert await balance(banks) == before - 200
    found = await find(banks.till, banks.agent(), "1234567")
    assert found is not None
    assert found.now is not None
    assert found.row is not None
    assert (found.now.state, found.row.commission) == ("REVERSED", Money("2.00"))


async def test_values_are_named_by_the_meter_of_the_account(banks: Banks) -> None:
    assert await named_values(banks.till, "1000001", [("1", " 10385 "), ("2", "")]) == {"total": "10385"}
    assert await named_values(banks.till, "1000003", [("day", "5"), ("2", "6")]) == {"day": "5", "night": "6"}
    assert await named_values(banks.till, "1000001", [("1", "1"), ("2", "2")]) == {"total": "1", "value2": "2"}
    assert await named_values(banks.till, "1000001", [("1", " ")]) is None


# Whatever else comes to a till.


async def test_a_value_that_is_named_twice_is_one_too_many(banks: Banks) -> None:
    named = await named_values(banks.till, "1000003", [("T1", "1"), ("day", "2"), ("T2", "3")])
    assert named == {"day": "1", "day #2": "2", "night": "3"}


async def test_one_moment_and_one_sum_are_one_content_however_they_are_written(banks: Banks) -> None:
    given = [("T1", "3100"), ("T2", "1600")]
    order = replace(ORDER, account=" 1000003 ", values=None, given=given, commission=Money("2.0"))
    first = await pay(banks.till, banks.agent("app"), order)
    other = replace(order, account="1000003", paid_at=AT.astimezone(UTC), amount=Decimal(200), given=given[::-1])
    again = await pay(banks.till, banks.agent("app"), replace(other, commission=Money("2.00")))
    assert again.payment.repeated
    assert again.payment.receipt == first.payment.receipt
    assert (first.reading and first.reading.status) == Status.ACCEPTED


async def test_a_repeat_is_one_after_the_meter_was_replaced(banks: Banks) -> None:
    order = replace(ORDER, account="1000003", values=None, given=[("1", "3100"), ("2", "1600")])
    first = await pay(banks.till, banks.agent(), order)
    banks.house.wait(hours=1)
    final = {Register.DAY: 3110, Register.NIGHT: 1610}
    new = MeterModel("E-3N", 6, (Register.TOTAL,))
    await banks.house.do("1000003", ReplaceMeter(new, banks.house.at, final, {Register.TOTAL: 0}, "акт"))

    again = await pay(banks.till, banks.agent(), order)

    assert again.payment.receipt == first.payment.receipt
    assert first.reading is not None
    assert again.reading is not None
    assert again.reading.receipt == first.reading.receipt


@pytest.mark.parametrize("name", ["", "a b", " 7", "7\n", "\x007", "счёт", "x" * 101, "1\u00a02", "\ud800"])
async def test_an_id_that_can_name_nothing_books_nothing(banks: Banks, name: str) -> None:
    before = await balance(banks)
    paid = await pay(banks.till, banks.agent(), replace(ORDER, payment_id=name))
    assert not is_payment_id(name)
    assert paid.refusal is not None
    assert paid.refusal.reason is Reason.BAD_MESSAGE_ID
    assert await balance(banks) == before


@pytest.mark.parametrize("name", ["x" * 100, "89161234567", "a@b.ru", "../../etc", "%00", "reading", "sealed:1"])
async def test_any_visible_name_is_kept_and_found_again(banks: Banks, name: str) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, payment_id=name))
    found = await find(banks.till, banks.agent(), name)
    again = await pay(banks.till, banks.agent(), replace(ORDER, payment_id=name))
    assert found is not None
    assert found.paid.payment.receipt == paid.payment.receipt == again.payment.receipt
    assert found.paid.reading is not None
    async with banks.bels.pool.acquire() as db:
        kept = await db.fetchval("SELECT string_agg(message_id, ' ') FROM message")
    assert "89161234567" not in kept
    assert "@" not in kept


async def test_the_name_of_a_partners_other_message_is_no_payments_name(banks: Banks) -> None:
    await pay(banks.till, banks.agent(), ORDER)
    told = await pay(banks.till, banks.agent(), replace(ORDER, payment_id="1234567-reading", is_strict=False))
    assert told.received is not None


@pytest.mark.parametrize(
    ("paid_at", "period"),
    [
        ("2024-05-25T23:59", "2024-05"),
        ("2024-05-26T00:01", "2024-06"),
        ("2024-06-03T10:00", "2024-06"),
        ("2024-04-25T12:00", "2024-04"),
    ],
)
async def test_a_reading_belongs_to_the_period_in_which_its_payer_paid(banks: Banks, paid_at: str, period: str) -> None:
    banks.house.at = moscow("2024-06-05T12:00")
    paid = await pay(banks.till, banks.agent(), replace(ORDER, paid_at=moscow(paid_at)))
    assert paid.received is not None
    assert paid.received.paid_on == moscow(paid_at).date()
    assert paid.reading is not None
    event = paid.reading.events[0]
    assert isinstance(event, ReadingAccepted)
    assert (event.period, event.received_at) == (period, moscow(paid_at))


async def test_a_reading_from_before_the_meter_does_not_stop_the_money(banks: Banks) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, paid_at=moscow("2020-01-10T12:00")))
    assert paid.received is not None
    assert paid.reading is not None
    assert isinstance(paid.reading.events[0], ReadingRefused)


async def test_a_clock_that_is_a_little_ahead_refuses_no_money_at_midnight(banks: Banks) -> None:
    banks.house.at = moscow("2024-05-20T23:58")
    soon = await pay(banks.till, banks.agent(), replace(ORDER, paid_at=moscow("2024-05-21T00:01")))
    later = await pay(banks.till, banks.agent(), replace(ORDER, payment_id="2", paid_at=moscow("2024-05-21T00:04")))
    assert soon.received is not None
    assert soon.received.paid_on == date(2024, 5, 20)
    assert soon.reading is not None
    assert soon.reading.status is Status.ACCEPTED
    assert later.refusal is not None
    assert later.refusal.reason is Reason.BAD_DATES


async def test_a_payment_of_which_only_the_day_is_known(banks: Banks) -> None:
    day = replace(ORDER, paid_at=date(2024, 5, 17))
    paid = await pay(banks.till, banks.agent(), day)
    assert paid.received is not None
    assert (paid.received.paid_on, paid.received.paid_at) == (date(2024, 5, 17), None)
    assert paid.reading is not None
    assert paid.reading.events[0].received_at == moscow("2024-05-17T12:00")  # type: ignore[union-attr]  # a reading has one
    tomorrow = await pay(banks.till, banks.agent(), replace(day, payment_id="2", paid_at=date(2024, 5, 21)))
    assert tomorrow.refusal is not None
    assert tomorrow.refusal.reason is Reason.BAD_DATES


@pytest.mark.parametrize("account", ["+7 916 123-45-67", "89161234567", "ivanov@example.ru", "Иванов Пётр", "\x00", ""])
async def test_an_account_that_is_none_is_kept_and_names_nobody(banks: Banks, account: str) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, account=account))
    again = await pay(banks.till, banks.agent(), replace(ORDER, account=account))
    assert paid.received is not None
    assert paid.received.unallocated is Reason.UNKNOWN_ACCOUNT
    assert again.payment.receipt == paid.payment.receipt
    kept = str(await banks.bels.pool.fetch("SELECT * FROM message")) + str(
        await banks.bels.pool.fetch("SELECT convert_from(state, 'UTF8') FROM journal")
    )
    assert not any(word in kept for word in ("9161234567", "916 123", "ivanov", "Иванов"))


async def test_a_stream_of_somebodys_unallocated_payment_is_no_account(banks: Banks) -> None:
    stray = await pay(banks.till, banks.agent(), replace(ORDER, account="1999999", values=None))
    other = await pay(banks.till, banks.agent(), replace(ORDER, payment_id="2", account=stray.payment.account))
    assert other.received is not None
    assert other.received.unallocated is Reason.UNKNOWN_ACCOUNT
    assert other.payment.account != stray.payment.account


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1E+999999", "-5", "0", "1.005", "10000000.01"])
async def test_what_is_no_sum_is_refused_for_ever(banks: Banks, amount: str) -> None:
    order = replace(ORDER, amount=Decimal(amount))
    paid = await pay(banks.till, banks.agent("app"), order)
    again = await pay(banks.till, banks.agent("app"), order)
    assert paid.refusal is not None
    assert paid.refusal.reason is Reason.BAD_AMOUNT
    assert again.payment.repeated
    assert paid.reading is None


async def test_a_word_for_a_value_is_sealed(banks: Banks) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, values={"total": "Ivanov"}))
    assert paid.received is not None
    raws = await banks.bels.pool.fetch("SELECT raw FROM message WHERE channel = 'bank'")
    assert len(raws) == 2
    assert not any("Ivanov" in row["raw"] for row in raws)


async def test_a_lenient_repeat_of_what_was_refused_is_refused_the_same(banks: Banks) -> None:
    lenient = replace(ORDER, amount=Decimal("0.50"), is_strict=False)
    first = await pay(banks.till, banks.agent(), lenient)
    again = await pay(banks.till, banks.agent(), replace(lenient, paid_at=AT + timedelta(minutes=1), values=None))
    assert again.payment.receipt == first.payment.receipt
    assert again.refusal is not None
    assert again.refusal.reason is Reason.AMOUNT_TOO_SMALL


async def test_what_the_code_fails_on_is_parked_with_its_reading_beside_it(banks: Banks) -> None:
    # Half of a surrogate pair cannot be stored: the text of an order that no protocol lets through.
    order = replace(ORDER, meter="\ud800")
    paid = await pay(banks.till, banks.agent(), order)
    again = await pay(banks.till, banks.agent(), order)
    assert paid.received is not None
    assert paid.reading is not None
    assert (paid.reading.status, paid.reading.events) == (Status.PARKED, ())
    assert again.reading is not None
    assert again.reading.receipt == paid.reading.receipt


async def test_a_payment_that_could_not_be_stored_leaves_its_id_free(banks: Banks) -> None:
    before = await balance(banks)
    await banks.bels.pool.execute("ALTER TABLE message RENAME TO gone")
    with pytest.raises((TryLater, UndefinedTableError)):
        await pay(banks.till, banks.agent(), ORDER)
    await banks.bels.pool.execute("ALTER TABLE gone RENAME TO message")
    paid = await pay(banks.till, banks.agent(), replace(ORDER, amount=Decimal("300.00")))
    assert paid.received is not None
    assert not paid.payment.repeated
    assert await balance(banks) == before - 300


async def test_an_account_and_a_penalty_of_one_partner_go_by_their_own_ledgers(banks: Banks) -> None:
    paid = await pay(banks.till, banks.agent(), replace(ORDER, purpose=Purpose.PENALTY, values=None))
    ledger = (await banks.till.intake.account("1000001")).ledger
    assert paid.received is not None
    assert ledger.penalty == -200


async def test_a_commission_is_what_the_contract_says_and_nothing_where_it_says_nothing(banks: Banks) -> None:
    sber, app = banks.agent().partner, banks.agent("app").partner
    day = date(2024, 5, 20)
    assert agreed(sber, Decimal("1245.05"), day) == Money("12.45")
    assert agreed(sber, Decimal("60000.00"), day) == Money("100.00")
    assert agreed(sber, Decimal("200.00"), date(2023, 12, 31)) is None
    assert agreed(sber, Decimal("NaN"), day) is None
    assert agreed(app, Decimal("200.00"), day) is None
    assert quote(app, Money("200.00"), day).total == Money("200.00")
