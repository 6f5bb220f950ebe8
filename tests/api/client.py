"""A program that asks the schema over a real supplier, and the household it asks about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
from starlette.requests import HTTPConnection

from bels.access.callers import LOCAL, Caller
from bels.access.door import Door, opened_door
from bels.access.master_key import FileMasterKey
from bels.access.vault import Vault
from bels.api.changes import Changes
from bels.api.context import Asking, Context, Supplier
from bels.api.schema import SCHEMA
from bels.domain.periods import MOSCOW
from bels.domain.rulebook import Rulebook
from bels.intake import Intake
from tests.rules import DEFAULT_RULEBOOK

MASTER = FileMasterKey([("test", b"m" * 32)])


class Clock:
    """A clock that a test moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Client:
    """A program that asks the schema."""

    def __init__(self, pool: asyncpg.Pool, database: str, clock: Clock, rulebook: Rulebook = DEFAULT_RULEBOOK) -> None:
        self.clock = clock
        self.pool = pool
        self.intake = Intake(pool, rulebook, clock)
        self.changes = Changes(database)
        self.database = database
        self.supplier: Supplier | None = None
        self.caller = LOCAL
        self.keys = 0

    async def door(self) -> Door:
        """Open the door of this supplier."""
        vault = Vault(self.pool, MASTER)
        return await opened_door(self.pool, vault, url=self.database, issuer="bels", local=True, clock=self.clock)

    async def context_of(self, caller: Caller) -> Context:
        """Give what a request of somebody has at hand."""
        if self.supplier is None:
            self.supplier = Supplier(self.pool, self.intake, self.changes, await self.door())
        connection = HTTPConnection({"type": "http", "headers": [], "client": None})
        return Context(self.supplier, connection, asking=Asking(caller), address="192.0.2.1")

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask, and expect no errors."""
        result = await SCHEMA.execute(query, variables, await self.context_of(self.caller))
        assert result.errors is None, result.errors
        assert result.data is not None
        return result.data

    async def do(self, mutation: str, **given: Any) -> dict[str, Any]:
        """Ask for something under a new key."""
        self.keys += 1
        kind = mutation[0].upper() + mutation[1:] + "Input"
        answer = "__typename ... on CommandDone { receipt entries { kind } } ... on Refusal { code text hint path }"
        if mutation == "submitReading":
            answer = (
                "__typename ... on ReadingAccepted { receipt entry } ... on ReadingHeld { receipt reason }"
                " ... on Refusal { code }"
            )
        query = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ {answer} }} }}"
        told: dict[str, Any] = (await self.ask(query, input={"idempotencyKey": f"k{self.keys}", **given}))[mutation]
        return told


async def household(client: Client, account: str = "1000101") -> None:
    """Open an account with one register, at 10000."""
    at = client.clock.at.isoformat()
    meter = {"number": "M1", "capacity": 5, "registers": ["TOTAL"]}
    opened = await client.do(
        "openAccount", account=account, openedAt=at, locality="URBAN", stove="GAS", rooms=2, permanent=3
    )
    assert opened["__typename"] == "CommandDone"
    values = [{"register": "TOTAL", "value": 10000}]
    await client.do("installMeter", account=account, installedAt=at, act="1", meter=meter, values=values)


async def months(client: Client, values: dict[str, int | None]) -> None:
    """Send each month's reading on the 20th and close the month on the 1st of the next."""
    for period, value in values.items():
        year, month = int(period[:4]), int(period[5:])
        client.clock.at = datetime(year, month, 20, 13, tzinfo=MOSCOW)
        if value is not None:
            sent = await client.do(
                "submitReading", account="1000101", values=[{"register": "TOTAL", "value": str(value)}]
            )
            assert sent["__typename"] == "ReadingAccepted"
        client.clock.at = datetime(year + month // 12, month % 12 + 1, 1, 6, tzinfo=MOSCOW)
        closed = await client.do("closePeriod", account="1000101", period=period)
        assert closed["__typename"] == "CommandDone", closed
