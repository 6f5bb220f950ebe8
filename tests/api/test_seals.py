"""Seals over GraphQL: for everybody; proofs for whoever may read an account's trail; sealing for administrators alone."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from bels.access.callers import ANONYMOUS, Caller, Kind, Right, Sight, rights_of
from bels.api.context import RIGHTS
from bels.api.schema import SCHEMA
from bels.audit.seals.merkle import are_consistent, leaf_hash, root_of_path
from bels.audit.seals.statement import head_leaf, key_name, published, read_seal, signed_bytes
from bels.audit.store import install_audit
from bels.domain.terms import Channel
from tests.api.client import Client, household

OWN, FOREIGN = "1000101", "1000102"
SEAL = "number sealedAt accounts entries heads log faults key signature text"
SEAL_NOW = f"""mutation($input: SealJournalInput!) {{ sealJournal(input: $input) {{ __typename
  ... on JournalSealed {{ replayed seal {{ {SEAL} }} }} ... on SealingBegun {{ text }} ... on JournalNotSealed {{ text }} }} }}"""
PROOF = """query($account: String!, $seal: Int) { sealProof(account: $account, seal: $seal) {
  accountNumber version digest index size path text seal { number heads } } }"""
CONSISTENCY = """query($first: Int!, $second: Int!) { sealConsistency(first: $first, second: $second) {
  path inclusion first { number log text } second { number log text } } }"""
LIST = """query($first: Int, $after: String) { seals(first: $first, after: $after) {
  edges { cursor node { number } } pageInfo { hasNextPage endCursor } } }"""

AUDITOR = Caller(Kind.AUDITOR, "u-auditor", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-auditor")
ADMINISTRATOR = Caller(Kind.ADMINISTRATOR, "u-admin", rights_of(Kind.ADMINISTRATOR), Channel.OFFICE, "admin:u-admin")


def consumer(**sights: Sight) -> Caller:
    """Give a consumer who sees these accounts."""
    seen = {name.removeprefix("a"): sight for name, sight in sights.items()}
    return Caller(Kind.CONSUMER, "u-mine", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-mine", seen)


@pytest.fixture
async def town(client: Client) -> Client:
    """Give a supplier of two households whose journal can be sealed."""
    async with client.pool.acquire() as db:
        await install_audit(db)
    await household(client, OWN)
    await household(client, FOREIGN)
    return client


async def sealed(client: Client, **given: Any) -> dict[str, Any]:
    """Seal the journal a day later, as the administrator."""
    before, client.caller = client.caller, ADMINISTRATOR
    client.clock.at += timedelta(days=1)
    told: dict[str, Any] = (await client.ask(SEAL_NOW, input=given))["sealJournal"]
    client.caller = before
    return told


async def test_everybody_reads_seals_and_keys_and_can_check_them(town: Client) -> None:
    town.caller = ANONYMOUS
    assert (await town.ask(f"{{ latestSeal {{ {SEAL} }} seal(number: 1) {{ number }} }}")) == {
        "latestSeal": None, "seal": None,
    }  # fmt: skip
    first = (await sealed(town))["seal"]
    second = (await sealed(town))["seal"]

    told = await town.ask(f"{{ latestSeal {{ {SEAL} }} seal(number: 1) {{ {SEAL} }} sealKeys {{ name public }} }}")
    assert (told["seal"], told["latestSeal"]) == (first, second)
    read = read_seal(second["text"])
    assert published(read) == second["text"]
    assert (read.number, read.heads.hex(), read.log.hex()) == (2, second["heads"], second["log"])
    [key] = told["sealKeys"]
    assert key["name"] == second["key"] == key_name(bytes.fromhex(key["public"]))
    assert json.loads(second["text"])["signature"] == second["signature"]


async def test_seals_are_listed_newest_first_by_pages(town: Client) -> None:
    for _ in range(3):
        await sealed(town)
    town.caller = ANONYMOUS
    page = (await town.ask(LIST, first=2))["seals"]
    assert [edge["node"]["number"] for edge in page["edges"]] == [3, 2]
    assert page["pageInfo"]["hasNextPage"]
    rest = (await town.ask(LIST, after=page["pageInfo"]["endCursor"]))["seals"]
    assert [edge["node"]["number"] for edge in rest["edges"]] == [1]
    result = await SCHEMA.execute(LIST, {"after": "rubbish"}, await town.context_of(ANONYMOUS))
    assert [(error.extensions or {})["code"] for error in result.errors or ()] == ["BAD_USER_INPUT"]


async def test_an_auditor_proves_any_account_and_the_look_is_noted(town: Client) -> None:
    await sealed(town)
    context = await town.context_of(AUDITOR)
    result = await SCHEMA.execute(PROOF, {"account": OWN}, context)
    assert result.data is not None
    proof = result.data["sealProof"]
    assert context.seen == {OWN}
    version, digest = proof["version"], bytes.fromhex(proof["digest"])
    assert version == await town.pool.fetchval(
        "SELECT max(originator_version) FROM journal WHERE originator_id = $1", OWN
    )
    leaf = leaf_hash(head_leaf(proof["accountNumber"], version, digest))
    path = [bytes.fromhex(step) for step in proof["path"]]
    assert root_of_path(leaf, proof["index"], proof["size"], path).hex() == proof["seal"]["heads"]
    said = json.loads(proof["text"])
    assert (said["account"], said["version"], said["index"], said["path"]) == (
        OWN,
        version,
        proof["index"],
        proof["path"],
    )

    town.caller = AUDITOR
    assert (await town.ask(PROOF, account=FOREIGN, seal=1))["sealProof"]["seal"]["number"] == 1
    for account, seal in ((OWN, 2), (OWN, -1), ("1999999", 1), ("rulebook", 1), ("nobody", 1), ("", None)):
        assert await town.ask(PROOF, account=account, seal=seal) == {"sealProof": None}


async def test_a_household_proves_its_own_account_from_its_first_day_on(town: Client) -> None:
    await sealed(town)
    town.caller = consumer(a1000101=Sight())
    assert (await town.ask(PROOF, account=OWN))["sealProof"]["accountNumber"] == OWN
    assert await town.ask(PROOF, account=FOREIGN) == await town.ask(PROOF, account="1999999") == {"sealProof": None}
    # It moved in after the second entry: the seal is about those who lived there before.
    town.caller = consumer(a1000101=Sight(entry=2))
    assert await town.ask(PROOF, account=OWN) == {"sealProof": None}


async def test_two_seals_are_shown_to_tell_one_story(town: Client) -> None:
    for _ in range(5):
        await sealed(town)
    town.caller = ANONYMOUS
    told = (await town.ask(CONSISTENCY, first=2, second=5))["sealConsistency"]
    path, inclusion = ([bytes.fromhex(step) for step in told[name]] for name in ("path", "inclusion"))
    first, second = (read_seal(told[name]["text"]) for name in ("first", "second"))
    assert are_consistent(1, first.log, 4, second.log, path)
    assert root_of_path(leaf_hash(signed_bytes(first)), 1, 4, inclusion) == second.log
    assert await town.ask(CONSISTENCY, first=2, second=6) == {"sealConsistency": None}
    result = await SCHEMA.execute(CONSISTENCY, {"first": 5, "second": 2}, await town.context_of(ANONYMOUS))
    assert [(error.extensions or {})["code"] for error in result.errors or ()] == ["BAD_USER_INPUT"]


async def test_the_same_wish_to_seal_again_gives_the_seal_that_it_made(town: Client) -> None:
    first = await sealed(town, after=0)
    assert (first["__typename"], first["replayed"], first["seal"]["number"]) == ("JournalSealed", False, 1)
    again = await sealed(town, after=0)
    assert again == {**first, "replayed": True}
    assert (await sealed(town, after=1))["seal"]["number"] == 2


async def test_the_administrator_is_told_why_no_seal_can_be_made(town: Client) -> None:
    for _ in range(2):
        await sealed(town)
    async with town.pool.acquire() as db, db.transaction():
        await db.execute("SET LOCAL session_replication_role = replica")
        await db.execute("DELETE FROM seal WHERE number = 1")
    told = await sealed(town)
    assert told["__typename"] == "JournalNotSealed"
    assert told["text"].startswith("Печать не поставлена")


async def test_a_wish_to_seal_does_not_wait_for_a_seal_that_takes_long(
    town: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bels.api.seals.ANSWER_WAIT_S", 0.0)
    assert (await sealed(town))["__typename"] == "SealingBegun"
    await asyncio.wait([task for task in asyncio.all_tasks() if "seal_journal" in repr(task.get_coro())], timeout=10)
    assert (await town.ask("{ latestSeal { number } }")) == {"latestSeal": {"number": 1}}


async def test_a_wish_to_seal_does_not_queue_behind_another_seal(town: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    await sealed(town)
    monkeypatch.setattr("bels.api.seals.LOCK_WAIT_S", 0.05)
    async with town.pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE seal_key IN SHARE ROW EXCLUSIVE MODE")
        told = await sealed(town)
    assert told == {
        "__typename": "SealingBegun",
        "text": "Печать ставится; когда она готова, её показывает latestSeal.",
    }


def test_an_auditor_reads_seals_and_makes_none() -> None:
    sealing = frozenset({"Mutation.sealJournal"})
    for kind in Kind:
        may = RIGHTS.first_refused(sealing, rights_of(kind)) is None
        assert may == (kind in (Kind.ADMINISTRATOR, Kind.LOCAL)), kind
    public = frozenset({"Query.latestSeal", "Query.seals", "Query.sealKeys", "Query.sealConsistency", "Seal.heads"})
    assert RIGHTS.first_refused(public, Right.ANONYMOUS) is None
    assert RIGHTS.first_refused(frozenset({"Query.sealProof"}), Right.ANONYMOUS) == "Query.sealProof"
