"""Backups: written by the very scripts, restored into an empty PostgreSQL, and proved against the journal."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from bels.access.master_key import FileMasterKey, write_new
from bels.access.personal import Personal, erase, find, put, subject_of
from bels.access.vault import Vault
from bels.embedded import binary
from tests.command import BELS, bels, environment, fetch, views
from tests.conftest import new_supplier
from tests.servers import ROOT

BACKUP, RESTORE, VERIFY = (ROOT / "deploy" / "backup" / f"{name}.sh" for name in ("backup", "restore", "verify"))
SCRIPT_WAIT_S = 120
KEY, ERASED = b"wrapped key of a household", b"wrapped key of who is to be forgotten"


@dataclass(frozen=True, slots=True)
class Supplier:
    """A supplier with some history, an empty database beside it, and a folder for backups."""

    url: str
    empty: str
    folder: Path
    data_dir: Path

    def run(
        self, script: Path, *arguments: str | Path, url: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script on the supplier's database, or on another one."""
        given = environment(url or self.url, self.data_dir) | {
            "BELS": str(BELS),
            "BELS_BACKUP_DIR": str(self.folder),
            "PG_BIN": str(binary("pg_dump").parent),
            **more,
        }
        return subprocess.run(
            [script, *arguments], env=given, capture_output=True, text=True, timeout=SCRIPT_WAIT_S, check=False
        )

    def back_up(self, **more: str) -> tuple[Path, Path]:
        """Back up and give the newest dumps: of the tables, of the keys."""
        said = self.run(BACKUP, **more)
        assert said.returncode == 0, said.stderr
        assert said.stderr == ""
        return max(self.folder.glob("tables-*.dump")), max(self.folder.glob("keys-*.dump"))

    def listed(self, dump: Path) -> str:
        """Give a dump as the SQL that it stands for."""
        command = [str(binary("pg_restore")), "--file=-", str(dump)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SCRIPT_WAIT_S, check=True).stdout


async def _execute(url: str, *statements: str) -> None:
    db = await asyncpg.connect(url)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


@pytest.fixture(scope="module")
def master_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a master key."""
    file = tmp_path_factory.mktemp("key") / "master.key"
    write_new(file)
    return file


@pytest.fixture(scope="module")
def town(postgres: str, template: str, master_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fill a supplier with a small town and a few keys; give its database's name, to be copied."""
    name = "bels_test_backup_town"
    url = new_supplier(postgres, template, name)
    env = {**environment(url, tmp_path_factory.mktemp("data")), "BELS_MASTER_KEY_FILE": str(master_file)}
    loaded = bels("demo", "--accounts", "12", "--months", "6", env=env)
    assert loaded.returncode == 0, loaded.stderr
    # The town has keys of the first households: these are of the ones after them.
    keys = [("1000000/2", KEY), ("1000001/2", ERASED)]
    rows = ", ".join(f"('{subject}', 'm1', '\\x{key.hex()}')" for subject, key in keys)
    asyncio.run(_execute(url, f"INSERT INTO bels_keys.data_key (subject, master, wrapped) VALUES {rows}"))
    return name


@pytest.fixture
def supplier(postgres: str, town: str, tmp_path: Path) -> Iterator[Supplier]:
    """Give a supplier with some history, and an empty database."""
    url = new_supplier(postgres, town, "bels_test_backup")
    empty = new_supplier(postgres, "template0", "bels_test_restored")
    yield Supplier(url, empty, tmp_path / "backups", tmp_path / "data")
    for name in ("bels_test_backup", "bels_test_restored"):
        asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


ERASE = "UPDATE bels_keys.data_key SET wrapped = NULL, destroyed_at = now() WHERE subject = '1000001/2'"
KEYS = "SELECT subject, wrapped FROM bels_keys.data_key WHERE subject LIKE '100000_/2' ORDER BY subject"


