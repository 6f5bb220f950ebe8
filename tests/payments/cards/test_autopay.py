"""Autopay: told of the day before, what is due then, at most the ceiling, five tries, and never twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from bels.access.personal import Personal, put, subject_of
from bels.domain.terms import Channel
from bels.outgoing.choices import Topic, choose
from bels.payments.cards.autopay import (
    Autopay,
    AutopayState,
    Ran,
    StopReason,
    autopays_of,
    order_key,
    run_autopay,
    set_autopay,
    stop_autopay,
)
from bels.payments.cards.bindings import remove_binding
from bels.payments.cards.reconciling import reconcile_with_moneta
from bels.payments.cards.refusals import CardReason, CardRefused, holds_card_number
from tests.channels.household import moscow
from tests.payments.cards.paying import ACCOUNT, Paying, opened_paying

NOTHING = Ran(0, 0, 0)


@pytest.fixture
async def paying(database: str, tmp_path: Path) -> AsyncIterator[Paying]:
    """Open a supplier, MONETA and a consumer."""
    async with opened_paying(database, tmp_path) as opened:
        yield opened


async def run(paying: Paying, at: str | None = None) -> Ran:
    """Let the clock come to a moment, and run."""
    if at is not None:
        paying.house.at = moscow(at)
    return await run_autopay(paying.cards, paying.api)


async def stands(paying: Paying) -> tuple[AutopayState, str | None]:
    """Say how the one autopay stands."""
    async with paying.cards.pool.acquire() as db:
        autopay, *_ = await autopays_of(db, paying.person)
    return autopay.state, autopay.why


def taken(paying: Paying) -> list[Decimal]:
    """List what was asked of MONETA."""
    return [body["amount"] for name, body in paying.peer.asked if name == "PaymentRequest"]


async def test_what_is_due_is_paid_on_the_day_after_a_warning(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    due = await paying.bill()
    assert due > 0
    assert await run(paying, "2024-06-23T12:00") == NOTHING

    assert await run(paying, "2024-06-24T12:00") == Ran(1, 0, 0)
    assert await run(paying, "2024-06-24T13:00") == NOTHING
    (text,) = await paying.texts()
    assert "25.06.2024" in text
    assert "3000.00" in text
    assert await run(paying, "2024-06-25T08:00") == NOTHING
    assert await run(paying, "2024-06-25T09:05") == Ran(0, 1, 0)

    assert await paying.balance() == 0
    assert taken(paying) == [(due * Decimal("1.01")).quantize(Decimal("0.01"))]
    assert await run(paying, "2024-06-25T15:00") == NOTHING
    assert await run(paying, "2024-06-26T12:00") == NOTHING
    made = next(each for each in paying.peer.made.values() if each.amount == taken(paying)[0])
    # MONETA tells us by its notice, too, and its list says the same: it is one payment.
    await paying.peer.tell(made)
    await reconcile_with_moneta(paying.cards, paying.api, paying.house.now().date())
    assert await paying.balance() == 0


async def test_on_a_bill_it_pays_each_bill_once(paying: Paying) -> None:
    await paying.with_autopay("3000.00", None)
    assert await run(paying) == NOTHING
    await paying.bill()
    assert await run(paying, "2024-06-01T10:00") == Ran(1, 0, 0)
    assert await run(paying, "2024-06-02T10:00") == Ran(0, 1, 0)
    assert await run(paying, "2024-06-03T10:00") == NOTHING
    assert len(taken(paying)) == 1


async def test_above_the_ceiling_nothing_is_paid_and_the_household_hears_why(paying: Paying) -> None:
    await paying.with_autopay("100.00", 25)
    await paying.bill()
    await run(paying, "2024-06-24T12:00")
    assert await run(paying, "2024-06-25T12:00") == Ran(0, 0, 1)
    assert taken(paying) == []
    assert await stands(paying) == (AutopayState.STOPPED, StopReason.CEILING)
    text = (await paying.texts())[-1]
    assert "больше вашего предела 100.00" in text
    assert await run(paying, "2024-07-24T12:00") == NOTHING


async def test_what_the_household_has_paid_by_then_is_not_paid_again(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    due = await paying.bill()
    await run(paying, "2024-06-24T12:00")
    await paying.paid(str(due))
    assert await run(paying, "2024-06-25T12:00") == NOTHING
    assert taken(paying) == []
    assert (await stands(paying))[0] is AutopayState.ACTIVE


@pytest.mark.parametrize("attempt", range(1, 6))
@pytest.mark.parametrize("autopay", [f"a-ynee4gh5copy{end}" for end in range(5340, 5350)])
def test_the_key_of_a_try_never_passes_for_a_card_number(autopay: str, attempt: int) -> None:
    assert not holds_card_number(order_key(autopay, "2024-06-01", attempt))


async def test_a_card_that_is_declined_is_tried_five_times_then_it_stops(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    await paying.bill()
    paying.peer.faults["PaymentRequest"] = ["500.2.7"] * 9
    await run(paying, "2024-06-24T12:00")
    assert await run(paying, "2024-06-25T09:00") == NOTHING
    for _ in range(4):
        assert await run(paying) == NOTHING
        paying.house.wait(hours=3, minutes=1)
        # Nobody is charged in the night.
        if paying.house.now().hour < 9:
            paying.house.wait(hours=9)
        await run(paying)
    assert len(taken(paying)) == 5
    paying.house.wait(days=1)
    assert await run(paying) == Ran(0, 0, 1)
    assert len(taken(paying)) == 5
    assert await stands(paying) == (AutopayState.STOPPED, StopReason.FAILED)
    assert "пять раз" in (await paying.texts())[-1]


async def test_a_lost_answer_takes_money_once(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    await paying.bill()
    paying.peer.faults["PaymentRequest"] = ["LOST"]
    await run(paying, "2024-06-24T12:00")
    assert await run(paying, "2024-06-25T09:00") == NOTHING
    paying.peer.faults["FindOperationsListRequest"] = ["AWAY"]
    assert await run(paying, "2024-06-25T12:30") == NOTHING
    assert await run(paying, "2024-06-25T16:00") == Ran(0, 1, 0)
    assert len(taken(paying)) == 1
    assert await paying.balance() == 0


async def test_a_try_that_never_arrived_is_made_again(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    await paying.bill()
    paying.peer.faults["PaymentRequest"] = ["AWAY"]
    await run(paying, "2024-06-24T12:00")
    assert await run(paying, "2024-06-25T09:00") == NOTHING
    assert await run(paying, "2024-06-25T12:30") == Ran(0, 1, 0)
    assert await paying.balance() == 0


async def test_two_processes_at_once_pay_once(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    await paying.bill()
    paying.house.at = moscow("2024-06-24T12:00")
    await asyncio.gather(*(run_autopay(paying.cards, paying.api) for _ in range(5)))
    assert len(await paying.texts()) == 1
    paying.house.at = moscow("2024-06-25T12:00")
    ran = await asyncio.gather(*(run_autopay(paying.cards, paying.api) for _ in range(5)))
    assert sum(each.paid for each in ran) == 1
    assert len(taken(paying)) == 1


async def test_it_is_off_at_any_time_also_after_the_warning(paying: Paying) -> None:
    autopay = await paying.with_autopay("3000.00", 25)
    await paying.bill()
    await run(paying, "2024-06-24T12:00")
    assert await stop_autopay(paying.cards, "u-another", autopay.autopay) is None
    stopped = await stop_autopay(paying.cards, paying.person, autopay.autopay)
    assert stopped is not None
    assert (stopped.state, stopped.why) == (AutopayState.STOPPED, StopReason.ASKED)
    assert await run(paying, "2024-06-25T12:00") == NOTHING
    assert taken(paying) == []


async def test_it_stops_with_its_card_and_with_the_account(paying: Paying) -> None:
    autopay = await paying.with_autopay("3000.00", 25)
    await remove_binding(paying.cards, paying.person, autopay.binding)
    assert await run(paying) == Ran(0, 0, 1)
    assert await stands(paying) == (AutopayState.STOPPED, StopReason.BINDING_REMOVED)
    paying.house.wait(minutes=1)
    await paying.with_autopay("3000.00", 25)
    await paying.cards.pool.execute("UPDATE membership SET ended_at = now()")
    assert await run(paying) == Ran(0, 0, 1)
    assert await stands(paying) == (AutopayState.STOPPED, StopReason.ACCOUNT_LEFT)


async def test_who_cannot_be_warned_is_not_charged(paying: Paying) -> None:
    autopay = await paying.with_autopay("3000.00", 25)
    await paying.bill()
    async with paying.cards.pool.acquire() as db:
        await put(db, paying.cards.vault, subject_of(ACCOUNT, 1), Personal(name="Иванова А. П."))
    refused = await set_autopay(paying.cards, paying.person, ACCOUNT, autopay.binding, Decimal(50), 1)
    assert refused == CardRefused(CardReason.NOBODY_TO_WARN)
    assert await run(paying, "2024-06-24T12:00") == Ran(0, 0, 1)
    assert await stands(paying) == (AutopayState.STOPPED, StopReason.NOBODY_TO_WARN)
    assert await run(paying, "2024-06-25T12:00") == NOTHING


async def test_the_warning_goes_where_the_household_chose_to_hear(paying: Paying) -> None:
    await paying.with_autopay("3000.00", 25)
    async with paying.cards.pool.acquire() as db:
        await choose(
            db,
            paying.cards.vault,
            ACCOUNT,
            1,
            Channel.EMAIL,
            "ivanova@example.ru",
            [Topic.NOTICES],
            "u",
            paying.house.at,
        )
    await paying.bill()
    await run(paying, "2024-06-24T12:00")
    assert await paying.cards.pool.fetchval("SELECT channel FROM outbox WHERE kind = 'AUTOPAY'") == Channel.EMAIL


async def test_it_is_set_once_replaced_by_another_and_begins_with_its_next_day(paying: Paying) -> None:
    first = await paying.with_autopay("3000.00", 15)
    again = await set_autopay(paying.cards, paying.person, ACCOUNT, first.binding, Decimal("3000.0"), 15)
    other = await set_autopay(paying.cards, paying.person, ACCOUNT, first.binding, Decimal("2000.00"), 15)
    assert isinstance(again, Autopay)
    assert isinstance(other, Autopay)
    assert again.autopay == first.autopay
    assert other.autopay != first.autopay
    async with paying.cards.pool.acquire() as db:
        assert [each.why for each in await autopays_of(db, paying.person) if each.why] == [StopReason.REPLACED]
    await paying.bill()
    # Set on 20 May: the 15th of that month was over.
    paying.house.at = moscow("2024-05-21T12:00")
    assert await run(paying) == NOTHING
    assert await run(paying, "2024-06-14T12:00") == Ran(1, 0, 0)


async def test_what_cannot_be_set_is_refused(paying: Paying) -> None:
    await paying.paid("10.00", saves=True)
    bound = await paying.bound()
    asked = [
        ("b-x", "100.00", 5),
        (bound, "0.00", 5),
        (bound, "15000.01", 5),
        (bound, "100.00", 29),
        (bound, "100.00", 0),
    ]
    refused = [
        await set_autopay(paying.cards, paying.person, ACCOUNT, binding, Decimal(ceiling), day)
        for binding, ceiling, day in asked
    ]
    assert refused == [
        CardRefused(why)
        for why in (
            CardReason.UNKNOWN_BINDING,
            CardReason.BAD_CEILING,
            CardReason.BAD_CEILING,
            CardReason.BAD_DAY,
            CardReason.BAD_DAY,
        )
    ]
