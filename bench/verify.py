"""Verify a journal of a million entries by the command: entries a second of its whole time, beside bare COPY of the same rows."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from statistics import median
from struct import Struct
from typing import Any

import asyncpg
import uvloop

from bels.audit.verifying.chains import Sealed, Span, check_chains
from bels.domain.terms import Period
from bels.journal.chain import GENESIS, link
from bels.journal.journal import RULEBOOK, accounts
from bels.journal.write import SESSION
from bench import history
from bench.report import Figure
from bench.servers import ROOT, environment, fresh_database

HOUSEHOLDS = 100
FIRST, MONTHS = Period("2024-01"), 24
ENTRIES_FEW, ENTRIES_MANY = 100_000, 1_000_000
FLOOR_PER_S = 100_000
FLAT = 1.2
"""Ten times as many entries may need so much more memory: what grows is a head for each account."""

COMMAND_WAIT_S = 600
READERS = 2
"""Connections that COPY at once: as many as the machine has cores that PostgreSQL and its reader share."""

_COLUMNS = ("originator_id", "originator_version", "topic", "state", "content", "digest")


def verify(url: str, rounds: int) -> list[Figure]:
    """Verify the journal of a town with two years of history, multiplied and sealed: a tenth of it, then all."""
    base = asyncio.run(fresh_database(url, "bench_verify_town"))
    phases = asyncio.run(history.live(base, HOUSEHOLDS, FIRST, MONTHS))
    with tempfile.TemporaryDirectory() as folder:
        _, few_mb, _ = _round(url, phases, ENTRIES_FEW, 1, folder)
        rate, many_mb, limit = _round(url, phases, ENTRIES_MANY, rounds, folder)
    name = f"verify of {ENTRIES_MANY:,} entries"
    return [
        Figure(name, "entries/s", rate, f"COPY by {READERS}", limit, floor=FLOOR_PER_S),
        Figure("the same", "peak MB of a process", many_mb, f"of {ENTRIES_FEW:,}", few_mb, most=FLAT),
    ]


def _round(url: str, phases: list[history.Phase], least: int, rounds: int, folder: str) -> tuple[float, float, float]:
    """Give entries a second of the whole command, its largest process in MB, entries a second of COPY; medians."""
    at = asyncio.run(fresh_database(url, "bench_verify", "bench_verify_town"))
    entries = asyncio.run(multiply(at, phases, least))
    settings = {"BELS_DATABASE_URL": at, "BELS_DATA_DIR": folder}
    _command(["audit", "seal"], settings)
    runs, limits = [], []
    for _ in range(rounds):
        seconds, peak_mb = _command(["audit", "verify"], settings)
        runs.append((entries / seconds, peak_mb))
        limits.append(entries / asyncio.run(_copied(at)))
        print(
            f"  verify: {runs[-1][0]:,.0f} entries/s, {peak_mb:,.0f} MB, COPY {limits[-1]:,.0f}",
            file=sys.stderr,
            flush=True,
        )
    return median(rate for rate, _ in runs), median(mb for _, mb in runs), median(limits)


async def multiply(url: str, phases: list[history.Phase], least: int) -> int:
    """Copy the households' entries under other numbers, with digests that follow, until there are ``least``; count them all."""
    db = await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S)
    try:
        lived = await db.fetchval("SELECT count(*) FROM journal WHERE originator_id <> $1", RULEBOOK)
        heads: dict[str, bytes] = {}
        before = 0
        for phase in phases:
            rows = await db.fetch(
                f"SELECT {', '.join(_COLUMNS)} FROM journal"
                " WHERE notification_id > $1 AND notification_id <= $2 AND originator_id <> $3 ORDER BY notification_id",
                before,
                phase.through,
                RULEBOOK,
            )
            copies = _copies(rows, -(-least // lived), heads)
            await db.copy_records_to_table("journal", records=copies, columns=_COLUMNS)
            before = phase.through
        await db.execute("VACUUM ANALYZE journal")
        await db.execute("CHECKPOINT")
        return int(await db.fetchval("SELECT count(*) FROM journal"))
    finally:
        await db.close()


def _copies(rows: list[Any], times: int, heads: dict[str, bytes]) -> Iterator[tuple[Any, ...]]:
    for k in range(1, times):
        for number, version, topic, state, content, _ in rows:
            account = str(int(number) + HOUSEHOLDS * k)
            heads[account] = link(heads.get(account, GENESIS), account, version, topic, content, state)
            yield account, version, topic, state, content, heads[account]


def _command(arguments: list[str], settings: dict[str, str]) -> tuple[float, float]:
    """Run a command of bels to its end; the seconds it took, and the largest of its processes in MB.

    :raises RuntimeError: it found something, or could not go on.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "bels", *arguments]
    running = subprocess.Popen(command, env=environment(settings), cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise RuntimeError(f"bels {' '.join(arguments)} ended with {running.returncode}")
    return time.perf_counter() - began, used.ru_maxrss / 1024


async def _copied(url: str) -> float:
    """Copy the whole journal out in binary by several connections at once, read and thrown away; the seconds it took."""
    connections = [await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S) for _ in range(READERS)]
    try:
        pages = await connections[0].fetchval("SELECT pg_relation_size('journal') / current_setting('block_size')::int")
        bounds = [pages * i // READERS for i in range(READERS)] + [pages + 1]
        began = time.perf_counter()
        await asyncio.gather(*(_copy_out(db, *bounds[i : i + 2]) for i, db in enumerate(connections)))
        return time.perf_counter() - began
    finally:
        for db in connections:
            await db.close()


async def _copy_out(db: asyncpg.Connection, first: int, end: int) -> None:
    async def nowhere(data: bytes) -> None:
        """Throw it away."""

    await db.copy_from_query(
        f"SELECT {', '.join(_COLUMNS)} FROM journal WHERE ctid >= '({first},0)' AND ctid < '({end},0)'",
        output=nowhere,
        format="binary",
    )


def reading(url: str, rounds: int) -> list[Figure]:
    """Follow the chains of the town by four ways of reading them, each in two processes; the first is the one that is used."""
    base = asyncio.run(fresh_database(url, "bench_verify_town"))
    phases = asyncio.run(history.live(base, HOUSEHOLDS, FIRST, MONTHS))
    at = asyncio.run(fresh_database(url, "bench_verify", "bench_verify_town"))
    entries = asyncio.run(multiply(at, phases, ENTRIES_MANY))
    numbers = asyncio.run(_numbers(at))
    halves = [numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]]
    per_s: dict[str, list[float]] = {name: [] for name in WAYS}
    with ProcessPoolExecutor(READERS, get_context("spawn")) as executor:
        list(executor.map(_imported, range(READERS)))
        for _ in range(rounds):
            for name, runs in per_s.items():
                began = time.perf_counter()
                followed = sum(executor.map(_follow, [at] * len(halves), [name] * len(halves), halves))
                if followed != entries:
                    raise RuntimeError(f"{name} followed {followed:,} of {entries:,} entries")
                runs.append(entries / (time.perf_counter() - began))
    ours = median(per_s.pop("rows"))
    return [
        Figure("chains followed, rows of a page", "entries/s", ours, name, median(runs), note="for the record")
        for name, runs in per_s.items()
    ]


async def _numbers(url: str) -> list[str]:
    db = await asyncpg.connect(url)
    try:
        return [number async for page in accounts(db) for number in page]
    finally:
        await db.close()


def _imported(_: int) -> bool:
    """Begin a process, so that its start is not measured."""
    time.sleep(0.5)
    return True


def _follow(url: str, name: str, numbers: list[str]) -> int:
    """Follow some accounts in one way; count their entries."""

    async def run() -> int:
        db = await asyncpg.connect(url, command_timeout=COMMAND_WAIT_S, server_settings=SESSION)
        try:
            return sum([await WAYS[name](db, numbers[i : i + PAGE]) for i in range(0, len(numbers), PAGE)])
        finally:
            await db.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


async def _rows(db: asyncpg.Connection, numbers: list[str]) -> int:
    """Fetch rows, page by page: what ``bels audit verify`` does."""
    checked = await check_chains(db, Span(numbers[0], numbers[-1], including=True), numbers, Sealed(), {})
    if checked.findings:
        raise RuntimeError(checked.findings[0].text)
    return checked.entries


async def _binary_copy(db: asyncpg.Connection, numbers: list[str]) -> int:
    """COPY in binary and take it apart in Python: after 19 bytes of head, rows of a count and of fields with their lengths."""
    parts: list[bytes] = []

    async def taken(data: bytes) -> None:
        parts.append(data)

    await db.copy_from_query(
        f"SELECT {', '.join(_COLUMNS)} FROM journal WHERE originator_id BETWEEN $1 AND $2"
        " ORDER BY originator_id, originator_version",
        numbers[0],
        numbers[-1],
        output=taken,
        format="binary",
    )
    data, at, entries, last, before = b"".join(parts), 19, 0, b"", GENESIS
    while data[at : at + 2] != b"\xff\xff":
        at += 2
        fields = []
        for _ in _COLUMNS:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            fields.append(data[at + 4 : end])
            at = end
        number, version, topic, state, content, digest = fields
        before = before if number == last else GENESIS
        sizes = _sizes(int.from_bytes(version, "big"), len(number), len(topic), len(content))
        if sha256(b"".join((_ENTRY, before, sizes, number, topic, content, state))).digest() != digest:
            raise RuntimeError("a digest does not follow")
        last, before, entries = number, digest, entries + 1
    return entries


async def _one_value(db: asyncpg.Connection, numbers: list[str]) -> int:
    """Let PostgreSQL put all entries of an account into one value, nearly as they are hashed."""
    rows = await db.fetch(
        """
        SELECT originator_id, string_agg(int8send(originator_version) || int2send(octet_length(topic)::int2)
               || int2send(octet_length(content)::int2) || int4send(octet_length(state)) || topic::bytea || content
               || state || digest, ''::bytea ORDER BY originator_version)
          FROM journal WHERE originator_id BETWEEN $1 AND $2
         GROUP BY originator_id
        """,
        numbers[0],
        numbers[-1],
    )
    entries = 0
    for account, value in rows:
        number, before, at = account.encode(), GENESIS, 0
        while at < len(value):
            version, topic, content, state = _lengths(value, at)
            end = at + 16 + topic + content + state
            said = b"".join(
                (_ENTRY, before, _sizes(version, len(number), topic, content), number, value[at + 16 : end])
            )
            before = value[end : end + 32]
            if sha256(said).digest() != before:
                raise RuntimeError("a digest does not follow")
            at, entries = end + 32, entries + 1
    return entries


async def _in_sql(db: asyncpg.Connection, numbers: list[str]) -> int:
    """Let PostgreSQL work the digests out: what is to be judged would be the judge."""
    row = await db.fetchrow(
        """
        SELECT count(*) AS entries, count(*) FILTER (WHERE digest <> sha256('bels:entry:1\\012'::bytea || before
               || int8send(originator_version) || int2send(octet_length(originator_id)::int2)
               || int2send(octet_length(topic)::int2) || int2send(octet_length(content)::int2)
               || originator_id::bytea || topic::bytea || content || state)) AS wrong
          FROM (SELECT *, coalesce(lag(digest) OVER (PARTITION BY originator_id ORDER BY originator_version),
                       decode(repeat('00', 32), 'hex')) AS before
                  FROM journal WHERE originator_id BETWEEN $1 AND $2) AS j
        """,
        numbers[0],
        numbers[-1],
    )
    if row is None or row["wrong"]:
        raise RuntimeError("a digest does not follow")
    return int(row["entries"])


PAGE = 250
_ENTRY = b"bels:entry:1\n"
_sizes = Struct(">QHHH").pack
_lengths = Struct(">qHHi").unpack_from

WAYS: dict[str, Callable[[asyncpg.Connection, list[str]], Awaitable[int]]] = {
    "rows": _rows,
    "COPY in binary": _binary_copy,
    "one value an account": _one_value,
    "sha256 in SQL": _in_sql,
}
