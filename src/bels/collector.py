"""Python's garbage collector in a process that lives long: it need not look at what stays."""

from __future__ import annotations

import gc

AFTER = 100_000
"""New objects after which the youngest are looked at: a batch of messages makes and drops tens of thousands, none in a cycle."""


def settled() -> None:
    """Leave alone what is loaded now, and every remembered account after each few requests or lines of a register."""
    gc.freeze()
    gc.set_threshold(AFTER, 50, 1000)
