"""The file of an evidence pack: a zip whose archive comment is its signature, the same bytes for the same content.

Pieces are written as they are read, beside the loop; what was written is digested on the way, so nothing is whole in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

PACK_BYTES_MAX = 200_000_000
"""The largest pack: twenty years of an account are some megabytes, photos make the rest."""

SIGNATURE_DIGITS = 128
SIGNED_HEAD = b"bels:evidence:1\n"
"""What the signed bytes begin with; the digest of the file follows."""

_FIXED = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_PIECE = 1 << 20
_MODE = 0o644 << 16


class PackTooLarge(Exception):
    """The pack would be larger than it may be; the sentence says what can be done."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A file of the pack: ``sha256`` in hexadecimal, ``size`` in bytes, before it was deflated."""

    name: str
    sha256: str
    size: int
    about: str


class Archive:
    """A pack under work in a file that can be read and sought; close it whatever happens."""

    def __init__(self, file: BinaryIO, bytes_max: int = PACK_BYTES_MAX) -> None:
        self._file = file
        self._bytes_max = bytes_max
        self._zip = ZipFile(file, "w", ZIP_DEFLATED)
        # Room for the signature: with it the file has its last length already.
        self._zip.comment = b"0" * SIGNATURE_DIGITS
        self.files: list[Packed] = []

    async def add(self, name: str, about: str, pieces: AsyncIterable[bytes], *, deflated: bool = True) -> Packed:
        """Add a file, piece by piece.

        :raises PackTooLarge: the pack has grown too large.
        """
        info = ZipInfo(name, _FIXED)
        info.create_system, info.external_attr = _UNIX, _MODE
        info.compress_type = ZIP_DEFLATED if deflated else ZIP_STORED
        digest, size = sha256(), 0
        with self._zip.open(info, "w") as entry:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                await asyncio.to_thread(entry.write, piece)
                if self._file.tell() > self._bytes_max or size > self._bytes_max:
                    raise PackTooLarge(
                        f"the pack has more than {self._bytes_max:,} bytes: ask for it without personal data, then it has no photos"
                    )
        packed = Packed(name, digest.hexdigest(), size, about)
        self.files.append(packed)
        return packed

    async def finish(self) -> bytes:
        """Write the end of the archive, and give what is to be signed."""
        return await asyncio.to_thread(self._finish)

    def sign(self, signature: bytes) -> None:
        """Put the signature, 64 bytes, into its place."""
        self._file.seek(-SIGNATURE_DIGITS, 2)
        self._file.write(signature.hex().encode())
        self._file.flush()
        self._file.seek(0)

    def close(self) -> None:
        """Let the archive go, finished or not; the file stays open."""
        self._zip.close()

    def _finish(self) -> bytes:
        self._zip.close()
        left = self._file.seek(0, 2) - SIGNATURE_DIGITS
        self._file.seek(0)
        digest = sha256()
        while left:
            piece = self._file.read(min(left, _PIECE))
            digest.update(piece)
            left -= len(piece)
        return SIGNED_HEAD + digest.digest()
