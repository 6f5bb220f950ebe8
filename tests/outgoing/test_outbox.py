"""The outbox: what is put there goes out once, is tried again within limits, and takes another way where one is closed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bels.domain.terms import Channel
from bels.outgoing.outbox import (
    ATTEMPTS_MAX,
    KEY_LENGTH_MAX,
    LEASE,
    TextState,
    claim,
    delivered,
    put_letter,
    put_text,
    send_text_to_household,
)
from bels.outgoing.results import Letter, Result, Text
from tests.outgoing.conftest import CHAT, EMAIL, PHONE, Speaking

HOME, NEIGHBOUR = "1000001", "1000003"


async def reminded(speaking: Speaking, at: str = "2024-05-23T12:00") -> None:
    """Plan and send the reminders of a day."""
    speaking.at(at)
    await speaking.plan()
    await speaking.send()


async def test_a_code_is_sent_at_night_too_and_once_whatever_is_chosen(speaking: Speaking) -> None:
    speaking.at("2024-05-20T23:30")
    await speaking.lives_there(HOME, phones=("8 916 123-45-67", "8 903 751-48-26"))
    for _ in range(2):
        put = await send_text_to_household(
            speaking.pool, speaking.vault, HOME, "Код: 482913", "code/1", now=speaking.house.at
        )
        assert put
        await speaking.send()

    assert [(sms.to, sms.text) for sms in speaking.gateways.sms] == [(PHONE, "Код: 482913")]
    # What was said is not kept: a code is nobody's to read again.
    assert await speaking.texts("state", "body", "address") == [("SENT", None, None)]


async def test_a_code_goes_to_no_phone_but_the_households_own(speaking: Speaking) -> None:
    now = speaking.house.at
    await speaking.lives_there(HOME, phones=(PHONE,))
    strange = await send_text_to_household(
        speaking.pool, speaking.vault, HOME, "Код: 1", "a", now=now, address="+79031112233"
    )
    nobodys = await send_text_to_household(speaking.pool, speaking.vault, NEIGHBOUR, "Код: 1", "b", now=now)

    assert (strange, nobodys, await speaking.send()) == (False, False, 0)


async def test_an_answer_to_a_letter_goes_out_as_it_was_written(speaking: Speaking) -> None:
    head = "From: bels@example.ru\r\nSubject: Re\r\nContent-Type: text/plain; charset=utf-8"
    message = f"{head}\r\n\r\nПринято\r\n".encode()
    raw_texts, now = speaking.post.raw_texts, speaking.house.at
    async with speaking.pool.acquire() as db:
        puts = [
            await put_letter(db, raw_texts, "answer " + "<long-id@example.ru>" * 9, EMAIL, Letter(message), now=now)
            for _ in range(2)
        ]
        (row,) = await db.fetch("SELECT o::text AS text, key FROM outbox o")
    assert puts == [True, False]
    assert len(row["key"]) <= KEY_LENGTH_MAX
    assert EMAIL not in row["text"]
    assert EMAIL.encode().hex() not in row["text"]

    await speaking.send()
    (letter,) = speaking.gateways.letters
    assert letter.get_content().strip() == "Принято"
    assert await speaking.texts("state", "provider_id", "body", "address") == [("SENT", "4F2A17", None, None)]


async def test_a_gateway_that_is_down_is_asked_again_ever_later_and_then_no_more(speaking: Speaking) -> None:
    speaking.gateways.said[:] = [503] * ATTEMPTS_MAX
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "Код: 1", "code/1", now=speaking.house.at)
    waits, attempts = [], 0
    for minute in range(5 * 60):
        speaking.house.wait(minutes=1)
        await speaking.send()
        ((now,),) = await speaking.texts("attempts")
        if now > attempts:
            waits.append(minute)
            attempts = now

    assert waits == [0, 1, 3, 7, 15, 31, 63, 123]
    assert await speaking.texts("state", "last_error") == [("FAILED", "HTTP_503")]
    assert speaking.gateways.sms == []


async def test_what_a_gateway_does_not_take_is_in_the_log_once_and_names_nobody(
    speaking: Speaking, caplog: pytest.LogCaptureFixture
) -> None:
    async with speaking.pool.acquire() as db:
        for key in ("a", "b", "c"):
            await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "Код: 1", key, now=speaking.house.at)
    speaking.gateways.said = [403, 403, 403]
    await speaking.send()

    told = [record.getMessage() for record in caplog.records if record.name == "bels.outgoing.deliver"]
    assert told == ["the gateway of sms does not take a text (WRONG_USER)"]


async def test_a_gateway_that_comes_back_gets_the_text(speaking: Speaking) -> None:
    speaking.gateways.said[:] = [503, 503]
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await reminded(speaking)
    for _ in range(10):
        speaking.house.wait(minutes=1)
        await speaking.send()

    assert len(speaking.gateways.sms) == 1
    # A link of each try but the last is taken back.
    living = "SELECT count(*) FROM task_link WHERE account = $1 AND revoked_at IS NULL"
    assert await speaking.pool.fetchval(living, HOME) == 1


async def test_a_gateway_that_asks_for_a_pause_is_left_alone_that_long(speaking: Speaking) -> None:
    speaking.gateways.pause_s = 90.0
    async with speaking.pool.acquire() as db:
        for n in range(40):
            await put_text(db, speaking.vault, HOME, 1, Channel.TELEGRAM, CHAT, "слово", f"k{n}", now=speaking.house.at)
    await speaking.send()
    asked = len(speaking.gateways.keys)
    speaking.house.wait(seconds=89)
    await speaking.send()
    assert len(speaking.gateways.keys) == asked < 40

    speaking.gateways.pause_s = None
    speaking.house.wait(seconds=2)
    await speaking.send()
    assert len(speaking.gateways.chats) == 40


async def test_a_blocked_bot_is_dead_and_the_next_channel_is_used_at_once(speaking: Speaking) -> None:
    await speaking.house.link(HOME, Channel.TELEGRAM, CHAT)
    await speaking.choose(HOME, Channel.TELEGRAM, CHAT)
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.gateways.blocked.add(CHAT)
    speaking.gateways.no_mailbox.add(EMAIL)
    await reminded(speaking)
    assert (len(speaking.gateways.keys), len(speaking.gateways.letters), len(speaking.gateways.sms)) == (1, 0, 1)

    await reminded(speaking, "2024-05-26T12:00")
    assert (len(speaking.gateways.keys), len(speaking.gateways.letters), len(speaking.gateways.sms)) == (1, 0, 2)
    dead = await speaking.pool.fetch("SELECT channel, dead_code FROM subscription WHERE dead_at IS NOT NULL ORDER BY 1")
    assert [tuple(row) for row in dead] == [("email", "SMTP_550"), ("telegram", "BLOCKED")]


async def test_whoever_is_reached_nowhere_has_a_failed_text(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    speaking.gateways.no_mailbox.add(EMAIL)
    await reminded(speaking)

    assert await speaking.texts("state", "last_error") == [("FAILED", "SMTP_550")]


async def test_reports_of_a_gateway_are_kept_and_three_lost_texts_make_a_dead_phone(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await reminded(speaking)
    ((key,),) = await speaking.texts("key")
    now = speaking.house.at
    assert await delivered(speaking.pool, key, TextState.DELIVERED, now=now)
    assert await delivered(speaking.pool, key, TextState.FAILED, now=now)
    assert not await delivered(speaking.pool, "nobody's", TextState.DELIVERED, now=now)
    assert await speaking.texts("state") == [("DELIVERED",)]

    for at in ("2024-05-26T12:00", "2024-06-23T12:00", "2024-06-26T12:00"):
        await reminded(speaking, at)
        key = (await speaking.texts("key"))[-1][0]
        assert await delivered(speaking.pool, key, TextState.FAILED, now=speaking.house.at)
        assert await delivered(speaking.pool, key, TextState.FAILED, now=speaking.house.at)
    assert await speaking.pool.fetchval("SELECT dead_code FROM subscription") == "UNDELIVERED"


async def test_a_report_that_overtakes_our_own_note_stays(speaking: Speaking) -> None:
    await speaking.house.link(HOME, Channel.TELEGRAM, CHAT)
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    ((key,),) = await speaking.texts("key")
    assert await delivered(speaking.pool, key, TextState.DELIVERED, now=speaking.house.at)
    await speaking.send()

    assert await speaking.texts("state") == [("DELIVERED",)]
    assert speaking.gateways.sms == []


async def test_a_lost_text_counts_against_its_phone_also_when_the_report_overtakes_our_own_note(
    speaking: Speaking,
) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    hand = speaking.post.senders[Channel.SMS]

    async def overtaken(to: str, what: Text | Letter, key: str) -> Result:
        taken = await hand(to, what, key)
        assert await delivered(speaking.pool, key, TextState.FAILED, now=speaking.house.at)
        return taken

    speaking.post.senders[Channel.SMS] = overtaken
    await reminded(speaking)

    assert await speaking.texts("state", "last_error") == [("FAILED", "UNDELIVERED")]
    assert await speaking.pool.fetchval("SELECT failures FROM subscription") == 1


async def test_a_household_hears_three_texts_a_day_at_most_and_the_rest_the_next_morning(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-20T12:00")
    for n in range(5):
        await speaking.pool.execute(
            "INSERT INTO notice VALUES ($1, $2, 'MODE_CHANGED', '2024-05', $3, 'closing',"
            ' \'{"before": "METERED", "after": "AVERAGE"}\')',
            HOME,
            100 + n,
            speaking.house.at,
        )
    assert await speaking.news() == 5
    await speaking.send()
    assert len(speaking.gateways.sms) == 3
    speaking.at("2024-05-20T20:00")
    await speaking.send()
    assert len(speaking.gateways.sms) == 3
    speaking.at("2024-05-21T09:00")
    await speaking.send()
    assert len(speaking.gateways.sms) == 5


async def test_what_a_dead_sender_had_claimed_is_sent_when_its_lease_is_over(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()
    async with speaking.pool.acquire() as db:
        assert len(await claim(db, speaking.house.at, 10, answers=False)) == 1
    await speaking.send()
    assert speaking.gateways.sms == []

    speaking.house.at += LEASE + timedelta(seconds=1)
    await speaking.send()
    assert await speaking.texts("state", "attempts") == [("SENT", 2)]


async def test_a_text_that_kills_whoever_sends_it_is_given_up(speaking: Speaking) -> None:
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "x", "k", now=speaking.house.at)
        for _ in range(ATTEMPTS_MAX):
            assert len(await claim(db, speaking.house.at, 10, answers=True)) == 1
            speaking.house.at += LEASE + timedelta(seconds=1)
    await speaking.send()

    assert speaking.gateways.sms == []
    assert await speaking.texts("state", "last_error") == [("FAILED", "GAVE_UP")]


async def test_a_pause_of_a_gateway_costs_no_links(speaking: Speaking) -> None:
    speaking.gateways.pause_s = 90.0
    numbers = ("1000001", "1000002", "1000003", "1000006")
    for number in numbers:
        await speaking.house.link(number, Channel.TELEGRAM, CHAT)
        await speaking.choose(number, Channel.TELEGRAM, CHAT)
    await reminded(speaking)
    made = await speaking.pool.fetchval("SELECT count(*) FROM task_link")
    for _ in range(3):
        speaking.house.wait(seconds=20)
        await speaking.send()
    assert await speaking.pool.fetchval("SELECT count(*) FROM task_link") == made
    assert await speaking.pool.fetchval("SELECT count(*) FROM task_link WHERE revoked_at IS NULL") == 0

    speaking.gateways.pause_s = None
    speaking.house.wait(seconds=60)
    await speaking.send()
    assert len(speaking.gateways.chats) == len(numbers)


async def test_two_senders_at_once_send_nothing_twice(speaking: Speaking) -> None:
    async with speaking.pool.acquire() as db:
        for n in range(150):
            await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, f"{n}", f"k{n}", now=speaking.house.at)
    await asyncio.gather(*(speaking.send() for _ in range(3)))

    assert sorted(int(sms.text) for sms in speaking.gateways.sms) == list(range(150))


async def test_a_channel_that_is_switched_off_waits_and_costs_no_attempt(speaking: Speaking) -> None:
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, HOME, 1, Channel.MAX, CHAT, "слово", "k", now=speaking.house.at)
    await speaking.send()

    assert await speaking.texts("state", "attempts", "last_error") == [("PLANNED", 0, "NO_GATEWAY")]
