"""Proofs by the seals: that an account's head stands in one, and that two of them tell one story (RFC 9162, 2.1.3 and 2.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bels.audit.seals.chunks import read_chunks
from bels.audit.seals.merkle import (
    ProofError,
    are_consistent,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of_path,
)
from bels.audit.seals.reading import find_seals, heads_of, latest_seal, leaves_through
from bels.audit.seals.statement import Seal, head_leaf, published, signed_bytes
from bels.journal.write import Db


class SealsMissingError(RuntimeError):
    """Seals that a proof rests on are not in the database; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Proof:
    """That the entry ``version`` of a stream, with this digest, was its last one in the tree of a seal: ``index`` of ``size`` leaves."""

    seal: Seal
    account: str
    version: int
    digest: bytes
    index: int
    size: int
    path: tuple[bytes, ...]

    @property
    def holds(self) -> bool:
        """Say whether the path leads to the root of the seal, whose signature is another question."""
        leaf = leaf_hash(head_leaf(self.account, self.version, self.digest))
        try:
            return self.size == self.seal.accounts and self.seal.heads == root_of_path(
                leaf, self.index, self.size, self.path
            )
        except ProofError:
            return False

    @property
    def said(self) -> dict[str, Any]:
        """Tell it as an evidence pack does, to be judged elsewhere (``proofs.jsonl`` of docs/evidence.md)."""
        return {
            "seal": msgspec.json.decode(published(self.seal)),
            "account": self.account,
            "version": self.version,
            "index": self.index,
            "size": self.size,
            "path": [step.hex() for step in self.path],
        }


@dataclass(frozen=True, slots=True)
class Consistency:
    """That a seal counts an earlier one, and all that were before it.

    ``path`` leads from the log of the first (over ``first.number - 1`` seals) to that of the second, ``inclusion`` from the first seal,
    which is the leaf ``first.number - 1``, to the log of the second. Of a seal and itself nothing needs to be shown.
    """

    first: Seal
    second: Seal
    path: tuple[bytes, ...]
    inclusion: tuple[bytes, ...]

    @property
    def holds(self) -> bool:
        """Say whether both lead to the log of the second seal; signatures are another question."""
        if self.first.number == self.second.number:
            return signed_bytes(self.first) == signed_bytes(self.second) and not self.path and not self.inclusion
        size = self.second.number - 1
        leaf = leaf_hash(signed_bytes(self.first))
        try:
            counted = root_of_path(leaf, self.first.number - 1, size, self.inclusion) == self.second.log
        except ProofError:
            return False
        return counted and are_consistent(self.first.number - 1, self.first.log, size, self.second.log, self.path)


async def prove(db: Db, account: str, number: int | None = None) -> Proof | None:
    """Prove an account's head by a seal, the newest by default; None where there is no such seal, or it does not know the account.

    It takes three queries, and reads one part of the tree. Where the database was changed the proof does not hold (``holds``).

    :raises SealError: the seal cannot be read.
    :raises ChunksError: its parts cannot be read.
    """
    seal = await latest_seal(db) if number is None else (await find_seals(db, [number])).get(number)
    if seal is None:
        return None
    kept: bytes = await db.fetchval("SELECT chunks FROM seal WHERE number = $1", seal.number)
    chunks = read_chunks(kept)
    place = chunks.place_of(account)
    if place is None:
        return None
    size = 1 << chunks.bits
    heads = await heads_of(db, seal.number, chunks.firsts[place], min(size, seal.accounts - place * size))
    index = next((i for i, (each, _, _) in enumerate(heads) if each == account), None)
    if index is None:
        return None
    _, version, digest = heads[index]
    within = inclusion_path([leaf_hash(head_leaf(*head)) for head in heads], index)
    above = inclusion_path(chunks.roots, place)
    return Proof(seal, account, version, digest, place * size + index, seal.accounts, (*within, *above))


async def consistency(db: Db, first: int, second: int) -> Consistency | None:
    """Prove that a seal counts an earlier one; None where one of them is not there. It takes two queries.

    :raises ValueError: the second one is the earlier.
    :raises SealError: a seal cannot be read.
    :raises SealsMissingError: seals between them are not there.
    """
    if first > second:
        raise ValueError("the first seal must be the earlier one")
    found = await find_seals(db, [first, second])
    if first not in found or second not in found:
        return None
    if first == second:
        return Consistency(found[first], found[second], (), ())
    leaves = await log_leaves(db, second)
    return Consistency(
        found[first],
        found[second],
        tuple(consistency_path(leaves, first - 1)),
        tuple(inclusion_path(leaves, first - 1)),
    )


async def log_leaves(db: Db, number: int) -> Sequence[bytes]:
    """Give the leaf hashes of the seals before one, 1 to ``number - 1``; their root is its ``log``.

    :raises SealsMissingError: they are not all there.
    """
    leaves = await leaves_through(db, number - 1)
    if len(leaves) != number - 1:
        raise SealsMissingError(f"of the seals 1 to {number - 1} only {len(leaves)} are there")
    return leaves
