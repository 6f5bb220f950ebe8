"""The nginx of ``deploy/nginx``, real, on loopback: its very configuration, with test's ports, names and certificates put in."""

from __future__ import annotations

import datetime
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.peers import found, need, stop
from tests.servers import ROOT, free_port

NGINX = ROOT / "deploy" / "nginx"
PEOPLE, PARTNERS = "lk.bels.test", "partners.bels.test"
START_WAIT_S = 10.0
ANSWER_WAIT_S = 30.0

_VARIABLE = re.compile(r"\$\{(BELS_[A-Z0-9_]+)\}")


def need_nginx() -> None:
    """Skip, or fail, without nginx."""
    need("nginx", packages="nginx")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that signs itself, and its key, as files."""

    certificate: Path
    key: Path

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the certificate, in hex."""
        return sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


def identity(folder: Path, *names: str) -> Identity:
    """Make a certificate for names, valid for a day."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Identity(folder / "fullchain.pem", folder / "privkey.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def rendered(text: str, values: dict[str, str]) -> str:
    """Put values in as envsubst does; a variable without a value is a mistake of ours."""
    return _VARIABLE.sub(lambda variable: values[variable[1]], text)


def variables_of(text: str) -> set[str]:
    """Name the variables that a template asks for."""
    return set(_VARIABLE.findall(text))


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running nginx in front of two servers."""

    https: int
    http: int
    folder: Path

    def context(self, client: Identity | None = None) -> ssl.SSLContext:
        """Trust this proxy, and show a client's certificate where one is given."""
        made = ssl.create_default_context(cafile=str(self.folder / "tls" / "fullchain.pem"))
        if client is not None:
            made.load_cert_chain(client.certificate, client.key)
        return made

    @contextmanager
    def client(self, client: Identity | None = None) -> Iterator[httpx.Client]:
        """Give a client that connects here, whatever name it asks for."""
        with httpx.Client(verify=self.context(client), timeout=ANSWER_WAIT_S) as made:
            yield made

    def said(self, requests: int = 0) -> list[dict[str, Any]]:
        """Read the access log; a request is written down a moment after it is answered, so wait for so many.

        :raises RuntimeError: there are fewer.
        """
        deadline = time.monotonic() + START_WAIT_S
        while True:
            lines = (self.folder / "access.log").read_text().split("\n")[:-1]
            if len(lines) >= requests:
                return [json.loads(line) for line in lines]
            if time.monotonic() > deadline:
                raise RuntimeError(f"the access log has {len(lines)} lines, not {requests}")
            time.sleep(0.02)

    def to(self, path: str, name: str = PEOPLE, **headers: str) -> dict[str, Any]:
        """Give the arguments of a request to a path of a name."""
        return {
            "url": f"https://127.0.0.1:{self.https}{path}",
            "headers": {"host": f"{name}:{self.https}", **{k.replace("_", "-"): v for k, v in headers.items()}},
            "extensions": {"sni_hostname": name},
        }


@contextmanager
def proxy(folder: Path, first: str, second: str, sms_network: str = "127.0.0.1") -> Iterator[Proxy]:
    """Run nginx in front of two servers (``host:port``)."""
    made = Proxy(free_port(), free_port(), folder)
    for name in ("conf", "run", "acme"):
        (folder / name).mkdir(parents=True)
    identity(folder / "tls", PEOPLE, PARTNERS)
    values = {
        "BELS_SERVER_1": first,
        "BELS_SERVER_2": second,
        "BELS_SERVER_NAME": PEOPLE,
        "BELS_PARTNERS_NAME": PARTNERS,
        "BELS_HTTPS_PORT": f"127.0.0.1:{made.https}",
        "BELS_HTTP_PORT": f"127.0.0.1:{made.http}",
        "BELS_TLS_DIR": str(folder / "tls"),
        "BELS_ACME_DIR": str(folder / "acme"),
        "BELS_NGINX_DIR": str(folder / "conf"),
        "BELS_RUN_DIR": str(folder / "run"),
        "BELS_ACCESS_LOG": str(folder / "access.log"),
        "BELS_ERROR_LOG": str(folder / "error.log"),
        "BELS_SMS_NETWORK": sms_network,
    }
    for source in NGINX.iterdir():
        (folder / "conf" / source.name).write_text(rendered(source.read_text(), values))
    directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [
        *(found("nginx") or "nginx", "-p", str(folder), "-c", str(folder / "conf" / "nginx.conf")),
        *("-e", str(folder / "error.log"), "-g", directives),
    ]
    process = subprocess.Popen(command)
    try:
        _wait_for(made, process)
        yield made
    finally:
        stop(process)


def _wait_for(made: Proxy, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"nginx ended: {(made.folder / 'error.log').read_text()}")
        try:
            httpx.get(f"http://127.0.0.1:{made.http}/", timeout=1)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("nginx does not answer")


class Telling(BaseHTTPRequestHandler):
    """A server that tells what reached it: the request line and every header, in the order they came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Take a request and answer it."""
        self.answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    def do_POST(self) -> None:
        """Take a request and answer it."""
        self.do_GET()

    def do_QUERY(self) -> None:
        """Take a request and answer it."""
        self.do_GET()

    def answer(self, body: bytes) -> None:
        """Tell."""
        told = {"line": self.requestline, "headers": self.headers.items(), "body": len(body)}
        self.say(200, json.dumps(told).encode())

    def say(self, status: int, body: bytes) -> None:
        """Answer with JSON."""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Dying(Telling):
    """A server that dies after it has taken a request."""

    def answer(self, body: bytes) -> None:
        """Close the connection."""
        self.close_connection = True


class Unwell(Telling):
    """A server that cannot now."""

    def answer(self, body: bytes) -> None:
        """Say so."""
        self.say(503, b"{}")


@contextmanager
def standing_in(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server of this kind in place of bels, to see what the proxy does; give its ``host:port``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
