"""The guard: nobody who is not on the public internet is called, whatever a name means today."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bels.payments.webhooks import subscriptions
from bels.payments.webhooks.deliver import Hooks, deliver_webhooks, opened_hooks
from bels.payments.webhooks.guard import (
    RESOLVERS_MAX,
    GuardError,
    Policy,
    addresses_of,
    check_endpoint,
    check_url,
    is_loopback,
    is_public,
    resolved,
)
from bels.payments.webhooks.subscriptions import Delivery
from tests.payments.webhooks.conftest import Hooked
from tests.peers.webhook_receiver import Receiver, running_receiver

NAME = "hooks.bank.example"


class Names:
    """A resolver that says what a test says."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        if host != NAME:
            raise OSError(host)
        return self.addresses


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
        "192.168.1.1", "192.88.99.1", "198.18.0.1", "203.0.113.5", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::10.0.0.1",
        "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0",
        "fec0::1", "ff02::1", "5f00::1",
    ],
)  # fmt: skip
def test_no_address_that_is_not_of_the_public_internet_may_be_called(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "194.54.14.7", "172.32.0.1", "2a00:1450:4010::1", "2606:4700::1111"])
def test_public_addresses_may_be_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.bank.example/", "NOT_HTTPS"),
        ("ftp://hooks.bank.example/", "NOT_HTTPS"),
        ("https://127.0.0.1/", "NOT_A_NAME"),
        ("https://2130706433/", "NOT_A_NAME"),
        ("https://0x7f.1/", "NOT_A_NAME"),
        ("https://0x7f000001/", "NOT_A_NAME"),
        ("https://[::1]/", "NOT_A_NAME"),
        ("https://localhost/", "NOT_A_NAME"),
        ("https://hooks.bank.example./", "NOT_A_NAME"),
        ("https://bank_.example/", "NOT_A_NAME"),
        ("https://hooks.bank.example:80/", "PORT_NOT_ALLOWED"),
        ("https://hooks.bank.example:0/", "PORT_NOT_ALLOWED"),
        ("https://hooks.bank.example:9443/", "PORT_NOT_ALLOWED"),
        ("https://hooks.bank.example:99999/", "BAD_URL"),
        ("https://user:secret@hooks.bank.example/", "BAD_URL"),
        ("https://user@hooks.bank.example/", "BAD_URL"),
        ("https://hooks.bank.example/#part", "BAD_URL"),
        ("https://hooks.bank.example\\@10.0.0.1/", "BAD_URL"),
        ("https://hooks.bank.example/a b", "BAD_URL"),
        ("https://хуки.банк.рф/", "BAD_URL"),
        ("https://hooks.bank.example/" + "x" * 500, "BAD_URL"),
        ("https://[::1/", "BAD_URL"),
        ("", "BAD_URL"),
    ],
)
def test_a_url_is_judged_by_its_text_first(url: str, code: str) -> None:
    with pytest.raises(GuardError) as refused:
        check_url(url, Policy())
    assert refused.value.code == code


def test_ports_beyond_the_usual_are_a_matter_of_the_contract() -> None:
    assert check_url(f"https://{NAME}/in", Policy()) == (NAME, 443)
    assert check_url(f"https://{NAME.upper()}:8443/in?a=b", Policy()) == (NAME, 8443)
    assert check_url(f"https://{NAME}:9443/in", Policy(), {9443}) == (NAME, 9443)
    with pytest.raises(GuardError):
        check_url(f"https://{NAME}:22/in", Policy(), {22})


def test_this_machine_is_called_only_where_the_server_is_the_developers() -> None:
    assert check_url("http://127.0.0.1:8080/in", Policy(loopback=True)) == ("127.0.0.1", 8080)
    assert check_url("http://localhost/in", Policy(loopback=True)) == ("localhost", 80)
    for url in ("http://10.0.0.1/", f"http://{NAME}/", "http://127.0.0.2/"):
        with pytest.raises(GuardError):
            check_url(url, Policy(loopback=True))


async def test_one_bad_address_of_a_name_is_enough() -> None:
    names = Names("8.8.8.8", "10.0.0.1")
    for addresses, code in (
        (("8.8.8.8", "10.0.0.1"), "ADDRESS_NOT_ALLOWED"),
        (("8.8.8.8", "nonsense"), "ADDRESS_NOT_ALLOWED"),
        (("8.8.8.8",) * 9, "ADDRESS_NOT_ALLOWED"),
        ((), "NAME_NOT_RESOLVED"),
    ):
        names.addresses = addresses
        with pytest.raises(GuardError) as refused:
            await addresses_of(NAME, 443, Policy(resolve=names))
        assert refused.value.code == code
    names.addresses = ("8.8.8.8", "2606:4700::1111")
    assert await addresses_of(NAME, 443, Policy(resolve=names)) == ["8.8.8.8", "2606:4700::1111"]
    with pytest.raises(GuardError):
        await addresses_of("other.example", 443, Policy(resolve=names))


