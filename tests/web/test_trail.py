"""The trail as a file over HTTP: for the auditor alone, recorded, page by page, two at once."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.access import people, sessions
from bels.access.access_log import ReadRow, page
from bels.access.callers import Kind
from bels.access.door import Door
from bels.access.tokens import Grant
from bels.api.context import RIGHTS
from bels.app import Bels, door_of, opened
from bels.settings import Settings
from bels.visitors import Visitors
from bels.web import trail
from bels.web.trail import AT_ONCE_MAX, trail_routes
from tests.audit.trail.story import Story, accepted, at, paid
from tests.supplier import today

PATH = "/audit/trail.jsonl"
MANY = 1_300
"""Three pages, the publication of the rules among them."""


@dataclass(slots=True)
class Office:
    """A supplier with three pages of entries, and its route."""

    bels: Bels
    door: Door
    app: Starlette
    asked: httpx.AsyncClient

    async def staff(self, kind: Kind, *grants: str) -> dict[str, str]:
        """Let somebody of the office in, and give the header of the credential."""
        async with self.bels.pool.acquire() as db:
            named = await people.add_person(db, self.bels.vault, kind, login=None, password_hash="x", grants=grants)
            session = (await sessions.begin(db, self.bels.vault, named, today())).session
        grant = Grant(kind=kind, subject=named, session=session)
        return {"authorization": f"Bearer {(await self.door.tokens.issue(grant))[0]}"}

    async def reads(self) -> list[ReadRow]:
        """Give the record of reading, oldest first."""
        async with self.bels.pool.acquire() as db:
            return (await page(db, None, 100))[::-1]


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(Settings(database_url=database, data_dir=tmp_path), clock=today) as bels:
        story = Story(bels.pool)
        await story.tell("1000001", at(1, 5), accepted(100))
        await story.tell("1000002", at(1, 6), paid("250.00"))
        await bels.pool.execute(
            "INSERT INTO journal (originator_id, originator_version, topic, state, digest)"
            " SELECT (1000002 + n)::text, 1, topic, state, digest FROM journal, generate_series(1, $1) AS n"
            "  WHERE originator_id = '1000001' AND originator_version = 1",
            MANY - 3,
        )
        door = await door_of(bels, local=False)
        app = Starlette(routes=trail_routes(bels.pool, Visitors(bels.pool, door), RIGHTS, bels.intake.clock))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as asked:
            yield Office(bels, door, app, asked)


@dataclass(slots=True)
class Reader:
    """A client that takes what it is sent when it is let, and may go."""

    path: str
    headers: dict[str, str]
    taken: list[bytes] = field(default_factory=list)
    may_take: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    is_ended: bool = False

    async def read(self, app: Starlette) -> None:
        """Ask for a file as a server does."""
        path, _, query = self.path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "server": ("bels", 80),
            "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
        }

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await self.may_take.acquire()
                self.taken.append(message["body"])
                self.is_ended = not message.get("more_body", False)

        await app(scope, receive, send)


async def until(true: Any) -> None:
    for _ in range(1_000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_an_auditor_has_the_whole_trail_and_every_page_is_recorded(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    answer = await office.asked.get(PATH, headers=auditor)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="trail_2026-03-01.jsonl"'
    assert answer.headers["cache-control"] == "no-store"
    *entries, end = [json.loads(line) for line in answer.text.splitlines()]
    assert (len(entries), end["whole"], end["entries"]) == (MANY, True, MANY)

    reads = await office.reads()
    assert {(row.kind, row.subject) for row in reads} == {("AUDITOR", reads[0].subject)}
    assert reads[0].fields == ("trail.export jsonl",)
    assert reads[-1].fields == (f"trail.exported entries={MANY} whole",)
    assert [len(row.accounts) for row in reads] == [0, 500, 500, 300, 0]


async def test_a_filter_is_obeyed_and_recorded(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    path = "/audit/trail.csv?kind=PaymentReceived&channel=office&amountMin=100&since=2026-01-01"
    answer = await office.asked.get(path, headers=auditor)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    heading, row, end = answer.content.decode("utf-8-sig").split("\r\n")[:3]
    assert heading.startswith("Лицевой счёт;Запись;")
    assert row.startswith("1000002;1;06.01.2026 12:00:00;")
    assert end.startswith("Выгрузка полная, записей:;1;kinds=PaymentReceived;")
    first, shown, last = await office.reads()
    assert first.fields == (
        "trail.export csv kinds=PaymentReceived channels=office amount_min=100.00 since=2025-12-31T21:00:00+00:00",
    )
    assert shown.accounts == ("1000002",)
    assert last.fields == ("trail.exported entries=1 whole",)


async def test_gzip_is_given_to_whoever_asks_for_it(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    reader = Reader(PATH, {**auditor, "accept-encoding": "br, gzip;q=0.5"}, may_take=asyncio.Semaphore(99))
    await reader.read(office.app)
    assert len(gzip.decompress(b"".join(reader.taken)).splitlines()) == MANY + 1
    plain = await office.asked.get(PATH, headers={**auditor, "accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    packed = await office.asked.get(PATH, headers={**auditor, "accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    # The last line says when the trail was whole.
    assert packed.text.splitlines()[:-1] == plain.text.splitlines()[:-1]


async def test_nobody_else_may_have_it(office: Office) -> None:
    nobody = await office.asked.get(PATH)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    for kind in (Kind.OPERATOR, Kind.INSPECTOR, Kind.ADMINISTRATOR, Kind.CONSUMER):
        grants = ("money", "rules", "people") if kind is Kind.OPERATOR else ()
        assert (await office.asked.get(PATH, headers=await office.staff(kind, *grants))).status_code == 403
    assert await office.reads() == []


async def test_what_cannot_be_meant_is_refused_before_anything_is_read(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    for path, status in (
        ("/audit/trail.xlsx", 404),
        (f"{PATH}?kind=Dreamt", 400),
        (f"{PATH}?since=yesterday", 400),
        (f"{PATH}?order=desc", 400),
        (f"{PATH}?actor=a&actor=b", 400),
    ):
        answer = await office.asked.get(path, headers=auditor)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "code"}), path
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await office.asked.request(method, PATH, headers=auditor)).status_code == 405
    head = await office.asked.head(PATH, headers=auditor)
    assert (head.status_code, head.content) == (200, b"")
    assert await office.reads() == []


async def test_a_phone_or_an_address_does_not_come_into_the_record(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    for contact in ("+7 (916) 123-45-67", "89161234567", "ivanov@example.org"):
        answer = await office.asked.get(PATH, params={"actor": contact}, headers=auditor)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_USER_INPUT")
        assert contact not in answer.text
    assert await office.reads() == []


async def test_whoever_reads_slowly_holds_back_the_next_page_and_no_transaction(office: Office) -> None:
    reader = Reader(PATH, await office.staff(Kind.AUDITOR))
    reading = asyncio.create_task(reader.read(office.app))
    reader.may_take.release()
    await until(lambda: len(reader.taken) == 1)
    await asyncio.sleep(0.1)
    # The second page is found and waits; the third is not asked for, and nothing of the database is held.
    assert [len(row.accounts) for row in await office.reads()] == [0, 500, 500]
    assert office.bels.pool.get_idle_size() == office.bels.pool.get_size()
    for _ in range(9):
        reader.may_take.release()
    await reading
    assert reader.is_ended
    assert len(b"".join(reader.taken).splitlines()) == MANY + 1


async def test_whoever_goes_ends_the_export_which_is_recorded_as_cut(office: Office) -> None:
    reader = Reader(PATH, await office.staff(Kind.AUDITOR))
    reading = asyncio.create_task(reader.read(office.app))
    reader.may_take.release()
    await until(lambda: len(reader.taken) == 1)
    reader.gone.set()
    await asyncio.sleep(0.05)
    reader.may_take.release()
    await reading
    assert not reader.is_ended
    ((last,), more) = (await office.reads())[-1].fields, len(reader.taken)
    assert last == f"trail.exported entries={500 * more} cut"
    assert more < 3


async def test_whoever_takes_nothing_is_cut_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "STALLED_S", 0.05)
    reader = Reader(PATH, await office.staff(Kind.AUDITOR))
    with pytest.raises(TimeoutError):
        await reader.read(office.app)
    assert (await office.reads())[-1].fields == ("trail.exported entries=0 cut",)
    assert (await office.asked.get(PATH, headers=reader.headers)).status_code == 200


async def test_a_third_export_is_told_to_come_again(office: Office) -> None:
    auditor = await office.staff(Kind.AUDITOR)
    readers = [Reader(PATH, auditor) for _ in range(AT_ONCE_MAX)]
    reading = [asyncio.create_task(reader.read(office.app)) for reader in readers]
    for reader in readers:
        reader.may_take.release()
    await until(lambda: all(reader.taken for reader in readers))
    third = await office.asked.get(PATH, headers=auditor)
    assert (third.status_code, third.json()["code"], third.headers["retry-after"]) == (429, "RATE_LIMITED", "30")
    for reader in readers:
        for _ in range(9):
            reader.may_take.release()
    await asyncio.gather(*reading)
    assert (await office.asked.get(PATH, headers=auditor)).status_code == 200


async def test_what_cannot_be_recorded_is_not_sent(office: Office) -> None:
    await office.bels.pool.execute("ALTER TABLE access_log ADD CHECK (cardinality(accounts) = 0) NOT VALID")
    reader = Reader(PATH, await office.staff(Kind.AUDITOR), may_take=asyncio.Semaphore(99))
    with pytest.raises(Exception, match="check constraint"):
        await reader.read(office.app)
    assert reader.taken == []
    assert (await office.reads())[-1].fields == ("trail.exported entries=0 cut",)


async def test_the_day_in_the_files_name_is_that_of_moscow(office: Office) -> None:
    def late() -> datetime:
        return datetime(2026, 3, 1, 22, tzinfo=UTC)

    app = Starlette(routes=trail_routes(office.bels.pool, Visitors(office.bels.pool, office.door), RIGHTS, late))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as asked:
        answer = await asked.get(f"{PATH}?actor=nobody", headers=await office.staff(Kind.AUDITOR))
    assert 'filename="trail_2026-03-02.jsonl"' in answer.headers["content-disposition"]
