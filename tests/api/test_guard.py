import json
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError, get_introspection_query, parse
from starlette.requests import HTTPConnection
from starlette.types import Message

from bels.api.engine.documents import Schema
from bels.api.engine.guard import Limits, measure, price
from bels.api.engine.http import GraphQL, RequestContext
from bels.api.engine.paging import Connection, Node
from tests.effort import effort


@strawberry.type
class Reading(Node):
    value: str


@strawberry.type
class Account(Node):
    number: str

    @strawberry.field
    def owner(self) -> "Account | None":
        return None

    @strawberry.field
    def readings(self, first: int | None = None, last: int | None = None) -> Connection[Reading]:
        raise NotImplementedError


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "x"

    @strawberry.field
    def account(self) -> Account | None:
        return None

    @strawberry.field
    def nodes(self, ids: list[strawberry.ID]) -> list[Node]:
        return []

    @strawberry.field
    def accounts(self, first: int = 20, last: int | None = None, after: str | None = None) -> Connection[Account]:
        raise NotImplementedError


@strawberry.type
class Mutation:
    @strawberry.mutation
    def submit(self) -> Account | None:
        return None


SCHEMA = Schema(Query, Mutation)
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"


def cost(document: str, **variables: Any) -> int:
    operation = SCHEMA.find(document)
    return operation.cost(variables)


def refused(document: str, **limits: int) -> str:
    with pytest.raises(GraphQLError) as caught:
        measure(SCHEMA._schema, parse(document), Limits(**limits))
    assert caught.value.extensions is not None
    assert caught.value.extensions["code"] == "GRAPHQL_VALIDATION_FAILED"
    return str(caught.value.extensions["limit"])


def passes(document: str, **limits: int) -> None:
    measure(SCHEMA._schema, parse(document), Limits(**limits))


def test_scalars_are_free_and_objects_cost_one() -> None:
    assert cost("{ hello }") == 0
    assert cost("{ account { number owner { number } } }") == 2


@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        ("", 20),
        ("(first: 5)", 5),
        ("(last: 7)", 7),
        ("(first: 1000)", 100),
        ("(first: -5)", 0),
        ("(last: null, first: 3)", 3),
    ],
)
def test_a_connection_costs_its_page(arguments: str, items: int) -> None:
    document = f"{{ accounts{arguments} {{ edges {{ cursor node {{ number }} }} pageInfo {{ hasNextPage }} }} }}"
    assert cost(document) == 1 + items


def test_a_connection_in_a_connection_multiplies() -> None:
    inner = "readings(first: 10) { edges { node { value } } }"
    assert cost(f"{{ accounts(first: 5) {{ edges {{ node {{ {inner} }} }} }} }}") == 1 + 5 * (1 + 1 + 10)


def test_a_page_size_may_come_in_a_variable() -> None:
    last = "fragment F on Account { readings(last: $n) { edges { node { value } } } }"
    document = f"query($n: Int = 50) {{ accounts(first: $n) {{ edges {{ node {{ ...F }} }} }} }} {last}"
    assert cost(document, n=5) == 1 + 5 * (1 + 1 + 5)
    assert cost(document) == 1 + 50 * (1 + 1 + 50)
    assert cost(document, n=None) == 1 + 20 * (1 + 1 + 20)
    assert cost(document, n="rubbish") == 1 + 20 * (1 + 1 + 20)


