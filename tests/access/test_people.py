"""Consumers and staff."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from bels.access import acts, people
from bels.access.acts import Act
from bels.access.callers import Kind
from bels.access.master_key import development_key
from bels.access.people import LoginError, LoginTaken, normalised_login
from bels.access.vault import Vault

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LOGIN = "ivanova@example.ru"


@pytest.fixture
def vault(pool: asyncpg.Pool, tmp_path: Path) -> Vault:
    """Give the vault of a new supplier."""
    return Vault(pool, development_key(tmp_path))


async def test_a_person_is_found_by_the_login_in_any_of_its_forms(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(db, vault, Kind.CONSUMER, login="+7 (903) 123-45-67", password_hash="hash")
        found = await people.find_by_login(db, vault, "+79031234567")
        assert found is not None
        assert found.person == person
        for login in ("8 903 123 45 67", "9031234567", " 7-903-123-45-67 "):
            assert await people.find_by_login(db, vault, login) == found
        assert found.kind is Kind.CONSUMER
        assert found.password == "hash"
        assert found.revoked_at is None
        assert await people.find_by_login(db, vault, "+79031234568") is None


async def test_the_row_says_what_an_operator_may(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(
            db,
            vault,
            Kind.OPERATOR,
            login="petrova",
            password_hash="hash",
            grants=("money", "people"),
            must_change=True,
        )
        found = await people.find_person(db, person)
    assert found is not None
    assert (found.grants, found.must_change) == (("money", "people"), True)
    assert "hash" not in repr(found)


async def test_no_table_holds_a_login_in_clear_and_its_owner_can_read_it(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(db, vault, Kind.CONSUMER, login="Ivanova@Example.RU", password_hash=None)
        for table in ("person", "personal", "bels_keys.data_key", "identity_act"):
            for row in await db.fetch(f"SELECT to_jsonb(t)::text AS said FROM {table} AS t"):
                assert b"ivanova" not in row["said"].lower().encode()
                assert b"ivanova".hex() not in row["said"]
        assert await people.login_text(db, vault, person) == LOGIN


async def test_an_erased_login_is_no_login(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(db, vault, Kind.CONSUMER, login=LOGIN, password_hash=None)
        other = await people.add_person(db, vault, Kind.CONSUMER, login="sidorov", password_hash=None)
        nameless = await people.add_person(
            db, vault, Kind.CONSUMER, login=None, password_hash=None, oidc=("https://id.example", "7")
        )
        await vault.destroy(db, person)
        assert await people.login_text(db, vault, person) is None
        assert await people.login_texts(db, vault, [person, other, nameless]) == {other: "sidorov"}


async def test_a_login_is_somebodys_alone(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        await people.add_person(db, vault, Kind.CONSUMER, login=LOGIN, password_hash=None)
        # Inside a transaction of the caller's, which goes on.
        async with db.transaction():
            with pytest.raises(LoginTaken):
                await people.add_person(db, vault, Kind.OPERATOR, login=LOGIN.upper(), password_hash=None)
            assert await db.fetchval("SELECT count(*) FROM person") == 1


async def test_a_person_is_found_by_the_providers_subject(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(
            db, vault, Kind.AUDITOR, login=None, password_hash=None, oidc=("https://id.example", "42")
        )
        found = await people.find_by_oidc(db, vault, "https://id.example", "42")
        assert found is not None
        assert found.person == person
        assert await people.find_by_oidc(db, vault, "https://other.example", "42") is None
        with pytest.raises(LoginTaken):
            await people.add_person(
                db, vault, Kind.OPERATOR, login=None, password_hash=None, oidc=("https://id.example", "42")
            )


async def test_who_is_revoked_is_out_at_once_with_every_session(pool: asyncpg.Pool, vault: Vault) -> None:
    told: list[str] = []
    async with pool.acquire() as db, pool.acquire() as listener:
        await listener.add_listener("bels_access", lambda *said: told.append(said[3]))
        person = await people.add_person(db, vault, Kind.CONSUMER, login=LOGIN, password_hash="hash")
        other = await people.add_person(db, vault, Kind.CONSUMER, login="sidorov", password_hash="hash")
        for number, (session, who) in enumerate([("s-1", person), ("s-2", person), ("s-3", other)]):
            await db.execute(
                "INSERT INTO session (session, person, token, created_at, used_at, expires_at) VALUES ($1, $2, $3, $4, $4, $4)",
                session,
                who,
                bytes([number]),
                NOW,
            )
        assert await people.revoke_person(db, person, now=NOW, by="u-admin", reason="уволена", request_id="r-1")
        found = await people.find_by_login(db, vault, LOGIN)
        assert found is not None
        assert (found.revoked_at, found.password) == (NOW, None)
        ended = await db.fetch("SELECT session FROM session WHERE revoked_at = $1 ORDER BY session", NOW)
        assert [row["session"] for row in ended] == ["s-1", "s-2"]
        [act] = await acts.page(db, None, 10, subject=person)
        assert (act.kind, act.by_subject, act.reason, act.request_id) == (Act.USER_REVOKED, "u-admin", "уволена", "r-1")
        # Once more changes nothing.
        assert not await people.revoke_person(db, person, now=NOW, by="u-admin")
        assert len(await acts.page(db, None, 10, subject=person)) == 1
        assert not await people.revoke_person(db, "u-nobody", now=NOW, by="u-admin")
        await listener.fetchval("SELECT 1")
        assert told == [person]
        await listener.reset(timeout=5)


async def test_the_login_of_the_revoked_is_free_for_a_new_person(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        oidc = ("https://id.example", "42")
        old = await people.add_person(db, vault, Kind.OPERATOR, login=LOGIN, password_hash="hash", oidc=oidc)
        await people.revoke_person(db, old, now=NOW, by="u-admin")
        new = await people.add_person(db, vault, Kind.CONSUMER, login=LOGIN, password_hash="hash")
        found, at_provider = (
            await people.find_by_login(db, vault, LOGIN),
            await people.find_by_oidc(db, vault, *oidc),
        )
        assert found is not None
        assert found.person == new
        # What was not asked for stays the old one's: the provider's subject is still known as revoked.
        assert at_provider is not None
        assert (at_provider.person, at_provider.revoked_at) == (old, NOW)


async def test_a_password_is_set_with_whether_it_must_change(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        person = await people.add_person(db, vault, Kind.CONSUMER, login=LOGIN, password_hash="old", must_change=True)
        await people.set_password(db, person, "new", must_change=False)
        found = await people.find_person(db, person)
    assert found is not None
    assert (found.password, found.must_change) == ("new", False)


async def test_people_are_listed_page_by_page(pool: asyncpg.Pool, vault: Vault) -> None:
    async with pool.acquire() as db:
        added = {
            await people.add_person(db, vault, kind, login=f"{kind.value.lower()}-{number}", password_hash=None)
            for kind in (Kind.OPERATOR, Kind.CONSUMER)
            for number in range(3)
        }
        first = await people.list_people(db, "", 4)
        rest = await people.list_people(db, first[-1].person, 4)
        assert [len(first), len(rest)] == [4, 2]
        assert {each.person for each in (*first, *rest)} == added
        assert [each.kind for each in await people.list_people(db, "", 9, Kind.OPERATOR)] == [Kind.OPERATOR] * 3


@pytest.mark.parametrize(
    "login", ["", "ab", "x" * 255, "a b c", "a@b", "@example.ru", "мир-mir", "abc\0def", "abc\ud800"]
)
async def test_what_cannot_be_a_login_is_said_in_russian_and_found_nowhere(
    pool: asyncpg.Pool, vault: Vault, login: str
) -> None:
    with pytest.raises(LoginError, match="Логин — это"):
        normalised_login(login)
    async with pool.acquire() as db:
        assert await people.find_by_login(db, vault, login) is None
        with pytest.raises(LoginError):
            await people.add_person(db, vault, Kind.CONSUMER, login=login, password_hash=None)


@pytest.mark.parametrize("person", ["", "u-", "u-\0", "u-\ud800", "u-" + "A" * 16, "c-" + "a" * 16])
async def test_a_name_that_is_none_is_nobodys(pool: asyncpg.Pool, person: str) -> None:
    async with pool.acquire() as db:
        assert await people.find_person(db, person) is None


def test_a_login_has_one_form() -> None:
    assert normalised_login(" Ivanova@Example.RU ") == LOGIN
    assert normalised_login("Ｉｖａｎｏｖａ-1968") == "ivanova-1968"
    assert normalised_login("Анна.Петровна") == "анна.петровна"
    assert normalised_login("1000101") == "1000101"
    assert normalised_login("почта@пример.рф") == "почта@пример.рф"
    assert normalised_login("8(903)123-45-67") == "+79031234567"


def test_names_of_people_say_nothing_and_are_never_the_same() -> None:
    names = {people.new_person_id() for _ in range(1_000)}
    assert len(names) == 1_000
    assert all(len(name) == 18 and name.startswith("u-") for name in names)
