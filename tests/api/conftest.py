"""What the tests of the API stand on: a program that asks a real supplier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest

from bels.domain.periods import MOSCOW
from tests.api.client import Client, Clock


@pytest.fixture
async def client(pool: asyncpg.Pool, database: str) -> AsyncIterator[Client]:
    made = Client(pool, database, Clock(datetime(2024, 1, 20, 12, tzinfo=MOSCOW)))
    async with made.intake.running(), made.changes.running():
        yield made
