"""Delivering: signed, in order, again and again, and by nobody's fault but the receiver's own."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bels.access.clients import revoke_client
from bels.payments.partners import Partner, PartnersError
from bels.payments.till import cancel
from bels.payments.webhooks import due, subscriptions
from bels.payments.webhooks.catalogue import EventError
from bels.payments.webhooks.deliver import Terms, deliver_webhooks, delivering_webhooks, plan_webhooks, terms_of
from bels.payments.webhooks.due import WAITS_S, claim, slow_s, wait_s
from bels.payments.webhooks.events import find_events, tell
from bels.payments.webhooks.subscriptions import DeliveryState, Webhook, WebhookState
from bels.projections.project import retell
from tests.payments.webhooks.conftest import Hooked
from tests.peers.webhook_receiver import running_receiver
from tests.rules import DEFAULT_RULEBOOK

DEAD_PORT = "http://127.0.0.1:1/hook"


def payments(got: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Give the accounts and the payments of what came."""
    return [(g["event"]["data"]["accountNumber"], g["event"]["data"]["paymentId"]) for g in got]


async def found(hooked: Hooked, webhook: Webhook) -> Webhook:
    """Look at a webhook again."""
    async with hooked.hooks.pool.acquire() as db:
        again = await subscriptions.find(db, None, webhook.id)
    assert again is not None
    return again


async def states(hooked: Hooked, webhook: Webhook) -> list[DeliveryState]:
    """Say where the deliveries to a webhook stand."""
    return [delivery.state for delivery in await hooked.deliveries(webhook)]


