"""The embedded PostgreSQL, on real folders with real processes: made, shared, killed, brought back."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psycopg
import pytest

import bels
from bels.embedded import EmbeddedPostgresError, binary, embedded, ensure_running, postmaster_pid

WAIT_S = 30
NOBODY = 65_534
IS_ROOT = os.geteuid() == 0

# A process that uses the server, says so, and leaves when its standard input ends.
HOLDER = """
import sys
from pathlib import Path
import psycopg
from bels.embedded import embedded

with embedded(Path(sys.argv[1])) as url, psycopg.connect(url) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS said (word text)")
    connection.execute("INSERT INTO said VALUES ('принято')")
    connection.commit()
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a new folder that ordinary users may pass, which pytest's own, when run by root, is not."""
    with new_folder() as path:
        yield path


@pytest.fixture(scope="module")
def used_folder() -> Iterator[Path]:
    """Give a folder that has its cluster already, for whoever does not test the making of one."""
    with new_folder() as path:
        with embedded(path):
            pass
        yield path


@contextmanager
def new_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bels-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def holder(data_dir: Path, *launcher: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*launcher, sys.executable, "-c", textwrap.dedent(HOLDER), str(data_dir)]
    source = str(Path(bels.__file__).parent.parent)
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"} | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def socket_dir(url: str) -> Path:
    return Path(url.partition("host=")[2].partition("&")[0])


