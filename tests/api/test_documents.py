import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from bels.api.engine import operations
from bels.api.engine.documents import Schema
from bels.api.engine.http import GraphQL
from bels.api.engine.trusted import ManifestError, check_manifest, read_manifest
from tests.api.town import JSON, SCHEMA, SUBMIT, Mutation, Query, code, context, send


async def test_a_known_document_is_neither_parsed_nor_validated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(operations, name)

        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return real(*arguments, **options)

        return call

    for name in ("parse", "measure", "validate"):
        monkeypatch.setattr(operations, name, counted(name))
    schema = Schema(Query, Mutation)
    app = GraphQL(schema, context)
    for n in range(5):
        body = {"query": "query($n: Int!) { number(n: $n) }", "variables": {"n": n}}
        assert (await send(body, app=app)).json() == {"data": {"number": n}}
    assert calls == ["parse", "measure", "validate"]
    await send({"query": "query($n: Int!) { number(n: $n) } "}, app=app)
    assert len(calls) == 6
    for _ in range(2):
        await send({"query": "{ nope }"}, app=app)
    assert len(calls) == 12


def test_a_flood_of_new_documents_leaves_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = operations.Documents(SCHEMA._schema, SCHEMA.limits, documents_max=20)
    cache.find("{ hello }")
    used = cache.find("{ hello }")
    for n in range(100):
        cache.find(f"{{ number(n: {n}) }}")
    assert len(cache) <= 20
    monkeypatch.setattr(operations, "parse", None)
    assert cache.find("{ hello }") is used
    with pytest.raises(TypeError):
        cache.find("{ number(n: 0) }")


def test_the_least_used_of_the_protected_goes_back_on_probation() -> None:
    cache = operations.Documents(SCHEMA._schema, SCHEMA.limits, documents_max=10)
    for n in range(30):
        for _ in range(3):
            cache.find(f"{{ number(n: {n}) }}")
    assert len(cache) == 10


def test_the_cache_is_bounded_in_characters_too() -> None:
    cache = operations.Documents(SCHEMA._schema, SCHEMA.limits, characters_max=500)
    cache.find("{ hello }" + " " * 100)
    assert len(cache) == 0
    for n in range(100):
        for _ in range(2):
            cache.find(f"{{ number(n: {n + 1_000}) }}")
    assert len(cache) == 400 // 19 + 100 // 19


# What an operation selects.


def selected(document: str, name: str | None = None) -> tuple[set[str], tuple[str, ...]]:
    operation = SCHEMA.find(document, name)
    return set(operation.coordinates), operation.roots


def test_an_operation_names_what_it_selects() -> None:
    assert selected("{ hello a: number __typename }") == ({"Query.hello", "Query.number"}, ("hello", "number"))
    assert selected(SUBMIT) == (
        {"Mutation.submit", "ReadingAccepted.number", "ReadingRefused.code"}, ("submit",)
    )  # fmt: skip
    assert selected("subscription { count(to: 1) }") == ({"Subscription.count"}, ("count",))
    assert selected("{ pages { edges { node { number } } pageInfo { endCursor } } }")[0] == {
        "Query.pages", "ReadingAcceptedConnection.edges", "ReadingAcceptedEdge.node", "ReadingAccepted.number",
        "ReadingAcceptedConnection.pageInfo", "PageInfo.endCursor",
    }  # fmt: skip


def test_fragments_are_followed_and_an_interface_is_named_as_one() -> None:
    document = """{ ...A ... on Query { ... { number } } }
        fragment A on Query { ...B } fragment B on Query { hello ...C }
        fragment C on Query { node { id ... on Street { name } } }"""
    coordinates, roots = selected(document)
    assert coordinates == {"Query.hello", "Query.number", "Query.node", "Node.id", "Street.name"}
    assert sorted(roots) == ["hello", "node", "number"]


def test_only_the_operation_that_is_asked_for_counts() -> None:
    document = """query A { hello } mutation B { ...M } query C { __schema { types { name } } }
        fragment M on Mutation { submit(input: {account: 1, value: "2"}) { __typename } }"""
    assert selected(document, "A") == ({"Query.hello"}, ("hello",))
    assert selected(document, "B") == ({"Mutation.submit"}, ("submit",))
    assert selected(document, "C") == (set(), ())
    assert [SCHEMA.find(document, name).introspects for name in "ABC"] == [False, False, True]
    assert SCHEMA.find(document, "A").characters == len(document)


# Trusted documents.

