"""The journal is sealed every night by the clock, and whenever somebody types ``bels audit seal``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bels.app import opened
from bels.audit.seals.reading import latest_seal
from bels.audit.seals.statement import read_seal
from bels.audit_jobs import AFTER_MIDNIGHT, EVERY_HOUR, OVERDUE, PUBLISH_SEALS, SEAL, SEAL_MISSED, audit_jobs
from bels.settings import Settings
from tests.audit.seals.ground import Clock, Ground
from tests.command import bels, environment


async def test_every_turn_of_the_clock_leaves_a_seal_and_its_file(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "seals"
    async with opened(Settings(database_url=database, data_dir=tmp_path)) as supplier:
        nightly = audit_jobs(supplier, None, hourly=False)
        assert {name: nightly[name][0] for name in (SEAL, SEAL_MISSED)} == {
            SEAL: AFTER_MIDNIGHT,
            SEAL_MISSED: EVERY_HOUR,
        }
        assert PUBLISH_SEALS not in nightly
        await nightly[SEAL][1]()
        assert not folder.exists()

        published = audit_jobs(supplier, folder, hourly=True)
        assert published[SEAL][0] == EVERY_HOUR
        # The folder catches up with what was sealed before there was one.
        await published[PUBLISH_SEALS][1]()
        await published[SEAL][1]()
        async with supplier.pool.acquire() as db:
            seal = await latest_seal(db)
        assert read_seal((folder / "seal-000002.json").read_text("utf-8")) == seal
        assert (folder / "seal-000001.json").is_file()


async def test_a_night_that_was_missed_is_made_up_for_within_the_hour(database: str, tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 3, 1, 7, tzinfo=UTC))
    async with opened(Settings(database_url=database, data_dir=tmp_path), clock=clock) as supplier:
        missed = audit_jobs(supplier, None, hourly=False)[SEAL_MISSED][1]
        # A supplier that was never sealed is sealed within the hour, too.
        assert await missed() == 1
        clock.at += OVERDUE - timedelta(minutes=1)
        assert await missed() == 0
        clock.at += timedelta(minutes=1)
        assert await missed() == 2


async def test_a_folder_that_cannot_be_written_to_keeps_nobody_from_sealing(database: str, tmp_path: Path) -> None:
    (tmp_path / "seals").write_text("no folder", "utf-8")
    async with opened(Settings(database_url=database, data_dir=tmp_path)) as supplier:
        await audit_jobs(supplier, tmp_path / "seals", hourly=False)[SEAL][1]()
        async with supplier.pool.acquire() as db:
            assert await latest_seal(db) is not None


async def test_the_command_seals_names_faults_and_says_so_in_its_status(
    database: str, tmp_path: Path, ground: Ground
) -> None:
    await ground.add("1000000", "1000001", entries=2)
    env = environment(database) | {"BELS_DATA_DIR": str(tmp_path)}
    sealed = bels("audit", "seal", "--into", tmp_path / "seals", env=env)
    assert sealed.returncode == 0, sealed.stderr
    seal = read_seal((tmp_path / "seals" / "seal-000001.json").read_text("utf-8"))
    assert "Seal 1: 3 streams, 5 entries" in sealed.stdout
    assert f"heads {seal.heads.hex()}\n" in sealed.stdout

    await ground.tamper("DELETE FROM journal WHERE originator_id = '1000001' AND originator_version = 2")
    faulty = bels("audit", "seal", "--new-key", "--into", tmp_path / "seals", env=env)
    assert faulty.returncode == 1, faulty.stderr
    assert "FAULT: 1000001 at 2" in faulty.stdout
    key = read_seal((tmp_path / "seals" / "seal-000002.json").read_text("utf-8")).key
    assert key != seal.key
    assert f"The key {key} signs from now on" in faulty.stdout

    await ground.tamper("DELETE FROM seal WHERE number = 1")
    refused = bels("audit", "seal", env=env)
    assert refused.returncode == 2
    assert "nothing was sealed: of the seals 1 to 2 only 1 are there" in refused.stderr
