"""Entries are compared with the messages that they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bels.audit.findings import Finding, FindingKind
from bels.audit.verifying.chains import Span
from bels.audit.verifying.messages_check import MessagesChecked, check_messages, is_said
from bels.intake import RAW_LENGTH_MAX
from bels.messages import digest
from tests.audit.verifying.town import ACCOUNTS, EVERYTHING, Town
from tests.supplier import open_household, reading

CHANGED, MISSING = FindingKind.MESSAGE_CHANGED, FindingKind.MESSAGE_MISSING


async def checked(town: Town, account: str = ACCOUNTS[0]) -> MessagesChecked:
    """Compare the messages of an account."""
    async with town.bels.pool.acquire() as db:
        return await check_messages(db, Span(account, account, including=True))


async def change(town: Town, statement: str, *values: object) -> None:
    """Change something with a superuser's rights."""
    async with town.bels.pool.acquire() as db, db.transaction():
        await db.execute("SET LOCAL session_replication_role = replica")
        assert not (await db.execute(statement, *values)).endswith(" 0")


def kinds(findings: Sequence[Finding]) -> set[tuple[FindingKind, int | None]]:
    """Give kinds and entries."""
    return {(each.kind, each.entry) for each in findings}


async def test_every_message_of_an_account_is_met_once(town: Town) -> None:
    said = await town.bels.pool.fetchval(
        "SELECT count(*) FROM message WHERE account = $1 AND last_version >= first_version", ACCOUNTS[0]
    )
    found = await checked(town)
    assert (found.messages, found.shortened, found.findings) == (said, 0, [])


async def test_words_that_are_too_long_to_keep_are_said_to_be_shortened(town: Town) -> None:
    account = "1000077"
    long, short = open_household(account)
    await town.take(replace(long, raw="ы" * (RAW_LENGTH_MAX + 1)))
    await town.take(short)
    found = await checked(town, account)
    assert (found.messages, found.shortened, found.findings) == (2, 1, [])
    verified = await town.verify(town.outside, EVERYTHING)
    assert (verified.shortened, verified.findings) == (1, [])


async def test_words_that_a_table_cannot_hold_are_understood(town: Town) -> None:
    account = "1000078"
    await town.take(*open_household(account))
    for i, raw in enumerate(("1000#1\x00", "a \ud800 b", "\x00\udfff", "\\x00 and \\ud800 as they are")):
        await town.bels.intake.submit(replace(reading(account, f"sms {i}", 100 + i, town.now[0]), raw=raw))
    found = await checked(town, account)
    assert (found.messages, found.findings) == (6, [])


def test_other_words_are_not_those_that_were_said() -> None:
    assert is_said("6", digest("6"))
    assert not is_said("7", digest("6"))
    assert not is_said("\\x00", digest("6"))


async def test_changed_words_are_found_by_the_entry_that_was_made_from_them(town: Town) -> None:
    await change(town, "UPDATE message SET raw = raw || ' ' WHERE account = $1 AND first_version = 3", ACCOUNTS[0])
    assert kinds((await checked(town)).findings) == {(CHANGED, 3)}


async def test_words_changed_with_their_digest_are_found(town: Town) -> None:
    new = digest("6")
    await change(
        town, "UPDATE message SET raw = '6', content = $2 WHERE account = $1 AND first_version = 3", ACCOUNTS[0], new
    )
    assert (CHANGED, 3) in kinds((await checked(town)).findings)


async def test_a_message_that_is_gone_is_missed_by_its_entries(town: Town) -> None:
    await change(town, "DELETE FROM message WHERE account = $1 AND first_version = 3", ACCOUNTS[0])
    assert (MISSING, 3) in kinds((await checked(town)).findings)


@pytest.mark.parametrize(
    "claim",
    [
        "last_version = last_version + 1",
        "first_version = first_version - 1",
        "account = '1000001'",
        "first_version = NULL",
    ],
)
async def test_a_message_that_claims_other_entries_is_found(town: Town, claim: str) -> None:
    await change(town, f"UPDATE message SET {claim} WHERE account = $1 AND first_version = 3", ACCOUNTS[0])
    assert {kind for kind, _ in kinds((await checked(town)).findings)} == {CHANGED}


async def test_an_entry_without_a_receipt_cannot_be_traced(town: Town) -> None:
    await change(
        town, "UPDATE journal SET state = '{}' WHERE originator_id = $1 AND originator_version = 3", ACCOUNTS[0]
    )
    assert (FindingKind.ENTRY_UNREADABLE, 3) in kinds((await checked(town)).findings)
