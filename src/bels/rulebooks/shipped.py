"""The two rulebooks that bels brings along: what is published for the Moscow region, and a complete one to try things with."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from bels.domain.rulebook import Rulebook
from bels.rulebooks.reading import read_rulebook

PUBLISHED = "moscow-region"
DEMONSTRATION = "demonstration"


@lru_cache
def shipped(name: str) -> Rulebook:
    """Read a rulebook that bels brings along, as publication 0.

    :raises ValueError: no such rulebook is brought along.
    """
    if name not in (PUBLISHED, DEMONSTRATION):
        raise ValueError(f"{name!r} is not a rulebook of bels: it brings {PUBLISHED} and {DEMONSTRATION} along")
    return read_rulebook(files("bels.rulebooks").joinpath(f"{name}.toml").read_text("utf-8"), None)
