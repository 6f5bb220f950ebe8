import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from importlib.resources import files
from re import DOTALL, findall
from typing import Any

import pytest
from starlette.types import Message

from bels.api.engine.http import GraphQL
from tests.api.town import (
    APP,
    GRAPHQL_JSON,
    JSON,
    REQUEST_ERRORS,
    SCHEMA,
    SUBMIT,
    TOWN,
    assert_safe,
    client,
    code,
    context,
    send,
)

METHODS = "GET, POST, QUERY, OPTIONS"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

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


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "NOPE"])
async def test_another_method_is_405(method: str) -> None:
    response = await send({"query": "{ hello }"}, method=method)
    assert (response.status_code, response.headers["allow"], code(response)) == (405, METHODS, "METHOD_NOT_ALLOWED")
    assert response.headers["accept-query"] == JSON


async def test_options_says_what_there_is() -> None:
    response = await send(method="OPTIONS")
    assert (response.status_code, response.content) == (204, b"")
    assert (response.headers["allow"], response.headers["accept-query"]) == (METHODS, JSON)
    assert "content-length" not in response.headers
    assert_safe(response)


async def test_a_query_by_the_method_query() -> None:
    response = await send({"query": "query($n: Int!) { number(n: $n) }", "variables": {"n": 7}}, method="QUERY")
    assert response.json() == {"data": {"number": 7}}
    before = TOWN.submitted
    body = {"query": SUBMIT, "variables": {"input": {"account": "1", "value": "1"}}}
    response = await send(body, method="QUERY")
    assert (response.status_code, response.headers["allow"], code(response)) == (405, "POST", "METHOD_NOT_ALLOWED")
    response = await send({"query": "{ hello }"}, method="QUERY", headers={"content-type": "text/plain"})
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert TOWN.submitted == before


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
        (f"text/event-stream;q=0.9, {GRAPHQL_JSON}", GRAPHQL_JSON),
        # As urql asks.
        (f"{GRAPHQL_JSON}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed", GRAPHQL_JSON),
        ("text/*, application/*", JSON),
        (f"*/*, {JSON};q=0.5, {GRAPHQL_JSON};q=0", JSON),
        (f"{GRAPHQL_JSON}, {JSON}, text/event-stream, multipart/mixed", GRAPHQL_JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        (f"{JSON};q=rubbish, {GRAPHQL_JSON};q=0.1", GRAPHQL_JSON),
    ],
)
async def test_the_type_is_the_one_the_client_prefers(accept: str | None, chosen: str) -> None:
    response = await send({"query": "{ hello }"}, accept=accept)
    assert (response.status_code, response.headers["content-type"]) == (200, f"{chosen}; charset=utf-8")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "text/*",
        "text/event-stream;q=0",
        "multipart/mixed",
        f"{JSON};q=0",
        f"{JSON}; charset=utf-16",
        "rubbish",
    ],
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


