"""Every request is noted once: its id, its line, its counts; and nothing of what it says."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from bels.observing.health import Readiness
from bels.observing.logs import set_up_logging
from bels.observing.metrics import Metrics
from bels.observing.middleware import observed
from bels.observing.request import noted
from tests.observing.test_logs import lines
from tests.observing.test_metrics import value

LOG = logging.getLogger("bels.test_middleware")


def house() -> Starlette:
    """Serve a few routes."""

    async def bill(request: Request) -> Response:
        found = noted(request.scope)
        assert found is not None
        found.by("OPERATOR", "u-1")
        LOG.info("printing")
        return JSONResponse({})

    async def ready(_: Request) -> Response:
        return Response()

    async def fail(_: Request) -> Response:
        raise RuntimeError("89161234567")

    async def stream(_: Request) -> Response:
        async def events() -> Any:
            yield b"event: next\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/health/ready", ready),
            Route("/bills/{account}/{period}.pdf", bill),
            Route("/fail", fail),
            Route("/stream", stream),
        ]
    )


async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the GraphQL engine does."""
    body = json.loads((await receive())["body"])
    found = noted(scope)
    assert found is not None
    found.by("PARTNER", "c-1")
    if body == "refuse":
        answer: Any = {"errors": [{"message": "no", "extensions": {"code": "RATE_LIMITED", "requestId": "x"}}]}
        status = 429
    else:
        found.asked("query", "Mine", ("account", "me"))
        found.failed("FORBIDDEN")
        answer = {"data": {"account": None}, "errors": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]}
        status = 200
    headers = [(b"content-type", b"application/json"), (b"x-request-id", scope["request_id"].encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer, separators=(",", ":")).encode()})


def serving(metrics: Metrics, readiness: Readiness | None = None) -> httpx.AsyncClient:
    """Give a client of the observed house."""
    others = house()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (graphql if scope["path"] == "/graphql" else others)(scope, receive, send)

    watched = observed(app, metrics, readiness=readiness)
    transport = httpx.ASGITransport(watched, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://bels")


async def test_a_requests_path_and_query_are_never_logged_only_its_route(stream: io.StringIO) -> None:
    set_up_logging("json", stream)
    metrics = Metrics("1.0")

    async with serving(metrics) as client:
        answer = await client.get("/bills/1000101/2026-10.pdf?name=Ivanov", headers={"x-request-id": "abcdefgh-12"})
        await client.get("/nothing/Ivanov?phone=1")

    assert answer.headers["x-request-id"] == "abcdefgh-12"
    within, line, unmatched = lines(stream)
    assert (within["message"], within["request_id"]) == ("printing", "abcdefgh-12")
    assert (line["route"], line["request_id"], line["kind"], line["subject"]) == (
        "/bills/{account}/{period}.pdf",
        "abcdefgh-12",
        "OPERATOR",
        "u-1",
    )
    assert (unmatched["route"], unmatched["status"]) == ("unmatched", 404)
    assert "Ivanov" not in stream.getvalue()
    assert value(metrics, "bels_http_request_seconds_count", method="GET", route="unmatched", status="404") == 1


@pytest.mark.parametrize(
    "given", ["short", "a" * 65, "with space", "иванов-иванов", "x\ty-x\ty-x\ty", "of-79161234567"]
)
async def test_an_id_of_another_form_is_not_taken(given: str) -> None:
    async with serving(Metrics("1.0")) as client:
        answer = await client.get("/bills/1000101/2026-10.pdf", headers=[(b"x-request-id", given.encode())])

    assert len(answer.headers["x-request-id"]) == 16


async def test_operations_and_the_codes_of_errors_are_counted(stream: io.StringIO) -> None:
    set_up_logging("json", stream)
    metrics = Metrics("1.0", ["account"])

    async with serving(metrics) as client:
        await client.post("/graphql", json={})
        refused = await client.post("/graphql", json="refuse")

    assert refused.status_code == 429
    executed, budget = lines(stream)
    assert (executed["code"], executed["fields"], executed["operation"]) == ("FORBIDDEN", ["account", "me"], "Mine")
    assert (budget["code"], budget["status"], budget["kind"]) == ("RATE_LIMITED", 429, "PARTNER")
    assert value(metrics, "bels_errors_total", code="FORBIDDEN") == 1
    assert value(metrics, "bels_budget_refusals_total", kind="PARTNER") == 1
    assert value(metrics, "bels_graphql_operations_total", kind="query", field="account") == 1
    assert value(metrics, "bels_graphql_operations_total", kind="query", field="other") == 1


async def test_a_fault_is_logged_and_what_programs_ask_all_the_time_is_not(stream: io.StringIO) -> None:
    set_up_logging("json", stream)
    metrics = Metrics("1.0")

    async with serving(metrics) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/fail")).status_code == 500

    assert value(metrics, "bels_http_request_seconds_count", method="GET", route="/fail", status="500") == 1
    assert value(metrics, "bels_http_request_seconds_count", method="GET", route="/health/ready", status="200") == 1
    assert [line["route"] for line in lines(stream)] == ["/fail"]
    assert "9161234567" not in stream.getvalue()


async def test_an_answer_closes_its_connection_while_the_process_leaves(pool: Any) -> None:
    readiness = Readiness(pool)

    async with serving(Metrics("1.0"), readiness) as client:
        before = await client.get("/bills/1000101/2026-10.pdf")
        readiness.drain()
        after = await client.get("/bills/1000101/2026-10.pdf")

    assert "connection" not in before.headers
    assert after.headers["connection"] == "close"


async def test_open_streams_are_counted_while_they_are_open() -> None:
    metrics = Metrics("1.0")
    open_then: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        open_then.append(value(metrics, "bels_open_streams"))
        await send({"type": "http.response.body", "body": b""})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(observed(app, metrics)), base_url="http://b") as client:
        await client.get("/graphql")

    assert open_then == [1]
    assert value(metrics, "bels_open_streams") == 0


