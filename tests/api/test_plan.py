"""Plans against graphql-core: the same operation on the same world must give the same answer, byte for byte."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from random import Random
from types import SimpleNamespace
from typing import Annotated, Any, Generic, TypeVar

import pytest
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    is_leaf_type,
)
from strawberry.extensions import FieldExtension

from bels.api.deadlines import Deadlines
from bels.api.documents import Operation, RequestError, Schema
from bels.api.guard import Limits
from bels.api.schema import SCHEMA
from bels.domain.terms import Register

T = TypeVar("T")


class Later:
    """A value that has to be awaited, and does not mind when nobody does."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@dataclass
class World:
    """What resolvers of one execution draw from; the same seed gives the same world if it is asked in the same order."""

    chance: Random
    steps: int = 0

    def fate(self, usual: object, *others: object) -> Any:
        """Give the usual value, mostly."""
        drawn = self.chance.random()
        if drawn < 0.75:
            return usual
        if drawn < 0.85:
            return None
        if drawn < 0.9:
            raise self.chance.choice([ValueError("lost"), GraphQLError("refused", extensions={"code": "NO"})])
        return self.chance.choice([usual, object, Later(usual), Later(KeyError("late")), OSError("given"), *others])

    async def slow_fate(self, usual: object, *others: object) -> Any:
        """Give it after a while."""
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        found = self.fate(usual, *others)
        return await found if isinstance(found, Later) else found


Info = strawberry.Info[World, None]


@strawberry.enum
class Colour(Enum):
    RED = "red"
    BLUE = 3


Word = strawberry.enum(Register, name="Word")


@strawberry.interface
class Named:
    name: str
    nick: str | None

    @strawberry.field
    async def echo(self, info: Info, text: str = "x", times: int | None = None) -> str | None:
        return await info.context.slow_fate(text * (times or 1), 5, [])  # type: ignore[no-any-return]


@strawberry.type
class Cat(Named):
    lives: int
    born: date | None
    colours: list[Colour]
    friend: "Pet | None"
    kittens: "list[Cat]"

    @strawberry.field
    def rival(self, info: Info) -> "Pet":
        return info.context.fate(a_pet(info.context, 1), a_box(info.context), "a mouse")  # type: ignore[no-any-return]

    @strawberry.field
    async def herself(self, info: Info) -> "Cat":
        return await info.context.slow_fate(self, a_pet(info.context, 1))  # type: ignore[no-any-return]


@strawberry.type
class Dog(Named):
    tricks: list[str | None] | None
    seen_at: datetime
    size: float

    @strawberry.field
    def boss(self, info: Info) -> Named | None:
        return info.context.fate(a_pet(info.context, 1), Later(a_pet(info.context, 2)))  # type: ignore[no-any-return]

    @strawberry.field
    def info_path(self, info: Info, shout: bool = False) -> str:
        path = [*info.path.as_list(), info.field_name, *sorted(info.variable_values)]
        return f"{path} {info.operation.operation.value} {shout}"


@strawberry.type
class Puppy(Dog):
    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        return isinstance(value, Puppy) or value == "a mouse"


@strawberry.type
class Box(Generic[T]):
    content: T
    heavy: bool | None


Pet = Annotated[Cat | Dog | Puppy, strawberry.union("Pet")]
Thing = Annotated[Cat | Box[int] | Box[str], strawberry.union("Thing")]


def a_value(chance: Random, usual: object) -> Any:
    """Give what an attribute holds: mostly what it should."""
    odd = [None, "7", 7, 2**40, 1.5, float("nan"), Later(usual), ValueError("kept"), Colour.BLUE, object]
    return chance.choice(odd) if chance.random() < 0.06 else usual


