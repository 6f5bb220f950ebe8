"""Merkle trees as RFC 9162 (Certificate Transparency 2.0), section 2.1, hashes them, with SHA-256.

The tree over no leaves is SHA-256 of nothing; a leaf is hashed after the byte 0, a node after the byte 1; the left part of a tree of
n leaves has the largest power of two below n. Which is the same as joining neighbours level by level, where the last one of an
odd level goes up as it is: so the roots of aligned parts of 2^k leaves, taken as leaf hashes, have the root of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_SIZE = 32
PATH_MAX = 64
"""How many steps a path has at most: a tree has fewer than 2^64 leaves."""

_LEAF, _NODE = b"\x00", b"\x01"


class ProofError(ValueError):
    """A path is none of a tree of this size; the sentence says why."""


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf's data, 32 bytes."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash what is above two nodes, 32 bytes."""
    return sha256(_NODE + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Give the root of the tree over leaves that are hashed already, 32 bytes (RFC 9162, 2.1.1)."""
    if not leaf_hashes:
        return sha256().digest()
    level = leaf_hashes
    while len(level) > 1:
        level = _above(level)
    return level[0]


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Give the nodes that lead from a leaf to the root, nearest first (RFC 9162, 2.1.3.1).

    :raises IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves has no leaf {index}")
    path, level = [], leaf_hashes
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        level, index = _above(level), index >> 1
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Give the root that a path leads to from a leaf's hash in a tree of ``size`` leaves (RFC 9162, 2.1.3.2).

    :raises ProofError: no tree of this size has such a path.
    """
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    _check(leaf, *path)
    at, last, reached = index, size - 1, leaf
    for beside in path:
        if last == 0:
            raise ProofError("the path is too long")
        if at & 1 or at == last:
            reached = node_hash(beside, reached)
            while not at & 1:
                # The last node of an odd level went up alone.
                at, last = at >> 1, last >> 1
        else:
            reached = node_hash(reached, beside)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofError("the path is too short")
    return reached


def consistency_path(leaf_hashes: Sequence[bytes], first: int) -> list[bytes]:
    """Give the nodes that show that the tree over the first leaves is the beginning of this one (RFC 9162, 2.1.4.1).

    Of no leaves, and of all of them, nothing needs to be shown.

    :raises IndexError: there are fewer leaves.
    """
    if not 0 <= first <= len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves has no first {first}")
    if first == 0:
        return []
    path, part, whole = [], leaf_hashes, True
    while first < len(part):
        left = _left_size(len(part))
        if first <= left:
            path.append(root(part[left:]))
            part = part[:left]
        else:
            path.append(root(part[:left]))
            part, first, whole = part[left:], first - left, False
    if not whole:
        path.append(root(part))
    return path[::-1]


def are_consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Say whether a path shows that a tree of ``first`` leaves is the beginning of one of ``second`` (RFC 9162, 2.1.4.2)."""
    if not 0 <= first <= second or len(path) > PATH_MAX or any(len(each) != HASH_SIZE for each in path):
        return False
    if first == 0:
        return not path and first_root == root([]) and (second > 0 or second_root == first_root)
    if first == second:
        return not path and first_root == second_root
    # Where the first tree is a whole part of the second one, its root stands in no path.
    nodes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not nodes:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for beside in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(beside, old), node_hash(beside, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _above(level: Sequence[bytes]) -> list[bytes]:
    above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def _left_size(size: int) -> int:
    """Give the largest power of two below a size of at least two."""
    return 1 << ((size - 1).bit_length() - 1)


def _check(*hashes: bytes) -> None:
    if len(hashes) > PATH_MAX + 1 or any(len(each) != HASH_SIZE for each in hashes):
        raise ProofError(f"a path has at most {PATH_MAX} steps of {HASH_SIZE} bytes")
