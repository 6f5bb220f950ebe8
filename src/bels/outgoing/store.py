"""The tables of what goes out, and those of the job library: installed by every process that starts, after the views."""

from __future__ import annotations

from bels.journal.installing import install_alone, schema_of
from bels.journal.write import Db
from bels.outgoing.jobs import install_jobs, upgrade_jobs


async def install_outgoing(db: Db) -> None:
    """Make the tables that are missing."""

    async def make() -> None:
        await db.execute(schema_of("bels.outgoing"))
        await install_jobs(db)

    await install_alone(db, make)
    await upgrade_jobs(db)
