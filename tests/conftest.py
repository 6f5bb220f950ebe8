"""What tests stand on: a real PostgreSQL for the whole run, and a fresh database for each test that asks for one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count

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
_numbers = count(1)


LONG = (
    "test_servers_behind_nginx.py",
    "test_fuzz.py",
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
    """Begin with the files that last long; the others stay in their order."""
    items.sort(key=lambda item: item.path.name not in LONG)


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
    with embedded(tmp_path_factory.mktemp("postgres")) as server:
        # What these tests write need not outlive a power cut, only our processes.
        asyncio.run(_run(server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
        yield server


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
    asyncio.run(_run(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


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
