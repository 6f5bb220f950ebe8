"""Tell listening processes, at the commit, which accounts changed."""

from __future__ import annotations

from collections.abc import Sequence

from bels.journal.write import Write, given

CHANGES = "bels_changes"
"""The PostgreSQL channel on which every commit names the accounts that it changed."""

_NOTIFIED_MAX = 900
"""Seven-digit numbers that fit one notification of at most 8,000 bytes."""


_TOLD = "channel text, payload text"
NOTIFY = f"SELECT pg_notify(channel, payload) FROM {given(_TOLD)}"


def notified(numbers: Sequence[str]) -> Write:
    """Tell every listening process, at the commit, which accounts changed."""
    payloads = [",".join(numbers[i : i + _NOTIFIED_MAX]) for i in range(0, len(numbers), _NOTIFIED_MAX)]
    return Write(NOTIFY, _TOLD, [(CHANGES, payload) for payload in payloads])
