"""The proxy's very configuration: what it lets through, what it says to bels of the caller, what it writes down."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.deploy.proxy import (
    NGINX,
    PARTNERS,
    Dying,
    Identity,
    Proxy,
    Telling,
    Unwell,
    identity,
    need_nginx,
    proxy,
    standing_in,
    variables_of,
)
from tests.servers import ROOT, free_port

pytestmark = pytest.mark.peer

PHONE = "79161234567"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run the proxy in front of two servers that tell what reached them."""
    need_nginx()
    with (
        standing_in(Telling) as first,
        standing_in(Telling) as second,
        proxy(tmp_path_factory.mktemp("nginx") / "it", first, second) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("partner"), "bank.example")


def told(answer: httpx.Response) -> dict[str, list[str]]:
    """Give the headers that bels would have seen, by their names in lower case."""
    assert answer.status_code == 200, answer.text
    headers: dict[str, list[str]] = {}
    for name, value in answer.json()["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    return headers


def test_a_caller_cannot_say_who_it_is(front: Proxy) -> None:
    spoofed = front.to(
        "/graphql",
        x_forwarded_for="203.0.113.9",
        x_real_ip="203.0.113.9",
        forwarded="for=203.0.113.9;proto=https",
        x_forwarded_proto="gopher",
        x_forwarded_host="evil.example",
        x_request_id="0123456789abcdef0123456789abcdef",
        x_ssl_client_cert="-----BEGIN%20CERTIFICATE-----",
    )
    spoofed["headers"]["X_SSL_CLIENT_CERT"] = "-----BEGIN%20CERTIFICATE-----"
    spoofed["headers"]["X_Forwarded_For"] = "203.0.113.9"
    with front.client() as client:
        answer = client.get(**spoofed)

    seen = told(answer)
    assert seen["x-forwarded-for"] == ["127.0.0.1"]
    assert seen["x-forwarded-proto"] == ["https"]
    assert seen["x-request-id"] == [answer.headers["x-request-id"]] != ["0123456789abcdef0123456789abcdef"]
    assert seen["host"] == [spoofed["headers"]["host"]]
    unheard = {
        "x-real-ip",
        "forwarded",
        "x-forwarded-host",
        "x-ssl-client-cert",
        "x_ssl_client_cert",
        "x_forwarded_for",
    }
    assert not unheard & seen.keys()


def test_a_partners_certificate_is_handed_over_and_not_its_word_for_one(front: Proxy, partner: Identity) -> None:
    with front.client(partner) as client:
        seen = told(client.get(**front.to("/graphql", PARTNERS, x_ssl_client_cert="forged")))
    assert [unquote(each) for each in seen["x-ssl-client-cert"]] == [partner.certificate.read_text()]

    with front.client() as client:
        assert "x-ssl-client-cert" not in told(client.get(**front.to("/graphql", PARTNERS, x_ssl_client_cert="forged")))


def test_people_are_not_asked_for_a_certificate_and_none_is_handed_over(front: Proxy, partner: Identity) -> None:
    with front.client(partner) as client:
        assert "x-ssl-client-cert" not in told(client.get(**front.to("/graphql")))
        # A connection to one name is no way to be heard under the other one.
        crossed = front.to("/graphql")
        crossed["headers"]["host"] = f"{PARTNERS}:{front.https}"
        assert client.get(**crossed).status_code == 421


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_is_of_today_and_offers_http_2(front: Proxy, version: ssl.TLSVersion) -> None:
    context = front.context()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", front.https)) as plain,
        context.wrap_socket(plain, server_hostname="lk.bels.test") as secure,
    ):
        assert secure.version() == version.name.replace("_", ".")
        assert secure.selected_alpn_protocol() == "h2"


def test_old_tls_and_a_strange_name_are_refused(front: Proxy) -> None:
    old = front.context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    for context, name in ((old, "lk.bels.test"), (front.context(), "evil.example")):
        with socket.create_connection(("127.0.0.1", front.https)) as plain, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(plain, server_hostname=name)


def test_in_clear_a_page_is_led_to_tls_and_a_token_is_refused(front: Proxy) -> None:
    url = f"http://127.0.0.1:{front.http}/graphql"
    led = httpx.get(url, params={"query": "{ __typename }"})
    assert (led.status_code, led.headers["location"]) == (301, "https://lk.bels.test/graphql?query=%7B+__typename+%7D")
    split = httpx.get(f"http://127.0.0.1:{front.http}/%0d%0aSet-Cookie:%20a=b")
    assert "set-cookie" not in split.headers
    assert httpx.post(url, json={"query": "{ __typename }"}).status_code == 403
    assert httpx.get(url, headers={"authorization": "Bearer x"}).status_code == 403


@pytest.mark.parametrize("path", ["/graphql", "/metrics"])
def test_every_answer_carries_the_headers_of_security_once(front: Proxy, path: str) -> None:
    with front.client() as client:
        answer = client.get(**front.to(path))
    for name, value in {
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
    }.items():
        assert answer.headers.get_list(name) == [value]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["server"] == "nginx"


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics", "/health", "/health/ready", "/./health"],
)
def test_what_is_for_our_own_machines_is_not_found_from_outside(front: Proxy, path: str) -> None:
    # Written by hand: a client would put the path in order before it asks.
    with (
        socket.create_connection(("127.0.0.1", front.https)) as plain,
        front.context().wrap_socket(plain, server_hostname="lk.bels.test") as secure,
    ):
        secure.sendall(f"GET {path} HTTP/1.1\r\nHost: lk.bels.test\r\nConnection: close\r\n\r\n".encode())
        assert secure.recv(4096).startswith(b"HTTP/1.1 404 ")


