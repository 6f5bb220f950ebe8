"""What the tests of verification stand on: a town with sealed months, put back after every test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from bels.access.vault import Vault
from bels.audit.store import install_audit
from bels.journal.write import Db
from tests.api.client import MASTER
from tests.audit.seals.ground import Ground
from tests.audit.verifying.town import Town, living_town
from tests.conftest import new_supplier


@pytest.fixture(scope="module")
def verified_supplier(postgres: str, template: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database for the town of a file."""
    return new_supplier(postgres, template, f"bels_verified_{os.getpid()}_{request.path.stem}")


@pytest.fixture(scope="module")
async def living(verified_supplier: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Give a town that was sealed several times."""
    folder: Path = tmp_path_factory.mktemp("town")
    async with living_town(verified_supplier, folder) as living:
        await living.keep()
        yield living


@pytest.fixture
async def ground(pool: asyncpg.Pool) -> Ground:
    """Give an empty journal that can be sealed."""
    async with pool.acquire() as db:
        await install_audit(db)
    return Ground(pool, Vault(pool, MASTER))


@pytest.fixture
async def db(town: Town) -> AsyncIterator[Db]:
    """Give a connection to the town's database."""
    async with town.bels.pool.acquire() as connection:
        yield connection


@pytest.fixture
async def town(living: Town) -> AsyncIterator[Town]:
    """Give the town, and put it back afterwards."""
    yield living
    await living.put_back()
