"""Seal the journal of 300,000 accounts: for the first time, with nothing new, with every tenth account grown; and prove accounts by it.

Chains hold, so entries are not multiplied by copying: each is hashed as it is written.
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import asyncpg

from bels.app import opened
from bels.audit.seals.proofs import prove
from bels.audit.seals.sealing import seal_journal
from bels.journal.chain import GENESIS, link
from bels.settings import Settings
from bench.report import Figure
from bench.servers import ROOT, environment, fresh_database

ACCOUNTS = 300_000
FIRST_ACCOUNT = 3_000_001
ENTRIES = 4
"""Entries of an account at the first seal."""

GROWN_EVERY = 10
PAGE = 20_000
PROVEN = 200
COMMAND_WAIT_S = 600
SECONDS_MAX = 10.0
"""A seal of which little is new: so long it may take."""

NOW = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)

_STATE = json.dumps({"recorded_at": "2026-11-22T09:00:00+00:00", "receipt": "R" * 20, "said": "x" * 300}).encode()
_COLUMNS = ("originator_id", "originator_version", "topic", "state", "content", "digest")

Row = tuple[str, int, str, bytes, bytes, bytes]


def sealing(url: str, rounds: int) -> list[Figure]:
    """Seal a town three times, in a process of its own; medians of the rounds."""
    runs = []
    for _ in range(rounds):
        at = asyncio.run(fresh_database(url, "bench_sealing"))
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "bench.sealing", at],
                cwd=ROOT,
                env=environment({"BELS_DATABASE_URL": at, "BELS_DATA_DIR": folder}),
                timeout=COMMAND_WAIT_S,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        runs.append(json.loads(done.stdout))
        print(f"  sealing: {runs[-1]}", file=sys.stderr, flush=True)
    first, still, grown, proof, peak = (median(run[i] for run in runs) for i in range(5))
    return [
        Figure("first seal of 300,000 accounts", "entries/s", ACCOUNTS * ENTRIES / first, note="for the record"),
        Figure("seal with nothing new", "s", still, "the target", SECONDS_MAX, most=1.0),
        Figure("seal with 30,000 accounts grown", "s", grown, "the target", SECONDS_MAX, most=1.0),
        Figure("proof of an account", "p50 ms", proof, note="for the record"),
        Figure("memory that three seals add to the peak", "MB", peak, note="for the record"),
    ]


async def measure(url: str) -> tuple[float, float, float, float, float]:
    """Fill an empty database, and give the seconds of three seals, the milliseconds of a proof, the MB that they add to the peak."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Settings(database_url=url, data_dir=Path(folder))) as bels:
            heads = await _add(url, {str(FIRST_ACCOUNT + i): (0, GENESIS) for i in range(ACCOUNTS)}, ENTRIES)
            before = _peak_mb()
            for turn in range(3):
                if turn == 2:
                    await _add(url, dict(list(heads.items())[::GROWN_EVERY]), 1)
                began = time.perf_counter()
                seal = await seal_journal(bels.pool, bels.vault, NOW)
                taken.append(time.perf_counter() - began)
                if seal.faults or seal.accounts < ACCOUNTS:
                    raise RuntimeError(f"the journal was not sealed whole: {seal}")
            chance, proofs = random.Random(3), []
            async with bels.pool.acquire() as db:
                for _ in range(PROVEN):
                    account = str(FIRST_ACCOUNT + chance.randrange(ACCOUNTS))
                    began = time.perf_counter()
                    proof = await prove(db, account)
                    proofs.append(time.perf_counter() - began)
                    if proof is None or not proof.holds:
                        raise RuntimeError(f"account {account} is not proven")
    first, still, grown = taken
    return first, still, grown, median(proofs) * 1000, _peak_mb() - before


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _add(url: str, heads: dict[str, tuple[int, bytes]], entries: int) -> dict[str, tuple[int, bytes]]:
    """Add entries to accounts with their digests; give the heads after it."""
    db = await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S)
    accounts = list(heads)
    try:
        for at in range(0, len(accounts), PAGE):
            rows = list(_rows(heads, accounts[at : at + PAGE], entries))
            await db.copy_records_to_table("journal", records=rows, columns=_COLUMNS)
        await db.execute("VACUUM ANALYZE journal")
        await db.execute("CHECKPOINT")
    finally:
        await db.close()
    return heads


def _rows(heads: dict[str, tuple[int, bytes]], accounts: list[str], entries: int) -> Iterator[Row]:
    content = b"0123456789abcdef"
    for account in accounts:
        version, digest = heads[account]
        for _ in range(entries):
            version += 1
            digest = link(digest, account, version, "reading-accepted.1", content, _STATE)
            yield account, version, "reading-accepted.1", _STATE, content, digest
        heads[account] = version, digest


if __name__ == "__main__":
    print(json.dumps([round(each, 3) for each in asyncio.run(measure(sys.argv[1]))]))