def test_a_body_is_limited_and_the_refusal_has_a_code(front: Proxy) -> None:
    with front.client() as client:
        assert client.post(**front.to("/graphql"), content=b"x" * 1_000_000).json()["body"] == 1_000_000
        answer = client.post(**front.to("/graphql"), content=b"x" * 1_100_000)
    assert answer.status_code == 413
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "PAYLOAD_TOO_LARGE", "requestId": answer.headers["x-request-id"]}


def test_queries_by_the_method_query_come_through(front: Proxy) -> None:
    with front.client() as client:
        assert (
            client.request("QUERY", **front.to("/graphql"), content=b"{}").json()["line"] == "QUERY /graphql HTTP/1.1"
        )


def test_a_request_that_a_dying_or_unwell_server_took_is_answered_by_the_other(tmp_path: Path) -> None:
    need_nginx()
    for place, kind in enumerate((Dying, Unwell)):
        with (
            standing_in(kind) as bad,
            standing_in(Telling) as good,
            proxy(tmp_path / str(place), bad, good) as front,
            front.client() as client,
        ):
            answers = [client.post(**front.to("/graphql"), json={"query": "mutation"}) for _ in range(6)]
            assert [answer.status_code for answer in answers] == [200] * 6
            assert any(", " in line["upstream_status"] for line in front.said(len(answers)))


def test_without_any_server_the_answer_is_503_with_a_code_and_nothing_personal_is_written(tmp_path: Path) -> None:
    need_nginx()
    with (
        proxy(tmp_path / "it", f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}") as front,
        front.client() as client,
    ):
        answers = [
            client.post(**front.to(f"/graphql?phone={PHONE}"), content=PHONE),
            client.get(**front.to(f"/channels/sms?from={PHONE}&text=1000000%2310385")),
            client.get(**front.to(f"/l/bels_l_secret?phone={PHONE}", user_agent=PHONE, referer=PHONE)),
            client.post(**front.to("/graphql"), content=PHONE * 200_000),
            client.get(**front.to(f"/u/bels_u_secret?phone={PHONE}")),
            client.post(**front.to(f"/channels/sms/voximplant?token={PHONE}"), content=PHONE),
        ]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 413, 503, 503]
        assert answers[0].headers["retry-after"] == "2"
        [error] = answers[0].json()["errors"]
        assert (error["extensions"]["code"], error["extensions"]["retryable"]) == ("TRY_LATER", True)
        assert error["extensions"]["requestId"] == answers[0].headers["x-request-id"]
        lines = front.said(len(answers))
    assert [line["path"] for line in lines] == [
        "/graphql", "/channels/sms", "/l/", "/graphql", "/u/", "/channels/sms/provider"
    ]  # fmt: skip
    assert {line["network"] for line in lines} == {"127.0.0.0/24"}
    assert lines[0]["request_id"] == answers[0].headers["x-request-id"]
    assert "502" in lines[0]["upstream_status"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for personal in (PHONE, "bels_l_secret", "bels_u_secret", "10385", "client: 127.0.0.1"):
        assert personal.encode() not in written


def test_sms_come_only_from_the_gateways_network(front: Proxy, tmp_path: Path) -> None:
    with front.client() as client:
        assert client.get(**front.to("/channels/sms?from=1")).status_code == 200
    with (
        standing_in(Telling) as first,
        proxy(tmp_path / "it", first, first, sms_network="192.0.2.0/24") as closed,
        closed.client() as client,
    ):
        assert client.get(**closed.to("/channels/sms?from=1")).status_code == 403
        assert client.get(**closed.to("/channels/sms/delivery?key=1")).status_code == 403
        # Whoever has no gateway of ours in front calls from anywhere, with a credential.
        for path in ("/channels/sms/voximplant", "/channels/voice", "/channels/telegram", "/channels/max"):
            assert client.post(**closed.to(path), content=b"{}").status_code == 200


class OwnPage(Telling):
    """A server that answers with the headers of a page for people."""

    def say(self, status: int, body: bytes) -> None:
        """Answer so that forms of the page tell where they come from."""
        self.send_response(status)
        self.send_header("referrer-policy", "same-origin")
        self.send_header("content-security-policy", "default-src 'none'")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_page_for_people_keeps_its_policies_so_that_its_forms_are_taken(tmp_path: Path) -> None:
    need_nginx()
    with standing_in(OwnPage) as first, proxy(tmp_path / "it", first, first) as front, front.client() as client:
        answer = client.get(**front.to("/readings"))
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'"]


@pytest.mark.parametrize("path", ["/readings", "/receipts", "/l/bels_l_1", "/u/1"])
def test_without_any_server_a_person_reads_to_count_the_reading_as_not_taken(tmp_path: Path, path: str) -> None:
    need_nginx()
    nobody = f"127.0.0.1:{free_port()}"
    with proxy(tmp_path / "it", nobody, nobody) as front, front.client() as client:
        answer = client.post(**front.to(path), content=b"step=send")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert answer.headers["retry-after"] == "2"
    assert "считайте, что показание НЕ принято" in answer.text


def test_one_address_that_asks_too_much_is_told_to_wait(tmp_path: Path) -> None:
    need_nginx()
    with (
        standing_in(Telling) as first,
        proxy(tmp_path / "it", first, first) as front,
        front.client() as client,
        ThreadPoolExecutor(8) as callers,
    ):
        answers = list(callers.map(lambda _: client.get(**front.to("/graphql")), range(500)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert len(refused) <= 300
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


def test_every_variable_of_the_configuration_is_explained_to_the_operator() -> None:
    explained = (ROOT / "docs" / "deployment.md").read_text() + (ROOT / "deploy" / "compose.yaml").read_text()
    asked = {name for source in NGINX.iterdir() for name in variables_of(source.read_text())}
    assert asked
    assert {name for name in asked if name not in explained} == set()
