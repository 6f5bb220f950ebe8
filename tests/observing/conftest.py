"""Logging as it was before a test set it up."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from bels.observing.logs import ACCESS, RISKY


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Give a stream to log into; what is set up is undone."""
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, sys.excepthook
    levels = {name: logging.getLogger(name).level for name in (*RISKY, ACCESS)}
    flags = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = flags
    sys.excepthook = hook
