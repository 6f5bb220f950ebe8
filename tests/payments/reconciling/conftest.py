"""A house with two banks; with «sber» registers, transfers and a fee are agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.channels.house import opened_house
from tests.payments.conftest import opened_banks
from tests.payments.reconciling.books import CONTRACT, Books


@pytest.fixture
async def books(database: str, tmp_path: Path) -> AsyncIterator[Books]:
    """Open a supplier on a database of its own, at noon of 20 May 2024."""
    async with opened_house(database, tmp_path) as house:
        yield Books(await opened_banks(house, {"sber": {"reconciliation": CONTRACT}}))
