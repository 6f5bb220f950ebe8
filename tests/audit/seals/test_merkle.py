"""Trees are hashed as RFC 9162 says: against the vectors of Certificate Transparency, and against its words taken literally."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.audit.seals.chunks import CHUNK_SIZE
from bels.audit.seals.merkle import (
    ProofError,
    are_consistent,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root,
    root_of_path,
)

# The reference implementation's own (google/certificate-transparency, merkletree/merkle_tree_test.cc).
DATA = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"

sizes = st.integers(1, 70)
hashes = st.builds(lambda size: [leaf_hash(b"%d" % i) for i in range(size)], sizes)


def mth(leaves: Sequence[bytes]) -> bytes:
    """Take RFC 9162, 2.1.1 literally, over hashed leaves."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    left = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:left]) + mth(leaves[left:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Take PATH of RFC 9162, 2.1.3.1 literally."""
    if len(leaves) == 1:
        return []
    left = split(len(leaves))
    if index < left:
        return [*path(index, leaves[:left]), mth(leaves[left:])]
    return [*path(index - left, leaves[left:]), mth(leaves[:left])]


def subproof(first: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """Take SUBPROOF of RFC 9162, 2.1.4.1 literally."""
    if first == len(leaves):
        return [] if whole else [mth(leaves)]
    left = split(len(leaves))
    if first <= left:
        return [*subproof(first, leaves[:left], whole), mth(leaves[left:])]
    return [*subproof(first - left, leaves[left:], False), mth(leaves[:left])]


def split(size: int) -> int:
    """Give the largest power of two below a size."""
    left = 1
    while left * 2 < size:
        left *= 2
    return left


def test_roots_are_those_of_certificate_transparency() -> None:
    leaves = [leaf_hash(data) for data in DATA]
    assert [root(leaves[:size]).hex() for size in range(len(DATA) + 1)] == list(ROOTS)


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [(0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, ROOTS[4]]), (2, 3, [ROOTS[2]]), (1, 5, [ROOTS[1], B, D])],
)
def test_inclusion_paths_are_those_of_certificate_transparency(index: int, size: int, expected: list[str]) -> None:
    leaves = [leaf_hash(data) for data in DATA[:size]]
    assert [each.hex() for each in inclusion_path(leaves, index)] == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 5, [B, D])],
)
def test_consistency_paths_are_those_of_certificate_transparency(first: int, second: int, expected: list[str]) -> None:
    leaves = [leaf_hash(data) for data in DATA[:second]]
    assert [each.hex() for each in consistency_path(leaves, first)] == expected


@given(hashes, st.data())
def test_trees_and_paths_are_what_the_standard_says_literally(leaves: list[bytes], data: st.DataObject) -> None:
    index, first = data.draw(st.integers(0, len(leaves) - 1)), data.draw(st.integers(0, len(leaves)))
    assert root(leaves) == mth(leaves)
    assert inclusion_path(leaves, index) == path(index, leaves)
    assert consistency_path(leaves, first) == (subproof(first, leaves, True) if first else [])
    assert root_of_path(leaves[index], index, len(leaves), inclusion_path(leaves, index)) == root(leaves)
    assert are_consistent(first, root(leaves[:first]), len(leaves), root(leaves), consistency_path(leaves, first))


@given(hashes, st.data())
def test_a_path_with_any_part_changed_leads_elsewhere(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    whole = [leaves[index], *inclusion_path(leaves, index)]
    place, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    changed = [*whole[:place], flipped(whole[place], bit), *whole[place + 1 :]]
    assert root_of_path(changed[0], index, len(leaves), changed[1:]) != root(leaves)
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda each: each != index)) if len(leaves) > 1 else None
    for size, at, steps in ((len(leaves), other, whole[1:]), (len(leaves), index, [*whole[1:], whole[0]])):
        assert at is None or not leads(whole[0], at, size, steps, root(leaves))
    assert len(whole) == 1 or not leads(whole[0], index, len(leaves), whole[1:-1], root(leaves))


@given(hashes, st.data())
def test_a_tree_is_consistent_with_its_own_beginning_alone(leaves: list[bytes], data: st.DataObject) -> None:
    first, bit = data.draw(st.integers(1, len(leaves))), data.draw(st.integers(0, 255))
    begun, whole, steps = root(leaves[:first]), root(leaves), consistency_path(leaves, first)
    assert not are_consistent(first, flipped(begun, bit), len(leaves), whole, steps)
    assert not are_consistent(first, begun, len(leaves), flipped(whole, bit), steps)
    assert not are_consistent(first, begun, len(leaves), whole, [*steps, begun])
    if steps:
        place = data.draw(st.integers(0, len(steps) - 1))
        changed = [*steps[:place], flipped(steps[place], bit), *steps[place + 1 :]]
        assert not are_consistent(first, begun, len(leaves), whole, changed)
        assert not are_consistent(first, begun, len(leaves), whole, steps[:-1])
        assert not are_consistent(first, begun, len(leaves), whole, [*steps[:-1], b"short"])
    rewritten = [flipped(leaves[0], bit), *leaves[1:]]
    assert not are_consistent(first, begun, len(leaves), root(rewritten), consistency_path(rewritten, first))


def test_nothing_is_the_beginning_of_everything() -> None:
    leaves = [leaf_hash(data) for data in DATA]
    assert are_consistent(0, root([]), 8, root(leaves), [])
    assert are_consistent(0, root([]), 0, root([]), [])
    assert not are_consistent(0, root(leaves), 8, root(leaves), [])
    assert not are_consistent(8, root(leaves), 7, root(leaves[:7]), [])


def test_a_path_that_no_tree_has_is_refused() -> None:
    with pytest.raises(IndexError):
        inclusion_path([], 0)
    with pytest.raises(IndexError):
        consistency_path([], 1)
    with pytest.raises(ProofError, match="no leaf 1"):
        root_of_path(leaf_hash(b""), 1, 1, [])
    with pytest.raises(ProofError, match="32 bytes"):
        root_of_path(leaf_hash(b""), 0, 2, [b"short"])
    with pytest.raises(ProofError, match="too long"):
        root_of_path(leaf_hash(b""), 0, 1, [leaf_hash(b"")])
    with pytest.raises(ProofError, match="too short"):
        root_of_path(leaf_hash(b""), 0, 2, [])


@pytest.mark.parametrize("size", [1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE + 3])
def test_the_roots_of_aligned_parts_have_the_root_of_the_whole(size: int) -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(size)]
    parts = [leaves[at : at + CHUNK_SIZE] for at in range(0, size, CHUNK_SIZE)]
    assert root([root(part) for part in parts]) == root(leaves)
    last = [*inclusion_path(parts[-1], len(parts[-1]) - 1), *inclusion_path([root(p) for p in parts], len(parts) - 1)]
    assert last == inclusion_path(leaves, size - 1)


def flipped(data: bytes, bit: int) -> bytes:
    """Flip a bit."""
    return bytes(byte ^ (1 << bit % 8 if i == bit // 8 else 0) for i, byte in enumerate(data))


def leads(leaf: bytes, index: int, size: int, steps: Sequence[bytes], to: bytes) -> bool:
    """Say whether a path leads to a root."""
    try:
        return root_of_path(leaf, index, size, steps) == to
    except ProofError:
        return False
