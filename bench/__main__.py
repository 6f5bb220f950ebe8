"""Run the benchmarks in one go on one PostgreSQL and say which targets are met: ``python -m bench [names...]``."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import asyncpg

from bels.embedded import embedded
from bels.settings import Settings
from bench import append as appends
from bench import attack as attacks
from bench import bill as bills
from bench import channels as channel_loads
from bench import closing, ours, registers, traffic
from bench import payments as payment_loads
from bench import price as prices
from bench import replay as replays
from bench import sealing as seals
from bench import trail as trails
from bench import verify as verifying
from bench.copy import limit_of_tables
from bench.load import Report
from bench.report import Figure, table
from bench.servers import ROOT, environment, free_port, fresh_database, load, server

CONNECTIONS = 64
BATCH_CONNECTIONS = 2
COMMAND_WAIT_S = 600
IMPORT_ACCOUNTS = 3_000
IMPORT_MONTHS = 12
REBUILD_ACCOUNTS = 10_000
STOCK = ("--no-functions", "--no-cache")
"""The switches of the peer as the library sets them by default; without them it has every switch turned its way."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a run takes place: the URL of its PostgreSQL, rounds a side, seconds a round."""

    url: str
    rounds: int
    seconds: float
    peer_only: bool = False

    @property
    def has_bels(self) -> bool:
        """Tell whether bels is to be measured."""
        return not self.peer_only


def submit_reading(ground: Ground) -> list[Figure]:
    """One reading a request: the stock peer, the tuned peer and bels in turns; medians."""
    runs: dict[str, list[Report]] = {"stock": [], "tuned": [], "bels": []}
    for _ in range(ground.rounds):
        runs["stock"].append(_run_peer(ground, STOCK))
        if ground.has_bels:
            runs["bels"].append(_run_bels(ground, "submitReading", CONNECTIONS))
        runs["tuned"].append(_run_peer(ground, ()))
    per_s = {side: median(run.per_s for run in reports) for side, reports in runs.items() if reports}
    p99 = {side: median(run.p99_ms for run in reports) for side, reports in runs.items() if reports}
    ours_per_s, ours_p99 = per_s.get("bels"), p99.get("bels")
    figures = [
        Figure("submitReading", "requests/s", ours_per_s, "stock peer", per_s["stock"], least=8.0),
        Figure("submitReading", "p99 ms", ours_p99, "stock peer", p99["stock"], most=0.2),
        Figure("submitReading", "requests/s", ours_per_s, "tuned peer", per_s["tuned"], note="for the record"),
        Figure("submitReading", "p99 ms", ours_p99, "tuned peer", p99["tuned"], note="for the record"),
    ]
    if ours_per_s is not None:
        limit = _limit(ground, "bench_bels", ours.TABLES, "message")
        figures.append(Figure("submitReading", "requests/s", ours_per_s, "bare COPY", limit, note="share"))
    return figures


def submit_readings(ground: Ground) -> list[Figure]:
    """500 readings a call."""
    if not ground.has_bels:
        return [Figure("submitReadings", "readings/s", None, floor=5_000)]
    runs = [_run_bels(ground, "submitReadings", BATCH_CONNECTIONS) for _ in range(ground.rounds)]
    limit = _limit(ground, "bench_bels", ours.TABLES, "message")
    per_s = median(run.rows_per_s for run in runs)
    return [Figure("submitReadings", "readings/s", per_s, "bare COPY", limit, floor=5_000)]


def import_readings(ground: Ground) -> list[Figure]:
    """Import a year of readings by the command, the periods being closed between them; all its time counts."""
    rates, limits = [], []
    for _ in range(ground.rounds):
        url = asyncio.run(fresh_database(ground.url, "bench_import"))
        with tempfile.TemporaryDirectory() as folder:
            files = registers.write(Path(folder), IMPORT_ACCOUNTS, IMPORT_MONTHS)
            seconds = _command(["import", *map(str, files)], url)
        rates.append(IMPORT_ACCOUNTS * IMPORT_MONTHS / seconds)
        limits.append(_limit(ground, "bench_import", ours.TABLES, "reading"))
        print(f"  import: {rates[-1]:,.0f} readings/s, with their closings", file=sys.stderr, flush=True)
    return [Figure("import", "readings/s", median(rates), "bare COPY", median(limits), floor=5_000)]


