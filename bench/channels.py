"""What the API's normal traffic feels of the channels: SMS as Kannel brings them, and voice dialogues as Asterisk leads them."""

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

import httpx

from bels.channels.prompts import manifest, note
from bels.settings import Settings
from bench import calls, ours, traffic
from bench.load import EXPECTED
from bench.report import Figure
from bench.servers import ROOT, environment, free_port, fresh_database, server

SMS_A_MINUTE = 2_000
CALLS = 100
MOST_P99 = 2.0
API_PER_S = {"account": 40, "submitReading": 20}
"""The API's normal traffic, at an even pace: 300,000 households who come once in five days of ten hours are 1.7 a second, so
this is a crowd of the last evening; it does not saturate the server, for then anything beside it would double its waits."""

WARM_UP_S = 3.0
PLAYING_S = 0.4
"""How long a recording is listened to; real ones last longer, and leave bels more time."""

WAIT_S = 10.0
HOUSEHOLDS = 4_000
"""Households of each channel, beside those of the API's traffic: each sends once."""

TOKEN = "bench"
SENT_WAIT_S = 120
SIDES = ("without", "with")


@dataclass(frozen=True, slots=True)
class Brought:
    """What the channels brought in a run; times are milliseconds."""

    sms: int
    sms_taken: int
    sms_a_minute: float
    sms_p99_ms: float
    calls: int
    calls_told: int
    turn_p99_ms: float


Asked = dict[str, float]
"""The p99 of each kind of request of the API, in milliseconds from the moment when it was due."""


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
            for side, asked in runs.items():
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
                    bringing = _begun("channels", *shared, "--round", str(number)) if side == "with" else None
                    asked.append(_ended(_begun("api", *shared)))
                    if bringing is not None:
                        brought.append(Brought(**_ended(bringing)))
    figures = []
    for what in API_PER_S:
        p99, alone = (median(run[what] for run in runs[side]) for side in ("with", "without"))
        figures.append(Figure(f"{what} beside the channels", "p99 ms", p99, "without", alone, most=MOST_P99))
    taken = min(each.sms_taken / each.sms for each in brought)
    told = min(each.calls_told / each.calls for each in brought)
    return [
        *figures,
        Figure("SMS", "a minute", median(each.sms_a_minute for each in brought), floor=0.95 * SMS_A_MINUTE),
        Figure("SMS", "taken, share", taken, floor=1.0),
        Figure("SMS", "p99 ms", median(each.sms_p99_ms for each in brought), note="for the record"),
        Figure("calls", "with a receipt, share", told, floor=1.0),
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
    print(f"  {told.strip()}", file=sys.stderr, flush=True)
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
    url, head = f"http://127.0.0.1:{port}/graphql", {"content-type": "application/json"}

    async def paced(http: httpx.AsyncClient, what: str, per_s: int) -> float:
        requests = (traffic.account if what == "account" else traffic.submit_reading)(0, 1)
        times: list[float] = []

        async def ask(due: float, body: bytes, *, counts: bool) -> None:
            answer = await http.post(url, content=body, headers=head)
            if counts:
                times.append(1000 * (time.perf_counter() - due))
            if answer.status_code != 200 or EXPECTED[what].encode() not in answer.content:
                raise RuntimeError(answer.text[:300])

        began = time.perf_counter()
        async with asyncio.TaskGroup() as asking:
            for i in range(int(seconds * per_s)):
                due = began + i / per_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.create_task(ask(due, next(requests)[1], counts=due - began >= WARM_UP_S))
        return _p99(times)

    async with httpx.AsyncClient(timeout=WAIT_S) as http:
        p99 = await asyncio.gather(*(paced(http, what, per_s) for what, per_s in API_PER_S.items()))
    return dict(zip(API_PER_S, p99, strict=True))


async def _brought(port: int, agi: int, seconds: float, number: int) -> Brought:
    first = traffic.FIRST_ACCOUNT + traffic.ACCOUNTS
    (times, taken, took), dialogues = await asyncio.gather(
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
    )


async def _send(port: int, accounts: Iterator[int], seconds: float, number: int) -> tuple[list[float], int, float]:
    """Send SMS at an even pace, whatever the answers take: each from its own phone, about its own account."""
    taken = 0
    times: list[float] = []

    async def send(http: httpx.AsyncClient, due: float, account: int) -> None:
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
        answer = await http.get(f"http://127.0.0.1:{port}/channels/sms", params=given)
        times.append(1000 * (time.perf_counter() - due))
        taken += answer.status_code == 200 and answer.text.startswith("Принято")

    began = time.perf_counter()
    async with httpx.AsyncClient(timeout=WAIT_S) as http, asyncio.TaskGroup() as sending:
        for sent in range(int(seconds * SMS_A_MINUTE / 60)):
            due = began + sent * 60 / SMS_A_MINUTE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sending.create_task(send(http, due, next(accounts)))
        took = time.perf_counter() - began
    return times, taken, took


async def _call(agi: int, accounts: Iterator[int], seconds: float) -> list[calls.Dialogue]:
    """Keep so many dialogues going: they begin one after another in the warm-up, and who has ended one begins the next."""
    until = time.perf_counter() + seconds
    heard: list[calls.Dialogue] = []

    async def caller(i: int) -> None:
        await asyncio.sleep(i * WARM_UP_S / CALLS)
        while time.perf_counter() < until:
            account = next(accounts)
            keys = [f"{account}#", f"{traffic.INITIAL_VALUE + 150}#", "1"]
            heard.append(
                await calls.dialogue(agi, keys, caller=f"7916{account}", name=f"1.{account}", playing_s=PLAYING_S)
            )

    await asyncio.gather(*(caller(i) for i in range(CALLS)))
    return heard


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
        print(json.dumps(asyncio.run(_asked(given.port, given.seconds))))
    else:
        print(json.dumps(asdict(asyncio.run(_brought(given.port, given.agi, given.seconds, given.round)))))


if __name__ == "__main__":
    main()