def test_a_backup_restored_into_an_empty_postgresql_has_the_views_that_its_journal_tells(supplier: Supplier) -> None:
    tables, keys = supplier.back_up()
    restored = supplier.run(RESTORE, tables, keys, url=supplier.empty)
    assert restored.returncode == 0, restored.stderr

    before = asyncio.run(views(supplier.url))
    assert asyncio.run(views(supplier.empty)) == before
    verified = supplier.run(VERIFY, url=supplier.empty)
    assert (verified.returncode, verified.stderr.count("these tables are others")) == (0, 0), verified.stderr
    assert "public.journal|" in verified.stdout
    assert asyncio.run(views(supplier.empty)) == before
    for query in ("SELECT * FROM journal ORDER BY 1, 2", "SELECT * FROM message ORDER BY 1, 2", KEYS):
        assert asyncio.run(fetch(supplier.empty, query)) == asyncio.run(fetch(supplier.url, query))
    # The journal is still one that is only added to.
    with pytest.raises(asyncpg.PostgresError, match="only added to"):
        asyncio.run(_execute(supplier.empty, "DELETE FROM journal"))


def test_a_view_that_is_not_what_the_journal_tells_is_found(supplier: Supplier) -> None:
    asyncio.run(_execute(supplier.url, "UPDATE balance SET balance = balance + 1 WHERE account = '1000000'"))
    found = supplier.run(VERIFY)

    assert found.returncode == 1
    assert "public.balance|" in found.stderr
    assert "public.journal|" not in found.stderr


def test_the_keys_are_apart_so_that_who_was_erased_is_unreadable_in_every_older_backup(supplier: Supplier) -> None:
    tables, keys = supplier.back_up()
    assert "bels_keys" not in supplier.listed(tables)
    assert KEY.hex() in supplier.listed(keys)
    assert "TABLE DATA journal" not in supplier.listed(keys)
    assert "COPY public." not in supplier.listed(keys)
    assert (tables.stat().st_mode & 0o777, keys.stat().st_mode & 0o777) == (0o600, 0o600)

    asyncio.run(_execute(supplier.url, ERASE))
    # Two backups of one second would have one name.
    older = supplier.folder / "tables-20260101T000000Z.dump"
    tables.rename(older)
    keys.unlink()
    _, later_keys = supplier.back_up(BELS_BACKUP_KEEP_DAYS="9999")

    assert ERASED.hex() not in supplier.listed(later_keys)
    assert supplier.run(RESTORE, older, later_keys, url=supplier.empty).returncode == 0
    assert asyncio.run(fetch(supplier.empty, KEYS)) == [("1000000/2", KEY), ("1000001/2", None)]


NEIGHBOUR, FORGOTTEN = (
    Personal(name=f"{name} Пётр Сергеевич", address="Балашиха, ул. Тупиковая, 5", phones=("+79161234567",))
    for name in ("Соседов", "Забытов")
)


async def _persons(url: str, master: FileMasterKey) -> list[Personal | None]:
    """Read what is known of two households, as a server with this master key would."""
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool, pool.acquire() as db:
        vault = Vault(pool, master)
        return [await find(db, vault, subject_of(account, 2)) for account in ("1000002", "1000003")]


async def _tell(url: str, master: FileMasterKey) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool, pool.acquire() as db:
        vault = Vault(pool, master)
        for account, personal in (("1000002", NEIGHBOUR), ("1000003", FORGOTTEN)):
            await put(db, vault, subject_of(account, 2), personal)


async def _erase(url: str, master: FileMasterKey) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool, pool.acquire() as db:
        vault, subject = Vault(pool, master), subject_of("1000003", 2)
        await erase(db, vault, subject, by="u-1", reason="отзыв согласия", document=None, request_id="r")


