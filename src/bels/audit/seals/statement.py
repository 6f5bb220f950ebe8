"""What a seal says and how it is signed: plain JSON that any program can check.

A seal is one JSON object. Signed is the object without ``signature``, written with sorted keys, without blanks, in ASCII. All its
values are texts and whole numbers, so every JSON library writes it the same::

    {"accounts": 300000, "entries": 20123456, "faults": [], "format": "bels seal 1", "heads": "HEX",
     "key": "KID", "log": "HEX", "number": 17, "sealed_at": "2026-11-23T08:00:00.000000Z", "signature": "BASE64"}

* ``heads`` is the root of the Merkle tree (RFC 9162, 2.1, SHA-256) over the heads of all streams of the journal (accounts, money for
  nobody, the rulebook), in the order of the bytes of their numbers; ``accounts`` is its size, ``entries`` the sum of the versions.
  A leaf is ``head_leaf``.
* ``log`` is the root of the tree over the seals before this one, 1 to ``number - 1``; a leaf is ``signed_bytes`` of a seal. So every
  seal vouches for all before it, and two seals are consistent as RFC 9162 says.
* ``faults`` are accounts whose chain did not hold when this was sealed, at most ``FAULTS_MAX``: ``["1000000 at 17", ...]``; their heads
  stay those of the seal before.
* ``key`` is the name of the public key: the first 16 hexadecimal digits of SHA-256 over its 32 raw bytes.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from struct import pack
from typing import Any

FORMAT = "bels seal 1"
FAULTS_MAX = 100

_HEAD = b"bels:head:1\n"


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal; ``heads`` and ``log`` are roots of 32 bytes, ``signature`` the 64 bytes of Ed25519, ``sealed_at`` is UTC."""

    number: int
    sealed_at: datetime
    accounts: int
    entries: int
    heads: bytes
    log: bytes
    faults: tuple[str, ...]
    key: str
    signature: bytes = b""


class SealError(ValueError):
    """A text is no seal; the sentence says why."""


def head_leaf(account: str, version: int, digest: bytes) -> bytes:
    """Give the leaf of a stream: ``bels:head:1`` and a line feed, its version (8 bytes), the length of its number (2 bytes), number, digest."""
    number = account.encode()
    return b"".join((_HEAD, pack(">QH", version, len(number)), number, digest))


def key_name(public: bytes) -> str:
    """Name a public key of 32 raw bytes."""
    return sha256(public).hexdigest()[:16]


def signed_bytes(seal: Seal) -> bytes:
    """Give what is signed, and what is a leaf of the log of seals."""
    return json.dumps(_said(seal), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def published(seal: Seal) -> str:
    """Write a seal as it is published: indented JSON with a line feed at its end."""
    return json.dumps(_said(seal) | {"signature": b64encode(seal.signature).decode()}, sort_keys=True, indent=2) + "\n"


def read_seal(text: str) -> Seal:
    """Read a seal that was published; its signature is not judged here.

    :raises SealError: it is none.
    """
    try:
        said: dict[str, Any] = json.loads(text)
        if said["format"] != FORMAT:
            raise SealError(f"the format is {said['format']!r}, this program reads {FORMAT!r}")
        seal = Seal(
            int(said["number"]),
            datetime.strptime(said["sealed_at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC),
            int(said["accounts"]),
            int(said["entries"]),
            bytes.fromhex(said["heads"]),
            bytes.fromhex(said["log"]),
            tuple(map(str, said["faults"])),
            str(said["key"]),
            b64decode(said["signature"], validate=True),
        )
        if said != _said(seal) | {"signature": said["signature"]}:
            raise SealError("it says more than a seal does")
    except SealError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SealError(f"this is no seal: {type(error).__name__}") from error
    return seal


def _said(seal: Seal) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "number": seal.number,
        "sealed_at": seal.sealed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "accounts": seal.accounts,
        "entries": seal.entries,
        "heads": seal.heads.hex(),
        "log": seal.log.hex(),
        "faults": list(seal.faults),
        "key": seal.key,
    }
