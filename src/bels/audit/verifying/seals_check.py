"""Check the seals: their signatures, their row, their log, and whether the heads in the database lead to their roots.

A seal that was given from outside counts instead of what the database has under its number.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from asyncpg import Record

from bels.audit.findings import Finding, FindingKind
from bels.audit.seals.chunks import Chunks, ChunksError, read_chunks
from bels.audit.seals.keys import is_signed, public_keys
from bels.audit.seals.merkle import HASH_SIZE, leaf_hash, node_hash, root
from bels.audit.seals.reading import Head
from bels.audit.seals.statement import Seal, SealError, key_name, read_seal, signed_bytes
from bels.audit.verifying.chains import Sealed
from bels.audit.verifying.heads import HeadsTree
from bels.journal.write import Db

ROWS_AT_ONCE = 5_000
SORT_WAIT_S = 3_600.0
"""How long the database may sort the heads of all seals."""

ACCOUNT_CHARACTERS_MAX = 1_000

FINDINGS_OF_SEALS_MAX = 200
"""Findings told of seals; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What an auditor brings along: seals, each under the name of its file, public keys, and the heads of one of the seals.

    Without ``keys`` those of the database count, and then whoever owns the database may have signed.
    """

    seals: tuple[tuple[str, Seal], ...] = ()
    keys: tuple[bytes, ...] = ()
    heads: HeadsTree | None = None
    heads_seal: int | None = None


@dataclass(slots=True)
class SealsChecked:
    """What the seals say: ``count`` in the database, ``deciding`` from outside, the newest one, what it means for every account.

    ``heads`` are those of the newest seal, as the database has them, ``proven`` is the newest seal whose root they led to. ``doubted`` is
    the newest one whose root they did not lead to, the outside ones first; ``chunks`` are its parts, where they lead to its root.
    ``broken`` are all such seals, ``worthless`` those in the database that nobody who is trusted has signed.
    """

    count: int = 0
    deciding: dict[int, Seal] = field(default_factory=dict)
    newest: Seal | None = None
    proven: Seal | None = None
    doubted: Seal | None = None
    chunks: Chunks | None = None
    broken: list[int] = field(default_factory=list)
    worthless: set[int] = field(default_factory=set)
    heads: HeadsTree = field(default_factory=HeadsTree)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sealed(self) -> Sealed:
        """Give what the seals mean for every account."""
        return Sealed(
            upto=self.newest.number if self.newest is not None else 0,
            newest=self.proven.number if self.proven is not None else None,
            newest_at=self.proven.sealed_at if self.proven is not None else None,
            doubted=self.doubted.number if self.doubted is not None else None,
            doubted_at=self.doubted.sealed_at if self.doubted is not None else None,
            broken=tuple(ranges(sorted({*self.broken, *self.worthless}))),
        )

    def tell(self, text: str, seal: int | None = None, kind: FindingKind = FindingKind.SEAL_BROKEN) -> None:
        """Add a finding, unless there are too many of them."""
        if len(self.findings) < FINDINGS_OF_SEALS_MAX:
            self.findings.append(Finding(kind, text, seal=seal))
        elif len(self.findings) == FINDINGS_OF_SEALS_MAX:
            self.findings.append(Finding(kind, "there are more findings of seals, which are not told"))


async def check_seals(db: Db, outside: Outside) -> SealsChecked:
    """Check all seals of the database and those from outside, under one snapshot."""
    checked = SealsChecked()
    async with db.transaction(isolation="repeatable_read", readonly=True):
        keys = {key_name(public): public for public in outside.keys} or await _keys_of(db, checked)
        _decide(checked, outside, keys, "given" if outside.keys else "in the database")
        seals = await _row_of_seals(db, checked, keys, bool(outside.keys))
        checked.newest = max(seals.values(), key=lambda seal: seal.number, default=None)
        await _roots(db, checked, seals)
        if checked.doubted is not None:
            checked.chunks = await _chunks_of(db, checked.doubted)
    return checked


def ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Give ascending numbers as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


async def _keys_of(db: Db, checked: SealsChecked) -> dict[str, bytes]:
    keys = await public_keys(db)
    for key in [key for key, public in keys.items() if key_name(public) != key]:
        checked.tell(f"the key {key[:40]} in the database is not the one that it is named for")
        del keys[key]
    return keys


def _decide(checked: SealsChecked, outside: Outside, keys: Mapping[str, bytes], where: str) -> None:
    """Say which seals from outside count, by number: those whose signature does not hold are forgeries or damaged."""
    for name, seal in outside.seals:
        public = keys.get(seal.key)
        if public is None:
            checked.tell(
                f"{name}: seal {seal.number} is signed by key {seal.key}, which is not among the keys {where}",
                seal.number,
            )
        elif not is_signed(public, signed_bytes(seal), seal.signature):
            checked.tell(
                f"{name}: the signature of seal {seal.number} does not hold, so it does not count", seal.number
            )
            continue
        other = checked.deciding.setdefault(seal.number, seal)
        if signed_bytes(other) != signed_bytes(seal):
            checked.tell(f"{name}: there are two different seals {seal.number}, both signed", seal.number)


class _Log:
    """The root over the seals so far: of each aligned part of 2^k the root, the largest first (RFC 9162, 2.1)."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        size = 1
        while self._parts and self._parts[-1][0] == size:
            leaf = node_hash(self._parts.pop()[1], leaf)
            size *= 2
        self._parts.append((size, leaf))

    @property
    def root(self) -> bytes:
        if not self._parts:
            return root([])
        reached = self._parts[-1][1]
        for _, part in reversed(self._parts[:-1]):
            reached = node_hash(part, reached)
        return reached


