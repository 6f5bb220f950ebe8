"""``bels audit what-if``."""

from __future__ import annotations

from typing import Any


def add(what: Any) -> None:
    """Add ``bels audit what-if``."""
