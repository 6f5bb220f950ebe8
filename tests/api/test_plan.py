"""Plans against graphql-core: the same operation on the same world must give the same answer, byte for byte."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from random import Random
from types import SimpleNamespace
from typing import Annotated, Any, Generic, TypeVar, cast

import asyncpg
import pytest
import strawberry
from graphql import (
    GraphQLError,
)
from starlette.requests import HTTPConnection
from strawberry.extensions import FieldExtension

from bels.access.callers import LOCAL
from bels.access.door import Door
from bels.access.raw_texts import RawTexts
from bels.api.changes import Changes
from bels.api.context import Asking, Context, Supplier
from bels.api.engine.deadlines import Deadlines
from bels.api.engine.documents import Operation, RequestError, Schema
from bels.api.engine.guard import Limits
from bels.api.engine.paging import encode_id
from bels.api.schema import SCHEMA
from bels.domain.commands import SubmitReading
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.terms import Word
from bels.intake import Intake
from bels.messages import Message, Outcome, TryLater
from bench import traffic
from tests.api.writer import documents
from tests.domain.vectors import vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import feed, today

# Work that is cancelled before it has begun is left behind, by graphql-core as by a plan.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


@pytest.fixture
def tidy() -> Iterator[None]:
    """Collect what is left behind while the filter above still holds, and not inside a named tuple, where it would not."""
    gc.disable()
    # What was there before is not looked through again after each test.
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()
    gc.enable()


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


@strawberry.enum
class Part(Word):
    DAY = "day"
    NIGHT = "night"


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
        return value == "a mouse" or (isinstance(value, Puppy) and value.size != 2.5)


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
        size=a_value(chance, chance.choice([1.5, 2.5])),
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
    words: list[Part] = strawberry.field(default_factory=lambda: [Part.DAY])
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
    def disguised(self, info: Info) -> list[Pet | None]:
        pets = [a_pet(info.context) for _ in range(3)]
        return [strawberry.cast(Puppy, each) if info.context.chance.random() < 0.5 else each for each in pets]

    @strawberry.field
    def things(self, info: Info) -> list[Thing]:
        return info.context.fate([a_box(info.context), a_pet(info.context), a_box(info.context)])  # type: ignore[no-any-return]

    @strawberry.field
    def box(self, info: Info) -> Box[int] | None:
        return info.context.fate(Box(content=1, heavy=None), Box(content="one", heavy=True))  # type: ignore[no-any-return]

    @strawberry.field
    async def find(self, info: Info, filter: Filter, again: Filter | None = None, word: Part = Part.DAY) -> str:  # noqa: A002
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
    def words(self, info: Info) -> list[Part | None]:
        return info.context.fate([Part.DAY, "night", None, "nonsense"])  # type: ignore[no-any-return]

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


@pytest.mark.usefixtures("tidy")
async def test_random_operations_on_a_toy_schema_answer_as_in_graphql_core() -> None:
    plans = answers = 0
    for text, variables, seed in documents(TOY, 400, 4):
        by_core, by_plan, has_plan = await both(text, variables, seed)
        assert by_plan == by_core, f"{text}\n{variables}\n{seed}"
        plans += has_plan
        answers += '"data"' in by_core
    assert plans > 320
    assert answers > 240


# What random operations meet too seldom.


@pytest.mark.usefixtures("tidy")
async def test_neighbours_do_not_share_an_input_that_a_resolver_changes() -> None:
    text = "query ($f: Filter!) { a: find(filter: $f) b: find(filter: $f, again: $f) c: find(filter: $f) }"
    variables = {"f": {"text": "t", "ids": ["1", 2], "sizes": [[{"width": 3}], []]}}
    answers = [await same(text, variables, 1)] + [(await both(text, variables, seed))[1] for seed in range(20)]
    full = [json.loads(each)["data"] for each in answers if '"data": {' in each]
    assert full
    # Each resolver adds its mark to what it was given, and finds no other's.
    assert all(found.count("mine") == 1 for each in full for found in each.values())


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize(
    "text",
    [
        "{ ...F ...F ...on Query { ...F } } fragment F on Query { never hello }",
        "{ disguised { __typename ...on Dog { size } ...on Puppy { name size } ...on Cat { name } } }",
        "{ pets(first: 4) { ...on Cat { friend { ...on Cat { name herself { name } } } } } }",
        "{ pets(first: 3) { ...on Dog { boss { echo ...on Cat { herself { herself { name } } } } } } }",
        "{ cats { a: herself { x: herself { name } y: rival { ...on Cat { herself { lives } } } } b: herself { lives } } }",
        "{ cats { kittens { herself { kittens { herself { name } } } } friend { ...on Cat { herself { born } } } } }",
        "mutation { count(by: 2147483647) beyond: count }",
        'mutation { a: count change(input: {text: "t"}) { ...on Cat { herself { name } } } b: count c: count(by: 5) }',
    ],
)
async def test_errors_rise_as_far_as_in_graphql_core(text: str) -> None:
    await same(text, seeds=80)


@pytest.mark.parametrize(
    "given",
    [
        {"text": "t", "depth": 1},
        {"text": "t", "size": {"width": 1, "depth": 1}},
        {"text": "e\u0301"},
        {"text": "t", "ids": "7"},
        {"text": "t", "weight": 2**60},
        {"text": "t", "since": "2024-05-25"},
        {"text": "t", "words": ["DAY", "day"]},
        {"ids": []},
        [],
        None,
    ],
)
async def test_an_odd_variable_is_read_as_in_graphql_core(given: Any) -> None:
    await same("query ($f: Filter!) { find(filter: $f) }", {"f": given}, 3)


async def test_a_variable_somewhere_in_an_argument() -> None:
    text = """query ($t: String!, $i: ID! = "8", $c: Colour!, $w: Int!, $none: Int, $size: Size) {
      find(filter: {text: $t, ids: ["1", $i], colour: $c, sizes: [[{width: $w, unit: null}], {width: 1}]})
      sizes(sizes: [$size, null, {width: 1, height: 5}], size: $size) scalars(a: $t, b: 7, g: [$none, 1]) }"""
    await same(text, {"t": "t", "c": "BLUE", "w": 4})
    await same(text, {"t": "t", "i": "9", "c": "RED", "w": 4, "size": {"width": 2, "unit": None}, "none": None})


async def test_a_null_where_only_the_execution_finds_it() -> None:
    text = "query ($b: Int = 1) { a: scalars(b: $b) never c: scalars(b: $b) }"
    assert "Argument 'b'" in await same(text, {"b": None}, 1)
    await same(text, {"b": 2}, 1)
    await same(text, {}, 1)


@pytest.mark.usefixtures("tidy")
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
        f" fragment F{n} on Cat {{ a: herself {{ ...F{n + 1} }} b: herself {{ ...F{n + 1} }} }}" for n in range(8)
    )
    text = "{ cats { ...F0 } }" + fragments + " fragment F8 on Cat { name }"
    by_core, by_plan, has_plan = await both(text)
    assert by_plan == by_core
    assert not has_plan


# The real schema.


READ = ReadingAccepted | ReadingHeld | ReadingRefused


class Office:
    """An intake that tells real things but takes nothing in: it answers with outcomes that others had."""

    def __init__(self, intake: Intake, outcomes: list[Outcome], chance: Random) -> None:
        self.intake = intake
        self.outcomes = outcomes
        self.chance = chance
        self.taken: list[Message] = []
        self.preview, self.may_submit, self.clock = intake.preview, intake.may_submit, today
        self.account, self.accounts, self.rules = intake.account, intake.accounts, intake.rules
        self.rulebook = intake.rulebook

    async def submit(self, message: Message) -> Outcome:
        """Note the message and give some outcome."""
        self.taken.append(message)
        await asyncio.sleep(0)
        if self.chance.random() < 0.1:
            raise TryLater("full")
        return self.some(message)

    async def handle(self, messages: list[Message]) -> list[Outcome]:
        """Note the messages and give some outcomes."""
        self.taken += messages
        return [self.some(message) for message in messages]

    def some(self, message: Message) -> Outcome:
        """Give an outcome that such a message may have."""
        is_reading = isinstance(message.command, SubmitReading)
        return self.chance.choice([x for x in self.outcomes if isinstance(x.events[0], READ) is is_reading])


@asynccontextmanager
async def supplier(pool: asyncpg.Pool) -> AsyncIterator[tuple[Intake, list[Outcome], dict[str, list[str]]]]:
    """Give an intake with some lives behind it, their outcomes, and the texts and ids to ask for."""
    async with Intake(pool, DEFAULT_RULEBOOK, today).running() as intake:
        outcomes: list[Outcome] = []
        accounts = []
        for number, vector in enumerate(vectors("billing")[::8], 7000001):
            accounts.append(str(number))
            outcomes += await feed(intake, vector, str(number))
        keys = [
            f"Account:{accounts[0]}",
            f"Reading:{accounts[1]}/3",
            f"AuditEntry:{accounts[2]}/1",
            f"Usage:{accounts[0]}/2024-02",
        ]
        ids = [encode_id(*key.split(":")) for key in keys]
        receipts = [outcome.receipt for outcome in outcomes]
        yield intake, outcomes, {"ID": [*ids, "nonsense"], "String": [*accounts * 5, *receipts[:20], "T1", "показание"]}


async def answered(
    operation: Operation, variables: Any, pool: asyncpg.Pool, intake: Intake, outcomes: list[Outcome], seed: int
) -> tuple[Any, list[Message]]:
    """Execute an operation of the real schema: its answer, and the messages it handed in."""
    office = Office(intake, outcomes, Random(seed))
    app = Supplier(
        pool,
        cast("Intake", office),
        cast("Changes", None),
        cast("Door", SimpleNamespace(sender_key=b"key", raw_texts=RawTexts(b"k" * 32))),
    )
    context = Context(app, HTTPConnection({"type": "http"}), _request_id="r", asking=Asking(LOCAL))
    answer = json.loads(await answer_of(SCHEMA, operation, variables, context))
    if isinstance(answer, dict):
        # Where several fields ask the database at once, it decides whose error comes first; and where each would take the
        # same parent with it, whose error is told at all.
        for error in answer["errors"]:
            error["path"] = [step if isinstance(step, str) else "*" for step in error.get("path", [])]
        answer["errors"].sort(key=json.dumps)
    return answer, office.taken


@pytest.mark.usefixtures("tidy")
async def test_random_operations_on_the_real_schema_answer_as_in_graphql_core(pool: asyncpg.Pool) -> None:
    plans = full = 0
    async with supplier(pool) as (intake, outcomes, texts):
        for text, variables, seed in documents(SCHEMA, 230, 5, texts):
            operation = next(iter(SCHEMA.documents.read(text).operations.values()))
            operation.is_planned = True
            by_core = await answered(operation, variables, pool, intake, outcomes, seed)
            operation.is_planned = False
            by_plan = await answered(operation, variables, pool, intake, outcomes, seed)
            assert json.dumps(by_plan[0]) == json.dumps(by_core[0]), text
            assert by_plan[1] == by_core[1], text
            plans += operation.plan is not None
            full += len(json.dumps(by_plan[0])) > 200
    assert plans > 215
    assert full > 80


@pytest.mark.parametrize("name", ["SUBMIT_READING", "SUBMIT_READINGS"])
async def test_a_plan_leaves_nothing_of_the_hottest_path_to_graphql_core(name: str, pool: asyncpg.Pool) -> None:
    operation = next(iter(SCHEMA.documents.read(getattr(traffic, name)).operations.values()))
    one = {"account": "1000101", "idempotencyKey": "k", "values": [{"register": "TOTAL", "value": "10385"}]}
    variables = {"input": one if name == "SUBMIT_READING" else {"rows": [one, one]}}
    async with supplier(pool) as (intake, outcomes, _):
        await answered(operation, variables, pool, intake, outcomes, 1)
        assert operation.plan is not None
        operation.plan._begin = None  # type: ignore[assignment]  # graphql-core cannot be asked any more
        answer, taken = await answered(operation, variables, pool, intake, outcomes, 1)
    assert taken
    assert answer["errors"] == []


# Deadlines.


async def test_what_takes_too_long_is_cancelled_and_the_rest_is_not() -> None:
    deadlines = Deadlines(0.05)

    async def work(time_s: float) -> float:
        await asyncio.sleep(time_s)
        return time_s

    found = await asyncio.gather(*[deadlines.within(work(x)) for x in (0, 5, 0.01, 6)], return_exceptions=True)
    assert [found[0], found[2]] == [0, 0.01]
    assert isinstance(found[1], TimeoutError)
    assert isinstance(found[3], TimeoutError)
    assert await deadlines.within(work(0)) == 0


async def test_a_task_that_somebody_else_cancels_is_not_late() -> None:
    deadlines = Deadlines(5)
    task = asyncio.create_task(deadlines.within(asyncio.sleep(5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_later_work_has_its_own_deadline() -> None:
    deadlines = Deadlines(0.05)
    await deadlines.within(asyncio.sleep(0.03))
    await deadlines.within(asyncio.sleep(0.03))
    with pytest.raises(TimeoutError):
        await deadlines.within(asyncio.sleep(1))
