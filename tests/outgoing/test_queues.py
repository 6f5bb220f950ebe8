"""What waits in the channels, as the metrics tell it."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
from prometheus_client import CollectorRegistry

from bels.audit.seals.sealing import seal_journal
from bels.domain.terms import Channel
from bels.outgoing.outbox import put_text
from bels.queues import Queues
from bels.reception.codes import tell_bot
from bels.reception.waiting import HandOverReason, hand_over, take_hand_over
from tests.outgoing.conftest import CHAT, PHONE, Speaking

HOME, NEIGHBOUR = "1000001", "1000003"


async def told(speaking: Speaking, *bots: Channel) -> CollectorRegistry:
    """Look as if for the first time."""
    registry = CollectorRegistry()
    await Queues(speaking.pool, registry, speaking.house.now, bots).look()
    return registry


async def test_a_text_that_no_gateway_takes_is_seen_to_grow_old_and_then_to_be_sent(speaking: Speaking) -> None:
    speaking.at("2024-05-23T12:00")
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.plan()
    speaking.house.wait(minutes=20)

    waiting = await told(speaking)
    await speaking.send()
    sent = await told(speaking)

    assert waiting.get_sample_value("bels_outbox_due", {"queue": "chosen"}) == 1
    assert waiting.get_sample_value("bels_outbox_due", {"queue": "answers"}) == 0
    assert waiting.get_sample_value("bels_outbox_oldest_seconds", {"queue": "chosen"}) == 20 * 60
    assert waiting.get_sample_value("bels_outbox_texts", {"channel": "none", "state": "PLANNED"}) == 1
    assert sent.get_sample_value("bels_outbox_due", {"queue": "chosen"}) == 0
    assert sent.get_sample_value("bels_outbox_oldest_seconds", {"queue": "chosen"}) == 0
    assert sent.get_sample_value("bels_outbox_texts", {"channel": "sms", "state": "SENT"}) == 1
    assert sent.get_sample_value("bels_outbox_texts", {"channel": "none", "state": "PLANNED"}) == 0


async def test_a_text_that_a_gateway_refuses_again_and_again_grows_old_between_two_tries(speaking: Speaking) -> None:
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "Код: 1", "a", now=speaking.house.at)
    speaking.gateways.said = [503] * 9
    for _ in range(10):
        await speaking.send()
        speaking.house.wait(minutes=1)

    waiting = await told(speaking)

    assert waiting.get_sample_value("bels_outbox_due", {"queue": "answers"}) == 1
    assert waiting.get_sample_value("bels_outbox_oldest_seconds", {"queue": "answers"}) == 10 * 60


async def test_a_text_that_waits_for_its_hour_is_not_late(speaking: Speaking) -> None:
    speaking.at("2024-05-23T23:05")
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.plan()
    await speaking.send()
    speaking.house.wait(hours=8)
    at_seven = await told(speaking)
    speaking.house.wait(hours=2)
    after_nine = await told(speaking)

    assert speaking.gateways.sms == []
    assert at_seven.get_sample_value("bels_outbox_due", {"queue": "chosen"}) == 0
    assert after_nine.get_sample_value("bels_outbox_due", {"queue": "chosen"}) == 1
    assert after_nine.get_sample_value("bels_outbox_oldest_seconds", {"queue": "chosen"}) == 5 * 60


async def test_a_person_who_waits_for_a_person_is_seen_until_somebody_comes(speaking: Speaking) -> None:
    number = await hand_over(
        speaking.pool, Channel.VOICE, "a" * 32, HOME, HandOverReason.ASKED, speaking.house.at - timedelta(minutes=3)
    )
    waiting = await told(speaking)
    async with speaking.pool.acquire() as db:
        await take_hand_over(db, number, "operator:7", speaking.house.at)
    taken = await told(speaking)

    values = [
        (
            registry.get_sample_value("bels_hand_overs_waiting"),
            registry.get_sample_value("bels_hand_overs_oldest_seconds"),
        )
        for registry in (waiting, taken)
    ]
    assert values == [(1, 180), (0, 0)]


async def test_a_bot_whose_webhook_is_not_set_is_seen(speaking: Speaking) -> None:
    registry = CollectorRegistry()
    async with speaking.pool.acquire() as db:
        await tell_bot(db, Channel.TELEGRAM, "of_before", speaking.house.at - timedelta(days=1))
        queues = Queues(speaking.pool, registry, speaking.house.now, [Channel.TELEGRAM, Channel.MAX])
        await tell_bot(db, Channel.MAX, "bels", speaking.house.at)
    await queues.look()

    assert registry.get_sample_value("bels_webhook_registered", {"channel": "telegram"}) == 0
    assert registry.get_sample_value("bels_webhook_registered", {"channel": "max"}) == 1


async def test_what_is_told_names_nobody_and_stays_bounded(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await speaking.choose(NEIGHBOUR, Channel.TELEGRAM, CHAT)
    speaking.at("2024-05-23T12:00")
    await speaking.plan()

    registry = await told(speaking, Channel.TELEGRAM)

    labels = [value for each in registry.collect() for sample in each.samples for value in sample.labels.values()]
    assert len(labels) < 100
    assert not any(character.isdigit() for value in labels for character in value)


async def test_the_same_looks_one_after_the_other_are_one_and_a_lost_database_breaks_none(speaking: Speaking) -> None:
    registry = CollectorRegistry()
    pool = asyncpg.create_pool(dsn="postgresql://nobody@127.0.0.1:1/none", min_size=0)
    queues = Queues(pool, registry, speaking.house.now)
    await queues.look()
    assert registry.get_sample_value("bels_hand_overs_waiting") == 0

    kept = Queues(speaking.pool, registry := CollectorRegistry(), speaking.house.now)
    await kept.look()
    await hand_over(speaking.pool, Channel.VOICE, "b" * 32, None, HandOverReason.ASKED, speaking.house.at)
    await kept.look()
    assert registry.get_sample_value("bels_hand_overs_waiting") == 0


async def test_a_journal_that_nobody_seals_is_seen_to_grow_old(speaking: Speaking) -> None:
    never = await told(speaking)
    await seal_journal(speaking.pool, speaking.vault, speaking.house.at)
    speaking.house.wait(hours=30)
    old = await told(speaking)

    assert never.get_sample_value("bels_seal_age_seconds") == float("inf")
    assert old.get_sample_value("bels_seal_age_seconds") == 30 * 3600
    assert old.get_sample_value("bels_seal_faults") == 0
