"""An inspector's round: recorded without a network, brought in when there is one, in parts, out of order, and again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import asyncpg
import pytest

from bels.domain.commands import ClosePeriod, InstallMeter, OpenAccount, ReplaceMeter
from bels.domain.periods import over_at
from bels.domain.terms import Channel, Locality, MeterModel, Period, ReadingKind, Reason, Register, Stove
from bels.intake import Intake
from bels.journal.journal import find_receipt
from bels.messages import TryLater
from bels.reception.rounds import (
    CLOCK_TOLERANCE,
    Control,
    ItemOutcome,
    ItemState,
    RoundItem,
    accounts_of_round,
    shown_registers,
    stops_of,
    synchronise,
)
from tests.channels.house import REPLACED, House, opened_house
from tests.channels.household import CLOSED, METERS, moscow
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import views

ONE, THREE = "1000001", "1000002"
INSPECTOR, DEVICE = "inspector:u-3", "планшет-3"


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    """Open a supplier with a few households, on a database of its own."""
    async with opened_house(database, tmp_path) as house:
        yield house


def control(key: str, value: int, at: str = "2024-05-20T10:00", account: str = ONE) -> RoundItem:
    """Record a control reading of one register."""
    meter = METERS[account].number
    return RoundItem(key, account, moscow(at), f"акт {key}", Control(meter, {Register.TOTAL: value}))


def refused(key: str, at: str, account: str = ONE) -> RoundItem:
    """Record a refusal of access."""
    return RoundItem(key, account, moscow(at), f"акт {key}", None, nobody_home=True)


async def bring(house: House, *items: RoundItem, device: str = DEVICE, actor: str = INSPECTOR) -> list[ItemOutcome]:
    """Bring items in."""
    return await synchronise(house.desk.pool, house.desk.intake, actor, device, items)


async def close(house: House, account: str, *periods: str) -> None:
    """Close periods of an account, each on the first day of the next."""
    for period in periods:
        house.at = max(house.at, over_at(Period(period)) + timedelta(hours=6))
        await house.do(account, ClosePeriod(Period(period), house.at))


def without_receipts(outcomes: Sequence[ItemOutcome]) -> list[ItemOutcome]:
    """Give outcomes as two suppliers would both tell them."""
    return [replace(outcome, receipt=None, replayed=False) for outcome in outcomes]


async def test_an_inspector_takes_along_what_the_meter_showed_in_the_order_of_its_display(house: House) -> None:
    async with house.desk.pool.acquire() as db:
        numbers = await accounts_of_round(db, [THREE, ONE, CLOSED, "9999999"], "", None, None, 10)
    one, three = await stops_of(house.desk.pool, house.desk.intake, numbers)

    assert numbers == [ONE, THREE]
    assert (one.meter, one.refusals, one.barred, one.next_period) == (METERS[ONE], 0, False, "2024-05")
    assert (one.last, one.last_at, one.last_kind) == (
        {Register.TOTAL: 10200},
        moscow("2024-04-24T12:00"),
        ReadingKind.SENT,
    )
    assert three.shown == (("T1", Register.NIGHT), ("T2", Register.PEAK), ("T3", Register.HALF_PEAK))


async def test_a_round_is_listed_by_prefix_locality_and_page(house: House) -> None:
    async with house.desk.pool.acquire() as db:
        everybody = await accounts_of_round(db, None, "", None, None, 100)
        assert await accounts_of_round(db, None, "100000", None, None, 3) == everybody[:3]
        assert await accounts_of_round(db, None, "100000", None, everybody[2], 100) == everybody[3:]
        assert await accounts_of_round(db, None, "2", None, None, 100) == []
        assert await accounts_of_round(db, None, "", "rural", None, 100) == []
        assert await accounts_of_round(db, None, "", "urban", None, 100) == everybody
    assert CLOSED not in everybody


def test_a_display_that_nobody_knows_has_the_order_of_an_sms() -> None:
    unknown = MeterModel("X", 6, (Register.PEAK, Register.HALF_PEAK, Register.NIGHT))

    assert shown_registers(unknown) == (("", Register.HALF_PEAK), ("", Register.NIGHT), ("", Register.PEAK))
    assert shown_registers(METERS[ONE]) == (("T1", Register.TOTAL),)


async def test_a_control_reading_and_a_refusal_come_in_with_what_they_mean(house: House) -> None:
    taken, first, second = await bring(
        house, control("1", 10_310), refused("2", "2024-05-18T10:00", THREE), refused("3", "2024-05-19T10:00", THREE)
    )

    assert (taken.state, taken.period, taken.difference) == (ItemState.TAKEN, "2024-05", {Register.TOTAL: 110})
    assert (first.refusals, second.refusals, first.advice) == (1, 2, None)
    assert second.advice is not None
    assert "норматив" in second.advice
    async with house.desk.pool.acquire() as db:
        message = await find_receipt(db, taken.receipt or "")
    assert message is not None
    assert (message.channel, message.actor, message.account) == (Channel.INSPECTOR, INSPECTOR, ONE)
    (stop,) = await stops_of(house.desk.pool, house.desk.intake, [THREE])
    assert (stop.refusals, stop.barred) == (2, True)


async def test_the_same_round_three_times_by_two_inspectors_is_taken_once(house: House) -> None:
    items = [control("1", 10_310), refused("2", "2024-05-18T10:00", THREE), control("3", 10_320, "2024-05-20T11:00")]

    first = await bring(house, *items)
    before = await views(house.desk.pool)
    again = await bring(house, *items)
    by_another = await bring(house, *reversed(items), actor="inspector:u-4")

    assert [outcome.replayed for outcome in (*first, *again, *by_another)] == [False] * 3 + [True] * 6
    assert again == [replace(outcome, replayed=True) for outcome in first]
    assert by_another == list(reversed(again))
    assert await views(house.desk.pool) == before


async def test_parts_out_of_order_bill_the_same_as_the_whole_round(house: House) -> None:
    told = []
    numbers = ["1000011", "1000012", "1000013", "1000014", "1000015", "1000016"]
    orders = list(permutations(range(3)))
    for number, order in zip(numbers, orders, strict=True):
        await _household(house, number)
        items = [
            replace(control(f"{number} 1", 10_050, "2024-05-12T10:00"), account=number),
            replace(control(f"{number} 2", 10_090, "2024-05-15T10:00"), account=number),
            replace(refused(f"{number} 3", "2024-05-18T10:00"), account=number),
        ]
        items = [replace(i, control=replace(i.control, meter="N-1")) if i.control else i for i in items]
        for place in order:
            (outcome,) = await bring(house, items[place])
            assert outcome.state is ItemState.TAKEN, outcome
    for number in numbers:
        await close(house, number, "2024-05", "2024-06")
        row = await house.desk.pool.fetch(
            "SELECT period, mode, stands::text, missed, money FROM usage WHERE account = $1 ORDER BY period", number
        )
        told.append([tuple(each) for each in row])

    assert len(told[0]) == 2
    assert all(each == told[0] for each in told)


async def _household(house: House, number: str) -> None:
    opened = moscow("2024-05-02T10:00")
    await house.do(number, OpenAccount(opened, Locality.URBAN, Stove.GAS, 2, 3))
    await house.do(number, InstallMeter(MeterModel("N-1", 6, (Register.TOTAL,)), opened, {Register.TOTAL: 10_000}))


async def test_what_was_taken_on_a_replaced_meter_is_refused_with_what_to_do(house: House) -> None:
    old = RoundItem("1", REPLACED, moscow("2024-05-11T10:00"), "акт 1", Control("E-7", {Register.TOTAL: 10_400}))
    before = replace(
        old, key="2", taken_at=moscow("2024-05-09T10:00"), control=Control("E-7", {Register.TOTAL: 10_200})
    )
    foreign = replace(old, key="3", control=Control("X-1", {Register.TOTAL: 5}))
    new = replace(old, key="4", control=Control("E-7N", {Register.TOTAL: 5}))

    outcomes = await bring(house, old, before, foreign, new)
    again = await bring(house, old, before, foreign, new)

    assert [outcome.reason for outcome in outcomes] == [Reason.METER_CLOSED, None, Reason.FOREIGN_METER, None]
    assert outcomes[0].advice == "Прибор тем временем заменён: снимите показание нового или передайте акт оператору"
    assert [outcome.state for outcome in outcomes][1::2] == [ItemState.TAKEN, ItemState.TAKEN]
    assert again == [replace(outcome, replayed=True) for outcome in outcomes]


async def test_an_act_that_was_brought_after_a_replacement_known_meanwhile_keeps_its_first_answer(house: House) -> None:
    (first,) = await bring(house, control("1", 10_310, "2024-05-12T10:00"))
    new = MeterModel("E-1N", 6, (Register.TOTAL,))
    replaced = ReplaceMeter(new, moscow("2024-05-15T10:00"), {Register.TOTAL: 10_330}, {Register.TOTAL: 0}, "акт")
    await house.do(ONE, replaced)

    (again,) = await bring(house, control("1", 10_310, "2024-05-12T10:00"))
    (after,) = await bring(house, control("2", 10_340, "2024-05-16T10:00"))

    assert again == replace(first, replayed=True)
    assert after.reason is Reason.METER_CLOSED


async def test_a_period_that_was_closed_meanwhile_is_put_right_by_the_next_bill(house: House) -> None:
    await close(house, ONE, "2024-05")
    (late,) = await bring(house, control("1", 10_310, "2024-05-20T10:00"))

    assert (late.state, late.late, late.period) == (ItemState.TAKEN, True, "2024-05")
    assert late.advice == "Период май 2024 уже закрыт: разница войдёт в ближайший счёт перерасчётом"
    await close(house, ONE, "2024-06")
    rows = await house.desk.pool.fetch("SELECT posted_in, period FROM recalculation WHERE account = $1", ONE)
    assert [tuple(row) for row in rows] == [("2024-06", "2024-05")]
    (again,) = await bring(house, control("1", 10_310, "2024-05-20T10:00"))
    assert again == replace(late, replayed=True)


async def test_an_earlier_control_reading_that_comes_later_says_so(house: House) -> None:
    later, earlier = control("2", 10_330, "2024-05-19T10:00"), control("1", 10_310, "2024-05-12T10:00")

    (first,) = await bring(house, later)
    (second,) = await bring(house, earlier)

    assert (first.later_known, second.later_known) == (False, True)
    assert second.advice is not None
    assert "более раннее" in second.advice
    assert await bring(house, later, earlier) == [replace(first, replayed=True), replace(second, replayed=True)]


async def test_another_content_under_the_same_key_is_refused(house: House) -> None:
    (first,) = await bring(house, control("1", 10_310))
    (other,) = await bring(house, control("1", 10_311))
    (elsewhere,) = await bring(house, control("1", 10_311), device="планшет-4")

    assert (other.state, other.reason, other.receipt) == (ItemState.REFUSED, Reason.MESSAGE_ID_REUSED, first.receipt)
    assert elsewhere.state is ItemState.TAKEN


async def test_a_device_whose_clock_runs_ahead_is_asked_again_and_nothing_is_lost(house: House) -> None:
    ahead = replace(control("1", 10_310), taken_at=house.at + timedelta(hours=3))
    little = replace(control("2", 10_311), taken_at=house.at + CLOCK_TOLERANCE)

    future, soon = await bring(house, ahead, little)

    assert (future.state, future.reason, future.receipt) == (ItemState.TRY_AGAIN, Reason.TAKEN_IN_FUTURE, None)
    assert soon.state is ItemState.TAKEN
    house.wait(hours=4)
    (again,) = await bring(house, ahead)
    assert (again.state, again.replayed) == (ItemState.TAKEN, False)


async def test_each_item_has_its_own_outcome(house: House) -> None:
    outcomes = await bring(
        house,
        control("1", 10_310),
        replace(control("2", 1), account="9999999"),
        replace(control("3", 1), account=CLOSED),
        control("4", 10_999_999),
        replace(control("5", 10_310), control=Control("E-1", {Register.DAY: 1})),
        refused("6", "2024-05-19T10:00"),
    )

    assert [outcome.reason for outcome in outcomes] == [
        None,
        Reason.UNKNOWN_ACCOUNT,
        Reason.ACCOUNT_CLOSED,
        Reason.TOO_MANY_DIGITS,
        outcomes[4].reason,
        None,
    ]
    assert outcomes[4].state is ItemState.REFUSED
    assert all(outcome.text and (outcome.advice or outcome.reason is None) for outcome in outcomes)
    assert len({outcome.receipt for outcome in outcomes}) == 6


async def test_nothing_is_answered_for_what_could_not_be_stored(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=0, max_size=1) as pool:
        intake = Intake(pool, DEFAULT_RULEBOOK, lambda: moscow("2024-05-20T12:00"))
        await pool.close()
        with pytest.raises(TryLater):
            await synchronise(pool, intake, INSPECTOR, DEVICE, [control("1", 10_310)])


async def test_what_a_device_says_is_sealed_where_it_is_personal(house: House) -> None:
    item = replace(control("1", 10_310), act="акт 1, телефон 8 916 123-45-67")

    def sealed(text: str) -> str:
        return "sealed" if "916" in text else text

    await synchronise(house.desk.pool, house.desk.intake, INSPECTOR, DEVICE, [item], guarded=sealed)

    assert await house.desk.pool.fetchval("SELECT raw FROM message WHERE channel = 'inspector'") == "sealed"
