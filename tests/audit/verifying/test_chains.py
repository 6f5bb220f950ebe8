"""The chain of an account is followed entry by entry, and compared with what seals know of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bels.audit.findings import Finding, FindingKind
from bels.audit.verifying.chains import (
    BACKDATED_TOLERANCE,
    ROWS_OF_PAGE,
    Sealed,
    SealedHead,
    Span,
    check_chains,
    follow_rows,
)
from bels.journal.chain import GENESIS, link
from tests.audit.seals.ground import Ground
from tests.audit.verifying.attacker import attack, rewrite
from tests.audit.verifying.town import ACCOUNTS, Town, names

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPIC = "inspection-due.1"

Row = tuple[str, int, str, bytes, bytes, bytes]


def state_of(at: datetime, text: str = "") -> bytes:
    """Give a state that says when it was recorded."""
    return f'{{"recorded_at":"{at.isoformat().replace("+00:00", "Z")}","text":"{text}"}}'.encode()


def chained(account: str, states: Sequence[bytes], topic: str = TOPIC) -> list[Row]:
    """Give rows whose digests follow."""
    rows, before = list[Row](), GENESIS
    for version, state in enumerate(states, 1):
        before = link(before, account, version, topic, b"said", state)
        rows.append((account, version, topic, state, b"said", before))
    return rows


def daily(count: int) -> list[Row]:
    """Give an account's entries, one a day."""
    return chained("1000000", [state_of(NOON + timedelta(days=i), str(i)) for i in range(count)])


def head(row: Row, seal: int, not_before: datetime | None = None) -> SealedHead:
    """Seal what ends with a row."""
    return SealedHead(seal, row[1], row[5], not_before)


def only(findings: Sequence[Finding]) -> Finding:
    """Give the one finding there is."""
    (found,) = findings
    return found


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(
    texts,
    st.lists(st.tuples(texts, st.binary(max_size=20), st.binary(max_size=200)), min_size=1, max_size=5),
    st.data(),
)
def test_the_digests_followed_are_those_of_the_chain_and_of_nothing_else(
    account: str, said: list[tuple[str, bytes, bytes]], data: Any
) -> None:
    rows, before = list[Row](), GENESIS
    for version, (topic, content, state) in enumerate(said, 1):
        before = link(before, account, version, topic, content, state)
        rows.append((account, version, topic, state, content, before))
    changed = {each.kind for each in follow_rows(account, rows).findings}
    assert FindingKind.ENTRY_CHANGED not in changed

    i = data.draw(st.integers(0, len(rows) - 1))
    number, version, topic, state, content, digest = rows[i]
    rows[i] = (number, version, topic, state + b"!", content, digest)
    found = [each for each in follow_rows(account, rows).findings if each.kind is FindingKind.ENTRY_CHANGED]
    assert [each.entry for each in found] == [version]


def test_the_first_entry_that_does_not_follow_is_named_and_the_rest_are_counted() -> None:
    rows = daily(6)
    for i in (2, 4):
        rows[i] = (*rows[i][:3], rows[i][3] + b" ", *rows[i][4:])
    found = only(follow_rows("1000000", rows, [head(rows[0], 1)]).findings)
    assert (found.kind, found.entry, found.first, found.last) == (FindingKind.ENTRY_CHANGED, 3, 2, 3)
    assert "sealed through entry 1 (seal 1)" in found.text
    assert "1 later ones do not follow either" in found.text


def test_a_digest_that_was_changed_is_named_by_its_own_entry() -> None:
    rows = daily(4)
    rows[1] = (*rows[1][:5], bytes(32))
    assert only(follow_rows("1000000", rows).findings).entry == 2


def test_a_hole_is_told_with_both_its_ends() -> None:
    rows = daily(6)
    found = only(follow_rows("1000000", rows[:2] + rows[4:], [head(rows[5], 3)]).findings)
    assert (found.kind, found.entry, found.first, found.last) == (FindingKind.ENTRY_MISSING, 3, 3, 4)


def test_a_tail_that_a_seal_knows_is_missed() -> None:
    rows = daily(6)
    found = only(follow_rows("1000000", rows[:3], [head(rows[1], 1), head(rows[5], 2)]).findings)
    assert (found.kind, found.first, found.last, found.seal) == (FindingKind.TAIL_CUT, 4, 6, 2)


def test_a_rewritten_history_lies_between_the_last_seal_that_fits_and_the_first_that_does_not() -> None:
    rows = daily(8)
    heads = [head(rows[1], 1), head(rows[3], 2), head(rows[6], 5), head(rows[7], 6)]
    states = [row[3] for row in rows]
    states[5] += b" "
    found = only(follow_rows("1000000", chained("1000000", states), heads).findings)
    assert (found.kind, found.first, found.last, found.seal) == (FindingKind.HISTORY_REWRITTEN, 5, 7, 5)


def test_an_entry_that_a_seal_would_have_known_is_backdated() -> None:
    rows = daily(4)
    sealed = Sealed(upto=1, newest=1, newest_at=NOON + timedelta(days=9))
    found = only(follow_rows("1000000", rows, [head(rows[1], 1)], sealed).findings)
    assert (found.kind, found.entry, found.seal) == (FindingKind.ENTRY_BACKDATED, 3, 1)
    assert "1 later ones say the same" in found.text


