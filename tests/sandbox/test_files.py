"""Registers and webhooks of a run, as the checklist sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bels.app import door_of
from bels.domain.periods import MOSCOW
from bels.payments.registers.files import Way
from bels.payments.registers.taking import receive_file
from bels.payments.sandbox import CaseState, Failing, Fault
from bels.payments.till import PayOrder, Till, pay
from bels.payments.webhooks.deliver import deliver_webhooks, opened_hooks
from bels.payments.webhooks.guard import Policy
from bels.payments.webhooks.subscriptions import subscribe
from bels.reception.counter import Counter
from bels.sandbox.checklist import judge
from bels.sandbox.facts import Facts
from bels.sandbox.requests import REGISTER, RequestRow
from tests.peers.webhook_receiver import Receiver, running_receiver
from tests.sandbox.conftest import Sandbox

WAIT_S = 20


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Run a receiver of webhooks."""
    with running_receiver() as running:
        yield running


async def till_of(sandbox: Sandbox) -> Till:
    """Put the till of the sandbox together."""
    door = await door_of(sandbox.bels, local=False)
    return Till(Counter(sandbox.bels.pool, sandbox.bels.intake, door), sandbox.room.contracts)


async def state_of(sandbox: Sandbox, case: str) -> CaseState:
    """Say where a case of the bank stands."""
    certified = await sandbox.room.certify(sandbox.room.partners[0].client)
    return next(each.state for each in certified.cases if each.id == case)


async def paid(sandbox: Sandbox, till: Till, payment_id: str) -> datetime:
    """Pay online, and say when."""
    bank = sandbox.room.partners[0]
    account = sandbox.room.runs[bank.client].accounts[1].number
    at = sandbox.room.now().replace(microsecond=0)
    result = await pay(till, till.agent(bank.client), PayOrder(payment_id, account, Decimal("200.00"), at))
    assert result.received is not None
    return at


def register(sandbox: Sandbox, rows: Sequence[tuple[str, datetime]], total: str) -> bytes:
    """Write a register of payments of 200 roubles."""
    account = sandbox.room.runs[sandbox.room.partners[0].client].accounts[1].number
    lines = ["id;account;amount;fee;paid_at;t1;t2;t3"]
    lines += [f"{name};{account};200.00;0.00;{at.astimezone(MOSCOW):%Y-%m-%dT%H:%M:%S};;;" for name, at in rows]
    lines.append(f"ИТОГО;{len(rows)};{total};0.00;1;{rows[0][1].astimezone(MOSCOW):%Y-%m-%d}")
    return "\n".join([*lines, ""]).encode()


async def test_a_register_is_put_right_and_meets_the_payments_that_came_online(sandbox: Sandbox) -> None:
    till = await till_of(sandbox)
    partner = sandbox.room.contracts.of(sandbox.room.partners[0].client)
    rows = [(name, await paid(sandbox, till, name)) for name in ("r-1", "r-2")]

    async def bring(total: str) -> None:
        await receive_file(till, partner, f"{total}.csv", [register(sandbox, rows, total)], Way.UPLOAD, layout="daily")

    await bring("399.99")
    before = [await state_of(sandbox, case) for case in ("REGISTER_TAKEN", "REGISTER_PUT_RIGHT")]
    await bring("400.00")

    assert before == [CaseState.OPEN, CaseState.OPEN]
    for case in ("REGISTER_TAKEN", "REGISTER_RECONCILED", "REGISTER_PUT_RIGHT"):
        assert await state_of(sandbox, case) is CaseState.PASSED


def test_a_wrong_register_that_is_sent_again_as_it_was_is_seen(sandbox: Sandbox) -> None:
    at = datetime(2026, 5, 20, tzinfo=UTC)
    sent = [RequestRow(number, at, at, (REGISTER,), None, None, b"same", None, 200, None) for number in (1, 2)]
    partner = sandbox.room.contracts.of(sandbox.room.partners[0].client)

    cases = {case.id: case for case in judge(Facts(partner, requests=tuple(sent)))}

    assert cases["REGISTER_PUT_RIGHT"].state is CaseState.FAILED
    assert cases["REGISTER_TAKEN"].state is CaseState.OPEN


async def test_a_webhook_is_acknowledged_and_again_when_it_comes_twice(sandbox: Sandbox, receiver: Receiver) -> None:
    till, client = await till_of(sandbox), sandbox.room.partners[0].client
    raw_texts = till.counter.door.raw_texts
    async with opened_hooks(
        sandbox.bels.pool, raw_texts, sandbox.room.contracts, Policy(loopback=True), sandbox.room.now
    ) as hooks:
        async with sandbox.bels.pool.acquire() as db:
            actor = till.agent(client).actor
            _, secret = await subscribe(
                db, raw_texts, actor, "1", receiver.url, ("payment.received.v1",), "", sandbox.room.now()
            )
        receiver.set(secrets=[secret])
        await paid(sandbox, till, "w-1")
        await deliver_webhooks(hooks)
        once = [await state_of(sandbox, case) for case in ("WEBHOOK_RECEIVED", "WEBHOOK_TWICE")]

        await sandbox.room.fail_next(client, "twice", Failing(Fault.DUPLICATE_WEBHOOK))
        await paid(sandbox, till, "w-2")
        async with asyncio.timeout(WAIT_S):
            while [got["event"]["data"]["paymentId"] for got in receiver.got()].count("w-2") < 2:
                await deliver_webhooks(hooks)
                await asyncio.sleep(0.05)

    assert once == [CaseState.PASSED, CaseState.OPEN]
    assert await state_of(sandbox, "WEBHOOK_TWICE") is CaseState.PASSED
    assert sandbox.room.failing_of(client) == []
