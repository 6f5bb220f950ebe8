"""How much a document asks for, measured in one pass before it is validated.

The library's own limiters walk a fragment again at every spread, so twenty fragments that spread the next one twice stop
the event loop for seconds. Here a fragment is measured once and remembered; the pass is linear in the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_interface_type,
    is_object_type,
)

_NESTING_MAX = 100
"""Levels of braces and fragments that the pass itself follows: it must not run out of stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Say how much one document and one operation may ask for.

    ``cost`` counts objects: a field that gives one is 1, a connection multiplies what is below it by its page size, a batch
    (``rows`` of an input) by its rows, each of which adds 1; a mutation adds 10; scalars are free. ``fields`` and ``aliases``
    count a fragment at each of its spreads. ``characters`` and ``lines`` are those of a document that is not trusted,
    ``input_fields`` those of one object among its arguments.
    """

    characters: int = 32_000
    lines: int = 2_000
    tokens: int = 2_000
    definitions: int = 100
    input_fields: int = 100
    depth: int = 12
    aliases: int = 30
    fields: int = 1_000
    root_fields: int = 10
    cost: int = 5_000
    mutation_cost: int = 10
    row_cost: int = 1
    rows: int = 500
    introspection_cost: int = 1_000
    page_default: int = 20
    page_max: int = 100


class Size(NamedTuple):
    """The size of a page or a batch: a number, or the variable that will give it, in one of its fields where one is named."""

    number: int
    variable: str | None = None
    field: str | None = None
    most: int | None = None

    def told(self, variables: Mapping[str, Any], limits: Limits) -> int:
        """Give the number."""
        if self.variable is None:
            return self.number
        given = variables.get(self.variable)
        if self.field is not None:
            given = given.get(self.field) if type(given) is dict else None
        size = len(given) if type(given) is list else given if type(given) is int else self.number
        return _clamped(size, self.most or limits.page_max)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a selection costs: a number, plus what is known only with the variables (size, cost of one, times size)."""

    fixed: int = 0
    terms: tuple[tuple[Size, Cost], ...] = ()


