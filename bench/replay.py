"""Replay accounts of 1,500 entries to any day, over HTTP and in the server, beside the same account as it is today."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median

import asyncpg

from bels.app import door_of, opened
from bels.closing import closing
from bels.collector import settled
from bels.domain.commands import Command, InstallMeter, OpenAccount, ReceivePayment, SubmitReading
from bels.domain.periods import first_day, over_at, shift
from bels.domain.terms import Channel, Locality, MeterModel, Period, Register, Stove
from bels.messages import Message, Status
from bels.observing.health import Readiness
from bels.publishing import publish_demonstration
from bels.routes import asgi
from bels.settings import Settings
from bench import ours
from bench.asking import in_process, over_http
from bench.report import Figure
from bench.servers import free_port, fresh_database, server

HOUSEHOLDS = 4
FIRST_ACCOUNT = 4_000_001
FIRST, MONTHS = Period("2016-01"), 124
READING_DAYS = (3, 7, 11, 15, 20)
ENTRIES_MIN = 1_500
ASKED, WARM_UP = 300, 30
MOST_MS = 20.0

TODAY = (
    "query Q($account: String!) { account(number: $account) { version nextPeriod open balance { balance overdue } } }"
)
THEN = """query Q($account: String!, $asOf: Date, $knownAt: DateTime) {
  account(number: $account, asOf: $asOf, knownAt: $knownAt) { version nextPeriod open
    moment { lastEntry entriesSetAside balance { balance overdue } meters { lastReading { values { value } } } } } }"""
STEPS = """query Q($account: String!, $asOf: Date) {
  account(number: $account, asOf: $asOf) { steps(first: 20, after: "WzE0NzBd") { edges { node {
    entry { kind text } counts madeBy { name acts } changed { path before after } } } } } }"""

Ask = tuple[str, Callable[[random.Random], dict[str, str]]]


def _any_day(chance: random.Random) -> date:
    return first_day(FIRST) + timedelta(days=chance.randrange(20, 30 * MONTHS))


def _asks() -> dict[str, Ask]:
    """Name the questions: as it is today; any day as known now (every entry is read); any day as known soon after it."""
    return {
        "today": (TODAY, lambda chance: {}),
        "day": (THEN, lambda chance: {"asOf": _any_day(chance).isoformat()}),
        "known": (
            THEN,
            lambda chance: {
                "asOf": (day := _any_day(chance)).isoformat(),
                "knownAt": f"{day + timedelta(days=chance.randrange(30))}T12:00:00Z",
            },
        ),
        "steps": (STEPS, lambda chance: {"asOf": "2025-12-31"}),
    }


def replay(url: str, rounds: int) -> list[Figure]:
    """Ask for accounts as they were, and as they are, in turns: medians of the rounds."""
    at = asyncio.run(fresh_database(url, "bench_replay"))
    entries = asyncio.run(_live(at))
    whole: dict[str, list[tuple[float, float]]] = {name: [] for name in _asks()}
    inside: dict[str, list[tuple[float, float]]] = {name: [] for name in _asks()}
    cpu: dict[str, list[tuple[float, float]]] = {name: [] for name in _asks()}
    for _ in range(rounds):
        port = free_port()
        with server(ours.serve(port), port, {"BELS_DATABASE_URL": at}):
            for name, ask in _asks().items():
                whole[name].append(over_http(port, _bodies(ask), WARM_UP, ASKED, _judge))
        asyncio.run(_in_process(at, inside, cpu))
        told = {name: (whole[name][-1], inside[name][-1]) for name in whole}
        print(
            f"  replay of {entries} entries: p50, p99 ms over HTTP; in the server: {told}", file=sys.stderr, flush=True
        )

    def of(runs: dict[str, list[tuple[float, float]]], name: str, i: int) -> float:
        return median(run[i] for run in runs[name])

    names = {"day": "any day, as known now", "known": "any day, as known soon after", "steps": "20 steps near the end"}
    figures = []
    for name, text in names.items():
        # A page of steps folds the account twice: to its moment, and to the page.
        most = 1.0 if name != "steps" else 2.0
        figures += [
            Figure(f"replay: {text}, in the server", "p50 ms", of(inside, name, 0), "the target", MOST_MS, most=most),
            Figure("the same", "p99 ms", of(inside, name, 1), "the target", MOST_MS, note="for the record"),
            Figure(
                "the same, Python's CPU",
                "p50 ms",
                of(cpu, name, 0),
                "account today",
                of(cpu, "today", 0),
                note="for the record",
            ),
            Figure(
                "the same, over HTTP",
                "p50 ms",
                of(whole, name, 0),
                "account today",
                of(whole, "today", 0),
                note="for the record",
            ),
            Figure(
                "the same, over HTTP",
                "p99 ms",
                of(whole, name, 1),
                "account today",
                of(whole, "today", 1),
                note="for the record",
            ),
        ]
    return figures


def _bodies(ask: Ask) -> Iterator[bytes]:
    (query, given), chance = ask, random.Random(5)
    while True:
        account = str(FIRST_ACCOUNT + chance.randrange(HOUSEHOLDS))
        yield json.dumps(
            {"query": query, "operationName": "Q", "variables": {"account": account, **given(chance)}}
        ).encode()


def _judge(said: bytes) -> None:
    """Check that an answer tells an account.

    :raises RuntimeError: it does not; then the time means nothing.
    """
    answer = json.loads(said)
    if answer.get("errors") or not answer["data"]["account"]:
        raise RuntimeError(said[:2000].decode())


async def _in_process(
    url: str, inside: dict[str, list[tuple[float, float]]], cpu: dict[str, list[tuple[float, float]]]
) -> None:
    async with opened(Settings(database_url=url)) as bels:
        app = asgi(bels, await door_of(bels, local=True), Readiness(bels.pool))
        # As a serving process does: otherwise all that was loaded is looked through for garbage again and again.
        settled()
        for name, ask in _asks().items():
            inside[name].append(await in_process(app, _bodies(ask), WARM_UP, ASKED, _judge))
            cpu[name].append(await in_process(app, _bodies(ask), WARM_UP, ASKED, _judge, time.process_time))


async def _live(url: str) -> int:
    """Let households live ten years, five readings and two payments a month, each recorded when it came; count the entries of one.

    :raises RuntimeError: something was not accepted, or the histories are too short: another account would be measured.
    """
    moment = _noon(first_day(FIRST) - timedelta(days=5))
    numbers = [str(FIRST_ACCOUNT + i) for i in range(HOUSEHOLDS)]
    chance, values = random.Random(11), dict.fromkeys(numbers, 1000)
    async with opened(Settings(database_url=url), clock=lambda: moment) as bels:
        await publish_demonstration(bels.pool, bels.intake)

        async def take(messages: list[Message]) -> None:
            for outcome in await bels.intake.handle(messages):
                if outcome.status is not Status.ACCEPTED:
                    raise RuntimeError(f"account {outcome.account}: {outcome.status}, {outcome.events}")

        for number in numbers:
            meter = MeterModel(f"M{number}", 6, (Register.TOTAL,))
            await take(
                [
                    _message(f"open:{number}", number, OpenAccount(moment, Locality.URBAN, Stove.GAS, 2, 3)),
                    _message(f"meter:{number}", number, InstallMeter(meter, moment, {Register.TOTAL: 1000}, "bench")),
                ]
            )
        for month in range(MONTHS):
            period = shift(FIRST, month)
            for day in READING_DAYS:
                moment = _noon(first_day(period) + timedelta(days=day - 1))
                for number in numbers:
                    values[number] += chance.randrange(10, 50)
                await take(
                    [
                        _message(f"reading:{n}:{moment}", n, SubmitReading(moment, {Register.TOTAL: str(values[n])}))
                        for n in numbers
                    ]
                )
            moment = over_at(period) + timedelta(hours=1)
            await take([closing(number, period, over_at(period), "bench") for number in numbers])
            for day in (5, 9):
                moment = _noon(first_day(shift(period, 1)) + timedelta(days=day))
                paid = ReceivePayment(Decimal(400), (moment - timedelta(days=1)).date(), moment, f"{period}:{day}")
                await take([_message(f"payment:{n}:{period}:{day}", n, paid) for n in numbers])
    db = await asyncpg.connect(url)
    try:
        await db.execute("VACUUM ANALYZE")
        entries = int(await db.fetchval("SELECT count(*) FROM journal WHERE originator_id = $1", numbers[0]))
    finally:
        await db.close()
    if entries < ENTRIES_MIN:
        raise RuntimeError(f"an account has {entries} entries only")
    return entries


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


def _message(name: str, account: str, command: Command) -> Message:
    return Message(
        Channel.BANK if isinstance(command, ReceivePayment) else Channel.SMS, name, "bench", account, command, name
    )