def test_an_entry_with_two_moments_is_dated_by_the_one_that_counts() -> None:
    states = [row[3] for row in daily(3)]
    sealed = Sealed(upto=1, newest=1, newest_at=NOON + timedelta(days=1, hours=1))
    for key in ("recorded_at", "recorded\\u005fat"):
        states[2] = state_of(NOON + timedelta(days=2))[:-1] + f',"{key}":"2026-01-01T00:00:00Z"}}'.encode()
        rows = chained("1000000", states)
        found = only(follow_rows("1000000", rows, [head(rows[1], 1)], sealed).findings)
        assert (found.kind, found.entry) == (FindingKind.ENTRY_BACKDATED, 3)


def test_between_two_seals_the_older_one_says_what_is_too_old() -> None:
    rows = daily(4)
    second = head(rows[3], 2, not_before=NOON + timedelta(days=2, hours=1))
    sealed = Sealed(upto=2, newest=2, newest_at=NOON + timedelta(days=9))
    found = only(follow_rows("1000000", rows, [head(rows[1], 1), second], sealed).findings)
    assert (found.kind, found.entry, found.seal) == (FindingKind.ENTRY_BACKDATED, 3, 1)


def test_a_slow_transaction_is_no_forgery_in_whichever_zone_its_moment_is_written() -> None:
    sealed = Sealed(upto=1, newest=1, newest_at=NOON)
    inside = NOON - BACKDATED_TOLERANCE + timedelta(seconds=1)
    for at, is_found in ((inside, False), (inside - timedelta(seconds=2), True)):
        for written in (at, at.astimezone(timezone(timedelta(hours=3))), at.astimezone(timezone(timedelta(hours=-5)))):
            found = follow_rows("1000000", chained("1000000", [state_of(written)]), (), sealed).findings
            assert bool(found) is is_found


def test_an_entry_of_a_newer_program_or_of_none_cannot_be_read() -> None:
    found = only(follow_rows("1000000", chained("1000000", [b"{}"], topic="told-by-nobody.1")).findings)
    assert (found.kind, found.entry) == (FindingKind.ENTRY_UNREADABLE, 1)

    sealed = Sealed(upto=1, newest=1, newest_at=NOON)
    found = only(follow_rows("1000000", chained("1000000", [b"\xff"]), (), sealed).findings)
    assert (found.kind, found.entry) == (FindingKind.ENTRY_UNREADABLE, 1)


async def test_an_account_of_many_pages_is_followed_to_its_end(ground: Ground) -> None:
    await ground.add("1000000", entries=ROWS_OF_PAGE + 200)
    await ground.add("1000001", entries=3)
    span, late = Span("", "1000001"), ROWS_OF_PAGE + 100

    async def found() -> list[tuple[FindingKind, str | None, int | None]]:
        async with ground.pool.acquire() as db:
            checked = await check_chains(db, span, ["1000000", "1000001"], Sealed(), {})
        assert (checked.accounts, checked.entries) == (2, ROWS_OF_PAGE + 203)
        assert checked.unsealed == checked.entries
        unread = FindingKind.ENTRY_UNREADABLE
        return [(each.kind, each.account, each.entry) for each in checked.findings if each.kind is not unread]

    assert await found() == []
    await ground.tamper("UPDATE journal SET state = state || ' ' WHERE originator_version = $1", late)
    assert await found() == [(FindingKind.ENTRY_CHANGED, "1000000", late)]


async def test_nothing_where_something_must_be_is_a_change_too(ground: Ground) -> None:
    for account, column in (("1000001", "topic"), ("1000002", "state"), ("1000003", "content"), ("1000004", "digest")):
        await ground.add(account, entries=3)
        await ground.tamper(f"ALTER TABLE journal ALTER {column} DROP NOT NULL")
        await ground.tamper(
            f"UPDATE journal SET {column} = NULL WHERE originator_id = $1 AND originator_version = 2", account
        )
        async with ground.pool.acquire() as db:
            checked = await check_chains(db, Span(account, account, including=True), [account], Sealed(), {})
        found = [each for each in checked.findings if each.kind is FindingKind.ENTRY_CHANGED]
        assert [each.entry for each in found] == [2]


async def test_some_accounts_are_verified_by_themselves(town: Town) -> None:
    async with town.bels.pool.acquire() as db:
        await attack(db, Random(7), town, rewrite)
    accused = {each.account for each in (await town.verify(town.outside)).findings}
    (account,) = {each for each in accused if each is not None}
    innocent = [each for each in ACCOUNTS if each != account]
    assert (await town.verify_some(*innocent, outside=town.outside)).findings == []
    assert names((await town.verify_some(account, outside=town.outside)).findings, account)


async def test_what_no_seal_knows_yet_is_counted_and_dated(town: Town) -> None:
    verified = await town.verify()
    young = await town.bels.pool.fetchval(
        "SELECT count(*) FROM journal j JOIN LATERAL (SELECT max(version) AS version FROM sealed_head"
        " WHERE account = j.originator_id) h ON true WHERE j.originator_version > h.version"
    )
    assert verified.unsealed == young > 0
    assert verified.unsealed_since is not None
    assert verified.unsealed_since > town.last.sealed_at
