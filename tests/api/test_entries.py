"""Readings typed or pasted by an operator: each row says what was understood, what was before, and what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from bels.access.callers import Caller, Kind, rights_of
from bels.api.entries import LINES_MAX, ROWS_MAX, read_lines
from bels.api.schema import SCHEMA
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, Reason
from tests.api.client import Client, Clock, household

ONE, TWO, ZONES = "1000101", "1000102", "1000103"
OPERATOR = Caller(Kind.OPERATOR, "u-clerk", rights_of(Kind.OPERATOR), Channel.OFFICE, "operator:u-clerk")
ROW = """line accountNumber meter values { register value } previous { register value } difference { register kwh }
  period state refusal hold text hint receipt replayed"""
ENTER = f"""mutation($input: EnterReadingsInput!) {{ enterReadings(input: $input) {{
  accepted repeated held refused dryRun rows {{ {ROW} }} }} }}"""
PREVIEW = f"""query($lines: [String!]!) {{ previewEntries(lines: $lines) {{
  accepted repeated held refused dryRun rows {{ {ROW} }} }} }}"""


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    """Give an operator's program over two households with one register, and one with two."""
    client = Client(pool, database, Clock(datetime(2024, 1, 10, 12, tzinfo=MOSCOW)))
    async with client.intake.running(), client.changes.running():
        for account in (ONE, TWO):
            await household(client, account)
        at = client.clock.at.isoformat()
        await client.do("openAccount", account=ZONES, openedAt=at, locality="URBAN", stove="GAS", rooms=2, permanent=3)
        meter = {"number": "Z1", "capacity": 5, "registers": ["DAY", "NIGHT"], "model": "Миртек"}
        values = [{"register": "DAY", "value": 3000}, {"register": "NIGHT", "value": 1500}]
        await client.do("installMeter", account=ZONES, installedAt=at, act="1", meter=meter, values=values)
        client.clock.at = datetime(2024, 1, 20, 12, tzinfo=MOSCOW)
        client.caller = OPERATOR
        yield client


async def enter(client: Client, *lines: str, key: str = "paste-1", **given: Any) -> dict[str, Any]:
    """Enter lines."""
    told: dict[str, Any] = await client.ask(ENTER, input={"idempotencyKey": key, "lines": list(lines), **given})
    entered: dict[str, Any] = told["enterReadings"]
    return entered


async def preview(client: Client, *lines: str) -> dict[str, Any]:
    """Preview lines."""
    previewed: dict[str, Any] = (await client.ask(PREVIEW, lines=list(lines)))["previewEntries"]
    return previewed


def total(value: int) -> list[dict[str, Any]]:
    """Write a value of one register."""
    return [{"register": "TOTAL", "value": value}]


MIXED = (
    "1000101\t10100",
    "1000103\t3100\t1550",
    "1000102\t9000",
    "1000102\t99000",
    "9999999\t5",
    "100010\t5",
    "1000103\t3100",
)


async def test_each_row_says_what_was_understood_what_was_before_and_what_became_of_it(client: Client) -> None:
    told = await enter(client, *MIXED)

    first, zones, lower, much, unknown, short, few = told["rows"]
    assert [row["line"] for row in told["rows"]] == [1, 2, 3, 4, 5, 6, 7]
    assert (told["accepted"], told["held"], told["refused"], told["repeated"]) == (2, 2, 3, 0)
    assert first["receipt"] is not None
    assert {**first, "receipt": None} == {
        "line": 1,
        "accountNumber": ONE,
        "meter": "M1",
        "values": total(10_100),
        "previous": total(10_000),
        "difference": [{"register": "TOTAL", "kwh": 100}],
        "period": "2024-01",
        "state": "ACCEPTED",
        "refusal": None,
        "hold": None,
        "text": "Принято: 10100",
        "hint": None,
        "receipt": None,
        "replayed": False,
    }
    assert zones["difference"] == [{"register": "DAY", "kwh": 100}, {"register": "NIGHT", "kwh": 50}]
    assert (lower["state"], lower["hold"], lower["previous"]) == ("HELD", "LESS_THAN_PREVIOUS", total(10_000))
    assert (much["state"], much["hold"], much["difference"]) == (
        "HELD",
        "IMPLAUSIBLE",
        [{"register": "TOTAL", "kwh": 89_000}],
    )
    assert (unknown["refusal"], unknown["receipt"] is None) == ("UNKNOWN_ACCOUNT", False)
    assert (short["refusal"], short["receipt"], short["accountNumber"]) == ("BAD_ACCOUNT", None, "")
    assert (few["refusal"], few["text"]) == ("TOO_FEW_VALUES", "Не принято: нужно 2 показания (день, ночь), у вас 1")
    assert few["previous"] == [{"register": "DAY", "value": 3000}, {"register": "NIGHT", "value": 1500}]


