"""What the API's normal traffic feels of the channels: SMS as Kannel brings them, and voice dialogues as Asterisk leads them.

A round is three runs, each on a new server and a new copy of one database: the API alone, beside the channels, alone again. So
whatever the machine does slowly meets both sides alike, and the first against the last says how much the machine itself
moves a p99: a ratio within that is noise. Every request counts from the moment when it was due. What decides is the median of
the rounds, as in the other benchmarks: one round in which another program takes the machine does not. Rounds of 20 s have 240
readings and 960 questions each.

**Normal traffic** is the evening of the 25th, the last day for readings. Of 300,000 households seven in ten send theirs through the
API (cabinet, app, partners), nearly all within ten days, a quarter of them on the last day, a fifth of that in the busiest
hour: 10,500 readings, 2.9 a second. Minutes are not alike: four times as many, 12. For each reading an account is asked for four
times: before, after, and by those who only look: 48. It comes at an even pace and does not saturate the server, for then
anything beside it would double its waits.

**Beside it** come 33 SMS a second, each from its own phone about its own account, and a hundred dialogues that never pause. A
dialogue with a stranger is some 65 recordings, which people hear in a minute or more; here one lasts 0.1 to 0.3 s and keys come
at once, so a dialogue takes less than 20 s, and a hundred of them are as many turns a second as three hundred people take.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

import uvloop

from bels.channels.prompts import manifest, note
from bels.settings import Settings
from bench import calls, ours, traffic
from bench.load import EXPECTED
from bench.report import Figure
from bench.servers import ROOT, environment, free_port, fresh_database, server
from bench.wire import Wire

SMS_A_MINUTE = 2_000
CALLS = 100
MOST_P99 = 2.0
API_PER_S = {"account": 48, "submitReading": 12}

WARM_UP_S = 3.0
PLAYING_S = 0.2
"""How long a recording is listened to; from half as long to half as long again, so that callers do not keep step."""

WAIT_S = 10.0
HOUSEHOLDS = 4_000
"""Households of each channel, beside those of the API's traffic: each sends once."""

TOKEN = "bench"
SENT_WAIT_S = 120
SIDES = ("before", "beside", "after")
"""The runs of a round: only the second has the channels beside the API."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What the channels brought in a run; times are milliseconds."""

    sms: int
    sms_taken: int
    sms_a_minute: float
    sms_p99_ms: float
    calls: int
    calls_told: int
    calls_a_second: float
    turn_p99_ms: float


Asked = dict[str, list[float]]
"""The waits of each kind of request of the API, in milliseconds from the moment when it was due."""


def channels(url: str, rounds: int, seconds: float) -> list[Figure]:
    """Load the API alone, and beside 2,000 SMS a minute and 100 voice dialogues at once."""
    with tempfile.TemporaryDirectory() as name:
        prompts = Path(name) / "prompts"
        _record(prompts)
        settings = Settings(database_url=asyncio.run(fresh_database(url, "bench_channels")), data_dir=Path(name))
        ours.seed(settings, traffic.households(traffic.ACCOUNTS + 2 * HOUSEHOLDS))
        runs: dict[str, list[Asked]] = {side: [] for side in SIDES}
        brought = []
        for number in range(rounds):
            for side, run in runs.items():
                # Each time a new server on a copy: what the one before wrote is no part of this one's work.
                copied = asyncio.run(fresh_database(url, "bench_channels_run", "bench_channels"))
                port, agi = free_port(), free_port()
                more = {
                    "BELS_DATABASE_URL": copied,
                    "BELS_DATA_DIR": name,
                    "BELS_SMS_TOKEN": TOKEN,
                    "BELS_AGI": f"127.0.0.1:{agi}",
                    "BELS_PROMPTS": str(prompts),
                }
                shared = ("--port", str(port), "--agi", str(agi), "--seconds", str(WARM_UP_S + seconds))
                with server(ours.serve(port), port, more):
                    bringing = _begun("channels", *shared, "--round", str(number)) if side == "beside" else None
                    asked: Asked = _ended(_begun("api", *shared))
                    print(f"  {side}: p99 ms {_p99_of_each(asked)}", file=sys.stderr, flush=True)
                    run.append(asked)
                    if bringing is not None:
                        brought.append(Brought(**_ended(bringing)))
                        print(f"  {brought[-1]}", file=sys.stderr, flush=True)
    figures = []
    for what in API_PER_S:
        before, beside, after = ([_p99(asked[what]) for asked in runs[side]] for side in SIDES)
        beside_p99, alone_p99 = median(beside), median([*before, *after])
        name = f"{what} beside the channels"
        figures += [
            Figure(name, "p99 ms", beside_p99, "without", alone_p99, most=MOST_P99),
            Figure(f"{what} without, after", "p99 ms", median(after), "before", median(before), note="noise"),
        ]
    taken = min(each.sms_taken / each.sms for each in brought)
    told = min(each.calls_told / each.calls for each in brought)
    return [
        *figures,
        Figure("SMS", "a minute", median(each.sms_a_minute for each in brought), floor=0.95 * SMS_A_MINUTE),
        Figure("SMS", "taken, share", taken, floor=1.0),
        Figure("SMS", "p99 ms", median(each.sms_p99_ms for each in brought), note="for the record"),
        Figure("calls", "with a receipt, share", told, floor=1.0),
        Figure("calls", "a second", median(each.calls_a_second for each in brought), note="for the record"),
        Figure("a turn of a call", "p99 ms", median(each.turn_p99_ms for each in brought), note="for the record"),
    ]


