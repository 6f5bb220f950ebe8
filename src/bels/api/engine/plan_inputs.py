"""What a request brings in, read straight into what resolvers take: variables, literals, defaults.

graphql-core makes dicts of the variables, then of the arguments, and Strawberry makes objects of those. Here one function is
compiled per input type that does all of it. It takes only what is plainly right: anything else raises, and the request is
left to graphql-core, whose words about what is wrong are the API's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

from graphql import (
    ArgumentNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    type_from_ast,
)
from graphql.type import is_leaf_type
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal
from strawberry.relay import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryContainer, StrawberryMaybe, StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from bels.api.engine.plan_run import ABSENT, Run, Unsupported
from bels.api.engine.scalars import FILE_TEXT_MAX, FILES, clean_text

Reader = Callable[[Any], Any]
"""Makes of a value from JSON what a resolver takes."""
Maker = Callable[[Run], Any]
"""Makes what a resolver takes for one execution; ABSENT when the client said nothing."""

_INT = range(-(2**31), 2**31)
_EXACT = range(-(2**53), 2**53)
_UNCHANGING = (str, int, float, type(None), Enum, date, time, timedelta, Decimal, UUID)
_TAKEN: Any = object()


class NotPlain(Exception):
    """A value is wrong or unusual; graphql-core will say what it makes of it."""


class Given(NamedTuple):
    """What an argument gets: the same value for every execution, or one made for each."""

    value: Any = ABSENT
    make: Maker | None = None


class Variable(NamedTuple):
    """A variable of an operation. One whose value could be changed by a resolver is read again for every use."""

    name: str
    read: Reader
    required: bool
    default: Given
    shared: bool

    def again(self, run: Run) -> Any:
        """Make the value once more."""
        raw = run.raw.get(self.name, ABSENT)
        if raw is not ABSENT:
            return self.read(raw)
        return self.default.make(run) if self.default.make is not None else self.default.value


class _Shape(NamedTuple):
    """An input type: its class, what its attributes are when nothing is given, and how each field is read."""

    cls: type
    blanks: dict[str, Any]
    fresh: list[tuple[str, Callable[[], Any]]]
    fields: dict[str, tuple[GraphQLInputField, str]]


class Inputs:
    """The input types of a schema, each compiled once."""

    def __init__(self, schema: GraphQLSchema, converter: GraphQLCoreConverter, text_max: int) -> None:
        self._schema = schema
        self._converter = converter
        self._text_max = text_max
        self._shapes: dict[str, _Shape | None] = {}
        self._readers: dict[str, Reader] = {}

    # Variables.

    def variable(self, node: VariableDefinitionNode) -> Variable:
        """Compile a variable.

        :raises Unsupported: its type or default is nothing for a plan.
        """
        kind: Any = type_from_ast(self._schema, node.type)
        default = Given()
        if node.default_value is not None:
            default = self._literal(node.default_value, kind, {})
        required = isinstance(kind, GraphQLNonNull) and node.default_value is None
        shared = is_leaf_type(kind.of_type if isinstance(kind, GraphQLNonNull) else kind)
        return Variable(node.variable.name.value, self._reader(kind), required, default, shared)

    def _reader(self, kind: Any) -> Reader:
        if isinstance(kind, GraphQLNonNull):
            return self._present(kind.of_type)
        present = self._present(kind)

        def read(value: Any) -> Any:
            return None if value is None else present(value)

        return read

    def _present(self, kind: Any) -> Reader:
        """Compile a type; what comes out refuses null."""
        if isinstance(kind, GraphQLList):
            read_item = self._reader(kind.of_type)

            def read(value: Any) -> Any:
                if type(value) is not list:
                    raise NotPlain
                return [read_item(item) for item in value]

            return read
        found = self._readers.get(kind.name)
        if found is None:
            if isinstance(kind, GraphQLInputObjectType):
                found = self._object(kind)
            elif isinstance(kind, GraphQLEnumType):
                found = _enum(kind)
            else:
                found = self._scalar(kind)
            self._readers[kind.name] = found
        return found

    def _scalar(self, kind: GraphQLScalarType) -> Reader:
        if kind is GraphQLString:
            return partial(_text, self._text_max)
        if kind is GraphQLID:
            return partial(_id, self._text_max)
        plain = {GraphQLInt: _int, GraphQLBoolean: _boolean, GraphQLFloat: _float}.get(kind)
        if plain is not None:
            return plain
        coerce = kind.coerce_input_value
        text_max = FILE_TEXT_MAX if kind.name in FILES else self._text_max

        def read(value: Any) -> Any:
            if type(value) is str:
                value = _text(text_max, value)
            elif type(value) not in (int, float, bool):
                raise NotPlain
            coerced = coerce(value)
            if coerced is Undefined:
                raise NotPlain
            return coerced

        return read

    def _object(self, kind: GraphQLInputObjectType) -> Reader:
        cls, blanks, fresh, shape = self._shape(kind)
        readers = [
            (name, python_name, self._reader(field.type), _is_required(field))
            for name, (field, python_name) in shape.items()
        ]

        def read(value: Any) -> Any:
            if type(value) is not dict:
                raise NotPlain
            values = blanks.copy()
            for python_name, make in fresh:
                values[python_name] = make()
            known = 0
            for name, python_name, read_field, required in readers:
                if name in value:
                    values[python_name] = read_field(value[name])
                    known += 1
                elif required:
                    raise NotPlain
            if known != len(value):
                raise NotPlain
            return cls(**values)

        return read

    def _shape(self, kind: GraphQLInputObjectType) -> _Shape:
        if kind.name in self._shapes:
            found = self._shapes[kind.name]
            if found is None:
                raise Unsupported(f"{kind.name} holds itself")
            return found
        self._shapes[kind.name] = None
        definition = kind.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if (
            not isinstance(definition, StrawberryObjectDefinition)
            or definition.is_one_of
            or kind.is_one_of
            or definition.concrete_of is not None
            or definition.from_input is not None
            or not _is_generated(definition.origin)
        ):
            raise Unsupported(kind.name)
        shape = _Shape(definition.origin, {}, [], {})
        for name, field in kind.fields.items():
            mine = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
            if not isinstance(mine, StrawberryField):
                raise Unsupported(f"{kind.name}.{name}")
            type_ = mine.resolve_type(type_definition=definition)
            _check_plain(type_)
            self._reader(field.type)  # A type that holds itself is found here.
            shape.fields[name] = (field, mine.python_name)
            default = self._default(field, type_)
            if default.make is not None:
                shape.fresh.append((mine.python_name, partial(default.make, _NO_RUN)))
            elif default.value is not ABSENT:
                shape.blanks[mine.python_name] = default.value
            elif mine.default_value is MISSING and mine.default_factory is MISSING:
                shape.blanks[mine.python_name] = None
        self._shapes[kind.name] = shape
        return shape

    def _default(self, given: GraphQLArgument | GraphQLInputField, type_: Any) -> Given:
        value = coerce_default_value(given)
        if value is Undefined:
            return Given()
        if value is None or is_leaf_type(given.type.of_type if isinstance(given.type, GraphQLNonNull) else given.type):
            return Given(value)
        convert = partial(convert_argument, value, type_, self._converter.scalar_registry, self._converter.config)
        return Given(make=lambda _: convert())

    # Arguments.

    def argument(
        self, argument: GraphQLArgument, node: ArgumentNode | None, variables: Mapping[str, Variable]
    ) -> tuple[str, Given]:
        """Compile an argument of a field: the resolver's name for it and what it gets.

        :raises Unsupported: it is nothing for a plan.
        """
        mine = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if not isinstance(mine, StrawberryArgument) or argument.out_name is not None:
            raise Unsupported("an argument not of Strawberry")
        _check_plain(mine.type)
        required = isinstance(argument.type, GraphQLNonNull)
        if node is not None and not isinstance(node.value, VariableNode):
            return mine.python_name, self._literal(node.value, argument.type, variables)
        default = self._default(argument, mine.type)
        if node is None:
            if required and default == Given():
                raise Unsupported("a required argument is missing")
            return mine.python_name, default
        return mine.python_name, _variable(node.value, variables, required, default)

    def _literal(self, node: ValueNode, kind: Any, variables: Mapping[str, Variable]) -> Given:
        if isinstance(node, VariableNode):
            return _variable(node, variables, isinstance(kind, GraphQLNonNull), Given())
        if isinstance(kind, GraphQLNonNull):
            if isinstance(node, NullValueNode):
                raise Unsupported("null where there must be a value")
            kind = kind.of_type
        elif isinstance(node, NullValueNode):
            return Given(None)
        if isinstance(kind, GraphQLList):
            return self._list_literal(node, kind, variables)
        if isinstance(kind, GraphQLInputObjectType):
            return self._object_literal(node, kind, variables)
        if isinstance(node, ListValueNode | ObjectValueNode):
            raise Unsupported("a scalar written as a list or an object")
        value = coerce_input_literal(node, kind)
        if value is Undefined or not isinstance(value, _UNCHANGING):
            raise Unsupported("a literal that is read for every execution")
        return Given(value)

    def _list_literal(self, node: ValueNode, kind: Any, variables: Mapping[str, Variable]) -> Given:
        nodes = node.values if isinstance(node, ListValueNode) else (node,)
        makers = [_maker(self._literal(each, kind.of_type, variables)) for each in nodes]

        def make(run: Run) -> Any:
            # A variable without a value is null in a list.
            return [None if (value := make_item(run)) is ABSENT else value for make_item in makers]

        return Given(make=make)

    def _object_literal(
        self, node: ValueNode, kind: GraphQLInputObjectType, variables: Mapping[str, Variable]
    ) -> Given:
        if not isinstance(node, ObjectValueNode):
            raise Unsupported("an input object that is none")
        cls, blanks, fresh, shape = self._shape(kind)
        nodes = {field.name.value: field.value for field in node.fields}
        if any(_is_required(field) and name not in nodes for name, (field, _) in shape.items()):
            raise Unsupported("a required field is missing")
        makers = [
            (shape[name][1], _maker(self._literal(value, shape[name][0].type, variables)))
            for name, value in nodes.items()
        ]

        def make(run: Run) -> Any:
            values = blanks.copy()
            for python_name, make_blank in fresh:
                values[python_name] = make_blank()
            for python_name, make_field in makers:
                value = make_field(run)
                if value is not ABSENT:
                    values[python_name] = value
            return cls(**values)

        return Given(make=make)


def _variable(node: ValueNode, variables: Mapping[str, Variable], required: bool, default: Given) -> Given:
    """Compile the use of a variable as an argument, or somewhere in one."""
    variable = variables.get(node.name.value) if isinstance(node, VariableNode) else None
    if variable is None:
        raise Unsupported("an unknown variable")
    name, otherwise, shared = variable.name, _maker(default), variable.shared

    def make(run: Run) -> Any:
        value = run.values.get(name, ABSENT)
        if value is _TAKEN:
            value = variable.again(run)
        elif value is not None and value is not ABSENT and not shared:
            run.values[name] = _TAKEN
        if value is ABSENT:
            value = otherwise(run)
            if value is not ABSENT:
                return value
        if required and (value is None or value is ABSENT):
            raise NotPlain
        return value

    return Given(make=make)


def _maker(given: Given) -> Maker:
    if given.make is not None:
        return given.make
    value = given.value
    return lambda _: value


def _check_plain(type_: Any) -> None:
    """Refuse types that Strawberry fills in its own way.

    :raises Unsupported: it is one.
    """
    while True:
        if isinstance(type_, StrawberryMaybe) or type_ is GlobalID:
            raise Unsupported(str(type_))
        if isinstance(type_, LazyType):
            type_ = type_.resolve_type()
        elif isinstance(type_, StrawberryContainer):
            type_ = type_.of_type
        else:
            return


def _is_generated(cls: type) -> bool:
    """Say whether the class takes its attributes as they are: dataclasses make such an ``__init__`` from a string."""
    code = getattr(vars(cls).get("__init__"), "__code__", None)
    return not hasattr(cls, "__post_init__") and code is not None and code.co_filename == "<string>"


def _is_required(field: GraphQLInputField) -> bool:
    return isinstance(field.type, GraphQLNonNull) and coerce_default_value(field) is Undefined


def _enum(kind: GraphQLEnumType) -> Reader:
    try:
        # A value of another type than text is not among the keys, or cannot be looked up: either raises.
        return {name: kind.coerce_input_value(name) for name in kind.values}.__getitem__
    except Exception as error:
        raise Unsupported(kind.name) from error


def _text(text_max: int, value: Any) -> Any:
    if type(value) is not str:
        raise NotPlain
    if value.isascii() and len(value) <= text_max and "\0" not in value:
        return value
    return clean_text(value, characters_max=text_max)


def _id(text_max: int, value: Any) -> Any:
    return str(value) if type(value) is int else _text(text_max, value)


def _int(value: Any) -> Any:
    if type(value) is not int or value not in _INT:
        raise NotPlain
    return value


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise NotPlain
    return value


def _float(value: Any) -> Any:
    if (type(value) is float and isfinite(value)) or (type(value) is int and value in _EXACT):
        return float(value)
    raise NotPlain


_NO_RUN: Any = None
"""Defaults of input fields do not depend on the execution."""
