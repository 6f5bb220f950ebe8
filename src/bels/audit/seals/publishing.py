"""Publish seals as files in a folder, from which whoever wants to keep a copy outside takes them.

``seal-000017.json`` is a seal as it is published, written once and never again; ``seal-keys.json`` has the public keys.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import compile as pattern
from tempfile import NamedTemporaryFile

import asyncpg

from bels.audit.seals.keys import PublicKey, list_keys
from bels.audit.seals.reading import SEALS_PAGE_MAX, find_seals, latest_seal
from bels.audit.seals.statement import Seal, published

logger = logging.getLogger(__name__)

KEYS_FILE = "seal-keys.json"
COMPARED = 100
"""Of the newest seals so many are compared with their files every time: a file that says something else is an alarm."""

_FILE = pattern(r"seal-([0-9]{6,12})\.json")


@dataclass(frozen=True, slots=True)
class Published:
    """What was written anew, and seals whose files say something else than the database: one of them was changed."""

    written: tuple[int, ...]
    different: tuple[int, ...]


def file_name(number: int) -> str:
    """Name the file of a seal."""
    return f"seal-{number:06}.json"


def keys_published(keys: Iterable[PublicKey]) -> str:
    """Write public keys as they are published: a JWK set (RFC 7517, RFC 8037) where each also says itself in hexadecimal."""
    said = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": each.key,
            "x": urlsafe_b64encode(each.public).decode().rstrip("="),
            "use": "sig",
            "alg": "EdDSA",
            "hex": each.public.hex(),
            "created_at": each.created_at.isoformat(),
        }
        for each in keys
    ]
    return json.dumps({"keys": said}, indent=2) + "\n"


async def publish_files(pool: asyncpg.Pool, folder: Path) -> Published:
    """Write every seal that has no file yet, and the public keys; a file that is there is never touched.

    :raises OSError: the folder cannot be written to.
    :raises SealError: a seal cannot be read.
    """
    there = await asyncio.to_thread(_numbers_in, folder)
    async with pool.acquire() as db:
        latest = await latest_seal(db)
        keys = await list_keys(db)
    if latest is None:
        return Published((), ())
    wanted = [number for number in range(1, latest.number + 1) if number not in there]
    written, different = list[int](), list[int]()
    for first in range(0, len(wanted), SEALS_PAGE_MAX):
        async with pool.acquire() as db:
            seals = await find_seals(db, wanted[first : first + SEALS_PAGE_MAX])
        written += await asyncio.to_thread(_write, folder, sorted(seals.values(), key=lambda seal: seal.number))
    compared = sorted(number for number in there if number <= latest.number)[-COMPARED:]
    async with pool.acquire() as db:
        seals = await find_seals(db, compared)
    # A file of a number that has no seal shows that seals were taken away.
    different += [number for number in there if number > latest.number]
    different += [number for number in compared if number not in seals]
    different += await asyncio.to_thread(_compare, folder, seals.values())
    await asyncio.to_thread(_replace, folder, KEYS_FILE, keys_published(keys))
    different.sort()
    for number in different:
        logger.error("%s in %s is not the seal that the database has", file_name(number), folder)
    return Published(tuple(written), tuple(different))


def _numbers_in(folder: Path) -> set[int]:
    folder.mkdir(parents=True, exist_ok=True)
    return {int(found[1]) for each in folder.iterdir() if (found := _FILE.fullmatch(each.name))}


def _write(folder: Path, seals: Sequence[Seal]) -> list[int]:
    written = []
    for seal in seals:
        with NamedTemporaryFile("w", dir=folder, prefix=".seal-", encoding="utf-8") as file:
            file.write(published(seal))
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            try:
                # Unlike a renaming, a link never takes the place of a file that is there.
                os.link(file.name, folder / file_name(seal.number))
            except FileExistsError:
                # Another process was writing too.
                continue
        written.append(seal.number)
    return written


def _compare(folder: Path, seals: Iterable[Seal]) -> list[int]:
    return [each.number for each in seals if (folder / file_name(each.number)).read_bytes() != published(each).encode()]


def _replace(folder: Path, name: str, text: str) -> None:
    """Write a file whole, in place of one that says something else."""
    place = folder / name
    if place.is_file() and place.read_bytes() == text.encode():
        return
    with NamedTemporaryFile("w", dir=folder, prefix=".seal-", encoding="utf-8", delete=False) as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    Path(file.name).replace(place)
