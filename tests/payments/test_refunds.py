"""Refunds: asked for, decided once, never more than the payment, and mended by repeating after a crash."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from bels.domain.commands import MakeRefund, MovePaymentIn, MovePaymentOut
from bels.domain.money_events import PaymentReversed, RefundMade
from bels.domain.terms import AccountNumber, EntryNumber, PaymentState, Reason
from bels.payments import refunds
from bels.payments.find import origin, where_now
from bels.payments.refunds import Decided, RefundDecision, RefundOrder, RefundRow, RefundState
from bels.payments.status import PartnerPaymentState, standing
from bels.payments.till import PayOrder, cancel, pay
from bels.projections import ledger
from bels.projections.ledger import PaymentRow
from tests.channels.household import moscow
from tests.payments.conftest import Banks

ORDER = PayOrder("1234567", "1000001", Decimal("200.00"), moscow("2024-05-20T11:30"))
OPERATOR = "operator:u-olga"


@dataclass(slots=True)
class Paid:
    """A payment of 200 roubles to an account that owed nothing, and whoever asks it back."""

    banks: Banks
    row: PaymentRow
    asked: int = 0

    async def ask(self, amount: str | None, key: str | None = None) -> RefundRow | Reason:
        """Ask for a part of it."""
        self.asked += 1
        order = RefundOrder(
            Decimal(amount) if amount is not None else None, "ошибка", "partner:x", key or f"k{self.asked}"
        )
        async with self.banks.bels.pool.acquire() as db:
            answer = await refunds.ask(db, self.row, order, self.banks.till.now())
        return answer if isinstance(answer, Reason) else answer[0]

    async def request(self, amount: str | None) -> RefundRow:
        """Ask for a part of it that may be asked for."""
        row = await self.ask(amount)
        assert isinstance(row, RefundRow), row
        return row

    async def decide(self, row: RefundRow, decision: RefundDecision = RefundDecision.RETURN) -> Decided:
        """Decide a request."""
        return await refunds.decide(self.banks.house.desk, row.request, decision, "заявление", by=OPERATOR)

    async def forget(self, row: RefundRow) -> None:
        """Leave a request as a crash leaves it: decided, and nothing noted of its entry."""
        await self.banks.bels.pool.execute(
            "UPDATE refund_request SET state = 'DECIDED', refund = NULL, ground = 'заявление' WHERE request = $1",
            row.request,
        )

    async def balance(self, account: str = "1000001") -> Decimal:
        """Say what an account owes."""
        return (await self.banks.till.intake.account(account)).ledger.balance


@pytest.fixture
async def paid(banks: Banks) -> Paid:
    """Pay."""
    return await paid_by(banks, ORDER)


async def paid_by(banks: Banks, order: PayOrder) -> Paid:
    """Carry out an order, and find its payment."""
    booked = (await pay(banks.till, banks.agent(), order)).payment
    async with banks.bels.pool.acquire() as db:
        row = await ledger.payment_at(db, booked.account, booked.version or 0)
    assert row is not None
    return Paid(banks, row)


async def test_the_whole_of_a_wrong_payment_is_reversed(paid: Paid) -> None:
    owed = await paid.balance()
    row = await paid.request(None)
    done = await paid.decide(row)

    assert done.row is not None
    assert done.outcome is not None
    assert isinstance(done.outcome.events[0], PaymentReversed)
    assert (done.row.state, done.row.refund) == (RefundState.RETURNED, done.outcome.receipt)
    assert await paid.balance() == owed + 200
    stands = await standing(paid.banks.till, paid.banks.agent(), ORDER.payment_id)
    assert stands is not None
    assert (stands.state, stands.may_cancel) == (PartnerPaymentState.RETURNED, False)


async def test_parts_go_back_up_to_the_payment_and_no_further(paid: Paid) -> None:
    owed = await paid.balance()
    for amount in ("100.00", "60.00"):
        done = await paid.decide(await paid.request(amount))
        assert done.outcome is not None
        assert isinstance(done.outcome.events[0], RefundMade)
    assert await paid.ask("40.01") is Reason.BAD_AMOUNT
    await paid.decide(await paid.request(None))
    assert await paid.ask("0.01") is Reason.PAYMENT_REVERSED
    assert await paid.balance() == owed + 200


async def test_ten_who_ask_at_once_get_no_more_than_the_payment(paid: Paid) -> None:
    owed = await paid.balance()
    asked = await asyncio.gather(*(paid.ask("50.00") for _ in range(10)))
    rows = [row for row in asked if isinstance(row, RefundRow)]
    assert len(rows) == 4

    # Each is decided three times at once, by two operators and a repeat.
    await asyncio.gather(*(paid.decide(row) for row in rows * 3))
    assert await paid.balance() == owed + 200
    async with paid.banks.bels.pool.acquire() as db:
        assert await refunds.claimed(db, paid.row) == 200


async def test_a_claim_that_no_request_could_check_is_checked_when_it_is_decided(paid: Paid) -> None:
    first, second = await paid.request("100.00"), await paid.request("100.00")
    await paid.banks.bels.pool.execute("UPDATE refund_request SET amount = 150")
    done = await asyncio.gather(paid.decide(first), paid.decide(second))
    assert sorted(str(each.refusal) for each in done) == ["BAD_AMOUNT", "None"]


async def test_the_same_key_is_the_same_request(paid: Paid) -> None:
    first, again, other = await paid.ask("50.00", "k"), await paid.ask("50.00", "k"), await paid.ask("60.00", "k")
    assert isinstance(first, RefundRow)
    assert again == first
    assert other is Reason.MESSAGE_ID_REUSED


@pytest.mark.parametrize("amount", ["200.00", "80.00"])
async def test_a_crash_before_the_entry_is_mended_by_deciding_again(paid: Paid, amount: str) -> None:
    owed = await paid.balance()
    row = await paid.request(amount)
    await paid.forget(row)
    done = await paid.decide(row)
    assert done.row is not None
    assert done.row.state is RefundState.RETURNED
    assert await paid.balance() == owed + Decimal(amount)


@pytest.mark.parametrize("amount", ["200.00", "80.00"])
async def test_a_crash_after_the_entry_is_mended_by_deciding_again(paid: Paid, amount: str) -> None:
    owed = await paid.balance()
    row = await paid.request(amount)
    first = await paid.decide(row)
    await paid.forget(row)
    again = await paid.decide(row)
    assert again.row is not None
    assert first.row is not None
    assert (again.row.state, again.row.refund) == (RefundState.RETURNED, first.row.refund)
    assert await paid.balance() == owed + Decimal(amount)


async def test_a_part_that_is_not_overpaid_waits_and_may_be_decided_again(paid: Paid) -> None:
    row = await paid.request("150.00")
    whole = (await paid.banks.till.intake.account("1000001")).ledger.overpaid
    # Somebody has returned the overpayment meanwhile, past the requests.
    await paid.banks.house.do("1000001", MakeRefund(whole, paid.banks.till.now(), "переплата"))
    refused = await paid.decide(row)
    assert refused.row is not None
    assert (refused.refusal, refused.row.state, refused.row.refusal) == (
        Reason.REFUND_ABOVE_CREDIT,
        RefundState.REQUESTED,
        "REFUND_ABOVE_CREDIT",
    )
    await paid_by(paid.banks, replace(ORDER, payment_id="2"))
    done = await paid.decide(row)
    assert done.row is not None
    assert (done.row.state, done.row.attempt, done.row.refusal) == (RefundState.RETURNED, 2, None)


async def test_a_payment_for_nobody_is_returned_whole(banks: Banks) -> None:
    stray = await paid_by(banks, replace(ORDER, account="1999999"))
    assert await stray.ask("50.00") is Reason.BAD_AMOUNT
    done = await stray.decide(await stray.request(None))
    assert done.outcome is not None
    assert isinstance(done.outcome.events[0], RefundMade)
    stands = await standing(banks.till, banks.agent(), ORDER.payment_id)
    assert stands is not None
    assert stands.state is PartnerPaymentState.RETURNED


async def moved(paid: Paid, to: str = "1000003") -> PaymentRow:
    """Move the payment to another account, as the office would."""
    row, at = paid.row, paid.banks.till.now()
    out = MovePaymentOut(EntryNumber(row.entry), AccountNumber(to), at, "не тот счёт")
    await paid.banks.house.do(row.account, out)
    booking = MovePaymentIn(
        row.amount,
        row.paid_on,
        at,
        ORDER.purpose,
        row.reference,
        AccountNumber(row.account),
        EntryNumber(row.entry),
        "не тот счёт",
    )
    await paid.banks.house.do(to, booking)
    async with paid.banks.bels.pool.acquire() as db:
        before = await ledger.payment_at(db, row.account, row.entry)
        assert before is not None
        return await where_now(db, before)


async def test_a_moved_payment_goes_back_from_where_it_is(paid: Paid) -> None:
    owed = await paid.balance("1000003")
    row = await paid.request(None)
    there = await moved(paid)
    async with paid.banks.bels.pool.acquire() as db:
        assert (await origin(db, there)).entry == paid.row.entry
    assert await paid.balance("1000003") == owed - 200
    done = await paid.decide(row)
    assert done.row is not None
    assert done.row.state is RefundState.RETURNED
    assert await paid.balance("1000003") == owed


async def test_a_moved_payment_is_cancelled_on_its_day_wherever_it_is(paid: Paid) -> None:
    owed = await paid.balance("1000003")
    await moved(paid)
    done = await cancel(paid.banks.till, paid.banks.agent(), ORDER.payment_id, "ошибка")
    assert done is not None
    assert isinstance(done.events[0], PaymentReversed)
    assert await paid.balance("1000003") == owed


async def test_a_moved_payment_is_not_cancelled_a_day_later(paid: Paid) -> None:
    paid.banks.house.wait(days=1)
    await moved(paid)
    late = await cancel(paid.banks.till, paid.banks.agent(), ORDER.payment_id, "ошибка")
    assert late is not None
    assert late.events[0].reason is Reason.CANCELLED_TOO_LATE  # type: ignore[union-attr]  # a refusal has one


async def test_what_went_back_in_part_is_not_cancelled_whole(paid: Paid) -> None:
    owed = await paid.balance()
    await paid.decide(await paid.request("50.00"))
    told = await cancel(paid.banks.till, paid.banks.agent(), ORDER.payment_id, "ошибка")
    assert told is not None
    assert told.events[0].reason is Reason.PAYMENT_REVERSED  # type: ignore[union-attr]  # a refusal has one
    assert await paid.balance() == owed + 50


async def test_a_payment_that_is_cancelled_and_returned_in_part_at_once_goes_back_once(paid: Paid) -> None:
    till, agent = paid.banks.till, paid.banks.agent()
    # The account is overpaid anyway, so that only what is claimed keeps the part from going back beside the whole.
    await pay(till, agent, replace(ORDER, payment_id="advance", amount=Decimal("5000.00")))
    for i in range(12):
        order = replace(ORDER, payment_id=f"p{i}")
        row = (await pay(till, agent, order)).payment
        async with paid.banks.bels.pool.acquire() as db:
            came = await ledger.payment_at(db, row.account, row.version or 0)
        assert came is not None
        other = replace(paid, row=came)
        before, request = await other.balance(), await other.ask("60.00", f"part-{i}")
        assert isinstance(request, RefundRow)

        taken, decided = await asyncio.gather(cancel(till, agent, order.payment_id, "ошибка"), other.decide(request))

        assert taken is not None
        is_cancelled = isinstance(taken.events[0], PaymentReversed)
        assert is_cancelled == (decided.refusal is Reason.PAYMENT_REVERSED)
        assert await other.balance() - before == (200 if is_cancelled else 60)
    assert await paid.banks.bels.pool.fetchval("SELECT count(*) FROM taking_back") == 0


async def test_a_cancelled_payment_is_not_asked_back_and_a_request_before_it_returns_nothing(paid: Paid) -> None:
    part = await paid.request("50.00")
    owed = await paid.balance()
    await cancel(paid.banks.till, paid.banks.agent(), ORDER.payment_id, "ошибка")
    assert await paid.ask(None) is Reason.PAYMENT_REVERSED
    done = await paid.decide(part)
    assert (done.refusal, await paid.balance()) == (Reason.PAYMENT_REVERSED, owed + 200)
    assert (await paid.decide(part, RefundDecision.REFUSE)).refusal is None
    async with paid.banks.bels.pool.acquire() as db:
        row = await refunds.find_request(db, part.request)
        payment = await ledger.payment_at(db, paid.row.account, paid.row.entry)
    assert row is not None
    assert payment is not None
    assert (row.state, payment.state) == (RefundState.REFUSED, PaymentState.REVERSED)
