"""What is done for the auditor by the clock: the journal is sealed every night, seals become files, the trail is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

from bels.app import Bels
from bels.audit.seals.publishing import publish_files
from bels.audit.seals.reading import seal_state
from bels.audit.seals.sealing import seal_journal
from bels.audit.trail.telling import index_trail
from bels.outgoing.jobs import Work

logger = logging.getLogger(__name__)

AFTER_MIDNIGHT = "30 0 * * *"
"""03:30 in Moscow, in UTC: before the morning's registers, and when nobody closes a month."""

EVERY_HOUR = "30 * * * *"
OVERDUE = timedelta(hours=24, minutes=30)
"""A seal that is older was missed: nobody worked that night, or the database was away. It is made up for within the hour."""

EVERY_FIVE_MINUTES = "*/5 * * * *"
EVERY_MINUTE = "* * * * *"

SEAL, SEAL_MISSED, PUBLISH_SEALS, INDEX_TRAIL = "seal", "seal_missed", "publish_seals", "index_trail"

Schedules = Mapping[str, tuple[str, Work]]


def audit_jobs(bels: Bels, folder: Path | None, *, hourly: bool) -> Schedules:
    """Give what is to be done by the clock; ``folder`` is where seals become files, None where nobody wants any."""
    schedules: dict[str, tuple[str, Work]] = {
        SEAL: (EVERY_HOUR if hourly else AFTER_MIDNIGHT, partial(_seal, bels, folder)),
        INDEX_TRAIL: (EVERY_MINUTE, partial(index_trail, bels.pool)),
    }
    if not hourly:
        schedules[SEAL_MISSED] = EVERY_HOUR, partial(_seal_missed, bels, folder)
    if folder is not None:
        # Seals that were asked for in between, and those that the folder missed.
        schedules[PUBLISH_SEALS] = EVERY_FIVE_MINUTES, partial(_publish, bels, folder)
    return schedules


async def _seal(bels: Bels, folder: Path | None) -> int:
    seal = await seal_journal(bels.pool, bels.vault, bels.intake.clock())
    if folder is not None:
        await _publish(bels, folder)
    return seal.number


async def _seal_missed(bels: Bels, folder: Path | None) -> int:
    async with bels.pool.acquire() as db:
        sealed_at, _ = await seal_state(db)
    if sealed_at is not None and bels.intake.clock() - sealed_at < OVERDUE:
        return 0
    return await _seal(bels, folder)


async def _publish(bels: Bels, folder: Path) -> int:
    try:
        return len((await publish_files(bels.pool, folder)).written)
    except OSError as error:
        logger.error("seals cannot be written into BELS_SEALS (%s): look at the folder's rights", error.strerror)
        return 0
