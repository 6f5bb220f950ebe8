"""A journal that was changed by somebody with all rights is found to be changed, by the last seal that was kept outside."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.audit.verifying.attacker import ATTACKS, attack
from tests.audit.verifying.town import ALONE, EVERYTHING, Town, living_town, names
from tests.conftest import new_supplier

MUTATIONS = 108
MUTATIONS_SOAKED = 1_008

EVERYTHING_EVERY = 7


@pytest.fixture(scope="module")
def supplier(postgres: str, template: str) -> str:
    """Give the URL of a database for the town of this file."""
    return new_supplier(postgres, template, f"bels_mutations_{os.getpid()}")


@pytest.fixture(scope="module")
async def town(supplier: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Give a town that was sealed several times, and can be put back as it was."""
    folder: Path = tmp_path_factory.mktemp("town")
    async with living_town(supplier, folder) as living:
        await living.keep()
        yield living


async def test_nothing_is_found_where_nothing_was_changed(town: Town) -> None:
    verified = await town.verify(town.outside_with_heads, EVERYTHING)
    assert verified.findings == []
    assert verified.proven == town.last
    assert verified.unsealed > 0


async def test_every_mutation_of_what_was_sealed_is_found_and_named(town: Town) -> None:
    await mutate(town, MUTATIONS)


@pytest.mark.soak
async def test_every_one_of_many_mutations_is_found_and_named(town: Town) -> None:
    await mutate(town, MUTATIONS_SOAKED)


async def mutate(town: Town, times: int) -> None:
    """Change something by chance, verify, put it back; every kind of change equally often."""
    for seed in range(times):
        chance, how = Random(seed), ATTACKS[seed % len(ATTACKS)]
        async with town.bels.pool.acquire() as db:
            done = await attack(db, chance, town, how)
        asked = replace(ALONE, messages=done.messages)
        told = f"seed {seed}: {how.__name__} {done.account} entry {done.entry}"
        verified = await town.verify(town.outside, asked)
        assert verified.found > 0, told
        accused = {each.account for each in verified.findings if each.account is not None}
        if done.only_by_heads:
            verified = await town.verify(town.outside_with_heads, asked)
            accused |= {each.account for each in verified.findings if each.account is not None}
        assert accused <= {done.account, done.also}, (told, accused)
        assert names([each for each in verified.findings if each.kind in done.kinds], done.account, done.entry), (
            told,
            verified.findings,
        )
        if seed % EVERYTHING_EVERY == 0:
            # Whatever was changed, all checks come to their end.
            assert (await town.verify(town.outside, EVERYTHING)).found > 0, told
        await town.put_back()
    verified = await town.verify(town.outside)
    assert verified.findings == []
