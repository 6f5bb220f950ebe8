"""The documents clients send, read once: parsed, measured, validated, then kept.

A front end sends the same few documents for years. Parsing and validating one costs 0.6 to 2 ms, executing it 0.02 to 0.1 ms,
so a document that may run is kept by its text and the next request goes straight to execution.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    StringValueNode,
    Visitor,
    get_named_type,
    is_interface_type,
    is_object_type,
    parse,
    recommended_rules,
    specified_rules,
    validate,
    value_from_ast_untyped,
    visit,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.types.execution import ExecutionResult
from strawberry.types.graphql import OperationType

from bels.api.engine.guard import Cost, Limits, OperationMeasure, measure, price, too_much
from bels.api.engine.plan import Plan
from bels.api.engine.scalars import TEXT_MAX, BadUserInputError, clean_text

ERRORS_MAX = 10
"""Errors in one answer; the rest would only repeat them."""

# Aliases and fields are capped before validation; this bounds what is left of comparing them with each other.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 5_000

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
    """One operation of a document that may run.

    ``pages`` says that it asks for connections, ``characters`` how long its document is.
    """

    __slots__ = (
        "_selected",
        "characters",
        "defaults",
        "document",
        "introspects",
        "is_planned",
        "kind",
        "limits",
        "name",
        "node",
        "pages",
        "plan",
        "schema",
        "told",
        "unpriced",
    )

    def __init__(
        self,
        schema: GraphQLSchema,
        node: OperationDefinitionNode,
        document: DocumentNode,
        found: OperationMeasure,
        limits: Limits,
        characters: int,
    ) -> None:
        self.schema = schema
        self.characters = characters
        self.pages = found.pages
        self._selected: tuple[frozenset[str], tuple[str, ...]] | None = None
        self.name = node.name.value if node.name else None
        self.kind = OperationType(node.operation.value)
        self.node = node
        self.document = document
        self.plan: Plan | None = None
        self.is_planned = False
        self.told: ExecutionResult | None = None
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

    @property
    def coordinates(self) -> frozenset[str]:
        """Name every field that it selects, "Account.balance", by the type it is selected on; without ``__typename``.

        Of the fields that read the schema itself only the type is told: ``introspects``.
        """
        return (self._selected or self._select())[0]

    @property
    def roots(self) -> tuple[str, ...]:
        """Name its root fields, each once, in their order; without those that read the schema itself."""
        return (self._selected or self._select())[1]

    def _select(self) -> tuple[frozenset[str], tuple[str, ...]]:
        # Found out at the first question and kept: it takes a pass over the operation, and each fragment is passed once.
        schema = self.schema
        fragments = {x.name.value: x for x in self.document.definitions if isinstance(x, FragmentDefinitionNode)}
        found: set[str] = set()
        seen: set[str] = set()
        root = schema.get_root_type(self.node.operation)
        waiting: list[tuple[tuple[SelectionNode, ...], GraphQLNamedType | None]] = [
            (self.node.selection_set.selections, root)
        ]
        while waiting:
            selections, parent = waiting.pop()
            for each in selections:
                if isinstance(each, FieldNode):
                    name = each.name.value
                    if name.startswith("__") or not (is_object_type(parent) or is_interface_type(parent)):
                        continue
                    found.add(f"{parent.name}.{name}")
                    if each.selection_set is not None:
                        waiting.append((each.selection_set.selections, get_named_type(parent.fields[name].type)))
                elif isinstance(each, FragmentSpreadNode):
                    name = each.name.value
                    if name not in seen:
                        seen.add(name)
                        fragment = fragments[name]
                        inner = schema.get_type(fragment.type_condition.name.value)
                        waiting.append((fragment.selection_set.selections, inner))
                elif isinstance(each, InlineFragmentNode):
                    condition = each.type_condition
                    inner = schema.get_type(condition.name.value) if condition else parent
                    waiting.append((each.selection_set.selections, inner))
        self._selected = frozenset(found), tuple(_root_names(self.node.selection_set.selections, fragments, set()))
        return self._selected


def _root_names(
    selections: tuple[SelectionNode, ...], fragments: Mapping[str, FragmentDefinitionNode], seen: set[str]
) -> dict[str, None]:
    names: dict[str, None] = {}
    for each in selections:
        if isinstance(each, FieldNode):
            if not each.name.value.startswith("__"):
                names[each.name.value] = None
        elif isinstance(each, FragmentSpreadNode):
            if each.name.value not in seen:
                seen.add(each.name.value)
                names |= _root_names(fragments[each.name.value].selection_set.selections, fragments, seen)
        elif isinstance(each, InlineFragmentNode):
            names |= _root_names(each.selection_set.selections, fragments, seen)
    return names


class Document:
    """A document that may run: parsed, within the limits and valid."""

    __slots__ = ("node", "operations")

    def __init__(
        self,
        schema: GraphQLSchema,
        node: DocumentNode,
        found: Mapping[str | None, OperationMeasure],
        limits: Limits,
        characters: int,
    ) -> None:
        self.node = node
        operations = [
            Operation(schema, each, node, found[each.name.value if each.name else None], limits, characters)
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

    def find(self, text: str, meet: Callable[[str], None] | None = None, characters_max: int | None = None) -> Document:
        """Give the document of this text, read now or before; ``meet`` judges a text that has to be read.

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
        if meet is not None:
            meet(text)
        return self.keep(text, self.read(text, characters_max))

    def keeps(self, text: str) -> bool:
        """Say whether a document of this text is kept."""
        return text in self._protected.kept or text in self._probation.kept

    def keep(self, text: str, document: Document) -> Document:
        """Keep a document that was read, and give the one that is kept: another request may have been quicker."""
        known = self._protected.kept.get(text) or self._probation.kept.get(text)
        if known is not None:
            return known
        self._probation.put(text, document)
        return document

    def read(self, text: str, characters_max: int | None = None) -> Document:
        """Parse, measure and validate a document of at most so many characters (None: as the limits say).

        :raises RequestError: it cannot be parsed, passes a limit or is not valid.
        """
        limits = self._limits
        check_length(text, limits, characters_max)
        try:
            node = parse(text, max_lexical_tokens=limits.tokens)
        except GraphQLSyntaxError as error:
            # Not the class itself: for it the WebSocket handler would close the socket with all its subscriptions.
            plain = GraphQLError(error.message, source=error.source, positions=error.positions)
            raise RequestError([coded(plain, "GRAPHQL_PARSE_FAILED")], status=400) from None
        except RecursionError:
            plain = GraphQLError("Syntax Error: The document is nested too deeply.")
            raise RequestError([coded(plain, "GRAPHQL_PARSE_FAILED")], status=400) from None
        try:
            node = visit(node, _Literals(self._text_max, limits))
            found = measure(self._schema, node, limits)
        except GraphQLError as error:
            raise RequestError([error]) from None
        errors = validate(self._schema, node, _RULES, max_errors=ERRORS_MAX - 1, hide_suggestions=True)
        if errors:
            raise RequestError([coded(error, "GRAPHQL_VALIDATION_FAILED") for error in errors])
        if not any(isinstance(each, OperationDefinitionNode) for each in node.definitions):
            message = "The document has no operation."
            raise RequestError([GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])
        return Document(self._schema, node, found, limits, len(text))


