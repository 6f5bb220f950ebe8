"""The journey of journey.mjs with the client that ariadne-codegen made: ``ariadne URL ACCOUNT VALUE`` after the script's name.

Runs beside the made package, in its own environment (`deploy/peers.sh`). Every value goes through a type of that package.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from bels_client import (  # type: ignore[import-not-found]
    Changes,
    Client,
    HouseholdAccount,
    Register,
    RegisterReading,
    SubmitReadingInput,
)

WAIT_S = 15.0
PAGE = 2


async def pages(client: Client, number: str) -> list[list[dict[str, Any]]]:
    """Turn the pages of readings."""
    turned = []
    after = None
    while True:
        account = (await client.readings(number, PAGE, after)).account
        assert account is not None
        turned.append([edge.node.model_dump(mode="json", by_alias=True) for edge in account.readings.edges])
        if not account.readings.page_info.has_next_page:
            return turned
        after = account.readings.page_info.end_cursor


def plain(account: HouseholdAccount) -> dict[str, Any]:
    """Give the household as JSON, and see that money and moments have types of their own."""
    assert isinstance(account.balance.balance, Decimal)
    assert isinstance(account.opened_at, datetime)
    told: dict[str, Any] = account.model_dump(mode="json", by_alias=True)
    return told


async def journey(name: str, url: str, number: str, value: str) -> dict[str, Any]:
    """Ask, turn the pages, watch and submit."""
    async with Client(url, ws_url=url.replace("http", "ws")) as client:
        household = (await client.household(number)).account
        assert household is not None
        turned = await pages(client, number)
        given = SubmitReadingInput(
            account=number,
            idempotencyKey=f"{name} {value}",
            values=[RegisterReading(register=Register.TOTAL, value=value)],
        )
        changes = cast("AsyncGenerator[Changes, None]", client.changes(number))
        events = [await anext(changes)]
        submitted = await client.submit(given)
        again = await client.submit(given)
        events.append(await anext(changes))
        await changes.aclose()
        return {
            "household": {"account": plain(household)},
            "pages": turned,
            "submitted": submitted.model_dump(mode="json", by_alias=True),
            "again": again.model_dump(mode="json", by_alias=True),
            "events": [event.model_dump(mode="json", by_alias=True) for event in events],
        }


if __name__ == "__main__":
    told = asyncio.run(asyncio.wait_for(journey(*sys.argv[1:]), WAIT_S))
    sys.stdout.write(json.dumps(told))