def _begun(what: str, *arguments: str) -> subprocess.Popen[str]:
    """Begin to send from a process of its own."""
    command = [sys.executable, "-m", "bench.channels", what, *arguments]
    return subprocess.Popen(command, env=environment({}), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _ended(sending: subprocess.Popen[str]) -> Any:
    """Wait for what was begun, and give what it told.

    :raises RuntimeError: it failed.
    """
    try:
        told, _ = sending.communicate(timeout=SENT_WAIT_S)
    except subprocess.TimeoutExpired:
        sending.kill()
        sending.wait()
        raise
    if sending.returncode:
        raise RuntimeError(f"the traffic ended with {sending.returncode}")
    return json.loads(told)


def _record(prompts: Path) -> None:
    """Make every recording, silent: Asterisk plays them, not bels."""
    prompts.mkdir()
    for prompt in manifest():
        with wave.open(str(prompts / f"{prompt}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8_000)
            file.writeframes(bytes(1_600))
    note(prompts)


async def _asked(port: int, seconds: float) -> Asked:
    """Ask at an even pace; the warm-up does not count."""

    async def paced(wire: Wire, what: str, per_s: int) -> list[float]:
        requests = (traffic.account if what == "account" else traffic.submit_reading)(0, 1)
        times: list[float] = []

        async def ask(due: float, body: bytes, *, counts: bool) -> None:
            status, answer = await wire.ask("POST /graphql", body)
            if counts:
                times.append(1000 * (time.perf_counter() - due))
            if status != 200 or EXPECTED[what].encode() not in answer:
                raise RuntimeError(answer[:300].decode(errors="replace"))

        began = time.perf_counter()
        async with asyncio.TaskGroup() as asking:
            for i in range(int(seconds * per_s)):
                due = began + i / per_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.create_task(ask(due, next(requests)[1], counts=due - began >= WARM_UP_S))
        return times

    async with Wire(port, WAIT_S) as wire:
        waits = await asyncio.gather(*(paced(wire, what, per_s) for what, per_s in API_PER_S.items()))
    return dict(zip(API_PER_S, waits, strict=True))


async def _brought(port: int, agi: int, seconds: float, number: int) -> Brought:
    first = traffic.FIRST_ACCOUNT + traffic.ACCOUNTS
    (times, taken, took), (dialogues, called_s) = await asyncio.gather(
        _send(port, count(first), seconds, number), _call(agi, count(first + HOUSEHOLDS), seconds)
    )
    waits = [1000 * wait for each in dialogues for wait in each.waits_s]
    return Brought(
        sms=len(times),
        sms_taken=taken,
        sms_a_minute=len(times) / took * 60,
        sms_p99_ms=_p99(times),
        calls=len(dialogues),
        calls_told=sum("say-receipt" in each.sounds for each in dialogues),
        turn_p99_ms=_p99(waits),
        calls_a_second=len(dialogues) / called_s,
    )


async def _send(port: int, accounts: Iterator[int], seconds: float, number: int) -> tuple[list[float], int, float]:
    """Send SMS at an even pace, whatever the answers take: each from its own phone, about its own account."""
    taken = 0
    times: list[float] = []

    async def send(wire: Wire, due: float, account: int) -> None:
        nonlocal taken
        given = {
            "from": f"+7916{account}",
            "to": "1234",
            "text": f"{account}#{traffic.INITIAL_VALUE + 150}",
            "coding": "0",
            "charset": "UTF-8",
            "id": f"{number}-{account}",
            "ts": str(int(time.time())),
            "token": TOKEN,
        }
        status, answer = await wire.ask(f"GET /channels/sms?{urlencode(given)}")
        times.append(1000 * (time.perf_counter() - due))
        taken += status == 200 and answer.startswith("Принято".encode())

    began = time.perf_counter()
    async with Wire(port, WAIT_S) as wire, asyncio.TaskGroup() as sending:
        for sent in range(int(seconds * SMS_A_MINUTE / 60)):
            due = began + sent * 60 / SMS_A_MINUTE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sending.create_task(send(wire, due, next(accounts)))
        took = time.perf_counter() - began
    return times, taken, took


async def _call(agi: int, accounts: Iterator[int], seconds: float) -> tuple[list[calls.Dialogue], float]:
    """Keep so many dialogues going: they begin one after another in the warm-up, and who has ended one begins the next."""
    began = time.perf_counter()
    until = began + seconds
    heard: list[calls.Dialogue] = []

    async def caller(i: int) -> None:
        playing_s = PLAYING_S * (0.5 + i / CALLS)
        await asyncio.sleep(i * WARM_UP_S / CALLS)
        while time.perf_counter() < until:
            account = next(accounts)
            keys = [f"{account}#", f"{traffic.INITIAL_VALUE + 150}#", "1"]
            heard.append(
                await calls.dialogue(agi, keys, caller=f"7916{account}", name=f"1.{account}", playing_s=playing_s)
            )

    await asyncio.gather(*(caller(i) for i in range(CALLS)))
    return heard, time.perf_counter() - began


def _p99_of_each(asked: Asked) -> str:
    return ", ".join(f"{what} {_p99(waits):.1f}" for what, waits in asked.items())


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else 0.0


def main() -> None:
    """Send the API's traffic, or SMS and calls, to a server, and print what became of it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.channels", description=main.__doc__)
    parser.add_argument("what", choices=("api", "channels"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--agi", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--round", type=int, default=0)
    given = parser.parse_args()
    if given.what == "api":
        print(json.dumps(uvloop.run(_asked(given.port, given.seconds))))
    else:
        print(json.dumps(asdict(uvloop.run(_brought(given.port, given.agi, given.seconds, given.round)))))


if __name__ == "__main__":
    main()
