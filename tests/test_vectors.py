"""Every vector of what partners send and are sent (F06 to F13) is tried by a test, by its name or its kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.domain.vectors import EXAMPLES

HERE = Path(__file__).parent
GIVEN = HERE.parents[1] / "shared" / "examples.json"
"""The vectors as they were given; ``tests/examples.json`` is what the tests read."""
_TRIED = re.compile(r"\b(vectors?)\(\"(\w+)\"\)")
_OURS = re.compile(r"F(?:0[6-9]|1[0-3])[a-z]?")


def test_every_vector_of_partners_is_tried_by_a_test() -> None:
    found = {each["id"]: each["kind"] for each in EXAMPLES["vectors"] if _OURS.fullmatch(each["id"])}
    told = "".join(path.read_text("utf-8") for path in sorted(HERE.rglob("test_*.py")) if path != Path(__file__))
    tried = set(_TRIED.findall(told))
    assert list(found) == ["F06", "F06b", "F07", "F08", "F09", "F10", "F11", "F12", "F13"]
    assert [each for each, kind in found.items() if not tried & {("vector", each), ("vectors", kind)}] == []


def test_the_vectors_that_are_tried_are_those_that_were_given() -> None:
    if not GIVEN.is_file():
        pytest.skip(f"there is no {GIVEN.parent.name}/{GIVEN.name} beside this checkout: only our own copy was tried")
    assert (HERE / "examples.json").read_bytes() == GIVEN.read_bytes()