def rebuild(ground: Ground) -> list[Figure]:
    """Tell all views of an imported year again by the command; all its time counts."""
    url = asyncio.run(fresh_database(ground.url, "bench_rebuild"))
    with tempfile.TemporaryDirectory() as folder:
        files = registers.write(Path(folder), REBUILD_ACCOUNTS, IMPORT_MONTHS)
        _command(["import", *map(str, files)], url)
    entries = _count(url, "journal")
    rates = []
    for _ in range(ground.rounds):
        rates.append(entries / _command(["rebuild"], url))
        print(f"  rebuild: {rates[-1]:,.0f} events/s", file=sys.stderr, flush=True)
    limit = _limit(ground, "bench_rebuild", ours.VIEWS, "journal")
    return [Figure("rebuild", "events/s", median(rates), "bare COPY of the views", limit, floor=30_000)]


def close(ground: Ground) -> list[Figure]:
    """Close a month of 50,000 accounts with two years of history by the command; all its time counts."""
    if not ground.has_bels:
        return [Figure("close", "accounts/s", None, floor=closing.FLOOR_PER_S)]
    return closing.closing(ground.url, ground.rounds)


def bill(ground: Ground) -> list[Figure]:
    """Ask for whole bills of accounts with ten years of history."""
    if not ground.has_bels:
        return [Figure("bill", "p50 ms", None, most=1.0)]
    return bills.bill(ground.url, ground.rounds)


def price(ground: Ground) -> list[Figure]:
    """One reading a request, without a token and with one, in turns."""
    if not ground.has_bels:
        return [Figure("price", "requests/s", None, least=prices.LEAST)]
    return prices.price(ground.url, ground.rounds, ground.seconds)


def attack(ground: Ground) -> list[Figure]:
    """Hostile requests, one by one and beside honest clients."""
    if not ground.has_bels:
        return [Figure("attack", "worst ms", None, most=1.0)]
    return attacks.attack(ground.url, ground.rounds, ground.seconds)


def _command(arguments: list[str], url: str) -> float:
    """Run a command of bels to its end; the seconds it took."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bels", *arguments],
        env=environment({"BELS_DATABASE_URL": url}),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=COMMAND_WAIT_S,
        check=True,
    )
    return time.perf_counter() - began


def _count(url: str, table_name: str) -> int:
    async def run() -> int:
        db = await asyncpg.connect(url)
        try:
            return int(await db.fetchval(f"SELECT count(*) FROM {table_name}"))
        finally:
            await db.close()

    return asyncio.run(run())


def channels(ground: Ground) -> list[Figure]:
    """SMS and calls beside the API's normal traffic: what they do to its answers."""
    if not ground.has_bels:
        return [Figure("channels", "p99 ms", None, most=2.0)]
    return channel_loads.channels(ground.url, ground.rounds, ground.seconds)


def payment_registers(ground: Ground) -> list[Figure]:
    """Take a bank's register of 100,000 lines with faults, beside a bare COPY of it."""
    if not ground.has_bels:
        return [Figure("payment register", "lines/s", None, floor=payment_loads.FLOOR_PER_S)]
    return payment_loads.payment_registers(ground.url, ground.rounds)


def payments(ground: Ground) -> list[Figure]:
    """Payments one a request, without a reading and with one, beside readings alone, in turns."""
    kinds = {
        "submitReading": "alone",
        "pay": "payWithReading, money alone",
        "payWithReading": "the same, a reading too",
    }
    if not ground.has_bels:
        return [Figure(name, "requests/s", None) for kind, name in kinds.items() if kind != "submitReading"]
    runs: dict[str, list[Report]] = {kind: [] for kind in kinds}
    for _ in range(ground.rounds):
        for kind, reports in runs.items():
            reports.append(_run_bels(ground, kind, CONNECTIONS))
    figures = []
    for kind, name in list(kinds.items())[1:]:
        for unit, of in (("requests/s", "per_s"), ("p99 ms", "p99_ms")):
            ours_is, other_is = (median(getattr(run, of) for run in runs[each]) for each in (kind, "submitReading"))
            figures.append(Figure(name, unit, ours_is, "submitReading", other_is, note="for the record"))
    return figures


