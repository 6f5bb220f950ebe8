"""What identity costs: submitReading without a token, and with one, its rights and its budget, in turns."""

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median

from bels.settings import Settings
from bench import ours, traffic
from bench.callers import Callers, add_callers, token_of, write_bearers
from bench.load import Report
from bench.report import Figure
from bench.servers import free_port, fresh_database, load, server

CONNECTIONS = 64
LEAST = 1 / 1.15
"""At most 15 % slower."""

HOT_EACH = 2
"""Tokens of a consumer that come again and again: 2,000 in all, and the server remembers 10,000."""

COLD_EACH = 20
"""Tokens of a consumer that come in turns: 20,000 in all, so that the server has forgotten each when it comes again."""

SEEDED = "bench_price_seeded"


def price(url: str, rounds: int, seconds: float) -> list[Figure]:
    """Submit without a token, as a gateway, as consumers whose tokens are known, and as consumers whose are not: medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeded = Settings(database_url=asyncio.run(fresh_database(url, SEEDED)), data_dir=folder)
        ours.seed(seeded, traffic.households())
        callers = add_callers(seeded)
        runs: dict[str, list[Report]] = {"local": [], "gateway": [], "hot": [], "cold": []}
        for _ in range(rounds):
            for side, reports in runs.items():
                reports.append(_run(url, folder, callers, side, seconds))
                print(f"  price, {side}: {reports[-1].per_s:,.0f}/s", file=sys.stderr, flush=True)
    per_s = {side: median(run.per_s for run in reports) for side, reports in runs.items()}
    named = {"gateway": "a gateway's token", "hot": "consumers' tokens", "cold": "tokens never seen before"}
    figures = []
    for side, text in named.items():
        least = LEAST if side != "cold" else None
        note = "for the record" if side == "cold" else ""
        figures.append(
            Figure(f"submitReading, {text}", "requests/s", per_s[side], "no token", per_s["local"], least, note=note)
        )
        for quantile in ("p50_ms", "p99_ms"):
            ours_ms, other_ms = (median(getattr(run, quantile) for run in runs[each]) for each in (side, "local"))
            unit = quantile.replace("_", " ")
            figures.append(Figure("the same", unit, ours_ms, "no token", other_ms, note="for the record"))
    return figures


def _run(url: str, folder: Path, callers: Callers, side: str, seconds: float) -> Report:
    """Load a new server on a new copy of the seeded database."""
    settings = Settings(database_url=asyncio.run(fresh_database(url, "bench_price", SEEDED)), data_dir=folder)
    file = folder / "bearers.json"
    if side in ("hot", "cold"):
        write_bearers(settings, callers.consumers, HOT_EACH if side == "hot" else COLD_EACH, file)
    port = free_port()
    more = {"BELS_DATABASE_URL": str(settings.database_url), "BELS_DATA_DIR": str(folder)}
    with server(ours.serve(port, local=side == "local"), port, more):
        arguments: tuple[str, ...] = ()
        if side == "gateway":
            arguments = ("--header", f"authorization: Bearer {token_of(port, callers.gateway)}")
        elif side != "local":
            arguments = ("--bearers", str(file))
        return load(port, "submitReading", CONNECTIONS, seconds, *arguments)