def check_length(text: str, limits: Limits, characters_max: int | None = None) -> None:
    """Refuse what would take long to parse before it is parsed: the tokens are limited, what is between them is not.

    :raises RequestError: the document is too long.
    """
    most = limits.characters if characters_max is None else characters_max
    if len(text) > most:
        what = f"The document has {len(text)} characters."
        raise RequestError([too_much(what, "characters", most, len(text))])
    if characters_max is None:
        lines = 1 + text.count("\n") + text.count("\r")
        if lines > limits.lines:
            raise RequestError([too_much(f"The document has {lines} lines.", "lines", limits.lines, lines)])


class _Literals(Visitor):
    """Clean the string literals of a document, once for all its uses, and refuse objects that no input has."""

    def __init__(self, text_max: int, limits: Limits) -> None:
        super().__init__()
        self.text_max = text_max
        self.limits = limits

    def enter_object_value(self, node: ObjectValueNode, *_: object) -> None:
        count, most = len(node.fields), self.limits.input_fields
        if count > most:
            raise too_much(f"An object among the arguments has {count} fields.", "inputFields", most, count)

    def enter_string_value(self, node: StringValueNode, *_: object) -> StringValueNode | None:
        try:
            text = clean_text(node.value, characters_max=self.text_max)
        except BadUserInputError as error:
            raise GraphQLError(error.message, node, extensions=error.extensions) from None
        return None if text == node.value else StringValueNode(value=text, block=node.block, loc=node.loc)


def coded(error: GraphQLError, code: str) -> GraphQLError:
    """Give an error its code, unless it has one."""
    error.extensions = {"code": code, **(error.extensions or {})}
    return error
