"""What the tests of the sandbox stand on: one sandbox for the tests of a file, served."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bels.app import Bels
from bels.sandbox.room import SandboxRoom
from tests.conftest import new_supplier
from tests.sandbox.opened import opened_room, served


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An open sandbox and where it is served."""

    bels: Bels
    room: SandboxRoom
    url: str


@pytest.fixture(scope="module")
def sandbox_database(postgres: str, template: str, request: pytest.FixtureRequest) -> str:
    """Give the URL of a database for the sandbox of a file."""
    return new_supplier(postgres, template, f"bels_sandbox_{os.getpid()}_{request.path.stem}")


@pytest.fixture(scope="module")
async def sandbox(sandbox_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """Serve a sandbox."""
    folder: Path = tmp_path_factory.mktemp("sandbox")
    async with opened_room(sandbox_database, folder) as (bels, room), served(bels, room) as where:
        yield Sandbox(bels, room, where)
