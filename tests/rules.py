"""The rulebook of the tests: the demonstration book, in which every rate is known."""

from __future__ import annotations

from bels.rulebooks.shipped import DEMONSTRATION, shipped

DEFAULT_RULEBOOK = shipped(DEMONSTRATION)
