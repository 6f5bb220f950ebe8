"""The worker: woken by what is put, alive after the database was away, and what a killed one leaves is sent by the next."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic
from urllib.parse import parse_qs, urlsplit

from bels.delivering import delivering
from bels.domain.terms import Channel
from bels.outgoing.deliver import TOGETHER
from bels.outgoing.jobs import forget_jobs
from bels.outgoing.outbox import LEASE, put_text
from bels.outgoing.store import install_outgoing
from tests.outgoing.conftest import PHONE, Speaking
from tests.servers import ROOT

HOME = "1000001"
WAIT_S = 20.0


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = monotonic() + WAIT_S
    while not is_so():
        assert monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.02)


async def put(speaking: Speaking, *keys: str) -> None:
    """Put texts on their way, each in a transaction of its own."""
    async with speaking.pool.acquire() as db:
        for key in keys:
            await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "Код: 1", key, now=speaking.house.at)


async def test_what_is_put_while_a_worker_runs_is_sent_at_once(speaking: Speaking) -> None:
    bels, door = speaking.house.bels, speaking.house.desk.door
    assert bels is not None
    async with delivering(bels, door, speaking.gateways.senders):
        await asyncio.sleep(0.5)
        began = monotonic()
        await put(speaking, "a", "b")
        await until(lambda: len(speaking.gateways.sms) == 2)
        # By the clock it would be its turn within the minute.
        assert monotonic() - began < 20
        schedules = await speaking.pool.fetch("SELECT entrypoint FROM bels_jobs.pgqueuer_schedules ORDER BY 1")
        assert [row["entrypoint"] for row in schedules] == [
            "deliver_due",
            "forget",
            "forget_registers",
            "index_trail",
            "plan_notices",
            "plan_reminders",
            "reconcile",
            "seal",
            "seal_missed",
        ]
    assert await speaking.texts("state") == [("SENT",), ("SENT",)]
    # The worker leaves in good order: no job stays behind, and what it noted is forgotten in time.
    assert await speaking.pool.fetchval("SELECT count(*) FROM bels_jobs.pgqueuer") == 0
    async with speaking.pool.acquire() as db:
        await db.execute("UPDATE bels_jobs.pgqueuer_log SET created = created - interval '8 days'")
        await forget_jobs(db)
        assert await db.fetchval("SELECT count(*) FROM bels_jobs.pgqueuer_log") == 0


async def test_what_was_not_committed_wakes_nobody_and_is_not_sent(speaking: Speaking) -> None:
    async with speaking.pool.acquire() as db:
        undone = db.transaction()
        await undone.start()
        await put_text(db, speaking.vault, HOME, 1, Channel.SMS, PHONE, "Код: 1", "a", now=speaking.house.at)
        assert await db.fetchval("SELECT count(*) FROM bels_jobs.pgqueuer") == 1
        await undone.rollback()

        assert await db.fetchval("SELECT count(*) FROM bels_jobs.pgqueuer") == 0
        assert await db.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_worker_works_on_when_its_database_was_away(speaking: Speaking) -> None:
    bels, door = speaking.house.bels, speaking.house.desk.door
    assert bels is not None
    async with delivering(bels, door, speaking.gateways.senders):
        await asyncio.sleep(0.5)
        await speaking.pool.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.1)
        await put(speaking, "a")
        await until(lambda: len(speaking.gateways.sms) == 1)


async def test_installing_again_changes_nothing(speaking: Speaking) -> None:
    await put(speaking, "a")
    async with speaking.pool.acquire() as db:
        await install_outgoing(db)
        await install_outgoing(db)
    assert await speaking.texts("state") == [("PLANNED",)]


@contextmanager
def working(speaking: Speaking, database: str, folder: Path, at: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker in a process of its own until it is left."""
    command = [sys.executable, "-m", "tests.outgoing.worker", database, str(folder), speaking.gateways.url, at]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_what_a_killed_worker_leaves_is_sent_by_the_next_and_only_what_it_had_in_hand_twice(
    speaking: Speaking, database: str, tmp_path: Path
) -> None:
    keys = [f"k{n}" for n in range(150)]
    await put(speaking, *keys)
    # Slow, so that it is killed with texts in hand.
    speaking.gateways.wait_s = 0.02
    with working(speaking, database, tmp_path, speaking.house.at.isoformat()) as worker:
        await until(lambda: len(speaking.gateways.sms) >= 60)
        worker.kill()
    marked = await speaking.pool.fetchval("SELECT count(*) FROM outbox WHERE state = 'SENT'")
    assert marked < 150

    speaking.gateways.wait_s = 0.0
    # The clock of the first went on from the time of the house while it worked.
    later = speaking.house.at + LEASE + timedelta(minutes=1)
    with working(speaking, database, tmp_path, later.isoformat()):
        await until(lambda: len({sms.dlr_url for sms in speaking.gateways.sms}) == 150)
        deadline = monotonic() + WAIT_S
        while await speaking.pool.fetchval("SELECT count(*) FROM outbox WHERE state <> 'SENT'"):
            assert monotonic() < deadline
            await asyncio.sleep(0.05)

    times = Counter(parse_qs(urlsplit(sms.dlr_url).query)["key"][0] for sms in speaking.gateways.sms)
    assert set(times) == set(keys)
    twice = [key for key, count in times.items() if count > 1]
    assert len(twice) <= TOGETHER
    assert max(times.values()) <= 2