@dataclass(slots=True)
class Measure:
    """What a selection set asks for, its fragments included."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    width: int = 0
    introspects: bool = False
    pages: bool = False
    cost: Cost = Cost()


class OperationMeasure(NamedTuple):
    """What one operation asks for: its cost, and whether it reads the schema itself, and whether it has connections."""

    cost: Cost
    introspects: bool
    pages: bool


def too_much(what: str, limit: str, maximum: int, actual: int) -> GraphQLError:
    """Word the refusal of a document that passes a limit; the numbers are for programs."""
    return GraphQLError(
        f"{what} The limit is {maximum}.",
        extensions={"code": "GRAPHQL_VALIDATION_FAILED", "limit": limit, "max": maximum, "actual": actual},
    )


def measure(schema: GraphQLSchema, document: DocumentNode, limits: Limits) -> dict[str | None, OperationMeasure]:
    """Measure every definition of the document once and give the operations by name.

    What does not exist in the schema is left to validation. Cycles of fragments count 0 and are left to it too.

    :raises GraphQLError: a limit is passed; the code is GRAPHQL_VALIDATION_FAILED.
    """
    return _Pass(schema, document, limits).run()


def price(cost: Cost, variables: Mapping[str, Any], limits: Limits) -> int:
    """Work the cost out with the variables of a request, defaults included; linear in the document."""
    if not cost.terms:
        return cost.fixed
    return _price(cost, variables, limits, {})


def _price(cost: Cost, variables: Mapping[str, Any], limits: Limits, known: dict[int, int]) -> int:
    if not cost.terms:
        return cost.fixed
    total = known.get(id(cost))
    if total is None:
        total = cost.fixed
        for size, each in cost.terms:
            total += size.told(variables, limits) * _price(each, variables, limits, known)
        known[id(cost)] = total
    return total


def _takes_rows(field: GraphQLField) -> bool:
    given = field.args.get("input")
    kind = get_named_type(given.type) if given is not None else None
    return isinstance(kind, GraphQLInputObjectType) and "rows" in kind.fields


def _clamped(size: int, most: int) -> int:
    # A size out of range is refused by the field itself, with a better sentence.
    return min(max(size, 0), most)


class _Pass:
    """One pass over one document."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, limits: Limits) -> None:
        self.schema = schema
        self.document = document
        self.limits = limits
        self.fragments: dict[str, FragmentDefinitionNode] = {}
        self.measured: dict[str, Measure] = {}

    def run(self) -> dict[str | None, OperationMeasure]:
        operations: dict[str | None, OperationMeasure] = {}
        count = len(self.document.definitions)
        if count > self.limits.definitions:
            what = f"The document has {count} operations and fragments."
            raise too_much(what, "definitions", self.limits.definitions, count)
        for definition in self.document.definitions:
            if isinstance(definition, FragmentDefinitionNode):
                self.fragments.setdefault(definition.name.value, definition)
        for definition in self.document.definitions:
            if isinstance(definition, FragmentDefinitionNode):
                found = self._fragment_measure(definition)
                if definition.type_condition.name.value.startswith("__"):
                    # The standard introspection query is deeper than any of ours; graphql-core has a rule of its own for it.
                    found = replace(found, depth=0)
                self._check(found)
            elif isinstance(definition, OperationDefinitionNode):
                operation = self._operation(definition)
                operations[definition.name.value if definition.name else None] = operation
        return operations

    def _operation(self, node: OperationDefinitionNode) -> OperationMeasure:
        limits = self.limits
        found = self._selections(node.selection_set, self.schema.get_root_type(node.operation), 1)
        self._check(found)
        if found.width > limits.root_fields:
            raise too_much(
                f"The operation has {found.width} root fields.", "rootFields", limits.root_fields, found.width
            )
        cost = found.cost
        if node.operation is OperationType.MUTATION:
            cost = Cost(cost.fixed + limits.mutation_cost * found.width, cost.terms)
        if cost.fixed > limits.cost:
            raise too_much(f"The operation costs {cost.fixed}.", "cost", limits.cost, cost.fixed)
        return OperationMeasure(cost, found.introspects, found.pages)

    def _check(self, found: Measure) -> None:
        limits = self.limits
        if found.depth > limits.depth:
            raise too_much(f"The document is {found.depth} levels deep.", "depth", limits.depth, found.depth)
        if found.aliases > limits.aliases:
            raise too_much(f"The document has {found.aliases} aliases.", "aliases", limits.aliases, found.aliases)
        if found.fields > limits.fields:
            raise too_much(f"The document asks for {found.fields} fields.", "fields", limits.fields, found.fields)

    def _fragment_measure(self, node: FragmentDefinitionNode, level: int = 1) -> Measure:
        name = node.name.value
        if self.fragments[name] is not node:  # A second fragment of the same name: validation will refuse it.
            return self._selections(node.selection_set, self._named(node.type_condition.name.value), level)
        found = self.measured.get(name)
        if found is None:
            self.measured[name] = Measure()  # What a spread back to this fragment counts.
            found = self._selections(node.selection_set, self._named(node.type_condition.name.value), level)
            self.measured[name] = found
        return found

    def _named(self, name: str) -> GraphQLNamedType | None:
        return self.schema.get_type(name)

    def _selections(self, node: SelectionSetNode, parent: GraphQLNamedType | None, level: int) -> Measure:
        if level > _NESTING_MAX:
            raise too_much("The document is nested too deeply.", "depth", self.limits.depth, level)
        total = Measure()
        fixed = 0
        terms: list[tuple[Size, Cost]] = []
        for selection in node.selections:
            size = Size(1)
            if isinstance(selection, FieldNode):
                found, own, size = self._field(selection, parent, level)
                fixed += own
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                inner = self._named(condition.name.value) if condition else parent
                found = self._selections(selection.selection_set, inner, level + 1)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value in self.fragments:
                found = self._fragment_measure(self.fragments[selection.name.value], level + 1)
            else:
                continue
            total.depth = max(total.depth, found.depth)
            total.fields += found.fields
            total.aliases += found.aliases
            total.width += found.width
            total.introspects |= found.introspects
            total.pages |= found.pages
            if size.variable is None:
                fixed += size.number * found.cost.fixed
            if size.variable is not None or found.cost.terms:
                rest = found.cost if size.variable is not None else Cost(0, found.cost.terms)
                terms.append((size, rest))
        total.cost = Cost(fixed, tuple(terms))
        return total

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, level: int) -> tuple[Measure, int, Size]:
        """Measure a field with what is below it; give also its own cost and how often the rest is counted."""
        name = node.name.value
        alias = int(node.alias is not None and node.alias.value != name)
        if node.selection_set is None:
            return Measure(depth=1, fields=1, aliases=alias, width=1), 0, Size(1)
        definition = None
        if is_object_type(parent) or is_interface_type(parent):
            definition = self.schema.get_field(parent, name)
        kind = get_named_type(definition.type) if definition else None
        found = self._selections(node.selection_set, kind, level + 1)
        found = replace(found, depth=found.depth + 1, fields=found.fields + 1, aliases=found.aliases + alias, width=1)
        if name in ("__schema", "__type"):
            return (
                Measure(1, found.fields, found.aliases, 1, introspects=True),
                self.limits.introspection_cost,
                Size(1),
            )
        kind_name = kind.name if kind else ""
        if kind_name == "PageInfo" or kind_name.endswith("Edge"):
            return found, 0, Size(1)
        if kind_name.endswith("Connection"):
            found.pages = True
            return found, 1, self._size(node, ("first", "last"), self.limits.page_default)
        if definition and "ids" in definition.args:
            found.cost = Cost(found.cost.fixed + 1, found.cost.terms)
            return found, 0, self._size(node, ("ids",), 1)
        rows = self._rows(node) if definition and _takes_rows(definition) else None
        if rows is not None:
            found.cost = Cost(found.cost.fixed + self.limits.row_cost, found.cost.terms)
            return found, 1, rows
        return found, 1, Size(1)

    def _rows(self, node: FieldNode) -> Size | None:
        """Say how many rows a field is given by its input; None where it is given none."""
        most = self.limits.rows
        for argument in node.arguments or ():
            value = argument.value
            if argument.name.value != "input":
                continue
            if isinstance(value, VariableNode):
                return Size(1, value.name.value, "rows", most)
            for field in value.fields if isinstance(value, ObjectValueNode) else ():
                if field.name.value == "rows" and isinstance(field.value, VariableNode):
                    return Size(1, field.value.name.value, None, most)
                if field.name.value == "rows" and isinstance(field.value, ListValueNode):
                    return Size(_clamped(len(field.value.values), most))
        return None

    def _size(self, node: FieldNode, names: tuple[str, ...], default: int) -> Size:
        for argument in node.arguments or ():
            value = argument.value
            if argument.name.value not in names or isinstance(value, NullValueNode):
                continue
            if isinstance(value, VariableNode):
                return Size(default, value.name.value)
            if isinstance(value, IntValueNode):
                digits = value.value
                return Size(_clamped(int(digits), self.limits.page_max) if len(digits) < 10 else self.limits.page_max)
            if isinstance(value, ListValueNode):
                return Size(_clamped(len(value.values), self.limits.page_max))
        return Size(default)
