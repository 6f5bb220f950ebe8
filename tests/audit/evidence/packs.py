"""Packs of a small supplier as it writes them, and a forger who makes every part of one anew and signs it again."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bels.access.door import opened_door
from bels.access.vault import Vault
from bels.audit.evidence import verify_evidence
from bels.audit.evidence.pack import Asked, write_pack
from bels.audit.evidence.verify_evidence import Verdict, judge
from bels.audit.seals.keys import find_signer, list_keys, new_key
from bels.audit.seals.merkle import inclusion_path, leaf_hash, root
from bels.audit.seals.proofs import Proof, prove
from bels.audit.seals.publishing import keys_published
from bels.audit.seals.sealing import seal_journal
from bels.audit.seals.statement import Seal, head_leaf, key_name, published, read_seal, signed_bytes
from bels.audit.store import install_audit
from bels.domain.commands import (
    CarriedReading,
    CarryOverHistory,
    ClosePeriod,
    Command,
    OpenAccount,
    ReceivePayment,
    SubmitReading,
)
from bels.domain.periods import MOSCOW
from bels.domain.terms import Locality, Period, Register, Stove
from bels.intake import Intake
from bels.journal.chain import GENESIS, link
from bels.journal.journal import RULEBOOK
from bels.messages import Status
from bels.publishing import publish
from bels.reception.counter import Counter
from tests.api.client import MASTER
from tests.domain.vectors import rulebook_of, settlement_of, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import METER, feed, message, open_household

HOME = "1000001"
BILLING = [v for v in vectors("billing") if v["expected"].get("periods")]
FORGER = Ed25519PrivateKey.from_private_bytes(b"f" * 32)
Files = dict[str, bytes]
Alter = Callable[[Files], None]


def _rules(vector: dict[str, Any]) -> tuple[str, str]:
    return settlement_of(vector).value, rulebook_of(vector).region


GROUPS = [list(group) for _, group in groupby(sorted(BILLING, key=_rules), key=_rules)]
"""The vectors by policy and region: what was charged, no publication can put under another one."""


@dataclass(slots=True)
class Clock:
    """The supplier's time: it goes on when it is told to."""

    at: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.at

    def wait(self) -> datetime:
        """Let a day pass."""
        self.at += timedelta(days=1)
        return self.at


@dataclass(slots=True)
class Supplier:
    """A supplier with its accounts: those of the vectors by their ids, and a household with a life of its own."""

    counter: Counter
    clock: Clock
    accounts: dict[str, str] = field(default_factory=dict)

    async def pack(self, account: str = HOME, *seals: int) -> bytes:
        """Write the pack of an account."""
        file = io.BytesIO()
        await write_pack(self.counter, Asked(account, "u-auditor", seals=seals), file)
        return file.getvalue()

    async def seal(self) -> Seal:
        """Seal the journal, a day later."""
        return await seal_journal(self.counter.pool, self.counter.door.vault, self.clock.wait())

    async def key(self) -> Ed25519PrivateKey:
        """Steal the key."""
        return (await find_signer(self.counter.pool, self.counter.door.vault, self.clock())).private


@asynccontextmanager
async def supplier(database: str) -> AsyncIterator[Supplier]:
    """Open a supplier whose rulebook is published."""
    clock = Clock()
    async with asyncpg.create_pool(database, min_size=1, max_size=4) as pool:
        async with pool.acquire() as db:
            await install_audit(db)
        async with Intake(pool, DEFAULT_RULEBOOK, clock).running() as intake:
            vault = Vault(pool, MASTER)
            door = await opened_door(pool, vault, url="http://127.0.0.1", issuer="test", local=False, clock=clock)
            yield Supplier(Counter(pool, intake, door), clock)


async def live_the_vectors(town: Supplier, group: list[dict[str, Any]]) -> None:
    """Tell the lives of vectors that are under the same rules, each to an account of its own, and seal them."""
    counter = town.counter
    await publish(counter.pool, counter.intake, rulebook_of(group[0]), "приказ о тарифах")
    for n, vector in enumerate(group):
        number = town.accounts[vector["id"]] = str(2_000_000 + n)
        await feed(counter.intake, vector, number)
    await town.seal()


