"""The master key: a file that only its owner reads, a key service that keeps it, one that follows another."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.access.master_key import (
    TRANSIT_BATCH_MAX,
    FileMasterKey,
    MasterKeyAway,
    MasterKeyError,
    TransitMasterKey,
    Wrapped,
    add_new,
    development_key,
    keys_of,
    new_line,
    opened_master_key,
    write_new,
)

KEY = bytes(range(32))
TOKEN = "s.a-token-of-the-service"


def _file(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text("\n".join(lines))
    path.chmod(mode)
    return path


def _renew(token: Path, text: str | None) -> None:
    if text is None:
        token.unlink()
    else:
        token.write_text(text)


@dataclass
class KeyService:
    """A service that speaks the transit protocol and really encrypts: what it was asked, how it is to behave."""

    url: str
    keys: dict[str, AESGCM] = field(default_factory=lambda: {"bels": AESGCM(secrets.token_bytes(32))})
    mount: str = "team/transit"
    requests: int = 0
    wait_s: float = 0.0
    answer: tuple[int, bytes] | None = None

    def told(self, path: str, token: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        """Answer as the service does."""
        prefix, _, name = path.rpartition("/")
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if prefix not in (f"/v1/{self.mount}/encrypt", f"/v1/{self.mount}/decrypt"):
            return 404, {"errors": ["no handler for route"]}
        if name not in self.keys:
            return 400, {"errors": ["encryption key not found"]}
        work = self._encrypt if prefix.endswith("encrypt") else self._decrypt
        results = [work(self.keys[name], each) for each in body["batch_input"]]
        return 400 if any("error" in each for each in results) else 200, {"data": {"batch_results": results}}

    def _encrypt(self, key: AESGCM, item: dict[str, str]) -> dict[str, Any]:
        nonce = secrets.token_bytes(12)
        about = base64.b64decode(item["associated_data"])
        sealed = nonce + key.encrypt(nonce, base64.b64decode(item["plaintext"]), about)
        return {"ciphertext": f"vault:v1:{base64.b64encode(sealed).decode()}", "key_version": 1}

    def _decrypt(self, key: AESGCM, item: dict[str, str]) -> dict[str, Any]:
        try:
            sealed = base64.b64decode(item["ciphertext"].removeprefix("vault:v1:"))
            plain = key.decrypt(sealed[:12], sealed[12:], base64.b64decode(item["associated_data"]))
        except (InvalidTag, ValueError):
            return {"error": "cipher: message authentication failed"}
        return {"plaintext": base64.b64encode(plain).decode()}


class Server(ThreadingHTTPServer):
    """A server that takes it calmly when somebody hangs up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@contextmanager
