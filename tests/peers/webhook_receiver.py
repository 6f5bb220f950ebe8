"""A partner's receiver of webhooks, in a process of its own, that believes only its own code.

``python tests/peers/webhook_receiver.py [CERTIFICATE KEY]`` listens on a free port of this machine and prints a JSON line for
every request: what came, and whether the signature and the moment are right by the convention as it is published
(https://www.standardwebhooks.com). It imports nothing of bels. Lines on its input, as JSON, say how it answers from then on.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOLERANCE_S = 300
WAIT_S = 20.0


class _Behaviour:
    """How it answers, and the secrets that it knows."""

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.body = ""
        self.delay_s = 0.0
        self.failing: list[str] = []
        self.lock = threading.Lock()
        self.told = threading.Event()

    def say(self, **line: Any) -> None:
        with self.lock:
            print(json.dumps(line), flush=True)  # noqa: T201 - this is how it tells


def is_right(secret: str, headers: Any, body: bytes, now: float) -> bool:
    """Verify a message as the convention says: one of the signatures is right, and the moment is near."""
    moment = headers.get("webhook-timestamp", "")
    if not moment.isdigit() or abs(now - int(moment)) > TOLERANCE_S:
        return False
    signed = f"{headers.get('webhook-id', '')}.{moment}.".encode() + body
    expected = hmac.new(base64.b64decode(secret.split("_", 1)[1]), signed, hashlib.sha256).digest()
    for part in headers.get("webhook-signature", "").split(" "):
        version, _, given = part.partition(",")
        if version == "v1" and hmac.compare_digest(base64.b64decode(given), expected):
            return True
    return False


def _handler(behaviour: _Behaviour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            told = json.loads(body)
            right = [is_right(secret, self.headers, body, time.time()) for secret in behaviour.secrets]
            status = 503 if told["type"] in behaviour.failing else behaviour.status
            behaviour.say(
                event=told,
                id=self.headers.get("webhook-id"),
                moment=self.headers.get("webhook-timestamp"),
                signature=self.headers.get("webhook-signature"),
                host=self.headers.get("host"),
                path=self.path,
                right=right,
                status=status,
            )
            # Until it is told to answer otherwise.
            behaviour.told.wait(behaviour.delay_s)
            answer = behaviour.body.encode()
            self.send_response(status)
            for name, value in behaviour.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base has it
            pass

    return Handler


def _serve(files: list[str]) -> None:
    behaviour = _Behaviour()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(behaviour))
    server.daemon_threads = True
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    behaviour.say(port=server.server_port)
    for line in sys.stdin:
        for name, value in json.loads(line).items():
            setattr(behaviour, name, value)
        behaviour.told.set()
        behaviour.told = threading.Event()
        behaviour.say(done=True)


class Receiver:
    """A receiver that runs, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._got: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.port: int = self._lines.get(timeout=WAIT_S)["port"]

    @property
    def url(self) -> str:
        """Where it listens, without TLS."""
        return f"http://127.0.0.1:{self.port}/hook"

    def set(self, **behaviour: Any) -> None:
        """Say how it answers from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(behaviour) + "\n")
        self._process.stdin.flush()
        while "done" not in (line := self._lines.get(timeout=WAIT_S)):
            self._got.append(line)

    def reset(self) -> None:
        """Begin anew: it answers 204, knows no secret, and got nothing."""
        self.set(secrets=[], status=204, headers={}, body="", delay_s=0.0, failing=[])
        self._got.clear()

    def got(self) -> list[dict[str, Any]]:
        """Give all that came, in order."""
        while not self._lines.empty():
            self._got.append(self._lines.get())
        return self._got

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Give all that came when it is so many."""
        while len(self._got) < count:
            self._got.append(self._lines.get(timeout=WAIT_S))
        return self.got()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))


@contextmanager
def running_receiver(certificate: Path | None = None, key: Path | None = None) -> Iterator[Receiver]:
    """Run a receiver, with TLS where it has a certificate."""
    files = [str(file) for file in (certificate, key) if file is not None]
    process = subprocess.Popen(
        [sys.executable, __file__, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield Receiver(process)
        finally:
            process.kill()


if __name__ == "__main__":
    _serve(sys.argv[1:])
