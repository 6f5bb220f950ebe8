"""SMS of providers without Kannel: each as its recorded sample says, over a real supplier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette

from bels.channels.sms import guard, sms_routes
from bels.channels.sms_providers import ITEMS_MAX, Provider, ProvidersError, provider_routes, read_providers
from bels.domain.terms import Channel
from bels.outgoing.results import Refused, Result, Sent, TryAgain
from bels.words import TRY_LATER
from tests.channels.cases import unreachable
from tests.channels.house import House
from tests.servers import ROOT

SHIPPED = ROOT / "deploy" / "kannel" / "providers.toml"
TOKEN = "s3cret"
PHONE = "79161234567"
SECRET = "соль"

# How providers of this kind do it; their own names of fields are agreed by contract.
TABLE = """
[posting]
form = "form"
sender = "phone"
to = "to"
text = "mes"
id = "id"
time = "time"
answer = "OK"
sign = { field = "md5", digest = "md5", of = ["phone", "time", "$secret"], joined = ":", secret_file = "secret" }

[asking]
form = "query"
sender = "from"
text = "message"
id = "uid"
reply = "body"
"""

# As the documentation of the provider shows it, with our own numbers.
VOXIMPLANT: dict[str, Any] = {
    "callbacks": [
        {"type": "min_balance", "callback_id": 1, "account_id": 7, "hash": "00", "min_balance": {"balance": 10}},
        {
            "type": "sms_inbound",
            "callback_id": 2,
            "account_id": 7,
            "hash": "00",
            "sms_inbound": {
                "source_number": PHONE,
                "destination_number": "74951234567",
                "sms_body": "л/с 1000001 показание 10385",
            },
        },
    ]
}
SMSRU = {
    "data[0]": "sms_status\n000000-000001\n103\n1700000000",
    "data[1]": "sms_status\n000000-000002\n104\n1700000000",
}


@dataclass(slots=True)
class Gate:
    """The providers' side, and what was sent apart to phones."""

    house: House
    http: httpx.AsyncClient
    said: list[tuple[str, str, str]] = field(default_factory=list)
    result: Result = field(default_factory=Sent)

    async def say(self, phone: str, text: str, key: str) -> Result:
        """Stand for Kannel's sendsms, which has its own tests."""
        self.said.append((phone, text, key))
        return self.result

    async def post(self, name: str, token: str = TOKEN, **given: Any) -> httpx.Response:
        """Ask as a provider does."""
        self.house.wait(seconds=1)
        return await self.http.post(f"/channels/sms/{name}", params={"token": token}, **given)

    async def readings(self) -> int:
        """Count what was stored."""
        async with self.house.desk.pool.acquire() as db:
            return int(await db.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'"))


@pytest.fixture
def providers(tmp_path: Path) -> dict[str, Provider]:
    (tmp_path / "providers.toml").write_text(TABLE, "utf-8")
    (tmp_path / "secret").write_text(f"{SECRET}\n", "utf-8")
    return read_providers(SHIPPED) | read_providers(tmp_path / "providers.toml")


@pytest.fixture
async def gate(house: House, providers: Mapping[str, Provider]) -> AsyncIterator[Gate]:
    app = Starlette()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels.test") as http:
        made = Gate(house, http)
        may = guard(TOKEN)
        app.router.routes += [
            *sms_routes(house.desk, may),
            *provider_routes(house.desk, providers, may, say=made.say),
        ]
        yield made


def signed(text: str, time: str = "1716195600", **given: str) -> dict[str, str]:
    """Post a text as a provider that signs."""
    md5 = hashlib.md5(f"{PHONE}:{time}:{SECRET}".encode(), usedforsecurity=False).hexdigest()
    return {"phone": PHONE, "to": "1234", "mes": text, "id": "17", "time": time, "md5": md5} | given


async def test_a_list_of_callbacks_brings_its_texts_and_leaves_the_rest(gate: Gate) -> None:
    for _ in range(2):
        answer = await gate.post("voximplant", json=VOXIMPLANT)
        assert (answer.status_code, answer.text) == (200, "OK")

    assert await gate.readings() == 1
    (phone, words, key), again = gate.said
    assert phone == "+79161234567"
    assert words.startswith("Принято №")
    assert again == (phone, words, key)
    assert len(key) <= 64


async def test_reports_are_answered_as_their_provider_wants(gate: Gate) -> None:
    answer = await gate.post("smsru", data=SMSRU)

    assert (answer.status_code, answer.text) == (200, "100")
    assert await gate.readings() == 0


async def test_a_signed_form_is_taken_and_a_forged_one_is_not(gate: Gate) -> None:
    text = "1000003 день 3130 ночь 1600"
    assert (await gate.post("posting", data=signed(text))).text == "OK"
    assert (await gate.post("posting", data=signed(text, id="18", md5="0" * 32))).status_code == 403
    assert (await gate.post("posting", data=signed(text, id="19", phone="79031112233"))).status_code == 403
    assert (await gate.post("posting", data={"mes": text})).status_code == 403
    assert await gate.readings() == 1
    assert "день 3130, ночь 1600" in gate.said[0][1]
    windows = urlencode(signed("1000003 день 3140 ночь 1610", id="20"), encoding="cp1251")
    assert (await gate.post("posting", content=windows.encode())).text == "OK"
    assert "день 3140, ночь 1610" in gate.said[1][1]


async def test_the_words_are_the_answer_where_the_provider_sends_them_on(gate: Gate) -> None:
    given = {"token": TOKEN, "from": PHONE, "message": "1000001#10385", "uid": "a"}
    answer = await gate.http.get("/channels/sms/asking", params=given)
    assert answer.text.startswith("Принято №")
    assert gate.said == []
    for method in ("POST", "HEAD"):
        assert (await gate.http.request(method, "/channels/sms/asking", params=given)).status_code == 405


async def test_kannel_and_a_provider_give_the_same_words(gate: Gate) -> None:
    await gate.house.link("1000001", Channel.SMS, "+79161234567")
    by_kannel = await gate.http.get(
        "/channels/sms", params={"token": TOKEN, "from": "+79161234567", "text": "1000001#10385", "id": "k"}
    )
    await gate.post("posting", data=signed("1000001#10385"))
    assert gate.said[0][1] == by_kannel.text
    assert "расход 185 кВт·ч" in by_kannel.text


async def test_what_cannot_be_stored_or_answered_comes_again(gate: Gate) -> None:
    async with unreachable(gate.house):
        answer = await gate.post("posting", data=signed("1000001#10385"))
        assert (answer.status_code, answer.text) == (503, TRY_LATER)
    gate.result = TryAgain("HTTP_503")
    assert (await gate.post("posting", data=signed("1000001#10385"))).status_code == 503
    gate.result = Refused("HTTP_400")
    assert (await gate.post("posting", data=signed("1000001#10385"))).text == "OK"
    assert await gate.readings() == 1
    assert len({words for _, words, _ in gate.said}) == 1


async def test_only_who_may_asks_and_nothing_odd_harms(gate: Gate) -> None:
    for token in ("", "wrong", "секрет"):
        assert (await gate.post("voximplant", token, json=VOXIMPLANT)).status_code == 403
    assert (await gate.post("nobody", json=VOXIMPLANT)).status_code == 404
    assert (await gate.post("voximplant", content=b"{")).status_code == 400
    assert (await gate.post("voximplant", content=b"[" * 100_000)).status_code == 400
    assert (await gate.post("voximplant", content=b" " * 300_000)).status_code == 400
    many = {"callbacks": VOXIMPLANT["callbacks"] * ITEMS_MAX}
    assert (await gate.post("voximplant", json=many)).status_code == 400
    strange: list[Any] = [
        {},
        [],
        7,
        {"callbacks": 7},
        {"callbacks": [7, {"type": "sms_inbound"}]},
        {"callbacks": {"a": 1}},
    ]
    for odd in strange:
        assert (await gate.post("voximplant", json=odd)).text == "OK"
    odd_body = {"callbacks": [{"type": "sms_inbound", "sms_inbound": {"sms_body": {"a": 1}, "source_number": None}}]}
    assert (await gate.post("voximplant", content=json.dumps(odd_body).encode())).text == "OK"
    assert await gate.readings() == 1, "an empty text of nobody is stored and answered as every message is"


@pytest.mark.parametrize(
    "table",
    [
        "[",
        "a = 1",
        "[a]",
        '[a]\nform = "xml"',
        '[a]\nform = "json"\nbody = "x"',
        '[a]\nform = "json"\ntext = "x"',
        '[a]\nform = "json"\nreply = "x"',
        '[a]\nform = "json"\nsign = 1',
        '[a]\nform = "json"\nsign = { digest = "crc" }',
        '[a]\nform = "json"\nsign = { digest = "md5", field = "a", of = ["b"] }',
        '[a]\nform = "json"\nsign = { digest = "md5", field = "a", of = ["b"], secret_file = "secret" }',
        '[a]\nform = "json"\nsign = { digest = "md5", field = "a", of = ["$secret"], secret_file = "none" }',
    ],
)
def test_a_table_that_bels_cannot_use_is_refused_at_the_start(tmp_path: Path, table: str) -> None:
    (tmp_path / "secret").write_text("x", "utf-8")
    (tmp_path / "table").write_text(table, "utf-8")
    with pytest.raises(ProvidersError):
        read_providers(tmp_path / "table")
