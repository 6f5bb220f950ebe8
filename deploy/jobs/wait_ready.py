"""Wait until a server of this machine wants requests, and the proxy knows it: ``wait_ready.py PORT [PATH]``.

Its neighbour may be stopped when this ends, so a restart of one after the other loses no request.
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request

READY_WAIT_S = 240.0
ANSWER_WAIT_S = 5.0
POLL_S = 0.2

SETTLE_S = 4.0
"""nginx leaves a server that refused it alone for three seconds (``fail_timeout`` in bels.conf)."""


def is_ready(url: str) -> bool:
    """Ask once; a refused connection and every status but 200 mean no."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WAIT_S) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except OSError:
        return False


def main(port: int, path: str = "/health/ready") -> int:
    """Wait, and say by the exit status whether the server became ready."""
    url = f"http://127.0.0.1:{port}{path}"
    deadline = time.monotonic() + READY_WAIT_S
    while not is_ready(url):
        if time.monotonic() > deadline:
            sys.stderr.write(f"wait_ready: {url} did not become ready within {READY_WAIT_S:.0f} s\n")
            return 1
        time.sleep(POLL_S)
    time.sleep(SETTLE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3]))
