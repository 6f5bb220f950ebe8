"""The scheduled jobs: which month is closed, when, and when a server counts as started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.proxy import Telling, Unwell, standing_in
from tests.servers import ROOT

JOBS = ROOT / "deploy" / "jobs"
WAIT_S = 30


@pytest.mark.parametrize(
    ("today", "closed"),
    [("2026-01-01", "2025-12"), ("2026-02-28", "2026-01"), ("2026-09-01", "2026-08"), ("2026-11-05", "2026-10")],
)
def test_the_month_before_today_is_closed(today: str, closed: str) -> None:
    ran = subprocess.run(
        [JOBS / "close-month", today],
        env={**os.environ, "BELS": "echo"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert (ran.returncode, ran.stdout) == (0, f"close {closed}\n")


def test_today_is_moscows_and_a_closing_that_fails_says_so(tmp_path: Path) -> None:
    failing = tmp_path / "bels"
    failing.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    failing.chmod(0o755)
    ran = subprocess.run(
        [JOBS / "close-month"], env={**os.environ, "BELS": str(failing)}, capture_output=True, text=True
    )
    moscow = time.gmtime(time.time() + 3 * 3600)
    month = moscow.tm_year * 12 + moscow.tm_mon - 2
    assert (ran.returncode, ran.stdout) == (1, f"close {month // 12}-{month % 12 + 1:02}\n")
    assert subprocess.run([JOBS / "close-month", "soon"], capture_output=True, timeout=WAIT_S).returncode == 2


def _every(folder: Path, moment: str, *arguments: str) -> list[str]:
    """Run ``every`` for a while under a clock that stands still; give what it ran."""
    clock = folder / "date"
    clock.write_text(f"#!/bin/sh\nTZ=MSK-3 exec /bin/date -d '{moment}' \"$@\"\n")
    clock.chmod(0o755)
    done = folder / "done"
    done.write_text("")
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "EVERY_S": "0.05"}
    job = subprocess.Popen([JOBS / "every", *arguments, "sh", "-c", f"echo run >> {done}; exit 3"], env=environment)
    time.sleep(0.6)
    job.terminate()
    assert job.wait(WAIT_S) == 0
    return done.read_text().splitlines()


@pytest.mark.parametrize(
    ("moment", "runs"),
    [
        ("2026-11-01 00:29", 0),
        ("2026-11-01 00:30", 1),
        ("2026-11-05 23:59", 1),
        ("2026-11-06 00:30", 0),
        ("2026-11-30 09:08", 0),
    ],
)
def test_a_job_of_a_container_runs_once_on_its_days_from_its_hour_on(tmp_path: Path, moment: str, runs: int) -> None:
    assert len(_every(tmp_path, moment, "00:30", "01-05")) == runs


def test_a_server_counts_as_started_when_it_wants_requests() -> None:
    with standing_in(Telling) as ready:
        began = time.monotonic()
        waited = subprocess.run([sys.executable, JOBS / "wait_ready.py", ready.rpartition(":")[2]], timeout=WAIT_S)
        assert waited.returncode == 0
        # Longer than nginx leaves a server alone that refused it.
        assert time.monotonic() - began > 3
    with standing_in(Unwell) as unwell:
        waiting = subprocess.Popen([sys.executable, JOBS / "wait_ready.py", unwell.rpartition(":")[2]])
        time.sleep(1)
        assert waiting.poll() is None
        waiting.kill()
        waiting.wait()