async def test_a_payment_is_told_signed_to_its_partner_and_to_nobody_else(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    paid = await hooked.pay("p1")
    await hooked.pay("foreign", bank="app")

    assert await hooked.deliver() == 1
    assert await hooked.deliver() == 0

    (got,) = hooked.receiver.got()
    assert (got["right"], got["path"]) == ([True], "/hook")
    assert got["event"]["id"] == got["id"]
    assert got["event"]["type"] == "payment.received.v1"
    assert got["event"]["data"]["receipt"] == paid.payment.receipt
    assert got["event"]["data"]["amount"] == "10.00"
    (delivery,) = await hooked.deliveries(webhook)
    assert (delivery.state, delivery.tries, delivery.event) == (DeliveryState.DELIVERED, 1, got["id"])
    async with hooked.hooks.pool.acquire() as db:
        attempts = await subscriptions.attempts_of(db, [delivery.number])
    assert [(a.status, a.error) for a in attempts[delivery.number]] == [(204, None)]


async def test_after_hours_of_silence_everything_arrives_in_the_order_of_each_account(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    hooked.receiver.set(status=500)
    accounts = ("1000001", "1000002", "1000003")
    for round_ in range(4):
        for account in accounts:
            await hooked.pay(f"{account}-{round_}", account)
        for _ in range(3):
            await hooked.deliver()
            hooked.banks.house.wait(minutes=20)
    failed = hooked.receiver.got()
    assert {name for _, name in payments(failed)} == {f"{account}-0" for account in accounts}
    state = await found(hooked, webhook)
    assert state.failures >= due.SLOW_AFTER
    assert state.failing_since is not None

    hooked.receiver.reset()
    hooked.banks.house.wait(hours=3)
    await hooked.deliver()
    await hooked.deliver()

    got = payments(hooked.receiver.got())
    for account in accounts:
        assert [name for own, name in got if own == account] == [f"{account}-{round_}" for round_ in range(4)]
    assert set(await states(hooked, webhook)) == {DeliveryState.DELIVERED}
    assert (await found(hooked, webhook)).failures == 0


async def test_a_webhook_that_fails_for_long_is_asked_rarely_and_with_one_event_at_a_time(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    hooked.receiver.set(status=500)
    for account in ("1000001", "1000002", "1000003", "1000006", "1000007"):
        await hooked.pay(account, account)
    while (await found(hooked, webhook)).failures < due.SLOW_AFTER:
        await hooked.deliver()
        hooked.banks.house.wait(minutes=1)
    asked = len(hooked.receiver.got())

    hooked.banks.house.wait(hours=4)
    assert await hooked.deliver() == 1
    assert await hooked.deliver() == 0
    hooked.banks.house.wait(seconds=due.SLOW_S_MAX)
    assert await hooked.deliver() == 1
    assert len(hooked.receiver.got()) == asked + 2


async def test_an_event_is_dead_after_a_week_and_makes_room_for_the_next_of_its_account(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    hooked.receiver.set(failing=["payment.received.v1"])
    await hooked.pay("p1")
    await cancel(hooked.banks.till, hooked.banks.agent(), "p1", "ошибка")
    for _ in range(90):
        await hooked.deliver()
        hooked.banks.house.wait(hours=3)
        if DeliveryState.DEAD in await states(hooked, webhook):
            break
    await hooked.deliver()

    dead, cancelled = await hooked.deliveries(webhook)
    assert (dead.state, dead.last_error) == (DeliveryState.DEAD, "HTTP_503")
    assert dead.ended_at is not None
    assert timedelta(days=6, hours=20) < dead.ended_at - dead.recorded_at <= timedelta(days=7)
    assert cancelled.state is DeliveryState.DELIVERED
    assert hooked.receiver.got()[-1]["event"]["type"] == "payment.cancelled.v1"


async def test_whoever_is_killed_midway_leaves_the_event_to_another_under_the_same_id(
    hooked: Hooked, database: str, tmp_path: Path
) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    hooked.receiver.set(delay_s=30.0)
    worker = (sys.executable, "-m", "tests.payments.webhooks.worker", database, str(tmp_path), hooked.now().isoformat())
    killed = await asyncio.create_subprocess_exec(*worker)
    first = await asyncio.to_thread(hooked.receiver.wait_for, 1)
    killed.kill()
    await killed.wait()
    hooked.receiver.set(delay_s=0.0)

    assert await hooked.deliver() == 0
    hooked.banks.house.wait(seconds=due.LEASE.total_seconds() + 1)
    assert await hooked.deliver() == 1

    again = hooked.receiver.got()[1]
    assert again["id"] == first[0]["id"]
    assert again["event"] == first[0]["event"]
    assert [(d.state, d.tries) for d in await hooked.deliveries(webhook)] == [(DeliveryState.DELIVERED, 2)]


async def test_two_workers_send_each_event_once(hooked: Hooked) -> None:
    await hooked.subscribe()
    for n in range(12):
        await hooked.pay(f"p{n}", ("1000001", "1000002", "1000003")[n % 3])
    await plan_webhooks(hooked.hooks)

    await asyncio.gather(*(hooked.deliver() for _ in range(3)))
    await hooked.deliver()

    got = hooked.receiver.got()
    assert len(got) == len({g["id"] for g in got}) == 12


async def test_a_slow_receiver_keeps_no_other_waiting(hooked: Hooked) -> None:
    with running_receiver() as slow:
        slow.set(delay_s=8.0)
        await hooked.subscribe(slow.url, key="slow", bank="app")
        await hooked.subscribe()
        await hooked.pay("held-up", bank="app")
        await hooked.pay("p1")
        async with delivering_webhooks(hooked.hooks):
            await asyncio.to_thread(slow.wait_for, 1)
            await asyncio.to_thread(hooked.receiver.wait_for, 1)
            await hooked.pay("p2", "1000002")
            await asyncio.to_thread(hooked.receiver.wait_for, 2)
            # The slow one has not answered yet, and was asked once.
            assert len(slow.got()) == 1
            slow.set(delay_s=0.0)


async def test_both_secrets_sign_for_a_day_after_a_change(hooked: Hooked) -> None:
    webhook, old = await hooked.subscribe()
    async with hooked.hooks.pool.acquire() as db:
        rotated = await subscriptions.rotate(db, hooked.hooks.raw_texts, hooked.partner, webhook.id, "k", hooked.now())
        again = await subscriptions.rotate(db, hooked.hooks.raw_texts, hooked.partner, webhook.id, "k", hooked.now())
    assert rotated is not None
    new = rotated[1]
    assert new not in (None, old)
    assert again is not None
    assert again[1] is None
    hooked.receiver.set(secrets=[old, new])

    await hooked.pay("p1")
    await hooked.deliver()
    hooked.banks.house.wait(hours=25)
    await hooked.pay("p2")
    await hooked.deliver()

    assert [got["right"] for got in hooked.receiver.got()] == [[True, True], [False, True]]
    row = await hooked.hooks.pool.fetchrow("SELECT secret, previous FROM webhook")
    assert row is not None
    assert str(new) not in row["secret"]
    assert old not in row["previous"]


@pytest.mark.parametrize("is_date", [False, True])
async def test_an_endpoint_that_asks_for_a_pause_gets_it(hooked: Hooked, is_date: bool) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    asked = format_datetime(hooked.hooks.wall() + timedelta(seconds=600), usegmt=True) if is_date else "600"
    hooked.receiver.set(status=429, headers={"Retry-After": asked})
    await hooked.deliver()
    hooked.receiver.set(status=200, headers={}, body="x" * 100_000)
    await hooked.pay("p2", "1000002")

    hooked.banks.house.wait(seconds=560)
    assert await hooked.deliver() == 0
    hooked.banks.house.wait(seconds=50)
    assert await hooked.deliver() == 2
    assert set(await states(hooked, webhook)) == {DeliveryState.DELIVERED}


async def test_gone_ends_a_subscription_until_it_is_resumed(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    hooked.receiver.set(status=410)
    await hooked.deliver()
    await hooked.pay("p2")
    hooked.receiver.set(status=204)

    assert (await found(hooked, webhook)).state is WebhookState.GONE
    assert await hooked.deliver() == 0
    async with hooked.hooks.pool.acquire() as db:
        resumed = await subscriptions.resume(db, hooked.partner, webhook.id, hooked.now())
    assert resumed is not None
    assert resumed.state is WebhookState.ACTIVE
    await hooked.deliver()
    assert [name for _, name in payments(hooked.receiver.got())] == ["p1", "p1", "p2"]


async def test_a_redirect_is_a_failure_and_is_not_followed(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    hooked.receiver.set(status=302, headers={"Location": hooked.receiver.url})
    await hooked.pay("p1")
    await hooked.deliver()

    assert len(hooked.receiver.got()) == 1
    assert (await hooked.deliveries(webhook))[0].last_error == "HTTP_302"


async def test_a_receiver_that_is_not_there_is_a_fault_with_a_name(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe(DEAD_PORT)
    await hooked.pay("p1")
    await hooked.deliver()

    (delivery,) = await hooked.deliveries(webhook)
    assert (delivery.state, delivery.last_error) == (DeliveryState.PENDING, "NOT_CONNECTED")


async def test_events_are_told_again_by_id_by_time_and_by_type(hooked: Hooked) -> None:
    await hooked.pay("before")
    hooked.banks.house.wait(minutes=1)
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    hooked.banks.house.wait(hours=1)
    await hooked.pay("p2")
    await hooked.deliver()
    first = hooked.receiver.got()[0]["id"]
    hooked.receiver.got().clear()

    async def replayed(**given: Any) -> list[str]:
        async with hooked.hooks.pool.acquire() as db:
            count = await subscriptions.replay(db, hooked.partner, webhook.id, hooked.now(), **given)
        await hooked.deliver()
        got = [name for _, name in payments(hooked.receiver.got())]
        hooked.receiver.got().clear()
        assert count == len(got)
        return got

    assert await replayed(ids=[first]) == ["p1"]
    assert await replayed(since=hooked.now() - timedelta(minutes=30)) == ["p2"]
    assert await replayed(since=hooked.now() - timedelta(hours=2), until=hooked.now()) == ["before", "p1"]
    assert await replayed(types=["payment.cancelled.v1"]) == []
    async with hooked.hooks.pool.acquire() as db:
        assert await subscriptions.replay(db, "partner:c-other", webhook.id, hooked.now()) is None


async def test_a_test_goes_to_one_webhook_alone(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    async with hooked.hooks.pool.acquire() as db:
        event = await subscriptions.ping(db, hooked.partner, webhook.id, "k", hooked.now())
        assert await subscriptions.ping(db, hooked.partner, webhook.id, "k", hooked.now()) == event
        assert await subscriptions.ping(db, "partner:c-other", webhook.id, "k", hooked.now()) is None
    await hooked.deliver()

    (got,) = hooked.receiver.got()
    assert (got["id"], got["event"]["data"]) == (event, {"webhook": webhook.id})


async def test_other_rooms_tell_in_their_own_transaction_and_once(hooked: Hooked) -> None:
    await hooked.subscribe(types=("register.quarantined.v1",))
    client = hooked.banks.agent().partner.client
    said = {"registerId": "1", "sha256": "ab" * 32, "reason": "TOTALS_DIFFER"}
    async with hooked.hooks.pool.acquire() as db:
        for _ in range(2):
            await tell(db, client, "register.quarantined.v1", "r-1", said, now=hooked.now())
        undone = db.transaction()
        await undone.start()
        await tell(db, client, "register.quarantined.v1", "r-2", said, now=hooked.now())
        await undone.rollback()
        for kind, data in (("register.lost.v1", said), ("register.taken.v1", said), ("test.ping.v1", {"webhook": ""})):
            with pytest.raises(EventError):
                await tell(db, client, kind, "r-3", data, now=hooked.now())
        with pytest.raises(EventError):
            await tell(db, client, "register.quarantined.v1", "r-3", {**said, "payer": "Иванов"}, now=hooked.now())
    await hooked.deliver()

    assert [got["event"]["data"] for got in hooked.receiver.got()] == [said]


async def test_views_that_are_told_again_tell_nobody_anything_twice(hooked: Hooked) -> None:
    await hooked.subscribe()
    await hooked.pay("p1")
    await hooked.deliver()
    async with hooked.hooks.pool.acquire() as db:
        await retell(db, ["1000001"], DEFAULT_RULEBOOK)
    assert await deliver_webhooks(hooked.hooks, deep=True) == 0

    await hooked.pay("p2")
    await plan_webhooks(hooked.hooks)
    async with hooked.hooks.pool.acquire() as db:
        await db.execute("DELETE FROM partner_event")
    assert await hooked.deliver() == 0
    async with hooked.hooks.pool.acquire() as db:
        await retell(db, ["1000001"], DEFAULT_RULEBOOK)
    hooked.banks.house.wait(minutes=2)
    assert await hooked.deliver() == 1
    assert [name for _, name in payments(hooked.receiver.got())] == ["p1", "p2"]


async def test_an_event_that_was_recorded_early_and_came_late_is_found(hooked: Hooked) -> None:
    await hooked.subscribe()
    early = hooked.now()
    hooked.banks.house.wait(hours=2)
    await hooked.pay("p1")
    await hooked.deliver()
    await hooked.pay("p2", "1000002")
    await hooked.hooks.pool.execute("UPDATE partner_event SET recorded_at = $1 WHERE account = '1000002'", early)

    assert await hooked.deliver() == 0
    assert await deliver_webhooks(hooked.hooks, deep=True) == 1


async def test_what_waits_at_a_paused_webhook_is_told_when_it_is_resumed(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    async with hooked.hooks.pool.acquire() as db:
        await subscriptions.pause(db, hooked.partner, webhook.id)
    await hooked.pay("p1")
    assert await hooked.deliver() == 0
    hooked.banks.house.wait(days=8)
    async with hooked.hooks.pool.acquire() as db:
        await subscriptions.resume(db, hooked.partner, webhook.id, hooked.now())
    assert await hooked.deliver() == 1

    async with hooked.hooks.pool.acquire() as db:
        assert await subscriptions.delete(db, hooked.partner, webhook.id)
        assert not await subscriptions.delete(db, hooked.partner, webhook.id)
    await hooked.pay("p2")
    assert await hooked.deliver() == 0


async def test_a_partner_whose_client_was_revoked_is_told_nothing_more(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    await plan_webhooks(hooked.hooks)
    async with hooked.hooks.pool.acquire() as db:
        await revoke_client(db, hooked.banks.agent().partner.client, now=hooked.now(), by="u-1")
    await hooked.pay("p2", "1000002")

    assert await hooked.deliver() == 0
    assert len(await hooked.deliveries(webhook)) == 1


async def test_what_waits_behind_a_failed_event_is_put_off_with_it(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    await hooked.pay("p2")
    hooked.receiver.set(status=500)
    await hooked.deliver()

    first, second = await hooked.deliveries(webhook)
    assert (first.tries, second.tries) == (1, 0)
    assert first.not_before == second.not_before > hooked.now()


async def test_what_ended_long_ago_is_forgotten_and_what_waits_for_ever_is_given_up(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    await hooked.pay("p1")
    await hooked.deliver()
    async with hooked.hooks.pool.acquire() as db:
        await subscriptions.pause(db, hooked.partner, webhook.id)
    await hooked.pay("p2")
    await hooked.deliver()
    async with hooked.hooks.pool.acquire() as db:
        assert await subscriptions.forget_deliveries(db, hooked.now()) == 0
        assert await subscriptions.forget_deliveries(db, hooked.now() + timedelta(days=31)) == 0
        assert await states(hooked, webhook) == [DeliveryState.DELIVERED, DeliveryState.DEAD]
        assert await subscriptions.forget_deliveries(db, hooked.now() + timedelta(days=91)) == 1
        assert await db.fetchval("SELECT count(*) FROM webhook_attempt") == 0


async def test_no_more_than_agreed_is_under_way_at_once(hooked: Hooked) -> None:
    webhook, _ = await hooked.subscribe()
    for account in ("1000001", "1000002", "1000003", "1000006", "1000007"):
        await hooked.pay(account, account)
    await hooked.pay("second", "1000001")
    await plan_webhooks(hooked.hooks)
    async with hooked.hooks.pool.acquire() as db:
        now = hooked.now()
        first = await claim(db, webhook.id, now, 3)
        second = await claim(db, webhook.id, now, 4)
        third = await claim(db, webhook.id, now, 4)
        events = await find_events(db, hooked.partner, [each.event for each in (*first, *second)])
    assert [len(first), len(second), len(third)] == [3, 1, 0]
    assert len(events) == 4


def test_waits_grow_and_are_the_same_every_time() -> None:
    waits = [wait_s("evt_1", attempts) for attempts in range(1, 9)]

    assert waits == [wait_s("evt_1", attempts) for attempts in range(1, 9)]
    assert all(0.8 * full < wait <= full for wait, full in zip(waits, (*WAITS_S, 10_800, 10_800, 10_800), strict=True))
    assert wait_s("evt_2", 1) != waits[0]
    assert slow_s("wh_1", 8) < slow_s("wh_1", 12) <= due.SLOW_S_MAX


def test_a_contract_may_agree_on_ports_and_speed() -> None:
    partner = Partner("c-1", "bank", "Банк", sections={"webhooks": {"ports": [9443], "at_once": 8, "per_second": 5}})
    assert terms_of(partner) == Terms(frozenset({9443}), 8, 5)
    for wrong in ({"ports": [80]}, {"at_once": 0}, {"per_second": True}, {"port": 1}):
        with pytest.raises(PartnersError):
            terms_of(replace(partner, sections={"webhooks": wrong}))
