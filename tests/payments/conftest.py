"""A house with a till, and two banks that bring payments to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bels.access.callers import Kind
from bels.access.clients import add_client
from bels.app import Bels
from bels.domain.terms import Channel
from bels.payments.partners import partners_of
from bels.payments.till import Agent, Till
from tests.channels.house import House, opened_house

SCOPES = ("payments:write", "readings:write", "registers:read")


@dataclass(frozen=True, slots=True)
class Banks:
    """A house (see ``opened_house``) with a till; the bank «sber» with limits and a commission, the app «app» without."""

    house: House
    till: Till
    secrets: dict[str, str]

    @property
    def bels(self) -> Bels:
        """The open supplier."""
        assert self.house.bels is not None
        return self.house.bels

    def agent(self, name: str = "sber") -> Agent:
        """Give a bank as the till knows it."""
        partner = self.till.partners.named(name)
        assert partner is not None
        return self.till.agent(partner.client)


def contracts(clients: dict[str, str], more: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """Write the table of the banks' contracts; ``more`` are tables to add, by partner."""
    sber = {
        "title": "Сбербанк",
        "minimum": "1.00",
        "maximum": "60000.00",
        "commission": [{"since": date(2024, 1, 1), "percent": "1.0", "maximum": "100.00"}],
    }
    told: dict[str, dict[str, Any]] = {"sber": sber, "app": {"title": "Приложение"}}
    return {
        "partner": {
            name: {"client": client, **told.get(name, {}), **(more or {}).get(name, {})}
            for name, client in clients.items()
        }
    }


async def opened_banks(house: House, more: dict[str, dict[str, Any]] | None = None) -> Banks:
    """Add the two banks to a house, with what their contracts say beyond the usual."""
    assert house.bels is not None
    clients, secrets = {}, {}
    async with house.bels.pool.acquire() as db:
        for name in ("sber", "app"):
            clients[name], secrets[name] = await add_client(
                db, house.bels.vault, Kind.PARTNER, name, Channel.BANK, SCOPES
            )
    return Banks(house, Till(house.desk, partners_of(contracts(clients, more))), secrets)


@pytest.fixture
async def banks(database: str, tmp_path: Path) -> AsyncIterator[Banks]:
    """Open a supplier with a few households and two banks, on a database of its own."""
    async with opened_house(database, tmp_path) as house:
        yield await opened_banks(house)
