import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
import strawberry
from starlette.requests import HTTPConnection
from starlette.types import Message

from bels.api.engine import documents
from bels.api.engine.documents import Operation, Schema
from bels.api.engine.http import GraphQL, RefusedError, RequestContext
from bels.api.engine.paging import Connection

GRAPHQL_JSON = "application/graphql-response+json"
JSON = "application/json"


class Town:
    """What the application gives once."""

    def __init__(self) -> None:
        self.submitted = 0


Context = RequestContext[Town]
Info = strawberry.Info[Context, None]


@strawberry.type
class ReadingAccepted:
    number: int


@strawberry.type
class ReadingRefused:
    code: str


@strawberry.input
class SubmitInput:
    account: strawberry.ID
    value: str
    note: str | None = None


Submitted = Annotated[ReadingAccepted | ReadingRefused, strawberry.union("Submitted")]


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def number(self, n: int = 0) -> int:
        return n

    @strawberry.field
    def numbers(self, n: int) -> list[int | None]:
        return list(range(n))

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError("the password is hunter2")

    @strawberry.field
    def broken_always(self) -> str:
        raise ValueError("the password is hunter2")

    @strawberry.field
    def surrogate(self) -> str:
        return "\ud800"

    @strawberry.field
    async def slow(self) -> str | None:
        await asyncio.sleep(30)
        return "done"

    @strawberry.field
    def all_broken(self) -> "list[Broken]":
        return [Broken() for _ in range(100)]

    @strawberry.field
    def request_id(self, info: Info) -> str:
        info.context.response_headers.append(("X-Request-Id", info.context.request_id))
        return info.context.request_id

    @strawberry.field
    def pages(self, first: int | None = None) -> Connection[ReadingAccepted] | None:
        return None


@strawberry.type
class Broken:
    @strawberry.field
    def name(self) -> str | None:
        raise ValueError("broken")


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def submit(self, info: Info, input: SubmitInput) -> Submitted:  # noqa: A002 - the name in the schema
        info.context.app.submitted += 1
        if input.note is not None:
            return ReadingRefused(code=input.note)
        return ReadingAccepted(number=int(input.value))


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int) -> AsyncGenerator[int, None]:
        for n in range(to):
            yield n
        if to == 3:
            raise ValueError("the password is hunter2")


TOWN = Town()
SCHEMA = Schema(Query, Mutation, Subscription, time_s=0.2)
SUBMIT = """mutation Submit($input: SubmitInput!) {
  submit(input: $input) { __typename ... on ReadingAccepted { number } ... on ReadingRefused { code } } }"""


async def context(connection: HTTPConnection) -> Context:
    who = connection.headers.get("authorization")
    if who == "nobody":
        raise RefusedError(401, "UNAUTHENTICATED", "Sign in.", [("www-authenticate", "Bearer")])
    if who == "banned":
        raise RefusedError(403, "FORBIDDEN", "You may not.")
    if who == "bug":
        raise ValueError("the password is hunter2")
    return RequestContext(TOWN, connection)


async def admit(_: Context, operation: Operation, cost: int) -> None:
    if operation.introspects:
        raise RefusedError(403, "FORBIDDEN", "The schema is published elsewhere.")
    if cost > 50:
        raise RefusedError(429, "RATE_LIMITED", "Come back later.", [("Retry-After", "7")])


async def connect(context: Context) -> None:
    token = (context.connection_params or {}).get("token")
    if token == "nobody":
        raise RefusedError(401, "UNAUTHENTICATED", "Sign in.")
    if token == "banned":
        raise RefusedError(403, "FORBIDDEN", "You may not.")


APP = GraphQL(SCHEMA, context, admit=admit, connect=connect)


@asynccontextmanager
async def client(app: Any = APP) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as client:
        yield client


async def send(
    body: object = None, *, method: str = "POST", accept: str | None = GRAPHQL_JSON, app: Any = APP, **options: Any
) -> httpx.Response:
    """Send a request as JSON, or bytes as they are."""
    headers = {"content-type": JSON, "accept": accept or "", **options.pop("headers", {})}
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with client(app) as http:
        if accept is None:
            del http.headers["accept"], headers["accept"]
        return await http.request(method, "/", content=content, headers=headers, **options)


