"""What the tests of seals stand on: an empty journal with the auditor's tables and a vault."""

from __future__ import annotations

import asyncpg
import pytest

from bels.access.vault import Vault
from bels.audit.store import install_audit
from tests.audit.seals.ground import MASTER, Ground


@pytest.fixture
async def ground(pool: asyncpg.Pool) -> Ground:
    """Give an empty journal that can be sealed."""
    async with pool.acquire() as db:
        await install_audit(db)
    return Ground(pool, Vault(pool, MASTER))
