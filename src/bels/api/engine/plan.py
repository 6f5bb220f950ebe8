"""Operations compiled: a kept document is executed by functions made for it, where graphql-core would interpret it again.

What is asked of each object type, how every argument is made and every value is written is found out once; an execution
then only calls resolvers and writes their values. Answers, errors and their order are graphql-core's: the tests hold one against
the other. What a plan does not know is left to graphql-core: a whole operation (introspection, other directives than
@skip and @include, variables that are not plain), a field (extensions, resolvers that are async generators, odd arguments) or
a value (iterators, awaitables in lists, objects whose class does not tell their type).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    Executor,
    FieldNode,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
)
from graphql.type import is_leaf_type
from strawberry import Info
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from bels.api.engine.plan_fields import Selections, conditions
from bels.api.engine.plan_inputs import Inputs, Maker, NotPlain, Variable
from bels.api.engine.plan_run import ABSENT, Place, PlanInfo, Run, Unsupported, Where, is_coroutine
from bels.api.engine.plan_steps import (
    Complete,
    Execute,
    Resolve,
    Step,
    abstract,
    any_object,
    concurrent,
    field,
    items,
    leaf,
    leaves,
    required,
    serial,
)
from bels.api.engine.scalars import clean_variables

Begin: TypeAlias = Callable[[dict[str, Any], Any, Any], Executor[None]]
"""Begins the same operation in graphql-core: with variables, context and root."""
STEPS_MIN, STEP_CHARACTERS = 64, 8
"""Steps that any plan may have, and the characters of text that each further one needs."""

Answer: TypeAlias = tuple[dict[str, Any] | None, list[GraphQLError] | None]


class Planner:
    """Makes the plans of one schema's operations."""

    def __init__(self, schema: GraphQLSchema, converter: GraphQLCoreConverter, text_max: int) -> None:
        self.schema = schema
        self.inputs = Inputs(schema, converter, text_max)
        self.text_max = text_max
        config = converter.config
        self.knows_config = config.info_class is Info and config.default_resolver is getattr

    def plan(self, node: OperationDefinitionNode, document: DocumentNode, begin: Begin) -> Plan | None:
        """Compile an operation; None when it has to be left to graphql-core."""
        if node.operation is OperationType.SUBSCRIPTION or not self.knows_config:
            return None
        try:
            variables = [self.inputs.variable(each) for each in node.variable_definitions or ()]
            plan = Plan(self, node, document, variables, begin)
            if not plan.conditions:
                plan.root_of({})
        except Unsupported:
            return None
        return plan


