"""Ask every root field of a running server for nonsense with schemathesis: ``fuzz.py URL CASES KNOWN``, in its own environment.

``CASES`` a root field, for each of three ways: documents that fit the schema, with good values and with odd ones, and documents
that do not fit. ``KNOWN`` is a JSON object of values that exist, by the names of arguments and input fields, to be put in the
place of drawn ones, so that the nonsense also reaches what lies behind the first look-up. A case has failed when the server
failed, when an error has no code, or when the answer is no GraphQL. Prints a JSON object: a root field's cases, how many were
executed, its codes, failures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import graphql
import requests  # type: ignore[import-untyped,unused-ignore]
import schemathesis  # type: ignore[import-not-found]
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

WAIT_S = 20.0
REPEATS_MAX = 5
PAUSE_MAX_S = 2
FAILURES_MAX = 3
SHOWN_MAX = 1500
SEED = 354
SUBSCRIPTIONS_MAX = 30
SUBSCRIPTIONS_WAIT_S = 1.5

Known = dict[str, list[str | int | None]]


FITTING = {
    "Date": st.sampled_from(["2024-05-31", "2026-01-15"]),
    "DateTime": st.sampled_from(["2024-05-25T23:59:59+03:00", "2026-05-25T20:59:59Z"]),
    "Decimal": st.sampled_from(["7.33", "0"]),
    "Money": st.sampled_from(["1245.05", "0.01", "10000000.00"]),
    "Period": st.sampled_from(["2024-05", "2026-01", "1900-01", "2099-12"]),
    "Toml": st.sampled_from(["", "a = 1", "[[", "[limits]\nx = nan"]),
}
ODD = {
    "Date": st.dates().map(str) | st.sampled_from(["2024-02-30", "0000-00-00"]),
    "DateTime": st.datetimes().map(lambda at: f"{at.isoformat()}Z") | st.just("9999-12-31T23:59:59-23:59"),
    "Decimal": st.decimals(allow_nan=True).map(str) | st.sampled_from(["-0", "1e9", "9" * 400]),
    "Money": st.decimals(allow_nan=True).map(str) | st.just("0.001"),
    "Period": st.text() | st.sampled_from(["2100-01", "2024-13"]),
    "Toml": st.text() | st.just("a = " + "[" * 200),
}


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask nonsense: fitting or odd scalars, how often a known value is put in, documents that fit the schema or not."""

    scalars: dict[str, st.SearchStrategy[str]]
    known: float
    mode: GenerationMode


WAYS = (
    Way(FITTING, 0.9, GenerationMode.POSITIVE),
    Way(ODD, 0.5, GenerationMode.POSITIVE),
    Way(ODD, 0.5, GenerationMode.NEGATIVE),
)


@dataclass
class Told:
    """What the cases of one root field were told."""

    cases: int = 0
    executed: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class _Known(graphql.Visitor):
    """Put known values in the place of drawn ones."""

    def __init__(self, known: Known, share: float, chance: Random) -> None:
        super().__init__()
        self._known = known
        self._share = share
        self._chance = chance

    def _enter(self, node: Any, *_: Any) -> Any:
        values = self._known.get(node.name.value)
        if values is None or isinstance(node.value, graphql.ObjectValueNode) or self._chance.random() > self._share:
            return None
        value = self._chance.choice(values)
        if value is None and isinstance(node, graphql.ObjectFieldNode):
            # A page's `last` is left out beside `first`; an input's field of that name is another thing.
            return None
        known = graphql.parse_value(json.dumps(value))
        if isinstance(node.value, graphql.ListValueNode):
            known = graphql.ListValueNode(values=(*node.value.values, known))
        return type(node)(name=node.name, value=known)

    enter_argument = _enter
    enter_object_field = _enter