SEALS = """
    SELECT number, sealed_at, coalesce(statement, '') AS statement, coalesce(signature, '') AS signature
      FROM seal
     ORDER BY number
"""


async def _row_of_seals(
    db: Db, checked: SealsChecked, keys: Mapping[str, bytes], are_keys_given: bool
) -> dict[int, Seal]:
    """Check every seal of the database, one after the other; give all that count, those from outside in the place of others."""
    deciding = checked.deciding
    seals: dict[int, Seal] = dict(deciding)
    log, whole = _Log(), True
    expected, before = 1, None
    async for rows in _pages(db, SEALS):
        for row in rows:
            number: int = row["number"]
            checked.count += 1
            if number < expected:
                # It is no leaf of the log: what comes after is judged without it.
                checked.worthless.add(number)
                which = "seals count from 1" if number < 1 else "it is there more than once"
                checked.tell(f"there is a seal {number} in the database that cannot be: {which}", number)
                continue
            if number != expected:
                whole = False
                which = f"seal {expected} is" if number == expected + 1 else f"seals {expected} to {number - 1} are"
                checked.tell(f"{which} not in the database", expected, FindingKind.SEAL_MISSING)
            expected = number + 1
            found = _read(checked, row, keys)
            given = deciding.get(number)
            if given is not None:
                checked.worthless.discard(number)
            if given is not None and (found is None or signed_bytes(found) != signed_bytes(given)):
                checked.tell(f"seal {number} in the database is not the one that was kept outside", number)
            seal = given or found
            if seal is not None:
                seals[number] = seal
                if before is not None and seal.sealed_at < before.sealed_at:
                    checked.tell(f"seal {number} says it was made before seal {before.number}", number)
                if given is not None and not are_keys_given and not (whole and seal.log == log.root):
                    # Whoever owns the database may have signed what stands before by a key of his own.
                    checked.worthless.update(each for each in seals if each < number and each not in deciding)
                if whole and seal.log != log.root:
                    # What comes after rests on the same seals: one sentence is enough.
                    whole = False
                    checked.tell(
                        f"the seals before seal {number} in the database are not those that it was made over", number
                    )
                before = seal
            log.add(leaf_hash(signed_bytes(given) if given is not None else row["statement"]))
    for number in sorted(number for number in deciding if number >= expected):
        checked.tell(f"seal {number}, which was kept outside, is not in the database", number, FindingKind.SEAL_MISSING)
        if whole and number == expected and deciding[number].log != log.root:
            checked.tell(f"the seals in the database are not those that seal {number} was made over", number)
    return seals