def test_objects_by_ids_cost_as_many() -> None:
    assert cost('{ nodes(ids: ["a", "b", "c"]) { id } }') == 3
    assert cost("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 7) == 7


def test_a_mutation_costs_ten_more() -> None:
    assert cost("mutation { submit { number } }") == 11
    assert cost("mutation { a: submit { number } b: submit { number } }") == 22


async def test_a_cost_over_the_limit_is_refused_also_when_the_variables_make_it() -> None:
    inner = "edges { node { readings(first: 100) { edges { node { value } } } } }"
    assert refused(f"{{ accounts(first: 100) {{ {inner} }} }}") == "cost"
    document = f"query($n: Int) {{ accounts(first: $n) {{ {inner} }} }}"
    result = await SCHEMA.execute(document, {"n": 100})
    assert result.data is None
    assert result.errors is not None
    assert result.errors[0].extensions == {
        "code": "GRAPHQL_VALIDATION_FAILED", "limit": "cost", "max": 5_000, "actual": 1 + 100 * 102
    }  # fmt: skip


def test_twelve_levels_pass_and_thirteen_do_not() -> None:
    def nested(levels: int) -> str:
        return "{ account " + "{ owner " * (levels - 2) + "{ number }" + " }" * (levels - 2) + " }"

    passes(nested(12))
    assert refused(nested(13)) == "depth"


def test_levels_are_counted_through_fragments() -> None:
    chain = "".join(f"fragment F{n} on Account {{ owner {{ ...F{n + 1} }} }} " for n in range(12))
    assert refused("{ account { ...F0 } } " + chain + "fragment F12 on Account { number }") == "depth"


def doubling(count: int, spread: str) -> str:
    """Write fragments that spread the next one twice: 2 to the ``count`` fields."""
    chain = "".join(f"fragment F{n} on Account {{ {spread.replace('NEXT', f'...F{n + 1}')} }} " for n in range(count))
    return "{ account { ...F0 } } " + chain + f"fragment F{count} on Account {{ number }}"


@pytest.mark.parametrize("count", [12, 20, 40])
def test_fragments_that_spread_the_next_one_twice_are_refused(count: int) -> None:
    assert refused(doubling(count, "NEXT NEXT")) == "fields"


def test_fragments_that_double_their_aliases_are_refused() -> None:
    assert refused(doubling(20, "a: owner { NEXT } b: owner { NEXT }"), depth=1_000) == "aliases"


async def test_exponential_fragments_never_reach_validation() -> None:
    result = await SCHEMA.execute(doubling(25, "NEXT NEXT"))
    assert result.errors is not None
    assert result.errors[0].extensions is not None
    assert result.errors[0].extensions["limit"] == "fields"


async def test_exponential_costs_with_variables_are_worked_out_in_one_pass() -> None:
    limits = Limits(aliases=10**30, fields=10**30, depth=1_000, cost=10**60)
    spread = "a: readings(first: $n) { edges { node { id } } } owner { NEXT NEXT }"
    document = "query($n: Int) " + doubling(28, spread)
    operation = measure(SCHEMA._schema, parse(document), limits)[None]
    assert price(operation.cost, {"n": 3}, limits) > 2**28


def test_thirty_aliases_pass_and_six_hundred_do_not() -> None:
    passes("{ account { " + " ".join(f"a{n}: number" for n in range(30)) + " } }")
    assert refused("{ account { " + " ".join(f"a{n}: number" for n in range(31)) + " } }") == "aliases"
    assert refused("{ account { " + " ".join(f"a{n}: owner {{ id }}" for n in range(600)) + " } }") == "aliases"


def test_an_alias_that_is_the_name_itself_is_none() -> None:
    passes("{ account { " + "number: number " * 31 + " } }")


def test_ten_root_fields_pass_and_eleven_do_not() -> None:
    passes("{ " + "hello " * 10 + "}")
    assert refused("{ " + "hello " * 11 + "}") == "rootFields"
    assert refused("{ ...F ...F ...F } fragment F on Query { " + "hello " * 4 + "}") == "rootFields"
    assert refused("{ ... { " + "hello " * 11 + "} }") == "rootFields"


def test_an_unused_fragment_is_measured_too() -> None:
    heavy = "fragment F on Account { " + " ".join(f"a{n}: number" for n in range(31)) + " }"
    assert refused("{ hello } " + heavy) == "aliases"
    assert refused("{ hello } fragment F on Account { id } " + heavy) == "aliases"


def test_cycles_and_unknown_names_are_left_to_validation() -> None:
    passes("{ account { ...F } } fragment F on Account { owner { ...F } }")
    passes("{ account { ...A } } fragment A on Account { ...B } fragment B on Account { ...A }")
    passes("{ account { ...Nope } nope { nope(first: 3) { nope } } } fragment F on Nope { nope { nope } }")


@pytest.mark.parametrize(
    "document",
    [
        "{ account { ...F } } fragment F on Account { owner { ...F } }",
        "{ account { ...Nope } }",
        "{ nope { nope } }",
        "{ account { id } } fragment F on Nope { nope { nope } }",
    ],
)
async def test_validation_refuses_them(document: str) -> None:
    result = await SCHEMA.execute(document)
    assert result.errors is not None
    assert {(error.extensions or {}).get("code") for error in result.errors} == {"GRAPHQL_VALIDATION_FAILED"}


def test_a_long_chain_of_fragments_does_not_exhaust_the_stack() -> None:
    chain = "".join(f"fragment F{n} on Query {{ ...F{n + 1} }} " for n in range(240))
    assert refused("{ ...F0 } " + chain + "fragment F240 on Query { hello }", definitions=1_000) == "depth"


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ("{ hello }" + " " * 31_992, "characters"),
        ("# x\n" * 2_000 + "{ hello }", "lines"),
        ("\r" * 2_000 + "{ hello }", "lines"),
        (" ".join(f"query A{n} {{ hello }}" for n in range(101)), "definitions"),
        ("{ hello(a: {" + " ".join(f"f{n}: 1" for n in range(101)) + "}) }", "inputFields"),
    ],
)
async def test_a_document_is_short_of_few_lines_and_few_parts(document: str, limit: str) -> None:
    result = await SCHEMA.execute(document, operation_name="A1" if limit == "definitions" else None)
    assert result.errors is not None
    assert (result.errors[0].extensions or {})["limit"] == limit


