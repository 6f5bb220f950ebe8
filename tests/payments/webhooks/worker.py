"""A process that delivers events, for a test that kills it: ``python -m tests.payments.webhooks.worker DATABASE FOLDER AT``."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from bels.app import door_of, opened
from bels.payments.partners import Partners
from bels.payments.webhooks.deliver import delivering_webhooks, opened_hooks
from bels.payments.webhooks.guard import Policy
from bels.settings import Settings
from tests.rules import DEFAULT_RULEBOOK


async def main(database: str, folder: str, at: str) -> None:
    """Deliver until killed."""
    moment = datetime.fromisoformat(at)
    settings = Settings(database_url=database, data_dir=Path(folder))
    async with opened(settings, DEFAULT_RULEBOOK, lambda: moment) as bels:
        door = await door_of(bels, local=False)
        async with (
            opened_hooks(bels.pool, door.raw_texts, Partners(), Policy(loopback=True), bels.intake.clock) as hooks,
            delivering_webhooks(hooks),
        ):
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
