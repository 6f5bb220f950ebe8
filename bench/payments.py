"""Take a bank's register of 100,000 lines with a fault in each hundredth: lines a second, and the memory of the process.

``python -m bench.payments URL FOLDER`` is the process that is measured: it takes a small register, then the large one, and
prints what each took and the process's peak.
"""

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median

import asyncpg

from bels.access.callers import Kind
from bels.access.clients import add_client
from bels.app import Bels, door_of, opened
from bels.collector import settled
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel
from bels.intake import utc_now
from bels.payments.partners import partners_of
from bels.payments.registers.files import FileState, RegisterFile, RowOutcome, Way, tally
from bels.payments.registers.taking import receive_file
from bels.payments.till import PayOrder, Till, messages_of
from bels.reception.counter import Counter
from bels.settings import Settings
from bench import ours, traffic
from bench.copy import limit_of_tables
from bench.report import Figure
from bench.servers import ROOT, environment, fresh_database

LINES = int(os.environ.get("BENCH_REGISTER_LINES", "100000"))
"""Lines of the large register; fewer for a quick look."""

WARM_SHARE = 10
"""The small register has a tenth of the lines: what grows with the file shows against it."""

FAULT_EVERY = 100
ONLINE_EVERY = 10
READING_EVERY = 3
FLOOR_PER_S = 3_000
FLAT = 1.2
"""The peak after the large register against that after the small one: what grows is noise of the allocator."""

RUN_WAIT_S = 600