def a_pet(world: World, depth: int = 0) -> Any:
    """Make a pet with everything that it has."""
    chance = world.chance
    name, nick = a_value(chance, "Мурка"), a_value(chance, None)
    if chance.random() < 0.5:
        kittens = [a_pet(world, depth + 1) for _ in range(chance.randrange(3))] if depth < 2 else []
        kittens = [each for each in kittens if isinstance(each, Cat)] + [None] * (chance.random() < 0.05)
        return Cat(
            name=name,
            nick=nick,
            lives=a_value(chance, 9),
            born=a_value(chance, date(2020, 1, 31)),
            colours=a_value(chance, [a_value(chance, Colour.RED) for _ in range(chance.randrange(3))]),
            friend=a_value(chance, a_pet(world, depth + 1) if depth < 3 else None),
            kittens=a_value(chance, chance.choice([kittens, tuple(kittens), kittens, Later(kittens)])),
        )
    cls = Dog if chance.random() < 0.7 else Puppy
    return cls(
        name=name,
        nick=nick,
        tricks=a_value(chance, chance.choice([["sit", None, "лежать"], {"sit": 1}.keys(), ("a",), "sit"])),
        seen_at=a_value(chance, chance.choice([datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 1, 12)])),  # noqa: DTZ001
        size=a_value(chance, 1.5),
    )


def a_box(world: World) -> Any:
    """Make a box of a number or a text."""
    return Box(content=world.chance.choice([1, "one"]), heavy=a_value(world.chance, True))


@strawberry.input
class Size:
    width: int
    height: int = 2
    unit: str | None = "cm"


@strawberry.input
class Filter:
    text: str
    ids: list[strawberry.ID] | None = None
    colour: Colour = Colour.RED
    words: list[Word] = strawberry.field(default_factory=lambda: [Register.DAY])
    since: datetime | None = None
    sizes: list[list[Size]] | None = None
    size: Size = strawberry.field(default_factory=lambda: Size(width=1))
    weight: float | None = None
    exact: bool | None = None


@strawberry.input
class Tree:
    name: str
    below: "list[Tree] | None" = None


@strawberry.input(one_of=True)
class Either:
    left: int | None = strawberry.UNSET
    right: str | None = strawberry.UNSET


@strawberry.input
class Patch:
    name: strawberry.Maybe[str | None]


class Upper(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs)).upper()