def _read(checked: SealsChecked, row: Record, keys: Mapping[str, bytes]) -> Seal | None:
    number, statement, signature = row["number"], row["statement"], row["signature"]
    try:
        said = json.loads(statement) | {"signature": b64encode(signature).decode()}
        seal = read_seal(json.dumps(said))
    except (SealError, ValueError, TypeError, RecursionError) as error:
        checked.tell(f"seal {number} in the database cannot be read: {type(error).__name__}", number)
        return None
    if signed_bytes(seal) != statement or seal.number != number or seal.sealed_at != row["sealed_at"]:
        checked.tell(f"seal {number} in the database says otherwise than its row", number)
        checked.worthless.add(number)
    public = keys.get(seal.key)
    if public is None:
        checked.tell(f"seal {number} in the database is signed by key {seal.key}, which is not known", number)
        checked.worthless.add(number)
    elif not is_signed(public, statement, signature):
        checked.tell(f"the signature of seal {number} in the database does not hold", number)
        checked.worthless.add(number)
    return seal


HEADS = """
    SELECT seal, account, coalesce(version, 0) AS version, coalesce(digest, '') AS digest
      FROM sealed_head
     ORDER BY seal, account, sealed_head.version, sealed_head.digest
"""


async def _roots(db: Db, checked: SealsChecked, seals: Mapping[int, Seal]) -> None:
    """Put the heads of one seal after the other into the tree and compare its root with what the seal says."""
    numbers = sorted(seals)
    at = 0
    strange, twice = set[int](), set[int]()
    last: tuple[int | None, str] = None, ""

    def reached(number: int | None) -> None:
        nonlocal at
        while at < len(numbers) and (number is None or numbers[at] < number):
            _compare(checked, seals[numbers[at]])
            at += 1

    async for rows in _pages(db, HEADS):
        begin = 0
        while begin < len(rows):
            seal = rows[begin]["seal"]
            end = begin + 1
            while end < len(rows) and rows[end]["seal"] == seal:
                end += 1
            reached(seal)
            own = list({head[0]: head for head in map(_head, rows[begin:end])}.values())
            if len(own) < end - begin or last == (seal, own[0][0]):
                twice.add(seal)
            if seal not in seals:
                strange.add(seal)
            # Where the row of a seal is gone its heads are still those that later seals count.
            if seal in seals or (numbers and 0 < seal < numbers[-1]):
                checked.heads.change(own)
            last = seal, own[-1][0]
            begin = end
    reached(None)
    for first, final in ranges(sorted(strange)):
        checked.tell(f"there are heads of seals {first} to {final}, which are not there", first)
    for number in sorted(twice):
        checked.tell(f"the sealed heads in the database have an account twice in seal {number}", number)
    for first, final in ranges(checked.broken):
        which = f"seal {first}" if first == final else f"seals {first} to {final}"
        checked.tell(f"the sealed heads in the database do not lead to the root of {which}", first)


def _compare(checked: SealsChecked, seal: Seal) -> None:
    if seal.number in checked.worthless:
        return
    if checked.heads.root == seal.heads:
        checked.proven = seal
        return
    checked.broken.append(seal.number)
    if checked.doubted is None or seal.number in checked.deciding or checked.doubted.number not in checked.deciding:
        checked.doubted = seal


def _head(row: Record) -> Head:
    """Give a head; what can be none leads to no root."""
    account, version, digest = row["account"], row["version"], row["digest"]
    if len(account) > ACCOUNT_CHARACTERS_MAX or version < 1 or len(digest) != HASH_SIZE:
        return account[:ACCOUNT_CHARACTERS_MAX], 0, bytes(HASH_SIZE)
    return account, version, digest


CHUNKS = "SELECT chunks FROM seal WHERE number = $1"


async def _chunks_of(db: Db, seal: Seal) -> Chunks | None:
    """Read the parts of a seal's tree, if they lead to its root: whoever forged heads may have left them as they were."""
    data = await db.fetchval(CHUNKS, seal.number)
    try:
        chunks = read_chunks(data) if data is not None else None
    except ChunksError:
        return None
    return chunks if chunks is not None and chunks.roots and chunks.root == seal.heads else None


async def _pages(db: Db, statement: str) -> AsyncIterator[list[Record]]:
    cursor = await db.cursor(statement, timeout=SORT_WAIT_S)
    while rows := await cursor.fetch(ROWS_AT_ONCE, timeout=SORT_WAIT_S):
        yield rows
