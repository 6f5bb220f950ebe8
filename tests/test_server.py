"""A running bels as its users meet it: over GraphQL and SMS, with good input and bad."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import new_supplier
from tests.servers import SUBMIT, Server, ask, open_household, serving

ONE, TWO, THREE, CLOSED = "1000001", "1000003", "1000002", "1000009"


@pytest.fixture(scope="module")
def server(postgres: str, template: str) -> Iterator[Server]:
    """Serve a small supplier for the tests of this module."""
    with serving({"BELS_DATABASE_URL": new_supplier(postgres, template, "bels_test_server")}) as (served,):
        asyncio.run(_town(served.url))
        yield served


async def _town(url: str) -> None:
    matrix = [
        {"place": "T1", "register": "NIGHT"},
        {"place": "T2", "register": "PEAK"},
        {"place": "T3", "register": "HALF_PEAK"},
    ]
    async with httpx.AsyncClient(timeout=30) as client:
        await open_household(client, url, ONE, {"TOTAL": 10200})
        await open_household(client, url, TWO, {"DAY": 3000, "NIGHT": 1500})
        await open_household(client, url, THREE, {"HALF_PEAK": 6300, "NIGHT": 4210, "PEAK": 2105}, display=matrix)
        await open_household(client, url, CLOSED, {"TOTAL": 5})
        close = """mutation { closeAccount(input: {account: "%s", idempotencyKey: "close", closedAt: "2026-02-01T00:00:00Z",
            ground: "продажа"}) { __typename } }"""
        await ask(client, url, close % CLOSED)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as made:
        yield made


_keys = iter(range(10**6))


async def submit(client: httpx.AsyncClient, url: str, account: str, *values: tuple[str, str], **more: str) -> Any:
    """Submit a reading under a new key."""
    named = [{"register": register, "value": value} for register, value in values]
    given = {"account": account, "idempotencyKey": f"key {next(_keys)}", "values": named, **more}
    return (await ask(client, url, SUBMIT, input=given))["submitReading"]


@pytest.mark.parametrize(
    ("account", "values", "more", "code"),
    [
        (ONE, [("TOTAL", "1038a")], {}, "BAD_VALUE"),
        (ONE, [("TOTAL", "-10385")], {}, "BAD_VALUE"),
        (ONE, [("TOTAL", "")], {}, "BAD_VALUE"),
        (ONE, [("TOTAL", "103850")], {}, "TOO_MANY_DIGITS"),
        (TWO, [("DAY", "3100")], {}, "TOO_FEW_VALUES"),
        (ONE, [], {}, "TOO_FEW_VALUES"),
        (ONE, [("TOTAL", "10385"), ("NIGHT", "1")], {}, "TOO_MANY_VALUES"),
        (ONE, [("TOTAL", "10385"), ("TOTAL", "10386")], {}, "TOO_MANY_VALUES"),
        ("9999999", [("TOTAL", "10385")], {}, "UNKNOWN_ACCOUNT"),
        ("123", [("TOTAL", "10385")], {}, "BAD_ACCOUNT"),
        ("１０００００１", [("TOTAL", "10385")], {}, "BAD_ACCOUNT"),
        (CLOSED, [("TOTAL", "10385")], {}, "ACCOUNT_CLOSED"),
        (ONE, [("TOTAL", "10385")], {"takenAt": "2099-01-01T00:00:00Z"}, "TAKEN_IN_FUTURE"),
        (ONE, [("TOTAL", "10385")], {"meter": "M7"}, "FOREIGN_METER"),
    ],
)
async def test_bad_input_gets_its_own_refusal_with_words_and_a_place(
    server: Server,
    client: httpx.AsyncClient,
    account: str,
    values: list[tuple[str, str]],
    more: dict[str, str],
    code: str,
) -> None:
    refused = await submit(client, server.url, account, *values, **more)

    assert (refused["__typename"], refused["code"]) == ("ReadingRefused", code)
    assert refused["text"]
    assert refused["hint"]
    assert refused["path"][0] == "input"


@pytest.mark.parametrize("value", ["10385", "0010385", "10385,7", "10385.99", "１０３８５", "1О385", " 10385 "])
async def test_what_a_person_may_write_for_10385_is_taken(
    server: Server, client: httpx.AsyncClient, value: str
) -> None:
    expected = 185 if "О" not in value else 10385 - 10200
    accepted = await submit(client, server.url, ONE, ("TOTAL", value))

    assert accepted["__typename"] == "ReadingAccepted"
    assert accepted["consumption"] == [{"register": "TOTAL", "kwh": expected}]


async def test_a_lower_and_a_huge_reading_are_held_not_lost(server: Server, client: httpx.AsyncClient) -> None:
    lower = await submit(client, server.url, ONE, ("TOTAL", "9000"))
    huge = await submit(client, server.url, TWO, ("DAY", "99000"), ("NIGHT", "90000"))

    assert (lower["__typename"], lower["reason"]) == ("ReadingHeld", "LESS_THAN_PREVIOUS")
    assert huge["__typename"] in ("ReadingHeld", "ReadingAccepted")
    state = await ask(
        client, server.url, "query($n: String!) { receipt(number: $n) { state text } }", n=lower["receipt"]
    )
    assert state["receipt"]["state"] == "HELD"


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("10\x00385", 400, "BAD_USER_INPUT"),
        ("1" * 1_100, 400, "BAD_USER_INPUT"),
        ("1" * 1_100_000, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_a_text_that_nobody_can_mean_is_an_error_with_a_code(
    server: Server, client: httpx.AsyncClient, value: str, status: int, code: str
) -> None:
    given = {"account": ONE, "idempotencyKey": "x", "values": [{"register": "TOTAL", "value": value}]}
    answer = await client.post(
        f"{server.url}/graphql",
        content=json.dumps({"query": SUBMIT, "variables": {"input": given}}),
        headers={"content-type": "application/json", "accept": "application/graphql-response+json"},
    )

    assert answer.status_code == status
    assert answer.json()["errors"][0]["extensions"]["code"] == code


SUBMIT_ROWS = """mutation($rows: [SubmitReadingInput!]!) { submitReadings(input: {rows: $rows}) {
  accepted held refused rows { index outcome { __typename ... on ReadingAccepted { receipt replayed } ... on Refusal { code } } } } }"""


async def test_a_bad_row_never_stops_another_and_a_repeat_changes_nothing(
    server: Server, client: httpx.AsyncClient
) -> None:
    rows = [
        {"account": account, "idempotencyKey": f"row {i}", "values": [{"register": "TOTAL", "value": value}]}
        for i, (account, value) in enumerate([(ONE, "10400"), ("9999999", "5"), (ONE, "abc"), (ONE, "10410")])
    ]
    first = (await ask(client, server.url, SUBMIT_ROWS, rows=rows))["submitReadings"]
    again = (await ask(client, server.url, SUBMIT_ROWS, rows=rows))["submitReadings"]

    assert (first["accepted"], first["held"], first["refused"]) == (2, 0, 2)
    assert [row["outcome"].get("code") for row in first["rows"]] == [None, "UNKNOWN_ACCOUNT", "BAD_VALUE", None]
    receipts = [row["outcome"].get("receipt") for row in first["rows"]]
    assert [row["outcome"].get("receipt") for row in again["rows"]] == receipts
    assert again["rows"][0]["outcome"]["replayed"] is True


async def test_a_row_without_a_name_is_refused_alone_and_pointed_at(server: Server, client: httpx.AsyncClient) -> None:
    values = [{"register": "DAY", "value": "3200"}, {"register": "NIGHT", "value": "1600"}]
    rows = [
        {"account": TWO, "idempotencyKey": "named", "values": values},
        {"account": TWO, "idempotencyKey": " ", "values": values},
        {"account": TWO, "idempotencyKey": "empty", "values": []},
    ]
    query = SUBMIT_ROWS.replace("... on Refusal { code }", "... on Refusal { code path }")
    told = (await ask(client, server.url, query, rows=rows))["submitReadings"]["rows"]

    assert told[0]["outcome"]["__typename"] == "ReadingAccepted"
    assert told[1]["outcome"]["code"] == "BAD_MESSAGE_ID"
    assert told[1]["outcome"]["path"] == ["input", "rows", "1", "idempotencyKey"]
    assert told[2]["outcome"]["code"] == "TOO_FEW_VALUES"
    assert told[2]["outcome"]["path"] == ["input", "rows", "2", "values"]


async def test_an_sms_that_corrects_back_is_what_counts(server: Server, client: httpx.AsyncClient) -> None:
    for i, value in enumerate(("3300", "3310", "3300")):
        parameters = {"from": "+79160000001", "text": f"1000003#{value}#1700", "id": f"back {i}", "charset": "UTF-8"}
        await client.get(f"{server.url}/channels/sms", params=parameters)
    question = "query($n: String!) { account(number: $n) { submission { sent { value } } } }"

    told = (await ask(client, server.url, question, n=TWO))["account"]["submission"]
    assert told["sent"] == [{"value": 3300}, {"value": 1700}]


async def test_501_rows_are_refused_together_and_500_are_taken(server: Server, client: httpx.AsyncClient) -> None:
    rows = [
        {"account": ONE, "idempotencyKey": f"many {i}", "values": [{"register": "TOTAL", "value": str(10410 + i)}]}
        for i in range(501)
    ]
    answer = await client.post(f"{server.url}/graphql", json={"query": SUBMIT_ROWS, "variables": {"rows": rows}})
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "500" in answer.json()["errors"][0]["message"]

    taken = (await ask(client, server.url, SUBMIT_ROWS, rows=rows[:500]))["submitReadings"]
    assert taken["accepted"] == 500


async def test_the_same_key_with_another_content_is_refused(server: Server, client: httpx.AsyncClient) -> None:
    def given(value: str) -> dict[str, Any]:
        return {"account": ONE, "idempotencyKey": "mine", "values": [{"register": "TOTAL", "value": value}]}

    first = (await ask(client, server.url, SUBMIT, input=given("11000")))["submitReading"]
    again = (await ask(client, server.url, SUBMIT, input=given("11000")))["submitReading"]
    other = (await ask(client, server.url, SUBMIT, input=given("11001")))["submitReading"]

    assert first["__typename"] == "ReadingAccepted"
    assert again == {**first, "replayed": True}
    assert other["code"] == "MESSAGE_ID_REUSED"
    assert other["path"] == ["input", "idempotencyKey"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1000001#11500", "Принято"),
        ("１００００01#11500,5", "Принято"),
        ("1000001#115ОО", "Принято"),
        ("1000003#4000", "нужно 2 показания"),
        ("1000001#11500#7", "1 показание"),
        ("1000002 T1 4280 T2 2150 T3 6402", "полупик 6402, ночь 4280, пик 2150"),
        ("1000001#115a0", "Не понято"),
        ("1000001#1150000", "больше"),
        ("100000#11500", "7 цифр"),
        ("9999999#11500", "не найден"),
        ("1000009#11500", "закрыт"),
        ("1000001#99", "меньше прежнего"),
        ("привет", "Не понято"),
        ("", "Не понято"),
        ("1000001\x00#11500", ""),
        ("1000001#" + "7" * 5000, "Не понято"),
    ],
)
async def test_an_sms_gets_an_answer_in_russian(
    server: Server, client: httpx.AsyncClient, text: str, says: str
) -> None:
    answer = await client.get(
        f"{server.url}/channels/sms",
        params={
            "from": "+79161234567",
            "to": "+79037676781",
            "text": text,
            "id": f"id-{next(_keys)}",
            "charset": "UTF-8",
        },
    )

    assert answer.status_code == 200
    assert answer.headers["x-kannel-coding"] == "2"
    assert says in answer.text
    assert any("а" <= letter <= "я" for letter in answer.text.lower()), answer.text
    assert len(answer.text) <= 201


async def test_an_accepted_sms_says_zones_kwh_and_what_comes_next(server: Server, client: httpx.AsyncClient) -> None:
    answer = await client.get(
        f"{server.url}/channels/sms",
        params={"from": "89161234567", "text": "1000003#3130#1555", "id": "three-facts", "charset": "UTF-8"},
    )

    assert "л/с 1000003, день 3130, ночь 1555, расход 185 кВт·ч" in answer.text
    assert "счёт" in answer.text


async def test_a_megabyte_of_sms_is_refused_and_the_server_lives(server: Server, client: httpx.AsyncClient) -> None:
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""
    with contextlib.suppress(ConnectionError):  # the server may hang up while it is being sent
        writer.write(b"GET /channels/sms?from=1&text=" + b"7" * 1_000_000 + b" HTTP/1.1\r\nHost: bels\r\n\r\n")
        await writer.drain()
        said = await asyncio.wait_for(reader.read(100), 10)
    writer.close()

    assert b" 200 " not in said or "Не понято".encode() in said
    assert (await client.get(f"{server.url}/health")).status_code == 200


async def test_one_query_tells_whether_a_reading_may_be_sent(server: Server, client: httpx.AsyncClient) -> None:
    question = """query($n: String!) { account(number: $n) { submission { may refusal period until limit
        registers { register minimum maximum } silence { mode usage { register kwh } } byNormative { usage { kwh } } } } }"""
    three = (await ask(client, server.url, question, n=THREE))["account"]["submission"]
    closed = (await ask(client, server.url, question, n=CLOSED))["account"]["submission"]

    assert three["may"] is True
    assert [b["register"] for b in three["registers"]] == ["HALF_PEAK", "NIGHT", "PEAK"]
    assert all(b["minimum"] < b["maximum"] for b in three["registers"])
    assert (closed["may"], closed["refusal"]) == (False, "ACCOUNT_CLOSED")
