"""Close a month of many accounts with two years of history, by the command: its whole time, and the memory of its workers."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from statistics import median

import asyncpg

from bels.domain.periods import shift
from bels.domain.terms import Period
from bels.projections import ledger
from bench import history
from bench.copy import limit_of_tables
from bench.report import Figure
from bench.servers import ROOT, environment, fresh_database

HOUSEHOLDS = 1_000
TIMES_FEW, TIMES_MANY = 10, 50
FIRST, MONTHS = Period("2024-01"), 24
CLOSED = shift(FIRST, MONTHS)
FLOOR_PER_S = 1_500
FLAT = 1.2
"""A worker that closes five times as many accounts may need so much more memory: what grows is noise of the allocator."""

# What a closing adds, or writes anew, in every table; $entries and $since stand for the journal's end and the moment before it.
_ADDED = {
    "message": "recorded_at >= '{since}'",
    "journal": "notification_id > {entries}",
    "reading": f"counted_in = '{CLOSED}'",
    "usage": f"period = '{CLOSED}'",
    "recalculation": f"posted_in = '{CLOSED}'",
    "ledger": "recorded_at >= '{since}'",
    "payment": "recorded_at >= '{since}'",
    "overview": "recorded_at >= '{since}'",
    "balance": "true",
    "estimation": "true",
}


@dataclass(frozen=True, slots=True)
class Run:
    """A closing: accounts a second by the command's whole time, its largest process in MB, and what COPY reached."""

    per_s: float
    peak_mb: float
    limit_per_s: float


def closing(url: str, rounds: int) -> list[Figure]:
    """Close the month of 10,000 and of 50,000 accounts; a history is built once and every round closes a copy of it."""
    base = asyncio.run(fresh_database(url, "bench_history"))
    phases = asyncio.run(history.live(base, HOUSEHOLDS, FIRST, MONTHS))
    few = _round(url, _grown(url, base, TIMES_FEW, phases), TIMES_FEW)
    grown = _grown(url, base, TIMES_MANY, phases)
    many = [_round(url, grown, TIMES_MANY) for _ in range(rounds)]
    asyncio.run(_drop(url, "bench_grown", "bench_closing", "bench_history"))
    per_s, limit = median(run.per_s for run in many), median(run.limit_per_s for run in many)
    peak = median(run.peak_mb for run in many)
    return [
        Figure("close, 50,000 x 24 months", "accounts/s", per_s, "bare COPY", limit, floor=FLOOR_PER_S),
        Figure("the same", "peak MB of a process", peak, "of 10,000", few.peak_mb, most=FLAT),
    ]


def _grown(url: str, base: str, times: int, phases: list[history.Phase]) -> str:
    grown = asyncio.run(_copy(url, base, "bench_grown"))
    asyncio.run(history.multiply(grown, HOUSEHOLDS, times, phases))
    return grown


def _round(url: str, grown: str, times: int) -> Run:
    at = asyncio.run(_copy(url, grown, "bench_closing"))
    accounts = HOUSEHOLDS * times
    entries, since = asyncio.run(_before(at))
    seconds, peak_mb = _close(at)
    asyncio.run(_check(at, accounts))
    added = {table: where.format(entries=entries, since=since) for table, where in _ADDED.items()}
    limit = asyncio.run(limit_of_tables(at, tuple(added), where=added)).per_s(accounts)
    run = Run(accounts / seconds, peak_mb, limit)
    load = os.getloadavg()[0]
    print(f"  close: {accounts:,} accounts, {run.per_s:,.0f}/s, {peak_mb:,.0f} MB, load {load:.1f}", file=sys.stderr)
    return run


def _close(url: str) -> tuple[float, float]:
    """Run the command; the seconds it took and the peak of its largest process, workers included, in MB.

    :raises RuntimeError: not every account was closed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.measured", sys.executable, "-m", "bels", "close", CLOSED],
        env=environment({"BELS_DATABASE_URL": url}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=history.COMMAND_WAIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"bels close {CLOSED} ended with {done.returncode}")
    seconds, peak_mb = json.loads(done.stdout)
    return seconds, peak_mb


async def _copy(url: str, source: str, name: str) -> str:
    """Copy a whole database, with a checkpoint behind it."""
    template = source.partition("?")[0].rpartition("/")[2]
    db = await asyncpg.connect(url, command_timeout=history.COMMAND_WAIT_S)
    try:
        await db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await db.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        await db.execute("CHECKPOINT")
    finally:
        await db.close()
    return url.replace("/bels?", f"/{name}?")


async def _drop(url: str, *names: str) -> None:
    db = await asyncpg.connect(url, command_timeout=history.COMMAND_WAIT_S)
    try:
        for name in names:
            await db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await db.close()


async def _before(url: str) -> tuple[int, str]:
    db = await asyncpg.connect(url)
    try:
        entries = await db.fetchval("SELECT max(notification_id) FROM journal")
        return int(entries), str(await db.fetchval("SELECT now()::text"))
    finally:
        await db.close()


_CLOSED_ONCE = """
SELECT count(*) AS closings, count(DISTINCT originator_id) AS accounts FROM journal
 WHERE topic LIKE 'period-closed.%' AND convert_from(state, 'UTF8')::json -> 'event' ->> 'period' = $1"""


async def _check(url: str, accounts: int) -> None:
    """Check that every account was closed once, that debits equal credits, and that the balances are what the movements say.

    :raises RuntimeError: something of it is not so; then the rate means nothing.
    """
    db = await asyncpg.connect(url, command_timeout=history.COMMAND_WAIT_S)
    try:
        ((closings, closed),) = await db.fetch(_CLOSED_ONCE, CLOSED)
        opened = await db.fetchval("SELECT count(*) FROM overview WHERE next_period = $1", shift(CLOSED, 1))
        trial = await ledger.trial_balance(db)
        owed = await db.fetchval("SELECT sum(receivable) - sum(balance) FROM balance")
    finally:
        await db.close()
    if (closings, closed, opened) != (accounts, accounts, accounts):
        raise RuntimeError(f"{closings} closings of {closed} accounts, {opened} went on, of {accounts}")
    debit, credit = sum(r.debit for r in trial), sum(r.credit for r in trial)
    if debit != credit or owed != 0 or not debit:
        raise RuntimeError(f"the trial balance is {debit} and {credit}, the accounts differ from it by {owed}")
