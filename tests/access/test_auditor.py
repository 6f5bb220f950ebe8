"""An auditor reads everything, changes nothing, and is recorded; and reads that record, which nobody can change or switch off."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
from graphql import GraphQLObjectType, get_named_type
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from bels.access import access_log, people, sessions
from bels.access.callers import STAFF, Caller, Kind, rights_of
from bels.access.door import Door
from bels.access.tokens import Grant
from bels.api.context import RIGHTS, Asking, Context, Supplier, caller_of
from bels.api.engine.http import GraphQL
from bels.api.schema import SCHEMA
from bels.app import Bels, door_of, opened
from bels.domain.terms import Channel
from bels.observing.health import Readiness
from bels.projections.project import VIEWS
from bels.routes import asgi
from bels.settings import Settings
from tests.access.test_rights import _document
from tests.api.client import Client, Clock, household
from tests.conftest import new_supplier
from tests.servers import ROOT
from tests.supplier import open_household, today

AUDITOR = rights_of(Kind.AUDITOR)
OWN_SESSION = {"logOut", "changePassword"}
"""What an auditor may do with its own session and password."""
PUBLIC = {"registerConsumer", "logIn", "renewSession"}
"""What everybody may do, signed in or not."""

BY_CREDENTIAL = {
    "/channels/sms",
    "/channels/sms/delivery",
    "/channels/sms/{provider}",
    "/channels/voice",
    "/partners/osmp",
    "/partners/sber-eps",
    "/partners/registers/{layout}",
    "/reconciliations/statement",
}
"""Routes that write for whom a credential names: a gateway, a partner, an operator of money. Some write when they are got."""
WITHOUT = {"/oauth/token", "/oauth/revoke", "/readings", "/receipts", "/l/{token}", "/u/{token}"}
"""Routes that ask for no credential: one's own session, the form and the links of households."""

CHANGING = frozenset({"access_log", "session", "attempt", "spent", "signing_key", "webhook_attempt"})
"""What changes when somebody reads: the record of it, and the counts at the door."""


@dataclass(slots=True)
class House:
    """A whole server of a supplier with a household, and an auditor who asks it."""

    bels: Bels
    routes: list[Route]
    asked: httpx.AsyncClient
    person: str

    async def reads(self, request_id: str) -> list[access_log.ReadRow]:
        """Give what was recorded of a request."""
        async with self.bels.pool.acquire() as db:
            return [row for row in await access_log.page(db, None, 50) if row.request_id == request_id]

    async def state(self) -> dict[str, str]:
        """Digest every table that an auditor must not change."""
        names = [
            row["name"]
            for row in await self.bels.pool.fetch(
                "SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                " WHERE relkind = 'r' AND nspname IN ('public', 'bels_keys') AND relname <> ALL($1::text[])",
                list(CHANGING),
            )
        ]
        return {
            name: await self.bels.pool.fetchval(
                f"SELECT coalesce(md5(string_agg(md5(t::text), '' ORDER BY t::text)), '') FROM {name} t"
            )
            for name in names
        }


