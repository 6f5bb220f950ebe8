"""The index of the trail is checked against the journal: what was taken out of it, put in or altered is found."""

from __future__ import annotations

import asyncpg
import pytest

from bels.audit.findings import Finding
from bels.audit.trail.checking import check_trail
from tests.audit.trail.story import Story, accepted, at, paid

ACCOUNTS = ("1000001", "1000002", "1000003")


@pytest.fixture
async def told(pool: asyncpg.Pool) -> asyncpg.Pool:
    """Give a told trail, and an entry that was appended since."""
    story = Story(pool)
    await story.tell("1000001", at(1, 5), accepted(100))
    await story.tell("1000001", at(1, 6), paid("250.00"))
    await story.tell("1000002", at(1, 7), accepted(100))
    await story.told()
    await story.tell("1000003", at(1, 8), accepted(100))
    return pool


async def check(pool: asyncpg.Pool) -> list[Finding]:
    async with pool.acquire() as db:
        return await check_trail(db, ACCOUNTS)


async def test_what_was_told_follows_from_the_journal_and_what_is_new_is_not_missed(told: asyncpg.Pool) -> None:
    assert await check(told) == []


@pytest.mark.parametrize(
    ("statement", "account", "entry", "text"),
    [
        ("DELETE FROM trail WHERE entry = 2", "1000001", 2, "does not know"),
        ("UPDATE trail SET amount = 1, actor = 'x' WHERE entry = 2", "1000001", 2, "something else: actor, amount"),
        ("UPDATE trail SET recorded_at = now() WHERE account = '1000002'", "1000002", 1, "something else: recorded_at"),
        (
            (
                "INSERT INTO trail SELECT account, 9, 99, recorded_at, happened_at, kind, channel, actor"
                " FROM trail WHERE account = '1000002'"
            ),
            "1000002",
            9,
            "the journal has not",
        ),
    ],
)
async def test_an_index_that_was_tampered_with_is_found(
    told: asyncpg.Pool, statement: str, account: str, entry: int, text: str
) -> None:
    await told.execute(statement)
    (finding,) = await check(told)
    assert (finding.account, finding.entry) == (account, entry)
    assert text in finding.text