def judge(told: Told, document: str, answer: Any, status: int = 200) -> None:
    """Count a case, and note how it failed."""
    told.cases += 1
    reasons = [f"status {status}"] if status >= 500 else []
    errors = answer.get("errors", []) if isinstance(answer, dict) else []
    if not isinstance(answer, dict) or not ("data" in answer or errors):
        reasons.append("not GraphQL")
    for error in errors:
        code = error.get("extensions", {}).get("code")
        told.codes[str(code)] = told.codes.get(str(code), 0) + 1
        if code in (None, "", "INTERNAL_SERVER_ERROR"):
            reasons.append(f"code {code}")
    if isinstance(answer, dict) and "data" in answer:
        told.executed += 1
    if reasons and len(told.failures) < FAILURES_MAX:
        told.failures.append(f"{', '.join(reasons)}\n{document[:SHOWN_MAX]}\n{str(answer)[:SHOWN_MAX]}")


def draw(operation: Any, way: Way, cases: int, known: Known, ask: Callable[[str], None]) -> None:
    """Draw documents for one root field, in one way."""
    for name, drawn in way.scalars.items():
        schemathesis.graphql.scalar(name, drawn.map(lambda text: graphql.StringValueNode(value=text)))

    @seed(SEED)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=way.mode), chance=st.randoms(use_true_random=False))
    def one(case: Any, chance: Random) -> None:
        document = case.body["query"] if isinstance(case.body, dict) else case.body
        # A document that is no GraphQL is asked as it is.
        with suppress(graphql.GraphQLError):
            document = graphql.print_ast(graphql.visit(graphql.parse(document), _Known(known, way.known, chance)))
        ask(document)

    one()


def post(url: str, document: str) -> requests.Response:
    """Ask, and ask again after the pause that the server wants, where it is short: what is slowed down is not tried."""
    for repeats_left in range(REPEATS_MAX, -1, -1):
        response = requests.post(url, json={"query": document}, timeout=WAIT_S)
        pause = response.headers.get("retry-after", "")
        if not repeats_left or response.status_code != 429 or not pause.isdigit() or int(pause) > PAUSE_MAX_S:
            return response
        time.sleep(int(pause))
    raise AssertionError("unreachable")


def try_field(operation: Any, url: str, cases: int, known: Known) -> Told:
    """Ask one query or mutation."""
    told = Told()

    def ask(document: str) -> None:
        response = post(url, document)
        try:
            answer = response.json()
        except ValueError:
            answer = response.text
        judge(told, document, answer, response.status_code)

    for way in WAYS:
        draw(operation, way, cases, known, ask)
    return told


def try_subscription(operation: Any, url: str, cases: int, known: Known) -> Told:
    """Subscribe to one root field, all cases on one socket; what says nothing is a watched account without news."""
    told = Told()
    documents: list[str] = []
    for way in WAYS:
        draw(operation, way, min(cases, SUBSCRIPTIONS_MAX), known, documents.append)
    asked = {
        str(number): f"subscription {document.lstrip().removeprefix('query')}"
        for number, document in enumerate(documents)
    }
    protocol = Subprotocol("graphql-transport-ws")
    with connect(url.replace("http", "ws"), subprotocols=[protocol], open_timeout=WAIT_S, proxy=None) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        socket.recv(WAIT_S)
        for number, document in asked.items():
            socket.send(json.dumps({"type": "subscribe", "id": number, "payload": {"query": document}}))
        try:
            while True:
                message = json.loads(socket.recv(SUBSCRIPTIONS_WAIT_S))
                if message["type"] in ("next", "error"):
                    payload = message["payload"]
                    answer = payload if message["type"] == "next" else {"errors": payload}
                    judge(told, asked[message["id"]], answer)
        except TimeoutError:
            pass
        except ConnectionClosed as closed:
            told.failures.append(f"the socket was closed: {closed}")
    return told


def main(url: str, cases: int, known: Known) -> dict[str, Any]:
    """Ask every query and mutation, and subscribe to whatever there is."""
    schema = schemathesis.graphql.from_url(url)
    told = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        told[operation.label] = try_field(operation, url, cases, known)
    # schemathesis knows queries and mutations: it is given a schema whose queries are our subscriptions.
    whole = schema.client_schema
    turned = graphql.print_schema(graphql.GraphQLSchema(query=whole.subscription_type, types=whole.type_map.values()))
    for result in schemathesis.graphql.from_file(turned).get_all_operations():
        operation = result.ok()
        label = operation.label.replace("Query.", "Subscription.")
        told[label] = try_subscription(operation, url, cases, known)
    return {label: asdict(one) for label, one in told.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])), ensure_ascii=False))
