"""The commands that a person types."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import urllib.request
from pathlib import Path

import pytest

from bels.cli import main
from bels.embedded import postmaster_pid
from bels.serving import ListenError, bound
from tests.command import BELS, bels, environment, fetch, views

COMMANDS = ("serve", "install", "import", "close", "statement", "rebuild", "demo", "schema")
ACCOUNTS = """\
account,opened_on,locality,stove,rooms,residents,meter,capacity,registers,initial
1000101,2024-03-22,urban,gas,2,3,M1,5,half_peak|night|peak,14124|13047|5795
1000102,2024-04-02,rural,gas,1,1,M2,6,total,100
1000103,2024-05-26,urban,electric,3,0,M3,5,day|night,99900|5
"""
READINGS = """\
account,received_at,channel,values
1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887
1000102,2024-05-22T12:00:00+03:00,web,290
"""


def run(*arguments: str) -> int:
    """Run ``bels`` in this process and give its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["bels", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
    assert isinstance(left.value.code, int)
    return left.value.code


def imported(database: str, folder: Path) -> dict[str, str]:
    """Import three households, nothing closed after April 2024, and give the environment of their supplier."""
    (folder / "accounts.csv").write_text(ACCOUNTS, "utf-8")
    (folder / "readings.csv").write_text(READINGS, "utf-8")
    env = environment(database)
    done = bels("import", folder / "accounts.csv", folder / "readings.csv", env=env)
    assert done.returncode == 0, done.stderr
    return env


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    said = capsys.readouterr().out
    assert f"usage: bels {command}" in said
    assert "BELS_DATA_DIR" in said
    assert "exit status" in said


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert re.findall(r"^    ([a-z]+)\s+[A-Z]", said, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("close",),
        ("close", "2024-13"),
        ("close", "май"),
        ("import", "accounts.csv"),
        ("import", "a.csv", "b.csv", "--settlement", "never"),
        ("import", "a.csv", "b.csv", "--close-through", "2024"),
        ("serve", "--port", "0"),
        ("serve", "--port", "http"),
        ("demo", "--accounts", "-1"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("bels")
    assert "Traceback" not in said.err


def test_a_wrong_variable_of_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BELS_PORT", "http")
    assert run("install") == 2
    assert capsys.readouterr().err == "bels: BELS_PORT must be a whole number from 1 to 65535, not 'http'\n"


def test_a_database_that_is_not_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("BELS_DATABASE_URL", f"postgresql://bels@/bels?host={tmp_path}")
    assert run("statement", "1000101") == 1
    assert capsys.readouterr().err.startswith("bels: PostgreSQL cannot be reached")


def test_close_closes_every_open_period_once(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    closed = bels("close", "2024-06", env=env)
    assert closed.returncode == 0, closed.stderr
    assert "Accounts with periods to close: 3" in closed.stdout
    # 1000101: May, June; 1000102: May, June; 1000103 was opened after the 25th: June.
    assert "Periods closed: 5" in closed.stdout
    assert re.search(r"2024-05 +1 +1\n", closed.stdout)
    again = bels("close", "2024-06", env=env)
    assert (again.returncode, again.stdout) == (0, "Accounts with periods to close: 0\nPeriods closed: 0\n")
    assert asyncio.run(fetch(database, "SELECT count(*) FROM journal WHERE topic LIKE 'command-refused%'")) == [(0,)]


def test_a_period_that_is_not_over_cannot_be_closed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("close", "2098-12") == 2
    assert "2098-12 is not over: it can be closed from 2099-01-01 00:00 Moscow time" in capsys.readouterr().err


def test_a_statement_is_read_by_people_and_by_programs(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    said = bels("statement", "1000101", env=env)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0] == "Лицевой счёт 1000101"
    assert "2024-04  по показаниям    254  полупик 103, ночь 59, пик 92" in said.stdout
    assert json.loads(bels("statement", "1000103", "--json", env=env).stdout) == {
        "account": "1000103",
        "periods": [],
        "estimation": {"mode": None, "missed_in_a_row": 0},
    }
    nobody = bels("statement", "7654321", "--json", env=env)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "bels: there is no account 7654321\n"


def test_rebuilt_views_equal_those_that_were_told_live(database: str, tmp_path: Path) -> None:
    env = environment(database)
    loaded = bels("demo", "--accounts", "60", env=env)
    assert loaded.returncode == 0, loaded.stderr
    live = asyncio.run(views(database))
    told = bels("rebuild", env=env)
    assert told.returncode == 0, told.stderr
    assert re.fullmatch(r"All views are told again: [\d,]+ entries of 60 accounts.\n", told.stdout)
    assert asyncio.run(views(database)) == live
    assert asyncio.run(fetch(database, "SELECT bool_and(told) FROM view")) == [(True,)]


def test_long_work_shows_a_bar_on_a_terminal(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([BELS, "close", "2024-06"], env=env, stdout=subprocess.DEVNULL, stderr=theirs) as closing:
        os.close(theirs)
        seen = b""
        # The terminal of a process that has left cannot be read any more.
        with contextlib.suppress(OSError):
            while more := os.read(ours, 10_000):
                seen += more
        assert closing.wait() == 0
    os.close(ours)
    assert b"close: 100%" in seen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_bels_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(ListenError, match="it does not yet know who is asking"):
        bound(host, 8000)


def test_a_port_that_is_taken_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ListenError, match="choose another with --port"),
    ):
        bound("127.0.0.1", other.getsockname()[1])


def test_serve_loads_the_town_says_what_to_try_and_stops_in_good_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command: list[str | Path] = [BELS, "serve", "--demo", "--port", str(port)]
    env = environment(data_dir=tmp_path / "data")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        said = ""
        while "Ctrl-C" not in said and (line := serving.stdout.readline()):
            said += line
        try:
            assert "The demonstration town is loaded: 300 accounts" in said
            assert f"http://127.0.0.1:{port}/graphql" in said
            # What the greeting advises is what works.
            [query] = re.findall(r"\{ account.*\n.*\} \}\n", said)
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}/graphql",
                json.dumps({"query": query}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert json.load(answer)["data"]["account"]["estimation"]["mode"] == "METERED"
            [curl] = re.findall(r"^ +(curl .*)$", said, re.MULTILINE)
            sms = subprocess.run(["sh", "-c", f"{curl} -s"], capture_output=True, text=True, timeout=20)
            assert "10385, расход 185" in sms.stdout or sms.returncode == 127
            other = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
            assert other.returncode == 2
            assert f"port {port} of 127.0.0.1 cannot be taken" in other.stderr
        finally:
            serving.send_signal(signal.SIGTERM)
        assert serving.wait(timeout=30) == 0
        assert serving.stderr is not None
        assert "Traceback" not in serving.stderr.read()
    assert postmaster_pid(tmp_path / "data") is None
