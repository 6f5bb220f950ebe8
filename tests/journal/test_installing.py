"""Tables are installed beside servers that write: what they hold is looked at again, not given up."""

from __future__ import annotations

import asyncio

import asyncpg

from bels.journal.installing import install_alone


async def test_whoever_meets_a_busy_server_in_another_order_looks_again(database: str) -> None:
    starting, busy = [await asyncpg.connect(database) for _ in range(2)]
    holding = asyncio.Event()
    began = 0

    async def make() -> str:
        nonlocal began
        began += 1
        await starting.execute("LOCK TABLE message")
        holding.set()
        await starting.execute("LOCK TABLE journal")
        return "made"

    async def write() -> None:
        async with busy.transaction():
            await busy.execute("LOCK TABLE journal")
            await holding.wait()
            await busy.execute("LOCK TABLE message")

    # Who waits longer than this looks for a deadlock: the one that starts, not the server.
    await starting.execute("SET deadlock_timeout = '20ms'")
    await busy.execute("SET deadlock_timeout = '10s'")
    try:
        writing = asyncio.create_task(write())
        await asyncio.sleep(0.05)
        assert await install_alone(starting, make) == "made"
        await writing
    finally:
        await starting.close()
        await busy.close()

    assert began == 2
