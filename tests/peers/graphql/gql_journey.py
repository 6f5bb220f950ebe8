"""The journey of journey.mjs with the Python client gql: ``gql_journey.py gql-http|gql-ws URL ACCOUNT VALUE``.

Runs in its own environment (`deploy/peers.sh`); subscriptions go over WebSocket in both.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from gql import Client, GraphQLRequest, gql  # type: ignore[import-not-found]
from gql.transport.aiohttp import AIOHTTPTransport  # type: ignore[import-not-found]
from gql.transport.websockets import WebsocketsTransport  # type: ignore[import-not-found]

DOCUMENTS = gql((Path(__file__).parent / "documents.graphql").read_text("utf-8")).document
WAIT_S = 15.0
PAGE = 2


def asked(operation: str, variables: dict[str, Any]) -> Any:
    """Name one operation of the documents."""
    return GraphQLRequest(DOCUMENTS, variable_values=variables, operation_name=operation)


async def pages(session: Any, number: str) -> list[list[dict[str, Any]]]:
    """Turn the pages of readings."""
    turned = []
    after = None
    while True:
        told = await session.execute(asked("Readings", {"number": number, "first": PAGE, "after": after}))
        page = told["account"]["readings"]
        turned.append([edge["node"] for edge in page["edges"]])
        if not page["pageInfo"]["hasNextPage"]:
            return turned
        after = page["pageInfo"]["endCursor"]


async def journey(name: str, url: str, number: str, value: str) -> dict[str, Any]:
    """Ask, turn the pages, watch and submit."""
    socket = Client(
        transport=WebsocketsTransport(
            url=url.replace("http", "ws"), subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
        ),
        fetch_schema_from_transport=False,
    )
    http = Client(transport=AIOHTTPTransport(url=url), fetch_schema_from_transport=True)
    value_input = [{"register": "TOTAL", "value": value}]
    given = {"input": {"account": number, "idempotencyKey": f"{name} {value}", "values": value_input}}
    async with socket as watching, http as asking:
        session = watching if name == "gql-ws" else asking
        household = await session.execute(asked("Household", {"number": number}))
        turned = await pages(session, number)
        changes: AsyncGenerator[dict[str, Any], None] = watching.subscribe(asked("Changes", {"number": number}))
        events = [await anext(changes)]
        submitted = await session.execute(asked("Submit", given))
        again = await session.execute(asked("Submit", given))
        events.append(await anext(changes))
        await changes.aclose()
        return {"household": household, "pages": turned, "submitted": submitted, "again": again, "events": events}


if __name__ == "__main__":
    told = asyncio.run(asyncio.wait_for(journey(*sys.argv[1:]), WAIT_S))
    sys.stdout.write(json.dumps(told))
