"""The chain of an account: every entry carries a digest over its exact stored bytes and over the entry before it.

The digest of an entry is SHA-256 over, one after the other:

* ``bels:entry:1`` and a line feed (12 + 1 bytes of ASCII),
* the digest of the entry before it in its account, 32 bytes; of zeros for the first one,
* its version, 8 bytes; the lengths of account, topic and content, 2 bytes each; all big-endian,
* account, topic (UTF-8), content and state, as they are stored.

``content`` is the digest of the message that led to the entry (``message.content``, BLAKE2b-128 of its words): what was said cannot
be changed under an entry either. A digest alone proves nothing to whom does not hold one from before: the last digests of all
accounts are sealed, and the seal is kept elsewhere (``bels.audit``).
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

GENESIS = bytes(32)
"""What stands before an account's first entry."""

_HEAD = b"bels:entry:1\n"
_numbers = Struct(">QHHH").pack


def link(before: bytes, account: str, version: int, topic: str, content: bytes, state: bytes) -> bytes:
    """Give the digest of an entry, 32 bytes, from the one before it and its stored columns."""
    number, kind = account.encode(), topic.encode()
    sizes = _numbers(version, len(number), len(kind), len(content))
    return sha256(b"".join((_HEAD, before, sizes, number, kind, content, state))).digest()
