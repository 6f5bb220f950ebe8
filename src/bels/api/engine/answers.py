"""What every transport does alike: find the operation, ask the context, execute, word the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec
from graphql import GraphQLError
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.utils.aio import aclosing

from bels.api.engine.context import RefusedError, RequestContext
from bels.api.engine.documents import Schema, fault_text
from bels.api.engine.operations import ERRORS_MAX, Document, Operation, RequestError, check_length
from bels.api.engine.reading import Readers
from bels.api.engine.scalars import BadUserInputError

TRUSTED_CHARACTERS_MAX = 500_000
"""Characters of a trusted document; a free one may have as many as the schema's limits say."""
VALUES_MAX = 8_000
"""Values in the variables of a request, those in lists and objects too: 500 rows of three registers. A file is one text."""
UNCOUNTED_MAX = 2 * VALUES_MAX
"""Bytes of a request that cannot have as many values, for each takes two."""
MESSAGE_MAX, LOCATIONS_MAX = 500, 10
"""Characters of an error's message, which may repeat what was sent, and the places that it names."""
ID_MAX = 200
"""Characters of a document's id that are looked up."""

log = logging.getLogger("bels.api")

encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct):
    """A GraphQL request: the text of a document, or the id of a trusted one."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815
    extensions: dict[str, Any] | None = None
    documentId: str | None = None  # noqa: N815


class Answers:
    """Answer for a schema, in the same way on every transport. ``trusted`` are the documents that come by their id."""

    def __init__(self, schema: Schema, trusted: Mapping[str, str] | None = None) -> None:
        self.schema = schema
        self._trusted = dict(trusted or {})
        self._trusted_texts = frozenset(self._trusted.values())
        self._readers = Readers()
        self._reading: dict[str, asyncio.Task[Document]] = {}

    async def find(self, asked: Asked, context: RequestContext[Any]) -> Operation:
        """Find the operation that is asked for.

        :raises RequestError: there is none, it may not run, or its id is unknown.
        :raises RefusedError: the caller may not send a document of its own, or not now.
        """
        text = asked.query
        if asked.documentId is not None or (text is None and asked.extensions):
            found = self._text_of(asked)
            if found is not None:
                return self.schema.find(found, asked.operationName, None, TRUSTED_CHARACTERS_MAX)
        if text in self._trusted_texts:
            return self.schema.find(text, asked.operationName, None, TRUSTED_CHARACTERS_MAX)
        if text and context.documents_only():
            message = "Only trusted documents are taken from this client: send the `documentId` of one."
            raise RefusedError(403, "FORBIDDEN", message, extensions={"reason": "TRUSTED_DOCUMENTS_ONLY"})
        if not text or self.schema.documents.keeps(text):
            return self.schema.find(text, asked.operationName)
        return (await self._read(text, context)).operation(asked.operationName)

    async def _read(self, text: str, context: RequestContext[Any]) -> Document:
        """Read a document that is not kept, once for all who send it at the same time.

        :raises RequestError: it may not run.
        :raises RefusedError: the client has too many that wait, or no budget for it.
        """
        documents = self.schema.documents
        task = self._reading.get(text)
        if task is None:
            check_length(text, self.schema.limits)
            context.meet(text)
            if not context.takes_turns():
                return documents.find(text)
            client = context.client_key
            self._readers.check(client)

            async def read() -> Document:
                return documents.keep(text, await self._readers.read(client, lambda: documents.read(text)))

            task = self._reading[text] = asyncio.create_task(read())
            task.add_done_callback(lambda done: self._done(text, done))
        return await asyncio.shield(task)

    def _done(self, text: str, task: asyncio.Task[Document]) -> None:
        del self._reading[text]
        if not task.cancelled():
            # Whoever waited may be gone; what went wrong has then been asked for.
            task.exception()

    def _text_of(self, asked: Asked) -> str | None:
        """Give the text of the document that comes by its id, or by its hash as Apollo's clients send it; None: by neither."""
        name: object = asked.documentId
        if name is None:
            persisted = (asked.extensions or {}).get("persistedQuery")
            digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
            if not isinstance(digest, str):
                return None
            name = f"sha256:{digest[:ID_MAX]}"
        elif asked.query is not None:
            message = "Send either `query` or `documentId`, not both."
            raise RequestError([BadUserInputError(message)], status=400, well_formed=False)
        text = self._trusted.get(str(name))
        if text is None:
            message = "No trusted document has this id."
            raise RequestError([GraphQLError(message, extensions={"code": "PERSISTED_QUERY_NOT_FOUND"})])
        return text

    async def answer(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext[Any]
    ) -> dict[str, Any]:
        """Execute a query or mutation that is admitted, and word the answer.

        :raises RequestError: the variables do not fit the operation, it costs too much or takes too long.
        :raises RefusedError: the answer may not be sent.
        """
        if operation.introspects and not operation.roots:
            return await _told(operation, await self._introspected(operation, variables, context), context)
        return await _told(operation, await self.schema.answer(operation, variables, context), context)

    async def _introspected(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext[Any]
    ) -> ExecutionResult:
        """Answer what reads nothing but the schema, which never changes: once for each document without variables."""
        if operation.told is not None and not variables:
            return operation.told
        if not context.takes_turns():
            return self.schema.introspected(operation, variables, context)
        schema = self.schema
        result = await self._readers.read(
            context.client_key, lambda: schema.introspected(operation, variables, context)
        )
        if not variables and not result.errors:
            operation.told = result
        return result

    async def events(
        self, operation: Operation, variables: dict[str, Any] | None, context: RequestContext[Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Execute an operation of any kind that is admitted, and word every answer.

        :raises RequestError: the variables do not fit the operation, it costs too much or takes too long.
        :raises RefusedError: an answer may not be sent.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            yield await self.answer(operation, variables, context)
            return
        async with aclosing(self.schema.events(operation, variables, context)) as results:
            async for result in results:
                yield await _told(operation, result, context)


def admit(operation: Operation, variables: dict[str, Any] | None, context: RequestContext[Any]) -> None:
    """Ask the context whether an operation may run, with its cost.

    :raises RefusedError: it may not, or not now.
    """
    context.admit(operation, operation.cost(variables or {}))


async def _told(operation: Operation, result: ExecutionResult, context: RequestContext[Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = worded(result.errors, context.request_id)
    extensions = await context.answered(operation, result.data, result.errors)
    if extensions:
        answer["extensions"] = extensions
    return answer


def worded(errors: Iterable[GraphQLError], request_id: str) -> list[dict[str, Any]]:
    """Word the first ten errors for the client, each with the id of the request."""
    told: list[dict[str, Any]] = []
    for error in list(errors)[:ERRORS_MAX]:
        one: dict[str, Any] = {"message": error.message}
        if len(error.message) > MESSAGE_MAX:
            one["message"] = error.message[: MESSAGE_MAX - 1] + "…"
        if error.locations is not None:
            one["locations"] = [place.formatted for place in error.locations[:LOCATIONS_MAX]]
        if error.path is not None:
            one["path"] = error.path
        one["extensions"] = {**(error.extensions or {}), "requestId": request_id}
        told.append(one)
    return told


def check_values(variables: dict[str, Any] | None, size: int) -> None:
    """Refuse variables of too many values, which would take long to coerce; ``size`` are the bytes that they came in.

    :raises RequestError: they have too many.
    """
    if size <= UNCOUNTED_MAX or not variables:
        return
    count = 0
    waiting: list[Any] = [variables]
    while waiting:
        value = waiting.pop()
        count += len(value)
        if count > VALUES_MAX:
            raise RequestError([BadUserInputError(f"The variables of a request may have {VALUES_MAX} values.")])
        items = value.values() if type(value) is dict else value
        waiting += [item for item in items if type(item) is dict or type(item) is list]


def fault(request_id: str) -> GraphQLError:
    """Log the fault of ours that is being handled, and word it without its cause."""
    log.exception("request %s failed", request_id)
    return GraphQLError(fault_text(request_id), extensions={"code": "INTERNAL_SERVER_ERROR"})
