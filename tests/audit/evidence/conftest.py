"""One household with a full life, and its packs, for all tests of evidence."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.audit.evidence.life import Lived, asked, live
from tests.audit.evidence.packs import Made, make
from tests.conftest import new_supplier


@pytest.fixture(scope="session")
def lived(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Live the life once; nobody changes it."""
    folder = tmp_path_factory.mktemp("lived")
    database = new_supplier(postgres, template, f"bels_test_evidence_{os.getpid()}")
    asyncio.run(live(database, folder))
    return Lived(database, folder)


@pytest.fixture(scope="session")
def masked(lived: Lived) -> bytes:
    """Make the masked pack."""
    return lived.pack(asked())


@pytest.fixture(scope="session")
def included(lived: Lived) -> bytes:
    """Make the pack with personal data."""
    return lived.pack(asked(personal=True))


@pytest.fixture(scope="session")
def made(postgres: str, template: str) -> Made:
    """Let a supplier live, seal and pack, once."""
    names = (f"bels_test_alone_{os.getpid()}", f"bels_test_alone_empty_{os.getpid()}")
    return asyncio.run(make(*(new_supplier(postgres, template, name) for name in names)))
