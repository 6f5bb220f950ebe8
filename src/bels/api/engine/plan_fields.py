"""Which fields an operation asks for of each object type: fragments flattened, equal names merged, conditions decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

from bels.api.engine.plan_run import Unsupported

CONDITIONS_MAX = 6
"""Variables that decide what is skipped; there is a plan for each of their combinations that occurs."""


class Selections:
    """The selections of a document, with each condition decided."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, truths: Mapping[str, bool]) -> None:
        self._schema = schema
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._truths = truths

    def collect(self, kind: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """Give the fields of an object of this type by the name they have in the answer, in order."""
        found: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for each in sets:
            self._collect(kind, each, found, visited)
        return found

    def _collect(
        self, kind: GraphQLObjectType, node: SelectionSetNode, found: dict[str, list[FieldNode]], visited: set[str]
    ) -> None:
        for selection in node.selections:
            if not self._is_included(selection):
                continue
            if isinstance(selection, FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                found.setdefault(key, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                if self._matches(selection, kind):
                    self._collect(kind, selection.selection_set, found, visited)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                fragment = self._fragments[name]
                if name not in visited and self._matches(fragment, kind):
                    visited.add(name)
                    self._collect(kind, fragment.selection_set, found, visited)

    def _matches(self, node: FragmentDefinitionNode | InlineFragmentNode, kind: GraphQLObjectType) -> bool:
        if node.type_condition is None:
            return True
        wanted = self._schema.get_type(node.type_condition.name.value)
        return wanted is kind or (is_abstract_type(wanted) and self._schema.is_sub_type(wanted, kind))

    def _is_included(self, node: SelectionNode) -> bool:
        truths = {each.name.value: self._truth(each) for each in node.directives or ()}
        return not truths.get("skip", False) and truths.get("include", True)

    def _truth(self, node: DirectiveNode) -> bool:
        condition = _condition(node)
        return condition if isinstance(condition, bool) else self._truths[condition]


def conditions(operation: OperationDefinitionNode, document: DocumentNode) -> tuple[str, ...]:
    """Name the variables that decide what is skipped.

    :raises Unsupported: there are too many of them, or directives that a plan does not know.
    """
    names: dict[str, None] = {}
    if any(each.directives for each in operation.variable_definitions or ()):
        raise Unsupported("a directive on a variable")
    nodes: list[OperationDefinitionNode | FragmentDefinitionNode] = [operation]
    nodes += [each for each in document.definitions if isinstance(each, FragmentDefinitionNode)]
    for node in nodes:
        if node.directives or (isinstance(node, FragmentDefinitionNode) and node.variable_definitions):
            raise Unsupported("a directive on a definition, or a fragment with variables")
        for selection in _walk(node.selection_set):
            for directive in selection.directives or ():
                if directive.name.value not in ("skip", "include"):
                    raise Unsupported(f"@{directive.name.value}")
                condition = _condition(directive)
                if isinstance(condition, str):
                    names[condition] = None
    if len(names) > CONDITIONS_MAX:
        raise Unsupported("too many conditions")
    return tuple(names)


def _walk(node: SelectionSetNode) -> Iterator[SelectionNode]:
    for selection in node.selections:
        yield selection
        if isinstance(selection, FieldNode | InlineFragmentNode) and selection.selection_set is not None:
            yield from _walk(selection.selection_set)


def _condition(node: DirectiveNode) -> bool | str:
    value = node.arguments[0].value if node.arguments else None
    if isinstance(value, BooleanValueNode):
        return value.value
    if isinstance(value, VariableNode):
        return value.name.value
    raise Unsupported("a condition that is neither true nor false nor a variable")