@strawberry.type
class Query:
    @strawberry.field
    async def pet(self, info: Info, n: int = 1) -> Pet | None:
        return await info.context.slow_fate(a_pet(info.context), a_box(info.context), "a mouse", n)  # type: ignore[no-any-return]

    @strawberry.field
    def pets(self, info: Info, first: int | None = 2) -> list[Pet | None] | None:
        pets = [a_pet(info.context) for _ in range(first or 0)]
        return info.context.fate(pets, [Later(x) for x in pets], iter(pets), [*pets, "x"], [KeyError("in")])  # type: ignore[no-any-return]

    @strawberry.field
    async def cats(self, info: Info) -> list[Cat]:
        pets = [a_pet(info.context) for _ in range(3)]
        return await info.context.slow_fate([x for x in pets if isinstance(x, Cat)], pets, 5)  # type: ignore[no-any-return]

    @strawberry.field
    def named(self, info: Info) -> list[Named]:
        return info.context.fate([a_pet(info.context), strawberry.cast(Dog, SimpleNamespace(name="cast", nick=None))])  # type: ignore[no-any-return]

    @strawberry.field
    def things(self, info: Info) -> list[Thing]:
        return info.context.fate([a_box(info.context), a_pet(info.context), a_box(info.context)])  # type: ignore[no-any-return]

    @strawberry.field
    def box(self, info: Info) -> Box[int] | None:
        return info.context.fate(Box(content=1, heavy=None), Box(content="one", heavy=True))  # type: ignore[no-any-return]

    @strawberry.field
    async def find(self, info: Info, filter: Filter, again: Filter | None = None, word: Word = Register.DAY) -> str:  # noqa: A002
        info.context.steps += 1
        filter.text += str(info.context.steps)  # A resolver may do that; its neighbour must not see it.
        (filter.ids or []).append(strawberry.ID("mine"))
        return await info.context.slow_fate(f"{filter} {again} {word}")  # type: ignore[no-any-return]

    @strawberry.field
    def sizes(self, sizes: list[Size | None] | None = None, size: Size | None = None) -> str:
        return f"{sizes} {size}"

    @strawberry.field
    def scalars(
        self,
        a: str | None = None,
        b: int = 5,
        c: float | None = None,
        d: bool | None = None,
        e: strawberry.ID | None = None,
        f: date | None = None,
        g: list[int | None] | None = None,
        h: Colour | None = None,
    ) -> str:
        return f"{a!r} {b!r} {c!r} {d!r} {e!r} {f!r} {g!r} {h!r}"

    @strawberry.field
    def tree(self, tree: Tree) -> str:
        return str(tree)

    @strawberry.field
    def either(self, either: Either) -> str:
        return f"{either.left} {either.right}"

    @strawberry.field
    def patch(self, patch: Patch) -> str:
        return str(patch)

    @strawberry.field
    def matrix(self, info: Info) -> list[list[int] | None]:
        return info.context.fate([[1, 2], None, (3,)], [[1, None]], [["x"], [2]], [5])  # type: ignore[no-any-return]

    @strawberry.field
    async def counted(self, info: Info, to: int = 3) -> AsyncGenerator[int | None, None]:
        for n in range(to):
            yield info.context.fate(n)

    @strawberry.field
    def words(self, info: Info) -> list[Word | None]:
        return info.context.fate([Register.DAY, "night", None, "nonsense"])  # type: ignore[no-any-return]

    @strawberry.field(extensions=[Upper()])
    def loud(self, text: str = "soft") -> str:
        return text

    @strawberry.field
    def never(self) -> str:
        raise LookupError("never")

    @staticmethod
    def _hello(root: object, name: str = "you") -> Awaitable[str]:
        return Later(f"hello {name} {root}")

    hello: str = strawberry.field(resolver=_hello)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def change(self, info: Info, input: Filter) -> Pet | None:  # noqa: A002 - the name in the schema
        info.context.steps += 1
        return await info.context.slow_fate(a_pet(info.context), input)  # type: ignore[no-any-return]

    @strawberry.mutation
    def count(self, info: Info, by: int = 1) -> int:
        info.context.steps += by
        return info.context.fate(info.context.steps)  # type: ignore[no-any-return]


class Uncoded(Schema):
    """Errors as they come, so that their texts are compared too."""

    def process_errors(self, errors: list[GraphQLError], execution_context: object = None) -> None:
        """Leave them."""


WIDE = Limits(tokens=20_000, depth=50, aliases=1_000, fields=5_000, root_fields=100, cost=10**9)
TOY = Uncoded(Query, Mutation, types=[Puppy], limits=WIDE, text_max=50)


async def answer_of(schema: Schema, operation: Operation, variables: Any, context: Any) -> str:
    """Give the answer of an execution as JSON."""
    try:
        result = await schema.answer(operation, json.loads(json.dumps(variables)), context)
    except RequestError as refusal:
        return json.dumps([error.formatted for error in refusal.errors])
    errors = [error.formatted for error in result.errors or ()]
    return json.dumps({"data": result.data, "errors": errors}, ensure_ascii=False)


async def both(text: str, variables: Any = None, seed: int = 0, schema: Schema = TOY) -> tuple[str, str, bool]:
    """Execute by graphql-core and by the plan: both answers, and whether there was a plan at all."""
    operation = next(iter(schema.documents.read(text).operations.values()))
    operation.is_planned = True
    interpreted = await answer_of(schema, operation, variables or {}, World(Random(seed)))
    operation.is_planned = False
    planned = await answer_of(schema, operation, variables or {}, World(Random(seed)))
    return interpreted, planned, operation.plan is not None