def code(response: httpx.Response) -> str:
    """Give the code of an answer that has errors and no data, and check what every answer must have."""
    answer = response.json()
    assert set(answer) == {"errors"}
    assert answer["errors"]
    assert all(error["message"] and error["extensions"]["code"] for error in answer["errors"])
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"].partition(";")[0] in (JSON, GRAPHQL_JSON)
    return str(answer["errors"][0]["extensions"]["code"])


# Methods.


async def test_a_query_by_post_and_by_get() -> None:
    for response in (
        await send({"query": "{ hello }"}),
        await send(method="GET", params={"query": "{ hello }"}),
        await send(
            method="GET",
            params={"query": "query A($n: String!) { hello(name: $n) } query B { number }", "operationName": "A",
                    "variables": '{"n": "world"}', "extensions": "{}"},
        ),
    ):  # fmt: skip
        assert response.status_code == 200
        assert response.json() == {"data": {"hello": "hello world"}}
        assert response.headers["content-type"] == f"{GRAPHQL_JSON}; charset=utf-8"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"])
async def test_another_method_is_405(method: str) -> None:
    response = await send({"query": "{ hello }"}, method=method)
    assert (response.status_code, response.headers["allow"], code(response)) == (405, "GET, POST", "METHOD_NOT_ALLOWED")


async def test_a_mutation_by_get_is_405_and_not_executed() -> None:
    before = TOWN.submitted
    document = 'mutation { submit(input: {account: "1", value: "1"}) { __typename } }'
    for params in ({"query": document}, {"query": "query A { hello } " + document.replace("mutation", "mutation B"),
                                         "operationName": "B"}):  # fmt: skip
        response = await send(method="GET", params=params)
        assert (response.status_code, response.headers["allow"], code(response)) == (405, "POST", "METHOD_NOT_ALLOWED")
    assert TOWN.submitted == before


async def test_a_mutation_by_post_is_executed() -> None:
    before = TOWN.submitted
    response = await send({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "185"}}})
    assert response.json() == {"data": {"submit": {"__typename": "ReadingAccepted", "number": 185}}}
    response = await send({"query": SUBMIT, "variables": {"input": {"account": 1, "value": "1", "note": "LOW"}}})
    assert response.json() == {"data": {"submit": {"__typename": "ReadingRefused", "code": "LOW"}}}
    assert TOWN.submitted == before + 2


# The type of the answer.


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL_JSON),
        (f"{JSON}, {GRAPHQL_JSON}", JSON),
        (f"{JSON};q=0.5, {GRAPHQL_JSON};q=0.9", GRAPHQL_JSON),
        (f"*/*, {GRAPHQL_JSON};q=0.9", JSON),
        (f"{JSON};q=0, */*", GRAPHQL_JSON),
        (f"text/event-stream, {GRAPHQL_JSON}", GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}, {JSON}, text/event-stream, multipart/mixed", GRAPHQL_JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        (f"{JSON};q=rubbish, {GRAPHQL_JSON};q=0.1", GRAPHQL_JSON),
    ],
)
async def test_the_type_is_the_one_the_client_prefers(accept: str | None, chosen: str) -> None:
    response = await send({"query": "{ hello }"}, accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, f"{chosen}; charset=utf-8")


@pytest.mark.parametrize(
    "accept", ["text/html", "text/event-stream", f"{JSON};q=0", f"{JSON}; charset=utf-16", "rubbish"]
)
async def test_a_type_we_do_not_have_is_406(accept: str) -> None:
    response = await send({"query": "{ hello }"}, accept=accept)
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql", "",
     "application/json; charset=latin-1"],
)  # fmt: skip
async def test_a_request_of_another_type_is_415(content_type: str) -> None:
    response = await send({"query": "{ hello }"}, headers={"content-type": content_type})
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_json_with_a_charset_passes_and_compressed_does_not() -> None:
    assert (await send({"query": "{ hello }"}, headers={"content-type": f'{JSON}; charset="UTF-8"'})).status_code == 200
    response = await send({"query": "{ hello }"}, headers={"content-encoding": "gzip"})
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


# The body.