def append(ground: Ground) -> list[Figure]:
    """Append with the digests of the chain and without, in turns."""
    if not ground.has_bels:
        return [Figure("append with digests", "readings/s", None, least=appends.LEAST)]
    return appends.append(ground.url, ground.rounds)


def sealing(ground: Ground) -> list[Figure]:
    """Seal the journal of 300,000 accounts, and prove accounts by the seal."""
    if not ground.has_bels:
        return [Figure("seal with nothing new", "s", None, most=1.0)]
    return seals.sealing(ground.url, ground.rounds)


def trail(ground: Ground) -> list[Figure]:
    """Tell the trail of a million entries, search and export it."""
    return trails.trail(ground.url, ground.rounds) if ground.has_bels else []


def replay(ground: Ground) -> list[Figure]:
    """Replay accounts of 1,500 entries to any day."""
    if not ground.has_bels:
        return [Figure("replay", "p50 ms", None, most=1.0)]
    return replays.replay(ground.url, ground.rounds)


def verify(ground: Ground) -> list[Figure]:
    """Verify a million entries by the command."""
    if not ground.has_bels:
        return [Figure("verify", "entries/s", None, floor=verifying.FLOOR_PER_S)]
    return verifying.verify(ground.url, ground.rounds)


def verify_reading(ground: Ground) -> list[Figure]:
    """Follow the chains of a million entries by four ways of reading."""
    return verifying.reading(ground.url, ground.rounds) if ground.has_bels else []


BENCHMARKS: dict[str, Callable[[Ground], list[Figure]]] = {
    "submitReading": submit_reading,
    "submitReadings": submit_readings,
    "import": import_readings,
    "rebuild": rebuild,
    "closing": close,
    "bill": bill,
    "price": price,
    "attack": attack,
    "channels": channels,
    "payment_registers": payment_registers,
    "payments": payments,
    "append": append,
    "trail": trail,
    "replay": replay,
    "verify": verify,
    "verify_reading": verify_reading,
    "sealing": sealing,
}


def _run_peer(ground: Ground, switches: tuple[str, ...]) -> Report:
    url = asyncio.run(fresh_database(ground.url, "bench_peer"))
    port = free_port()
    command = [sys.executable, "-m", "bench.peer", "--database-url", url, "--port", str(port)]
    with server([*command, *switches, "--seed", str(traffic.ACCOUNTS)], port, {}):
        return load(port, "submitReading", CONNECTIONS, ground.seconds)


def _run_bels(ground: Ground, mutation: str, connections: int) -> Report:
    url = asyncio.run(fresh_database(ground.url, "bench_bels"))
    port = free_port()
    ours.seed(Settings(database_url=url), traffic.households())
    with server(ours.serve(port), port, {"BELS_DATABASE_URL": url}):
        return load(port, mutation, connections, ground.seconds)


def _limit(ground: Ground, database: str, tables: tuple[str, ...], counted: str) -> float:
    return asyncio.run(_limit_of(ground.url.replace("/bels?", f"/{database}?"), tables, counted))


async def _limit_of(url: str, tables: tuple[str, ...], counted: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        count = await connection.fetchval(f"SELECT count(*) FROM {counted}")
    finally:
        await connection.close()
    return (await limit_of_tables(url, tables)).per_s(int(count or 0))


def main() -> int:
    """Run the benchmarks that are named, or all; 1 when a target is missed or not measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one run, after a warm-up")
    parser.add_argument("--peer-only", action="store_true", help="measure the peer, and bels counts as not measured")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bels-bench-") as folder, embedded(Path(folder)) as url:
        for name in given.names or BENCHMARKS:
            try:
                figures += BENCHMARKS[name](Ground(url, given.rounds, given.seconds, given.peer_only))
            except (RuntimeError, subprocess.SubprocessError) as error:
                failed.append(f"{name} failed: {error}")
    print(table(figures))
    for line in failed:
        print(line)
    return 0 if not failed and all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
