from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
import strawberry
from hypothesis import given
from hypothesis import strategies as st

from bels.api.engine.documents import Schema
from bels.api.engine.paging import (
    Connection,
    Key,
    Node,
    Page,
    connect,
    decode_cursor,
    decode_id,
    encode_cursor,
    encode_id,
    read_page,
)
from bels.api.engine.scalars import BadUserInputError


@dataclass(frozen=True)
class Row:
    number: int


@strawberry.type
class Account(Node):
    number: int

    @classmethod
    def of(cls, row: Row) -> "Account":
        return cls(id=encode_id("Account", str(row.number)), number=row.number)


def select(rows: range, page: Page) -> list[Row]:
    """Select as a keyset query does: after or before a key, in the order asked for, one more than the page."""
    after = page.after[0] if page.after else None
    before = page.before[0] if page.before else None
    found = [
        Row(n)
        for n in rows
        if (not isinstance(after, int) or n > after) and (not isinstance(before, int) or n < before)
    ]
    return (found[::-1] if page.backwards else found)[: page.limit]


@strawberry.type
class Query:
    @strawberry.field
    def accounts(
        self, first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
    ) -> Connection[Account]:
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int,))
        return connect(select(range(50), page), page, node=Account.of, key=lambda row: (row.number,))

    @strawberry.field
    def node(self, id: strawberry.ID) -> Node | None:  # noqa: A002 - the name in the schema
        found = decode_id(id, "Account")
        return Account(id=id, number=int(found.key))


SCHEMA = Schema(Query)
ASK = """query($first: Int, $after: String, $last: Int, $before: String) {
  accounts(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id number } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


async def ask(**variables: object) -> Any:
    result = await SCHEMA.execute(ASK, variables)
    if result.errors:
        return [(error.extensions or {}).get("code") for error in result.errors]
    assert result.data is not None
    return result.data["accounts"]


def numbers(page: Any) -> list[int]:
    return [edge["node"]["number"] for edge in page["edges"]]


async def test_a_page_has_twenty_objects_unless_asked_otherwise() -> None:
    assert numbers(await ask()) == list(range(20))


async def test_the_pages_forwards_are_the_whole_list_once() -> None:
    seen: list[int] = []
    after = None
    for _ in range(10):
        page = await ask(first=7, after=after)
        seen += numbers(page)
        after = page["pageInfo"]["endCursor"]
        assert page["pageInfo"]["hasPreviousPage"] is (len(seen) > 7)
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == list(range(50))


async def test_the_pages_backwards_are_the_whole_list_once() -> None:
    seen: list[int] = []
    before = None
    for _ in range(10):
        page = await ask(last=7, before=before)
        seen = numbers(page) + seen
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert seen == list(range(50))


async def test_an_empty_page_has_no_cursors() -> None:
    page = await ask(after=encode_cursor((49,)))
    assert page == {
        "edges": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": True, "startCursor": None, "endCursor": None},
    }


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 0},
        {"first": -1},
        {"first": 101},
        {"last": 0},
        {"last": 101},
        {"first": 1, "last": 1},
        {"after": ""},
        {"after": "5"},
        {"after": "Привет"},
        {"after": "===="},
        {"before": encode_cursor(("a",))},
        {"before": encode_cursor((1, 2))},
        {"after": encode_cursor((2**70,))},
        {"after": encode_cursor((1,)) + "="},
        {"after": urlsafe_b64encode(b"[" * 700).decode().rstrip("=")},
        {"after": urlsafe_b64encode(b"[1 ]").decode().rstrip("=") + "\n"},
        {"after": "x" * 1_000},
    ],
)
async def test_a_bad_size_or_cursor_is_bad_user_input(variables: dict[str, object]) -> None:
    assert await ask(**variables) == ["BAD_USER_INPUT"]


async def test_the_names_are_those_of_relay() -> None:
    sdl = str(SCHEMA)
    for line in (
        "type AccountConnection {",
        "edges: [AccountEdge!]!",
        "pageInfo: PageInfo!",
        "type AccountEdge {",
        "node: Account!",
        "cursor: String!",
        "hasNextPage: Boolean!",
        "hasPreviousPage: Boolean!",
        "startCursor: String",
        "endCursor: String",
        "interface Node {",
        "type Account implements Node {",
    ):
        assert line in sdl


async def test_a_node_is_found_by_its_global_id() -> None:
    result = await SCHEMA.execute(
        "query($id: ID!) { node(id: $id) { __typename id } }", {"id": encode_id("Account", "7")}
    )
    assert result.data == {"node": {"__typename": "Account", "id": encode_id("Account", "7")}}


@pytest.mark.parametrize(
    "id_", ["", "7", "Account:7", "Привет", encode_id("Meter", "7"), encode_id("Account", ""), "A" * 999]
)
async def test_a_bad_id_is_bad_user_input(id_: str) -> None:
    result = await SCHEMA.execute("query($id: ID!) { node(id: $id) { id } }", {"id": id_})
    assert [error.extensions["code"] for error in result.errors or () if error.extensions] == ["BAD_USER_INPUT"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50))
def test_a_global_id_opens_to_what_it_was_made_of(key: str) -> None:
    from unicodedata import normalize

    key = normalize("NFC", key)
    assert decode_id(encode_id("Account", key), "Account", "Meter") == ("Account", key)


@given(st.integers(-(2**63), 2**63 - 1), st.dates(), st.booleans() | st.none())
def test_a_cursor_opens_to_its_key(number: int, day: date, third: bool | None) -> None:
    key: Key = (number, day, third)
    assert decode_cursor(encode_cursor(key), (int, date, bool | None)) == key


def test_a_cursor_cannot_smuggle_a_text_that_cannot_be_kept() -> None:
    with pytest.raises(BadUserInputError):
        decode_cursor(encode_cursor(("a\0",)), (str,))
    with pytest.raises(BadUserInputError):
        decode_cursor(encode_cursor((True,)), (int,))
