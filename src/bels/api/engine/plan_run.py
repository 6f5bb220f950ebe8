"""One execution of a plan: what it was given, what went wrong, and graphql-core's own executor for what a plan leaves to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import date, datetime
from functools import cached_property
from types import CoroutineType, GeneratorType
from typing import Any, TypeAlias, TypeVar

from graphql import (
    Executor,
    FieldNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    located_error,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path, gather_with_cancel
from strawberry import Info
from strawberry.execution import optimized_is_awaitable
from strawberry.types.field import StrawberryField

Where: TypeAlias = "tuple[Where | None, str | int, str | None]"
"""Where a value stands in the answer, innermost step first: a bare tuple equal to graphql-core's ``Path``."""

Slot = TypeVar("Slot", str, int)

ABSENT: Any = object()
"""No value was given, which is not the same as null."""

SETTLED: set[type] = {str, int, float, bool, type(None), list, tuple, dict, date, datetime}
"""Classes whose objects are neither awaitable nor exceptions; every class is judged once, by its first object."""

_BACKGROUND: set[asyncio.Future[Any]] = set()


class Unsupported(Exception):
    """A plan cannot do this; graphql-core can."""


class Run:
    """One execution. ``values`` are the variables as resolvers get them, ``raw`` as they came."""

    __slots__ = ("_begin", "_executor", "collected", "context", "raw", "root", "values")

    def __init__(
        self,
        begin: Callable[[dict[str, Any], Any, Any], Executor[None]],
        raw: dict[str, Any],
        values: dict[str, Any],
        context: Any,
        root: Any,
    ) -> None:
        self._begin = begin
        self._executor: Executor[None] | None = None
        self.collected = CollectedErrors()
        self.raw = raw
        self.values = values
        self.context = context
        self.root = root

    def executor(self) -> Executor[None]:
        """Give graphql-core's executor of the same operation; it collects its errors here."""
        if self._executor is None:
            self._executor = self._begin(self.raw, self.context, self.root)
            self._executor.collected_errors = self.collected
        return self._executor

    def fault(self, error: Exception, nodes: list[FieldNode], required: bool, where: Where) -> None:
        """Note what went wrong at a place that may be null, and let it rise from one that may not.

        :raises GraphQLError: the place may not be null.
        """
        path = core_path(where)
        located = located_error(error, nodes, path.as_list())
        if required:
            raise located
        self.collected.add(located, path)


class Place:
    """A field of one object type, where one operation asks for it."""

    __slots__ = ("definition", "details", "key", "name", "nodes", "parent", "parent_name")

    def __init__(self, parent: GraphQLObjectType, key: str, nodes: list[FieldNode], definition: GraphQLField) -> None:
        self.parent = parent
        self.parent_name = parent.name
        self.key = key
        self.nodes = nodes
        self.definition = definition
        self.details = [FieldDetails(node, None) for node in nodes]
        self.name = f"{parent.name}.{nodes[0].name.value}"

    def info(self, run: Run, where: Where) -> GraphQLResolveInfo[Any]:
        """Give graphql-core's own info of this field."""
        return run.executor().build_resolve_info(self.definition, self.nodes, self.parent, core_path(where))

    def execute(self, source: Any, above: Where | None, run: Run) -> Any:
        """Let graphql-core execute the field, with all that is below it."""
        path = core_path((above, self.key, self.parent_name))
        return run.executor().execute_field(self.parent, source, self.details, path, None)

    def complete(self, kind: Any, value: Any, where: Where, run: Run) -> Any:
        """Let graphql-core complete a value of the field."""
        return run.executor().complete_value(kind, self.details, self.info(run, where), core_path(where), value, None)


class PlanInfo(Info[Any, Any]):
    """What a resolver finds in ``info``: the context at hand, all else from graphql-core when it is asked for."""

    def __init__(self, run: Run, place: Place, where: Where, field: StrawberryField) -> None:
        self._run = run
        self._place = place
        self._where = where
        self._field = field

    @property
    def context(self) -> Any:
        """Give the context of the request."""
        return self._run.context

    @cached_property
    def _raw_info(self) -> GraphQLResolveInfo[Any]:  # type: ignore[override]
        return self._place.info(self._run, self._where)


def core_path(where: Where) -> Path:
    """Give a place as graphql-core names it."""
    above, key, typename = where
    return Path(core_path(above) if above is not None else None, key, typename)


def is_awaitable(value: Any) -> bool:
    """Say whether a value has to be awaited."""
    return type(value) not in SETTLED and optimized_is_awaitable(value)


def check(value: Any) -> None:
    """Raise an exception that was returned as a value; remember the class of anything else.

    :raises Exception: the value is one.
    """
    if isinstance(value, Exception):
        raise value
    if not isinstance(value, GeneratorType) and not optimized_is_awaitable(value):
        SETTLED.add(type(value))


def settle(awaitables: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Let work that nobody waits for any more come to its end."""
    if awaitables:
        future = asyncio.gather(*awaitables, return_exceptions=True)
        _BACKGROUND.add(future)
        future.add_done_callback(_BACKGROUND.discard)


async def awaited(results: Any, waiting: list[Slot]) -> Any:
    """Wait for the results in these slots, together, and give all results."""
    if len(waiting) == 1:
        results[waiting[0]] = await results[waiting[0]]
        return results
    for slot, value in zip(waiting, await gather_with_cancel(*[results[slot] for slot in waiting]), strict=True):
        results[slot] = value
    return results


def is_coroutine(value: Any) -> bool:
    """Say whether a completed value is still under way: all such values are coroutines of ours or of graphql-core."""
    return type(value) is CoroutineType
