"""The schema that executes the documents clients send: kept, planned, within a time budget, with a code on every error."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from secrets import token_hex
from typing import Any, TypeGuard, cast

import strawberry
from graphql import ExecutionResult as CoreResult
from graphql import (
    Executor,
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    Undefined,
    create_source_event_stream,
    execute_subscription_event,
    get_named_type,
)
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.aio import aclosing

from bels.api.engine.deadlines import Deadlines
from bels.api.engine.guard import Limits, too_much
from bels.api.engine.operations import ERRORS_MAX, Documents, Operation, RequestError, coded
from bels.api.engine.plan import Answer, Planner, execute
from bels.api.engine.scalars import FILE_TEXT_MAX, FILES, SCALARS, TEXT_MAX, BadUserInputError, clean_variables

__all__ = ["Operation", "RequestError", "Schema", "fault_text"]

log = logging.getLogger("bels.api")

_is_awaitable = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)


class _Executor(ExecutorThrowingOnIncremental):
    """Execute plainly: without incremental delivery, which the API does not offer, a field costs a tenth less."""

    build_resolve_info = StrawberryGraphQLCoreExecutionContext.build_resolve_info
    operation_extensions: Mapping[str, Any] | None = None

    def build_per_event_executor(self, payload: Any) -> Executor[None]:
        executor = super().build_per_event_executor(payload)
        executor.context_value = _for_event(executor.context_value)
        return executor


async def _interpret(executor: Executor[None]) -> Answer:
    """Let graphql-core execute an operation that has no plan."""
    result: Any = executor.execute_operation()
    if _is_awaitable(result):
        result = await result
    return result.data, result.errors


async def _event(executor: Executor[None]) -> Answer:
    """Let graphql-core execute an operation for one event."""
    result: Any = execute_subscription_event(executor)
    if _is_awaitable(result):
        result = await result
    return result.data, result.errors


def _for_event(context: Any) -> Any:
    # A context lives as long as its subscription; loaders and caches may live only as long as one event.
    for_event = getattr(context, "for_event", None)
    return context if for_event is None else for_event()


def _without_null_defaults(arguments: Iterable[GraphQLArgument | GraphQLInputField]) -> None:
    # Strawberry prints every optional argument of Python with "= null"; for a client that is no default at all.
    for argument in arguments:
        if argument.default_value is None:
            argument.default_value = Undefined


def _with_files(schema: GraphQLSchema) -> frozenset[str]:
    """Name the scalars whose texts are whole files, and the inputs that hold one."""
    found = set(FILES)
    inputs = [kind for kind in schema.type_map.values() if isinstance(kind, GraphQLInputObjectType)]
    for _ in inputs:
        found |= {x.name for x in inputs if any(get_named_type(f.type).name in found for f in x.fields.values())}
    return frozenset(found)


class Schema(strawberry.Schema):
    """A Strawberry schema that executes kept documents, checks every text, codes every error and has a time budget."""

    def __init__(
        self,
        query: type,
        mutation: type | None = None,
        subscription: type | None = None,
        *,
        types: Iterable[type] = (),
        config: StrawberryConfig | None = None,
        limits: Limits | None = None,
        text_max: int = TEXT_MAX,
        time_s: float = 5.0,
    ) -> None:
        super().__init__(
            query, mutation, subscription, types=types, config=config or StrawberryConfig(scalar_map=SCALARS)
        )
        self.limits = limits or Limits()
        self.documents = Documents(self._schema, self.limits, text_max=text_max)
        self.text_max = text_max
        self._with_files = _with_files(self._schema)
        self._deadlines = Deadlines(time_s)
        self._planner = Planner(self._schema, self.schema_converter, text_max)
        for each in self._schema.type_map.values():
            if isinstance(each, GraphQLInputObjectType):
                definition = each.extensions.get("strawberry-definition")
                # Strawberry keeps oneOf from graphql-core and has a rule of its own, which breaks on undefined variables.
                each.is_one_of = isinstance(definition, StrawberryObjectDefinition) and definition.is_one_of
                _without_null_defaults(each.fields.values())
            elif isinstance(each, GraphQLObjectType | GraphQLInterfaceType):
                for field in each.fields.values():
                    _without_null_defaults(field.args.values())

    def find(
        self,
        text: object,
        name: object = None,
        meet: Callable[[str], None] | None = None,
        characters_max: int | None = None,
    ) -> Operation:
        """Find the operation a request names in the document it brings; ``meet`` judges a document that is not kept.

        :raises RequestError: there is no document, it may not run, or it does not say which operation.
        """
        if type(text) is not str or not text:
            message = "The request has no `query`: the text of a GraphQL document."
            raise RequestError([BadUserInputError(message)], status=400, well_formed=False)
        if name is not None and type(name) is not str:
            raise RequestError([BadUserInputError("`operationName` must be a text.")], status=400, well_formed=False)
        return self.documents.find(text, meet, characters_max).operation(name)

    async def answer(
        self, operation: Operation, variables: dict[str, Any] | None, context: Any, root: Any = None
    ) -> ExecutionResult:
        """Execute a query or mutation within the time budget; errors are coded and at most ten.

        :raises RequestError: the variables do not fit the operation, it costs too much or takes too long.
        """
        raw = variables or {}
        begun = None
        if not operation.is_planned:
            self._plan(operation)
        if operation.plan is not None:
            begun = operation.plan.run(raw, context, root)
        if begun is None:
            work = _interpret(self._build(operation, raw, context, root))
        else:
            self._check_cost(operation, raw)
            work = execute(*begun)
        data, errors = await self._in_time(work)
        if errors:
            self._process_errors(errors, self._about(context))
        return ExecutionResult(data, errors)

    async def _in_time(self, work: Awaitable[Answer]) -> Answer:
        try:
            return await self._deadlines.within(work)
        except TimeoutError:
            taken = f"{self._deadlines.time_s:g} s"
            message = f"The operation took longer than {taken} and was given up; a mutation may have happened."
            error = GraphQLError(message, extensions={"code": "OPERATION_TIMED_OUT"})
            raise RequestError([error], status=503, well_formed=False) from None

    def introspected(self, operation: Operation, variables: dict[str, Any] | None, context: Any) -> ExecutionResult:
        """Execute an operation that asks for nothing but the schema itself: nothing of it is awaited, so any thread may.

        :raises RequestError: the variables do not fit the operation.
        """
        result: Any = self._build(operation, variables or {}, context, None).execute_operation()
        if result.errors:
            self._process_errors(result.errors, self._about(context))
        return ExecutionResult(result.data, result.errors)

    def _plan(self, operation: Operation) -> None:
        """Compile the operation at its first execution: what is only validated, or never comes again, need not be."""
        operation.is_planned = True
        if not operation.introspects:

            def begin(raw: dict[str, Any], context: Any, root: Any) -> Executor[None]:
                return self._build(operation, raw, context, root)

            operation.plan = self._planner.plan(operation.node, operation.document, begin)

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """Execute a query or mutation; a request error is a result without data."""
        try:
            operation = self.find(query, operation_name)
            allowed = (OperationType.QUERY, OperationType.MUTATION)
            if operation.kind not in (allowed if allowed_operation_types is None else tuple(allowed_operation_types)):
                message = f"A {operation.kind.value} is not possible here."
                raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
            return await self.answer(operation, variable_values, context_value, root_value)
        except RequestError as refusal:
            return PreExecutionError(None, refusal.errors)

    async def events(
        self, operation: Operation, variables: dict[str, Any] | None, context: Any, root: Any = None
    ) -> AsyncGenerator[ExecutionResult, None]:
        """Execute an operation of any kind and give every answer; what breaks off is an answer too, the last one.

        :raises RequestError: the variables do not fit the operation, it costs too much or takes too long.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            yield await self.answer(operation, variables, context, root)
            return
        executor = self._build(operation, variables, context, root)
        source = create_source_event_stream(executor)
        if _is_awaitable(source):
            source = await source
        if isinstance(source, CoreResult):
            refused = source.errors or []
            self._process_errors(refused, self._about(context))
            raise RequestError(refused)
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", source)) as payloads:
                async for payload in payloads:
                    data, errors = await self._in_time(_event(executor.build_per_event_executor(payload)))
                    if errors:
                        self._process_errors(errors, self._about(context))
                    yield ExecutionResult(data, errors)
        except RequestError:
            raise
        except Exception as fault:
            # The source of the events broke off; the client is told, then the subscription completes.
            errors = [fault if isinstance(fault, GraphQLError) else GraphQLError(str(fault), original_error=fault)]
            self._process_errors(errors, self._about(context))
            yield ExecutionResult(None, errors)

    def _build(self, operation: Operation, variables: dict[str, Any] | None, context: Any, root: Any) -> Executor[None]:
        given = variables or {}
        if given:
            try:
                clean_variables(given, characters_max=self._characters_max(operation))
            except BadUserInputError as error:
                raise RequestError([error]) from None
        self._check_cost(operation, given)
        built = _Executor.build(
            self._schema,
            operation.document,
            root,
            context,
            given,
            operation.name,
            max_coercion_errors=ERRORS_MAX - 1,
            is_awaitable=_is_awaitable,
            hide_suggestions=True,
        )
        if isinstance(built, list):
            raise RequestError([coded(error, "BAD_USER_INPUT") for error in built])
        return built

    def _characters_max(self, operation: Operation) -> int:
        for variable in operation.node.variable_definitions or ():
            kind = variable.type
            while isinstance(kind, ListTypeNode | NonNullTypeNode):
                kind = kind.type
            if isinstance(kind, NamedTypeNode) and kind.name.value in self._with_files:
                return FILE_TEXT_MAX
        return self.text_max

    def _check_cost(self, operation: Operation, variables: dict[str, Any]) -> None:
        if operation.unpriced.terms:
            cost = operation.cost(variables)
            if cost > self.limits.cost:
                raise RequestError([too_much(f"The operation costs {cost}.", "cost", self.limits.cost, cost)])

    def _about(self, context: Any) -> ExecutionContext:
        return ExecutionContext(query=None, schema=self, allowed_operations=(), context=context)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Give every error a code; log a fault of ours under a request id and hide its text. At most ten are left.

        Every transport passes here: HTTP, WebSocket and event streams.
        """
        del errors[ERRORS_MAX:]
        request_id = ""
        for error in errors:
            if "code" in (error.extensions or {}):
                continue
            if _is_the_clients(error):
                coded(error, "BAD_USER_INPUT")
                continue
            if not request_id:
                context = execution_context.context if execution_context else None
                request_id = getattr(context, "request_id", None) or token_hex(8)
            log.error(
                "request %s failed at %s: %s",
                request_id,
                error.path,
                error.message,
                exc_info=error.original_error or error,
            )
            error.message = fault_text(request_id)
            error.extensions = {"code": "INTERNAL_SERVER_ERROR", "requestId": request_id}


def fault_text(request_id: str) -> str:
    """Word a fault of ours for the client, without its cause."""
    return f"Something went wrong on our side; it is logged as {request_id}."


def _is_the_clients(error: GraphQLError) -> bool:
    # An argument that only proves wrong with the variables is found while executing; graphql-core gives it no code.
    innermost: BaseException = error
    while isinstance(innermost, GraphQLError) and innermost.original_error is not None:
        innermost = innermost.original_error
    if isinstance(innermost, StrawberryInputCoercionError):
        return True
    return isinstance(innermost, GraphQLError) and innermost.message.startswith("Argument '")
