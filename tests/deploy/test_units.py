"""The systemd units: their syntax, what they leave open, and the programs they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bels.settings import Settings
from tests.servers import ROOT

SYSTEMD = ROOT / "deploy" / "systemd"
SERVICES = (
    "bels-deliver.service",
    "bels-exchange.service",
    "bels@.service",
    "bels-close.service",
    "bels-backup.service",
)
TIMERS = ("bels-close.timer", "bels-backup.timer")
EXPOSURE_TENTHS_MAX = 15
"""systemd's own measure: below two is called OK, a service without any limit has ninety-six."""

WAIT_S = 60

_STARTED = re.compile(r"^(Exec\w+=)(/opt/bels/\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the units in a folder, with their drop-in; what they start is not installed here, so another program is."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here, so the units are not tried")
    folder = tmp_path_factory.mktemp("units")
    for name in (*SERVICES, *TIMERS):
        text = (SYSTEMD / name).read_text()
        (folder / name).write_text(_STARTED.sub(lambda started: f"{started[1]}/bin/true", text))
    for name in SERVICES:
        (folder / f"{name}.d").mkdir()
        shutil.copy(SYSTEMD / "hardening.conf", folder / f"{name}.d")
    return folder


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False
    )


@pytest.mark.parametrize("name", [*SERVICES, *TIMERS])
def test_a_unit_is_what_systemd_understands(units: Path, name: str) -> None:
    verified = analyze(units, "verify", "--recursive-errors=no", f"./{name}")

    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little_but_its_work(units: Path, name: str) -> None:
    secure = analyze(
        units, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", f"./{name}"
    )

    assert secure.returncode == 0, secure.stdout


@pytest.mark.parametrize("name", TIMERS)
def test_a_timer_rings_at_night_in_moscow(units: Path, name: str) -> None:
    calendar = re.findall(r"^OnCalendar=(.*)$", (SYSTEMD / name).read_text(), re.MULTILINE)
    assert len(calendar) == 1
    rings = analyze(units, "calendar", "--base-time=2026-10-31 12:00:00 UTC", "--iterations=7", calendar[0])
    assert rings.returncode == 0, rings.stderr
    told = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d)", rings.stdout)
    # 00:30 in Moscow is 21:30 UTC of the day before; the closing never rings before its month is over.
    expected = {
        "bels-close.timer": [
            f"2026-{day} 21:30" for day in ("10-31", "11-01", "11-02", "11-03", "11-04", "11-30", "12-01")
        ],
        "bels-backup.timer": [f"2026-{day} 23:30" for day in ("10-31", *(f"11-{n:02}" for n in range(1, 7)))],
    }
    assert told == expected[name]


@pytest.mark.parametrize("name", ["bels@.service", "bels-deliver.service"])
def test_the_secrets_of_the_channels_reach_who_needs_them(units: Path, name: str) -> None:
    drop_in = SYSTEMD / "channels.conf"
    given = re.findall(r"^LoadCredential=(\S+):", drop_in.read_text(), re.MULTILINE)
    used = re.findall(r"(BELS_[A-Z_]+_FILE)=%d/(\S+)", drop_in.read_text())
    shutil.copy(drop_in, units / f"{name}.d")
    try:
        verified = analyze(units, "verify", "--recursive-errors=no", f"./{name}")
    finally:
        (units / f"{name}.d" / drop_in.name).unlink()

    assert (verified.returncode, verified.stderr) == (0, "")
    assert {file for _, file in used} == set(given)
    assert (
        Settings.from_environment(dict.fromkeys((variable for variable, _ in used), "/x")).channels
        != Settings().channels
    )


def test_what_a_unit_starts_is_in_the_repository() -> None:
    started = {path for name in SERVICES for _, path in _STARTED.findall((SYSTEMD / name).read_text())}
    assert {path for path in started if path.startswith(("/opt/bels/jobs/", "/opt/bels/backup/"))} == {
        "/opt/bels/jobs/close-month",
        "/opt/bels/backup/backup.sh",
    }
    for path in started - {"/opt/bels/bin/bels", "/opt/bels/bin/python"}:
        source = ROOT / "deploy" / Path(path).relative_to("/opt/bels")
        assert source.stat().st_mode & 0o111, f"{source} cannot be run"


def test_no_secret_stands_in_a_unit() -> None:
    for name in SERVICES:
        text = (SYSTEMD / name).read_text()
        assert not re.search(r"(?i)^Environment=.*(token|password|secret)", text, re.MULTILINE)
        assert "BELS_MASTER_KEY_FILE=%d/" in text or name == "bels-backup.service"