def words(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM said").fetchone()
        assert row is not None
        return int(row[0])


def say(url: str) -> int:
    """Commit one more word and count them all."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS said (word text)")
        connection.execute("INSERT INTO said VALUES ('принято')")
    return words(url)


def kill_postgresql(data_dir: Path) -> None:
    pid = postmaster_pid(data_dir)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT_S
    while postmaster_pid(data_dir) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_a_new_folder_serves_durably_to_both_drivers_and_keeps_its_data(folder: Path) -> None:
    with embedded(folder) as url:
        count = say(url)
        connection = await asyncpg.connect(url)
        try:
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
                assert await connection.fetchval(f"SHOW {setting}") == "on", setting
            assert await connection.fetchval("SHOW listen_addresses") == ""
            assert await connection.fetchval("SHOW server_encoding") == "UTF8"
            assert await connection.fetchval("SELECT lower('ЁЖ')") == "ёж"
            assert await connection.fetchval("SELECT current_user || current_database()") == "belsbels"
        finally:
            await connection.close()
    assert postmaster_pid(folder) is None
    with embedded(folder) as url:
        assert words(url) == count


def test_processes_share_the_server_and_the_last_one_stops_it(used_folder: Path) -> None:
    with holder(used_folder) as (_, their_url):
        pid = postmaster_pid(used_folder)
        with embedded(used_folder) as url:
            assert url == their_url
            assert postmaster_pid(used_folder) == pid
        assert postmaster_pid(used_folder) == pid
    assert postmaster_pid(used_folder) is None


def test_a_killed_postgresql_comes_back_with_what_was_committed(used_folder: Path) -> None:
    with embedded(used_folder) as url:
        count = say(url)
        kill_postgresql(used_folder)
        assert ensure_running(used_folder) == url
        assert words(url) == count
        # Killed again, and nobody brings it back before everybody has left.
        kill_postgresql(used_folder)
    with embedded(used_folder) as url:
        assert words(url) == count


def test_a_killed_process_leaves_the_server_to_the_next_one(used_folder: Path) -> None:
    with holder(used_folder) as (process, url):
        count = say(url)
        pid = postmaster_pid(used_folder)
        process.kill()
        # It ends when the last holder of the pipe has closed it: the server must not be one.
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], WAIT_S)[0]
        assert process.stdout.read() == ""
    assert postmaster_pid(used_folder) == pid is not None
    with embedded(used_folder) as same_url:
        assert same_url == url
        assert words(url) == count
    assert postmaster_pid(used_folder) is None


def test_a_number_taken_by_another_process_does_not_keep_the_server_down(used_folder: Path) -> None:
    lock_file = used_folder / "postgres/postmaster.pid"
    with embedded(used_folder):
        _, *others = lock_file.read_text().splitlines()
    lock_file.write_text("\n".join([str(os.getpid()), *others]) + "\n")
    with embedded(used_folder):
        assert postmaster_pid(used_folder) not in (None, os.getpid())


def test_a_lost_socket_is_made_again(used_folder: Path) -> None:
    with embedded(used_folder) as url:
        shutil.rmtree(socket_dir(url))
        assert ensure_running(used_folder) == url
        say(url)


def test_a_socket_folder_made_by_somebody_else_is_refused(used_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(used_folder))
    with embedded(used_folder) as url:
        path = socket_dir(url)
    assert path.parent == used_folder
    path.symlink_to(used_folder / "postgres")
    with pytest.raises(EmbeddedPostgresError, match="made by somebody else"), embedded(used_folder):
        pass


def test_an_error_carries_the_end_of_the_log(used_folder: Path) -> None:
    conf = used_folder / "postgres/postgresql.conf"
    good = conf.read_text()
    conf.write_text(good + "no_such_setting = 1\n")
    try:
        with (
            pytest.raises(EmbeddedPostgresError, match=r'(?s)did not start.*unrecognized .*"no_such_setting"'),
            embedded(used_folder),
        ):
            pass
    finally:
        conf.write_text(good)
    with embedded(used_folder) as url:
        say(url)


def test_a_making_interrupted_halfway_is_never_used(folder: Path) -> None:
    (folder / "postgres.new-half").mkdir()
    (folder / "postgres.new-half/PG_VERSION").write_text("18\n")
    with embedded(folder) as url:
        say(url)
    assert sorted(path.name for path in folder.iterdir()) == ["postgres", "postgres.log", "start.lock", "users.lock"]


def test_a_folder_may_have_any_name_and_the_environment_any_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    data_dir = folder / 'данные $HOME `id` "и\'т,д"' / ("д" * 120) / ("e" * 200)
    with embedded(data_dir) as url:
        monkeypatch.delenv("PGOPTIONS")  # It is a client's right to use it.
        assert say(url) == 1


def test_a_program_of_postgresql_is_found_by_name() -> None:
    assert binary("psql").is_file()
    with pytest.raises(EmbeddedPostgresError, match="no program 'oracle'"):
        binary("oracle")


@pytest.mark.skipif(not IS_ROOT, reason="this whole file is run by an ordinary user already")
def test_an_ordinary_user_has_a_server_too(folder: Path) -> None:
    # In a user namespace this Python is an ordinary user who still may read the folders that are closed to others.
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"]).returncode != 0:
        pytest.skip("no user namespaces here")
    with holder(folder, *command) as (_, url):
        assert socket_dir(url).name.startswith("bels-1000-")
        assert words(url) == 1
    assert postmaster_pid(folder) is None


@pytest.mark.skipif(not IS_ROOT, reason="only root needs a user namespace")
def test_root_without_user_namespaces_runs_it_as_nobody(folder: Path) -> None:
    without_unshare = folder / "empty"
    without_unshare.mkdir()
    data_dir = folder / "data"
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    source = str(Path(bels.__file__).parent.parent)
    refused = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(closed / "data")],
        env=os.environ | {"PYTHONPATH": source, "PATH": str(without_unshare)},
        capture_output=True,
        text=True,
    )
    if f"may not pass the folder {closed}" not in refused.stderr:
        assert "may not pass the folder" in refused.stderr, refused.stderr
        pytest.skip("an ordinary user may not pass the folder of this Python")
    with holder(data_dir, PATH=str(without_unshare)) as (_, url):
        assert (data_dir / "postgres").stat().st_uid == NOBODY
        assert words(url) == 1
    with embedded(data_dir) as url:  # And with unshare at hand again.
        assert words(url) == 1