HELLO = "query Hello($name: String!) { hello(name: $name) }"
HELLO_ID = f"sha256:{sha256(HELLO.encode()).hexdigest()}"
LONG = "{ hello }" + " " * 40_000
FRONT_END = {"authorization": "front end"}


def trusting() -> GraphQL[Any]:
    return GraphQL(
        SCHEMA, context, trusted=read_manifest(json.dumps({HELLO_ID: HELLO, sha256(LONG.encode()).hexdigest(): LONG}))
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"documentId": HELLO_ID},
        {"query": HELLO},
        {"query": None, "documentId": HELLO_ID, "extensions": {}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": HELLO_ID.removeprefix("sha256:")}}},
    ],
    ids=["by its id", "by its text", "with empty properties", "as Apollo sends its hash"],
)
@pytest.mark.parametrize("who", ["front end", "stranger", "me"])
async def test_a_trusted_document_is_taken_from_everybody(asked: dict[str, Any], who: str) -> None:
    body = {**asked, "variables": {"name": "front"}}
    response = await send(body, app=trusting(), headers={"authorization": who})
    assert response.json() == {"data": {"hello": "hello front"}}


async def test_a_trusted_document_by_get() -> None:
    params = {"documentId": HELLO_ID, "variables": '{"name": "front"}'}
    response = await send(method="GET", params=params, app=trusting())
    assert response.json() == {"data": {"hello": "hello front"}}


async def test_a_trusted_document_may_be_longer_than_a_free_one() -> None:
    response = await send({"query": LONG}, app=trusting(), headers=FRONT_END)
    assert response.json() == {"data": {"hello": "hello world"}}
    assert code(await send({"query": LONG + " "}, app=trusting())) == "GRAPHQL_VALIDATION_FAILED"


async def test_a_front_end_may_send_nothing_else() -> None:
    response = await send({"query": "{ hello }"}, app=trusting(), headers=FRONT_END)
    assert (response.status_code, code(response)) == (403, "FORBIDDEN")
    assert response.json()["errors"][0]["extensions"]["reason"] == "TRUSTED_DOCUMENTS_ONLY"
    response = await send({"query": "{ nope"}, app=trusting(), headers=FRONT_END)
    assert (response.status_code, code(response)) == (403, "FORBIDDEN")
    response = await send({}, app=trusting(), headers=FRONT_END)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("name", ["sha256:" + "0" * 64, HELLO_ID.upper(), "", "x" * 100_000])
async def test_an_unknown_id_is_told_by_its_code(name: str) -> None:
    response = await send({"documentId": name}, app=trusting())
    assert (response.status_code, code(response)) == (400, "PERSISTED_QUERY_NOT_FOUND")
    response = await send({"documentId": name}, app=trusting(), accept=JSON)
    assert (response.status_code, code(response)) == (200, "PERSISTED_QUERY_NOT_FOUND")


async def test_a_text_beside_an_id_is_refused() -> None:
    response = await send({"documentId": HELLO_ID, "query": "{ hello }"}, app=trusting())
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
    response = await send({"documentId": 5}, app=trusting())
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("extensions", [{"persistedQuery": 5}, {"persistedQuery": {"sha256Hash": 5}}, {"x": 1}])
async def test_other_extensions_are_no_document(extensions: dict[str, Any]) -> None:
    response = await send({"extensions": extensions}, app=trusting())
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


def test_a_manifest_of_either_compiler_is_read() -> None:
    plain = HELLO_ID.removeprefix("sha256:")
    sha1, md5 = "0" * 40, "a" * 32
    for given in ({HELLO_ID: HELLO}, {plain: HELLO}, {sha1: HELLO}, {f"sha1:{sha1}": HELLO}, {md5: HELLO}):
        assert read_manifest(json.dumps(given)) == {**given, HELLO_ID: HELLO}
    assert read_manifest("{}") == {}


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", "5", "{", '{"x": "{ hello }"}', '{"sha1:' + "0" * 64 + '": "{ hello }"}',
     json.dumps({HELLO_ID: HELLO + " "}), json.dumps({"0" * 32: {"text": "x"}}), "[" * 100_000,
     '{"' + "0" * 64 + '": "{ hello }"}'],
)  # fmt: skip
def test_a_manifest_that_cannot_be_trusted_is_not_read(manifest: str) -> None:
    with pytest.raises(ManifestError):
        read_manifest(manifest)


def test_a_manifest_is_checked_against_the_schema() -> None:
    documents = {"a": HELLO, "b": "{ gone }"}
    assert check_manifest(SCHEMA, documents) == {"b": "Cannot query field 'gone' on type 'Query'."}
