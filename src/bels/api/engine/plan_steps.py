"""The functions that plans are made of: each executes a field or an object, or completes or writes a value.

They do what graphql-core's executor does at the same place, awaiting in the same order, without asking again what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias

from graphql import (
    Executor,
    FieldNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
    Undefined,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.cast import TYPE_CAST_ATTRIBUTE
from strawberry.types.enum import StrawberryEnumDefinition

from bels.api.engine.plan_inputs import NotPlain
from bels.api.engine.plan_run import (
    SETTLED,
    Place,
    Run,
    Unsupported,
    Where,
    awaited,
    check,
    is_awaitable,
    is_coroutine,
    settle,
)

Write: TypeAlias = Callable[[Any], Any]
"""Writes a value of a leaf type; raises for what cannot be written, and for what has to be awaited first."""
Complete: TypeAlias = Callable[[Any, Where, Run], Any]
"""Completes a value, or gives a coroutine that does; raises what makes it null."""
Execute: TypeAlias = Callable[[Any, "Where | None", Run], Any]
"""Executes a field of an object, or a whole object, or gives a coroutine that does; raises what nulls the object above."""
Resolve: TypeAlias = Callable[[Any, Where, Run], Any]
"""Calls a resolver, or reads an attribute; gives the call of an async one, for it to be begun and awaited."""

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


class Step(NamedTuple):
    """A field of an object: a leaf that is a plain attribute is read and written in the object's own loop."""

    key: str
    attribute: str
    write: Write | None
    execute: Execute


# Fields.


def field(place: Place, resolve: Resolve, is_async: bool, complete: Complete) -> Execute:
    key, parent, nodes = place.key, place.parent_name, place.nodes
    is_required = isinstance(place.definition.type, GraphQLNonNull)

    def execute(source: Any, above: Where | None, run: Run) -> Any:
        where = (above, key, parent)
        try:
            value = resolve(source, where, run)
            if is_async or (type(value) not in SETTLED and is_awaitable(value)):
                return later(value, where, run)
            done = complete(value, where, run)
        except NotPlain:
            # A variable does not fit its place: graphql-core says so in its words.
            return place.execute(source, above, run)
        except Exception as error:
            run.fault(error, nodes, is_required, where)
            return None
        return _guarded(done, nodes, is_required, where, run) if is_coroutine(done) else done

    async def later(value: Any, where: Where, run: Run) -> Any:
        try:
            done = complete(await (value() if is_async else value), where, run)
            if is_coroutine(done):
                done = await done
        except Exception as error:
            run.fault(error, nodes, is_required, where)
            return None
        return done

    return execute


async def _guarded(
    done: Coroutine[Any, Any, Any], nodes: list[FieldNode], is_required: bool, where: Where, run: Run
) -> Any:
    try:
        return await done
    except Exception as error:
        run.fault(error, nodes, is_required, where)
        return None


def concurrent(template: dict[str, Any], steps: tuple[Step, ...]) -> Execute:
    """Execute the fields of an object; those that have to be awaited are awaited together."""

    def execute(source: Any, where: Where | None, run: Run) -> Any:
        results = template.copy()
        waiting: list[str] = []
        try:
            for key, attribute, write, execute_field in steps:
                if write is not None:
                    try:
                        results[key] = write(getattr(source, attribute))
                        continue
                    except Exception:  # noqa: S110 - the careful way says what is wrong
                        pass
                results[key] = value = execute_field(source, where, run)
                if is_coroutine(value):
                    waiting.append(key)
        except Exception:
            settle([results[key] for key in waiting])
            raise
        return awaited(results, waiting) if waiting else results

    return execute


def serial(template: dict[str, Any], steps: tuple[Step, ...]) -> Execute:
    """Execute the fields of a mutation, one after the other."""

    async def execute(source: Any, where: Where | None, run: Run) -> Any:
        results = template.copy()
        for key, _, _, execute_field in steps:
            value = execute_field(source, where, run)
            results[key] = await value if is_coroutine(value) else value
        return results

    return execute


# Values.


def _null(name: str) -> TypeError:
    return TypeError(f"Cannot return null for non-nullable field {name}.")


def required(complete: Complete, name: str) -> Complete:
    def complete_required(value: Any, where: Where, run: Run) -> Any:
        done = complete(value, where, run)
        if done is None:
            raise _null(name)
        return done

    return complete_required


