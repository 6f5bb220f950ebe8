"""The evidence pack of an account: whole, signed, the same again, and masked where it has to be."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bels.access.personal import erase, subject_of
from bels.access.vault import Vault
from bels.audit.evidence.archive import Archive, PackTooLarge
from bels.audit.evidence.pack import Asked, PackError
from bels.audit.evidence.rows import erasures
from bels.audit.seals.statement import key_name
from bels.journal.chain import GENESIS, link
from tests.audit.evidence.life import FORMULA, HOME, JPEG, LETTER, NAME, SIGHTS, TEXT, WORDS, Lived, asked, live, seen
from tests.conftest import new_supplier

PARTS = [
    "acts.jsonl",
    "entries.jsonl",
    "explanations.jsonl",
    "ledger.csv",
    "log.json",
    "messages.jsonl",
    "photos.jsonl",
    "proofs.jsonl",
    "rulebook.jsonl",
    "seal.json",
    "sent.jsonl",
    "timeline.html",
]


def opened(pack: bytes) -> dict[str, bytes]:
    """Read every file of a pack."""
    with ZipFile(io.BytesIO(pack)) as read:
        assert read.testzip() is None
        return {info.filename: read.read(info) for info in read.infolist()}


def rows(content: bytes) -> list[dict[str, Any]]:
    """Read a file of one object a line."""
    return [json.loads(line) for line in content.splitlines()]


def test_a_pack_has_every_part_and_its_manifest_names_each(masked: bytes, included: bytes) -> None:
    for pack, personal in ((masked, "masked"), (included, "included")):
        files = opened(pack)
        manifest = json.loads(files.pop("manifest.json"))
        assert [each["name"] for each in manifest["files"]] == sorted(files)
        for each in manifest["files"]:
            content = files[each["name"]]
            assert (each["size"], each["sha256"]) == (len(content), sha256(content).hexdigest())
            assert each["about"]
        assert set(PARTS) <= set(files)
        told = {name: manifest[name] for name in ("format", "account", "made_at", "made_for", "personal")}
        assert told == {
            "format": "bels evidence 1",
            "account": HOME,
            "made_at": "2024-11-20T09:00:00.000000Z",
            "made_for": "u-auditor",
            "personal": personal,
        }
        assert all(name.isascii() for name in files)
    assert "personal.json" not in opened(masked)


def test_a_pack_is_signed_over_all_of_its_bytes(masked: bytes) -> None:
    manifest = json.loads(opened(masked)["manifest.json"])
    public = bytes.fromhex(manifest["public"])
    assert manifest["key"] == key_name(public)
    signature = bytes.fromhex(masked[-128:].decode())
    assert ZipFile(io.BytesIO(masked)).comment == masked[-128:]
    Ed25519PublicKey.from_public_bytes(public).verify(signature, b"bels:evidence:1\n" + sha256(masked[:-128]).digest())


def test_the_entries_follow_one_from_the_other_up_to_the_head(masked: bytes) -> None:
    files = opened(masked)
    manifest = json.loads(files["manifest.json"])
    for stream, name in ((HOME, "entries.jsonl"), ("rulebook", "rulebook.jsonl")):
        before = GENESIS
        for version, entry in enumerate(rows(files[name]), 1):
            assert entry["version"] == version
            content, state = bytes.fromhex(entry["content"]), entry["state"].encode()
            before = link(before, stream, version, entry["topic"], content, state)
            assert before.hex() == entry["digest"]
        assert before != GENESIS
        if stream == HOME:
            assert (version, before.hex()) == (manifest["entries"], manifest["head"])


def test_the_messages_are_all_there_also_those_that_led_to_nothing(masked: bytes, included: bytes) -> None:
    found = rows(opened(masked)["messages.jsonl"])
    by_key = {each["message_id"]: each for each in found}
    assert [by_key[f"sms:{n}"]["status"] for n in range(1, 6)] == ["ACCEPTED", "ACCEPTED", "REFUSED", "HELD", "HELD"]
    for each in found:
        assert blake2b(each["raw"].encode(), digest_size=16).hexdigest() == each["content"]
        assert each["said"] is None
    assert found == sorted(found, key=lambda each: (each["recorded_at"], each["receipt"]))
    entries = rows(opened(masked)["entries.jsonl"])
    assert {json.loads(each["state"])["receipt"] for each in entries} < {each["receipt"] for each in found}

    said = {each["message_id"]: each["said"] for each in rows(opened(included)["messages.jsonl"])}
    assert (said["sms:1"], said["letter:1"], said["sms:2"]) == (WORDS, LETTER, None)


def test_every_sum_has_its_explanation(masked: bytes) -> None:
    files = opened(masked)
    entries = {each["version"]: each for each in rows(files["entries.jsonl"])}
    told = [
        (entries[each["entry"]]["topic"], each["explanation"]["steps"]) for each in rows(files["explanations.jsonl"])
    ]
    kinds = {topic.partition(".")[0] for topic, _ in told}
    assert kinds == {"period-closed", "usage-recalculated", "penalty-accrued"}
    assert all(steps for _, steps in told)


def test_the_seals_that_prove_are_the_newest_and_the_last_of_each_month(lived: Lived, masked: bytes) -> None:
    files = opened(masked)
    seal = json.loads(files["seal.json"])
    proofs = rows(files["proofs.jsonl"])
    assert seal["number"] == 2
    assert len(json.loads(files["log.json"])["leaves"]) == 1
    assert [(each["seal"]["number"], each["account"]) for each in proofs] == [
        (number, stream) for number in (1, 2) for stream in (HOME, "rulebook")
    ]
    assert proofs[2]["version"] == len(rows(files["entries.jsonl"])) - 1

    with pytest.raises(PackError, match="no seal 3, the newest is 2"):
        lived.pack(asked(seals=(3,)))


def test_the_ledger_begins_no_formula_and_ends_with_the_balance(masked: bytes) -> None:
    text = opened(masked)["ledger.csv"].decode()
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    references = [each["reference"] for each in lines]
    assert f"'{FORMULA}" in references
    assert FORMULA not in references
    assert [each["kind"] for each in lines if each["purpose"] == "PENALTY"]
    assert "\r\n" in text


def test_a_masked_pack_shows_nothing_personal_in_any_byte(masked: bytes) -> None:
    for name, content in {**opened(masked), "the file itself": masked}.items():
        assert seen(content) == set(), name
        assert b"the display of the meter" not in content, name
    (photo,) = rows(opened(masked)["photos.jsonl"])
    assert photo["sha256"] == sha256(JPEG).hexdigest()
    assert photo["name"] not in opened(masked)
    assert {each["text"] for each in rows(opened(masked)["sent.jsonl"])} == {None}


def test_a_pack_with_personal_data_has_names_words_texts_and_pictures(included: bytes) -> None:
    files = opened(included)
    (household,) = json.loads(files["personal.json"])["households"]
    assert (household["tenure"], household["erased"], household["name"]) == (1, False, NAME)
    assert set().union(*map(seen, files.values())) == set(SIGHTS)
    (photo,) = rows(files["photos.jsonl"])
    assert files[photo["name"]] == JPEG
    (entry,) = [e for e in rows(files["entries.jsonl"]) if e["version"] == photo["entry"]]
    assert json.loads(entry["state"])["receipt"] == photo["receipt"]
    sent = rows(files["sent.jsonl"])
    assert any(each["text"] and "10390" in each["text"] for each in sent)
    # An answer is kept no longer than it takes to send it.
    assert TEXT not in {each["text"] for each in sent}
    with ZipFile(io.BytesIO(included)) as read:
        assert read.getinfo(photo["name"]).compress_type == ZIP_STORED
        assert read.getinfo("entries.jsonl").compress_type == ZIP_DEFLATED


def test_the_same_pack_again_has_the_same_bytes(lived: Lived, masked: bytes, included: bytes) -> None:
    assert lived.pack(asked()) == masked
    assert lived.pack(asked(personal=True)) == included


def test_an_account_that_nobody_has_has_no_pack(lived: Lived) -> None:
    with pytest.raises(PackError, match="no account 1009999"):
        lived.pack(Asked("1009999", "u-auditor"))


async def test_a_pack_that_would_be_too_large_is_not_made(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    with (tmp_path / "pack").open("w+b") as file:
        archive = Archive(file, bytes_max=50_000)
        with pytest.raises(PackTooLarge, match="without personal data"):
            await archive.add("a", "much", pieces())
        archive.close()


def test_an_erased_household_has_its_pack_all_the_same_and_it_says_so(
    postgres: str, template: str, tmp_path: Path
) -> None:
    database = new_supplier(postgres, template, f"bels_test_erased_{os.getpid()}")
    asyncio.run(live(database, tmp_path))
    lived = Lived(database, tmp_path)

    async def erasing() -> tuple[int, ...]:
        async with lived.opened() as counter, counter.pool.acquire() as db:
            vault: Vault = counter.door.vault
            await erase(db, vault, subject_of(HOME, 1), by="u-clerk", reason="заявление", document=None, request_id="")
            return (await erasures(db, HOME)).tenures

    assert asyncio.run(erasing()) == (1,)
    files = opened(lived.pack(asked(personal=True)))
    (household,) = json.loads(files["personal.json"])["households"]
    assert household == {"tenure": 1, "erased": True, "name": None, "address": None, "phones": [], "emails": []}
    (photo,) = rows(files["photos.jsonl"])
    assert photo["name"] not in files
    assert rows(files["acts.jsonl"])[-1]["kind"] == "PERSONAL_DATA_ERASED"
    assert "Персональные данные 1-го потребителя этого счёта уничтожены" in files["timeline.html"].decode()
    # The words of messages are sealed by a key of the installation; they are erased with the household all the same.
    assert {each["said"] for each in rows(files["messages.jsonl"])} == {None}
    assert set().union(*map(seen, files.values())) == set()
