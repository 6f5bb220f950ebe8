"""What an auditor types: ``bels audit seal|verify|replay|what-if|pack|export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bels.commands_of_audit import export, pack, replay, seal, verify, what_if

AUDIT_HELP = """\
Everything here only reads, but for `seal`, which adds a seal. Keep a copy of the seals elsewhere: only against a copy that
nobody here can reach is it proven that nothing was changed.
"""


def add_audit(command: Callable[..., Any]) -> None:
    """Add ``bels audit``."""
    audit = command("audit", "Seal, verify and replay the journal", None, AUDIT_HELP)
    what = audit.add_subparsers(title="what to do", metavar="seal|verify|replay|what-if|pack|export", required=True)
    for part in PARTS:
        part(what)


PARTS: tuple[Callable[[Any], None], ...] = (seal.add, verify.add, replay.add, what_if.add, pack.add, export.add)
"""Each adds its own command."""
