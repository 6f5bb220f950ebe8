"""Nothing personal stands in clear: not in any table, log, event or notification of a life lived through a real server.

What is erased is gone from the backups of the tables too, because its key is gone; and the journal does not notice.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import asyncpg
import httpx
import idna
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.access.master_key import development_key
from bels.access.personal import Personal, find
from bels.access.raw_texts import RawTexts
from bels.access.store import ACCESS_CHANGES
from bels.access.vault import KeyDestroyed, Vault
from bels.domain.read_value import quoted_number
from bels.intake import Intake
from bels.journal.codec import decode_events
from bels.journal.journal import accounts, read
from bels.journal.notify import CHANGES
from bels.journal.write import Db
from bels.projections.project import retell
from bels.publishing import publish
from tests.conftest import new_supplier
from tests.rules import DEFAULT_RULEBOOK
from tests.servers import ROOT, START_WAIT_S, free_port, open_household
from tests.supplier import audit, views

ACCOUNT, NEIGHBOUR = "1000101", "1000102"
PASSWORD = "мост сова ведро"
NAME = "Щедринцева Ульяна Ксенофонтовна"
NEXT_NAME = "Ковальчуковский Рюрик"
ADDRESS = "г. Балашиха, ул. Малозёрская, д. 38, корп. 2, кв. 617"
PHONES = ("8 (903) 751-48-26", "+7 916 884 07 53")
STRANGE_PHONE = "8-926-017-93-48"
STRANGE_ADDRESS = "203.0.113.77"
EMAILS = ("U.Schedrintseva77@Pochta-Balashihi.RU", "ульяна@малозёрская-почта.рф")
LOGIN = "rurik.kovalchukovsky@konvert-ot-soseda.ru"
WORDS = f"это {NAME}, {ADDRESS}, звоните {PHONES[1]} или {EMAILS[0]}"

PUNYCODE = idna.encode("малозёрская-почта.рф").decode()

CODED_LENGTH_MIN = 8

SIGHTS = (
    NAME, *NAME.split(), NEXT_NAME, *NEXT_NAME.split(), ADDRESS, "Малозёрская", *PHONES, "9037514826", "9168840753",
    STRANGE_PHONE, "9260179348", STRANGE_ADDRESS, *EMAILS, "schedrintseva77", "pochta-balashihi", "малозёрская-почта", PUNYCODE,
    LOGIN, "kovalchukovsky", "konvert-ot-soseda", "мост сова",
)  # fmt: skip
"""What must not be found, as it was given and in its parts."""


def spellings(text: str) -> Iterator[bytes]:
    """Give a text in every form in which it could lie somewhere."""
    for case in dict.fromkeys((text, text.lower(), text.upper(), text.title())):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp1251", "koi8-r", "iso-8859-5"):
            try:
                plain = case.encode(encoding)
            except UnicodeEncodeError:
                continue
            yield plain
            yield plain.hex().encode()
            yield plain.hex().upper().encode()
            # Of base64 the middle is the same whatever stands around, at each of three places.
            for lead in range(3):
                for coded in (base64.b64encode, base64.urlsafe_b64encode):
                    whole = coded(b"\0" * lead + plain + b"\0" * 2)
                    middle = whole[lead and 4 : (lead + len(plain)) // 3 * 4]
                    # A shorter one comes up by chance among keys and digests.
                    if len(middle) >= CODED_LENGTH_MIN:
                        yield middle
        for quoted in (
            quote(case),
            quote_plus(case),
            quote(case, safe=""),
            quote_plus(case, encoding="cp1251", errors="ignore"),
        ):
            yield quoted.encode()
            yield quoted.lower().encode()
        for escaped in (json.dumps(case)[1:-1], case.encode("unicode_escape").decode(), repr(case.encode())[2:-1]):
            yield escaped.encode()
            # As PostgreSQL copies it, and as JSON in JSON has it.
            yield escaped.replace("\\", "\\\\").encode()


NEEDLES = {needle: sight for sight in SIGHTS for needle in spellings(sight)}


def found(places: dict[str, bytes]) -> list[str]:
    """Say which personal data were found where."""
    return sorted(
        f"{sight!r} in {place} as {needle!r}: {content[max(0, at - 60) : at + 100]!r}"
        for place, content in places.items()
        for needle, sight in NEEDLES.items()
        if (at := content.find(needle)) >= 0
    )


async def dumped(db: Db, *schemas: str) -> dict[str, bytes]:
    """Copy every table and sequence of every schema, as text and as bytes."""
    tables = await db.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
          AND (cardinality($1::text[]) = 0 OR n.nspname = ANY($1))
        ORDER BY 1, 2
        """,
        list(schemas),
    )
    places = {}
    for table in tables:
        for form in ("text", "binary"):
            copied = io.BytesIO()
            await db.copy_from_table(table["name"], schema_name=table["schema"], output=copied, format=form)
            places[f"{table['schema']}.{table['name']} ({form})"] = copied.getvalue()
    return places


