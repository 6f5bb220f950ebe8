"""Reminders over a month: who is told that a reading is awaited, when, in which words, and what silence costs."""

from __future__ import annotations

import re
from datetime import timedelta

from bels.access.links import open_link
from bels.api.sums import cost_of
from bels.domain.commands import SubmitReading
from bels.domain.terms import Channel
from bels.outgoing.choices import Topic
from bels.outgoing.outbox import page
from bels.outgoing.reminders import Planned, ReminderKind
from bels.outgoing.store import install_outgoing
from bels.projections.words import roubles
from bels.words import SMS_LENGTH_MAX
from tests.effort import effort
from tests.outgoing.conftest import CHAT, EMAIL, PHONE, PUBLIC_URL, Speaking

HOME, NEIGHBOUR, AUTOMATIC, CLOSED = "1000001", "1000003", "1000004", "1000005"


async def test_whoever_chose_reminders_is_told_when_the_window_opens_and_before_it_closes(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    days = {}
    for day in range(15, 32):
        speaking.at(f"2024-05-{day}T12:00")
        planned = await speaking.plan()
        await speaking.send()
        if planned.count:
            days[day] = (planned.period, planned.kind)

    assert days == {
        23: ("2024-05", ReminderKind.WINDOW_CLOSES),
        26: ("2024-06", ReminderKind.WINDOW_OPENS),
    }
    assert [sms.to for sms in speaking.gateways.sms] == [PHONE, PHONE]
    assert await speaking.texts("kind", "state", "attempts") == [
        ("WINDOW_CLOSES", "SENT", 1),
        ("WINDOW_OPENS", "SENT", 1),
    ]


async def test_a_reminder_says_until_when_and_what_silence_costs_and_its_link_is_for_this_task(
    speaking: Speaking,
) -> None:
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    await speaking.send()

    (letter,) = speaking.gateways.letters
    body = letter.get_body()
    assert body is not None
    text = body.get_content()
    assert letter["Subject"] == "Показания за май 2024: до 25.05.2024"
    silence = (await speaking.post.intake.may_submit(HOME)).silence
    assert silence is not None
    assert "Если показаний не будет, начислим 100 кВт·ч" in text
    account = await speaking.post.intake.account(HOME)
    rulebook = speaking.post.intake.rulebook
    cost = cost_of(silence, rulebook.group_of(account.locality, account.stove), rulebook)
    assert cost is not None
    assert f"{roubles(cost)} по среднемесячному объёму" in text
    token = re.search(rf"{PUBLIC_URL}/l/(\S+)", text)
    assert token is not None
    async with speaking.pool.acquire() as db:
        opened = await open_link(db, speaking.vault, token[1], speaking.house.at)
        assert opened is not None
        assert (opened.account, opened.task) == (HOME, "reading")
        assert opened.expires_at <= speaking.house.at + timedelta(days=3)
        (told,) = await page(db, speaking.vault, HOME, 1, None, 10)
    assert "Передать показание: [ссылка]" in told.text
    assert PUBLIC_URL not in told.text
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert f"{PUBLIC_URL}/u/" in letter["List-Unsubscribe"]


async def test_an_sms_has_two_parts_at_most(speaking: Speaking) -> None:
    await speaking.choose("1000002", Channel.SMS, PHONE)
    for at in ("2024-05-23T12:00", "2024-05-26T12:00"):
        speaking.at(at)
        await speaking.plan()
        await speaking.send()

    assert len(speaking.gateways.sms) == 2
    for sms in speaking.gateways.sms:
        assert len(sms.text) <= SMS_LENGTH_MAX
        assert "₽" in sms.text
        assert f"{PUBLIC_URL}/l/" in sms.text


async def test_whoever_has_sent_a_reading_is_not_reminded(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.choose(NEIGHBOUR, Channel.SMS, PHONE)
    speaking.at("2024-05-20T12:00")
    await speaking.house.do(HOME, SubmitReading(speaking.house.at, {"total": "10300"}))

    speaking.at("2024-05-23T12:00")
    assert (await speaking.plan()).count == 1
    await speaking.house.do(NEIGHBOUR, SubmitReading(speaking.house.at, {"day": "3100", "night": "1600"}))
    await speaking.send()

    assert speaking.gateways.sms == []
    assert await speaking.texts("account", "state", "last_error") == [(NEIGHBOUR, "CANCELLED", "NOT_NEEDED")]


async def test_an_automatic_meter_and_a_closed_account_are_not_reminded(speaking: Speaking) -> None:
    for number in (AUTOMATIC, CLOSED):
        await speaking.choose(number, Channel.SMS, PHONE)
    speaking.at("2024-05-23T12:00")

    assert (await speaking.plan()).count == 0


async def test_a_reminder_goes_out_once_whatever_is_chosen_and_however_often_it_is_planned(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await speaking.choose(NEIGHBOUR, Channel.SMS, PHONE, Topic.NOTICES)
    speaking.at("2024-05-23T12:00")

    assert [(await speaking.plan()).count for _ in range(3)] == [1, 0, 0]
    await speaking.send()
    await speaking.send()
    assert len(speaking.gateways.sms) == 1
    assert speaking.gateways.letters == []


async def test_nobody_is_woken_at_night(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-23T21:00")
    await speaking.plan()
    await speaking.send()
    speaking.at("2024-05-24T08:59")
    await speaking.send()
    assert speaking.gateways.sms == []

    speaking.at("2024-05-24T09:00")
    await speaking.send()
    assert len(speaking.gateways.sms) == 1


async def test_a_reminder_that_found_no_gateway_until_the_window_closed_is_not_sent(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-25T20:30")
    await speaking.plan()
    speaking.gateways.said[:] = [503]
    await speaking.send()
    speaking.at("2024-05-26T09:30")
    await speaking.send()

    assert speaking.gateways.sms == []
    assert await speaking.texts("state", "last_error") == [("CANCELLED", "TOO_LATE")]


async def test_a_chat_hears_reminders_only_as_long_as_it_is_linked(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.TELEGRAM, CHAT)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    await speaking.send()
    assert await speaking.texts("state", "last_error") == [("CANCELLED", "NOBODY_LISTENS")]

    await speaking.house.link(HOME, Channel.TELEGRAM, CHAT)
    speaking.at("2024-05-26T12:00")
    await speaking.plan()
    await speaking.send()
    assert [address for address, _ in speaking.gateways.chats] == [CHAT]


async def test_a_phone_hears_reminders_only_as_long_as_the_household_calls_it_its_own(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.lives_there(HOME, phones=("+79037514826",))
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    await speaking.send()
    assert await speaking.texts("state", "last_error") == [("CANCELLED", "NOBODY_LISTENS")]

    # It is linked: a phone by which readings come is the household's own too.
    await speaking.house.link(HOME, Channel.VOICE, PHONE)
    speaking.at("2024-05-26T12:00")
    await speaking.plan()
    await speaking.send()
    assert [sms.to for sms in speaking.gateways.sms] == [PHONE]


async def test_between_the_reminders_nothing_is_planned(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-12T12:00")

    assert await speaking.plan() == Planned(None, None, 0)


async def test_ten_thousand_households_are_planned_within_seconds(speaking: Speaking) -> None:
    # A town of copies of one household, with a choice each.
    async with speaking.pool.acquire() as db:
        await install_outgoing(db)
        await speaking.choose(HOME, Channel.SMS, PHONE)
        for table in ("overview", "estimation"):
            await db.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('account', n::text))).*"
                f" FROM {table} t, generate_series(2000000, 2009998) n WHERE t.account = $1",
                HOME,
            )
        await db.execute(
            "INSERT INTO subscription (account, tenure, channel, topics, sealed, digest, chosen_by, chosen_at)"
            " SELECT n::text, 1, channel, topics, sealed, digest, chosen_by, chosen_at"
            " FROM subscription, generate_series(2000000, 2009998) n"
        )
        await db.execute("ANALYZE subscription, overview, estimation")
    speaking.at("2024-05-23T12:00")

    with effort() as done:
        assert (await speaking.plan()).count == 10_000
        assert (await speaking.plan()).count == 0
    assert done.units < 500