async def live_at_home(town: Supplier) -> list[Seal]:
    """Tell the life of a household: imported, estimated, put right, in arrears; sealed twice, and living on since."""
    intake, seals = town.counter.intake, []
    await publish(town.counter.pool, intake, rulebook_of(BILLING[0]), "приказ о тарифах")
    readings = tuple(CarriedReading(at(2023, month, 20), {Register.TOTAL: 100 * month}) for month in range(1, 13))
    history = CarryOverHistory(METER, readings, Period("2023-12"), balance=Decimal("812.40"), penalty=Decimal("3.17"))
    lives: list[list[Command]] = [
        [OpenAccount(at(2023, 1, 1), Locality.URBAN, Stove.GAS, 2, 3), history],
        [_read(1, 1310), _close(1), _close(2), _close(3)],
        [_read(4, 1700), _close(4), _pay(5, "1500.00"), _close(5), _close(6)],
        [_read(7, 2300), _close(7), _pay(8, "2000.00")],
    ]
    for n, life in enumerate(lives):
        for i, command in enumerate(life):
            outcome = await intake.submit(message(HOME, command, f"home {n} {i}"))
            assert outcome.status is Status.ACCEPTED, outcome
        if 0 < n < 3:
            seals.append(await town.seal())
        town.clock.wait()
    return seals


def at(year: int, month: int, day: int) -> datetime:
    """Give noon of a day."""
    return datetime(year, month, day, 12, tzinfo=MOSCOW)


def _read(month: int, value: int) -> SubmitReading:
    return SubmitReading(at(2024, month, 20), {"total": str(value)})


def _close(month: int) -> ClosePeriod:
    return ClosePeriod(Period(f"2024-{month:02d}"), at(2024, month + 1, 1))


def _pay(month: int, amount: str) -> ReceivePayment:
    return ReceivePayment(Decimal(amount), date(2024, month, 15), at(2024, month, 16), f"pay {month}")


# The forger.


def files_of(pack: bytes) -> Files:
    """Read the files of a pack, in their order."""
    with ZipFile(io.BytesIO(pack)) as read:
        return {info.filename: read.read(info) for info in read.infolist()}


def lines_of(files: Files, name: str) -> list[dict[str, Any]]:
    """Read a file of one object a line."""
    return [json.loads(line) for line in files[name].splitlines()]


