"""Sessions: a refresh token is used once, a stolen one ends its session, and each can be revoked by itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bels.access import people, sessions
from bels.access.callers import Kind
from bels.access.master_key import FileMasterKey
from bels.access.sessions import NotRenewed, Renewed
from bels.access.store import ACCESS_CHANGES
from bels.access.vault import Vault

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)


@pytest.fixture
def vault(pool: asyncpg.Pool) -> Vault:
    return Vault(pool, FileMasterKey([("test", bytes(32))]))


@pytest.fixture
async def person(pool: asyncpg.Pool, vault: Vault) -> str:
    async with pool.acquire() as db:
        return await people.add_person(db, vault, Kind.CONSUMER, login="ivanova", password_hash="x")


async def begun(pool: asyncpg.Pool, vault: Vault, person: str, at: datetime = NOW) -> sessions.Begun:
    async with pool.acquire() as db:
        return await sessions.begin(db, vault, person, at)


async def renewed(pool: asyncpg.Pool, vault: Vault, token: str, at: datetime) -> Renewed | NotRenewed:
    async with pool.acquire() as db:
        return await sessions.renew(db, vault, token, at)


async def next_token(pool: asyncpg.Pool, vault: Vault, token: str, at: datetime) -> str:
    found = await renewed(pool, vault, token, at)
    assert isinstance(found, Renewed)
    return found.refresh_token


async def living(pool: asyncpg.Pool, person: str, at: datetime = NOW) -> list[str]:
    async with pool.acquire() as db:
        return [row.session for row in await sessions.list_of(db, person, at)]


async def test_a_refresh_token_is_replaced_by_its_use(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    first = await begun(pool, vault, person)
    found = await renewed(pool, vault, first.refresh_token, LATER)

    assert isinstance(found, Renewed)
    assert (found.person, found.session) == (person, first.session)
    assert found.refresh_token != first.refresh_token
    assert len(found.refresh_token) == sessions.REFRESH_LENGTH
    assert isinstance(await renewed(pool, vault, found.refresh_token, LATER + timedelta(minutes=10)), Renewed)


async def test_a_token_whose_answer_was_lost_gets_the_same_answer_again(
    pool: asyncpg.Pool, vault: Vault, person: str
) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    second = await next_token(pool, vault, first, LATER)

    assert await next_token(pool, vault, first, LATER + timedelta(seconds=10)) == second
    assert isinstance(await renewed(pool, vault, second, LATER + timedelta(minutes=10)), Renewed)


async def test_two_windows_that_renew_at_once_get_the_same_token(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    told = await asyncio.gather(*(next_token(pool, vault, first, LATER) for _ in range(4)))

    assert len(set(told)) == 1


async def test_a_token_that_is_used_again_ends_its_session(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    second = await next_token(pool, vault, first, LATER)

    assert await renewed(pool, vault, first, LATER + timedelta(seconds=11)) is NotRenewed.REUSED
    assert await renewed(pool, vault, second, LATER + timedelta(seconds=12)) is NotRenewed.ENDED
    assert await living(pool, person) == []
    assert await pool.fetchval("SELECT reason FROM identity_act WHERE kind = 'SESSION_REVOKED'") == "REUSED"


async def test_a_thief_who_is_quick_is_still_found_out(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    owners = await next_token(pool, vault, first, LATER)
    thiefs = await next_token(pool, vault, first, LATER + timedelta(seconds=5))

    third = await next_token(pool, vault, thiefs, LATER + timedelta(minutes=5))
    assert await renewed(pool, vault, owners, LATER + timedelta(minutes=6)) is NotRenewed.REUSED
    assert await renewed(pool, vault, third, LATER + timedelta(minutes=7)) is NotRenewed.ENDED


async def test_a_session_ends_after_thirty_idle_days(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    token = (await begun(pool, vault, person)).refresh_token

    assert await living(pool, person, NOW + timedelta(days=30)) == []
    assert await renewed(pool, vault, token, NOW + timedelta(days=30)) is NotRenewed.ENDED


async def test_a_session_ends_after_half_a_year_however_it_is_used(
    pool: asyncpg.Pool, vault: Vault, person: str
) -> None:
    token, at = (await begun(pool, vault, person)).refresh_token, NOW
    while at + timedelta(days=29) < NOW + timedelta(days=180):
        at += timedelta(days=29)
        token = await next_token(pool, vault, token, at)

    assert await renewed(pool, vault, token, NOW + timedelta(days=180)) is NotRenewed.ENDED


@pytest.mark.parametrize("token", ["", "bels_r_", "bels_r_" + "A" * 43, "bels_r_" + "я" * 43, "x" * 50, "\ud800" * 50])
async def test_what_is_no_token_continues_nothing(pool: asyncpg.Pool, vault: Vault, person: str, token: str) -> None:
    await begun(pool, vault, person)
    assert await renewed(pool, vault, token, LATER) is NotRenewed.UNKNOWN


async def test_one_session_is_revoked_and_the_others_go_on(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    kept, lost = await begun(pool, vault, person), await begun(pool, vault, person)
    async with pool.acquire() as db:
        assert await sessions.revoke(db, lost.session, "LOGGED_OUT", person="u-somebody-else") is None
        assert await sessions.revoke(db, lost.session, "LOGGED_OUT", person=person) == person
        assert await sessions.revoke(db, lost.session, "LOGGED_OUT") is None

    assert await living(pool, person) == [kept.session]
    assert await renewed(pool, vault, lost.refresh_token, LATER) is NotRenewed.ENDED


async def test_all_sessions_of_a_person_are_revoked(
    pool: asyncpg.Pool, vault: Vault, person: str, database: str
) -> None:
    for _ in range(3):
        await begun(pool, vault, person)
    told: asyncio.Queue[object] = asyncio.Queue()
    listener = await asyncpg.connect(database)
    await listener.add_listener(ACCESS_CHANGES, lambda _db, _pid, _channel, payload: told.put_nowait(payload))
    async with pool.acquire() as db:
        assert await sessions.revoke_all(db, person, "PASSWORD_RESET") == 3
    assert await asyncio.wait_for(told.get(), 5) == person
    await listener.close()

    assert await living(pool, person) == []


async def test_a_refresh_token_ends_its_own_session_also_when_it_was_replaced(
    pool: asyncpg.Pool, vault: Vault, person: str
) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    second = await next_token(pool, vault, first, LATER)
    async with pool.acquire() as db:
        assert await sessions.revoke_token(db, vault, first, "LOGGED_OUT") == person

    assert await renewed(pool, vault, second, LATER) is NotRenewed.ENDED


async def test_a_revoked_person_continues_nothing(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    token = (await begun(pool, vault, person)).refresh_token
    await pool.execute("UPDATE person SET revoked_at = now()")

    assert await renewed(pool, vault, token, LATER) is NotRenewed.ENDED


async def test_the_session_that_was_used_longest_ago_gives_way(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    opened = [
        (await begun(pool, vault, person, NOW + timedelta(minutes=minute))).session
        for minute in range(sessions.SESSIONS_MAX + 2)
    ]
    assert sorted(await living(pool, person, LATER)) == sorted(opened[2:])


async def test_what_ended_long_ago_is_forgotten(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    await begun(pool, vault, person)
    await begun(pool, vault, person, NOW + sessions.IDLE + sessions.FORGOTTEN_AFTER + timedelta(days=1))

    assert await pool.fetchval("SELECT count(*) FROM session") == 1


async def test_no_refresh_token_stands_in_the_tables(pool: asyncpg.Pool, vault: Vault, person: str) -> None:
    first = (await begun(pool, vault, person)).refresh_token
    second = await next_token(pool, vault, first, LATER)
    stored = str(await pool.fetch("SELECT session::text FROM session"))

    for token in (first, second):
        assert token.removeprefix(sessions.REFRESH_PREFIX) not in stored
