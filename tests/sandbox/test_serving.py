"""`bels serve --sandbox` as a person types it: what it prints works, and it keeps apart from a real supplier."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bels.sandbox.serving import DATA_DIR, settings_of_sandbox
from bels.settings import Settings
from tests.command import BELS, bels, environment
from tests.servers import START_WAIT_S, free_port

WAIT_S = 60


def test_a_sandbox_never_lies_in_the_suppliers_own_folder(tmp_path: Path) -> None:
    usual = settings_of_sandbox(Settings.from_environment({}))
    named = settings_of_sandbox(Settings.from_environment({"BELS_DATA_DIR": str(tmp_path)}))

    assert usual.data_dir == DATA_DIR.absolute() != Settings.from_environment({}).data_dir
    assert named.data_dir == tmp_path


@contextmanager
def sandbox(env: dict[str, str], *more: str) -> Iterator[str]:
    """Serve a sandbox; give what it says when it is ready."""
    process = subprocess.Popen(
        [BELS, "serve", "--sandbox", "--port", str(free_port()), *more],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "--fresh" in line:
                break
        yield "".join(said)
    finally:
        process.terminate()
        process.communicate(timeout=START_WAIT_S)


def partners(said: str) -> list[str]:
    """Find the clients in what a sandbox says."""
    return re.findall(r"(c-[a-z2-7]{16})  bels_", said)


def test_what_the_sandbox_prints_works_as_it_is_printed(database: str, tmp_path: Path) -> None:
    env = environment(database, tmp_path)
    with sandbox(env) as first:
        token, *asked = re.split(
            r"\n\n +[A-Za-z ,]+:\n", first.partition("        TOKEN=")[2].partition("\n\n  The guide")[0]
        )
        told = subprocess.run(
            ["bash", "-c", "\n".join([f"TOKEN={token}", *asked])], capture_output=True, text=True, timeout=WAIT_S
        )
    ordinary = bels("serve", "--port", str(free_port()), env=env)
    with sandbox(env, "--fresh") as second:
        pass

    assert '"situation":"THREE_ZONES"' in told.stdout
    assert '"__typename":"PaymentTaken"' in told.stdout
    assert "<result>0</result>" in told.stdout
    assert len(partners(first)) == 2
    assert set(partners(first)).isdisjoint(partners(second))
    assert ordinary.returncode == 2
    assert "--sandbox" in ordinary.stderr


@pytest.mark.parametrize("arguments", [("--fresh",), ("--sandbox", "--local"), ("--sandbox", "--demo")])
def test_what_does_not_go_together_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = bels("serve", *arguments, env=environment(data_dir=tmp_path))

    assert done.returncode == 2
    assert "sandbox" in done.stderr
