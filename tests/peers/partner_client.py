"""A bank's program that certifies itself against a sandbox, end to end over HTTP; of bels it knows what is published alone.

python -m tests.peers.partner_client http://127.0.0.1:8000 c-... bels_...
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from tests.peers.webhook_receiver import Receiver, running_receiver

ATTEMPTS_MAX = 10
TIMEOUT_S = 70.0

ACCOUNTS = "{ sandboxAccounts { number situation shows } sandboxClock }"
CERTIFICATION = """{ certification { run passed of complete summary
  cases { id title state hint evidence { at receipt paymentId } } } }"""
PREVIEW = """query($number: String!, $amount: Money) { payableAccount(number: $number, amount: $amount) {
  maskedName balance suggested minimum amount commission total
  submission { may registers { register place previous maximum } } } }"""
PAY = """mutation($input: PayWithReadingInput!) { payWithReading(input: $input) { __typename
  ... on PaymentTaken { receipt replayed commission reading { state code receipt } }
  ... on Refusal { code text }
  ... on MessageParked { receipt } } }"""
CANCEL = """mutation($input: CancelPaymentInput!) { cancelPayment(input: $input) { __typename
  ... on Refusal { code text } } }"""
REFUND = """mutation($input: RequestRefundInput!) { requestRefund(input: $input) { __typename
  ... on Refusal { code text } } }"""
STATUS = "query($id: ID!) { partnerPayment(paymentId: $id) { state receipt amount } }"
SUBMIT = """mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename
  ... on ReadingAccepted { receipt period } ... on ReadingHeld { receipt reason } ... on Refusal { code text } } }"""
FAIL = """mutation($input: FailNextInput!) { failNext(input: $input) { __typename
  ... on SandboxFaultsPlanned { waiting { fault count } } ... on SandboxRefused { code text } } }"""
MOVE = """mutation($input: MoveSandboxClockInput!) { moveSandboxClock(input: $input) { __typename
  ... on SandboxClockMoved { replayed before now closed closings refused charged penalties reminders }
  ... on SandboxRefused { code text } } }"""
RESET = """mutation($input: ResetSandboxInput!) { resetSandbox(input: $input) { __typename
  ... on SandboxReset { replayed run accounts { number situation } } ... on SandboxRefused { code text } } }"""


SUBSCRIBE = """mutation($input: SubscribeWebhookInput!) { subscribeWebhook(input: $input) { __typename
  ... on WebhookSubscribed { webhook { id } secret } ... on Refusal { code text } } }"""


class NoAnswerError(Exception):
    """The bank does not know what became of its request."""


@dataclass
class PartnerClient:
    """The program: it repeats whatever had no answer under the same id, and gets a new token when the old one has ended."""

    url: str
    client: str
    secret: str
    http: httpx.AsyncClient
    name: str = "b"
    token: str = ""
    accounts: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    paid_at: str = ""
    """The moment of the payer's operations, until the clock is moved: a repeat is the same to the second."""

    async def certify(self, receiver: Receiver) -> dict[str, Any]:
        """Live through all cases, and give the checklist; ``receiver`` is where webhooks come."""
        await self.look_around()
        await self.pay_with_readings()
        await self.repeat_what_failed()
        await self.pay_at_once()
        await self.bring_registers()
        await self.hear(receiver)
        await self.take_back()
        await self.go_over_days()
        return await self.certification()

    async def look_around(self) -> None:
        """Learn the accounts by their situations."""
        told = await self.ask(ACCOUNTS)
        self.accounts = {each["situation"]: each["number"] for each in told["sandboxAccounts"]}

    async def certification(self) -> dict[str, Any]:
        """Give the checklist."""
        told: dict[str, Any] = (await self.ask(CERTIFICATION))["certification"]
        return told

    async def pay_with_readings(self) -> None:
        """Show, and pay, with readings that are good, too small, and for no meter; to nobody, and too little."""
        shown = await self.preview("DUE_TODAY", "300.00")
        good = [{"place": "1", "value": str(shown["submission"]["registers"][0]["previous"] + 90)}]
        paid = await self.pay("DUE_TODAY", "300.00", good, shown["commission"])
        assert paid["reading"]["state"] == "ACCEPTED", paid

        shown = await self.preview("DEBT", "100.00")
        register = shown["submission"]["registers"][0]
        paid = await self.pay("DEBT", "100.00", [{"place": "1", "value": str(register["previous"] - 5)}])
        assert paid["reading"]["state"] == "HELD", paid
        values = [{"register": register["register"], "value": str(register["previous"] + 60)}]
        mended = await self.act(SUBMIT, account=self.accounts["DEBT"], idempotencyKey=self.new_id(), values=values)
        assert mended["__typename"] == "ReadingAccepted", mended

        paid = await self.pay("NO_METER", "100.00", [{"place": "1", "value": "100"}])
        assert paid["reading"]["state"] == "REFUSED", paid
        await self.pay("UNKNOWN", "100.00")
        await self.pay("ZERO", "0.50")

    async def repeat_what_failed(self) -> None:
        """Repeat under the same id what had no answer, or a temporary one; then send something else under it."""
        for fault in ("LOST_ANSWER", "TRY_LATER", "SERVER_ERROR"):
            await self.fail(fault)
            paid = await self.pay("LARGE_DEBT", "500.00")
            assert paid["replayed"] == (fault == "LOST_ANSWER"), (fault, paid)
        used = self.new_id()
        await self.send("ZERO", "200.00", used)
        other = await self.send("ZERO", "300.00", used)
        assert other["code"] == "MESSAGE_ID_REUSED", other

    async def pay_at_once(self) -> None:
        """Wait for a slow answer, and send the same again meanwhile."""
        await self.fail("SLOW", waitS=1)
        same = self.new_id()
        first, second = await asyncio.gather(*(self.send("ADVANCE", "150.00", same) for _ in range(2)))
        assert first["receipt"] == second["receipt"], (first, second)
        assert (await self.ask(STATUS, id=same))["partnerPayment"]["receipt"] == first["receipt"]

    async def bring_registers(self) -> None:
        """Bring the register of two payments with a wrong sum, and then put right."""
        names = [self.new_id() for _ in range(2)]
        for name in names:
            await self.send("DEBT", "120.00", name)
        states = [await self.bring(names, total) for total in ("239.00", "240.00")]
        assert states == ["QUARANTINED", "TAKEN"], states

    async def bring(self, names: list[str], total: str) -> str:
        """Bring a register of payments of 120 roubles; give its state."""
        at = datetime.fromisoformat(self.paid_at).astimezone(ZoneInfo("Europe/Moscow"))
        rows = [f"{name};{self.accounts['DEBT']};120.00;0.00;{at:%Y-%m-%dT%H:%M:%S};;;" for name in names]
        head, tail = "id;account;amount;fee;paid_at;t1;t2;t3", f"ИТОГО;{len(rows)};{total};0.00;1;{at:%Y-%m-%d}"
        answer = await self.http.post(
            f"{self.url}/partners/registers/daily",
            content="\n".join([head, *rows, tail, ""]).encode(),
            headers={"authorization": f"Bearer {self.token}", "content-type": "text/csv"},
        )
        state: str = answer.raise_for_status().json()["state"]
        return state

    async def hear(self, receiver: Receiver) -> None:
        """Subscribe, and hear of a payment once; then of another one twice, under one id."""
        given = {"url": receiver.url, "types": ["payment.received.v1"], "idempotencyKey": self.new_id()}
        subscribed = await self.act(SUBSCRIBE, **given)
        receiver.set(secrets=[subscribed["secret"]])
        once, twice = self.new_id(), self.new_id()
        await self.send("ADVANCE", "130.00", once)
        await asyncio.to_thread(receiver.wait_for, 1)
        await self.fail("DUPLICATE_WEBHOOK")
        await self.send("ADVANCE", "130.00", twice)
        got = await asyncio.to_thread(receiver.wait_for, 3)
        assert [each["event"]["data"]["paymentId"] for each in got] == [once, twice, twice], got
        assert got[1]["id"] == got[2]["id"] != got[0]["id"], got
        assert all(each["right"] == [True] for each in got), got

    async def take_back(self) -> None:
        """Cancel a payment on its day, and another one on the next, for which a refund is asked then."""
        early, late = self.new_id(), self.new_id()
        for payment_id in (early, late):
            await self.send("TWO_ZONES", "250.00", payment_id)
        cancelled = await self.act(CANCEL, paymentId=early, reason="ошибка кассира")
        assert cancelled["__typename"] == "PaymentCancelled", cancelled
        await self.move("NEXT_DAY")
        refused = await self.act(CANCEL, paymentId=late, reason="ошибка кассира")
        assert refused["code"] == "CANCELLED_TOO_LATE", refused
        asked = await self.act(REFUND, paymentId=late, reason="ошибка плательщика", idempotencyKey=self.new_id())
        assert asked["__typename"] == "RefundRequested", asked

    async def go_over_days(self) -> None:
        """Send a reading after the 25th, and go over a closing and a due date."""
        await self.move("DEADLINE_25")
        shown = await self.preview("ZERO", "10.00")
        register = shown["submission"]["registers"][0]
        values = [{"register": register["register"], "value": str(register["previous"] + 100)}]
        await self.act(SUBMIT, account=self.accounts["ZERO"], idempotencyKey=self.new_id(), values=values)
        closed = await self.move("CLOSING")
        assert closed["closings"] > 0, closed
        await self.move("DUE_DATE")

    def new_id(self) -> str:
        """Give the next id of a payment."""
        return f"{self.name}-{next(self.numbers)}"

    async def preview(self, situation: str, amount: str) -> dict[str, Any]:
        """Look at what a payer is shown."""
        told = await self.ask(PREVIEW, number=self.accounts[situation], amount=amount)
        shown: dict[str, Any] = told["payableAccount"]
        return shown

    async def pay(
        self, situation: str, amount: str, values: list[dict[str, str]] | None = None, commission: str | None = None
    ) -> dict[str, Any]:
        """Pay under a new id."""
        return await self.send(situation, amount, self.new_id(), values, commission)

    async def send(
        self,
        situation: str,
        amount: str,
        payment_id: str,
        values: list[dict[str, str]] | None = None,
        commission: str | None = None,
    ) -> dict[str, Any]:
        """Send a payment until it is answered."""
        if not self.paid_at:
            self.paid_at = (await self.ask("{ sandboxClock }"))["sandboxClock"]
        given: dict[str, Any] = {
            "paymentId": payment_id,
            "account": self.accounts[situation],
            "amount": amount,
            "paidAt": self.paid_at,
            "values": values,
        }
        if commission is not None and Decimal(commission) > 0:
            given["commission"] = commission
        return await self.act(PAY, **given)

    async def move(self, over: str) -> dict[str, Any]:
        """Move the sandbox's clock; the token ends by it."""
        moved = await self.act(MOVE, over=over, idempotencyKey=self.new_id())
        assert moved["__typename"] == "SandboxClockMoved", moved
        self.paid_at = ""
        return moved

    async def fail(self, fault: str, **more: Any) -> None:
        """Let the next act fail."""
        planned = await self.act(FAIL, fault=fault, idempotencyKey=self.new_id(), **more)
        assert planned["__typename"] == "SandboxFaultsPlanned", planned

    async def act(self, mutation: str, **given: Any) -> dict[str, Any]:
        """Ask for something, the same again until it is answered."""
        told: dict[str, Any] = await self.ask(mutation, input=given)
        outcome: dict[str, Any] = next(iter(told.values()))
        return outcome

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask, the same again until there is an answer.

        :raises NoAnswerError: there is none, however often it is asked.
        """
        for _ in range(ATTEMPTS_MAX):
            if not self.token:
                await self.sign_in()
            try:
                answer = await self.http.post(
                    f"{self.url}/graphql",
                    json={"query": query, "variables": variables},
                    headers={"authorization": f"Bearer {self.token}"},
                )
                told = answer.json() if answer.headers["content-type"].startswith("application/") else {}
            except (httpx.TransportError, ValueError):
                continue
            codes = [error["extensions"]["code"] for error in told.get("errors", ())]
            if answer.status_code == 401:
                self.token = ""
            elif told.get("data") is not None and not codes:
                data: dict[str, Any] = told["data"]
                return data
            elif codes and "TRY_LATER" not in codes:
                raise AssertionError(told)
        raise NoAnswerError(query)

    async def sign_in(self) -> None:
        """Get a token."""
        answer = await self.http.post(
            f"{self.url}/oauth/token", data={"grant_type": "client_credentials"}, auth=(self.client, self.secret)
        )
        answer.raise_for_status()
        self.token = answer.json()["access_token"]


@asynccontextmanager
async def opened_partner(url: str, client: str, secret: str, name: str = "b") -> AsyncIterator[PartnerClient]:
    """Open the program of a bank."""
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        yield PartnerClient(url, client, secret, http, name)


async def main(url: str, client: str, secret: str) -> None:
    """Certify a partner, and show what it passed."""
    with running_receiver() as receiver:
        async with opened_partner(url, client, secret) as partner:
            told = await partner.certify(receiver)
        sys.stdout.write(f"{told['summary']}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
