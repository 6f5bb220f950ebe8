"""Seals as files, from which copies are kept outside: written once, caught up with, never written over."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from bels.audit.seals.keys import public_keys
from bels.audit.seals.publishing import KEYS_FILE, Published, publish_files
from bels.audit.seals.statement import published, read_seal
from tests.audit.seals.ground import Ground


async def test_every_seal_becomes_a_file_once(ground: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "seals"
    assert await publish_files(ground.pool, folder) == Published((), ())
    await ground.add("1000000")
    seals = [await ground.seal(), await ground.seal()]
    assert await publish_files(ground.pool, folder) == Published((1, 2), ())
    assert await publish_files(ground.pool, folder) == Published((), ())
    seals.append(await ground.seal())
    assert await publish_files(ground.pool, folder) == Published((3,), ())

    assert sorted(each.name for each in folder.iterdir()) == [
        "seal-000001.json", "seal-000002.json", "seal-000003.json", KEYS_FILE,
    ]  # fmt: skip
    for seal in seals:
        text = (folder / f"seal-{seal.number:06}.json").read_text("utf-8")
        assert text == published(seal)
        assert read_seal(text) == seal
    [key] = json.loads((folder / KEYS_FILE).read_text("utf-8"))["keys"]
    async with ground.pool.acquire() as db:
        assert await public_keys(db) == {key["kid"]: bytes.fromhex(key["hex"])}
    assert urlsafe_b64decode(key["x"] + "=").hex() == key["hex"]


async def test_a_file_that_says_something_else_is_an_alarm_and_is_left_alone(
    ground: Ground, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await ground.seal()
    await ground.seal()
    await publish_files(ground.pool, tmp_path)
    kept = tmp_path / "seal-000002.json"
    kept.write_text("{}", "utf-8")
    (tmp_path / "seal-000009.json").write_text("{}", "utf-8")
    (tmp_path / "notes.txt").write_text("", "utf-8")
    await ground.tamper("DELETE FROM seal WHERE number = 1")
    with caplog.at_level(logging.ERROR, "bels.audit.seals.publishing"):
        assert await publish_files(ground.pool, tmp_path) == Published((), (1, 2, 9))
    assert "seal-000002.json" in caplog.text
    assert kept.read_text("utf-8") == "{}"
