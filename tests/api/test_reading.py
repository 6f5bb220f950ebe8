"""Reading what was never seen before: one at a time, with a share of the time, and never more than so many in the line."""

from __future__ import annotations

import asyncio
import time

import pytest

from bels.api.engine.context import RefusedError
from bels.api.engine.documents import Schema
from bels.api.engine.http import GraphQL
from bels.api.engine.reading import WAITING_OF_CLIENT, Readers
from tests.api.town import Context, Mutation, Query, Street, Subscription, client, context

INTROSPECTION = "{ __schema { types { name fields { name } } } }"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def busy(time_s: float) -> str:
    """Use the processor for so long."""
    until = time.thread_time() + time_s
    while time.thread_time() < until:
        pass
    return "done"


async def test_the_event_loop_goes_on_while_a_document_is_read() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await Readers().read("a", lambda: busy(0.15)) == "done"
    ticking.cancel()
    assert ticks > 5


async def test_after_the_burst_reading_waits_until_its_share_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = Clock(), list[float]()

    async def sleep(time_s: float) -> None:
        slept.append(time_s)
        clock.at += time_s

    readers = Readers(share=0.1, burst_s=0.02, clock=clock)
    monkeypatch.setattr("bels.api.engine.reading.asyncio.sleep", sleep)
    await readers.read("a", lambda: busy(0.03))
    assert slept == []
    await readers.read("a", lambda: busy(0.03))
    # 10 ms were too many, and 10 ms of every 100 come back.
    assert slept == [pytest.approx(0.1, rel=0.5)]


async def test_of_one_client_only_so_many_wait_and_others_still_may() -> None:
    readers = Readers()
    waiting = [asyncio.create_task(readers.read("a", lambda: busy(0.02))) for _ in range(WAITING_OF_CLIENT)]
    await asyncio.sleep(0)
    with pytest.raises(RefusedError) as refused:
        await readers.read("a", lambda: "never")
    assert (refused.value.status, refused.value.code) == (429, "RATE_LIMITED")
    assert await readers.read("b", lambda: "done") == "done"
    assert await asyncio.gather(*waiting) == ["done"] * WAITING_OF_CLIENT
    assert await readers.read("a", lambda: "done") == "done"


async def test_what_goes_wrong_while_reading_is_told_to_whoever_asked() -> None:
    readers = Readers()
    with pytest.raises(ZeroDivisionError):
        await readers.read("a", lambda: 1 / 0)
    assert await readers.read("a", lambda: "done") == "done"


async def test_the_schema_is_told_once_and_then_from_memory() -> None:
    schema = Schema(Query, Mutation, Subscription, types=[Street])
    async with client(GraphQL(schema, context)) as town:
        town.headers["authorization"] = "developer"
        first = (await town.post("/graphql", json={"query": INTROSPECTION})).json()
        operation = schema.find(INTROSPECTION)
        assert operation.told is not None
        assert (await town.post("/graphql", json={"query": INTROSPECTION})).json()["data"] == first["data"]
        by_variables = "query($d: Boolean!) { __schema { types { name @include(if: $d) } } }"
        for given in (True, False):
            told = await town.post("/graphql", json={"query": by_variables, "variables": {"d": given}})
            assert ("name" in told.json()["data"]["__schema"]["types"][0]) is given


async def test_whoever_needs_no_turn_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "takes_turns", lambda _: False)
    async with client(GraphQL(Schema(Query, Mutation, Subscription, types=[Street]), context)) as town:
        asked = [town.post("/graphql", json={"query": f"{{ a{i}: __typename }}"}) for i in range(20)]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}


async def test_a_document_that_many_send_at_once_is_read_once() -> None:
    async with client(GraphQL(Schema(Query, Mutation, Subscription, types=[Street]), context)) as town:
        asked = [town.post("/graphql", json={"query": "{ __typename # the same for all\n }"}) for _ in range(64)]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
