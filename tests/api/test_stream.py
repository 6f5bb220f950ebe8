import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bels.api.engine.http import GraphQL
from bels.api.engine.sockets import SocketLimits
from tests.api.town import (
    APP,
    GRAPHQL_JSON,
    REQUEST_ERRORS,
    SCHEMA,
    SUBMIT,
    TOWN,
    Socket,
    assert_safe,
    code,
    context,
    exchange,
    send,
    subscribe,
)

EVENTS = "text/event-stream"
WATCH = {"query": "subscription { watch }"}


@asynccontextmanager
async def served(app: Any = APP) -> AsyncIterator[str]:
    """Serve the town on a port of this machine, and give its host and port."""
    with sockets.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        config = uvicorn.Config(
            app, http="httptools", ws="websockets-sansio", ws_max_size=65_536, lifespan="off", log_config=None, log_level="error",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listening]))
        try:
            yield f"{host}:{port}"
        finally:
            server.should_exit = True
            async with asyncio.timeout(5):
                await serving


def read_events(text: str) -> list[tuple[str, Any]]:
    """Read a stream of events; comments are left out."""
    found: list[tuple[str, Any]] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(":", 1) for line in lines)
            data = fields["data"].strip()
            found.append((fields["event"].strip(), json.loads(data) if data else None))
    return found


async def ask_events(body: object = None, **options: Any) -> list[tuple[str, Any]]:
    response = await send(body, accept=EVENTS, **options)
    assert (response.status_code, response.headers["content-type"]) == (200, f"{EVENTS}; charset=utf-8")
    assert_safe(response)
    return read_events(response.text)


