"""A server that leaves in good order: it first says that it is not ready, still answers a while, and only then stops."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import uvicorn

from bels.observing.health import Readiness


class DrainingServer(uvicorn.Server):
    """uvicorn that answers for ``drain_s`` seconds more after it was asked to stop, while ``readiness`` says 503.

    Every answer meanwhile closes its connection (``observed`` sees to it), so that clients go elsewhere by themselves. A second
    signal ends the wait. Then uvicorn closes what listens, and finishes what is under way.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        readiness: Readiness,
        drain_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._drain_s = drain_s
        self._clock = clock
        self._stops_at: float | None = None

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop now; it is asked ten times a second."""
        if not await super().on_tick(counter):
            return False
        if self._stops_at is None:
            self._readiness.drain()
            self._stops_at = self._clock() + self._drain_s
        return self.force_exit or len(self._captured_signals) > 1 or self._clock() >= self._stops_at
