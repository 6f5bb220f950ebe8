"""A house for each test of the reception that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.channels.house import House, opened_house


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    """Open a supplier with a few households, on a database of its own."""
    async with opened_house(database, tmp_path) as house:
        yield house
