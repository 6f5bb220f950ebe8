"""An older PostgreSQL than the one that comes along: what is promised of every URL is kept there too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bels.app import POSTGRES_VERSION_MIN
from tests.payments.test_every_way import books_tell_one_sum, opened_trade
from tests.servers import free_port

OWN_VERSION = 18
START_WAIT_S = 60
_NOBODY = 65_534


def programs() -> Path | None:
    """Find the programs of the oldest PostgreSQL on this machine that bels promises to work with, older than its own."""
    found = {int(path.parent.name): path for path in Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin")}
    return next((found[each] for each in range(POSTGRES_VERSION_MIN, OWN_VERSION) if each in found), None)


@pytest.fixture
def older() -> Iterator[str]:
    """Give the URL of an older server, in a folder of its own."""
    place = programs()
    if place is None:
        pytest.skip(f"no PostgreSQL {POSTGRES_VERSION_MIN} to {OWN_VERSION - 1} is on this machine")
    folder = Path(tempfile.mkdtemp(prefix="bels-older-"))
    # PostgreSQL refuses to be root.
    user = _NOBODY if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        told = [str(place / program), "-D", str(data), *arguments]
        subprocess.run(
            told, user=user, group=user, cwd=folder, check=True, timeout=START_WAIT_S, stdout=subprocess.DEVNULL
        )

    try:
        run("initdb", "-A", "trust", "-U", "bels", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://bels@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_day_of_payments_is_booked_and_reconciled_on_an_older_postgresql(older: str, tmp_path: Path) -> None:
    async with opened_trade(older, tmp_path, 3) as trade:
        await trade.online(25)
        in_register = await trade.register()
        await books_tell_one_sum(trade, in_register)
