"""The chunks of a seal: the roots of aligned parts of its tree, so that a proof reads one part and not every head.

Written are ``bels:chunks:1`` and a line feed, k in one byte, and then for every part of 2^k leaves (the last one may have fewer), in
their order: its root of 32 bytes, the length of the number of its first stream (2 bytes, big-endian), the number (UTF-8). The root
over these roots is the root of the whole tree, and a leaf's path is that within its part and that of the part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from bels.audit.seals.merkle import HASH_SIZE, root

CHUNK_BITS = 10
"""A part has 1,024 leaves: 300,000 accounts make 12 KB a seal, and a proof reads a thousand heads."""

CHUNK_SIZE = 1 << CHUNK_BITS

_HEAD = b"bels:chunks:1\n"
_length = Struct(">H")


class ChunksError(ValueError):
    """The bytes are no chunks; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Parts of 2^``bits`` leaves: the root and the first stream of each, in their order."""

    bits: int
    roots: Sequence[bytes]
    firsts: Sequence[str]

    @property
    def root(self) -> bytes:
        """Give the root of the whole tree."""
        return root(self.roots)

    def place_of(self, account: str) -> int | None:
        """Say in which part a stream stands, if anywhere."""
        place = bisect_right(self.firsts, account.encode(), key=str.encode) - 1
        return place if place >= 0 else None


def write_chunks(chunks: Chunks) -> bytes:
    """Write chunks."""
    parts = [_HEAD, bytes([chunks.bits])]
    for part, first in zip(chunks.roots, chunks.firsts, strict=True):
        number = first.encode()
        parts += (part, _length.pack(len(number)), number)
    return b"".join(parts)


def read_chunks(data: bytes) -> Chunks:
    """Read chunks.

    :raises ChunksError: they are none.
    """
    at = len(_HEAD) + 1
    if len(data) < at or not data.startswith(_HEAD):
        raise ChunksError("these are no chunks of a seal")
    roots, firsts = [], []
    while at < len(data):
        number = at + HASH_SIZE + _length.size
        if number > len(data):
            raise ChunksError("the chunks end in the middle")
        (length,) = _length.unpack_from(data, at + HASH_SIZE)
        if number + length > len(data):
            raise ChunksError("the chunks end in the middle")
        roots.append(data[at : at + HASH_SIZE])
        try:
            firsts.append(data[number : number + length].decode())
        except UnicodeDecodeError:
            raise ChunksError("a number is no text") from None
        at = number + length
    return Chunks(data[len(_HEAD)], roots, firsts)
