"""Random operations on any schema: mostly valid, with variables that are mostly right."""

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    is_leaf_type,
)

from bels.api.engine.documents import RequestError, Schema


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
            members = self.schema.get_possible_types(kind)
            parts += [self.fragment(each, level) for each in members if chance.random() < 0.6]
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
                default = f" = {self.leaf(kind.of_type if required else kind)}"
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
        values: dict[str, list[Any]] = {
            "Int": [0, 1, 2, -5],
            "Float": [1.5, 2, -0.25],
            "Boolean": [True, False],
            "Date": ["2024-05-31"],
            "DateTime": ["2024-05-25T23:59:59+03:00"],
            "Period": ["2024-05"],
            "Decimal": ["7.33", "-0.5"],
            "Money": ["1245.05", "0.00", "-1", "0.001"],
            "Toml": ["", "x = 1", "[[key_rate]]"],
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
