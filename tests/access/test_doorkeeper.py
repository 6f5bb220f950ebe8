"""The doorkeeper: who asks, by which rights, and nobody for a moment longer than they may."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from bels.access import clients, links, people, sessions
from bels.access import doorkeeper as module
from bels.access.callers import ANONYMOUS, LOCAL, WHOLE, Caller, Kind, Right, Sight
from bels.access.doorkeeper import Doorkeeper, Unauthenticated
from bels.access.master_key import FileMasterKey
from bels.access.store import tell_change
from bels.access.tokens import Grant, Tokens
from bels.access.vault import Vault
from bels.domain.terms import Channel, Period
from bels.journal import listening

PEER = ("198.51.100.7", 40_000)
PROXY = ("10.0.0.5", 40_000)
HOME = ("127.0.0.1", 40_000)
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
SOON_S = 5.0


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


class House:
    """A supplier's access floor with two processes, each with a doorkeeper of its own."""

    def __init__(self, pool: asyncpg.Pool, url: str) -> None:
        self.pool = pool
        self.watch = Watch()
        self.vault = Vault(pool, FileMasterKey([("test", bytes(32))]))
        self.url = url
        self.tokens = Tokens(pool, self.vault, "bels", self.watch)
        self.here = self.process()
        self.there = self.process()

    def process(self, *, local: bool = False) -> Doorkeeper:
        vault = Vault(self.pool, FileMasterKey([("test", bytes(32))]))
        tokens = Tokens(self.pool, vault, "bels", self.watch)
        return Doorkeeper(
            self.pool,
            vault,
            tokens,
            url=self.url,
            local=local,
            trusted_proxies=PROXIES,
            oidc=None,
            clock=self.watch,
        )

    async def person(self, kind: Kind = Kind.CONSUMER, **given: Any) -> str:
        async with self.pool.acquire() as db:
            return await people.add_person(db, self.vault, kind, login=None, password_hash="x", **given)

    async def client(self, kind: Kind, channel: Channel, *scopes: str, certificate: str | None = None) -> str:
        async with self.pool.acquire() as db:
            return (await clients.add_client(db, self.vault, kind, "Банк", channel, scopes, certificate, by="u-root"))[
                0
            ]

    async def signed_in(self, person: str, kind: Kind = Kind.CONSUMER) -> tuple[str, bytes]:
        """Begin a session; give it and the header of its access token."""
        async with self.pool.acquire() as db:
            session = (await sessions.begin(db, self.vault, person, self.watch())).session
        return session, await self.header(Grant(kind=kind, subject=person, session=session))

    async def header(self, grant: Grant) -> bytes:
        return b"Bearer " + (await self.tokens.issue(grant))[0].encode()

    async def sees(self, person: str, account: str, entry: int = 0, period: str = "") -> None:
        await self.pool.execute(
            "INSERT INTO membership (account, person, since, entry, period) VALUES ($1, $2, now(), $3, $4)",
            account,
            person,
            entry,
            period,
        )

    async def tell(self, subject: str) -> None:
        async with self.pool.acquire() as db:
            await tell_change(db, subject)

    async def cut_off(self) -> None:
        """Break the connections on which the doorkeepers listen."""
        await self.pool.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ILIKE 'LISTEN%'
            """
        )


@pytest.fixture
async def house(pool: asyncpg.Pool, database: str) -> AsyncIterator[House]:
    house = House(pool, database)
    async with AsyncExitStack() as stack:
        for each in (house.here, house.there):
            await stack.enter_async_context(each.running())
            await asyncio.wait_for(each._feed.listening.wait(), SOON_S)
        yield house


async def admitted(keeper: Doorkeeper, authorization: bytes, *more: tuple[bytes, bytes], peer: Any = PEER) -> Caller:
    return await keeper.admit([(b"host", b"bels.example"), (b"authorization", authorization), *more], peer)


async def refused_soon(keeper: Doorkeeper, authorization: bytes) -> str:
    """Give the reason of the refusal that comes as soon as the change was told, well before anything is forgotten."""
    async with asyncio.timeout(SOON_S):
        while True:
            try:
                await admitted(keeper, authorization)
            except Unauthenticated as error:
                return error.reason
            await asyncio.sleep(0.01)


async def test_who_has_no_credential_is_nobody(house: House) -> None:
    assert await house.here.admit([(b"host", b"bels.example")], PEER) is ANONYMOUS
    assert await house.here.admit([], None) is ANONYMOUS


async def test_a_consumer_sees_the_accounts_of_its_cabinet_from_where_on_it_may(house: House) -> None:
    person = await house.person()
    await house.sees(person, "1000101")
    await house.sees(person, "1000102", 17, "2026-05")
    await house.sees(await house.person(), "1000103")
    await house.sees(person, "1000104")
    await house.pool.execute("UPDATE membership SET ended_at = now() WHERE account = '1000104'")
    session, header = await house.signed_in(person)

    caller = await admitted(house.here, header)

    assert caller.kind is Kind.CONSUMER
    assert caller.rights == Right.ANONYMOUS | Right.PASSWORD | Right.CONSUMER
    assert caller.sights == {"1000101": WHOLE, "1000102": Sight(17, Period("2026-05"))}
    assert (caller.channel, caller.actor, caller.session) == (Channel.WEB, f"consumer:{person}", session)
    assert caller.expires_at == int(house.watch().timestamp()) + 600


@pytest.mark.parametrize(
    ("kind", "grants", "rights", "channel"),
    [
        (Kind.OPERATOR, ("money",), Right.OPERATOR | Right.OPERATOR_MONEY, Channel.OFFICE),
        (Kind.INSPECTOR, (), Right.INSPECTOR, Channel.INSPECTOR),
        (Kind.AUDITOR, (), Right.AUDITOR, Channel.OFFICE),
    ],
)
async def test_staff_sees_every_account(
    house: House, kind: Kind, grants: tuple[str, ...], rights: Right, channel: Channel
) -> None:
    person = await house.person(kind, grants=grants)
    caller = await admitted(house.here, (await house.signed_in(person, kind))[1])

    assert (caller.rights, caller.channel, caller.sights) == (Right.ANONYMOUS | Right.PASSWORD | rights, channel, None)


async def test_an_administrator_sees_no_account(house: House) -> None:
    person = await house.person(Kind.ADMINISTRATOR)
    caller = await admitted(house.here, (await house.signed_in(person, Kind.ADMINISTRATOR))[1])

    assert (caller.rights, caller.sights) == (Right.ANONYMOUS | Right.PASSWORD | Right.ADMINISTRATOR, {})


async def test_who_must_change_the_password_may_nothing_else(house: House) -> None:
    person = await house.person(Kind.OPERATOR, grants=("people",), must_change=True)
    caller = await admitted(house.here, (await house.signed_in(person, Kind.OPERATOR))[1])

    assert (caller.kind, caller.rights, caller.sights) == (Kind.OPERATOR, Right.ANONYMOUS | Right.PASSWORD, {})


async def test_a_partner_may_what_both_its_token_and_the_supplier_say(house: House) -> None:
    bank = await house.client(Kind.PARTNER, Channel.BANK, "payments:write", "registers:read")
    header = await house.header(Grant(kind=Kind.PARTNER, subject=bank, given=("payments:write", "readings:write")))

    caller = await admitted(house.here, header)

    assert caller.rights == Right.ANONYMOUS | Right.PARTNER_PAYMENTS
    assert (caller.channel, caller.actor, caller.session) == (Channel.BANK, f"partner:{bank}", bank)
    assert caller.sights is None


async def test_a_gateway_is_the_channel_of_its_credential(house: House) -> None:
    robot = await house.client(Kind.GATEWAY, Channel.VOICE)
    caller = await admitted(house.here, await house.header(Grant(kind=Kind.GATEWAY, subject=robot)))

    assert (caller.channel, caller.rights) == (Channel.VOICE, Right.ANONYMOUS | Right.GATEWAY)


async def opened_link(house: House, task: str) -> tuple[str, bytes]:
    await house.pool.execute(
        """
        INSERT INTO task_link (token, link, account, task, made_by, created_at, expires_at, opened_at)
        VALUES ('x', 'l-1', '1000101', $1, 'u-olga', now(), now() + interval '1 day', now())
        """,
        task,
    )
    return "l-1", await house.header(Grant(kind=Kind.LINK, subject="l-1", given=(task,), account="1000101"))


async def test_a_link_is_for_one_task_on_one_account_of_one_household(house: House) -> None:
    await house.pool.execute("INSERT INTO tenure VALUES ('1000101', 2, now(), 40, '2026-09')")
    _, header = await opened_link(house, "bill")
    caller = await admitted(house.here, header)

    assert (caller.kind, caller.rights) == (Kind.LINK, Right.ANONYMOUS | Right.LINK_BILL)
    assert caller.sights == {"1000101": Sight(40, Period("2026-09"))}


@pytest.mark.parametrize("how", [links.done, links.revoke])
async def test_a_link_lets_nobody_in_once_its_task_is_done(house: House, how: Any) -> None:
    link, header = await opened_link(house, "reading")
    await admitted(house.there, header)
    async with house.pool.acquire() as db:
        await how(db, link, house.watch())

    assert "used or revoked" in await refused_soon(house.there, header)


async def test_a_revoked_session_is_refused_at_once_by_every_process(house: House) -> None:
    person = await house.person()
    session, header = await house.signed_in(person)
    _, other = await house.signed_in(person)
    for keeper in (house.here, house.there):
        assert await admitted(keeper, header) is await admitted(keeper, header)
    async with house.pool.acquire() as db:
        await sessions.revoke(db, session, "LOGGED_OUT")

    for keeper in (house.here, house.there):
        assert "sign in again" in await refused_soon(keeper, header)
        assert (await admitted(keeper, other)).subject == person


async def test_a_revoked_person_is_refused_at_once(house: House) -> None:
    person = await house.person()
    _, header = await house.signed_in(person)
    await admitted(house.there, header)
    await house.pool.execute("UPDATE person SET revoked_at = now()")
    await house.tell(person)

    assert "sign in again" in await refused_soon(house.there, header)


async def test_a_revoked_client_is_refused_at_once(house: House) -> None:
    bank = await house.client(Kind.PARTNER, Channel.BANK, "payments:write")
    header = await house.header(Grant(kind=Kind.PARTNER, subject=bank, given=("payments:write",)))
    await admitted(house.there, header)
    async with house.pool.acquire() as db:
        await clients.revoke_client(db, bank, now=house.watch(), by="u-root")

    assert "revoked" in await refused_soon(house.there, header)


async def test_an_account_that_is_taken_away_is_seen_no_more_at_once(house: House) -> None:
    person = await house.person()
    await house.sees(person, "1000101")
    _, header = await house.signed_in(person)
    async with aclosing(house.there.changes(person)) as changes:
        await anext(changes)
        assert (await admitted(house.there, header)).sight("1000101") == WHOLE
        async with house.pool.acquire() as db, db.transaction():
            await db.execute("UPDATE membership SET ended_at = now()")
            await tell_change(db, person)
        await asyncio.wait_for(anext(changes), SOON_S)
        assert (await admitted(house.there, header)).sight("1000101") is None


async def test_a_change_that_is_never_told_counts_within_half_a_minute(house: House) -> None:
    person = await house.person()
    _, header = await house.signed_in(person)
    await admitted(house.here, header)
    await house.pool.execute("UPDATE person SET revoked_at = now()")

    house.watch.now += timedelta(seconds=29)
    await admitted(house.here, header)
    house.watch.now += timedelta(seconds=1)
    with pytest.raises(Unauthenticated):
        await admitted(house.here, header)


async def test_a_remembered_token_still_ends_in_time(house: House) -> None:
    _, header = await house.signed_in(await house.person())
    house.watch.now += timedelta(minutes=9, seconds=50)
    await admitted(house.here, header)
    house.watch.now += timedelta(seconds=11)

    with pytest.raises(Unauthenticated, match="expired"):
        await admitted(house.here, header)


async def test_nothing_is_remembered_while_nothing_can_be_told(house: House) -> None:
    person = await house.person()
    _, header = await house.signed_in(person)
    await admitted(house.here, header)
    assert house.here._known
    async with aclosing(house.here.changes(person)) as changes:
        await anext(changes)
        await house.cut_off()
        await asyncio.wait_for(anext(changes), SOON_S)
    assert not house.here._known
    await admitted(house.here, header)
    assert not house.here._known

    await asyncio.wait_for(house.here._feed.listening.wait(), SOON_S)
    await admitted(house.here, header)
    assert house.here._known


async def test_what_changed_while_it_was_looked_up_is_not_remembered(house: House) -> None:
    person = await house.person()
    _, header = await house.signed_in(person)
    asking = asyncio.create_task(admitted(house.here, header))
    # It has begun to ask the tables, and has not been answered.
    for _ in range(3):
        await asyncio.sleep(0)
    house.here._told(person)
    await asking

    assert not house.here._known


async def test_those_who_come_together_are_verified_once(house: House) -> None:
    _, header = await house.signed_in(await house.person())
    callers = await asyncio.gather(*(admitted(house.here, header) for _ in range(20)))

    assert all(each is callers[0] for each in callers)


async def test_the_memory_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    people_in = [await house.person() for _ in range(5)]
    for person in people_in:
        await admitted(house.here, (await house.signed_in(person))[1])

    assert len(house.here._known) == 3
    assert set(house.here._of_subject) == set(people_in[2:])


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic YTpi",
        b"Bearer a b",
        b"Bearer \xff",
        b"Bearer a.b.c",
        b"Bearer " + b"a" * 9000,
        b"Token x",
        b"Bearer x, Bearer y",
    ],
)
async def test_a_credential_that_is_none_is_refused(house: House, credential: bytes) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await admitted(house.here, credential)
    assert refused.value.challenge.startswith('Bearer error="invalid_token"')


async def test_two_credentials_are_refused(house: House) -> None:
    _, header = await house.signed_in(await house.person())
    with pytest.raises(Unauthenticated, match="one Authorization"):
        await admitted(house.here, header, (b"authorization", header))


async def test_a_token_of_a_person_needs_its_session(house: House) -> None:
    person, other = await house.person(), await house.person()
    session, _ = await house.signed_in(other)
    for grant in (
        Grant(kind=Kind.CONSUMER, subject=person),
        Grant(kind=Kind.CONSUMER, subject=person, session=session),
        Grant(kind=Kind.OPERATOR, subject=other, session=session),
        Grant(kind=Kind.LOCAL, subject="local"),
        Grant(kind=Kind.ANONYMOUS, subject=person, session=session),
    ):
        header = await house.header(grant)
        with pytest.raises(Unauthenticated):
            await admitted(house.here, header)


# The developer at this machine.


@pytest.mark.parametrize(
    ("peer", "headers", "is_local"),
    [
        (HOME, [(b"host", b"127.0.0.1:8000")], True),
        (HOME, [(b"host", b"localhost:8000")], True),
        (HOME, [(b"host", b"LOCALHOST")], True),
        (("::1", 1), [(b"host", b"[::1]:8000")], True),
        (HOME, [(b"host", b"attacker.example:8000")], False),
        (HOME, [(b"host", b"localhost.attacker.example")], False),
        (HOME, [(b"host", b"127.0.0.1.nip.io")], False),
        (HOME, [(b"host", b"localhost@attacker.example")], False),
        (HOME, [(b"host", b"localhost"), (b"host", b"localhost")], False),
        (HOME, [], False),
        (HOME, [(b"host", b"localhost"), (b"x-forwarded-for", b"127.0.0.1")], False),
        (HOME, [(b"host", b"localhost"), (b"x-forwarded-proto", b"https")], False),
        (HOME, [(b"host", b"localhost"), (b"forwarded", b"for=127.0.0.1")], False),
        (HOME, [(b"host", b"localhost"), (b"x-real-ip", b"127.0.0.1")], False),
        (HOME, [(b"host", b"localhost"), (b"sec-fetch-site", b"cross-site")], False),
        (HOME, [(b"host", b"localhost"), (b"sec-fetch-site", b"same-origin")], True),
        (PEER, [(b"host", b"localhost")], False),
        (None, [(b"host", b"localhost")], False),
    ],
)
async def test_only_this_machine_is_the_developer(
    house: House, peer: Any, headers: list[tuple[bytes, bytes]], is_local: bool
) -> None:
    assert await house.process(local=True).admit(headers, peer) is (LOCAL if is_local else ANONYMOUS)
    assert await house.here.admit(headers, peer) is ANONYMOUS


async def test_a_wrong_credential_does_not_make_a_developer(house: House) -> None:
    with pytest.raises(Unauthenticated):
        await house.process(local=True).admit([(b"host", b"localhost"), (b"authorization", b"Bearer x")], HOME)


# The caller's address.


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PEER, [], "198.51.100.7"),
        (PEER, [b"203.0.113.9"], "198.51.100.7"),
        (PROXY, [], "10.0.0.5"),
        (PROXY, [b"203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"1.1.1.1, 203.0.113.9, 10.0.0.4"], "203.0.113.9"),
        (PROXY, [b"1.1.1.1", b"203.0.113.9", b"10.0.0.4"], "203.0.113.9"),
        (PROXY, [b"10.0.0.9, 10.0.0.4"], "10.0.0.9"),
        (PROXY, [b"nonsense, 10.0.0.4"], "10.0.0.4"),
        (PROXY, [b"nonsense"], "10.0.0.5"),
        (PROXY, [b"\xff\xfe"], "10.0.0.5"),
        (PROXY, [b"2001:db8::1"], "2001:db8::1"),
        (PROXY, [b"2001:0DB8:0::1"], "2001:db8::1"),
        (("::ffff:10.0.0.5", 1), [b"203.0.113.9"], "203.0.113.9"),
        (("fd00::1", 1), [b"203.0.113.9"], "203.0.113.9"),
        (PROXY, [b"7.7.7.7, " * 1000 + b"203.0.113.9"], "203.0.113.9"),
        (None, [b"203.0.113.9"], ""),
    ],
)
async def test_the_caller_s_address_is_what_a_trusted_proxy_says(
    house: House, peer: Any, forwarded: list[bytes], address: str
) -> None:
    assert house.here.address([(b"x-forwarded-for", each) for each in forwarded], peer) == address


# Client certificates.


def certificate(name: str) -> tuple[bytes, str, str]:
    """Make a certificate; give it as a proxy hands it over, and its SHA-256 in base64url and in hex."""
    key = Ed25519PrivateKey.generate()
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(named, named, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
    )
    digest = hashlib.sha256(made.public_bytes(Encoding.DER)).digest()
    told = quote(made.public_bytes(Encoding.PEM).decode(), safe="").encode()
    return told, urlsafe_b64encode(digest).decode().rstrip("="), digest.hex()


async def test_only_a_trusted_proxy_hands_certificates_over(house: House) -> None:
    told, thumbprint, _ = certificate("bank")
    header = (b"x-ssl-client-cert", told)

    assert house.here.certificate([header], PROXY) == thumbprint
    assert house.here.certificate([header], PEER) is None
    assert house.here.certificate([header, header], PROXY) is None
    assert house.here.certificate([], PROXY) is None
    assert house.here.certificate([(b"x-ssl-client-cert", b"nonsense")], PROXY) is None
    assert house.here.certificate([(b"x-ssl-client-cert", b"%ff%00" * 100)], PROXY) is None
    assert house.here.certificate([(b"x-ssl-client-cert", told * 100)], PROXY) is None


async def test_a_token_that_is_bound_to_a_certificate_is_of_no_use_without_it(house: House) -> None:
    told, thumbprint, in_hex = certificate("bank")
    other, _, _ = certificate("thief")
    bank = await house.client(Kind.PARTNER, Channel.BANK, "payments:write", certificate=in_hex)
    given = ("payments:write",)
    header = await house.header(Grant(kind=Kind.PARTNER, subject=bank, given=given, certificate=thumbprint))
    unbound = await house.header(Grant(kind=Kind.PARTNER, subject=bank, given=given))

    # Also when it is remembered.
    for _ in range(2):
        assert (await admitted(house.here, header, (b"x-ssl-client-cert", told), peer=PROXY)).subject == bank
        for stolen in ([], [(b"x-ssl-client-cert", other)]):
            with pytest.raises(Unauthenticated, match="certificate"):
                await admitted(house.here, header, *stolen, peer=PROXY)
        with pytest.raises(Unauthenticated, match="certificate"):
            await admitted(house.here, header, (b"x-ssl-client-cert", told), peer=PEER)
    with pytest.raises(Unauthenticated, match="certificate"):
        await admitted(house.here, unbound, (b"x-ssl-client-cert", told), peer=PROXY)


# Open sockets.


async def test_whoever_watches_a_subject_is_told_of_its_changes_only(house: House) -> None:
    watching = house.there.changes("u-one")
    await asyncio.wait_for(anext(watching), SOON_S)
    following = asyncio.ensure_future(anext(watching))

    await house.tell("u-two")
    await asyncio.sleep(0.2)
    assert not following.done()
    await house.tell("u-one")
    await asyncio.wait_for(following, SOON_S)
    await watching.aclose()
    assert not house.there._feed._watchers
    assert house.there._feed.count == 0


async def test_whoever_watches_is_told_when_the_connection_is_lost(house: House) -> None:
    watching = house.there.changes("u-one")
    await anext(watching)
    following = asyncio.ensure_future(anext(watching))
    await house.cut_off()
    await asyncio.wait_for(following, SOON_S)
    await watching.aclose()


async def test_while_nothing_can_be_told_whoever_watches_looks_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECHECK_S", 0.05)
    alone = house.process()
    watching = alone.changes("u-one")
    for _ in range(3):
        await asyncio.wait_for(anext(watching), SOON_S)
    await watching.aclose()


async def test_watchers_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "WATCHERS_MAX", 1)
    first = house.here.changes("u-one")
    await anext(first)
    with pytest.raises(listening.TooManyWatchers):
        await anext(house.here.changes("u-two"))
    await first.aclose()
    second = house.here.changes("u-two")
    await anext(second)
    await second.aclose()