async def test_a_body_over_a_megabyte_is_413() -> None:
    response = await send({"query": "{ hello }", "padding": "x" * 1_000_000})
    assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_without_a_length_is_read_no_further_than_a_megabyte() -> None:
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    sent: list[Message] = []

    async def collect(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")], "query_string": b""}
    await APP(scope, receive, collect)
    assert sent[0]["status"] == 413
    assert read == 11


async def test_a_body_in_pieces_is_put_together() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"que', b'ry": "{ he', b'llo }"}', b""):
            yield piece

    async with client() as http:
        response = await http.post("/", content=pieces(), headers={"content-type": JSON})
    assert response.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize("accept", [GRAPHQL_JSON, JSON])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"5", b'"x"', b"null", b"true", b"[]", b'[{"query": "{ hello }"}]', b"{", b'{"query": "{ hello }"} x',
        b'{"query": "\xff"}', b'{"padding": "\xff", "query": "{ hello }"}', b'\xef\xbb\xbf{"query": "{ hello }"}',
        b'{"query": "\\ud800"}', b'{"query": "{ hello }", "variables": {"a": "\\udc00"}}',
        b'{"query": NaN}', b'{"query": "{ hello }", "variables": {"a": NaN}}',
        b'{"query": "{ hello }", "variables": {"a": Infinity}}', b'{"query": "{ hello }", "variables": {"a": 1e999}}',
        b'{"query": "{ hello }", "variables": {"a": ' + b"9" * 6_000 + b"}}",
        b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"query": "{ hello }", "variables": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"{}", b'{"query": null}', b'{"query": ""}', b'{"query": 5}', b'{"query": ["{ hello }"]}', b'{"query": {}}',
        b'{"query": "{ hello }", "variables": []}', b'{"query": "{ hello }", "variables": "{}"}',
        b'{"query": "{ hello }", "variables": 5}', b'{"query": "{ hello }", "operationName": 5}',
        b'{"query": "{ hello }", "operationName": {}}', b'{"query": "{ hello }", "extensions": []}',
        b'{"query": "{ hello }", "extensions": "x"}',
    ],
)  # fmt: skip
async def test_an_odd_body_is_400(body: bytes, accept: str) -> None:
    response = await send(body, accept=accept)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"query": "{ hello }", "variables": "["},
        {"query": "{ hello }", "variables": "[]"},
        {"query": "{ hello }", "variables": "[" * 5_000},
        {"query": "{ hello }", "extensions": "5"},
    ],
)
async def test_an_odd_query_string_is_400(params: dict[str, str]) -> None:
    response = await send(method="GET", params=params)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


async def test_a_query_string_that_is_not_utf8_is_400() -> None:
    async with client() as http:
        response = await http.get("/?query=%7Bhello(name:%22%ff%22)%7D")
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


async def test_a_very_long_query_string_is_414() -> None:
    response = await send(method="GET", params={"query": "{ hello }" + " " * 20_000})
    assert (response.status_code, code(response)) == (414, "URI_TOO_LONG")


async def test_null_properties_are_absent_and_unknown_ones_ignored() -> None:
    body = {"query": "{ hello }", "variables": None, "operationName": None, "extensions": None, "foo": [1]}
    assert (await send(body)).json() == {"data": {"hello": "hello world"}}


# Request errors: no data, the status of the setting, 200 for the old type.

REQUEST_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"query": "{ hello"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{" * 500}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ f(a: " + "[" * 900 + "]" * 900 + ") }"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ nope }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ hello(name: 5) }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ ...Nope }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ " + " ".join(f"a{n}: hello" for n in range(600)) + " }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "fragment F on Query { hello }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "query($n: Int!) { number(n: $n) }"}, "BAD_USER_INPUT"),
    ({"query": "query($n: Int) { number(n: $n) }", "variables": {"n": "x"}}, "BAD_USER_INPUT"),
    ({"query": "query($n: Int) { number(n: $n) }", "variables": {"n": 2**31}}, "BAD_USER_INPUT"),
    ({"query": "query($n: Int) { number(n: $n) }", "variables": {"n": 10**30}}, "BAD_USER_INPUT"),
    ({"query": "query($n: Int) { number(n: $n) }", "variables": {"n": 1.5}}, "BAD_USER_INPUT"),
    ({"query": SUBMIT, "variables": {"input": {"account": "1"}}}, "BAD_USER_INPUT"),
    ({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "1", "values": 1}}}, "BAD_USER_INPUT"),
    ({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "1\0"}}}, "BAD_USER_INPUT"),
    ({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "x" * 900_000}}}, "BAD_USER_INPUT"),
    ({"query": '{ hello(name: "' + "x" * 900_000 + '") }'}, "BAD_USER_INPUT"),
    ({"query": "query A { hello } query B { hello }"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { hello } query B { hello }", "operationName": ""}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { hello }", "operationName": "B"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "subscription { count(to: 1) }"}, "OPERATION_RESOLUTION_FAILURE"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), REQUEST_ERRORS)
