"""What a household chose to hear, and how it ends: by a link, by СТОП, with the household, with its data."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import pytest

from bels.access import personal
from bels.access.cabinets import close_cabinet
from bels.access.desk import Desk
from bels.access.documents import Document, DocumentKind
from bels.access.personal import PersonalDataError
from bels.access.vault import KeyDestroyed
from bels.domain.terms import Channel
from bels.outgoing.choices import (
    FAILURES_MAX,
    ChoiceError,
    Topic,
    did_not_arrive,
    died_at,
    forget_households,
    of_household,
    stop,
    unsubscribe,
    unsubscribe_sender,
    unsubscribe_token,
)
from bels.outgoing.outbox import forget_texts
from bels.reception.texts import answer_text
from tests.channels.household import moscow
from tests.outgoing.conftest import CHAT, EMAIL, PHONE, Speaking

HOME = "1000001"


async def topics(speaking: Speaking, account: str = HOME, tenure: int = 1) -> dict[Channel, Sequence[Topic]]:
    """Give what a household hears by channel."""
    async with speaking.pool.acquire() as db:
        return {c.channel: c.topics for c in await of_household(db, speaking.vault, account, tenure)}


async def test_a_household_chooses_again_in_place_of_what_it_chose(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, "8 916 123-45-67", Topic.REMINDERS)
    chosen = await speaking.choose(HOME, Channel.SMS, "8 903 751-48-26", Topic.NOTICES)

    assert chosen.address == "+79037514826"
    assert await topics(speaking) == {Channel.SMS: (Topic.NOTICES,)}


async def test_no_address_stands_in_clear(speaking: Speaking) -> None:
    for channel, address in ((Channel.SMS, PHONE), (Channel.EMAIL, EMAIL), (Channel.TELEGRAM, CHAT)):
        await speaking.choose(HOME, channel, address)

    (row,) = await speaking.pool.fetch("SELECT string_agg(s::text, ' ') AS text FROM subscription s")
    for address in (PHONE.lstrip("+"), EMAIL, CHAT):
        assert address not in row["text"]
        assert address.encode().hex() not in row["text"]


async def test_only_a_channel_by_which_bels_speaks_can_be_chosen(speaking: Speaking) -> None:
    with pytest.raises(ChoiceError):
        await speaking.choose(HOME, Channel.VOICE, PHONE)
    with pytest.raises(ChoiceError):
        await speaking.choose(HOME, Channel.SMS, PHONE, Topic.ANSWER)
    with pytest.raises(PersonalDataError):
        await speaking.choose(HOME, Channel.SMS, "девятьсот")
    with pytest.raises(PersonalDataError):
        await speaking.choose(HOME, Channel.EMAIL, "at home")


async def test_a_topic_can_be_stopped_alone(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    async with speaking.pool.acquire() as db:
        assert await stop(db, HOME, 1, Channel.SMS, (Topic.REMINDERS,)) == 1
        assert await topics(speaking) == {
            Channel.SMS: (Topic.NOTICES,),
            Channel.EMAIL: (Topic.REMINDERS, Topic.NOTICES),
        }
        assert await stop(db, HOME, 1) == 2
    assert set((await topics(speaking)).values()) == {()}


async def test_a_signed_link_stops_its_channel_and_no_other_and_cannot_be_made_up(speaking: Speaking) -> None:
    by_sms = await speaking.choose(HOME, Channel.SMS, PHONE)
    by_mail = await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    token = await unsubscribe_token(speaking.vault, by_mail.number)
    raw = bytearray(urlsafe_b64decode(token))
    raw[7] = by_sms.number
    async with speaking.pool.acquire() as db:
        for forged in (urlsafe_b64encode(bytes(raw)).decode(), token[:-4], "я" * 32, "*" * 32, ""):
            assert not await unsubscribe(db, speaking.vault, forged)
        assert await unsubscribe(db, speaking.vault, token)
        assert await unsubscribe(db, speaking.vault, token)

    assert await topics(speaking) == {Channel.SMS: (Topic.REMINDERS, Topic.NOTICES), Channel.EMAIL: ()}


async def test_stop_by_sms_ends_everything_that_goes_to_that_phone(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.choose("1000002", Channel.SMS, PHONE)
    await speaking.choose("1000003", Channel.SMS, "+79037514826")
    sender = speaking.house.desk.sender(Channel.SMS, PHONE)
    async with speaking.pool.acquire() as db:
        assert await unsubscribe_sender(db, sender.channel, sender.digest) == 2
        assert await unsubscribe_sender(db, sender.channel, "") == 0

    assert await topics(speaking, "1000003") == {Channel.SMS: (Topic.REMINDERS, Topic.NOTICES)}
    speaking.at("2024-05-23T12:00")
    assert (await speaking.plan()).count == 1


async def test_a_choice_ends_with_the_household_that_sold_its_flat(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    door, house = speaking.house.desk.door, speaking.house
    desk = Desk(speaking.pool, door.vault, door.passwords, door.throttle, door.tokens, house.desk.intake)
    sale = Document(DocumentKind.SALE_CONTRACT, "4821", moscow("2024-05-22T00:00").date())
    await close_cabinet(desk, HOME, sale, "продажа", by="u-7", actor="operator:u-7")

    await speaking.send()
    assert speaking.gateways.sms == []
    assert await speaking.texts("state", "last_error") == [("CANCELLED", "HOUSEHOLD_LEFT")]
    assert (await speaking.plan()).count == 0
    async with speaking.pool.acquire() as db:
        assert await forget_households(db) == 1
        assert await forget_texts(db, house.at) == 1


async def test_a_choice_ends_with_the_personal_data(speaking: Speaking) -> None:
    await speaking.lives_there(HOME, phones=(PHONE,))
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    async with speaking.pool.acquire() as db:
        await personal.erase(
            db, speaking.vault, f"{HOME}/1", by="u-7", reason="отзыв согласия", document=None, request_id="r"
        )

    await speaking.send()
    assert speaking.gateways.sms == []
    assert await speaking.texts("state", "last_error") == [("CANCELLED", "NOBODY_LISTENS")]
    assert await topics(speaking) == {}
    with pytest.raises(KeyDestroyed):
        await speaking.choose(HOME, Channel.SMS, PHONE)
    async with speaking.pool.acquire() as db:
        assert await forget_households(db) == 1


async def test_an_address_where_nothing_arrives_is_dead_until_it_is_chosen_again(speaking: Speaking) -> None:
    chosen = await speaking.choose(HOME, Channel.SMS, PHONE)
    async with speaking.pool.acquire() as db:
        for _ in range(FAILURES_MAX):
            (before,) = await of_household(db, speaking.vault, HOME, 1)
            assert before.dead_at is None
            await did_not_arrive(db, chosen.number, speaking.house.at)
        (dead,) = await of_household(db, speaking.vault, HOME, 1)
        assert dead.dead_at == speaking.house.at
    assert (await speaking.choose(HOME, Channel.SMS, PHONE)).dead_at is None
    speaking.at("2024-05-23T12:00")
    assert (await speaking.plan()).count == 1


async def test_a_bot_that_was_blocked_while_it_answered_is_dead_for_reminders_too(speaking: Speaking) -> None:
    await speaking.house.link(HOME, Channel.TELEGRAM, CHAT)
    await speaking.choose(HOME, Channel.TELEGRAM, CHAT)
    sender = speaking.house.desk.sender(Channel.TELEGRAM, CHAT)
    async with speaking.pool.acquire() as db:
        assert await died_at(db, sender.channel, sender.digest, "FORBIDDEN", speaking.house.at) == 1
        assert await died_at(db, sender.channel, sender.digest, "FORBIDDEN", speaking.house.at) == 0
    speaking.at("2024-05-23T12:00")
    assert (await speaking.plan()).count == 0


@pytest.mark.parametrize("text", ["СТОП", " стоп! ", "Stop", "Отписка."])
async def test_stop_by_sms_ends_what_goes_to_that_phone(speaking: Speaking, text: str) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE, Topic.REMINDERS)
    counter, at = speaking.house.desk, speaking.house.at

    told = await answer_text(counter, counter.sender(Channel.SMS, PHONE), "s1", text, text, at)

    assert told.words.text == "Больше не пишем вам о показаниях"
    assert not (await topics(speaking)).get(Channel.SMS)
    by_stranger = await answer_text(counter, counter.sender(Channel.SMS, "+79990000000"), "s2", text, text, at)
    assert by_stranger.words == told.words