async def test_a_name_of_a_private_address_is_refused_before_anything_is_kept() -> None:
    names = Names("192.168.1.10")
    with pytest.raises(GuardError) as refused:
        await check_endpoint(f"https://{NAME}/in", Policy(resolve=names))
    assert refused.value.code == "ADDRESS_NOT_ALLOWED"
    names.addresses = ("8.8.8.8",)
    await check_endpoint(f"https://{NAME}/in", Policy(resolve=names))


async def test_names_that_are_slow_to_be_found_hold_up_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        asked.release()
        answer.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookups = [asyncio.create_task(resolved(f"h{n}.bank.example", 443)) for n in range(RESOLVERS_MAX)]
    try:
        await asyncio.gather(*(asyncio.to_thread(asked.acquire) for _ in lookups))
        assert await asyncio.to_thread(lambda: "work of others") == "work of others"
    finally:
        answer.set()
    assert await asyncio.gather(*lookups) == [[]] * RESOLVERS_MAX


async def test_the_system_is_asked_for_addresses() -> None:
    assert "127.0.0.1" in await resolved("127.0.0.1", 443)
    with pytest.raises(GuardError):
        await addresses_of("localhost", 443, Policy())
    assert await addresses_of("127.0.0.1", 443, Policy(loopback=True)) == ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate of the bank's name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture(scope="module")
def bank(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    """Run the bank's receiver with TLS."""
    with running_receiver(*certificate) as receiver:
        yield receiver


def trusting(certificate: Path) -> ssl.SSLContext:
    """Trust one certificate."""
    return ssl.create_default_context(cafile=str(certificate))


async def told(hooked: Hooked, policy: Policy, port: int, name: str) -> Delivery:
    """Pay, deliver under a policy, and give the last delivery."""
    (partner, other) = hooked.banks.till.partners.partners
    agreed = replace(partner, sections={"webhooks": {"ports": [port]}})
    partners = replace(hooked.banks.till.partners, partners=(agreed, other))
    await hooked.pay(name)
    async with opened_hooks(
        hooked.hooks.pool, hooked.hooks.raw_texts, partners, policy, hooked.hooks.clock, hooked.hooks.wall
    ) as hooks:
        return await delivered(hooked, hooks)


async def delivered(hooked: Hooked, hooks: Hooks) -> Delivery:
    """Deliver, and give the last delivery."""
    await deliver_webhooks(hooks)
    async with hooks.pool.acquire() as db:
        (webhook,) = await subscriptions.webhooks_of(db, hooked.partner, None, 10)
        return (await subscriptions.deliveries_of(db, webhook.id, None, None, 1))[0]


async def test_the_address_that_was_judged_is_called_under_the_name_of_the_url(
    hooked: Hooked, bank: Receiver, certificate: tuple[Path, Path]
) -> None:
    bank.reset()
    names = Names("127.0.0.1")
    policy = Policy(resolve=names, is_allowed=is_loopback, tls=trusting(certificate[0]))
    _, secret = await hooked.subscribe(f"https://{NAME}:{bank.port}/in")
    bank.set(secrets=[secret])

    assert (await told(hooked, policy, bank.port, "p1")).last_error is None
    (got,) = bank.got()
    assert (got["right"], got["host"]) == ([True], f"{NAME}:{bank.port}")

    # Asked anew for every delivery.
    asked = names.asked
    await told(hooked, policy, bank.port, "p2")
    assert names.asked == asked + 1


async def test_a_name_that_means_a_private_address_by_now_is_not_called(
    hooked: Hooked, bank: Receiver, certificate: tuple[Path, Path]
) -> None:
    bank.reset()
    names = Names("127.0.0.1")
    policy = Policy(resolve=names, is_allowed=is_loopback, tls=trusting(certificate[0]))
    await hooked.subscribe(f"https://{NAME}:{bank.port}/in")
    assert (await told(hooked, policy, bank.port, "p1")).last_error is None

    # Where the name was public it is one of ours now; under the usual policy that is this machine.
    strict = replace(policy, is_allowed=is_public)
    assert (await told(hooked, strict, bank.port, "p2")).last_error == "ADDRESS_NOT_ALLOWED"
    names.addresses = ()
    hooked.banks.house.wait(minutes=1)
    assert (await told(hooked, policy, bank.port, "p3")).last_error is None
    assert (await hooked.hooks.pool.fetchval("SELECT last_error FROM webhook_delivery WHERE number = 2")) == (
        "NAME_NOT_RESOLVED"
    )
    assert len(bank.got()) == 1


async def test_a_certificate_of_somebody_else_is_not_taken(hooked: Hooked, bank: Receiver) -> None:
    bank.reset()
    policy = Policy(resolve=Names("127.0.0.1"), is_allowed=is_loopback)
    await hooked.subscribe(f"https://{NAME}:{bank.port}/in")

    assert (await told(hooked, policy, bank.port, "p1")).last_error == "TLS"
    assert bank.got() == []


async def test_a_proxy_of_the_environment_is_not_used(
    hooked: Hooked, bank: Receiver, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.reset()
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    policy = Policy(resolve=Names("127.0.0.1"), is_allowed=is_loopback, tls=trusting(certificate[0]))
    await hooked.subscribe(f"https://{NAME}:{bank.port}/in")

    assert (await told(hooked, policy, bank.port, "p1")).last_error is None
    assert len(bank.got()) == 1