async def test_a_request_error_has_a_code_and_no_data(body: dict[str, Any], expected: str) -> None:
    response = await send(body)
    assert (response.status_code, code(response)) == (400, expected)
    response = await send(body, accept=JSON)
    assert (response.status_code, code(response)) == (200, expected)


async def test_the_status_of_a_request_error_is_a_setting() -> None:
    app = GraphQL(SCHEMA, context, request_error_status=422)
    assert (await send({"query": "{ nope }"}, app=app)).status_code == 422
    assert (await send({"query": "query($n: Int!) { number(n: $n) }"}, app=app)).status_code == 422
    assert (await send({"query": "query A { hello } query B { hello }"}, app=app)).status_code == 422
    assert (await send({"query": "{"}, app=app)).status_code == 400
    assert (await send(b"{", app=app)).status_code == 400
    assert (await send({"query": "{ nope }"}, app=app, accept=JSON)).status_code == 200


async def test_an_ambiguous_mutation_is_not_executed() -> None:
    before = TOWN.submitted
    one = 'submit(input: {account: "1", value: "1"}) { __typename }'
    response = await send({"query": f"mutation A {{ {one} }} mutation B {{ {one} }}"})
    assert code(response) == "OPERATION_RESOLUTION_FAILURE"
    response = await send({"query": f"mutation A {{ {one} }} query B {{ hello }}", "operationName": "C"})
    assert code(response) == "OPERATION_RESOLUTION_FAILURE"
    assert TOWN.submitted == before
    await send({"query": f"mutation A {{ {one} }} query B {{ hello }}", "operationName": "A"})
    assert TOWN.submitted == before + 1


async def test_no_field_is_suggested() -> None:
    assert "hello" not in (await send({"query": "{ hallo }"})).text.replace("hallo", "")
    text = (await send({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "1", "notes": 1}}})).text
    assert "Did you mean" not in text


# Faults while executing.


async def test_a_fault_of_ours_has_a_request_id_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    response = await send({"query": "{ hello broken requestId }"})
    answer = response.json()
    assert response.status_code == 200
    assert answer["data"] == {"hello": "hello world", "broken": None, "requestId": answer["data"]["requestId"]}
    assert answer["errors"][0]["path"] == ["broken"]
    extensions = answer["errors"][0]["extensions"]
    assert extensions == {"code": "INTERNAL_SERVER_ERROR", "requestId": answer["data"]["requestId"]}
    assert response.headers["x-request-id"] == extensions["requestId"]
    assert "hunter2" not in response.text
    assert extensions["requestId"] in caplog.text
    assert "hunter2" in caplog.text


async def test_a_fault_that_takes_all_data_with_it_keeps_the_key() -> None:
    response = await send({"query": "{ brokenAlways }"})
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


async def test_at_most_ten_errors_are_in_an_answer() -> None:
    response = await send({"query": "{ allBroken { name } }"})
    assert len(response.json()["data"]["allBroken"]) == 100
    assert len(response.json()["errors"]) == 10
    response = await send({"query": "{ allBroken { " + " ".join(f"nope{n}" for n in range(30)) + " } }"})
    assert len(response.json()["errors"]) == 10


async def test_an_argument_that_only_proves_wrong_in_execution_is_the_clients() -> None:
    response = await send({"query": "query($n: Int = 1) { number(n: $n) }", "variables": {"n": None}})
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("query", ["{ surrogate }"])
async def test_an_answer_that_cannot_be_written_is_500(query: str, caplog: pytest.LogCaptureFixture) -> None:
    response = await send({"query": query})
    assert (response.status_code, code(response)) == (500, "INTERNAL_SERVER_ERROR")
    assert response.json()["errors"][0]["extensions"]["requestId"] in caplog.text


async def test_an_operation_over_its_time_budget_is_given_up() -> None:
    response = await send({"query": "{ slow }"})
    assert (response.status_code, code(response)) == (503, "OPERATION_TIMED_OUT")


# Who is asking.


async def test_the_context_may_refuse_the_request() -> None:
    response = await send({"query": "{ hello }"}, headers={"authorization": "nobody"})
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == "Bearer"
    response = await send({"query": "{ hello }"}, headers={"authorization": "banned"})
    assert (response.status_code, code(response)) == (403, "FORBIDDEN")
    response = await send({"query": "{ nope"}, headers={"authorization": "nobody"})
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")


