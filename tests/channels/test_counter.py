"""What every channel does alike: who is heard, what is held, what is a repeat, how often one may ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bels.domain.commands import ConfirmReading, SubmitReading
from bels.domain.terms import Channel, EntryNumber, Register, Role
from bels.messages import Status, TryLater
from bels.publishing import publish
from bels.reception.counter import STRANGERS_A_DAY, Answer, linked_accounts, meter_of, receipt_state, take
from tests.channels.house import House
from tests.channels.household import moscow

PHONE, STRANGER = "+79161234567", "+79031112233"


async def send(house: House, key: str, value: str, phone: str = PHONE, channel: Channel = Channel.SMS) -> Answer:
    """Send a reading of account 1000001."""
    sender = house.desk.sender(channel, phone)
    return await take(house.desk, sender, key, "1000001", SubmitReading(house.at, {"total": value}), f"1000001#{value}")


async def test_a_strangers_reading_is_taken_and_he_hears_no_consumption(house: House) -> None:
    answer = await send(house, "a", "10385")

    assert (answer.code, answer.linked) == ("ACCEPTED", False)
    assert "185" not in answer.words.text


async def test_a_linked_sender_hears_the_consumption_also_by_telephone(house: House) -> None:
    await house.link("1000001", Channel.SMS, PHONE)

    answer = await send(house, "a", "10385", channel=Channel.VOICE)

    assert "расход 185 кВт·ч" in answer.words.text
    assert await linked_accounts(house.desk, house.desk.sender(Channel.VOICE, PHONE)) == ["1000001"]


async def test_a_strangers_correction_is_held_and_confirmed_by_whoever_is_linked(house: House) -> None:
    await house.link("1000001", Channel.SMS, PHONE)
    await send(house, "a", "10385")
    held = await send(house, "b", "10400", phone=STRANGER)
    assert held.code == "UNCONFIRMED_SENDER"
    state = await receipt_state(house.desk, held.outcome.receipt)
    assert state is not None
    assert state.reading is not None
    confirm = ConfirmReading(EntryNumber(state.reading), house.at, Role.CONSUMER)

    by_stranger = await take(house.desk, house.desk.sender(Channel.SMS, STRANGER), "c", "1000001", confirm, "ДА")
    by_holder = await take(house.desk, house.desk.sender(Channel.SMS, PHONE), "d", "1000001", confirm, "ДА")

    assert (by_stranger.code, by_holder.code) == ("UNCONFIRMED_SENDER", "ACCEPTED")


async def test_two_who_send_the_same_at_once_send_one_reading(house: House) -> None:
    first, second = await asyncio.gather(send(house, "a", "10385"), send(house, "b", "10385", phone=STRANGER))

    assert {first.code, second.code} == {"ACCEPTED", "REPEATED"}
    assert first.outcome.receipt == second.outcome.receipt
    again = await send(house, "b", "10385", phone=STRANGER)
    assert again.outcome.receipt == first.outcome.receipt
    house.wait(days=1)
    assert (await send(house, "c", "10385")).code == "ACCEPTED"


async def test_a_stranger_cannot_ask_for_the_previous_reading_by_trying(house: House) -> None:
    codes = [(await send(house, f"{i}", f"{9000 + i}", phone=STRANGER)).code for i in range(STRANGERS_A_DAY + 2)]

    assert codes == ["LESS_THAN_PREVIOUS"] * STRANGERS_A_DAY + ["TOO_MANY_MESSAGES"] * 2
    assert (await send(house, "0", "9000", phone=STRANGER)).code == "REPEATED"
    house.wait(days=1)
    assert (await send(house, "next", "9999", phone=STRANGER)).code == "LESS_THAN_PREVIOUS"


async def test_a_message_that_could_not_be_stored_is_counted_once_however_often_it_comes(house: House) -> None:
    async with house.desk.pool.acquire() as db:
        await db.execute("ALTER TABLE journal RENAME TO away")
        for _ in range(STRANGERS_A_DAY + 1):
            with pytest.raises(TryLater):
                await send(house, "a", "10385")
        await db.execute("ALTER TABLE away RENAME TO journal")

    assert (await send(house, "a", "10385")).code == "ACCEPTED"
    others = [(await send(house, f"b{i}", "9000", phone=f"+7903111223{i}")).code for i in range(STRANGERS_A_DAY)]
    assert others == ["LESS_THAN_PREVIOUS"] * (STRANGERS_A_DAY - 1) + ["TOO_MANY_MESSAGES"]


async def test_registers_stand_in_the_order_of_the_display(house: House) -> None:
    meter = await meter_of(house.desk, "1000002")

    assert meter is not None
    assert meter.shown == (("T1", Register.NIGHT), ("T2", Register.PEAK), ("T3", Register.HALF_PEAK))


async def test_the_deadline_that_is_told_is_that_of_the_rules_in_force(house: House) -> None:
    assert house.bels is not None
    intake, book = house.bels.intake, await house.bels.intake.rules()
    settings = tuple((since, replace(each, reading_deadline_day=23)) for since, each in book.settings)
    published = await publish(house.desk.pool, intake, replace(book, settings=settings), "earlier", "решение")
    assert published.status is Status.ACCEPTED, published
    house.at = moscow("2024-05-24T12:00")

    answer = await send(house, "a", "10385")

    assert answer.code == "ACCEPTED_NEXT_PERIOD"
    assert answer.words.hint == "Передано после 23-го: войдёт в счёт за июнь"
