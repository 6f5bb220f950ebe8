"""Cloud telephony: the dialogue over HTTP, turn by turn, as a provider's scenario drives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from secrets import compare_digest
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from bels.channels.phone_webhook import BODY_BYTES_MAX, PATH, Fields, phone_webhook_routes
from bels.domain.terms import Channel, Register
from bels.messages import TryLater
from bels.reception.dialogue.turns import SaidKind
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check, journal_of, unreachable
from tests.channels.house import House

TOKEN = "token of the gateway"
PHONE = "+79161234567"
SAMPLE = '{"call": "e2c1a7", "turn": 1, "from": "89161234567", "event": "begin", "digits": ""}'
"""What a scenario sends when it takes a call."""
NO_TURNS = (
    "",
    "[]",
    "{",
    "[" * 10_000,
    "\ud83d",
    '{"call": "1"}',
    '{"call": "1", "turn": true, "event": "begin"}',
    '{"call": "1", "turn": 1, "event": "sing"}',
    '{"call": "1", "turn": 1, "event": "digits", "digits": "12a"}',
    '{"call": "1", "turn": 1, "event": "digits", "digits": {"$gt": 1}}',
    f'{{"call": "1", "turn": 1, "event": "digits", "digits": "{"1" * 41}"}}',
    f'{{"call": "{"x" * 151}", "turn": 1, "event": "begin"}}',
    " " * (BODY_BYTES_MAX + 1),
)


@dataclass(slots=True)
class Scenario:
    """The provider's scenario: takes calls and presses the keys that a caller presses."""

    http: httpx.AsyncClient
    phone: str = "+79031112233"
    call: int = 0
    turn: int = 0
    waiting: list[tuple[str, str]] = field(default_factory=list)
    calls: count[int] = field(default_factory=count)

    async def tells(self, event: str, digits: str = "", *, turn: int | None = None) -> httpx.Response:
        """Tell of an event."""
        given = {
            "call": f"call {self.call}",
            "turn": self.turn if turn is None else turn,
            "from": self.phone,
            "event": event,
            "digits": digits,
        }
        return await self.http.post(PATH, json=given)

    async def takes_a_call(self) -> dict[str, Any]:
        """Begin a new call."""
        self.call, self.turn = next(self.calls), 0
        return self._heard(await self.tells("begin"))

    async def presses(self, *numbers: str) -> dict[str, Any]:
        """Press keys, question by question."""
        heard: dict[str, Any] = {}
        for number in numbers:
            self.turn += 1
            heard = self._heard(await self.tells("digits", number))
        return heard

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Call, press account and values, say yes."""
        self.call, self.turn = next(self.calls), 0
        numbers = [
            account,
            *(("*", "".join(filter(str.isdigit, meter))) if meter is not None else ()),
            *values.values(),
        ]
        if text is not None:
            numbers = ["*", "*", "*"]
        self.waiting = [("begin", ""), *(("digits", number) for number in numbers)]
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Send the turn again that was not answered, and go on."""
        while True:
            event, digits = self.waiting[0] if self.waiting else ("silence", "")
            answer = await self.tells(event, digits)
            if answer.status_code == 503:
                return Heard(TRY_LATER, "", answer.json()["say"][0])
            heard = self._heard(answer)
            if heard["receipt"]:
                return Heard(
                    heard["code"],
                    heard["receipt"],
                    " ".join(heard["say"]).replace(" ".join(heard["receipt"]), heard["receipt"]),
                )
            assert not heard["end"], heard
            self.turn += 1
            del self.waiting[:1]
            if "Всё верно?" in heard["say"]:
                self.waiting = [("digits", "1")]

    def _heard(self, answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        heard: dict[str, Any] = answer.json()
        return heard


@pytest.fixture
async def scenario(house: House) -> AsyncIterator[Scenario]:
    async def gateway(request: Request) -> bool:
        return compare_digest(request.headers.get("authorization", ""), f"Bearer {TOKEN}")

    app = Starlette(routes=phone_webhook_routes(house.desk, gateway=gateway))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://bels.test", headers={"authorization": f"Bearer {TOKEN}"}
    ) as http:
        yield Scenario(http)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_over_cloud_telephony(house: House, scenario: Scenario, case: Case) -> None:
    await check(house, scenario, case)


