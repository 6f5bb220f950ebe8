"""Say how far long work is: a bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from tqdm import tqdm

LINE_EVERY_S = 10.0


class Progress(Protocol):
    """What long work is told to report to."""

    def update(self, n: int = 1) -> object:
        """Say that ``n`` more units are done."""


class _Lines:
    """Progress where nobody looks at a bar: in a log, in a pipe."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._began = self._said = time.monotonic()

    def update(self, n: int = 1) -> object:
        self._done += n
        if time.monotonic() - self._said > LINE_EVERY_S:
            self.say()
        return None

    def say(self) -> None:
        self._said = time.monotonic()
        took_s = max(self._said - self._began, 0.001)
        share = f"{100 * self._done // self._total} %, " if self._total else ""
        of = f" of {self._total:,}" if self._total else ""
        speed = f"{self._done / took_s:,.0f}/s"
        # Work goes on when nobody listens any more.
        with suppress(OSError):
            sys.stderr.write(f"{self._title}: {share}{self._done:,}{of} {self._unit}, {speed}\n")
            sys.stderr.flush()


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Progress]:
    """Show the progress of some work of ``total`` units, until it ends or is stopped."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=title, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True) as bar:
            yield bar
        return
    lines = _Lines(title, total, unit)
    yield lines
    if total:
        lines.say()
