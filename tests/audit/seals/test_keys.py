"""Keys that sign: drawn once, followed by new ones on request, their private halves readable by nobody without the vault."""

from __future__ import annotations

import asyncio

import pytest

from bels.access.vault import Damaged, Vault
from bels.audit.seals.keys import find_signer, is_signed, list_keys, new_key, public_keys, sign
from bels.audit.seals.statement import key_name
from tests.audit.seals.ground import BEGAN, MASTER, Ground


async def test_whoever_signs_first_draws_the_key_and_all_others_use_it(ground: Ground) -> None:
    others = [Vault(ground.pool, MASTER) for _ in range(4)]
    signed = await asyncio.gather(*(sign(ground.pool, vault, b"said", BEGAN) for vault in others))
    async with ground.pool.acquire() as db:
        keys = await public_keys(db)
    [(name, public)] = keys.items()
    assert name == key_name(public)
    assert {key for key, _ in signed} == {name}
    assert all(is_signed(public, b"said", signature) for _, signature in signed)
    assert not is_signed(public, b"said otherwise", signed[0][1])
    assert not is_signed(public, b"said", signed[0][1][:-1])
    assert not is_signed(b"no key", b"said", signed[0][1])


async def test_a_new_key_signs_from_then_on_and_the_old_one_stays_published(ground: Ground) -> None:
    before, signature = await sign(ground.pool, ground.vault, b"said", BEGAN)
    # Also where the clock stood still.
    new = await new_key(ground.pool, ground.vault, BEGAN)
    assert (await sign(ground.pool, ground.vault, b"said", BEGAN))[0] == new != before
    async with ground.pool.acquire() as db:
        keys = await list_keys(db)
    assert [each.key for each in keys] == [before, new]
    assert is_signed(keys[0].public, b"said", signature)


async def test_a_private_half_is_bound_to_its_name(ground: Ground) -> None:
    first = await find_signer(ground.pool, ground.vault, BEGAN)
    second = await new_key(ground.pool, ground.vault, BEGAN)
    kept = await ground.pool.fetch("SELECT private FROM seal_key")
    assert all(first.private.private_bytes_raw() not in row["private"] for row in kept)
    await ground.pool.execute(
        "UPDATE seal_key SET private = (SELECT private FROM seal_key WHERE key = $1) WHERE key = $2", first.key, second
    )
    with pytest.raises(Damaged, match=second):
        await sign(ground.pool, ground.vault, b"said", BEGAN)
