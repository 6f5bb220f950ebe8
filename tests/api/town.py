"""A small schema served by the engine, a context that answers its questions, and clients over HTTP and WebSocket."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Annotated, Any

import httpx
import strawberry
from graphql import GraphQLError
from starlette.requests import HTTPConnection
from starlette.types import Message

from bels.api.engine.documents import Operation, Schema
from bels.api.engine.http import GraphQL, RefusedError, RequestContext
from bels.api.engine.paging import Connection

GRAPHQL_JSON = "application/graphql-response+json"
JSON = "application/json"


class Town:
    """What the application gives once."""

    def __init__(self) -> None:
        self.submitted = 0
        self.watched = 0
        self.one_less = asyncio.Event()
        self.revoked = asyncio.Event()


@dataclass(slots=True)
class Context(RequestContext[Town]):
    """A caller as the tests need it: what its credential may, told by the credential itself."""

    noted: list[tuple[object, ...]] = field(default_factory=list)

    @property
    def credential(self) -> str:
        return str((self.connection_params or {}).get("token") or self.connection.headers.get("authorization") or "")

    def meet(self, text: str) -> None:
        self.noted.append(("meet", text))
        if self.credential == "stranger":
            raise RefusedError(429, "RATE_LIMITED", "Too many new documents.", [("Retry-After", "7")])

    def admit(self, operation: Operation, cost: int) -> None:
        self.response_headers.append(("RateLimit", f'"default";r={cost}'))
        self.noted.append(("admit", operation.name, cost))
        if self.credential == "expired":
            raise RefusedError(401, "UNAUTHENTICATED", "Sign in.")
        if operation.introspects and self.credential != "developer":
            raise RefusedError(403, "FORBIDDEN", "The schema is published elsewhere.")
        if cost > 50 and self.credential != "developer":
            raise RefusedError(429, "RATE_LIMITED", "Come back later.", [("Retry-After", "7")])

    async def answered(
        self, operation: Operation, data: dict[str, Any] | None, errors: Sequence[GraphQLError] | None
    ) -> dict[str, object] | None:
        if self.credential == "blind":
            raise RefusedError(403, "FORBIDDEN", "You may not see it.")
        return {"seen": list(data or {})} if self.credential == "curious" else None

    def documents_only(self) -> bool:
        return self.credential == "front end"

    @property
    def expires_at(self) -> float | None:
        return time() + 0.2 if self.credential == "short" else None

    async def ended(self) -> None:
        if self.credential == "unwatchable":
            raise ConnectionError("the password is hunter2")
        await (self.app.revoked if self.credential == "revocable" else asyncio.Event()).wait()

    async def connected(self) -> None:
        if self.credential == "nobody":
            raise RefusedError(401, "UNAUTHENTICATED", "Sign in.")
        if self.credential == "banned":
            raise RefusedError(403, "FORBIDDEN", "You may not.")


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


@strawberry.interface
class Node:
    id: strawberry.ID


@strawberry.type
class Street(Node):
    name: str


@strawberry.type
class Query:
    @strawberry.field
    def node(self) -> Node | None:
        return None

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
class Slow:
    @strawberry.field
    async def down(self) -> str:
        await asyncio.sleep(30)
        return "done"


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

    @strawberry.subscription
    async def slowly(self) -> AsyncGenerator[Slow, None]:
        yield Slow()

    @strawberry.subscription
    async def watch(self, info: Info) -> AsyncGenerator[str, None]:
        info.context.app.watched += 1
        try:
            yield info.context.request_id
            await asyncio.Event().wait()
        finally:
            info.context.app.watched -= 1
            info.context.app.one_less.set()


TOWN = Town()
SCHEMA = Schema(Query, Mutation, Subscription, types=[Street], time_s=0.2)
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
    return Context(TOWN, connection)


APP = GraphQL(SCHEMA, context)


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


def assert_safe(response: httpx.Response) -> None:
    """Check the headers that every answer has."""
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["x-request-id"]


def code(response: httpx.Response) -> str:
    """Give the code of an answer that has errors and no data, and check what every answer must have."""
    answer = response.json()
    assert set(answer) == {"errors"}
    assert answer["errors"]
    assert all(error["message"] and error["extensions"]["code"] for error in answer["errors"])
    assert {error["extensions"]["requestId"] for error in answer["errors"]} == {response.headers["x-request-id"]}
    assert_safe(response)
    assert response.headers["content-type"].partition(";")[0] in (JSON, GRAPHQL_JSON)
    return str(answer["errors"][0]["extensions"]["code"])


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
    ({"query": '{ hello(name: "' + "x" * 2_000 + '") }'}, "BAD_USER_INPUT"),
    ({"query": "{ hello }" + " " * 32_000}, "GRAPHQL_VALIDATION_FAILED"),
    ({"documentId": "sha256:" + "0" * 64}, "PERSISTED_QUERY_NOT_FOUND"),
    ({"documentId": "", "operationName": "x"}, "PERSISTED_QUERY_NOT_FOUND"),
    ({"query": "query A { hello } query B { hello }"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { hello } query B { hello }", "operationName": ""}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "query A { hello }", "operationName": "B"}, "OPERATION_RESOLUTION_FAILURE"),
    ({"query": "subscription { count(to: 1) }"}, "OPERATION_RESOLUTION_FAILURE"),
]  # fmt: skip


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
