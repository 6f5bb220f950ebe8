"""The heads of all accounts as one seal after the other knows them, in memory, with the root over them.

A tree of 300,000 heads takes some 60 MB, whatever their history; where a seal changes few of them few nodes are hashed anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import sha256

from bels.audit.seals.chunks import Chunks
from bels.audit.seals.merkle import HASH_SIZE, leaf_hash, root
from bels.audit.seals.reading import Head
from bels.audit.seals.statement import head_leaf

_PAIR = 2 * HASH_SIZE


class HeadsTree:
    """Heads in the order of the bytes of their numbers, each level of the tree over them in one piece of memory."""

    def __init__(self) -> None:
        self.accounts: list[str] = []
        self.entries = 0
        self._versions = array("q")
        self._digests = bytearray()
        self._levels: list[bytearray] = [bytearray()]

    def __len__(self) -> int:
        return len(self.accounts)

    def __iter__(self) -> Iterator[Head]:
        for i, account in enumerate(self.accounts):
            yield account, self._versions[i], self._digest(i)

    def place_of(self, account: str) -> int | None:
        """Say where an account stands, None where it does not."""
        i = bisect_left(self.accounts, account)
        return i if i < len(self.accounts) and self.accounts[i] == account else None

    def head_of(self, account: str) -> tuple[int, bytes] | None:
        """Give the version and the digest of an account's head, None where it has none."""
        i = self.place_of(account)
        return (self._versions[i], self._digest(i)) if i is not None else None

    def change(self, heads: Sequence[Head]) -> None:
        """Put heads in the place of those of their accounts, which are in order of number; new ones among the others."""
        # Python orders texts by code points, which is the order of their bytes in UTF-8.
        known = {account: place for account, _, _ in heads if (place := self.place_of(account)) is not None}
        dirty, leaves = set(known.values()), self._levels[0]
        for account, version, digest in heads:
            i = known.get(account)
            if i is None:
                continue
            self.entries += version - self._versions[i]
            self._versions[i] = version
            self._digests[HASH_SIZE * i : HASH_SIZE * (i + 1)] = digest
            leaves[HASH_SIZE * i : HASH_SIZE * (i + 1)] = leaf_hash(head_leaf(account, version, digest))
        new = [head for head in heads if head[0] not in known]
        self._hash(dirty, self._add(new) if new else len(self.accounts))

    @property
    def root(self) -> bytes:
        """Give the root over all heads."""
        return bytes(self._levels[-1]) if self.accounts else root([])

    def _digest(self, i: int) -> bytes:
        return bytes(self._digests[HASH_SIZE * i : HASH_SIZE * (i + 1)])

    def _add(self, new: Sequence[Head]) -> int:
        """Put new accounts among the others; give the first place from which all stand elsewhere."""
        places = [bisect_left(self.accounts, account) for account, _, _ in new]
        leaves, digests, versions = bytearray(), bytearray(), array("q")
        accounts: list[str] = []
        at = 0
        for place, (account, version, digest) in zip(places, new, strict=True):
            accounts += self.accounts[at:place]
            versions += self._versions[at:place]
            digests += self._digests[HASH_SIZE * at : HASH_SIZE * place]
            leaves += self._levels[0][HASH_SIZE * at : HASH_SIZE * place]
            accounts.append(account)
            versions.append(version)
            digests += digest
            leaves += leaf_hash(head_leaf(account, version, digest))
            self.entries += version
            at = place
        self.accounts = accounts + self.accounts[at:]
        self._versions = versions + self._versions[at:]
        self._digests = digests + self._digests[HASH_SIZE * at :]
        self._levels[0] = leaves + self._levels[0][HASH_SIZE * at :]
        return places[0]

    def _hash(self, dirty: set[int], moved: int) -> None:
        """Hash anew what is above some leaves, and above all from a place on."""
        level = 0
        while len(self._levels[level]) > HASH_SIZE:
            below = self._levels[level]
            if len(self._levels) == level + 1:
                self._levels.append(bytearray())
                moved = 0
            above = self._levels[level + 1]
            count = (len(below) // HASH_SIZE + 1) // 2
            moved >>= 1
            dirty = {i >> 1 for i in dirty if i >> 1 < moved}
            del above[HASH_SIZE * moved :]
            for i in dirty:
                above[HASH_SIZE * i : HASH_SIZE * (i + 1)] = _node(below, i)
            for i in range(moved, count):
                above += _node(below, i)
            level += 1
        del self._levels[level + 1 :]


def differing_parts(chunks: Chunks, *candidates: Sequence[Head]) -> list[tuple[str, str | None]]:
    """Say of which parts of a seal no candidate's heads lead to the root: from an account, to before another, None for the end."""
    firsts = ["", *chunks.firsts[1:]]
    parts = [[root_of(part) for part in _parted(firsts, heads)] for heads in candidates]
    wrong = [i for i, wanted in enumerate(chunks.roots) if all(roots[i] != wanted for roots in parts)]
    return [(chunks.firsts[i], firsts[i + 1] if i + 1 < len(firsts) else None) for i in wrong]


def root_of(heads: Sequence[Head]) -> bytes:
    """Give the root over heads, which are in the order of the tree."""
    return root([leaf_hash(head_leaf(*head)) for head in heads])


def _parted(firsts: Sequence[str], heads: Sequence[Head]) -> Iterator[Sequence[Head]]:
    bounds = [bisect_left(heads, first, key=lambda head: head[0]) for first in firsts]
    for begin, end in zip(bounds, [*bounds[1:], len(heads)], strict=True):
        yield heads[begin:end]


def _node(below: bytearray, i: int) -> bytes:
    pair = below[_PAIR * i : _PAIR * (i + 1)]
    # The last one of an odd level goes up as it is.
    return sha256(b"\x01" + pair).digest() if len(pair) == _PAIR else bytes(pair)