async def test_a_call_is_led_by_what_is_told_and_collected(scenario: Scenario) -> None:
    begun = await scenario.takes_a_call()
    assert begun["say"][0] == "Здравствуйте! Это БЭЛС, передача показаний."
    assert begun["collect"] == {"digitsMax": 7, "timeoutS": 7}
    await scenario.presses("1000001#")
    confirming = await scenario.presses("10385#")

    assert "Лицевой счёт 1 0 0 0 0 0 1" in confirming["say"]
    assert confirming["collect"] == {"digitsMax": 1, "timeoutS": 7}
    done = await scenario.presses("1")
    assert (done["code"], done["end"], done["transfer"]) == ("ACCEPTED", False, False)
    assert done["receipt"]
    assert (await scenario.presses("0"))["transfer"]


async def test_a_linked_phone_is_known_however_it_is_written(house: House, scenario: Scenario) -> None:
    await house.link("1000001", Channel.VOICE, PHONE)
    sample = await scenario.http.post(PATH, content=SAMPLE)
    assert "Счёт, оканчивающийся на 0 0 0 1" in sample.json()["say"]
    scenario.phone = "anonymous"
    assert "Выберите лицевой счёт." not in (await scenario.takes_a_call())["say"]


async def test_the_same_turn_again_hears_the_same_and_a_hang_up_keeps_nothing(house: House, scenario: Scenario) -> None:
    await scenario.takes_a_call()
    first = await scenario.presses("1000001")
    assert (await scenario.tells("digits", "1000001")).json() == first
    await scenario.presses("10385")
    ended = (await scenario.tells("hangup", turn=99)).json()
    assert (ended["end"], ended["say"], ended["collect"]) == (True, [], None)
    assert "ReadingAccepted" not in await journal_of(house, "1000001")


async def test_a_database_that_is_down_is_said_and_the_turn_may_come_again(house: House, scenario: Scenario) -> None:
    await scenario.takes_a_call()
    async with unreachable(house):
        answer = await scenario.tells("digits", "1000001", turn=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "Если вы не слышали номера сообщения" in answer.json()["say"][0]
    assert (await scenario.tells("digits", "1000001", turn=1)).status_code == 200


async def test_a_call_without_the_credential_is_turned_away(house: House, scenario: Scenario) -> None:
    answer = await scenario.http.post(PATH, content=SAMPLE, headers={"authorization": "Bearer wrong"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert await house.desk.pool.fetchval("SELECT count(*) FROM turn") == 0


async def test_what_is_no_turn_is_refused_with_a_sentence(scenario: Scenario) -> None:
    for body in NO_TURNS:
        answer = await scenario.http.post(PATH, content=body.encode("utf-8", "surrogatepass"))
        assert answer.status_code == 400, body[:80]
        assert answer.json()["code"] == "BAD_USER_INPUT"


async def test_a_credential_that_cannot_be_looked_up_is_no_wrong_one(house: House) -> None:
    async def gateway(_: Request) -> bool:
        raise TryLater("down")

    app = Starlette(routes=phone_webhook_routes(house.desk, gateway=gateway))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels.test") as http:
        assert (await http.post(PATH, content=SAMPLE)).status_code == 503


async def test_a_providers_own_names_are_data(house: House) -> None:
    async def gateway(_: Request) -> bool:
        return True

    fields = Fields("id", "step", "caller", "what", "keys", {"NEW": SaidKind.BEGIN})
    routes = phone_webhook_routes(house.desk, gateway=gateway, fields=fields)
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels.test") as http:
        answer = await http.post(PATH, json={"id": "a", "step": "1", "what": "NEW", "caller": None})
    assert answer.json()["collect"] == {"digitsMax": 7, "timeoutS": 7}
