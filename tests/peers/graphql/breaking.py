"""What a schema breaks for the clients of an earlier one: what went away without having been deprecated until its day."""

from __future__ import annotations

import re
from datetime import date

import graphql
from graphql import BreakingChangeType, GraphQLSchema

_REMOVED = {
    BreakingChangeType.FIELD_REMOVED: re.compile(r"Field (?P<type>\w+)\.(?P<name>\w+) was removed\."),
    BreakingChangeType.VALUE_REMOVED_FROM_ENUM: re.compile(r"Enum value (?P<type>\w+)\.(?P<name>\w+) was removed\."),
    BreakingChangeType.ARG_REMOVED: re.compile(
        r"Argument (?P<type>\w+)\.(?P<name>\w+)\((?P<argument>\w+):\) was removed\."
    ),
}
_UNTIL = re.compile(r"removed after (\d{4}-\d\d-\d\d)")


def broken(before: GraphQLSchema, now: GraphQLSchema, today: date) -> list[str]:
    """Find what a schema breaks, but for what was deprecated with a "removed after" that has passed.

    A type that nothing of the earlier schema leads to any more, once what was rightly removed is left out, breaks nobody.
    """
    changes = graphql.find_breaking_changes(before, now)
    passed = {change.description for change in changes if _was_announced(before, change, today)}
    left = [change for change in changes if change.description not in passed]
    if passed:
        reached = _reached(before, {_place(change) for change in changes if change.description in passed})
        left = [change for change in left if not _is_out_of_reach(change, reached)]
    return sorted(change.description for change in left)


def _place(change: graphql.BreakingChange) -> str:
    pattern = _REMOVED.get(change.type)
    found = pattern.fullmatch(change.description) if pattern is not None else None
    if found is None:
        return ""
    argument = found.groupdict().get("argument")
    return f"{found['type']}.{found['name']}" + (f"({argument}:)" if argument else "")


def _was_announced(before: GraphQLSchema, change: graphql.BreakingChange, today: date) -> bool:
    place = _place(change)
    if not place:
        return False
    resolved = graphql.resolve_schema_coordinate(before, place)
    reason = next(
        (
            getattr(getattr(resolved, kind), "deprecation_reason", None)
            for kind in ("field_argument", "input_field", "enum_value", "field")
            if hasattr(resolved, kind)
        ),
        None,
    )
    until = _UNTIL.search(reason or "")
    return until is not None and date.fromisoformat(until[1]) < today


def _reached(schema: GraphQLSchema, without: set[str]) -> set[str]:
    """Name every type that the roots still lead to without some fields and arguments."""
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    waiting: list[graphql.GraphQLNamedType] = [root for root in roots if root is not None]
    reached: set[str] = set()
    while waiting:
        one = waiting.pop()
        if one.name in reached:
            continue
        reached.add(one.name)
        if graphql.is_abstract_type(one):
            waiting += schema.get_possible_types(one)
        if isinstance(one, graphql.GraphQLObjectType | graphql.GraphQLInterfaceType):
            waiting += one.interfaces
        for name, field in getattr(one, "fields", {}).items():
            if f"{one.name}.{name}" in without:
                continue
            waiting.append(graphql.get_named_type(field.type))
            for argument, described in getattr(field, "args", {}).items():
                if f"{one.name}.{name}({argument}:)" not in without:
                    waiting.append(graphql.get_named_type(described.type))
    return reached


def _is_out_of_reach(change: graphql.BreakingChange, reached: set[str]) -> bool:
    if change.type is not BreakingChangeType.TYPE_REMOVED:
        return False
    return change.description.removesuffix(" was removed.") not in reached
