"""The auditor's files and pages put together, by hand: seals anybody may fetch, exports of the trail, evidence packs.

Only what serves imports this.
"""

from __future__ import annotations

from starlette.routing import Route

from bels.access.door import Door
from bels.api.context import RIGHTS
from bels.app import Bels
from bels.reception.counter import Counter
from bels.visitors import Visitors
from bels.web.evidence_pack import evidence_pack_routes
from bels.web.seals import seal_routes
from bels.web.trail import trail_routes


def auditing_routes(bels: Bels, door: Door) -> list[Route]:
    """Give the routes of the auditor."""
    visitors = Visitors(bels.pool, door)
    return [
        *seal_routes(bels.pool),
        *evidence_pack_routes(Counter(bels.pool, bels.intake, door), visitors, RIGHTS),
        *trail_routes(bels.pool, visitors, RIGHTS, bels.intake.clock),
    ]
