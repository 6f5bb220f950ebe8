"""The trail over a million entries: told from the journal, searched by every key, exported; ``python -m bench.trail`` shows every search."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median

import asyncpg

from bels.audit.trail.export import ExportForm, exported
from bels.audit.trail.finding import TrailFilter, find
from bels.audit.trail.patterns import ABOUT, UnusualPattern
from bels.audit.trail.telling import PAGE, Told, catch_up, told_so_far
from bels.audit.trail.unusual import DAYS_MAX, unusual
from bels.domain.periods import first_day
from bels.domain.terms import Channel, Period
from bels.embedded import embedded
from bels.journal.write import SESSION
from bench import history
from bench.report import Figure, table
from bench.servers import fresh_database

HOUSEHOLDS, TIMES = 250, 50
FIRST, MONTHS = Period("2024-01"), 24
EXPORTED = 100_000
ASKED = 20
TOLD_PER_S = 10_000
PAGE_MS = 100.0


def trail(url: str, rounds: int) -> list[Figure]:
    """Tell, search and export the trail of 12,500 households with two years of history."""
    at = asyncio.run(fresh_database(url, "bench_trail"))
    history.build(at, HOUSEHOLDS, TIMES, FIRST, MONTHS)
    return asyncio.run(_measure(at, rounds))


async def _measure(url: str, rounds: int) -> list[Figure]:
    async with asyncpg.create_pool(url, min_size=1, max_size=2, server_settings=SESSION) as pool:
        told_per_s, entries = [], 0
        told = await catch_up(pool, 0)
        for _ in range(rounds):
            await pool.execute("TRUNCATE trail")
            await pool.execute("UPDATE trail_told SET mark = 0, whole_at = NULL")
            began = time.perf_counter()
            told = await catch_up(pool, 10_000_000 // PAGE, 60)
            entries = await pool.fetchval("SELECT count(*) FROM trail")
            told_per_s.append(entries / (time.perf_counter() - began))
        await pool.execute("VACUUM ANALYZE trail")
        size = await pool.fetchval("SELECT pg_total_relation_size('trail')") / entries
        slowest, name = max([(await _search(pool, wanted), name) for name, wanted in _searches().items()])
        patterns = [(await _pattern(pool, pattern), pattern.value) for pattern in ABOUT]
        rates = {form: [await _export(pool, form, told) for _ in range(rounds)] for form in ExportForm}
    return [
        Figure("trail told", "entries/s", median(told_per_s), floor=TOLD_PER_S),
        Figure(f"an entry of {entries:,} with its indexes", "bytes", size, note="for the record"),
        Figure(f"a page of the trail, the slowest: {name}", "ms", slowest, "the target", PAGE_MS, most=1.0),
        *(
            Figure(f"unusual, {DAYS_MAX} days: {name}", "ms", took, note="for the record")
            for took, name in sorted(patterns)
        ),
        *(
            Figure(f"trail exported as {form.value}", "entries/s", median(each), note="for the record")
            for form, each in rates.items()
        ),
    ]


def _searches() -> dict[str, TrailFilter]:
    """Give a search by every key, common and rare."""
    since = datetime.combine(first_day(Period("2025-06")), datetime.min.time(), UTC)
    return {
        "everything": TrailFilter(),
        "a common kind": TrailFilter(kinds=("PeriodClosed",)),
        "a rare kind": TrailFilter(kinds=("InspectionDue",)),
        "a kind that never was": TrailFilter(kinds=("PaymentReversed",)),
        "two kinds": TrailFilter(kinds=("PaymentReversed", "InspectionDue")),
        "a channel": TrailFilter(channels=(Channel.BANK,)),
        "a channel that is not used": TrailFilter(channels=(Channel.OFFICE,)),
        "an actor": TrailFilter(actor="bench"),
        "nobody": TrailFilter(actor="operator:u-nobody"),
        "a common rule": TrailFilter(rule="PP354:59b"),
        "a rare rule": TrailFilter(rule="PP354:84"),
        "a period": TrailFilter(period=Period("2025-06")),
        "a kind in a period": TrailFilter(kinds=("UsageRecalculated",), period=Period("2025-06")),
        "large sums": TrailFilter(amount_min=Decimal("20000.00")),
        "large payments": TrailFilter(kinds=("PaymentReceived",), amount_min=Decimal("5000.00")),
        "a day": TrailFilter(since=since, until=since + timedelta(days=1)),
        "an account": TrailFilter(account=str(history.FIRST_ACCOUNT + 7)),
        "the rulebook": TrailFilter(account="rulebook"),
    }


async def _search(pool: asyncpg.Pool, wanted: TrailFilter) -> float:
    """Give the median ms of a page of 100 from the start, and of one from the end."""
    took = []
    for i in range(ASKED):
        began = time.perf_counter()
        async with pool.acquire() as db:
            await find(db, wanted, None, None, 101, backwards=bool(i % 2))
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


async def _pattern(pool: asyncpg.Pool, pattern: UnusualPattern) -> float:
    until = await pool.fetchval("SELECT max(recorded_at) FROM trail")
    began = time.perf_counter()
    await unusual(pool, pattern, until - timedelta(days=DAYS_MAX), until, ABOUT[pattern].defaults, None, 100)
    return (time.perf_counter() - began) * 1000


async def _export(pool: asyncpg.Pool, form: ExportForm, told: Told) -> float:
    """Give entries/s of the first entries."""
    count, began = 0, time.perf_counter()
    async for piece in exported(pool, TrailFilter(), form, told):
        piece.text.encode()
        count += piece.entries
        if count >= EXPORTED:
            break
    return count / (time.perf_counter() - began)


async def _show_searches(url: str) -> None:
    """Print how long each search takes."""
    async with asyncpg.create_pool(url, min_size=1, max_size=1, server_settings=SESSION) as pool:
        async with pool.acquire() as db:
            print(await told_so_far(db))
        for name, wanted in _searches().items():
            print(f"{await _search(pool, wanted):8.1f} ms  {name}")


def main() -> None:
    """Measure on a PostgreSQL of its own, and print the figures and every search."""
    with tempfile.TemporaryDirectory(prefix="bels-bench-") as folder, embedded(Path(folder)) as url:
        print(table(trail(url, 1)), flush=True)
        asyncio.run(_show_searches(url.replace("/bels?", "/bench_trail?")))


if __name__ == "__main__":
    main()
