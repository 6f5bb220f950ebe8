"""Pages, cursors and global ids after the Relay specification, by key and never by position.

A resolver reads a ``Page`` from its arguments, selects ``page.limit`` rows after or before the key and hands them to
``connect``; every row keeps its place when others are added, and the database never skips rows to find a page.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import strawberry

from bels.api.engine.scalars import TEXT_MAX, YEARS, BadUserInputError, clean_text

PAGE_DEFAULT = 20
PAGE_MAX = 100

T = TypeVar("T")
Row = TypeVar("Row")
Key = tuple[str | int | bool | date | datetime | None, ...]
"""Where a row stands in its order: the values of the columns it is ordered by, the last of them unique."""

_ENCODER = msgspec.json.Encoder()
_BIGINT = range(-(2**63), 2**63)


@strawberry.interface(description="An object that can be fetched again by its id.")
class Node:
    """Give every object of the API a global id; types implement it with a plain attribute."""

    id: strawberry.ID = strawberry.field(description="The global id: opaque, the same for ever.")


@strawberry.type(description="Where a page stands in its connection.")
class PageInfo:
    """Tell a client whether and how to go on."""

    has_next_page: bool = strawberry.field(description="Whether there is more after this page.")
    has_previous_page: bool = strawberry.field(description="Whether there is more before this page.")
    start_cursor: str | None = strawberry.field(description="The cursor of the first edge; for `before`.", default=None)
    end_cursor: str | None = strawberry.field(description="The cursor of the last edge; for `after`.", default=None)


@strawberry.type(description="One object of a connection, with its place.")
class Edge(Generic[T]):
    """Carry one object and its cursor."""

    node: T = strawberry.field(description="The object.")
    cursor: str = strawberry.field(description="The place of the object, opaque; for `after` and `before`.")


@strawberry.type(description="A page of objects, in a fixed order.")
class Connection(Generic[T]):
    """Carry one page."""

    edges: list[Edge[T]] = strawberry.field(description="The objects of this page, in order.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")


class GlobalId(NamedTuple):
    """A global id, opened: the name of the type and the key of the object."""

    type: str
    key: str


@dataclass(frozen=True, slots=True)
class Page:
    """What the client asked for: so many objects after or before a key; backwards when it asked for the last ones."""

    size: int
    after: Key | None = None
    before: Key | None = None
    backwards: bool = False

    @property
    def limit(self) -> int:
        """Say how many rows to select: one more than the page, to see whether there is more."""
        return self.size + 1


def encode_id(type_name: str, key: str) -> strawberry.ID:
    """Make the global id of an object; the same object always has the same one."""
    return strawberry.ID(_encode(f"{type_name}:{key}".encode()))


def decode_id(text: str, *types: str) -> GlobalId:
    """Open a global id, of one of these types if any are named.

    :raises BadUserInputError: it is not an id of ours, or of another type.
    """
    try:
        type_name, colon, key = _decode(text).decode().partition(":")
        if not (colon and type_name.isidentifier() and type_name.isascii() and clean_text(key) == key != ""):
            raise ValueError(text)
    except (ValueError, BadUserInputError):
        raise BadUserInputError("This is not an id of this API.") from None
    if types and type_name not in types:
        raise BadUserInputError(f"This is the id of a {type_name[:100]}; expected the id of {' or '.join(types)}.")
    return GlobalId(type_name, key)


def encode_cursor(key: Key) -> str:
    """Make the opaque cursor of a row from its key."""
    return _encode(_ENCODER.encode(key))


def decode_cursor(text: str, kinds: tuple[Any, ...]) -> Key:
    """Open a cursor whose key has these types, for example ``(date, int)``.

    :raises BadUserInputError: it is not a cursor of this connection.
    """
    try:
        key: Key = _decoder(kinds).decode(_decode(text))
        for value in key:
            if (
                (isinstance(value, str) and clean_text(value) != value)
                or (isinstance(value, int) and value not in _BIGINT)
                or (isinstance(value, datetime) and value.year not in YEARS)
            ):
                raise ValueError(text)
    except (ValueError, RecursionError, BadUserInputError):
        raise BadUserInputError("This is not a cursor of this connection.") from None
    return key


def read_page(
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    kinds: tuple[Any, ...],
) -> Page:
    """Read the arguments of a connection whose rows are ordered by keys of these types.

    :raises BadUserInputError: ``first`` or ``last`` is not 1 to 100, both are given, or a cursor is not of this connection.
    """
    if first is not None and last is not None:
        raise BadUserInputError("Give `first` or `last`, not both.")
    name, size = ("last", last) if last is not None else ("first", PAGE_DEFAULT if first is None else first)
    if not 1 <= size <= PAGE_MAX:
        raise BadUserInputError(f"`{name}` must be 1 to {PAGE_MAX}, not {size}.")
    return Page(
        size=size,
        after=None if after is None else decode_cursor(after, kinds),
        before=None if before is None else decode_cursor(before, kinds),
        backwards=last is not None,
    )


def connect(rows: Sequence[Row], page: Page, *, node: Callable[[Row], T], key: Callable[[Row], Key]) -> Connection[T]:
    """Make a connection of the rows selected with ``page.limit``, in the order they were selected.

    Backwards that is from the last row to the first; the connection always has them first to last.
    """
    more = len(rows) > page.size
    kept = rows[: page.size]
    edges = [
        Edge(node=node(row), cursor=encode_cursor(key(row))) for row in (reversed(kept) if page.backwards else kept)
    ]
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=page.before is not None if page.backwards else more,
            has_previous_page=more if page.backwards else page.after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if len(text) > TEXT_MAX:
        raise ValueError("too long")
    raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise ValueError("not the text that this API gave")
    return raw


@lru_cache(256)
def _decoder(kinds: tuple[Any, ...]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(tuple[kinds])  # type: ignore[valid-type]
