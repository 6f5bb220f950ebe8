"""The commands of the master key: a file is made once, a new key is put first, all keys are wrapped anew."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import asyncpg

from bels.access.master_key import FileMasterKey, keys_of
from bels.access.personal import Personal, find, put
from bels.access.vault import Vault
from tests.command import bels, environment, fetch


async def _kept(url: str, file: Path, personal: Personal | None = None) -> Personal | None:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool, pool.acquire() as db:
        vault = Vault(pool, FileMasterKey.read(file))
        if personal is not None:
            await put(db, vault, "1000101/1", personal)
        return await find(db, vault, "1000101/1")


def test_a_new_key_is_private_and_never_takes_the_place_of_another(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = bels("key", "new", file, env=environment())
    ((name, _),) = keys_of(file)
    assert (made.returncode, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert f"The master key {name} is in {file}" in made.stdout
    text = file.read_text()
    assert text.partition(":")[2].strip() not in made.stdout + made.stderr
    again = bels("key", "new", file, env=environment())
    assert (again.returncode, file.read_text()) == (2, text)
    assert "is there already" in again.stderr


def test_a_key_is_not_added_to_what_is_no_file_of_keys(tmp_path: Path) -> None:
    missing = bels("key", "new", "--add", tmp_path / "none", env=environment())
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_one_master_key_follows_another(database: str, tmp_path: Path) -> None:
    file, ivanov = tmp_path / "keys", Personal("Иванов Пётр", phones=("+79161234567",))
    env = {**environment(database), "BELS_MASTER_KEY_FILE": str(file)}
    bels("key", "new", file, env=env)
    (old,) = keys_of(file)
    assert asyncio.run(_kept(database, file, ivanov)) == ivanov
    assert bels("key", "new", "--add", file, env=env).returncode == 0
    new, kept = keys_of(file)
    assert kept == old
    done = bels("key", "rewrap", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Keys wrapped by {new[0]}: ")
    nothing = bels("key", "rewrap", env=env)
    assert nothing.stdout == f"Keys wrapped by {new[0]}: 0.\n"
    everything = bels("key", "rewrap", "--all", env=env)
    assert everything.stdout.startswith(f"Keys wrapped by {new[0]}: ")
    assert everything.stdout != nothing.stdout
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0])
    assert asyncio.run(_kept(database, file)) == ivanov
    recorded = asyncio.run(fetch(database, "SELECT kind, subject FROM identity_act ORDER BY act"))
    assert recorded == [("MASTER_KEY_CHANGED", new[0])] * 2
    file.write_text(lines[1])
    lost = bels("key", "rewrap", env=env)
    assert lost.returncode in {1, 2}
    assert f"wrapped by the master key {new[0]}; the file holds only {old[0]}" in lost.stderr