async def same(text: str, variables: Any = None, seeds: int = 20, *, planned: bool = True) -> str:
    """Check one document in some worlds and give its last answer."""
    by_plan = ""
    for seed in range(seeds):
        by_core, by_plan, has_plan = await both(text, variables, seed)
        assert by_plan == by_core
        assert has_plan is planned
    return by_plan


class Writer:
    """Writes random operations on a schema, mostly valid, with their variables, mostly right."""

    def __init__(self, schema: Schema, chance: Random, depth: int, texts: Mapping[str, list[str]]) -> None:
        self.texts = texts
        self.schema = schema._schema
        self.chance = chance
        self.depth = depth
        self.variables: dict[str, tuple[str, Any]] = {}
        self.fragments: list[str] = []

    def operation(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Write one operation, as text and variables."""
        root = self.schema.mutation_type if kind == "mutation" else self.schema.query_type
        body = self.selections(root, 0)
        declared = ", ".join(f"${name}: {what}" for name, (what, _) in self.variables.items())
        given = {name: value for name, (_, value) in self.variables.items() if value is not ...}
        if self.chance.random() < 0.05:
            given["unknown"] = "x" * 60 if self.chance.random() < 0.5 else 1
        return f"{kind} Q{f'({declared})' if declared else ''} {body}\n" + "\n".join(self.fragments), given

    def selections(self, kind: Any, level: int) -> str:
        """Write a selection set on a type."""
        chance = self.chance
        parts: list[str] = []
        fields = list(kind.fields.items()) if not isinstance(kind, GraphQLUnionType) else []
        wanted = chance.sample(fields, min(len(fields), chance.randint(1, 4 if level else 3)))
        for name, field in wanted:
            inner = field.type
            while hasattr(inner, "of_type"):
                inner = inner.of_type
            if not is_leaf_type(inner) and level >= self.depth:
                continue
            below = "" if is_leaf_type(inner) else " " + self.selections(inner, level + 1)
            alias = f"{chance.choice('abcdefg')}{chance.randrange(1000)}: " if chance.random() < 0.3 else ""
            parts.append(f"{alias}{name}{self.arguments(field)}{self.condition()}{below}")
            if chance.random() < 0.1 and not alias and not field.args:
                parts.append(f"{name}{self.condition()}{below}")
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            for each in self.schema.get_possible_types(kind):
                if chance.random() < 0.6:
                    parts.append(self.fragment(each, level))
        if not parts or chance.random() < 0.2:
            parts.append(chance.choice(["", "kind: "]) + "__typename")
        return "{ " + "\n ".join(parts) + " }"

    def fragment(self, kind: GraphQLObjectType, level: int) -> str:
        """Write a fragment on a type, with or without a name."""
        body = self.selections(kind, level + 1)
        if self.chance.random() < 0.5:
            return f"... on {kind.name}{self.condition()} {body}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {kind.name} {body}")
        return f"...{name}{self.condition()}"

    def condition(self) -> str:
        """Write @skip or @include, sometimes."""
        if self.chance.random() > 0.08:
            return ""
        value = self.chance.choice(["true", "false", "$yes", "$no"])
        if value == "$yes":
            self.variables["yes"] = ("Boolean!", True)
        elif value == "$no":
            self.variables["no"] = ("Boolean = false", self.chance.choice([..., ..., False, True]))
        return f" @{self.chance.choice(['skip', 'include'])}(if: {value})"

    def arguments(self, field: Any) -> str:
        """Write arguments: literals and variables."""
        written = []
        for name, argument in field.args.items():
            if isinstance(argument.type, GraphQLNonNull) or self.chance.random() < 0.5:
                written.append(f"{name}: {self.literal(argument.type, 0)}")
        return f"({', '.join(written)})" if written else ""

    def literal(self, kind: Any, level: int) -> str:
        """Write a literal, or a variable in its place."""
        chance = self.chance
        if chance.random() < 0.4:
            name = f"v{len(self.variables)}"
            required = isinstance(kind, GraphQLNonNull)
            value: Any = ... if chance.random() < 0.15 and not required else self.value(kind)
            default = ""
            if chance.random() < 0.2 and is_leaf_type(kind.of_type if required else kind):
                default, kind = f" = {self.leaf(kind.of_type if required else kind)}", kind
            self.variables[name] = (f"{kind}{default}", value)
            return f"${name}"
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        elif chance.random() < 0.1:
            return "null"
        if isinstance(kind, GraphQLList):
            return "[" + ", ".join(self.literal(kind.of_type, level + 1) for _ in range(chance.randrange(3))) + "]"
        if isinstance(kind, GraphQLInputObjectType):
            fields = [
                f"{name}: {self.literal(field.type, level + 1)}"
                for name, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or (chance.random() < 0.4 and level < 4)
            ]
            return "{" + ", ".join(fields[:1] if kind.name == "Either" else fields) + "}"
        return self.leaf(kind)

    def leaf(self, kind: Any) -> str:
        """Write a literal of a leaf type."""
        value = self.value(kind, wrong=False)
        return str(value) if isinstance(kind, GraphQLEnumType) else json.dumps(value)

    def value(self, kind: Any, level: int = 0, *, wrong: bool = True) -> Any:
        """Give a JSON value of a type, or a wrong one."""
        chance = self.chance
        if wrong and chance.random() < 0.04:
            return chance.choice(["x", 5, 2**31, 1.0, True, [], {}, None, "\0", "y" * 51, [1], {"a": 1}, "e\u0301"])
        if isinstance(kind, GraphQLNonNull):
            return self.value(kind.of_type, level, wrong=wrong)
        if wrong and chance.random() < 0.08:
            return None
        if isinstance(kind, GraphQLList):
            return [self.value(kind.of_type, level + 1, wrong=wrong) for _ in range(chance.randrange(3))]
        if isinstance(kind, GraphQLInputObjectType):
            return {
                name: self.value(field.type, level + 1, wrong=wrong)
                for name, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or (chance.random() < 0.4 and level < 4)
            }
        if isinstance(kind, GraphQLEnumType):
            return chance.choice(list(kind.values))
        values = {
            "Int": [0, 1, 2, -5],
            "Float": [1.5, 2, -0.25],
            "Boolean": [True, False],
            "Date": ["2024-05-31"],
            "DateTime": ["2024-05-25T23:59:59+03:00"],
            "Period": ["2024-05"],
        }
        return chance.choice(values.get(kind.name) or self.texts[kind.name])


TEXTS = {"ID": ["7", "abc"], "String": ["text", "кириллица", ""]}


def documents(
    schema: Schema, count: int, depth: int, texts: Mapping[str, list[str]] = TEXTS
) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Write operations that may run."""
    seed = written = 0
    while written < count:
        seed += 1
        chance = Random(seed)
        writer = Writer(schema, chance, depth, texts)
        text, variables = writer.operation("mutation" if chance.random() < 0.3 else "query")
        try:
            schema.documents.read(text)
        except RequestError:
            continue
        written += 1
        yield text, variables, seed


async def test_random_operations_on_a_toy_schema_answer_as_in_graphql_core() -> None:
    plans = answers = 0
    for text, variables, seed in documents(TOY, 500, 4):
        by_core, by_plan, has_plan = await both(text, variables, seed)
        assert by_plan == by_core, f"{text}\n{variables}\n{seed}"
        plans += has_plan
        answers += '"data"' in by_core
    assert plans > 400
    assert answers > 300


# What random operations meet too seldom.


async def test_neighbours_do_not_share_an_input_that_a_resolver_changes() -> None:
    text = "query ($f: Filter!) { a: find(filter: $f) b: find(filter: $f, again: $f) c: find(filter: $f) }"
    variables = {"f": {"text": "t", "ids": ["1", 2], "sizes": [[{"width": 3}], []]}}
    last = await same(text, variables)
    assert "'2'" in last
    assert last.count("'mine'") <= 3


async def test_a_variable_somewhere_in_an_argument() -> None:
    text = """query ($t: String!, $i: ID, $c: Colour!, $w: Int!, $none: Int, $size: Size) {
      find(filter: {text: $t, ids: ["1", $i], colour: $c, sizes: [[{width: $w, unit: null}], {width: 1}]})
      sizes(sizes: [$size, null, {width: 1, height: 5}], size: $size) scalars(a: $t, b: 7, g: [$none, 1]) }"""
    await same(text, {"t": "t", "c": "BLUE", "w": 4})
    await same(text, {"t": "t", "i": "9", "c": "RED", "w": 4, "size": {"width": 2, "unit": None}, "none": None})


async def test_a_null_where_only_the_execution_finds_it() -> None:
    text = "query ($b: Int = 1) { a: scalars(b: $b) never c: scalars(b: $b) }"
    assert "Argument 'b'" in await same(text, {"b": None}, 1)
    await same(text, {"b": 2}, 1)
    await same(text, {}, 1)


async def test_conditions_are_decided_for_each_request() -> None:
    text = """query ($a: Boolean!, $b: Boolean = false) {
      cats @include(if: $a) { name } cats { lives @skip(if: $b) } ...F @skip(if: $a) hello }
      fragment F on Query { cats { colours } words @include(if: $b) }"""
    for a in (True, False):
        for b in ({}, {"b": True}, {"b": False}, {"b": None}):
            await same(text, {"a": a, **b}, 5)
    assert "invalid value" in await same(text, {"a": None}, 1)


async def test_info_knows_what_it_knows_in_graphql_core() -> None:
    await same(
        "query ($shout: Boolean = true, $x: Int) { pets(first: $x) { ...on Dog { p: infoPath(shout: $shout) } } }",
        {"x": 4},
    )


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("{ __schema { queryType { name } } }", {}),
        ('{ __type(name: "Cat") { name } hello }', {}),
        ("query ($t: Tree!) { tree(tree: $t) }", {"t": {"name": "a", "below": [{"name": "b"}]}}),
        ("query ($e: Either!) { either(either: $e) }", {"e": {"left": 1}}),
        ("query ($p: Patch!) { patch(patch: $p) }", {"p": {"name": None}}),
        ("query ($c: Int = 1 @deprecated) { scalars(b: $c) }", {}),
    ],
)
async def test_what_a_plan_cannot_do_is_left_to_graphql_core(text: str, variables: Any) -> None:
    by_core, by_plan, has_plan = await both(text, variables)
    assert by_plan == by_core
    assert not has_plan


@pytest.mark.parametrize(
    "text",
    [
        '{ loud(text: "x") pets { ...on Cat { name } } }',
        '{ tree(tree: {name: "a"}) either(either: {left: 1}) patch(patch: {name: "n"}) counted(to: 2) }',
        "{ box { content heavy __typename } things { ...on Cat { name } __typename } }",
        "{ named { __typename name nick echo ...on Dog { size } } }",
    ],
)
async def test_a_field_that_a_plan_cannot_do_is_left_to_graphql_core(text: str) -> None:
    await same(text)


async def test_repeated_fragments_do_not_make_a_plan_without_end() -> None:
    fragments = "".join(
        f" fragment F{n} on Cat {{ a: herself {{ ...F{n + 1} }} b: herself {{ ...F{n + 1} }} }}" for n in range(10)
    )
    text = "{ cats { ...F0 } }" + fragments + " fragment F10 on Cat { name }"
    by_core, by_plan, has_plan = await both(text)
    assert by_plan == by_core
    assert not has_plan


# The real schema.

OUTCOME_EVENTS: list[tuple[Event, ...]] = [
    (ReadingAccepted(**_of(ReadingAccepted)),),
]
