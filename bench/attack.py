"""The API under attack: how long a hostile body takes, and what honest clients feel while an attacker sends them all."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bels.settings import Settings
from bench import ours, traffic
from bench.attacker import Attacker, code_of
from bench.callers import Callers, add_callers, token_of, write_bearers
from bench.hostile import hostile
from bench.load import Report
from bench.report import Figure
from bench.servers import ROOT, begun_load, ended_load, environment, free_port, fresh_database, server

ANSWERED_WITHIN_MS = 100.0
MOST_P99 = 2.0
ALONE = 3
"""How often each body is sent alone; the median is its time, so that what else runs on the machine does not count."""

PAUSE_S = 0.15
"""Between them: alone means that no other strange document was read just before."""

READERS, SUBMITTERS, ATTACKERS = 16, 16, 4
"""Connections of the two honest clients, and of the attacker."""

TOKENS_EACH = 2
WARM_UP_S = 2.0
ATTACK_WAIT_S = 60
SIDES = ("quiet", "anonymous", "partner")


def attack(url: str, rounds: int, seconds: float) -> list[Figure]:
    """Send every hostile body alone, and then all of them beside two honest clients, as nobody and as a partner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(database_url=asyncio.run(fresh_database(url, "bench_attack")), data_dir=folder)
        ours.seed(settings, traffic.households())
        callers = add_callers(settings)
        write_bearers(settings, callers.consumers, TOKENS_EACH, folder / "bearers.json")
        more = {"BELS_DATABASE_URL": str(settings.database_url), "BELS_DATA_DIR": name}
        runs: dict[str, list[tuple[Report, Report]]] = {side: [] for side in SIDES}
        port = free_port()
        with server(ours.serve(port, local=False), port, more):
            figures = _alone(port, callers)
        for _ in range(rounds):
            for side, reports in runs.items():
                # Each time a new server: its budgets are full, and it remembers nobody.
                port = free_port()
                with server(ours.serve(port, local=False), port, more):
                    reports.append(_beside(port, callers, folder / "bearers.json", side, seconds))
    for side in SIDES[1:]:
        for i, what in enumerate(("account", "submitReading")):
            p99, quiet = (median(run[i].p99_ms for run in runs[each]) for each in (side, "quiet"))
            figures.append(Figure(f"{what} beside a hostile {side}", "p99 ms", p99, "without", quiet, most=MOST_P99))
            per_s, quiet = (median(run[i].per_s for run in runs[each]) for each in (side, "quiet"))
            figures.append(Figure("the same", "requests/s", per_s, "without", quiet, note="for the record"))
    return figures


def _alone(port: int, callers: Callers) -> list[Figure]:
    """Send every body by itself, as a partner, whose documents are read; the worst of each kind.

    :raises RuntimeError: an answer has no code, or is the server's own fault.
    """
    attacker = Attacker(f"http://127.0.0.1:{port}/graphql", token_of(port, callers.partner))
    worst: dict[str, tuple[float, str]] = {}
    for each in hostile():
        taken = []
        for _ in range(ALONE):
            time.sleep(PAUSE_S)
            ms, status, said = attacker.send_patiently(each.body)
            if code_of(said) not in each.codes or status >= 500:
                raise RuntimeError(f"{each.kind}, {each.name}: {status} {said[:300].decode(errors='replace')}")
            taken.append(ms)
        print(f"  {each.kind}, {each.name}: {median(taken):.1f} ms", file=sys.stderr, flush=True)
        worst[each.kind] = max(worst.get(each.kind, (0.0, "")), (median(taken), each.name))
    return [
        Figure(f"{kind}: {name}", "ms", ms, "the target", ANSWERED_WITHIN_MS, most=1.0)
        for kind, (ms, name) in worst.items()
    ]


def _beside(port: int, callers: Callers, bearers: Path, side: str, seconds: float) -> tuple[Report, Report]:
    """Load a server with two honest clients, and an attacker unless it is quiet."""
    shared = ("--bearers", str(bearers), "--warm-up", str(WARM_UP_S))
    reading = begun_load(port, "account", READERS, seconds, *shared)
    submitting = begun_load(port, "submitReading", SUBMITTERS, seconds, *shared)
    attacking: subprocess.Popen[str] | None = None
    if side != "quiet":
        arguments = ["--token", token_of(port, callers.partner)] if side == "partner" else []
        command = [sys.executable, "-m", "bench.attacker", "--url", f"http://127.0.0.1:{port}/graphql", *arguments]
        attacking = subprocess.Popen(
            [*command, "--connections", str(ATTACKERS), "--seconds", str(WARM_UP_S + seconds)],
            env=environment({}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
    reports = ended_load(reading), ended_load(submitting)
    if attacking is not None:
        told, _ = attacking.communicate(timeout=ATTACK_WAIT_S)
        print(f"  attack, {side}: {json.loads(told)}", file=sys.stderr, flush=True)
    return reports
