"""The documents clients send, read once: parsed, measured, validated, then kept; and the schema that executes them.

A front end sends the same few documents for years. Parsing and validating one costs 0.6 to 2 ms, executing it 0.02 to 0.1 ms,
so a document that may run is kept by its text and the next request goes straight to execution.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from secrets import token_hex
from typing import Any, TypeGuard, cast

import strawberry
from graphql import (
    DocumentNode,
    Executor,
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    StringValueNode,
    Undefined,
    Visitor,
    create_source_event_stream,
    get_named_type,
    map_source_to_response_event,
    parse,
    recommended_rules,
    specified_rules,
    validate,
    value_from_ast_untyped,
    visit,
)
from graphql import ExecutionResult as CoreResult
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext, StreamResult
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.execution import ExecutionContext, ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType
from strawberry.utils.aio import aclosing

from bels.api.engine.deadlines import Deadlines
from bels.api.engine.guard import Cost, Limits, OperationMeasure, measure, price, too_much
from bels.api.engine.plan import Answer, Plan, Planner, execute
from bels.api.engine.scalars import (
    FILE_TEXT_MAX,
    FILES,
    SCALARS,
    TEXT_MAX,
    BadUserInputError,
    clean_text,
    clean_variables,
)

ERRORS_MAX = 10
"""Errors in one answer; the rest would only repeat them."""

log = logging.getLogger("bels.api")

_is_awaitable = cast("Callable[[Any], TypeGuard[Awaitable[Any]]]", optimized_is_awaitable)

# Aliases and fields are capped before validation; this bounds what is left of comparing them with each other.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 20_000

_RULES = (*specified_rules, *recommended_rules, MaybeNullValidationRule)


class RequestError(Exception):
    """The request is refused before anything is executed; every error has its code.

    ``status`` is the HTTP status where it does not depend on the setting ``request_error_status``. ``well_formed`` says that
    the request was proper GraphQL over HTTP, which the old ``application/json`` answers with 200.
    """

    def __init__(self, errors: list[GraphQLError], status: int | None = None, *, well_formed: bool = True) -> None:
        super().__init__(errors[0].message)
        self.errors = errors
        self.status = status
        self.well_formed = well_formed


class Operation:
    """One operation of a document that may run."""

    __slots__ = (
        "defaults",
        "document",
        "introspects",
        "is_planned",
        "kind",
        "limits",
        "name",
        "node",
        "plan",
        "unpriced",
    )

    def __init__(self, node: OperationDefinitionNode, document: DocumentNode, found: OperationMeasure, limits: Limits):
        self.name = node.name.value if node.name else None
        self.kind = OperationType(node.operation.value)
        self.node = node
        self.document = document
        self.plan: Plan | None = None
        self.is_planned = False
        self.introspects = found.introspects
        self.limits = limits
        self.unpriced: Cost = found.cost
        self.defaults: dict[str, Any] = {
            variable.variable.name.value: value_from_ast_untyped(variable.default_value)
            for variable in node.variable_definitions or ()
            if variable.default_value
        }

    def cost(self, variables: Mapping[str, Any]) -> int:
        """Give the cost of the operation with these variables."""
        if not self.unpriced.terms:
            return self.unpriced.fixed
        return price(self.unpriced, {**self.defaults, **variables}, self.limits)


class Document:
    """A document that may run: parsed, within the limits and valid."""

    __slots__ = ("node", "operations")

    def __init__(self, node: DocumentNode, found: Mapping[str | None, OperationMeasure], limits: Limits) -> None:
        self.node = node
        operations = [
            Operation(each, node, found[each.name.value if each.name else None], limits)
            for each in node.definitions
            if isinstance(each, OperationDefinitionNode)
        ]
        self.operations = {each.name: each for each in operations}

    def operation(self, name: str | None) -> Operation:
        """Pick the operation by name, or the only one.

        :raises RequestError: there is none of this name, or several and no name.
        """
        if name is not None:
            found = self.operations.get(name)
            if found is not None:
                return found
            message = f"The document has no operation {name[:100]!a}."
        elif len(self.operations) == 1:
            return next(iter(self.operations.values()))
        else:
            message = "The document has several operations: say which by operationName."
        raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])


class _Segment:
    """Documents by text, the longest unused first, bounded in number and in characters."""

    def __init__(self, documents_max: int, characters_max: int) -> None:
        self.kept: OrderedDict[str, Document] = OrderedDict()
        self._documents_max = documents_max
        self._characters_max = characters_max
        self._characters = 0

    def put(self, text: str, document: Document) -> list[tuple[str, Document]]:
        """Keep a document and give those that had to go."""
        self.kept[text] = document
        self._characters += len(text)
        gone: list[tuple[str, Document]] = []
        while len(self.kept) > self._documents_max or self._characters > self._characters_max:
            gone.append(self.kept.popitem(last=False))
            self._characters -= len(gone[-1][0])
        return gone

    def take(self, text: str) -> Document | None:
        """Take a document out, if it is here."""
        document = self.kept.pop(text, None)
        if document is not None:
            self._characters -= len(text)
        return document


class Documents:
    """The cache of documents, in two segments so that a flood of new ones cannot push out those in use.

    A new document is on probation; its second use moves it to the protected segment, whose oldest goes back on probation.
    A document that may not run is never kept. A parsed document takes 100 to 150 bytes a character, so 500,000
    characters are at most 75 MB; the plans of those that are executed take up to three times as much.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        documents_max: int = 1_000,
        characters_max: int = 500_000,
        text_max: int = TEXT_MAX,
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._text_max = text_max
        self._probation = _Segment(max(1, documents_max // 5), characters_max // 5)
        self._protected = _Segment(documents_max - max(1, documents_max // 5), characters_max - characters_max // 5)

    def __len__(self) -> int:
        return len(self._probation.kept) + len(self._protected.kept)

    def find(self, text: str) -> Document:
        """Give the document of this text, read now or before.

        :raises RequestError: it cannot be parsed, passes a limit or is not valid.
        """
        found = self._protected.kept.get(text)
        if found is not None:
            self._protected.kept.move_to_end(text)
            return found
        found = self._probation.take(text)
        if found is not None:
            for each in self._protected.put(text, found):
                self._probation.put(*each)
            return found
        found = self.read(text)
        self._probation.put(text, found)
        return found

    def read(self, text: str) -> Document:
        """Parse, measure and validate a document.

        :raises RequestError: it cannot be parsed, passes a limit or is not valid.
        """
        limits = self._limits
        try:
            node = parse(text, max_lexical_tokens=limits.tokens)
        except GraphQLSyntaxError as error:
            # Not the class itself: for it the WebSocket handler would close the socket with all its subscriptions.
            plain = GraphQLError(error.message, source=error.source, positions=error.positions)
            raise RequestError([_coded(plain, "GRAPHQL_PARSE_FAILED")], status=400) from None
        except RecursionError:
            plain = GraphQLError("Syntax Error: The document is nested too deeply.")
            raise RequestError([_coded(plain, "GRAPHQL_PARSE_FAILED")], status=400) from None
        try:
            node = visit(node, _Texts(self._text_max))
            found = measure(self._schema, node, limits)
        except GraphQLError as error:
            raise RequestError([error]) from None
        errors = validate(self._schema, node, _RULES, max_errors=ERRORS_MAX - 1, hide_suggestions=True)
        if errors:
            raise RequestError([_coded(error, "GRAPHQL_VALIDATION_FAILED") for error in errors])
        if not any(isinstance(each, OperationDefinitionNode) for each in node.definitions):
            message = "The document has no operation."
            raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
        return Document(node, found, limits)


class _Texts(Visitor):
    """Clean the string literals of a document, once for all its uses."""

    def __init__(self, text_max: int) -> None:
        super().__init__()
        self.text_max = text_max

    def enter_string_value(self, node: StringValueNode, *_: object) -> StringValueNode | None:
        try:
            text = clean_text(node.value, characters_max=self.text_max)
        except BadUserInputError as error:
            raise GraphQLError(error.message, node, extensions=error.extensions) from None
        return None if text == node.value else StringValueNode(value=text, block=node.block, loc=node.loc)


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    error.extensions = {"code": code, **(error.extensions or {})}
    return error


class _Executor(ExecutorThrowingOnIncremental):
    """Execute plainly: without incremental delivery, which the API does not offer, a field costs a tenth less."""

    build_resolve_info = StrawberryGraphQLCoreExecutionContext.build_resolve_info
    operation_extensions: Mapping[str, Any] | None = None

    def build_per_event_executor(self, payload: Any) -> Executor[None]:
        executor = super().build_per_event_executor(payload)
        executor.context_value = _fresh(executor.context_value)
        return executor


async def _interpret(executor: Executor[None]) -> Answer:
    """Let graphql-core execute an operation that has no plan."""
    result: Any = executor.execute_operation()
    if _is_awaitable(result):
        result = await result
    return result.data, result.errors


def _fresh(context: Any) -> Any:
    # A context lives as long as its socket; loaders and caches may live only as long as one operation or event.
    fresh = getattr(context, "fresh", None)
    return context if fresh is None else fresh()


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

    def find(self, text: object, name: object = None) -> Operation:
        """Find the operation a request names in the document it brings.

        :raises RequestError: there is no document, it may not run, or it does not say which operation.
        """
        if type(text) is not str or not text:
            message = "The request has no `query`: the text of a GraphQL document."
            raise RequestError([BadUserInputError(message)], status=400, well_formed=False)
        if name is not None and type(name) is not str:
            raise RequestError([BadUserInputError("`operationName` must be a text.")], status=400, well_formed=False)
        return self.documents.find(text).operation(name)

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
        try:
            data, errors = await self._deadlines.within(work)
        except TimeoutError:
            taken = f"{self._deadlines.time_s:g} s"
            message = f"The operation took longer than {taken} and was given up; a mutation may have happened."
            error = GraphQLError(message, extensions={"code": "OPERATION_TIMED_OUT"})
            raise RequestError([error], status=503, well_formed=False) from None
        if errors:
            self._process_errors(errors, self._about(context))
        return ExecutionResult(data, errors)

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

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """Execute an operation of any kind for a transport that streams."""
        allowed = tuple(OperationType) if allowed_operation_types is None else tuple(allowed_operation_types)
        return self._stream_answers(query, variable_values, _fresh(context_value), root_value, operation_name, allowed)

    async def _stream_answers(
        self,
        text: object,
        variables: object,
        context: Any,
        root: Any,
        name: object,
        allowed: tuple[OperationType, ...],
    ) -> AsyncGenerator[PreExecutionError | ExecutionResult, None]:
        try:
            operation = self.find(text, name)
            if variables is not None and type(variables) is not dict:
                raise RequestError([BadUserInputError("`variables` must be an object.")])
            if operation.kind not in allowed:
                message = f"A {operation.kind.value} is not possible here."
                raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
            if operation.kind is not OperationType.SUBSCRIPTION:
                yield await self.answer(operation, variables, context, root)
                return
            executor = self._build(operation, variables, context, root)
            source = create_source_event_stream(executor)
            if _is_awaitable(source):
                source = await source
            if isinstance(source, CoreResult):
                errors = source.errors or []
                self._process_errors(errors, self._about(context))
                yield PreExecutionError(None, errors)
                return
            async with aclosing(map_source_to_response_event(executor, cast("Any", source))) as events:
                async for event in events:
                    if event.errors:
                        self._process_errors(event.errors, self._about(context))
                    yield ExecutionResult(event.data, event.errors)
        except RequestError as refusal:
            yield PreExecutionError(None, refusal.errors)
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
            raise RequestError([_coded(error, "BAD_USER_INPUT") for error in built])
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
                _coded(error, "BAD_USER_INPUT")
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
