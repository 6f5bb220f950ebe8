"""``bels audit verify`` as an auditor types it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bels.audit.seals.statement import published
from bels.command import CliError
from bels.commands_of_audit import verify
from tests.audit.verifying.attacker import attack, rewrite_and_forge
from tests.audit.verifying.town import ACCOUNTS, Town
from tests.command import bels, environment


@pytest.fixture
def env(town: Town) -> dict[str, str]:
    """Give the environment of a command in the town."""
    return environment(town.bels.url, town.folder)


@pytest.fixture
def kept(town: Town, tmp_path: Path) -> Path:
    """Give a folder outside, with a copy of the last seal, the key and the heads."""
    (tmp_path / "seal.json").write_text(published(town.last), "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"hex": town.key.hex()}]}), "utf-8")
    (tmp_path / "key.hex").write_text(town.key.hex() + "\n", "utf-8")
    heads = next(town.folder.glob("heads-*.gz"))
    (tmp_path / heads.name).write_bytes(heads.read_bytes())
    return tmp_path


async def test_an_auditor_is_told_what_was_verified_and_that_nothing_was_found(
    town: Town, env: dict[str, str], kept: Path
) -> None:
    report = kept / "report.json"
    said = bels(
        *(
            "audit",
            "verify",
            "--everything",
            "--jobs",
            "2",
            "--seal",
            kept / "seal.json",
            "--key",
            kept / "keys.json",
            "--json",
            report,
        ),
        env=env,
    )
    assert said.returncode == 0, said.stderr + said.stdout
    lines = said.stdout.splitlines()
    assert lines[0].startswith("Verified: ")
    assert "Seals: 4 in the database, 1 from outside; signatures by the keys given." in lines
    assert "Newest seal to whose root the heads lead: 4 of" in said.stdout
    assert "Not sealed yet: " in said.stdout
    assert lines[-1] == "Nothing was found."
    told = json.loads(report.read_text("utf-8"))
    assert told["checked"] == ["chains", "seals", "views", "charges", "messages"]
    assert (told["found"], told["findings"], told["proven_seal"], told["seals_from_outside"]) == (0, [], 4, [4])
    assert told["entries"] == await town.bels.pool.fetchval("SELECT count(*) FROM journal")


async def test_an_auditor_is_told_where_the_journal_was_changed(town: Town, env: dict[str, str], kept: Path) -> None:
    async with town.bels.pool.acquire() as db:
        done = await attack(db, Random(5), town, rewrite_and_forge)
    heads, report = kept / "heads-000004.jsonl.gz", kept / "report.json"
    said = bels(
        *(
            "audit",
            "verify",
            "--seal",
            kept / "seal.json",
            "--key",
            kept / "key.hex",
            "--heads",
            heads,
            "--json",
            report,
        ),
        env=env,
    )
    assert said.returncode == 1, said.stderr
    assert f"HISTORY_REWRITTEN {done.account}, entries " in said.stdout
    assert said.stdout.splitlines()[-1].startswith("FOUND ")
    told = json.loads(report.read_text("utf-8"))
    assert told["found"] == len(told["findings"]) == sum(told["found_by_kind"].values())
    assert done.account in {each["account"] for each in told["findings"]}


def test_one_account_is_verified_by_itself(env: dict[str, str], town: Town) -> None:
    said = bels("audit", "verify", ACCOUNTS[0], "--messages", "--key", town.key.hex(), env=env)
    assert said.returncode == 0, said.stderr + said.stdout
    assert "of 1 streams" in said.stdout
    assert "Messages: " in said.stdout


def test_an_account_that_nobody_knows_is_no_account_that_is_whole(env: dict[str, str]) -> None:
    said = bels("audit", "verify", "1999999", env=env)
    assert said.returncode == 2, said.stdout
    assert "neither the journal nor a seal knows 1999999" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["12"], "an account has exactly seven digits"),
        (["--seal", "{kept}/key.hex"], "this is no seal"),
        (["--seal", "{kept}/nothing"], "cannot be read"),
        (["--key", "00ff"], "cannot be read"),
        (["--key", "{kept}/seal.json"], "this is no Ed25519 public key"),
        (["--heads", "{kept}/heads-000004.jsonl.gz"], "belongs to seal 4: give that seal, too, by --seal"),
        (["--heads", "{kept}/seal.json"], "cannot be read|is no file of heads"),
        (["--heads", "{kept}/nothing"], "cannot be read"),
    ],
)
def test_what_an_auditor_brings_must_be_what_he_says_it_is(kept: Path, arguments: list[str], sentence: str) -> None:
    parser = argparse.ArgumentParser()
    verify.add(parser.add_subparsers())
    given = parser.parse_args(["verify", *(each.format(kept=kept) for each in arguments)])
    with pytest.raises(CliError, match=sentence):
        given.run(given)


def test_a_public_key_may_be_written_as_pem(town: Town, kept: Path) -> None:
    pem = kept / "key.pem"
    public = Ed25519PublicKey.from_public_bytes(town.key)
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for each in (pem, kept / "keys.json", kept / "key.hex", town.key.hex()):
        assert verify.keys_given(str(each)) == [town.key]