@dataclass
class House:
    """A server process on a database of its own, what it has said, and what PostgreSQL was told."""

    url: str
    database: str
    folder: Path
    client: httpx.AsyncClient
    told: list[str] = field(default_factory=list)

    async def ask(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """Ask and expect no errors; give what stands under ``data``."""
        answer = await self.try_(query, token, **variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    async def try_(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """Ask, whatever becomes of it."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = await self.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        told: dict[str, Any] = answer.json()
        return told

    async def do(self, mutation: str, shown: str = "", token: str | None = None, **given: Any) -> dict[str, Any]:
        """Carry out a mutation and give its outcome."""
        kind = mutation[0].upper() + mutation[1:] + "Input"
        query = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ __typename ... on Refusal {{ code text }} {shown} }} }}"
        outcome: dict[str, Any] = (await self.ask(query, token, input=given))[mutation]
        return outcome

    def log(self) -> bytes:
        """Give everything that the process has written."""
        return (self.folder / "log").read_bytes()


@asynccontextmanager
async def living(database: str, folder: Path) -> AsyncIterator[House]:
    """Run a server for a developer, who may do everything, and listen to what it tells PostgreSQL."""
    port = free_port()
    command = [sys.executable, "-m", "bels", "serve", "--local", "--port", str(port)]
    environment = {
        **os.environ, "BELS_DATABASE_URL": database, "BELS_DATA_DIR": str(folder), "BELS_LOG": "json", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
        Intake(pool, DEFAULT_RULEBOOK).running() as intake,
    ):
        await publish(pool, intake, DEFAULT_RULEBOOK, "tests")
    listening = await asyncpg.connect(database)
    with (folder / "log").open("wb") as log:
        process = await asyncio.to_thread(
            subprocess.Popen, command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
        )
        url = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                house = House(url, database, folder, client)
                for channel in (CHANGES, ACCESS_CHANGES):
                    await listening.add_listener(channel, lambda *told: house.told.append(f"{told[2]} {told[3]}"))
                deadline = time.monotonic() + START_WAIT_S
                while True:
                    assert process.poll() is None, house.log().decode(errors="replace")
                    assert time.monotonic() < deadline, "the server does not answer"
                    try:
                        if (await client.get("/health")).is_success:
                            break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
                yield house
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
            await listening.close()


async def live(house: House) -> None:
    """Live a life in which everything personal that there is comes by every way there is, right and wrong."""
    await _two_households_and_their_data(house)
    await _senders_and_their_words(house)
    await _wrong_inputs(house)
    await _people_who_log_in(house)
    await _reads(house)


async def _two_households_and_their_data(house: House) -> None:
    now = time.gmtime()
    months = [f"{now.tm_year - (now.tm_mon <= back):04}-{(now.tm_mon - back - 1) % 12 + 1:02}" for back in (2, 1)]
    for account in (ACCOUNT, NEIGHBOUR):
        await open_household(house.client, house.url, account, {"TOTAL": 10000}, at=f"{months[0]}-01T09:00:00Z")
    given: dict[str, Any] = {
        "name": NAME, "address": ADDRESS, "phones": PHONES, "emails": EMAILS, "reason": "заявление в офисе",
    }  # fmt: skip
    for account, name in ((ACCOUNT, NAME), (NEIGHBOUR, NEXT_NAME)):
        kept = await house.do("setPersonalData", **(given | {"account": account, "name": name}))
        assert kept["__typename"] == "PersonalDataSet"
    bad: list[dict[str, Any]] = [
        {"phones": [NAME]}, {"emails": [PHONES[0]]}, {"reason": WORDS}, {"account": EMAILS[0]}, {"name": NAME * 20},
    ]  # fmt: skip
    for wrong in bad:
        refused = await house.do("setPersonalData", **(given | {"account": ACCOUNT} | wrong))
        assert refused["code"] in ("BAD_PERSONAL_DATA", "BAD_NOTE", "UNKNOWN_ACCOUNT")
    for account in (ACCOUNT, NEIGHBOUR):
        for number, month in enumerate(months):
            key = f"{account} {month}"
            values = [{"register": "TOTAL", "value": 10150 + number * 140}]
            checked = await house.do(
                "takeControlReading",
                account=account,
                act="7",
                takenAt=f"{month}-20T09:00:00Z",
                values=values,
                idempotencyKey=key,
            )
            assert checked["__typename"] == "CommandDone", checked
            closed = await house.do("closePeriod", account=account, period=month, idempotencyKey=f"close {key}")
            assert closed["__typename"] == "CommandDone", closed


async def _senders_and_their_words(house: House) -> None:
    for number, (channel, address) in enumerate((("SMS", PHONES[0]), ("EMAIL", EMAILS[0]), ("SMS", PHONES[1]))):
        linked = await house.do(
            "linkChannel", account=ACCOUNT, channel=channel, address=address, idempotencyKey=f"link {number}"
        )
        assert linked["__typename"] == "CommandDone"
    gone = {"account": ACCOUNT, "channel": "EMAIL", "address": EMAILS[0], "ground": "заявление"}
    assert (await house.do("unlinkChannel", idempotencyKey="unlink", **gone))["__typename"] == "CommandDone"
    texts = (f"{ACCOUNT}#10420", f"{ACCOUNT} 10421 {NAME}", WORDS, PHONES[0], f"{PHONES[1]}#1", EMAILS[1], "ДА")
    for sender in (PHONES[0], "79168840753", STRANGE_PHONE, EMAILS[0]):
        for text in texts:
            for charset in ("utf-8", "windows-1251"):
                query = {"from": sender, "charset": charset, "to": "1234", "id": sender if charset == "utf-8" else ""}
                written = quote_plus(text, encoding=charset, errors="replace")
                asked = "&".join(f"{name}={quote_plus(value)}" for name, value in query.items())
                answer = await house.client.get(f"/channels/sms?{asked}&text={written}")
                assert answer.status_code == 200
    # Bytes that are no text.
    damaged = quote_plus(NAME.encode("utf-16-le") + b"\xff\xfe")
    await house.client.get(f"/channels/sms?from={quote_plus(PHONES[0])}&text={damaged}&coding=2&charset=utf-16be")
    await house.client.get(f"/channels/sms?from={quote_plus(PHONES[0])}&{quote_plus(NAME)}=1")


async def _wrong_inputs(house: House) -> None:
    value = [{"register": "TOTAL", "value": "10430"}]
    wrong: list[dict[str, Any]] = [
        {"values": [{"register": "TOTAL", "value": text}]} for text in (EMAILS[0], NAME, PHONES[0], WORDS, "9037514826")
    ]
    wrong += [{"account": text} for text in (EMAILS[0], NAME, PHONES[0], "9037514826")]
    wrong += [{"meter": text} for text in (NAME, EMAILS[0], PHONES[0])]
    wrong += [{"idempotencyKey": text} for text in (EMAILS[0], NAME, PHONES[0])]
    for number, changed in enumerate(wrong):
        given = {"account": ACCOUNT, "idempotencyKey": f"wrong {number}", "values": value} | changed
        told = await house.do("submitReading", **given)
        assert told["__typename"] in ("ReadingRefused", "ReadingAccepted", "ReadingHeld"), told
        rows = [given | {"idempotencyKey": f"row {number}"}]
        await house.ask(
            "mutation($i: SubmitReadingsInput!) { submitReadings(input: $i) { refused } }", i={"rows": rows}
        )
        await house.try_(
            "query($i: PreviewReadingInput!) { previewReading(input: $i) { __typename } }",
            i={name: each for name, each in given.items() if name != "idempotencyKey"},
        )
    for number, account in enumerate((*PHONES, "9037514826", EMAILS[0], NAME)):
        paid = await house.do(
            "receivePayment", account=account, amount="100.00", paidOn="2026-01-15", paymentId=f"payment {number}"
        )
        assert paid["__typename"] == "PaymentReceived", paid
    questions = [
        f'{{ account(number: "{NAME}") {{ number }} }}',
        f'{{ receipt(number: "{EMAILS[0]}") {{ state }} }}',
        f'{{ node(id: "{PHONES[0]}") {{ id }} }}',
        f'{{ accounts(first: 1, after: "{EMAILS[0]}") {{ edges {{ cursor }} }} }}',
        f'{{ account(number: "{NAME}" {{',
        f'{{ "{EMAILS[0]}" }}',
        f'query {{ account(number: "{ACCOUNT}") {{ u_Schedrintseva77: balance {{ balance }} }} }}',
        "query call_89037514826 { tariff(locality: URBAN, stove: GAS) { rates { rate } } }",
        "{ schedrintseva77 }",
        f"# {NAME}\n{{ rulebook {{ version }} }}",
    ]
    for question in questions:
        await house.try_(question)
    notes = [
        ("closeAccount", {"closedAt": "2026-01-01T00:00:00Z", "ground": f"{PHONES[0]} просит"}),
        ("unlinkChannel", {"channel": "SMS", "address": PHONES[1], "ground": f"письмо с {EMAILS[0]}"}),
    ]
    for number, (mutation, given) in enumerate(notes):
        kind = mutation[0].upper() + mutation[1:] + "Input"
        query = f"mutation($i: {kind}!) {{ {mutation}(input: $i) {{ __typename }} }}"
        told = await house.try_(query, i={"account": ACCOUNT, "idempotencyKey": f"note {number}", **given})
        assert [error["extensions"]["code"] for error in told["errors"]] == ["BAD_USER_INPUT"]
    for variables in ({"n": {"name": NAME}}, {"n": [EMAILS[0]]}, {NAME: PHONES[0]}, {"n": 9037514826}):
        await house.client.post(
            "/graphql", json={"query": "query($n: String!) { account(number: $n) { number } }", "variables": variables}
        )
    strange = [
        ("/graphql", f'{{"query": "{NAME}'.encode()), ("/graphql", NAME.encode("cp1251")), (f"/{quote(NAME)}", b""),
        (f"/bills/{quote(EMAILS[0])}/2026-01.pdf", b""), ("/oauth/nothing", LOGIN.encode()),
    ]  # fmt: skip
    for path, body in strange:
        await house.client.post(path, content=body, headers={"content-type": "application/json"})
        await house.client.get(path, params={"name": NAME, "phone": PHONES[0]})
    form = {"grant_type": "client_credentials", "client_id": LOGIN, "client_secret": PHONES[0], "scope": NAME}
    assert (await house.client.post("/oauth/token", data=form)).status_code in (400, 401)
    # What a client says of itself is anybody's word too.
    for name, text in (("x-request-id", EMAILS[0]), ("x-request-id", "89037514826"), ("user-agent", EMAILS[0])):
        await house.client.post(
            "/graphql",
            json={"query": "{ rulebook { version } }"},
            headers={name: text, "x-forwarded-for": STRANGE_ADDRESS},
        )


async def _people_who_log_in(house: House) -> None:
    bill = await house.ask(
        "query($n: String!) { account(number: $n) { lastBill { period toPay readings { meter current } } } }",
        n=NEIGHBOUR,
    )
    last = bill["account"]["lastBill"]
    proof = {"period": last["period"], "toPay": last["toPay"], "meter": last["readings"][0]["meter"]}
    signed = "... on SignedIn { person session accessToken refreshToken }"
    wrong = await house.do(
        "registerConsumer", account=ACCOUNT, proof={**proof, "toPay": "1.00"}, login=LOGIN, password=PASSWORD
    )
    assert wrong["code"] == "NOT_PROVEN"
    person = await house.do("registerConsumer", signed, account=NEIGHBOUR, proof=proof, login=LOGIN, password=PASSWORD)
    assert person["__typename"] == "SignedIn", person
    tries = ((LOGIN, PASSWORD), (LOGIN.upper(), PASSWORD), (LOGIN, NAME), (PHONES[0], PASSWORD), (NAME, NAME))
    for login, password in tries:
        await house.do("logIn", signed, login=login, password=password)
    token = person["accessToken"]
    me = (await house.ask("{ me { kind login accounts { accountNumber } } }", token))["me"]
    assert me["login"] == LOGIN
    shown = '{ account(number: "1000102") { personalData { name address phones emails } } }'
    assert (await house.ask(shown, token))["account"]["personalData"]["name"] == NEXT_NAME
    for account in (NEIGHBOUR, ACCOUNT):
        printed = await house.client.get(
            f"/bills/{account}/{last['period']}.pdf?personal=1", headers={"authorization": f"Bearer {token}"}
        )
        assert printed.status_code == (200 if account == NEIGHBOUR else 404)
    document = {"kind": "PASSPORT", "last": "4821", "on": "2019-04-02"}
    for reason in (WORDS, "забыл пароль"):
        await house.do("resetPassword", person=person["person"], document=document, reason=reason)


async def _reads(house: House) -> None:
    find_accounts = (
        "query($phone: String, $email: String) { accountsByContact(phone: $phone, email: $email) { number } }"
    )
    for contact in ({"phone": PHONES[0]}, {"email": EMAILS[1]}):
        data = await house.ask(find_accounts, **contact)
        assert data == {"accountsByContact": [{"number": ACCOUNT}, {"number": NEIGHBOUR}]}
    await house.try_(find_accounts, phone=EMAILS[0])
    await house.client.get(
        "/graphql",
        params={"query": f'{{ accountsByContact(email: "{EMAILS[0]}") {{ number maskedName }} }}'},
        headers={"GraphQL-Require-Preflight": "1"},
    )
    data = await house.ask('{ account(number: "1000101") { personalData { name } maskedName lastBill { period } } }')
    assert data["account"]["personalData"] == {"name": NAME}
    assert data["account"]["maskedName"] == "Щ*** Ульяна К."
    printed = await house.client.get(f"/bills/{ACCOUNT}/{data['account']['lastBill']['period']}.pdf?personal=1")
    assert printed.status_code == 200


async def events_of(db: Db) -> bytes:
    """Decode the whole journal and every answer that stands in none, as an auditor reads them."""
    told = [repr(entry) async for part in accounts(db, 100) for entry in await read(db, dict.fromkeys(part, 0))]
    for row in await db.fetch("SELECT answer FROM message WHERE answer IS NOT NULL"):
        told += [repr(event) for event in decode_events(bytes(row["answer"]))]
    return "\n".join(told).encode()


@pytest.fixture
def restored(postgres: str, template: str) -> str:
    """Give the URL of another empty supplier, into which a backup is put."""
    return new_supplier(postgres, template, "bels_test_restored")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the server's own folder, with the key that wraps all others."""
    made = tmp_path / "house"
    made.mkdir()
    return made


async def test_the_search_finds_what_is_hidden_in_a_table(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        await db.execute("CREATE SCHEMA hidden")
        await db.execute("CREATE TABLE hidden.there (text text, bytes bytea)")
        for hidden in (
            NAME.encode(),
            base64.b64encode(b"?" + NAME.encode()),
            json.dumps(NAME).encode(),
            quote(NAME).encode(),
        ):
            await db.execute("INSERT INTO hidden.there VALUES ($1, NULL)", f"x{hidden.decode()}y")
            assert len({line.partition(" as ")[0] for line in found(await dumped(db, "hidden"))}) == 2 * 4
            await db.execute("UPDATE hidden.there SET text = NULL, bytes = $1", b"\x07" + hidden + b"\x07")
            places = {line.partition(" as ")[0] for line in found(await dumped(db, "hidden"))}
            assert any("(binary)" in place for place in places)
            await db.execute("TRUNCATE hidden.there")
    for sight in SIGHTS:
        for needle in spellings(sight):
            assert found({"here": b"\x07" + needle + b"\x07"})


@pytest.mark.parametrize(
    "key",
    [
        "k1",
        "8c1f4a0e-9123-4567-8901-234567890123",
        "u-4kx/2026-11-23 000001",
        "1763856000000",
        "20261123001122334455",
        "5f:7",
    ],
)
def test_a_usual_name_of_a_message_stays_as_it_is(key: str) -> None:
    assert RawTexts(bytes(32)).guarded(key) == key


@pytest.mark.parametrize("text", [*PHONES, *EMAILS, STRANGE_PHONE, "u-4kx/9037514826", NAME, WORDS])
def test_a_text_that_holds_a_contact_or_a_name_is_kept_sealed_and_opened_for_an_operator(text: str) -> None:
    raw_texts = RawTexts(bytes(32))
    sealed = raw_texts.guarded(text)
    assert found({"here": sealed.encode()}) == []
    # The same text is the same name of a message, also after a restart.
    assert RawTexts(bytes(32)).guarded(text) == sealed
    assert raw_texts.opened(sealed) == text


@pytest.mark.parametrize("number", ["E-9", "M7", "011070118", "СЭБ-2А 0042", "ЦЭ6807Б", "0090260345123451", "1000101"])
def test_a_number_of_a_meter_or_an_account_stays_readable(number: str) -> None:
    assert quoted_number(number) == number


async def test_a_life_through_a_server_leaves_nothing_personal_anywhere(database: str, folder: Path) -> None:
    async with living(database, folder) as house:
        await live(house)
        metrics = (await house.client.get("/metrics")).content
        assert metrics
    db = await asyncpg.connect(database)
    try:
        places = await dumped(db)
        assert {"public.personal (binary)", "public.message (text)", "bels_keys.data_key (text)"} <= places.keys()
        places |= {"the log": house.log(), "the events": await events_of(db), "the metrics": metrics}
        places["what PostgreSQL was told"] = "\n".join(house.told).encode()
    finally:
        await db.close()
    for place in ("the log", "the events", "what PostgreSQL was told"):
        assert len(places[place]) > 500, place
    assert found(places) == []


async def test_what_is_erased_is_gone_from_the_backups_too_and_the_journal_does_not_notice(
    database: str, restored: str, folder: Path
) -> None:
    of_history = ("public.journal (binary)", "public.message (binary)")
    async with living(database, folder) as house, asyncpg.create_pool(database, min_size=1, max_size=4) as pool:
        await _two_households_and_their_data(house)
        async with pool.acquire() as db:
            before = await dumped(db)
            rows_before = await views(pool)
            keys_before = await _keys(db, folder)
        backup = {place: content for place, content in before.items() if not place.startswith("bels_keys.")}

        shown = "... on PersonalDataErased { act text replayed }"
        given: dict[str, Any] = {"account": ACCOUNT, "tenure": 1, "reason": "отзыв согласия"}
        erased = await house.do("erasePersonalData", shown, **given)
        assert erased["text"].startswith(f"АКТ № {erased['act']}")

        # Nobody is shown it any more.
        answer = await house.ask(
            '{ account(number: "1000101") { personalData { name } maskedName lastBill { period } } }'
        )
        assert (answer["account"]["personalData"], answer["account"]["maskedName"]) == (None, None)
        answer = await house.ask("query($p: String) { accountsByContact(phone: $p) { number } }", p=PHONES[0])
        assert answer == {"accountsByContact": [{"number": NEIGHBOUR}]}

        # The journal and its views are what they were, also told again.
        async with pool.acquire() as db:
            after = await dumped(db)
            keys_after = await _keys(db, folder)
            assert [after[place] for place in of_history] == [before[place] for place in of_history]
            assert await views(pool) == rows_before
            told, rulebook = 0, await Intake(pool, DEFAULT_RULEBOOK).rules()
            async for part in accounts(db):
                told += await retell(db, part, rulebook)
        assert told == await audit(pool) > 0
        assert await views(pool) == rows_before
        assert found(after | {"the act": erased["text"].encode(), "the log": house.log()}) == []

    keys = {place: content for place, content in after.items() if place.startswith("bels_keys.")}
    async with asyncpg.create_pool(restored, min_size=1, max_size=4) as pool, pool.acquire() as db:
        await _restore(db, backup | keys)
        vault = Vault(pool, development_key(folder))
        # The neighbour's data show that the backup is whole and the keys are the right ones.
        neighbour = await find(db, vault, f"{NEIGHBOUR}/1")
        assert isinstance(neighbour, Personal)
        assert neighbour.name == NEXT_NAME
        assert await find(db, vault, f"{ACCOUNT}/1") is None
        sealed = await db.fetchval("SELECT sealed FROM personal WHERE subject = $1", f"{ACCOUNT}/1")
        with pytest.raises(KeyDestroyed):
            await vault.unseal(db, f"{ACCOUNT}/1", sealed, "personal")
    # Not with any key that there still is, while the destroyed one would have opened it.
    assert [NAME in text for text in _opened(sealed, keys_before)] == [True]
    assert _opened(sealed, keys_after) == []
    assert len(keys_after) == len(keys_before) - 1


async def _keys(db: Db, folder: Path) -> list[bytes]:
    """Unwrap every key that there is, with the master key."""
    master = development_key(folder)
    rows = await db.fetch(
        """
        SELECT wrapped, master, 'subject/' || subject AS about FROM bels_keys.data_key WHERE wrapped IS NOT NULL
        UNION ALL SELECT wrapped, master, 'named/' || name FROM bels_keys.named_key
        """
    )
    return [await master.unwrap(row["wrapped"], row["master"], row["about"]) for row in rows]


def _opened(sealed: bytes, keys: list[bytes]) -> list[str]:
    """Try every key on what is sealed: the byte 1, a nonce of 12 bytes, AES-GCM bound to its subject and to what it is."""
    subject = f"{ACCOUNT}/1".encode()
    opened = []
    for key in keys:
        try:
            text = AESGCM(key).decrypt(
                sealed[1:13], sealed[13:], b"bels %d %s%s" % (len(subject), subject, b"personal")
            )
        except InvalidTag:
            continue
        opened.append(text.decode())
    return opened


async def _restore(db: Db, backup: dict[str, bytes]) -> None:
    """Put a backup of tables into an empty supplier."""
    # As pg_restore does: what only forbids changes is asleep meanwhile.
    await db.execute("SET session_replication_role = replica")
    for place, content in backup.items():
        table, _, form = place.rpartition(" ")
        if form == "(binary)":
            schema, _, name = table.partition(".")
            await db.execute(f"DELETE FROM {table}")
            await db.copy_to_table(name, schema_name=schema, source=io.BytesIO(content), format="binary")
    await db.execute("RESET session_replication_role")