async def test_a_bug_in_the_context_is_500_without_its_text() -> None:
    response = await send({"query": "{ hello }"}, headers={"authorization": "bug"})
    assert (response.status_code, code(response)) == (500, "INTERNAL_SERVER_ERROR")
    assert "hunter2" not in response.text


async def test_an_operation_is_admitted_with_its_cost() -> None:
    body = {"query": "query($n: Int) { pages(first: $n) { edges { node { number } } } }"}
    assert (await send({**body, "variables": {"n": 49}})).status_code == 200
    response = await send({**body, "variables": {"n": 50}})
    assert (response.status_code, code(response), response.headers["retry-after"]) == (429, "RATE_LIMITED", "7")
    assert (await send({"query": "{ __schema { types { name } } }"})).status_code == 403


# The cache of documents.


async def test_a_known_document_is_neither_parsed_nor_validated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(documents, name)

        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return real(*arguments, **options)

        return call

    for name in ("parse", "measure", "validate"):
        monkeypatch.setattr(documents, name, counted(name))
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
    cache = documents.Documents(SCHEMA._schema, SCHEMA.limits, documents_max=20)
    cache.find("{ hello }")
    used = cache.find("{ hello }")
    for n in range(100):
        cache.find(f"{{ number(n: {n}) }}")
    assert len(cache) <= 20
    monkeypatch.setattr(documents, "parse", None)
    assert cache.find("{ hello }") is used
    with pytest.raises(TypeError):
        cache.find("{ number(n: 0) }")


def test_the_least_used_of_the_protected_goes_back_on_probation() -> None:
    cache = documents.Documents(SCHEMA._schema, SCHEMA.limits, documents_max=10)
    for n in range(30):
        for _ in range(3):
            cache.find(f"{{ number(n: {n}) }}")
    assert len(cache) == 10


def test_the_cache_is_bounded_in_characters_too() -> None:
    cache = documents.Documents(SCHEMA._schema, SCHEMA.limits, characters_max=500)
    cache.find("{ hello }" + " " * 100)
    assert len(cache) == 0
    for n in range(100):
        for _ in range(2):
            cache.find(f"{{ number(n: {n + 1_000}) }}")
    assert len(cache) == 400 // 19 + 100 // 19


# The IDE.


async def test_a_browser_gets_the_ide_only_where_it_is_allowed() -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    app = GraphQL(SCHEMA, context, ide="<html><title>ask</title></html>")
    response = await send(method="GET", accept=browser, app=app)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<html" in response.text
    response = await send(method="GET", accept=browser)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
    response = await send(method="GET", accept="*/*", app=app)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
    response = await send(method="GET", accept=browser, app=app, params={"query": "{ hello }"})
    assert response.json() == {"data": {"hello": "hello world"}}


# WebSocket.


