"""The page about the sandbox tells all that there is."""

from __future__ import annotations

from pathlib import Path

from bels.payments.sandbox import Fault, Milestone
from bels.sandbox.accounts import SITUATIONS
from bels.sandbox.checklist import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text("utf-8")


def test_every_account_is_on_the_page_under_its_digits() -> None:
    assert [s.name for s in SITUATIONS if f"| {s.place:02d} | `{s.name}` |" not in PAGE] == []


def test_every_case_fault_and_milestone_is_on_the_page() -> None:
    named = [*(rule.id for rule in RULES), *Fault, *Milestone]

    assert [name for name in named if f"`{name}`" not in PAGE] == []