def test_a_person_erased_by_bels_is_gone_from_a_backup_made_before(supplier: Supplier, master_file: Path) -> None:
    master = FileMasterKey.read(master_file)
    asyncio.run(_tell(supplier.url, master))
    before, keys_before = supplier.back_up()
    for dump in (before, keys_before):
        assert not re.search("Соседов|Забытов|Тупиковая|9161234567", supplier.listed(dump))
    before = before.rename(supplier.folder / "tables-20260101T000000Z.dump")
    asyncio.run(_erase(supplier.url, master))
    keys_before.unlink()
    _, keys = supplier.back_up(BELS_BACKUP_KEEP_DAYS="9999")

    assert supplier.run(RESTORE, before, keys, url=supplier.empty).returncode == 0
    sealed = asyncio.run(
        fetch(supplier.empty, "SELECT subject FROM personal WHERE subject LIKE '100000_/2' ORDER BY 1")
    )
    assert sealed == [("1000002/2",), ("1000003/2",)]
    assert asyncio.run(_persons(supplier.empty, master)) == [NEIGHBOUR, None]


def test_who_was_erased_stays_erased_where_older_keys_are_restored(supplier: Supplier) -> None:
    _, keys = supplier.back_up()
    kept = keys.rename(supplier.folder / "keys-20260101T000000Z.dump")
    act = (
        "INSERT INTO identity_act (kind, by_subject, subject, reason, request_id)"
        " VALUES ('PERSONAL_DATA_ERASED', 'u-operator', '1000001/2', 'заявление', 'r')"
    )
    asyncio.run(_execute(supplier.url, ERASE, act))
    tables, _ = supplier.back_up(BELS_BACKUP_KEYS_KEEP_DAYS="9999")
    restored = supplier.run(RESTORE, tables, kept, url=supplier.empty)

    assert restored.returncode == 0, restored.stderr
    assert asyncio.run(fetch(supplier.empty, KEYS)) == [("1000000/2", KEY), ("1000001/2", None)]


def test_keys_are_kept_for_days_and_tables_for_months(supplier: Supplier) -> None:
    supplier.folder.mkdir()

    def of(days: int, kind: str) -> str:
        return f"{kind}-{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}.dump"

    old = {kind: [of(days, kind) for days in (6, 8, 89, 91)] for kind in ("tables", "keys")}
    for name in (*old["tables"], *old["keys"]):
        (supplier.folder / name).touch()
        (supplier.folder / f"{name}.sha256").touch()
    supplier.back_up()

    left = {path.name for path in supplier.folder.glob("*.dump")}
    assert {name for name in old["tables"] if name in left} == set(old["tables"][:3])
    assert {name for name in old["keys"] if name in left} == set(old["keys"][:1])
    assert {path.name.removesuffix(".sha256") for path in supplier.folder.glob("*.sha256")} == left


def test_nothing_is_forgotten_while_backups_fail(supplier: Supplier) -> None:
    supplier.folder.mkdir()
    (supplier.folder / "keys-20200101T000000Z.dump").touch()
    failed = supplier.run(BACKUP, url=supplier.url.replace("/bels_test_backup", "/bels_test_gone"))

    assert failed.returncode != 0
    assert [path.name for path in supplier.folder.glob("*.dump*")] == ["keys-20200101T000000Z.dump"]


def test_a_restore_refuses_what_is_damaged_and_where_something_is(supplier: Supplier) -> None:
    tables, keys = supplier.back_up()
    occupied = supplier.run(RESTORE, tables, keys)
    assert (occupied.returncode, "not empty" in occupied.stderr) == (2, True)

    with tables.open("r+b") as dump:
        dump.seek(tables.stat().st_size // 2)
        byte = dump.read(1)[0]
        dump.seek(-1, 1)
        dump.write(bytes([byte ^ 1]))
    damaged = supplier.run(RESTORE, tables, keys, url=supplier.empty)
    assert (damaged.returncode, "damaged" in damaged.stderr) == (1, True)
    assert asyncio.run(fetch(supplier.empty, "SELECT FROM pg_class WHERE relname = 'journal'")) == []
