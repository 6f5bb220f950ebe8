"""An attacker: connections that send every hostile body in turns, as fast as they are answered."""

import argparse
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from bench.hostile import Hostile, hostile

ANSWER_WAIT_S = 30.0
TRIES_MAX = 5
ACCEPT = "application/graphql-response+json"


class Attacker:
    """One connection."""

    def __init__(self, url: str, token: str | None) -> None:
        place = urlsplit(url)
        self.path = place.path
        self.connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=ANSWER_WAIT_S)
        self.headers = {"content-type": "application/json", "accept": ACCEPT}
        if token is not None:
            self.headers["authorization"] = f"Bearer {token}"

    def send(self, body: bytes) -> tuple[float, int, bytes]:
        """Send a body; give the milliseconds to its answer, the status, and what was said.

        :raises OSError: the server does not answer.
        """
        began = time.perf_counter()
        self.connection.request("POST", self.path, body, self.headers)
        answer = self.connection.getresponse()
        said = answer.read()
        return (time.perf_counter() - began) * 1000, answer.status, said

    def send_patiently(self, body: bytes) -> tuple[float, int, bytes]:
        """Send a body, again after the wait that a spent budget names; a few times at most."""
        told = self.send(body)
        for _ in range(TRIES_MAX):
            if told[1] != http.client.TOO_MANY_REQUESTS:
                break
            errors = json.loads(told[2])["errors"]
            time.sleep(errors[0]["extensions"]["retryAfter"])
            told = self.send(body)
        return told


def code_of(said: bytes) -> str:
    """Give the code of the first error of an answer; "" where there is none."""
    errors = json.loads(said).get("errors") or [{}]
    return str(errors[0].get("extensions", {}).get("code", ""))


def strike(url: str, token: str | None, bodies: Sequence[Hostile], connections: int, seconds: float) -> Counter[str]:
    """Attack for this long; count the answers by their status and code."""
    told: Counter[str] = Counter()
    until = time.monotonic() + seconds

    def run(first: int) -> None:
        attacker = Attacker(url, token)
        i = first
        while time.monotonic() < until:
            _, status, said = attacker.send(bodies[i % len(bodies)].body)
            told[f"{status} {code_of(said)}"] += 1
            i += 1

    threads = [threading.Thread(target=run, args=(len(bodies) * n // connections,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def main() -> None:
    """Attack a server and print as JSON how often it answered what."""
    parser = argparse.ArgumentParser(prog="python -m bench.attacker", description=main.__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    print(json.dumps(strike(given.url, given.token, hostile(), given.connections, given.seconds)))


if __name__ == "__main__":
    main()
