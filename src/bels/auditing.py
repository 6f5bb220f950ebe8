"""The auditor's files and pages put together, by hand: seals anybody may fetch, exports of the trail, evidence packs.

Only what serves imports this.
"""

from __future__ import annotations

from starlette.routing import Route

from bels.access.door import Door
from bels.app import Bels


def auditing_routes(bels: Bels, door: Door) -> list[Route]:
    """Give the routes of the auditor."""
    return []
