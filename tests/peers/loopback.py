"""An application on a free port of loopback, in this very loop: requests go over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from tests.servers import free_port


@asynccontextmanager
async def listening(app: ASGIApp, *, lifespan: bool = False) -> AsyncIterator[str]:
    """Serve an application, and give its URL."""
    port = free_port()
    config = uvicorn.Config(
        app,
        port=port,
        ws="none",
        # As served: whom to believe about addresses is the door's.
        proxy_headers=False,
        lifespan="on" if lifespan else "off",
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Without its main loop, which only looks at the clock, it stops at once.
    await server.startup()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.shutdown()
