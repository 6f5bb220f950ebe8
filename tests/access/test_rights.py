"""The table of rights against the schema itself: every field has a rule, every role is tried on every field."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    get_named_type,
)
from starlette.requests import HTTPConnection

from bels.access.callers import EVERYTHING, Caller, Kind, Right
from bels.access.rights import WORDS, RightsError, printed, read_rights, shipped_rights
from bels.api.context import Asking, Context, Supplier
from bels.api.engine.budget import Budgets
from bels.api.engine.context import RefusedError
from bels.api.engine.http import GraphQL
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel

RIGHTS = shipped_rights()
PRINTED = Path(__file__).with_name("rights.txt")
CORE = SCHEMA._schema
ROOTS = {"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}
GIVEN = {
    "ID": '"UmVhZGluZzoxMDAwMTAxLzE"',
    "String": '"1000101"',
    "Int": "1",
    "Float": "1.5",
    "Boolean": "true",
    "Money": '"1.00"',
    "Decimal": '"1"',
    "Date": '"2026-01-01"',
    "DateTime": '"2026-01-01T00:00:00Z"',
    "Period": '"2026-01"',
    "Toml": '""',
}
ROLES = {
    word: Right.ANONYMOUS | right | (Right.OPERATOR if word.startswith("operator:") else Right(0))
    for word, right in WORDS.items()
}
"""The callers that are tried; an operator with a grant is an operator."""


def _types() -> Iterator[GraphQLObjectType | GraphQLInterfaceType]:
    for kind in CORE.type_map.values():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not kind.name.startswith("__"):
            yield kind


COORDINATES = sorted(f"{kind.name}.{field}" for kind in _types() for field in kind.fields)


def _value(kind: object) -> str:
    if isinstance(kind, GraphQLNonNull):
        return _value(kind.of_type)
    if isinstance(kind, GraphQLList):
        return f"[{_value(kind.of_type)}]"
    if isinstance(kind, GraphQLEnumType):
        return str(next(iter(kind.values)))
    if isinstance(kind, GraphQLInputObjectType):
        fields = kind.fields.items()
        given = [f"{name}: {_value(f.type)}" for name, f in fields if isinstance(f.type, GraphQLNonNull)]
        return "{" + ", ".join(given[:1] if kind.is_one_of else given) + "}"
    assert isinstance(kind, GraphQLScalarType)
    return GIVEN[kind.name]


def _asked(name: str, field: GraphQLField) -> str:
    needed = [f"{a}: {_value(x.type)}" for a, x in field.args.items() if isinstance(x.type, GraphQLNonNull)]
    return f"{name}({', '.join(needed)})" if needed else name


def _possible(kind: object) -> list[GraphQLObjectType]:
    if isinstance(kind, GraphQLUnionType):
        return list(kind.types)
    if isinstance(kind, GraphQLInterfaceType):
        return list(CORE.get_possible_types(kind))
    return [kind] if isinstance(kind, GraphQLObjectType) else []


def _leaves(kind: object) -> str:
    return " { __typename }" if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType) else ""


def _ways(rights: Right) -> dict[str, list[str]]:
    """Find the shortest way from a root to every type, over fields that these rights open: what is written before and after."""
    ways: dict[str, list[str]] = {}
    waiting: deque[GraphQLObjectType] = deque()
    for root, operation in ROOTS.items():
        kind = CORE.type_map[root]
        assert isinstance(kind, GraphQLObjectType)
        ways[root] = [f"{operation} {{"]
        waiting.append(kind)
    while waiting:
        here = waiting.popleft()
        for name, field in here.fields.items():
            if not RIGHTS.table[f"{here.name}.{name}"] & rights:
                continue
            target = get_named_type(field.type)
            for kind in _possible(target):
                if kind.name not in ways:
                    step = f"{_asked(name, field)} {{" + (f" ... on {kind.name} {{" if kind is not target else "")
                    ways[kind.name] = [*ways[here.name], step]
                    waiting.append(kind)
            if isinstance(target, GraphQLInterfaceType):
                ways.setdefault(target.name, [*ways[here.name], f"{_asked(name, field)} {{"])
            elif isinstance(target, GraphQLUnionType):
                # What all members have in common is asked of the interface, as front ends ask for every refusal.
                for shared in {i for member in target.types for i in member.interfaces}:
                    step = f"{_asked(name, field)} {{ ... on {shared.name} {{"
                    ways.setdefault(shared.name, [*ways[here.name], step])
    return ways


def _document(way: list[str], name: str, field: GraphQLField) -> str:
    opened = " ".join([*way, _asked(name, field) + _leaves(get_named_type(field.type))])
    return opened + " }" * (opened.count("{") - opened.count("}"))


def _context(connection: HTTPConnection, rights: Right, kind: Kind) -> Context:
    """Give what a request of somebody has at hand, with no supplier behind it: only the door is tried."""
    supplier = Supplier.__new__(Supplier)
    object.__setattr__(supplier, "rights", RIGHTS)
    object.__setattr__(supplier, "budgets", Budgets())
    object.__setattr__(supplier, "documents_only", False)
    caller = Caller(kind, secrets.token_hex(), rights, Channel.WEB, "test", {})
    return Context(supplier, connection, asking=Asking(caller))


def test_every_field_of_the_schema_has_a_rule_and_every_rule_a_field() -> None:
    missing = [each for each in COORDINATES if each not in RIGHTS.table]
    left_over = sorted(set(RIGHTS.table) - set(COORDINATES))
    assert (missing, left_over) == ([], []), "src/bels/access/rights.toml says who may see what"


def test_the_printed_table_is_the_table() -> None:
    table = printed(RIGHTS)
    assert PRINTED.read_text("utf-8") == table, (
        "who may see what has changed: print it again with `python -m bels.access.rights > tests/access/rights.txt` "
        "and look at the difference"
    )


def test_what_an_interface_shows_every_object_behind_it_shows_as_well() -> None:
    for kind in CORE.type_map.values():
        if not isinstance(kind, GraphQLInterfaceType):
            continue
        for each in CORE.get_possible_types(kind):
            for field in kind.fields:
                behind, before = RIGHTS.table[f"{each.name}.{field}"], RIGHTS.table[f"{kind.name}.{field}"]
                unsafe = [w for w, r in ROLES.items() if r & before and not r & behind and each.name in _ways(r)]
                assert not unsafe, f"{kind.name}.{field} shows {each.name}.{field} to {unsafe}"


@pytest.mark.parametrize("word", ROLES)
def test_every_role_is_let_in_or_refused_field_by_field_as_the_table_says(word: str) -> None:
    rights = ROLES[word]
    kind = Kind.ANONYMOUS if rights is Right.ANONYMOUS else Kind.PARTNER
    connection = HTTPConnection({"type": "http", "headers": []})
    refusal = (401, "UNAUTHENTICATED") if kind is Kind.ANONYMOUS else (403, "FORBIDDEN")
    mine, everything = _ways(rights), _ways(EVERYTHING)
    wrong: list[str] = []
    dead: list[str] = []
    for coordinate in COORDINATES:
        type_name, name = coordinate.split(".")
        owner = CORE.type_map[type_name]
        assert isinstance(owner, GraphQLObjectType | GraphQLInterfaceType)
        allowed = bool(RIGHTS.table[coordinate] & rights)
        if allowed and type_name not in mine:
            dead.append(coordinate)
            continue
        document = _document((mine if type_name in mine else everything)[type_name], name, owner.fields[name])
        operation = SCHEMA.find(document)
        assert coordinate in operation.coordinates
        try:
            _context(connection, rights, kind).admit(operation, 1)
            told = None
        except RefusedError as error:
            told = error.status, error.code
        if told != (None if allowed else refusal):
            wrong.append(f"{coordinate}: {told} for {document}")
    assert not wrong, "\n".join(wrong)
    public = {c for c in dead if Right.ANONYMOUS in RIGHTS.table[c]}
    assert not set(dead) - public, f"the table opens to {word} what it cannot reach: {dead}"


@pytest.mark.parametrize("word", ROLES)
async def test_over_http_no_role_gets_past_a_root_field_that_is_closed_to_it(word: str) -> None:
    rights = ROLES[word]
    kind = Kind.ANONYMOUS if rights is Right.ANONYMOUS else Kind.PARTNER

    async def context(connection: HTTPConnection) -> Context:
        return _context(connection, rights, kind)

    app = httpx.ASGITransport(GraphQL(SCHEMA, context))
    accept = {"accept": "application/graphql-response+json"}
    closed = 0
    async with httpx.AsyncClient(transport=app, base_url="http://bels", headers=accept) as client:
        for root, operation in ROOTS.items():
            kind_of_root = CORE.type_map[root]
            assert isinstance(kind_of_root, GraphQLObjectType)
            for name, field in kind_of_root.fields.items():
                if root == "Subscription" or RIGHTS.table[f"{root}.{name}"] & rights:
                    continue
                closed += 1
                answer = await client.post("/graphql", json={"query": _document([f"{operation} {{"], name, field)})
                told = answer.json()
                assert answer.status_code == (401 if kind is Kind.ANONYMOUS else 403), (name, told)
                assert "data" not in told
                assert [e["extensions"]["code"] for e in told["errors"]] == [
                    "UNAUTHENTICATED" if kind is Kind.ANONYMOUS else "FORBIDDEN"
                ]
    assert closed > 5


def test_a_word_that_is_no_right_is_refused() -> None:
    with pytest.raises(RightsError, match="neither a right nor a group"):
        read_rights('[who]\nall = "anonymus"\n')
    with pytest.raises(RightsError, match="neither a right nor a group"):
        read_rights('[who]\n[Query]\nboss = "account"\n')


def test_a_field_without_a_rule_is_refused_to_everybody_but_the_developer_at_this_machine() -> None:
    rights = read_rights("[who]\n")
    assert rights.first_refused(frozenset({"Query.account"}), EVERYTHING) == "Query.account"
