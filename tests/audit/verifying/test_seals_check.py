"""Seals are checked, those kept outside count, and what was forged is told from what was changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bels.audit.findings import Finding, FindingKind
from bels.audit.seals.chunks import Chunks
from bels.audit.seals.merkle import leaf_hash, root
from bels.audit.seals.statement import Seal, head_leaf, key_name, signed_bytes
from bels.audit.verifying.heads import HeadsTree, differing_parts, root_of
from bels.audit.verifying.heads_file import HeadsError, read_heads, write_heads
from bels.audit.verifying.seals_check import Outside
from bels.journal.write import Db
from tests.audit.verifying.attacker import Attack, Done, attack, forge_everything, rewrite_and_forge
from tests.audit.verifying.town import Town, names

BROKEN, MISSING = FindingKind.SEAL_BROKEN, FindingKind.SEAL_MISSING


async def change(town: Town, statement: str, *values: object) -> None:
    """Change something with a superuser's rights."""
    async with town.bels.pool.acquire() as db, db.transaction():
        await db.execute("SET LOCAL session_replication_role = replica")
        assert not (await db.execute(statement, *values)).endswith(" 0")


async def attacked(town: Town, how: Attack, seed: int) -> Done:
    """Let somebody attack."""
    async with town.bels.pool.acquire() as db:
        return await attack(db, Random(seed), town, how)


def told(findings: list[Finding]) -> list[tuple[FindingKind, str | None, int | None]]:
    """Give kinds, accounts and seals."""
    return [(each.kind, each.account, each.seal) for each in findings]


def files_in(folder: Path) -> list[str]:
    """Name the files of a folder."""
    return [each.name for each in folder.iterdir()]


def signed_by(private: Ed25519PrivateKey, seal: Seal) -> Seal:
    """Sign a seal by another key, under its name."""
    named = replace(seal, key=key_name(private.public_key().public_bytes_raw()))
    return replace(named, signature=private.sign(signed_bytes(named)))


async def test_every_seal_is_whole_where_nothing_was_changed(town: Town) -> None:
    for outside in (Outside(), town.outside, town.outside_with_heads):
        verified = await town.verify(outside)
        assert verified.findings == []
        assert (verified.seals, len(verified.given)) == (4, len(outside.seals))
        assert verified.proven == verified.newest == town.last


async def test_all_older_seals_kept_outside_hold_too(town: Town) -> None:
    kept = tuple((f"seal {seal.number}", seal) for seal in town.seals)
    assert (await town.verify(Outside(kept, (town.key,)))).findings == []


async def test_who_forges_everything_is_found_by_a_copy_outside_alone(town: Town) -> None:
    done = await attacked(town, forge_everything, 3)
    # That is why a seal is kept where nobody here can reach it.
    assert (await town.verify()).findings == []

    found = (await town.verify(Outside(seals=town.outside.seals))).findings
    assert {(BROKEN, None, 4), (FindingKind.HISTORY_REWRITTEN, None, 4)} <= set(told(found))
    assert names((await town.verify(town.outside_with_heads)).findings, done.account, done.entry)


async def test_a_forged_sealed_head_does_not_put_the_journal_in_the_wrong(town: Town) -> None:
    await change(
        town, "UPDATE sealed_head SET digest = decode(repeat('ab', 32), 'hex') WHERE account = '1000001' AND seal = 4"
    )
    verified = await town.verify(town.outside)
    assert {each.kind for each in verified.findings} == {BROKEN}
    assert names(verified.findings, "1000001")
    assert verified.proven == town.last
    assert "the journal itself leads to the root of seal 4" in " ".join(each.text for each in verified.findings)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM sealed_head WHERE account = '1000001'",
        "UPDATE sealed_head SET version = version - 1 WHERE account = '1000001'",
        "UPDATE sealed_head SET version = version + 100 WHERE account = '1000001'",
        "UPDATE sealed_head SET digest = '', version = -1 WHERE account = '1000001'",
        "INSERT INTO sealed_head SELECT '1000009', seal, version, digest FROM sealed_head WHERE account = '1000001'",
        "UPDATE seal SET sealed_at = 'infinity'",
    ],
)
async def test_sealed_heads_that_were_changed_are_no_entries_that_were(town: Town, statement: str) -> None:
    await change(town, statement)
    verified = await town.verify(town.outside)
    assert {each.kind for each in verified.findings} == {BROKEN}
    assert verified.proven == town.last


