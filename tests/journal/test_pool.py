"""What a pool's connection brings from its last user to its next: nothing, and without a round trip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncpg

import bels
from bels.journal.write import as_it_is

SESSION_STATE = re.compile(
    r"""add_listener|\.set_type_codec|pg_(?:try_)?advisory_(?:lock|unlock)|\bTEMP(?:ORARY)?\s+TABLE
    |["']\s*(?:SET(?!\s+LOCAL)|LISTEN|DECLARE|PREPARE)\s""",
    re.VERBOSE,
)
"""What outlives a transaction on a connection."""

LISTEN = {"journal/listening.py", "outgoing/jobs.py"}
"""The first has a connection of its own, the library of the second resets its own before it gives it back."""

LOCK = {"exchanging.py", "sandbox/serving.py", "sandbox/store.py"}
"""Their locks live as long as a connection of their own does."""


async def test_a_connection_is_given_back_without_a_statement(database: str) -> None:
    asked: list[str] = []

    async def watch(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda record: asked.append(record.query))

    async with asyncpg.create_pool(database, min_size=1, max_size=1, init=watch, reset=as_it_is) as pool:
        for _ in range(2):
            async with pool.acquire() as db:
                assert await db.fetchval("SELECT 7") == 7

    assert asked == ["SELECT 7"] * 2


async def test_what_was_left_in_the_middle_is_undone_before_the_next_comes(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1, reset=as_it_is) as pool:
        async with pool.acquire() as db:
            await db.execute("BEGIN")
            await db.execute("CREATE TABLE half (number int)")
        async with pool.acquire() as db:
            assert not db.is_in_transaction()
            found: Any = await db.fetchval("SELECT to_regclass('half')")

    assert found is None


def test_nothing_leaves_its_mark_on_the_session_of_a_connection() -> None:
    rooms = Path(bels.__file__).parent
    marks = {
        (str(path.relative_to(rooms)), mark.strip())
        for path in rooms.rglob("*.py")
        for mark in SESSION_STATE.findall(path.read_text("utf-8"))
    }

    assert {(room, mark) for room, mark in marks if room not in LOCK} == {(room, "add_listener") for room in LISTEN}
    assert {mark for room, mark in marks if room in LOCK} <= {
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "pg_advisory_unlock",
    }
