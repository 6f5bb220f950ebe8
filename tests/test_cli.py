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
from tests.conftest import new_supplier
from tests.servers import free_port

COMMANDS = (
    "serve",
    "install",
    "import",
    "close",
    "statement",
    "bill",
    "rulebook",
    "user",
    "client",
    "key",
    "voice",
    "deliver",
    "remind",
    "registers",
    "charges",
    "gis",
    "exchange",
    "partners",
    "audit",
    "rebuild",
    "demo",
    "schema",
)
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
        ("rulebook",),
        ("rulebook", "publish"),
        ("bill",),
        ("bill", "1000101", "--pdf", "a.pdf", "--json"),
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
    # Half-peak 103 x 6.73, night 59 x 3.01, peak 92 x 8.75, by the demonstration rulebook.
    april = "2024-04  по показаниям    254  1\xa0476,46  1\xa0476,46  13.05.2024   полупик 103, ночь 59, пик 92"
    assert april in said.stdout
    assert "Долг: 1\xa0476,46 ₽" in said.stdout
    assert json.loads(bels("statement", "1000103", "--json", env=env).stdout) == {
        "account": "1000103",
        "periods": [],
        "estimation": {"mode": None, "missed_in_a_row": 0},
        "payments": [],
        "penalties": [],
        "balance": "0.00",
        "penalty_balance": "0.00",
    }
    nobody = bels("statement", "7654321", "--json", env=env)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "bels: there is no account 7654321\n"


def test_a_closing_is_seen_before_it_is_posted(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    entries = asyncio.run(fetch(database, "SELECT count(*) FROM journal"))
    seen = bels("close", "2024-06", "--dry-run", env=env)
    assert seen.returncode == 0, seen.stderr
    assert asyncio.run(fetch(database, "SELECT count(*) FROM journal")) == entries
    said, rest = seen.stdout.split("The first accounts:\n")
    assert said.startswith("This is what the closing would lead to; nothing is stored (--dry-run).\n")
    assert re.match(r" +account +periods +bills +recalculations +penalties\n  1000101        2 ", rest)
    closed = bels("close", "2024-06", env=env)
    assert said.splitlines()[1:] == closed.stdout.splitlines()
    assert re.search(r"^Bills: [\d,.]+ roubles \(charges [\d,.]+, recalculations [\d,.-]+\)$", said, re.MULTILINE)


def test_a_bill_is_printed_with_and_without_the_consumer(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    said = bels("bill", "1000101", "2024-04", env=env)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Счёт за электроэнергию за апрель 2024, лицевой счёт 1000101\n")
    assert said.stdout.endswith("К оплате 1\xa0476,46 ₽ до 13.05.2024\n")
    named = bels("bill", "1000101", "--name", "Иванова А. И.", "--address", "ул. Мира, 1", env=env)
    assert "Иванова А. И., ул. Мира, 1" in named.stdout
    bill = json.loads(bels("bill", "1000101", "--json", env=env).stdout)
    assert (bill["period"], bill["to_pay"], bill["charged"]) == ("2024-04", "1476.46", "1476.46")
    assert "person" not in bill
    printed = bels("bill", "1000101", "--pdf", tmp_path / "bill.pdf", env=env)
    assert printed.returncode == 0, printed.stderr
    assert (tmp_path / "bill.pdf").read_bytes().startswith(b"%PDF-")
    stored = asyncio.run(
        fetch(database, "SELECT count(*) FROM journal WHERE convert_from(state, 'UTF8') LIKE '%Иванова%'")
    )
    assert stored == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("bill", "1000101", "2024-05"), 1, "account 1000101 has no bill for 2024-05; its last one is for 2024-04"),
        (("bill", "1000103"), 1, "account 1000103 has no bill yet"),
        (("bill", "7654321"), 1, "there is no account 7654321"),
        (("bill", "77"), 2, "an account has exactly seven digits, '77' has not"),
        (("bill", "1000101", "--name", "Иванова"), 2, "a bill names both or neither: give --name and --address together"),
        (("bill", "1000101", "--pdf", "/nowhere/bill.pdf"), 2, "/nowhere/bill.pdf cannot be written (No such file or directory)"),
    ],
)  # fmt: skip
def test_a_bill_that_cannot_be_given_says_why(
    arguments: tuple[str, ...], status: int, sentence: str, bills: dict[str, str]
) -> None:
    said = bels(*arguments, env=bills)
    assert (said.returncode, said.stdout) == (status, "")
    assert said.stderr == f"bels: {sentence}\n"