PLANTED = "INSERT INTO sealed_head VALUES ('1000001', {}, {}, decode(repeat('{}', 32), 'hex'))"


@pytest.mark.parametrize("digest", ["00", "ff"])
@pytest.mark.parametrize("version", [1, 5, 10**9])
@pytest.mark.parametrize("seal", [-1, 0, 1, 4, 5, 2**40])
async def test_heads_that_no_seal_knows_accuse_nobody(town: Town, seal: int, version: int, digest: str) -> None:
    await town.bels.pool.execute("ALTER TABLE sealed_head DROP CONSTRAINT sealed_head_pkey")
    try:
        await change(town, PLANTED.format(seal, version, digest))
        verified = await town.verify(town.outside)
    finally:
        await town.put_back()
        await town.bels.pool.execute("ALTER TABLE sealed_head ADD PRIMARY KEY (account, seal)")
    assert {each.kind for each in verified.findings} == {BROKEN, FindingKind.TABLE_CHANGED}
    assert verified.proven == town.last


async def test_the_part_of_the_tree_is_told_where_only_the_heads_were_forged(town: Town) -> None:
    done = await attacked(town, rewrite_and_forge, 5)
    found = [each for each in (await town.verify(town.outside)).findings if each.kind is FindingKind.HISTORY_REWRITTEN]
    assert [each.seal for each in found] == [4]
    assert "it differs among the accounts from 1000000 on" in found[0].text
    assert "--heads" in found[0].text
    assert names((await town.verify(town.outside_with_heads)).findings, done.account, done.entry)


async def test_a_seal_that_is_gone_is_missed(town: Town) -> None:
    await change(town, "DELETE FROM seal WHERE number = 2")
    assert (MISSING, None, 2) in told((await town.verify()).findings)
    await change(town, "DELETE FROM seal WHERE number = 4")
    assert (MISSING, None, 4) in told((await town.verify(town.outside)).findings)


async def test_a_seal_before_the_first_or_one_that_is_there_twice_puts_no_other_in_the_wrong(town: Town) -> None:
    await change(town, "INSERT INTO seal SELECT 0, sealed_at, statement, signature, chunks FROM seal WHERE number = 1")
    verified = await town.verify(town.outside)
    assert told(verified.findings) == [(BROKEN, None, 0)]
    assert verified.proven == town.last
    resealed = await town.seal()
    town.seals.pop()
    assert resealed.number == 5
    await town.put_back()
    await town.bels.pool.execute("ALTER TABLE seal DROP CONSTRAINT seal_pkey")
    try:
        later = "sealed_at + interval '1 year', statement, signature, chunks"
        await change(town, f"INSERT INTO seal SELECT number, {later} FROM seal WHERE number = 2")
        verified = await town.verify(town.outside)
    finally:
        await town.put_back()
        await town.bels.pool.execute("ALTER TABLE seal ADD PRIMARY KEY (number)")
    assert (BROKEN, None, 2) in told(verified.findings)
    assert {each.kind for each in verified.findings} == {BROKEN, FindingKind.TABLE_CHANGED}
    assert verified.proven == town.last


async def test_a_statement_that_was_changed_breaks_its_signature_and_the_log(town: Town) -> None:
    await change(town, "UPDATE seal SET statement = replace(statement::text, '61', '62')::bytea WHERE number = 2")
    found = (await town.verify(town.outside)).findings
    assert (BROKEN, None, 2) in told(found)
    assert any("before seal 3" in each.text for each in found)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE seal SET signature = ''", "UPDATE seal SET statement = 'null'", "UPDATE seal SET statement = '\\xff'"],
)
async def test_seals_that_are_none_are_told_and_prove_nothing(town: Town, statement: str) -> None:
    await change(town, statement)
    verified = await town.verify()
    assert {(BROKEN, None, number) for number in (1, 2, 3, 4)} <= set(told(verified.findings))
    assert verified.proven is None


async def test_a_key_of_somebody_else_in_the_database_signs_nothing(town: Town) -> None:
    private = Ed25519PrivateKey.generate()
    await change(town, "UPDATE seal_key SET public = $1", private.public_key().public_bytes_raw())
    assert any("not the one that it is named for" in each.text for each in (await town.verify()).findings)


async def test_a_file_whose_signature_does_not_hold_accuses_nobody(town: Town) -> None:
    forged = replace(town.last, heads=bytes(32))
    verified = await town.verify(Outside((("forged.json", forged),), (town.key,)))
    assert told(verified.findings) == [(BROKEN, None, 4)]
    assert "forged.json: the signature of seal 4 does not hold" in verified.findings[0].text
    assert verified.given == frozenset()