class Plan:
    """An operation that is executed by functions made for it."""

    def __init__(
        self,
        planner: Planner,
        node: OperationDefinitionNode,
        document: DocumentNode,
        variables: list[Variable],
        begin: Begin,
    ) -> None:
        self.conditions = conditions(node, document)
        self._planner = planner
        self._node = node
        self._document = document
        self._variables = {each.name: each for each in variables}
        self._begin = begin
        self._roots: dict[tuple[object, ...], Execute | None] = {}
        # A step takes about 2,000 bytes. Repeated fragments and conditions must not multiply what the text allows.
        self._steps_left = STEPS_MIN + (len(node.loc.source.body) // STEP_CHARACTERS if node.loc else 0)

    def run(self, raw: dict[str, Any], context: Any, root: Any) -> tuple[Run, Execute] | None:
        """Read the variables; None when they are not plainly right, and graphql-core has to judge them."""
        try:
            values = self._read(raw)
            execute = self.root_of(values)
        except Exception:
            return None
        return Run(self._begin, raw, values, context, root), execute

    def _read(self, raw: dict[str, Any]) -> dict[str, Any]:
        values = {}
        known = 0
        for name, read, is_required, default, _ in self._variables.values():
            if name in raw:
                values[name] = read(raw[name])
                known += 1
            elif is_required:
                raise NotPlain
            elif default.make is not None:
                values[name] = default.make(_NO_RUN)
            elif default.value is not ABSENT:
                values[name] = default.value
        if known != len(raw):
            # Texts of variables that the operation does not have are checked all the same.
            clean_variables(raw, characters_max=self._planner.text_max)
        return values

    def root_of(self, values: dict[str, Any]) -> Execute:
        """Give the function that executes the operation when the conditions are as in these variables.

        :raises Unsupported: it has to be left to graphql-core.
        """
        case = tuple([values.get(name) for name in self.conditions])
        found = self._roots.get(case)
        if found is None:
            if case in self._roots or not all(each is True or each is False for each in case):
                raise Unsupported("a condition that is not decided")
            self._roots[case] = None
            truths = {name: bool(values[name]) for name in self.conditions}
            selections = Selections(self._planner.schema, self._document, truths)
            compiler = _Compiler(self._planner, selections, self._variables, self._steps_left)
            found = self._roots[case] = compiler.root(self._node)
            self._steps_left = compiler.steps_left
        return found


async def execute(run: Run, root: Execute) -> Answer:
    """Execute an operation: its data, None where an error rose to the top, and the errors."""
    data: dict[str, Any] | None
    try:
        data = root(run.root, None, run)
        if is_coroutine(data):
            data = await data  # type: ignore[misc]
    except GraphQLError as error:
        run.collected.add(error, None)
        data = None
    return data, run.collected.errors or None


class _Compiler:
    """Compiles one operation with its conditions decided."""

    def __init__(
        self, planner: Planner, selections: Selections, variables: dict[str, Variable], steps_left: int
    ) -> None:
        self.schema = planner.schema
        self.inputs = planner.inputs
        self.selections = selections
        self.variables = variables
        self.steps_left = steps_left

    def root(self, node: OperationDefinitionNode) -> Execute:
        kind = self.schema.get_root_type(node.operation)
        if kind is None:
            raise Unsupported("there are no such operations")
        template, steps = self._steps(kind, self.selections.collect(kind, [node.selection_set]))
        return serial(template, steps) if node.operation is OperationType.MUTATION else concurrent(template, steps)

    def _object(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> Execute:
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        return concurrent(*self._steps(kind, self.selections.collect(kind, sets)))

    def _steps(
        self, kind: GraphQLObjectType, fields: dict[str, list[FieldNode]]
    ) -> tuple[dict[str, Any], tuple[Step, ...]]:
        self.steps_left -= len(fields)
        if self.steps_left < 0:
            raise Unsupported("too much for a plan")
        template: dict[str, Any] = dict.fromkeys(fields)
        steps: list[Step] = []
        for key, nodes in fields.items():
            name = nodes[0].name.value
            if name == "__typename":
                template[key] = kind.name
                continue
            definition = self.schema.get_field(kind, name)
            if definition is None or name.startswith("__"):
                raise Unsupported(name)
            steps.append(self._step(Place(kind, key, nodes, definition)))
        return template, tuple(steps)

    def _step(self, place: Place) -> Step:
        mine = place.definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        try:
            if type(mine) is not StrawberryField or mine.extensions or mine.is_subscription:
                raise Unsupported("a field with extensions, or of a class of its own")
            resolve = _attribute(mine) if mine.base_resolver is None else self._resolver(mine, place)
        except Unsupported:
            return Step(place.key, "", None, place.execute)
        kind = place.definition.type
        if not is_leaf_type(kind.of_type if isinstance(kind, GraphQLNonNull) else kind):
            return Step(place.key, "", None, field(place, resolve, mine.is_async, self._complete(kind, place)))
        write = leaf(kind, place.name)
        execute = field(place, resolve, mine.is_async, lambda value, _where, _run: write(value))
        return Step(place.key, mine.python_name, write if mine.base_resolver is None else None, execute)

    def _resolver(self, mine: StrawberryField, place: Place) -> Resolve:
        resolver: Any = mine.base_resolver
        function = resolver.wrapped_func
        if not callable(function) or isasyncgenfunction(function):
            raise Unsupported("a resolver that is an async generator")
        nodes = {each.name.value: each for each in place.nodes[0].arguments or ()}
        constants: dict[str, Any] = {}
        makers: list[tuple[str, Maker]] = []
        for name, argument in place.definition.args.items():
            python_name, given = self.inputs.argument(argument, nodes.get(name), self.variables)
            if given.make is not None:
                makers.append((python_name, given.make))
            elif given.value is not ABSENT:
                constants[python_name] = given.value
        sources = [each.name for each in (resolver.parent_parameter, resolver.root_parameter) if each is not None]
        info_name = resolver.info_parameter.name if resolver.info_parameter is not None else None
        takes_self, is_async = resolver.self_parameter is not None, mine.is_async

        def resolve(source: Any, where: Where, run: Run) -> Any:
            arguments = constants.copy()
            for name, make in makers:
                value = make(run)
                if value is not ABSENT:
                    arguments[name] = value
            for name in sources:
                arguments[name] = source
            if info_name is not None:
                arguments[info_name] = PlanInfo(run, place, where, mine)
            if is_async:
                # Called where it is awaited: what is cancelled before that has not begun.
                return partial(function, source, **arguments) if takes_self else partial(function, **arguments)
            return function(source, **arguments) if takes_self else function(**arguments)

        return resolve

    # Values.

    def _complete(self, kind: Any, place: Place) -> Complete:
        if isinstance(kind, GraphQLNonNull):
            return required(self._complete(kind.of_type, place), place.name)
        if isinstance(kind, GraphQLList):
            inner = kind.of_type.of_type if isinstance(kind.of_type, GraphQLNonNull) else kind.of_type
            if is_leaf_type(inner):
                return leaves(leaf(kind.of_type, place.name), kind, place)
            return items(self._complete(kind.of_type, place), kind, place)
        if isinstance(kind, GraphQLObjectType):
            execute = self._object(kind, place.nodes)
            if kind.is_type_of is None:
                return any_object(execute)
            cls = _class_of(kind)
            return abstract({cls: execute} if cls is not None else {}, kind, place)
        by_class: dict[type, Execute] = {}
        for each in self.schema.get_possible_types(kind):
            cls = _class_of(each)
            # Where a type is told in another way than by class, no class is known and graphql-core finds out.
            if cls is not None and not _is_custom(kind):
                by_class[cls] = self._object(each, place.nodes)
        return abstract(by_class, kind, place)


def _class_of(kind: GraphQLObjectType) -> type | None:
    """Give the class whose objects are of this type, where the class alone tells."""
    definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryObjectDefinition):
        return None
    cls: type = definition.origin
    if (
        definition.is_type_of is not None
        or definition.name != kind.name
        or getattr(cls, "__strawberry_definition__", None) is not definition
    ):
        return None
    return cls


def _is_custom(kind: Any) -> bool:
    definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return isinstance(definition, StrawberryObjectDefinition) and definition.resolve_type is not None


def _attribute(mine: StrawberryField) -> Resolve:
    name = mine.python_name
    return lambda source, _where, _run: getattr(source, name)


_NO_RUN: Any = None
"""Defaults of variables do not depend on the execution."""