class Socket:
    """A WebSocket as a server hands it to an ASGI application: what the client sends, and what it gets."""

    def __init__(self, protocol: str = "graphql-transport-ws", **headers: str) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.outbox: asyncio.Queue[Message] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"bels"), *((k.encode(), v.encode()) for k, v in headers.items())],
            "subprotocols": [protocol],
        }

    def send(self, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    async def until(self, *ends: str) -> tuple[list[Any], int | None]:
        """Collect the messages until one of these types, or until the socket is closed, and give its code."""
        got: list[Any] = []
        async with asyncio.timeout(5):
            while True:
                event = await self.outbox.get()
                if event["type"] == "websocket.close":
                    return got, event["code"]
                if event["type"] == "websocket.send":
                    got.append(json.loads(event["text"]))
                    if got[-1]["type"] in ends:
                        return got, None

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Socket"]:
        async def put(message: Message) -> None:
            self.outbox.put_nowait(message)

        served = asyncio.create_task(APP(self.scope, self.inbox.get, put))
        try:
            yield self
        finally:
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
            async with asyncio.timeout(5):
                await served


async def exchange(*messages: object, token: str = "me") -> tuple[list[Any], int | None]:
    """Introduce yourself, send the messages, and collect what comes until a completion, an error or the close."""
    async with Socket().open() as socket:
        socket.send({"type": "connection_init", "payload": {"token": token}})
        got, closed = await socket.until("connection_ack")
        if closed is not None:
            return got, closed
        for message in messages:
            socket.send(message)
        return await socket.until("complete", "error", "pong")


def subscribe(query: object, **payload: object) -> dict[str, Any]:
    return {"type": "subscribe", "id": "1", "payload": {"query": query, **payload}}


async def test_a_subscription_over_a_websocket() -> None:
    got, closed = await exchange(subscribe("subscription($to: Int!) { count(to: $to) }", variables={"to": 2}))
    assert closed is None
    assert [each.get("payload") for each in got] == [{"data": {"count": 0}}, {"data": {"count": 1}}, None]


async def test_a_query_and_a_mutation_over_a_websocket() -> None:
    got, _ = await exchange(subscribe("{ hello }"))
    assert got[0]["payload"] == {"data": {"hello": "hello world"}}
    got, _ = await exchange(subscribe(SUBMIT, variables={"input": {"account": "1", "value": "5"}}))
    assert got[0]["payload"] == {"data": {"submit": {"__typename": "ReadingAccepted", "number": 5}}}


@pytest.mark.parametrize(("body", "expected"), [each for each in REQUEST_ERRORS if "count" not in each[0]["query"]
                                                and len(json.dumps(each[0])) < 60_000])  # fmt: skip
async def test_a_request_error_over_a_websocket_ends_only_that_operation(body: dict[str, Any], expected: str) -> None:
    got, closed = await exchange({"type": "subscribe", "id": "1", "payload": body})
    assert (closed, got[-1]["type"], got[-1]["id"]) == (None, "error", "1")
    assert got[-1]["payload"][0]["extensions"]["code"] == expected


@pytest.mark.parametrize("payload", [{"query": 5}, {"query": None}, {"query": "{ hello }", "variables": []},
                                     {"query": "{ hello }", "operationName": 5}])  # fmt: skip
async def test_an_odd_payload_over_a_websocket_is_bad_user_input(payload: dict[str, Any]) -> None:
    got, closed = await exchange({"type": "subscribe", "id": "1", "payload": payload})
    assert (closed, got[-1]["type"]) == (None, "error")
    assert got[-1]["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_subscription_that_breaks_off_says_so_without_the_text() -> None:
    got, closed = await exchange(subscribe("subscription { count(to: 3) }"))
    assert closed is None
    assert [each["type"] for each in got] == ["next", "next", "next", "next", "complete"]
    assert got[3]["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "hunter2" not in json.dumps(got)


@pytest.mark.parametrize(
    "message",
    ["5", "null", "[]", "{", '"x"', "{}", '{"type": 5}', '{"type": "nope"}', '{"type": "subscribe"}',
     '{"type": "subscribe", "id": "1"}', '{"type": "subscribe", "id": "1", "payload": []}',
     '{"type": "subscribe", "id": "1", "payload": {}}', '{"type": "subscribe", "id": 1, "payload": {"query": "{ hello }"}}',
     '{"type": "complete"}', "[" * 30_000, '{"type": "ping", "payload": "' + "x" * 70_000 + '"}'],
)  # fmt: skip
async def test_an_odd_message_closes_the_socket_with_4400(message: str) -> None:
    assert await exchange(message) == ([], 4400)


async def test_a_socket_is_refused_by_its_introduction() -> None:
    assert await exchange(token="banned") == ([], 4403)
    assert await exchange(token="nobody") == ([], 4401)


@pytest.mark.parametrize(
    ("socket", "expected"),
    [
        (Socket(authorization="nobody"), 4401),
        (Socket(authorization="banned"), 4403),
        (Socket(protocol="graphql-ws"), 4406),
        (Socket(origin="https://evil.example"), 1008),
    ],
    ids=["its context says 401", "its context says 403", "the legacy protocol", "a page of another origin"],
)
async def test_a_socket_is_refused(socket: Socket, expected: int) -> None:
    async with socket.open():
        assert await socket.until() == ([], expected)


async def test_an_operation_before_the_introduction_closes_the_socket_with_4401() -> None:
    async with Socket().open() as socket:
        socket.send(subscribe("{ hello }"))
        assert await socket.until() == ([], 4401)


async def test_a_second_introduction_or_the_same_id_closes_the_socket() -> None:
    assert await exchange({"type": "connection_init"}) == ([], 4429)
    slow = subscribe("{ slow }")
    assert await exchange(slow, slow) == ([], 4409)


async def test_a_ping_is_answered() -> None:
    assert await exchange({"type": "ping"}) == ([{"type": "pong"}], None)
