"""What the rows of a register stand in: the file itself, a zip with one file, a letter; given piece by piece as plain text.

A file comes from outside: it may claim to be anything, and a small one may unpack to whatever size it likes.
"""

from __future__ import annotations

import asyncio
import re
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from tempfile import SpooledTemporaryFile
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

from bels.payments.registers.faults import FileFault, Quarantined
from bels.payments.registers.layout import Container, Layout

PIECE_BYTES = 65_536
"""So much is read before others have their turn."""

SPOOL_BYTES = 1_000_000
LETTER_BYTES_MAX = 20_000_000
HEADERS_MAX, HEADER_BYTES_MAX = 100, 2_000
"""Of a letter with one register: reading headers takes the square of their length, and of the depth of its parts."""

UNPACKED_BYTES_MAX = 300_000_000
DIRECTORY_BYTES_MAX = 65_536
"""The table of contents of a zip: one file needs no more."""

_END = b"PK\x05\x06"
_END_OF_LARGE = b"PK\x06\x07"
_END_BYTES = 22
_COMMENT_BYTES_MAX = 65_535
_LETTER = (b"from:", b"subject:", b"mime-version:", b"content-type:", b"received:", b"return-path:", b"date:", b"to:")
_HEADER = re.compile(
    rb"(?:\A|(?<=[\r\n]))(?:content-[a-z-]{1,40}|subject)[ \t]*:[^\r\n]*(?:(?:\r\n|\r|\n)[ \t][^\r\n]*)*", re.IGNORECASE
)
_TEXTS = ("text/plain", "text/csv")
_BROKEN = (BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError, ValueError, struct.error, OSError)


async def plain_pieces(layout: Layout, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Give the text of a register in pieces of at most ``PIECE_BYTES``.

    :raises Quarantined: it is in no such container, or is larger than a register can be.
    """
    match layout.container:
        case Container.PLAIN:
            async for chunk in chunks:
                for start in range(0, len(chunk), PIECE_BYTES):
                    yield chunk[start : start + PIECE_BYTES]
        case Container.LETTER:
            text = await asyncio.to_thread(_text_of, layout, await _whole(chunks))
            for start in range(0, len(text), PIECE_BYTES):
                yield text[start : start + PIECE_BYTES]
        case Container.ZIP:
            with SpooledTemporaryFile(SPOOL_BYTES) as spool:
                async for chunk in chunks:
                    spool.write(chunk)
                for piece in _unpacked(spool):
                    yield piece


async def _whole(chunks: AsyncIterable[bytes]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > LETTER_BYTES_MAX:
            raise Quarantined(FileFault.TOO_LARGE, f"> {LETTER_BYTES_MAX}")
    return bytes(content)


def _text_of(layout: Layout, content: bytes) -> bytes:
    """Give the texts of a letter, its subject first; a text that is no letter stays as it is."""
    first = content.lstrip()[:200].split(b"\n", 1)[0].lower()
    if not first.startswith(_LETTER):
        return content
    for count, header in enumerate(_HEADER.finditer(content), 1):
        if count > HEADERS_MAX or header.end() - header.start() > HEADER_BYTES_MAX:
            raise Quarantined(FileFault.BAD_ARCHIVE, "letter")
    try:
        letter = BytesParser(EmailMessage, policy=policy.default).parsebytes(content)
        texts = [str(letter.get("subject", ""))]
        texts += [str(part.get_content()) for part in letter.walk() if part.get_content_type() in _TEXTS]
    except (MessageError, LookupError, ValueError, KeyError, RecursionError):
        raise Quarantined(FileFault.BAD_ARCHIVE, "letter") from None
    return "\n".join(texts).encode(layout.encoding, "replace")


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    try:
        _check_directory(file)
        with ZipFile(file) as archive:
            inside = [each for each in archive.infolist() if not _is_beside(each)]
            if len(inside) != 1:
                raise Quarantined(FileFault.BAD_ARCHIVE, str(len(inside)))
            if inside[0].file_size > UNPACKED_BYTES_MAX:
                raise Quarantined(FileFault.TOO_LARGE, f"> {UNPACKED_BYTES_MAX}")
            read = 0
            with archive.open(inside[0]) as packed:
                while piece := packed.read(PIECE_BYTES):
                    read += len(piece)
                    if read > UNPACKED_BYTES_MAX:
                        raise Quarantined(FileFault.TOO_LARGE, f"> {UNPACKED_BYTES_MAX}")
                    yield piece
    except _BROKEN as error:
        raise Quarantined(FileFault.BAD_ARCHIVE, type(error).__name__) from None


def _check_directory(file: IO[bytes]) -> None:
    """Look how long the table of contents is, before anything reads it into memory.

    :raises Quarantined: it is longer than that of one file, or there is none.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES_MAX))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise Quarantined(FileFault.BAD_ARCHIVE)
    (length,) = struct.unpack_from("<L", tail, at + 12)
    if _END_OF_LARGE in tail or length > DIRECTORY_BYTES_MAX:
        raise Quarantined(FileFault.TOO_LARGE, "zip")
    file.seek(0)


def _is_beside(each: ZipInfo) -> bool:
    return each.is_dir() or each.filename.startswith("__MACOSX/")