def put_lines(files: Files, name: str, lines: list[dict[str, Any]]) -> None:
    """Write a file of one object a line."""
    files[name] = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def signed(body: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign a zip whose comment has room for the signature."""
    return body[:-128] + key.sign(b"bels:evidence:1\n" + sha256(body[:-128]).digest()).hex().encode()


def zipped(files: Files) -> bytes:
    """Write a zip that waits for its signature."""
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.comment = b"0" * 128
        for name, content in files.items():
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)
    return file.getvalue()


def packed(files: Files, key: Ed25519PrivateKey, /, **said: object) -> bytes:
    """Write a pack with a manifest that fits its files; ``said`` are values of the manifest that are to be others."""
    manifest = json.loads(files["manifest.json"])
    others = sorted((name, content) for name, content in files.items() if name != "manifest.json")
    entries, public = lines_of(files, "entries.jsonl"), key.public_key().public_bytes_raw()
    manifest |= {
        "files": [
            {"name": name, "sha256": sha256(content).hexdigest(), "size": len(content), "about": ""}
            for name, content in others
        ],
        "entries": len(entries),
        "head": entries[-1]["digest"],
        "key": key_name(public),
        "public": public.hex(),
        **said,
    }
    return signed(zipped({**dict(others), "manifest.json": json.dumps(manifest).encode()}), key)


def altered(pack: bytes, key: Ed25519PrivateKey, alter: Callable[[Files], None]) -> bytes:
    """Alter files of a pack and sign it again, with nothing else made to fit."""
    files = files_of(pack)
    alter(files)
    return packed(files, key)


def rechained(files: Files, name: str = "entries.jsonl", account: str = HOME) -> None:
    """Work the digests of all entries out again."""
    entries, before = lines_of(files, name), GENESIS
    for n, entry in enumerate(entries, 1):
        content, state = bytes.fromhex(entry["content"]), entry["state"].encode()
        before = link(before, account, n, entry["topic"], content, state)
        entry |= {"version": n, "digest": before.hex()}
    put_lines(files, name, entries)


def resealed(files: Files, key: Ed25519PrivateKey) -> None:
    """Make all seals of a pack, and their proofs, anew over its entries: as many as there were, of the two streams alone."""
    newest = read_seal(files["seal.json"].decode())
    streams = {HOME: lines_of(files, "entries.jsonl"), RULEBOOK: lines_of(files, "rulebook.jsonl")}
    proofs = lines_of(files, "proofs.jsonl")
    leaves = [bytes.fromhex(leaf) for leaf in json.loads(files["log.json"])["leaves"]]
    made, told = newest, []
    for number, group in groupby(proofs, key=lambda proof: int(proof["seal"]["number"])):
        own = [(p["account"], p["version"], streams[p["account"]][p["version"] - 1]["digest"]) for p in group]
        hashes = [leaf_hash(head_leaf(account, version, bytes.fromhex(digest))) for account, version, digest in own]
        old = read_seal(json.dumps(next(p["seal"] for p in proofs if p["seal"]["number"] == number)))
        made = replace(
            old,
            accounts=len(own),
            heads=root(hashes),
            log=root(leaves[: number - 1]),
            key=key_name(key.public_key().public_bytes_raw()),
        )
        made = replace(made, signature=key.sign(signed_bytes(made)))
        leaves[number - 1 : number] = [leaf_hash(signed_bytes(made))]
        for i, (account, version, _) in enumerate(own):
            path = [node.hex() for node in inclusion_path(hashes, i)]
            told.append(
                {
                    "seal": json.loads(published(made)),
                    "account": account,
                    "version": version,
                    "index": i,
                    "size": len(own),
                    "path": path,
                }
            )
    files["seal.json"] = published(made).encode()
    files["log.json"] = json.dumps({"leaves": [leaf.hex() for leaf in leaves[: made.number - 1]]}).encode()
    put_lines(files, "proofs.jsonl", told)


def seal_signed(seal: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Sign what a seal now says."""
    said = {name: value for name, value in seal.items() if name != "signature"}
    data = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    return said | {"signature": b64encode(key.sign(data)).decode()}


def states(files: Files) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the entries' states as JSON, by version."""
    for entry in lines_of(files, "entries.jsonl"):
        yield entry["version"], json.loads(entry["state"])


def changed_line(name: str, chosen: Callable[[dict[str, Any]], bool], change: Callable[[dict[str, Any]], Any]) -> Alter:
    """Change the first line that is chosen; one that becomes None is left out."""

    def alter(files: Files) -> None:
        lines = lines_of(files, name)
        place = next(i for i, line in enumerate(lines) if chosen(line))
        change(lines[place])
        put_lines(files, name, [line for line in lines if line])

    return alter


def changed_state(topic: str, old: str, new: str) -> Alter:
    """Write another text into the first entry of a topic that has the old one."""

    def change(entry: dict[str, Any]) -> None:
        entry["state"] = entry["state"].replace(old, new, 1)

    return changed_line("entries.jsonl", lambda e: e["topic"].startswith(topic) and old in e["state"], change)


# What tests judge.


@dataclass(frozen=True, slots=True)
class Made:
    """What a supplier made: packs, its seals, its key, proofs that it gave for seals."""

    pack: bytes
    small: bytes
    seals: tuple[Seal, ...]
    key: Ed25519PrivateKey
    later: Seal
    rotated: bytes
    unsealed: bytes
    keys: str
    proofs: dict[int, dict[str, Any]]

    @property
    def public(self) -> str:
        """The public key, in hexadecimal."""
        return self.key.public_key().public_bytes_raw().hex()

    def forged(self, alter: Alter, key: Ed25519PrivateKey | None = None, rules: bool = False) -> bytes:
        """Alter entries and make chain, seals, manifest and signature anew, with the supplier's own key."""
        files = files_of(self.pack)
        alter(files)
        rechained(files)
        if rules:
            rechained(files, "rulebook.jsonl", RULEBOOK)
        resealed(files, key or self.key)
        return packed(files, key or self.key)


async def make(database: str, empty: str) -> Made:
    """Let a supplier live, seal and pack."""
    async with supplier(empty) as town:
        unsealed = await _opened(town)
    async with supplier(database) as town:
        seals = await live_at_home(town)
        pack, key = await town.pack(HOME, 1), await town.key()
        later = await town.seal()
        async with town.counter.pool.acquire() as db:
            proofs = {number: _told(await prove(db, HOME, number)) for number in (1, 3)}
        await new_key(town.counter.pool, town.counter.door.vault, town.clock())
        rotated = await town.pack(HOME, 1)
        async with town.counter.pool.acquire() as db:
            keys = keys_published(await list_keys(db))
    return Made(pack, unsealed, tuple(seals), key, later, rotated, unsealed, keys, proofs)


async def _opened(town: Supplier) -> bytes:
    await town.counter.intake.handle(open_household(HOME))
    return await town.pack()


def _told(proof: Proof | None) -> dict[str, Any]:
    assert proof is not None
    return {
        "seal": json.loads(published(proof.seal)),
        "account": proof.account,
        "version": proof.version,
        "index": proof.index,
        "size": proof.size,
        "path": [node.hex() for node in proof.path],
    }


def verdict_of(
    pack: bytes, *given: Seal, key: str | None = None, proofs: list[dict[str, Any]] | None = None
) -> Verdict:
    """Judge a pack in this process."""
    keys = {verify_evidence.key_name(bytes.fromhex(key)): bytes.fromhex(key)} if key is not None else {}
    return judge(io.BytesIO(pack), keys, [json.loads(published(seal)) for seal in given], proofs or [])[1]
