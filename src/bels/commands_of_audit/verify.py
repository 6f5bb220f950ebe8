"""``bels audit verify``."""

from __future__ import annotations

from typing import Any


def add(what: Any) -> None:
    """Add ``bels audit verify``."""
