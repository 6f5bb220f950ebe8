"""Health: what is asked of a process, and what it says while it leaves."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx
from starlette.applications import Starlette

from bels.observing.health import LOOK_EVERY_S, Readiness, health_routes


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Give the moment."""
        return self.now


async def answers(readiness: Readiness) -> dict[str, tuple[int, str]]:
    """Ask all three."""
    app = Starlette(routes=health_routes(readiness))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as client:
        told = {path: await client.get(path) for path in ("/health", "/health/live", "/health/ready")}
    return {path: (each.status_code, each.json().get("reason", each.json()["status"])) for path, each in told.items()}


async def test_a_process_that_can_work_is_ready(pool: asyncpg.Pool) -> None:
    readiness = Readiness(pool)
    assert not readiness.is_ready

    assert await answers(readiness) == {
        "/health": (200, "ok"),
        "/health/live": (200, "live"),
        "/health/ready": (200, "ready"),
    }
    assert readiness.is_ready


async def test_a_process_that_leaves_is_well_but_not_ready(pool: asyncpg.Pool) -> None:
    readiness = Readiness(pool)
    waiting = asyncio.create_task(readiness.drained())

    readiness.drain()

    await asyncio.wait_for(waiting, 1)
    assert await answers(readiness) == {
        "/health": (200, "ok"),
        "/health/live": (200, "live"),
        "/health/ready": (503, "draining"),
    }


async def test_a_process_whose_views_are_not_told_is_not_ready(pool: asyncpg.Pool) -> None:
    clock = Clock()
    readiness = Readiness(pool, clock)
    await pool.execute("UPDATE view SET told = false WHERE name = 'ledger'")

    assert (await answers(readiness))["/health/ready"] == (503, "views are not told yet")

    await pool.execute("UPDATE view SET told = true")
    clock.now += LOOK_EVERY_S
    assert (await answers(readiness))["/health/ready"] == (200, "ready")


async def test_a_process_without_its_database_lives_but_is_unwell(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=1)
    clock = Clock()
    readiness = Readiness(pool, clock)
    assert await readiness.look() is None

    await pool.close()
    assert await readiness.look() is None, "an answer is kept for a moment"
    clock.now += LOOK_EVERY_S

    assert await answers(readiness) == {
        "/health": (503, "InterfaceError"),
        "/health/live": (200, "live"),
        "/health/ready": (503, "InterfaceError"),
    }


async def test_many_who_ask_are_one_question_and_none_stops_it_for_the_others(pool: asyncpg.Pool) -> None:
    readiness = Readiness(pool)
    asked: list[str] = []

    async with pool.acquire() as one:
        one.add_query_logger(lambda record: asked.append(record.query))
    looks = [asyncio.create_task(readiness.look()) for _ in range(20)]
    await asyncio.sleep(0)
    looks[0].cancel()

    told = await asyncio.gather(*looks, return_exceptions=True)

    assert isinstance(told[0], asyncio.CancelledError)
    assert told[1:] == [None] * 19
    assert sum("FROM view" in each for each in asked) == 1
