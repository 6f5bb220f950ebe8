"""The environment, read once into a frozen value.

Only the top floor (``app``, ``demo``, ``cli``) reads it; the floors below are handed plain arguments.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

SETTLEMENTS = ("redistribute", "in_period", "next_period")
LOGS = ("text", "json")
SECONDS_MAX = 600

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """A variable of the environment has a value that bels cannot use; the sentence is for the operator."""


Address = tuple[str, int]
"""A host and a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Say where the channels' gateways are; what is None is switched off.

    ``agi`` is where Asterisk finds the voice menu (from ``agi_peers`` beside this machine), ``prompts`` the folder of its
    recordings, ``lmtp`` where the mail server hands letters over. ``mailbox`` is our address, ``authserv_id`` the name
    under which our mail server writes Authentication-Results, ``smtp`` where letters go out. ``sendsms`` is the URL of
    Kannel's sendsms with the user in it, its password in ``sendsms_password_file``, and ``sms_reports`` our own URL as Kannel
    sees it, where its reports go (by default the server of this machine). The tokens of the bots stand in files,
    ``telegram_api`` and ``max_api`` are other hosts of their APIs. ``public_url`` is how a consumer's browser reaches us:
    links begin with it. ``sms_providers`` is the table of providers without Kannel, ``office`` the file of office hours and
    contacts. ``deliver`` sends what waits in the outbox from this process too.
    """

    agi: Address | None = None
    agi_peers: tuple[Network, ...] = ()
    prompts: Path | None = None
    lmtp: Address | None = None
    mailbox: str | None = None
    authserv_id: str | None = None
    smtp: Address | None = None
    sendsms: str | None = None
    sendsms_password_file: Path | None = None
    sms_reports: str | None = None
    telegram_token_file: Path | None = None
    telegram_api: str | None = None
    max_token_file: Path | None = None
    max_api: str | None = None
    public_url: str | None = None
    sms_providers: Path | None = None
    office: Path | None = None
    deliver: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Read the variables that were given.

        :raises SettingsError: a value cannot be used.
        """
        return cls(
            agi=_address(given, "BELS_AGI"),
            agi_peers=_networks("BELS_AGI_PEERS", given.get("BELS_AGI_PEERS", "")),
            prompts=_path(given, "BELS_PROMPTS"),
            lmtp=_address(given, "BELS_LMTP"),
            mailbox=given.get("BELS_MAILBOX"),
            authserv_id=given.get("BELS_AUTHSERV_ID"),
            smtp=_address(given, "BELS_SMTP"),
            sendsms=_url(given, "BELS_SENDSMS"),
            sendsms_password_file=_path(given, "BELS_SENDSMS_PASSWORD_FILE"),
            sms_reports=_url(given, "BELS_SMS_REPORTS"),
            telegram_token_file=_path(given, "BELS_TELEGRAM_TOKEN_FILE"),
            telegram_api=_url(given, "BELS_TELEGRAM_API"),
            max_token_file=_path(given, "BELS_MAX_TOKEN_FILE"),
            max_api=_url(given, "BELS_MAX_API"),
            public_url=_url(given, "BELS_PUBLIC_URL"),
            sms_providers=_path(given, "BELS_SMS_PROVIDERS"),
            office=_path(given, "BELS_OFFICE"),
            deliver=_one_of("BELS_DELIVER", given.get("BELS_DELIVER", "off"), ("on", "off")) == "on",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerSettings:
    """Say how banks and payment apps reach us; what is None is switched off.

    ``partners`` is the table of their contracts. ``sftp`` is where our SFTP server listens for their files, under the host
    key in ``sftp_host_key``; ``exchange`` is the folder with a folder for each of them, where their files lie.
    ``hooks_on_loopback`` lets webhooks go to this machine, which a sandbox asks for and nothing else.
    """

    partners: Path | None = None
    sftp: Address | None = None
    sftp_host_key: Path | None = None
    exchange: Path | None = None
    hooks_on_loopback: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Read the variables that were given.

        :raises SettingsError: a value cannot be used.
        """
        return cls(
            partners=_path(given, "BELS_PARTNERS"),
            sftp=_address(given, "BELS_SFTP"),
            sftp_host_key=_path(given, "BELS_SFTP_HOST_KEY"),
            exchange=_path(given, "BELS_EXCHANGE"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Say how the journal is sealed.

    ``seals`` is a folder where every seal becomes a file, None where nobody wants any; ``seal_hourly`` seals every hour, else
    every night.
    """

    seals: Path | None = None
    seal_hourly: bool = False

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Read the variables that were given.

        :raises SettingsError: a value cannot be used.
        """
        return cls(
            seals=_path(given, "BELS_SEALS"),
            seal_hourly=_one_of("BELS_SEAL_HOURLY", given.get("BELS_SEAL_HOURLY", "off"), ("on", "off")) == "on",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Say where this process keeps its data, where it listens and how it settles.

    ``database_url`` None means the PostgreSQL that comes with the package, kept in ``data_dir``.
    ``settlement`` is what a reading does to the estimated months before it; None: what the published rulebook says. Another one
    is published from the first period on that nobody has been charged for.
    ``sms_token`` is the secret that Kannel sends with every SMS, None while only this machine can send one.

    ``master_key_file`` holds the key that wraps all others, ``master_key_transit`` is the URL of a key in a service that
    speaks Vault's transit protocol (its token in ``master_key_token_file``); without both, a key for development is kept in
    ``data_dir``, which serves loopback only. ``issuer`` stands in our tokens; ``oidc_issuer`` hands the identity of people to
    an OpenID provider, whose tokens must name ``oidc_audience``. From ``trusted_proxies`` the caller's address and certificate
    are taken as they say it. ``origins`` are the front ends that browsers may call us from. ``documents_file`` is the
    manifest of trusted documents. ``ide`` gives browsers the GraphQL page, as ``--local`` does. ``drain_s`` is how long a
    server that stops still answers while it says that it is not ready.
    """

    database_url: str | None = None
    data_dir: Path = Path(".bels")
    host: str = "127.0.0.1"
    port: int = 8000
    settlement: str | None = None
    sms_token: str | None = None
    master_key_file: Path | None = None
    master_key_transit: str | None = None
    master_key_token_file: Path | None = None
    issuer: str = "bels"
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    origins: tuple[str, ...] = ()
    documents_file: Path | None = None
    ide: bool = False
    metrics_token: str | None = None
    otlp_endpoint: str | None = None
    log: str = "text"
    drain_s: float = 0.0
    channels: ChannelSettings = ChannelSettings()
    partners: PartnerSettings = PartnerSettings()
    audit: AuditSettings = AuditSettings()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the ``BELS_*`` variables; one that is absent or blank has its default.

        :raises SettingsError: a value cannot be used.
        """
        given = {name: value.strip() for name, value in environ.items() if name.startswith("BELS_") and value.strip()}
        return cls(
            database_url=_database_url(given["BELS_DATABASE_URL"]) if "BELS_DATABASE_URL" in given else None,
            data_dir=Path(given.get("BELS_DATA_DIR", ".bels")).expanduser().absolute(),
            host=given.get("BELS_HOST", "127.0.0.1"),
            port=_port(given.get("BELS_PORT", "8000")),
            settlement=_one_of("BELS_SETTLEMENT", given["BELS_SETTLEMENT"], SETTLEMENTS)
            if "BELS_SETTLEMENT" in given
            else None,
            sms_token=given.get("BELS_SMS_TOKEN"),
            master_key_file=_path(given, "BELS_MASTER_KEY_FILE"),
            master_key_transit=_url(given, "BELS_MASTER_KEY_TRANSIT"),
            master_key_token_file=_path(given, "BELS_MASTER_KEY_TOKEN_FILE"),
            issuer=given.get("BELS_ISSUER", "bels"),
            oidc_issuer=_url(given, "BELS_OIDC_ISSUER"),
            oidc_audience=given.get("BELS_OIDC_AUDIENCE"),
            trusted_proxies=_networks("BELS_TRUSTED_PROXIES", given.get("BELS_TRUSTED_PROXIES", "")),
            origins=_origins(given.get("BELS_ORIGINS", "")),
            documents_file=_path(given, "BELS_DOCUMENTS"),
            ide=_one_of("BELS_IDE", given.get("BELS_IDE", "off"), ("on", "off")) == "on",
            metrics_token=given.get("BELS_METRICS_TOKEN"),
            otlp_endpoint=_url(given, "BELS_OTLP_ENDPOINT"),
            log=_one_of("BELS_LOG", given.get("BELS_LOG", "text"), LOGS),
            drain_s=_seconds("BELS_DRAIN_S", given.get("BELS_DRAIN_S", "0")),
            channels=ChannelSettings.of(given),
            partners=PartnerSettings.of(given),
            audit=AuditSettings.of(given),
        )


def _database_url(text: str) -> str:
    # The value may hold a password, so no message repeats it.
    try:
        scheme = urlsplit(text).scheme
    except ValueError as error:
        raise SettingsError("BELS_DATABASE_URL is not a URL; expected postgresql://user@host/database") from error
    if scheme not in ("postgresql", "postgres"):
        raise SettingsError(
            "BELS_DATABASE_URL must begin with postgresql:// (postgresql://user@host/database), "
            f"not with {f'{scheme}://' if scheme else 'something without a scheme'}"
        )
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise SettingsError(f"BELS_PORT must be a whole number from 1 to 65535, not {text!r}")
    return int(text)


def _one_of(name: str, text: str, values: tuple[str, ...]) -> str:
    if text not in values:
        raise SettingsError(f"{name} must be one of {', '.join(values)}, not {text!r}")
    return text


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]).expanduser().absolute() if name in given else None


def _url(given: Mapping[str, str], name: str) -> str | None:
    if name not in given:
        return None
    url = urlsplit(given[name])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SettingsError(f"{name} must be a URL: https://host/path")
    return given[name].rstrip("/")


def _address(given: Mapping[str, str], name: str) -> Address | None:
    if name not in given:
        return None
    host, colon, port = given[name].rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise SettingsError(f"{name} must be a host and a port, such as 127.0.0.1:4573, not {given[name]!r}")
    return host.strip("[]"), int(port)


def _networks(name: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(each, strict=False) for each in text.replace(",", " ").split())
    except ValueError as error:
        raise SettingsError(f"{name} must list addresses or networks (10.0.0.0/8): {error}") from None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(text.replace(",", " ").split())
    for each in origins:
        url = urlsplit(each)
        if url.scheme not in ("http", "https") or not url.hostname or each != f"{url.scheme}://{url.netloc}":
            raise SettingsError(f"BELS_ORIGINS must list origins such as https://lk.example.ru, not {each!r}")
    return origins


def _seconds(name: str, text: str) -> float:
    if not (text.isascii() and text.isdigit() and int(text) <= SECONDS_MAX):
        raise SettingsError(f"{name} must be whole seconds from 0 to {SECONDS_MAX}, not {text!r}")
    return float(text)