@pytest.fixture(scope="module")
def bills(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment of a supplier with three households, for tests that change nothing."""
    return imported(new_supplier(postgres, template, "bels_test_bills"), tmp_path_factory.mktemp("bills"))


RATES = """\
[[tariff]]
group = "MO/urban_gas"
scheme = "three_zone"
effective_on = {day}
rates = {{ peak = ["10.00"], half_peak = ["8.00"], night = ["4.00"] }}
status = {{ peak = "published", half_peak = "published", night = "published" }}
source = "a newspaper"
"""


def test_rules_are_published_shown_and_listed(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    rates = tmp_path / "rates.toml"
    rates.write_text(RATES.format(day="2024-05-01"), "utf-8")
    seen = bels("rulebook", "publish", rates, "--dry-run", env=env)
    assert seen.returncode == 0, seen.stderr
    assert "Nothing that was charged changes; 2024-04 was charged last." in seen.stdout
    assert asyncio.run(fetch(database, "SELECT count(*) FROM journal WHERE topic LIKE 'rulebook-published.%'")) == [
        (2,)
    ]
    done = bels("rulebook", "publish", rates, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Published: demonstration/3, from {rates}; prices change from 2024-05 on.\n"
    again = bels("rulebook", "publish", rates, env=env)
    assert (again.returncode, again.stdout) == (
        0,
        f"Nothing is published: {rates} says nothing that is not in force already.\n",
    )
    listed = bels("rulebook", "history", env=env).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [
        "publication",
        "moscow-region/1",
        "demonstration/2",
        "demonstration/3",
    ]
    shown = bels("rulebook", "show", env=env).stdout
    assert '"10.00"' in shown
    (tmp_path / "shown.toml").write_text(shown, "utf-8")
    assert "Nothing is published" in bels("rulebook", "publish", tmp_path / "shown.toml", env=env).stdout
    told = json.loads(bels("rulebook", "show", "--json", env=env).stdout)
    assert (told["publication"], told["name"]) == (3, "demonstration")


def test_a_past_that_was_charged_changes_for_a_reason_only(database: str, tmp_path: Path) -> None:
    env = imported(database, tmp_path)
    rates = tmp_path / "rates.toml"
    rates.write_text(RATES.format(day="2024-04-01"), "utf-8")
    refused = bels("rulebook", "publish", rates, env=env)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "PAST_CHARGED" in refused.stderr
    assert "would change in 2024-04, and 2024-04 has been charged" in refused.stderr
    assert '--retroactive "REASON"' in refused.stderr
    seen = bels("rulebook", "publish", rates, "--dry-run", env=env).stdout
    # 103 x 8 + 59 x 4 + 92 x 10 = 1980.00, and 1476.46 was charged.
    assert "would post 1 recalculations on 1 accounts, +503.54 roubles in all" in seen
    assert "1000101       +503.54" in seen
    done = bels("rulebook", "publish", rates, "--retroactive", "решение суда", env=env)
    assert done.returncode == 0, done.stderr
    assert "put right with the next closing of each account" in done.stdout
    assert bels("close", "2024-05", env=env).returncode == 0
    [line] = json.loads(bels("statement", "1000101", "--json", env=env).stdout)["periods"][-1]["recalculations"]
    assert (line["period"], line["reason"], line["difference"]) == ("2024-04", "TARIFF_CHANGED", "503.54")


def test_every_fault_of_a_file_of_rules_is_a_line(bills: dict[str, str], tmp_path: Path) -> None:
    rates = tmp_path / "rates.toml"
    rates.write_text(
        RATES.format(day="2024-05-01").replace("three_zone", "four_zone").replace('"4.00"', "4.00"), "utf-8"
    )
    for more in ((), ("--dry-run",)):
        said = bels("rulebook", "publish", rates, *more, env=bills)
        assert (said.returncode, said.stdout) == (2, "")
        first, *faults = said.stderr.splitlines()
        assert first == f"bels: {rates} is not published:"
        assert faults[0].startswith(f"{rates}:3: tariff 1, scheme: scheme is 'four_zone'")
        assert any(fault.startswith(f"{rates}:5: tariff 1, rates.night: 4.00 is not exact") for fault in faults)


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
def test_without_a_master_key_bels_listens_on_this_machine_only(host: str) -> None:
    with pytest.raises(ListenError, match=r"without a master key.*bels key new FILE"):
        bound(host, 8000, local=False, has_master_key=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_what_is_open_to_the_developer_is_open_on_this_machine_only(host: str) -> None:
    with pytest.raises(ListenError, match="--local opens everything"):
        bound(host, 8000, local=True, has_master_key=True)


def test_with_a_master_key_bels_listens_on_any_address() -> None:
    with bound("0.0.0.0", free_port(), local=False, has_master_key=True) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


def test_a_port_that_is_taken_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ListenError, match="choose another with --port"),
    ):
        bound("127.0.0.1", other.getsockname()[1], local=True, has_master_key=False)


def test_serve_loads_the_town_says_what_to_try_and_stops_in_good_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command: list[str | Path] = [BELS, "serve", "--demo", "--local", "--port", str(port)]
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
