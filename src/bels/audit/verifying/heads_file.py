"""The file of heads that may be kept beside a copy of a seal: with it an account can be named whose heads were forged here.

It is gzip over JSON Lines. The first is ``{"accounts": 300000, "format": "bels heads 1", "seal": 17}``, then comes one for every
stream, in the order of the seal's tree: ``{"account": "1000101", "version": 57, "digest": "HEX"}``. It needs no signature: it is
whole where its root is the one that the seal says.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bels.audit.seals.merkle import HASH_SIZE
from bels.audit.seals.reading import Head, heads_of
from bels.audit.seals.statement import Seal
from bels.audit.verifying.heads import HeadsTree
from bels.journal.write import Db

FORMAT = "bels heads 1"
HEADS_OF_PAGE = 10_000
LINE_CHARACTERS_MAX = 1_000
HEADS_MAX = 100_000_000


class HeadsError(ValueError):
    """A file holds no heads of this seal, or the database's are not; the sentence says why."""


def heads_name(number: int) -> str:
    """Name the file of a seal's heads."""
    return f"heads-{number:06d}.jsonl.gz"


async def write_heads(db: Db, seal: Seal, folder: Path) -> Path:
    """Write the heads of a seal into a folder; give the file, which is there only when it is whole.

    :raises HeadsError: the heads in the database do not lead to the seal's root.
    :raises OSError: the file cannot be written.
    """
    path = folder / heads_name(seal.number)
    partly = path.with_name(f".{path.name}.{os.getpid()}")
    tree = HeadsTree()
    try:
        with partly.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as out:
            out.write(_line({"format": FORMAT, "seal": seal.number, "accounts": seal.accounts}))
            first = ""
            while heads := await heads_of(db, seal.number, first, HEADS_OF_PAGE):
                tree.change(heads)
                for account, version, digest in heads:
                    out.write(_line({"account": account, "version": version, "digest": digest.hex()}))
                # The number that follows this one in the order of bytes.
                first = heads[-1][0] + "\x01"
        if tree.root != seal.heads:
            raise HeadsError(f"the heads in the database do not lead to seal {seal.number}: bels audit verify")
        partly.replace(path)
    finally:
        partly.unlink(missing_ok=True)
    return path


def read_heads(path: Path) -> tuple[int, HeadsTree]:
    """Read a file of heads: the number of the seal that it says it belongs to, and the heads.

    :raises HeadsError: it is none.
    :raises OSError: it cannot be read.
    """
    tree = HeadsTree()
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            said = json.loads(lines.readline(LINE_CHARACTERS_MAX))
            if said["format"] != FORMAT:
                raise HeadsError(f"{path}: the format is {said['format']!r}, this program reads {FORMAT!r}")
            number = int(said["seal"])
            page: list[Head] = []
            for head in _heads(lines):
                page.append(head)
                if len(page) == HEADS_OF_PAGE:
                    tree.change(page)
                    page = []
            tree.change(page)
    except HeadsError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
        raise HeadsError(f"{path} is no file of heads: {type(error).__name__}") from error
    return number, tree


def _heads(lines: IO[str]) -> Iterator[Head]:
    last = ""
    for _ in range(HEADS_MAX):
        line = lines.readline(LINE_CHARACTERS_MAX)
        if not line:
            return
        said = json.loads(line)
        account, version, digest = str(said["account"]), int(said["version"]), bytes.fromhex(said["digest"])
        if account <= last or not 0 < version < 2**63 or len(digest) != HASH_SIZE:
            raise ValueError("out of order")
        last = account
        yield account, version, digest
    raise HeadsError(f"a file of heads has at most {HEADS_MAX} lines")


def _line(said: dict[str, Any]) -> bytes:
    return (json.dumps(said, sort_keys=True, separators=(",", ":")) + "\n").encode()