@pytest.fixture(scope="module")
async def house(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    url = await asyncio.to_thread(new_supplier, postgres, template, "bels_test_auditor")
    settings = Settings(database_url=url, data_dir=tmp_path_factory.mktemp("auditor"))
    async with opened(settings, clock=today) as bels:
        for each in open_household("1000001"):
            await bels.intake.submit(each)
        door = await door_of(bels, local=False)
        before = _applications()
        app = asgi(bels, door, Readiness(bels.pool))
        (served,) = [each for each in _applications() if not any(each is known for known in before)]
        person, token = await _auditor(bels.pool, door)
        headers = {"authorization": f"Bearer {token}", "accept": "application/graphql-response+json"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://bels", headers=headers) as asked:
            yield House(bels, [each for each in served.routes if isinstance(each, Route)], asked, person)


async def _auditor(pool: asyncpg.Pool, door: Door) -> tuple[str, str]:
    """Let an auditor in, and give its name and its token."""
    async with pool.acquire() as db:
        person = await people.add_person(db, door.vault, Kind.AUDITOR, login=None, password_hash="x", grants=())
        session = (await sessions.begin(db, door.vault, person, today())).session
    token, _ = await door.tokens.issue(Grant(kind=Kind.AUDITOR, subject=person, session=session))
    return person, token


def _applications() -> list[Starlette]:
    # The routes of a whole server stand inside of it.
    return [each for each in gc.get_objects() if type(each) is Starlette]


def _fields(root: str) -> GraphQLObjectType:
    kind = SCHEMA._schema.type_map[root]
    assert isinstance(kind, GraphQLObjectType)
    return kind


MAY_ASK = sorted(name for name in _fields("Query").fields if RIGHTS.table[f"Query.{name}"] & AUDITOR)


def test_an_auditor_may_ask_for_no_change_but_of_its_own_session() -> None:
    may = {name for name in _fields("Mutation").fields if RIGHTS.table[f"Mutation.{name}"] & AUDITOR}
    assert may == OWN_SESSION | PUBLIC


async def test_every_mutation_is_refused_over_http(house: House) -> None:
    before = await house.state()
    fields = _fields("Mutation").fields
    closed = [name for name in fields if name not in OWN_SESSION | PUBLIC]
    for name in closed:
        query = _document(["mutation {"], name, fields[name])
        answer = await house.asked.post("/graphql", json={"query": query})
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN"), name
    assert len(closed) > 40
    assert await house.state() == before


def test_every_route_that_writes_is_known_to_this_test(house: House) -> None:
    writing = {route.path for route in house.routes if (route.methods or set()) - {"GET", "HEAD"}}
    assert writing <= BY_CREDENTIAL | WITHOUT, "say below whose credential the new route asks for"
    assert {route.path for route in house.routes} >= BY_CREDENTIAL | WITHOUT


async def test_every_route_that_writes_for_a_credential_refuses_an_auditor(house: House) -> None:
    before = await house.state()
    for route in house.routes:
        path = route.path.replace("{provider}", "kannel").replace("{layout}", "x").replace("{token}", "x" * 43)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if route.path not in BY_CREDENTIAL | WITHOUT:
                continue
            answer = await house.asked.request(
                method, path, content=b"", params={"command": "pay", "account": "1000001"}
            )
            if route.path in BY_CREDENTIAL:
                assert answer.status_code in (401, 403, 404, 503), (method, path, answer.status_code, answer.text)
    assert await house.state() == before


@pytest.mark.parametrize("name", MAY_ASK)
async def test_every_question_of_an_auditor_is_recorded(house: House, name: str) -> None:
    request_id = secrets.token_hex(16)
    query = _document(["query {"], name, _fields("Query").fields[name])
    answer = await house.asked.post("/graphql", json={"query": query}, headers={"x-request-id": request_id})
    assert answer.status_code in (200, 400), answer.text
    (read,) = await house.reads(answer.headers["x-request-id"])
    assert (read.subject, read.kind) == (house.person, "AUDITOR")
    assert name in read.fields


async def test_what_an_auditor_looked_at_below_the_root_is_recorded_by_account(house: House) -> None:
    query = """{ account(number: "1000001") { audit { edges { node { text } } } } trail { edges { accountNumber } } }"""
    answer = await house.asked.post("/graphql", json={"query": query})
    (read,) = await house.reads(answer.headers["x-request-id"])
    assert read.fields == ("account", "trail")
    assert set(read.accounts) == {"1000001", "rulebook"}


async def test_every_event_of_a_subscription_is_recorded_before_it_is_told(pool: asyncpg.Pool, database: str) -> None:
    client = Client(pool, database, Clock(today()))
    door = await client.door()
    supplier = Supplier(pool, client.intake, client.changes, door)
    person, token = await _auditor(pool, door)
    told: list[bytes] = []
    gone = asyncio.Event()
    query = b'{"query": "subscription { accountChanged(accountNumber: \\"1000101\\") { account { version } } }"}'
    body: list[dict[str, object]] = [{"type": "http.request", "body": query, "more_body": False}]

    async def context(connection: HTTPConnection) -> Context:
        return Context(supplier, connection, asking=Asking(await caller_of(door, connection)))

    async def receive() -> dict[str, object]:
        if body:
            return body.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        told.append(message.get("body", b""))
        if b"version" in told[-1]:
            gone.set()

    async with client.intake.running(), client.changes.running():
        await household(client)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "query_string": b"",
            "headers": [
                (b"accept", b"text/event-stream"),
                (b"content-type", b"application/json"),
                (b"authorization", f"Bearer {token}".encode()),
            ],
            "client": ("192.0.2.1", 1),
        }
        async with asyncio.timeout(10):
            await GraphQL(SCHEMA, context, clock=lambda: today().timestamp())(scope, receive, send)
    assert b"version" in b"".join(told), told
    async with pool.acquire() as db:
        reads = await access_log.page(db, None, 10)
    assert [(row.subject, row.fields, row.accounts) for row in reads] == [(person, ("accountChanged",), ("1000101",))]


async def test_an_auditor_sees_its_own_record_and_that_it_looked_there(house: House) -> None:
    query = "query($me: String!) { accessRecords(subject: $me, first: 5) { edges { node { fields subject } } } }"
    asked = {"query": query, "variables": {"me": house.person}}
    await house.asked.post("/graphql", json=asked)
    answer = await house.asked.post("/graphql", json=asked)
    newest = answer.json()["data"]["accessRecords"]["edges"][0]["node"]
    assert newest == {"fields": ["accessRecords"], "subject": house.person}


async def test_nobody_hides_an_account_behind_a_thousand_others(house: House) -> None:
    accounts = [f"{1_000_000 + i}" for i in range(access_log.ACCOUNTS_MAX + 1)]
    caller = Caller(Kind.AUDITOR, house.person, AUDITOR, Channel.OFFICE, f"auditor:{house.person}")
    await access_log.record_read(house.bels.pool, caller, "many-accounts", ["whatIf"], accounts)
    assert sorted(number for row in await house.reads("many-accounts") for number in row.accounts) == accounts


async def test_nothing_personal_is_open_to_an_auditor() -> None:
    for type_name in ("PersonalData", "NoticePreference"):
        kind = get_named_type(_fields(type_name))
        assert isinstance(kind, GraphQLObjectType)
        assert not [name for name in kind.fields if RIGHTS.table[f"{type_name}.{name}"] & AUDITOR]


async def test_the_record_of_reading_is_only_added_to(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO access_log (subject, kind, request_id, fields, accounts) VALUES ('u-1', 'AUDITOR', '', '{}', '{}')"
    )
    for statement in (
        "UPDATE access_log SET subject = 'u-2'",
        "DELETE FROM access_log",
        "TRUNCATE access_log",
        "UPDATE identity_act SET subject = 'u-2'",
        "DELETE FROM identity_act",
    ):
        with pytest.raises(asyncpg.RaiseError, match="only added to"):
            await pool.execute(statement)
    assert await pool.fetchval("SELECT count(*) FROM access_log") == 1


async def test_not_even_the_owner_has_the_right_to_change_the_record(pool: asyncpg.Pool) -> None:
    for table in ("access_log", "identity_act"):
        rights = await pool.fetch(
            "SELECT privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = $1::regclass AND grantee = relowner",
            table,
        )
        left = {row["privilege_type"] for row in rights}
        assert {"SELECT", "INSERT"} <= left
        assert not left & {"UPDATE", "DELETE", "TRUNCATE"}, table


def test_no_staff_is_exempt_and_no_setting_switches_the_record_off() -> None:
    assert {Kind.OPERATOR, Kind.INSPECTOR, Kind.AUDITOR, Kind.ADMINISTRATOR} <= STAFF
    names = {name.lower() for name in Settings.__dataclass_fields__}
    assert not [name for name in names if "record" in name or "access_log" in name]


WITHHELD_COLUMNS = {("message", "raw"), ("message", "answer"), ("seal_key", "private")}
OPEN_TABLES = {
    "journal",
    "message",
    "seal",
    "sealed_head",
    "seal_key",
    "trail",
    "trail_told",
    "view",
    "access_log",
    "identity_act",
    *(table for view in VIEWS for table in view.TABLES),
}
"""What an auditor reads with SQL; all other tables are closed."""


@pytest.fixture
async def reader(database: str, pool: asyncpg.Pool) -> AsyncIterator[str]:
    """Give the URL of an auditor who reads this database with SQL."""
    name = f"auditor_{secrets.token_hex(4)}"
    password = secrets.token_hex(8)
    script = (ROOT / "deploy" / "postgresql" / "auditor.sql").read_text("utf-8")
    await pool.execute(script)
    await pool.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await pool.execute(f"GRANT bels_auditor TO {name}")
    await pool.execute(script)
    parts = urlsplit(database)
    host = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{host}"))
    await pool.execute(f"DROP ROLE {name}")
    await pool.execute("DROP OWNED BY bels_auditor")


async def test_an_auditor_reads_with_sql_what_is_open_and_nothing_else(pool: asyncpg.Pool, reader: str) -> None:
    db = await asyncpg.connect(reader)
    try:
        columns = await pool.fetch(
            "SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relname, a.attname FROM pg_attribute a"
            "  JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind = 'r' AND nspname IN ('public', 'bels_keys') AND attnum > 0 AND NOT attisdropped"
        )
        wrong = []
        for name, table, column in columns:
            may = table in OPEN_TABLES and (table, column) not in WITHHELD_COLUMNS
            try:
                await db.fetch(f'SELECT "{column}" FROM {name} LIMIT 1')
                does = True
            except asyncpg.InsufficientPrivilegeError:
                does = False
            if does != may:
                wrong.append(f"{name}.{column}")
        assert wrong == []
    finally:
        await db.close()


async def test_an_auditor_writes_nothing_with_sql_and_is_logged(reader: str) -> None:
    db = await asyncpg.connect(reader)
    try:
        # Whoever switches reading only off for itself still has no right.
        await db.execute("SET default_transaction_read_only = off")
        for statement in (
            "INSERT INTO trail_told (mark) VALUES (1)",
            "UPDATE trail SET actor = 'x'",
            "DELETE FROM journal",
            "TRUNCATE access_log",
            "CREATE TABLE mine (a int)",
            "CREATE TEMPORARY TABLE mine (a int)",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT nextval('journal_notification_id_seq')",
            "SELECT * FROM bels_keys.data_key",
            "SET log_statement = 'none'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(statement)
        assert await db.fetchval("SHOW log_statement") == "all"
        assert await db.fetchval("SHOW statement_timeout") == "10min"
    finally:
        await db.close()


def test_the_script_says_how_it_is_run() -> None:
    text = (ROOT / "deploy" / "postgresql" / Path("auditor.sql")).read_text("utf-8")
    assert "psql --set=ON_ERROR_STOP=1 --dbname=bels --file=auditor.sql" in text