async def test_a_body_that_never_comes_whole_is_given_up() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    sent: list[Message] = []

    async def collect(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")], "query_string": b""}
    await GraphQL(SCHEMA, context, body_wait_s=0.1)(scope, receive, collect)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"REQUEST_TIMEOUT" in sent[1]["body"]


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
    response = await send({**body, "variables": {"n": 49}})
    assert (response.status_code, response.headers["ratelimit"]) == (200, '"default";r=50')
    response = await send({**body, "variables": {"n": 50}})
    assert (response.status_code, code(response), response.headers["retry-after"]) == (429, "RATE_LIMITED", "7")
    assert response.headers["ratelimit"] == '"default";r=51'
    assert (await send({"query": "{ __schema { types { name } } }"})).status_code == 403
    response = await send({"query": "{ __schema { types { name } } }"}, headers={"authorization": "developer"})
    assert response.status_code == 200


async def test_a_document_that_is_not_kept_is_met_before_it_is_parsed() -> None:
    stranger = {"authorization": "stranger"}
    response = await send({"query": "{ nope"}, headers=stranger)
    assert (response.status_code, code(response), response.headers["retry-after"]) == (429, "RATE_LIMITED", "7")
    await send({"query": "{ hello number }"})
    response = await send({"query": "{ hello number }"}, headers=stranger)
    assert response.json() == {"data": {"hello": "hello world", "number": 0}}


async def test_what_was_answered_is_noted_and_may_add_extensions() -> None:
    ways: list[tuple[str, dict[str, Any]]] = [
        ("POST", {}), ("QUERY", {}), ("GET", {"params": {"query": "{ hello number }"}})
    ]  # fmt: skip
    for method, options in ways:
        body = {"query": "{ hello number }"} if not options else None
        response = await send(body, method=method, headers={"authorization": "curious"}, **options)
        assert response.json()["extensions"] == {"seen": ["hello", "number"]}
        response = await send(body, method=method, headers={"authorization": "blind"}, **options)
        assert (response.status_code, code(response)) == (403, "FORBIDDEN")


# The request's id.


async def test_every_answer_has_the_id_of_its_request() -> None:
    response = await send({"query": "{ requestId }"}, headers={"x-request-id": "proxy-0123_A.b"})
    assert response.headers["x-request-id"] == response.json()["data"]["requestId"] == "proxy-0123_A.b"
    seen = {(await send({"query": "{ hello }"})).headers["x-request-id"] for _ in range(3)}
    assert len(seen) == 3


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space", "новый-номер", 'quote"quote', "line\tline-line"])
async def test_an_id_of_another_form_is_not_taken(given: str) -> None:
    response = await send({"query": "{ requestId }"}, headers={"x-request-id": given.encode()})
    assert response.headers["x-request-id"] != given
    assert response.json()["data"]["requestId"] == response.headers["x-request-id"]


async def test_a_field_error_has_the_id_too() -> None:
    body = {"query": "query($n: Int = 1) { number(n: $n) }", "variables": {"n": None}}
    response = await send(body, headers={"x-request-id": "proxy-0123"})
    assert response.json()["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "requestId": "proxy-0123"}


# Browsers.


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_needs_a_header_for_a_get(site: str) -> None:
    params = {"query": "{ hello }"}
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    response = await send(method="GET", params=params, headers=headers)
    assert (response.status_code, code(response)) == (403, "CSRF_PREVENTED")
    response = await send(method="GET", params=params, headers={**headers, "graphql-require-preflight": "1"})
    assert response.status_code == 200
    for own in ("same-origin", "none"):
        assert (await send(method="GET", params=params, headers={"sec-fetch-site": own})).status_code == 200


async def test_a_link_to_the_page_works_from_anywhere_and_a_link_to_an_answer_does_not() -> None:
    app = GraphQL(SCHEMA, context, ide="<title>ask</title>")
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await send(method="GET", accept=BROWSER, app=app, headers=headers)).status_code == 200
    response = await send(method="GET", accept=BROWSER, app=app, headers=headers, params={"query": "{ hello }"})
    assert (response.status_code, code(response)) == (403, "CSRF_PREVENTED")


# The IDE.


async def test_a_browser_gets_the_ide_only_where_it_is_allowed() -> None:
    app = GraphQL(SCHEMA, context, ide="<html><title>ask</title></html>")
    response = await send(method="GET", accept=BROWSER, app=app)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<html" in response.text
    response = await send(method="GET", accept=BROWSER)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
    response = await send(method="GET", accept="*/*", app=app)
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
    response = await send(method="GET", accept=BROWSER, app=app, params={"query": "{ hello }"})
    assert response.json() == {"data": {"hello": "hello world"}}


async def test_the_page_may_run_its_own_script_and_ask_nobody_but_us() -> None:
    page = (files("bels.api") / "ask.html").read_text("utf-8")
    response = await send(method="GET", accept=BROWSER, app=GraphQL(SCHEMA, context, ide=page))
    policy = dict(each.split(" ", 1) for each in response.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    for tag in ("script", "style"):
        inline = findall(rf"<{tag}>(.*?)</{tag}>", response.text, DOTALL)
        digests = [b64encode(sha256(each.encode()).digest()).decode() for each in inline]
        assert policy[f"{tag}-src"] == " ".join(f"'sha256-{each}'" for each in digests)
    # Nothing in the page that such a policy would stop.
    assert not findall(r"<[^>]+ (?:src|style|on[a-z]+)=", response.text)
    assert "://" not in response.text
    assert_safe(response)
