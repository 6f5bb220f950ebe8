"""A partner certifies itself: by what it did and what became of it, never by its own word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bels.domain.periods import MOSCOW
from bels.payments.sandbox import CaseState
from bels.sandbox.checklist import RULES
from bels.sandbox.requests import code_of
from bels.sandbox.watching import FAULT_HEADER
from tests.peers.partner_client import PAY, PartnerClient
from tests.peers.webhook_receiver import running_receiver
from tests.sandbox.conftest import Sandbox
from tests.sandbox.opened import partner_of


@pytest.fixture
async def app(sandbox: Sandbox) -> AsyncIterator[PartnerClient]:
    """Open the program of the second partner, in a run of its own."""
    async with partner_of(sandbox.url, sandbox.room, 1) as partner:
        partner.name = f"a{sandbox.room.runs[partner.client].number}"
        await sandbox.room.reset(partner.client, partner.name)
        await partner.look_around()
        partner.token = ""
        yield partner


def states(told: dict[str, Any]) -> dict[str, str]:
    """Give the states of the cases."""
    return {case["id"]: case["state"] for case in told["cases"]}


async def test_a_bank_lives_through_all_cases_over_http_and_has_passed(sandbox: Sandbox) -> None:
    with running_receiver() as receiver:
        async with partner_of(sandbox.url, sandbox.room, 0) as bank:
            told = await bank.certify(receiver)

    assert states(told) == {rule.id: "PASSED" for rule in RULES}
    assert (told["passed"], told["of"], told["complete"]) == (len(RULES), len(RULES), True)
    assert all(case["evidence"] for case in told["cases"])
    assert f"Пройдено {len(RULES)} из {len(RULES)}." in told["summary"]
    assert "Подпись песочницы: " in told["summary"]


async def test_the_register_of_a_day_is_reconciled_when_the_clock_goes_over_it(app: PartnerClient) -> None:
    names = [app.new_id() for _ in range(2)]
    for name in names:
        await app.send("DEBT", "120.00", name)
    day = app.paid_at[:10]
    await app.bring(names, "240.00")
    # The books of a day are compared on the next one; another day later nothing more is awaited.
    await app.move("NEXT_DAY")
    await app.move("NEXT_DAY")

    asked = "query($day: Date!) { reconciliation(day: $day) { state theirSum ourSum differences { kind amount } } }"
    shown = (await app.ask(asked, day=day))["reconciliation"]

    assert shown == {"state": "CLOSED", "theirSum": "240.00", "ourSum": "240.00", "differences": []}


async def test_nothing_is_passed_by_somebody_elses_deeds(sandbox: Sandbox, app: PartnerClient) -> None:
    assert set(states(await app.certification()).values()) == {"OPEN"}


async def test_a_payment_sent_anew_after_a_lost_answer_fails_until_it_is_done_right(app: PartnerClient) -> None:
    await app.fail("LOST_ANSWER")
    with pytest.raises(httpx.TransportError):
        await once(app, app.new_id())
    await app.pay("DEBT", "100.00")
    before = states(await app.certification())

    await app.fail("LOST_ANSWER")
    await app.pay("DEBT", "100.00")

    assert before["REPEAT_AFTER_LOST_ANSWER"] == "FAILED"
    assert states(await app.certification())["REPEAT_AFTER_LOST_ANSWER"] == "PASSED"


async def once(app: PartnerClient, payment_id: str, **headers: str) -> httpx.Response:
    """Send a payment once, whatever becomes of it."""
    at = (await app.ask("{ sandboxClock }"))["sandboxClock"]
    given = {"paymentId": payment_id, "account": app.accounts["DEBT"], "amount": "100.00", "paidAt": at}
    return await app.http.post(
        f"{app.url}/graphql",
        json={"query": PAY, "variables": {"input": given}},
        headers={"authorization": f"Bearer {app.token}", **headers},
    )


async def test_a_header_makes_one_request_fail(app: PartnerClient) -> None:
    header = FAULT_HEADER.decode()
    payment_id = app.new_id()

    later = await once(app, payment_id, **{header: "try-later"})
    proxy = await once(app, payment_id, **{header: "server-error"})
    parked = await once(app, app.new_id(), **{header: "parked"})
    unknown = await once(app, payment_id, **{header: "no-such-fault"})

    assert later.json()["errors"][0]["extensions"]["code"] == "TRY_LATER"
    assert proxy.status_code == 502
    assert parked.json()["data"]["payWithReading"]["__typename"] == "MessageParked"
    paid = unknown.json()["data"]["payWithReading"]
    assert (paid["__typename"], paid["replayed"]) == ("PaymentTaken", False)


async def test_a_fault_hits_what_moves_money_and_no_question(app: PartnerClient) -> None:
    await app.fail("SERVER_ERROR")

    shown = await app.preview("DEBT", "100.00")
    hit = await once(app, app.new_id())

    assert shown["suggested"] is not None
    assert hit.status_code == 502


async def test_what_a_partner_sends_is_kept_without_its_words(sandbox: Sandbox, app: PartnerClient) -> None:
    await app.send("DEBT", "100.00", "phone-+79161234567")

    async with sandbox.bels.pool.acquire() as db:
        kept = await db.fetch("SELECT * FROM sandbox_request WHERE client = $1", app.client)
    assert kept
    assert all("9161234567" not in str(row) for row in kept)


async def test_the_banks_other_protocols_pass_cases_for_it(sandbox: Sandbox) -> None:
    room, bank = sandbox.room, sandbox.room.partners[0]
    run, _ = await room.reset(bank.client, "terminals")
    accounts = {each.situation: each.number for each in run.accounts}
    at = room.now().astimezone(MOSCOW)

    async with httpx.AsyncClient(base_url=sandbox.url, auth=(bank.client, bank.secret), trust_env=False) as http:

        async def ask(path: str, fault: str = "", **given: str) -> str | None:
            answer = await http.get(f"/partners/{path}", params=given, headers={FAULT_HEADER.decode(): fault})
            assert answer.status_code == 200
            return code_of(answer.content)

        paid = {"command": "pay", "txn_date": f"{at:%Y%m%d%H%M%S}", "account": accounts["DEBT"], "sum": "200.00"}
        osmp = [
            await ask("osmp", command="check", txn_id="1", account=accounts["DEBT"], sum="200.00"),
            await ask("osmp", "try-later", txn_id="2", **paid),
            await ask("osmp", txn_id="2", **paid),
            await ask("osmp", txn_id="2", **{**paid, "sum": "300.00"}),
            await ask("osmp", txn_id="3", **{**paid, "sum": "0.50"}),
            await ask("osmp", txn_id="4", **{**paid, "account": accounts["UNKNOWN"]}),
        ]
        order = {
            "ACTION": "payment",
            "PAY_DATE": f"{at:%d.%m.%Y_%H:%M:%S}",
            "ACCOUNT": accounts["ZERO"],
            "AMOUNT": "50.00",
        }
        with pytest.raises(httpx.TransportError):
            await ask("sber-eps", "lost-answer", PAY_ID="5", **order)
        eps = await ask("sber-eps", PAY_ID="5", **order)

    passed = {case.id for case in (await room.certify(bank.client)).cases if case.state is CaseState.PASSED}
    assert (osmp, eps) == (["0", "1", "0", "300", "241", "5"], "8")
    assert passed == {
        "PREVIEW_BEFORE_PAYMENT",
        "REPEAT_AFTER_TEMPORARY_FAILURE",
        "REPEAT_AFTER_LOST_ANSWER",
        "OTHER_CONTENT_REFUSED",
        "LIMITS",
        "UNKNOWN_ACCOUNT",
    }