async def test_a_socket_is_counted_and_logged_when_it_has_closed(stream: io.StringIO) -> None:
    set_up_logging("json", stream)
    metrics = Metrics("1.0", ["accountChanged"])
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        assert value(metrics, "bels_open_sockets") == 1
        found = noted(scope)
        assert found is not None
        found.asked("subscription", None, ("accountChanged",))
        found.asked("subscription", None, ("accountChanged",))
        error = {"id": "1", "type": "error", "payload": [{"message": "no", "extensions": {"code": "FORBIDDEN"}}]}
        await send({"type": "websocket.send", "text": json.dumps(error, separators=(",", ":"))})
        await send({"type": "websocket.send", "text": '{"id":"1","type":"next","payload":{"data":"error"}}'})
        await receive()

    async def receive() -> Message:
        return {"type": "websocket.disconnect", "code": 4401}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "websocket", "path": "/graphql", "headers": [], "query_string": b"token=1"}
    await observed(app, metrics)(scope, receive, send)

    (line,) = lines(stream)
    assert (line["method"], line["status"], line["operations"], line["code"]) == ("WEBSOCKET", 4401, 2, "FORBIDDEN")
    assert value(metrics, "bels_errors_total", code="FORBIDDEN") == 1
    assert value(metrics, "bels_graphql_operations_total", kind="subscription", field="accountChanged") == 2
    assert value(metrics, "bels_open_sockets") == 0
    assert len(sent) == 3


async def test_a_client_that_leaves_is_noted_as_gone(stream: io.StringIO) -> None:
    set_up_logging("json", stream)
    metrics = Metrics("1.0")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    async def nothing(*_: object) -> Any:
        return {}

    scope: Scope = {"type": "http", "method": "BREW", "path": "/graphql", "headers": []}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await observed(app, metrics)(scope, nothing, nothing)

    (line,) = lines(stream)
    assert (line["method"], line["status"]) == ("other", 499)
