"""How much work something is: processor time as a multiple of a plain loop's, both of this thread and this moment.

A clock on the wall would measure what else the machine does; a test must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time

LOOPS = 150_000
"""What one unit is: this often round a plain loop, about a hundredth of a second."""


class Effort:
    """The work of a block, in units: known when the block has ended."""

    units: float = float("inf")


def _unit_s() -> float:
    spent = []
    for _ in range(3):
        begun, total = thread_time(), 0
        for n in range(LOOPS):
            total += n & 7
        spent.append(thread_time() - begun)
    return min(spent)


@contextmanager
def effort() -> Iterator[Effort]:
    """Measure a block by the loop before it and the loop after it, whichever was slower."""
    done = Effort()
    before = _unit_s()
    begun = thread_time()
    yield done
    spent = thread_time() - begun
    done.units = spent / max(before, _unit_s())
