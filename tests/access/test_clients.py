"""Partners and gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import asyncpg
import pytest

from bels.access import acts, clients
from bels.access.acts import Act
from bels.access.callers import Kind
from bels.access.clients import ClientError, check_secret
from bels.access.master_key import development_key
from bels.access.vault import Vault
from bels.domain.terms import Channel
from bels.journal.write import Db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CERTIFICATE = "0123456789abcdef" * 4


@pytest.fixture
def vault(pool: asyncpg.Pool, tmp_path: Path) -> Vault:
    """Give the vault of a new supplier."""
    return Vault(pool, development_key(tmp_path))


@pytest.fixture
async def db(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Give a connection to it."""
    async with pool.acquire() as given:
        yield given


async def bank(db: Db, vault: Vault) -> tuple[str, str]:
    """Add a bank."""
    return await clients.add_client(
        db, vault, Kind.PARTNER, "A bank", Channel.BANK, ("payments:write", "readings:write"), CERTIFICATE
    )


async def test_a_client_comes_in_by_its_secret_alone(db: Db, vault: Vault) -> None:
    client, secret = await bank(db, vault)
    other, other_secret = await clients.add_client(db, vault, Kind.GATEWAY, "Kannel", Channel.SMS)
    found = await check_secret(db, vault, client, secret, NOW)
    assert found is not None
    assert (found.client, found.kind, found.name, found.channel) == (client, Kind.PARTNER, "A bank", Channel.BANK)
    assert (found.scopes, found.certificate) == (("payments:write", "readings:write"), CERTIFICATE)
    gateway = await check_secret(db, vault, other, other_secret, NOW)
    assert gateway is not None
    assert (gateway.channel, gateway.scopes, gateway.certificate) == (Channel.SMS, (), None)
    for wrong in (other_secret, secret[:-1], secret.upper(), f"{secret}\n", "", "\0", "\ud800", "x" * 100_000):
        assert await check_secret(db, vault, client, wrong, NOW) is None
    for nobody in ("c-" + "a" * 16, "", "\0", "\ud800", f"{client}\n", "x" * 100_000):
        assert await check_secret(db, vault, nobody, secret, NOW) is None


async def test_no_table_holds_a_secret(db: Db, vault: Vault) -> None:
    client, secret = await bank(db, vault)
    for table in ("client", "identity_act"):
        for row in await db.fetch(f"SELECT to_jsonb(t)::text AS said FROM {table} AS t"):
            assert secret not in row["said"]
            assert secret.encode().hex() not in row["said"]
    [act] = await acts.page(db, None, 10, subject=client)
    assert (act.kind, act.by_subject) == (Act.CLIENT_ADDED, "local")


async def test_a_secret_is_changed_without_a_break(db: Db, vault: Vault) -> None:
    client, first = await bank(db, vault)
    second = await clients.change_secret(db, vault, client, 3600, now=NOW, by="u-admin")
    before, after = NOW + timedelta(minutes=59), NOW + timedelta(hours=1)
    assert await check_secret(db, vault, client, first, before) is not None
    assert await check_secret(db, vault, client, second, before) is not None
    assert await check_secret(db, vault, client, first, after) is None
    assert await check_secret(db, vault, client, second, after) is not None
    third = await clients.change_secret(db, vault, client, 0, now=NOW, by="u-admin")
    assert await check_secret(db, vault, client, third, NOW) is not None
    assert await check_secret(db, vault, client, second, NOW) is None
    assert await check_secret(db, vault, client, first, NOW) is None
    changes = [act for act in await acts.page(db, None, 10, subject=client) if act.kind is Act.CLIENT_SECRET_CHANGED]
    assert [act.by_subject for act in changes] == ["u-admin", "u-admin"]