async def test_the_same_paste_again_gives_the_same_outcomes(client: Client) -> None:
    first = await enter(client, *MIXED)
    stored = await client.pool.fetchval("SELECT count(*) FROM message")
    client.clock.at = datetime(2024, 1, 20, 18, tzinfo=MOSCOW)

    again = await enter(client, *MIXED)

    for before, after in zip(first["rows"], again["rows"], strict=True):
        assert after == {**before, "replayed": before["receipt"] is not None}
    assert await client.pool.fetchval("SELECT count(*) FROM message") == stored


async def test_the_same_readings_in_another_paste_are_repeats(client: Client) -> None:
    first = await enter(client, "1000101 10100", "1000103 3100 1550")
    second = await enter(client, "1000103 3100 1550", "1000101 10100", key="paste-2")
    third = await enter(client, "1000103 3100 1550", "1000101 10100", key="paste-2")

    assert (second["repeated"], second["accepted"]) == (2, 0)
    assert [row["receipt"] for row in second["rows"]] == [row["receipt"] for row in reversed(first["rows"])]
    assert [row["state"] for row in third["rows"]] == ["REPEATED", "REPEATED"]
    assert [row["replayed"] for row in third["rows"]] == [True, True]


async def test_another_line_under_the_same_key_is_refused_and_its_neighbours_are_not(client: Client) -> None:
    await enter(client, "1000101;10100", "1000102;10100")

    told = await enter(client, "1000101;10101", "1000102;10100")

    assert [(row["state"], row["refusal"]) for row in told["rows"]] == [
        ("REFUSED", "MESSAGE_ID_REUSED"),
        ("ACCEPTED", None),
    ]