# What a register leaves behind; the seeded households and the payments that came online are not counted.
_ADDED = {
    "register_row": "true",
    "register_chunk": "true",
    "message": "request_id LIKE 'register %'",
    "journal": "notification_id > {entries}",
    "reading": "recorded_at >= '{since}'",
    "ledger": "recorded_at >= '{since}'",
    "payment": "recorded_at >= '{since}'",
    "overview": "recorded_at >= '{since}'",
    "balance": "changed_at >= '{since}'",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a run reached: lines a second of the large register, the peak in MB after the small and after the large one."""

    per_s: float
    few_mb: float
    many_mb: float
    limit_per_s: float


def payment_registers(url: str, rounds: int) -> list[Figure]:
    """Take a register of 100,000 lines of as many accounts; the bare COPY of all that it leaves is the limit."""
    seeded = asyncio.run(fresh_database(url, "bench_register_seed"))
    with tempfile.TemporaryDirectory() as folder:
        households = traffic.households(LINES)
        ours.seed(Settings(database_url=seeded, data_dir=Path(folder)), households)
        asyncio.run(_seed(seeded, Path(folder), households))
        runs = [_round(url, Path(folder)) for _ in range(rounds)]
    per_s, limit = median(run.per_s for run in runs), median(run.limit_per_s for run in runs)
    few, many = median(run.few_mb for run in runs), median(run.many_mb for run in runs)
    return [
        Figure(f"payment register, {LINES:,} lines", "lines/s", per_s, "bare COPY", limit, floor=FLOOR_PER_S),
        Figure("the same", "peak MB of the process", many, f"of {LINES // WARM_SHARE:,} lines", few, most=FLAT),
    ]


def _round(url: str, folder: Path) -> Run:
    at = asyncio.run(fresh_database(url, "bench_register", "bench_register_seed"))
    entries, since = asyncio.run(_before(at))
    done = subprocess.run(
        [sys.executable, "-m", "bench.payments", at, str(folder)],
        env=environment({"BELS_DATABASE_URL": at}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=RUN_WAIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the register ended with {done.returncode}")
    seconds, few_mb, many_mb = json.loads(done.stdout.splitlines()[-1])
    added = {table: where.format(entries=entries, since=since) for table, where in _ADDED.items()}
    limit = asyncio.run(limit_of_tables(at, tuple(added), where=added)).per_s(LINES + LINES // WARM_SHARE)
    run = Run(LINES / seconds, few_mb, many_mb, limit)
    load = os.getloadavg()[0]
    print(
        f"  register: {run.per_s:,.0f} lines/s, {few_mb:,.0f} and {many_mb:,.0f} MB, load {load:.1f}", file=sys.stderr
    )
    return run


async def _before(url: str) -> tuple[int, str]:
    db = await asyncpg.connect(url)
    try:
        return int(await db.fetchval("SELECT max(notification_id) FROM journal")), str(
            await db.fetchval("SELECT now()::text")
        )
    finally:
        await db.close()


async def _seed(url: str, folder: Path, households: list[traffic.Household]) -> None:
    """Open a bank, let the payments come online that the register meets, and write the registers."""
    now = utc_now()
    day = moscow_date(now - timedelta(days=1)).isoformat()
    small = LINES // WARM_SHARE
    (folder / "small.csv").write_bytes(b"".join(lines("s", households[:small], day)))
    (folder / "large.csv").write_bytes(b"".join(lines("l", households, day)))
    async with opened(Settings(database_url=url, data_dir=folder)) as bels:
        async with bels.pool.acquire() as db:
            client, _ = await add_client(db, bels.vault, Kind.PARTNER, "bank", Channel.BANK, ("payments:write",))
        (folder / "client").write_text(client)
        till = await _till(bels, client)
        agent = till.agent(client)
        online = [
            message
            for i in range(0, LINES, ONLINE_EVERY)
            if i % FAULT_EVERY
            for message in messages_of(
                till, agent, PayOrder(f"l-{i}", households[i].account, amount_of(i), now - timedelta(days=1))
            )
        ]
        await bels.intake.handle(online)


async def _till(bels: Bels, client: str) -> Till:
    table = {"partner": {"bank": {"client": client, "registers": {"day": {"layout": "generic"}}}}}
    return Till(Counter(bels.pool, bels.intake, await door_of(bels, local=False)), partners_of(table))


def amount_of(i: int) -> Decimal:
    """Give the sum of a line."""
    return Decimal(10_000 + i % 500_000) / 100


def lines(name: str, households: list[traffic.Household], day: str) -> Iterator[bytes]:
    """Write a register: each hundredth line has a letter in its account or a day that there is not, each third a reading."""
    chance = random.Random(7)
    yield b"id;account;amount;fee;paid_at;t1;t2;t3\n"
    total = fees = Decimal(0)
    for i, household in enumerate(households):
        account, at, amount = household.account, f"{day}T10:{i % 60:02}:00", amount_of(i)
        if i % FAULT_EVERY == 0:
            account, at = (f"{account[:-1]}O", at) if i % (2 * FAULT_EVERY) else (account, "2024-02-31T10:00:00")
        value = str(household.value + chance.randint(80, 300)) if i % READING_EVERY == 0 else ""
        fee = Decimal("1.00")
        total, fees = total + amount, fees + fee
        yield f"{name}-{i};{account};{amount};{fee};{at};{value};;\n".encode()
    yield f"ИТОГО;{len(households)};{total};{fees};{name};{day}\n".encode()


async def _taken(url: str, folder: Path) -> tuple[float, float, float]:
    """Take the small register and the large one; the seconds of the large one, and the peaks in MB after each."""
    async with opened(Settings(database_url=url, data_dir=folder)) as bels:
        client = (folder / "client").read_text()
        till = await _till(bels, client)
        partner = till.partners.of(client)
        # As whoever takes registers does: the server and ``bels exchange``.
        settled()
        await _check(till, (await receive_file(till, partner, "small.csv", folder / "small.csv", Way.FOLDER)).file)
        few = _peak_mb()
        began = time.perf_counter()
        large = (await receive_file(till, partner, "large.csv", folder / "large.csv", Way.FOLDER)).file
        seconds = time.perf_counter() - began
        await _check(till, large)
        return seconds, few, _peak_mb()


async def _check(till: Till, file: RegisterFile) -> None:
    """Check that every line has its outcome; else the rate means nothing.

    :raises RuntimeError: it has not.
    """
    async with till.counter.pool.acquire() as db:
        counts = {each.outcome: each.count for each in await tally(db, file.file)}
    faults = -(-file.rows // FAULT_EVERY)
    is_whole = file.state is FileState.TAKEN and sum(counts.values()) == file.rows
    if not is_whole or counts.get(RowOutcome.REVIEW) != faults:
        raise RuntimeError(f"{file.state} {file.fault} {file.detail} {counts}")


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux tells kilobytes, macOS bytes.
    return peak / (1024 if sys.platform == "linux" else 1024 * 1024)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_taken(sys.argv[1], Path(sys.argv[2])))))
