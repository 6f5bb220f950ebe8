"""The evidence pack over HTTP and by the command: who may have it, what is recorded, and how many at once."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from bels.access import people, sessions
from bels.access.access_log import page
from bels.access.callers import Kind
from bels.access.clients import add_client
from bels.access.tokens import Grant
from bels.api.context import RIGHTS
from bels.audit.seals.sealing import seal_journal
from bels.domain.terms import Channel
from bels.visitors import Visitors
from bels.web import evidence_pack
from bels.web.evidence_pack import evidence_pack_routes
from tests.audit.evidence.life import NAME, live, seen
from tests.channels.house import House, opened_house
from tests.command import bels, environment, fetch
from tests.conftest import new_supplier

HOME, WAITING = "1000001", 3
PACK = f"/audit/accounts/{HOME}/evidence.zip"


@dataclass(slots=True)
class Office:
    """The route of a supplier with a few households."""

    house: House
    asked: httpx.AsyncClient
    routes: list[Route]

    async def staff(self, kind: Kind, *grants: str) -> dict[str, str]:
        """Let somebody in, and give the header of the credential."""
        desk = self.house.desk
        async with desk.pool.acquire() as db:
            named = await people.add_person(db, desk.door.vault, kind, login=None, password_hash="x", grants=grants)
            session = (await sessions.begin(db, desk.door.vault, named, self.house.at)).session
        return await self._header(Grant(kind=kind, subject=named, session=session))

    async def client(self, kind: Kind, channel: Channel, *scopes: str) -> dict[str, str]:
        """Add a bank or a gateway, and give the header of its credential."""
        desk = self.house.desk
        async with desk.pool.acquire() as db:
            named, _ = await add_client(db, desk.door.vault, kind, "of the test", channel, scopes)
        return await self._header(Grant(kind=kind, subject=named, given=scopes))

    async def _header(self, grant: Grant) -> dict[str, str]:
        return {"authorization": f"Bearer {(await self.house.desk.door.tokens.issue(grant))[0]}"}


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with opened_house(database, tmp_path) as house:
        assert house.bels is not None
        await seal_journal(house.desk.pool, house.desk.door.vault, house.at)
        routes = evidence_pack_routes(
            house.desk, Visitors(house.bels.pool, house.desk.door), RIGHTS, waiting_max=WAITING
        )
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://bels") as asked:
            yield Office(house, asked, routes)


async def test_an_auditor_has_the_masked_pack_and_it_is_recorded(office: Office) -> None:
    given = await office.asked.get(PACK, headers=await office.staff(Kind.AUDITOR))
    assert given.status_code == 200
    assert given.headers["content-type"] == "application/zip"
    assert given.headers["content-disposition"] == f'attachment; filename="evidence-{HOME}.zip"'
    assert int(given.headers["content-length"]) == len(given.content)
    assert given.headers["cache-control"] == "no-store"
    with ZipFile(io.BytesIO(given.content)) as read:
        manifest = json.loads(read.read("manifest.json"))
    assert (manifest["account"], manifest["personal"]) == (HOME, "masked")
    async with office.house.desk.pool.acquire() as db:
        (read_row,) = await page(db, None, 10)
    assert (read_row.subject, read_row.fields, read_row.accounts) == (manifest["made_for"], ("evidencePack",), (HOME,))


async def test_what_is_personal_is_for_operators_of_personal_data_alone(office: Office) -> None:
    path = f"{PACK}?personal=included&seal=1"
    given = await office.asked.get(path, headers=await office.staff(Kind.OPERATOR, "people"))
    assert given.status_code == 200
    with ZipFile(io.BytesIO(given.content)) as read:
        assert json.loads(read.read("manifest.json"))["personal"] == "included"
    async with office.house.desk.pool.acquire() as db:
        assert [row.fields for row in await page(db, None, 10)] == [("evidencePack.personal",)]
    for header in (await office.staff(Kind.AUDITOR), await office.staff(Kind.OPERATOR, "money", "rules")):
        refused = await office.asked.get(path, headers=header)
        assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")


async def test_nobody_else_has_a_pack_and_nothing_is_told_of_the_account(office: Office) -> None:
    nobody = await office.asked.get(PACK)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    others = (
        await office.staff(Kind.CONSUMER),
        await office.staff(Kind.INSPECTOR),
        await office.staff(Kind.ADMINISTRATOR),
        await office.client(Kind.PARTNER, Channel.BANK, "readings:write", "payments:write", "registers:read"),
        await office.client(Kind.GATEWAY, Channel.SMS),
    )
    for header in others:
        for account in (HOME, "1009999"):
            refused = await office.asked.get(PACK.replace(HOME, account), headers=header)
            assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    async with office.house.desk.pool.acquire() as db:
        assert await page(db, None, 10) == []


async def test_what_cannot_be_meant_is_refused(office: Office) -> None:
    header = await office.staff(Kind.AUDITOR)
    for path, status in (
        ("/audit/accounts/1009999/evidence.zip", 404),
        ("/audit/accounts/10x/evidence.zip", 400),
        (f"{PACK}?personal=yes", 400),
        (f"{PACK}?seal=x", 400),
        (f"{PACK}?seal=-1", 400),
        (f"{PACK}?seal=99", 404),
        (f"{PACK}?seal=0", 404),
        (f"{PACK}?seal={'9' * 30}", 400),
        (f"{PACK}?{'seal=1&' * 101}", 400),
    ):
        answer = await office.asked.get(path, headers=header)
        assert (answer.status_code, "error" in answer.json()) == (status, True), path


async def test_packs_wait_for_each_other_and_more_are_told_to_come_again(office: Office) -> None:
    header = await office.staff(Kind.AUDITOR)
    answers = await asyncio.gather(*(office.asked.get(PACK, headers=header) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]
    assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 429} == {"10"}
    # Whoever was sent his pack has made room.
    assert (await office.asked.get(PACK, headers=header)).status_code == 200
    assert (await office.asked.get(f"{PACK}?seal=99", headers=header)).status_code == 404
    assert [(await office.asked.get(PACK, headers=header)).status_code for _ in range(4)] == [200] * 4


async def test_one_person_leaves_room_for_others_and_a_stranger_takes_none(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_pack, "OF_ONE_MAX", 1)
    one, other = await office.staff(Kind.AUDITOR), await office.staff(Kind.OPERATOR)
    nobody: dict[str, str] = {}
    asked = [nobody] * WAITING + [one, one, other]
    answers = await asyncio.gather(*(office.asked.get(PACK, headers=header) for header in asked))
    assert [answer.status_code for answer in answers[:WAITING]] == [401] * WAITING
    assert sorted(answer.status_code for answer in answers[WAITING:-1]) == [200, 429]
    assert answers[-1].status_code == 200


async def test_whoever_takes_nothing_of_a_pack_is_cut_off(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_pack, "STALLED_S", 0.05)
    header, (route, *_) = await office.staff(Kind.AUDITOR), office.routes
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": PACK,
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "server": ("bels", 80),
        "client": ("192.0.2.1", 1),
        "path_params": {"account": HOME},
        "headers": [(name.encode(), value.encode()) for name, value in header.items()],
    }

    async def take_nothing(_: object) -> None:
        await asyncio.Event().wait()

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    for _ in range(WAITING + 1):
        with pytest.raises(TimeoutError):
            await route.handle(scope, receive, take_nothing)
    assert (await office.asked.get(PACK, headers=header)).status_code == 200


def test_the_command_writes_a_pack_for_its_owner_alone_and_is_recorded(
    postgres: str, template: str, tmp_path: Path
) -> None:
    database = new_supplier(postgres, template, "bels_test_evidence_command")
    asyncio.run(live(database, tmp_path))
    env, path = environment(database, tmp_path), tmp_path / "pack.zip"

    done = bels("audit", "pack", HOME, "--personal", "--seal", "1", "--out", path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: {path.stat().st_size:,} bytes, personal data included\n"
    assert path.stat().st_mode & 0o777 == 0o600
    with ZipFile(path) as read:
        assert NAME in seen(b"".join(map(read.read, read.namelist())))
    reads = asyncio.run(fetch(database, "SELECT subject, kind, fields, accounts FROM access_log"))
    assert reads == [("command", "LOCAL", ["evidencePack.personal"], [HOME])]

    before = path.read_bytes()
    refused = bels("audit", "pack", HOME, "--seal", "99", "--out", path, env=env)
    assert (refused.returncode, "there is no seal 99, the newest is 2" in refused.stderr) == (2, True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("pack.zip*")] == ["pack.zip"]
    assert bels("audit", "pack", "1009999", "--out", path, env=env).returncode == 2
