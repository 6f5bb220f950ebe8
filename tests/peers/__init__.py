"""Peers: gateways of somebody else's make, each real, in a scratch folder, on loopback. A missing one is said loudly."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

STOP_WAIT_S = 10.0
PLACES = ("/usr/sbin", "/usr/local/sbin")
"""Where daemons are, also for a user whose PATH does not know."""


def found(program: str) -> str | None:
    """Find a program by name or path."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES)))


def need(*programs: str, packages: str) -> None:
    """Skip the test that needs programs which are not here, or fail it where peers are required (``BELS_REQUIRE_PEERS=1``).

    ``packages`` are the Debian packages that bring them; ``deploy/peers.sh`` installs them.
    """
    missing = [program for program in programs if found(program) is None]
    if not missing:
        return
    sentence = (
        f"A PEER IS MISSING, so bels is not tried against it: no {', '.join(missing)}. Install it as root with `make peers`, "
        f"or: apt-get install --no-install-recommends {packages}"
    )
    if os.environ.get("BELS_REQUIRE_PEERS") == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started: politely, and after a while not."""
    process.terminate()
    try:
        process.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
