"""Jobs in PostgreSQL by pgqueuer: who wakes the sender, and what is done by the clock, once whatever the number of processes.

A job says only that there is work; what is to be sent and when stands in the outbox, by the supplier's own clock, because that
one can be moved and the library's is the database's. So a lost or doubled job neither loses nor doubles a text. A job of a
worker that was killed is taken by another when its heartbeat stops; a schedule runs in one process at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import cast

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.errors import FailingListenerError
from pgqueuer.domain.models import Job, Schedule
from pgqueuer.domain.settings import DBSettings
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver, NotifyCallback

from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db

logger = logging.getLogger(__name__)

SCHEMA = "bels_jobs"
"""A schema of its own, so that the library's tables never meet ours."""

DELIVER = "deliver"
"""The job that says: something waits in the outbox."""

JOBS_AT_ONCE = 4
"""Jobs that a process has in hand. The limit is each process's own: one of all together would be held by a process that was
killed, until its heartbeat is missed.
"""

LOOKS_EVERY = timedelta(seconds=2)
"""A job that nobody was told of is found after so long."""

HEARTBEAT = timedelta(seconds=30)
"""The job of a worker that was silent for so long is done by another."""

AGAIN_S = 2.0
"""How long a worker waits before it begins anew, when the database was away."""

KEPT = timedelta(days=7)
"""How long the library's log of finished jobs is kept."""

Work = Callable[[], Awaitable[object]]
"""Something to do, which finds out by itself what there is to do."""

# Every name is given: the library would else read variables of the environment as common as CHANNEL and FUNCTION.
_SETTINGS = DBSettings(
    prefix="",
    db_schema=SCHEMA,
    channel=Channel("bels_jobs"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
)


def _driver(db: Db) -> AsyncpgDriver:
    # A connection of a pool does all that the library asks of one.
    return AsyncpgDriver(cast("asyncpg.Connection", db))


def _queries(driver: Driver) -> Queries:
    return Queries(
        driver, QueryBuilderEnvironment(_SETTINGS), QueryQueueBuilder(_SETTINGS), QuerySchedulerBuilder(_SETTINGS)
    )


async def install_jobs(db: Db) -> None:
    """Make the library's tables where there are none, in the transaction that runs."""
    queries = _queries(_driver(db))
    if not await queries.schema_is_installed():
        await queries.install()


async def upgrade_jobs(db: Db) -> None:
    """Bring the library's tables up to its version; outside a transaction, where it has something to do."""
    queries = _queries(_driver(db))
    plan = await queries.plan_upgrade()
    if plan.statements:
        await queries.upgrade()


async def wake(db: Db) -> None:
    """Say that something waits in the outbox: the job is there when the transaction of ``db`` commits, and not before."""
    await _queries(_driver(db)).enqueue(DELIVER, None)


async def forget_jobs(db: Db) -> None:
    """Forget what the library noted of jobs that are long done."""
    await db.execute(f"DELETE FROM {SCHEMA}.pgqueuer_log WHERE created < now() - $1::interval", KEPT)
    await db.execute(f"DELETE FROM {SCHEMA}.pgqueuer_statistics WHERE created < now() - $1::interval", KEPT)


@asynccontextmanager
async def working(pool: asyncpg.Pool, deliver: Work, schedules: Mapping[str, tuple[str, Work]]) -> AsyncIterator[None]:
    """Do the jobs while this is open: ``deliver`` when woken, and each of ``schedules`` (name: cron line in UTC, work)."""
    stopped = asyncio.Event()
    task = asyncio.create_task(_work(pool, deliver, schedules, stopped))
    try:
        yield
    finally:
        stopped.set()
        await task


async def _work(
    pool: asyncpg.Pool, deliver: Work, schedules: Mapping[str, tuple[str, Work]], stopped: asyncio.Event
) -> None:
    while not stopped.is_set():
        worker = _worker(pool, deliver, schedules)
        running = asyncio.create_task(
            worker.run(
                dequeue_timeout=LOOKS_EVERY,
                batch_size=JOBS_AT_ONCE // 2,
                max_concurrent_tasks=JOBS_AT_ONCE,
                heartbeat_timeout=HEARTBEAT,
                # Without its ear it still works, but late: it begins anew.
                shutdown_on_listener_failure=True,
            )
        )
        ending = asyncio.create_task(stopped.wait())
        # What others left behind is not announced again.
        first = asyncio.create_task(_done(DELIVER, deliver))
        await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
        # What is under way is finished.
        worker.shutdown.set()
        ending.cancel()
        await first
        try:
            await running
        except (*UNAVAILABLE, FailingListenerError, asyncpg.PostgresError, RuntimeError) as error:
            logger.warning("the worker of what goes out begins anew: %s", type(error).__name__)
        if not stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), AGAIN_S)


class _PoolDriver(AsyncpgPoolDriver):
    """The library's driver, which speaks only when it hears.

    The library asks itself whether it hears before it listens; what it missed so it takes for a lost connection, ten seconds later.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._listening = asyncio.Event()

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Listen."""
        await super().add_listener(channel, callback)
        self._listening.set()

    async def notify(self, channel: str, payload: str) -> None:
        """Tell, once there is somebody who listens here."""
        await self._listening.wait()
        await super().notify(channel, payload)


def _worker(pool: asyncpg.Pool, deliver: Work, schedules: Mapping[str, tuple[str, Work]]) -> PgQueuer:
    driver = _PoolDriver(pool)
    worker = PgQueuer(driver, channel=_SETTINGS.channel, queries=_queries(driver))

    async def job(_: Job) -> None:
        await _done(DELIVER, deliver)

    worker.entrypoint(DELIVER, accepts_context=False)(job)
    for name, (cron, work) in schedules.items():
        worker.schedule(name, cron, accepts_context=False)(_scheduled(name, work))
    return worker


def _scheduled(name: str, work: Work) -> Callable[[Schedule], Awaitable[None]]:
    async def scheduled(_: Schedule) -> None:
        await _done(name, work)

    return scheduled


async def _done(name: str, work: Work) -> None:
    # The library keeps what a job raises as text in a table of its own: it must never hear of it. The work stays in the
    # outbox, and the next turn does it.
    try:
        await work()
    except UNAVAILABLE as error:
        logger.warning("%s could not be done now: %s", name, type(error).__name__)
    except Exception:
        logger.exception("%s failed", name)