def _serving() -> Iterator[KeyService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            running.requests += 1
            sleep(running.wait_s)
            status, told = running.told(self.path, self.headers["X-Vault-Token"], body)
            text = json.dumps(told).encode()
            if running.answer is not None:
                status, text = running.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its own name
            """Say nothing."""

    with Server(("127.0.0.1", 0), Handler) as server:
        running = KeyService(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield running
        server.shutdown()
        thread.join()


@pytest.fixture
def service() -> Iterator[KeyService]:
    """Give a running key service."""
    with _serving() as running:
        yield running


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Give the file with the token of the service."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


async def test_what_the_first_key_of_a_file_wraps_is_unwrapped_by_it(tmp_path: Path) -> None:
    master = FileMasterKey.read(_file(tmp_path, "# the new one", new_line(), "", new_line()))
    wrapped = await master.wrap(KEY, "subject/1")
    assert master.name == keys_of(tmp_path / "keys")[0][0]
    assert KEY not in wrapped
    assert await master.unwrap(wrapped, master.name, "subject/1") == KEY


async def test_a_key_that_was_wrapped_before_is_unwrapped_after_a_new_first_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_new(path)
    old = FileMasterKey.read(path)
    wrapped = await old.wrap(KEY, "subject/1")
    name = add_new(path)
    new = FileMasterKey.read(path)
    assert (new.name, stat.S_IMODE(path.stat().st_mode)) == (name, 0o600)
    assert await new.unwrap(wrapped, old.name, "subject/1") == KEY
    with pytest.raises(MasterKeyError, match=f"master key {new.name}; the file holds only {old.name}"):
        await old.unwrap(await new.wrap(KEY, "subject/1"), new.name, "subject/1")


@pytest.mark.parametrize(
    "spoil", [lambda w: w[:-1], lambda w: w[:5], lambda w: b"", lambda w: w[:-1] + bytes([w[-1] ^ 1])]
)
async def test_a_damaged_wrapped_key_is_refused(spoil: Any) -> None:
    master = FileMasterKey([("one", KEY)])
    with pytest.raises(MasterKeyError, match="damaged"):
        await master.unwrap(spoil(await master.wrap(KEY, "subject/1")), "one", "subject/1")


async def test_a_wrapped_key_in_the_row_of_another_is_refused() -> None:
    master = FileMasterKey([("one", KEY)])
    with pytest.raises(MasterKeyError, match="damaged"):
        await master.unwrap(await master.wrap(KEY, "subject/1"), "one", "subject/2")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o601])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(MasterKeyError, match=f"mode {mode:04o}"):
        FileMasterKey.read(_file(tmp_path, new_line(), mode=mode))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "holds 0 keys"),
        (["no colon"], ":1: a line is NAME"),
        (["one:AAAA"], "is not 32 bytes"),
        (["one:***"], "is not base64"),
        ([":AAAA"], ":1: a line is NAME"),
        (["# one", "Ключ:AAAA"], "no file of master keys"),
        ([f"one:{base64.b64encode(KEY).decode()}"] * 2, ":2: a line is NAME"),
        (["#" * 70_000], "longer than"),
    ],
)
def test_a_file_with_a_wrong_line_is_refused_without_repeating_it(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(MasterKeyError, match=said) as refused:
        FileMasterKey.read(_file(tmp_path, *lines))
    assert "AAAA" not in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match="cannot be read"):
        FileMasterKey.read(tmp_path / "none")


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_new(path)
    before = path.read_bytes()
    with pytest.raises(MasterKeyError, match="is there already"):
        write_new(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_processes_that_start_at_once_get_one_development_key(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with ThreadPoolExecutor(8) as threads:
        names = {each.name for each in threads.map(lambda _: development_key(folder), range(32))}
    assert len(names) == 1
    assert [(each.name, stat.S_IMODE(each.stat().st_mode)) for each in folder.iterdir()] == [("master.key", 0o600)]


async def test_a_key_service_wraps_and_unwraps(service: KeyService, token: Path) -> None:
    async with TransitMasterKey(f"{service.url}/v1/team/transit/keys/bels", token) as master:
        wrapped = await master.wrap(KEY, "subject/1")
        assert master.name == "transit:team/transit/bels"
        assert wrapped.startswith(b"vault:v1:")
        assert await master.unwrap(wrapped, master.name, "subject/1") == KEY
        with pytest.raises(MasterKeyError, match="damaged, bound to another row"):
            await master.unwrap(wrapped, master.name, "subject/2")


async def test_many_keys_are_one_request_to_the_key_service(service: KeyService, token: Path) -> None:
    keys = [(secrets.token_bytes(32), f"subject/{number}") for number in range(TRANSIT_BATCH_MAX)]
    async with TransitMasterKey(f"{service.url}/v1/team/transit/bels", token) as master:
        wrapped = await master.wrap_many(keys)
        found = await master.unwrap_many(
            [Wrapped(each, master.name, about) for each, (_, about) in zip(wrapped, keys, strict=True)]
        )
        assert (found, service.requests) == ([key for key, _ in keys], 2)


async def test_a_key_service_takes_over_from_a_file(service: KeyService, token: Path, tmp_path: Path) -> None:
    path = _file(tmp_path, new_line())
    file = FileMasterKey.read(path)
    of_file = Wrapped(await file.wrap(KEY, "subject/1"), file.name, "subject/1")
    async with opened_master_key(path, f"{service.url}/v1/team/transit/bels", token, tmp_path) as master:
        other = secrets.token_bytes(32)
        of_service = Wrapped(await master.wrap(other, "subject/2"), master.name, "subject/2")
        assert await master.unwrap_many([of_service, of_file, of_service]) == [other, KEY, other]
    async with TransitMasterKey(f"{service.url}/v1/team/transit/bels", token) as alone:
        with pytest.raises(MasterKeyError, match=f"wrapped by the master key {file.name}"):
            await alone.unwrap_many([of_file])


async def test_a_token_that_was_renewed_in_its_file_is_taken_at_the_next_call(service: KeyService, token: Path) -> None:
    async with TransitMasterKey(f"{service.url}/v1/team/transit/bels", token) as master:
        for text, said in (("an old one", r"refuses the token to encrypt .* \(403\)"), ("", "holds no token")):
            _renew(token, text)
            with pytest.raises(MasterKeyError, match=said):
                await master.wrap(KEY, "subject/1")
        _renew(token, TOKEN)
        await master.wrap(KEY, "subject/1")
        _renew(token, None)
        with pytest.raises(MasterKeyError, match="cannot be read"):
            await master.wrap(KEY, "subject/1")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("v1/team/transit/another", "no such key"),
        ("v1/nowhere/bels", "knows no"),
        ("v1/bels", None),
        ("v1", None),
        ("x", None),
    ],
)
async def test_a_wrong_url_of_a_key_is_said(service: KeyService, token: Path, path: str, said: str | None) -> None:
    if said is None:
        with pytest.raises(MasterKeyError, match="BELS_MASTER_KEY_TRANSIT must be"):
            TransitMasterKey(f"{service.url}/{path}", token)
        return
    async with TransitMasterKey(f"{service.url}/{path}", token) as master:
        with pytest.raises(MasterKeyError, match=said):
            await master.wrap(KEY, "subject/1")


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        ((503, b"sealed"), True),
        ((429, b""), True),
        ((200, b"<html>"), False),
        ((200, b"[]"), False),
        ((200, b'{"data": {"batch_results": []}}'), False),
        ((200, b'{"data": {"batch_results": [null]}}'), False),
        ((200, b'{"data": {"batch_results": [{"plaintext": "AAAA"}]}}'), False),
        ((200, b'{"data": {"batch_results": [{"plaintext": "***"}]}}'), False),
        ((302, b""), False),
        ((200, b" " * 5_000_000), False),
    ],
)
async def test_a_sick_key_service_is_told_from_a_wrong_key(
    service: KeyService, token: Path, answer: tuple[int, bytes], away: bool
) -> None:
    async with TransitMasterKey(f"{service.url}/v1/team/transit/bels", token) as master:
        service.answer = answer
        with pytest.raises(MasterKeyError) as refused:
            await master.unwrap(b"vault:v1:AAAA", master.name, "subject/1")
        assert isinstance(refused.value, MasterKeyAway) is away
        assert not any(word in str(refused.value) for word in (TOKEN, "AAAA", "html"))


async def test_a_key_service_that_does_not_answer_in_time_is_away(service: KeyService, token: Path) -> None:
    async with TransitMasterKey(f"{service.url}/v1/team/transit/bels", token, wait_s=0.1) as master:
        service.wait_s = 0.5
        with pytest.raises(MasterKeyAway, match=r"within 0\.1 s"):
            await master.wrap(KEY, "subject/1")


async def test_a_key_service_that_is_not_there_is_away(token: Path) -> None:
    async with TransitMasterKey("http://127.0.0.1:1/v1/transit/bels", token) as master:
        with pytest.raises(MasterKeyAway, match="cannot be reached"):
            await master.wrap(KEY, "subject/1")


async def test_without_settings_the_key_for_development_is_taken(tmp_path: Path) -> None:
    async with opened_master_key(None, None, None, tmp_path) as master:
        assert master.name.startswith("development-")
    with pytest.raises(MasterKeyError, match="BELS_MASTER_KEY_TOKEN_FILE"):
        async with opened_master_key(None, "https://vault/v1/transit/bels", None, tmp_path):
            await asyncio.sleep(0)
