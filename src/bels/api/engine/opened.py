"""What stays open: streams and sockets, so many for a client, so many for the process, and all told when the server stops."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from bels.api.engine.context import RefusedError, RequestContext

log = logging.getLogger("bels.api")

RETRY_S = 1
"""Seconds after which another server, or this one anew, will take a stream."""


class Opened:
    """The streams, or the sockets, that are open."""

    def __init__(self, client_max: int, all_max: int) -> None:
        self._client_max = client_max
        self._all_max = all_max
        self._clients: Counter[str] = Counter()
        self._stops: dict[object, Callable[[], None]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._stops)

    def enter(self, client_key: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Count one more and give what takes it out again; ``stop`` is called when the server stops.

        :raises RefusedError: the client or the process has too many, or the server stops.
        """
        if self._stopped:
            message = "The server stops; connect again."
            raise RefusedError(503, "SERVICE_UNAVAILABLE", message, [("retry-after", str(RETRY_S))])
        if self._clients[client_key] >= self._client_max:
            message = f"A client may have {self._client_max} streams open at a time."
            raise RefusedError(429, "RATE_LIMITED", message, [("retry-after", str(RETRY_S))])
        if len(self._stops) >= self._all_max:
            message = f"The server has {self._all_max} streams open, which is all it can."
            raise RefusedError(503, "SERVICE_UNAVAILABLE", message, [("retry-after", str(RETRY_S))])
        me = object()
        self._stops[me] = stop
        self._clients[client_key] += 1

        def leave() -> None:
            del self._stops[me]
            self._clients[client_key] -= 1
            if not self._clients[client_key]:
                del self._clients[client_key]

        return leave

    def stop(self) -> None:
        """Stop all, and take no more."""
        self._stopped = True
        for stop in list(self._stops.values()):
            stop()


async def credential_ended(context: RequestContext[Any], clock: Callable[[], float]) -> None:
    """Return when the credential of a context ends, by time or because it was taken back; ``clock`` in seconds of the epoch.

    One that cannot be watched any longer counts as ended: the client may connect again and show it.
    """
    at = context.expires_at
    try:
        async with asyncio.timeout(None if at is None else max(0.0, at - clock())):
            await context.ended()
    except TimeoutError:
        return
    except Exception:
        log.exception("a credential cannot be watched")