async def test_two_different_seals_of_one_number_are_told(town: Town) -> None:
    private = Ed25519PrivateKey.generate()
    other = signed_by(private, replace(town.last, heads=bytes(32)))
    keys = (town.key, private.public_key().public_bytes_raw())
    found = (await town.verify(Outside((("one", town.last), ("other", other)), keys))).findings
    assert any("two different seals 4" in each.text for each in found)


async def test_a_rewriting_between_two_seals_is_found_though_the_later_one_sealed_it(town: Town) -> None:
    oldest = town.seals[0]
    done = await attacked(town, rewrite_and_forge, 5)
    resealed = await town.seal()
    town.seals.pop()
    assert resealed.faults == ()

    verified = await town.verify(Outside((("seal.json", oldest),), (town.key,)))
    assert verified.proven == resealed
    for outside in (Outside(), town.outside):
        found = (await town.verify(outside)).findings
        assert (FindingKind.HISTORY_REWRITTEN, None, 4) in told(found)
        assert any("do not lead to the root of seal" in each.text for each in found)
    assert names((await town.verify(town.outside_with_heads)).findings, done.account, done.entry)


heads_drawn = st.dictionaries(
    st.integers(0, 60), st.tuples(st.integers(1, 9), st.binary(min_size=32, max_size=32)), max_size=12
)


@given(st.lists(heads_drawn, max_size=6))
def test_a_tree_that_is_changed_has_the_root_of_one_that_is_built(changes: list[dict[int, tuple[int, bytes]]]) -> None:
    tree, heads = HeadsTree(), dict[str, tuple[int, bytes]]()
    for changed in changes:
        new = {f"{number:03}": head for number, head in changed.items()}
        heads |= new
        tree.change([(account, *new[account]) for account in sorted(new)])
        built = [(account, *heads[account]) for account in sorted(heads)]
        assert tree.root == root([leaf_hash(head_leaf(*head)) for head in built]) == root_of(built)
        assert list(tree) == built
        assert tree.entries == sum(version for version, _ in heads.values())
    assert tree.head_of("none") is None


def test_the_parts_that_differ_are_told_by_their_accounts() -> None:
    heads = [(f"{number:04}", 1, bytes([number]) * 32) for number in range(10)]
    parts = [heads[i : i + 4] for i in (0, 4, 8)]
    chunks = Chunks(2, [root_of(part) for part in parts], [part[0][0] for part in parts])
    assert differing_parts(chunks, heads) == []
    changed = [*heads[:5], ("0005", 1, bytes(32)), *heads[6:]]
    assert differing_parts(chunks, changed) == [("0004", "0008")]
    assert differing_parts(chunks, changed, heads) == []
    assert differing_parts(chunks, heads[:9]) == [("0008", None)]
    assert differing_parts(chunks, [("!", 1, bytes(32)), *heads]) == [("0000", "0004")]


async def test_a_file_of_heads_is_read_as_it_was_written(town: Town, tmp_path: Path, db: Db) -> None:
    path = await write_heads(db, town.last, tmp_path)
    assert path.name == "heads-000004.jsonl.gz"
    number, heads = read_heads(path)
    assert (number, heads.root, heads.entries) == (4, town.last.heads, town.last.entries)
    assert files_in(tmp_path) == [path.name]


async def test_heads_that_do_not_lead_to_their_seal_are_not_written(town: Town, tmp_path: Path, db: Db) -> None:
    await change(town, "DELETE FROM sealed_head WHERE account = '1000001'")
    with pytest.raises(HeadsError, match="do not lead to seal 4"):
        await write_heads(db, town.last, tmp_path)
    assert files_in(tmp_path) == []


async def test_a_damaged_file_of_heads_is_refused(town: Town, tmp_path: Path) -> None:
    whole = next(town.folder.glob("heads-*.gz")).read_bytes()
    chance, path = Random(1), tmp_path / "heads.gz"
    path.write_bytes(whole)
    assert read_heads(path)[1].root == town.last.heads
    refused = 0
    for _ in range(60):
        at = chance.randrange(10, len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :])
        try:
            _, heads = read_heads(path)
        except (HeadsError, OSError):
            refused += 1
        else:
            # What is damaged in the frame of gzip alone says the same.
            assert heads.root == town.last.heads
    assert refused > 50
