"""Ask for bills of accounts with ten years of history, with every field and explanation: over HTTP, and in process."""

import asyncio
import json
import random
import sys
from collections.abc import Iterator
from statistics import median
from typing import Any

from graphql import build_schema, get_named_type, is_leaf_type, is_object_type

from bels.api.schema import sdl
from bels.app import door_of, opened
from bels.domain.periods import shift
from bels.domain.terms import Period
from bels.observing.health import Readiness
from bels.routes import asgi
from bels.settings import Settings
from bench import history, ours
from bench.asking import in_process, over_http
from bench.report import Figure
from bench.servers import free_port, fresh_database, server

HOUSEHOLDS = 20
FIRST, MONTHS = Period("2016-01"), 120
ASKED = 1_000
WARM_UP = 100
MOST_MS = 10.0


def bill(url: str, rounds: int) -> list[Figure]:
    """Ask for bills of any account and period, one after the other: medians of the rounds."""
    at = asyncio.run(fresh_database(url, "bench_bill"))
    asyncio.run(history.live(at, HOUSEHOLDS, FIRST, MONTHS))
    whole, inside = [], []
    for _ in range(rounds):
        port = free_port()
        with server(ours.serve(port), port, {"BELS_DATABASE_URL": at}):
            whole.append(over_http(port, _bodies(), WARM_UP, ASKED, _judge))
        inside.append(asyncio.run(_in_process(at)))
        print(f"  bill: p50, p99 {whole[-1]} ms over HTTP, {inside[-1]} ms in the server", file=sys.stderr, flush=True)
    p50, p99 = (median(run[i] for run in inside) for i in (0, 1))
    return [
        Figure("bill of 10 years, in the server", "p50 ms", p50, "the target", MOST_MS, most=1.0),
        Figure("the same", "p99 ms", p99, "the target", MOST_MS, note="for the record"),
        Figure("the same, over HTTP", "p50 ms", median(run[0] for run in whole), note="for the record"),
        Figure("the same, over HTTP", "p99 ms", median(run[1] for run in whole), note="for the record"),
    ]


def document() -> str:
    """Write the query of a whole bill: every field of every type below it that needs no argument."""
    schema = build_schema(sdl())

    def selection(kind: Any, above: tuple[str, ...]) -> str:
        parts = []
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if any(argument.type.__class__.__name__ == "GraphQLNonNull" for argument in field.args.values()):
                continue
            if is_leaf_type(inner):
                parts.append(name)
            elif is_object_type(inner) and inner.name not in above:
                parts.append(name + selection(inner, (*above, inner.name)))
        return " { " + " ".join(parts) + " }"

    return (
        "query Bill($account: String!, $period: Period!) { account(number: $account) { bill(period: $period)"
        + selection(schema.type_map["Bill"], ("Bill",))
        + " } }"
    )


def _bodies() -> Iterator[bytes]:
    chance, text = random.Random(5), document()
    while True:
        account = str(history.FIRST_ACCOUNT + chance.randrange(HOUSEHOLDS))
        period = shift(FIRST, chance.randrange(MONTHS))
        variables = {"account": account, "period": period}
        yield json.dumps({"query": text, "operationName": "Bill", "variables": variables}).encode()


def _judge(said: bytes) -> None:
    """Check that an answer is a bill.

    :raises RuntimeError: it is not; then the time means nothing.
    """
    answer = json.loads(said)
    if answer.get("errors") or not answer["data"]["account"]["bill"]["charges"]:
        raise RuntimeError(said[:2000].decode())


async def _in_process(url: str) -> tuple[float, float]:
    async with opened(Settings(database_url=url)) as bels:
        app = asgi(bels, await door_of(bels, local=True), Readiness(bels.pool))
        return await in_process(app, _bodies(), WARM_UP, ASKED, _judge)
