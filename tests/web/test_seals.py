"""Seals over HTTP: for everybody, with what caches need, and never anything else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from bels.access.vault import Vault
from bels.audit.seals.keys import is_signed, new_key
from bels.audit.seals.statement import Seal, published, read_seal, signed_bytes
from bels.audit.store import install_audit
from bels.web.seals import seal_routes
from tests.audit.seals.ground import MASTER, Ground


@dataclass(slots=True)
class Site:
    """The routes over a journal that was sealed twice."""

    ground: Ground
    seals: list[Seal]
    asked: httpx.AsyncClient


@pytest.fixture
async def site(pool: asyncpg.Pool) -> AsyncIterator[Site]:
    async with pool.acquire() as db:
        await install_audit(db)
    ground = Ground(pool, Vault(pool, MASTER))
    await ground.add("1000000")
    seals = [await ground.seal(), await ground.seal()]
    transport = httpx.ASGITransport(Starlette(routes=seal_routes(pool)))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as asked:
        yield Site(ground, seals, asked)


async def test_everybody_may_fetch_a_seal_and_keep_it_for_ever(site: Site) -> None:
    for seal in site.seals:
        answer = await site.asked.get(f"/seals/{seal.number}.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.text == published(seal)
        assert read_seal(answer.text) == seal
        again = await site.asked.get(f"/seals/{seal.number}.json", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await site.asked.head(f"/seals/{seal.number}.json")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))


async def test_the_newest_seal_is_looked_up_again(site: Site) -> None:
    answer = await site.asked.get("/seals/latest.json")
    assert read_seal(answer.text) == site.seals[-1]
    assert answer.headers["cache-control"] == "public, max-age=60"
    seal = await site.ground.seal()
    weak = {"if-none-match": f'"other", W/{answer.headers["etag"]}'}
    newer = await site.asked.get("/seals/latest.json", headers=weak)
    assert read_seal(newer.text) == seal
    assert (await site.asked.get("/seals/latest.json", headers={"if-none-match": "*"})).status_code == 304


async def test_keys_are_published_as_every_library_reads_them(site: Site) -> None:
    key = await new_key(site.ground.pool, site.ground.vault, site.ground.at)
    site.seals.append(await site.ground.seal())
    said = json.loads((await site.asked.get("/seals/keys.json")).text)["keys"]
    assert [each["kid"] for each in said] == [site.seals[0].key, key]
    assert {(each["kty"], each["crv"]) for each in said} == {("OKP", "Ed25519")}
    public = {each["kid"]: bytes.fromhex(each["hex"]) for each in said}
    assert all(is_signed(public[seal.key], signed_bytes(seal), seal.signature) for seal in site.seals)


@pytest.mark.parametrize("name", ["3", "0", "01", "-1", "1e0", "9" * 12, "9" * 40, "keyz", "%D9%A1"])
async def test_what_is_no_seal_is_not_there(site: Site, name: str) -> None:
    answer = await site.asked.get(f"/seals/{name}.json")
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no such seal; the newest is /seals/latest.json", "code": "NOT_FOUND"}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_seal_that_was_destroyed_is_shown_to_nobody(site: Site) -> None:
    await site.ground.tamper('UPDATE seal SET statement = \'{"format": "bels seal 1"}\' WHERE number = 1')
    answer = await site.asked.get("/seals/1.json")
    assert (answer.status_code, answer.json()["code"]) == (500, "SEAL_BROKEN")
    assert answer.headers["cache-control"] == "no-store"


async def test_nobody_writes_a_seal(site: Site) -> None:
    assert (await site.asked.post("/seals/1.json", content="{}")).status_code == 405