class Watcher:
    """A program that holds a stream open and reads it piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.lines = response.aiter_lines()

    async def until(self, text: str) -> list[str]:
        """Read lines until one that begins so."""
        found: list[str] = []
        async with asyncio.timeout(5):
            async for line in self.lines:
                found.append(line)
                if line.startswith(text):
                    return found
        raise AssertionError(f"the stream ended without {text!r}: {found}")

    async def rest(self) -> list[tuple[str, Any]]:
        async with asyncio.timeout(5):
            return read_events("\n".join([line async for line in self.lines]))


@asynccontextmanager
async def watching(host: str, credential: str = "me") -> AsyncIterator[Watcher]:
    headers = {"accept": EVENTS, "authorization": credential}
    async with (
        httpx.AsyncClient() as http,
        http.stream("POST", f"http://{host}/", json=WATCH, headers=headers) as response,
    ):
        yield Watcher(response)


async def until_nobody_watches() -> None:
    async with asyncio.timeout(5):
        while TOWN.watched:
            TOWN.one_less = asyncio.Event()
            await TOWN.one_less.wait()


# Server-sent events.


async def test_a_subscription_over_an_event_stream() -> None:
    body = {"query": "subscription($to: Int!) { count(to: $to) }", "variables": {"to": 2}}
    expected = [("next", {"data": {"count": 0}}), ("next", {"data": {"count": 1}}), ("complete", None)]
    assert await ask_events(body) == expected
    assert await ask_events(method="GET", params={"query": "subscription { count(to: 2) }"}) == expected


async def test_a_query_and_a_mutation_over_an_event_stream() -> None:
    assert await ask_events({"query": "{ hello }"}) == [
        ("next", {"data": {"hello": "hello world"}}),
        ("complete", None),
    ]
    got = await ask_events({"query": SUBMIT, "variables": {"input": {"account": "1", "value": "5"}}})
    assert got[0][1] == {"data": {"submit": {"__typename": "ReadingAccepted", "number": 5}}}
    before = TOWN.submitted
    document = 'mutation { submit(input: {account: "1", value: "1"}) { __typename } }'
    response = await send(method="GET", accept=EVENTS, params={"query": document})
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")
    assert TOWN.submitted == before


@pytest.mark.parametrize(
    ("body", "expected"), [each for each in REQUEST_ERRORS if "count" not in each[0].get("query", "")]
)
async def test_a_request_error_is_an_event_unless_the_document_cannot_be_read(
    body: dict[str, Any], expected: str
) -> None:
    if expected == "GRAPHQL_PARSE_FAILED":
        response = await send(body, accept=EVENTS)
        assert (response.status_code, code(response)) == (400, expected)
        return
    got = await ask_events(body)
    assert [name for name, _ in got] == ["next", "complete"]
    assert set(got[0][1]) == {"errors"}
    assert got[0][1]["errors"][0]["extensions"]["code"] == expected


async def test_a_refusal_before_the_stream_has_its_status() -> None:
    for credential, status in (("nobody", 401), ("banned", 403), ("expired", 401)):
        response = await send(WATCH, accept=EVENTS, headers={"authorization": credential})
        assert response.status_code == status
        assert code(response) == {401: "UNAUTHENTICATED", 403: "FORBIDDEN"}[status]
    assert (await send(b"{", accept=EVENTS)).status_code == 400
    response = await send(WATCH, accept=GRAPHQL_JSON)
    assert (response.status_code, code(response)) == (400, "OPERATION_RESOLUTION_FAILURE")


async def test_every_event_is_noted_and_may_be_refused() -> None:
    body = {"query": "subscription { count(to: 2) }"}
    got = await ask_events(body, headers={"authorization": "curious"})
    assert [told["extensions"] for name, told in got if name == "next"] == [{"seen": ["count"]}] * 2
    got = await ask_events(body, headers={"authorization": "blind"})
    assert [name for name, _ in got] == ["next", "complete"]
    assert got[0][1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_stream_that_breaks_off_says_so_without_the_text() -> None:
    got = await ask_events({"query": "subscription { count(to: 3) }"}, headers={"x-request-id": "proxy-0123"})
    assert [name for name, _ in got] == ["next"] * 4 + ["complete"]
    assert got[3][1]["errors"][0]["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "requestId": "proxy-0123"}
    assert "hunter2" not in json.dumps(got)
    got = await ask_events({"query": "{ surrogate }"})
    assert got[0][1]["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


async def test_an_event_over_its_time_budget_ends_the_subscription() -> None:
    got = await ask_events({"query": "subscription { slowly { down } }"})
    assert got[0][1]["errors"][0]["extensions"]["code"] == "OPERATION_TIMED_OUT"
    told, closed = await exchange(subscribe("subscription { slowly { down } }"))
    assert (closed, [each["type"] for each in told]) == (None, ["error"])
    assert told[0]["payload"][0]["extensions"]["code"] == "OPERATION_TIMED_OUT"


async def test_an_open_stream_is_kept_alive_and_ends_with_its_client() -> None:
    async with served(GraphQL(SCHEMA, context, keep_alive_s=0.05)) as host:
        async with watching(host) as stream:
            assert stream.response.headers["x-accel-buffering"] == "no"
            await stream.until("data:")
            await stream.until(":")
            await stream.until(":")
            assert TOWN.watched == 1
        await until_nobody_watches()


async def test_a_stream_ends_with_its_credential() -> None:
    async with served() as host:
        async with watching(host, "short") as stream:
            await stream.until("data:")
            got = await stream.rest()
            assert [name for name, _ in got] == ["next", "complete"]
            assert got[0][1]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        async with watching(host, "revocable") as stream:
            await stream.until("data:")
            TOWN.revoked.set()
            assert [name for name, _ in await stream.rest()] == ["next", "complete"]
        await until_nobody_watches()
    TOWN.revoked = asyncio.Event()


async def test_streams_end_when_the_server_stops() -> None:
    app = GraphQL(SCHEMA, context)
    async with served(app) as host, watching(host) as stream:
        await stream.until("data:")
        app.stop()
        got = await stream.rest()
        assert [name for name, _ in got] == ["next", "complete"]
        assert got[0][1]["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        response = await send(WATCH, accept=EVENTS, app=app)
        assert (response.status_code, code(response)) == (503, "SERVICE_UNAVAILABLE")
        assert (await send({"query": "{ hello }"}, app=app)).status_code == 200
    await until_nobody_watches()


async def test_a_client_and_a_process_have_only_so_many_streams() -> None:
    async with served(GraphQL(SCHEMA, context, streams_max=(1, 5))) as host:
        async with watching(host) as stream:
            await stream.until("data:")
            async with watching(host) as second:
                assert second.response.status_code == 429
                assert second.response.headers["retry-after"]
        await until_nobody_watches()
        async with watching(host) as stream:
            await stream.until("data:")
    async with served(GraphQL(SCHEMA, context, streams_max=(5, 1))) as host, watching(host) as stream:
        await stream.until("data:")
        async with watching(host) as second:
            assert second.response.status_code == 503
    await until_nobody_watches()


async def test_the_method_query_passes_the_server() -> None:
    async with served() as host, httpx.AsyncClient() as http:
        response = await http.request("QUERY", f"http://{host}/", json={"query": "{ hello }"})
        assert response.json() == {"data": {"hello": "hello world"}}


# WebSocket, against the application itself.


async def test_a_subscription_over_a_websocket() -> None:
    got, closed = await exchange(subscribe("subscription($to: Int!) { count(to: $to) }", variables={"to": 2}))
    assert closed is None
    assert [each.get("payload") for each in got] == [{"data": {"count": 0}}, {"data": {"count": 1}}, None]


async def test_a_query_and_a_mutation_over_a_websocket() -> None:
    got, _ = await exchange(subscribe("{ hello }"))
    assert got[0]["payload"] == {"data": {"hello": "hello world"}}
    got, _ = await exchange(subscribe(SUBMIT, variables={"input": {"account": "1", "value": "5"}}))
    assert got[0]["payload"] == {"data": {"submit": {"__typename": "ReadingAccepted", "number": 5}}}


@pytest.mark.parametrize(("body", "expected"), [each for each in REQUEST_ERRORS if "count" not in each[0].get("query", "")
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


@pytest.mark.parametrize(("credential", "query", "expected"), [
    ("me", "{ __schema { types { name } } }", "FORBIDDEN"),
    ("stranger", "{ a: hello b: hello }", "RATE_LIMITED"),
    ("front end", "{ hello }", "FORBIDDEN"),
    ("blind", "{ hello }", "FORBIDDEN"),
    ("blind", "subscription { count(to: 2) }", "FORBIDDEN"),
    ("me", "{ surrogate }", "INTERNAL_SERVER_ERROR"),
])  # fmt: skip
async def test_the_context_may_refuse_an_operation_of_a_socket(credential: str, query: str, expected: str) -> None:
    got, closed = await exchange(subscribe(query), token=credential)
    assert (closed, [each["type"] for each in got]) == (None, ["error"])
    extensions = got[0]["payload"][0]["extensions"]
    assert extensions["code"] == expected
    assert extensions["requestId"]


async def test_an_operation_with_an_ended_credential_closes_the_socket() -> None:
    assert await exchange(subscribe("{ hello }"), token="expired") == ([], 4401)


async def test_what_a_socket_is_told_is_noted_event_by_event() -> None:
    got, _ = await exchange(subscribe("subscription { count(to: 2) }"), token="curious")
    assert [each["payload"]["extensions"] for each in got[:2]] == [{"seen": ["count"]}] * 2


async def test_every_operation_of_a_socket_has_an_id_of_its_own() -> None:
    async with Socket().open() as socket:
        socket.send({"type": "connection_init"})
        await socket.until("connection_ack")
        seen = set()
        for n in range(3):
            socket.send({**subscribe("{ requestId }"), "id": str(n)})
            got, _ = await socket.until("complete")
            seen.add(got[0]["payload"]["data"]["requestId"])
        assert len(seen) == 3


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


async def test_a_socket_has_only_so_many_operations_and_its_ids_are_free_again() -> None:
    async with Socket().open() as socket:
        socket.send({"type": "connection_init"})
        await socket.until("connection_ack")
        for n in range(100):
            socket.send({**subscribe(WATCH["query"]), "id": str(n)})
        for _ in range(100):
            await socket.until("next")
        socket.send({**subscribe("{ hello }"), "id": "x"})
        got, _ = await socket.until("error")
        assert got[0]["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        socket.send({"type": "complete", "id": "7"})
        socket.send({**subscribe("{ hello }"), "id": "7"})
        got, _ = await socket.until("complete")
        assert [each["id"] for each in got] == ["7", "7"]
    await until_nobody_watches()


# WebSocket, over the wire.


@asynccontextmanager
async def connected(host: str, credential: str = "me", **options: Any) -> AsyncIterator[Any]:
    """Connect and introduce yourself."""
    async with connect(f"ws://{host}/", subprotocols=["graphql-transport-ws"], **options) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": {"token": credential}}))
        assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        yield socket


async def closed_with(socket: Any) -> int:
    """Wait until the server closes, and give its code."""
    async with asyncio.timeout(5):
        await socket.wait_closed()
    return int(socket.close_code)


async def test_a_socket_ends_with_its_credential() -> None:
    async with served() as host:
        async with connected(host, "short") as socket:
            await socket.send(json.dumps(subscribe(WATCH["query"])))
            assert await closed_with(socket) == 4401
        async with connected(host, "revocable") as socket:
            await socket.send(json.dumps(subscribe(WATCH["query"])))
            await socket.recv()
            TOWN.revoked.set()
            assert await closed_with(socket) == 4401
        await until_nobody_watches()
    TOWN.revoked = asyncio.Event()


async def test_a_credential_that_cannot_be_watched_counts_as_ended() -> None:
    async with served() as host:
        async with connected(host, "unwatchable") as socket:
            assert await closed_with(socket) == 4401
        async with watching(host, "unwatchable") as stream:
            assert "UNAUTHENTICATED" in json.dumps(await stream.rest())


async def test_a_client_that_breaks_off_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as host:
        async with connected(host) as socket:
            await socket.send(json.dumps(subscribe(WATCH["query"])))
            await socket.recv()
            for n in range(50):
                await socket.send(json.dumps({**subscribe("{ allBroken { __typename } }"), "id": str(n + 2)}))
            socket.transport.abort()
        await until_nobody_watches()
    assert not [each for each in caplog.records if each.name == "bels.api"]


async def test_sockets_are_closed_when_the_server_stops() -> None:
    app = GraphQL(SCHEMA, context)
    async with served(app) as host, connected(host) as socket:
        await socket.send(json.dumps(subscribe(WATCH["query"])))
        await socket.recv()
        app.stop()
        assert await closed_with(socket) == 1012
        with pytest.raises(InvalidStatus) as refused:
            async with connected(host):
                pass
        assert refused.value.response.status_code == 503
    await until_nobody_watches()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{", 4400),
        (b"{}", 4400),
        ('{"type": "ping", "payload": {"x": "' + "x" * 64_000 + '"}}', 4400),
        ("x" * 70_000, 1009),
        ('{"type": "connection_init"}', 4429),
        (json.dumps(subscribe(WATCH["query"])), 4409),
    ],
    ids=["no JSON", "bytes", "over 64,000 bytes", "over 64 KB", "introduced twice", "an id twice"],
)
async def test_the_close_codes_over_the_wire(message: str | bytes, expected: int) -> None:
    async with served() as host, connected(host) as socket:
        await socket.send(json.dumps(subscribe(WATCH["query"])))
        await socket.recv()
        await socket.send(message)
        assert await closed_with(socket) == expected
    await until_nobody_watches()


async def test_who_does_not_introduce_itself_is_closed() -> None:
    app = GraphQL(SCHEMA, context, socket_limits=SocketLimits(init_s=0.1))
    async with served(app) as host:
        async with connect(f"ws://{host}/", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            assert await closed_with(socket) == 4408
        async with connect(f"ws://{host}/", subprotocols=["graphql-ws"]) as socket:  # type: ignore[list-item]
            assert await closed_with(socket) == 4406
        async with connect(f"ws://{host}/", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps(subscribe("{ hello }")))
            assert await closed_with(socket) == 4401


async def test_a_page_of_another_origin_may_not_connect() -> None:
    app = GraphQL(SCHEMA, context, allowed_origins=["https://lk.example.ru"])
    async with served(app) as host:
        for origin in (f"http://{host}", "https://lk.example.ru", None):
            async with connected(host, origin=origin):
                pass
        for origin in ("https://evil.example", "https://lk.example.ru.evil.example", "http://lk.example.ru", "null"):
            with pytest.raises(InvalidStatus) as refused:
                async with connected(host, origin=origin):
                    pass
            assert refused.value.response.status_code == 403
            assert json.loads(refused.value.response.body)["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_client_has_only_so_many_sockets() -> None:
    async with served(GraphQL(SCHEMA, context, socket_limits=SocketLimits(of_client=1))) as host:
        async with connected(host):
            with pytest.raises(InvalidStatus) as refused:
                async with connected(host):
                    pass
            assert refused.value.response.status_code == 429
        async with connected(host):
            pass
