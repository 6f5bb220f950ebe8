"""What tests stand on: a real PostgreSQL for the whole run, and a fresh database for each test that asks for one."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from bels.access.store import install_access
from bels.audit.store import install_audit
from bels.embedded import embedded
from bels.intake import Intake
from bels.journal.journal import install
from bels.outgoing.store import install_outgoing
from bels.payments.store import install_payments
from bels.projections.project import install_views
from bels.reception.store import install_reception
from tests.rules import DEFAULT_RULEBOOK

settings.register_profile(
    "bels", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("bels")

TEMPLATE = "bels_template"
MEMORY = Path("/dev/shm")
ROOM_MIN_BYTES = 4 << 30
"""Free memory below which the databases are on the disk: each of the workers needs about 1 GB."""

_numbers = count(1)


LONG = (
    "test_fuzz.py",
    "test_asterisk.py",
    "test_clients.py",
    "test_servers_behind_nginx.py",
    "test_serving.py",
    "test_certification.py",
    "test_room.py",
    "test_chaos_payments.py",
    "test_chaos.py",
    "test_demo.py",
    "test_every_month.py",
    "test_import.py",
    "test_cli.py",
    "test_draining.py",
    "test_browser.py",
)
"""Files that last long: begun last, one of them would keep everybody waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that last long, in the order above; the others stay in theirs."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


def pytest_collection_finish() -> None:
    """Let Python's collector alone with what is loaded: with every test it would look through a million objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def database_of(server: str, name: str) -> str:
    """Give the URL of another database on the same server."""
    head, _, tail = server.partition("@/")
    _, _, query = tail.partition("?")
    return f"{head}@/{name}?{query}" if query else f"{server.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a PostgreSQL server: ``BELS_TEST_DATABASE_URL``, or the embedded one in a folder of its own."""
    url = os.environ.get("BELS_TEST_DATABASE_URL")
    if url:
        yield url
        return
    with _in_memory(tmp_path_factory) as folder, embedded(folder) as server:
        # What these tests write need not outlive a power cut, only our processes.
        small = "ALTER SYSTEM SET max_wal_size = '512MB'"
        asyncio.run(_run(server, "ALTER SYSTEM SET fsync = off", small, "SELECT pg_reload_conf()"))
        yield server


@contextmanager
def _in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder in memory, or on the disk where there is no room: a database for each test is some 800 files that soon go again."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM_MIN_BYTES:
        yield tmp_path_factory.mktemp("postgres")
        return
    with TemporaryDirectory(prefix="bels-tests-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """Install the schema once, in a database that every test's database is copied from."""

    async def make() -> None:
        db = await asyncpg.connect(postgres)
        await db.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
        await db.execute(f"CREATE DATABASE {TEMPLATE}")
        await db.close()
        db = await asyncpg.connect(database_of(postgres, TEMPLATE))
        await install(db)
        await install_access(db)
        await install_views(db)
        await install_reception(db)
        await install_outgoing(db)
        await install_payments(db)
        await install_audit(db)
        await db.close()

    asyncio.run(make())
    return TEMPLATE


async def drop_supplier(server: str, name: str) -> None:
    """Drop the database of a supplier, whoever is connected to it."""
    await _run(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _run(server: str, *statements: str) -> None:
    db = await asyncpg.connect(server)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


def new_supplier(server: str, template: str, name: str) -> str:
    """Make a new, empty supplier under a name, in place of one that is there, and give its URL."""
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    # Copying its files takes 25 ms where writing every page to the log takes 130, once nobody waits for the disk.
    create = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
    asyncio.run(_run(server, drop, create))
    return database_of(server, name)


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[str]:
    """Give the URL of a new, empty supplier."""
    name = f"bels_test_{os.getpid()}_{next(_numbers)}"
    yield new_supplier(postgres, template, name)
    asyncio.run(drop_supplier(postgres, name))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """Give a pool of connections to a new, empty supplier."""
    async with asyncpg.create_pool(database, min_size=1, max_size=8) as made:
        yield made


@pytest.fixture
async def intake(pool: asyncpg.Pool) -> AsyncIterator[Intake]:
    """Give a running intake over a new, empty supplier, under the default rulebook."""
    async with Intake(pool, DEFAULT_RULEBOOK).running() as running:
        yield running
