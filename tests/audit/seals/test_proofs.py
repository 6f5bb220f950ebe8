"""Proofs: of every account in every seal, refused when a bit is another; two seals tell one story."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bels.audit.seals.chunks import CHUNK_SIZE
from bels.audit.seals.merkle import root
from bels.audit.seals.proofs import Proof, SealsMissingError, consistency, log_leaves, prove
from bels.audit.seals.reading import heads_of, seals_before
from bels.intake import Intake
from tests.audit.seals.ground import Ground
from tests.supplier import numbers, open_household, reading


def flipped(data: bytes, bit: int) -> bytes:
    """Flip a bit."""
    return bytes(byte ^ (1 << bit % 8 if i == bit // 8 else 0) for i, byte in enumerate(data))


async def test_every_account_of_a_town_is_proven_by_every_seal_that_knows_it(ground: Ground, intake: Intake) -> None:
    accounts = numbers(1000000, 13)
    for day, account in enumerate(accounts):
        await intake.handle(open_household(account))
        await intake.submit(reading(accounts[day // 2], f"sms {day}", 100 + day))
        await ground.seal()
    async with ground.pool.acquire() as db:
        for number in range(1, len(accounts) + 1):
            heads = await heads_of(db, number, "", 100)
            for index, (account, version, digest) in enumerate(heads):
                proof = await prove(db, account, number)
                assert proof is not None
                assert proof.holds
                assert (proof.version, proof.digest, proof.index, proof.size) == (version, digest, index, number)
            for unknown in (*accounts[number:], "0", "1000000a", "9999999"):
                assert await prove(db, unknown, number) is None
        newest = await prove(db, accounts[0])
        assert newest is not None
        assert newest.seal.number == len(accounts)
        assert await prove(db, accounts[0], len(accounts) + 1) is None


async def test_a_proof_goes_through_the_parts_of_a_large_town(ground: Ground) -> None:
    accounts = numbers(1000000, 2 * CHUNK_SIZE + 5)
    await ground.add(*accounts)
    seal = await ground.seal()
    await ground.add("0999999", "1000000a", *accounts[::3], "9999999")
    await ground.seal()
    async with ground.pool.acquire() as db:
        for index in (0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, 2 * CHUNK_SIZE - 1, 2 * CHUNK_SIZE, len(accounts) - 1):
            proof = await prove(db, accounts[index], 1)
            assert proof is not None
            assert (proof.index, proof.version, proof.seal, proof.holds) == (index, 1, seal, True)
            later = await prove(db, accounts[index], 2)
            assert later is not None
            assert (later.version, later.holds) == (2 if index % 3 == 0 else 1, True)
        assert await prove(db, "1000000a", 1) is None


async def test_a_proof_with_any_bit_changed_is_refused(ground: Ground) -> None:
    await ground.add(*numbers(1000000, 11), entries=3)
    await ground.seal()
    async with ground.pool.acquire() as db:
        proof = await prove(db, "1000004")
    assert proof is not None
    assert proof.holds
    changed: list[Proof] = [replace(proof, digest=flipped(proof.digest, bit)) for bit in range(256)]
    for place, step in enumerate(proof.path):
        for bit in range(256):
            path = (*proof.path[:place], flipped(step, bit), *proof.path[place + 1 :])
            changed.append(replace(proof, path=path))
    changed += [replace(proof, version=proof.version ^ (1 << bit)) for bit in range(64)]
    changed += [replace(proof, index=proof.index ^ (1 << bit)) for bit in range(64)]
    changed += [replace(proof, size=proof.size ^ (1 << bit)) for bit in range(64)]
    changed += [replace(proof, account=account) for account in ("1000005", "100000", "10000040")]
    changed += [replace(proof, path=path) for path in ((), proof.path[1:], (*proof.path, proof.path[0]))]
    assert not any(each.holds for each in changed)


async def test_a_head_that_was_changed_in_the_database_proves_nothing(ground: Ground) -> None:
    await ground.add(*numbers(1000000, 4))
    await ground.seal()
    await ground.tamper("UPDATE sealed_head SET digest = $1 WHERE account = '1000002'", b"x" * 32)
    async with ground.pool.acquire() as db:
        # The whole part of the tree leads elsewhere.
        proofs = [await prove(db, account) for account in numbers(1000000, 4)]
    assert [each is not None and not each.holds for each in proofs] == [True] * 4


async def test_any_two_seals_tell_one_story(ground: Ground) -> None:
    for day in range(9):
        await ground.add(str(1000000 + day))
        await ground.seal()
    async with ground.pool.acquire() as db:
        for first in range(1, 10):
            for second in range(first, 10):
                found = await consistency(db, first, second)
                assert found is not None
                assert found.holds
                assert not replace(found, first=replace(found.first, entries=1000)).holds
                assert second == first or not replace(found, second=replace(found.second, log=b"x" * 32)).holds
                assert not found.path or not replace(found, path=(flipped(found.path[0], 7), *found.path[1:])).holds
                assert not found.inclusion or not replace(found, inclusion=found.inclusion[1:]).holds
            assert root(await log_leaves(db, first)) == (await seals_before(db, first + 1, 1))[0].log
        assert await consistency(db, 1, 10) is None
        with pytest.raises(ValueError, match="earlier"):
            await consistency(db, 2, 1)


async def test_seals_that_were_taken_away_are_missed(ground: Ground) -> None:
    for _ in range(4):
        await ground.seal()
    await ground.tamper("DELETE FROM seal WHERE number = 2")
    async with ground.pool.acquire() as db:
        with pytest.raises(SealsMissingError, match="of the seals 1 to 3 only 2"):
            await consistency(db, 1, 4)
        assert [seal.number for seal in await seals_before(db, None, 2)] == [4, 3]