def leaf(kind: Any, name: str) -> Write:
    """Compile a leaf type: its usual values are written as they are, or looked up; all others as graphql-core does."""
    is_required = isinstance(kind, GraphQLNonNull)
    inner: Any = kind.of_type if is_required else kind
    coerce = inner.coerce_output_value

    def write_any(value: Any) -> Any:
        if type(value) not in SETTLED:
            check(value)
            if is_awaitable(value):
                raise TypeError("to be awaited first")
        if value is None or value is Undefined:
            if is_required:
                raise _null(name)
            return None
        done = coerce(value)
        return done if done is not None and done is not Undefined else Executor.complete_leaf_value(inner, value)

    return _known_leaf(inner, write_any)


def _known_leaf(kind: Any, write_any: Write) -> Write:
    if kind is GraphQLInt:

        def write_int(value: Any) -> Any:
            return value if type(value) is int and _INT_MIN <= value <= _INT_MAX else write_any(value)

        return write_int
    exact: type | None = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool}.get(kind)
    if exact is None and kind.coerce_output_value is str:
        exact = str

    def write_exact(value: Any) -> Any:
        return value if type(value) is exact else write_any(value)

    if exact is not None:
        return write_exact
    definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryEnumDefinition):
        return write_any
    cls: Any = definition.wrapped_cls
    names = _names(kind, cls)

    def write_word(value: Any) -> Any:
        return names[value] if type(value) is cls else write_any(value)

    return write_word


def _names(kind: GraphQLEnumType, cls: Any) -> dict[Any, str]:
    try:
        return {each: kind.coerce_output_value(each) for each in cls}
    except Exception as error:
        raise Unsupported(kind.name) from error


def leaves(write: Write, kind: GraphQLList[Any], place: Place) -> Complete:
    def complete(value: Any, where: Where, run: Run) -> Any:
        if type(value) is list or type(value) is tuple:
            try:
                return [write(item) for item in value]
            except Exception:  # noqa: S110 - graphql-core finds which item is wrong
                pass
        elif value is None:
            return None
        return place.complete(kind, value, where, run)

    return complete


def items(complete_item: Complete, kind: GraphQLList[Any], place: Place) -> Complete:
    nodes, is_required = place.nodes, isinstance(kind.of_type, GraphQLNonNull)

    def complete(value: Any, where: Where, run: Run) -> Any:
        if value is None:
            return None
        if (type(value) is not list and type(value) is not tuple) or not _are_settled(value):
            return place.complete(kind, value, where, run)
        results: list[Any] = []
        waiting: list[int] = []
        try:
            for index, item in enumerate(value):
                here = (where, index, None)
                try:
                    done = complete_item(item, here, run)
                except Exception as error:
                    run.fault(error, nodes, is_required, here)
                    done = None
                if is_coroutine(done):
                    done = _guarded(done, nodes, is_required, here, run)
                    waiting.append(index)
                results.append(done)
        except Exception:
            settle([results[index] for index in waiting])
            raise
        return awaited(results, waiting) if waiting else results

    return complete


def _are_settled(items: list[Any] | tuple[Any, ...]) -> bool:
    """Say whether there is nothing to await among the items, and no exception."""
    if SETTLED.issuperset(map(type, items)):
        return True
    for item in items:
        if type(item) not in SETTLED:
            if isinstance(item, Exception) or is_awaitable(item):
                return False
            check(item)
    return True


def any_object(execute: Execute) -> Complete:
    def complete(value: Any, where: Where, run: Run) -> Any:
        if value is None or value is Undefined:
            return None
        if type(value) not in SETTLED:
            check(value)
        return execute(value, where, run)

    return complete


def abstract(by_class: dict[type, Execute], kind: Any, place: Place) -> Complete:
    """Complete an object whose class tells its type; any other is left to graphql-core, with all that is below it."""

    def complete(value: Any, where: Where, run: Run) -> Any:
        if value is None:
            return None
        execute = by_class.get(type(value))
        if execute is None or getattr(value, TYPE_CAST_ATTRIBUTE, None) is not None:
            return place.complete(kind, value, where, run)
        return execute(value, where, run)

    return complete