async def test_a_revoked_client_is_refused_at_once(db: Db, vault: Vault, database: str) -> None:
    client, secret = await bank(db, vault)
    told: list[str] = []
    listener = await asyncpg.connect(database)
    await listener.add_listener("bels_access", lambda *said: told.append(said[3]))
    assert await clients.revoke_client(db, client, now=NOW, by="u-admin", reason="договор расторгнут")
    assert await check_secret(db, vault, client, secret, NOW) is None
    assert not await clients.revoke_client(db, client, now=NOW, by="u-admin")
    with pytest.raises(ClientError, match="not revoked"):
        await clients.change_secret(db, vault, client, 0, now=NOW, by="u-admin")
    found = await clients.find_client(db, client)
    assert found is not None
    assert found.revoked_at == NOW
    assert [act.kind for act in await acts.page(db, None, 10, subject=client)] == [Act.CLIENT_REVOKED, Act.CLIENT_ADDED]
    await listener.fetchval("SELECT 1")
    assert told == [client]
    await listener.close()


@pytest.mark.parametrize(
    ("kind", "name", "channel", "scopes", "sentence"),
    [
        (Kind.CONSUMER, "A", Channel.WEB, (), "no kind of client"),
        (Kind.PARTNER, "A", Channel.OFFICE, (), "cannot be the channel office"),
        (Kind.GATEWAY, "A", Channel.BANK, (), "cannot be the channel bank"),
        (Kind.PARTNER, "A", Channel.BANK, ("everything",), "cannot have the scope 'everything'"),
        (Kind.GATEWAY, "A", Channel.SMS, ("readings:write",), "its channel says all"),
        (Kind.PARTNER, "", Channel.BANK, (), "printable"),
        (Kind.PARTNER, "A\0", Channel.BANK, (), "printable"),
        (Kind.PARTNER, "A" * 101, Channel.BANK, (), "printable"),
    ],
)
async def test_a_client_that_cannot_be_is_said_and_not_added(
    db: Db, vault: Vault, kind: Kind, name: str, channel: Channel, scopes: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ClientError, match=sentence):
        await clients.add_client(db, vault, kind, name, channel, scopes)
    assert await db.fetchval("SELECT count(*) FROM client") == 0


async def test_a_certificate_is_taken_with_colons_and_nothing_else_is(db: Db, vault: Vault) -> None:
    colons = ":".join(CERTIFICATE[i : i + 2] for i in range(0, 64, 2)).upper()
    assert clients.certificate_given(colons) == CERTIFICATE
    with pytest.raises(ClientError, match="SHA-256"):
        await clients.add_client(db, vault, Kind.PARTNER, "A", Channel.BANK, (), "abc")
    assert await db.fetchval("SELECT count(*) FROM client") == 0


async def test_an_old_secret_holds_on_for_a_month_at_most(db: Db, vault: Vault) -> None:
    client, _ = await bank(db, vault)
    for keep_s in (-1, clients.KEEP_S_MAX + 1):
        with pytest.raises(ClientError, match="at most 720 hours"):
            await clients.change_secret(db, vault, client, keep_s, now=NOW, by="u-admin")


async def test_clients_are_listed_page_by_page(db: Db, vault: Vault) -> None:
    added = {(await bank(db, vault))[0] for _ in range(3)}
    gateway, _ = await clients.add_client(db, vault, Kind.GATEWAY, "Kannel", Channel.SMS)
    first = await clients.list_clients(db, "", 3)
    rest = await clients.list_clients(db, first[-1].client, 3)
    assert {each.client for each in (*first, *rest)} == {*added, gateway}
    assert [each.client for each in await clients.list_clients(db, "", 9, Kind.GATEWAY)] == [gateway]


def test_a_secret_is_long_and_says_what_it_is() -> None:
    made = {clients.new_secret() for _ in range(1_000)}
    assert len(made) == 1_000
    for secret in made:
        assert secret.startswith("bels_")
        assert len(secret) == 5 + 43 + 8
        assert int(secret[-8:], 16) == crc32(secret[:-8].encode())