async def test_more_than_two_thousand_tokens_are_not_parsed() -> None:
    result = await SCHEMA.execute("{ " + "hello " * 2_000 + "}")
    assert result.errors is not None
    assert result.errors[0].extensions == {"code": "GRAPHQL_PARSE_FAILED"}


async def test_the_standard_introspection_query_passes_and_is_marked() -> None:
    document = get_introspection_query(input_value_deprecation=True, specified_by_url=True)
    assert SCHEMA.find(document).introspects
    assert not SCHEMA.find("{ hello __typename }").introspects
    result = await SCHEMA.execute(document)
    assert result.errors is None


async def test_introspection_cannot_be_multiplied() -> None:
    many = " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(6))
    assert refused("{ " + many + " }") == "cost"
    fields = "fields { type { fields { type { fields { type { fields { name } } } } } } }"
    result = await SCHEMA.execute(f"{{ __schema {{ types {{ {fields} }} }} }}")
    assert result.errors is not None


# Hostile documents and variables: each is refused with a code, and while it is, nobody waits for long.

WORK_MAX = 20
"""The event loop may be held up so long on a busy machine; a quiet one takes a fifth."""


def chained(count: int) -> str:
    return doubling(count, "NEXT NEXT")


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("20 fragments twice", {"query": chained(20)}, "GRAPHQL_VALIDATION_FAILED"),
    ("90 fragments twice", {"query": chained(90)}, "GRAPHQL_VALIDATION_FAILED"),
    ("200 fragments twice", {"query": chained(200)}, "GRAPHQL_PARSE_FAILED"),
    ("600 aliases", {"query": "{ account { " + " ".join(f"a{n}: number" for n in range(600)) + " } }"},
     "GRAPHQL_VALIDATION_FAILED"),
    ("600 times the same field", {"query": "{ account { " + "number " * 600 + " } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ("300 times the same object", {"query": "{ account { " + "owner { number } " * 300 + " } }"},
     "GRAPHQL_VALIDATION_FAILED"),
    ("lists in lists", {"query": "{ nodes(ids: " + "[" * 10_000 + "]" * 10_000 + ") { id } }"}, "GRAPHQL_PARSE_FAILED"),
    ("objects in objects", {"query": "{ nodes(ids: " + "{a:" * 900 + "1" + "}" * 900 + ") { id } }"},
     "GRAPHQL_PARSE_FAILED"),
    ("an integer of 6,000 digits", {"query": "{ accounts(first: " + "9" * 6_000 + ") { edges { cursor } } }"},
     "GRAPHQL_VALIDATION_FAILED"),
    ("half a surrogate pair", {"query": '{ nodes(ids: ["\\ud800"]) { id } }'}, "GRAPHQL_PARSE_FAILED"),
    ("NUL", {"query": '{ nodes(ids: ["\0"]) { id } }'}, "BAD_USER_INPUT"),
    ("braces", {"query": "{" * 900_000}, "GRAPHQL_VALIDATION_FAILED"),
    ("fewer braces", {"query": "{" * 31_000}, "GRAPHQL_PARSE_FAILED"),
    ("a comment", {"query": "#" + "x" * 900_000 + "\n{ hello }"}, "GRAPHQL_VALIDATION_FAILED"),
    ("comments", {"query": "#\n" * 15_000 + "{ hello }"}, "GRAPHQL_VALIDATION_FAILED"),
    ("a string", {"query": '{ nodes(ids: ["' + "\\n" * 15_000 + '"]) { id } }'}, "BAD_USER_INPUT"),
    ("commas", {"query": "," * 900_000 + "{ hello }"}, "GRAPHQL_VALIDATION_FAILED"),
    ("lines, then a syntax error", {"query": "\n" * 31_000 + "{"}, "GRAPHQL_VALIDATION_FAILED"),
    ("a block string of many lines", {"query": '{ nodes(ids: ["""' + "\n x" * 10_000 + '"""]) { id } }'},
     "GRAPHQL_VALIDATION_FAILED"),
    ("2,000 directives", {"query": "{ hello " + "@skip(if: true) " * 1_900 + "}"}, "GRAPHQL_PARSE_FAILED"),
    ("250 directives", {"query": "{ hello " + "@skip(if: true) " * 250 + "}"}, "GRAPHQL_VALIDATION_FAILED"),
    ("900 unknown directives", {"query": "{ hello " + "@x " * 900 + "}"}, "GRAPHQL_VALIDATION_FAILED"),
    ("10,000 unknown variables", {"query": "query(" + " ".join(f"$v{n}: Int" for n in range(10_000)) + ") { hello }"},
     "GRAPHQL_VALIDATION_FAILED"),
    ("490 unused variables", {"query": "query(" + " ".join(f"$v{n}: Int" for n in range(490)) + ") { hello }"},
     "GRAPHQL_VALIDATION_FAILED"),
    ("330 operations", {"query": " ".join(f"query A{n} {{ hello }}" for n in range(330))}, "GRAPHQL_VALIDATION_FAILED"),
    ("a long operationName", {"query": "{ hello }", "operationName": "x" * 900_000}, "OPERATION_RESOLUTION_FAILURE"),
    ("a long documentId", {"documentId": "x" * 900_000}, "PERSISTED_QUERY_NOT_FOUND"),
    ("60,000 variables that are not declared", {"query": "{ hello }", "variables": {f"v{n}": n for n in range(60_000)}},
     "BAD_USER_INPUT"),
    ("190,000 texts", {"query": NODES, "variables": {"ids": ["a"] * 190_000}}, "BAD_USER_INPUT"),
    ("190,000 empty objects", {"query": NODES, "variables": {"ids": [], "x": [{}] * 190_000}}, "BAD_USER_INPUT"),
    ("marks upon marks", {"query": NODES, "variables": {"ids": ["a" + "\u0316\u0301" * 490] * 100}}, "BAD_USER_INPUT"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
async def test_what_is_hostile_is_refused_at_once(body: dict[str, Any], expected: str) -> None:
    async def context(connection: HTTPConnection) -> RequestContext[None]:
        return RequestContext(None, connection)

    raw = json.dumps(body).encode()
    app = GraphQL(SCHEMA, context)
    work: list[float] = []
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def collect(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"accept", b"application/graphql-response+json")]
    for _ in range(3):
        sent.clear()
        with effort() as done:
            await app({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive, collect)
        work.append(done.units)
    assert sent[0]["status"] == 400
    answer = json.loads(sent[1]["body"])
    assert answer["errors"][0]["extensions"]["code"] == expected
    assert len(sent[1]["body"]) < 20_000
    assert min(work) < WORK_MAX
