"""The master key: it wraps all other keys and nothing else. It comes from a file, or stays inside a key service.

A key in the database names the master key that wraps it, so one master key follows another without a break: the new one is put
first in the file, servers are started anew, ``bels key rewrap`` wraps every key by it, the old line is taken out.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE = 32
NONCE_SIZE = 12
FILE_SIZE_MAX = 64 * 1024
KEYS_MAX = 100
TOKEN_SIZE_MAX = 8 * 1024
TRANSIT_WAIT_S = 5.0
TRANSIT_BATCH_MAX = 250
TRANSIT_ANSWER_MAX = 4 * 1024 * 1024
TRANSIT_CONNECTIONS_MAX = 8
DEVELOPMENT_FILE = "master.key"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRANSIT_PREFIX = "transit:"


class MasterKeyError(Exception):
    """The master key cannot be used: another one is needed, or what it wraps is damaged; the sentence is for the operator."""


class MasterKeyAway(MasterKeyError):
    """The key service does not answer now; the same may succeed later."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped key, the name of the master key that wraps it, and what it is bound to."""

    wrapped: bytes
    master: str
    about: str


class MasterKey(Protocol):
    """What wraps keys. ``about`` says whose key it is: a wrapped key that was moved to another row is refused."""

    @property
    def name(self) -> str:
        """The name of the key that wraps now."""

    async def wrap(self, key: bytes, about: str) -> bytes:
        """Wrap a key of 32 bytes."""

    async def unwrap(self, wrapped: bytes, name: str, about: str) -> bytes:
        """Give a wrapped key.

        :raises MasterKeyError: another master key is needed, or it is damaged.
        """

    async def wrap_many(self, keys: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Wrap keys, each with what it is about, in their order."""

    async def unwrap_many(self, wrapped: Sequence[Wrapped]) -> list[bytes]:
        """Give wrapped keys in their order.

        :raises MasterKeyError: as unwrap, for the first that fails.
        """


@asynccontextmanager
async def opened_master_key(
    file: Path | None, transit: str | None, token_file: Path | None, folder: Path
) -> AsyncIterator[MasterKey]:
    """Give the master key that is configured: of the key service, of a file, or one for development kept in ``folder``.

    With both a service and a file the service wraps, and keys that the file's wrapped can still be unwrapped: so one moves.

    :raises MasterKeyError: it cannot be used.
    """
    if transit is None:
        yield await asyncio.to_thread(FileMasterKey.read, file) if file is not None else development_key(folder)
        return
    if token_file is None:
        raise MasterKeyError("a master key in a key service needs BELS_MASTER_KEY_TOKEN_FILE, the file with its token")
    before = await asyncio.to_thread(FileMasterKey.read, file) if file is not None else None
    async with TransitMasterKey(transit, token_file, before) as key:
        yield key


class FileMasterKey:
    """Keys of a file: the first wraps, all unwrap. Wrapped is a random nonce and AES-256-GCM, bound to what it is about."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        if not keys:
            raise MasterKeyError("there is no master key")
        self._name = keys[0][0]
        self._keys = {name: AESGCM(key) for name, key in keys}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of lines ``NAME:base64 of 32 bytes``; empty lines and lines with # before them say nothing.

        :raises MasterKeyError: it cannot be read, others can read it, or a line is wrong.
        """
        return cls(keys_of(path))

    @property
    def name(self) -> str:
        """The name of the first key."""
        return self._name

    async def wrap(self, key: bytes, about: str) -> bytes:
        """Wrap a key by the first one."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        return nonce + self._keys[self._name].encrypt(nonce, key, about.encode())

    async def unwrap(self, wrapped: bytes, name: str, about: str) -> bytes:
        """Give a key wrapped by any of the file's.

        :raises MasterKeyError: the file has no such master key, or the wrapped key is damaged.
        """
        if name not in self._keys:
            had = ", ".join(self._keys)
            raise MasterKeyError(f"the key of {about} is wrapped by the master key {name}; the file holds only {had}")
        try:
            return self._keys[name].decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise MasterKeyError(
                f"the key of {about} is damaged, or {name} is another master key of that name"
            ) from error

    async def wrap_many(self, keys: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Wrap keys by the first one."""
        return [await self.wrap(key, about) for key, about in keys]

    async def unwrap_many(self, wrapped: Sequence[Wrapped]) -> list[bytes]:
        """Give keys wrapped by any of the file's.

        :raises MasterKeyError: as unwrap.
        """
        return [await self.unwrap(each.wrapped, each.master, each.about) for each in wrapped]


class TransitMasterKey:
    """A key that never leaves its service, over the transit protocol of HashiCorp Vault and OpenBao.

    ``url`` is the key: https://host/v1/MOUNT/KEY, or as the service itself spells it, https://host/v1/MOUNT/keys/KEY.
    The token is read from its file at every call, so an agent may renew it there. The service's own versions of the key need
    no rewrapping here until old ones are switched off there: then ``bels key rewrap --all`` comes first.
    """

    def __init__(
        self, url: str, token_file: Path, before: FileMasterKey | None = None, *, wait_s: float = TRANSIT_WAIT_S
    ) -> None:
        self._base, self._mount, self._key = _transit_of(url)
        self._token_file = token_file
        self._before = before
        self._wait_s = wait_s
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                retries=1, limits=httpx.Limits(max_connections=TRANSIT_CONNECTIONS_MAX), trust_env=False
            ),
            timeout=wait_s,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the service."""
        await self._http.aclose()

    @property
    def name(self) -> str:
        """The service's mount and key; its address is left out, for it may move."""
        return f"{_TRANSIT_PREFIX}{self._mount}/{self._key}"

    async def wrap(self, key: bytes, about: str) -> bytes:
        """Wrap a key.

        :raises MasterKeyError: the service refuses; MasterKeyAway: it does not answer.
        """
        (wrapped,) = await self.wrap_many([(key, about)])
        return wrapped

    async def unwrap(self, wrapped: bytes, name: str, about: str) -> bytes:
        """Give a wrapped key.

        :raises MasterKeyError: another master key is needed, it is damaged, or the service refuses; MasterKeyAway.
        """
        (key,) = await self.unwrap_many([Wrapped(wrapped, name, about)])
        return key

    async def wrap_many(self, keys: Sequence[tuple[bytes, str]]) -> list[bytes]:
        """Wrap keys, a batch in one request.

        :raises MasterKeyError: the service refuses; MasterKeyAway: it does not answer.
        """
        items = [{"plaintext": _base64(key), "associated_data": _base64(about.encode())} for key, about in keys]
        return [told.encode() for told in await self._ask("encrypt", items, "ciphertext")]

    async def unwrap_many(self, wrapped: Sequence[Wrapped]) -> list[bytes]:
        """Give wrapped keys, a batch in one request.

        :raises MasterKeyError: another master key is needed, one is damaged, or the service refuses; MasterKeyAway.
        """
        keys: dict[int, bytes] = {}
        ours = []
        for place, each in enumerate(wrapped):
            if each.master == self.name:
                ours.append(place)
            elif self._before is not None:
                keys[place] = await self._before.unwrap(each.wrapped, each.master, each.about)
            else:
                raise MasterKeyError(
                    f"the key of {each.about} is wrapped by the master key {each.master}: {self.name} cannot"
                )
        items = [
            {
                "ciphertext": wrapped[place].wrapped.decode("ascii", "replace"),
                "associated_data": _base64(wrapped[place].about.encode()),
            }
            for place in ours
        ]
        told = await self._ask("decrypt", items, "plaintext")
        for place, text in zip(ours, told, strict=True):
            keys[place] = _key_of(text, f"what {self.name} unwraps for {wrapped[place].about}")
        return [keys[place] for place in range(len(wrapped))]

    async def _ask(self, what: str, items: Sequence[dict[str, str]], field: str) -> list[str]:
        told: list[str] = []
        for first in range(0, len(items), TRANSIT_BATCH_MAX):
            batch = items[first : first + TRANSIT_BATCH_MAX]
            results = await self._post(what, {"batch_input": batch})
            if len(results) != len(batch):
                raise MasterKeyError(f"the key service answers {len(results)} of {len(batch)} keys to {what}")
            for result in results:
                value = result.get(field) if isinstance(result, dict) else None
                if not isinstance(value, str):
                    # What the service says of the error may repeat what it was given; so it is left out.
                    raise MasterKeyError(
                        f"the key service cannot {what} by {self.name}: damaged, or bound to another row"
                    )
                told.append(value)
        return told

    async def _post(self, what: str, body: dict[str, Any]) -> list[Any]:
        url = f"{self._base}/{quote(self._mount)}/{what}/{quote(self._key, safe='')}"
        headers = {"X-Vault-Token": _token(self._token_file), "X-Vault-Request": "true"}
        try:
            # The whole exchange has a limit, not only each of its reads.
            async with (
                asyncio.timeout(self._wait_s),
                self._http.stream("POST", url, json=body, headers=headers) as answer,
            ):
                text = b""
                async for part in answer.aiter_bytes():
                    text += part
                    if len(text) > TRANSIT_ANSWER_MAX:
                        raise MasterKeyError(f"the key service answers more than {TRANSIT_ANSWER_MAX:,} bytes")
        except TimeoutError as error:
            raise MasterKeyAway(f"the key service does not answer within {self._wait_s:g} s") from error
        except httpx.HTTPError as error:
            raise MasterKeyAway(f"the key service cannot be reached ({type(error).__name__})") from error
        if (
            answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        ):
            raise MasterKeyAway(f"the key service answers {answer.status_code} to {what}")
        if answer.status_code != httpx.codes.OK:
            raise MasterKeyError(_refused(answer.status_code, what, self.name))
        return _results(text)


def development_key(folder: Path) -> FileMasterKey:
    """Give the key for development of a folder; it is made once, also where two processes start at once.

    :raises MasterKeyError: it can be neither made nor read.
    """
    path = folder / DEVELOPMENT_FILE
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_new(path, f"{new_line('development')}\n")
        except FileExistsError:
            pass
        except OSError as error:
            raise MasterKeyError(f"{path} cannot be written ({error.strerror})") from error
    return FileMasterKey.read(path)


def write_new(path: Path) -> str:
    """Write a new master key to a new file that only its owner can read; give the key's name.

    :raises MasterKeyError: the file is there already, or cannot be written.
    """
    line = new_line()
    try:
        _write_new(path, f"{line}\n")
    except FileExistsError:
        raise MasterKeyError(f"{path} is there already: a key that was replaced takes all data with it") from None
    except OSError as error:
        raise MasterKeyError(f"{path} cannot be written ({error.strerror})") from error
    return line.partition(":")[0]


def add_new(path: Path) -> str:
    """Put a new master key before those of a file; give its name.

    :raises MasterKeyError: the file is no file of master keys, or cannot be written.
    """
    if len(keys_of(path)) >= KEYS_MAX:
        raise MasterKeyError(f"{path} holds {KEYS_MAX} keys: take out those that wrap nothing any more")
    line = new_line()
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_private(made, f"{line}\n{path.read_text('ascii')}")
        try:
            made.replace(path)
        except OSError:
            made.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MasterKeyError(f"{path} cannot be written ({error.strerror})") from error
    return line.partition(":")[0]


def new_line(word: str = "key") -> str:
    """Draw a key, and name it after itself: two keys never share a name."""
    key = secrets.token_bytes(KEY_SIZE)
    return f"{word}-{sha256(b'bels master key' + key).hexdigest()[:12]}:{_base64(key)}"


def keys_of(path: Path) -> list[tuple[str, bytes]]:
    """Read the keys of a file, in its order.

    :raises MasterKeyError: it cannot be read, others can read it, or a line is wrong.
    """
    try:
        with path.open("rb") as file:
            _must_be_private(path, os.fstat(file.fileno()))
            text = file.read(FILE_SIZE_MAX + 1).decode("ascii")
    except UnicodeDecodeError as error:
        raise MasterKeyError(f"{path} is no file of master keys: a line is NAME:base64 of 32 bytes") from error
    except OSError as error:
        raise MasterKeyError(f"{path} cannot be read ({error.strerror})") from error
    if len(text) > FILE_SIZE_MAX:
        raise MasterKeyError(f"{path} is longer than {FILE_SIZE_MAX:,} bytes")
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, coded = line.strip().partition(":")
        if not _NAME.fullmatch(name) or name in keys:
            raise MasterKeyError(f"{path}:{number}: a line is NAME:base64 of 32 bytes, each name once")
        keys[name] = _key_of(coded, f"{path}:{number}: what stands after {name}:")
    if not 1 <= len(keys) <= KEYS_MAX:
        raise MasterKeyError(f"{path} holds {len(keys)} keys; it must hold 1 to {KEYS_MAX}")
    return list(keys.items())


def _must_be_private(path: Path, status: os.stat_result) -> None:
    others = stat.S_IMODE(status.st_mode) & 0o077
    # A credential that systemd hands over is root's, and its right for the service's user shows as the group's to read.
    if others == stat.S_IRGRP and status.st_uid == 0 and status.st_gid == 0:
        return
    if others:
        raise MasterKeyError(
            f"{path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}, and think of it as known"
        )


def _write_new(path: Path, text: str) -> None:
    # A link is made at once and never over a file that is there: nobody ever reads a half of a key.
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_private(made, text)
        os.link(made, path)
    finally:
        made.unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _key_of(coded: str, what: str) -> bytes:
    try:
        key = base64.b64decode(coded, validate=True)
    except ValueError:
        # Neither the text nor the cause is told: they may hold the key.
        raise MasterKeyError(f"{what} is not base64") from None
    if len(key) != KEY_SIZE:
        raise MasterKeyError(f"{what} is not {KEY_SIZE} bytes")
    return key


def _transit_of(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    segments = [each for each in parts.path.split("/") if each]
    version = segments.index("v1") if "v1" in segments else len(segments)
    *mount, key = segments[version + 1 :] or [""]
    if len(mount) > 1 and mount[-1] == "keys":
        mount.pop()
    if parts.scheme not in ("http", "https") or not parts.netloc or not mount or not key:
        raise MasterKeyError("BELS_MASTER_KEY_TRANSIT must be the key's URL: https://host/v1/transit/KEY")
    base = "/".join([f"{parts.scheme}://{parts.netloc}", *segments[: version + 1]])
    return base, "/".join(mount), key


def _token(path: Path) -> str:
    try:
        token = path.read_bytes()[:TOKEN_SIZE_MAX].decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(
            f"the token of the key service cannot be read from {path} ({type(error).__name__})"
        ) from None
    if not token or not token.isprintable():
        raise MasterKeyError(f"{path} holds no token of the key service")
    return token


def _refused(status: int, what: str, name: str) -> str:
    match status:
        case httpx.codes.BAD_REQUEST:
            return (
                f"the key service cannot {what} by {name}: damaged, bound to another row, or there is no such key (400)"
            )
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            return f"the key service refuses the token to {what} by {name} ({status}): is it expired, does its policy allow it?"
        case httpx.codes.NOT_FOUND:
            return f"the key service knows no {name} (404): look at BELS_MASTER_KEY_TRANSIT"
        case _:
            return f"the key service answers {status} to {what} by {name}"


def _results(text: bytes) -> list[Any]:
    try:
        return list(msgspec.json.decode(text)["data"]["batch_results"])
    except (msgspec.DecodeError, KeyError, TypeError):
        raise MasterKeyError("the key service answers something that is not the transit protocol") from None