async def test_a_dry_run_and_a_preview_store_nothing_and_say_what_then_happens(client: Client) -> None:
    lines = (*MIXED, "1000101\t10100", "1000101\t10120", "1000101\t10100")

    async def stored() -> list[int]:
        tables = ("message", "journal")
        return [await client.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    before = await stored()
    foreseen = await preview(client, *lines)
    dry = await enter(client, *lines, dryRun=True)
    assert await stored() == before
    assert foreseen == dry
    assert foreseen["dryRun"]
    assert {row["receipt"] for row in foreseen["rows"]} == {None}

    done = await enter(client, *lines)

    for row, real in zip(foreseen["rows"], done["rows"], strict=True):
        assert {**row, "receipt": None, "text": ""} == {**real, "receipt": None, "text": ""}
    assert [row["state"] for row in done["rows"][-3:]] == ["REPEATED", "ACCEPTED", "ACCEPTED"]


async def test_who_the_operator_acts_for_stands_in_every_entry_of_the_paste(client: Client) -> None:
    behalf = {"who": "HOLDER", "ground": "LETTER", "document": "заявление от 15.01.2024"}

    await enter(client, "1000101 10100", "1000102 10100", behalf=behalf)

    rows = await client.pool.fetch(
        "SELECT convert_from(state, 'UTF8')::json -> 'behalf' ->> 'document' AS noted FROM journal"
        " WHERE topic LIKE 'reading-accepted.%'"
    )
    assert [row["noted"] for row in rows] == ["заявление от 15.01.2024"] * 2
    reused = await enter(client, "1000101 10100", "1000102 10100")
    assert {row["refusal"] for row in reused["rows"]} == {"MESSAGE_ID_REUSED"}


@pytest.mark.parametrize(
    "lines",
    [
        ["1000103;3100;1550", "1000101;10100"],
        ["1000103,3100,1550", "1000101,10100"],
        ["1000103\t3100\t1550", "1000101\t10100"],
        ["1000103 3100 1550", "1000101 10100"],
        ["1000103#3100#1550", "1000101#10100"],
        ["л/с 1000103 ночь 1550 день 3100", "1000101 показание 10100"],
        ["Лицевой счёт;День;Ночь;Показание", "1000103;3100;1550;", "1000101;;;10100"],
        ["№ п/п\tЛицевой счёт\tТ1\tТ2", "1\t1000103\t3100\t1550", "2\t1000101\t10100\t"],
        ["Показания за январь 2024", "", "лицевой счет | ночь | день | всего", "1000103|1550|3100|", "1000101|||10100"],
    ],
)
async def test_a_paste_is_read_however_it_was_written(client: Client, lines: list[str]) -> None:
    told = await preview(client, *lines)

    assert [(row["accountNumber"], row["state"]) for row in told["rows"]] == [(ZONES, "ACCEPTED"), (ONE, "ACCEPTED")]
    assert told["rows"][0]["values"] == [{"register": "DAY", "value": 3100}, {"register": "NIGHT", "value": 1550}]
    assert told["rows"][1]["values"] == total(10_100)


def test_no_row_is_passed_over_in_silence() -> None:
    lines = ["1000101;12a45", "1000102;10100", "Всего 2 строки", "1000103 10,5 20,7", "привет", "иванов 7"]

    typed = read_lines(lines)

    assert [(row.line, row.account) for row in typed] == [(1, ONE), (2, TWO), (3, ""), (4, ZONES), (6, "")]
    assert typed[2].unread is typed[4].unread is Reason.BAD_ACCOUNT
    (alone,) = read_lines(["иванов 7"])
    assert alone.unread is Reason.BAD_ACCOUNT


async def test_a_value_that_is_none_is_told_and_its_words_are_not_kept(client: Client) -> None:
    told = await enter(client, "1000101;12a45", "1000102;10100", "1000101;Иванов")

    assert [row["refusal"] for row in told["rows"]] == ["BAD_VALUE", None, "BAD_VALUE"]
    raws = [row["raw"] for row in await client.pool.fetch("SELECT raw FROM message WHERE message_id LIKE '%paste%'")]
    assert len(raws) == 3
    assert not any("Иванов" in raw for raw in raws)


async def test_a_day_of_taking_may_stand_beside_and_may_not_come(client: Client) -> None:
    told = await preview(
        client,
        "лицевой счет;дата;показание",
        "1000101;20.01.2024;10100",
        "1000102;21.01.2024;10100",
        "1000102;31.02.2024;10100",
    )

    assert [row["refusal"] for row in told["rows"]] == [None, "TAKEN_IN_FUTURE", "BAD_DATES"]


async def test_a_paste_has_at_most_five_hundred_rows(client: Client, pool: asyncpg.Pool) -> None:
    lines = [f"{1_100_000 + n};5" for n in range(ROWS_MAX)]

    told = await enter(client, *lines)
    over = await SCHEMA.execute(PREVIEW, {"lines": [*lines, "1000101;10100"]}, await client.context_of(client.caller))
    long = await SCHEMA.execute(PREVIEW, {"lines": [""] * (LINES_MAX + 1)}, await client.context_of(client.caller))
    nothing = await SCHEMA.execute(PREVIEW, {"lines": ["привет"]}, await client.context_of(client.caller))
    longest = {"idempotencyKey": "k" * 151, "lines": lines[:1]}
    key = await SCHEMA.execute(ENTER, {"input": longest}, await client.context_of(client.caller))

    assert told["refused"] == ROWS_MAX
    for refused in (over, long, nothing, key):
        assert refused.errors is not None
        assert (refused.errors[0].extensions or {})["code"] == "BAD_USER_INPUT"
