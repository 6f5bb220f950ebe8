"""The till: money and a reading in one operation, named for ever by the partner's own id."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from bels.domain.events import ReadingAccepted, ReadingHeld
from bels.domain.terms import HoldReason, Money, Reason
from bels.messages import Status
from bels.payments.till import Paid, PayOrder, cancel, find, named_values, pay
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
